/** Mentions: an `@`, and somebody's handle behind it. */

import type { Member } from '../rooms/room.svelte';

export interface Begun {
  /** Where the `@` stands. */
  from: number;
  /** What was written behind it. */
  text: string;
}

const BEGUN = /(?:^|\s)@([\p{L}\p{N}_.-]{0,32})$/u;
const HANDLE = /@([\p{L}\p{N}_.-]{2,32})/gu;

/** The mention that is being written where the caret stands. */
export function mentionAt(text: string, caret: number): Begun | undefined {
  const begun = BEGUN.exec(text.slice(0, caret))?.[1];
  return begun === undefined ? undefined : { from: caret - begun.length - 1, text: begun };
}

/** Whether a text may mean somebody who is not among these members. */
export function mayMeanOthers(text: string, members: Member[]): boolean {
  const known = new Set(members.map((it) => it.handle.toLowerCase()));
  return [...text.matchAll(HANDLE)].some(([, handle = '']) => !known.has(handle.toLowerCase()));
}

/** The ids of members whose handles are in a text. */
export function mentionedIn(text: string, members: Member[]): string[] {
  const handles = new Set([...text.matchAll(HANDLE)].map(([, handle = '']) => handle.toLowerCase()));
  return members.filter((it) => handles.has(it.handle.toLowerCase())).map((it) => it.user_id);
}

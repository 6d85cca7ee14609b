/** Mentions: an `@`, and somebody's handle behind it. */

import type { Member } from '../rooms/room.svelte';

export interface Begun {
  /** Where the `@` stands. */
  from: number;
  /** What was written behind it. */
  text: string;
}

const BEGUN = /(?:^|\s)@([\p{L}\p{N}_.-]{0,32})$/u;
/** A handle, which ends with a letter, and what is written in one with it. */
const WRITTEN = /@([\p{L}\p{N}_.-]{1,39}[\p{L}\p{N}])/gu;
/** What may stand right behind a handle; behind one that ends in a Latin letter whatever is Korean. */
const PARTICLE = /^(님|씨)?(아|야|이|가|은|는|을|를|도|만|의|와|과|랑|이랑|에게|한테|께)?$/;
const KOREAN = /^\p{Script=Hangul}*$/u;

/** The mention that is being written where the caret stands. */
export function mentionAt(text: string, caret: number): Begun | undefined {
  const begun = BEGUN.exec(text.slice(0, caret))?.[1];
  return begun === undefined ? undefined : { from: caret - begun.length - 1, text: begun };
}

/** Whether a text may mean somebody who is not among these members. */
export function mayMeanOthers(text: string, members: Member[]): boolean {
  return meant(text, members).includes(undefined);
}

/** The ids of members whose handles are in a text. */
export function mentionedIn(text: string, members: Member[]): string[] {
  const found = new Set(meant(text, members));
  return members.filter((it) => found.has(it)).map((it) => it.user_id);
}

/** Of each mention the member whose handle is the longest that fits. */
function meant(text: string, members: Member[]): (Member | undefined)[] {
  const longestFirst = members.toSorted((a, b) => b.handle.length - a.handle.length);
  return [...text.matchAll(WRITTEN)].map(([, written = '']) => longestFirst.find(({ handle }) => isOf(written.toLowerCase(), handle.toLowerCase())));
}

function isOf(written: string, handle: string): boolean {
  const ending = /[a-z\d]$/.test(handle) ? KOREAN : PARTICLE;
  return written.startsWith(handle) && ending.test(written.slice(handle.length));
}

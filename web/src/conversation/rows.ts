/** What stands under one another in a conversation: messages, and what divides them. */

import type { Message } from '@madang/client';

import { dayOf } from '../words/today.svelte';
import type { Pending } from './timeline.svelte';

/** Messages of one sender that stand so close are one block. */
const BLOCK_MS = 5 * 60_000;

export type Row =
  | { key: string; kind: 'day'; at: string }
  | { key: string; kind: 'unread' }
  | { key: string; kind: 'message'; message: Message; isFirst: boolean; isLast: boolean }
  | { key: string; kind: 'pending'; pending: Pending; isFirst: boolean };

/**
 * The rows of now. What is as it was `before` is the same object: only what has changed is drawn again.
 *
 * `readBefore` is the number up to which everything was read when the conversation was opened.
 */
export function rowsOf(items: Message[], pending: Pending[], me: string, readBefore: number, before: Row[]): Row[] {
  const kept = new Map(before.map((row) => [row.key, row]));
  return layOut(items, pending, me, readBefore).map((row) => {
    const known = kept.get(row.key);
    return known && isAlike(known, row) ? known : row;
  });
}

function isAlike(a: Row, b: Row): boolean {
  const [one, other] = [a, b] as unknown as [Record<string, unknown>, Record<string, unknown>];
  return Object.keys(other).every((name) => one[name] === other[name]);
}

function layOut(items: Message[], pending: Pending[], me: string, readBefore: number): Row[] {
  const rows: Row[] = [];
  // What others call their messages is theirs to choose: only one's own are known by their keys, from before they were sent.
  const known = new Set<string>();
  let before: Message | undefined;
  let isDivided = false;
  for (const [at, message] of items.entries()) {
    if (message.from === me) known.add(message.key);
    const isNewDay = before === undefined || dayOf(before.at) !== dayOf(message.at);
    if (isNewDay) rows.push({ key: `day ${message.seq}`, kind: 'day', at: message.at });
    const isUnread = !isDivided && message.seq > readBefore && before !== undefined && message.from !== me;
    if (isUnread) rows.push({ key: 'unread', kind: 'unread' });
    isDivided ||= message.seq > readBefore;
    const isFirst = isNewDay || isUnread || !isOneBlock(before, message);
    const next = items[at + 1];
    const isLast = next === undefined || !isOneBlock(message, next) || dayOf(next.at) !== dayOf(message.at);
    const key = message.from === me ? `own ${message.key}` : `message ${message.id}`;
    rows.push({ key, kind: 'message', message, isFirst, isLast });
    before = message;
  }
  const waiting = pending.filter((it) => !known.has(it.key));
  for (const [at, it] of waiting.entries()) {
    const isFirst = at === 0 && (before?.from !== me || before.deleted_at !== null);
    rows.push({ key: `own ${it.key}`, kind: 'pending', pending: it, isFirst });
  }
  return rows;
}

function isOneBlock(before: Message | undefined, after: Message): boolean {
  return before !== undefined && before.from === after.from && Date.parse(after.at) - Date.parse(before.at) < BLOCK_MS;
}

import { expect, test } from 'vitest';

import { Channel, type DurableEvent, type Gap, type Message } from '../src/index.js';
import { until } from './people.js';

const message = (seq: number): Message => ({
  id: `id-${seq}`,
  seq,
  key: `key-${seq}`,
  from: 'ann',
  body: `${seq}`,
  at: '2026-11-22T00:00:00.000Z',
  edited_at: null,
  deleted_at: null,
  reactions: [],
  reply_to: null,
  mentions: [],
  attachments: [],
});

const event = (seq: number): DurableEvent => ({
  event: 'message_sent',
  channel: 'room:1',
  seq,
  epoch: 'a',
  at: '2026-11-22T00:00:00.000Z',
  from: 'ann',
  data: { id: `id-${seq}`, key: `key-${seq}`, body: `${seq}` },
});

/** A channel whose messages are read two at a time, when they are let. */
function followed(after: number, until: () => number) {
  const waiting: (() => void)[] = [];
  const read = async (_: string, from: number) => {
    await new Promise<void>((go) => waiting.push(go));
    return [from + 1, from + 2].filter((seq) => seq <= until()).map(message);
  };
  const channel = new Channel('room:1', { after }, read, () => {});
  const heard: number[] = [];
  const gaps: Gap[] = [];
  channel.on('event', ({ seq }) => heard.push(seq));
  channel.on('gap', (gap) => gaps.push(gap));
  const go = async () => {
    await until_(() => waiting.length > 0);
    waiting.shift()?.();
  };
  return { channel, heard, gaps, go };
}
const until_ = (is: () => boolean) => until(is, 'it is asked for');

test('what was heard is told once, whichever link it comes over', () => {
  const { channel, heard } = followed(3, () => 0);

  for (const seq of [2, 3, 4, 5, 4, 5, 6, 5, 7]) channel.hear(event(seq));

  expect(heard).toEqual([4, 5, 6, 7]);
  expect(channel.subscription()).toEqual({ channel: 'room:1', after: 7, epoch: 'a' });
});

test('what comes while a gap is filled is told behind it', async () => {
  const { channel, heard, go } = followed(1, () => 4);
  channel.gap(1, 4);
  channel.hear(event(5));
  expect(heard).toEqual([]);

  await go();
  await go();
  await until(() => heard.length === 4, 'all is told');
  channel.hear(event(6));

  expect(heard).toEqual([2, 3, 4, 5, 6]);
});

test('of two gaps the second is filled, too, though the first is not over', async () => {
  let head = 3;
  const { channel, heard, gaps, go } = followed(1, () => head);
  channel.gap(1, 3);
  // The link broke, and the next one is further ahead.
  head = 6;
  channel.gap(1, 6);
  channel.hear(event(7));

  for (let n = 0; n < 3; n++) await go();
  await until(() => heard.length === 6, 'all is told');

  expect(heard).toEqual([2, 3, 4, 5, 6, 7]);
  expect(gaps.map((gap) => gap.head)).toEqual([3, 6]);
});

test('a gap that is too wide, or in another log, begins anew at the head', () => {
  for (const [have, head] of [[1, 5_000], [9, 4]] as const) {
    const { channel, heard, gaps } = followed(have, () => 0);
    channel.gap(have, head);
    channel.hear(event(head + 1));

    expect(gaps).toMatchObject([{ have, head, isFilled: false }]);
    expect(heard).toEqual([head + 1]);
  }
});

test('what another link has told meanwhile is no gap, and of one that goes further only the rest is', async () => {
  const { channel, heard, gaps, go } = followed(1, () => 6);
  for (const seq of [2, 3, 4]) channel.hear(event(seq));

  channel.gap(1, 3);
  expect(gaps).toEqual([]);
  channel.gap(1, 6);
  await go();
  await until(() => heard.length === 5, 'all is told');

  expect(gaps).toMatchObject([{ have: 4, head: 6, isFilled: true }]);
  expect(heard).toEqual([2, 3, 4, 5, 6]);
});

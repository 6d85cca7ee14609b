/** Which way a connection goes and what it says there, with links that are made up. */

import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { ConnectionLost, MemoryOutbox, type PresenceChoice } from '../src/index.js';
import { Realtime } from '../src/realtime/realtime.js';
import type { Heard, Hello, Link, Opener } from '../src/realtime/transport.js';

const LIMITS = { frame_bytes_max: 1, body_chars_max: 1, channels_max: 1, ops_per_second: 1, ops_burst: 1 };
const greeting = { connection: '', user: '', ping_ms: 0, limits: LIMITS, epoch: '', channels: {} };

/** A way that can be gone, or not; each try is kept, and what was asked on it. */
class Way {
  isOpen = true;
  /** When it was tried, in seconds. */
  readonly tries: number[] = [];
  readonly asked: [string, object][] = [];
  readonly said: (PresenceChoice | undefined)[] = [];
  heard: Heard | undefined;
  /** What a hello waits for. */
  answer: Promise<void> = Promise.resolve();

  constructor(private readonly kind: Link['kind']) {}

  readonly open: Opener = async (hello: Hello, heard: Heard) => {
    this.tries.push(Math.floor(Date.now() / 1_000));
    this.said.push(hello.presence);
    await this.answer;
    if (!this.isOpen) throw new ConnectionLost();
    this.heard = heard;
    const request = async (op: string, fields: object) => {
      this.asked.push([op, fields]);
      return {} as never;
    };
    const done = async () => {};
    return { kind: this.kind, greeting, request, subscribe: async () => ({}), unsubscribe: done, renew: done, probe: done, close: () => {} };
  };
}

function connected() {
  const [first, second] = [new Way('socket'), new Way('stream')];
  const realtime = new Realtime({
    credentials: { token: async () => undefined, renew: async () => undefined },
    openers: [first.open, second.open],
    outbox: new MemoryOutbox(),
    surroundings: { isOnline: () => true, isVisible: () => true, watch: () => () => {} },
    random: () => 0,
  });
  return { first, second, realtime };
}

beforeEach(() => void vi.useFakeTimers({ now: 0 }));
afterEach(() => void vi.useRealTimers());

test('a first way that is back soon is gone again soon, and one that is not is tried ever less often', async () => {
  const { first, second, realtime } = connected();
  first.isOpen = false;
  realtime.start();
  await vi.advanceTimersByTimeAsync(1_300_000);

  expect(first.tries).toEqual([0, 0, 0, 10, 30, 70, 150, 310, 610, 910, 1_210]);
  expect(second.tries).toEqual([0]);

  first.isOpen = true;
  await vi.advanceTimersByTimeAsync(300_000);
  expect(first.tries.at(-1)).toBe(1_510);
  first.tries.length = 0;
  first.isOpen = false;
  first.heard?.onClosed(new ConnectionLost());
  await vi.advanceTimersByTimeAsync(25_000);

  expect(second.tries, 'the other way is gone again').toHaveLength(2);
  expect(first.tries, 'and is left again soon').toEqual([1_600, 1_600, 1_610]);
  realtime.stop();
});

test('a choice that is made while a connection is being opened is said on it, and one that its hello had is not', async () => {
  const { first, realtime } = connected();
  let letGo = () => {};
  first.answer = new Promise((go) => (letGo = go));
  realtime.start();
  await vi.advanceTimersByTimeAsync(0);
  expect(first.said).toEqual([undefined]);

  await realtime.setPresence('invisible');
  letGo();
  await vi.advanceTimersByTimeAsync(0);
  expect(first.asked).toEqual([['set_presence', { status: 'invisible' }]]);

  first.heard?.onClosed(new ConnectionLost());
  await vi.advanceTimersByTimeAsync(1_000);
  expect(first.said).toEqual([undefined, 'invisible']);
  expect(first.asked).toHaveLength(1);
  realtime.stop();
});

import { expect, test } from 'vitest';

import { Lanes, type Lane } from '../src/realtime/lanes.js';
import type { ChannelName } from '../src/index.js';

const names = (from: number, to: number) => Array.from({ length: to - from }, (_, n): ChannelName => `room:${from + n}`);

/** Carries what was planned, as a link does. */
function carry(lanes: Lanes, carried: Map<Lane, Set<ChannelName>>, wanted: ChannelName[]): ChannelName[] {
  const { changed, unplaced } = lanes.place(wanted, carried);
  for (const [lane, load] of changed) {
    carried.set(lane, load);
    for (const name of load) lane.known.add(name);
  }
  return unplaced;
}

const sizes = (carried: Map<Lane, Set<ChannelName>>) => [...carried.values()].map((load) => load.size);

test('a lane carries thirty-two channels, four lanes are all, and the rest is told to wait', () => {
  const [lanes, carried] = [new Lanes(), new Map<Lane, Set<ChannelName>>()];

  expect(carry(lanes, carried, names(0, 64))).toEqual([]);
  expect(carry(lanes, carried, names(64, 130))).toEqual(names(128, 130));

  expect(sizes(carried)).toEqual([32, 32, 32, 32]);
});

test('a channel goes back to the lane that knows it, for the next link as well', () => {
  const lanes = new Lanes();
  const before = new Map<Lane, Set<ChannelName>>();
  carry(lanes, before, names(0, 40));
  const second = [...before.keys()][1];

  const after = new Map<Lane, Set<ChannelName>>();
  carry(lanes, after, [...names(32, 40), ...names(0, 32)]);

  expect(after.get(second as Lane)).toEqual(new Set(names(32, 40)));
  expect(sizes(after).toSorted()).toEqual([32, 8]);
});

test('a new channel takes the room that there is before another stream is opened', () => {
  const [lanes, carried] = [new Lanes(), new Map<Lane, Set<ChannelName>>()];
  carry(lanes, carried, names(0, 40));

  const { changed } = lanes.place(names(40, 42), carried);

  expect([...changed.values()].map((load) => load.size)).toEqual([10]);
});

import { expect, test } from 'vitest';

import type { Change, Gap, RoomChannel, Surroundings } from '../src/index.js';
import { Fixture, numbered } from './fixture.js';
import { faultsInTheEnd } from './oracle.js';
import { Ears, Person, until } from './people.js';
import { Proxy } from './proxy.js';
import { Server } from './server.js';

const fixture = new Fixture();

/** What a test changes as it likes. */
class Weather implements Surroundings {
  readonly #listeners = new Set<(change: Change) => void>();

  isOnline = () => true;
  isVisible = () => true;

  watch(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/** A connection that no socket comes through for, and the streams that it has opened; `ask` makes its requests. */
async function withoutSockets(person: Person, way?: Proxy, ask: typeof fetch = fetch) {
  const proxy = way ?? (await fixture.proxy());
  proxy.refusesSockets = true;
  const streams: string[] = [];
  const counted: typeof fetch = (url, init) => {
    if (String(url).includes('/v1/stream?')) streams.push(String(url));
    return ask(url, init);
  };
  const surroundings = new Weather();
  const realtime = fixture.stopped(person.realtime({ url: proxy.url, fetch: counted, surroundings }));
  const states: string[] = [];
  realtime.on('state', ({ name }) => states.push(name));
  const isLive = () => until(() => realtime.state.name === 'live', 'it is live', 40_000);
  return { proxy, realtime, surroundings, streams, states, isLive };
}

/** Rooms of a person's own, ten made at a time. */
async function roomsOf(person: Person, count: number): Promise<RoomChannel[]> {
  const rooms: RoomChannel[] = [];
  while (rooms.length < count) {
    const some = Array.from({ length: Math.min(10, count - rooms.length) }, async () => {
      const { data } = await person.rest.POST('/v1/chat/rooms', {
        body: { kind: 'group', name: 'one of many', member_ids: [], visibility: 'private' },
      });
      return `room:${data!.id}` as const;
    });
    rooms.push(...(await Promise.all(some)));
  }
  return rooms;
}

const idOf = (room: RoomChannel) => room.slice('room:'.length);

/** Says something over REST, as another device would. */
async function say(person: Person, room: RoomChannel, body: string): Promise<void> {
  const said = { key: crypto.randomUUID(), body };
  await person.rest.POST('/v1/chat/rooms/{id}/messages', { params: { path: { id: idOf(room) } }, body: said });
}

test('where no WebSocket comes through, an event stream does the same', async () => {
  const { room, proxies, a, b, earsA, earsB } = await fixture.pair();
  for (const proxy of proxies) {
    proxy.refusesSockets = true;
    proxy.cut();
  }
  await until(() => a.state.name === 'live' && b.state.name === 'live', 'both have a stream', 40_000);
  const said = [...numbered(10), 'while it was cut'];

  await Promise.all(said.slice(0, 10).map((body) => a.send(room, { body })));
  await until(() => earsB.bodies.length >= 10, 'all are heard');
  proxies[1].cut();
  await a.send(room, { body: 'while it was cut' });

  expect(await faultsInTheEnd(earsB, said)).toEqual([]);
  expect(await faultsInTheEnd(earsA, said)).toEqual([]);
}, 90_000);

test('seventy rooms are three streams, and each of them goes on where it was', async () => {
  const ann = await fixture.person();
  const rooms = await roomsOf(ann, 70);
  const { proxy, realtime, streams, isLive } = await withoutSockets(ann);
  const channels = rooms.map((room) => realtime.channel(room, { after: 0 }));
  const ears = channels.map((channel) => new Ears(channel));
  realtime.start();
  await isLive();
  const gaps: Gap[] = [];
  for (const channel of channels) channel.on('gap', (gap) => gaps.push(gap));
  const carried = streams.map((url) => url.split('channel=').length - 1);
  expect(carried.reduce((sum, it) => sum + it, 0)).toBe(70);
  expect(carried.toSorted((a, b) => b - a)).toEqual([32, 32, 6]);
  const some = [0, 31, 32, 63, 64, 69];
  for (const n of some) await say(ann, rooms[n] as RoomChannel, 'one');
  await until(() => some.every((n) => ears[n]?.bodies.includes('one')), 'the first are heard');

  proxy.cut();
  for (const n of some) await say(ann, rooms[n] as RoomChannel, 'two');
  for (const n of some) await say(ann, rooms[n] as RoomChannel, 'three');

  for (const n of some) expect(await faultsInTheEnd(ears[n] as Ears, ['one', 'two', 'three'])).toEqual([]);
  await isLive();
  expect(gaps).toEqual([]);
}, 120_000);

test('rooms that the streams have no room for are followed when a socket is back, with what was said meanwhile', async () => {
  const ann = await fixture.person();
  const rooms = await roomsOf(ann, 132);
  const { proxy, realtime, surroundings, states } = await withoutSockets(ann);
  const channels = rooms.map((room) => realtime.channel(room, { after: 0 }));
  const ears = channels.map((channel) => new Ears(channel));
  realtime.start();
  await until(() => channels.filter((channel) => channel.isLive).length === 128, 'four streams are full', 60_000);
  expect(channels.filter((channel) => channel.isEnded)).toEqual([]);
  expect(realtime.state.name).toBe('catching_up');
  const [first, left, late] = [0, 1, 131];
  await say(ann, rooms[first] as RoomChannel, 'one');
  await say(ann, rooms[late] as RoomChannel, 'one');
  await until(() => ears[first]?.bodies.includes('one') === true, 'it is heard');

  // Who leaves one makes room for one of those that wait.
  channels[left]?.leave();
  await until(() => channels.filter((channel) => channel.isLive).length === 129, 'another is followed in its place', 60_000);
  states.length = 0;
  proxy.refusesSockets = false;
  surroundings.tell('online');
  await until(() => realtime.state.name === 'live', 'all are followed', 40_000);
  await say(ann, rooms[first] as RoomChannel, 'two');
  await say(ann, rooms[late] as RoomChannel, 'two');

  expect(await faultsInTheEnd(ears[first] as Ears, ['one', 'two'])).toEqual([]);
  expect(await faultsInTheEnd(ears[late] as Ears, ['one', 'two'])).toEqual([]);
  expect(states.filter((name) => name !== 'catching_up' && name !== 'live')).toEqual([]);
}, 180_000);

test('streams that are cut again and again, and opened anew for other rooms meanwhile, lose and double nothing', async () => {
  const ann = await fixture.person();
  const [room, ...others] = (await roomsOf(ann, 12)) as [RoomChannel, ...RoomChannel[]];
  const { proxy, realtime, isLive } = await withoutSockets(ann);
  const channel = realtime.channel(room, { after: 0 });
  const ears = new Ears(channel);
  realtime.start();
  await isLive();
  const said = [...numbered(40), 'the end'];
  channel.on('event', ({ seq }) => {
    if (seq % 8 === 0) proxy.cut();
    const other = seq % 4 === 1 ? others.pop() : undefined;
    if (other) realtime.channel(other, { after: 0 });
  });

  await Promise.all(said.map((body) => realtime.send(room, { body })));

  expect(await faultsInTheEnd(ears, said)).toEqual([]);
  await isLive();
}, 90_000);

test('streams go over to a fresh token, and to the process of a deploy, without a break', async () => {
  const settings = { MADANG__AUTH__ACCESS_TOKEN_TTL_S: '62', MADANG__HTTP__DRAIN_WINDOW_S: '1' };
  const server = await Server.start(settings);
  const way = await Proxy.to(server.port);
  try {
    const ann = await Person.register(server.url);
    const rooms = await roomsOf(ann, 40);
    const { realtime, states, streams, isLive } = await withoutSockets(ann, way);
    const channels = rooms.map((room) => realtime.channel(room, { after: 0 }));
    const ears = channels.map((channel) => new Ears(channel));
    realtime.start();
    await isLive();
    states.length = streams.length = 0;
    const token = await ann.session.token();

    await until(async () => (await ann.session.token()) !== token && streams.length === 2, 'both streams have another token', 30_000);
    for (const n of [0, 39]) await say(ann, rooms[n] as RoomChannel, 'one');
    await server.deploy();
    for (const n of [0, 39]) await say(ann, rooms[n] as RoomChannel, 'two');

    for (const n of [0, 39]) expect(await faultsInTheEnd(ears[n] as Ears, ['one', 'two'])).toEqual([]);
    expect(states.filter((name) => name !== 'catching_up' && name !== 'live')).toEqual([]);
    realtime.stop();
  } finally {
    await way.close();
    await server.remove();
  }
}, 90_000);

test('a message whose token has ended is said again with a fresh one, and not refused', async () => {
  const ann = await fixture.person();
  const [room] = (await roomsOf(ann, 1)) as [RoomChannel];
  let isOld = true;
  const { realtime, isLive } = await withoutSockets(ann, undefined, (url, init) => {
    const isMessage = init?.method === 'POST' && String(url).endsWith('/messages');
    if (!isOld || !isMessage) return fetch(url, init);
    isOld = false;
    return fetch(url, { ...init, headers: { 'content-type': 'application/json', authorization: 'Bearer of.yester.day' } });
  });
  const ears = new Ears(realtime.channel(room, { after: 0 }));
  realtime.start();
  await isLive();

  await realtime.send(room, { body: 'said' });

  expect(isOld).toBe(false);
  expect(await faultsInTheEnd(ears, ['said'])).toEqual([]);
}, 60_000);

test('a room that is left and opened again while its stream is opened anew misses nothing', async () => {
  const ann = await fixture.person();
  const [room, ...others] = (await roomsOf(ann, 6)) as [RoomChannel, ...RoomChannel[]];
  const { realtime, isLive } = await withoutSockets(ann);
  const first = realtime.channel(room, { after: 0 });
  realtime.start();
  await isLive();
  const said = numbered(12);
  for (const body of said.slice(0, 6)) await say(ann, room, body);

  realtime.channel(others[0] as RoomChannel, { after: 0 });
  await Promise.resolve();
  first.leave();
  const ears = new Ears(realtime.channel(room, { after: 0 }));
  for (const body of said.slice(6)) await say(ann, room, body);

  expect(await faultsInTheEnd(ears, said)).toEqual([]);
}, 60_000);

test('a room that is opened on a stream is followed without a break, and those asked for at once in one go', async () => {
  const ann = await fixture.person();
  const rooms = await roomsOf(ann, 8);
  const { realtime, streams, states, isLive } = await withoutSockets(ann);
  const ears = [new Ears(realtime.channel(rooms[0] as RoomChannel, { after: 0 }))];
  realtime.start();
  await isLive();
  states.length = 0;
  streams.length = 0;

  for (const room of rooms.slice(1)) ears.push(new Ears(realtime.channel(room, { after: 0 })));
  await say(ann, rooms[0] as RoomChannel, 'in the first');
  await say(ann, rooms[7] as RoomChannel, 'in the last');

  expect(await faultsInTheEnd(ears[0] as Ears, ['in the first'])).toEqual([]);
  expect(await faultsInTheEnd(ears[7] as Ears, ['in the last'])).toEqual([]);
  await isLive();
  expect(streams.length).toBe(1);
  expect(states.filter((name) => name !== 'catching_up' && name !== 'live')).toEqual([]);
}, 60_000);

test('a room that is lost while nobody listens ends alone', async () => {
  const [ann, ben] = await fixture.people();
  const [kept] = (await roomsOf(ann, 1)) as [RoomChannel];
  const { data } = await ben.rest.POST('/v1/chat/rooms', {
    body: { kind: 'group', name: 'of both', member_ids: [ann.id], visibility: 'private' },
  });
  const lost: RoomChannel = `room:${data!.id}`;
  const { proxy, realtime, isLive } = await withoutSockets(ann);
  const ears = new Ears(realtime.channel(kept, { after: 0 }));
  const ended: string[] = [];
  realtime.channel(lost, { after: 0 }).on('ended', (reason) => ended.push(reason));
  realtime.start();
  await isLive();
  proxy.isDead = true;
  proxy.cut();
  await until(() => realtime.state.name !== 'live', 'it is away');
  await ann.rest.POST('/v1/chat/rooms/{id}/leave', { params: { path: { id: idOf(lost) } } });
  await say(ann, kept, 'still here');

  proxy.isDead = false;
  proxy.cut();
  realtime.retryNow();

  expect(await faultsInTheEnd(ears, ['still here'])).toEqual([]);
  expect(ended).toEqual(['room_not_found']);
}, 60_000);

test('what was said before a channel begins at its head is not told, whatever the stream of before knows', async () => {
  const ann = await fixture.person();
  const [room] = (await roomsOf(ann, 1)) as [RoomChannel];
  const { proxy, realtime, isLive } = await withoutSockets(ann);
  const before = realtime.channel(room, { after: 0 });
  const ears = new Ears(before);
  realtime.start();
  await isLive();
  await say(ann, room, 'before');
  await until(() => ears.bodies.includes('before'), 'it is heard');
  proxy.isDead = true;
  proxy.cut();
  await until(() => realtime.state.name !== 'live', 'it is away');
  before.leave();
  await say(ann, room, 'while nobody follows it');

  const after = realtime.channel(room);
  const earsAfter = new Ears(after);
  proxy.isDead = false;
  proxy.cut();
  realtime.retryNow();
  await until(() => after.isLive, 'it is followed again');
  await say(ann, room, 'after');

  expect(await faultsInTheEnd(earsAfter, ['after'])).toEqual([]);
  expect(ears.bodies).toEqual(['before']);
}, 60_000);

test('a client that follows nothing sends over a stream as well', async () => {
  const ann = await fixture.person();
  const [room] = (await roomsOf(ann, 1)) as [RoomChannel];
  const { realtime, isLive } = await withoutSockets(ann);
  realtime.start();
  await isLive();

  const sent = await realtime.send(room, { body: 'said' });

  expect(sent.duplicate).toBe(false);
  const ears = new Ears(realtime.channel(room, { after: 0 }));
  expect(await faultsInTheEnd(ears, ['said'])).toEqual([]);
}, 60_000);

test('nobody is hidden by a stream: it says so, and the choice holds from the next socket on', async () => {
  const [ann, ben] = await fixture.people();
  await ann.roomWith(ben);
  const { proxy, realtime, surroundings, isLive } = await withoutSockets(ann);
  const other = fixture.stopped(ben.realtime());
  realtime.start();
  other.start();
  await isLive();
  const status = async () => (await other.watchPresence([ann.id]))[0]?.status;

  await expect(realtime.setPresence('invisible')).rejects.toMatchObject({ code: 'presence_needs_socket' });
  expect(await status()).toBe('online');

  proxy.refusesSockets = false;
  surroundings.tell('online');
  await until(async () => (await status()) === 'offline', 'a socket hides her');
}, 60_000);

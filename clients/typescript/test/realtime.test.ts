import { expect, test } from 'vitest';

import { MemoryOutbox, type Gap } from '../src/index.js';
import { Fixture, numbered } from './fixture.js';
import { faultsInTheEnd } from './oracle.js';
import { Ears, Person, until } from './people.js';
import { Server } from './server.js';

const fixture = new Fixture();

const strictlyAscending = (seqs: number[]) => seqs.every((seq, n) => n === 0 || seq > (seqs[n - 1] ?? 0));

test('what one says the other hears, once and in order', async () => {
  const { room, a, earsA, earsB } = await fixture.pair();
  const said = numbered(20);

  const sent = await Promise.all(said.map((body) => a.send(room, { body })));

  await until(() => earsB.bodies.length >= 20 && earsA.bodies.length >= 20, 'all are heard');
  expect(earsB.bodies).toEqual(said);
  expect(earsA.bodies).toEqual(said);
  expect(strictlyAscending(sent.map((it) => it.seq))).toBe(true);
});

test('connections that are cut again and again lose and double nothing', async () => {
  const { room, proxies, a, b, earsA, earsB } = await fixture.pair();
  const said = [...numbered(60), 'the end'];
  let connections = 0;
  for (const [n, realtime] of [a, b].entries()) {
    realtime.channel(room).on('event', ({ seq }) => seq % 5 === 0 && proxies[n]?.cut());
    realtime.on('state', ({ name }) => (connections += Number(name === 'connecting')));
  }

  await Promise.all(said.map((body) => a.send(room, { body })));

  expect(await faultsInTheEnd(earsB, said)).toEqual([]);
  expect(await faultsInTheEnd(earsA, said)).toEqual([]);
  expect(connections).toBeGreaterThan(10);
});

test('a network that says everything twice, and late, doubles nothing', async () => {
  const { room, proxies, a, earsB } = await fixture.pair();
  for (const proxy of proxies) [proxy.isDoubling, proxy.delayMs] = [true, 20];
  const said = [...numbered(15), 'the end'];

  await Promise.all(said.map((body) => a.send(room, { body })));

  expect(await faultsInTheEnd(earsB, said)).toEqual([]);
});

test('what is said while there is no way to the server arrives once, when there is', async () => {
  const { room, proxies, a, earsB } = await fixture.pair();
  proxies[0].isDead = true;
  proxies[0].cut();
  await until(() => a.state.name !== 'live', 'it is told that there is no connection');
  const said = numbered(5);
  const sending = said.map((body) => a.send(room, { body }));
  expect(a.outbox.list().length).toBe(5);

  proxies[0].isDead = false;
  proxies[0].cut();
  a.retryNow();
  await Promise.all(sending);

  await until(() => earsB.bodies.length >= 5, 'all are heard');
  expect(earsB.bodies).toEqual(said);
  expect(a.outbox.list()).toEqual([]);
});

test('what waited when the page went is sent by the next one, under the same key', async () => {
  const { ann, room, earsB } = await fixture.pair();
  const storage = new MemoryOutbox();
  const before = ann.realtime({ outbox: storage, url: 'http://127.0.0.1:9' });
  fixture.stopped(before);
  before.start();
  void before.send(room, { body: 'before' }, 'the-key').catch(() => {});
  await until(async () => (await storage.load()).length === 1, 'it is kept');
  before.stop();

  const after = ann.realtime({ outbox: storage });
  fixture.stopped(after);
  after.start();

  await until(() => earsB.bodies.includes('before'), 'it is heard');
  await until(async () => (await storage.load()).length === 0, 'it is kept no more');
  const again = await after.send(room, { body: 'before' }, 'the-key');
  expect(again.duplicate).toBe(true);
  expect(earsB.bodies).toEqual(['before']);
});

test('a key that waits already is one message, and both who sent it are told of it', async () => {
  const { room, proxies, a, earsB } = await fixture.pair();
  proxies[0].isDead = true;
  proxies[0].cut();
  await until(() => a.state.name !== 'live', 'it is told that there is no connection');
  const sending = [a.send(room, { body: 'once' }, 'one-key'), a.send(room, { body: 'once' }, 'one-key')];
  expect(a.outbox.list().length).toBe(1);

  proxies[0].isDead = false;
  proxies[0].cut();
  a.retryNow();
  const [first, second] = await Promise.all(sending);
  await a.send(room, { body: 'the end' });

  expect(second).toEqual(first);
  expect(await faultsInTheEnd(earsB, ['once', 'the end'])).toEqual([]);
});

test('a channel that is asked for while a connection is being made is followed on it', async () => {
  const { ben, room, a } = await fixture.pair();
  let opened: (() => void) | undefined;
  const opening = new Promise<void>((resolve) => (opened = resolve));
  const credentials = { token: () => ben.session.token(), renew: () => ben.session.renew() };
  const realtime = fixture.stopped(ben.realtime({ credentials }));
  realtime.on('state', ({ name }) => name === 'connecting' && opened?.());
  realtime.start();
  await opening;
  // The hello is out, or about to be.
  await ben.session.token();
  const ears = new Ears(realtime.channel(room, { after: 0 }));

  await a.send(room, { body: 'heard' });

  expect(await faultsInTheEnd(ears, ['heard'])).toEqual([]);
});

test('what the server refuses stays, says why, and holds up nobody', async () => {
  const { room, a, earsB } = await fixture.pair();

  await expect(a.send(room, { body: '' })).rejects.toMatchObject({ code: 'message_empty' });
  await a.send(room, { body: 'next' });

  await until(() => earsB.bodies.length === 1, 'the next is heard');
  const [refused] = a.outbox.list();
  expect(refused?.refused?.code).toBe('message_empty');
  await a.outbox.discard(refused?.key ?? '');
  expect(a.outbox.list()).toEqual([]);
});

test('who is too far behind is told of the gap, and given the messages in it', async () => {
  const { ann, ben, room, a } = await fixture.pair();
  const other = ben.realtime();
  fixture.stopped(other);
  const channel = other.channel(room, { after: 0, epoch: 'of another database' });
  const ears = new Ears(channel);
  const gaps: Gap[] = [];
  channel.on('gap', (gap) => gaps.push(gap));
  const said = numbered(230);
  for (const body of said) await a.send(room, { body });

  other.start();
  await until(() => ears.bodies.length >= 230, 'the gap is filled');
  await until(() => other.state.name === 'live', 'it is live then');
  await a.send(room, { body: 'after' });
  await until(() => ears.bodies.length >= 231, 'it goes on');

  expect(gaps).toMatchObject([{ have: 0, isFilled: true }]);
  expect(ears.bodies).toEqual([...said, 'after']);
  expect(ann.id).not.toBe(ben.id);
}, 60_000);

test('a server that is killed in the middle loses and doubles nothing', async () => {
  const { room, a, b, earsA, earsB } = await fixture.pair();
  const said = numbered(30);
  const sending = Promise.all(said.map((body) => a.send(room, { body })));
  await until(() => earsB.bodies.length >= 3, 'some are heard');

  await fixture.server.kill();
  await until(() => a.state.name !== 'live' && b.state.name !== 'live', 'both notice');
  await fixture.server.again();
  a.retryNow();
  b.retryNow();
  await sending;
  await a.send(room, { body: 'the end' });

  expect(await faultsInTheEnd(earsB, [...said, 'the end'])).toEqual([]);
  expect(await faultsInTheEnd(earsA, [...said, 'the end'])).toEqual([]);
}, 60_000);

test('a deploy is not seen: the next link is there before the one before is left', async () => {
  const place = await Server.start({ MADANG__HTTP__DRAIN_WINDOW_S: '1' });
  try {
    const [ann, ben] = await Promise.all([Person.register(place.url), Person.register(place.url)]);
    const room = await ann.roomWith(ben);
    const [a, b] = [ann.realtime(), ben.realtime()];
    fixture.stopped(a);
    fixture.stopped(b);
    const ears = new Ears(b.channel(room, { after: 0 }));
    a.start();
    b.start();
    await until(() => a.state.name === 'live' && b.state.name === 'live', 'both are live');
    const states: string[] = [];
    for (const it of [a, b]) it.on('state', ({ name }) => states.push(name));
    const said = numbered(60);

    const deploying = place.deploy();
    for (const body of said) {
      await a.send(room, { body });
      await new Promise((tick) => setTimeout(tick, 50));
    }
    await deploying;
    await a.send(room, { body: 'at the new one' });

    expect(await faultsInTheEnd(ears, [...said, 'at the new one'])).toEqual([]);
    expect(states.filter((name) => name !== 'live' && name !== 'catching_up')).toEqual([]);
    a.stop();
    b.stop();
  } finally {
    await place.remove();
  }
}, 60_000);

test('who logs out elsewhere is not reconnected, and told why', async () => {
  const { ann, a } = await fixture.pair();

  await ann.session.logout();

  await until(() => a.state.name === 'ended', 'it has ended');
  expect(a.state).toMatchObject({ name: 'ended' });
});

test('a token is renewed before it ends, and the connection stays', async () => {
  const short = await Server.start({ MADANG__AUTH__ACCESS_TOKEN_TTL_S: '62' });
  try {
    const person = await Person.register(short.url);
    const realtime = person.realtime();
    fixture.stopped(realtime);
    realtime.channel('me');
    const states: string[] = [];
    realtime.on('state', (state) => states.push(state.name));
    realtime.start();
    await until(() => realtime.state.name === 'live', 'it is live');
    const before = await person.session.token();

    await until(async () => (await person.session.token()) !== before, 'there is another token', 30_000);

    expect(states.filter((name) => name === 'offline' || name === 'connecting')).toEqual(['connecting']);
    realtime.stop();
  } finally {
    await short.remove();
  }
}, 60_000);

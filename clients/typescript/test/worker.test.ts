import { MessageChannel } from 'node:worker_threads';

import { expect, test } from 'vitest';
import WebSocket from 'ws';

import type { Realtime } from '../src/index.js';
import { connectShared, TabHost, type Port } from '../src/worker/index.js';
import { Fixture, numbered } from './fixture.js';
import { Ears, until, type Person } from './people.js';

const fixture = new Fixture();

/** A worker, and tabs of it. */
function worker(Socket: typeof WebSocket = WebSocket) {
  const host = new TabHost({ url: fixture.server.url, WebSocket: Socket as never });
  const tab = (person: Person): Realtime => {
    const open = () => {
      const { port1, port2 } = new MessageChannel();
      host.add(asPort(port1));
      return asPort(port2);
    };
    return fixture.stopped(connectShared({ open, user: person.id, credentials: person.session }));
  };
  return tab;
}

const asPort = (port: unknown) => port as Port;

async function connectionsOf(person: Person): Promise<number> {
  const text = await (await fetch(`${fixture.server.url}/metrics`)).text();
  expect(person.id).not.toBe('');
  const lines = text.split('\n').filter((line) => line.startsWith('madang_connections'));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

test('ten tabs are one connection, and each hears everything once and in order', async () => {
  const [ann, ben] = await fixture.people();
  const room = await ann.roomWith(ben);
  const before = await connectionsOf(ann);
  const tab = worker();
  const tabs = Array.from({ length: 10 }, () => tab(ann));
  const ears = tabs.map((it) => new Ears(it.channel(room, { after: 0 })));
  for (const it of tabs) it.start();
  await until(() => tabs.every((it) => it.state.name === 'live'), 'all are live');
  expect(await connectionsOf(ann)).toBe(before + 1);
  const other = ben.realtime();
  fixture.stopped(other);
  other.start();
  const said = numbered(30);

  await Promise.all(said.slice(0, 15).map((body, n) => (tabs[n % 10] as Realtime).send(room, { body })));
  for (const body of said.slice(15)) await other.send(room, { body });

  await until(() => ears.every((it) => it.bodies.length >= 30), 'all tabs hear all');
  for (const { bodies } of ears) {
    expect(bodies).toEqual(ears[0]?.bodies);
    expect([...bodies].sort()).toEqual([...said].sort());
  }
});

test('a tab that comes later is given what it missed, from wherever it was', async () => {
  const [ann, ben] = await fixture.people();
  const room = await ann.roomWith(ben);
  const tab = worker();
  const first = tab(ann);
  const firstEars = new Ears(first.channel(room, { after: 0 }));
  first.start();
  const said = numbered(12);
  for (const body of said) await first.send(room, { body });
  await until(() => firstEars.bodies.length >= 12, 'the first hears all');
  const fifth = firstEars.events.find((it) => it.event === 'message_sent' && it.data.body === 'message 4')?.seq;

  const [fromStart, fromFifth] = [tab(ann), tab(ann)];
  const startEars = new Ears(fromStart.channel(room, { after: 0 }));
  const fifthEars = new Ears(fromFifth.channel(room, { after: fifth ?? 0 }));
  fromStart.start();
  fromFifth.start();

  await until(() => startEars.bodies.length >= 12 && fifthEars.bodies.length >= 7, 'both hear it');
  expect(startEars.bodies).toEqual(said);
  expect(fifthEars.bodies).toEqual(said.slice(5));
});

test('who logs in as somebody else ends what there was for the one before', async () => {
  const [ann, ben] = await fixture.people();
  const tab = worker();
  const [hers, his] = [tab(ann), tab(ben)];
  hers.channel('me');
  his.channel('me');
  hers.start();
  await until(() => hers.state.name === 'live', 'hers is live');

  his.start();

  await until(() => hers.state.name === 'ended' && his.state.name === 'live', 'his is the one');
  expect(hers.state).toEqual({ name: 'ended', code: 'revoked' });
});

/** A socket that keeps whom its connection has asked to watch. */
function recording() {
  const watched: string[][] = [];
  class Recording extends WebSocket {
    override send(...said: never[]): void {
      const request = JSON.parse(String(said[0])) as { op: string; watch?: boolean; users?: string[] };
      if (request.op === 'get_presence' && request.watch) watched.push(request.users ?? []);
      super.send(...(said as unknown as [string]));
    }
  }
  return { Recording: Recording as unknown as typeof WebSocket, watched };
}

test('each tab hears of the users whom it watches, and one that goes takes its list along', async () => {
  const [[ann, ben], cem] = await Promise.all([fixture.people(), fixture.person()]);
  await ann.roomWith(ben);
  await ann.roomWith(cem);
  const { Recording, watched } = recording();
  const tab = worker(Recording);
  const [ofBen, ofCem] = [tab(ann), tab(ann)];
  const heard: Record<string, string[]> = { ben: [], cem: [] };
  ofBen.on('presence', (changes) => heard['ben']?.push(...changes.map((it) => it.user_id)));
  ofCem.on('presence', (changes) => heard['cem']?.push(...changes.map((it) => it.user_id)));
  ofBen.start();
  ofCem.start();
  const first = await ofBen.watchPresence([ben.id]);
  const second = await ofCem.watchPresence([cem.id]);
  expect(first.map((it) => it.user_id)).toEqual([ben.id]);
  expect(second.map((it) => it.user_id)).toEqual([cem.id]);
  expect(watched.at(-1)?.toSorted()).toEqual([ben.id, cem.id].toSorted());

  for (const person of [ben, cem]) fixture.stopped(person.realtime()).start();
  await until(() => heard['ben']?.includes(ben.id) === true && heard['cem']?.includes(cem.id) === true, 'each hears of its own');
  expect(heard['ben']).not.toContain(cem.id);
  expect(heard['cem']).not.toContain(ben.id);

  ofCem.stop();

  await until(() => watched.at(-1)?.join() === ben.id, 'only those of the other tab are watched');
});

test('tabs together watch as many users as one connection may, and whoever asks for more is told so', async () => {
  const ann = await fixture.person();
  const tab = worker();
  const [one, other] = [tab(ann), tab(ann)];
  one.start();
  other.start();
  const some = (count: number) => Array.from({ length: count }, () => crypto.randomUUID());

  await one.watchPresence(some(60));

  await expect(other.watchPresence(some(60))).rejects.toMatchObject({ code: 'too_many' });
  await expect(other.watchPresence(some(40))).resolves.toEqual([]);
});

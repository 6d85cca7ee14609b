import { MessageChannel } from 'node:worker_threads';

import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';

import type { Realtime } from '../src/index.js';
import { connectShared, TabHost, type Port } from '../src/worker/index.js';
import { Ears, Person, until } from './people.js';
import { Server } from './server.js';

let server: Server;
const running: Realtime[] = [];

beforeAll(async () => {
  server = await Server.start();
});
afterAll(async () => {
  for (const realtime of running) realtime.stop();
  await server.remove();
});

/** A worker, and tabs of it. */
function worker() {
  const host = new TabHost({ url: server.url, WebSocket: WebSocket as never });
  const tab = (person: Person): Realtime => {
    const open = () => {
      const { port1, port2 } = new MessageChannel();
      host.add(asPort(port1));
      return asPort(port2);
    };
    const realtime = connectShared({ open, user: person.id, credentials: person.session });
    running.push(realtime);
    return realtime;
  };
  return tab;
}

const asPort = (port: unknown) => port as Port;

async function connectionsOf(person: Person): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  expect(person.id).not.toBe('');
  const lines = text.split('\n').filter((line) => line.startsWith('madang_connections'));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

test('ten tabs are one connection, and each hears everything once and in order', async () => {
  const [ann, ben] = await Promise.all([Person.register(server.url), Person.register(server.url)]);
  const room = await ann.roomWith(ben);
  const before = await connectionsOf(ann);
  const tab = worker();
  const tabs = Array.from({ length: 10 }, () => tab(ann));
  const ears = tabs.map((it) => new Ears(it.channel(room, { after: 0 })));
  for (const it of tabs) it.start();
  await until(() => tabs.every((it) => it.state.name === 'live'), 'all are live');
  expect(await connectionsOf(ann)).toBe(before + 1);
  const other = ben.realtime();
  running.push(other);
  other.start();
  const said = Array.from({ length: 30 }, (_, n) => `message ${n}`);

  await Promise.all(said.slice(0, 15).map((body, n) => (tabs[n % 10] as Realtime).send(room, { body })));
  for (const body of said.slice(15)) await other.send(room, { body });

  await until(() => ears.every((it) => it.bodies.length >= 30), 'all tabs hear all');
  for (const { bodies } of ears) {
    expect(bodies).toEqual(ears[0]?.bodies);
    expect([...bodies].sort()).toEqual([...said].sort());
  }
});

test('a tab that comes later is given what it missed, from wherever it was', async () => {
  const [ann, ben] = await Promise.all([Person.register(server.url), Person.register(server.url)]);
  const room = await ann.roomWith(ben);
  const tab = worker();
  const first = tab(ann);
  const firstEars = new Ears(first.channel(room, { after: 0 }));
  first.start();
  const said = Array.from({ length: 12 }, (_, n) => `message ${n}`);
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
  const [ann, ben] = await Promise.all([Person.register(server.url), Person.register(server.url)]);
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

import { MessageChannel } from 'node:worker_threads';

import { expect, test } from 'vitest';
import WebSocket from 'ws';

import { MemoryOutbox, type Change, type Gap, type Realtime, type RealtimeSettings } from '../src/index.js';
import { connectShared, TabHost, type Port } from '../src/worker/index.js';
import { Fixture, numbered } from './fixture.js';
import { Ears, until, type Person } from './people.js';

const fixture = new Fixture();

/** A worker, and tabs of it. */
function worker(settings: Partial<RealtimeSettings> = {}) {
  const host = new TabHost({ url: fixture.server.url, WebSocket: WebSocket as never, ...settings });
  let greeted = 0;
  const tab = (person: Person, more: Partial<RealtimeSettings> = {}): Realtime => {
    const open = () => {
      const { port1, port2 } = new MessageChannel();
      host.add(asPort(port1));
      port2.once('message', () => (greeted += 1));
      return asPort(port2);
    };
    const { url, id: user, session: credentials } = person;
    return fixture.stopped(connectShared({ url, open, user, credentials, ...more }));
  };
  /** Tabs that the worker has said something to. */
  return Object.assign(tab, { greeted: () => greeted });
}

/** A page that somebody looks at, or not. */
function window() {
  const listeners = new Set<(change: Change) => void>();
  let isVisible = true;
  const surroundings = {
    isOnline: () => true,
    isVisible: () => isVisible,
    watch: (listener: (change: Change) => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const show = (visible: boolean) => {
    isVisible = visible;
    for (const listener of [...listeners]) listener(visible ? 'visible' : 'hidden');
  };
  return { surroundings, show };
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

/** A socket that keeps whom its connection has asked to watch, and how it says hello. */
function recording() {
  const watched: string[][] = [];
  const hellos: (string | undefined)[] = [];
  class Recording extends WebSocket {
    override send(...said: never[]): void {
      const request = JSON.parse(String(said[0])) as { op: string; presence?: string; watch?: boolean; users?: string[] };
      if (request.op === 'hello') hellos.push(request.presence);
      if (request.op === 'get_presence' && request.watch) watched.push(request.users ?? []);
      super.send(...(said as unknown as [string]));
    }
  }
  return { Recording: Recording as unknown as typeof WebSocket, watched, hellos };
}

test('each tab hears of the users whom it watches, and one that goes takes its list along', async () => {
  const [[ann, ben], cem] = await Promise.all([fixture.people(), fixture.person()]);
  await ann.roomWith(ben);
  await ann.roomWith(cem);
  const { Recording, watched } = recording();
  const tab = worker({ WebSocket: Recording as never });
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

test('who is hidden in a tab is hidden before the worker says hello, and another tab may show them again', async () => {
  const [ann, ben] = await fixture.people();
  await ann.roomWith(ben);
  const { Recording, hellos } = recording();
  const tab = worker({ WebSocket: Recording as never });
  const [one, other] = [tab(ann), tab(ann)];
  const seen = fixture.stopped(ben.realtime());
  seen.start();
  await one.setPresence('invisible');
  one.start();
  other.start();
  await until(() => one.state.name === 'live' && other.state.name === 'live', 'both are live');
  const status = async () => (await seen.watchPresence([ann.id]))[0]?.status;

  expect(hellos).toEqual(['invisible']);
  expect(await status()).toBe('offline');
  await other.setPresence('busy');
  await until(async () => (await status()) === 'busy', 'she is shown again');
});

test('tabs together watch as many users as one connection may, and whoever asks last is not left out', async () => {
  const ann = await fixture.person();
  const { Recording, watched } = recording();
  const tab = worker({ WebSocket: Recording as never });
  const [one, other] = [tab(ann), tab(ann)];
  one.start();
  other.start();
  const some = (count: number) => Array.from({ length: count }, () => crypto.randomUUID());

  const last = some(60);
  await one.watchPresence(some(60));

  await other.watchPresence(last);

  expect(watched.at(-1)).toHaveLength(100);
  expect(watched.at(-1)?.slice(0, 60)).toEqual(last);
  await expect(other.watchPresence(some(101))).rejects.toMatchObject({ code: expect.any(String) });
});

test('a tab that knows more than the worker is told nothing twice, and of no gap', async () => {
  const [ann, ben] = await fixture.people();
  const room = await ann.roomWith(ben);
  const proxy = await fixture.proxy();
  const tab = worker({ url: proxy.url });
  const first = tab(ann);
  const firstEars = new Ears(first.channel(room, { after: 0 }));
  const other = fixture.stopped(ben.realtime());
  first.start();
  other.start();
  await other.send(room, { body: 'heard' });
  await until(() => firstEars.bodies.length === 1, 'the worker has heard it');
  proxy.isDead = true;
  proxy.cut();
  await until(() => first.state.name !== 'live', 'the worker is away');
  const { seq } = await other.send(room, { body: 'read elsewhere' });

  const ahead = tab(ann);
  const channel = ahead.channel(room, { after: seq });
  const ears = new Ears(channel);
  const gaps: Gap[] = [];
  channel.on('gap', (gap) => gaps.push(gap));
  ahead.start();
  await until(() => tab.greeted() === 2, 'the worker knows where it is');
  proxy.isDead = false;
  proxy.cut();
  first.retryNow();
  await until(() => ahead.state.name === 'live', 'the worker is back');
  await other.send(room, { body: 'new' });

  await until(() => firstEars.bodies.length === 3 && ears.bodies.length > 0, 'both hear what is new');
  expect(firstEars.bodies).toEqual(['heard', 'read elsewhere', 'new']);
  expect([ears.bodies, gaps]).toEqual([['new'], []]);
});

test('what a tab has said is seen by the tab that is loaded after it, and is in the room once', async () => {
  const [ann, ben] = await fixture.people();
  const room = await ann.roomWith(ben);
  const proxy = await fixture.proxy();
  const tab = worker({ url: proxy.url });
  const outbox = new MemoryOutbox();
  const [before, beside] = [tab(ann, { outbox }), tab(ann)];
  for (const it of [before, beside]) it.start();
  await until(() => before.state.name === 'live' && beside.state.name === 'live', 'both are live');
  proxy.isDead = true;
  proxy.cut();
  before.send(room, { body: 'written in vain' }, 'a-key').catch(() => {});
  await until(async () => (await outbox.load()).length === 1, 'it is kept');

  // The page is gone; the worker is not, for there is another tab.
  before.stop();
  const again = tab(ann, { outbox });
  const ears = new Ears(again.channel(room, { after: 0 }));
  again.start();
  await until(() => again.outbox.list().length === 1, 'it is seen to wait');
  expect(again.outbox.list().map((it) => it.data.body)).toEqual(['written in vain']);
  proxy.isDead = false;
  proxy.cut();
  again.retryNow();

  await until(async () => (await outbox.load()).length === 0 && again.state.name === 'live', 'it is sent');
  await again.send(room, { body: 'and something else' });
  await until(() => ears.bodies.length >= 2, 'both are heard');
  expect(ears.bodies).toEqual(['written in vain', 'and something else']);
  expect(again.outbox.list()).toEqual([]);
});

test('what is refused stays with the tab that said it, which may say it again', async () => {
  const [ann, ben] = await fixture.people();
  const room = await ann.roomWith(ben);
  const tab = worker();
  const [one, other] = [tab(ann), tab(ann)];
  for (const it of [one, other]) it.start();
  const body = 'x'.repeat(5_000);

  await expect(one.send(room, { body }, 'long')).rejects.toMatchObject({ code: 'message_too_long' });

  expect(one.outbox.list().map((it) => it.refused?.code)).toEqual(['message_too_long']);
  expect(other.outbox.list()).toEqual([]);
  await expect(one.send(room, { body: 'shorter' }, 'long')).resolves.toMatchObject({ duplicate: false });
  expect(one.outbox.list()).toEqual([]);
});

test('while nobody looks at any tab the worker does not come back', async () => {
  const ann = await fixture.person();
  const proxy = await fixture.proxy();
  const tab = worker({ url: proxy.url });
  const [left, right] = [window(), window()];
  const [one, other] = [tab(ann, left), tab(ann, right)];
  one.start();
  other.start();
  await until(() => one.state.name === 'live' && other.state.name === 'live', 'both are live');
  left.show(false);
  proxy.cut();
  await until(() => proxy.connections === 2 && one.state.name === 'live', 'one tab that is seen is enough');

  right.show(false);
  proxy.cut();
  await until(() => one.state.name === 'offline', 'it is gone');
  await new Promise((tick) => setTimeout(tick, 3_000));
  expect(proxy.connections).toBe(2);

  left.show(true);
  await until(() => one.state.name === 'live' && other.state.name === 'live', 'somebody looks again');
});

test('a tab that the worker has forgotten says hello again, and what it said meanwhile is sent', async () => {
  const [ann, ben] = await fixture.people();
  const room = await ann.roomWith(ben);
  const host = new TabHost({ url: fixture.server.url, WebSocket: WebSocket as never });
  const ports: Port[] = [];
  const open = () => {
    const { port1, port2 } = new MessageChannel();
    host.add(asPort(port1));
    ports.push(asPort(port2));
    return asPort(port2);
  };
  const { url, id: user, session: credentials } = ann;
  const tab = fixture.stopped(connectShared({ url, open, user, credentials }));
  tab.start();
  await until(() => tab.state.name === 'live', 'it is live');
  ports[0]?.postMessage({ bye: true });

  await expect(tab.send(room, { body: 'back again' })).resolves.toMatchObject({ duplicate: false });

  expect(ports).toHaveLength(2);
  expect(tab.outbox.list()).toEqual([]);
});

test('a tab without a worker has a connection of its own', async () => {
  const ann = await fixture.person();
  const nobody = () => {
    const port = asPort(new MessageChannel().port1);
    setTimeout(() => port.onclose?.());
    return port;
  };
  const { url, id: user, session: credentials } = ann;
  const alone = fixture.stopped(connectShared({ url, open: nobody, user, credentials, WebSocket: WebSocket as never }));
  const channel = alone.channel('me');
  alone.start();

  await until(() => alone.state.name === 'live', 'it is live');
  expect(channel.isLive).toBe(true);
});

test('one tab at a time is asked for a token', async () => {
  const ann = await fixture.person();
  const tab = worker();
  let asked = 0;
  const credentials = {
    token: async () => ((asked += 1), ann.session.token()),
    renew: () => ann.session.renew(),
  };
  const tabs = Array.from({ length: 5 }, () => tab(ann, { credentials }));
  for (const it of tabs) it.start();

  await until(() => tabs.every((it) => it.state.name === 'live'), 'all are live');
  // Each of them asks for one to say hello with, and the worker asks one of them.
  expect(asked).toBe(tabs.length + 1);
});

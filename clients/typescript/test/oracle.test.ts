import { expect, test } from 'vitest';
import WebSocket from 'ws';

import { MemoryOutbox, Realtime, type DurableEvent, type Frame, type Subscription } from '../src/index.js';
import { socketOpener } from '../src/realtime/socket.js';
import { hostSurroundings } from '../src/realtime/surroundings.js';
import type { Opener } from '../src/realtime/transport.js';
import { Fixture } from './fixture.js';
import { faults } from './oracle.js';
import { Ears, until, type Person } from './people.js';
import type { Proxy } from './proxy.js';

const fixture = new Fixture();

const event = (seq: number, body: string): DurableEvent => ({
  event: 'message_sent',
  channel: 'room:1',
  seq,
  epoch: 'a',
  at: '2026-11-22T00:00:00.000Z',
  from: 'ann',
  data: { id: `id-${seq}`, key: `key-${seq}`, body },
});

test('the oracle sees what is lost, doubled, out of order or made up, and nothing else', () => {
  const said = ['one', 'two', 'three'];

  expect(faults([event(1, 'one'), event(2, 'two'), event(4, 'three')], said)).toEqual([]);
  expect(faults([event(1, 'one'), event(3, 'three')], said)).toEqual(['lost: two']);
  expect(faults([event(1, 'one'), event(2, 'two'), event(3, 'three'), event(4, 'three')], said)).toEqual(['doubled: three']);
  expect(faults([event(1, 'one'), event(3, 'three'), event(2, 'two')], said)).toEqual([
    'out of order: 2 after 3',
    'out of order: two after three',
  ]);
  expect(faults([event(1, 'one'), event(2, 'two'), event(3, 'three'), event(4, 'four')], said)).toEqual(['never said: four']);
});

/** A connection by way of `proxy` that asks for what `ask` makes of what it should ask for, and tells `onFrame` of all that comes. */
function realtimeThatAsks(person: Person, proxy: Proxy, ask: (it: Subscription) => Subscription, onFrame?: (frame: Frame) => void) {
  const open = socketOpener(`${proxy.url.replace(/^http/, 'ws')}/v1/chat/socket`, {}, WebSocket as never);
  const opener: Opener = (hello, heard) => {
    const tell = (frame: Frame) => {
      onFrame?.(frame);
      heard.onFrame(frame);
    };
    return open({ ...hello, subscribe: hello.subscribe.map(ask) }, { ...heard, onFrame: tell });
  };
  const realtime = new Realtime({
    credentials: person.session,
    openers: [opener],
    outbox: new MemoryOutbox(),
    surroundings: hostSurroundings(),
  });
  return fixture.stopped(realtime);
}

/** Says three things, three more while the other one is away, and a last one when it is back. */
async function talkWhileAway(say: (body: string) => Promise<unknown>, listener: Realtime, ears: Ears, proxy: Proxy) {
  const said = ['1', '2', '3', 'away 1', 'away 2', 'away 3', 'the end'];
  for (const body of said.slice(0, 3)) await say(body);
  await until(() => ears.bodies.includes('3'), 'the first are heard');
  proxy.isDead = true;
  proxy.cut();
  await until(() => listener.state.name !== 'live', 'it is away');
  for (const body of said.slice(3, 6)) await say(body);
  proxy.isDead = false;
  proxy.cut();
  listener.retryNow();
  await until(() => listener.state.name === 'live', 'it is back');
  await say('the end');
  await until(() => ears.bodies.includes('the end'), 'the end is heard');
  return said;
}

test('a client that forgets where it was is found to lose what was said while it was away', async () => {
  const { ben, room, a } = await fixture.pair();
  const proxy = await fixture.proxy();
  const forgetful = realtimeThatAsks(ben, proxy, ({ channel }) => ({ channel }));
  const ears = new Ears(forgetful.channel(room, { after: 0 }));
  forgetful.start();
  await until(() => forgetful.state.name === 'live', 'it is live');

  const said = await talkWhileAway((body) => a.send(room, { body }), forgetful, ears, proxy);

  expect(faults(ears.events, said)).toEqual(['lost: away 1', 'lost: away 2', 'lost: away 3']);
});

test('a client that does not look at the numbers is found to double what it is told again, and one that does is not', async () => {
  const { ben, room, a } = await fixture.pair();
  const proxy = await fixture.proxy();
  const unchecked: DurableEvent[] = [];
  const keep = (frame: Frame) => {
    if (frame.event === 'message_sent') unchecked.push(frame);
  };
  const fromTheStart = realtimeThatAsks(ben, proxy, ({ channel }) => ({ channel, after: 0 }), keep);
  const ears = new Ears(fromTheStart.channel(room, { after: 0 }));
  fromTheStart.start();
  await until(() => fromTheStart.state.name === 'live', 'it is live');

  const said = await talkWhileAway((body) => a.send(room, { body }), fromTheStart, ears, proxy);

  expect(faults(unchecked, said)).toEqual(expect.arrayContaining(['doubled: 1', 'doubled: 2', 'doubled: 3']));
  expect(faults(ears.events, said)).toEqual([]);
});

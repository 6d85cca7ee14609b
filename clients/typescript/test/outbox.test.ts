import { expect, test } from 'vitest';

import { MemoryOutbox, Outbox, RequestError, type Draft, type Queued, type RoomChannel, type Sent } from '../src/index.js';

const ROOM: RoomChannel = 'room:1';

/** An outbox whose messages are sent when they are let, and numbered as they are. */
function outbox(storage = new MemoryOutbox()) {
  const sent: Draft[] = [];
  const answers: (() => void)[] = [];
  const send = ({ key, data }: Queued): Promise<Sent> =>
    new Promise((resolve, reject) => {
      sent.push(data);
      const seq = sent.length;
      answers.push(() => {
        if (data.body === '') reject(new RequestError('message_empty', 'say something'));
        else resolve({ id: key, seq, at: '2026-11-22T00:00:00.000Z', duplicate: false });
      });
    });
  const box = new Outbox(storage, send);
  box.setOpen(true);
  const answer = async () => {
    await expect.poll(() => answers.length).toBeGreaterThan(0);
    answers.shift()?.();
  };
  return { box, storage, sent, answer };
}

/** A storage that cannot be read so many times. */
class FailingOutbox extends MemoryOutbox {
  constructor(private failures: number) {
    super();
  }

  override async load(): Promise<Queued[]> {
    if (this.failures > 0) {
      this.failures -= 1;
      throw new Error('the disk is away');
    }
    return super.load();
  }
}

const kept: Queued = { key: 'kept', channel: ROOM, data: { body: 'kept' }, at: '2026-11-22T00:00:00.000Z' };

test('an outbox whose storage could not be read is read again by whoever sends next', async () => {
  const storage = new FailingOutbox(2);
  await storage.put(kept);
  const { box, sent, answer } = outbox(storage);
  await expect(box.add(ROOM, { body: 'too early' }, 'a')).rejects.toThrow('the disk is away');
  await expect(box.add(ROOM, { body: 'too early, too' }, 'b')).rejects.toThrow('the disk is away');

  const sending = box.add(ROOM, { body: 'now' }, 'c');
  await answer();
  await answer();

  await sending;
  expect(sent).toEqual([{ body: 'kept' }, { body: 'now' }]);
});

test('an outbox whose storage could not be read is read again when there is a connection', async () => {
  const storage = new FailingOutbox(1);
  await storage.put(kept);
  const { box, sent, answer } = outbox(storage);
  await expect(box.load()).rejects.toThrow('the disk is away');

  box.setOpen(true);
  await answer();

  await expect.poll(() => box.list()).toEqual([]);
  expect(sent).toEqual([{ body: 'kept' }]);
});

test('whoever sends a key that is on its way is told what comes of the one message', async () => {
  const { box, sent, answer } = outbox();
  const first = box.add(ROOM, { body: 'said first' }, 'key');
  const second = box.add(ROOM, { body: 'said second' }, 'key');
  await answer();

  expect(await second).toEqual(await first);
  expect(sent).toEqual([{ body: 'said first' }]);
  expect(box.list()).toEqual([]);
});

test('whoever sends a key that is refused is told so, and may say it better under the same key', async () => {
  const { box, sent, answer } = outbox();
  const sending = [box.add(ROOM, { body: '' }, 'key'), box.add(ROOM, { body: '' }, 'key')];
  const outcomes = Promise.allSettled(sending);
  await answer();
  for (const outcome of await outcomes) expect(outcome).toMatchObject({ reason: { code: 'message_empty' } });
  expect(box.list()).toMatchObject([{ key: 'key', refused: { code: 'message_empty' } }]);

  const better = box.add(ROOM, { body: 'better' }, 'key');
  await answer();

  await expect(better).resolves.toMatchObject({ id: 'key' });
  expect(sent).toEqual([{ body: '' }, { body: 'better' }]);
  expect(box.list()).toEqual([]);
});

test('whoever sends a key that waited since the page before is told what comes of it', async () => {
  const storage = new MemoryOutbox();
  await storage.put(kept);
  const { box, sent, answer } = outbox(storage);
  await box.load();

  const sending = box.add(ROOM, { body: 'kept' }, 'kept');
  await answer();

  await expect(sending).resolves.toMatchObject({ id: 'kept' });
  expect(sent).toEqual([{ body: 'kept' }]);
  expect(await storage.load()).toEqual([]);
});

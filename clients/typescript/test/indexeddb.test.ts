import { IDBFactory } from 'fake-indexeddb';
import { expect, test } from 'vitest';

import { IndexedDbOutbox, type Queued } from '../src/index.js';

const queued = (key: string): Queued => ({ key, channel: 'room:1', data: { body: key }, at: '2026-11-22T00:00:00.000Z' });

test('what was put is there for the next page of the same user, and for nobody else', async () => {
  const factory = new IDBFactory();
  const before = new IndexedDbOutbox('ann', factory);
  await before.put(queued('first'));
  await before.put(queued('second'));
  await before.put({ ...queued('second'), refused: { code: 'message_empty', message: 'empty' } });
  await before.remove('first');

  const after = new IndexedDbOutbox('ann', factory);
  const other = new IndexedDbOutbox('ben', factory);

  expect(await after.load()).toMatchObject([{ key: 'second', refused: { code: 'message_empty' } }]);
  expect(await other.load()).toEqual([]);
});

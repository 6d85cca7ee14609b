/** Keeps what is to be sent in IndexedDB: it outlives reloads, crashes of the tab, and the browser's end. */

import type { OutboxStorage, Queued } from './outbox.js';

const STORE = 'outbox';
const VERSION = 1;

/**
 * One user's messages; nobody else's are ever sent in their name.
 *
 * Two tabs with the same outbox may both send what waited when they began: it has one key, and is one message.
 */
export class IndexedDbOutbox implements OutboxStorage {
  #database: Promise<IDBDatabase> | undefined;

  /** `user` is the id of whoever is logged in. */
  constructor(
    private readonly user: string,
    private readonly factory: IDBFactory = indexedDB,
  ) {}

  async load(): Promise<Queued[]> {
    return this.#do('readonly', (store) => store.getAll() as IDBRequest<Queued[]>);
  }

  async put(queued: Queued): Promise<void> {
    await this.#do('readwrite', (store) => store.put(queued));
  }

  async remove(key: string): Promise<void> {
    await this.#do('readwrite', (store) => store.delete(key));
  }

  /** Resolves when the transaction is complete: what was put is there then. */
  async #do<T>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    const database = await (this.#database ??= this.#open());
    try {
      return await this.#within(database, mode, act);
    } catch (error) {
      // The browser has closed it, as some do to pages that rest.
      if ((error as Error).name !== 'InvalidStateError') throw error;
      this.#database = this.#open();
      return this.#within(await this.#database, mode, act);
    }
  }

  #within<T>(database: IDBDatabase, mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode, { durability: 'strict' });
      const request = act(transaction.objectStore(STORE));
      // A page that is closed now still keeps it: nothing else is to come, which the browser would wait for.
      if (mode === 'readwrite') transaction.commit?.();
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error ?? new Error('the browser keeps nothing'));
    });
  }

  #open(): Promise<IDBDatabase> {
    return new Promise((resolve, reject) => {
      const opening = this.factory.open(`madang-${this.user}`, VERSION);
      opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: 'key' });
      opening.onsuccess = () => {
        // A later version of this page is not held up by this one.
        opening.result.onversionchange = () => opening.result.close();
        opening.result.onclose = () => (this.#database = undefined);
        resolve(opening.result);
      };
      opening.onerror = () => {
        this.#database = undefined;
        reject(opening.error ?? new Error('the browser keeps nothing'));
      };
    });
  }
}

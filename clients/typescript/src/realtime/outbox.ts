/**
 * What is to be sent, in the order in which it was said: kept until the server has it, over broken links and reloads.
 *
 * Invariant: a message has one key for ever, so that it is in its room once however often it goes out; of a room's messages
 * one is on its way at a time, so that they arrive in the order in which they were said. What the server refuses for good
 * stays, with the reason, until somebody tries again or gives it up, and holds up nobody.
 */

import { Emitter } from './emitter.js';
import { isPassing, RequestError } from './errors.js';
import type { Draft, RoomChannel, Sent } from './protocol.js';

/** Messages that may wait. */
export const OUTBOX_MAX = 1_000;

/** A message that the server does not have yet, as far as anybody knows. */
export interface Queued {
  key: string;
  channel: RoomChannel;
  data: Draft;
  /** When it was said, RFC 3339. */
  at: string;
  /** Why it was refused; it is not sent then until somebody tries again. */
  refused?: { code: string; message: string };
}

/** Where what waits outlives the page. Whatever fails there is a reason not to accept a message. */
export interface OutboxStorage {
  load(): Promise<Queued[]>;
  put(queued: Queued): Promise<void>;
  remove(key: string): Promise<void>;
}

/** Forgets with the page. */
export class MemoryOutbox implements OutboxStorage {
  readonly #kept = new Map<string, Queued>();

  async load(): Promise<Queued[]> {
    return [...this.#kept.values()];
  }

  async put(queued: Queued): Promise<void> {
    this.#kept.set(queued.key, queued);
  }

  async remove(key: string): Promise<void> {
    this.#kept.delete(key);
  }
}

export interface OutboxEvents {
  /** It waits, or waits again. */
  queued: Queued;
  sent: Queued & { sent: Sent };
  refused: Queued;
  /** Somebody has given it up. */
  discarded: Queued;
}

type Send = (queued: Queued) => Promise<Sent>;

/** What whoever sent a message waits for. */
interface Answer {
  promise: Promise<Sent>;
  resolve: (sent: Sent) => void;
  reject: (why: Error) => void;
}

export class Outbox extends Emitter<OutboxEvents> {
  /** The oldest first. */
  #waiting = new Map<string, Queued>();
  /** Rooms of which a message is on its way. */
  readonly #busy = new Set<RoomChannel>();
  /** Keys of messages that are not stored yet. */
  readonly #storing = new Set<string>();
  readonly #answers = new Map<string, Answer>();
  #isOpen = false;
  #loading: Promise<void> | undefined;
  #isLoaded = false;

  /** `send` is asked for one message at a time of each room, and rejects with what came of it. */
  constructor(
    private readonly storage: OutboxStorage,
    private readonly send: Send,
  ) {
    super();
  }

  /** Brings back what waited when the page went; it goes out before what was said since. */
  load(): Promise<void> {
    this.#loading ??= this.#load().catch((error: unknown) => {
      // The next one tries again.
      this.#loading = undefined;
      throw error;
    });
    return this.#loading;
  }

  async #load(): Promise<void> {
    const kept = await this.storage.load();
    kept.sort((a, b) => (a.at < b.at ? -1 : 1));
    const before = kept.filter((queued) => !this.#waiting.has(queued.key));
    this.#waiting = new Map([...before.map((queued) => [queued.key, queued] as const), ...this.#waiting]);
    for (const queued of before) this.emit(queued.refused ? 'refused' : 'queued', queued);
    this.#isLoaded = true;
    this.#drain();
  }

  /** Everything that waits or was refused, the oldest first. */
  list(): Queued[] {
    return [...this.#waiting.values()];
  }

  /**
   * Takes a message. Resolves once the server has it, in this life of the page; rejects with a {@link RequestError} when it is
   * refused, or `outbox_full` when too many wait. A key that waits already is the message that was said first: whoever says it
   * again learns what becomes of that. One that was refused is tried again, as it is said now.
   */
  async add(channel: RoomChannel, data: Draft, key: string): Promise<Sent> {
    const known = this.#waiting.get(key);
    if (known && !known.refused) return this.#answer(key).promise;
    if (!known && this.#waiting.size >= OUTBOX_MAX) {
      throw new RequestError('outbox_full', `${OUTBOX_MAX} messages wait already`);
    }
    const queued: Queued = { key, channel, data, at: new Date().toISOString() };
    // It has its place before it is stored: what is said next comes behind it.
    this.#waiting.delete(key);
    this.#waiting.set(key, queued);
    const { promise } = this.#answer(key);
    this.emit('queued', queued);
    this.#storing.add(key);
    try {
      await this.load();
      await this.storage.put(queued);
    } catch (error) {
      this.#waiting.delete(key);
      this.#settle(key)?.reject(error as Error);
      this.emit('discarded', queued);
    }
    this.#storing.delete(key);
    this.#drain();
    return promise;
  }

  /** Tries again what was refused. */
  async retry(key: string): Promise<void> {
    const queued = this.#waiting.get(key);
    if (!queued?.refused) return;
    delete queued.refused;
    await this.storage.put(queued);
    this.emit('queued', queued);
    this.#drain();
  }

  /** Gives up what was refused. What may be on its way cannot be taken back. */
  async discard(key: string): Promise<void> {
    const queued = this.#waiting.get(key);
    if (!queued?.refused) return;
    this.#waiting.delete(key);
    await this.storage.remove(key);
    this.emit('discarded', queued);
  }

  /** There is a link, or there is none any more. */
  setOpen(isOpen: boolean): void {
    this.#isOpen = isOpen;
    // What waits in a storage that could not be read is not lost: it is read again.
    if (isOpen && !this.#isLoaded) this.load().catch(() => {});
    this.#drain();
  }

  #drain(): void {
    if (!this.#isOpen || !this.#isLoaded) return;
    const taken = new Set(this.#busy);
    for (const queued of this.#waiting.values()) {
      if (queued.refused || taken.has(queued.channel)) continue;
      taken.add(queued.channel);
      if (this.#storing.has(queued.key)) continue;
      this.#busy.add(queued.channel);
      void this.#deliver(queued);
    }
  }

  async #deliver(queued: Queued): Promise<void> {
    try {
      const sent = await this.send(queued);
      this.#waiting.delete(queued.key);
      const answer = this.#settle(queued.key);
      // Kept for longer than needed, it would be sent again, and be the same message.
      await this.storage.remove(queued.key).catch(() => {});
      answer?.resolve(sent);
      this.emit('sent', { ...queued, sent });
    } catch (error) {
      // What passes is said again with the next link, or when whoever sends has waited.
      if (!isPassing(error)) await this.#refuse(queued, error as Error);
    } finally {
      this.#busy.delete(queued.channel);
      this.#drain();
    }
  }

  async #refuse(queued: Queued, error: Error): Promise<void> {
    const code = error instanceof RequestError ? error.code : 'failed';
    queued.refused = { code, message: error.message };
    const answer = this.#settle(queued.key);
    await this.storage.put(queued).catch(() => {});
    answer?.reject(error);
    this.emit('refused', queued);
  }

  #answer(key: string): Answer {
    let answer = this.#answers.get(key);
    if (!answer) {
      let [resolve, reject]: [Answer['resolve'], Answer['reject']] = [() => {}, () => {}];
      const promise = new Promise<Sent>((...settle) => ([resolve, reject] = settle));
      this.#answers.set(key, (answer = { promise, resolve, reject }));
    }
    return answer;
  }

  /** Whose answer it is that has come now. */
  #settle(key: string): Answer | undefined {
    const answer = this.#answers.get(key);
    this.#answers.delete(key);
    return answer;
  }
}

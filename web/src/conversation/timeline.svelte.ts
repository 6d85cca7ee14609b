/**
 * A conversation as somebody reads it: a window onto the log of a room, and what waits to be sent behind it.
 *
 * Invariant: the window has consecutive messages in the order of their numbers, each once, however it came: with a page, or
 * live. It never has more than {@link WINDOW_MAX}, so that a room of a hundred thousand messages costs no more than one of
 * some hundreds; what comes live while the window is elsewhere is only counted.
 */

import { isPassing, RequestError, type Draft, type DurableEvent, type Message, type Queued } from '@madang/client';

import type { Courtyard } from '../session/courtyard.svelte';
import { onceAFrame } from '../session/frames';
import type { Room } from '../rooms/room.svelte';

export const PAGE = 60;
export const WINDOW_MAX = 240;
/** What is kept of it where somebody only watches what comes: no frame has more to lay out. A few more, and it is cut. */
const WINDOW_FOLLOWED = 64;
const SPARE = 8;
/** How long a message rests that changes, before it is read again. */
const SETTLE_MS = 120;
/** After a page that nobody gave. */
const RETRY_MS = 1_000;

/** A message that is not in the log yet, as far as anybody here knows. */
export interface Pending {
  key: string;
  at: string;
  data: Draft;
  state: 'sending' | 'sent' | 'refused';
  /** Why it was refused. */
  code?: string;
}

export class Timeline {
  items = $state.raw<Message[]>([]);
  pending = $state.raw<Pending[]>([]);
  /** Whether the window begins where the log does, and ends where it does. */
  isAtStart = $state(false);
  isAtEnd = $state(true);
  isLoading = $state(true);
  failure = $state<unknown>();
  /** Messages that came while the window was elsewhere. */
  unseen = $state(0);
  /** The number of the last message that was read when the conversation was opened. */
  readonly readBefore: number;
  /** Whether the reader is at the end, and wants to stay there. */
  isFollowed = $state(true);
  #heard: DurableEvent[] = [];
  readonly #tellSoon = onceAFrame(() => this.#tell());
  readonly #changed = new Set<number>();
  #settling: ReturnType<typeof setTimeout> | undefined;
  #loads = 0;
  readonly #stop: (() => void)[];
  readonly #me: string;

  constructor(
    private readonly courtyard: Courtyard,
    readonly room: Room,
  ) {
    this.#me = courtyard.me.id;
    this.readBefore = room.readTo;
    room.timeline = this;
    const { outbox } = courtyard.realtime;
    const isHere = (queued: Queued) => queued.channel === room.channelName;
    this.pending = outbox.list().filter(isHere).map(pendingOf);
    this.#stop = [
      outbox.on('queued', (queued) => isHere(queued) && this.#putPending(pendingOf(queued))),
      outbox.on('refused', (queued) => isHere(queued) && this.#putPending(pendingOf(queued))),
      outbox.on('discarded', (queued) => isHere(queued) && this.#takePending([queued.key])),
      outbox.on('sent', (queued) => isHere(queued) && this.#sent(queued.key)),
    ];
  }

  /** Whether what comes is seen as it comes. */
  get isWatched(): boolean {
    return this.isFollowed && this.isAtEnd && !this.isLoading && !document.hidden;
  }

  /** Nobody reads it any more. */
  close(): void {
    if (this.room.timeline === this) this.room.timeline = undefined;
    for (const stop of this.#stop) stop();
    clearTimeout(this.#settling);
    this.#loads += 1;
  }

  /** Reads the end of the log, or what is around a number. */
  async open(around?: number): Promise<void> {
    const turn = (this.#loads += 1);
    this.isLoading = true;
    try {
      const range = around === undefined ? { limit: PAGE } : { before: around + PAGE / 2, limit: PAGE };
      const items = await this.#page(range);
      if (turn !== this.#loads) return;
      // What came meanwhile is behind it.
      this.#heard = this.#heard.filter((it) => it.seq > (items.at(-1)?.seq ?? 0));
      this.items = items;
      this.isAtStart = items.length < PAGE;
      this.isAtEnd = around === undefined || (items.at(-1)?.seq ?? 0) >= (this.room.view.last_message?.seq ?? 0);
      if (this.isAtEnd) this.unseen = 0;
      this.#dropKnownPending();
      this.failure = undefined;
    } catch (error) {
      if (turn !== this.#loads) return;
      this.failure = error;
      // What comes now may be behind messages that nobody has read.
      if (this.items.length > 0) this.isAtEnd = false;
    }
    this.isLoading = false;
    this.#tellSoon();
  }

  /** A page before the window; its end is given up where it would be too long. */
  async older(): Promise<void> {
    const first = this.items[0];
    if (this.isLoading || this.isAtStart || !first) return;
    await this.#extend({ before: first.seq, limit: PAGE }, (items) => {
      this.isAtStart = items.length < PAGE;
      const all = [...items, ...this.items];
      if (all.length > WINDOW_MAX) this.isAtEnd = false;
      this.items = all.slice(0, WINDOW_MAX);
    });
  }

  /** A page behind the window. */
  async newer(): Promise<void> {
    const last = this.items.at(-1);
    if (this.isLoading || this.isAtEnd || !last) return;
    await this.#extend({ after: last.seq, limit: PAGE }, (items) => {
      this.isAtEnd = items.length < PAGE;
      if (this.isAtEnd) this.unseen = 0;
      const all = [...this.items, ...items];
      if (all.length > WINDOW_MAX) this.isAtStart = false;
      this.items = all.slice(-WINDOW_MAX);
    });
  }

  /** What was missed cannot be told one by one. */
  missed(): void {
    if (this.isAtEnd && this.isFollowed) void this.open();
    else void this.open(this.items[Math.floor(this.items.length / 2)]?.seq);
  }

  /** Rejects where the message could not be kept; what becomes of one that was is seen at the message itself. */
  async send(data: Draft): Promise<void> {
    this.isFollowed = true;
    if (!this.isAtEnd) void this.open();
    try {
      await this.courtyard.realtime.send(this.room.channelName, data);
    } catch (error) {
      if (!(error instanceof RequestError) || error.code === 'outbox_full') throw error;
    }
  }

  async retry(key: string): Promise<void> {
    await this.courtyard.realtime.outbox.retry(key);
  }

  async discard(key: string): Promise<void> {
    await this.courtyard.realtime.outbox.discard(key);
  }

  /** An event of the room. They are shown together ({@link onceAFrame}). */
  hear(event: DurableEvent): void {
    this.#heard.push(event);
    this.#tellSoon();
  }

  #tell(): void {
    if (this.isLoading || this.#heard.length === 0) return;
    const heard = this.#heard;
    this.#heard = [];
    const last = this.items.at(-1)?.seq ?? 0;
    const said = heard.filter((it) => it.event === 'message_sent').filter((it) => it.seq > last);
    if (this.isAtEnd) this.#append(said.map((it) => messageOf(it)));
    else this.unseen += said.length;
    for (const event of heard) this.#change(event);
    this.#takePending(said.filter((it) => it.from === this.#me).map((it) => it.data.key));
  }

  #append(messages: Message[]): void {
    if (messages.length === 0) return;
    const all = [...this.items, ...messages];
    if (all.length <= (this.isFollowed ? WINDOW_FOLLOWED + SPARE : WINDOW_MAX)) {
      this.items = all;
    } else if (this.isFollowed) {
      this.isAtStart = false;
      this.items = all.slice(-WINDOW_FOLLOWED);
    } else {
      // Somebody reads further up: what they read stays.
      const room = Math.max(0, WINDOW_MAX - this.items.length);
      this.items = all.slice(0, this.items.length + room);
      this.isAtEnd = false;
      this.unseen += messages.length - room;
    }
  }

  #change(event: DurableEvent): void {
    switch (event.event) {
      case 'message_edited':
        return this.#replace(event.data.seq, { body: event.data.body, edited_at: event.at });
      case 'message_deleted':
        return this.#replace(event.data.seq, { body: '', attachments: [], reactions: [], deleted_at: event.at });
      case 'reaction_added':
      case 'reaction_removed':
        // Whether a page that was read has counted it already nobody can say: the message is read again.
        if (this.items.some((it) => it.seq === event.data.seq)) this.#readAgain(event.data.seq);
    }
  }

  #replace(seq: number, change: Partial<Message>): void {
    const at = this.items.findIndex((it) => it.seq === seq);
    const message = this.items[at];
    if (message) this.items = this.items.with(at, { ...message, ...change });
  }

  #readAgain(seq: number): void {
    this.#changed.add(seq);
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      const changed = [...this.#changed];
      this.#changed.clear();
      for (const seq of changed) void this.#refresh(seq);
    }, SETTLE_MS);
  }

  async #refresh(seq: number): Promise<void> {
    try {
      const [message] = await this.#page({ before: seq + 1, limit: 1 });
      if (message?.seq === seq) this.#replace(seq, message);
    } catch (error) {
      if (isPassing(error)) this.#readAgain(seq);
    }
  }

  #page(range: { before?: number; after?: number; limit: number }): Promise<Message[]> {
    return this.courtyard.realtime.history(this.room.channelName, range);
  }

  async #extend(range: { before?: number; after?: number; limit: number }, take: (items: Message[]) => void): Promise<void> {
    const turn = (this.#loads += 1);
    this.isLoading = true;
    try {
      const items = await this.#page(range);
      if (turn === this.#loads) take(items);
    } catch {
      // Whoever scrolls on tries again; at once would be too soon.
      await new Promise((tick) => setTimeout(tick, RETRY_MS));
    }
    if (turn !== this.#loads) return;
    this.isLoading = false;
    this.#tellSoon();
  }

  #putPending(pending: Pending): void {
    const at = this.pending.findIndex((it) => it.key === pending.key);
    this.pending = at < 0 ? [...this.pending, pending] : this.pending.with(at, pending);
  }

  #sent(key: string): void {
    // Its event may have been here before the answer.
    if (this.items.some((it) => it.from === this.#me && it.key === key)) return this.#takePending([key]);
    this.pending = this.pending.map((it) => (it.key === key ? { key, at: it.at, data: it.data, state: 'sent' } : it));
  }

  #takePending(keys: string[]): void {
    const gone = new Set(keys);
    if (this.pending.some((it) => gone.has(it.key))) this.pending = this.pending.filter((it) => !gone.has(it.key));
  }

  #dropKnownPending(): void {
    this.#takePending(this.items.filter((it) => it.from === this.#me).map((it) => it.key));
  }
}

function pendingOf({ key, at, data, refused }: Queued): Pending {
  return { key, at, data, state: refused ? 'refused' : 'sending', ...(refused ? { code: refused.code } : {}) };
}

function messageOf(event: DurableEvent & { event: 'message_sent' }): Message {
  const { seq, at, from = '', data } = event;
  const { id, key, body, reply_to = null, mentions = [], attachments = [], deleted_at = null } = data;
  return { id, seq, key, from, body, at, edited_at: null, deleted_at, reactions: [], reply_to, mentions, attachments };
}

/**
 * A channel that somebody follows: where they are in its log, and what they are told.
 *
 * Invariant: listeners hear each event once, in the order of its number, whichever link it came over. Where the server
 * cannot go on from where they are, they hear of a `gap` first, and messages of a room that lie in it are read and told in
 * their place.
 */

import { Emitter } from './emitter.js';
import type { RequestError } from './errors.js';
import type {
  ChannelName,
  DurableEvent,
  EphemeralEvent,
  Message,
  Subscribed,
  Subscription,
} from './protocol.js';
import { NO_ROOM } from './transport.js';

/** Messages that are read to fill a gap; whoever is further behind begins anew. */
export const FILL_MAX = 2_000;

export interface Gap {
  channel: ChannelName;
  /** The last number that listeners have heard of; those after it up to `head` are missing. */
  have: number;
  head: number;
  /**
   * Whether the messages in between are told next. What else happened meanwhile (edits, reactions, members) is not: what is
   * shown has to be read again.
   */
  isFilled: boolean;
}

export interface ChannelEvents {
  event: DurableEvent;
  ephemeral: EphemeralEvent;
  gap: Gap;
  /** Whether everything up to now has been told. */
  live: boolean;
  /** Nothing follows: the caller is no member any more, or may not follow it. */
  ended: string;
}

/** Reads messages after a number, ascending. */
export type ReadMessages = (channel: ChannelName, after: number) => Promise<Message[]>;

export class Channel extends Emitter<ChannelEvents> {
  #seq: number | undefined;
  #epoch: string | undefined;
  #isLive = false;
  #isEnded = false;
  /** What came while a gap is being filled; `undefined` while none is. */
  #behind: DurableEvent[] | undefined;
  /** How far the gap goes that is being filled; another one may come meanwhile. */
  #fillTo = 0;

  /** @internal */
  constructor(
    readonly name: ChannelName,
    private readonly begin: { after?: number; last?: number; epoch?: string },
    private readonly read: ReadMessages,
    private readonly onLeave: () => void,
  ) {
    super();
    this.#seq = begin.after;
    this.#epoch = begin.epoch;
  }

  /** The number of the last event that listeners have heard of; `undefined` before the server has said where the log is. */
  get seq(): number | undefined {
    return this.#seq;
  }

  /** In which the log counts; it is another one when a server was set back. `undefined` before the server has said so. */
  get epoch(): string | undefined {
    return this.#epoch;
  }

  get isLive(): boolean {
    return this.#isLive && this.#behind === undefined;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Follows it no more. */
  leave(): void {
    this.#isEnded = true;
    this.onLeave();
  }

  /** @internal How to follow it from here. */
  subscription(): Subscription {
    const channel = this.name;
    if (this.#seq === undefined) {
      return this.begin.last === undefined ? { channel } : { channel, last: this.begin.last };
    }
    const after = this.#seq;
    return this.#epoch === undefined ? { channel, after } : { channel, after, epoch: this.#epoch };
  }

  /** @internal The link is there, and the server has said where the log is. */
  subscribed(answer: Subscribed | undefined): void {
    if (!answer || 'error' in answer) return;
    this.#epoch = answer.epoch;
    // Whoever asked for no position has everything up to the head; with `last`, what comes says where it begins.
    if (this.begin.last === undefined) this.#seq ??= answer.seq;
  }

  /** @internal */
  hear(event: DurableEvent): void {
    if (this.#isEnded) return;
    if (this.#behind) this.#behind.push(event);
    else this.#tell(event);
  }

  /** @internal */
  hearEphemeral(event: EphemeralEvent): void {
    if (!this.#isEnded) this.emit('ephemeral', event);
  }

  /** @internal Everything up to `seq` was told. */
  caughtUp(seq: number): void {
    this.#seq ??= seq;
    this.#setLive(true);
  }

  /** @internal The link is gone, or too slow. */
  fellBehind(): void {
    this.#setLive(false);
  }

  /** @internal The server goes on after `head`, and listeners have not heard of everything before. */
  gap(have: number, head: number): void {
    if (this.#isEnded) return;
    if (have <= head && this.#seq !== undefined && this.#seq > have) {
      // Over the link that is being left, listeners have heard more than this one knows.
      if (this.#seq >= head) return;
      have = this.#seq;
    }
    const isRoom = this.name !== 'me';
    const isFilled = isRoom && have <= head && head - have <= FILL_MAX;
    this.emit('gap', { channel: this.name, have, head, isFilled });
    if (this.#behind) {
      // What came before this gap is behind it.
      this.#fillTo = Math.max(this.#fillTo, head);
    } else if (isFilled) {
      void this.#fill(have, head);
    } else {
      this.#seq = head;
    }
  }

  /** @internal */
  end(reason: string): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#setLive(false);
    this.emit('ended', reason);
  }

  async #fill(have: number, head: number): Promise<void> {
    const behind: DurableEvent[] = (this.#behind = []);
    this.#fillTo = head;
    this.#seq = have;
    try {
      for (let after = have; after < this.#fillTo; ) {
        const messages = await this.read(this.name, after);
        for (const message of messages) {
          if (message.seq <= this.#fillTo) this.#tell(sentAs(this.name, message, this.#epoch ?? ''));
        }
        const last = messages.at(-1);
        if (!last) break;
        after = last.seq;
      }
    } catch {
      // Nobody answers, or may: what is missing stays a gap for whoever follows, and they are told so.
      this.emit('gap', { channel: this.name, have: this.#seq, head: this.#fillTo, isFilled: false });
    }
    this.#seq = Math.max(this.#seq, this.#fillTo);
    this.#behind = undefined;
    for (const event of behind) this.#tell(event);
    if (this.#isLive) this.emit('live', true);
  }

  #tell(event: DurableEvent): void {
    if (this.#isEnded || (this.#seq !== undefined && event.seq <= this.#seq)) return;
    this.#seq = event.seq;
    this.#epoch = event.epoch;
    this.emit('event', event);
  }

  #setLive(isLive: boolean): void {
    if (this.#isLive === isLive) return;
    this.#isLive = isLive;
    if (this.#behind === undefined) this.emit('live', isLive);
  }
}

/** A message as the event that it came with; it has the wording of today. */
function sentAs(channel: ChannelName, message: Message, epoch: string): DurableEvent {
  const { id, key, body, seq, at, from, reply_to, mentions, attachments, deleted_at } = message;
  const said = {
    ...(reply_to === null ? {} : { reply_to }),
    ...(mentions.length === 0 ? {} : { mentions }),
    ...(attachments.length === 0 ? {} : { attachments }),
    ...(deleted_at === null ? {} : { deleted_at }),
  };
  return { event: 'message_sent', channel, seq, epoch, at, from, data: { id, key, body, ...said } };
}

/** Why a channel that was refused is not followed: for now, or for good. */
export const isRefusedForNow = (error: Pick<RequestError, 'code'>) =>
  error.code === 'room_busy' || error.code === 'already_subscribed' || error.code === NO_ROOM;

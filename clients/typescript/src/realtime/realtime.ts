/**
 * A live connection to a server: it comes back by itself, goes on where it was, and says honestly how it stands.
 *
 * Invariant: there is one link at a time that answers, and a second one only while the first is being left. What is followed
 * and what is to be sent belong to no link: the next one goes on with both.
 */

import { Backoff } from './backoff.js';
import { Channel, isRefusedForNow } from './channel.js';
import { Emitter } from './emitter.js';
import { ConnectionLost, isPassing, NotConnected, RequestError } from './errors.js';
import { Outbox, type OutboxStorage, type Queued } from './outbox.js';
import {
  afterClose,
  SUBSCRIBE_MAX,
  type Changed,
  type ChannelName,
  type Draft,
  type Frame,
  type Message,
  type Ops,
  type Presence,
  type PresenceChoice,
  type RoomChannel,
  type Sent,
  type Subscribed,
} from './protocol.js';
import type { ConnectionState } from './state.js';
import type { Surroundings } from './surroundings.js';
import { NO_ROOM, type Heard, type Link, type Opener } from './transport.js';

/** Who is asked for access tokens. */
export interface Credentials {
  /** A token that is good for a while; `undefined` where a cookie is believed. */
  token(): Promise<string | undefined>;
  /** A fresh one. Rejects with a {@link RequestError} when the login has ended, with anything else when nobody answers. */
  renew(): Promise<string | undefined>;
}

export interface RealtimeEvents {
  state: ConnectionState;
  /** How users are who are watched ({@link Realtime.watchPresence}). */
  presence: Presence[];
}

export interface RealtimeOptions {
  credentials: Credentials;
  /** How a link is opened; a second one is tried by turns where the first comes to nothing. */
  openers: [Opener, ...Opener[]];
  outbox: OutboxStorage;
  surroundings: Surroundings;
  /** Numbers in [0, 1). */
  random?: () => number;
}

/** How long a request waits for a link and an answer. */
const REQUEST_MAX_MS = 30_000;
const PROBE_MAX_MS = 5_000;
/** Whoever is to come back at once comes within this. */
const AT_ONCE_MS = 1_000;
/** So many tries that come to nothing, and the next way is tried. */
const TRIES_A_WAY = 3;
/** So long another way is gone before the first one is tried again: a server that was only started anew is back soon. */
const FIRST_WAY_SOON_MS = 10_000;
/** Each time for twice as long, and for so long at the most. */
const FIRST_WAY_AGAIN_MS = 300_000;
const PASSING_WAIT_MS = 1_000;
const CLOSE_CODES: Record<number, string> = {
  4202: 'revoked',
  4300: 'replaced',
  4301: 'removed',
  4302: 'bad_frame',
  4303: 'unknown_version',
  4304: 'frame_too_big',
  4305: 'origin_not_allowed',
  4306: 'too_many_connections',
  4307: 'account_disabled',
};

/** A link that is being opened. */
interface Attempt {
  /** Which of the openers opens it. */
  way: number;
  /** There is a link that will do, if this one comes to nothing. */
  isOffer: boolean;
  /** What is asked for with the hello. */
  said: Channel[];
  presence?: PresenceChoice | undefined;
}

export class Realtime extends Emitter<RealtimeEvents> {
  readonly outbox: Outbox;
  readonly #channels = new Map<ChannelName, Channel>();
  readonly #backoff: Backoff;
  readonly #random: () => number;
  #state: ConnectionState = { name: 'idle' };
  #link: Link | undefined;
  /** The try that is under way; another one makes it void. */
  #attempt: Attempt | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** When the first way is tried again, while another one is gone. */
  #return: ReturnType<typeof setTimeout> | undefined;
  #returnMs = FIRST_WAY_SOON_MS;
  #unwatch: (() => void) | undefined;
  #way = 0;
  /** Channels that are to be followed on the link that there is. */
  readonly #toFollow = new Set<Channel>();
  /** Channels for which it has no room. */
  readonly #unplaced = new Set<Channel>();
  /** What a worker says of the connection that it has for this page. */
  #told: ConnectionState | undefined;
  #presence: PresenceChoice | undefined;
  #watched: string[] = [];
  /** Who waits for a link. */
  #waiting = new Set<() => void>();

  constructor(private readonly options: RealtimeOptions) {
    super();
    this.#random = options.random ?? Math.random;
    this.#backoff = new Backoff(this.#random);
    this.outbox = new Outbox(options.outbox, (queued) => this.#deliver(queued));
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Connects, and stays so. What waited to be sent before the page went is sent. */
  start(): void {
    if (this.#unwatch) return;
    this.#unwatch = this.options.surroundings.watch((change) => {
      if (change === 'online' || change === 'visible' || change === 'woke') this.#lookAgain();
      else if (change === 'offline' && !this.#link) this.#rest();
      // Another network may let through what this one does not.
      if (change === 'online' || change === 'woke') this.#tryFirstWay();
    });
    // Whoever sends tries again, and is told.
    this.outbox.load().catch(() => {});
    this.#connect();
  }

  /** Ends it, and goes offline at once. What waits to be sent is kept. */
  stop(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    this.#leaveLink();
    this.#setState({ name: 'idle' });
  }

  /** Tries at once, whatever was waited for. A link that there is is asked whether it is alive. */
  retryNow(): void {
    if (this.#unwatch) this.#lookAgain();
  }

  /**
   * Follows a channel: after a position, from so many events before its head, or from its head. There is one of a name:
   * whoever asks again gets the same.
   */
  channel(
    name: ChannelName,
    begin: { after?: number; last?: number; epoch?: string } = {},
  ): Channel {
    const known = this.#channels.get(name);
    if (known && !known.isEnded) return known;
    const read = (of: ChannelName, after: number) => this.#readMessages(of, after);
    const channel: Channel = new Channel(name, begin, read, () => this.#leaveChannel(channel));
    this.#channels.set(name, channel);
    // It may be live later than the server says: when a gap is filled.
    channel.on('live', () => this.#showProgress());
    this.#follow([channel]);
    return channel;
  }

  /** Sends a message, now or when there is a connection; resolves when it is stored. The same key is the same message. */
  send(channel: RoomChannel, data: Draft, key: string = crypto.randomUUID()): Promise<Sent> {
    return this.outbox.add(channel, data, key);
  }

  edit(channel: RoomChannel, seq: number, body: string): Promise<Changed> {
    return this.#request('edit', { channel, seq, data: { body } });
  }

  delete(channel: RoomChannel, seq: number): Promise<Changed> {
    return this.#request('delete', { channel, seq });
  }

  react(channel: RoomChannel, seq: number, emoji: string): Promise<Changed> {
    return this.#request('react', { channel, seq, emoji });
  }

  unreact(channel: RoomChannel, seq: number, emoji: string): Promise<Changed> {
    return this.#request('unreact', { channel, seq, emoji });
  }

  /** Moves the caller's read marker forward. */
  read(channel: RoomChannel, seq: number): Promise<{ seq: number; unread_count: number }> {
    return this.#request('read', { channel, seq });
  }

  /** Messages before or after a number, ascending; without either, the newest. */
  async history(
    channel: RoomChannel,
    range: { before?: number; after?: number; limit?: number } = {},
  ): Promise<Message[]> {
    const { items } = await this.#request('history', { channel, ...range });
    return items;
  }

  /** Shows that the caller types, if anybody can be told now. */
  typing(channel: RoomChannel): void {
    void this.#link?.request('typing', { channel }).catch(() => {});
  }

  /**
   * Chooses how this device shows its user, from now on. Event streams show them as online: there it rejects with
   * `presence_needs_socket`, and the choice holds from the next socket on.
   */
  async setPresence(status: PresenceChoice): Promise<void> {
    this.#presence = status;
    if (this.#link) await this.#request('set_presence', { status });
  }

  /** How up to 100 users are; from then on `presence` tells of their changes, and of nobody's who was watched before. */
  async watchPresence(users: string[]): Promise<Presence[]> {
    this.#watched = users;
    const { items } = await this.#request('get_presence', { users, watch: true });
    return items;
  }

  // Connecting

  #connect(way = this.#way, isOffer = false): void {
    if (!this.#unwatch || this.#attempt) return;
    clearTimeout(this.#retry);
    const { surroundings } = this.options;
    if (!surroundings.isOnline() || !surroundings.isVisible()) return this.#rest();
    if (!this.#link) this.#setState({ name: 'connecting' });
    const attempt: Attempt = (this.#attempt = { way, isOffer, said: [] });
    void this.#open(attempt).then(
      (link) => this.#adopt(attempt, link),
      (error: unknown) => this.#failed(attempt, error),
    );
  }

  async #open(attempt: Attempt): Promise<Link> {
    const { openers, credentials } = this.options;
    const token = await credentials.token();
    const heard: Heard = {
      onFrame: (frame) => this.#hear(frame, () => link),
      onClosed: (why) => this.#closed(link, why),
      onState: (state) => {
        this.#told = state;
        this.#showProgress();
      },
    };
    let link: Link | undefined;
    attempt.said = this.#followed().slice(0, SUBSCRIBE_MAX);
    attempt.presence = this.#presence;
    const subscribe = attempt.said.map((it) => it.subscription());
    const opener = openers[attempt.way % openers.length] as Opener;
    link = await opener({ token, subscribe, presence: attempt.presence }, heard);
    return link;
  }

  #adopt(attempt: Attempt, link: Link): void {
    if (attempt !== this.#attempt) return link.close();
    this.#attempt = undefined;
    this.#way = attempt.way;
    clearTimeout(this.#retry);
    const before = this.#link;
    this.#link = link;
    // The one before is left when this one has answered: nothing falls between the two.
    before?.close();
    this.#backoff.reset();
    this.#unplaced.clear();
    this.#catchUp(attempt, link);
    this.#subscribed(attempt.said, link.greeting.channels);
    for (const tell of [...this.#waiting]) tell();
    if (this.#watched.length > 0) {
      const watching = link.request('get_presence', { users: this.#watched, watch: true });
      watching.then(({ items }) => this.emit('presence', items)).catch(() => {});
    }
    this.outbox.setOpen(true);
    this.#showProgress();
    this.#returnLater();
  }

  /** Tells a link what has changed since its hello. */
  #catchUp({ said, presence }: Attempt, link: Link): void {
    const followed = this.#followed();
    const left = said.filter((channel) => !followed.includes(channel)).map((channel) => channel.name);
    if (left.length > 0) void link.unsubscribe(left).catch(() => {});
    this.#follow(followed.filter((channel) => !said.includes(channel)));
    const status = this.#presence;
    if (status && status !== presence) void link.request('set_presence', { status }).catch(() => {});
  }

  #failed(attempt: Attempt, error: unknown): void {
    if (attempt !== this.#attempt) return;
    this.#attempt = undefined;
    if (this.#link && attempt.isOffer) return;
    if (error instanceof RequestError && error.code === 'unauthenticated') return this.#renew();
    if (error instanceof ConnectionLost) return this.#comeBack(error);
    if (error instanceof RequestError && !isPassing(error)) return this.#end(error.code);
    this.#comeBack(new ConnectionLost(undefined, (error as RequestError).retryAfterMs));
  }

  /** Goes back to the first way if it can be gone by now; what there is stays until it can. */
  #tryFirstWay(): void {
    if (!this.#link || this.#isFirstWay()) return;
    this.#connect(0, true);
    this.#returnLater();
  }

  #returnLater(): void {
    clearTimeout(this.#return);
    if (this.#isFirstWay()) {
      this.#returnMs = FIRST_WAY_SOON_MS;
      return;
    }
    this.#return = setTimeout(() => {
      this.#returnMs = Math.min(2 * this.#returnMs, FIRST_WAY_AGAIN_MS);
      this.#tryFirstWay();
    }, this.#returnMs * (1 + this.#random()));
  }

  #isFirstWay(): boolean {
    return this.#way % this.options.openers.length === 0;
  }

  #closed(link: Link | undefined, why: ConnectionLost): void {
    // Of a link that was left nobody wants to know.
    if (!link || link !== this.#link) return;
    this.#link = undefined;
    this.#told = undefined;
    this.outbox.setOpen(false);
    clearTimeout(this.#return);
    for (const channel of this.#channels.values()) channel.fellBehind();
    if (this.#attempt) this.#setState({ name: 'connecting' });
    else this.#comeBack(why);
  }

  /** Tries again when the close code allows it. */
  #comeBack(why: ConnectionLost): void {
    const then = afterClose(why.code);
    if (why.code === 4202 || then === 'stop') return this.#end(CLOSE_CODES[why.code] ?? 'stopped');
    if (then === 'renew') return this.#renew();
    if (this.#link) {
      // It is being left, and works until it goes: only the next one is tried again.
      this.#retry = setTimeout(() => this.#connect(), AT_ONCE_MS * this.#random());
      return;
    }
    if (then === 'at_once') return this.#retryIn((why.afterMs ?? 0) + this.#random() * AT_ONCE_MS);
    const wait = this.#backoff.next(why.afterMs);
    if (this.#backoff.failures % TRIES_A_WAY === 0) this.#way += 1;
    this.#retryIn(wait);
  }

  #renew(): void {
    if (!this.#link) this.#setState({ name: 'connecting' });
    const attempt: Attempt = (this.#attempt = { way: this.#way, isOffer: false, said: [] });
    this.options.credentials.renew().then(
      () => {
        if (attempt !== this.#attempt) return;
        this.#attempt = undefined;
        this.#connect();
      },
      (error: unknown) => {
        if (attempt !== this.#attempt) return;
        this.#attempt = undefined;
        const isOver = error instanceof RequestError && !isPassing(error);
        if (isOver) this.#end(error.code);
        else this.#comeBack(new ConnectionLost());
      },
    );
  }

  #retryIn(waitMs: number): void {
    if (!this.#unwatch) return;
    this.#setState({ name: 'offline', retryAt: Date.now() + waitMs });
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), waitMs);
  }

  /** Waits for a network, or for somebody to look. */
  #rest(): void {
    clearTimeout(this.#retry);
    if (!this.#link) this.#setState({ name: 'offline' });
  }

  #lookAgain(): void {
    this.#backoff.reset();
    const link = this.#link;
    if (!link) return this.#connect();
    // The network may be another one, and the link may not know it yet.
    link.probe(PROBE_MAX_MS).catch(() => {
      this.#closed(link, new ConnectionLost(4000));
      link.close();
    });
  }

  /** Goes over to another link, and leaves this one when that answers. */
  #replace(): void {
    if (this.#link && !this.#attempt) this.#connect();
  }

  #end(code: string): void {
    this.#leaveLink();
    this.#setState({ name: 'ended', code });
    this.#unwatch?.();
    this.#unwatch = undefined;
  }

  #leaveLink(): void {
    clearTimeout(this.#retry);
    clearTimeout(this.#return);
    this.#attempt = undefined;
    this.outbox.setOpen(false);
    this.#link?.close();
    this.#link = undefined;
    for (const channel of this.#channels.values()) channel.fellBehind();
  }

  // Hearing

  #hear(frame: Frame, from: () => Link | undefined): void {
    switch (frame.event) {
      case 'live':
        return this.#channels.get(frame.channel)?.caughtUp(frame.seq);
      case 'gap':
        return this.#channels.get(frame.channel)?.gap(frame.have, frame.head);
      case 'lag':
        return this.#channels.get(frame.channel)?.fellBehind();
      case 'unsubscribed':
        this.#channels.get(frame.channel)?.end(frame.reason);
        this.#channels.delete(frame.channel);
        return this.#showProgress();
      case 'token_expiring':
        return this.#freshen(from());
      case 'drain':
        setTimeout(() => from() === this.#link && this.#replace(), frame.in_ms);
        return;
      case 'ping':
      case 'bye':
        return;
      case 'presence_changed':
        if (frame.channel === undefined) return this.emit('presence', frame.data.changes ?? []);
        return this.#channels.get(frame.channel)?.hearEphemeral(frame);
      case 'typing_indicator':
        return this.#channels.get(frame.channel)?.hearEphemeral(frame);
      default:
        return this.#channels.get(frame.channel)?.hear(frame);
    }
  }

  #freshen(link: Link | undefined): void {
    this.options.credentials
      .renew()
      .then((token) => (token === undefined ? this.#replace() : link?.renew(token)))
      // The server ends the link with its token: what is to be done is done then.
      .catch(() => {});
  }

  #showProgress(): void {
    if (!this.#link) return;
    if (this.#told && this.#told.name !== 'live') return this.#setState(this.#told);
    const isLive = this.#followed().every((channel) => channel.isLive);
    this.#setState({ name: isLive ? 'live' : 'catching_up' });
  }

  #setState(state: ConnectionState): void {
    const { name } = this.#state;
    if (name === state.name && name !== 'offline') return;
    this.#state = state;
    this.emit('state', state);
  }

  // Following

  #followed(): Channel[] {
    return [...this.#channels.values()].filter((channel) => !channel.isEnded);
  }

  /** Follows channels on the link that there is: those that are asked for in one breath in one request. */
  #follow(channels: Channel[]): void {
    if (!this.#link || channels.length === 0) return;
    if (this.#toFollow.size === 0) queueMicrotask(() => this.#followNow());
    for (const channel of channels) this.#toFollow.add(channel);
  }

  #followNow(): void {
    const channels = [...this.#toFollow].filter((channel) => !channel.isEnded);
    this.#toFollow.clear();
    if (this.#link && channels.length > 0) void this.#subscribe(this.#link, channels);
  }

  async #subscribe(link: Link, channels: Channel[]): Promise<void> {
    for (let at = 0; at < channels.length; at += SUBSCRIBE_MAX) {
      const some = channels.slice(at, at + SUBSCRIBE_MAX);
      try {
        const answers = await link.subscribe(some.map((it) => it.subscription()));
        if (link !== this.#link) return;
        this.#subscribed(some, answers);
      } catch (error) {
        if (link !== this.#link) return;
        // Nothing was done of it: for now, or because there are too many.
        if (isPassing(error)) this.#subscribeLater(link, some);
        else for (const channel of some) channel.end((error as RequestError).code);
      }
    }
    this.#showProgress();
  }

  #subscribed(channels: Channel[], answers: Record<string, Subscribed>): void {
    for (const channel of channels) {
      const answer = answers[channel.name];
      channel.subscribed(answer);
      if (!answer || !('error' in answer)) continue;
      if (!isRefusedForNow(answer.error)) {
        channel.end(answer.error.code);
        this.#channels.delete(channel.name);
      } else if (answer.error.code === NO_ROOM) {
        this.#unplaced.add(channel);
      } else if (answer.error.code === 'room_busy' && this.#link) {
        this.#subscribeLater(this.#link, [channel]);
      }
    }
  }

  #subscribeLater(link: Link, channels: Channel[]): void {
    setTimeout(() => {
      const open = channels.filter((channel) => !channel.isEnded);
      if (link === this.#link && open.length > 0) void this.#subscribe(link, open);
    }, PASSING_WAIT_MS * (1 + this.#random()));
  }

  #leaveChannel(channel: Channel): void {
    if (this.#channels.get(channel.name) !== channel) return;
    this.#channels.delete(channel.name);
    this.#unplaced.delete(channel);
    void this.#link?.unsubscribe([channel.name]).catch(() => {});
    // There may be room now for one that waits.
    this.#follow([...this.#unplaced]);
    this.#unplaced.clear();
    this.#showProgress();
  }

  // Asking

  /** Asks, again with the next link where one breaks: each of these does the same however often it is done. */
  async #request<Op extends keyof Ops>(op: Op, fields: Ops[Op][0]): Promise<Ops[Op][1]> {
    const until = Date.now() + REQUEST_MAX_MS;
    for (;;) {
      const link = this.#link ?? (await this.#linkWithin(until - Date.now()));
      try {
        return await link.request(op, fields);
      } catch (error) {
        if (!isPassing(error) || Date.now() >= until) throw error;
        if (link === this.#link) await this.#pause(error);
      }
    }
  }

  /** Sends what waits, for as long as there is this link. */
  async #deliver({ channel, key, data }: Queued): Promise<Sent> {
    for (;;) {
      const link = this.#link;
      if (!link) throw new ConnectionLost();
      try {
        return await link.request('send', { channel, key, data });
      } catch (error) {
        if (!isPassing(error) || link !== this.#link) throw error;
        await this.#pause(error);
      }
    }
  }

  #pause(error: unknown): Promise<void> {
    const asked = error instanceof RequestError ? (error.retryAfterMs ?? 0) : 0;
    const wait = Math.max(asked, PASSING_WAIT_MS) * (1 + this.#random() / 2);
    return new Promise((resolve) => setTimeout(resolve, wait));
  }

  #linkWithin(waitMs: number): Promise<Link> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(tell);
        reject(new NotConnected('there is no connection'));
      }, Math.max(waitMs, 0));
      const tell = () => {
        clearTimeout(timer);
        this.#waiting.delete(tell);
        resolve(this.#link as Link);
      };
      this.#waiting.add(tell);
    });
  }

  async #readMessages(of: ChannelName, after: number): Promise<Message[]> {
    const channel = of as RoomChannel;
    const { items } = await this.#request('history', { channel, after, limit: 200 });
    return items;
  }
}

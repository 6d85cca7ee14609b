/**
 * A link over event streams, for networks that let no WebSocket through: it listens to a stream for each 32 channels, and makes
 * each request over HTTP.
 *
 * Invariant: what a stream cannot go on with is told as a gap. The streams are one link: where one ends, all of them do. Every
 * request ends, with its answer or with the link.
 */

import { CALLS, room } from './calls.js';
import { ConnectionLost, RequestError } from './errors.js';
import { EventStream } from './eventstream.js';
import { LANE_CHANNELS_MAX, Lanes, LANES_MAX, type Lane } from './lanes.js';
import type { ChannelName, DurableEvent, Frame, Greeting, Ops, Subscribed, Subscription } from './protocol.js';
import { NO_ROOM, type Heard, type Hello, type Link, type Opener } from './transport.js';

/** How long the server may take to begin a stream. */
const OPEN_MAX_MS = 15_000;
const ANSWER_MAX_MS = 30_000;
const PING_MS = 15_000;
const TOKEN_EXPIRED = 4200;
const CHANNELS_MAX = LANES_MAX * LANE_CHANNELS_MAX;
const LIMITS = { frame_bytes_max: 65_536, body_chars_max: 4_000, channels_max: CHANNELS_MAX, ops_per_second: 20, ops_burst: 60 };

/** What a numbered frame is: an event, or where a channel is live. */
type Numbered = DurableEvent | Extract<Frame, { event: 'live' }>;
type Answers = Record<string, Subscribed>;

/** A lane's stream, with what it carries. */
interface Carrier {
  channels: Set<ChannelName>;
  /** What the client had of each channel when the stream was asked for. */
  asked: Map<string, number>;
  stream: EventStream;
}

/** Opens streams below `base`, such as `https://chat.example`. */
export function streamOpener(base: string, http: typeof fetch): Opener {
  const lanes = new Lanes();
  return (hello, heard) => StreamLink.open(base, http, lanes, hello, heard);
}

class StreamLink implements Link {
  readonly kind = 'stream';
  readonly greeting: Greeting = { connection: '', user: '', ping_ms: PING_MS, limits: LIMITS, epoch: '', channels: {} };
  readonly #carriers = new Map<Lane, Carrier>();
  /** What the client has of each channel, as far as it is known. */
  readonly #have = new Map<string, number>();
  /** How many events before the head a channel is to begin with. */
  readonly #last = new Map<string, number>();
  readonly #closing = new AbortController();
  #token: string | undefined;
  /** Every stream says it. */
  #isExpiring = false;
  /** Streams are opened one change after the other: of two at a time each would leave out what the other adds. */
  #change: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly base: string,
    private readonly http: typeof fetch,
    private readonly lanes: Lanes,
    private readonly heard: Heard,
    token: string | undefined,
  ) {
    this.#token = token;
  }

  static async open(base: string, http: typeof fetch, lanes: Lanes, hello: Hello, heard: Heard): Promise<Link> {
    const link = new StreamLink(base, http, lanes, heard, hello.token);
    try {
      Object.assign(link.greeting.channels, await link.subscribe(hello.subscribe));
      return link;
    } catch (error) {
      link.close();
      throw error;
    }
  }

  async request<Op extends keyof Ops>(op: Op, fields: Ops[Op][0]): Promise<Ops[Op][1]> {
    const call = CALLS[op](fields as never);
    if (!call) return {} as Ops[Op][1];
    const [method, path, body] = call;
    const headers = { 'content-type': 'application/json' };
    const init = body === undefined ? { method } : { method, headers, body: JSON.stringify(body) };
    return this.#ask(path, init, ANSWER_MAX_MS, (answer) => answer.json());
  }

  subscribe(channels: Subscription[]): Promise<Answers> {
    return this.#inTurn(() => this.#subscribe(channels));
  }

  async unsubscribe(names: string[]): Promise<void> {
    // What still comes is dropped; the lane's next stream is without it, but for one that is being opened.
    this.#drop(names);
    await this.#inTurn(async () => this.#drop(names));
  }

  async renew(token: string): Promise<void> {
    this.#token = token;
    // A stream ends with the token that it was opened with. One by one: each takes a second seat for a moment.
    await this.#inTurn(async () => {
      for (const [lane, load] of this.#loads()) this.#take(lane, await this.#openAllowed(lane, load, {}));
    });
    this.#isExpiring = false;
  }

  async probe(withinMs: number): Promise<void> {
    await this.#ask('/livez', {}, withinMs, (answer) => answer.text());
  }

  close(): void {
    this.#closing.abort();
    for (const { stream } of this.#carriers.values()) stream.close();
    this.#carriers.clear();
  }

  // Streams

  async #subscribe(channels: Subscription[]): Promise<Answers> {
    for (const { channel, after, last } of channels) {
      this.#last.set(channel, last ?? 0);
      if (after === undefined) this.#have.delete(channel);
      else this.#have.set(channel, after);
    }
    const { changed, unplaced } = this.lanes.place(channels.map((it) => it.channel), this.#loads());
    // Without a stream nothing would say that the connection is gone.
    const any = this.lanes.any();
    if (any && changed.size + this.#carriers.size === 0) changed.set(any, new Set());
    const opening = [...changed].map(async ([lane, load]) => {
      const answers: Answers = {};
      return { lane, answers, carrier: await this.#openAllowed(lane, load, answers) };
    });
    const answers = noRoom(unplaced);
    const opened = [];
    const failures: unknown[] = [];
    for (const outcome of await Promise.allSettled(opening)) {
      if (outcome.status === 'fulfilled') opened.push(outcome.value);
      else failures.push(outcome.reason);
    }
    // Where some streams fit, what the others would carry waits.
    const isPartly = opened.length + this.#carriers.size > 0 && failures.every(isFull);
    if (failures.length > 0 && !isPartly) {
      for (const { carrier } of opened) carrier.stream.close();
      throw failures[0];
    }
    // All of them are there before one of them is heard.
    for (const { lane, carrier, answers: refused } of opened) {
      this.#take(lane, carrier);
      Object.assign(answers, refused);
    }
    const isCarried = new Set([...this.#loads().values()].flatMap((load) => [...load]));
    const left = channels.map((it) => it.channel).filter((name) => !isCarried.has(name) && !(name in answers));
    return { ...answers, ...noRoom(left) };
  }

  #loads(): Map<Lane, Set<ChannelName>> {
    return new Map([...this.#carriers].map(([lane, { channels }]) => [lane, channels]));
  }

  /** Has a lane carried by another stream from now on. */
  #take(lane: Lane, carrier: Carrier): void {
    this.#carriers.get(lane)?.stream.close();
    this.#carriers.set(lane, carrier);
    void carrier.stream.listen();
  }

  /** Opens a lane's stream with what it is to carry, but for what the caller may not follow, and adds that to `refused`. */
  async #openAllowed(lane: Lane, load: Set<ChannelName>, refused: Answers): Promise<Carrier> {
    for (;;) {
      try {
        return await this.#open(lane, load);
      } catch (error) {
        const found = isNotFound(error) ? await this.#refusals([...load]) : {};
        if (Object.keys(found).length === 0) throw error;
        Object.assign(refused, found);
        load = new Set([...load].filter((name) => !(name in found)));
        for (const name of Object.keys(found)) this.#tellRefused(name as ChannelName);
      }
    }
  }

  /** Tells whoever followed the channel so far; to whoever asked for it, the answer says so. */
  #tellRefused(name: ChannelName): void {
    const isFollowed = [...this.#carriers.values()].some(({ channels }) => channels.has(name));
    this.#drop([name]);
    if (isFollowed) this.heard.onFrame({ event: 'unsubscribed', channel: name, reason: 'removed' });
  }

  async #open(lane: Lane, load: Set<ChannelName>): Promise<Carrier> {
    const names: ChannelName[] = load.size > 0 ? [...load] : ['me'];
    const query = new URLSearchParams(names.map((name) => ['channel', name]));
    const headers: Record<string, string> = { accept: 'text/event-stream' };
    if (lane.cursor !== undefined) headers['last-event-id'] = lane.cursor;
    const asked = new Map([...this.#have].filter(([name]) => load.has(name as ChannelName)));
    const abort = new AbortController();
    const late = setTimeout(() => abort.abort(), OPEN_MAX_MS);
    try {
      const answer = await this.#fetch(`/v1/stream?${query}`, { headers, signal: abort.signal });
      if (!answer.ok || !answer.body) throw await RequestError.ofAnswer(answer);
      for (const name of names) lane.known.add(name);
      const carrier: Carrier = {
        channels: load,
        asked,
        stream: new EventStream(answer.body, abort, {
          onFrame: (frame) => this.#hear(carrier, frame),
          onCursor: (cursor) => (lane.cursor = cursor),
          onEnd: (why) => this.#closed(why),
        }),
      };
      if (!this.#closing.signal.aborted) return carrier;
      carrier.stream.close();
      throw new ConnectionLost();
    } finally {
      clearTimeout(late);
    }
  }

  /** Which of these rooms the caller may not follow: a stream is refused as a whole. */
  async #refusals(names: ChannelName[]): Promise<Answers> {
    const asking = names.filter((name) => name !== 'me').map(async (name): Promise<Answers> => {
      try {
        await this.#ask(room(name), {}, ANSWER_MAX_MS, (answer) => answer.text());
        return {};
      } catch (error) {
        if (!isNotFound(error)) throw error;
        const { code, message } = error as RequestError;
        return { [name]: { error: { code, message } } };
      }
    });
    return Object.assign({}, ...(await Promise.all(asking))) as Answers;
  }

  #drop(names: string[]): void {
    for (const name of names as ChannelName[]) {
      for (const [lane, { channels }] of this.#carriers) if (channels.delete(name)) lane.known.delete(name);
    }
  }

  // Hearing

  #hear(carrier: Carrier, frame: Frame): void {
    if (frame.event === 'token_expiring') {
      if (this.#isExpiring) return;
      this.#isExpiring = true;
    } else if ('channel' in frame && frame.channel !== undefined) {
      if (!carrier.channels.has(frame.channel)) return;
      if (frame.event === 'gap') this.#have.set(frame.channel, frame.head);
      else if (frame.event === 'unsubscribed') this.#drop([frame.channel]);
      else if ('seq' in frame && !this.#isAwaited(carrier, frame)) return;
    }
    this.heard.onFrame(frame);
  }

  /** Whether a numbered frame is for the client; tells of the gap before it, if there is one. */
  #isAwaited(carrier: Carrier, frame: Numbered): boolean {
    const { channel, seq } = frame;
    const isLive = frame.event === 'live';
    const have = this.#have.get(channel) ?? (isLive ? Math.max(0, seq - (this.#last.get(channel) ?? 0)) : undefined);
    // Whoever begins at the head did not ask for what a word of before goes on with.
    if (have === undefined) return false;
    // A log that is shorter than it was is another one. The stream before this one may have told more than this one yet.
    const asked = carrier.asked.get(channel) ?? 0;
    const isAnother = isLive && seq < asked;
    const head = isLive ? seq : seq - 1;
    if (isAnother || head > have) {
      this.heard.onFrame({ event: 'gap', channel, have: isAnother ? asked : have, first: 1, head });
    }
    this.#have.set(channel, isAnother ? seq : Math.max(have, seq));
    return true;
  }

  #closed(why: ConnectionLost): void {
    if (this.#closing.signal.aborted) return;
    this.close();
    this.heard.onClosed(why);
  }

  // Asking

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#change.then(act);
    this.#change = turn.catch(() => {});
    return turn;
  }

  /** Asks, and reads the answer. */
  async #ask<T>(path: string, init: RequestInit, withinMs: number, read: (answer: Response) => Promise<T>): Promise<T> {
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(withinMs)]);
    const answer = await this.#fetch(path, { ...init, signal });
    if (answer.status === 401) this.#closed(new ConnectionLost(TOKEN_EXPIRED));
    // With the link goes the reason to refuse what was asked: it is asked again with a fresh token.
    if (this.#closing.signal.aborted) throw new ConnectionLost();
    if (!answer.ok) throw await RequestError.ofAnswer(answer);
    return read(answer).catch(() => {
      throw new ConnectionLost();
    });
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.#token !== undefined) headers.set('authorization', `Bearer ${this.#token}`);
    try {
      return await this.http(`${this.base}${path}`, { ...init, headers });
    } catch {
      throw new ConnectionLost();
    }
  }
}

const noRoom = (names: ChannelName[]): Answers =>
  Object.fromEntries(names.map((name) => [name, { error: { code: NO_ROOM, message: 'the streams are full' } }]));

const isNotFound = (error: unknown) => error instanceof RequestError && error.code === 'room_not_found';
const isFull = (error: unknown) => error instanceof RequestError && error.code === 'too_many_connections';

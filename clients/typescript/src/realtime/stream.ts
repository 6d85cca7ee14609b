/**
 * A link over an event stream, for networks that let no WebSocket through: it listens to a stream, and makes each request
 * over HTTP.
 *
 * Invariant: what a stream cannot go on with is told as a gap. One stream carries so many channels; others are refused, and
 * whoever asks for another channel is given another stream.
 */

import { ConnectionLost, RequestError } from './errors.js';
import type {
  ChannelName,
  Frame,
  Greeting,
  Ops,
  Subscribed,
  Subscription,
  WireError,
} from './protocol.js';
import type { Heard, Hello, Link, Opener } from './transport.js';

const CHANNELS_MAX = 32;
/** The server says something every 15 s. */
const SILENCE_MAX_MS = 40_000;
/** The client is to come back at once. */
const MOVED = 4001;
const LIMITS = { frame_bytes_max: 65_536, body_chars_max: 4_000, channels_max: CHANNELS_MAX, ops_per_second: 20, ops_burst: 60 };

/** Opens streams below `base`, such as `https://chat.example`. */
export function streamOpener(base: string, http: typeof fetch): Opener {
  // A word over all channels, which the next stream goes on from.
  let cursor: string | undefined;
  return (hello, heard) => {
    const link = new StreamLink(base, http, hello, heard);
    return link.open(cursor, (id) => (cursor = id));
  };
}

class StreamLink implements Link {
  readonly kind = 'stream';
  readonly greeting: Greeting;
  readonly #abort = new AbortController();
  readonly #channels: ChannelName[];
  /** What the client has of each channel for which it gave a position. */
  readonly #have = new Map<string, number>();
  #token: string | undefined;
  #bye: ConnectionLost | undefined;
  #isClosed = false;
  #silence: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly base: string,
    private readonly http: typeof fetch,
    hello: Hello,
    private readonly heard: Heard,
  ) {
    this.#token = hello.token;
    const names = hello.subscribe.map((it) => it.channel);
    this.#channels = names.slice(0, CHANNELS_MAX);
    const error: WireError = { code: 'too_many_channels', message: 'one stream carries no more' };
    const refused = names.slice(CHANNELS_MAX).map((name) => [name, { error }] as const);
    for (const { channel, after } of hello.subscribe) {
      if (after !== undefined) this.#have.set(channel, after);
    }
    const channels: Record<string, Subscribed> = Object.fromEntries(refused);
    this.greeting = { connection: '', user: '', ping_ms: 15_000, limits: LIMITS, epoch: '', channels };
  }

  async open(cursor: string | undefined, onCursor: (id: string) => void): Promise<Link> {
    const query = new URLSearchParams(this.#channels.map((name) => ['channel', name]));
    const headers: Record<string, string> = { accept: 'text/event-stream' };
    if (cursor !== undefined) headers['last-event-id'] = cursor;
    const answer = await this.#fetch(`/v1/stream?${query}`, { headers, signal: this.#abort.signal });
    if (!answer.ok || !answer.body) throw await RequestError.ofAnswer(answer);
    this.#hearSomething();
    // Told from the next turn on: nobody hears anything of a link that they do not have yet.
    void this.#listen(answer.body, onCursor);
    return this;
  }

  async request<Op extends keyof Ops>(op: Op, fields: Ops[Op][0]): Promise<Ops[Op][1]> {
    const call = CALLS[op](fields as never);
    if (!call) return {} as Ops[Op][1];
    const [method, path, body] = call;
    const headers = { 'content-type': 'application/json' };
    const init = body === undefined ? { method } : { method, headers, body: JSON.stringify(body) };
    const answer = await this.#fetch(path, init);
    if (!answer.ok) throw await RequestError.ofAnswer(answer);
    return (await answer.json()) as Ops[Op][1];
  }

  async subscribe(): Promise<Record<string, Subscribed>> {
    this.#closed(new ConnectionLost(MOVED));
    return {};
  }

  async unsubscribe(): Promise<void> {
    // What still comes is dropped by whoever listens; the next stream is without it.
  }

  async renew(token: string): Promise<void> {
    this.#token = token;
    // A stream ends with the token that it was opened with.
    this.#closed(new ConnectionLost(MOVED));
  }

  async probe(withinMs: number): Promise<void> {
    const answer = await this.#fetch('/livez', { signal: AbortSignal.timeout(withinMs) });
    if (!answer.ok) throw await RequestError.ofAnswer(answer);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#silence);
    this.#abort.abort();
  }

  async #listen(body: ReadableStream<Uint8Array>, onCursor: (id: string) => void): Promise<void> {
    try {
      let rest = '';
      const reader = body.getReader();
      const decoder = new TextDecoder();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        this.#hearSomething();
        const blocks = (rest + decoder.decode(value, { stream: true })).split('\n\n');
        rest = blocks.pop() ?? '';
        for (const block of blocks) this.#read(block, onCursor);
      }
    } catch {
      // It broke: the same as its end.
    }
    this.#closed(this.#bye ?? new ConnectionLost());
  }

  #read(block: string, onCursor: (id: string) => void): void {
    const fields = new Map(block.split('\n').map((line) => splitOnce(line)));
    const data = fields.get('data');
    if (data === undefined || this.#isClosed) return;
    const frame = JSON.parse(data) as Frame;
    if (frame.event === 'bye') this.#bye = new ConnectionLost(frame.code, frame.after_ms);
    else this.#tell(frame);
    const id = fields.get('id');
    if (id) onCursor(id);
  }

  #tell(frame: Frame): void {
    const have = 'channel' in frame ? this.#have.get(frame.channel ?? '') : undefined;
    if (have !== undefined && 'seq' in frame) {
      const { channel, seq } = frame;
      // A cursor that does not know the channel begins at its head.
      const isGap = frame.event === 'live' ? seq !== have : seq > have + 1;
      const head = frame.event === 'live' ? seq : seq - 1;
      if (isGap) this.heard.onFrame({ event: 'gap', channel, have, first: 1, head });
      this.#have.set(channel, Math.max(have, seq));
    }
    this.heard.onFrame(frame);
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

  #hearSomething(): void {
    clearTimeout(this.#silence);
    if (this.#isClosed) return;
    this.#silence = setTimeout(() => this.#closed(new ConnectionLost()), SILENCE_MAX_MS);
  }

  #closed(why: ConnectionLost): void {
    if (this.#isClosed) return;
    this.close();
    this.heard.onClosed(why);
  }
}

type Call = [method: string, path: string, body?: unknown];

const room = (channel: string) => `/v1/chat/rooms/${channel.slice('room:'.length)}`;
const message = (of: { channel: string; seq: number }) => `${room(of.channel)}/messages/${of.seq}`;
const reaction = (of: { channel: string; seq: number; emoji: string }) =>
  `${message(of)}/reactions/${encodeURIComponent(of.emoji)}`;

/** How each op is said over HTTP; what may be lost is not. */
const CALLS: { [Op in keyof Ops]: (fields: Ops[Op][0]) => Call | undefined } = {
  send: ({ channel, key, data }) => ['POST', `${room(channel)}/messages`, { key, ...data }],
  edit: (fields) => ['PATCH', message(fields), fields.data],
  delete: (fields) => ['DELETE', message(fields)],
  react: (fields) => ['PUT', reaction(fields)],
  unreact: (fields) => ['DELETE', reaction(fields)],
  typing: () => undefined,
  read: ({ channel, seq }) => [
    'POST',
    '/v1/messages/read',
    { room_id: channel.slice('room:'.length), seq },
  ],
  history: ({ channel, ...query }) => {
    const given = Object.entries(query).map(([name, value]) => [name, String(value)]);
    return ['GET', `${room(channel)}/messages?${new URLSearchParams(given)}`];
  },
  set_presence: () => undefined,
  get_presence: ({ users }) => ['GET', `/v1/online-status?user_ids=${users.join(',')}`],
};

function splitOnce(line: string): [string, string] {
  const colon = line.indexOf(':');
  if (colon < 0) return [line, ''];
  const value = line.slice(colon + 1);
  return [line.slice(0, colon), value.startsWith(' ') ? value.slice(1) : value];
}

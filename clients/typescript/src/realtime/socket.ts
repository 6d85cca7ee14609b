/**
 * A link over WebSocket: requests by number, their answers, and frames in the order in which they came.
 *
 * Invariant: every request ends, with its answer or with the connection. A server that is silent for longer than it said is
 * taken for gone.
 */

import { BROKEN, ConnectionLost, RequestError } from './errors.js';
import {
  SUBPROTOCOL,
  type Frame,
  type Greeting,
  type Ops,
  type Reply,
  type Subscribed,
  type Subscription,
} from './protocol.js';
import { isReply, type Heard, type Hello, type Link, type Opener } from './transport.js';

/** How long a handshake and its `hello` may take. */
const OPEN_MAX_MS = 15_000;
/** How long an answer may take before the connection is looked at. */
const ANSWER_MAX_MS = 30_000;
/** The server pings every 25 s, give or take a fifth, and has 10 s to spare. */
const SILENCE_SPARE_MS = 10_000;
const PING_SPREAD = 1.2;

interface Waiting {
  resolve: (ok: never) => void;
  reject: (error: Error) => void;
  timer: ReturnType<typeof setTimeout>;
}

/** The part of `WebSocket` that is needed. */
export type SocketConstructor = new (url: string, protocols: string[]) => WebSocket;

/** Opens sockets at `url`, such as `wss://chat.example/v1/chat/socket`. */
export function socketOpener(url: string, client: object, Socket: SocketConstructor): Opener {
  return (hello, heard) => SocketLink.open(new Socket(url, [SUBPROTOCOL]), hello, client, heard);
}

class SocketLink implements Link {
  readonly kind = 'socket';
  greeting!: Greeting;
  #nextId = 1;
  #waiting = new Map<number, Waiting>();
  #isClosed = false;
  /** Whoever has it has said goodbye, and is told nothing more. */
  #isLeft = false;
  #silence: ReturnType<typeof setTimeout> | undefined;
  #silenceMs = OPEN_MAX_MS;
  /** What the server said before it closed. */
  #bye: { code: number; after_ms?: number } | undefined;

  private constructor(
    private readonly socket: WebSocket,
    private readonly heard: Heard,
  ) {
    socket.onmessage = (message) => this.#read(String(message.data));
    socket.onclose = (closed) => this.#closed(closed.code);
    // A close follows; in Node, an error that nobody hears ends the process.
    socket.onerror = () => {};
    this.#hearSomething();
  }

  static async open(socket: WebSocket, hello: Hello, client: object, heard: Heard): Promise<Link> {
    // Nobody hears of a link that was never there.
    let isOpen = false;
    const link = new SocketLink(socket, {
      ...heard,
      onClosed: (why) => isOpen && heard.onClosed(why),
    });
    try {
      await new Promise<void>((resolve, reject) => {
        socket.onopen = () => resolve();
        link.#waiting.set(0, { resolve, reject, timer: setTimeout(() => link.#break(), OPEN_MAX_MS) });
      });
      link.#forget(0);
      const { token, subscribe, presence } = hello;
      // The server is asked for frames in the same breath: they may come right behind the greeting.
      link.greeting = await link.#ask('hello', { token, subscribe, presence, client });
    } catch (error) {
      link.#break();
      throw error;
    }
    if (link.#isClosed) throw link.#lost();
    link.#silenceMs = link.greeting.ping_ms * PING_SPREAD + SILENCE_SPARE_MS;
    link.#hearSomething();
    isOpen = true;
    return link;
  }

  request<Op extends keyof Ops>(op: Op, fields: Ops[Op][0]): Promise<Ops[Op][1]> {
    return this.#ask(op, fields);
  }

  async subscribe(channels: Subscription[]): Promise<Record<string, Subscribed>> {
    const { channels: answered } = await this.#ask<{ channels: Record<string, Subscribed> }>(
      'subscribe',
      { channels },
    );
    return answered;
  }

  async unsubscribe(channels: string[]): Promise<void> {
    await this.#ask('unsubscribe', { channels });
  }

  async renew(token: string): Promise<void> {
    await this.#ask('auth', { token });
  }

  async probe(withinMs: number): Promise<void> {
    await this.#ask('ping', {}, withinMs);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#write({ op: 'bye' });
    this.#isLeft = true;
    this.#break();
  }

  #ask<Ok>(op: string, fields: object, withinMs = ANSWER_MAX_MS): Promise<Ok> {
    const id = this.#nextId++;
    return new Promise<Ok>((resolve, reject) => {
      if (this.#isClosed) return reject(this.#lost());
      // Whoever does not answer is not there: what was asked is asked again elsewhere.
      const timer = setTimeout(() => this.#break(), withinMs);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#write({ id, op, ...fields });
    });
  }

  #write(request: object): void {
    try {
      this.socket.send(JSON.stringify(request));
    } catch {
      this.#break();
    }
  }

  #read(text: string): void {
    this.#hearSomething();
    for (const line of text.split('\n')) {
      if (line === '' || this.#isClosed) continue;
      const parsed = JSON.parse(line) as Frame | Reply;
      if (isReply(parsed)) this.#answer(parsed);
      else if (parsed.event === 'ping') this.#write({ op: 'pong' });
      else if (parsed.event === 'bye') this.#bye = parsed;
      else this.heard.onFrame(parsed);
    }
  }

  #answer(reply: Reply): void {
    const waiting = reply.id === undefined ? undefined : this.#forget(reply.id);
    if (!waiting) return;
    if (reply.error) waiting.reject(RequestError.of(reply.error));
    else waiting.resolve(reply.ok as never);
  }

  #forget(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (waiting) clearTimeout(waiting.timer);
    return waiting;
  }

  #hearSomething(): void {
    clearTimeout(this.#silence);
    if (!this.#isClosed) this.#silence = setTimeout(() => this.#break(), this.#silenceMs);
  }

  /** Ends it without waiting for the other side, which may be out of reach. */
  #break(): void {
    this.#closed(BROKEN);
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }

  #closed(code: number): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#silence);
    this.#bye ??= { code };
    for (const id of [...this.#waiting.keys()]) this.#forget(id)?.reject(this.#lost());
    if (!this.#isLeft) this.heard.onClosed(this.#lost());
  }

  #lost(): ConnectionLost {
    return new ConnectionLost(this.#bye?.code, this.#bye?.after_ms);
  }
}

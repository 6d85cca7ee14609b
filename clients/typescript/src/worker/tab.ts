/** A tab's side: a link to the worker that has the connection. */

import { ConnectionLost, RequestError } from '../realtime/errors.js';
import { MemoryOutbox } from '../realtime/outbox.js';
import type { Greeting, Ops, Subscribed, Subscription } from '../realtime/protocol.js';
import { Realtime, type Credentials } from '../realtime/realtime.js';
import { hostSurroundings } from '../realtime/surroundings.js';
import type { Heard, Hello, Link, Opener } from '../realtime/transport.js';
import type { FromTab, FromWorker, Port } from './wire.js';

const LIMITS = { frame_bytes_max: 65_536, body_chars_max: 4_000, channels_max: 256, ops_per_second: 20, ops_burst: 60 };
/** The worker is gone, or has not answered in time. */
const ANSWER_MAX_MS = 60_000;

export interface SharedSettings {
  /** Opens a port to the worker, such as `() => new SharedWorker(url, { type: 'module' }).port`. */
  open: () => Port;
  /** Whose tab it is. */
  user: string;
  credentials: Credentials;
}

/** A connection that all tabs of a user have together; for whoever uses it, the same as one of its own. */
export function connectShared(settings: SharedSettings): Realtime {
  const surroundings = { ...hostSurroundings(), isOnline: () => true, isVisible: () => true };
  const opener: Opener = (hello, heard) => WorkerLink.open(settings, hello, heard);
  // The worker keeps what is to be sent; a tab only until the worker has it.
  const { credentials } = settings;
  const realtime = new Realtime({ credentials, openers: [opener], outbox: new MemoryOutbox(), surroundings });
  return realtime;
}

class WorkerLink implements Link {
  readonly kind = 'worker';
  readonly greeting: Greeting = { connection: '', user: '', ping_ms: 0, limits: LIMITS, epoch: '', channels: {} };
  readonly #waiting = new Map<number, { resolve: (ok: never) => void; reject: (why: Error) => void }>();
  #next = 1;
  #isClosed = false;
  readonly #leave = () => this.close();

  private constructor(
    private readonly port: Port,
    private readonly credentials: Credentials,
    private readonly heard: Heard,
  ) {
    port.onmessage = (message) => this.#hear(message.data as FromWorker);
    port.start?.();
    globalThis.addEventListener?.('pagehide', this.#leave);
  }

  static async open(settings: SharedSettings, hello: Hello, heard: Heard): Promise<Link> {
    const link = new WorkerLink(settings.open(), settings.credentials, heard);
    const { user } = settings;
    await link.#ask({ hello: { user, subscribe: hello.subscribe }, id: link.#next });
    if (hello.presence) await link.request('set_presence', { status: hello.presence });
    return link;
  }

  request<Op extends keyof Ops>(op: Op, fields: Ops[Op][0]): Promise<Ops[Op][1]> {
    return this.#ask({ op, fields, id: this.#next });
  }

  async subscribe(channels: Subscription[]): Promise<Record<string, Subscribed>> {
    return this.#ask({ op: 'subscribe', fields: { channels }, id: this.#next });
  }

  async unsubscribe(names: string[]): Promise<void> {
    await this.#ask({ op: 'unsubscribe', fields: { names }, id: this.#next });
  }

  async renew(): Promise<void> {
    // The worker asks for tokens itself.
  }

  async probe(): Promise<void> {
    await this.#ask({ op: 'ping', fields: {}, id: this.#next });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#say({ bye: true });
    this.#end();
  }

  #ask<Ok>(said: FromTab & { id: number }): Promise<Ok> {
    this.#next += 1;
    return new Promise<Ok>((resolve, reject) => {
      if (this.#isClosed) return reject(new ConnectionLost());
      const timer = setTimeout(() => this.#settle(said.id)?.reject(new ConnectionLost()), ANSWER_MAX_MS);
      const settled = (act: (value: never) => void) => (value: never) => {
        clearTimeout(timer);
        act(value);
      };
      this.#waiting.set(said.id, { resolve: settled(resolve as never), reject: settled(reject as never) as never });
      this.#say(said);
    });
  }

  #say(said: FromTab): void {
    this.port.postMessage(said);
  }

  #hear(said: FromWorker): void {
    if (this.#isClosed) return;
    if ('frame' in said) this.heard.onFrame(said.frame);
    else if ('state' in said) this.heard.onState(said.state);
    else if ('ask' in said) void this.#giveToken(said.ask, said.asked);
    else if ('ok' in said) this.#settle(said.id)?.resolve(said.ok as never);
    else if ('error' in said) {
      this.#settle(said.id)?.reject(said.error ? RequestError.of(said.error) : new ConnectionLost());
    } else {
      this.#end();
      this.heard.onClosed(new ConnectionLost(said.closed));
    }
  }

  async #giveToken(ask: 'token' | 'renew', asked: number): Promise<void> {
    try {
      this.#say({ token: await this.credentials[ask](), asked });
    } catch (error) {
      const { code, message } = error as RequestError;
      this.#say({ tokenError: error instanceof RequestError ? { code, message } : null, asked });
    }
  }

  #settle(id: number) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  #end(): void {
    this.#isClosed = true;
    globalThis.removeEventListener?.('pagehide', this.#leave);
    for (const id of [...this.#waiting.keys()]) this.#settle(id)?.reject(new ConnectionLost());
    this.port.onmessage = null;
    this.port.close();
  }
}

/** A tab's side: a link to the worker that has the connection. */

import { ConnectionLost, RequestError } from '../realtime/errors.js';
import type { RealtimeSettings } from '../realtime/index.js';
import { MemoryOutbox } from '../realtime/outbox.js';
import type { Greeting, Ops, Subscribed, Subscription } from '../realtime/protocol.js';
import { Realtime, type Credentials } from '../realtime/realtime.js';
import { hostSurroundings, type Surroundings } from '../realtime/surroundings.js';
import { lazily, type Heard, type Hello, type Link, type Opener } from '../realtime/transport.js';
import type { FromTab, FromWorker, Port } from './wire.js';

const LIMITS = { frame_bytes_max: 65_536, body_chars_max: 4_000, channels_max: 256, ops_per_second: 20, ops_burst: 60 };
/** The worker is gone, or has not answered in time. */
const ANSWER_MAX_MS = 60_000;
/** It answers by itself, once it runs. */
const ALIVE_MAX_MS = 5_000;
/** How often a tab looks whether it still does: no browser says that a worker has died. */
const LOOK_EVERY_MS = 5_000;

export interface SharedSettings extends RealtimeSettings {
  /** Opens a port to the worker ({@link portOf}); without it, where a browser has none, the tab connects by itself. */
  open: (() => Port) | undefined;
  /** Whose tab it is. */
  user: string;
}

/** The port of a shared worker. One that does not run closes it: its script is gone, or no script at all. */
export function portOf(worker: SharedWorker): Port {
  const port: Port = worker.port;
  worker.onerror = () => port.onclose?.();
  return port;
}

/**
 * A connection that all tabs of a user have together; for whoever uses it, the same as one of its own. Where no worker answers, the
 * tab has one of its own: what that needs is loaded then.
 */
export function connectShared(settings: SharedSettings): Realtime {
  const { open, user, credentials, outbox = new MemoryOutbox(), surroundings = hostSurroundings() } = settings;
  const viaWorker = (open: () => Port): Opener => (hello, heard) => WorkerLink.open({ open, user, credentials, surroundings }, hello, heard);
  const alone = (way: number): Opener =>
    lazily(async () => {
      const { openersOf } = await import('../realtime/openers.js');
      const own = openersOf(settings);
      return own[way % own.length] as Opener;
    });
  return new Realtime({ credentials, openers: open ? [viaWorker(open), alone(0), alone(1)] : [alone(0), alone(1)], outbox, surroundings });
}

/** What a link to the worker needs. */
interface WorkerLinkSettings {
  open: () => Port;
  user: string;
  credentials: Credentials;
  surroundings: Surroundings;
}

class WorkerLink implements Link {
  readonly kind = 'worker';
  readonly greeting: Greeting = { connection: '', user: '', ping_ms: 0, limits: LIMITS, epoch: '', channels: {} };
  readonly #waiting = new Map<number, { resolve: (ok: never) => void; reject: (why: Error) => void }>();
  #next = 1;
  #isClosed = false;
  readonly #unwatch: () => void;
  readonly #looking: ReturnType<typeof setInterval>;
  /** A page that goes may come back out of the browser's cache: it goes on with another link then. */
  readonly #leave = () => {
    this.#say({ bye: true });
    this.#lost(new ConnectionLost());
  };

  private constructor(
    private readonly port: Port,
    private readonly credentials: Credentials,
    surroundings: Surroundings,
    private readonly heard: Heard,
  ) {
    port.onmessage = (message) => this.#hear(message.data as FromWorker);
    port.onclose = () => this.#lost(new ConnectionLost());
    port.start?.();
    globalThis.addEventListener?.('pagehide', this.#leave);
    this.#unwatch = surroundings.watch((change) => {
      if (change === 'visible' || change === 'hidden') this.#say({ isVisible: change === 'visible' });
    });
    this.#looking = setInterval(() => void this.#look(), LOOK_EVERY_MS);
    // It keeps no process alive.
    (this.#looking as { unref?: () => void }).unref?.();
  }

  static async open(settings: WorkerLinkSettings, hello: Hello, heard: Heard): Promise<Link> {
    const { user, credentials, surroundings } = settings;
    const link = new WorkerLink(settings.open(), credentials, surroundings, heard);
    const isVisible = surroundings.isVisible();
    try {
      const { subscribe, presence } = hello;
      await link.#ask({ hello: { user, subscribe, presence, isVisible }, id: link.#next }, ALIVE_MAX_MS);
    } catch (error) {
      link.close();
      throw error;
    }
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

  async probe(withinMs: number): Promise<void> {
    await this.#ask({ op: 'ping', fields: {}, id: this.#next }, withinMs);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#say({ bye: true });
    this.#end();
  }

  async #look(): Promise<void> {
    try {
      await this.#ask({ op: 'alive', fields: {}, id: this.#next }, ALIVE_MAX_MS);
    } catch {
      // It may only be slow: it need not tell this tab anything any more.
      this.#say({ bye: true });
      this.#lost(new ConnectionLost());
    }
  }

  #ask<Ok>(said: FromTab & { id: number }, withinMs = ANSWER_MAX_MS): Promise<Ok> {
    this.#next += 1;
    return new Promise<Ok>((resolve, reject) => {
      if (this.#isClosed) return reject(new ConnectionLost());
      const timer = setTimeout(() => this.#settle(said.id)?.reject(new ConnectionLost()), withinMs);
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
      this.#lost(new ConnectionLost(said.closed));
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

  #lost(why: ConnectionLost): void {
    if (this.#isClosed) return;
    this.#end();
    this.heard.onClosed(why);
  }

  #end(): void {
    this.#isClosed = true;
    this.#unwatch();
    clearInterval(this.#looking);
    globalThis.removeEventListener?.('pagehide', this.#leave);
    for (const id of [...this.#waiting.keys()]) this.#settle(id)?.reject(new ConnectionLost());
    this.port.onmessage = null;
    this.port.onclose = null;
    this.port.close();
  }
}

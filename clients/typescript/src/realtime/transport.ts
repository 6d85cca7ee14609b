/**
 * What a link is made of: something that carries frames both ways, or, as an event stream does, one way, with requests
 * made beside it.
 */

import type { ConnectionLost } from './errors.js';
import type { Frame, Greeting, Ops, PresenceChoice, Reply, Subscribed, Subscription } from './protocol.js';
import type { ConnectionState } from './state.js';

/** What a transport tells whoever opened it. Nothing is told after `onClosed`. */
export interface Heard {
  onFrame(frame: Frame): void;
  onClosed(why: ConnectionLost): void;
  /** How the connection stands that a worker has for this page. */
  onState(state: ConnectionState): void;
}

export interface Hello {
  /** An access token; none where a cookie is believed. */
  token: string | undefined;
  subscribe: Subscription[];
  presence: PresenceChoice | undefined;
}

/** Why a channel is not followed for which a link has no room; another link may have. */
export const NO_ROOM = 'no_room';

export interface Link {
  readonly kind: 'socket' | 'stream' | 'worker';
  /** What the server said to `hello`. */
  readonly greeting: Greeting;
  request<Op extends keyof Ops>(op: Op, fields: Ops[Op][0]): Promise<Ops[Op][1]>;
  /** Follows channels, up to 64. A channel without an answer is followed. */
  subscribe(channels: Subscription[]): Promise<Record<string, Subscribed>>;
  unsubscribe(channels: string[]): Promise<void>;
  /** Keeps the link with a fresh token. */
  renew(token: string): Promise<void>;
  /** Whether it is alive: resolves when the server has answered, rejects when it has not in time. */
  probe(withinMs: number): Promise<void>;
  /** Says goodbye; nothing is told after it. */
  close(): void;
}

/** Opens a link and says hello on it. */
export type Opener = (hello: Hello, heard: Heard) => Promise<Link>;

/** An opener that is loaded when it is tried for the first time, and is the same from then on. */
export function lazily(load: () => Promise<Opener>): Opener {
  let loaded: Promise<Opener> | undefined;
  return async (hello, heard) => {
    loaded ??= load().catch((error: unknown) => {
      loaded = undefined;
      throw error;
    });
    return (await loaded)(hello, heard);
  };
}

/** A frame that has no `event` is an answer. */
export function isReply(parsed: Frame | Reply): parsed is Reply {
  return !('event' in parsed);
}

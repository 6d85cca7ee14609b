/** The live connection. {@link connectRealtime} is where to begin. */

import { openersOf } from './openers.js';
import { MemoryOutbox, type OutboxStorage } from './outbox.js';
import { Realtime, type Credentials } from './realtime.js';
import type { SocketConstructor } from './socket.js';
import { hostSurroundings, type Surroundings } from './surroundings.js';

export { Channel, type Gap } from './channel.js';
export { ConnectionLost, isPassing, NotConnected, RequestError } from './errors.js';
export { IndexedDbOutbox } from './indexeddb.js';
export { MemoryOutbox, Outbox, type OutboxStorage, type Queued } from './outbox.js';
export type * from './protocol.js';
export { Realtime, type Credentials, type RealtimeEvents } from './realtime.js';
export type { ConnectionState } from './state.js';
export type { Change, Surroundings } from './surroundings.js';

export interface RealtimeSettings {
  /** Where the server is, such as `https://chat.example`. */
  url: string;
  credentials: Credentials;
  /** Where messages wait that are to be sent; without it they go with the page. */
  outbox?: OutboxStorage;
  /** Who says hello, for the server's logs. */
  client?: { name?: string; version?: string };
  /** In Node before 22, that of the package `ws`. */
  WebSocket?: SocketConstructor;
  fetch?: typeof fetch;
  surroundings?: Surroundings;
  /** Falls back to event streams where no WebSocket comes through. On by default. */
  hasFallback?: boolean;
}

/** A connection that is not begun yet: `start()` does. */
export function connectRealtime(settings: RealtimeSettings): Realtime {
  return new Realtime({
    credentials: settings.credentials,
    openers: openersOf(settings),
    outbox: settings.outbox ?? new MemoryOutbox(),
    surroundings: settings.surroundings ?? hostSurroundings(),
  });
}

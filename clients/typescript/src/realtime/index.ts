/** The live connection. {@link connectRealtime} is where to begin. */

import { MemoryOutbox, type OutboxStorage } from './outbox.js';
import { Realtime, type Credentials } from './realtime.js';
import { socketOpener, type SocketConstructor } from './socket.js';
import { streamOpener } from './stream.js';
import { hostSurroundings, type Surroundings } from './surroundings.js';
import type { Opener } from './transport.js';

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
  /** @internal What is tried before a socket. */
  firstBy?: Opener;
}

/** A connection that is not begun yet: `start()` does. */
export function connectRealtime(settings: RealtimeSettings): Realtime {
  const base = settings.url.replace(/\/$/, '');
  const http = settings.fetch ?? ((...call: Parameters<typeof fetch>) => fetch(...call));
  const Socket = settings.WebSocket ?? globalThis.WebSocket;
  const socketUrl = `${base.replace(/^http/, 'ws')}/v1/chat/socket`;
  const socket = socketOpener(socketUrl, settings.client ?? { name: '@madang/client' }, Socket);
  const own: [Opener, ...Opener[]] = settings.hasFallback === false ? [socket] : [socket, streamOpener(base, http)];
  return new Realtime({
    credentials: settings.credentials,
    openers: settings.firstBy ? [settings.firstBy, ...own] : own,
    outbox: settings.outbox ?? new MemoryOutbox(),
    surroundings: settings.surroundings ?? hostSurroundings(),
  });
}

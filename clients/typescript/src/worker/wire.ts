/** What a tab and the worker say to each other. */

import type { WireError, Frame, PresenceChoice, Subscription } from '../realtime/protocol.js';
import type { ConnectionState } from '../realtime/state.js';

/** From a tab. */
export type FromTab =
  | { hello: { user: string; subscribe: Subscription[]; presence: PresenceChoice | undefined; isVisible: boolean }; id: number }
  /** Somebody looks at it, or nobody does any more. */
  | { isVisible: boolean }
  | { op: string; fields: object; id: number }
  /** What a tab answers when it was asked for a token. */
  | { token: string | undefined; asked: number }
  | { tokenError: WireError | null; asked: number }
  | { bye: true };

/** From the worker. */
export type FromWorker =
  | { id: number; ok: unknown }
  | { id: number; error: WireError | null }
  | { frame: Frame }
  | { state: ConnectionState }
  /** A token is needed: one that is good for a while, or a fresh one. */
  | { ask: 'token' | 'renew'; asked: number }
  /** Somebody else is logged in by now. */
  | { closed: number };

/** The part of `MessagePort` that is needed. */
export interface Port {
  postMessage(message: unknown): void;
  onmessage: ((message: MessageEvent) => void) | null;
  /** There is nobody at the other end. Not every browser says so. */
  onclose?: (() => void) | null;
  start?(): void;
  close(): void;
}

/** How a client connects by itself: over a socket, and over event streams where no socket comes through. */

import type { RealtimeSettings } from './index.js';
import { socketOpener } from './socket.js';
import type { Opener } from './transport.js';

export function openersOf(settings: RealtimeSettings): [Opener, ...Opener[]] {
  const base = settings.url.replace(/\/$/, '');
  const http = settings.fetch ?? ((...call: Parameters<typeof fetch>) => fetch(...call));
  const Socket = settings.WebSocket ?? globalThis.WebSocket;
  const socketUrl = `${base.replace(/^http/, 'ws')}/v1/chat/socket`;
  const socket = socketOpener(socketUrl, settings.client ?? { name: '@madang/client' }, Socket);
  return settings.hasFallback === false ? [socket] : [socket, lazily(async () => (await import('./stream.js')).streamOpener(base, http))];
}

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

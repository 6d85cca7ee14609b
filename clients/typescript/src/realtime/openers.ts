/** How a client connects by itself: over a socket, and over event streams where no socket comes through. */

import type { RealtimeSettings } from './index.js';
import { socketOpener } from './socket.js';
import { lazily, type Opener } from './transport.js';

export function openersOf(settings: RealtimeSettings): [Opener, ...Opener[]] {
  const base = settings.url.replace(/\/$/, '');
  const http = settings.fetch ?? ((...call: Parameters<typeof fetch>) => fetch(...call));
  const Socket = settings.WebSocket ?? globalThis.WebSocket;
  const socketUrl = `${base.replace(/^http/, 'ws')}/v1/chat/socket`;
  const socket = socketOpener(socketUrl, settings.client ?? { name: '@madang/client' }, Socket);
  const streams = lazily(async () => (await import('./stream.js')).streamOpener(base, http));
  return settings.hasFallback === false ? [socket] : [socket, streams];
}

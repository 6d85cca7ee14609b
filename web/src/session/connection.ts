/** How this window is connected: over the worker that all windows share, or by itself where there is none. */

import { IndexedDbOutbox, type Account, type Realtime, type Session } from '@madang/client';
import { connectShared, portOf } from '@madang/client/worker';

import worker from './worker.ts?sharedworker&url';

const client = { name: 'madang-web' };

/** What a page may run as a worker: this file, and nothing that a text says. */
interface Trust {
  createPolicy(name: string, rules: { createScriptURL: () => string }): { createScriptURL(url: string): string };
}
const { trustedTypes } = globalThis as { trustedTypes?: Trust };
const trust = trustedTypes?.createPolicy('madang-worker', { createScriptURL: () => worker });
const address = () => trust?.createScriptURL(worker) ?? worker;

const open = () => portOf(new SharedWorker(address(), { type: 'module', name: 'madang' }));

export function connect(session: Session, me: Account): Realtime {
  return connectShared({
    url: location.origin,
    credentials: session,
    outbox: new IndexedDbOutbox(me.id),
    client,
    open: 'SharedWorker' in globalThis ? open : undefined,
    user: me.id,
  });
}

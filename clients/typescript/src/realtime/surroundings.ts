/** What a client stands in: whether there is a network, whether anybody is looking, and when a machine has slept. */

/** What has changed. */
export type Change = 'online' | 'offline' | 'visible' | 'hidden' | 'woke';

export interface Surroundings {
  isOnline(): boolean;
  isVisible(): boolean;
  /** Tells of changes from now on; gives what ends that. */
  watch(listener: (change: Change) => void): () => void;
}

const LOOK_EVERY_MS = 5_000;
/** A look that is so late says that nobody was looking: the machine slept. */
const SLEPT_MS = 15_000;

/** What a browser tells of itself; outside one, there is always a network, and somebody looking. */
export function hostSurroundings(): Surroundings {
  const host = globalThis as Partial<Window & typeof globalThis>;
  const page = host.document;
  return {
    isOnline: () => host.navigator?.onLine ?? true,
    isVisible: () => page?.visibilityState !== 'hidden',
    watch(listener) {
      const stop = new AbortController();
      const signal = stop.signal;
      host.addEventListener?.('online', () => listener('online'), { signal });
      host.addEventListener?.('offline', () => listener('offline'), { signal });
      page?.addEventListener(
        'visibilitychange',
        () => listener(page.visibilityState === 'hidden' ? 'hidden' : 'visible'),
        { signal },
      );
      let last = Date.now();
      const looking = setInterval(() => {
        const now = Date.now();
        if (now - last > SLEPT_MS) listener('woke');
        last = now;
      }, LOOK_EVERY_MS);
      // It keeps no process alive.
      (looking as { unref?: () => void }).unref?.();
      return () => {
        stop.abort();
        clearInterval(looking);
      };
    },
  };
}

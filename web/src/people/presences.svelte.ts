/** How people are, who are watched: friends, and those one talks to. */

import type { Presence, PresenceStatus, Realtime } from '@madang/client';
import { SvelteMap } from 'svelte/reactivity';

/** The server tells of so many at most. */
const WATCHED_MAX = 100;

export class Presences {
  readonly #known = new SvelteMap<string, Presence>();
  readonly #watched = new Set<string>();
  #isAsking = false;

  constructor(private readonly realtime: Realtime) {
    realtime.on('presence', (presences) => this.hear(presences));
  }

  hear(presences: Presence[]): void {
    for (const presence of presences) this.#known.set(presence.user_id, presence);
  }

  of(user: string): PresenceStatus {
    return this.#known.get(user)?.status ?? 'offline';
  }

  lastSeen(user: string): string | null {
    return this.#known.get(user)?.last_seen_at ?? null;
  }

  watch(users: Iterable<string>): void {
    const before = this.#watched.size;
    for (const user of users) this.#watched.add(user);
    if (this.#watched.size > before) this.#ask();
  }

  /** Once for all who are named in one go. */
  #ask(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    queueMicrotask(() => {
      this.#isAsking = false;
      const latest = [...this.#watched].slice(-WATCHED_MAX);
      this.realtime.watchPresence(latest).then(
        (presences) => this.hear(presences),
        // There was no connection for long: the next one asks by itself.
        () => {},
      );
    });
  }
}

/** Friends, requests, and who is blocked; read when something changes. */

import type { components, DurableEvent, Rest } from '@madang/client';

import { readPages } from '../session/pages';
import type { People } from './people.svelte';
import type { Presences } from './presences.svelte';

type FriendView = components['schemas']['FriendView'];
type ListedView = components['schemas']['ListedView'];
export type FriendState = components['schemas']['FriendState'];

const PAGE = 200;

export class Friends {
  friends = $state.raw<FriendView[]>([]);
  incoming = $state.raw<ListedView[]>([]);
  outgoing = $state.raw<ListedView[]>([]);
  blocked = $state.raw<ListedView[]>([]);
  isLoaded = $state(false);
  failure = $state<unknown>();
  /** Readings that were asked for, and the latest that was answered. */
  #asked = 0;
  #answered = 0;

  constructor(
    private readonly rest: Rest,
    private readonly people: People,
    private readonly presences: Presences,
  ) {}

  async load(): Promise<void> {
    const turn = (this.#asked += 1);
    try {
      const [friends, incoming, outgoing, blocked] = await Promise.all([
        readPages(PAGE, Infinity, (query) => this.rest.GET('/v1/friends', { params: { query } })),
        this.#requests('incoming'),
        this.#requests('outgoing'),
        readPages(PAGE, Infinity, (query) => this.rest.GET('/v1/friends/blocked', { params: { query } })),
      ]);
      if (turn < this.#answered) return;
      this.#answered = turn;
      this.friends = friends.items;
      this.incoming = incoming.items;
      this.outgoing = outgoing.items;
      this.blocked = blocked.items;
      this.isLoaded = true;
      this.failure = undefined;
    } catch (error) {
      if (turn > this.#answered) this.failure = error;
    }
    for (const { user } of [...this.friends, ...this.incoming, ...this.outgoing, ...this.blocked]) this.people.learn(user);
    this.presences.watch(this.friends.map(({ user }) => user.id));
  }

  #requests(direction: 'incoming' | 'outgoing') {
    return readPages(PAGE, Infinity, (query) => this.rest.GET('/v1/friends/requests', { params: { query: { ...query, direction } } }));
  }

  stateOf(user: string): FriendState {
    const isIn = (list: { user: { id: string } }[]) => list.some((it) => it.user.id === user);
    if (isIn(this.blocked)) return 'blocked';
    if (isIn(this.friends)) return 'friends';
    if (isIn(this.incoming)) return 'incoming';
    return isIn(this.outgoing) ? 'outgoing' : 'none';
  }

  hearOwn(event: DurableEvent): void {
    if (event.event === 'friend_updated') void this.load();
  }

  async act(deed: 'request' | 'accept' | 'reject' | 'cancel' | 'block', user: string): Promise<void> {
    await this.rest.POST(`/v1/friends/${deed}`, { body: { user_id: user } });
    await this.load();
  }

  async unfriend(user: string): Promise<void> {
    await this.rest.DELETE('/v1/friends/{friend_id}', { params: { path: { friend_id: user } } });
    await this.load();
  }

  async unblock(user: string): Promise<void> {
    await this.rest.DELETE('/v1/friends/unblock/{user_id}', { params: { path: { user_id: user } } });
    await this.load();
  }
}

/** The caller's rooms, the liveliest first: as many of them are live as a connection can follow, and whatever is open. */

import { isPassing, RequestError, type DurableEvent } from '@madang/client';
import { SvelteMap } from 'svelte/reactivity';

import type { Courtyard } from '../session/courtyard.svelte';
import { readPages } from '../session/pages';
import { Room } from './room.svelte';

const PAGE = 200;
const LOOK_AGAIN_MS = 1_000;
/** A connection follows 256 channels, and windows that share it may find others the liveliest. */
const FOLLOWED_MAX = 200;

export class Rooms {
  readonly #rooms = new SvelteMap<string, Room>();
  #looking: ReturnType<typeof setTimeout> | undefined;
  isLoaded = $state(false);
  failure = $state<unknown>();

  constructor(private readonly courtyard: Courtyard) {}

  get sorted(): Room[] {
    return [...this.#rooms.values()].sort((a, b) => (a.view.last_active_at < b.view.last_active_at ? 1 : -1));
  }

  get unread(): number {
    let sum = 0;
    for (const room of this.#rooms.values()) sum += room.view.unread_count;
    return sum;
  }

  get(id: string): Room | undefined {
    return this.#rooms.get(id);
  }

  directWith(user: string): Room | undefined {
    return [...this.#rooms.values()].find((it) => it.peer === user);
  }

  nameOf(room: Room): string {
    const { peer, view } = room;
    if (peer === undefined) return view.name ?? '';
    return this.courtyard.people.of(peer)?.display_name ?? '…';
  }

  async load(): Promise<void> {
    const before = [...this.#rooms.values()];
    try {
      const known = new Set<string>();
      const read = async (count: number) => {
        const { items } = await readPages(PAGE, count, (query) => this.courtyard.rest.GET('/v1/chat/rooms', { params: { query } }));
        for (const view of items) {
          known.add(view.id);
          this.#put(view);
        }
      };
      await read(Infinity);
      // Where somebody spoke meanwhile, a room has gone to the first page.
      if (known.size > PAGE) await read(PAGE);
      // One that is in none of them may have come meanwhile.
      await Promise.all(before.filter((room) => !known.has(room.id)).map((room) => this.#dropIfGone(room)));
      this.failure = undefined;
    } catch (error) {
      this.failure = error;
    }
    this.#follow();
    this.isLoaded = true;
    const peers = [...this.#rooms.values()].flatMap((room) => room.peer ?? []);
    this.courtyard.presences.watch(peers);
  }

  hearOwn(event: DurableEvent): void {
    if (event.event === 'notification_read') this.lookAgain();
    if (event.event === 'room_added') this.open(event.data.room_id).catch(() => this.load());
    if (event.event === 'room_removed') {
      const room = this.#rooms.get(event.data.room_id);
      if (room) this.#drop(room);
    }
  }

  /** Something may have been read elsewhere: the log of a room tells of that only where it shows read marks. */
  lookAgain(): void {
    this.#looking ??= setTimeout(() => {
      this.#looking = undefined;
      void this.load();
    }, LOOK_AGAIN_MS);
  }

  stop(): void {
    clearTimeout(this.#looking);
  }

  /** Puts a room into the list that was not there. */
  async open(id: string): Promise<Room | undefined> {
    const known = this.#rooms.get(id);
    if (known) return known;
    const { data } = await this.courtyard.rest.GET('/v1/chat/rooms/{id}', { params: { path: { id } } });
    return data && this.#add(data);
  }

  /** A conversation was opened: its room is live, whatever is not for that. */
  opened(): void {
    this.#follow();
  }

  async openDirect(user: string): Promise<Room> {
    const known = this.directWith(user);
    if (known) return known;
    const { data } = await this.courtyard.rest.POST('/v1/chat/rooms', { body: { kind: 'direct', user_id: user } });
    return this.#add(data!);
  }

  async create(name: string, isPublic: boolean, members: string[]): Promise<Room> {
    const body = { kind: 'group', name, visibility: isPublic ? 'public' : 'private', member_ids: members } as const;
    const { data } = await this.courtyard.rest.POST('/v1/chat/rooms', { body });
    return this.#add(data!);
  }

  async join(id: string): Promise<Room | undefined> {
    await this.courtyard.rest.POST('/v1/chat/rooms/{id}/join', { params: { path: { id } } });
    return this.open(id);
  }

  async leave(room: Room): Promise<void> {
    await this.courtyard.rest.POST('/v1/chat/rooms/{id}/leave', { params: { path: { id: room.id } } });
    this.#drop(room);
  }

  #add(view: Room['view']): Room {
    const room = this.#put(view);
    this.#follow();
    return room;
  }

  #follow(): void {
    const isOpen = (room: Room) => Number(room.timeline !== undefined);
    const rooms = this.sorted.sort((a, b) => isOpen(b) - isOpen(a));
    for (const room of rooms.slice(FOLLOWED_MAX)) room.unfollow();
    for (const room of rooms.slice(0, FOLLOWED_MAX)) room.follow();
  }

  #put(view: Room['view']): Room {
    const known = this.#rooms.get(view.id);
    if (known && known.ended === undefined) {
      known.put(view);
      return known;
    }
    known?.leave();
    const room = new Room(this.courtyard, view);
    this.#rooms.set(view.id, room);
    if (room.peer) this.courtyard.presences.watch([room.peer]);
    return room;
  }

  async #dropIfGone(room: Room): Promise<void> {
    try {
      await this.courtyard.rest.GET('/v1/chat/rooms/{id}', { params: { path: { id: room.id } } });
    } catch (error) {
      if (error instanceof RequestError && !isPassing(error)) this.#drop(room);
    }
  }

  #drop(room: Room): void {
    room.leave();
    this.#rooms.delete(room.id);
  }
}

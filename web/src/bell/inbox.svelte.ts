/** The caller's notifications: a page at a time, and what comes while somebody is here. */

import type { components, DurableEvent, Rest } from '@madang/client';

export type Notification = components['schemas']['NotificationView'];

const PAGE = 50;

export class Inbox {
  items = $state.raw<Notification[]>([]);
  unread = $state(0);
  isLoaded = $state(false);
  hasMore = $state(false);
  failure = $state<unknown>();
  #cursor: string | null = null;
  /** What is read now; whoever asks for something else makes it void. */
  #reading = 0;

  constructor(private readonly rest: Rest) {}

  async load(): Promise<void> {
    await this.#page(null);
  }

  /** The next page, older. */
  async more(): Promise<void> {
    await this.#page(this.#cursor);
  }

  async #page(cursor: string | null): Promise<void> {
    const turn = (this.#reading += 1);
    try {
      const query = { limit: PAGE, ...(cursor === null ? {} : { cursor }) };
      const { data } = await this.rest.GET('/v1/notifications', { params: { query } });
      if (!data || turn !== this.#reading) return;
      this.items = cursor === null ? data.items : [...this.items, ...data.items];
      this.unread = data.unread_count;
      this.#cursor = data.next_cursor ?? null;
      this.failure = undefined;
    } catch (error) {
      if (turn !== this.#reading) return;
      this.failure = error;
    }
    this.hasMore = this.#cursor !== null;
    this.isLoaded = true;
  }

  hearOwn(event: DurableEvent): void {
    switch (event.event) {
      case 'notification_created': {
        const { data, seq, at } = event;
        // A page may have been read that has it already.
        if ('deleted' in data || this.items.some((it) => it.id === data.id)) return;
        this.items = [{ ...data, data: data.data as never, seq, at, read_at: null }, ...this.items];
        this.unread += 1;
        return;
      }
      case 'notification_read':
        this.#mark(event.data.ids, event.data.up_to_seq, event.at);
        this.unread = event.data.unread_count;
        return;
      case 'notification_archived':
      case 'notification_deleted':
        this.#take(event.data.ids, event.data.up_to_seq);
        this.unread = event.data.unread_count;
        return;
      case 'notification_restored':
        void this.load();
    }
  }

  async read(notification: Notification): Promise<void> {
    if (notification.read_at) return;
    await this.rest.PUT('/v1/notifications/{id}/read', { params: { path: { id: notification.id } } });
  }

  /** Everything up to the latest that is shown. */
  async readAll(): Promise<void> {
    const up_to_seq = Math.max(...this.items.map((it) => it.seq));
    await this.rest.POST('/v1/notifications/read', { body: { up_to_seq } });
  }

  async archive(notification: Notification): Promise<void> {
    await this.rest.PUT('/v1/notifications/{id}/archive', { params: { path: { id: notification.id } } });
  }

  #mark(ids: string[], upTo: number | undefined, at: string): void {
    const isMeant = meant(ids, upTo);
    this.items = this.items.map((it) => (isMeant(it) && !it.read_at ? { ...it, read_at: at } : it));
  }

  #take(ids: string[], upTo: number | undefined): void {
    const isMeant = meant(ids, upTo);
    this.items = this.items.filter((it) => !isMeant(it));
  }
}

/** Without ids, everything up to a number is meant. */
function meant(ids: string[], upTo: number | undefined) {
  const named = new Set(ids);
  return (it: Notification) => (named.size > 0 ? named.has(it.id) : upTo !== undefined && it.seq <= upTo);
}

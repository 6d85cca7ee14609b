/** The caller's notifications: a page at a time, and what comes while somebody is here. */

import type { components, DurableEvent, Rest } from '@madang/client';

export type Notification = components['schemas']['NotificationView'];

type Change = (items: Notification[]) => Notification[];

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
  /** What became of the list while it is read, to be done to the answer, too; each may be done twice. */
  #changes: Change[] | undefined;
  /** Whether the unread ones were counted meanwhile. */
  #isCounted = false;

  constructor(private readonly rest: Rest) {}

  async load(): Promise<void> {
    await this.#page(null);
  }

  /** The next page, older. */
  async more(): Promise<void> {
    await this.#page(this.#cursor);
    if (this.failure) throw this.failure;
  }

  async #page(cursor: string | null): Promise<void> {
    const turn = (this.#reading += 1);
    this.#changes = [];
    this.#isCounted = false;
    try {
      const query = { limit: PAGE, ...(cursor === null ? {} : { cursor }) };
      const { data } = await this.rest.GET('/v1/notifications', { params: { query } });
      if (!data || turn !== this.#reading) return;
      const read = cursor === null ? data.items : [...this.items, ...data.items];
      this.items = (this.#changes ?? []).reduce((items, change) => change(items), read);
      if (cursor === null && !this.#isCounted) this.unread = data.unread_count + this.items.length - read.length;
      this.#cursor = data.next_cursor ?? null;
      this.hasMore = this.#cursor !== null;
      this.isLoaded = true;
      this.failure = undefined;
    } catch (error) {
      if (turn === this.#reading) this.failure = error;
    }
    if (turn === this.#reading) this.#changes = undefined;
  }

  hearOwn(event: DurableEvent): void {
    switch (event.event) {
      case 'notification_created': {
        const { data, seq, at } = event;
        // A page may have been read that has it already.
        if ('deleted' in data || this.items.some((it) => it.id === data.id)) return;
        const told: Notification = { ...data, data: data.data as never, seq, at, read_at: null };
        this.#change((items) => (items.some((it) => it.id === told.id) ? items : [told, ...items]));
        this.unread += 1;
        return;
      }
      case 'notification_read': {
        const isMeant = meant(event.data);
        this.#change((items) => items.map((it) => (isMeant(it) && !it.read_at ? { ...it, read_at: event.at } : it)));
        this.#count(event.data.unread_count);
        return;
      }
      case 'notification_archived':
      case 'notification_deleted': {
        const isMeant = meant(event.data);
        this.#change((items) => items.filter((it) => !isMeant(it)));
        this.#count(event.data.unread_count);
        return;
      }
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

  #change(change: Change): void {
    this.items = change(this.items);
    this.#changes?.push(change);
  }

  #count(unread: number): void {
    this.unread = unread;
    this.#isCounted = true;
  }
}

/** Without ids, everything up to a number is meant. */
function meant({ ids, up_to_seq: upTo }: { ids: string[]; up_to_seq?: number }) {
  const named = new Set(ids);
  return (it: Notification) => (named.size > 0 ? named.has(it.id) : upTo !== undefined && it.seq <= upTo);
}

/** A room as it stands in the list: what it is called, what was said last, what is unread, who is writing. */

import type { Channel, components, DurableEvent, EphemeralEvent } from '@madang/client';
import { SvelteMap } from 'svelte/reactivity';

import type { Courtyard } from '../session/courtyard.svelte';
import { onceAFrame } from '../session/frames';
import type { Timeline } from '../conversation/timeline.svelte';

export type RoomView = components['schemas']['RoomView'];
type LastMessage = components['schemas']['LastMessageView'];
export type Member = components['schemas']['MemberView'];

/** A marker is not moved more often. */
const READ_EVERY_MS = 400;
const MEMBERS_PAGE = 200;

export class Room {
  readonly id: string;
  readonly channelName: `room:${string}`;
  view = $state.raw<RoomView>() as RoomView;
  /** The first of them, until more are asked for. */
  members = $state.raw<Member[]>([]);
  hasAllMembers = $state(false);
  /** Where those who are not read yet begin. */
  #otherMembers: string | undefined;
  #readingMembers: Promise<void> | undefined;
  /** Why the caller is not here any more. */
  ended = $state<string>();
  /** Who is writing, by id. */
  readonly typing = new SvelteMap<string, ReturnType<typeof setTimeout>>();
  /** What was begun to be written here and not sent. */
  draft = '';
  /** Of whoever has the conversation open. */
  timeline: Timeline | undefined;
  #channel: Channel | undefined;
  /** What was heard of it by now, as a number of its log. */
  #heard = 0;
  /** What was said last and is not shown yet, and how much of it is unread. */
  #said: { last: LastMessage; unread: number } | undefined;
  readonly #showSoon = onceAFrame(() => this.#show());
  /** The number of the last change of what it is called and shows of itself. */
  #updated = 0;
  /** Readings of it that were asked for, and the latest that was answered. */
  #asked = 0;
  #answered = 0;
  #readTo = 0;
  #marking: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly courtyard: Courtyard,
    view: RoomView,
  ) {
    this.id = view.id;
    this.channelName = `room:${view.id}`;
    this.view = view;
    this.#readTo = view.read_seq;
    this.#heard = view.head;
  }

  /** Hears what happens in it, from where it was heard of last. */
  follow(): void {
    if (this.#channel || this.ended !== undefined) return;
    const channel = (this.#channel = this.courtyard.realtime.channel(this.channelName, { after: this.#heard }));
    channel.on('event', (event) => this.#hear(event));
    channel.on('ephemeral', (event) => this.#hearEphemeral(event));
    channel.on('gap', () => {
      void this.refresh();
      this.timeline?.missed();
    });
    channel.on('ended', (reason) => {
      // Windows that share a connection may ask for more than it can follow together.
      if (reason === 'too_many_channels') this.#channel = undefined;
      else this.ended = reason;
    });
  }

  unfollow(): void {
    this.#heard = this.#channel?.seq ?? this.#heard;
    this.#channel?.leave();
    this.#channel = undefined;
  }

  /** It was read again. What was heard of it meanwhile may be later than that, and stays. */
  put(view: RoomView): void {
    this.#show();
    const { last_message, last_active_at, unread_count } = this.view;
    const isLater = (this.#channel?.seq ?? 0) > view.head && (last_message?.seq ?? 0) >= (view.last_message?.seq ?? 0);
    this.#readTo = Math.max(this.#readTo, view.read_seq);
    this.view = {
      ...view,
      ...(isLater ? { last_message, last_active_at, unread_count } : {}),
      ...(this.#updated > view.head ? pick(this.view) : {}),
    };
    if ((this.view.last_message?.seq ?? 0) <= this.#readTo) this.view = { ...this.view, unread_count: 0 };
    if (!this.#channel) this.#heard = view.head;
  }

  /** The other one of a direct room. */
  get peer(): string | undefined {
    return this.view.peer_id ?? undefined;
  }

  leave(): void {
    clearTimeout(this.#marking);
    this.unfollow();
  }

  /** Reads it again. Where nobody answers, it stays as it is until something else happens here. */
  async refresh(): Promise<void> {
    const turn = (this.#asked += 1);
    const asked = this.courtyard.rest.GET('/v1/chat/rooms/{id}', { params: { path: { id: this.id } } });
    const data = await asked.then((it) => it.data, () => undefined);
    if (!data || turn < this.#answered) return;
    this.#answered = turn;
    this.put(data);
    this.#readingMembers = undefined;
    const before = new Map(this.members.map((it) => [it.user_id, it.read_seq ?? 0]));
    const members = data.members.map((it) => (it.read_seq == null ? it : { ...it, read_seq: Math.max(it.read_seq, before.get(it.user_id) ?? 0) }));
    this.members = [];
    this.#add(members, data.members_next_cursor);
  }

  /** Everybody who is in it, at once, however many they are. */
  readMembers(): Promise<void> {
    if (this.hasAllMembers) return Promise.resolve();
    return (this.#readingMembers ??= this.#readMembers().finally(() => (this.#readingMembers = undefined)));
  }

  async #readMembers(): Promise<void> {
    if (this.members.length === 0) await this.refresh();
    while (await this.moreMembers());
  }

  /** The next of them; whether there are still more. */
  async moreMembers(): Promise<boolean> {
    const cursor = this.#otherMembers;
    if (cursor === undefined) return false;
    const params = { path: { id: this.id }, query: { cursor, limit: MEMBERS_PAGE } };
    const { data } = await this.courtyard.rest.GET('/v1/chat/rooms/{id}/members', { params });
    // They were read anew meanwhile.
    if (cursor !== this.#otherMembers || !data) return this.#otherMembers !== undefined;
    this.#add(data.items, data.next_cursor);
    return this.#otherMembers !== undefined;
  }

  #add(members: Member[], next: string | null | undefined): void {
    this.members = [...this.members, ...members];
    this.#otherMembers = next ?? undefined;
    this.hasAllMembers = this.#otherMembers === undefined;
    for (const member of members) this.#learn(member);
  }

  /** The number up to which the reader has seen everything, whether or not the server knows it yet. */
  get readTo(): number {
    return this.#readTo;
  }

  /** The reader has seen everything up to a number. */
  saw(seq: number): void {
    if (seq <= this.#readTo || this.ended !== undefined) return;
    this.#readTo = seq;
    if (this.view.unread_count > 0) this.view = { ...this.view, unread_count: 0 };
    this.#marking ??= setTimeout(() => void this.#mark(), READ_EVERY_MS);
  }

  async #mark(): Promise<void> {
    this.#marking = undefined;
    try {
      const { seq, unread_count } = await this.courtyard.realtime.read(this.channelName, this.#readTo);
      this.view = { ...this.view, read_seq: seq, unread_count };
    } catch {
      // It is said again with the next message that is seen.
      this.#readTo = this.view.read_seq;
    }
  }

  /** What whoever reads it has shown of themselves, as far as the room shows that. */
  readBy(seq: number): Member[] {
    const me = this.courtyard.me.id;
    return this.members.filter((it) => it.user_id !== me && (it.read_seq ?? 0) >= seq);
  }

  #hear(event: DurableEvent): void {
    switch (event.event) {
      case 'message_sent': {
        const { id, body, attachments } = event.data;
        const from = event.from ?? '';
        const isOwn = from === this.courtyard.me.id;
        const shown = body || (attachments?.length ? '📷' : '');
        const last = { id, seq: event.seq, at: event.at, from, body: shown, deleted: event.data.deleted_at !== undefined };
        // What was there when the room was read is counted in it already.
        const isUnread = !isOwn && event.seq > Math.max(this.#readTo, this.view.head);
        this.#said = { last, unread: (this.#said?.unread ?? 0) + (isUnread ? 1 : 0) };
        this.#showSoon();
        if (this.typing.has(from)) this.#stopTyping(from);
        break;
      }
      case 'message_edited':
        this.#changeLast(event.data.seq, { body: event.data.body });
        break;
      case 'message_deleted':
        this.#changeLast(event.data.seq, { body: '', deleted: true });
        break;
      case 'messages_read': {
        const { user_id, seq } = event.data;
        this.members = this.members.map((it) => (it.user_id === user_id ? { ...it, read_seq: Math.max(seq, it.read_seq ?? 0) } : it));
        if (user_id === this.courtyard.me.id) this.#readElsewhere(seq);
        break;
      }
      case 'room_updated':
        this.#updated = event.seq;
        this.view = { ...this.view, ...pick(event.data) };
        break;
      case 'user_joined':
      case 'user_left':
      case 'member_updated':
        void this.refresh();
    }
    this.timeline?.hear(event);
  }

  /** Of many that were said in one frame only the last is shown. */
  #show(): void {
    if (!this.#said) return;
    const { last, unread } = this.#said;
    this.#said = undefined;
    // It was read again meanwhile, and more was said.
    if (last.seq < (this.view.last_message?.seq ?? 0)) return;
    // Whoever watches it reads it in this very frame.
    const isRead = last.seq <= this.#readTo || this.timeline?.isWatched === true;
    const unread_count = this.view.unread_count + (isRead ? 0 : unread);
    this.view = { ...this.view, last_message: last, unread_count, last_active_at: last.at };
  }

  #hearEphemeral(event: EphemeralEvent): void {
    if (event.event === 'presence_changed') return this.courtyard.presences.hear(event.data.changes ?? []);
    const { user_id, expires_in_ms } = event.data;
    if (user_id === this.courtyard.me.id) return;
    clearTimeout(this.typing.get(user_id));
    this.typing.set(
      user_id,
      setTimeout(() => this.#stopTyping(user_id), expires_in_ms),
    );
  }

  #stopTyping(user: string): void {
    clearTimeout(this.typing.get(user));
    this.typing.delete(user);
  }

  #changeLast(seq: number, change: { body: string; deleted?: boolean }): void {
    this.#show();
    const last = this.view.last_message;
    if (last?.seq === seq) this.view = { ...this.view, last_message: { ...last, ...change } };
  }

  /** Another device of the caller has seen it. */
  #readElsewhere(seq: number): void {
    if (seq < (this.view.last_message?.seq ?? 0)) return;
    this.#readTo = Math.max(this.#readTo, seq);
    this.view = { ...this.view, read_seq: seq, unread_count: 0 };
  }

  #learn({ user_id, handle, display_name }: Member): void {
    const known = this.courtyard.people.peek(user_id);
    if (!known) this.courtyard.people.learn({ id: user_id, handle, display_name });
  }
}

/** What of a change the list shows. */
function pick({ name, topic, avatar, read_receipts }: { name?: string | null; topic?: string | null; avatar?: string | null; read_receipts?: boolean }) {
  return {
    ...(name === undefined ? {} : { name }),
    ...(topic === undefined ? {} : { topic }),
    ...(avatar === undefined ? {} : { avatar }),
    ...(read_receipts === undefined ? {} : { read_receipts }),
  };
}

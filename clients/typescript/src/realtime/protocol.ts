/**
 * What goes over the wire: events, control frames, requests and their answers, as `docs/asyncapi.yaml` has them.
 *
 * Invariant: nothing here decides anything but what the hundreds of a close code mean.
 */

/** A numbered log: the caller's own, or a room's. */
export type ChannelName = 'me' | `room:${string}`;
export type RoomChannel = `room:${string}`;

export type PresenceStatus = 'online' | 'away' | 'busy' | 'offline';
/** What a device chooses; `invisible` hides all of its user's devices. */
export type PresenceChoice = 'online' | 'away' | 'busy' | 'invisible';

export interface Presence {
  user_id: string;
  status: PresenceStatus;
  last_seen_at: string | null;
}

export interface Attachment {
  url: string;
  name: string;
  media_type: string;
  size_bytes?: number | null;
  /** Of a picture, in pixels. */
  width?: number | null;
  height?: number | null;
}

/** A message before it is sent. */
export interface Draft {
  body?: string;
  /** The `seq` of the message that it answers. */
  reply_to?: number | null;
  /** Ids of users. */
  mentions?: string[];
  attachments?: Attachment[];
}

/** A message as it stands now. */
export interface Message {
  id: string;
  seq: number;
  key: string;
  from: string;
  body: string;
  at: string;
  edited_at: string | null;
  deleted_at: string | null;
  reactions: { emoji: string; count: number; mine: boolean }[];
  reply_to: number | null;
  mentions: string[];
  attachments: Attachment[];
}

export type Role = 'member' | 'moderator' | 'owner';

/** What stands in `data` of each event that has a number. */
export interface DurableData {
  message_sent: {
    id: string;
    key: string;
    body: string;
    reply_to?: number;
    mentions?: string[];
    attachments?: Attachment[];
    deleted_at?: string;
  };
  message_edited: { seq: number; body: string };
  message_deleted: { seq: number };
  reaction_added: { seq: number; emoji: string };
  reaction_removed: { seq: number; emoji: string };
  user_joined: { user_id: string; role: Role };
  user_left: { user_id: string };
  member_updated: { members: { user_id: string; role?: Role; muted_until?: string | null }[] };
  room_updated: {
    name?: string;
    topic?: string;
    avatar?: string;
    read_receipts?: boolean;
    pinned?: number;
    unpinned?: number;
  };
  messages_read: { user_id: string; seq: number };
  room_added: { room_id: string; by: string };
  room_removed: { room_id: string; by: string };
  friend_updated: {
    user_id: string;
    state: 'none' | 'outgoing' | 'incoming' | 'friends' | 'blocked';
  };
  payment_updated: { payment_id: string; status: string; version: number };
  notification_created:
    | {
        id: string;
        type: string;
        title: string;
        body: string;
        group: string | null;
        data: Record<string, unknown>;
      }
    | { deleted: true };
  notification_read: NotificationsChanged;
  notification_archived: NotificationsChanged;
  notification_restored: NotificationsChanged;
  notification_deleted: NotificationsChanged;
}

/** Without ids, everything in the inbox up to `up_to_seq` is meant. */
export interface NotificationsChanged {
  ids: string[];
  up_to_seq?: number;
  unread_count: number;
}

/** An event of a channel's log. One that a later server sends and nobody here knows arrives all the same. */
export type DurableEvent = {
  [Name in keyof DurableData]: {
    event: Name;
    channel: ChannelName;
    seq: number;
    epoch: string;
    at: string;
    from?: string;
    data: DurableData[Name];
  };
}[keyof DurableData];

export interface TypingIndicator {
  event: 'typing_indicator';
  channel: RoomChannel;
  from: string;
  data: { user_id: string; expires_in_ms: number };
}

/** Of members of a room that is followed, or, without a channel, of users that are watched. */
export interface PresenceChanged {
  event: 'presence_changed';
  channel?: RoomChannel;
  data: { changes: Presence[]; present_count?: never } | { present_count: number; changes?: never };
}

/** Has no number and may be lost. */
export type EphemeralEvent = TypingIndicator | PresenceChanged;

/** What the server says about the connection and what is followed on it. */
export type ControlFrame =
  | { event: 'live'; channel: ChannelName; seq: number }
  | { event: 'gap'; channel: ChannelName; have: number; first: number; head: number }
  | { event: 'lag'; channel: ChannelName }
  | { event: 'unsubscribed'; channel: ChannelName; reason: string }
  | { event: 'token_expiring'; in_ms: number }
  | { event: 'drain'; in_ms: number }
  | { event: 'ping' }
  | { event: 'bye'; code: number; reason: string; after_ms?: number };

export interface WireError {
  code: string;
  message: string;
  retry_after_ms?: number;
}

export type Reply =
  | { id?: number; ok: Record<string, unknown>; error?: never }
  | { id?: number; error: WireError; ok?: never };

export type Frame = DurableEvent | EphemeralEvent | ControlFrame;

/** Where a channel stands, or why it is not followed. */
export type Subscribed = { seq: number; epoch: string } | { error: WireError };

export interface Limits {
  frame_bytes_max: number;
  body_chars_max: number;
  channels_max: number;
  ops_per_second: number;
  ops_burst: number;
}

/** The answer to `hello`. */
export interface Greeting {
  connection: string;
  user: string;
  ping_ms: number;
  limits: Limits;
  epoch: string;
  channels: Record<string, Subscribed>;
}

/** How a channel is followed: after a position, from so many events before its head, or from its head. */
export interface Subscription {
  channel: ChannelName;
  after?: number;
  last?: number;
  epoch?: string;
}

/** The answer to `send`. */
export interface Sent {
  id: string;
  seq: number;
  at: string;
  /** The same key was accepted before. */
  duplicate: boolean;
}

/** What an op takes and gives; the protocol says what each does. */
export interface Ops {
  send: [{ channel: RoomChannel; key: string; data: Draft }, Sent];
  edit: [{ channel: RoomChannel; seq: number; data: { body: string } }, Changed];
  delete: [{ channel: RoomChannel; seq: number }, Changed];
  react: [{ channel: RoomChannel; seq: number; emoji: string }, Changed];
  unreact: [{ channel: RoomChannel; seq: number; emoji: string }, Changed];
  typing: [{ channel: RoomChannel }, Record<string, never>];
  read: [{ channel: RoomChannel; seq: number }, { seq: number; unread_count: number }];
  history: [
    { channel: RoomChannel; before?: number; after?: number; limit?: number },
    { items: Message[] },
  ];
  set_presence: [{ status: PresenceChoice }, { status: PresenceChoice }];
  get_presence: [{ users: string[]; watch?: boolean }, { items: Presence[] }];
}

/** The event's own number, or null where nothing had to change. */
export interface Changed {
  seq: number | null;
  at: string;
}

/** What a client does after a close. */
export type AfterClose = 'at_once' | 'back_off' | 'renew' | 'stop';

/**
 * What the hundreds of a close code ask for. A code that nobody knows, and a break without one, are a reason to back off; so
 * is 1000, which only the client's own `bye` brings about.
 */
export function afterClose(code: number): AfterClose {
  const hundreds = Math.floor(code / 100);
  if (hundreds === 40) return 'at_once';
  if (hundreds === 42) return 'renew';
  if (hundreds === 43) return 'stop';
  return 'back_off';
}

export const SUBPROTOCOL = 'madang.v1.json';
/** Channels in one `hello` or `subscribe`. */
export const SUBSCRIBE_MAX = 64;

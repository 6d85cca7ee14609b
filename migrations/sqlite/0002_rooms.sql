-- Rooms and their numbered logs. A room's log is `messages` and `room_events` together: each `seq` from 1 to
-- `rooms.last_seq` is in exactly one of the two, given in the transaction that wrote it.

CREATE TABLE rooms (
    id                   BLOB    NOT NULL PRIMARY KEY,
    kind                 TEXT    NOT NULL,
    visibility           TEXT    NOT NULL,
    name                 TEXT,
    topic                TEXT,
    avatar               TEXT,
    direct_key           TEXT,
    read_receipts        BOOLEAN NOT NULL,
    created_by           BLOB    NOT NULL,
    created_at           BIGINT  NOT NULL,
    updated_at           BIGINT  NOT NULL,
    last_seq             BIGINT  NOT NULL,
    last_message_seq     BIGINT,
    last_active_at       BIGINT  NOT NULL,
    member_count         BIGINT  NOT NULL,
    CONSTRAINT rooms_direct_key_key UNIQUE (direct_key)
) WITHOUT ROWID;
-- Only public rooms are looked up by their activity; the others need no upkeep here with each message.
CREATE INDEX rooms_public_idx ON rooms (last_active_at, id) WHERE visibility = 'public';

-- `read_seq` only grows; unread counts are the messages after it that somebody else sent.
CREATE TABLE room_members (
    room_id     BLOB    NOT NULL,
    user_id     BLOB    NOT NULL,
    role        TEXT    NOT NULL,
    joined_seq  BIGINT  NOT NULL,
    joined_at   BIGINT  NOT NULL,
    read_seq    BIGINT  NOT NULL,
    muted_until BIGINT,
    notify      BOOLEAN NOT NULL,
    CONSTRAINT room_members_pkey PRIMARY KEY (room_id, user_id),
    CONSTRAINT room_members_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms (id) ON DELETE CASCADE,
    CONSTRAINT room_members_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE INDEX room_members_user_id_idx ON room_members (user_id, room_id);

-- Every `message_sent` of the log, in its current wording. `id` follows from the room,
-- the sender and `sender_key`, the idempotency key: its uniqueness is that a message is stored once.
CREATE TABLE messages (
    room_id     BLOB   NOT NULL,
    seq         BIGINT NOT NULL,
    id          BLOB   NOT NULL,
    sender_id   BLOB   NOT NULL,
    sender_key  TEXT   NOT NULL,
    body        TEXT   NOT NULL,
    reply_to    BIGINT,
    extras      TEXT,
    sent_at     BIGINT NOT NULL,
    edited_at   BIGINT,
    deleted_at  BIGINT,
    CONSTRAINT messages_pkey PRIMARY KEY (room_id, seq),
    CONSTRAINT messages_id_key UNIQUE (id),
    CONSTRAINT messages_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms (id) ON DELETE CASCADE
) WITHOUT ROWID;

-- Every other event of the log: edits, deletions, reactions, members, pins, read receipts, room settings.
CREATE TABLE room_events (
    room_id  BLOB   NOT NULL,
    seq      BIGINT NOT NULL,
    name     TEXT   NOT NULL,
    actor_id BLOB   NOT NULL,
    at       BIGINT NOT NULL,
    data     TEXT   NOT NULL,
    CONSTRAINT room_events_pkey PRIMARY KEY (room_id, seq),
    CONSTRAINT room_events_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms (id) ON DELETE CASCADE
) WITHOUT ROWID;

CREATE TABLE reactions (
    room_id BLOB   NOT NULL,
    seq     BIGINT NOT NULL,
    emoji   TEXT   NOT NULL,
    user_id BLOB   NOT NULL,
    at      BIGINT NOT NULL,
    CONSTRAINT reactions_pkey PRIMARY KEY (room_id, seq, emoji, user_id),
    CONSTRAINT reactions_room_id_seq_fkey FOREIGN KEY (room_id, seq) REFERENCES messages (room_id, seq) ON DELETE CASCADE
);

CREATE TABLE pins (
    room_id   BLOB   NOT NULL,
    seq       BIGINT NOT NULL,
    pinned_by BLOB   NOT NULL,
    pinned_at BIGINT NOT NULL,
    CONSTRAINT pins_pkey PRIMARY KEY (room_id, seq),
    CONSTRAINT pins_room_id_seq_fkey FOREIGN KEY (room_id, seq) REFERENCES messages (room_id, seq) ON DELETE CASCADE
);

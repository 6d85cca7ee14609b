-- What users are notified of: who still has to be, and what became of each notification.

-- The text of a notification is its event in the inbox, written once; here is what changes about it.
CREATE TABLE notifications (
    user_id     UUID   NOT NULL,
    seq         BIGINT NOT NULL,
    id          UUID   NOT NULL,
    kind        TEXT   NOT NULL,
    group_key   TEXT,
    room_id     UUID,
    room_seq    BIGINT,
    created_at  BIGINT NOT NULL,
    read_at     BIGINT,
    archived_at BIGINT,
    deleted_at  BIGINT,
    CONSTRAINT notifications_pkey PRIMARY KEY (user_id, seq),
    CONSTRAINT notifications_user_id_id_key UNIQUE (user_id, id),
    CONSTRAINT notifications_user_id_seq_fkey FOREIGN KEY (user_id, seq)
        REFERENCES inbox_events (user_id, seq) ON DELETE CASCADE
);
-- What is counted on a badge, and what reading a room reads with it.
CREATE INDEX notifications_unread_idx ON notifications (user_id, room_id, seq)
    WHERE read_at IS NULL AND archived_at IS NULL AND deleted_at IS NULL;

-- One occasion to notify people, done page after page in the order of their ids: everybody up to `after_user` has been.
-- Each page is one transaction that moves `after_user` under the fence, so that nobody is notified twice of it.
CREATE TABLE fanouts (
    id          UUID   NOT NULL PRIMARY KEY,
    kind        TEXT   NOT NULL,
    audience    TEXT   NOT NULL,
    actor_id    UUID,
    params      TEXT   NOT NULL,
    media       TEXT,
    group_key   TEXT,
    room_id     UUID,
    room_seq    BIGINT,
    messages    BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    requested_by TEXT,
    request_hash BYTEA,
    status      TEXT   NOT NULL,
    reason      TEXT,
    after_user  UUID,
    notified    BIGINT NOT NULL,
    due_at      BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    finished_at BIGINT,
    owner       UUID,
    fence       BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
);
CREATE INDEX fanouts_due_idx ON fanouts (due_at, id) WHERE status = 'queued';
-- What a sender says in a room while nobody has been told yet goes into the fan-out that waits.
CREATE INDEX fanouts_room_id_idx ON fanouts (room_id, actor_id, kind) WHERE status = 'queued' AND room_id IS NOT NULL;
CREATE INDEX fanouts_dead_idx ON fanouts (created_at, id) WHERE status = 'dead';
CREATE INDEX fanouts_finished_at_idx ON fanouts (finished_at) WHERE finished_at IS NOT NULL;

-- Up to where the messages of a room have been handed to those who are away: an event that is carried again changes nothing.
CREATE TABLE fanout_marks (
    room_id UUID   NOT NULL PRIMARY KEY,
    seq     BIGINT NOT NULL
);

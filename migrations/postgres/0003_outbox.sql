-- Facts for the rest of the system (notifications, search, webhooks, an external bus), written in the transaction
-- that made them true. They are read in the order of (`xid`, `id`): in PostgreSQL, `id` alone is not commit order.

CREATE TABLE outbox (
    id           BIGINT  NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid          BIGINT  NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    event_id     UUID    NOT NULL,
    topic        TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    subject      TEXT    NOT NULL,
    at           BIGINT  NOT NULL,
    request_id   TEXT,
    traceparent  TEXT,
    data         TEXT    NOT NULL
);
CREATE INDEX outbox_xid_id_idx ON outbox (xid, id);

-- How far each subscriber has read.
CREATE TABLE outbox_cursors (
    subscriber TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    xid        BIGINT NOT NULL,
    position   BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Facts about this database itself. `epoch` changes when a backup is restored, so that old positions are not believed.
CREATE TABLE meta (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- Facts for the rest of the system (notifications, search, webhooks, an external bus), written in the transaction
-- that made them true. They are read in the order of (`xid`, `id`): in PostgreSQL, `id` alone is not commit order.

CREATE TABLE outbox (
    id           INTEGER NOT NULL PRIMARY KEY,
    xid          BIGINT  NOT NULL DEFAULT 0,
    event_id     BLOB    NOT NULL,
    topic        TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    at           BIGINT  NOT NULL,
    request_id   TEXT,
    traceparent  TEXT,
    data         TEXT    NOT NULL
);
-- `xid` is always 0 here: one writer at a time makes `id` the order of commits. No id is given twice, because the
-- newest row is never deleted.

-- How far each subscriber has read.
CREATE TABLE outbox_cursors (
    subscriber TEXT   NOT NULL PRIMARY KEY,
    xid        BIGINT NOT NULL,
    position   BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Facts about this database itself. `epoch` changes when a backup is restored, so that old positions are not believed.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

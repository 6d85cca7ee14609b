-- What concerns one user, numbered for all their devices: the log behind the channel `me`. `last_seq` is its head, and
-- the lock under which numbers are given.

CREATE TABLE inboxes (
    user_id  BLOB   NOT NULL PRIMARY KEY,
    last_seq BIGINT NOT NULL,
    CONSTRAINT inboxes_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) WITHOUT ROWID;

CREATE TABLE inbox_events (
    user_id BLOB   NOT NULL,
    seq     BIGINT NOT NULL,
    name    TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    data    TEXT   NOT NULL,
    CONSTRAINT inbox_events_pkey PRIMARY KEY (user_id, seq),
    CONSTRAINT inbox_events_user_id_fkey FOREIGN KEY (user_id) REFERENCES inboxes (user_id) ON DELETE CASCADE
) WITHOUT ROWID;

-- How each user is shown to others. Written when that changes, never to keep it up.

CREATE TABLE presences (
    user_id      BLOB   NOT NULL PRIMARY KEY,
    status       TEXT   NOT NULL,
    changed_at   BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    CONSTRAINT presences_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) WITHOUT ROWID;
-- Who is here: what a starting node looks through.
CREATE INDEX presences_shown_idx ON presences (user_id) WHERE status <> 'offline';

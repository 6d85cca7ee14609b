-- Several nodes on one database: which of them live, what each knows of who is here, and work that one of them does.

-- A node whose lease is over may be declared dead, and then is, whatever it believes. Times are of the database's clock.
CREATE TABLE nodes (
    id          UUID   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL,
    key_id      TEXT   NOT NULL,
    started_at  BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    has_left    BOOLEAN NOT NULL,
    is_dead     BOOLEAN NOT NULL
);

-- What each node adds to how a user is shown. Without a reference to nodes: a node that was forgotten may be late.
CREATE TABLE node_presences (
    node_id UUID NOT NULL,
    user_id UUID NOT NULL,
    choice  TEXT NOT NULL,
    CONSTRAINT node_presences_pkey PRIMARY KEY (node_id, user_id),
    CONSTRAINT node_presences_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX node_presences_user_id_idx ON node_presences (user_id);

-- Work that one node does at a time. The fence grows with every owner: what an earlier one still writes is refused.
CREATE TABLE leases (
    name        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    owner       UUID   NOT NULL,
    fence       BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
);

-- Which logins have ended a moment ago: what every node asks all the time.
CREATE INDEX sessions_revoked_at_idx ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

-- Letters on their way out, and what became of each: the queue of every medium and the log that a support person reads.

-- `data` is what the letter is composed from where no notification holds it; it goes once the letter needs it no more. A
-- queued letter is taken by one node at a time, under a lease of the database's clock; its fence grows with every attempt,
-- so that a late answer changes nothing. How long it is tried counts from `first_due_at`.
CREATE TABLE deliveries (
    id          BLOB   NOT NULL PRIMARY KEY,
    medium      TEXT   NOT NULL,
    kind        TEXT   NOT NULL,
    user_id     BLOB,
    seq         BIGINT,
    target_id   BLOB,
    digest_key  TEXT,
    data        TEXT,
    status      TEXT   NOT NULL,
    reason      TEXT,
    provider    TEXT,
    provider_id TEXT,
    attempts    BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    first_due_at BIGINT NOT NULL,
    due_at      BIGINT NOT NULL,
    finished_at BIGINT,
    owner       BLOB,
    fence       BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    CONSTRAINT deliveries_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) WITHOUT ROWID;
-- What is to be done, by medium.
CREATE INDEX deliveries_due_idx ON deliveries (medium, due_at, id) WHERE status = 'queued';
-- Where a digest that is still open takes in more.
CREATE INDEX deliveries_digest_idx ON deliveries (user_id, medium, digest_key)
    WHERE status = 'queued' AND digest_key IS NOT NULL;
CREATE INDEX deliveries_user_id_idx ON deliveries (user_id, created_at);
-- The log, the newest first.
CREATE INDEX deliveries_created_at_idx ON deliveries (created_at, id);
-- Letters that wait for a person to look at them.
CREATE INDEX deliveries_dead_idx ON deliveries (created_at, id) WHERE status = 'dead';
CREATE INDEX deliveries_target_id_idx ON deliveries (target_id, created_at) WHERE target_id IS NOT NULL;
CREATE INDEX deliveries_finished_at_idx ON deliveries (finished_at) WHERE finished_at IS NOT NULL;

-- Every attempt at a letter, in the provider's words.
CREATE TABLE delivery_attempts (
    delivery_id BLOB   NOT NULL,
    fence       BIGINT NOT NULL,
    began_at    BIGINT NOT NULL,
    ended_at    BIGINT,
    outcome     TEXT,
    detail      TEXT,
    CONSTRAINT delivery_attempts_pkey PRIMARY KEY (delivery_id, fence),
    CONSTRAINT delivery_attempts_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES deliveries (id) ON DELETE CASCADE
) WITHOUT ROWID;

-- What a digest is made of besides its first notification.
CREATE TABLE delivery_items (
    delivery_id BLOB   NOT NULL,
    seq         BIGINT NOT NULL,
    CONSTRAINT delivery_items_pkey PRIMARY KEY (delivery_id, seq),
    CONSTRAINT delivery_items_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES deliveries (id) ON DELETE CASCADE
) WITHOUT ROWID;

-- Browsers and apps that take push messages. `address` is a subscription's endpoint or a registration token.
CREATE TABLE devices (
    id           BLOB   NOT NULL PRIMARY KEY,
    user_id      BLOB   NOT NULL,
    kind         TEXT   NOT NULL,
    address      TEXT   NOT NULL,
    p256dh       TEXT,
    auth         TEXT,
    name         TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    CONSTRAINT devices_address_key UNIQUE (address),
    CONSTRAINT devices_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX devices_user_id_idx ON devices (user_id);

-- Addresses that no letter goes to any more, by the medium and SHA-256 of the address: it names nobody.
CREATE TABLE dead_addresses (
    medium  TEXT   NOT NULL,
    address BLOB  NOT NULL,
    reason  TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    CONSTRAINT dead_addresses_pkey PRIMARY KEY (medium, address)
) WITHOUT ROWID;

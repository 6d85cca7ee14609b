-- Addresses of other systems that domain events are posted to.

-- `events` is a JSON array of names and topics. A secret is sealed under the key that `meta` names as `webhook_seal`; the one
-- before it signs as well until `old_secret_until`. An endpoint takes events from `enabled_at` on; without one, none.
CREATE TABLE webhook_endpoints (
    id               UUID   NOT NULL PRIMARY KEY,
    url              TEXT   NOT NULL,
    events           TEXT   NOT NULL,
    description      TEXT   NOT NULL,
    secret           BYTEA  NOT NULL,
    old_secret       BYTEA,
    old_secret_until BIGINT,
    enabled_at       BIGINT,
    disabled_reason  TEXT,
    created_by       TEXT   NOT NULL,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL
);

-- Requests that must take effect once, by the key that whoever sent them gave, and what they were answered.

-- The row is written in the transaction of the request's effect. Without an answer, whoever has begun it has until `locked_until`;
-- one that began a workflow, or made something that has to be gone on with, names it.
CREATE TABLE idempotency_keys (
    principal    TEXT   NOT NULL,
    route        TEXT   NOT NULL,
    key          TEXT   NOT NULL,
    fingerprint  BYTEA  NOT NULL,
    locked_until BIGINT NOT NULL,
    resource_id  UUID,
    workflow_id  UUID,
    http_status  BIGINT,
    body         TEXT,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal, route, key),
    CONSTRAINT idempotency_keys_key_check CHECK (length(key) BETWEEN 8 AND 255),
    CONSTRAINT idempotency_keys_answer_check CHECK ((http_status IS NULL) = (body IS NULL))
);
CREATE INDEX idempotency_keys_expires_at_idx ON idempotency_keys (expires_at);

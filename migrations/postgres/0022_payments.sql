-- Payments: orders, what was tried to be paid for them, every change of status, and what went back.

-- What is paid for, as the app's own server has registered it. `fee_bps` is in hundredths of a percent.
CREATE TABLE orders (
    order_type  TEXT   NOT NULL,
    order_id    TEXT   NOT NULL,
    payer_id    UUID,
    payee_id    UUID,
    amount      BIGINT NOT NULL,
    currency    TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    fee_bps     BIGINT NOT NULL DEFAULT 0,
    released_at BIGINT,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    CONSTRAINT orders_pkey PRIMARY KEY (order_type, order_id),
    CONSTRAINT orders_amount_check CHECK (amount > 0),
    CONSTRAINT orders_fee_bps_check CHECK (fee_bps BETWEEN 0 AND 10000)
);

-- A payment has a status, and the sums that the ledger has too. `version` grows with every change; `under_way` is the call
-- to the provider of which a workflow takes care.
CREATE TABLE payments (
    id                UUID   NOT NULL PRIMARY KEY,
    order_type        TEXT   NOT NULL,
    order_id          TEXT   NOT NULL,
    payer_id          UUID   NOT NULL,
    payee_id          UUID,
    provider          TEXT   NOT NULL,
    ledger_shard      BIGINT NOT NULL,
    currency          TEXT   NOT NULL,
    amount            BIGINT NOT NULL,
    captured          BIGINT NOT NULL DEFAULT 0,
    refund_reserved   BIGINT NOT NULL DEFAULT 0,
    refunded          BIGINT NOT NULL DEFAULT 0,
    status            TEXT   NOT NULL,
    under_way         TEXT,
    is_captured_later BOOLEAN NOT NULL,
    is_by_deposit     BOOLEAN NOT NULL,
    failure_code      TEXT,
    version           BIGINT NOT NULL DEFAULT 0,
    expires_at        BIGINT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    CONSTRAINT payments_amount_check CHECK (amount > 0),
    CONSTRAINT payments_captured_check CHECK (captured BETWEEN 0 AND amount),
    CONSTRAINT payments_refunded_check
        CHECK (refund_reserved >= 0 AND refunded >= 0 AND refunded + refund_reserved <= captured),
    CONSTRAINT payments_status_check CHECK (status IN (
        'created', 'awaiting_deposit', 'confirming', 'unknown', 'authorized', 'captured', 'partially_refunded',
        'refunded', 'canceled', 'failed', 'expired', 'conflicted', 'disputed', 'charged_back')),
    CONSTRAINT payments_under_way_check CHECK (under_way IN ('confirm', 'capture', 'void')),
    CONSTRAINT payments_order_fkey FOREIGN KEY (order_type, order_id) REFERENCES orders (order_type, order_id)
);
-- An order is paid for in one way at a time.
CREATE UNIQUE INDEX payments_order_type_order_id_key ON payments (order_type, order_id)
    WHERE status NOT IN ('refunded', 'canceled', 'failed', 'expired', 'charged_back');
CREATE INDEX payments_order_idx ON payments (order_type, order_id);
CREATE INDEX payments_payer_id_idx ON payments (payer_id, created_at, id);
CREATE INDEX payments_expires_at_idx ON payments (expires_at) WHERE status IN ('created', 'awaiting_deposit');
CREATE INDEX payments_under_way_idx ON payments (updated_at) WHERE under_way IS NOT NULL;

-- A payment as its provider sees it. The provider's key is bound to one attempt, for ever.
CREATE TABLE payment_attempts (
    id                UUID   NOT NULL PRIMARY KEY,
    payment_id        UUID   NOT NULL,
    attempt_no        BIGINT NOT NULL,
    provider          TEXT   NOT NULL,
    provider_order_id TEXT   NOT NULL,
    provider_key      TEXT,
    status            TEXT   NOT NULL,
    error_code        TEXT,
    created_at        BIGINT NOT NULL,
    resolved_at       BIGINT,
    CONSTRAINT payment_attempts_payment_id_attempt_no_key UNIQUE (payment_id, attempt_no),
    CONSTRAINT payment_attempts_provider_provider_order_id_key UNIQUE (provider, provider_order_id),
    CONSTRAINT payment_attempts_provider_provider_key_key UNIQUE (provider, provider_key),
    CONSTRAINT payment_attempts_status_check
        CHECK (status IN ('open', 'sent', 'unknown', 'succeeded', 'failed', 'abandoned')),
    CONSTRAINT payment_attempts_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments (id)
);

-- Every status that a payment has had. `seq` is the payment's version then.
CREATE TABLE payment_transitions (
    payment_id  UUID   NOT NULL,
    seq         BIGINT NOT NULL,
    from_status TEXT,
    to_status   TEXT   NOT NULL,
    cause       TEXT   NOT NULL,
    actor       TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    CONSTRAINT payment_transitions_pkey PRIMARY KEY (payment_id, seq),
    CONSTRAINT payment_transitions_cause_check
        CHECK (cause IN ('api', 'provider', 'webhook', 'sync', 'timer', 'admin', 'saga')),
    CONSTRAINT payment_transitions_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments (id)
);

-- Money that goes back. `held` lists what the ledger holds for it, side by side.
CREATE TABLE refunds (
    id           UUID   NOT NULL PRIMARY KEY,
    payment_id   UUID   NOT NULL,
    amount       BIGINT NOT NULL,
    reason       TEXT   NOT NULL,
    status       TEXT   NOT NULL,
    held         TEXT   NOT NULL,
    provider_key TEXT,
    failure_code TEXT,
    actor        TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    CONSTRAINT refunds_amount_check CHECK (amount > 0),
    CONSTRAINT refunds_status_check
        CHECK (status IN ('requested', 'sent', 'unknown', 'succeeded', 'failed', 'needs_review')),
    CONSTRAINT refunds_payment_id_provider_key_key UNIQUE (payment_id, provider_key),
    CONSTRAINT refunds_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments (id)
);
CREATE INDEX refunds_open_idx ON refunds (updated_at) WHERE status IN ('requested', 'sent', 'unknown');

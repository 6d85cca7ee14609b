-- Payments: orders, what was tried to be paid for them, every change of status, and what went back.

-- What is paid for, as the app's own server has registered it. `fee_bps` is in hundredths of a percent.
CREATE TABLE orders (
    order_type  TEXT    NOT NULL,
    order_id    TEXT    NOT NULL,
    payer_id    BLOB,
    payee_id    BLOB,
    amount      INTEGER NOT NULL,
    currency    TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    fee_bps     INTEGER NOT NULL DEFAULT 0,
    released_at INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    CONSTRAINT orders_pkey PRIMARY KEY (order_type, order_id),
    CONSTRAINT orders_amount_check CHECK (amount > 0),
    CONSTRAINT orders_fee_bps_check CHECK (fee_bps BETWEEN 0 AND 10000)
) STRICT, WITHOUT ROWID;

-- A payment has a status, and the sums that the ledger has too. `version` grows with every change; `under_way` is the call
-- to the provider of which a workflow takes care.
CREATE TABLE payments (
    id                BLOB    NOT NULL PRIMARY KEY,
    order_type        TEXT    NOT NULL,
    order_id          TEXT    NOT NULL,
    payer_id          BLOB    NOT NULL,
    payee_id          BLOB,
    provider          TEXT    NOT NULL,
    ledger_shard      INTEGER NOT NULL,
    currency          TEXT    NOT NULL,
    amount            INTEGER NOT NULL,
    captured          INTEGER NOT NULL DEFAULT 0,
    refund_reserved   INTEGER NOT NULL DEFAULT 0,
    refunded          INTEGER NOT NULL DEFAULT 0,
    status            TEXT    NOT NULL,
    under_way         TEXT,
    is_captured_later BOOLEAN NOT NULL,
    is_by_deposit     BOOLEAN NOT NULL,
    failure_code      TEXT,
    version           INTEGER NOT NULL DEFAULT 0,
    expires_at        INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    CONSTRAINT payments_amount_check CHECK (amount > 0),
    CONSTRAINT payments_captured_check CHECK (captured BETWEEN 0 AND amount),
    CONSTRAINT payments_refunded_check
        CHECK (refund_reserved >= 0 AND refunded >= 0 AND refunded + refund_reserved <= captured),
    CONSTRAINT payments_status_check CHECK (status IN (
        'created', 'awaiting_deposit', 'confirming', 'unknown', 'authorized', 'captured', 'partially_refunded',
        'refunded', 'canceled', 'failed', 'expired', 'conflicted', 'disputed', 'charged_back')),
    CONSTRAINT payments_under_way_check CHECK (under_way IN ('confirm', 'capture', 'void')),
    CONSTRAINT payments_order_fkey FOREIGN KEY (order_type, order_id) REFERENCES orders (order_type, order_id)
) WITHOUT ROWID;
-- An order is paid for in one way at a time.
CREATE UNIQUE INDEX payments_order_type_order_id_key ON payments (order_type, order_id)
    WHERE status NOT IN ('refunded', 'canceled', 'failed', 'expired', 'charged_back');
CREATE INDEX payments_order_idx ON payments (order_type, order_id);
CREATE INDEX payments_payer_id_idx ON payments (payer_id, created_at, id);
CREATE INDEX payments_expires_at_idx ON payments (expires_at) WHERE status IN ('created', 'awaiting_deposit');
CREATE INDEX payments_under_way_idx ON payments (updated_at) WHERE under_way IS NOT NULL;

-- A payment as its provider sees it. The provider's key is bound to one attempt, for ever.
CREATE TABLE payment_attempts (
    id                BLOB    NOT NULL PRIMARY KEY,
    payment_id        BLOB    NOT NULL,
    attempt_no        INTEGER NOT NULL,
    provider          TEXT    NOT NULL,
    provider_order_id TEXT    NOT NULL,
    provider_key      TEXT,
    status            TEXT    NOT NULL,
    error_code        TEXT,
    created_at        INTEGER NOT NULL,
    resolved_at       INTEGER,
    CONSTRAINT payment_attempts_payment_id_attempt_no_key UNIQUE (payment_id, attempt_no),
    CONSTRAINT payment_attempts_provider_provider_order_id_key UNIQUE (provider, provider_order_id),
    CONSTRAINT payment_attempts_provider_provider_key_key UNIQUE (provider, provider_key),
    CONSTRAINT payment_attempts_status_check
        CHECK (status IN ('open', 'sent', 'unknown', 'succeeded', 'failed', 'abandoned')),
    CONSTRAINT payment_attempts_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments (id)
) STRICT, WITHOUT ROWID;

-- Every status that a payment has had. `seq` is the payment's version then.
CREATE TABLE payment_transitions (
    payment_id  BLOB    NOT NULL,
    seq         INTEGER NOT NULL,
    from_status TEXT,
    to_status   TEXT    NOT NULL,
    cause       TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    CONSTRAINT payment_transitions_pkey PRIMARY KEY (payment_id, seq),
    CONSTRAINT payment_transitions_cause_check
        CHECK (cause IN ('api', 'provider', 'webhook', 'sync', 'timer', 'admin', 'saga')),
    CONSTRAINT payment_transitions_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments (id)
) STRICT, WITHOUT ROWID;

-- Money that goes back. `held` lists what the ledger holds for it, side by side.
CREATE TABLE refunds (
    id           BLOB    NOT NULL PRIMARY KEY,
    payment_id   BLOB    NOT NULL,
    amount       INTEGER NOT NULL,
    reason       TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    held         TEXT    NOT NULL,
    provider_key TEXT,
    failure_code TEXT,
    actor        TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    CONSTRAINT refunds_amount_check CHECK (amount > 0),
    CONSTRAINT refunds_status_check
        CHECK (status IN ('requested', 'sent', 'unknown', 'succeeded', 'failed', 'needs_review')),
    CONSTRAINT refunds_payment_id_provider_key_key UNIQUE (payment_id, provider_key),
    CONSTRAINT refunds_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX refunds_open_idx ON refunds (updated_at) WHERE status IN ('requested', 'sent', 'unknown');

-- Webhooks of payment providers: kept before they are answered, and looked into afterwards. What one says is for people; all
-- that is taken from it is which charge to ask for.
CREATE TABLE payment_webhooks (
    provider       TEXT    NOT NULL,
    dedupe_key     TEXT    NOT NULL,
    trust          TEXT    NOT NULL,
    provider_order TEXT,
    provider_key   TEXT,
    body           BLOB    NOT NULL,
    status         TEXT    NOT NULL,
    attempts       INTEGER NOT NULL,
    due_at         INTEGER NOT NULL,
    last_error     TEXT,
    received_at    INTEGER NOT NULL,
    done_at        INTEGER,
    CONSTRAINT payment_webhooks_pkey PRIMARY KEY (provider, dedupe_key),
    CONSTRAINT payment_webhooks_trust_check CHECK (trust IN ('signed', 'unsigned')),
    CONSTRAINT payment_webhooks_status_check CHECK (status IN ('received', 'done', 'ignored', 'failed')),
    CONSTRAINT payment_webhooks_done_check CHECK ((status = 'received') = (done_at IS NULL)),
    CONSTRAINT payment_webhooks_body_check CHECK (length(body) <= 65536)
) STRICT, WITHOUT ROWID;
CREATE INDEX payment_webhooks_due_at_idx ON payment_webhooks (due_at, provider, dedupe_key) WHERE status = 'received';
CREATE INDEX payment_webhooks_charge_idx ON payment_webhooks (provider, provider_order, provider_key) WHERE status = 'received';
CREATE INDEX payment_webhooks_done_at_idx ON payment_webhooks (done_at) WHERE done_at IS NOT NULL;

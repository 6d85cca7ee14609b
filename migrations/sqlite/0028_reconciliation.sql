-- Reconciliation: what providers say that they moved and paid, held against our rows and the ledger, day by day.

-- A comparison: of a day in Seoul, repeated for as long as the day is looked at. `pass` is its latest life: what was found
-- open before and not in this one has resolved itself. Sums are charges less refunds and payouts, in minor units.
CREATE TABLE recon_runs (
    id          BLOB    NOT NULL PRIMARY KEY,
    provider    TEXT    NOT NULL,
    day         TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    pass        BLOB    NOT NULL,
    passes      INTEGER NOT NULL DEFAULT 1,
    matched     INTEGER NOT NULL DEFAULT 0,
    matched_sum INTEGER NOT NULL DEFAULT 0,
    remote      INTEGER NOT NULL DEFAULT 0,
    remote_sum  INTEGER NOT NULL DEFAULT 0,
    auto_fixed  INTEGER NOT NULL DEFAULT 0,
    breaks      INTEGER NOT NULL DEFAULT 0,
    why         TEXT,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    CONSTRAINT recon_runs_provider_day_kind_key UNIQUE (provider, day, kind),
    CONSTRAINT recon_runs_kind_check CHECK (kind IN ('transactions', 'settlements', 'ledger')),
    CONSTRAINT recon_runs_status_check CHECK (status IN ('running', 'clean', 'breaks', 'failed', 'not_offered'))
) STRICT, WITHOUT ROWID;

-- Something that does not agree. It is one row, however often it is found; `local_ref` and `remote_ref` are how either side
-- calls it.
CREATE TABLE recon_breaks (
    id            BLOB    NOT NULL PRIMARY KEY,
    run_id        BLOB    NOT NULL,
    provider      TEXT    NOT NULL,
    kind          TEXT    NOT NULL,
    day           TEXT    NOT NULL,
    bucket        TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    order_ref     TEXT    NOT NULL,
    local_ref     TEXT,
    remote_ref    TEXT,
    local_amount  INTEGER,
    remote_amount INTEGER,
    says          TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    note          TEXT,
    fixed_entry   BLOB,
    closed_by     TEXT,
    pass          BLOB    NOT NULL,
    found_at      INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    CONSTRAINT recon_breaks_provider_kind_bucket_subject_key UNIQUE (provider, kind, bucket, subject),
    CONSTRAINT recon_breaks_bucket_check CHECK (bucket IN (
        'missing_local', 'missing_remote', 'amount', 'status', 'duplicate', 'fee', 'timing', 'ledger')),
    CONSTRAINT recon_breaks_status_check CHECK (status IN ('open', 'explained', 'fixed')),
    CONSTRAINT recon_breaks_closed_check CHECK ((status = 'open') = (closed_by IS NULL)),
    CONSTRAINT recon_breaks_run_id_fkey FOREIGN KEY (run_id) REFERENCES recon_runs (id),
    CONSTRAINT recon_breaks_fixed_entry_fkey FOREIGN KEY (fixed_entry) REFERENCES ledger_entries (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX recon_breaks_run_id_idx ON recon_breaks (run_id, status);
CREATE INDEX recon_breaks_open_idx ON recon_breaks (bucket, id) WHERE status = 'open';

-- What providers have listed, as they listed it last.
CREATE TABLE recon_movements (
    provider     TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    provider_key TEXT    NOT NULL,
    order_ref    TEXT    NOT NULL,
    amount       INTEGER NOT NULL,
    fee          INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    CONSTRAINT recon_movements_pkey PRIMARY KEY (provider, kind, provider_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX recon_movements_at_idx ON recon_movements (provider, at, kind, provider_key);
CREATE INDEX recon_movements_order_idx ON recon_movements (provider, order_ref);
CREATE INDEX recon_movements_key_idx ON recon_movements (provider, provider_key);

-- What providers have paid us, line by line; `is_booked` once it is in the ledger.
CREATE TABLE recon_settlements (
    provider   TEXT    NOT NULL,
    line_key   TEXT    NOT NULL,
    order_ref  TEXT    NOT NULL,
    movement   TEXT    NOT NULL,
    gross      INTEGER NOT NULL,
    fee        INTEGER NOT NULL,
    net        INTEGER NOT NULL,
    paid_on    TEXT    NOT NULL,
    is_booked  INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT recon_settlements_pkey PRIMARY KEY (provider, line_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX recon_settlements_movement_idx ON recon_settlements (provider, movement);

-- What administrators are told of a day, once.
CREATE TABLE recon_reports (
    day     TEXT    NOT NULL PRIMARY KEY,
    body    TEXT    NOT NULL,
    made_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The entries until the end of an hour and since the seal before, as they were when they were sealed; each seal has the one
-- before it in its digest.
CREATE TABLE ledger_seals (
    hour    INTEGER NOT NULL PRIMARY KEY,
    entries INTEGER NOT NULL,
    digest  BLOB    NOT NULL,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the transfers of an account came to until a moment before which nothing is written any more: the hourly check
-- begins there. Whoever changes one of those transfers breaks a seal.
CREATE TABLE ledger_folds (
    account_id      BLOB    NOT NULL PRIMARY KEY,
    until           INTEGER NOT NULL,
    debits_pending  INTEGER NOT NULL,
    debits_posted   INTEGER NOT NULL,
    credits_pending INTEGER NOT NULL,
    credits_posted  INTEGER NOT NULL,
    CONSTRAINT ledger_folds_account_id_fkey FOREIGN KEY (account_id) REFERENCES ledger_accounts (id)
) STRICT, WITHOUT ROWID;

CREATE INDEX refunds_needs_review_idx ON refunds (id) WHERE status = 'needs_review';
CREATE INDEX ledger_entries_at_idx ON ledger_entries (at, id);
CREATE INDEX ledger_transfers_pending_idx ON ledger_transfers (entry_id) WHERE phase = 'pending';
CREATE INDEX payment_attempts_succeeded_idx ON payment_attempts (provider, resolved_at, id) WHERE status = 'succeeded';
CREATE INDEX refunds_succeeded_idx ON refunds (updated_at, id) WHERE status = 'succeeded';
CREATE INDEX withdrawals_sent_idx ON withdrawals (provider, updated_at, id) WHERE status IN ('paid', 'returned');

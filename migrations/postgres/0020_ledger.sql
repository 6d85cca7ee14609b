-- The ledger: accounts, and transfers between them that are written once and never changed.

-- `debits_…` and `credits_…` are what the transfers come to; they are checked against them every hour. The guard is the
-- last word on who may owe: it counts what is pending too, and no statement gets past it.
CREATE TABLE ledger_accounts (
    id              UUID   NOT NULL PRIMARY KEY,
    code            TEXT   NOT NULL,
    family          TEXT   NOT NULL,
    kind            TEXT   NOT NULL,
    currency        TEXT   NOT NULL,
    owner_id        UUID,
    guard           TEXT   NOT NULL,
    debits_pending  BIGINT NOT NULL DEFAULT 0,
    debits_posted   BIGINT NOT NULL DEFAULT 0,
    credits_pending BIGINT NOT NULL DEFAULT 0,
    credits_posted  BIGINT NOT NULL DEFAULT 0,
    frozen_at       BIGINT,
    created_at      BIGINT NOT NULL,
    CONSTRAINT ledger_accounts_code_currency_key UNIQUE (code, currency),
    CONSTRAINT ledger_accounts_id_currency_key UNIQUE (id, currency),
    CONSTRAINT ledger_accounts_kind_check CHECK (kind IN ('asset', 'liability', 'equity', 'income', 'expense')),
    CONSTRAINT ledger_accounts_range_check CHECK (
        debits_pending BETWEEN 0 AND 4000000000000000000 AND debits_posted BETWEEN 0 AND 4000000000000000000
        AND credits_pending BETWEEN 0 AND 4000000000000000000 AND credits_posted BETWEEN 0 AND 4000000000000000000),
    CONSTRAINT ledger_accounts_guard_check CHECK (
        (guard <> 'debits_lte_credits' OR debits_posted + debits_pending <= credits_posted)
        AND (guard <> 'credits_lte_debits' OR credits_posted + credits_pending <= debits_posted)
        AND guard IN ('none', 'debits_lte_credits', 'credits_lte_debits'))
) WITH (fillfactor = 50);
CREATE INDEX ledger_accounts_family_idx ON ledger_accounts (family, currency);
CREATE INDEX ledger_accounts_owner_id_idx ON ledger_accounts (owner_id) WHERE owner_id IS NOT NULL;

-- Something that happened to money. Its id follows from its key, so it is booked once; the fingerprint tells whether a
-- repeat says the same.
CREATE TABLE ledger_entries (
    id             UUID   NOT NULL PRIMARY KEY,
    key            TEXT   NOT NULL,
    fingerprint    BYTEA  NOT NULL,
    kind           TEXT   NOT NULL,
    reference_kind TEXT   NOT NULL,
    reference_id   UUID   NOT NULL,
    actor          TEXT   NOT NULL,
    at             BIGINT NOT NULL
);
CREATE INDEX ledger_entries_reference_idx ON ledger_entries (reference_id, at, id);

-- `hold_id` is the transfer that this one posts or voids; a hold is resolved once.
CREATE TABLE ledger_transfers (
    id         UUID   NOT NULL PRIMARY KEY,
    entry_id   UUID   NOT NULL,
    line       BIGINT NOT NULL,
    phase      TEXT   NOT NULL,
    hold_id    UUID,
    debit_id   UUID   NOT NULL,
    credit_id  UUID   NOT NULL,
    currency   TEXT   NOT NULL,
    amount     BIGINT NOT NULL,
    code       TEXT   NOT NULL,
    expires_at BIGINT,
    at         BIGINT NOT NULL,
    CONSTRAINT ledger_transfers_entry_id_line_key UNIQUE (entry_id, line),
    CONSTRAINT ledger_transfers_hold_id_key UNIQUE (hold_id),
    CONSTRAINT ledger_transfers_amount_check CHECK (amount > 0),
    CONSTRAINT ledger_transfers_sides_check CHECK (debit_id <> credit_id),
    CONSTRAINT ledger_transfers_phase_check CHECK (phase IN ('single', 'pending', 'post', 'void')),
    CONSTRAINT ledger_transfers_hold_check CHECK ((phase IN ('post', 'void')) = (hold_id IS NOT NULL)),
    CONSTRAINT ledger_transfers_expires_at_check CHECK (expires_at IS NULL OR phase = 'pending'),
    CONSTRAINT ledger_transfers_entry_id_fkey FOREIGN KEY (entry_id) REFERENCES ledger_entries (id),
    CONSTRAINT ledger_transfers_hold_id_fkey FOREIGN KEY (hold_id) REFERENCES ledger_transfers (id),
    CONSTRAINT ledger_transfers_debit_fkey
        FOREIGN KEY (debit_id, currency) REFERENCES ledger_accounts (id, currency),
    CONSTRAINT ledger_transfers_credit_fkey
        FOREIGN KEY (credit_id, currency) REFERENCES ledger_accounts (id, currency)
);
CREATE INDEX ledger_transfers_debit_idx ON ledger_transfers (debit_id, at, id);
CREATE INDEX ledger_transfers_credit_idx ON ledger_transfers (credit_id, at, id);
CREATE INDEX ledger_transfers_expires_at_idx ON ledger_transfers (expires_at)
    WHERE phase = 'pending' AND expires_at IS NOT NULL;

-- Whoever owns the tables, or copies them somewhere, is stopped here too.
CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only';
END $$;
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER ledger_transfers_append_only BEFORE UPDATE OR DELETE ON ledger_transfers
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER ledger_transfers_no_truncate BEFORE TRUNCATE ON ledger_transfers
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

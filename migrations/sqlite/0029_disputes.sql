-- Contract: not used since 0.1.0. The list of what an item of a settlement may be of, which is replaced by a longer one.

-- Money that payers' banks want back. `status` is what the provider says last; `opened_at` and `closed_at` say what was done about it.
-- `covered` is the part of it that the payment has, `held` lists what the ledger holds of that, entry by entry, and `missing` is what its
-- payee does not have: it is held as soon as it comes.
CREATE TABLE disputes (
    id           BLOB NOT NULL PRIMARY KEY,
    payment_id   BLOB NOT NULL,
    payee_id     BLOB,
    provider     TEXT NOT NULL,
    provider_key TEXT NOT NULL,
    currency     TEXT NOT NULL,
    amount       INTEGER NOT NULL,
    status       TEXT NOT NULL,
    covered      INTEGER NOT NULL DEFAULT 0,
    missing      INTEGER NOT NULL DEFAULT 0,
    held         TEXT NOT NULL DEFAULT '[]',
    due_at       INTEGER,
    opened_at    INTEGER,
    closed_at    INTEGER,
    looked_at    INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    CONSTRAINT disputes_provider_provider_key_key UNIQUE (provider, provider_key),
    CONSTRAINT disputes_amount_check CHECK (amount > 0),
    CONSTRAINT disputes_covered_check CHECK (covered BETWEEN 0 AND amount),
    CONSTRAINT disputes_missing_check CHECK (missing BETWEEN 0 AND covered),
    CONSTRAINT disputes_status_check
        CHECK (status IN ('inquiry', 'needs_response', 'under_review', 'won', 'lost', 'withdrawn')),
    CONSTRAINT disputes_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX disputes_payment_id_idx ON disputes (payment_id, id);
CREATE INDEX disputes_payee_id_idx ON disputes (payee_id, id) WHERE opened_at IS NOT NULL AND closed_at IS NULL;
CREATE INDEX disputes_looked_at_idx ON disputes (looked_at, id) WHERE closed_at IS NULL;

CREATE TABLE settlement_items_wider (
    source_type   TEXT    NOT NULL,
    source_id     BLOB    NOT NULL,
    payment_id    BLOB    NOT NULL,
    payee_id      BLOB,
    currency      TEXT    NOT NULL,
    gross         INTEGER NOT NULL,
    fee           INTEGER NOT NULL,
    fee_vat       INTEGER NOT NULL,
    withholding   INTEGER NOT NULL,
    elsewhere     INTEGER NOT NULL,
    settlement_id BLOB,
    created_at    INTEGER NOT NULL,
    CONSTRAINT settlement_items_pkey PRIMARY KEY (source_type, source_id),
    CONSTRAINT settlement_items_source_type_check
        CHECK (source_type IN ('payment', 'refund', 'failed_refund', 'dispute', 'dispute_won')),
    CONSTRAINT settlement_items_settlement_id_fkey FOREIGN KEY (settlement_id) REFERENCES settlements (id)
) STRICT, WITHOUT ROWID;
INSERT INTO settlement_items_wider
    (source_type, source_id, payment_id, payee_id, currency, gross, fee, fee_vat, withholding, elsewhere, settlement_id, created_at)
SELECT source_type, source_id, payment_id, payee_id, currency, gross, fee, fee_vat, withholding, elsewhere, settlement_id, created_at
FROM settlement_items;
DROP TABLE settlement_items;
ALTER TABLE settlement_items_wider RENAME TO settlement_items;
CREATE INDEX settlement_items_payment_id_idx ON settlement_items (payment_id);
CREATE INDEX settlement_items_settlement_id_idx ON settlement_items (settlement_id);
CREATE INDEX settlement_items_open_idx ON settlement_items (payee_id, currency, created_at)
    WHERE settlement_id IS NULL AND payee_id IS NOT NULL;

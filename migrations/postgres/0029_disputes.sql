-- Contract: not used since 0.1.0. The list of what an item of a settlement may be of, which is replaced by a longer one.

-- Money that payers' banks want back. `status` is what the provider says last; `opened_at` and `closed_at` say what was done about it.
-- `covered` is the part of it that the payment has, `held` lists what the ledger holds of that, entry by entry, and `missing` is what its
-- payee does not have: it is held as soon as it comes.
CREATE TABLE disputes (
    id           UUID NOT NULL PRIMARY KEY,
    payment_id   UUID NOT NULL,
    payee_id     UUID,
    provider     TEXT NOT NULL,
    provider_key TEXT NOT NULL,
    currency     TEXT NOT NULL,
    amount       BIGINT NOT NULL,
    status       TEXT NOT NULL,
    covered      BIGINT NOT NULL DEFAULT 0,
    missing      BIGINT NOT NULL DEFAULT 0,
    held         TEXT NOT NULL DEFAULT '[]',
    due_at       BIGINT,
    opened_at    BIGINT,
    closed_at    BIGINT,
    looked_at    BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    CONSTRAINT disputes_provider_provider_key_key UNIQUE (provider, provider_key),
    CONSTRAINT disputes_amount_check CHECK (amount > 0),
    CONSTRAINT disputes_covered_check CHECK (covered BETWEEN 0 AND amount),
    CONSTRAINT disputes_missing_check CHECK (missing BETWEEN 0 AND covered),
    CONSTRAINT disputes_status_check
        CHECK (status IN ('inquiry', 'needs_response', 'under_review', 'won', 'lost', 'withdrawn')),
    CONSTRAINT disputes_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments (id)
);
CREATE INDEX disputes_payment_id_idx ON disputes (payment_id, id);
CREATE INDEX disputes_payee_id_idx ON disputes (payee_id, id) WHERE opened_at IS NOT NULL AND closed_at IS NULL;
CREATE INDEX disputes_looked_at_idx ON disputes (looked_at, id) WHERE closed_at IS NULL;

ALTER TABLE settlement_items DROP CONSTRAINT settlement_items_source_type_check;
ALTER TABLE settlement_items ADD CONSTRAINT settlement_items_source_type_check
    CHECK (source_type IN ('payment', 'refund', 'failed_refund', 'dispute', 'dispute_won'));

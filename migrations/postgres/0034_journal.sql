-- Money that nobody could place is moved on by two people: an entry between suspense and an account of the platform's.

-- What one has proposed, and what another has decided; without a decision it is over at `expires_at`. `debit` and `credit` are
-- families of accounts. `entry_id` is the entry of the ledger that it became.
CREATE TABLE journal_entries (
    id          UUID    NOT NULL PRIMARY KEY,
    status      TEXT    NOT NULL,
    debit       TEXT    NOT NULL,
    credit      TEXT    NOT NULL,
    amount      BIGINT  NOT NULL,
    currency    TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    payment_id  UUID,
    break_id    UUID,
    entry_id    UUID,
    proposed_by UUID    NOT NULL,
    decided_by  UUID,
    decision    TEXT,
    created_at  BIGINT  NOT NULL,
    expires_at  BIGINT  NOT NULL,
    decided_at  BIGINT ,
    CONSTRAINT journal_entries_status_check CHECK (status IN ('proposed', 'approved', 'rejected')),
    CONSTRAINT journal_entries_suspense_check CHECK ((debit = 'suspense') <> (credit = 'suspense')),
    CONSTRAINT journal_entries_amount_check CHECK (amount BETWEEN 1 AND 1000000000000),
    CONSTRAINT journal_entries_decided_check CHECK (
        (status = 'proposed') = (decided_by IS NULL) AND (decided_by IS NULL) = (decided_at IS NULL)
        AND (decided_by IS NULL) = (decision IS NULL)),
    CONSTRAINT journal_entries_entry_check CHECK ((status = 'approved') = (entry_id IS NOT NULL)),
    CONSTRAINT journal_entries_approver_check CHECK (status <> 'approved' OR decided_by <> proposed_by),
    CONSTRAINT journal_entries_entry_id_key UNIQUE (entry_id),
    CONSTRAINT journal_entries_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments (id),
    CONSTRAINT journal_entries_break_id_fkey FOREIGN KEY (break_id) REFERENCES recon_breaks (id),
    CONSTRAINT journal_entries_entry_id_fkey FOREIGN KEY (entry_id) REFERENCES ledger_entries (id)
);
CREATE INDEX journal_entries_status_idx ON journal_entries (status, id);
CREATE INDEX journal_entries_payment_id_idx ON journal_entries (payment_id, id) WHERE payment_id IS NOT NULL;

-- Somebody asks what became of a key, and may not know whose it is.
CREATE INDEX idempotency_keys_key_idx ON idempotency_keys (key);

-- Pay-outs by bank file: what is to be paid lies here until somebody takes it out in a file, and until somebody says what the bank did.

-- What an administrator has taken out at once: one currency.
CREATE TABLE payout_files (
    id          UUID    NOT NULL PRIMARY KEY,
    currency    TEXT    NOT NULL,
    entry_count BIGINT  NOT NULL,
    sum         BIGINT  NOT NULL,
    created_by  UUID    NOT NULL,
    created_at  BIGINT  NOT NULL,
    CONSTRAINT payout_files_entry_count_check CHECK (entry_count > 0),
    CONSTRAINT payout_files_sum_check CHECK (sum > 0)
);

-- One for a withdrawal, for ever, and under one key. Where it goes is the withdrawal's bank account, which is not removed before it
-- is paid. Whoever says what became of it is not who gets it.
CREATE TABLE payout_entries (
    withdrawal_id UUID    NOT NULL PRIMARY KEY,
    effect_key    TEXT    NOT NULL,
    user_id       UUID    NOT NULL,
    currency      TEXT    NOT NULL,
    amount        BIGINT  NOT NULL,
    status        TEXT    NOT NULL,
    failure_code  TEXT,
    file_id       UUID,
    settled_by    UUID,
    created_at    BIGINT  NOT NULL,
    updated_at    BIGINT  NOT NULL,
    CONSTRAINT payout_entries_effect_key_key UNIQUE (effect_key),
    CONSTRAINT payout_entries_amount_check CHECK (amount > 0),
    CONSTRAINT payout_entries_status_check CHECK (status IN ('waiting', 'exported', 'paid', 'failed', 'returned')),
    CONSTRAINT payout_entries_file_id_check CHECK ((status = 'waiting') = (file_id IS NULL)),
    CONSTRAINT payout_entries_failure_code_check CHECK ((status IN ('failed', 'returned')) = (failure_code IS NOT NULL)),
    CONSTRAINT payout_entries_settled_by_check CHECK (
        (status IN ('waiting', 'exported')) = (settled_by IS NULL) AND (settled_by IS NULL OR settled_by <> user_id)),
    CONSTRAINT payout_entries_withdrawal_id_fkey FOREIGN KEY (withdrawal_id) REFERENCES withdrawals (id),
    CONSTRAINT payout_entries_file_id_fkey FOREIGN KEY (file_id) REFERENCES payout_files (id)
);
CREATE INDEX payout_entries_open_idx ON payout_entries (status, withdrawal_id) WHERE status IN ('waiting', 'exported');
CREATE INDEX payout_entries_file_id_idx ON payout_entries (file_id, withdrawal_id);

-- What is in a file stays there: nobody is paid out of two.
CREATE FUNCTION payout_entries_file_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a payout is in one file';
END $$;
CREATE TRIGGER payout_entries_file_is_kept BEFORE UPDATE OF file_id ON payout_entries
    FOR EACH ROW WHEN (OLD.file_id IS NOT NULL AND NEW.file_id IS DISTINCT FROM OLD.file_id)
    EXECUTE FUNCTION payout_entries_file_is_kept();

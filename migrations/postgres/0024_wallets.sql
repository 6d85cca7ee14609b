-- Wallets: where users are paid out to, and the money that they take out. What they have stands in the ledger.

-- A row for whoever has ever taken money out: what they ask for at the same time waits for one another at it.
CREATE TABLE wallets (
    user_id       UUID    NOT NULL,
    currency      TEXT    NOT NULL,
    frozen_at     BIGINT,
    frozen_reason TEXT,
    frozen_by     UUID,
    updated_at    BIGINT  NOT NULL,
    CONSTRAINT wallets_pkey PRIMARY KEY (user_id, currency)
);

-- `details` are the account's number and its holder, sealed for the row under the key with this mark. Whoever vouches for
-- an account is not its owner.
CREATE TABLE bank_accounts (
    id          UUID    NOT NULL PRIMARY KEY,
    user_id     UUID    NOT NULL,
    bank_code   TEXT    NOT NULL,
    details     BYTEA   NOT NULL,
    seal        TEXT    NOT NULL,
    last_digits TEXT    NOT NULL,
    verified_at BIGINT,
    verified_by TEXT,
    created_at  BIGINT  NOT NULL,
    deleted_at  BIGINT,
    CONSTRAINT bank_accounts_last_digits_check CHECK (length(last_digits) <= 4),
    CONSTRAINT bank_accounts_verified_check CHECK ((verified_at IS NULL) = (verified_by IS NULL))
);
CREATE INDEX bank_accounts_user_id_idx ON bank_accounts (user_id, id) WHERE deleted_at IS NULL;

-- `not_before` and `needs_approval` are what the rules said when it was asked for. `version` grows with every change.
CREATE TABLE withdrawals (
    id              UUID    NOT NULL PRIMARY KEY,
    user_id         UUID    NOT NULL,
    currency        TEXT    NOT NULL,
    amount          BIGINT  NOT NULL,
    bank_account_id UUID    NOT NULL,
    provider        TEXT    NOT NULL,
    provider_key    TEXT,
    workflow_id     UUID    NOT NULL,
    status          TEXT    NOT NULL,
    failure_code    TEXT,
    needs_approval  BIGINT  NOT NULL,
    not_before      BIGINT  NOT NULL,
    requested_by    UUID    NOT NULL,
    approved_by     UUID,
    rejected_by     UUID,
    reason          TEXT,
    version         BIGINT  NOT NULL DEFAULT 0,
    looked_at       BIGINT  NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    CONSTRAINT withdrawals_amount_check CHECK (amount > 0),
    CONSTRAINT withdrawals_approver_check CHECK (approved_by IS NULL OR approved_by <> requested_by),
    CONSTRAINT withdrawals_rejecter_check CHECK (rejected_by IS NULL OR rejected_by <> requested_by),
    CONSTRAINT withdrawals_status_check CHECK (status IN (
        'requested', 'approved', 'rejected', 'canceled', 'sending', 'unknown', 'paid', 'failed', 'returned')),
    CONSTRAINT withdrawals_provider_provider_key_key UNIQUE (provider, provider_key),
    CONSTRAINT withdrawals_workflow_id_key UNIQUE (workflow_id),
    CONSTRAINT withdrawals_bank_account_id_fkey FOREIGN KEY (bank_account_id) REFERENCES bank_accounts (id)
);
CREATE INDEX withdrawals_user_id_idx ON withdrawals (user_id, created_at, id);
CREATE INDEX withdrawals_status_idx ON withdrawals (status, created_at, id);
CREATE INDEX withdrawals_looked_at_idx ON withdrawals (looked_at) WHERE status IN ('sending', 'unknown', 'paid');

-- Every status that a withdrawal has had. `seq` is its version then.
CREATE TABLE withdrawal_transitions (
    withdrawal_id UUID    NOT NULL,
    seq           BIGINT  NOT NULL,
    from_status   TEXT,
    to_status     TEXT    NOT NULL,
    cause         TEXT    NOT NULL,
    actor         TEXT    NOT NULL,
    reason        TEXT,
    at            BIGINT  NOT NULL,
    CONSTRAINT withdrawal_transitions_pkey PRIMARY KEY (withdrawal_id, seq),
    CONSTRAINT withdrawal_transitions_withdrawal_id_fkey FOREIGN KEY (withdrawal_id) REFERENCES withdrawals (id)
);

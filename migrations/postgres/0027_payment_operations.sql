-- What people do about money by hand: written down for ever, with the reason, in the transaction of what they did.

-- `before` and `after` are JSON, and hold no key of a provider and no number of a bank account.
CREATE TABLE money_audit (
    id       UUID    NOT NULL PRIMARY KEY,
    actor_id UUID    NOT NULL,
    action   TEXT    NOT NULL,
    target   TEXT    NOT NULL,
    reason   TEXT,
    before   TEXT    NOT NULL,
    after    TEXT    NOT NULL,
    at       BIGINT NOT NULL,
    CONSTRAINT money_audit_action_check CHECK (length(action) BETWEEN 1 AND 64),
    CONSTRAINT money_audit_target_check CHECK (length(target) BETWEEN 1 AND 200)
);
CREATE INDEX money_audit_target_idx ON money_audit (target, id);
CREATE INDEX money_audit_actor_id_idx ON money_audit (actor_id, id);
CREATE FUNCTION money_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only';
END $$;
CREATE TRIGGER money_audit_append_only BEFORE UPDATE OR DELETE ON money_audit
    FOR EACH ROW EXECUTE FUNCTION money_audit_is_append_only();
CREATE TRIGGER money_audit_no_truncate BEFORE TRUNCATE ON money_audit
    FOR EACH STATEMENT EXECUTE FUNCTION money_audit_is_append_only();

-- A provider that takes nothing new for now. Without a row, or with `stopped_at` null, it does.
CREATE TABLE provider_stops (
    provider   TEXT    NOT NULL PRIMARY KEY,
    stopped_at BIGINT,
    stopped_by UUID,
    reason     TEXT,
    updated_at BIGINT NOT NULL,
    CONSTRAINT provider_stops_stopped_check
        CHECK ((stopped_at IS NULL) = (stopped_by IS NULL) AND (stopped_at IS NULL) = (reason IS NULL))
);

-- What somebody has seen at the provider of a payment that is conflicted, and who else has seen the same. The latest one
-- that nobody has confirmed counts.
CREATE TABLE conflict_proposals (
    id           UUID    NOT NULL PRIMARY KEY,
    payment_id   UUID    NOT NULL,
    amount       BIGINT NOT NULL,
    reason       TEXT    NOT NULL,
    proposed_by  UUID    NOT NULL,
    confirmed_by UUID,
    created_at   BIGINT NOT NULL,
    confirmed_at BIGINT,
    CONSTRAINT conflict_proposals_amount_check CHECK (amount > 0),
    CONSTRAINT conflict_proposals_confirmed_check CHECK ((confirmed_at IS NULL) = (confirmed_by IS NULL)),
    CONSTRAINT conflict_proposals_confirmer_check CHECK (confirmed_by IS NULL OR confirmed_by <> proposed_by),
    CONSTRAINT conflict_proposals_payment_id_fkey FOREIGN KEY (payment_id) REFERENCES payments (id)
);
CREATE INDEX conflict_proposals_payment_id_idx ON conflict_proposals (payment_id, id);

-- Who let a withdrawal go before its time. Of one that somebody had to approve, that is a second person.
ALTER TABLE withdrawals ADD COLUMN wait_lifted_by UUID;
ALTER TABLE withdrawals ADD CONSTRAINT withdrawals_wait_lifter_check CHECK (
        wait_lifted_by IS NULL
        OR (wait_lifted_by <> requested_by AND (needs_approval = 0 OR wait_lifted_by <> approved_by)));

CREATE INDEX payments_status_idx ON payments (status, id);
CREATE INDEX payment_webhooks_order_idx ON payment_webhooks (provider, provider_order);
CREATE INDEX payment_webhooks_key_idx ON payment_webhooks (provider, provider_key);

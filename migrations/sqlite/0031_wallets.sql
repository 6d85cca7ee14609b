-- What is looked for every so often is found without reading everything there ever was.

-- When what was captured became its payee's. Whoever waits for it is in the index, and leaves it then.
ALTER TABLE payments ADD COLUMN released_at INTEGER;
UPDATE payments SET released_at = (SELECT i.created_at FROM settlement_items i
                                   WHERE i.source_type = 'payment' AND i.source_id = payments.id);
CREATE INDEX payments_unreleased_idx ON payments (payee_id)
    WHERE released_at IS NULL AND status IN ('captured', 'partially_refunded', 'disputed', 'charged_back');

-- A bank has them, or may send them back for a fortnight: two questions, each with an index of its own.
CREATE INDEX withdrawals_accepted_idx ON withdrawals (looked_at, id)
    WHERE status IN ('sending', 'unknown') AND provider_key IS NOT NULL;
CREATE INDEX withdrawals_paid_idx ON withdrawals (updated_at, looked_at, id) WHERE status = 'paid';

-- Whether anything was ever paid to a bank account that is removed.
CREATE INDEX withdrawals_bank_account_id_idx ON withdrawals (bank_account_id);

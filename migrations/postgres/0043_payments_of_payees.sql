-- Whether somebody who leaves is still to be paid: by payments of which nobody knows yet what becomes of them.
CREATE INDEX payments_payee_live_idx ON payments (payee_id)
    WHERE status IN ('created', 'awaiting_deposit', 'confirming', 'unknown', 'authorized', 'conflicted');

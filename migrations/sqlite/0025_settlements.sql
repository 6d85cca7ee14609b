-- Settlements: what payees have earned, item by item, and the batches in which it comes to their wallets.

-- A batch sums up what a payee has earned until a day. `elsewhere` is what refunds took from the wallet at once, or left as
-- a debt; `carry_in` comes from batches that were not worth a payment, which name this one in `carried_to`.
CREATE TABLE settlements (
    id           BLOB    NOT NULL PRIMARY KEY,
    payee_id     BLOB    NOT NULL,
    currency     TEXT    NOT NULL,
    period_start TEXT    NOT NULL,
    period_end   TEXT    NOT NULL,
    pay_on       TEXT    NOT NULL,
    release_at   INTEGER NOT NULL,
    gross        INTEGER NOT NULL DEFAULT 0,
    refunds      INTEGER NOT NULL DEFAULT 0,
    fee          INTEGER NOT NULL DEFAULT 0,
    fee_vat      INTEGER NOT NULL DEFAULT 0,
    withholding  INTEGER NOT NULL DEFAULT 0,
    elsewhere    INTEGER NOT NULL DEFAULT 0,
    carry_in     INTEGER NOT NULL DEFAULT 0,
    net          INTEGER NOT NULL DEFAULT 0,
    debt_repaid  INTEGER NOT NULL DEFAULT 0,
    status       TEXT    NOT NULL,
    carried_to   BLOB,
    version      INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    released_at  INTEGER,
    CONSTRAINT settlements_payee_id_currency_period_end_key UNIQUE (payee_id, currency, period_end),
    CONSTRAINT settlements_net_check
        CHECK (net = gross - refunds - fee - fee_vat - withholding + elsewhere + carry_in),
    CONSTRAINT settlements_debt_repaid_check CHECK (debt_repaid BETWEEN 0 AND max(net, 0)),
    CONSTRAINT settlements_status_check CHECK (status IN ('closed', 'carried', 'released')),
    CONSTRAINT settlements_carried_to_check CHECK (carried_to IS NULL OR status = 'carried')
) STRICT, WITHOUT ROWID;
CREATE INDEX settlements_release_at_idx ON settlements (release_at, id) WHERE status = 'closed';
CREATE INDEX settlements_payee_id_idx ON settlements (payee_id, id);

-- What a payment has given, and what a refund has taken back, with the sign that this has. Each is settled once, ever.
CREATE TABLE settlement_items (
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
    CONSTRAINT settlement_items_source_type_check CHECK (source_type IN ('payment', 'refund', 'failed_refund')),
    CONSTRAINT settlement_items_settlement_id_fkey FOREIGN KEY (settlement_id) REFERENCES settlements (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX settlement_items_payment_id_idx ON settlement_items (payment_id);
CREATE INDEX settlement_items_settlement_id_idx ON settlement_items (settlement_id);
CREATE INDEX settlement_items_open_idx ON settlement_items (payee_id, currency, created_at)
    WHERE settlement_id IS NULL AND payee_id IS NOT NULL;

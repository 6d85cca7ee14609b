-- The account that a refund goes to is sealed with the key of bank accounts: a node with another key is told so when it starts, as it is of
-- those.
ALTER TABLE refunds ADD COLUMN account_seal TEXT;

CREATE INDEX refunds_account_seal_idx ON refunds (account_seal) WHERE account_seal IS NOT NULL;

-- Payments that wait for the outside are asked about every so often, whatever became of a webhook.

ALTER TABLE payments ADD COLUMN looked_at BIGINT NOT NULL DEFAULT 0;

CREATE INDEX payments_looked_at_idx ON payments (looked_at) WHERE status IN ('awaiting_deposit', 'authorized');

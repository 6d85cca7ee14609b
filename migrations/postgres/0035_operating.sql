-- Workflows are looked through by whoever operates them, those that came on last first, whatever their status.

CREATE INDEX workflows_updated_at_idx ON workflows (updated_at, id);

-- A refund of which the provider has given back another amount than was asked for ends as two people say: the first, and the
-- other one.
ALTER TABLE refunds ADD COLUMN settle_as TEXT;
ALTER TABLE refunds ADD COLUMN settle_asked_by UUID;
ALTER TABLE refunds ADD COLUMN settled_by UUID;
ALTER TABLE refunds ADD CONSTRAINT refunds_settler_check
    CHECK (settled_by IS NULL OR settled_by <> settle_asked_by);

-- What was paid by a transfer goes back by one: the payer's account, sealed for its refund, for as long as that is on its way.
ALTER TABLE refunds ADD COLUMN sealed_account BLOB;

-- What was attached to a message when it was reported, as the message kept it, until somebody has decided.
ALTER TABLE message_reports ADD COLUMN extras TEXT;

-- Fan-outs take turns and know the first message they stand for; what was told, and marks of rooms, are kept for a time.

-- How often a fan-out was taken since it came on last: one that breaks whoever takes it is given up.
ALTER TABLE fanouts ADD COLUMN takes BIGINT NOT NULL DEFAULT 0;
-- The first of the messages that a fan-out has gathered; null where that is the one at `room_seq`.
ALTER TABLE fanouts ADD COLUMN first_seq BIGINT;

-- When the mark was moved last; null after a release that did not say, and then it is kept.
ALTER TABLE fanout_marks ADD COLUMN at BIGINT;
UPDATE fanout_marks SET at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- What is old enough to be forgotten.
CREATE INDEX notifications_created_at_idx ON notifications (created_at);
-- The shelves of an inbox that are short beside the rest of it.
CREATE INDEX notifications_unread_seq_idx ON notifications (user_id, seq)
    WHERE read_at IS NULL AND archived_at IS NULL AND deleted_at IS NULL;
CREATE INDEX notifications_archived_idx ON notifications (user_id, seq)
    WHERE archived_at IS NOT NULL AND deleted_at IS NULL;

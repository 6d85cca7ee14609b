-- What members tell administrators of messages, and what became of that; and finding rooms by their names.

-- `body` is what the message said when it was reported, until somebody has looked at it. Once for each member and message.
CREATE TABLE message_reports (
    id          BLOB   NOT NULL PRIMARY KEY,
    room_id     BLOB   NOT NULL,
    seq         BIGINT NOT NULL,
    message_id  BLOB   NOT NULL,
    sender_id   BLOB   NOT NULL,
    reporter_id BLOB   NOT NULL,
    reason      TEXT   NOT NULL,
    body        TEXT,
    status      TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    resolved_at BIGINT,
    resolved_by BLOB,
    resolution  TEXT,
    CONSTRAINT message_reports_message_id_reporter_id_key UNIQUE (message_id, reporter_id),
    CONSTRAINT message_reports_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms (id) ON DELETE CASCADE,
    CONSTRAINT message_reports_reporter_id_fkey FOREIGN KEY (reporter_id) REFERENCES users (id),
    CONSTRAINT message_reports_resolved_check CHECK (
        (status = 'open') = (resolved_at IS NULL) AND (resolved_at IS NULL) = (resolved_by IS NULL)
        AND (resolved_at IS NULL) = (resolution IS NULL) AND (resolved_at IS NULL OR body IS NULL))
) WITHOUT ROWID;
CREATE INDEX message_reports_status_idx ON message_reports (status, id);
CREATE INDEX message_reports_room_id_idx ON message_reports (room_id, seq) WHERE status = 'open';
CREATE INDEX message_reports_reporter_id_idx ON message_reports (reporter_id) WHERE status = 'open';

CREATE INDEX rooms_name_idx ON rooms (lower(name), id) WHERE name IS NOT NULL;

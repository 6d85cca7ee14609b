-- Pictures that are attached to messages: each goes with the message that it was sent with, or when nobody has sent it in a week.

-- A row before the file is written, and until it is gone: `arriving`, `attached` to the message at `seq`, `dropped` for ever. Without a
-- reference to rooms: a row goes after its file.
CREATE TABLE message_images (
    id         BLOB   NOT NULL PRIMARY KEY,
    room_id    BLOB   NOT NULL,
    user_id    BLOB   NOT NULL,
    format     TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    seq        BIGINT,
    changed_at BIGINT NOT NULL,
    CONSTRAINT message_images_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT message_images_state_check CHECK (state IN ('arriving', 'attached', 'dropped')),
    CONSTRAINT message_images_seq_check CHECK (state <> 'attached' OR seq IS NOT NULL)
) WITHOUT ROWID;
CREATE INDEX message_images_room_id_idx ON message_images (room_id, seq) WHERE state = 'attached';
CREATE INDEX message_images_user_id_idx ON message_images (user_id, changed_at) WHERE state = 'arriving';
CREATE INDEX message_images_arriving_idx ON message_images (changed_at, id) WHERE state = 'arriving';
CREATE INDEX message_images_dropped_idx ON message_images (changed_at, id) WHERE state = 'dropped';

-- What people choose for themselves: language, time zone, who may come near them, and when they are left in peace.

-- No row is every default.
CREATE TABLE user_settings (
    user_id          BLOB    NOT NULL PRIMARY KEY,
    locale           TEXT    NOT NULL DEFAULT 'en',
    time_zone        TEXT    NOT NULL DEFAULT 'UTC',
    profile          TEXT    NOT NULL DEFAULT 'public',
    findable         BOOLEAN NOT NULL DEFAULT TRUE,
    who_may_message  TEXT    NOT NULL DEFAULT 'everyone',
    who_may_befriend TEXT    NOT NULL DEFAULT 'everyone',
    who_sees_presence TEXT  NOT NULL DEFAULT 'everyone',
    quiet_from       BIGINT,
    quiet_until      BIGINT,
    unsubscribe_key  BLOB,
    updated_at       BIGINT  NOT NULL,
    CONSTRAINT user_settings_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) WITHOUT ROWID;
-- quiet_from and quiet_until are minutes of the day in time_zone; both or neither. unsubscribe_key signs the links that
-- end mails of one kind, and opens nothing else.

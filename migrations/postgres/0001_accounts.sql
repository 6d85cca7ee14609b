-- People and their logins: who may use the courtyard, from which sessions, with which tokens.

CREATE TABLE users (
    id            UUID    NOT NULL PRIMARY KEY,
    handle        TEXT    NOT NULL,
    handle_key    TEXT COLLATE "C" NOT NULL,
    email         TEXT    NOT NULL,
    email_key     TEXT COLLATE "C" NOT NULL,
    display_name  TEXT COLLATE "C" NOT NULL,
    bio           TEXT    NOT NULL DEFAULT '',
    avatar        TEXT,
    roles         TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    created_at    BIGINT  NOT NULL,
    updated_at    BIGINT  NOT NULL,
    verified_at   BIGINT,
    disabled_at   BIGINT,
    deleted_at    BIGINT,
    CONSTRAINT users_handle_key_key UNIQUE (handle_key),
    CONSTRAINT users_email_key_key UNIQUE (email_key)
);

-- One row per login. Its refresh tokens are one family: the reuse of any revokes the session.
CREATE TABLE sessions (
    id           UUID   NOT NULL PRIMARY KEY,
    user_id      UUID   NOT NULL,
    user_agent   TEXT   NOT NULL,
    ip           TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT,
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX sessions_user_id_idx ON sessions (user_id);

-- SHA-256 of single-use refresh tokens. `used_at` opens the short grace in which a second tab may repeat the exchange.
CREATE TABLE refresh_tokens (
    hash       BYTEA  NOT NULL PRIMARY KEY,
    session_id UUID   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT,
    CONSTRAINT refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_session_id_idx ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_expires_at_idx ON refresh_tokens (expires_at);

-- SHA-256 of tokens that are delivered by mail (verify_email, reset_password) or handed out for one socket (ticket).
CREATE TABLE one_time_tokens (
    hash       BYTEA  NOT NULL PRIMARY KEY,
    purpose    TEXT   NOT NULL,
    user_id    UUID   NOT NULL,
    session_id UUID,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT one_time_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX one_time_tokens_user_id_purpose_idx ON one_time_tokens (user_id, purpose);
CREATE INDEX one_time_tokens_expires_at_idx ON one_time_tokens (expires_at);

-- Failed logins by account and by address, for the back-off. `subject` is a SHA-256, so it names nobody.
CREATE TABLE login_failures (
    subject    BYTEA  NOT NULL PRIMARY KEY,
    failures   BIGINT NOT NULL,
    last_at    BIGINT NOT NULL
);
CREATE INDEX login_failures_last_at_idx ON login_failures (last_at);

-- Keys with which other servers call, each for a few things and for a time.

-- `hash` is the SHA-256 of the secret. `created_by` is NULL for a key made on the command line.
CREATE TABLE service_keys (
    id           BLOB   NOT NULL PRIMARY KEY,
    name         TEXT   NOT NULL,
    scopes       TEXT   NOT NULL,
    hash         BLOB   NOT NULL,
    created_by   BLOB,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at   BIGINT
) WITHOUT ROWID;

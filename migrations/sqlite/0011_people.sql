-- Finding people by their names, the pictures they show, and the telephone numbers they have proven to be theirs.

-- The display name that the words in `user_names` were made of. Where it is another, or none, as after a change by a
-- release that knows nothing of words, they are made anew.
ALTER TABLE users ADD COLUMN named_as TEXT;
CREATE INDEX users_named_as_idx ON users (id) WHERE named_as IS NULL OR named_as <> display_name;

-- How somebody is looked for: the beginnings of handle and display name, spelled letter by letter.
CREATE TABLE user_names (
    word    TEXT NOT NULL,
    user_id BLOB NOT NULL,
    CONSTRAINT user_names_pkey PRIMARY KEY (word, user_id),
    CONSTRAINT user_names_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX user_names_user_id_idx ON user_names (user_id, word);

-- A row before the first file is written, and until the last one is gone: `arriving`, `shown` in a profile, `dropped` for
-- ever. No id is used twice. Users are not deleted while files of theirs may exist.
CREATE TABLE images (
    id         BLOB   NOT NULL PRIMARY KEY,
    user_id    BLOB   NOT NULL,
    format     TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    changed_at BIGINT NOT NULL,
    CONSTRAINT images_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id)
) WITHOUT ROWID;
CREATE INDEX images_user_id_idx ON images (user_id);
CREATE INDEX images_changed_at_idx ON images (changed_at, id) WHERE state <> 'shown';

-- Whoever proved last that a number is theirs has it.
CREATE TABLE phones (
    user_id     BLOB   NOT NULL PRIMARY KEY,
    number      TEXT   NOT NULL,
    verified_at BIGINT NOT NULL,
    CONSTRAINT phones_number_key UNIQUE (number),
    CONSTRAINT phones_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) WITHOUT ROWID;

-- The number that a user says is theirs, and a hash of the code that was sent there.
CREATE TABLE phone_codes (
    user_id    BLOB   NOT NULL PRIMARY KEY,
    number     TEXT   NOT NULL,
    code_hash  BLOB   NOT NULL,
    tries      BIGINT NOT NULL,
    tried_at   BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT phone_codes_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX phone_codes_expires_at_idx ON phone_codes (expires_at);

-- Codes of one day, by number and by user: each costs money. `subject` is a SHA-256, so it names nobody.
CREATE TABLE phone_code_counts (
    subject  BLOB   NOT NULL PRIMARY KEY,
    codes    BIGINT NOT NULL,
    began_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX phone_code_counts_began_at_idx ON phone_code_counts (began_at);

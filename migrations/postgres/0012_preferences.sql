-- What people choose to be told and how, and the words it is told in where they are not those of this program.

-- Wordings of one kind of notification in one locale. `last_version` numbers them, and is the lock under which numbers are
-- given; `active_version` is the one in use, and null where the built-in one is.
CREATE TABLE notification_templates (
    kind           TEXT COLLATE "C" NOT NULL,
    locale         TEXT COLLATE "C" NOT NULL,
    last_version   BIGINT NOT NULL,
    active_version BIGINT,
    updated_at     BIGINT NOT NULL,
    CONSTRAINT notification_templates_pkey PRIMARY KEY (kind, locale)
);

-- Append only: what a letter was composed from can be looked up later. `parts` and `sample` are JSON objects.
CREATE TABLE notification_template_versions (
    kind       TEXT COLLATE "C" NOT NULL,
    locale     TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    parts      TEXT NOT NULL,
    sample     TEXT NOT NULL,
    created_by UUID,
    created_at BIGINT NOT NULL,
    CONSTRAINT notification_template_versions_pkey PRIMARY KEY (kind, locale, version),
    CONSTRAINT notification_template_versions_kind_locale_fkey FOREIGN KEY (kind, locale)
        REFERENCES notification_templates (kind, locale) ON DELETE CASCADE,
    CONSTRAINT notification_template_versions_created_by_fkey FOREIGN KEY (created_by) REFERENCES users (id) ON DELETE SET NULL
);

-- What a user has chosen. Kind `*` is every kind that has no choice of its own; no row is the default.
CREATE TABLE notification_preferences (
    user_id UUID NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,
    medium  TEXT COLLATE "C" NOT NULL,
    choice  TEXT NOT NULL,
    CONSTRAINT notification_preferences_pkey PRIMARY KEY (user_id, kind, medium),
    CONSTRAINT notification_preferences_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);

-- How long a digest gathers before it goes out; null is the default.
ALTER TABLE user_settings ADD COLUMN digest_minutes BIGINT;

-- What a member wants to be told of in a room, and until when they want to be told nothing.
ALTER TABLE room_members ADD COLUMN notify_level TEXT NOT NULL DEFAULT 'all';
ALTER TABLE room_members ADD COLUMN quiet_until BIGINT;

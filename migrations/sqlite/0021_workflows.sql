-- Workflows: work of many steps, each of which is one transaction, that any node takes up where another stopped.

-- A workflow is worked on by one node at a time, under a lease; its fence grows with every node that takes it, and every
-- transaction on its behalf begins with it. `takes` counts those who took it since it last came on.
CREATE TABLE workflows (
    id          BLOB    NOT NULL PRIMARY KEY,
    kind        TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    dedupe_key  TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    direction   TEXT    NOT NULL,
    cursor      INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    takes       INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    wake_at     INTEGER NOT NULL,
    owner       BLOB,
    fence       INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    last_error  TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    CONSTRAINT workflows_dedupe_key_key UNIQUE (dedupe_key),
    CONSTRAINT workflows_status_check
        CHECK (status IN ('ready', 'running', 'waiting', 'done', 'compensated', 'parked')),
    CONSTRAINT workflows_direction_check CHECK (direction IN ('forward', 'backward'))
) STRICT, WITHOUT ROWID;
CREATE INDEX workflows_wake_at_idx ON workflows (wake_at, id) WHERE status IN ('ready', 'running', 'waiting');
CREATE INDEX workflows_status_idx ON workflows (status, updated_at, id);

-- What happened, line by line. An intent stands before the call that it announces; its time is that of the last call.
CREATE TABLE workflow_steps (
    workflow_id BLOB    NOT NULL,
    seq         INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    effect_key  TEXT,
    output      TEXT,
    fence       INTEGER NOT NULL,
    node        BLOB,
    began_at    INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    CONSTRAINT workflow_steps_pkey PRIMARY KEY (workflow_id, seq),
    CONSTRAINT workflow_steps_kind_check CHECK (kind IN ('intent', 'do', 'undo', 'signal', 'note')),
    CONSTRAINT workflow_steps_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES workflows (id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX workflow_steps_intent_key ON workflow_steps (workflow_id, effect_key) WHERE kind = 'intent';

-- What a workflow is told from outside, once each; a step takes it in.
CREATE TABLE workflow_signals (
    workflow_id BLOB    NOT NULL,
    name        TEXT    NOT NULL,
    dedupe_key  TEXT    NOT NULL,
    payload     TEXT    NOT NULL,
    taken_at    INTEGER,
    created_at  INTEGER NOT NULL,
    CONSTRAINT workflow_signals_pkey PRIMARY KEY (workflow_id, name, dedupe_key),
    CONSTRAINT workflow_signals_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES workflows (id)
) STRICT, WITHOUT ROWID;

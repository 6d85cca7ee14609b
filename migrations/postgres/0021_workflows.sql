-- Workflows: work of many steps, each of which is one transaction, that any node takes up where another stopped.

-- A workflow is worked on by one node at a time, under a lease; its fence grows with every node that takes it, and every
-- transaction on its behalf begins with it. `takes` counts those who took it since it last came on.
CREATE TABLE workflows (
    id          UUID   NOT NULL PRIMARY KEY,
    kind        TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    dedupe_key  TEXT   NOT NULL,
    status      TEXT   NOT NULL,
    direction   TEXT   NOT NULL,
    cursor      BIGINT NOT NULL,
    attempt     BIGINT NOT NULL,
    takes       BIGINT NOT NULL,
    state       TEXT   NOT NULL,
    wake_at     BIGINT NOT NULL,
    owner       UUID,
    fence       BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    last_error  TEXT,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    CONSTRAINT workflows_dedupe_key_key UNIQUE (dedupe_key),
    CONSTRAINT workflows_status_check
        CHECK (status IN ('ready', 'running', 'waiting', 'done', 'compensated', 'parked')),
    CONSTRAINT workflows_direction_check CHECK (direction IN ('forward', 'backward'))
);
CREATE INDEX workflows_wake_at_idx ON workflows (wake_at, id) WHERE status IN ('ready', 'running', 'waiting');
CREATE INDEX workflows_status_idx ON workflows (status, updated_at, id);

-- What happened, line by line. An intent stands before the call that it announces; its time is that of the last call.
CREATE TABLE workflow_steps (
    workflow_id UUID   NOT NULL,
    seq         BIGINT NOT NULL,
    name        TEXT   NOT NULL,
    kind        TEXT   NOT NULL,
    effect_key  TEXT,
    output      TEXT,
    fence       BIGINT NOT NULL,
    node        UUID,
    began_at    BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    CONSTRAINT workflow_steps_pkey PRIMARY KEY (workflow_id, seq),
    CONSTRAINT workflow_steps_kind_check CHECK (kind IN ('intent', 'do', 'undo', 'signal', 'note')),
    CONSTRAINT workflow_steps_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES workflows (id)
);
CREATE UNIQUE INDEX workflow_steps_intent_key ON workflow_steps (workflow_id, effect_key) WHERE kind = 'intent';

-- What a workflow is told from outside, once each; a step takes it in.
CREATE TABLE workflow_signals (
    workflow_id UUID   NOT NULL,
    name        TEXT   NOT NULL,
    dedupe_key  TEXT   NOT NULL,
    payload     TEXT   NOT NULL,
    taken_at    BIGINT,
    created_at  BIGINT NOT NULL,
    CONSTRAINT workflow_signals_pkey PRIMARY KEY (workflow_id, name, dedupe_key),
    CONSTRAINT workflow_signals_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES workflows (id)
);

-- A device takes push messages for as long as the login lasts that registered it; and what waits behind a way that is down, or is dead, is
-- found without looking at everything else.

-- NULL on what was registered before: such a device goes when every other session of its user ends.
ALTER TABLE devices ADD COLUMN session_id BLOB REFERENCES sessions (id) ON DELETE CASCADE;
CREATE INDEX devices_session_id_idx ON devices (session_id);
-- Letters to one endpoint that are to be put off together.
CREATE INDEX deliveries_target_due_idx ON deliveries (target_id, due_at) WHERE status = 'queued' AND target_id IS NOT NULL;
-- Dead addresses that are old enough to be tried again.
CREATE INDEX dead_addresses_at_idx ON dead_addresses (at);

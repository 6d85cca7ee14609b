-- Reconciliation: what somebody has closed is closed while it stays as it was, what is left over is found without reading everything, and seals are
-- as little to be changed as what they seal.

-- Since when something that a person has closed is not found any more: found after that, it is open again.
ALTER TABLE recon_breaks ADD COLUMN gone_at BIGINT;

CREATE INDEX recon_breaks_run_id_subject_idx ON recon_breaks (run_id, subject);
CREATE INDEX recon_breaks_status_idx ON recon_breaks (status, id);
CREATE INDEX recon_runs_running_idx ON recon_runs (provider, day) WHERE status = 'running';
CREATE INDEX recon_settlements_unbooked_idx ON recon_settlements (provider, line_key) WHERE is_booked = 0;

-- How far the hourly check has come in looking at older seals again; it begins anew behind the last.
CREATE TABLE ledger_seal_turns (
    name TEXT   NOT NULL PRIMARY KEY,
    hour BIGINT NOT NULL
);

CREATE TRIGGER ledger_seals_append_only BEFORE UPDATE OR DELETE ON ledger_seals
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER ledger_seals_no_truncate BEFORE TRUNCATE ON ledger_seals
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

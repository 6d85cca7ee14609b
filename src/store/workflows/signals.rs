//! Signals: what a workflow is told from outside, once each.

use serde_json::Value;

use crate::domain::ids::WorkflowId;
use crate::domain::time::Timestamp;
use crate::store::{Db, StoreError, execute, fetch_all};

/// Something that a workflow was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    pub name: String,
    pub dedupe_key: String,
    pub payload: Value,
}

/// Tells a workflow something and wakes it; the same again is nothing new. Gives whether it was.
///
/// # Errors
/// [`StoreError`] when the database refuses, as for a workflow that does not exist.
pub async fn insert_signal(
    db: &mut Db,
    workflow: WorkflowId,
    signal: &Signal,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let inserted = execute!(
        db,
        "INSERT INTO workflow_signals (workflow_id, name, dedupe_key, payload, created_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (workflow_id, name, dedupe_key) DO NOTHING",
        workflow.uuid(),
        signal.name.as_str(),
        signal.dedupe_key.as_str(),
        signal.payload.to_string(),
        now.millis(),
    )?;
    if inserted == 0 {
        return Ok(false);
    }
    // Whatever its time: the update has to wait for a node that is about to let the workflow rest.
    execute!(
        db,
        "UPDATE workflows SET wake_at = CASE WHEN wake_at > $2 THEN $2 ELSE wake_at END
         WHERE id = $1 AND status IN ('ready', 'running', 'waiting')",
        workflow.uuid(),
        now.millis(),
    )?;
    Ok(true)
}

/// What a workflow was told and has not taken in, in order.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_signals(db: &mut Db, workflow: WorkflowId) -> Result<Vec<Signal>, StoreError> {
    let rows = fetch_all!(
        db,
        (String, String, String),
        "SELECT name, dedupe_key, payload FROM workflow_signals
         WHERE workflow_id = $1 AND taken_at IS NULL
         ORDER BY created_at, name, dedupe_key",
        workflow.uuid(),
    )?;
    let signal = |(name, dedupe_key, payload): (String, String, String)| {
        let payload = serde_json::from_str(&payload).unwrap_or(Value::Null);
        Signal { name, dedupe_key, payload }
    };
    Ok(rows.into_iter().map(signal).collect())
}

/// Takes a signal in: it is not listed again.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn update_signal_taken(
    db: &mut Db,
    workflow: WorkflowId,
    signal: &Signal,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE workflow_signals SET taken_at = $4
         WHERE workflow_id = $1 AND name = $2 AND dedupe_key = $3",
        workflow.uuid(),
        signal.name.as_str(),
        signal.dedupe_key.as_str(),
        now.millis(),
    )
    .map(|_| ())
}

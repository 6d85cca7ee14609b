//! Workflows as rows: begun once, taken under a lease, and moved on by whoever holds the fence.
//!
//! Invariant: every transaction on behalf of a workflow begins with [`confirm`]: whoever slept through a lease and wakes up
//! while another node works on it changes nothing. With PostgreSQL a lease is of the database's clock, in SQLite of its
//! only process's.

pub mod admin;
pub mod claims;
pub mod figures;
pub mod history;
pub mod signals;
pub mod standing;

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::leases::millis;
use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::domain::ids::{NodeId, WorkflowId};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{Direction, WorkflowStatus};

/// A workflow to begin.
#[derive(Debug, Clone)]
pub struct NewWorkflow {
    pub id: WorkflowId,
    pub kind: &'static str,
    pub version: i64,
    /// What it is for, such as `confirm:{payment}`: there is one, for ever.
    pub dedupe_key: String,
    pub state: Value,
    /// Not before then.
    pub wake_at: Timestamp,
}

/// The right to work on a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub id: WorkflowId,
    pub owner: NodeId,
    /// Grows with every node that takes it.
    pub fence: i64,
}

/// A workflow that this node works on, as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    pub claim: Claim,
    pub kind: String,
    pub version: i64,
    pub direction: Direction,
    /// The step that is next; one behind the last, or -1, when it has come to its end.
    pub cursor: i64,
    /// How often that step was tried.
    pub attempt: u32,
    /// How many nodes have taken it since it last came on.
    pub takes: i64,
    pub state: Value,
    /// When this process announced the next effect, if nobody has called since.
    pub announced_at: Option<Timestamp>,
}

/// What becomes of a workflow after a step.
#[derive(Debug, Clone)]
pub enum Progress {
    /// It goes on at once, with this node.
    On,
    /// It rests until then, or until a signal comes; not at all where one has come since `began`.
    Rest { until: Timestamp, began: Timestamp, reason: Option<String> },
    /// It has come to its end.
    Ended(WorkflowStatus),
    /// Somebody has to look at it.
    Parked { reason: String },
}

/// Begins a workflow, unless there is one for the same. Gives the id of the one there is.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn insert_workflow(
    db: &mut Db,
    new: &NewWorkflow,
    now: Timestamp,
) -> Result<WorkflowId, StoreError> {
    let state = new.state.to_string();
    execute!(
        db,
        "INSERT INTO workflows
             (id, kind, version, dedupe_key, status, direction, cursor, attempt, takes, state,
              wake_at, fence, lease_until, created_at, updated_at)
         VALUES ($1, $2, $3, $4, 'ready', 'forward', 0, 0, 0, $5, $6, 0, 0, $7, $7)
         ON CONFLICT (dedupe_key) DO NOTHING",
        new.id.uuid(),
        new.kind,
        new.version,
        new.dedupe_key.as_str(),
        state,
        new.wake_at.millis(),
        now.millis(),
    )?;
    find_workflow(db, &new.dedupe_key).await?.ok_or(StoreError::NotFound)
}

/// The workflow for something, wherever it is.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_workflow(
    db: &mut Db,
    dedupe_key: &str,
) -> Result<Option<WorkflowId>, StoreError> {
    let row = fetch_optional!(
        db,
        (Uuid,),
        "SELECT id FROM workflows WHERE dedupe_key = $1",
        dedupe_key,
    )?;
    Ok(row.map(|(id,)| id.into()))
}

/// The workflow for something, unless there is none or it does not go on by itself.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_open_workflow(
    db: &mut Db,
    dedupe_key: &str,
) -> Result<Option<WorkflowId>, StoreError> {
    let row = fetch_optional!(
        db,
        (Uuid,),
        "SELECT id FROM workflows
         WHERE dedupe_key = $1 AND status IN ('ready', 'running', 'waiting')",
        dedupe_key,
    )?;
    Ok(row.map(|(id,)| id.into()))
}

/// Proves that a workflow is still this node's, locks it, and makes its lease last. The first statement of every
/// transaction on its behalf.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another node has it.
pub async fn confirm(
    db: &mut Db,
    claim: &Claim,
    lasts: Duration,
    now: Timestamp,
) -> Result<(), StoreError> {
    let update = db.dialect(
        "UPDATE workflows SET lease_until = $3 + $4 WHERE id = $1 AND fence = $2",
        "UPDATE workflows
         SET lease_until = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $4
         WHERE id = $1 AND fence = $2 AND $3::bigint IS NOT NULL",
    );
    let (id, fence) = (claim.id.uuid(), claim.fence);
    match execute!(db, update, id, fence, now.millis(), millis(lasts))? {
        0 => Err(StoreError::LeaseLost),
        _ => Ok(()),
    }
}

/// Writes how far a workflow has come; ends the lease where it does not go on at once.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another node has it.
pub async fn save(
    db: &mut Db,
    running: &Running,
    progress: &Progress,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (status, wake_at, reason) = match progress {
        Progress::On => (WorkflowStatus::Running, now, None),
        Progress::Rest { until, began, reason } => {
            let is_called = is_signalled(db, running.claim.id, *began).await?;
            let until = if is_called { now } else { *until };
            (WorkflowStatus::Waiting, until, reason.as_deref())
        }
        Progress::Ended(status) => (*status, now, None),
        Progress::Parked { reason } => (WorkflowStatus::Parked, now, Some(reason.as_str())),
    };
    let goes_on = matches!(progress, Progress::On);
    let saved = execute!(
        db,
        "UPDATE workflows
         SET status = $3, direction = $4, cursor = $5, attempt = $6, state = $7, wake_at = $8,
             last_error = coalesce($9, last_error), updated_at = $10, takes = 0,
             lease_until = CASE WHEN $11 = 1 THEN lease_until ELSE 0 END
         WHERE id = $1 AND fence = $2",
        running.claim.id.uuid(),
        running.claim.fence,
        status.as_str(),
        running.direction.as_str(),
        running.cursor,
        i64::from(running.attempt),
        running.state.to_string(),
        wake_at.millis(),
        reason,
        now.millis(),
        i64::from(goes_on),
    )?;
    if saved == 0 { Err(StoreError::LeaseLost) } else { Ok(()) }
}

/// Whether a workflow was told something since `since` that it has not taken in.
async fn is_signalled(
    db: &mut Db,
    workflow: WorkflowId,
    since: Timestamp,
) -> Result<bool, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM workflow_signals
         WHERE workflow_id = $1 AND taken_at IS NULL AND created_at >= $2",
        workflow.uuid(),
        since.millis(),
    )?;
    Ok(count > 0)
}

impl Store {
    /// The kinds and versions of workflows that have not come to their end, as `kind:version`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_open_workflow_kinds(&self) -> Result<Vec<String>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String,),
                        "SELECT DISTINCT kind || ':' || version
                         FROM workflows
                         WHERE status IN ('ready', 'running', 'waiting', 'parked')
                         ORDER BY 1"
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(kind,)| kind).collect())
    }
}

/// The fence of whoever has a workflow now, for a control that goes on in their name.
#[cfg(test)]
pub(crate) async fn find_fence(db: &mut Db, workflow: WorkflowId) -> Result<i64, StoreError> {
    let (fence,) =
        fetch_one!(db, (i64,), "SELECT fence FROM workflows WHERE id = $1", workflow.uuid(),)?;
    Ok(fence)
}

/// Ends the lease of whoever has a workflow, for a control.
#[cfg(test)]
pub(crate) async fn end_lease(db: &mut Db, workflow: WorkflowId) -> Result<(), StoreError> {
    execute!(db, "UPDATE workflows SET lease_until = 0 WHERE id = $1", workflow.uuid()).map(|_| ())
}

/// How many workflows have not come to their end, and how many of them are parked.
#[cfg(test)]
pub(crate) async fn count_open(db: &mut Db) -> Result<(i64, i64), StoreError> {
    fetch_one!(
        db,
        (i64, i64),
        "SELECT COUNT(*), CAST(coalesce(SUM(CASE WHEN status = 'parked' THEN 1 END), 0) AS BIGINT)
         FROM workflows
         WHERE status IN ('ready', 'running', 'waiting', 'parked')"
    )
}

/// `known` workflows as the store takes them.
#[must_use]
pub fn known_kinds<'k>(kinds: impl Iterator<Item = (&'k str, i64)>) -> String {
    json!(kinds.map(|(kind, version)| format!("{kind}:{version}")).collect::<Vec<_>>()).to_string()
}

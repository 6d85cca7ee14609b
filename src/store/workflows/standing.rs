//! Workflows that stand still, for whoever decides about what they are for.
//!
//! Invariant: what is decided is decided with the workflow locked, before whatever it is for, as by whoever drives it.

use serde_json::{Value, json};
use uuid::Uuid;

use super::admin::insert_note;
use crate::domain::ids::{UserId, WorkflowId};
use crate::domain::time::Timestamp;
use crate::domain::workflows::WorkflowStatus;
use crate::store::{Db, StoreError, execute, fetch_optional};

/// A workflow as somebody finds it who decides about what it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct StoodStill {
    pub id: WorkflowId,
    pub status: WorkflowStatus,
    /// Another one as soon as somebody has given it a turn.
    pub fence: i64,
    pub state: Value,
}

type StoodRow = (Uuid, String, i64, String);

/// Where the workflow for something is; `None` where there is none.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_standing(
    db: &mut Db,
    dedupe_key: &str,
) -> Result<Option<StoodStill>, StoreError> {
    let select = "SELECT id, status, fence, state FROM workflows WHERE dedupe_key = $1";
    let row = fetch_optional!(db, StoodRow, select, dedupe_key)?;
    Ok(row.and_then(StoodStill::read))
}

/// As [`find_standing`], locked until the transaction ends.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn lock_workflow(
    db: &mut Db,
    dedupe_key: &str,
) -> Result<Option<StoodStill>, StoreError> {
    let select = db.dialect(
        "SELECT id, status, fence, state FROM workflows WHERE dedupe_key = $1",
        "SELECT id, status, fence, state FROM workflows WHERE dedupe_key = $1 FOR UPDATE",
    );
    let row = fetch_optional!(db, StoodRow, select, dedupe_key)?;
    Ok(row.and_then(StoodStill::read))
}

/// As [`lock_workflow`], by its id.
///
/// # Errors
/// [`StoreError::NotFound`] where there is none.
pub async fn lock_workflow_by_id(db: &mut Db, id: WorkflowId) -> Result<StoodStill, StoreError> {
    let select = db.dialect(
        "SELECT id, status, fence, state FROM workflows WHERE id = $1",
        "SELECT id, status, fence, state FROM workflows WHERE id = $1 FOR UPDATE",
    );
    let row = fetch_optional!(db, StoodRow, select, id.uuid())?;
    row.and_then(StoodStill::read).ok_or(StoreError::NotFound)
}

impl StoodStill {
    fn read((id, status, fence, state): StoodRow) -> Option<Self> {
        let state = serde_json::from_str(&state).ok()?;
        Some(Self { id: id.into(), status: WorkflowStatus::parse(&status)?, fence, state })
    }
}

/// Ends a locked workflow that is parked: a person has done otherwise what was left of it.
///
/// # Errors
/// [`StoreError::NotFound`] where it is not parked.
pub async fn end_parked(
    db: &mut Db,
    id: WorkflowId,
    by: UserId,
    what: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let ended = execute!(
        db,
        "UPDATE workflows
         SET status = 'done', fence = fence + 1, lease_until = 0, takes = 0, updated_at = $2
         WHERE id = $1 AND status = 'parked'",
        id.uuid(),
        now.millis(),
    )?;
    if ended == 0 {
        return Err(StoreError::NotFound);
    }
    insert_note(db, id, what, &json!({ "by": by }), now).await
}

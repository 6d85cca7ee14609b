//! What happened in a workflow, line by line, and what it has announced to the outside.

use serde_json::Value;
use uuid::Uuid;

use super::Claim;
use crate::domain::ids::WorkflowId;
use crate::domain::time::Timestamp;
use crate::domain::workflows::{EffectKey, StepKind};
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};

/// Lines that are shown of one workflow, the last.
const SHOWN_MAX: i64 = 500;
/// The note that somebody has let a parked workflow go on.
pub(super) const RESUMED: &str = "resumed";

/// A line to be written.
#[derive(Debug, Clone)]
pub struct NewStep<'s> {
    pub name: &'s str,
    pub kind: StepKind,
    pub effect_key: Option<&'s EffectKey>,
    pub output: Option<&'s Value>,
}

/// A line as somebody looks at it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StepRow {
    pub seq: i64,
    pub name: String,
    pub kind: String,
    pub effect_key: Option<String>,
    pub output: Option<String>,
    pub fence: i64,
    pub node: Option<Uuid>,
    pub began_at: i64,
    pub at: i64,
}

/// When an effect was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// First.
    pub began_at: Timestamp,
    /// Last.
    pub at: Timestamp,
}

/// Adds a line.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn insert_step(
    db: &mut Db,
    claim: &Claim,
    step: &NewStep<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO workflow_steps
             (workflow_id, seq, name, kind, effect_key, output, fence, node, began_at, at)
         SELECT $1, coalesce(MAX(s.seq) + 1, 0), $2, $3, $4, $5, $6, $7, $8, $8
         FROM workflow_steps s
         WHERE s.workflow_id = $1",
        claim.id.uuid(),
        step.name,
        step.kind.as_str(),
        step.effect_key.map(EffectKey::as_str),
        step.output.map(Value::to_string),
        claim.fence,
        claim.owner.uuid(),
        now.millis(),
    )
    .map(|_| ())
}

/// When a workflow announced an effect, if it has.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_intent(
    db: &mut Db,
    workflow: WorkflowId,
    key: &EffectKey,
) -> Result<Option<Intent>, StoreError> {
    let found = fetch_optional!(
        db,
        (i64, i64),
        "SELECT began_at, at FROM workflow_steps
         WHERE workflow_id = $1 AND effect_key = $2 AND kind = 'intent'",
        workflow.uuid(),
        key.as_str(),
    )?;
    Ok(found.map(|(began_at, at)| Intent {
        began_at: Timestamp::from_millis(began_at),
        at: Timestamp::from_millis(at),
    }))
}

/// Since when an effect has been tried: since it was announced first, or since somebody has let its workflow go on.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_tried_since(
    db: &mut Db,
    workflow: WorkflowId,
    key: &EffectKey,
) -> Result<Option<Timestamp>, StoreError> {
    let (since,) = fetch_one!(
        db,
        (Option<i64>,),
        "SELECT MAX(began_at) FROM workflow_steps
         WHERE workflow_id = $1
           AND ((kind = 'intent' AND effect_key = $2) OR (kind = 'note' AND name = $3))",
        workflow.uuid(),
        key.as_str(),
        RESUMED,
    )?;
    Ok(since.map(Timestamp::from_millis))
}

/// What the outside said last of an effect that was recorded, and when.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_last_answer(
    db: &mut Db,
    workflow: WorkflowId,
    key: &EffectKey,
) -> Result<Option<(Value, Timestamp)>, StoreError> {
    let found = fetch_optional!(
        db,
        (Option<String>, i64),
        "SELECT output, at FROM workflow_steps
         WHERE workflow_id = $1 AND effect_key = $2 AND kind = 'do'
         ORDER BY seq DESC
         LIMIT 1",
        workflow.uuid(),
        key.as_str(),
    )?;
    Ok(found.and_then(|(output, at)| {
        let answer = serde_json::from_str(&output?).ok()?;
        Some((answer, Timestamp::from_millis(at)))
    }))
}

/// Notes that the outside is about to be called again.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn update_intent(
    db: &mut Db,
    claim: &Claim,
    key: &EffectKey,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE workflow_steps SET at = $3, fence = $4, node = $5
         WHERE workflow_id = $1 AND effect_key = $2 AND kind = 'intent'",
        claim.id.uuid(),
        key.as_str(),
        now.millis(),
        claim.fence,
        claim.owner.uuid(),
    )
    .map(|_| ())
}

impl Store {
    /// What happened in a workflow, in order; the last 500 lines.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_workflow_steps(
        &self,
        workflow: WorkflowId,
    ) -> Result<Vec<StepRow>, StoreError> {
        let mut rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        StepRow,
                        "SELECT seq, name, kind, effect_key, output, fence, node, began_at, at
                         FROM workflow_steps
                         WHERE workflow_id = $1
                         ORDER BY seq DESC
                         LIMIT $2",
                        workflow.uuid(),
                        SHOWN_MAX,
                    )
                })
            })
            .await?;
        rows.reverse();
        Ok(rows)
    }
}

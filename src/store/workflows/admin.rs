//! Workflows as people see them: which there are, what happened in one, and another turn for one that stands still.
//!
//! Invariant: whoever gives a workflow another turn is named in its history or in its signals, in the same transaction.

use serde_json::{Value, json};
use uuid::Uuid;

use super::history::StepRow;
use super::signals::{Signal, insert_signal};
use crate::clock;
use crate::domain::events::{DomainEvent, WORKFLOW_EVENTS};
use crate::domain::ids::{NodeId, UserId, WorkflowId};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{Direction, Reason, WorkflowStatus};
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_optional, outbox};

/// What a workflow is told that is to look at once, whatever it waits for.
pub const LOOK_NOW: &str = "look_now";

/// A workflow as somebody looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenWorkflow {
    pub id: WorkflowId,
    pub kind: String,
    pub version: i64,
    /// What it is for.
    pub dedupe_key: String,
    pub status: WorkflowStatus,
    pub direction: Direction,
    /// The step that is next.
    pub cursor: i64,
    /// How often that step was tried.
    pub attempt: i64,
    /// When it is due, or was last.
    pub wake_at: Timestamp,
    /// Who took it last.
    pub owner: Option<NodeId>,
    pub fence: i64,
    pub last_error: Option<String>,
    pub created_at: Timestamp,
    /// When it last came on.
    pub updated_at: Timestamp,
}

/// Where the next page begins: below this time and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkflowCursor {
    pub updated_at: Timestamp,
    pub id: WorkflowId,
}

/// What came of giving a workflow another turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnotherTurn {
    Given,
    /// It is not where it could take one.
    Refused(WorkflowStatus),
}

#[derive(sqlx::FromRow)]
struct SeenRow {
    id: Uuid,
    kind: String,
    version: i64,
    dedupe_key: String,
    status: String,
    direction: String,
    cursor: i64,
    attempt: i64,
    wake_at: i64,
    owner: Option<Uuid>,
    fence: i64,
    last_error: Option<String>,
    created_at: i64,
    updated_at: i64,
}

impl Store {
    /// Workflows with a status, those that came on last first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_workflows(
        &self,
        status: WorkflowStatus,
        after: Option<WorkflowCursor>,
        limit: i64,
    ) -> Result<Vec<SeenWorkflow>, StoreError> {
        let (updated_at, id) = after.map_or((i64::MAX, Uuid::max()), |cursor| {
            (cursor.updated_at.millis(), cursor.id.uuid())
        });
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        SeenRow,
                        "SELECT id, kind, version, dedupe_key, status, direction, cursor, attempt,
                                wake_at, owner, fence, last_error, created_at, updated_at
                         FROM workflows
                         WHERE status = $1
                           AND (updated_at < $2 OR (updated_at = $2 AND id < $3))
                         ORDER BY updated_at DESC, id DESC
                         LIMIT $4",
                        status.as_str(),
                        updated_at,
                        id,
                        limit,
                    )
                })
            })
            .await?;
        rows.into_iter().map(SeenRow::into_seen).collect()
    }

    /// One workflow and everything that happened in it, in order.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn get_workflow(
        &self,
        id: WorkflowId,
    ) -> Result<(SeenWorkflow, Vec<StepRow>), StoreError> {
        let row = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        SeenRow,
                        "SELECT id, kind, version, dedupe_key, status, direction, cursor, attempt,
                                wake_at, owner, fence, last_error, created_at, updated_at
                         FROM workflows
                         WHERE id = $1",
                        id.uuid(),
                    )
                })
            })
            .await?;
        let seen = row.ok_or(StoreError::NotFound)?.into_seen()?;
        Ok((seen, self.list_workflow_steps(id).await?))
    }

    /// Where a workflow is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn get_workflow_status(&self, id: WorkflowId) -> Result<WorkflowStatus, StoreError> {
        self.read(move |db| Box::pin(async move { get_status(db, id).await })).await
    }

    /// Lets a workflow that is parked go on where it stopped, at once; `WorkflowResumed`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn resume_workflow(
        &self,
        id: WorkflowId,
        by: UserId,
        reason: Reason,
        now: Timestamp,
    ) -> Result<AnotherTurn, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                // A fence of its own: whoever parked it may be asleep, and has nothing more to say.
                let resumed = execute!(
                    db,
                    "UPDATE workflows
                     SET status = 'ready', wake_at = $2, takes = 0, fence = fence + 1,
                         lease_until = 0, updated_at = $2
                     WHERE id = $1 AND status = 'parked'",
                    id.uuid(),
                    now.millis(),
                )?;
                if resumed == 0 {
                    return Ok(AnotherTurn::Refused(get_status(db, id).await?));
                }
                let output = json!({ "by": by, "reason": reason.as_str() });
                insert_note(db, id, "resumed", &output, now).await?;
                outbox::append(db, &resumed_event(id, by, now)).await?;
                Ok(AnotherTurn::Given)
            })
        })
        .await
    }

    /// Wakes a workflow that waits, so that it looks at once whether what it waits for has come. It is told [`LOOK_NOW`],
    /// and by whom.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn look_now_at_workflow(
        &self,
        id: WorkflowId,
        by: UserId,
        now: Timestamp,
    ) -> Result<AnotherTurn, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let status = get_status(db, id).await?;
                if !status.is_going_on() {
                    return Ok(AnotherTurn::Refused(status));
                }
                let signal = Signal {
                    name: LOOK_NOW.to_owned(),
                    dedupe_key: clock::new_uuid().to_string(),
                    payload: json!({ "by": by }),
                };
                insert_signal(db, id, &signal, now).await?;
                Ok(AnotherTurn::Given)
            })
        })
        .await
    }
}

async fn get_status(db: &mut Db, id: WorkflowId) -> Result<WorkflowStatus, StoreError> {
    let found =
        fetch_optional!(db, (String,), "SELECT status FROM workflows WHERE id = $1", id.uuid())?;
    found.and_then(|(word,)| WorkflowStatus::parse(&word)).ok_or(StoreError::NotFound)
}

/// Adds a line that no node wrote.
async fn insert_note(
    db: &mut Db,
    id: WorkflowId,
    name: &str,
    output: &Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO workflow_steps
             (workflow_id, seq, name, kind, effect_key, output, fence, node, began_at, at)
         SELECT w.id,
                (SELECT coalesce(MAX(s.seq) + 1, 0) FROM workflow_steps s
                 WHERE s.workflow_id = w.id),
                $2, 'note', NULL, $3, w.fence, NULL, $4, $4
         FROM workflows w
         WHERE w.id = $1",
        id.uuid(),
        name,
        output.to_string(),
        now.millis(),
    )
    .map(|_| ())
}

/// Without the reason: it is for those who may read the history.
fn resumed_event(id: WorkflowId, by: UserId, now: Timestamp) -> DomainEvent {
    DomainEvent {
        id: clock::new_uuid().into(),
        topic: WORKFLOW_EVENTS,
        name: "WorkflowResumed",
        subject: id.to_string(),
        at: now,
        data: json!({ "workflow_id": id, "by": by }),
    }
}

impl SeenRow {
    fn into_seen(self) -> Result<SeenWorkflow, StoreError> {
        Ok(SeenWorkflow {
            id: self.id.into(),
            kind: self.kind,
            version: self.version,
            dedupe_key: self.dedupe_key,
            status: WorkflowStatus::parse(&self.status).ok_or(StoreError::NotFound)?,
            direction: Direction::parse(&self.direction).ok_or(StoreError::NotFound)?,
            cursor: self.cursor,
            attempt: self.attempt,
            wake_at: Timestamp::from_millis(self.wake_at),
            owner: self.owner.map(Into::into),
            fence: self.fence,
            last_error: self.last_error,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

//! Workflows as people see them: which there are, what happened in one, and another turn for one that stands still, or
//! back.
//!
//! Invariant: whoever gives a workflow another turn is named in its history or in its signals, and in the audit, in the
//! same transaction.

use serde_json::{Value, json};
use uuid::Uuid;

use super::history::{RESUMED, StepRow};
use super::signals::{Signal, insert_signal};
use crate::clock;
use crate::domain::audit::{Action, Target};
use crate::domain::events::{DomainEvent, WORKFLOW_EVENTS};
use crate::domain::ids::{NodeId, UserId, WorkflowId};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{Direction, Reason, WorkflowStatus};
use crate::store::audit::{Deed, record};
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional, outbox};

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

/// Which workflows are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkflowFilter {
    pub status: Option<WorkflowStatus>,
    pub kind: Option<String>,
}

impl From<WorkflowStatus> for WorkflowFilter {
    fn from(status: WorkflowStatus) -> Self {
        Self { status: Some(status), kind: None }
    }
}

/// Something that a workflow was told, as somebody looks at it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SignalRow {
    pub name: String,
    pub payload: String,
    pub created_at: i64,
    pub taken_at: Option<i64>,
}

/// What came of giving a workflow another turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnotherTurn {
    Given,
    /// It is not where it could take one.
    Refused(WorkflowStatus),
    /// It goes back already.
    GoesBack,
    /// There is no way back from where it is.
    NotUndoable,
}

/// Where a workflow is that is to go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub kind: String,
    pub version: i64,
    pub cursor: i64,
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
    /// Workflows, those that came on last first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_workflows(
        &self,
        filter: impl Into<WorkflowFilter>,
        after: Option<WorkflowCursor>,
        limit: i64,
    ) -> Result<Vec<SeenWorkflow>, StoreError> {
        let filter = filter.into();
        let (updated_at, id) = after.map_or((i64::MAX, Uuid::max()), |cursor| {
            (cursor.updated_at.millis(), cursor.id.uuid())
        });
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    // Each has an index that it walks along: a condition on a status that may be none has not.
                    let select = match filter.status {
                        Some(_) => {
                            "SELECT id, kind, version, dedupe_key, status, direction, cursor,
                                    attempt, wake_at, owner, fence, last_error, created_at,
                                    updated_at
                             FROM workflows
                             WHERE status = $1 AND ($2 = '' OR kind = $2)
                               AND (updated_at, id) < ($3, $4)
                             ORDER BY updated_at DESC, id DESC
                             LIMIT $5"
                        }
                        None => {
                            "SELECT id, kind, version, dedupe_key, status, direction, cursor,
                                    attempt, wake_at, owner, fence, last_error, created_at,
                                    updated_at
                             FROM workflows
                             WHERE $1 = '' AND ($2 = '' OR kind = $2)
                               AND (updated_at, id) < ($3, $4)
                             ORDER BY updated_at DESC, id DESC
                             LIMIT $5"
                        }
                    };
                    fetch_all!(
                        db,
                        SeenRow,
                        select,
                        filter.status.map_or("", WorkflowStatus::as_str),
                        filter.kind.unwrap_or_default(),
                        updated_at,
                        id,
                        limit,
                    )
                })
            })
            .await?;
        rows.into_iter().map(SeenRow::into_seen).collect()
    }

    /// One workflow and what happened in it, in order; the last 500 lines.
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

    /// Workflows by what they are for, in the order in which they began; the last `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_workflows_for(
        &self,
        keys: Vec<String>,
        limit: i64,
    ) -> Result<Vec<SeenWorkflow>, StoreError> {
        let keys = json!(keys).to_string();
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT id, kind, version, dedupe_key, status, direction, cursor, attempt,
                                wake_at, owner, fence, last_error, created_at, updated_at
                         FROM workflows
                         WHERE dedupe_key IN (SELECT j.value FROM json_each($1) j)
                         ORDER BY id DESC
                         LIMIT $2",
                        "SELECT id, kind, version, dedupe_key, status, direction, cursor, attempt,
                                wake_at, owner, fence, last_error, created_at, updated_at
                         FROM workflows
                         WHERE dedupe_key IN
                             (SELECT j.value FROM jsonb_array_elements_text($1::jsonb) j)
                         ORDER BY id DESC
                         LIMIT $2",
                    );
                    fetch_all!(db, SeenRow, select, keys, limit)
                })
            })
            .await?;
        rows.into_iter().rev().map(SeenRow::into_seen).collect()
    }

    /// What a workflow was told, the latest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_workflow_signals(
        &self,
        id: WorkflowId,
        limit: i64,
    ) -> Result<Vec<SignalRow>, StoreError> {
        self.read(move |db| {
            Box::pin(async move {
                fetch_all!(
                    db,
                    SignalRow,
                    "SELECT name, payload, created_at, taken_at FROM workflow_signals
                     WHERE workflow_id = $1
                     ORDER BY created_at DESC, name, dedupe_key
                     LIMIT $2",
                    id.uuid(),
                    limit,
                )
            })
        })
        .await
    }

    /// What a workflow has noted, as it was written; it names payments at their providers.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn get_workflow_state(&self, id: WorkflowId) -> Result<String, StoreError> {
        let (state,) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (String,),
                        "SELECT state FROM workflows WHERE id = $1",
                        id.uuid(),
                    )
                })
            })
            .await?;
        Ok(state)
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
                insert_note(db, id, RESUMED, &output, now).await?;
                outbox::append(db, &event("WorkflowResumed", id, by, now)).await?;
                let deed = Deed {
                    by,
                    action: Action::WorkflowResumed,
                    target: Target::Workflow(id),
                    reason: Some(&reason),
                    before: json!({ "status": WorkflowStatus::Parked.as_str() }),
                    after: json!({ "status": WorkflowStatus::Ready.as_str() }),
                };
                record(db, &deed, now).await?;
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
                let said = json!({ "status": status.as_str() });
                let deed = Deed {
                    by,
                    action: Action::WorkflowLookedAt,
                    target: Target::Workflow(id),
                    reason: None,
                    before: said.clone(),
                    after: said,
                };
                record(db, &deed, now).await?;
                Ok(AnotherTurn::Given)
            })
        })
        .await
    }

    /// Turns a workflow back that goes forward or is parked, where `has_way_back` says that there is one:
    /// `WorkflowTurnedBack`. What it has begun is undone, the last first.
    ///
    /// Whoever works on it does nothing more in its name. Their lease stays: while their last call may be under way, nobody
    /// undoes it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn compensate_workflow(
        &self,
        id: WorkflowId,
        by: UserId,
        reason: Reason,
        has_way_back: impl Fn(&Standing) -> bool + Send + 'static,
        now: Timestamp,
    ) -> Result<AnotherTurn, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let found = lock_seen(db, id).await?;
                if !found.status.is_going_on() && found.status != WorkflowStatus::Parked {
                    return Ok(AnotherTurn::Refused(found.status));
                }
                if found.direction == Direction::Backward {
                    return Ok(AnotherTurn::GoesBack);
                }
                let (kind, version, cursor) = (found.kind.clone(), found.version, found.cursor);
                if !has_way_back(&Standing { kind, version, cursor }) {
                    return Ok(AnotherTurn::NotUndoable);
                }
                let next = turn_back(db, &found, now).await?;
                let output = json!({ "by": by, "reason": reason.as_str() });
                insert_note(db, id, "turned back", &output, now).await?;
                outbox::append(db, &event("WorkflowTurnedBack", id, by, now)).await?;
                let said = |status: WorkflowStatus, direction: Direction, cursor: i64| {
                    json!({
                        "status": status.as_str(),
                        "direction": direction.as_str(),
                        "cursor": cursor,
                    })
                };
                let deed = Deed {
                    by,
                    action: Action::WorkflowCompensated,
                    target: Target::Workflow(id),
                    reason: Some(&reason),
                    before: said(found.status, found.direction, found.cursor),
                    after: said(next.0, Direction::Backward, next.1),
                };
                record(db, &deed, now).await?;
                Ok(AnotherTurn::Given)
            })
        })
        .await
    }
}

/// Writes that a locked workflow goes back; gives where it is then. A step that was begun is undone too.
async fn turn_back(
    db: &mut Db,
    found: &SeenWorkflow,
    now: Timestamp,
) -> Result<(WorkflowStatus, i64), StoreError> {
    let is_begun = found.attempt > 0;
    let cursor = if is_begun { found.cursor } else { found.cursor.saturating_sub(1) };
    let status = match found.status {
        _ if cursor < 0 => WorkflowStatus::Compensated,
        // With the lease of whoever works on it.
        WorkflowStatus::Running => WorkflowStatus::Running,
        _ => WorkflowStatus::Ready,
    };
    execute!(
        db,
        "UPDATE workflows
         SET status = $2, direction = 'backward', cursor = $3, attempt = 0, takes = 0,
             fence = fence + 1, wake_at = $4, updated_at = $4
         WHERE id = $1",
        found.id.uuid(),
        status.as_str(),
        cursor,
        now.millis(),
    )?;
    Ok((status, cursor))
}

async fn lock_seen(db: &mut Db, id: WorkflowId) -> Result<SeenWorkflow, StoreError> {
    let select = db.dialect(
        "SELECT id, kind, version, dedupe_key, status, direction, cursor, attempt, wake_at, owner,
                fence, last_error, created_at, updated_at
         FROM workflows
         WHERE id = $1",
        "SELECT id, kind, version, dedupe_key, status, direction, cursor, attempt, wake_at, owner,
                fence, last_error, created_at, updated_at
         FROM workflows
         WHERE id = $1
         FOR UPDATE",
    );
    let row = fetch_optional!(db, SeenRow, select, id.uuid())?;
    row.ok_or(StoreError::NotFound)?.into_seen()
}

async fn get_status(db: &mut Db, id: WorkflowId) -> Result<WorkflowStatus, StoreError> {
    let found =
        fetch_optional!(db, (String,), "SELECT status FROM workflows WHERE id = $1", id.uuid())?;
    found.and_then(|(word,)| WorkflowStatus::parse(&word)).ok_or(StoreError::NotFound)
}

/// Adds a line that no node wrote.
pub(super) async fn insert_note(
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
fn event(name: &'static str, id: WorkflowId, by: UserId, now: Timestamp) -> DomainEvent {
    DomainEvent {
        id: clock::new_uuid().into(),
        topic: WORKFLOW_EVENTS,
        name,
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

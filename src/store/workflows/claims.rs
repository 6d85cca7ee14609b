//! Claims: who works on a workflow. It is taken under a lease, by one node at a time, and given back.
//!
//! Invariant: whoever takes a workflow raises its fence, so that nobody goes on in an earlier one's name. Looking for
//! what is due writes nothing.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::{Claim, NewWorkflow, Running, find_workflow};
use crate::domain::ids::{NodeId, WorkflowId};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Direction;
use crate::store::leases::millis;
use crate::store::{Db, Store, StoreError, execute, fetch_one, fetch_optional};

/// What came of beginning a workflow.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    Now(Box<Running>),
    /// There is one for the same.
    Before(WorkflowId),
}

#[derive(sqlx::FromRow)]
struct RunningRow {
    id: Uuid,
    kind: String,
    version: i64,
    direction: String,
    cursor: i64,
    attempt: i64,
    takes: i64,
    state: String,
    fence: i64,
}

/// Begins a workflow that `owner` has taken already, unless there is one for the same. When it was to begin is not asked.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn insert_leased(
    db: &mut Db,
    new: &NewWorkflow,
    owner: NodeId,
    lasts: Duration,
    now: Timestamp,
) -> Result<Begun, StoreError> {
    let insert = db.dialect(
        "INSERT INTO workflows
             (id, kind, version, dedupe_key, status, direction, cursor, attempt, takes, state,
              wake_at, owner, fence, lease_until, created_at, updated_at)
         VALUES ($1, $2, $3, $4, 'running', 'forward', 0, 0, 1, $5, $6, $7, 1, $6 + $8, $6, $6)
         ON CONFLICT (dedupe_key) DO NOTHING",
        "INSERT INTO workflows
             (id, kind, version, dedupe_key, status, direction, cursor, attempt, takes, state,
              wake_at, owner, fence, lease_until, created_at, updated_at)
         VALUES ($1, $2, $3, $4, 'running', 'forward', 0, 0, 1, $5, $6, $7, 1,
                 (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $8, $6, $6)
         ON CONFLICT (dedupe_key) DO NOTHING",
    );
    let inserted = execute!(
        db,
        insert,
        new.id.uuid(),
        new.kind,
        new.version,
        new.dedupe_key.as_str(),
        new.state.to_string(),
        now.millis(),
        owner.uuid(),
        millis(lasts),
    )?;
    if inserted == 0 {
        let before = find_workflow(db, &new.dedupe_key).await?;
        return before.map(Begun::Before).ok_or(StoreError::NotFound);
    }
    Ok(Begun::Now(Box::new(Running {
        claim: Claim { id: new.id, owner, fence: 1 },
        kind: new.kind.to_owned(),
        version: new.version,
        direction: Direction::Forward,
        cursor: 0,
        attempt: 0,
        takes: 1,
        state: new.state.clone(),
        announced_at: None,
    })))
}

impl Store {
    /// When the next workflow is due that [`Store::claim_workflow`] would take; writes nothing.
    ///
    /// In SQLite that includes the ends of leases. With PostgreSQL they are of the database's clock, and others may begin
    /// something at any time: whoever asks has to ask again.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_next_workflow(
        &self,
        known: &str,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let known = known.to_owned();
        let (next,) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT MIN(due.at)
                         FROM (SELECT MIN(free.wake_at) AS at
                               FROM (SELECT wake_at FROM workflows
                                     WHERE status IN ('ready', 'running', 'waiting')
                                       AND lease_until <= $2
                                       AND kind || ':' || version IN
                                           (SELECT j.value FROM json_each($1) j)
                                     ORDER BY wake_at, id
                                     LIMIT 1) free
                               UNION ALL
                               SELECT MIN(max(wake_at, lease_until)) FROM workflows
                               WHERE status = 'running' AND lease_until > $2
                                 AND kind || ':' || version IN
                                     (SELECT j.value FROM json_each($1) j)) due",
                        "SELECT MIN(free.wake_at)
                         FROM (SELECT wake_at FROM workflows
                               WHERE status IN ('ready', 'running', 'waiting')
                                 AND lease_until
                                     <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                                 AND kind || ':' || version IN
                                     (SELECT j.value
                                      FROM jsonb_array_elements_text($1::jsonb) j)
                                 AND $2::bigint IS NOT NULL
                               ORDER BY wake_at, id
                               LIMIT 1) free",
                    );
                    fetch_one!(db, (Option<i64>,), select, known, now.millis())
                })
            })
            .await?;
        Ok(next.map(Timestamp::from_millis))
    }

    /// Takes the workflow that has been due for the longest time, among the `known` ones: a JSON array of `kind:version`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn claim_workflow(
        &self,
        owner: NodeId,
        known: &str,
        lasts: Duration,
        now: Timestamp,
    ) -> Result<Option<Running>, StoreError> {
        let known = known.to_owned();
        let row = self
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let claim = db.dialect(
                        "UPDATE workflows
                         SET status = 'running', owner = $1, lease_until = $2 + $3,
                             fence = fence + 1, takes = takes + 1
                         WHERE id = (SELECT id FROM workflows
                                     WHERE status IN ('ready', 'running', 'waiting')
                                       AND wake_at <= $2 AND lease_until <= $2
                                       AND kind || ':' || version IN
                                           (SELECT j.value FROM json_each($4) j)
                                     ORDER BY wake_at, id
                                     LIMIT 1)
                         RETURNING id, kind, version, direction, cursor, attempt, takes, state,
                                   fence",
                        "UPDATE workflows
                         SET status = 'running', owner = $1, fence = fence + 1, takes = takes + 1,
                             lease_until =
                                 (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $3
                         WHERE id = (SELECT id FROM workflows
                                     WHERE status IN ('ready', 'running', 'waiting')
                                       AND wake_at <= $2
                                       AND lease_until
                                           <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                                       AND kind || ':' || version IN
                                           (SELECT j.value
                                            FROM jsonb_array_elements_text($4::jsonb) j)
                                     ORDER BY wake_at, id
                                     LIMIT 1
                                     FOR UPDATE SKIP LOCKED)
                         RETURNING id, kind, version, direction, cursor, attempt, takes, state,
                                   fence",
                    );
                    let (now, lasts) = (now.millis(), millis(lasts));
                    fetch_optional!(db, RunningRow, claim, owner.uuid(), now, lasts, known)
                })
            })
            .await?;
        Ok(row.map(|row| row.into_running(owner)))
    }

    /// Gives a workflow back, to be taken again at `wake_at`; one that is lost already stays lost. Counts so many `takes`
    /// more than there were, or fewer.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer; then its lease ends by itself.
    pub async fn release_workflow(
        &self,
        claim: Claim,
        wake_at: Timestamp,
        takes: i64,
        reason: Option<String>,
    ) -> Result<(), StoreError> {
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "UPDATE workflows
                     SET status = 'waiting', lease_until = 0, wake_at = $3,
                         takes = takes + $4, last_error = coalesce($5, last_error)
                     WHERE id = $1 AND fence = $2 AND status = 'running'",
                    claim.id.uuid(),
                    claim.fence,
                    wake_at.millis(),
                    takes,
                    reason,
                )
            })
        })
        .await
        .map(|_| ())
    }
}

impl RunningRow {
    fn into_running(self, owner: NodeId) -> Running {
        Running {
            claim: Claim { id: self.id.into(), owner, fence: self.fence },
            kind: self.kind,
            version: self.version,
            // A word of a later release; the step will say that it cannot be read.
            direction: Direction::parse(&self.direction).unwrap_or(Direction::Forward),
            cursor: self.cursor,
            attempt: u32::try_from(self.attempt).unwrap_or(u32::MAX),
            takes: self.takes,
            state: serde_json::from_str(&self.state).unwrap_or(Value::Null),
            announced_at: None,
        }
    }
}

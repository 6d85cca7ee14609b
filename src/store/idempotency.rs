//! Idempotency as rows: a request is claimed under its key before anything else in the transaction of its effect.
//!
//! Invariant: of all requests under one key, one takes effect; whoever comes later is given its answer, its workflow, or nothing.
//! A transaction that is undone leaves no claim.

use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::domain::idempotency::{
    IdempotencyKey, IdempotentCall, KEPT, KeyState, LOCKED, StoredAnswer,
};
use crate::domain::ids::WorkflowId;
use crate::domain::time::Timestamp;

/// Whose a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The caller's: nobody has done anything for it.
    New,
    /// The caller's: whoever has begun it made this, see [`attach_resource`], and did not come back in time.
    Resumed(Uuid),
    /// It has been answered.
    Finished(StoredAnswer),
    /// A workflow does it.
    Workflow(WorkflowId),
    /// Somebody else does it just now.
    InFlight,
    /// Another request was sent under the key.
    Reused,
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    fingerprint: Vec<u8>,
    workflow_id: Option<Uuid>,
    http_status: Option<i64>,
    body: Option<String>,
}

/// Requests under one key that are shown, the newest.
const SHOWN_MAX: i64 = 50;

/// A request under its key, as somebody looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenKey {
    /// Such as `user:<id>`.
    pub principal: String,
    pub route: String,
    /// Of the body; nobody can tell from it what that said.
    pub fingerprint: Vec<u8>,
    pub state: KeyState,
    /// What was made for it that is gone on with.
    pub resource: Option<Uuid>,
    pub workflow: Option<WorkflowId>,
    pub answer: Option<StoredAnswer>,
    pub created_at: Timestamp,
    /// Until when it is whoever's who has begun it.
    pub locked_until: Timestamp,
    pub expires_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct SeenRow {
    principal: String,
    route: String,
    fingerprint: Vec<u8>,
    resource_id: Option<Uuid>,
    workflow_id: Option<Uuid>,
    http_status: Option<i64>,
    body: Option<String>,
    created_at: i64,
    locked_until: i64,
    expires_at: i64,
}

impl SeenRow {
    fn into_seen(self, now: Timestamp) -> SeenKey {
        let status = self.http_status.map(|it| u16::try_from(it).unwrap_or_default());
        let answer = status.zip(self.body).map(|(status, body)| StoredAnswer { status, body });
        let state = match (&answer, self.workflow_id) {
            (Some(_), _) => KeyState::Answered,
            (None, Some(_)) => KeyState::Workflow,
            (None, None) if self.locked_until > now.millis() => KeyState::UnderWay,
            (None, None) => KeyState::Abandoned,
        };
        SeenKey {
            principal: self.principal,
            route: self.route,
            fingerprint: self.fingerprint,
            state,
            resource: self.resource_id,
            workflow: self.workflow_id.map(WorkflowId::from),
            answer,
            created_at: Timestamp::from_millis(self.created_at),
            locked_until: Timestamp::from_millis(self.locked_until),
            expires_at: Timestamp::from_millis(self.expires_at),
        }
    }
}

/// Claims a request: the first statement of the transaction that does what it asks for.
///
/// Inserts first and looks then: of two requests at once, the one that waits for the other's row finds it.
///
/// # Errors
/// [`StoreError`] when the database refuses; [`StoreError::Busy`] in the moment in which the key is forgotten.
pub async fn claim(
    db: &mut Db,
    call: &IdempotentCall,
    now: Timestamp,
) -> Result<Claimed, StoreError> {
    let claimed = try_claim(db, call, now).await?;
    let outcome = match claimed {
        Claimed::New | Claimed::Resumed(_) => "new",
        Claimed::Finished(_) | Claimed::Workflow(_) => "replay",
        Claimed::InFlight => "conflict",
        Claimed::Reused => "mismatch",
    };
    metrics::counter!("madang_idempotency_total", "outcome" => outcome).increment(1);
    Ok(claimed)
}

async fn try_claim(
    db: &mut Db,
    call: &IdempotentCall,
    now: Timestamp,
) -> Result<Claimed, StoreError> {
    let inserted = execute!(
        db,
        "INSERT INTO idempotency_keys
             (principal, route, key, fingerprint, locked_until, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (principal, route, key) DO NOTHING",
        call.principal.as_str(),
        call.route,
        call.key.as_str(),
        call.fingerprint.as_slice(),
        now.plus(LOCKED).millis(),
        now.millis(),
        now.plus(KEPT).millis(),
    )?;
    if inserted == 1 {
        return Ok(Claimed::New);
    }
    let known = fetch_optional!(
        db,
        KeyRow,
        "SELECT fingerprint, workflow_id, http_status, body FROM idempotency_keys
         WHERE principal = $1 AND route = $2 AND key = $3",
        call.principal.as_str(),
        call.route,
        call.key.as_str(),
    )?;
    let Some(known) = known else { return Err(StoreError::Busy) };
    if known.fingerprint != call.fingerprint {
        return Ok(Claimed::Reused);
    }
    if let (Some(status), Some(body)) = (known.http_status, known.body) {
        let status = u16::try_from(status).unwrap_or_default();
        return Ok(Claimed::Finished(StoredAnswer { status, body }));
    }
    match known.workflow_id {
        Some(workflow) => Ok(Claimed::Workflow(workflow.into())),
        None => take_over(db, call, now).await,
    }
}

/// Takes a request from somebody who has not come back in time; of two who try, one does.
async fn take_over(
    db: &mut Db,
    call: &IdempotentCall,
    now: Timestamp,
) -> Result<Claimed, StoreError> {
    let taken = fetch_optional!(
        db,
        (Option<Uuid>,),
        "UPDATE idempotency_keys SET locked_until = $4
         WHERE principal = $1 AND route = $2 AND key = $3
           AND locked_until <= $5 AND http_status IS NULL AND workflow_id IS NULL
         RETURNING resource_id",
        call.principal.as_str(),
        call.route,
        call.key.as_str(),
        now.plus(LOCKED).millis(),
        now.millis(),
    )?;
    Ok(match taken {
        None => Claimed::InFlight,
        Some((None,)) => Claimed::New,
        Some((Some(resource),)) => Claimed::Resumed(resource),
    })
}

/// Names the workflow that does what a request asks for: whoever repeats it waits for that one.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn attach(
    db: &mut Db,
    call: &IdempotentCall,
    workflow: WorkflowId,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE idempotency_keys SET workflow_id = $4
         WHERE principal = $1 AND route = $2 AND key = $3",
        call.principal.as_str(),
        call.route,
        call.key.as_str(),
        workflow.uuid(),
    )
    .map(|_| ())
}

/// Names what was made for a request that is not finished with this transaction: whoever takes it over goes on with that.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn attach_resource(
    db: &mut Db,
    call: &IdempotentCall,
    resource: Uuid,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE idempotency_keys SET resource_id = $4
         WHERE principal = $1 AND route = $2 AND key = $3",
        call.principal.as_str(),
        call.route,
        call.key.as_str(),
        resource,
    )
    .map(|_| ())
}

/// Keeps the answer to a request, unless there is one. Gives the one that stands, which is what the caller answers.
///
/// # Errors
/// [`StoreError::NotFound`] where nothing was claimed, any other when the database refuses.
pub async fn finish(
    db: &mut Db,
    call: &IdempotentCall,
    answer: &StoredAnswer,
) -> Result<StoredAnswer, StoreError> {
    let (status, body) = fetch_one!(
        db,
        (i64, String),
        "UPDATE idempotency_keys
         SET http_status = COALESCE(http_status, $4), body = COALESCE(body, $5)
         WHERE principal = $1 AND route = $2 AND key = $3
         RETURNING http_status, body",
        call.principal.as_str(),
        call.route,
        call.key.as_str(),
        i64::from(answer.status),
        answer.body.as_str(),
    )?;
    Ok(StoredAnswer { status: u16::try_from(status).unwrap_or_default(), body })
}

impl Store {
    /// The requests under a key, of everybody or of one, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_idempotency_keys(
        &self,
        key: IdempotencyKey,
        principal: Option<String>,
        now: Timestamp,
    ) -> Result<Vec<SeenKey>, StoreError> {
        let principal = principal.unwrap_or_default();
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        SeenRow,
                        "SELECT principal, route, fingerprint, resource_id, workflow_id,
                                http_status, body, created_at, locked_until, expires_at
                         FROM idempotency_keys
                         WHERE key = $1 AND ($2 = '' OR principal = $2)
                         ORDER BY created_at DESC, principal, route
                         LIMIT $3",
                        key.as_str(),
                        principal,
                        SHOWN_MAX,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|row| row.into_seen(now)).collect())
    }

    /// Forgets keys whose time is over, at most `limit`; gives how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_expired_idempotency_keys(
        &self,
        now: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "DELETE FROM idempotency_keys
                     WHERE (principal, route, key) IN
                         (SELECT principal, route, key FROM idempotency_keys
                          WHERE expires_at <= $1
                          ORDER BY expires_at
                          LIMIT $2)",
                    now.millis(),
                    limit,
                )
            })
        })
        .await
    }
}

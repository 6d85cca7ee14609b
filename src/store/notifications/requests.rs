//! Requests: fan-outs that somebody asks for, how far each has come, and those that were given up.
//!
//! Invariant: what was accepted under a key is never replaced by another request with the same key.

use serde_json::json;
use uuid::Uuid;

use super::fanouts::{insert_rows, row};
use crate::domain::notifications::Occasion;
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};

/// An occasion that another server or an administrator asks for.
#[derive(Debug, Clone)]
pub struct Requested {
    pub occasion: Occasion,
    /// Who asks, for the log.
    pub by: String,
    /// SHA-256 of the request: the same id with another one is another request.
    pub hash: [u8; 32],
    /// Not before then.
    pub due_at: Timestamp,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    Accepted,
    /// The same request was accepted before.
    Repeated,
    /// Another request was accepted under the same key.
    Conflict,
}

/// A fan-out as an administrator looks at it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct FanoutRow {
    pub id: Uuid,
    pub kind: String,
    pub requested_by: Option<String>,
    pub status: String,
    pub reason: Option<String>,
    pub notified: i64,
    pub due_at: i64,
    pub created_at: i64,
    pub finished_at: Option<i64>,
}

impl Store {
    /// Notes an occasion that somebody asks for.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was noted.
    pub async fn insert_requested_fanout(
        &self,
        requested: Requested,
        now: Timestamp,
    ) -> Result<RequestOutcome, StoreError> {
        self.write(move |db| Box::pin(async move { insert_requested(db, &requested, now).await }))
            .await
    }

    /// Begins a dead fan-out again from where it stopped; `false` when there is no such dead one.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn replay_fanout(&self, id: Uuid, now: Timestamp) -> Result<bool, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let begun = execute!(
                    db,
                    "UPDATE fanouts
                     SET status = 'queued', reason = NULL, finished_at = NULL, takes = 0, due_at = $2
                     WHERE id = $1 AND status = 'dead'",
                    id,
                    now.millis(),
                )?;
                Ok(begun == 1)
            })
        })
        .await
    }

    /// A fan-out as it stands.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_fanout(&self, id: Uuid) -> Result<Option<FanoutRow>, StoreError> {
        self.read(move |db| {
            Box::pin(async move {
                fetch_optional!(
                    db,
                    FanoutRow,
                    "SELECT id, kind, requested_by, status, reason, notified, due_at, created_at,
                            finished_at
                     FROM fanouts
                     WHERE id = $1",
                    id,
                )
            })
        })
        .await
    }

    /// Those that were given up, the newest first, below `before`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_dead_fanouts(
        &self,
        before: Option<(Timestamp, Uuid)>,
        limit: i64,
    ) -> Result<Vec<FanoutRow>, StoreError> {
        let (at, id) = before.map_or((i64::MAX, Uuid::max()), |(before, id)| (before.millis(), id));
        self.read(move |db| {
            Box::pin(async move {
                fetch_all!(
                    db,
                    FanoutRow,
                    "SELECT id, kind, requested_by, status, reason, notified, due_at, created_at,
                            finished_at
                     FROM fanouts
                     WHERE status = 'dead' AND (created_at, id) < ($1, $2)
                     ORDER BY created_at DESC, id DESC
                     LIMIT $3",
                    at,
                    id,
                    limit,
                )
            })
        })
        .await
    }
}

/// Inserts first and looks then: of two requests at once, the one that waits for the other's row finds it.
pub(in crate::store) async fn insert_requested(
    db: &mut Db,
    requested: &Requested,
    now: Timestamp,
) -> Result<RequestOutcome, StoreError> {
    let Requested { occasion, by, hash, due_at } = requested;
    let mut row = row(occasion)?;
    let hash_text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let asked = json!({ "by": by, "hash": hash_text, "due_at": due_at.millis() });
    if let (Some(row), serde_json::Value::Object(asked)) = (row.as_object_mut(), asked) {
        row.extend(asked);
    }
    if insert_rows(db, vec![row], now).await? == 1 {
        return Ok(RequestOutcome::Accepted);
    }
    let (known,) = fetch_one!(
        db,
        (Option<Vec<u8>>,),
        "SELECT request_hash FROM fanouts WHERE id = $1",
        occasion.id,
    )?;
    Ok(if known.as_deref() == Some(hash.as_slice()) {
        RequestOutcome::Repeated
    } else {
        RequestOutcome::Conflict
    })
}

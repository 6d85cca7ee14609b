//! Deliveries: the queue of each medium, and the log of what became of every letter.
//!
//! Invariant: a letter that is queued was wanted by a transaction that committed, and stays until it has an end.

pub mod log;
pub mod queue;

use serde_json::json;
use uuid::Uuid;

use super::{Db, StoreError, execute, fetch_all, fetch_optional};
use crate::domain::deliveries::{DeliveryStatus, NewDelivery};
use crate::domain::ids::{DeliveryId, UserId};
use crate::domain::media::Medium;
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;

/// Puts letters into their queues, in the transaction that wants them; one whose id is known is left as it is.
///
/// # Errors
/// [`StoreError::Database`] when the database refuses.
pub async fn insert_all(
    db: &mut Db,
    deliveries: &[NewDelivery],
    now: Timestamp,
) -> Result<(), StoreError> {
    if deliveries.is_empty() {
        return Ok(());
    }
    let insert = db.dialect(
        "INSERT INTO deliveries
             (id, medium, kind, user_id, seq, target_id, digest_key, data, status, reason,
              attempts, created_at, first_due_at, due_at, finished_at, fence, lease_until)
         SELECT unhex(replace(j.value ->> 'id', '-', '')), j.value ->> 'medium',
                j.value ->> 'kind', unhex(replace(j.value ->> 'user', '-', '')),
                j.value ->> 'seq', unhex(replace(j.value ->> 'target', '-', '')),
                j.value ->> 'digest_key', j.value ->> 'data', j.value ->> 'status',
                j.value ->> 'reason', 0, $2, j.value ->> 'due_at', j.value ->> 'due_at',
                j.value ->> 'finished_at', 0, 0
         FROM json_each($1) j
         WHERE TRUE
         ON CONFLICT (id) DO NOTHING",
        "INSERT INTO deliveries
             (id, medium, kind, user_id, seq, target_id, digest_key, data, status, reason,
              attempts, created_at, first_due_at, due_at, finished_at, fence, lease_until)
         SELECT id, medium, kind, \"user\", seq, target, digest_key, data, status, reason, 0, $2,
                due_at, due_at, finished_at, 0, 0
         FROM jsonb_to_recordset($1::jsonb)
             AS j (id uuid, medium text, kind text, \"user\" uuid, seq bigint, target uuid,
                   digest_key text, data text, status text, reason text, due_at bigint,
                   finished_at bigint)
         ON CONFLICT (id) DO NOTHING",
    );
    let rows: Vec<_> = deliveries.iter().map(|delivery| row(delivery, now)).collect();
    execute!(db, insert, json!(rows).to_string(), now.millis()).map(|_| ())
}

fn row(delivery: &NewDelivery, now: Timestamp) -> serde_json::Value {
    let status = match delivery.suppressed {
        Some(_) => DeliveryStatus::Suppressed,
        None => DeliveryStatus::Queued,
    };
    json!({
        "id": delivery.id,
        "medium": delivery.medium.as_str(),
        "kind": delivery.kind,
        "user": delivery.user,
        "seq": delivery.seq,
        "target": delivery.target,
        "digest_key": delivery.digest_key,
        "data": delivery.data,
        "status": status.as_str(),
        "reason": delivery.suppressed,
        "due_at": delivery.due_at.millis(),
        "finished_at": delivery.suppressed.as_ref().map(|_| now.millis()),
    })
}

/// Adds a notification to the digest that is open for it, if there is one: queued, and not taken for an attempt yet. Gives
/// the digest; nobody takes it before the transaction ends.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn insert_digest_item(
    db: &mut Db,
    user: UserId,
    medium: Medium,
    digest_key: &str,
    seq: Seq,
) -> Result<Option<DeliveryId>, StoreError> {
    // Whoever takes it passes over what is locked, and one that was taken has another fence.
    let select = db.dialect(
        "SELECT id FROM deliveries
         WHERE user_id = $1 AND medium = $2 AND digest_key = $3 AND status = 'queued' AND fence = 0
         ORDER BY due_at, id
         LIMIT 1",
        "SELECT id FROM deliveries
         WHERE user_id = $1 AND medium = $2 AND digest_key = $3 AND status = 'queued' AND fence = 0
         ORDER BY due_at, id
         LIMIT 1
         FOR UPDATE",
    );
    let open = fetch_optional!(db, (Uuid,), select, user.uuid(), medium.as_str(), digest_key)?;
    let Some((digest,)) = open else { return Ok(None) };
    execute!(
        db,
        "INSERT INTO delivery_items (delivery_id, seq)
         VALUES ($1, $2)
         ON CONFLICT (delivery_id, seq) DO NOTHING",
        digest,
        seq,
    )?;
    Ok(Some(digest.into()))
}

/// What a digest is made of besides its first notification, in order, at most `limit`.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_digest_items(
    db: &mut Db,
    digest: DeliveryId,
    limit: i64,
) -> Result<Vec<Seq>, StoreError> {
    let rows = fetch_all!(
        db,
        (i64,),
        "SELECT seq FROM delivery_items
         WHERE delivery_id = $1
         ORDER BY seq
         LIMIT $2",
        digest.uuid(),
        limit,
    )?;
    Ok(rows.into_iter().map(|(seq,)| seq).collect())
}

/// Forgets every letter to a user who has left.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn delete_deliveries_to(db: &mut Db, user: UserId) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM deliveries WHERE user_id = $1", user.uuid()).map(|_| ())
}

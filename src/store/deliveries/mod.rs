//! Deliveries: the queue of each medium, and the log of what became of every letter.
//!
//! Invariant: a letter that is queued was wanted by a transaction that committed, and stays until it has an end.

pub mod behind;
pub mod log;
pub mod queue;

use serde_json::json;

use super::{Db, StoreError, execute};
use crate::domain::deliveries::{DeliveryStatus, NewDelivery};
use crate::domain::ids::UserId;
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

/// Forgets every letter to a user who has left.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn delete_deliveries_to(db: &mut Db, user: UserId) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM deliveries WHERE user_id = $1", user.uuid()).map(|_| ())
}

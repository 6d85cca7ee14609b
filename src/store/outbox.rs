//! The transactional outbox: facts kept for the rest of the system, in the transaction that made them true.
//!
//! Invariant: whoever waits for a row's lock before it tells of that row tells of it after those whom it waited for.

use serde::Serialize;

use super::{Db, StoreError, execute};
use crate::domain::events::DomainEvent;
use crate::origin;

#[derive(Serialize)]
struct Row<'e> {
    id: uuid::Uuid,
    topic: &'static str,
    name: &'static str,
    subject: &'e str,
    at: i64,
    data: String,
}

/// Appends one event; it is seen by subscribers if and only if the surrounding transaction commits.
///
/// # Errors
/// [`StoreError::Database`] when the database refuses.
pub async fn append(db: &mut Db, event: &DomainEvent) -> Result<(), StoreError> {
    append_all(db, std::slice::from_ref(event)).await
}

/// Appends events in their order, in one statement.
///
/// # Errors
/// [`StoreError::Database`] when the database refuses.
pub async fn append_all(db: &mut Db, events: &[DomainEvent]) -> Result<(), StoreError> {
    let origin = origin::current();
    let rows: Vec<Row<'_>> = events
        .iter()
        .map(|event| Row {
            id: event.id.uuid(),
            topic: event.topic,
            name: event.name,
            subject: &event.subject,
            at: event.at.millis(),
            data: event.data.to_string(),
        })
        .collect();
    let rows = serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let insert = db.dialect(
        "INSERT INTO outbox (event_id, topic, name, subject, at, request_id, traceparent, data)
         SELECT unhex(replace(j.value ->> 'id', '-', '')), j.value ->> 'topic',
                j.value ->> 'name', j.value ->> 'subject', j.value ->> 'at', $2, $3,
                j.value ->> 'data'
         FROM json_each($1) j
         ORDER BY j.key",
        // Not below any that this statement can see: what others have told of the same thing stays before it, although this
        // transaction may have got its number before theirs and waited for them. Nor below its own, for readers.
        "INSERT INTO outbox
             (xid, event_id, topic, name, subject, at, request_id, traceparent, data)
         SELECT greatest(pg_current_xact_id()::text::bigint,
                         pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1),
                (j.value ->> 'id')::uuid, j.value ->> 'topic', j.value ->> 'name',
                j.value ->> 'subject', (j.value ->> 'at')::bigint, $2, $3, j.value ->> 'data'
         FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS j (value, place)
         ORDER BY j.place",
    );
    execute!(db, insert, rows, origin.request_id.as_deref(), origin.traceparent.as_deref())
        .map(|_| ())
}

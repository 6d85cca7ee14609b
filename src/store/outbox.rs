//! The transactional outbox: facts kept for the rest of the system, in the transaction that made them true.

use super::{Db, StoreError, execute};
use crate::domain::events::DomainEvent;
use crate::origin;

/// Appends one event; it is seen by subscribers if and only if the surrounding transaction commits.
///
/// # Errors
/// [`StoreError::Database`] when the database refuses.
pub async fn append(db: &mut Db, event: &DomainEvent) -> Result<(), StoreError> {
    let origin = origin::current();
    execute!(
        db,
        "INSERT INTO outbox (event_id, topic, name, subject, at, request_id, traceparent, data)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        event.id.uuid(),
        event.topic,
        event.name,
        event.subject.as_str(),
        event.at.millis(),
        origin.request_id.as_deref(),
        origin.traceparent.as_deref(),
        event.data.to_string(),
    )
    .map(|_| ())
}

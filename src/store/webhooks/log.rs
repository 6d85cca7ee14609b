//! The log of an endpoint: what was sent to it, what became of that, and sending it again.
//!
//! Invariant: what is sent again is the same delivery, with the same id and body, so that receivers can drop repeats.

use uuid::Uuid;

use crate::domain::deliveries::{DeliveryStatus, NewDelivery};
use crate::domain::ids::{DeliveryId, EndpointId};
use crate::domain::time::Timestamp;
use crate::domain::webhooks::REPLAYED_MAX;
use crate::store::{Store, StoreError, deliveries, execute, fetch_all, fetch_one};

/// One delivery, as the log of its endpoint shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedDelivery {
    pub id: DeliveryId,
    /// The name of the event.
    pub event: String,
    pub status: DeliveryStatus,
    /// Why it ended as it did.
    pub reason: Option<String>,
    pub attempts: i64,
    pub created_at: Timestamp,
    /// When it is attempted next; of use while it is queued.
    pub due_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub last_attempt_at: Option<Timestamp>,
    /// What the last attempt came to, in a word and in the receiver's.
    pub last_outcome: Option<String>,
    pub last_detail: Option<String>,
    /// The id of the event; `None` on a line that was never to be sent.
    pub event_id: Option<String>,
}

/// A place in the log of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCursor {
    pub created_at: Timestamp,
    pub id: DeliveryId,
}

/// What a replay has queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    pub count: u64,
    /// Whether the same call would find more.
    pub has_more: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    status: String,
    reason: Option<String>,
    attempts: i64,
    created_at: i64,
    due_at: i64,
    finished_at: Option<i64>,
    last_attempt_at: Option<i64>,
    last_outcome: Option<String>,
    last_detail: Option<String>,
    event_id: Option<String>,
}

impl Row {
    fn into_delivery(self) -> Result<LoggedDelivery, StoreError> {
        Ok(LoggedDelivery {
            id: self.id.into(),
            event: self.kind,
            status: DeliveryStatus::parse(&self.status).ok_or(StoreError::NotFound)?,
            reason: self.reason,
            attempts: self.attempts,
            created_at: Timestamp::from_millis(self.created_at),
            due_at: Timestamp::from_millis(self.due_at),
            finished_at: self.finished_at.map(Timestamp::from_millis),
            last_attempt_at: self.last_attempt_at.map(Timestamp::from_millis),
            last_outcome: self.last_outcome,
            last_detail: self.last_detail,
            event_id: self.event_id,
        })
    }
}

/// A page of the log; `$event_id` is how the database finds that in a body.
macro_rules! select_log {
    ($event_id:literal) => {
        concat!(
            "SELECT d.id, d.kind, d.status, d.reason, d.attempts, d.created_at, d.due_at,
                    d.finished_at, a.began_at AS last_attempt_at, a.outcome AS last_outcome,
                    a.detail AS last_detail, ",
            $event_id,
            " AS event_id
             FROM deliveries d
             LEFT JOIN delivery_attempts a
                 ON a.delivery_id = d.id
                AND a.fence = (SELECT max(l.fence)
                               FROM delivery_attempts l
                               WHERE l.delivery_id = d.id)
             WHERE d.target_id = $1 AND d.medium = 'webhook'
               AND (d.created_at, d.id) < ($2, $3)
             ORDER BY d.created_at DESC, d.id DESC
             LIMIT $4"
        )
    };
}

impl Store {
    /// Puts deliveries into the queue; those that are known are left as they are.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn insert_webhook_deliveries(
        &self,
        wanted: Vec<NewDelivery>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            Box::pin(async move { deliveries::insert_all(db, &wanted, now).await })
        })
        .await
    }

    /// What was sent to an endpoint before `after`, the newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_webhook_deliveries(
        &self,
        endpoint: EndpointId,
        after: Option<LogCursor>,
        limit: i64,
    ) -> Result<Vec<LoggedDelivery>, StoreError> {
        let (before, id) = after.map_or((i64::MAX, Uuid::max()), |cursor| {
            (cursor.created_at.millis(), cursor.id.uuid())
        });
        let rows: Vec<Row> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    // Of a body that may be long, only its id is read.
                    let select = db.dialect(
                        select_log!("d.data ->> 'id'"),
                        select_log!("d.data::json ->> 'id'"),
                    );
                    fetch_all!(db, Row, select, endpoint.uuid(), before, id, limit)
                })
            })
            .await?;
        rows.into_iter().map(Row::into_delivery).collect()
    }

    /// Sends one delivery of an endpoint again, whatever became of it; one that is queued already is due now. False when
    /// the endpoint was sent no such delivery.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn replay_webhook_delivery(
        &self,
        endpoint: EndpointId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let queued = execute!(
                    db,
                    "UPDATE deliveries
                     SET due_at = $3,
                         first_due_at =
                             CASE WHEN status = 'queued' THEN first_due_at ELSE $3 END,
                         attempts = CASE WHEN status = 'queued' THEN attempts ELSE 0 END,
                         fence = CASE WHEN status = 'queued' THEN fence ELSE fence + 1 END,
                         status = 'queued', reason = NULL, provider_id = NULL,
                         finished_at = NULL
                     WHERE id = $1 AND target_id = $2 AND medium = 'webhook'
                       AND data IS NOT NULL",
                    delivery.uuid(),
                    endpoint.uuid(),
                    now.millis(),
                )?;
                Ok(queued > 0)
            })
        })
        .await
    }

    /// Sends again what was to go to an endpoint since `since` and did not arrive, the oldest first; at most
    /// [`REPLAYED_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn replay_webhook_since(
        &self,
        endpoint: EndpointId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Replayed, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let count = execute!(
                    db,
                    "UPDATE deliveries
                     SET status = 'queued', reason = NULL, provider_id = NULL, attempts = 0,
                         due_at = $3, first_due_at = $3, finished_at = NULL, owner = NULL, fence = fence + 1,
                         lease_until = 0
                     WHERE id IN (SELECT id
                                  FROM deliveries
                                  WHERE target_id = $1 AND medium = 'webhook'
                                    AND created_at >= $2
                                    AND status IN ('bounced', 'dead', 'suppressed')
                                    AND data IS NOT NULL
                                  ORDER BY created_at, id
                                  LIMIT $4)",
                    endpoint.uuid(),
                    since.millis(),
                    now.millis(),
                    i64::from(REPLAYED_MAX),
                )?;
                let (has_more,) = fetch_one!(
                    db,
                    (bool,),
                    "SELECT EXISTS (SELECT 1
                                    FROM deliveries
                                    WHERE target_id = $1 AND medium = 'webhook'
                                      AND created_at >= $2
                                      AND status IN ('bounced', 'dead', 'suppressed')
                                      AND data IS NOT NULL)",
                    endpoint.uuid(),
                    since.millis(),
                )?;
                Ok(Replayed { count, has_more })
            })
        })
        .await
    }
}

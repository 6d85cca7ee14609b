//! When an endpoint is sent nothing any more: because somebody says so, its receiver does, or it takes nothing.
//!
//! Invariant: an endpoint is disabled together with a line in its log and `WebhookDisabled`, once.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::publish;
use crate::clock;
use crate::domain::deliveries::NewDelivery;
use crate::domain::ids::EndpointId;
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::domain::webhooks::{DisableReason, QUEUE_FULL};
use crate::store::{Db, Store, StoreError, deliveries, execute, fetch_all};

const DISABLED: &str = "WebhookDisabled";
const DAY: Duration = Duration::from_hours(24);

impl Store {
    /// Disables what failed `failing_for` ago, fails today, and has taken nothing in between, nor was changed. Gives which.
    /// An endpoint that is sent little is given more time: it costs nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn disable_failing_webhooks(
        &self,
        failing_for: Duration,
        now: Timestamp,
    ) -> Result<Vec<EndpointId>, StoreError> {
        let began = now.minus(failing_for);
        self.write(move |db| {
            Box::pin(async move {
                // Whatever changes an endpoint, its address or its secret, may have mended it.
                let failing = fetch_all!(
                    db,
                    (Uuid,),
                    "SELECT e.id
                     FROM webhook_endpoints e
                     WHERE e.enabled_at IS NOT NULL AND e.updated_at <= $2
                       AND EXISTS (SELECT 1
                                   FROM deliveries d
                                   WHERE d.target_id = e.id AND d.attempts > 0
                                     AND d.status IN ('queued', 'bounced', 'dead')
                                     AND d.created_at BETWEEN $1 AND $2
                                     AND d.created_at >= e.updated_at)
                       AND EXISTS (SELECT 1
                                   FROM deliveries d
                                   WHERE d.target_id = e.id AND d.attempts > 0
                                     AND d.status IN ('queued', 'bounced', 'dead')
                                     AND d.created_at >= $3)
                       AND NOT EXISTS (SELECT 1
                                       FROM deliveries d
                                       WHERE d.target_id = e.id AND d.status = 'delivered'
                                         AND d.finished_at >= $2)
                     ORDER BY e.id",
                    began.minus(DAY).millis(),
                    began.millis(),
                    now.minus(DAY).millis(),
                )?;
                disable_all(db, failing, DisableReason::Failing, now).await
            })
        })
        .await
    }

    /// Disables what had no place for an event `full_for` ago, had none in the last hour, and has taken nothing in between,
    /// nor was changed. Gives which.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn disable_full_webhooks(
        &self,
        full_for: Duration,
        now: Timestamp,
    ) -> Result<Vec<EndpointId>, StoreError> {
        let began = now.minus(full_for);
        self.write(move |db| {
            Box::pin(async move {
                let full = fetch_all!(
                    db,
                    (Uuid,),
                    "SELECT e.id
                     FROM webhook_endpoints e
                     WHERE e.enabled_at IS NOT NULL AND e.updated_at <= $2
                       AND EXISTS (SELECT 1
                                   FROM deliveries d
                                   WHERE d.target_id = e.id AND d.reason = $4
                                     AND d.created_at BETWEEN $1 AND $2
                                     AND d.created_at >= e.updated_at)
                       AND EXISTS (SELECT 1
                                   FROM deliveries d
                                   WHERE d.target_id = e.id AND d.reason = $4
                                     AND d.created_at >= $3)
                       AND NOT EXISTS (SELECT 1
                                       FROM deliveries d
                                       WHERE d.target_id = e.id AND d.status = 'delivered'
                                         AND d.finished_at >= $2)
                     ORDER BY e.id",
                    began.minus(DAY).millis(),
                    began.millis(),
                    now.minus(Duration::from_hours(1)).millis(),
                    QUEUE_FULL,
                )?;
                disable_all(db, full, DisableReason::QueueFull, now).await
            })
        })
        .await
    }

    /// Disables an endpoint; false when it was disabled already, or is not there.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn disable_webhook(
        &self,
        id: EndpointId,
        reason: DisableReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| Box::pin(async move { disable(db, id, reason, now).await })).await
    }
}

/// Disables an endpoint whose receiver has said at `url` that it is gone; false when it has another address by now, was
/// disabled already, or is not there.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn disable_gone(
    db: &mut Db,
    id: EndpointId,
    url: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let disabled = execute!(
        db,
        "UPDATE webhook_endpoints
         SET enabled_at = NULL, disabled_reason = $2, updated_at = $3
         WHERE id = $1 AND url = $4 AND enabled_at IS NOT NULL",
        id.uuid(),
        DisableReason::Gone.as_str(),
        now.millis(),
        url,
    )?;
    tell(db, disabled, id, DisableReason::Gone, now).await
}

/// Disables an endpoint; false when it was disabled already, or is not there.
pub(super) async fn disable(
    db: &mut Db,
    id: EndpointId,
    reason: DisableReason,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let disabled = execute!(
        db,
        "UPDATE webhook_endpoints
         SET enabled_at = NULL, disabled_reason = $2, updated_at = $3
         WHERE id = $1 AND enabled_at IS NOT NULL",
        id.uuid(),
        reason.as_str(),
        now.millis(),
    )?;
    tell(db, disabled, id, reason, now).await
}

async fn disable_all(
    db: &mut Db,
    ids: Vec<(Uuid,)>,
    reason: DisableReason,
    now: Timestamp,
) -> Result<Vec<EndpointId>, StoreError> {
    let ids: Vec<EndpointId> = ids.into_iter().map(|(id,)| id.into()).collect();
    for id in &ids {
        disable(db, *id, reason, now).await?;
    }
    Ok(ids)
}

/// The line in the log and the event, if a row was `disabled`.
async fn tell(
    db: &mut Db,
    disabled: u64,
    id: EndpointId,
    reason: DisableReason,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if disabled == 0 {
        return Ok(false);
    }
    let line = NewDelivery {
        id: clock::new_uuid().into(),
        medium: Medium::Webhook,
        kind: DISABLED.to_owned(),
        user: None,
        seq: None,
        target: Some(id.uuid()),
        digest_key: None,
        data: None,
        due_at: now,
        suppressed: Some(reason.as_str().to_owned()),
    };
    deliveries::insert_all(db, &[line], now).await?;
    let data = json!({ "endpoint_id": id, "reason": reason });
    publish(db, DISABLED, id, data, now).await?;
    Ok(true)
}

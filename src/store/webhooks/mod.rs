//! Webhook endpoints: the rows, each change with the event it publishes.
//!
//! Invariant: secrets are never in an event, and neither are addresses: an address may hold one.

mod disabling;
mod log;
mod seals;

use serde_json::{Value, json};
use uuid::Uuid;

pub use self::disabling::disable_gone;
pub use self::log::{LogCursor, LoggedDelivery, Replayed};
use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional, outbox};
use crate::clock;
use crate::domain::events::{DomainEvent, WEBHOOK_EVENTS};
use crate::domain::ids::EndpointId;
use crate::domain::time::Timestamp;
use crate::domain::webhooks::{Description, DisableReason, ENDPOINTS_MAX, EventFilter, Receiver};

/// An endpoint, as far as anybody may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub url: String,
    pub events: EventFilter,
    pub description: String,
    /// Until when the secret before signs as well.
    pub old_secret_until: Option<Timestamp>,
    /// `None` while it is disabled.
    pub enabled_at: Option<Timestamp>,
    pub disabled_reason: Option<DisableReason>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A secret, sealed under the key with this mark.
#[derive(Clone)]
pub struct SealedSecret {
    pub bytes: Vec<u8>,
    pub mark: String,
}

/// An endpoint about to exist.
#[derive(Clone)]
pub struct NewEndpoint {
    pub id: EndpointId,
    pub url: String,
    pub events: EventFilter,
    pub description: Description,
    pub secret: SealedSecret,
    /// Who made it: `user:` or `service:` and an id.
    pub by: String,
}

/// What changes in an endpoint; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointChange {
    pub url: Option<String>,
    pub events: Option<EventFilter>,
    pub description: Option<Description>,
    pub is_enabled: Option<bool>,
}

/// What became of storing a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Done,
    /// There are as many endpoints as may be.
    TooMany,
    /// There is no such endpoint.
    NotFound,
    /// The secrets that are there were sealed under another key.
    OtherSeal,
}

/// Where a letter goes, and with which sealed secrets it is signed, the newest first.
#[derive(Clone)]
pub struct Addressee {
    pub url: String,
    pub is_enabled: bool,
    pub secrets: Vec<Vec<u8>>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    url: String,
    events: String,
    description: String,
    old_secret_until: Option<i64>,
    enabled_at: Option<i64>,
    disabled_reason: Option<String>,
    created_by: String,
    created_at: i64,
    updated_at: i64,
}

#[derive(sqlx::FromRow)]
struct AddresseeRow {
    url: String,
    secret: Vec<u8>,
    old_secret: Option<Vec<u8>>,
    old_secret_until: Option<i64>,
    enabled_at: Option<i64>,
}

impl From<Row> for Endpoint {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            url: row.url,
            events: filter(&row.events),
            description: row.description,
            old_secret_until: row.old_secret_until.map(Timestamp::from_millis),
            enabled_at: row.enabled_at.map(Timestamp::from_millis),
            disabled_reason: row.disabled_reason.as_deref().and_then(DisableReason::parse),
            created_by: row.created_by,
            created_at: Timestamp::from_millis(row.created_at),
            updated_at: Timestamp::from_millis(row.updated_at),
        }
    }
}

impl Store {
    /// Stores an endpoint, which is enabled; `WebhookCreated`. Of two that come at the same moment, both may still find
    /// room.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn insert_webhook(
        &self,
        endpoint: NewEndpoint,
        now: Timestamp,
    ) -> Result<Kept, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let (count,) = fetch_one!(db, (i64,), "SELECT count(*) FROM webhook_endpoints")?;
                if count >= ENDPOINTS_MAX {
                    return Ok(Kept::TooMany);
                }
                if !seals::is_seal(db, &endpoint.secret.mark).await? {
                    return Ok(Kept::OtherSeal);
                }
                execute!(
                    db,
                    "INSERT INTO webhook_endpoints
                         (id, url, events, description, secret, enabled_at, created_by,
                          created_at, updated_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $6, $6)",
                    endpoint.id.uuid(),
                    endpoint.url,
                    json!(endpoint.events).to_string(),
                    endpoint.description.as_str(),
                    endpoint.secret.bytes,
                    now.millis(),
                    endpoint.by.as_str(),
                )?;
                let data = json!({ "endpoint_id": endpoint.id, "by": endpoint.by });
                publish(db, "WebhookCreated", endpoint.id, data, now).await?;
                Ok(Kept::Done)
            })
        })
        .await
    }

    /// An endpoint.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_webhook(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let row: Option<Row> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        Row,
                        "SELECT id, url, events, description, old_secret_until, enabled_at,
                                disabled_reason, created_by, created_at, updated_at
                         FROM webhook_endpoints
                         WHERE id = $1",
                        id.uuid(),
                    )
                })
            })
            .await?;
        Ok(row.map(Endpoint::from))
    }

    /// The endpoints made before `after`, the newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_webhooks(
        &self,
        after: Option<EndpointId>,
        limit: i64,
    ) -> Result<Vec<Endpoint>, StoreError> {
        let after = after.map_or(Uuid::max(), EndpointId::uuid);
        let rows: Vec<Row> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        Row,
                        "SELECT id, url, events, description, old_secret_until, enabled_at,
                                disabled_reason, created_by, created_at, updated_at
                         FROM webhook_endpoints
                         WHERE id < $1
                         ORDER BY id DESC
                         LIMIT $2",
                        after,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(Endpoint::from).collect())
    }

    /// Changes an endpoint; `WebhookUpdated`, after `WebhookDisabled` if it disables it. One that is disabled keeps the
    /// first reason for that. `None` when there is no such endpoint.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn update_webhook(
        &self,
        id: EndpointId,
        change: EndpointChange,
        by: String,
        now: Timestamp,
    ) -> Result<Option<Endpoint>, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                if change.is_enabled == Some(false) {
                    disabling::disable(db, id, DisableReason::ByRequest, now).await?;
                }
                let row: Option<Row> = fetch_optional!(
                    db,
                    Row,
                    "UPDATE webhook_endpoints
                     SET url = coalesce($2, url),
                         events = coalesce($3, events),
                         description = coalesce($4, description),
                         enabled_at = CASE WHEN $5 IS NULL THEN enabled_at
                                           WHEN $5 THEN coalesce(enabled_at, $6) END,
                         disabled_reason = CASE WHEN $5 THEN NULL ELSE disabled_reason END,
                         updated_at = $6
                     WHERE id = $1
                     RETURNING id, url, events, description, old_secret_until, enabled_at,
                               disabled_reason, created_by, created_at, updated_at",
                    id.uuid(),
                    change.url,
                    change.events.map(|events| json!(events).to_string()),
                    change.description.as_ref().map(Description::as_str),
                    change.is_enabled,
                    now.millis(),
                )?;
                let Some(row) = row else { return Ok(None) };
                let data = json!({
                    "endpoint_id": id, "by": by, "enabled": row.enabled_at.is_some(),
                });
                publish(db, "WebhookUpdated", id, data, now).await?;
                Ok(Some(row.into()))
            })
        })
        .await
    }

    /// Deletes an endpoint; `WebhookDeleted`. False when there is none. What was on its way is not sent any more.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_webhook(
        &self,
        id: EndpointId,
        by: String,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let deleted =
                    execute!(db, "DELETE FROM webhook_endpoints WHERE id = $1", id.uuid())?;
                if deleted == 0 {
                    return Ok(false);
                }
                let data = json!({ "endpoint_id": id, "by": by });
                publish(db, "WebhookDeleted", id, data, now).await?;
                Ok(true)
            })
        })
        .await
    }

    /// The endpoints that events go to; what waits for each is counted up to `queued_max`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_webhook_receivers(
        &self,
        queued_max: i64,
    ) -> Result<Vec<Receiver>, StoreError> {
        let rows: Vec<(Uuid, String, i64, i64)> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (Uuid, String, i64, i64),
                        "SELECT e.id, e.events, e.enabled_at,
                                (SELECT count(*) FROM
                                    (SELECT 1 FROM deliveries d
                                     WHERE d.target_id = e.id AND d.medium = 'webhook'
                                       AND d.status = 'queued'
                                     LIMIT $1) AS waiting)
                         FROM webhook_endpoints e
                         WHERE e.enabled_at IS NOT NULL
                         ORDER BY e.id",
                        queued_max,
                    )
                })
            })
            .await?;
        let receivers = rows.into_iter().map(|(id, events, enabled_at, queued)| Receiver {
            id: id.into(),
            events: filter(&events),
            enabled_at: Timestamp::from_millis(enabled_at),
            queued,
        });
        Ok(receivers.collect())
    }

    /// Where letters for an endpoint go now; `None` once it was deleted.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_webhook_addressee(
        &self,
        id: EndpointId,
        now: Timestamp,
    ) -> Result<Option<Addressee>, StoreError> {
        let row: Option<AddresseeRow> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        AddresseeRow,
                        "SELECT url, secret, old_secret, old_secret_until, enabled_at
                         FROM webhook_endpoints
                         WHERE id = $1",
                        id.uuid(),
                    )
                })
            })
            .await?;
        Ok(row.map(|row| {
            let is_old_valid = row.old_secret_until.is_some_and(|until| now.millis() < until);
            let old = row.old_secret.filter(|_| is_old_valid);
            let secrets = [Some(row.secret), old].into_iter().flatten().collect();
            Addressee { url: row.url, is_enabled: row.enabled_at.is_some(), secrets }
        }))
    }
}

/// What this release cannot read takes nothing.
fn filter(events: &str) -> EventFilter {
    serde_json::from_str(events).unwrap_or_default()
}

async fn publish(
    db: &mut Db,
    name: &'static str,
    endpoint: EndpointId,
    data: Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = DomainEvent {
        id: clock::new_uuid().into(),
        topic: WEBHOOK_EVENTS,
        name,
        subject: endpoint.to_string(),
        at: now,
        data,
    };
    outbox::append(db, &event).await
}

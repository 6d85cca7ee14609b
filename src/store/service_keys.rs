//! Service keys: the rows, each change with the event it publishes.
//!
//! Invariant: of a key's secret only the SHA-256 is here, and no list shows that.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional, outbox};
use crate::clock;
use crate::domain::events::{AUTH_EVENTS, DomainEvent};
use crate::domain::ids::{ServiceKeyId, UserId};
use crate::domain::service_keys::{KEYS_MAX, Scopes, ServiceName};
use crate::domain::time::Timestamp;

/// How exactly the last use of a key is known.
pub const USE_INTERVAL: Duration = Duration::from_mins(1);

/// A key, as far as anybody may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceKey {
    pub id: ServiceKeyId,
    /// Of the service that calls with it.
    pub name: String,
    pub scopes: Scopes,
    /// `None` for one that was made on the command line.
    pub created_by: Option<UserId>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl ServiceKey {
    /// Whether it opens anything now.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}

/// A key with what proves its holder.
#[derive(Clone)]
pub struct KnownKey {
    pub key: ServiceKey,
    pub hash: Vec<u8>,
}

/// A key about to exist.
#[derive(Clone)]
pub struct NewServiceKey {
    pub id: ServiceKeyId,
    pub name: ServiceName,
    pub scopes: Scopes,
    pub hash: [u8; 32],
    pub created_by: Option<UserId>,
    pub expires_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    scopes: String,
    hash: Vec<u8>,
    created_by: Option<Uuid>,
    created_at: i64,
    expires_at: i64,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl From<Row> for KnownKey {
    fn from(row: Row) -> Self {
        let key = ServiceKey {
            id: row.id.into(),
            name: row.name,
            scopes: Scopes::from_text(&row.scopes),
            created_by: row.created_by.map(UserId::from),
            created_at: Timestamp::from_millis(row.created_at),
            expires_at: Timestamp::from_millis(row.expires_at),
            last_used_at: row.last_used_at.map(Timestamp::from_millis),
            revoked_at: row.revoked_at.map(Timestamp::from_millis),
        };
        Self { key, hash: row.hash }
    }
}

impl Store {
    /// Stores a key; `ServiceKeyCreated`. False when so many are alive that nothing was done; of two that come at the same
    /// moment, both may still find room.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn insert_service_key(
        &self,
        key: NewServiceKey,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let (alive,) = fetch_one!(
                    db,
                    (i64,),
                    "SELECT count(*) FROM service_keys WHERE revoked_at IS NULL AND expires_at > $1",
                    now.millis(),
                )?;
                if alive >= KEYS_MAX {
                    return Ok(false);
                }
                execute!(
                    db,
                    "INSERT INTO service_keys
                         (id, name, scopes, hash, created_by, created_at, expires_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    key.id.uuid(),
                    key.name.as_str(),
                    key.scopes.to_text(),
                    key.hash.as_slice(),
                    key.created_by.map(UserId::uuid),
                    now.millis(),
                    key.expires_at.millis(),
                )?;
                let data = json!({
                    "key_id": key.id, "name": key.name.as_str(), "scopes": key.scopes,
                    "by": key.created_by, "expires_at": key.expires_at,
                });
                publish(db, "ServiceKeyCreated", key.id, data, now).await?;
                Ok(true)
            })
        })
        .await
    }

    /// A key with its hash, dead ones too.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_service_key(&self, id: ServiceKeyId) -> Result<Option<KnownKey>, StoreError> {
        let row: Option<Row> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        Row,
                        "SELECT id, name, scopes, hash, created_by, created_at, expires_at,
                                last_used_at, revoked_at
                         FROM service_keys
                         WHERE id = $1",
                        id.uuid(),
                    )
                })
            })
            .await?;
        Ok(row.map(KnownKey::from))
    }

    /// The keys made before `after`, dead ones too, the newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_service_keys(
        &self,
        after: Option<ServiceKeyId>,
        limit: i64,
    ) -> Result<Vec<ServiceKey>, StoreError> {
        let after = after.map_or(Uuid::max(), ServiceKeyId::uuid);
        let rows: Vec<Row> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        Row,
                        "SELECT id, name, scopes, hash, created_by, created_at, expires_at,
                                last_used_at, revoked_at
                         FROM service_keys
                         WHERE id < $1
                         ORDER BY id DESC
                         LIMIT $2",
                        after,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|row| KnownKey::from(row).key).collect())
    }

    /// Ends a key; `ServiceKeyRevoked`, once. False when there is none.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn revoke_service_key(
        &self,
        id: ServiceKeyId,
        by: UserId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let revoked = execute!(
                    db,
                    "UPDATE service_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL",
                    id.uuid(),
                    now.millis(),
                )?;
                if revoked > 0 {
                    let data = json!({ "key_id": id, "by": by });
                    publish(db, "ServiceKeyRevoked", id, data, now).await?;
                    return Ok(true);
                }
                let found = fetch_optional!(
                    db,
                    (i64,),
                    "SELECT revoked_at FROM service_keys WHERE id = $1",
                    id.uuid()
                )?;
                Ok(found.is_some())
            })
        })
        .await
    }

    /// Notes that a key was used, unless that is known to the minute.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn touch_service_key(
        &self,
        id: ServiceKeyId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "UPDATE service_keys
                     SET last_used_at = $2
                     WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)",
                    id.uuid(),
                    now.millis(),
                    now.minus(USE_INTERVAL).millis(),
                )
            })
        })
        .await
        .map(|_| ())
    }
}

async fn publish(
    db: &mut Db,
    name: &'static str,
    key: ServiceKeyId,
    data: serde_json::Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = DomainEvent {
        id: clock::new_uuid().into(),
        topic: AUTH_EVENTS,
        name,
        subject: key.to_string(),
        at: now,
        data,
    };
    outbox::append(db, &event).await
}

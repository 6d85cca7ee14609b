//! Devices: where push messages for a user go.
//!
//! Invariant: an address is one device, of whoever registered it last; a user has at most [`DEVICES_MAX`]; and a device
//! ends with the session that registered it.

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::domain::devices::{DEVICES_MAX, Device, DeviceAddress, DeviceKind};
use crate::domain::ids::{DeviceId, SessionId, UserId};
use crate::domain::time::Timestamp;

#[derive(sqlx::FromRow)]
struct DeviceRow {
    id: Uuid,
    user_id: Uuid,
    kind: String,
    address: String,
    p256dh: Option<String>,
    auth: Option<String>,
    name: String,
    created_at: i64,
    last_used_at: i64,
}

impl Store {
    /// Registers a device for as long as `session` lasts; one whose address is known moves to `user`, and keeps its id if it
    /// was theirs already. Those that were not used for the longest time make room. Gives the device, and whether it is new.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the session has ended.
    pub async fn insert_device(
        &self,
        id: DeviceId,
        (user, session): (UserId, SessionId),
        address: DeviceAddress,
        name: String,
        now: Timestamp,
    ) -> Result<(Device, bool), StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                // Whoever ends the session meanwhile waits, and finds the device then.
                let lock = db.dialect(
                    "SELECT 1 FROM sessions
                     WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL",
                    "SELECT 1::bigint FROM sessions
                     WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL
                     FOR SHARE",
                );
                let open = fetch_optional!(db, (i64,), lock, session.uuid(), user.uuid())?;
                open.ok_or(StoreError::NotFound)?;
                // What waits for the device is for whom it was: under a new id, it goes nowhere.
                let taken = execute!(
                    db,
                    "DELETE FROM devices WHERE address = $1 AND user_id <> $2",
                    address.key(),
                    user.uuid(),
                )?;
                let row = upsert(db, id, (user, session), &address, &name, now).await?;
                delete_least_used(db, user).await?;
                let is_new = row.id == id.uuid() && taken == 0;
                Ok((row.into_device().ok_or(StoreError::NotFound)?, is_new))
            })
        })
        .await
    }

    /// The devices of a user, the last used first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_devices(&self, user: UserId) -> Result<Vec<Device>, StoreError> {
        self.read(move |db| Box::pin(async move { list_devices_of(db, &[user]).await })).await
    }

    /// Forgets a device of a user; gives whether there was one.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_device_of(
        &self,
        user: UserId,
        device: DeviceId,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let deleted = execute!(
                    db,
                    "DELETE FROM devices WHERE id = $1 AND user_id = $2",
                    device.uuid(),
                    user.uuid(),
                )?;
                Ok(deleted > 0)
            })
        })
        .await
    }
}

/// The devices of several users in one question, by user, the last used first.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_devices_of(db: &mut Db, users: &[UserId]) -> Result<Vec<Device>, StoreError> {
    let select = db.dialect(
        "SELECT id, user_id, kind, address, p256dh, auth, name, created_at, last_used_at
         FROM devices
         WHERE user_id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)
         ORDER BY user_id, last_used_at DESC, id DESC",
        "SELECT id, user_id, kind, address, p256dh, auth, name, created_at, last_used_at
         FROM devices
         WHERE user_id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)
         ORDER BY user_id, last_used_at DESC, id DESC",
    );
    let rows = fetch_all!(db, DeviceRow, select, json!(users).to_string())?;
    Ok(rows.into_iter().filter_map(DeviceRow::into_device).collect())
}

/// One device; `None` for one that was deleted, or moved to another user.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_device(db: &mut Db, device: DeviceId) -> Result<Option<Device>, StoreError> {
    let row = fetch_optional!(
        db,
        DeviceRow,
        "SELECT id, user_id, kind, address, p256dh, auth, name, created_at, last_used_at
         FROM devices
         WHERE id = $1",
        device.uuid(),
    )?;
    Ok(row.and_then(DeviceRow::into_device))
}

/// A device has taken a message.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn update_device_used(
    db: &mut Db,
    device: DeviceId,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE devices SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2",
        device.uuid(),
        now.millis(),
    )
    .map(|_| ())
}

/// Forgets a device, such as one whose push service says that it is no more.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn delete_device(db: &mut Db, device: DeviceId) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM devices WHERE id = $1", device.uuid()).map(|_| ())
}

/// Forgets what sessions registered that have just ended.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn delete_devices_of_sessions(
    db: &mut Db,
    ended: &[SessionId],
) -> Result<(), StoreError> {
    if ended.is_empty() {
        return Ok(());
    }
    let delete = db.dialect(
        "DELETE FROM devices
         WHERE session_id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)",
        "DELETE FROM devices
         WHERE session_id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)",
    );
    execute!(db, delete, json!(ended).to_string()).map(|_| ())
}

/// Forgets the devices of a user but those that `kept` registered.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn delete_other_devices(
    db: &mut Db,
    user: UserId,
    kept: Option<SessionId>,
) -> Result<(), StoreError> {
    execute!(
        db,
        "DELETE FROM devices
         WHERE user_id = $1 AND (session_id IS NULL OR session_id <> $2)",
        user.uuid(),
        // No session has the nil id, so it keeps none.
        kept.map_or(Uuid::nil(), SessionId::uuid),
    )
    .map(|_| ())
}

/// Forgets every device of a user who has left.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn delete_devices_of(db: &mut Db, user: UserId) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM devices WHERE user_id = $1", user.uuid()).map(|_| ())
}

async fn upsert(
    db: &mut Db,
    id: DeviceId,
    (user, session): (UserId, SessionId),
    address: &DeviceAddress,
    name: &str,
    now: Timestamp,
) -> Result<DeviceRow, StoreError> {
    let keys = match address {
        DeviceAddress::WebPush { p256dh, auth, .. } => Some((p256dh.as_str(), auth.as_str())),
        DeviceAddress::Fcm { .. } => None,
    };
    fetch_one!(
        db,
        DeviceRow,
        "INSERT INTO devices (id, user_id, kind, address, p256dh, auth, name, created_at,
                              last_used_at, session_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)
         ON CONFLICT (address) DO UPDATE
         SET user_id = excluded.user_id, kind = excluded.kind, p256dh = excluded.p256dh,
             auth = excluded.auth, name = excluded.name, last_used_at = excluded.last_used_at,
             session_id = excluded.session_id
         RETURNING id, user_id, kind, address, p256dh, auth, name, created_at, last_used_at",
        id.uuid(),
        user.uuid(),
        address.kind().as_str(),
        address.key(),
        keys.map(|(p256dh, _)| p256dh),
        keys.map(|(_, auth)| auth),
        name,
        now.millis(),
        session.uuid(),
    )
}

async fn delete_least_used(db: &mut Db, user: UserId) -> Result<(), StoreError> {
    execute!(
        db,
        "DELETE FROM devices
         WHERE user_id = $1 AND id NOT IN
             (SELECT id FROM devices
              WHERE user_id = $1
              ORDER BY last_used_at DESC, id DESC
              LIMIT $2)",
        user.uuid(),
        i64::try_from(DEVICES_MAX).unwrap_or(i64::MAX),
    )
    .map(|_| ())
}

impl DeviceRow {
    /// `None` for a kind that a later release knows.
    fn into_device(self) -> Option<Device> {
        let address = match DeviceKind::parse(&self.kind)? {
            DeviceKind::WebPush => DeviceAddress::WebPush {
                endpoint: self.address,
                p256dh: self.p256dh?,
                auth: self.auth?,
            },
            DeviceKind::Fcm => DeviceAddress::Fcm { token: self.address },
        };
        Some(Device {
            id: self.id.into(),
            user: self.user_id.into(),
            address,
            name: self.name,
            created_at: Timestamp::from_millis(self.created_at),
            last_used_at: Timestamp::from_millis(self.last_used_at),
        })
    }
}

//! Presences: how users are shown, who may see it, and in which rooms it is seen.

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional, outbox};
use crate::domain::events::{DomainEvent, USER_ONLINE_STATUS};
use crate::domain::ids::{EventId, RoomId, UserId};
use crate::domain::presence::{Presence, Status};
use crate::domain::time::Timestamp;

#[derive(sqlx::FromRow)]
struct PresenceRow {
    user_id: Uuid,
    status: Option<String>,
    last_seen_at: Option<i64>,
}

impl Store {
    /// How a user is shown; offline where nothing is known.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_presence(&self, user: UserId) -> Result<Presence, StoreError> {
        let row: Option<PresenceRow> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        PresenceRow,
                        "SELECT user_id, status, last_seen_at FROM presences WHERE user_id = $1",
                        user.uuid(),
                    )
                })
            })
            .await?;
        let unknown = Presence { user_id: user, status: Status::Offline, last_seen_at: None };
        Ok(row.map_or(unknown, PresenceRow::into_presence))
    }

    /// Shows a user differently from now on, and tells the rest of the system.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was stored.
    pub async fn update_presence(
        &self,
        event: EventId,
        presence: Presence,
        before: Status,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Presence { user_id, status, last_seen_at } = presence;
        let seen_at = last_seen_at.unwrap_or(now);
        let flips = (before == Status::Offline) != (status == Status::Offline);
        let event = DomainEvent {
            id: event,
            topic: USER_ONLINE_STATUS,
            name: if flips { "UserOnlineStatusChanged" } else { "UserStatusChanged" },
            subject: user_id.to_string(),
            at: now,
            data: json!({ "user_id": user_id, "status": status, "last_seen_at": seen_at }),
        };
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "INSERT INTO presences (user_id, status, changed_at, last_seen_at)
                     VALUES ($1, $2, $3, $4)
                     ON CONFLICT (user_id) DO UPDATE
                     SET status = $2, changed_at = $3, last_seen_at = $4",
                    user_id.uuid(),
                    status.as_str(),
                    now.millis(),
                    seen_at.millis(),
                )?;
                outbox::append(db, &event).await
            })
        })
        .await
    }

    /// How `users` are shown, as far as `viewer` may see them: oneself, and whoever shares a room.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_presences(
        &self,
        viewer: UserId,
        users: &[UserId],
    ) -> Result<Vec<Presence>, StoreError> {
        let wanted = json!(users).to_string();
        let rows: Vec<PresenceRow> = self
            .read(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT u.id AS user_id, p.status, p.last_seen_at
                         FROM json_each($2) j
                         JOIN users u ON u.id = unhex(replace(j.value, '-', ''))
                                     AND u.deleted_at IS NULL
                         LEFT JOIN presences p ON p.user_id = u.id
                         WHERE u.id = $1 OR EXISTS
                             (SELECT 1 FROM room_members mine
                              JOIN room_members theirs ON theirs.room_id = mine.room_id
                              WHERE mine.user_id = $1 AND theirs.user_id = u.id)",
                        "SELECT u.id AS user_id, p.status, p.last_seen_at
                         FROM jsonb_array_elements_text($2::jsonb) j
                         JOIN users u ON u.id = j.value::uuid AND u.deleted_at IS NULL
                         LEFT JOIN presences p ON p.user_id = u.id
                         WHERE u.id = $1 OR EXISTS
                             (SELECT 1 FROM room_members mine
                              JOIN room_members theirs ON theirs.room_id = mine.room_id
                              WHERE mine.user_id = $1 AND theirs.user_id = u.id)",
                    );
                    fetch_all!(db, PresenceRow, select, viewer.uuid(), wanted)
                })
            })
            .await?;
        Ok(rows.into_iter().map(PresenceRow::into_presence).collect())
    }

    /// Everybody who is not shown as offline.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_shown(&self) -> Result<Vec<UserId>, StoreError> {
        let rows: Vec<(Uuid,)> = self
            .read(|db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (Uuid,),
                        "SELECT user_id FROM presences WHERE status <> 'offline'"
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(user,)| user.into()).collect())
    }

    /// The rooms in which a user is seen, each with its number of members.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_room_sizes(&self, user: UserId) -> Result<Vec<(RoomId, i64)>, StoreError> {
        let rows: Vec<(Uuid, i64)> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (Uuid, i64),
                        "SELECT r.id, r.member_count
                         FROM room_members m
                         JOIN rooms r ON r.id = m.room_id
                         WHERE m.user_id = $1",
                        user.uuid(),
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(room, members)| (room.into(), members)).collect())
    }

    /// How many members of a room are not offline.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count_present(&self, room: RoomId) -> Result<i64, StoreError> {
        let (count,): (i64,) = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (i64,),
                        "SELECT COUNT(*)
                         FROM room_members m
                         JOIN presences p ON p.user_id = m.user_id
                         WHERE m.room_id = $1 AND p.status <> 'offline'",
                        room.uuid(),
                    )
                })
            })
            .await?;
        Ok(count)
    }

    /// Whom a user talks with in direct rooms, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_direct_peers(
        &self,
        user: UserId,
        limit: i64,
    ) -> Result<Vec<UserId>, StoreError> {
        let rows: Vec<(Uuid,)> = self
            .read(move |db: &mut Db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (Uuid,),
                        "SELECT theirs.user_id
                         FROM room_members mine
                         JOIN rooms r ON r.id = mine.room_id AND r.kind = 'direct'
                         JOIN room_members theirs ON theirs.room_id = r.id
                                                 AND theirs.user_id <> mine.user_id
                         WHERE mine.user_id = $1
                         ORDER BY r.last_active_at DESC
                         LIMIT $2",
                        user.uuid(),
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(user,)| user.into()).collect())
    }
}

impl PresenceRow {
    fn into_presence(self) -> Presence {
        let status = self.status.as_deref().and_then(Status::parse).unwrap_or(Status::Offline);
        let last_seen_at = self.last_seen_at.map(Timestamp::from_millis);
        Presence { user_id: self.user_id.into(), status, last_seen_at }
    }
}

//! Markers: whoever has read a room has read what they were told of it.
//!
//! Many read at once, so many are looked at, and changed, in one statement.

use std::collections::BTreeMap;

use serde_json::json;
use uuid::Uuid;

use super::UNREAD_MAX;
use super::changes::{IDS_A_NOTE_MAX, lock};
use crate::domain::ids::{NotificationId, RoomId, UserId};
use crate::domain::inbox::{InboxEvent, InboxNote};
use crate::domain::notifications::MessagePlace;
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, fetch_all, inboxes};

/// How far a user has read a room.
pub type Marker = (UserId, RoomId, Seq);

impl Store {
    /// Which of these markers, of a user and a room, pass notifications that are unread.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_unread_of_rooms(
        &self,
        markers: Vec<Marker>,
    ) -> Result<Vec<Marker>, StoreError> {
        let rows: Vec<(Uuid, Uuid, i64)> = self
            .read(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT unhex(replace(j.value ->> 0, '-', '')),
                                unhex(replace(j.value ->> 1, '-', '')), j.value ->> 2
                         FROM json_each($1) j
                         WHERE EXISTS
                             (SELECT 1 FROM notifications n
                              WHERE n.user_id = unhex(replace(j.value ->> 0, '-', ''))
                                AND n.room_id = unhex(replace(j.value ->> 1, '-', ''))
                                AND n.room_seq <= (j.value ->> 2) AND n.read_at IS NULL
                                AND n.archived_at IS NULL AND n.deleted_at IS NULL)",
                        "SELECT (j.value ->> 0)::uuid, (j.value ->> 1)::uuid,
                                (j.value ->> 2)::bigint
                         FROM jsonb_array_elements($1::jsonb) j
                         WHERE EXISTS
                             (SELECT 1 FROM notifications n
                              WHERE n.user_id = (j.value ->> 0)::uuid
                                AND n.room_id = (j.value ->> 1)::uuid
                                AND n.room_seq <= (j.value ->> 2)::bigint AND n.read_at IS NULL
                                AND n.archived_at IS NULL AND n.deleted_at IS NULL)",
                    );
                    fetch_all!(db, (Uuid, Uuid, i64), select, json!(markers).to_string())
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(user, room, seq)| (user.into(), room.into(), seq)).collect())
    }

    /// Whoever has read a room has read what they were notified of there: all of these markers in one transaction. Gives
    /// what devices are told.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was changed.
    pub async fn read_rooms(
        &self,
        markers: Vec<Marker>,
        now: Timestamp,
    ) -> Result<Vec<InboxEvent>, StoreError> {
        if markers.is_empty() {
            return Ok(Vec::new());
        }
        self.write(move |db| Box::pin(async move { read_all(db, &markers, now).await })).await
    }

    /// Which of these users have read a room up to a message at least.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_readers(
        &self,
        place: MessagePlace,
        users: Vec<UserId>,
    ) -> Result<Vec<Marker>, StoreError> {
        let rows: Vec<(Uuid, i64)> = self
            .read(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT m.user_id, m.read_seq FROM json_each($3) j
                         JOIN room_members m
                           ON m.room_id = $1 AND m.user_id = unhex(replace(j.value, '-', ''))
                         WHERE m.read_seq >= $2",
                        "SELECT m.user_id, m.read_seq FROM jsonb_array_elements_text($3::jsonb) j
                         JOIN room_members m ON m.room_id = $1 AND m.user_id = j.value::uuid
                         WHERE m.read_seq >= $2",
                    );
                    let users = json!(users).to_string();
                    fetch_all!(db, (Uuid, i64), select, place.room.uuid(), place.seq, users)
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(user, seq)| (user.into(), place.room, seq)).collect())
    }
}

async fn read_all(
    db: &mut Db,
    markers: &[Marker],
    now: Timestamp,
) -> Result<Vec<InboxEvent>, StoreError> {
    let users: Vec<UserId> = markers.iter().map(|(user, ..)| *user).collect();
    lock(db, &users).await?;
    let update = db.dialect(
        "UPDATE notifications SET read_at = $2
         FROM json_each($1) j
         WHERE notifications.user_id = unhex(replace(j.value ->> 0, '-', ''))
           AND notifications.room_id = unhex(replace(j.value ->> 1, '-', ''))
           AND notifications.room_seq <= j.value ->> 2 AND notifications.read_at IS NULL
           AND notifications.archived_at IS NULL AND notifications.deleted_at IS NULL
         RETURNING user_id, id",
        "UPDATE notifications SET read_at = $2
         FROM jsonb_array_elements($1::jsonb) j
         WHERE notifications.user_id = (j.value ->> 0)::uuid
           AND notifications.room_id = (j.value ->> 1)::uuid
           AND notifications.room_seq <= (j.value ->> 2)::bigint
           AND notifications.read_at IS NULL AND notifications.archived_at IS NULL
           AND notifications.deleted_at IS NULL
         RETURNING notifications.user_id, notifications.id",
    );
    let rows = fetch_all!(db, (Uuid, Uuid), update, json!(markers).to_string(), now.millis())?;
    let mut read: BTreeMap<UserId, Vec<NotificationId>> = BTreeMap::new();
    for (user, id) in rows {
        read.entry(user.into()).or_default().push(id.into());
    }
    let unread = count_unread_of(db, read.keys().copied().collect()).await?;
    let notes = read.iter().flat_map(|(user, ids)| {
        let unread_count = unread.get(user).copied().unwrap_or(0);
        ids.chunks(IDS_A_NOTE_MAX)
            .map(move |ids| InboxNote::notifications_read(*user, ids, unread_count))
    });
    inboxes::append(db, notes.collect(), now).await
}

/// As [`super::count_unread`], of several users.
async fn count_unread_of(
    db: &mut Db,
    users: Vec<UserId>,
) -> Result<BTreeMap<UserId, i64>, StoreError> {
    if users.is_empty() {
        return Ok(BTreeMap::new());
    }
    let select = db.dialect(
        "SELECT unhex(replace(j.value, '-', '')),
                (SELECT COUNT(*) FROM
                     (SELECT 1 FROM notifications n
                      WHERE n.user_id = unhex(replace(j.value, '-', '')) AND n.read_at IS NULL
                        AND n.archived_at IS NULL AND n.deleted_at IS NULL
                      LIMIT $2))
         FROM json_each($1) j",
        "SELECT j.value::uuid,
                (SELECT COUNT(*) FROM
                     (SELECT 1 FROM notifications n
                      WHERE n.user_id = j.value::uuid AND n.read_at IS NULL
                        AND n.archived_at IS NULL AND n.deleted_at IS NULL
                      LIMIT $2) AS unread)
         FROM jsonb_array_elements_text($1::jsonb) j",
    );
    let rows = fetch_all!(db, (Uuid, i64), select, json!(users).to_string(), UNREAD_MAX)?;
    Ok(rows.into_iter().map(|(user, count)| (user.into(), count)).collect())
}

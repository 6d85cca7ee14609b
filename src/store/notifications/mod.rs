//! Notifications: who is told of an occasion, and what becomes of what they were told.

pub mod fanouts;
pub mod letters;
pub mod pages;
mod recipients;
mod waiting;

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, inboxes};
use crate::domain::ids::{NotificationId, RoomId, UserId};
use crate::domain::inbox::{InboxEvent, InboxNote};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;

/// Unread counts stop here: nobody reads a badge of more.
pub const UNREAD_MAX: i64 = 1_000;
/// Notifications that one event tells of at most.
const IDS_A_NOTE_MAX: usize = 500;

/// A notification as its user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub id: NotificationId,
    pub seq: Seq,
    pub kind: String,
    pub group_key: Option<String>,
    pub at: Timestamp,
    pub read_at: Option<Timestamp>,
    pub archived_at: Option<Timestamp>,
    /// What it says: the JSON of its `notification_created`.
    pub content: String,
}

/// Which notifications a list shows; those that were deleted are never among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shelf {
    /// Everything that is not archived.
    #[default]
    Inbox,
    Unread,
    Read,
    Archived,
}

impl Shelf {
    const fn word(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Unread => "unread",
            Self::Read => "read",
            Self::Archived => "archived",
        }
    }
}

/// Which notifications a change is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    These(Vec<NotificationId>),
    /// Everything in the inbox up to a place.
    UpTo(Seq),
    /// Those about a room's messages up to one.
    OfRoom {
        room: RoomId,
        seq: Seq,
    },
}

/// What is done with notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Read,
    Archive,
    /// Back into the inbox.
    Restore,
    Delete,
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    pub ids: Vec<NotificationId>,
    pub unread_count: i64,
    /// What the user's devices are told.
    pub events: Vec<InboxEvent>,
}

#[derive(sqlx::FromRow)]
struct NotificationRow {
    id: Uuid,
    seq: i64,
    kind: String,
    group_key: Option<String>,
    created_at: i64,
    read_at: Option<i64>,
    archived_at: Option<i64>,
    content: String,
}

impl Store {
    /// A user's notifications, the newest first, from below `before`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_notifications(
        &self,
        user: UserId,
        shelf: Shelf,
        kind: Option<String>,
        before: Option<Seq>,
        limit: i64,
    ) -> Result<Vec<Notification>, StoreError> {
        let rows: Vec<NotificationRow> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        NotificationRow,
                        "SELECT n.id, n.seq, n.kind, n.group_key, n.created_at, n.read_at,
                                n.archived_at, e.data AS content
                         FROM notifications n
                         JOIN inbox_events e ON e.user_id = n.user_id AND e.seq = n.seq
                         WHERE n.user_id = $1 AND n.seq < $2 AND n.deleted_at IS NULL
                           AND (CASE $3
                                WHEN 'archived' THEN n.archived_at IS NOT NULL
                                WHEN 'unread' THEN n.archived_at IS NULL AND n.read_at IS NULL
                                WHEN 'read' THEN n.archived_at IS NULL AND n.read_at IS NOT NULL
                                ELSE n.archived_at IS NULL END)
                           AND ($4 = '' OR n.kind = $4)
                         ORDER BY n.seq DESC
                         LIMIT $5",
                        user.uuid(),
                        before.unwrap_or(i64::MAX),
                        shelf.word(),
                        kind.unwrap_or_default(),
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(NotificationRow::into_notification).collect())
    }

    /// How many of a user's notifications are unread, counted up to [`UNREAD_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count_unread_notifications(&self, user: UserId) -> Result<i64, StoreError> {
        self.read(move |db| Box::pin(async move { count_unread(db, user).await })).await
    }

    /// Which of these markers, of a user and a room, pass notifications that are unread.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_unread_of_rooms(
        &self,
        markers: Vec<(UserId, RoomId, Seq)>,
    ) -> Result<Vec<(UserId, RoomId, Seq)>, StoreError> {
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

    /// Changes notifications of a user. What is as wanted already is not changed again, and nobody is told of it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when one of those that were named is not the user's; nothing was changed then.
    pub async fn change_notifications(
        &self,
        user: UserId,
        which: Which,
        change: Change,
        now: Timestamp,
    ) -> Result<Changed, StoreError> {
        self.write(move |db| {
            Box::pin(async move { change_all(db, user, &which, change, now).await })
        })
        .await
    }
}

async fn count_unread(db: &mut Db, user: UserId) -> Result<i64, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM
             (SELECT 1 FROM notifications
              WHERE user_id = $1 AND read_at IS NULL AND archived_at IS NULL
                AND deleted_at IS NULL
              LIMIT $2) AS unread",
        user.uuid(),
        UNREAD_MAX,
    )?;
    Ok(count)
}

async fn change_all(
    db: &mut Db,
    user: UserId,
    which: &Which,
    change: Change,
    now: Timestamp,
) -> Result<Changed, StoreError> {
    // The inbox first, as whoever appends to it does: two changes of one user never wait for each other crosswise.
    let lock = db.dialect(
        "SELECT last_seq FROM inboxes WHERE user_id = $1",
        "SELECT last_seq FROM inboxes WHERE user_id = $1 FOR UPDATE",
    );
    fetch_all!(db, (i64,), lock, user.uuid())?;
    let ids = match which {
        Which::These(ids) => {
            require_known(db, user, ids).await?;
            change_these(db, user, ids, change, now).await?
        }
        Which::UpTo(seq) => change_up_to(db, user, *seq, change, now).await?,
        Which::OfRoom { room, seq } => read_of_room(db, user, *room, *seq, now).await?,
    };
    if ids.is_empty() {
        return Ok(Changed { unread_count: count_unread(db, user).await?, ..Changed::default() });
    }
    if change == Change::Delete {
        blank(db, user, &ids).await?;
    }
    let unread_count = count_unread(db, user).await?;
    let notes = ids.chunks(IDS_A_NOTE_MAX).map(|ids| note(user, change, ids, unread_count));
    let events = inboxes::append(db, notes.collect(), now).await?;
    Ok(Changed { ids, unread_count, events })
}

fn note(user: UserId, change: Change, ids: &[NotificationId], unread_count: i64) -> InboxNote {
    match change {
        Change::Read => InboxNote::notifications_read(user, ids, unread_count),
        Change::Archive => InboxNote::notifications_archived(user, ids, unread_count),
        Change::Restore => InboxNote::notifications_restored(user, ids, unread_count),
        Change::Delete => InboxNote::notifications_deleted(user, ids, unread_count),
    }
}

async fn require_known(
    db: &mut Db,
    user: UserId,
    ids: &[NotificationId],
) -> Result<(), StoreError> {
    let select = db.dialect(
        "SELECT COUNT(*) FROM notifications
         WHERE user_id = $1 AND deleted_at IS NULL
           AND id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($2) j)",
        "SELECT COUNT(*) FROM notifications
         WHERE user_id = $1 AND deleted_at IS NULL
           AND id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($2::jsonb) j)",
    );
    let (known,) = fetch_one!(db, (i64,), select, user.uuid(), json!(ids).to_string())?;
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    if usize::try_from(known).is_ok_and(|known| known == distinct.len()) {
        Ok(())
    } else {
        Err(StoreError::NotFound)
    }
}

async fn change_these(
    db: &mut Db,
    user: UserId,
    ids: &[NotificationId],
    change: Change,
    now: Timestamp,
) -> Result<Vec<NotificationId>, StoreError> {
    let update = match change {
        Change::Read => db.dialect(
            "UPDATE notifications SET read_at = $3
             WHERE user_id = $1 AND read_at IS NULL AND deleted_at IS NULL
               AND id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($2) j)
             RETURNING id",
            "UPDATE notifications SET read_at = $3
             WHERE user_id = $1 AND read_at IS NULL AND deleted_at IS NULL
               AND id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($2::jsonb) j)
             RETURNING id",
        ),
        Change::Archive => db.dialect(
            "UPDATE notifications SET archived_at = $3
             WHERE user_id = $1 AND archived_at IS NULL AND deleted_at IS NULL
               AND id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($2) j)
             RETURNING id",
            "UPDATE notifications SET archived_at = $3
             WHERE user_id = $1 AND archived_at IS NULL AND deleted_at IS NULL
               AND id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($2::jsonb) j)
             RETURNING id",
        ),
        Change::Restore => db.dialect(
            "UPDATE notifications SET archived_at = NULL
             WHERE user_id = $1 AND archived_at <= $3 AND deleted_at IS NULL
               AND id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($2) j)
             RETURNING id",
            "UPDATE notifications SET archived_at = NULL
             WHERE user_id = $1 AND archived_at <= $3 AND deleted_at IS NULL
               AND id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($2::jsonb) j)
             RETURNING id",
        ),
        Change::Delete => db.dialect(
            "UPDATE notifications SET deleted_at = $3
             WHERE user_id = $1 AND deleted_at IS NULL
               AND id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($2) j)
             RETURNING id",
            "UPDATE notifications SET deleted_at = $3
             WHERE user_id = $1 AND deleted_at IS NULL
               AND id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($2::jsonb) j)
             RETURNING id",
        ),
    };
    let ids = json!(ids).to_string();
    let rows = fetch_all!(db, (Uuid,), update, user.uuid(), ids, now.millis())?;
    Ok(rows.into_iter().map(|(id,)| id.into()).collect())
}

/// Only reading and archiving are done with everything at once.
async fn change_up_to(
    db: &mut Db,
    user: UserId,
    seq: Seq,
    change: Change,
    now: Timestamp,
) -> Result<Vec<NotificationId>, StoreError> {
    let update = match change {
        Change::Read => {
            "UPDATE notifications SET read_at = $3
             WHERE user_id = $1 AND seq <= $2 AND read_at IS NULL AND archived_at IS NULL
               AND deleted_at IS NULL
             RETURNING id"
        }
        Change::Archive | Change::Restore | Change::Delete => {
            "UPDATE notifications SET archived_at = $3
             WHERE user_id = $1 AND seq <= $2 AND archived_at IS NULL AND deleted_at IS NULL
             RETURNING id"
        }
    };
    let rows = fetch_all!(db, (Uuid,), update, user.uuid(), seq, now.millis())?;
    Ok(rows.into_iter().map(|(id,)| id.into()).collect())
}

async fn read_of_room(
    db: &mut Db,
    user: UserId,
    room: RoomId,
    seq: Seq,
    now: Timestamp,
) -> Result<Vec<NotificationId>, StoreError> {
    let rows = fetch_all!(
        db,
        (Uuid,),
        "UPDATE notifications SET read_at = $4
         WHERE user_id = $1 AND room_id = $2 AND room_seq <= $3 AND read_at IS NULL
           AND archived_at IS NULL AND deleted_at IS NULL
         RETURNING id",
        user.uuid(),
        room.uuid(),
        seq,
        now.millis(),
    )?;
    Ok(rows.into_iter().map(|(id,)| id.into()).collect())
}

/// What was deleted says nothing any more, not even to a device that comes back later.
async fn blank(db: &mut Db, user: UserId, ids: &[NotificationId]) -> Result<(), StoreError> {
    let update = db.dialect(
        "UPDATE inbox_events SET data = '{\"deleted\":true}'
         WHERE user_id = $1
           AND seq IN (SELECT n.seq FROM json_each($2) j
                       JOIN notifications n
                         ON n.user_id = $1 AND n.id = unhex(replace(j.value, '-', '')))",
        "UPDATE inbox_events SET data = '{\"deleted\":true}'
         WHERE user_id = $1
           AND seq IN (SELECT n.seq FROM jsonb_array_elements_text($2::jsonb) j
                       JOIN notifications n ON n.user_id = $1 AND n.id = j.value::uuid)",
    );
    execute!(db, update, user.uuid(), json!(ids).to_string()).map(|_| ())
}

impl NotificationRow {
    fn into_notification(self) -> Notification {
        Notification {
            id: self.id.into(),
            seq: self.seq,
            kind: self.kind,
            group_key: self.group_key,
            at: Timestamp::from_millis(self.created_at),
            read_at: self.read_at.map(Timestamp::from_millis),
            archived_at: self.archived_at.map(Timestamp::from_millis),
            content: self.content,
        }
    }
}

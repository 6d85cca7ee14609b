//! Notifications: who is told of an occasion, and what becomes of what they were told.

pub mod changes;
pub mod fanouts;
pub mod letters;
pub mod markers;
pub mod pages;
mod recipients;
pub mod requests;
pub mod retention;
mod waiting;

use uuid::Uuid;

use super::{Db, Store, StoreError, fetch_all, fetch_one};
use crate::domain::ids::{NotificationId, UserId};
use crate::domain::notifications::content::without_words;
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;

/// Unread counts stop here: nobody reads a badge of more.
pub const UNREAD_MAX: i64 = 1_000;

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
    /// What it says: the JSON of its `notification_created`, without the words of a message that was deleted since.
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
    /// Whether it tells of a message that was deleted since.
    is_unsaid: bool,
}

/// A page of one shelf. Each is a text of its own, so that the database finds the index that is made for it.
macro_rules! listed {
    ($shelf:literal) => {
        concat!(
            "SELECT n.id, n.seq, n.kind, n.group_key, n.created_at, n.read_at, n.archived_at,
                    e.data AS content, m.deleted_at IS NOT NULL AS is_unsaid
             FROM notifications n
             JOIN inbox_events e ON e.user_id = n.user_id AND e.seq = n.seq
             LEFT JOIN messages m ON m.room_id = n.room_id AND m.seq = n.room_seq
             WHERE n.user_id = $1 AND n.seq < $2 AND n.deleted_at IS NULL AND ",
            $shelf,
            " AND ($3 = '' OR n.kind = $3)
             ORDER BY n.seq DESC
             LIMIT $4"
        )
    };
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
        let select = match shelf {
            Shelf::Inbox => listed!("n.archived_at IS NULL"),
            Shelf::Unread => listed!("n.archived_at IS NULL AND n.read_at IS NULL"),
            Shelf::Read => listed!("n.archived_at IS NULL AND n.read_at IS NOT NULL"),
            Shelf::Archived => listed!("n.archived_at IS NOT NULL"),
        };
        let (before, kind) = (before.unwrap_or(i64::MAX), kind.unwrap_or_default());
        let rows: Vec<NotificationRow> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(db, NotificationRow, select, user.uuid(), before, kind, limit)
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
            content: if self.is_unsaid { without_words(&self.content) } else { self.content },
        }
    }
}

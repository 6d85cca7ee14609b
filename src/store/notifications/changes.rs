//! Changes: what users do with what they were told.
//!
//! Invariant: the lock of an inbox comes first, as for whoever appends to it, and those of several in the order of their
//! users: two changes never wait for each other crosswise.

use serde_json::json;
use uuid::Uuid;

use super::count_unread;
use crate::domain::ids::{NotificationId, UserId};
use crate::domain::inbox::{InboxEvent, InboxNote};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, inboxes};

/// Notifications that one event names at most.
pub(super) const IDS_A_NOTE_MAX: usize = 500;
/// Notifications that one transaction changes at most, where a place says which: the writer of an embedded database is
/// everybody's.
const CHUNK: usize = 1_000;

/// Which notifications a change is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    These(Vec<NotificationId>),
    /// Everything in the inbox up to a place; only for reading and archiving.
    UpTo(Seq),
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
    /// Those that are different now, of those that were named.
    pub ids: Vec<NotificationId>,
    /// Up to where all of them are as wanted, where a place was given.
    pub up_to: Option<Seq>,
    pub unread_count: i64,
    /// What the user's devices are told.
    pub events: Vec<InboxEvent>,
}

impl Store {
    /// Changes notifications of a user. What is as wanted already is not changed again, and nobody is told of it. What
    /// reaches up to a place is done in several transactions, from the oldest on, each with its event.
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
        let seq = match which {
            Which::UpTo(seq) => seq,
            Which::These(ids) => {
                return self
                    .write(move |db| {
                        Box::pin(async move { change_named(db, user, &ids, change, now).await })
                    })
                    .await;
            }
        };
        let mut events = Vec::new();
        loop {
            let chunk: Chunk = self
                .write(move |db| {
                    Box::pin(async move { change_chunk(db, user, seq, change, now).await })
                })
                .await?;
            events.extend(chunk.events);
            if chunk.is_last {
                let (ids, up_to) = (Vec::new(), Some(seq));
                return Ok(Changed { ids, up_to, unread_count: chunk.unread_count, events });
            }
        }
    }
}

/// A part of what reaches up to a place.
struct Chunk {
    unread_count: i64,
    events: Vec<InboxEvent>,
    is_last: bool,
}

async fn change_named(
    db: &mut Db,
    user: UserId,
    ids: &[NotificationId],
    change: Change,
    now: Timestamp,
) -> Result<Changed, StoreError> {
    lock(db, &[user]).await?;
    require_known(db, user, ids).await?;
    let ids = change_these(db, user, ids, change, now).await?;
    if change == Change::Delete && !ids.is_empty() {
        blank(db, user, &ids).await?;
    }
    let unread_count = count_unread(db, user).await?;
    let notes = ids.chunks(IDS_A_NOTE_MAX).map(|ids| note(user, change, ids, unread_count));
    let events = inboxes::append(db, notes.collect(), now).await?;
    Ok(Changed { ids, up_to: None, unread_count, events })
}

fn note(user: UserId, change: Change, ids: &[NotificationId], unread_count: i64) -> InboxNote {
    match change {
        Change::Read => InboxNote::notifications_read(user, ids, unread_count),
        Change::Archive => InboxNote::notifications_archived(user, ids, unread_count),
        Change::Restore => InboxNote::notifications_restored(user, ids, unread_count),
        Change::Delete => InboxNote::notifications_deleted(user, ids, unread_count),
    }
}

/// Locks inboxes, those of them that are there.
pub(super) async fn lock(db: &mut Db, users: &[UserId]) -> Result<(), StoreError> {
    let select = db.dialect(
        "SELECT last_seq FROM inboxes
         WHERE user_id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)",
        "SELECT last_seq FROM inboxes
         WHERE user_id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)
         ORDER BY user_id
         FOR UPDATE",
    );
    fetch_all!(db, (i64,), select, json!(users).to_string()).map(|_| ())
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

/// Changes those of them that are not as wanted yet.
async fn change_these(
    db: &mut Db,
    user: UserId,
    ids: &[NotificationId],
    change: Change,
    now: Timestamp,
) -> Result<Vec<NotificationId>, StoreError> {
    let named = json!(ids).to_string();
    let update = match change {
        Change::Restore => return restore_these(db, user, named).await,
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
    let rows = fetch_all!(db, (Uuid,), update, user.uuid(), named, now.millis())?;
    Ok(rows.into_iter().map(|(id,)| id.into()).collect())
}

async fn restore_these(
    db: &mut Db,
    user: UserId,
    named: String,
) -> Result<Vec<NotificationId>, StoreError> {
    let update = db.dialect(
        "UPDATE notifications SET archived_at = NULL
         WHERE user_id = $1 AND archived_at IS NOT NULL AND deleted_at IS NULL
           AND id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($2) j)
         RETURNING id",
        "UPDATE notifications SET archived_at = NULL
         WHERE user_id = $1 AND archived_at IS NOT NULL AND deleted_at IS NULL
           AND id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($2::jsonb) j)
         RETURNING id",
    );
    let rows = fetch_all!(db, (Uuid,), update, user.uuid(), named)?;
    Ok(rows.into_iter().map(|(id,)| id.into()).collect())
}

/// Reads or archives the oldest that are not yet as wanted, up to `seq`; the event says up to where all of them are.
async fn change_chunk(
    db: &mut Db,
    user: UserId,
    seq: Seq,
    change: Change,
    now: Timestamp,
) -> Result<Chunk, StoreError> {
    lock(db, &[user]).await?;
    let update = match change {
        Change::Read => {
            "UPDATE notifications SET read_at = $3
             WHERE user_id = $1 AND seq IN
                 (SELECT seq FROM notifications
                  WHERE user_id = $1 AND seq <= $2 AND read_at IS NULL AND archived_at IS NULL
                    AND deleted_at IS NULL
                  ORDER BY seq
                  LIMIT $4)
             RETURNING seq"
        }
        Change::Archive | Change::Restore | Change::Delete => {
            "UPDATE notifications SET archived_at = $3
             WHERE user_id = $1 AND seq IN
                 (SELECT seq FROM notifications
                  WHERE user_id = $1 AND seq <= $2 AND archived_at IS NULL AND deleted_at IS NULL
                  ORDER BY seq
                  LIMIT $4)
             RETURNING seq"
        }
    };
    let most = i64::try_from(CHUNK).unwrap_or(i64::MAX);
    let rows = fetch_all!(db, (i64,), update, user.uuid(), seq, now.millis(), most)?;
    let is_last = rows.len() < CHUNK;
    let unread_count = count_unread(db, user).await?;
    let reached = if is_last { Some(seq) } else { rows.iter().map(|(seq,)| *seq).max() };
    let note = reached.filter(|_| !rows.is_empty()).map(|reached| match change {
        Change::Read => InboxNote::notifications_read_up_to(user, reached, unread_count),
        Change::Archive | Change::Restore | Change::Delete => {
            InboxNote::notifications_archived_up_to(user, reached, unread_count)
        }
    });
    let events = inboxes::append(db, note.into_iter().collect(), now).await?;
    Ok(Chunk { unread_count, events, is_last })
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

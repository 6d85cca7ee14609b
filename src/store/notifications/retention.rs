//! Retention: what was told long ago is forgotten, and fan-outs that nobody asks about any more.
//!
//! Invariant: the log of an inbox keeps its newest events without a hole, so many that whatever may be replayed is there;
//! one that told something forgotten says nothing any more.

use serde_json::json;
use uuid::Uuid;

use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, execute, fetch_all};

/// Events of an inbox that are kept, however old: more than is ever replayed.
const EVENTS_KEPT: i64 = 2_500;

impl Store {
    /// Forgets notifications of before `before`, read or not, at most `limit`; gives how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_old_notifications(
        &self,
        before: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                // Whoever is just being changed is forgotten the next time.
                let select = db.dialect(
                    "SELECT user_id, seq FROM notifications
                     WHERE created_at < $1
                     ORDER BY created_at
                     LIMIT $2",
                    "SELECT user_id, seq FROM notifications
                     WHERE created_at < $1
                     ORDER BY created_at
                     LIMIT $2
                     FOR UPDATE SKIP LOCKED",
                );
                let old = fetch_all!(db, (Uuid, i64), select, before.millis(), limit)?;
                let old = json!(old).to_string();
                let blank = db.dialect(
                    "UPDATE inbox_events SET data = '{\"deleted\":true}'
                     FROM json_each($1) j
                     WHERE inbox_events.user_id = unhex(replace(j.value ->> 0, '-', ''))
                       AND inbox_events.seq = j.value ->> 1",
                    "UPDATE inbox_events SET data = '{\"deleted\":true}'
                     FROM jsonb_array_elements($1::jsonb) j
                     WHERE inbox_events.user_id = (j.value ->> 0)::uuid
                       AND inbox_events.seq = (j.value ->> 1)::bigint",
                );
                execute!(db, blank, old.as_str())?;
                let delete = db.dialect(
                    "DELETE FROM notifications
                     WHERE (user_id, seq) IN
                         (SELECT unhex(replace(j.value ->> 0, '-', '')), j.value ->> 1
                          FROM json_each($1) j)",
                    "DELETE FROM notifications
                     WHERE (user_id, seq) IN
                         (SELECT (j.value ->> 0)::uuid, (j.value ->> 1)::bigint
                          FROM jsonb_array_elements($1::jsonb) j)",
                );
                execute!(db, delete, old)
            })
        })
        .await
    }

    /// Forgets events of before `before` that are so far behind the head of their inbox that nobody is given them any
    /// more, at most `limit`; gives how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_old_inbox_events(
        &self,
        before: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "DELETE FROM inbox_events
                     WHERE (user_id, seq) IN
                         (SELECT e.user_id, e.seq FROM inboxes i
                          JOIN inbox_events e ON e.user_id = i.user_id AND e.seq <= i.last_seq - $2
                          WHERE i.last_seq > $2 AND e.at < $1
                          LIMIT $3)",
                    before.millis(),
                    EVENTS_KEPT,
                    limit,
                )
            })
        })
        .await
    }

    /// Forgets fan-outs that were done before `done_before` or given up before `dead_before`, at most `limit`; gives how
    /// many.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_finished_fanouts(
        &self,
        done_before: Timestamp,
        dead_before: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                // One that is begun again meanwhile is not finished any more.
                execute!(
                    db,
                    "DELETE FROM fanouts
                     WHERE id IN (SELECT id FROM fanouts
                                  WHERE (finished_at < $1 AND status = 'done')
                                     OR (finished_at < $2 AND status = 'dead')
                                  ORDER BY finished_at
                                  LIMIT $3)
                       AND finished_at IS NOT NULL",
                    done_before.millis(),
                    dead_before.millis(),
                    limit,
                )
            })
        })
        .await
    }

    /// Forgets marks that were moved last before `before`, at most `limit`; gives how many. No event is carried again
    /// that is older than the outbox keeps.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_old_marks(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                // Whoever gathers in a room has locked its mark, and moves it.
                let delete = db.dialect(
                    "DELETE FROM fanout_marks
                     WHERE room_id IN (SELECT room_id FROM fanout_marks
                                       WHERE at < $1
                                       LIMIT $2)",
                    "DELETE FROM fanout_marks
                     WHERE room_id IN (SELECT room_id FROM fanout_marks
                                       WHERE at < $1
                                       LIMIT $2
                                       FOR UPDATE SKIP LOCKED)",
                );
                execute!(db, delete, before.millis(), limit)
            })
        })
        .await
    }
}

/// Forgets what a user was notified of, whose account is gone.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub(in crate::store) async fn delete_notifications_of(
    db: &mut Db,
    user: UserId,
) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM notifications WHERE user_id = $1", user.uuid()).map(|_| ())
}

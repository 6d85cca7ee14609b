//! Reading the outbox: in order, nothing skipped, from the place each subscriber has come to.

use uuid::Uuid;

use super::leases::Lease;
use super::{Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::domain::ids::EventId;
use crate::domain::time::Timestamp;

/// A place in the outbox: events are read in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutboxPosition {
    /// The transaction that wrote it; always 0 in SQLite, where `id` is the order of commits.
    xid: i64,
    id: i64,
}

impl OutboxPosition {
    /// Before the first event.
    pub const START: Self = Self { xid: 0, id: 0 };
}

/// Where a subscriber begins that has never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxBeginning {
    /// At the oldest event that is still kept.
    Oldest,
    /// After everything that was committed before it.
    Now,
}

/// An event as it stands in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEvent {
    /// Its place; cursors count in it.
    pub position: OutboxPosition,
    pub id: EventId,
    pub topic: String,
    pub name: String,
    pub subject: String,
    pub at: Timestamp,
    pub request_id: Option<String>,
    pub traceparent: Option<String>,
    /// JSON; its shape is that of its `name`.
    pub data: String,
}

#[derive(sqlx::FromRow)]
struct OutboxRow {
    xid: i64,
    id: i64,
    event_id: Uuid,
    topic: String,
    name: String,
    subject: String,
    at: i64,
    request_id: Option<String>,
    traceparent: Option<String>,
    data: String,
}

impl Store {
    /// How far `subscriber` has read: the start, if it never has.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_outbox_cursor(&self, subscriber: &str) -> Result<OutboxPosition, StoreError> {
        let subscriber = subscriber.to_owned();
        let cursor = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        (i64, i64),
                        "SELECT xid, position FROM outbox_cursors WHERE subscriber = $1",
                        subscriber,
                    )
                })
            })
            .await?;
        Ok(cursor.map_or(OutboxPosition::START, |(xid, id)| OutboxPosition { xid, id }))
    }

    /// The events after `after`, at most `limit`.
    ///
    /// In PostgreSQL ids are not commit order, so only what lies behind the snapshot horizon is read: no transaction
    /// that is still open can slip an event in before what was given.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_outbox(
        &self,
        after: OutboxPosition,
        limit: u16,
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        let rows: Vec<OutboxRow> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT xid, id, event_id, topic, name, subject, at, request_id,
                                traceparent, data
                         FROM outbox
                         WHERE xid = $1 AND id > $2
                         ORDER BY id
                         LIMIT $3",
                        "SELECT xid, id, event_id, topic, name, subject, at, request_id,
                                traceparent, data
                         FROM outbox
                         WHERE (xid, id) > ($1, $2)
                           AND xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                         ORDER BY xid, id
                         LIMIT $3",
                    );
                    fetch_all!(db, OutboxRow, select, after.xid, after.id, i64::from(limit))
                })
            })
            .await?;
        Ok(rows.into_iter().map(OutboxRow::into_event).collect())
    }

    /// Makes the outbox readable after a PostgreSQL database was restored into another server, where transactions are
    /// numbered from the beginning: events would be ahead of every snapshot, and cursors ahead of every new event.
    /// What a subscriber had not read is offered to it, perhaps with some that it had. To be called before anybody
    /// reads; SQLite has no such numbers.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn rebase_outbox(&self) -> Result<bool, StoreError> {
        self.write_patiently(move |db| {
            Box::pin(async move {
                let patiently = db.dialect("SELECT 1", "SET LOCAL statement_timeout = 0");
                execute!(db, patiently)?;
                let select = db.dialect(
                    "SELECT FALSE",
                    "SELECT greatest((SELECT max(xid) FROM outbox),
                                     (SELECT max(xid) FROM outbox_cursors))
                            >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint",
                );
                let (is_from_elsewhere,) = fetch_one!(db, (Option<bool>,), select)?;
                if is_from_elsewhere != Some(true) {
                    return Ok(false);
                }
                execute!(
                    db,
                    "UPDATE outbox_cursors
                     SET position = coalesce(
                             (SELECT min(o.id) - 1 FROM outbox o
                              WHERE (o.xid, o.id) > (outbox_cursors.xid, outbox_cursors.position)),
                             (SELECT max(o.id) FROM outbox o),
                             0),
                         xid = 0"
                )?;
                execute!(db, "UPDATE outbox SET xid = 0")?;
                Ok(true)
            })
        })
        .await
    }

    /// Gives a new subscriber its cursor: until it has read on from there, nothing is deleted. One that has a cursor keeps
    /// it.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn insert_outbox_cursor(
        &self,
        subscriber: &str,
        beginning: OutboxBeginning,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let subscriber = subscriber.to_owned();
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                let begins_now = beginning == OutboxBeginning::Now;
                // In PostgreSQL, whatever is still being written has a number that is not below the horizon.
                let insert = db.dialect(
                    "INSERT INTO outbox_cursors (subscriber, xid, position, updated_at)
                     SELECT $1, 0,
                            CASE WHEN $2 THEN coalesce((SELECT max(id) FROM outbox), 0) ELSE 0 END,
                            $3
                     WHERE true
                     ON CONFLICT (subscriber) DO NOTHING",
                    "INSERT INTO outbox_cursors (subscriber, xid, position, updated_at)
                     SELECT $1,
                            CASE WHEN $2
                                 THEN pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1
                                 ELSE 0 END,
                            CASE WHEN $2 THEN 9223372036854775807 ELSE 0 END,
                            $3
                     ON CONFLICT (subscriber) DO NOTHING",
                );
                execute!(db, insert, subscriber, begins_now, now.millis())
            })
        })
        .await
        .map(|_| ())
    }

    /// Forgets a subscriber that is no more: nothing is kept for it any longer.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_outbox_cursor(&self, subscriber: &'static str) -> Result<(), StoreError> {
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                execute!(db, "DELETE FROM outbox_cursors WHERE subscriber = $1", subscriber)
            })
        })
        .await
        .map(|_| ())
    }

    /// Moves `subscriber`'s cursor forward to `position`; it never goes back. With a `lease`, only while that is held.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when somebody else may carry this subscriber's events by now.
    pub async fn update_outbox_cursor(
        &self,
        subscriber: &str,
        position: OutboxPosition,
        lease: Option<&Lease>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (subscriber, lease) = (subscriber.to_owned(), lease.cloned());
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                if let Some(lease) = lease {
                    lease.confirm(db).await?;
                }
                execute!(
                    db,
                    "INSERT INTO outbox_cursors (subscriber, xid, position, updated_at)
                     VALUES ($1, $2, $3, $4)
                     ON CONFLICT (subscriber) DO UPDATE
                     SET xid = excluded.xid, position = excluded.position,
                         updated_at = excluded.updated_at
                     WHERE (outbox_cursors.xid, outbox_cursors.position)
                           < (excluded.xid, excluded.position)",
                    subscriber,
                    position.xid,
                    position.id,
                    now.millis(),
                )
            })
        })
        .await
        .map(|_| ())
    }

    /// Says that `subscriber`'s node is still there, though there may be nothing for it.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn touch_outbox_cursor(
        &self,
        subscriber: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let subscriber = subscriber.to_owned();
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "UPDATE outbox_cursors SET updated_at = $2 WHERE subscriber = $1",
                    subscriber,
                    now.millis(),
                )
            })
        })
        .await
        .map(|_| ())
    }

    /// Forgets the cursors of single nodes that have not been heard of since `before`: they would keep the outbox for
    /// ever. Gives how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_stale_outbox_cursors(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "DELETE FROM outbox_cursors WHERE subscriber LIKE '%@%' AND updated_at < $1",
                    before.millis(),
                )
            })
        })
        .await
    }

    /// Deletes events that every subscriber has read and that are older than `before`; at most `limit`.
    ///
    /// In SQLite the newest event stays, whatever its age: the next one is numbered after it.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_read_outbox(
        &self,
        before: Timestamp,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.write(move |db| {
            Box::pin(async move {
                let delete = db.dialect(
                    "DELETE FROM outbox
                     WHERE id IN (SELECT id FROM outbox
                                  WHERE id <= (SELECT MIN(position) FROM outbox_cursors)
                                    AND id < (SELECT MAX(id) FROM outbox)
                                    AND at < $1
                                  ORDER BY id
                                  LIMIT $2)",
                    "DELETE FROM outbox
                     WHERE id IN (SELECT o.id FROM outbox o
                                  WHERE o.at < $1
                                    AND NOT EXISTS (SELECT 1 FROM outbox_cursors c
                                                    WHERE (c.xid, c.position) < (o.xid, o.id))
                                  ORDER BY o.xid, o.id
                                  LIMIT $2)",
                );
                execute!(db, delete, before.millis(), limit)
            })
        })
        .await
    }
}

impl OutboxRow {
    fn into_event(self) -> OutboxEvent {
        OutboxEvent {
            position: OutboxPosition { xid: self.xid, id: self.id },
            id: self.event_id.into(),
            topic: self.topic,
            name: self.name,
            subject: self.subject,
            at: Timestamp::from_millis(self.at),
            request_id: self.request_id,
            traceparent: self.traceparent,
            data: self.data,
        }
    }
}

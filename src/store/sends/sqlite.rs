//! Bulk sends in SQLite: prepared statements in a loop, on a connection that the writing thread calls itself.
//!
//! sqlx keeps each SQLite connection on a thread of its own, so that every statement costs two thread switches, more
//! than the statement does. Here a group of any size costs none; see `docs/decisions/0008-sends-in-bulk.md`.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params, params_from_iter};
use uuid::Uuid;

use super::{Group, RoomColumns, SendBatch, mentions_of, sends_of};
use crate::store::StoreError;
use crate::store::room_log::Batch;

/// The connection that stores messages. Its thread writes nothing else while it does.
pub(in crate::store) struct SendsConnection(Connection);

impl SendsConnection {
    /// Opens the file, which must exist; `pragmas` are those of every other connection.
    ///
    /// # Errors
    /// [`StoreError`] when SQLite refuses.
    pub(in crate::store) fn open(
        file: &Path,
        busy_timeout: Duration,
        pragmas: &[(&str, &str)],
    ) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags).map_err(refused)?;
        connection.busy_timeout(busy_timeout).map_err(refused)?;
        for (name, value) in pragmas {
            connection.pragma_update(None, name, value).map_err(refused)?;
        }
        Ok(Self(connection))
    }

    /// Stores every batch and answers once they are durable; gives the results of each, `None` for a room that does
    /// not exist.
    ///
    /// # Errors
    /// When nothing of the whole group was stored; [`StoreError::Busy`] when it was not even begun.
    pub(in crate::store) fn append(
        &mut self,
        batches: &[SendBatch],
    ) -> Result<Vec<Option<Batch>>, StoreError> {
        let tx =
            self.0.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| {
                tracing::error!(%error, "a transaction for messages could not be begun");
                StoreError::Busy
            })?;
        let mut group = Group::default();
        read_facts(&tx, &mut group, batches).map_err(refused)?;
        read_apart(&tx, &mut group, batches).map_err(refused)?;
        let results = group.number_all(batches);
        write(&tx, &group).map_err(refused)?;
        tx.commit().map_err(refused)?;
        Ok(results)
    }
}

fn refused(error: rusqlite::Error) -> StoreError {
    StoreError::Commit(error.to_string())
}

fn read_facts<'b>(
    tx: &Transaction<'_>,
    group: &mut Group<'b>,
    batches: &'b [SendBatch],
) -> rusqlite::Result<()> {
    let mut facts = tx.prepare_cached(
        "SELECT r.kind, r.visibility, r.last_seq, r.member_count, m.role, m.muted_until,
                k.seq, k.sent_at,
                CASE WHEN r.kind = 'direct' THEN
                    (SELECT b.at FROM room_members o
                     JOIN blocks b ON b.user_id = ?2 AND b.blocked_id = o.user_id
                     WHERE o.room_id = r.id LIMIT 1) END,
                CASE WHEN r.kind = 'direct' THEN
                    (SELECT b.at FROM room_members o
                     JOIN blocks b ON b.user_id = o.user_id AND b.blocked_id = ?2
                     WHERE o.room_id = r.id LIMIT 1) END
         FROM rooms r
         LEFT JOIN room_members m ON m.room_id = r.id AND m.user_id = ?2
         LEFT JOIN messages k ON k.id = ?3
         WHERE r.id = ?1",
    )?;
    for (batch, command, message) in sends_of(batches) {
        let (room, sender) = (batch.room, command.actor);
        let ids = [room.uuid(), sender.uuid(), message.id.uuid()];
        let mut rows = facts.query(params_from_iter(ids.iter().map(blob)))?;
        let Some(row) = rows.next()? else { continue };
        let columns = RoomColumns {
            kind: row.get_ref(0)?.as_str()?,
            visibility: row.get_ref(1)?.as_str()?,
            last_seq: row.get(2)?,
            member_count: row.get(3)?,
        };
        group.learn_room(room, columns);
        if let Some(role) = row.get_ref(4)?.as_str_or_null()? {
            group.learn_member(room, sender, role, row.get(5)?);
        }
        if let (Some(seq), Some(sent_at)) = (row.get(6)?, row.get(7)?) {
            group.learn_known(message.id, seq, sent_at);
        }
        let (by_sender, by_other): (Option<i64>, Option<i64>) = (row.get(8)?, row.get(9)?);
        group.learn_block(room, sender, by_sender.is_some(), by_other.is_some());
    }
    Ok(())
}

/// Reads between whom a block stands of senders and those they mention.
fn read_apart(
    tx: &Transaction<'_>,
    group: &mut Group<'_>,
    batches: &[SendBatch],
) -> rusqlite::Result<()> {
    let mut find = tx.prepare_cached(
        "SELECT 1 FROM blocks
         WHERE (user_id = ?1 AND blocked_id = ?2) OR (user_id = ?2 AND blocked_id = ?1)",
    )?;
    for (sender, mentioned) in mentions_of(batches) {
        if find.exists(params![blob(&sender.uuid()), blob(&mentioned.uuid())])? {
            group.learn_apart(sender, mentioned);
        }
    }
    Ok(())
}

fn write(tx: &Transaction<'_>, group: &Group<'_>) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO messages (room_id, seq, id, sender_id, sender_key, body, extras, sent_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for row in &group.messages {
        insert.execute(params![
            blob(&row.room),
            row.seq,
            blob(&row.id),
            blob(&row.sender),
            row.key,
            row.body,
            row.extras,
            row.at,
        ])?;
    }
    let mut update = tx.prepare_cached(
        "UPDATE rooms
         SET last_seq = ?2, last_message_seq = ?2, last_active_at = ?3
         WHERE id = ?1",
    )?;
    for row in &group.heads {
        update.execute(params![blob(&row.room), row.head, row.at])?;
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO outbox (event_id, topic, name, subject, at, request_id, traceparent, data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for row in &group.outbox {
        insert.execute(params![
            blob(&row.id),
            row.topic,
            row.name,
            row.subject,
            row.at,
            row.request_id,
            row.traceparent,
            row.data,
        ])?;
    }
    Ok(())
}

fn blob(id: &Uuid) -> &[u8] {
    id.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connect::PRAGMAS;

    #[test]
    fn what_is_answered_is_on_the_disk_and_refers_to_what_exists() {
        let file = std::env::temp_dir().join(format!("madang-{}.db", crate::clock::new_uuid()));
        Connection::open(&file).unwrap().pragma_update(None, "journal_mode", "wal").unwrap();

        let opened = SendsConnection::open(&file, Duration::from_secs(1), &PRAGMAS).unwrap();

        let told = |name| opened.0.pragma_query_value(None, name, |row| row.get(0)).unwrap();
        let [synchronous, foreign_keys, autocheckpoint]: [i64; 3] =
            ["synchronous", "foreign_keys", "wal_autocheckpoint"].map(told);
        assert_eq!((synchronous, foreign_keys, autocheckpoint), (2, 1, 8_192));
        drop(opened);
        std::fs::remove_file(file).unwrap();
    }
}

//! Bulk sends in PostgreSQL: a lock, a question and an answer, however many messages there are.

use serde::Serialize;
use uuid::Uuid;

use super::{Group, RoomColumns, SendBatch, mentions_of, sends_of};
use crate::domain::ids::UserId;
use crate::domain::rooms::Seq;
use crate::store::room_log::Batch;
use crate::store::{Db, StoreError, execute, fetch_all};

/// A command to read the facts of: room, sender and message.
type Wanted = (Uuid, Uuid, Uuid);

/// What the database knows of one wanted command: its place among them, its room, its sender there, and whether the
/// message is stored already.
#[derive(sqlx::FromRow)]
struct FactsRow {
    place: i64,
    kind: String,
    visibility: String,
    last_seq: Seq,
    member_count: i64,
    role: Option<String>,
    muted_until: Option<i64>,
    seq: Option<Seq>,
    sent_at: Option<i64>,
    blocked_by_sender: Option<i64>,
    blocked_by_other: Option<i64>,
}

/// Stores every batch; gives the results of each, `None` for a room that does not exist.
///
/// # Errors
/// [`StoreError`] when nothing of the whole group was stored.
pub(in crate::store) async fn append(
    db: &mut Db,
    batches: &[SendBatch],
) -> Result<Vec<Option<Batch>>, StoreError> {
    lock_rooms(db, batches).await?;
    // A statement of its own: it must see what the holders of the locks have committed.
    let mut group = Group::default();
    read_facts(db, &mut group, batches).await?;
    read_apart(db, &mut group, batches).await?;
    let results = group.number_all(batches);
    write(db, group).await?;
    Ok(results)
}

/// Locks the rooms in the order of their ids, so that two groups never wait for each other.
async fn lock_rooms(db: &mut Db, batches: &[SendBatch]) -> Result<(), StoreError> {
    let rooms: Vec<Uuid> = batches.iter().map(|batch| batch.room.uuid()).collect();
    execute!(
        db,
        "SELECT 1 FROM rooms
         WHERE id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)
         ORDER BY id
         FOR UPDATE",
        to_json(&rooms)?,
    )
    .map(|_| ())
}

fn to_json(rows: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()).into())
}

async fn read_facts(
    db: &mut Db,
    group: &mut Group<'_>,
    batches: &[SendBatch],
) -> Result<(), StoreError> {
    let wanted: Vec<Wanted> = sends_of(batches)
        .map(|(batch, command, message)| {
            (batch.room.uuid(), command.actor.uuid(), message.id.uuid())
        })
        .collect();
    let facts = fetch_all!(
        db,
        FactsRow,
        "SELECT j.place - 1 AS place, r.kind, r.visibility, r.last_seq, r.member_count, m.role,
                m.muted_until, k.seq, k.sent_at,
                CASE WHEN r.kind = 'direct' THEN
                    (SELECT b.at FROM room_members o
                     JOIN blocks b ON b.user_id = (j.value ->> 1)::uuid
                                  AND b.blocked_id = o.user_id
                     WHERE o.room_id = r.id LIMIT 1) END AS blocked_by_sender,
                CASE WHEN r.kind = 'direct' THEN
                    (SELECT b.at FROM room_members o
                     JOIN blocks b ON b.user_id = o.user_id
                                  AND b.blocked_id = (j.value ->> 1)::uuid
                     WHERE o.room_id = r.id LIMIT 1) END AS blocked_by_other
         FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS j (value, place)
         JOIN rooms r ON r.id = (j.value ->> 0)::uuid
         LEFT JOIN room_members m ON m.room_id = r.id AND m.user_id = (j.value ->> 1)::uuid
         LEFT JOIN messages k ON k.id = (j.value ->> 2)::uuid",
        to_json(&wanted)?,
    )?;
    let wanted: Vec<_> = sends_of(batches).collect();
    for row in facts {
        let asked = usize::try_from(row.place).ok().and_then(|place| wanted.get(place));
        let Some((batch, command, message)) = asked else { continue };
        let (room, sender) = (batch.room, command.actor);
        let columns = RoomColumns {
            kind: &row.kind,
            visibility: &row.visibility,
            last_seq: row.last_seq,
            member_count: row.member_count,
        };
        group.learn_room(room, columns);
        if let Some(role) = &row.role {
            group.learn_member(room, sender, role, row.muted_until);
        }
        if let (Some(seq), Some(sent_at)) = (row.seq, row.sent_at) {
            group.learn_known(message.id, seq, sent_at);
        }
        let (by_sender, by_other) = (row.blocked_by_sender, row.blocked_by_other);
        group.learn_block(room, sender, by_sender.is_some(), by_other.is_some());
    }
    Ok(())
}

/// Reads between whom a block stands of senders and those they mention; nothing is asked where nobody is mentioned.
async fn read_apart(
    db: &mut Db,
    group: &mut Group<'_>,
    batches: &[SendBatch],
) -> Result<(), StoreError> {
    let mentions: Vec<(UserId, UserId)> = mentions_of(batches).collect();
    if mentions.is_empty() {
        return Ok(());
    }
    let apart = fetch_all!(
        db,
        (Uuid, Uuid),
        "SELECT (j.value ->> 0)::uuid, (j.value ->> 1)::uuid
         FROM jsonb_array_elements($1::jsonb) j
         JOIN blocks b ON b.user_id = (j.value ->> 0)::uuid
                      AND b.blocked_id = (j.value ->> 1)::uuid
         UNION
         SELECT (j.value ->> 0)::uuid, (j.value ->> 1)::uuid
         FROM jsonb_array_elements($1::jsonb) j
         JOIN blocks b ON b.user_id = (j.value ->> 1)::uuid
                      AND b.blocked_id = (j.value ->> 0)::uuid",
        to_json(&mentions)?,
    )?;
    for (sender, mentioned) in apart {
        group.learn_apart(sender.into(), mentioned.into());
    }
    Ok(())
}

/// Writes messages, heads and events in one statement.
async fn write(db: &mut Db, group: Group<'_>) -> Result<(), StoreError> {
    if group.messages.is_empty() {
        return Ok(());
    }
    let messages = to_json(&group.messages)?;
    let (heads, outbox) = (to_json(&group.heads)?, to_json(&group.outbox)?);
    execute!(
        db,
        "WITH stored AS (
             INSERT INTO messages
                 (room_id, seq, id, sender_id, sender_key, body, extras, sent_at)
             SELECT room, seq, id, sender, key, body, extras, at
             FROM jsonb_to_recordset($1::jsonb)
                 AS j (room uuid, seq bigint, id uuid, sender uuid, key text, body text,
                       extras text, at bigint)
         ), moved AS (
             UPDATE rooms
             SET last_seq = j.head, last_message_seq = j.head, last_active_at = j.at
             FROM jsonb_to_recordset($2::jsonb) AS j (room uuid, head bigint, at bigint)
             WHERE rooms.id = j.room
         )
         INSERT INTO outbox
             (event_id, topic, name, subject, at, request_id, traceparent, data)
         SELECT id, topic, name, subject, at, request_id, traceparent, data
         FROM jsonb_to_recordset($3::jsonb)
             AS j (id uuid, topic text, name text, subject text, at bigint,
                   request_id text, traceparent text, data text)",
        messages,
        heads,
        outbox,
    )
    .map(|_| ())
}

//! Sends in bulk: the plain messages of many rooms, numbered and stored by a handful of statements.
//!
//! What [`super::room_log`] does for one command at a time, for the commonest command and any number of rooms at
//! once: the cost of a question to the database is shared by everything that waits. Invariants are the same: numbers
//! go on without a hole under the room's lock, and a key that is known is answered, not stored again.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::room_log::{Batch, Recorded};
use super::{Db, StoreError, execute, fetch_all, messages};
use crate::domain::events::MESSAGE_EVENTS;
use crate::domain::ids::{EventId, RoomId, UserId};
use crate::domain::messages::NewMessage;
use crate::domain::rooms::{
    Action, Appended, Command, EventName, Facts, LogEvent, MemberFacts, MemberRole, RoomError,
    RoomFacts, RoomKind, Seq, Visibility, decide,
};
use crate::domain::time::Timestamp;
use crate::origin::Origin;

/// One room's batch of plain sends: messages that answer no other.
pub(super) struct SendBatch {
    pub(super) room: RoomId,
    pub(super) commands: Vec<Command>,
    pub(super) member_count_max: i64,
    pub(super) outbox_id: EventId,
    pub(super) now: Timestamp,
    pub(super) origin: Origin,
}

/// Whether every command can go in bulk.
pub(super) fn are_plain_sends(commands: &[Command]) -> bool {
    commands.iter().all(
        |command| matches!(&command.action, Action::Send(message) if message.reply_to.is_none()),
    )
}

type Key = (RoomId, UserId, String);

/// What the group rests on, as read under the locks, and what it comes to.
#[derive(Default)]
struct Group {
    rooms: HashMap<RoomId, RoomFacts>,
    members: HashMap<(RoomId, UserId), MemberFacts>,
    known: HashMap<Key, Appended>,
    inserted: Vec<Value>,
    heads: HashMap<RoomId, Value>,
    outbox: Vec<Value>,
}

#[derive(sqlx::FromRow)]
struct RoomRow {
    id: Uuid,
    kind: String,
    visibility: String,
    last_seq: i64,
    member_count: i64,
}

#[derive(sqlx::FromRow)]
struct MemberRow {
    room_id: Uuid,
    user_id: Uuid,
    role: String,
    muted_until: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct KnownRow {
    room_id: Uuid,
    sender_id: Uuid,
    sender_key: String,
    id: Uuid,
    seq: i64,
    sent_at: i64,
}

/// Stores every batch; gives the results of each, `None` for a room that does not exist.
///
/// # Errors
/// [`StoreError`] when nothing of the whole group was stored.
pub(super) async fn append_sends(
    db: &mut Db,
    batches: &[SendBatch],
) -> Result<Vec<Option<Batch>>, StoreError> {
    let mut group = Group::default();
    group.lock_rooms(db, batches).await?;
    group.read_members(db, batches).await?;
    group.read_known_keys(db, batches).await?;
    let results = batches.iter().map(|batch| group.number(batch)).collect();
    group.write(db).await?;
    Ok(results)
}

/// As both databases read an identifier out of JSON.
fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

fn messages_of(batch: &SendBatch) -> impl Iterator<Item = (UserId, &NewMessage)> {
    batch.commands.iter().filter_map(|command| match &command.action {
        Action::Send(message) => Some((command.actor, message)),
        _ => None,
    })
}

impl Group {
    async fn lock_rooms(&mut self, db: &mut Db, batches: &[SendBatch]) -> Result<(), StoreError> {
        let ids: Vec<String> = batches.iter().map(|batch| hex(batch.room.uuid())).collect();
        // In the order of ids, so that two groups never wait for each other.
        let select = db.dialect(
            "SELECT r.id, r.kind, r.visibility, r.last_seq, r.member_count
             FROM json_each($1) j
             CROSS JOIN rooms r ON r.id = unhex(j.value)",
            "SELECT r.id, r.kind, r.visibility, r.last_seq, r.member_count
             FROM rooms r
             WHERE r.id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)
             ORDER BY r.id
             FOR UPDATE",
        );
        for row in fetch_all!(db, RoomRow, select, json!(ids).to_string())? {
            let facts = RoomFacts {
                kind: RoomKind::parse(&row.kind).unwrap_or(RoomKind::Group),
                visibility: Visibility::parse(&row.visibility).unwrap_or(Visibility::Private),
                head: row.last_seq,
                member_count: row.member_count,
                member_count_max: 0,
            };
            self.rooms.insert(row.id.into(), facts);
        }
        Ok(())
    }

    async fn read_members(&mut self, db: &mut Db, batches: &[SendBatch]) -> Result<(), StoreError> {
        let mut wanted: Vec<(Uuid, Uuid)> = batches
            .iter()
            .flat_map(|batch| batch.commands.iter().map(|it| (batch.room.uuid(), it.actor.uuid())))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let wanted: Vec<Value> = wanted
            .into_iter()
            .map(|(room, actor)| json!({ "room": hex(room), "actor": hex(actor) }))
            .collect();
        let select = db.dialect(
            "SELECT m.room_id, m.user_id, m.role, m.muted_until
             FROM json_each($1) j
             CROSS JOIN room_members m
                 ON m.room_id = unhex(j.value ->> 'room')
                AND m.user_id = unhex(j.value ->> 'actor')",
            "SELECT m.room_id, m.user_id, m.role, m.muted_until
             FROM jsonb_to_recordset($1::jsonb) AS j (room uuid, actor uuid)
             JOIN room_members m ON m.room_id = j.room AND m.user_id = j.actor",
        );
        for row in fetch_all!(db, MemberRow, select, json!(wanted).to_string())? {
            let facts = MemberFacts {
                role: MemberRole::parse(&row.role).unwrap_or(MemberRole::Member),
                muted_until: row.muted_until.map(Timestamp::from_millis),
            };
            self.members.insert((row.room_id.into(), row.user_id.into()), facts);
        }
        Ok(())
    }

    async fn read_known_keys(
        &mut self,
        db: &mut Db,
        batches: &[SendBatch],
    ) -> Result<(), StoreError> {
        let wanted: Vec<Value> = batches
            .iter()
            .flat_map(|batch| {
                messages_of(batch).map(|(sender, message)| {
                    json!({
                        "room": hex(batch.room.uuid()),
                        "sender": hex(sender.uuid()),
                        "key": message.key,
                    })
                })
            })
            .collect();
        let select = db.dialect(
            "SELECT m.room_id, m.sender_id, m.sender_key, m.id, m.seq, m.sent_at
             FROM json_each($1) j
             CROSS JOIN messages m
                 ON m.room_id = unhex(j.value ->> 'room')
                AND m.sender_id = unhex(j.value ->> 'sender')
                AND m.sender_key = j.value ->> 'key'",
            "SELECT m.room_id, m.sender_id, m.sender_key, m.id, m.seq, m.sent_at
             FROM jsonb_to_recordset($1::jsonb) AS j (room uuid, sender uuid, key text)
             JOIN messages m
                 ON m.room_id = j.room AND m.sender_id = j.sender AND m.sender_key = j.key",
        );
        for row in fetch_all!(db, KnownRow, select, json!(wanted).to_string())? {
            let appended = Appended {
                seq: Some(row.seq),
                at: Timestamp::from_millis(row.sent_at),
                message: Some(row.id.into()),
                duplicate: true,
                read: None,
            };
            let key = (row.room_id.into(), row.sender_id.into(), row.sender_key);
            self.known.insert(key, appended);
        }
        Ok(())
    }

    /// Decides and numbers one batch; nothing is written yet.
    fn number(&mut self, batch: &SendBatch) -> Option<Batch> {
        self.rooms.get(&batch.room)?;
        let mut sent = Vec::new();
        let results = batch
            .commands
            .iter()
            .filter_map(|command| match &command.action {
                Action::Send(message) => Some(self.send(batch, command, message, &mut sent)),
                _ => None,
            })
            .collect();
        if let Some(room) = self.rooms.get(&batch.room).filter(|_| !sent.is_empty()) {
            let head = json!({
                "room": hex(batch.room.uuid()), "head": room.head, "at": batch.now.millis(),
            });
            self.heads.insert(batch.room, head);
            self.outbox.push(outbox_row(batch, &sent));
        }
        Some(results)
    }

    fn send(
        &mut self,
        batch: &SendBatch,
        command: &Command,
        message: &NewMessage,
        sent: &mut Vec<Value>,
    ) -> Result<Recorded, RoomError> {
        let sender = command.actor;
        let key = (batch.room, sender, message.key.as_str().to_owned());
        // What was acknowledged stays so, whatever has become of its sender.
        if let Some(appended) = self.known.get(&key) {
            return Ok(Recorded { appended: *appended, event: None });
        }
        let room = self.rooms.get_mut(&batch.room).ok_or(RoomError::NotFound)?;
        let facts = Facts {
            room: RoomFacts { member_count_max: batch.member_count_max, ..*room },
            actor: self.members.get(&(batch.room, sender)).copied(),
            target: None,
            target_exists: false,
            message: None,
        };
        decide(command, &facts, batch.now)?;
        room.head = room.head.saturating_add(1);
        let seq = room.head;
        self.inserted.push(message_row(batch, seq, sender, message));
        sent.push(json!({
            "id": message.id, "seq": seq, "from": sender, "mentions": message.mentions,
        }));
        let appended = Appended {
            seq: Some(seq),
            at: batch.now,
            message: Some(message.id),
            duplicate: false,
            read: None,
        };
        self.known.insert(key, Appended { duplicate: true, ..appended });
        let event = LogEvent {
            room: batch.room,
            seq,
            name: EventName::MessageSent,
            at: batch.now,
            from: sender,
            data: messages::event_data(message),
            removed: None,
        };
        Ok(Recorded { appended, event: Some(event) })
    }

    async fn write(self, db: &mut Db) -> Result<(), StoreError> {
        if self.inserted.is_empty() {
            return Ok(());
        }
        let insert = db.dialect(
            "INSERT INTO messages
                 (room_id, seq, id, sender_id, sender_key, body, extras, sent_at)
             SELECT unhex(value ->> 'room'), value ->> 'seq', unhex(value ->> 'id'),
                    unhex(value ->> 'sender'), value ->> 'key', value ->> 'body',
                    value ->> 'extras', value ->> 'at'
             FROM json_each($1)",
            "INSERT INTO messages
                 (room_id, seq, id, sender_id, sender_key, body, extras, sent_at)
             SELECT room, seq, id, sender, key, body, extras, at
             FROM jsonb_to_recordset($1::jsonb)
                 AS j (room uuid, seq bigint, id uuid, sender uuid, key text, body text,
                       extras text, at bigint)",
        );
        execute!(db, insert, Value::Array(self.inserted).to_string())?;
        let update = db.dialect(
            "UPDATE rooms
             SET last_seq = j.head, last_message_seq = j.head, last_active_at = j.at
             FROM (SELECT unhex(value ->> 'room') AS room, value ->> 'head' AS head,
                          value ->> 'at' AS at
                   FROM json_each($1)) AS j
             WHERE rooms.id = j.room",
            "UPDATE rooms
             SET last_seq = j.head, last_message_seq = j.head, last_active_at = j.at
             FROM jsonb_to_recordset($1::jsonb) AS j (room uuid, head bigint, at bigint)
             WHERE rooms.id = j.room",
        );
        let heads: Vec<Value> = self.heads.into_values().collect();
        execute!(db, update, Value::Array(heads).to_string())?;
        let insert = db.dialect(
            "INSERT INTO outbox
                 (event_id, topic, name, subject, at, request_id, traceparent, data)
             SELECT unhex(value ->> 'id'), value ->> 'topic', value ->> 'name',
                    value ->> 'subject', value ->> 'at', value ->> 'request_id',
                    value ->> 'traceparent', value ->> 'data'
             FROM json_each($1)",
            "INSERT INTO outbox
                 (event_id, topic, name, subject, at, request_id, traceparent, data)
             SELECT id, topic, name, subject, at, request_id, traceparent, data
             FROM jsonb_to_recordset($1::jsonb)
                 AS j (id uuid, topic text, name text, subject text, at bigint,
                       request_id text, traceparent text, data text)",
        );
        execute!(db, insert, Value::Array(self.outbox).to_string())?;
        Ok(())
    }
}

fn message_row(batch: &SendBatch, seq: Seq, sender: UserId, message: &NewMessage) -> Value {
    json!({
        "room": hex(batch.room.uuid()),
        "seq": seq,
        "id": hex(message.id.uuid()),
        "sender": hex(sender.uuid()),
        "key": message.key,
        "body": message.body,
        "extras": messages::extras(message),
        "at": batch.now.millis(),
    })
}

/// One event for the whole batch.
fn outbox_row(batch: &SendBatch, sent: &[Value]) -> Value {
    json!({
        "id": hex(batch.outbox_id.uuid()),
        "topic": MESSAGE_EVENTS,
        "name": "MessageSent",
        "subject": batch.room.to_string(),
        "at": batch.now.millis(),
        "request_id": batch.origin.request_id.as_deref(),
        "traceparent": batch.origin.traceparent.as_deref(),
        "data": json!({ "room_id": batch.room, "messages": sent }).to_string(),
    })
}

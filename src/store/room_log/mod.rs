//! The room log: numbering what happens in a room, in the transaction that stores it.
//!
//! Invariant: under the lock of the room's row, `seq` goes on from `rooms.last_seq` without a hole, each number in
//! exactly one of `messages` and `room_events`; the lock is released by the commit. Never from a sequence: those
//! become visible out of order.

mod members;

use std::collections::HashMap;

use serde_json::json;

use super::messages::{self, event_data};
use super::sends::{SendBatch, are_plain_sends};
use super::{
    Db, Store, StoreError, blocks, execute, fetch_optional, inboxes, message_images,
    message_reports, outbox, privacy,
};
use crate::domain::events::{CHAT_EVENTS, DomainEvent, MESSAGE_EVENTS};
use crate::domain::ids::{EventId, RoomId, UserId};
use crate::domain::inbox::{InboxEvent, InboxNote};
use crate::domain::privacy::{Block, DirectRequirement};
use crate::domain::rooms::{
    Action, Appended, Command, EventName, Facts, LogEvent, MemberFacts, MemberRole, ReadMarker,
    RoomChange, RoomError, RoomFacts, RoomKind, RoomRules, Seq, Visibility, decide,
};
use crate::domain::time::Timestamp;
use crate::origin;

/// What became of one command, and the event to announce if it made one.
#[derive(Debug)]
pub struct Recorded {
    pub appended: Appended,
    pub event: Option<LogEvent>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Batch {
    /// The result of each command, in the order of the batch.
    pub results: Vec<Result<Recorded, RoomError>>,
    /// What users are told beside it, wherever they are.
    pub inbox: Vec<InboxEvent>,
}

impl Store {
    /// Appends a batch of commands to one room's log, in order, in one transaction with one lock of the room.
    ///
    /// `outbox_id` names the batch's outbox event. A command that the rules refuse changes nothing and does not
    /// disturb the others; `None` when there is no such room.
    ///
    /// # Errors
    /// [`StoreError`] when nothing of the batch was stored.
    pub async fn append_to_room(
        &self,
        room: RoomId,
        commands: Vec<Command>,
        rules: RoomRules,
        outbox_ids: [EventId; 2],
        now: Timestamp,
    ) -> Result<Option<Batch>, StoreError> {
        if are_plain_sends(&commands) {
            let [outbox_id, _] = outbox_ids;
            let member_count_max = rules.member_count_max;
            let origin = origin::current();
            let batch = SendBatch { room, commands, member_count_max, outbox_id, now, origin };
            return self.append_sends(batch).await;
        }
        self.write(move |db| {
            Box::pin(async move {
                let Some(mut log) = RoomLog::lock(db, room, commands.first(), rules, now).await?
                else {
                    return Ok(None);
                };
                let mut results = Vec::with_capacity(commands.len());
                for command in &commands {
                    results.push(log.append(db, command).await?);
                }
                let inbox = log.close(db, outbox_ids).await?;
                Ok(Some(Batch { results, inbox }))
            })
        })
        .await
    }
}

/// An open batch: the locked room and what it has become so far.
pub(super) struct RoomLog {
    room: RoomId,
    facts: RoomFacts,
    requirement: DirectRequirement,
    read_receipts: bool,
    now: Timestamp,
    first: Seq,
    last_message: Option<Seq>,
    members: HashMap<UserId, Option<MemberFacts>>,
    /// In a direct room: what stands between a member and the other.
    blocks: HashMap<UserId, Option<Block>>,
    sent: Vec<serde_json::Value>,
    read: Vec<serde_json::Value>,
    notes: Vec<InboxNote>,
}

#[derive(sqlx::FromRow)]
struct RoomRow {
    kind: String,
    visibility: String,
    last_seq: i64,
    last_message_seq: Option<i64>,
    member_count: i64,
    read_receipts: bool,
    knows_actor: bool,
    role: Option<String>,
    muted_until: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct MemberRow {
    role: String,
    muted_until: Option<i64>,
}

impl RoomLog {
    /// Locks the room's row until the transaction ends. In SQLite, where the transaction has locked everything
    /// already, the membership of the `first` command's actor is read on the way; in PostgreSQL it must be read after
    /// the lock was given, not with it.
    pub(super) async fn lock(
        db: &mut Db,
        room: RoomId,
        first: Option<&Command>,
        rules: RoomRules,
        now: Timestamp,
    ) -> Result<Option<Self>, StoreError> {
        let select = db.dialect(
            "SELECT r.kind, r.visibility, r.last_seq, r.last_message_seq, r.member_count,
                    r.read_receipts, TRUE AS knows_actor, m.role, m.muted_until
             FROM rooms r
             LEFT JOIN room_members m ON m.room_id = r.id AND m.user_id = $2
             WHERE r.id = $1",
            "SELECT kind, visibility, last_seq, last_message_seq, member_count,
                    read_receipts, $2::uuid IS NULL AS knows_actor, NULL::text AS role,
                    NULL::bigint AS muted_until
             FROM rooms
             WHERE id = $1
             FOR UPDATE",
        );
        let actor = first.map(|command| command.actor);
        let actor_id = actor.map(UserId::uuid);
        let Some(row) = fetch_optional!(db, RoomRow, select, room.uuid(), actor_id)? else {
            return Ok(None);
        };
        let facts = RoomFacts {
            kind: RoomKind::parse(&row.kind).unwrap_or(RoomKind::Group),
            visibility: Visibility::parse(&row.visibility).unwrap_or(Visibility::Private),
            head: row.last_seq,
            member_count: row.member_count,
            member_count_max: rules.member_count_max,
        };
        let mut members = HashMap::new();
        if let Some(actor) = actor.filter(|_| row.knows_actor) {
            members.insert(actor, member_facts(row.role, row.muted_until));
        }
        Ok(Some(Self {
            room,
            facts,
            requirement: rules.requirement,
            read_receipts: row.read_receipts,
            now,
            first: row.last_seq,
            last_message: row.last_message_seq,
            members,
            blocks: HashMap::new(),
            sent: Vec::new(),
            read: Vec::new(),
            notes: Vec::new(),
        }))
    }

    /// Decides one command and, if it is allowed, stores what it says.
    pub(super) async fn append(
        &mut self,
        db: &mut Db,
        command: &Command,
    ) -> Result<Result<Recorded, RoomError>, StoreError> {
        let facts = self.facts_for(db, command).await?;
        if let Err(refusal) = decide(command, &facts, self.now) {
            // What was acknowledged stays so: a repeat is answered even where a new message would be refused.
            let repeat = self.find_repeat(db, command).await?;
            return Ok(repeat.ok_or(refusal));
        }
        self.perform(db, command, &facts).await.map(Ok)
    }

    /// Writes the new head, the batch's outbox rows (at most one per topic name, not one per message) and what inboxes
    /// are told, which it gives.
    pub(super) async fn close(
        self,
        db: &mut Db,
        ids: [EventId; 2],
    ) -> Result<Vec<InboxEvent>, StoreError> {
        if self.facts.head > self.first {
            execute!(
                db,
                "UPDATE rooms
                 SET last_seq = $1, last_message_seq = $2, last_active_at = $3, member_count = $4
                 WHERE id = $5",
                self.facts.head,
                self.last_message,
                self.now.millis(),
                self.facts.member_count,
                self.room.uuid(),
            )?;
        }
        let [sent_id, read_id] = ids;
        let facts = [
            (sent_id, "MessageSent", "messages", self.sent),
            (read_id, "MessagesRead", "markers", self.read),
        ];
        for (id, name, list, items) in facts {
            if items.is_empty() {
                continue;
            }
            let event = DomainEvent {
                id,
                topic: MESSAGE_EVENTS,
                name,
                subject: self.room.to_string(),
                at: self.now,
                data: json!({ "room_id": self.room, list: items }),
            };
            outbox::append(db, &event).await?;
        }
        inboxes::append(db, self.notes, self.now).await
    }

    async fn facts_for(&mut self, db: &mut Db, command: &Command) -> Result<Facts, StoreError> {
        let actor = self.member(db, command.actor).await?;
        let mut facts = Facts {
            room: self.facts,
            actor,
            target: None,
            guest: None,
            message: None,
            block: None,
        };
        if self.facts.kind == RoomKind::Direct {
            facts.block = self.block(db, command.actor).await?;
        } else if let Action::Invite { user } = command.action {
            let found = privacy::list_guests(db, self.requirement, command.actor, &[user]).await?;
            facts.guest = found.into_iter().next();
        }
        if let Some(user) = command.action.user() {
            facts.target = self.member(db, user).await?;
        }
        if let Some(message) = command.action.message() {
            facts.message = messages::find_facts(db, self.room, message).await?;
        }
        Ok(facts)
    }

    async fn member(
        &mut self,
        db: &mut Db,
        user: UserId,
    ) -> Result<Option<MemberFacts>, StoreError> {
        if let Some(known) = self.members.get(&user) {
            return Ok(*known);
        }
        let row = fetch_optional!(
            db,
            MemberRow,
            "SELECT role, muted_until
             FROM room_members
             WHERE room_id = $1 AND user_id = $2",
            self.room.uuid(),
            user.uuid(),
        )?;
        let member = row.and_then(|row| member_facts(Some(row.role), row.muted_until));
        self.members.insert(user, member);
        Ok(member)
    }

    async fn block(&mut self, db: &mut Db, actor: UserId) -> Result<Option<Block>, StoreError> {
        if let Some(known) = self.blocks.get(&actor) {
            return Ok(*known);
        }
        let block = blocks::find_in_direct_room(db, self.room, actor).await?;
        self.blocks.insert(actor, block);
        Ok(block)
    }

    async fn find_repeat(
        &self,
        db: &mut Db,
        command: &Command,
    ) -> Result<Option<Recorded>, StoreError> {
        let Action::Send(message) = &command.action else { return Ok(None) };
        let sent = messages::find_sent(db, message.id).await?;
        Ok(sent.map(|appended| Recorded { appended, event: None }))
    }

    async fn perform(
        &mut self,
        db: &mut Db,
        command: &Command,
        facts: &Facts,
    ) -> Result<Recorded, StoreError> {
        let actor = command.actor;
        let seq = facts.message.map_or(0, |message| message.seq);
        match &command.action {
            Action::Send(message) => self.send(db, actor, message).await,
            Action::Edit { body, .. } => {
                messages::update_body(db, self.room, seq, body.as_str(), self.now).await?;
                let mut recorded =
                    self.record(db, actor, EventName::MessageEdited, json!({ "seq": seq })).await?;
                // Announced with the wording, stored without: the wording lives in the message alone.
                if let Some(event) = &mut recorded.event {
                    event.data = json!({ "seq": seq, "body": body }).to_string();
                }
                Ok(recorded)
            }
            Action::Delete { .. } if facts.message.is_some_and(|message| message.deleted) => {
                Ok(self.unchanged())
            }
            Action::Delete { .. } => self.delete(db, actor, seq).await,
            Action::Remove(removal) => {
                let place = (self.room, seq);
                let is_due =
                    message_reports::resolve_by_removal(db, removal, place, actor, self.now)
                        .await?;
                // As if its sender had done it: who decided is told in the audit, and nowhere else.
                match facts.message.filter(|message| is_due && !message.deleted) {
                    Some(message) => self.delete(db, message.sender, seq).await,
                    None => Ok(self.unchanged()),
                }
            }
            Action::React { emoji, .. } => {
                let new =
                    messages::insert_reaction(db, self.room, seq, emoji.as_str(), actor, self.now)
                        .await?;
                let data = json!({ "seq": seq, "emoji": emoji });
                self.record_if(db, new, actor, EventName::ReactionAdded, data).await
            }
            Action::Unreact { emoji, .. } => {
                let gone =
                    messages::delete_reaction(db, self.room, seq, emoji.as_str(), actor).await?;
                let data = json!({ "seq": seq, "emoji": emoji });
                self.record_if(db, gone, actor, EventName::ReactionRemoved, data).await
            }
            Action::Pin { .. } => {
                let new = messages::insert_pin(db, self.room, seq, actor, self.now).await?;
                let data = json!({ "pinned": seq });
                self.record_if(db, new, actor, EventName::RoomUpdated, data).await
            }
            Action::Unpin { .. } => {
                let gone = messages::delete_pin(db, self.room, seq).await?;
                let data = json!({ "unpinned": seq });
                self.record_if(db, gone, actor, EventName::RoomUpdated, data).await
            }
            Action::Join if facts.actor.is_some() => Ok(self.unchanged()),
            Action::Join => self.add_member(db, actor, actor, MemberRole::Member).await,
            Action::Invite { .. } if facts.target.is_some() => Ok(self.unchanged()),
            Action::Invite { user } => self.add_member(db, actor, *user, MemberRole::Member).await,
            Action::Leave => self.remove_member(db, actor, actor).await,
            Action::Kick { user } => self.remove_member(db, actor, *user).await,
            Action::SetRole { user, role } => self.set_role(db, actor, *user, *role).await,
            Action::Mute { user, until } => self.mute(db, actor, *user, *until).await,
            Action::Update(change) => self.update(db, actor, change).await,
            Action::Read { seq } => self.mark_read(db, actor, *seq, facts.block).await,
        }
    }

    async fn send(
        &mut self,
        db: &mut Db,
        actor: UserId,
        message: &crate::domain::messages::NewMessage,
    ) -> Result<Recorded, StoreError> {
        let seq = self.facts.head.saturating_add(1);
        if !messages::insert_message(db, self.room, seq, actor, message, self.now).await? {
            let appended =
                messages::find_sent(db, message.id).await?.ok_or(StoreError::NotFound)?;
            return Ok(Recorded { appended, event: None });
        }
        message_images::attach(db, self.room, actor, (seq, message), self.now).await?;
        self.facts.head = seq;
        self.last_message = Some(seq);
        let mut mentions = message.mentions.clone();
        let apart = blocks::list_blocked_between(db, actor, &mentions).await?;
        mentions.retain(|user| !apart.contains(user));
        self.sent.push(json!({
            "id": message.id, "seq": seq, "from": actor, "mentions": mentions,
        }));
        let data = event_data(message);
        let event = self.event(actor, EventName::MessageSent, seq, data, None);
        let appended = Appended { message: Some(message.id), ..self.appended(Some(seq)) };
        Ok(Recorded { appended, event: Some(event) })
    }

    async fn delete(
        &mut self,
        db: &mut Db,
        actor: UserId,
        seq: Seq,
    ) -> Result<Recorded, StoreError> {
        messages::update_to_tombstone(db, self.room, seq, self.now).await?;
        message_images::drop_of_message(db, self.room, seq, self.now).await?;
        let data = json!({ "seq": seq });
        self.record(db, actor, EventName::MessageDeleted, data).await
    }

    async fn update(
        &mut self,
        db: &mut Db,
        actor: UserId,
        change: &RoomChange,
    ) -> Result<Recorded, StoreError> {
        execute!(
            db,
            "UPDATE rooms
             SET name = COALESCE($1, name), topic = COALESCE($2, topic),
                 avatar = COALESCE($3, avatar), read_receipts = COALESCE($4, read_receipts),
                 updated_at = $5
             WHERE id = $6",
            change.name.as_ref().map(|name| name.as_str().to_owned()),
            change.topic.as_ref().map(|topic| topic.as_str().to_owned()),
            change.avatar.as_ref().map(|avatar| avatar.as_str().to_owned()),
            change.read_receipts,
            self.now.millis(),
            self.room.uuid(),
        )?;
        self.read_receipts = change.read_receipts.unwrap_or(self.read_receipts);
        self.record(db, actor, EventName::RoomUpdated, json!(change)).await
    }

    /// Moves the marker forward, never back. In the log only where the room shows read receipts, and not past a block.
    async fn mark_read(
        &mut self,
        db: &mut Db,
        actor: UserId,
        seq: Seq,
        block: Option<Block>,
    ) -> Result<Recorded, StoreError> {
        let moved = execute!(
            db,
            "UPDATE room_members
             SET read_seq = $1
             WHERE room_id = $2 AND user_id = $3 AND read_seq < $1",
            seq,
            self.room.uuid(),
            actor.uuid(),
        )?;
        let marker = messages::find_read_marker(db, self.room, actor).await?;
        let mut recorded = if moved > 0 && self.read_receipts && block.is_none() {
            let data = json!({ "user_id": actor, "seq": marker.seq });
            self.record(db, actor, EventName::MessagesRead, data).await?
        } else {
            self.unchanged()
        };
        if moved > 0 {
            self.read.push(json!({ "user_id": actor, "seq": marker.seq }));
        }
        recorded.appended.read = Some(marker);
        Ok(recorded)
    }

    async fn record_if(
        &mut self,
        db: &mut Db,
        changed: bool,
        actor: UserId,
        name: EventName,
        data: serde_json::Value,
    ) -> Result<Recorded, StoreError> {
        if changed { self.record(db, actor, name, data).await } else { Ok(self.unchanged()) }
    }

    /// Takes the next number for an event that is not a message.
    async fn record(
        &mut self,
        db: &mut Db,
        actor: UserId,
        name: EventName,
        data: serde_json::Value,
    ) -> Result<Recorded, StoreError> {
        let seq = self.facts.head.saturating_add(1);
        let data = data.to_string();
        execute!(
            db,
            "INSERT INTO room_events (room_id, seq, name, actor_id, at, data)
             VALUES ($1, $2, $3, $4, $5, $6)",
            self.room.uuid(),
            seq,
            name.as_str(),
            actor.uuid(),
            self.now.millis(),
            data.as_str(),
        )?;
        self.facts.head = seq;
        let event = self.event(actor, name, seq, data, None);
        Ok(Recorded { appended: self.appended(Some(seq)), event: Some(event) })
    }

    fn event(
        &self,
        from: UserId,
        name: EventName,
        seq: Seq,
        data: String,
        removed: Option<UserId>,
    ) -> LogEvent {
        LogEvent { room: self.room, seq, name, at: self.now, from, data, removed }
    }

    const fn unchanged(&self) -> Recorded {
        Recorded { appended: self.appended(None), event: None }
    }

    const fn appended(&self, seq: Option<Seq>) -> Appended {
        Appended { seq, at: self.now, message: None, duplicate: false, read: None }
    }
}

/// A membership from its columns; `None` where a join found no row.
fn member_facts(role: Option<String>, muted_until: Option<i64>) -> Option<MemberFacts> {
    let role = MemberRole::parse(&role?).unwrap_or(MemberRole::Member);
    Some(MemberFacts { role, muted_until: muted_until.map(Timestamp::from_millis) })
}

/// The outbox event of a room that came to be.
pub(super) fn room_created(
    id: EventId,
    room: RoomId,
    kind: RoomKind,
    members: &[UserId],
    now: Timestamp,
) -> DomainEvent {
    DomainEvent {
        id,
        topic: CHAT_EVENTS,
        name: "ChatRoomCreated",
        subject: room.to_string(),
        at: now,
        data: json!({ "room_id": room, "kind": kind, "member_ids": members }),
    }
}

impl From<MemberRead> for ReadMarker {
    fn from(row: MemberRead) -> Self {
        Self { seq: row.read_seq, unread_count: row.unread_count }
    }
}

/// A member's marker with what is unread after it.
#[derive(sqlx::FromRow)]
pub(super) struct MemberRead {
    read_seq: i64,
    unread_count: i64,
}

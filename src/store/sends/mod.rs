//! Sends in bulk: the plain messages of many rooms, decided and numbered together, written with little more work
//! than one of them.
//!
//! What [`super::room_log`] does for one command at a time, for the commonest command and any number of rooms at
//! once. Invariants are the same: numbers go on without a hole under the room's lock, and a message that is known is
//! answered, not stored again. [`Group`] is the rule; [`postgres`] and [`sqlite`] read what it rests on and write what
//! it comes to, each in the way its database is fastest.

pub(super) mod postgres;
pub(super) mod sqlite;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::Serialize;
use uuid::Uuid;

use super::messages;
use super::room_log::{Batch, Recorded};
use crate::domain::events::MESSAGE_EVENTS;
use crate::domain::ids::{EventId, MessageId, RoomId, UserId};
use crate::domain::messages::NewMessage;
use crate::domain::privacy::Block;
use crate::domain::rooms::{
    Action, Appended, Command, EventName, Facts, LogEvent, MemberFacts, MemberRole, RoomError,
    RoomFacts, RoomKind, Seq, Visibility, decide,
};
use crate::domain::time::Timestamp;
use crate::origin::Origin;

/// One room's batch of plain sends: messages that answer no other, and have no pictures that are kept here.
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
    let is_plain =
        |message: &NewMessage| message.reply_to.is_none() && message.own_pictures().count() == 0;
    commands
        .iter()
        .all(|command| matches!(&command.action, Action::Send(message) if is_plain(message)))
}

/// What the group rests on, as read under the locks, and what it comes to.
#[derive(Default)]
struct Group<'b> {
    rooms: HashMap<RoomId, RoomFacts>,
    members: HashMap<(RoomId, UserId), MemberFacts>,
    /// In direct rooms: what stands between a sender and the other.
    blocks: HashMap<(RoomId, UserId), Block>,
    /// Senders and whom they mention past a block.
    apart: HashSet<(UserId, UserId)>,
    known: HashMap<MessageId, Appended>,
    messages: Vec<MessageRow<'b>>,
    heads: Vec<HeadRow>,
    outbox: Vec<OutboxRow<'b>>,
}

/// What is read of a room.
#[derive(Clone, Copy)]
struct RoomColumns<'r> {
    kind: &'r str,
    visibility: &'r str,
    last_seq: Seq,
    member_count: i64,
}

#[derive(Serialize)]
struct MessageRow<'b> {
    room: Uuid,
    seq: Seq,
    id: Uuid,
    sender: Uuid,
    key: &'b str,
    body: &'b str,
    extras: Option<String>,
    at: i64,
}

#[derive(Serialize)]
struct HeadRow {
    room: Uuid,
    head: Seq,
    at: i64,
}

/// One event for a whole batch.
#[derive(Serialize)]
struct OutboxRow<'b> {
    id: Uuid,
    topic: &'static str,
    name: &'static str,
    subject: String,
    at: i64,
    request_id: Option<&'b str>,
    traceparent: Option<&'b str>,
    data: String,
}

/// What the rest of the system is told of a batch.
#[derive(Serialize)]
struct BatchFact<'s, 'b> {
    room_id: RoomId,
    messages: &'s [SentFact<'b>],
}

#[derive(Serialize)]
struct SentFact<'b> {
    id: MessageId,
    seq: Seq,
    from: UserId,
    mentions: Cow<'b, [UserId]>,
}

/// Every sender and whom they mention, once for each time.
fn mentions_of(batches: &[SendBatch]) -> impl Iterator<Item = (UserId, UserId)> {
    sends_of(batches).flat_map(|(_, command, message)| {
        message.mentions.iter().map(move |user| (command.actor, *user))
    })
}

/// Every send of every batch, in order.
fn sends_of(batches: &[SendBatch]) -> impl Iterator<Item = (&SendBatch, &Command, &NewMessage)> {
    batches.iter().flat_map(|batch| {
        batch.commands.iter().filter_map(move |command| match &command.action {
            Action::Send(message) => Some((batch, command, message)),
            _ => None,
        })
    })
}

impl<'b> Group<'b> {
    fn learn_room(&mut self, room: RoomId, facts: RoomColumns<'_>) {
        self.rooms.entry(room).or_insert_with(|| RoomFacts {
            kind: RoomKind::parse(facts.kind).unwrap_or(RoomKind::Group),
            visibility: Visibility::parse(facts.visibility).unwrap_or(Visibility::Private),
            head: facts.last_seq,
            member_count: facts.member_count,
            member_count_max: 0,
        });
    }

    fn learn_member(&mut self, room: RoomId, user: UserId, role: &str, muted_until: Option<i64>) {
        let facts = MemberFacts {
            role: MemberRole::parse(role).unwrap_or(MemberRole::Member),
            muted_until: muted_until.map(Timestamp::from_millis),
        };
        self.members.insert((room, user), facts);
    }

    /// Which of the two in a direct room has blocked the other.
    fn learn_block(&mut self, room: RoomId, sender: UserId, by_sender: bool, by_other: bool) {
        if let Some(block) = Block::of(by_sender, by_other) {
            self.blocks.insert((room, sender), block);
        }
    }

    /// A block stands between the sender and somebody who is mentioned.
    fn learn_apart(&mut self, sender: UserId, mentioned: UserId) {
        self.apart.insert((sender, mentioned));
    }

    /// Whom a message calls: those who are mentioned, but for whoever a block keeps it from.
    fn called(&self, sender: UserId, message: &'b NewMessage) -> Cow<'b, [UserId]> {
        let is_apart = |user: &UserId| self.apart.contains(&(sender, *user));
        if message.mentions.iter().any(is_apart) {
            message.mentions.iter().copied().filter(|user| !is_apart(user)).collect()
        } else {
            Cow::Borrowed(&message.mentions)
        }
    }

    /// The message was sent before.
    fn learn_known(&mut self, id: MessageId, seq: Seq, sent_at: i64) {
        let appended = Appended {
            seq: Some(seq),
            at: Timestamp::from_millis(sent_at),
            message: Some(id),
            duplicate: true,
            read: None,
        };
        self.known.insert(id, appended);
    }

    /// Decides and numbers every batch; gives the results of each, `None` for a room that does not exist.
    fn number_all(&mut self, batches: &'b [SendBatch]) -> Vec<Option<Batch>> {
        batches.iter().map(|batch| self.number(batch)).collect()
    }

    /// Decides and numbers one batch; nothing is written yet.
    fn number(&mut self, batch: &'b SendBatch) -> Option<Batch> {
        let before = self.rooms.get(&batch.room)?.head;
        let mut sent: Vec<SentFact<'b>> = Vec::new();
        let results = sends_of(std::slice::from_ref(batch))
            .map(|(_, command, message)| self.send(batch, command, message, &mut sent))
            .collect();
        let head = self.rooms.get(&batch.room).map_or(before, |room| room.head);
        if head > before {
            let (room, at) = (batch.room.uuid(), batch.now.millis());
            self.heads.push(HeadRow { room, head, at });
            self.outbox.push(outbox_row(batch, &sent));
        }
        Some(Batch { results, inbox: Vec::new() })
    }

    fn send(
        &mut self,
        batch: &'b SendBatch,
        command: &Command,
        message: &'b NewMessage,
        sent: &mut Vec<SentFact<'b>>,
    ) -> Result<Recorded, RoomError> {
        let sender = command.actor;
        // What was acknowledged stays so, whatever has become of its sender.
        if let Some(appended) = self.known.get(&message.id) {
            return Ok(Recorded { appended: *appended, event: None });
        }
        let mentions = self.called(sender, message);
        let room = self.rooms.get_mut(&batch.room).ok_or(RoomError::NotFound)?;
        let facts = Facts {
            room: RoomFacts { member_count_max: batch.member_count_max, ..*room },
            actor: self.members.get(&(batch.room, sender)).copied(),
            target: None,
            guest: None,
            message: None,
            block: self.blocks.get(&(batch.room, sender)).copied(),
        };
        decide(command, &facts, batch.now)?;
        room.head = room.head.saturating_add(1);
        let seq = room.head;
        self.messages.push(MessageRow {
            room: batch.room.uuid(),
            seq,
            id: message.id.uuid(),
            sender: sender.uuid(),
            key: message.key.as_str(),
            body: message.body.as_str(),
            extras: messages::extras(message),
            at: batch.now.millis(),
        });
        sent.push(SentFact { id: message.id, seq, from: sender, mentions });
        let appended = Appended {
            seq: Some(seq),
            at: batch.now,
            message: Some(message.id),
            duplicate: false,
            read: None,
        };
        self.known.insert(message.id, Appended { duplicate: true, ..appended });
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
}

fn outbox_row<'b>(batch: &'b SendBatch, sent: &[SentFact<'b>]) -> OutboxRow<'b> {
    let fact = BatchFact { room_id: batch.room, messages: sent };
    OutboxRow {
        id: batch.outbox_id.uuid(),
        topic: MESSAGE_EVENTS,
        name: "MessageSent",
        subject: batch.room.to_string(),
        at: batch.now.millis(),
        request_id: batch.origin.request_id.as_deref(),
        traceparent: batch.origin.traceparent.as_deref(),
        // Ids, numbers and lists of them always have a JSON form.
        data: serde_json::to_string(&fact).unwrap_or_default(),
    }
}

//! Messages: the rows behind `message_sent`, their reactions and pins, and pages of history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::room_log::MemberRead;
use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::domain::ids::{MessageId, RoomId, UserId};
use crate::domain::messages::{Attachment, MessageRef, NewMessage};
use crate::domain::rooms::{
    Appended, EventName, LogEvent, MessageFacts, ReadMarker, RoomError, Seq,
};
use crate::domain::time::Timestamp;

/// A message as it stands now, with its reactions.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatMessage {
    pub id: MessageId,
    pub seq: Seq,
    pub key: String,
    pub from: UserId,
    pub body: String,
    pub at: Timestamp,
    pub edited_at: Option<Timestamp>,
    pub deleted_at: Option<Timestamp>,
    pub reply_to: Option<Seq>,
    pub mentions: Vec<UserId>,
    pub attachments: Vec<Attachment>,
    pub reactions: Vec<Reaction>,
}

/// How often one emoji was given to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    pub emoji: String,
    pub count: i64,
    /// Whether the reader is among them.
    pub mine: bool,
}

/// Which way a page of history goes from its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The messages just below this `seq`; `None` starts at the newest.
    Before(Option<Seq>),
    /// The messages just above this `seq`.
    After(Seq),
}

/// Why a page of history is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(sqlx::FromRow)]
struct MessageRow {
    id: Uuid,
    seq: i64,
    sender_id: Uuid,
    sender_key: String,
    body: String,
    reply_to: Option<i64>,
    extras: Option<String>,
    sent_at: i64,
    edited_at: Option<i64>,
    deleted_at: Option<i64>,
}

/// What few messages have, kept as JSON in one column.
#[derive(Default, Serialize, Deserialize)]
struct Extras {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mentions: Vec<UserId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<Attachment>,
}

impl Extras {
    fn read(text: Option<String>) -> Self {
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }
}

/// What is attached to a message that has these extras.
pub(super) fn attachments_in(extras: Option<String>) -> Vec<Attachment> {
    Extras::read(extras).attachments
}

impl Store {
    /// A page of a room's messages for one of its members, ascending by `seq`, at most `limit`.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] for everybody who is not a member.
    pub async fn list_messages(
        &self,
        room: RoomId,
        reader: UserId,
        page: Page,
        limit: i64,
    ) -> Result<Vec<ChatMessage>, ReadError> {
        self.read(move |db| {
            Box::pin(async move {
                require_member(db, room, reader).await?;
                let rows = list_rows(db, room, page, limit).await?;
                Ok(with_reactions(db, room, reader, rows).await?)
            })
        })
        .await
    }

    /// The pinned messages of a room for one of its members, newest pin first.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] for everybody who is not a member.
    pub async fn list_pinned_messages(
        &self,
        room: RoomId,
        reader: UserId,
        limit: i64,
    ) -> Result<Vec<ChatMessage>, ReadError> {
        self.read(move |db| {
            Box::pin(async move {
                require_member(db, room, reader).await?;
                let rows = fetch_all!(
                    db,
                    MessageRow,
                    "SELECT m.id, m.seq, m.sender_id, m.sender_key, m.body, m.reply_to, m.extras,
                            m.sent_at, m.edited_at, m.deleted_at
                     FROM pins p
                     JOIN messages m ON m.room_id = p.room_id AND m.seq = p.seq
                     WHERE p.room_id = $1 AND m.deleted_at IS NULL
                     ORDER BY p.pinned_at DESC, p.seq DESC
                     LIMIT $2",
                    room.uuid(),
                    limit,
                )?;
                Ok(with_reactions(db, room, reader, rows).await?)
            })
        })
        .await
    }
}

/// Refuses readers who are not members, as if there were no such room.
pub(super) async fn require_member(
    db: &mut Db,
    room: RoomId,
    user: UserId,
) -> Result<(), ReadError> {
    let member = fetch_optional!(
        db,
        (i64,),
        "SELECT joined_seq FROM room_members WHERE room_id = $1 AND user_id = $2",
        room.uuid(),
        user.uuid(),
    )?;
    member.map(|_| ()).ok_or(ReadError::Room(RoomError::NotFound))
}

async fn list_rows(
    db: &mut Db,
    room: RoomId,
    page: Page,
    limit: i64,
) -> Result<Vec<MessageRow>, StoreError> {
    match page {
        Page::Before(before) => {
            let mut rows = fetch_all!(
                db,
                MessageRow,
                "SELECT id, seq, sender_id, sender_key, body, reply_to, extras,
                        sent_at, edited_at, deleted_at
                 FROM messages
                 WHERE room_id = $1 AND seq < $2
                 ORDER BY seq DESC
                 LIMIT $3",
                room.uuid(),
                before.unwrap_or(i64::MAX),
                limit,
            )?;
            rows.reverse();
            Ok(rows)
        }
        Page::After(after) => fetch_all!(
            db,
            MessageRow,
            "SELECT id, seq, sender_id, sender_key, body, reply_to, extras,
                    sent_at, edited_at, deleted_at
             FROM messages
             WHERE room_id = $1 AND seq > $2
             ORDER BY seq
             LIMIT $3",
            room.uuid(),
            after,
            limit,
        ),
    }
}

async fn with_reactions(
    db: &mut Db,
    room: RoomId,
    reader: UserId,
    rows: Vec<MessageRow>,
) -> Result<Vec<ChatMessage>, StoreError> {
    let seqs = || rows.iter().map(|row| row.seq);
    let (Some(low), Some(high)) = (seqs().min(), seqs().max()) else {
        return Ok(Vec::new());
    };
    let counts = fetch_all!(
        db,
        (i64, String, i64, i64),
        "SELECT seq, emoji, COUNT(*), COUNT(CASE WHEN user_id = $4 THEN 1 END)
         FROM reactions
         WHERE room_id = $1 AND seq >= $2 AND seq <= $3
         GROUP BY seq, emoji
         ORDER BY seq, MIN(at), emoji",
        room.uuid(),
        low,
        high,
        reader.uuid(),
    )?;
    let mut reactions: BTreeMap<Seq, Vec<Reaction>> = BTreeMap::new();
    for (seq, emoji, count, mine) in counts {
        reactions.entry(seq).or_default().push(Reaction { emoji, count, mine: mine == 1 });
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let reactions = reactions.remove(&row.seq).unwrap_or_default();
            row.into_message(reactions)
        })
        .collect())
}

impl MessageRow {
    fn into_message(self, reactions: Vec<Reaction>) -> ChatMessage {
        let extras = Extras::read(self.extras);
        ChatMessage {
            id: self.id.into(),
            seq: self.seq,
            key: self.sender_key,
            from: self.sender_id.into(),
            body: self.body,
            at: Timestamp::from_millis(self.sent_at),
            edited_at: self.edited_at.map(Timestamp::from_millis),
            deleted_at: self.deleted_at.map(Timestamp::from_millis),
            reply_to: self.reply_to,
            mentions: extras.mentions,
            attachments: extras.attachments,
            reactions,
        }
    }
}

/// The `data` of a message's `message_sent`.
#[derive(Serialize)]
struct Sent<'m> {
    id: MessageId,
    key: &'m str,
    body: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Seq>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mentions: &'m [UserId],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    attachments: &'m [Attachment],
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
}

impl Sent<'_> {
    fn json(&self) -> String {
        // Strings, numbers and lists of them always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

pub(super) fn event_data(message: &NewMessage) -> String {
    Sent {
        id: message.id,
        key: message.key.as_str(),
        body: message.body.as_str(),
        reply_to: message.reply_to,
        mentions: &message.mentions,
        attachments: &message.attachments,
        deleted_at: None,
    }
    .json()
}

/// The `message_sent` events after `after`, as the messages stand today.
pub(super) async fn list_sent(
    db: &mut Db,
    room: RoomId,
    after: Seq,
    limit: i64,
) -> Result<Vec<LogEvent>, StoreError> {
    let rows = list_rows(db, room, Page::After(after), limit).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let message = row.into_message(Vec::new());
            let data = Sent {
                id: message.id,
                key: &message.key,
                body: &message.body,
                reply_to: message.reply_to,
                mentions: &message.mentions,
                attachments: &message.attachments,
                deleted_at: message.deleted_at,
            }
            .json();
            let (seq, at, from) = (message.seq, message.at, message.from);
            LogEvent { room, seq, name: EventName::MessageSent, at, from, data, removed: None }
        })
        .collect())
}

pub(super) async fn find_body(
    db: &mut Db,
    room: RoomId,
    seq: Seq,
) -> Result<Option<String>, StoreError> {
    let row = fetch_optional!(
        db,
        (String,),
        "SELECT body FROM messages WHERE room_id = $1 AND seq = $2",
        room.uuid(),
        seq,
    )?;
    Ok(row.map(|(body,)| body))
}

/// What few messages have, as it is stored.
pub(super) fn extras(message: &NewMessage) -> Option<String> {
    if message.mentions.is_empty() && message.attachments.is_empty() {
        return None;
    }
    let (mentions, attachments) = (message.mentions.clone(), message.attachments.clone());
    // Strings, numbers and lists of them always have a JSON form.
    serde_json::to_string(&Extras { mentions, attachments }).ok()
}

/// Inserts a message; `false` when its sender used the key before in this room.
pub(super) async fn insert_message(
    db: &mut Db,
    room: RoomId,
    seq: Seq,
    sender: UserId,
    message: &NewMessage,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let extras = extras(message);
    let rows = execute!(
        db,
        "INSERT INTO messages
             (room_id, seq, id, sender_id, sender_key, body, reply_to, extras, sent_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (id) DO NOTHING",
        room.uuid(),
        seq,
        message.id.uuid(),
        sender.uuid(),
        message.key.as_str(),
        message.body.as_str(),
        message.reply_to,
        extras,
        now.millis(),
    )?;
    Ok(rows == 1)
}

/// The answer that a message was given when it was first accepted.
pub(super) async fn find_sent(
    db: &mut Db,
    message: MessageId,
) -> Result<Option<Appended>, StoreError> {
    let row = fetch_optional!(
        db,
        (i64, i64),
        "SELECT seq, sent_at FROM messages WHERE id = $1",
        message.uuid(),
    )?;
    Ok(row.map(|(seq, at)| Appended {
        seq: Some(seq),
        at: Timestamp::from_millis(at),
        message: Some(message),
        duplicate: true,
        read: None,
    }))
}

pub(super) async fn find_facts(
    db: &mut Db,
    room: RoomId,
    message: MessageRef,
) -> Result<Option<MessageFacts>, StoreError> {
    let row: Option<(i64, Uuid, Option<i64>)> = match message {
        MessageRef::Seq(seq) => fetch_optional!(
            db,
            (i64, Uuid, Option<i64>),
            "SELECT seq, sender_id, deleted_at FROM messages WHERE room_id = $1 AND seq = $2",
            room.uuid(),
            seq,
        )?,
        MessageRef::Id(id) => fetch_optional!(
            db,
            (i64, Uuid, Option<i64>),
            "SELECT seq, sender_id, deleted_at FROM messages WHERE room_id = $1 AND id = $2",
            room.uuid(),
            id.uuid(),
        )?,
    };
    Ok(row.map(|(seq, sender, deleted)| MessageFacts {
        seq,
        sender: sender.into(),
        deleted: deleted.is_some(),
    }))
}

pub(super) async fn update_body(
    db: &mut Db,
    room: RoomId,
    seq: Seq,
    body: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE messages SET body = $1, edited_at = $2 WHERE room_id = $3 AND seq = $4",
        body,
        now.millis(),
        room.uuid(),
        seq,
    )
    .map(|_| ())
}

/// Leaves the number and who sent it; what it said is gone, its reactions and pin too. (`message_edited` rows hold
/// no wording, so none of them needs to be cleaned.)
pub(super) async fn update_to_tombstone(
    db: &mut Db,
    room: RoomId,
    seq: Seq,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE messages
         SET body = '', extras = NULL, deleted_at = $1
         WHERE room_id = $2 AND seq = $3",
        now.millis(),
        room.uuid(),
        seq,
    )?;
    execute!(db, "DELETE FROM reactions WHERE room_id = $1 AND seq = $2", room.uuid(), seq)?;
    delete_pin(db, room, seq).await.map(|_| ())
}

pub(super) async fn insert_reaction(
    db: &mut Db,
    room: RoomId,
    seq: Seq,
    emoji: &str,
    user: UserId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let rows = execute!(
        db,
        "INSERT INTO reactions (room_id, seq, emoji, user_id, at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (room_id, seq, emoji, user_id) DO NOTHING",
        room.uuid(),
        seq,
        emoji,
        user.uuid(),
        now.millis(),
    )?;
    Ok(rows == 1)
}

pub(super) async fn delete_reaction(
    db: &mut Db,
    room: RoomId,
    seq: Seq,
    emoji: &str,
    user: UserId,
) -> Result<bool, StoreError> {
    let rows = execute!(
        db,
        "DELETE FROM reactions WHERE room_id = $1 AND seq = $2 AND emoji = $3 AND user_id = $4",
        room.uuid(),
        seq,
        emoji,
        user.uuid(),
    )?;
    Ok(rows == 1)
}

pub(super) async fn insert_pin(
    db: &mut Db,
    room: RoomId,
    seq: Seq,
    user: UserId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let rows = execute!(
        db,
        "INSERT INTO pins (room_id, seq, pinned_by, pinned_at)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (room_id, seq) DO NOTHING",
        room.uuid(),
        seq,
        user.uuid(),
        now.millis(),
    )?;
    Ok(rows == 1)
}

pub(super) async fn delete_pin(db: &mut Db, room: RoomId, seq: Seq) -> Result<bool, StoreError> {
    let rows = execute!(db, "DELETE FROM pins WHERE room_id = $1 AND seq = $2", room.uuid(), seq)?;
    Ok(rows == 1)
}

pub(super) async fn find_read_marker(
    db: &mut Db,
    room: RoomId,
    user: UserId,
) -> Result<ReadMarker, StoreError> {
    let row = fetch_one!(
        db,
        MemberRead,
        "SELECT rm.read_seq AS read_seq,
                (SELECT COUNT(*) FROM
                    (SELECT 1 FROM messages m
                     WHERE m.room_id = rm.room_id AND m.seq > rm.read_seq
                       AND m.sender_id <> rm.user_id AND m.deleted_at IS NULL
                     LIMIT 1000) AS unread) AS unread_count
         FROM room_members rm
         WHERE rm.room_id = $1 AND rm.user_id = $2",
        room.uuid(),
        user.uuid(),
    )?;
    Ok(row.into())
}

//! Messages, their reactions and read markers as clients see them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ids::{MessageId, RoomId, UserId};
use crate::domain::messages::Attachment;
use crate::domain::rooms::{Appended, Seq};
use crate::domain::time::Timestamp;
use crate::store::messages::{ChatMessage, Reaction};

/// A message as it stands now.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageView {
    pub id: MessageId,
    #[schema(value_type = i64)]
    pub seq: Seq,
    /// The sender's idempotency key.
    pub key: String,
    pub from: UserId,
    /// Empty when the message was deleted.
    pub body: String,
    pub at: Timestamp,
    pub edited_at: Option<Timestamp>,
    pub deleted_at: Option<Timestamp>,
    pub reactions: Vec<ReactionView>,
    /// The `seq` of the message that this one answers.
    #[schema(value_type = Option<i64>)]
    pub reply_to: Option<Seq>,
    pub mentions: Vec<UserId>,
    pub attachments: Vec<Attachment>,
}

/// How often one emoji was given to a message.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReactionView {
    pub emoji: String,
    pub count: i64,
    /// Whether the caller is among those who gave it.
    pub mine: bool,
}

/// The pinned messages of a room, the newest pin first.
#[derive(Debug, Serialize, ToSchema)]
pub struct PinsView {
    pub items: Vec<MessageView>,
}

/// The answer to a message that is stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct SentView {
    pub id: MessageId,
    #[schema(value_type = i64)]
    pub seq: Seq,
    pub at: Timestamp,
    /// Whether the same key had been accepted before; then this is what it was told.
    pub duplicate: bool,
}

/// The caller's read marker in a room.
#[derive(Debug, Serialize, ToSchema)]
pub struct MarkerView {
    pub room_id: RoomId,
    /// Where it stands; it never goes back.
    #[schema(value_type = i64)]
    pub seq: Seq,
    /// Messages of others after it, counted up to 1,000.
    pub unread_count: i64,
}

impl SentView {
    /// Shows what became of a sent message; `None` where it was not one.
    #[must_use]
    pub fn new(sent: Appended) -> Option<Self> {
        let Appended { seq, at, message, duplicate, .. } = sent;
        Some(Self { id: message?, seq: seq?, at, duplicate })
    }
}

impl MarkerView {
    /// Shows where a marker stands; `None` where the change was not one of a marker.
    #[must_use]
    pub fn new(room_id: RoomId, appended: Appended) -> Option<Self> {
        let marker = appended.read?;
        Some(Self { room_id, seq: marker.seq, unread_count: marker.unread_count })
    }
}

impl From<ChatMessage> for MessageView {
    fn from(message: ChatMessage) -> Self {
        Self {
            id: message.id,
            seq: message.seq,
            key: message.key,
            from: message.from,
            body: message.body,
            at: message.at,
            edited_at: message.edited_at,
            deleted_at: message.deleted_at,
            reactions: message.reactions.into_iter().map(ReactionView::from).collect(),
            reply_to: message.reply_to,
            mentions: message.mentions,
            attachments: message.attachments,
        }
    }
}

impl From<Reaction> for ReactionView {
    fn from(reaction: Reaction) -> Self {
        let Reaction { emoji, count, mine } = reaction;
        Self { emoji, count, mine }
    }
}

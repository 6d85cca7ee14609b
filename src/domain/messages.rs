//! Chat messages: what a body, a key, a reaction and an attachment may be.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ids::{MessageId, UserId};
use super::rooms::{RoomError, Seq};

const KEY_CHARS_MAX: usize = 64;
const EMOJI_BYTES_MAX: usize = 32;
const MENTIONS_MAX: usize = 50;
const ATTACHMENTS_MAX: usize = 10;
const ATTACHMENT_TEXT_CHARS_MAX: usize = 500;

/// A client's idempotency key for one message: the same key is the same message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ClientKey(String);

impl ClientKey {
    /// Takes 1 to 64 visible ASCII characters; a UUID is what clients should use.
    ///
    /// # Errors
    /// [`RoomError::InvalidKey`].
    pub fn parse(text: &str) -> Result<Self, RoomError> {
        let fits = (1..=KEY_CHARS_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RoomError::InvalidKey)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text of a message, kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MessageBody(String);

impl MessageBody {
    /// Takes up to `chars_max` characters. NUL is refused: PostgreSQL cannot keep it.
    ///
    /// # Errors
    /// [`RoomError::MessageTooLong`], or [`RoomError::MessageEmpty`] for a text without anything to read.
    pub fn parse(text: &str, chars_max: usize) -> Result<Self, RoomError> {
        if text.trim().is_empty() {
            return Err(RoomError::MessageEmpty);
        }
        Self::parse_or_empty(text, chars_max)
    }

    /// As [`Self::parse`], for messages whose attachments may speak for themselves.
    ///
    /// # Errors
    /// [`RoomError::MessageTooLong`]; [`RoomError::MessageEmpty`] for a text with NUL.
    pub fn parse_or_empty(text: &str, chars_max: usize) -> Result<Self, RoomError> {
        if text.contains('\0') {
            return Err(RoomError::MessageEmpty);
        }
        // Bytes bound characters from above, so short texts need no counting.
        if text.len() > chars_max && text.chars().count() > chars_max {
            return Err(RoomError::MessageTooLong);
        }
        Ok(Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A reaction: an emoji or a short word such as `:tada:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Emoji(String);

impl Emoji {
    /// Takes 1 to 32 bytes without spaces or control characters.
    ///
    /// # Errors
    /// [`RoomError::InvalidEmoji`].
    pub fn parse(text: &str) -> Result<Self, RoomError> {
        let fits = (1..=EMOJI_BYTES_MAX).contains(&text.len());
        if fits && !text.chars().any(|char| char.is_control() || char.is_whitespace()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RoomError::InvalidEmoji)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A file that the message refers to; madang keeps the reference, not the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Where the app keeps it.
    pub url: String,
    /// What to call it.
    pub name: String,
    /// Its media type, such as `image/png`.
    pub media_type: String,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub size_bytes: Option<i64>,
}

/// Which message: by its place in the room's log or by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageRef {
    Seq(Seq),
    Id(MessageId),
}

impl MessageRef {
    /// Reads a number as a place, a UUID as an id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().map(Self::Seq).or_else(|_| text.parse().map(Self::Id)).ok()
    }
}

/// A message about to be sent; made only by [`NewMessage::parse`].
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    pub id: MessageId,
    pub key: ClientKey,
    pub body: MessageBody,
    pub reply_to: Option<Seq>,
    pub mentions: Vec<UserId>,
    pub attachments: Vec<Attachment>,
}

/// A message as a client wrote it, on any transport.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageDraft {
    /// The text; may be empty where there are attachments.
    #[serde(default)]
    pub body: String,
    /// The `seq` of the message that this one answers.
    #[serde(default)]
    pub reply_to: Option<Seq>,
    /// Users to be told of it, at most 50.
    #[serde(default)]
    pub mentions: Vec<UserId>,
    /// References to files, at most 10.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
}

impl NewMessage {
    /// Checks a draft; `body_chars_max` is the configured limit.
    ///
    /// # Errors
    /// The first [`RoomError`] that the draft deserves.
    pub fn parse(
        id: MessageId,
        key: &str,
        draft: MessageDraft,
        body_chars_max: usize,
    ) -> Result<Self, RoomError> {
        let key = ClientKey::parse(key)?;
        let body = if draft.attachments.is_empty() {
            MessageBody::parse(&draft.body, body_chars_max)?
        } else {
            MessageBody::parse_or_empty(&draft.body, body_chars_max)?
        };
        if draft.mentions.len() > MENTIONS_MAX {
            return Err(RoomError::TooManyMentions);
        }
        if draft.attachments.len() > ATTACHMENTS_MAX || !draft.attachments.iter().all(sound) {
            return Err(RoomError::InvalidAttachments);
        }
        let MessageDraft { reply_to, mentions, attachments, .. } = draft;
        Ok(Self { id, key, body, reply_to, mentions, attachments })
    }
}

fn sound(attachment: &Attachment) -> bool {
    let texts = [&attachment.url, &attachment.name, &attachment.media_type];
    let short = texts.iter().all(|text| {
        (1..=ATTACHMENT_TEXT_CHARS_MAX).contains(&text.chars().count())
            && !text.chars().any(char::is_control)
    });
    short && attachment.size_bytes.is_none_or(|size| size >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_measured_in_characters_not_bytes() {
        assert!(MessageBody::parse(&"안".repeat(4_000), 4_000).is_ok());
        assert_eq!(MessageBody::parse(&"a".repeat(4_001), 4_000), Err(RoomError::MessageTooLong));
    }

    #[test]
    fn blank_messages_are_refused_unless_something_is_attached() {
        assert_eq!(MessageBody::parse(" \n\t", 10), Err(RoomError::MessageEmpty));
        let attachment = Attachment {
            url: "blob:1".to_owned(),
            name: "a.png".to_owned(),
            media_type: "image/png".to_owned(),
            size_bytes: Some(3),
        };
        let draft = MessageDraft { attachments: vec![attachment], ..MessageDraft::default() };
        let id = MessageId::from(uuid::Uuid::nil());
        assert!(NewMessage::parse(id, "k", draft, 10).is_ok());
    }

    #[test]
    fn keys_and_reactions_are_short_and_visible() {
        assert!(ClientKey::parse("0193-abc").is_ok());
        assert_eq!(ClientKey::parse(""), Err(RoomError::InvalidKey));
        assert_eq!(ClientKey::parse("a b"), Err(RoomError::InvalidKey));
        assert_eq!(ClientKey::parse(&"k".repeat(65)), Err(RoomError::InvalidKey));
        assert!(Emoji::parse("👍🏽").is_ok());
        assert_eq!(Emoji::parse("two words"), Err(RoomError::InvalidEmoji));
    }
}

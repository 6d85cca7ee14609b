//! Chat messages: what a body, a key, a reaction and an attachment may be.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::ids::{MessageId, RoomId, UserId};
use super::images::{ImageName, Origin, origin_of};
use super::rooms::{RoomError, Seq};

const KEY_CHARS_MAX: usize = 64;
const EMOJI_BYTES_MAX: usize = 32;
const MENTIONS_MAX: usize = 50;
const ATTACHMENTS_MAX: usize = 10;
const ATTACHMENT_TEXT_CHARS_MAX: usize = 500;
const ATTACHMENT_PIXELS_MAX: i64 = 100_000;

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
    /// Of a picture or a film, in pixels: the place that it will take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    pub width: Option<i64>,
    /// As `width`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    pub height: Option<i64>,
}

impl Attachment {
    /// The picture that it refers to, if that is kept here.
    #[must_use]
    pub fn own_picture(&self) -> Option<ImageName> {
        match origin_of(&self.url) {
            Ok(Origin::Ours(name)) => Some(name),
            Ok(Origin::Elsewhere) | Err(_) => None,
        }
    }
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
    /// The pictures kept here that are attached to it.
    pub fn own_pictures(&self) -> impl Iterator<Item = ImageName> {
        self.attachments.iter().filter_map(Attachment::own_picture)
    }

    /// Checks a draft; `body_chars_max` is the configured limit.
    ///
    /// # Errors
    /// The first [`RoomError`] that the draft deserves.
    pub fn parse(
        room: RoomId,
        sender: UserId,
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
        let id = message_id(room, sender, &key);
        Ok(Self { id, key, body, reply_to, mentions, attachments })
    }
}

/// The id that a sender's key stands for in a room: the same for every repeat, and for nothing else.
///
/// It is the SHA-256 of the three, in the form of a `UUIDv7`. Its time is that of the key, if the key is a `UUIDv7`
/// itself, which keeps ids in about the order of sending; of any other key, those bits belong to the hash.
fn message_id(room: RoomId, sender: UserId, key: &ClientKey) -> MessageId {
    let digest = Sha256::new()
        .chain_update(room.uuid())
        .chain_update(sender.uuid())
        .chain_update(key.as_str())
        .finalize();
    let mut bytes = uuid::Bytes::default();
    for (byte, hashed) in bytes.iter_mut().zip(digest) {
        *byte = hashed;
    }
    let time = Uuid::try_parse(key.as_str()).ok().filter(|key| key.get_version_num() == 7);
    for (byte, of_time) in bytes.iter_mut().zip(time.iter().flat_map(|key| &key.as_bytes()[..6])) {
        *byte = *of_time;
    }
    uuid::Builder::from_bytes(bytes)
        .with_variant(uuid::Variant::RFC4122)
        .with_version(uuid::Version::SortRand)
        .into_uuid()
        .into()
}

fn sound(attachment: &Attachment) -> bool {
    let texts = [&attachment.url, &attachment.name, &attachment.media_type];
    let is_side = |side: i64| (1..=ATTACHMENT_PIXELS_MAX).contains(&side);
    texts.into_iter().all(|text| is_attachment_text(text))
        && attachment.size_bytes.is_none_or(|size| size >= 0)
        && attachment.width.is_none_or(is_side)
        && attachment.height.is_none_or(is_side)
}

/// Whether an attachment may be called so: 1 to 500 characters, and no control characters.
#[must_use]
pub fn is_attachment_text(text: &str) -> bool {
    (1..=ATTACHMENT_TEXT_CHARS_MAX).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
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
        assert!(sent(attachment("blob:1")).is_ok());
    }

    fn attachment(url: &str) -> Attachment {
        Attachment {
            url: url.to_owned(),
            name: "a.png".to_owned(),
            media_type: "image/png".to_owned(),
            size_bytes: Some(3),
            width: Some(4),
            height: Some(3),
        }
    }

    fn sent(attachment: Attachment) -> Result<NewMessage, RoomError> {
        let draft = MessageDraft { attachments: vec![attachment], ..MessageDraft::default() };
        let (room, sender) = (Uuid::from_u128(1).into(), Uuid::from_u128(2).into());
        NewMessage::parse(room, sender, "k", draft, 10)
    }

    #[test]
    fn a_picture_has_sides_that_a_picture_can_have() {
        for side in [0, -1, 100_001] {
            let wide = Attachment { width: Some(side), ..attachment("blob:1") };
            let high = Attachment { height: Some(side), ..attachment("blob:1") };
            for attachment in [wide, high] {
                assert_eq!(sent(attachment), Err(RoomError::InvalidAttachments));
            }
        }
    }

    #[test]
    fn only_what_is_kept_here_is_a_picture_of_ours() {
        let name = "019a0b1c2d3e7f4051627384950a1b2c";
        let ours = sent(attachment(&format!("/v1/images/{name}.jpg"))).unwrap();
        assert_eq!(ours.own_pictures().count(), 1);
        for url in ["blob:1", "/v1/images/x", &format!("https://a.example/v1/images/{name}.jpg")] {
            assert_eq!(sent(attachment(url)).unwrap().own_pictures().count(), 0, "{url}");
        }
    }

    fn id(room: u128, sender: u128, key: &str) -> Uuid {
        let (room, sender) = (Uuid::from_u128(room).into(), Uuid::from_u128(sender).into());
        message_id(room, sender, &ClientKey::parse(key).unwrap()).uuid()
    }

    #[test]
    fn an_id_stands_for_one_key_of_one_sender_in_one_room() {
        assert_eq!(id(1, 2, "k"), id(1, 2, "k"));
        for other in [id(1, 2, "l"), id(1, 3, "k"), id(2, 2, "k"), id(2, 1, "k")] {
            assert_ne!(id(1, 2, "k"), other);
            assert_eq!(other.get_version_num(), 7);
            assert_eq!(other.get_variant(), uuid::Variant::RFC4122);
        }
    }

    #[test]
    fn an_id_has_the_time_of_a_key_that_has_one() {
        let key = Uuid::try_parse("0193d2a4-5b6c-7d8e-9fab-cdef01234567").unwrap();
        let made = id(1, 2, &key.to_string());
        assert_eq!(made.get_timestamp(), key.get_timestamp());
        assert_ne!(made, key);
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

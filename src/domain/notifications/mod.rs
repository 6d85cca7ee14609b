//! Notifications: from a fact to the people who are told of it, and through which media.
//!
//! [`triggers`] turns a domain event into [`Occasion`]s; [`plan`] turns an occasion and one recipient into what is sent.
//! Both are tables and pure rules: a later domain adds rows, not code paths.

pub mod content;
pub mod plan;
pub mod triggers;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::accounts::Role;
use super::ids::{NotificationId, RoomId, UserId};
use super::media::Medium;
use super::rooms::Seq;
use super::time::Timestamp;

/// People whom one request may name.
pub const NAMED_MAX: usize = 1_000;
/// Notifications that one request may change.
pub const CHANGED_MAX: usize = 200;
/// What a request may bring along for templates and clients, as JSON.
pub const DATA_BYTES_MAX: usize = 8_192;
const KEY_CHARS_MAX: usize = 255;

/// Why something about notifications is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    #[error("there is no such notification, or it is not yours")]
    NotFound,
    #[error("nobody has written what a notification of this type says")]
    UnknownType,
    #[error("notifications of this type are sent by the server alone")]
    ReservedType,
    #[error("`to` names exactly one of `user_ids` (1 to {NAMED_MAX}), `role` and `everyone`")]
    InvalidAudience,
    #[error("`media` names at least one of `inbox`, `mail`, `sms` and `push`")]
    InvalidMedia,
    #[error("`data` has at most {DATA_BYTES_MAX} bytes")]
    DataTooLarge,
    #[error("an idempotency key has 1 to {KEY_CHARS_MAX} visible ASCII characters")]
    InvalidKey,
    #[error("this idempotency key was used for another request")]
    KeyReused,
    #[error("name 1 to {CHANGED_MAX} notifications, or a place up to which all are meant")]
    InvalidChange,
}

/// Reads a client's idempotency key.
///
/// # Errors
/// [`NotificationError::InvalidKey`].
pub fn parse_key(text: &str) -> Result<&str, NotificationError> {
    let fits = (1..=KEY_CHARS_MAX).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err(NotificationError::InvalidKey)
    }
}

/// One reason to notify people.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasion {
    /// The same for the same reason, however often it is looked at.
    pub id: Uuid,
    /// What kind of notification it is, such as `friend_request_received`.
    pub kind: String,
    pub audience: Audience,
    /// Who caused it: never told of it, nor whoever has blocked them.
    pub actor: Option<UserId>,
    /// What it says: for templates, and for clients as `data`.
    pub params: Map<String, Value>,
    /// Only through these; `None` leaves it to the kind and the recipient.
    pub media: Option<Vec<Medium>>,
    /// Notifications with the same key are about the same thing, such as a room.
    pub group_key: Option<String>,
    /// The message it is about.
    pub message: Option<MessagePlace>,
    /// How many messages it stands for, of which `message` is the last; 0 where it is about none.
    pub messages: i64,
    pub at: Timestamp,
}

/// A message's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessagePlace {
    pub room: RoomId,
    pub seq: Seq,
}

/// Who is to be told. Everybody in it is looked up when their turn comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum Audience {
    /// These.
    Users { users: Vec<UserId> },
    /// Those of them who are members of the room.
    Mentioned { room: RoomId, users: Vec<UserId> },
    /// The members of a room who are not looking, except those who are told otherwise.
    Away { room: RoomId, except: Vec<UserId> },
    /// Everybody with a role.
    Role { role: Role },
    /// Everybody.
    Everyone,
}

impl Audience {
    /// The room through which its people are found.
    #[must_use]
    pub const fn room(&self) -> Option<RoomId> {
        match self {
            Self::Mentioned { room, .. } | Self::Away { room, .. } => Some(*room),
            Self::Users { .. } | Self::Role { .. } | Self::Everyone => None,
        }
    }

    /// Whether people are told only while they are not looking.
    #[must_use]
    pub const fn is_away_only(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

impl Occasion {
    /// The id of its notification to one user, in the form of a `UUIDv7` with the time of the occasion.
    #[must_use]
    pub fn notification_id(&self, user: UserId) -> NotificationId {
        derived_id(self.at, &[self.id.as_bytes(), user.uuid().as_bytes()]).into()
    }
}

/// Brings together what one sender said in one room: the last message stands for all of them. Whoever is told otherwise
/// of one message is left out only if that goes for every one.
#[must_use]
pub fn gathered(occasions: Vec<Occasion>) -> Vec<Occasion> {
    let mut together: Vec<Occasion> = Vec::new();
    for mut occasion in occasions {
        let same = together.iter().position(|known| {
            known.kind == occasion.kind
                && known.actor == occasion.actor
                && known.message.map(|place| place.room) == occasion.message.map(|place| place.room)
        });
        let Some(known) = same.and_then(|place| together.get_mut(place)) else {
            together.push(occasion);
            continue;
        };
        if let (Audience::Away { except: before, .. }, Audience::Away { except, .. }) =
            (&known.audience, &mut occasion.audience)
        {
            except.retain(|user| before.contains(user));
        }
        let messages = known.messages.saturating_add(occasion.messages);
        *known = Occasion { id: known.id, messages, ..occasion };
    }
    together
}

/// An id that follows from `parts`, with the time `at`: the same parts give the same id, wherever and however often.
#[must_use]
pub fn derived_id(at: Timestamp, parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        // The length first: no two lists of parts run into each other.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut random = [0_u8; 10];
    for (byte, hashed) in random.iter_mut().zip(digest) {
        *byte = hashed;
    }
    let millis = u64::try_from(at.millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_follows_from_its_parts_and_says_when() {
        let at = Timestamp::from_millis(1_795_244_400_123);
        let id = derived_id(at, &[b"a", b"bc"]);

        assert_eq!(id, derived_id(at, &[b"a", b"bc"]));
        assert_ne!(id, derived_id(at, &[b"ab", b"c"]));
        assert_eq!(id.get_version_num(), 7);
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (1_795_244_400, 123_000_000));
    }

    fn said(by: u128, seq: Seq, except: &[u128]) -> Occasion {
        let user = |n: &u128| UserId::from(Uuid::from_u128(*n));
        let room = Uuid::from_u128(100).into();
        Occasion {
            id: Uuid::from_u128(u128::try_from(seq).unwrap()),
            kind: "message_received".to_owned(),
            audience: Audience::Away { room, except: except.iter().map(user).collect() },
            actor: Some(user(&by)),
            params: Map::new(),
            media: None,
            group_key: None,
            message: Some(MessagePlace { room, seq }),
            messages: 1,
            at: Timestamp::from_millis(seq),
        }
    }

    #[test]
    fn what_one_sender_says_in_a_room_comes_together() {
        let together = gathered(vec![said(1, 1, &[5, 6]), said(2, 2, &[]), said(1, 3, &[6, 7])]);

        let [one, other] = together.as_slice() else { panic!("{together:?}") };
        assert_eq!((one.id, one.messages), (Uuid::from_u128(1), 2));
        assert_eq!(one.message.map(|place| place.seq), Some(3));
        // 5 and 7 are told of one of the two; 6 was mentioned in both.
        let room = Uuid::from_u128(100).into();
        let except = vec![Uuid::from_u128(6).into()];
        assert_eq!(one.audience, Audience::Away { room, except });
        assert_eq!(other.messages, 1);
    }

    #[test]
    fn an_audience_is_kept_as_it_was() {
        let room = Uuid::from_u128(1).into();
        let audience = Audience::Away { room, except: vec![Uuid::from_u128(2).into()] };
        let kept = serde_json::to_string(&audience).unwrap();

        assert_eq!(serde_json::from_str::<Audience>(&kept).unwrap(), audience);
        assert_eq!(audience.room(), Some(room));
    }
}

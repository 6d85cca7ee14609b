//! Notifications: from a fact to the people who are told of it, and through which media.
//!
//! [`triggers`] turns a domain event into [`Occasion`]s; [`plan`] turns an occasion and one recipient into what is sent.
//! Both are tables and pure rules: a later domain adds rows, not code paths.

pub mod content;
pub mod plan;
pub mod triggers;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::accounts::Role;
use super::ids::{MessageId, NotificationId, RoomId, UserId};
use super::media::Medium;
use super::rooms::Seq;
use super::time::Timestamp;

/// People whom one request may name.
pub const NAMED_MAX: usize = 1_000;
/// Notifications that one request may change.
pub const CHANGED_MAX: usize = 200;
/// What a request may bring along for templates and clients, as JSON.
pub const DATA_BYTES_MAX: usize = 8_192;
/// What a request may call the thing that its notification is about.
pub const GROUP_CHARS_MAX: usize = 200;
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
    #[error(
        "`to` names exactly one of `user_ids` (1 to {NAMED_MAX}), `role`, `segment` and `everyone`; a segment says \
         something that is possible"
    )]
    InvalidAudience,
    #[error(
        "`media` names at least one of `inbox`, `mail`, `sms` and `push`, and none that the type never goes by"
    )]
    InvalidMedia,
    #[error("`data` has at most {DATA_BYTES_MAX} bytes")]
    DataTooLarge,
    #[error("no text in `data` has the character NUL")]
    InvalidData,
    #[error("`group` has 1 to {GROUP_CHARS_MAX} characters, none of which is NUL")]
    InvalidGroup,
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
    /// The first of the messages it stands for, where that is known to be another one.
    pub first_seq: Option<Seq>,
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

/// What people have in common: everything that is said has to be true of them, and something has to be said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The language they have chosen, in its usual spelling.
    pub locale: Option<String>,
    /// They registered then or later.
    pub registered_after: Option<Timestamp>,
    /// They registered earlier.
    pub registered_before: Option<Timestamp>,
    /// They were here then or later.
    pub seen_since: Option<Timestamp>,
}

impl Segment {
    /// Whether it says something, and nothing that contradicts itself.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let is_empty = self
            .registered_after
            .zip(self.registered_before)
            .is_some_and(|(after, before)| after >= before);
        *self != Self::default() && !is_empty
    }
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
    /// Everybody who is like that.
    Segment { segment: Segment },
    /// Everybody.
    Everyone,
}

impl Audience {
    /// The room through which its people are found.
    #[must_use]
    pub const fn room(&self) -> Option<RoomId> {
        match self {
            Self::Mentioned { room, .. } | Self::Away { room, .. } => Some(*room),
            Self::Users { .. } | Self::Role { .. } | Self::Segment { .. } | Self::Everyone => None,
        }
    }

    /// Whether people are told only while they are not looking.
    #[must_use]
    pub const fn is_away_only(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

impl Occasion {
    /// Lets another of its messages stand for those that are still there, `count` at most.
    pub fn stand_on(&mut self, id: MessageId, seq: Seq, count: i64) {
        if let Some(place) = &mut self.message {
            place.seq = seq;
            self.messages = self.messages.min(count).max(1);
            self.params.insert("message".to_owned(), json!({ "id": id, "seq": seq }));
        }
    }

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
        let first_seq = known.first_seq.or(known.message.map(|place| place.seq));
        *known = Occasion { id: known.id, first_seq, messages, ..occasion };
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
            first_seq: None,
            messages: 1,
            at: Timestamp::from_millis(seq),
        }
    }

    #[test]
    fn what_one_sender_says_in_a_room_comes_together() {
        let together = gathered(vec![said(1, 1, &[5, 6]), said(2, 2, &[]), said(1, 3, &[6, 7])]);

        let [one, other] = together.as_slice() else { panic!("{together:?}") };
        assert_eq!((one.id, one.messages), (Uuid::from_u128(1), 2));
        assert_eq!((one.first_seq, one.message.map(|place| place.seq)), (Some(1), Some(3)));
        // 5 and 7 are told of one of the two; 6 was mentioned in both.
        let room = Uuid::from_u128(100).into();
        let except = vec![Uuid::from_u128(6).into()];
        assert_eq!(one.audience, Audience::Away { room, except });
        assert_eq!(other.messages, 1);
    }

    #[test]
    fn the_newest_message_that_is_left_stands_for_those_that_are() {
        let mut occasion =
            gathered(vec![said(1, 1, &[]), said(1, 2, &[]), said(1, 3, &[])]).remove(0);
        let id = MessageId::from(Uuid::from_u128(70));

        occasion.stand_on(id, 2, 2);

        assert_eq!((occasion.message.map(|place| place.seq), occasion.messages), (Some(2), 2));
        assert_eq!(occasion.params["message"], json!({ "id": id, "seq": 2 }));
        // Others of the same sender lie between, that nobody was to be told of.
        occasion.stand_on(id, 2, 9);
        assert_eq!(occasion.messages, 2);
    }

    #[test]
    fn an_audience_is_kept_as_it_was() {
        let room = Uuid::from_u128(1).into();
        let away = Audience::Away { room, except: vec![Uuid::from_u128(2).into()] };
        let segment = Segment {
            locale: Some("ko".to_owned()),
            seen_since: Some(Timestamp::from_millis(1_795_244_400_123)),
            ..Segment::default()
        };
        for audience in [away.clone(), Audience::Segment { segment }] {
            let kept = serde_json::to_string(&audience).unwrap();
            assert_eq!(serde_json::from_str::<Audience>(&kept).unwrap(), audience);
        }
        assert_eq!(away.room(), Some(room));
    }

    #[test]
    fn a_segment_says_something_that_is_possible() {
        let at = |millis| Some(Timestamp::from_millis(millis));
        let between = |after, before| Segment {
            registered_after: at(after),
            registered_before: at(before),
            ..Segment::default()
        };

        assert!(between(1, 2).is_sound());
        assert!(!between(2, 2).is_sound() && !Segment::default().is_sound());
    }
}

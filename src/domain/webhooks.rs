//! Webhooks: which domain events go to which other system, and under which id.
//!
//! Invariant: an event for an endpoint has one id, however often the event is looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::events::TOPICS;
use super::ids::{DeliveryId, EndpointId, EventId};
use super::stored_as;
use super::time::Timestamp;

/// Every event.
const ALL: &str = "*";
const FILTERS_MAX: usize = 50;
const NAME_CHARS_MAX: usize = 64;
const DESCRIPTION_CHARS_MAX: usize = 500;
const OVERLAP_MAX: Duration = Duration::from_hours(7 * 24);

/// Endpoints of one installation.
pub const ENDPOINTS_MAX: i64 = 100;
/// How long the secret before signs as well, unless whoever replaces it says otherwise.
pub const OVERLAP_DEFAULT: Duration = Duration::from_hours(24);
/// An endpoint that has taken nothing for so long is disabled.
pub const FAILING_MAX: Duration = Duration::from_hours(5 * 24);
/// An endpoint is disabled that had no place in its queue for so long, and has taken nothing.
pub const FULL_MAX: Duration = Duration::from_hours(24);
/// Why an event is not sent to an endpoint for which as many wait as may.
pub const QUEUE_FULL: &str = DisableReason::QueueFull.as_str();
/// Why an event is not sent whose body is larger than [`BODY_BYTES_MAX`].
pub const TOO_LARGE: &str = "too_large";
/// Larger bodies are not posted: receivers refuse them.
pub const BODY_BYTES_MAX: usize = 256 * 1_024;
/// Deliveries that one call replays.
pub const REPLAYED_MAX: u16 = 1_000;
/// How far the clocks of two nodes may be apart, for an endpoint to miss nothing after it was made.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(15);
/// The name of the event that only tests an endpoint.
pub const TEST_EVENT: &str = "WebhookTest";

/// What about webhooks is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error(
        "Events are 1 to {FILTERS_MAX} names such as `MessageSent`, topics such as `friend.events`, or `*` for all."
    )]
    InvalidEvents,
    /// Says what is wrong with the address.
    #[error("{0}")]
    InvalidUrl(String),
    #[error("A description has at most {DESCRIPTION_CHARS_MAX} characters.")]
    InvalidDescription,
    #[error("The secret before may stay for at most seven days.")]
    InvalidOverlap,
    #[error("Say either `since` or `delivery_id`.")]
    InvalidReplay,
    #[error("There are {ENDPOINTS_MAX} endpoints; delete one that is not used.")]
    TooMany,
    #[error("There is no such endpoint.")]
    NotFound,
    #[error("This endpoint was sent no such delivery.")]
    DeliveryNotFound,
    #[error("The endpoint is disabled; enable it first.")]
    Disabled,
    /// No secret `webhook_seal`, or not the one of the other nodes.
    #[error("This server has no key, or the wrong one, to seal signing secrets with.")]
    NoSeal,
    /// The system has no randomness to give.
    #[error("The server failed.")]
    Crypto,
}

/// Why an endpoint takes no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisableReason {
    /// Somebody who may has said so.
    ByRequest,
    /// The receiver has answered 410.
    Gone,
    /// Nothing was taken for five days.
    Failing,
    /// For a day there was no place in its queue, and nothing was taken.
    QueueFull,
}
stored_as!(DisableReason {
    ByRequest = "by_request",
    Gone = "gone",
    Failing = "failing",
    QueueFull = "queue_full"
});

/// Which events an endpoint is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Vec<String>)]
pub struct EventFilter(BTreeSet<String>);

impl EventFilter {
    /// Takes names of events, topics that there are, and `*`; repeats are dropped.
    ///
    /// # Errors
    /// [`WebhookError::InvalidEvents`] for none, too many, or what is neither a name nor a topic.
    pub fn parse<T: AsRef<str>>(events: &[T]) -> Result<Self, WebhookError> {
        let is_sound = |event: &T| {
            let event = event.as_ref();
            event == ALL || TOPICS.contains(&event) || is_name(event)
        };
        if (1..=FILTERS_MAX).contains(&events.len()) && events.iter().all(is_sound) {
            Ok(Self(events.iter().map(|event| event.as_ref().to_owned()).collect()))
        } else {
            Err(WebhookError::InvalidEvents)
        }
    }

    /// Whether an event of this topic and name is among them.
    #[must_use]
    pub fn takes(&self, topic: &str, name: &str) -> bool {
        [ALL, topic, name].iter().any(|wanted| self.0.contains(*wanted))
    }
}

/// `MessageSent`: a capital letter, then letters and digits.
fn is_name(text: &str) -> bool {
    text.len() <= NAME_CHARS_MAX
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An endpoint as far as it matters for choosing events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    pub id: EndpointId,
    pub events: EventFilter,
    pub enabled_at: Timestamp,
    /// Deliveries that wait for it.
    pub queued: i64,
}

impl Receiver {
    /// Whether an event goes there. What happened shortly before it was enabled may: the clocks of nodes differ, and
    /// nothing that happened since may be missing.
    #[must_use]
    pub fn takes(&self, topic: &str, name: &str, at: Timestamp) -> bool {
        at >= self.enabled_at.minus(CLOCKS_APART_MAX) && self.events.takes(topic, name)
    }
}

/// What an endpoint is for, in its owner's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description(String);

impl Description {
    /// Takes up to 500 characters, none of them a control character.
    ///
    /// # Errors
    /// [`WebhookError::InvalidDescription`].
    pub fn parse(text: &str) -> Result<Self, WebhookError> {
        let text = text.trim();
        if text.chars().count() <= DESCRIPTION_CHARS_MAX && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(WebhookError::InvalidDescription)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How long the secret before goes on signing beside a new one.
///
/// # Errors
/// [`WebhookError::InvalidOverlap`] for more than seven days.
pub fn overlap(seconds: Option<u64>) -> Result<Duration, WebhookError> {
    let overlap = seconds.map_or(OVERLAP_DEFAULT, Duration::from_secs);
    if overlap <= OVERLAP_MAX { Ok(overlap) } else { Err(WebhookError::InvalidOverlap) }
}

/// The id under which an event goes to an endpoint: the SHA-256 of both, in the form of a `UUIDv7` with the time of the
/// event.
#[must_use]
pub fn delivery_id(event: EventId, at: Timestamp, endpoint: EndpointId) -> DeliveryId {
    let digest = Sha256::new().chain_update(event.uuid()).chain_update(endpoint.uuid()).finalize();
    let mut bytes = uuid::Bytes::default();
    for (byte, hashed) in bytes.iter_mut().zip(digest) {
        *byte = hashed;
    }
    // 48 bits of milliseconds come first.
    for (byte, of_time) in bytes.iter_mut().zip(at.millis().to_be_bytes().into_iter().skip(2)) {
        *byte = of_time;
    }
    uuid::Builder::from_bytes(bytes)
        .with_variant(uuid::Variant::RFC4122)
        .with_version(uuid::Version::SortRand)
        .into_uuid()
        .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_795_244_400_123);

    fn filter(events: &[&str]) -> EventFilter {
        EventFilter::parse(events).unwrap()
    }

    fn id(event: u128, endpoint: u128) -> Uuid {
        let (event, endpoint) = (Uuid::from_u128(event).into(), Uuid::from_u128(endpoint).into());
        delivery_id(event, AT, endpoint).uuid()
    }

    #[test]
    fn events_are_chosen_by_name_by_topic_or_all_together() {
        assert!(filter(&["MessageSent"]).takes("message.events", "MessageSent"));
        assert!(!filter(&["MessageSent"]).takes("message.events", "MessagesRead"));
        assert!(filter(&["friend.events", "X"]).takes("friend.events", "UserBlocked"));
        assert!(!filter(&["friend.events"]).takes("user.events", "UserDeleted"));
        assert!(filter(&["*"]).takes("user.events", "UserDeleted"));
    }

    #[test]
    fn what_is_neither_a_name_nor_a_topic_is_refused() {
        let wrong: [&[&str]; 7] = [
            &[],
            &[""],
            &["messageSent"],
            &["Message Sent"],
            &["nobody.events"],
            &["message.*"],
            &["MessageSent", "**"],
        ];
        for events in wrong {
            assert_eq!(EventFilter::parse(events), Err(WebhookError::InvalidEvents), "{events:?}");
        }
        assert!(EventFilter::parse(&["A"; FILTERS_MAX + 1]).is_err());
    }

    #[test]
    fn an_endpoint_takes_what_happens_from_when_it_was_enabled() {
        let id = Uuid::from_u128(1).into();
        let receiver = Receiver { id, events: filter(&["*"]), enabled_at: AT, queued: 0 };
        let takes = |at| receiver.takes("user.events", "UserDeleted", at);

        assert!(takes(AT) && takes(AT.plus(Duration::from_hours(1))));
        assert!(takes(AT.minus(CLOCKS_APART_MAX)), "another node's clock may be behind");
        assert!(!takes(AT.minus(CLOCKS_APART_MAX + Duration::from_millis(1))));
    }

    proptest! {
        #[test]
        fn an_event_has_one_id_for_each_endpoint(event: u128, endpoint: u128, other: u128) {
            prop_assume!(endpoint != other);

            prop_assert_eq!(id(event, endpoint), id(event, endpoint));
            prop_assert_ne!(id(event, endpoint), id(event, other));
            prop_assert_ne!(id(event, endpoint), id(other, endpoint));
            prop_assert_eq!(id(event, endpoint).get_version_num(), 7);
            prop_assert_eq!(id(event, endpoint).get_variant(), uuid::Variant::RFC4122);
        }
    }

    #[test]
    fn an_id_has_the_time_of_its_event() {
        let (seconds, nanos) = id(1, 2).get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (1_795_244_400, 123_000_000));
    }

    #[test]
    fn the_secret_before_stays_for_a_day_and_at_most_a_week() {
        assert_eq!(overlap(None), Ok(Duration::from_secs(86_400)));
        assert_eq!(overlap(Some(0)), Ok(Duration::ZERO));
        assert_eq!(overlap(Some(604_801)), Err(WebhookError::InvalidOverlap));
    }

    #[test]
    fn a_description_is_short_and_visible() {
        assert_eq!(Description::parse(" 청구 ").unwrap().as_str(), "청구");
        for text in ["a\0b", "a\nb", &"가".repeat(501)] {
            assert_eq!(Description::parse(text), Err(WebhookError::InvalidDescription));
        }
    }
}

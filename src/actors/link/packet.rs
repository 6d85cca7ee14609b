//! Packets: what nodes tell each other, in bytes.
//!
//! Whoever reads one needs its first bytes to know whether it is for them; frames are taken over as they are, never
//! encoded again. Invariant: bytes that are not understood are no packet, and nobody misses more than a delivery.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::actors::hub::channel::Channel;
use crate::actors::hub::directory::{Delivery, EncodedEvent};
use crate::actors::hub::frame::Frame;
use crate::actors::presence::News;
use crate::actors::room::TYPING;
use crate::domain::ids::{NodeId, SessionId, UserId};
use crate::domain::inbox::InboxEventName;
use crate::domain::presence::{Presence, Status, Viewers};
use crate::domain::rooms::{EventName, Seq};
use crate::domain::time::Timestamp;

/// A node of another format is not understood, and finds what it misses in the store.
const FORMAT: u8 = 1;
/// Beyond it only the head is told: Redis cuts whoever reads too slowly, and the store has the rest.
const EVENTS_BYTES_MAX: usize = 64 * 1024;

/// Something that one node tells others.
#[derive(Debug, Clone)]
pub enum Packet {
    /// What was committed in one channel.
    Events(Delivery),
    /// The channel's head: what lies before it is in the store.
    Head { channel: Channel, head: Seq },
    /// A frame without a number, which may be lost.
    Ephemeral { channel: Channel, name: &'static str, frame: Frame },
    /// Users are shown differently.
    News(Vec<News>),
    /// A login is over.
    SessionEnded(SessionId),
    /// Every login of a user is over.
    UserEnded(UserId),
    /// A node asks itself whether it is heard.
    Probe(u64),
}

/// The kind of a packet, its second byte.
mod kind {
    pub(super) const EVENTS: u8 = 1;
    pub(super) const HEAD: u8 = 2;
    pub(super) const EPHEMERAL: u8 = 3;
    pub(super) const NEWS: u8 = 4;
    pub(super) const SESSION_ENDED: u8 = 5;
    pub(super) const USER_ENDED: u8 = 6;
    pub(super) const PROBE: u8 = 7;
    /// News that not everybody may be told; a node that does not know it tells nobody.
    pub(super) const LIMITED_NEWS: u8 = 8;
}

impl Packet {
    /// What was committed, or only where its end is, if it is too much.
    #[must_use]
    pub fn of(delivery: &Delivery) -> Self {
        let bytes: usize = delivery.events.iter().map(|event| event.frame.wire().len()).sum();
        match delivery.events.last() {
            Some(last) if bytes > EVENTS_BYTES_MAX => {
                Self::Head { channel: delivery.channel, head: last.seq }
            }
            _ => Self::Events(delivery.clone()),
        }
    }

    /// The bytes of a packet that `node` sends, who works on `database`.
    #[must_use]
    pub fn encode(&self, node: NodeId, database: &str) -> Bytes {
        let mut bytes = BytesMut::new();
        let mut begin = |kind| {
            bytes.put_u8(FORMAT);
            bytes.put_u8(kind);
            bytes.put_slice(node.uuid().as_bytes());
            put_name(&mut bytes, database);
        };
        match self {
            Self::Events(delivery) => {
                begin(kind::EVENTS);
                put_channel(&mut bytes, delivery.channel);
                for event in &*delivery.events {
                    put_event(&mut bytes, event);
                }
            }
            Self::Head { channel, head } => {
                begin(kind::HEAD);
                put_channel(&mut bytes, *channel);
                bytes.put_i64(*head);
            }
            Self::Ephemeral { channel, name, frame } => {
                begin(kind::EPHEMERAL);
                put_channel(&mut bytes, *channel);
                put_name(&mut bytes, name);
                put_frame(&mut bytes, frame);
            }
            Self::News(news) if news.iter().all(|news| news.viewers.is_everybody()) => {
                begin(kind::NEWS);
                for news in news {
                    put_news(&mut bytes, news);
                }
            }
            Self::News(news) => {
                begin(kind::LIMITED_NEWS);
                for news in news {
                    put_news(&mut bytes, news);
                    put_viewers(&mut bytes, &news.viewers);
                }
            }
            Self::SessionEnded(session) => {
                begin(kind::SESSION_ENDED);
                bytes.put_slice(session.uuid().as_bytes());
            }
            Self::UserEnded(user) => {
                begin(kind::USER_ENDED);
                bytes.put_slice(user.uuid().as_bytes());
            }
            Self::Probe(number) => {
                begin(kind::PROBE);
                bytes.put_u64(*number);
            }
        }
        bytes.freeze()
    }

    /// Reads a packet of somebody who works on `database`, and who sent it; `None` for anything else.
    #[must_use]
    pub fn decode(mut bytes: Bytes, database: &str) -> Option<(NodeId, Self)> {
        let bytes = &mut bytes;
        if bytes.try_get_u8().ok()? != FORMAT {
            return None;
        }
        let kind = bytes.try_get_u8().ok()?;
        let node = get_uuid(bytes)?.into();
        let length = bytes.try_get_u8().ok()?;
        if get_slice(bytes, usize::from(length))? != database.as_bytes() {
            return None;
        }
        let packet = match kind {
            kind::EVENTS => {
                let channel = get_channel(bytes)?;
                let mut events: Vec<EncodedEvent> = Vec::new();
                while bytes.has_remaining() {
                    let event = get_event(bytes)?;
                    let follows = events.last().map_or(1, |last| last.seq.saturating_add(1));
                    if event.seq != follows && !(events.is_empty() && event.seq >= follows) {
                        return None;
                    }
                    events.push(event);
                }
                Self::Events(Delivery { channel, events: events.into() })
            }
            kind::HEAD => {
                Self::Head { channel: get_channel(bytes)?, head: bytes.try_get_i64().ok()? }
            }
            kind::EPHEMERAL => Self::Ephemeral {
                channel: get_channel(bytes)?,
                name: get_name(bytes)?,
                frame: get_frame(bytes)?,
            },
            kind::NEWS => {
                let mut news = Vec::new();
                while bytes.has_remaining() {
                    news.push(get_news(bytes)?);
                }
                Self::News(news)
            }
            kind::LIMITED_NEWS => {
                let mut news = Vec::new();
                while bytes.has_remaining() {
                    let shown = get_news(bytes)?;
                    news.push(News { viewers: Arc::new(get_viewers(bytes)?), ..shown });
                }
                Self::News(news)
            }
            kind::SESSION_ENDED => Self::SessionEnded(get_uuid(bytes)?.into()),
            kind::USER_ENDED => Self::UserEnded(get_uuid(bytes)?.into()),
            kind::PROBE => Self::Probe(bytes.try_get_u64().ok()?),
            _ => return None,
        };
        Some((node, packet))
    }
}

fn put_channel(bytes: &mut BytesMut, channel: Channel) {
    let (kind, id) = match channel {
        Channel::Room(room) => (0, room.uuid()),
        Channel::Me(user) => (1, user.uuid()),
    };
    bytes.put_u8(kind);
    bytes.put_slice(id.as_bytes());
}

fn get_channel(bytes: &mut Bytes) -> Option<Channel> {
    let (kind, id) = (bytes.try_get_u8().ok()?, get_uuid(bytes)?);
    match kind {
        0 => Some(Channel::Room(id.into())),
        1 => Some(Channel::Me(id.into())),
        _ => None,
    }
}

fn put_event(bytes: &mut BytesMut, event: &EncodedEvent) {
    bytes.put_i64(event.seq);
    bytes.put_u8(u8::from(event.removed.is_some()));
    if let Some(user) = event.removed {
        bytes.put_slice(user.uuid().as_bytes());
    }
    put_name(bytes, event.name);
    put_frame(bytes, &event.frame);
}

fn get_event(bytes: &mut Bytes) -> Option<EncodedEvent> {
    let seq = bytes.try_get_i64().ok()?;
    let removed = match bytes.try_get_u8().ok()? {
        0 => None,
        _ => Some(get_uuid(bytes)?.into()),
    };
    Some(EncodedEvent { seq, name: get_name(bytes)?, frame: get_frame(bytes)?, removed })
}

fn put_name(bytes: &mut BytesMut, name: &str) {
    // Names are short words of ours.
    bytes.put_u8(u8::try_from(name.len()).unwrap_or_default());
    bytes.put_slice(name.as_bytes());
}

/// One of the names that this release knows. A newer one has others: what it sends is read from the store.
fn get_name(bytes: &mut Bytes) -> Option<&'static str> {
    let length = bytes.try_get_u8().ok()?;
    let name = get_slice(bytes, usize::from(length))?;
    let name = std::str::from_utf8(&name).ok()?;
    let of_rooms = EventName::parse(name).map(EventName::as_str);
    let of_inboxes = || InboxEventName::parse(name).map(InboxEventName::as_str);
    of_rooms.or_else(of_inboxes).or_else(|| (name == TYPING).then_some(TYPING))
}

fn put_frame(bytes: &mut BytesMut, frame: &Frame) {
    let wire = frame.wire();
    bytes.put_u8(u8::try_from(frame.header_bytes()).unwrap_or_default());
    bytes.put_u32(u32::try_from(wire.len()).unwrap_or_default());
    bytes.put_slice(wire);
}

fn get_frame(bytes: &mut Bytes) -> Option<Frame> {
    let header = usize::from(bytes.try_get_u8().ok()?);
    let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
    let wire = get_slice(bytes, length)?;
    (header <= length).then(|| Frame::from_wire(wire, header))
}

fn put_news(bytes: &mut BytesMut, News { presence, rooms, .. }: &News) {
    bytes.put_slice(presence.user_id.uuid().as_bytes());
    put_name(bytes, presence.status.as_str());
    bytes.put_i64(presence.last_seen_at.map_or(i64::MIN, Timestamp::millis));
    bytes.put_u32(u32::try_from(rooms.len()).unwrap_or_default());
    for (room, is_large) in rooms {
        bytes.put_slice(room.uuid().as_bytes());
        bytes.put_u8(u8::from(*is_large));
    }
}

fn get_news(bytes: &mut Bytes) -> Option<News> {
    let user_id = get_uuid(bytes)?.into();
    let length = bytes.try_get_u8().ok()?;
    let status = get_slice(bytes, usize::from(length))?;
    let status = Status::parse(std::str::from_utf8(&status).ok()?)?;
    let seen_at = bytes.try_get_i64().ok()?;
    let last_seen_at = (seen_at != i64::MIN).then(|| Timestamp::from_millis(seen_at));
    let mut rooms = Vec::new();
    for _ in 0..bytes.try_get_u32().ok()? {
        rooms.push((get_uuid(bytes)?.into(), bytes.try_get_u8().ok()? != 0));
    }
    let presence = Presence { user_id, status, last_seen_at };
    Some(News { presence, rooms, viewers: Arc::new(Viewers::EVERYBODY) })
}

fn put_viewers(bytes: &mut BytesMut, viewers: &Viewers) {
    let (kind, users) = match viewers {
        Viewers::AllBut(users) => (0, users.as_slice()),
        Viewers::Only(users) => (1, users.as_slice()),
    };
    bytes.put_u8(kind);
    bytes.put_u32(u32::try_from(users.len()).unwrap_or_default());
    for user in users {
        bytes.put_slice(user.uuid().as_bytes());
    }
}

fn get_viewers(bytes: &mut Bytes) -> Option<Viewers> {
    let kind = bytes.try_get_u8().ok()?;
    let mut users = Vec::new();
    for _ in 0..bytes.try_get_u32().ok()? {
        users.push(get_uuid(bytes)?.into());
    }
    match kind {
        0 => Some(Viewers::AllBut(users.into())),
        1 => Some(Viewers::Only(users.into())),
        _ => None,
    }
}

fn get_uuid(bytes: &mut Bytes) -> Option<Uuid> {
    Uuid::from_slice(&get_slice(bytes, 16)?).ok()
}

fn get_slice(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (bytes.len() >= length).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::RoomId;
    use crate::domain::presence::People;

    const DATABASE: &str = "a9k3";

    fn node() -> NodeId {
        Uuid::from_u128(9).into()
    }

    fn events(count: Seq, body: &str) -> Delivery {
        let event = |seq: Seq| EncodedEvent {
            seq,
            name: EventName::MessageSent.as_str(),
            frame: Frame::text(body),
            removed: (seq == 2).then(|| Uuid::from_u128(7).into()),
        };
        let channel = Channel::Room(Uuid::from_u128(3).into());
        Delivery { channel, events: (1..=count).map(event).collect() }
    }

    fn news(presence: Presence, rooms: Vec<(RoomId, bool)>, viewers: Viewers) -> News {
        News { presence, rooms, viewers: Arc::new(viewers) }
    }

    #[test]
    fn what_is_for_everybody_is_told_as_the_release_before_understands_it() {
        let user_id = Uuid::from_u128(4).into();
        let presence = Presence { user_id, status: Status::Away, last_seen_at: None };
        let kind_of = |viewers| {
            let packet = Packet::News(vec![news(presence, Vec::new(), viewers)]);
            packet.encode(node(), DATABASE)[1]
        };
        assert_eq!(kind_of(Viewers::EVERYBODY), kind::NEWS);
        assert_eq!(kind_of(Viewers::AllBut(vec![user_id].into())), kind::LIMITED_NEWS);
        assert_eq!(kind_of(Viewers::Only(People::default())), kind::LIMITED_NEWS);
    }

    #[test]
    fn every_packet_is_read_as_it_was_sent() {
        let room: RoomId = Uuid::from_u128(3).into();
        let user_id: UserId = Uuid::from_u128(4).into();
        let seen = Some(Timestamp::from_millis(5));
        let presence = |last_seen_at| Presence { user_id, status: Status::Busy, last_seen_at };
        for packet in [
            Packet::Events(events(3, "{}")),
            Packet::Head { channel: Channel::Me(user_id), head: 9 },
            Packet::Ephemeral {
                channel: Channel::Room(room),
                name: TYPING,
                frame: Frame::text(&"x".repeat(70_000)),
            },
            Packet::News(vec![
                news(presence(seen), vec![(room, true), (room, false)], Viewers::EVERYBODY),
                news(presence(None), Vec::new(), Viewers::EVERYBODY),
            ]),
            Packet::News(vec![
                news(presence(seen), vec![(room, true)], Viewers::AllBut(vec![user_id].into())),
                news(presence(None), Vec::new(), Viewers::Only(vec![user_id, user_id].into())),
                news(presence(None), Vec::new(), Viewers::Only(People::default())),
            ]),
            Packet::SessionEnded(Uuid::from_u128(1).into()),
            Packet::UserEnded(user_id),
            Packet::Probe(17),
        ] {
            let (from, read) = Packet::decode(packet.encode(node(), DATABASE), DATABASE).unwrap();
            assert_eq!((from, format!("{read:?}")), (node(), format!("{packet:?}")));
        }
    }

    #[test]
    fn a_batch_that_is_too_much_is_only_announced() {
        assert!(matches!(Packet::of(&events(3, "{}")), Packet::Events(_)));
        let much = events(3, &"x".repeat(30_000));
        assert!(matches!(Packet::of(&much), Packet::Head { head: 3, .. }));
    }

    #[test]
    fn a_packet_that_was_cut_is_none_or_shorter() {
        let whole = Packet::Events(events(3, r#"{"a":1}"#)).encode(node(), DATABASE);
        for length in 0..whole.len() {
            let cut = Packet::decode(whole.slice(..length), DATABASE);
            if let Some((_, Packet::Events(delivery))) = cut {
                assert!(delivery.events.len() < 3);
            }
        }
    }

    #[test]
    fn whoever_works_on_another_database_is_not_listened_to() {
        let packet = Packet::Probe(1).encode(node(), "another");
        assert!(Packet::decode(packet, DATABASE).is_none());
    }

    #[test]
    fn events_with_a_hole_between_them_are_no_packet() {
        let mut delivery = events(3, "{}");
        delivery.events = delivery.events.iter().filter(|event| event.seq != 2).cloned().collect();
        assert!(
            Packet::decode(Packet::Events(delivery).encode(node(), DATABASE), DATABASE).is_none()
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes: Vec<u8>) {
            let mut framed = vec![FORMAT];
            framed.extend(&bytes);
            let _ = Packet::decode(bytes.into(), DATABASE);
            let _ = Packet::decode(framed.into(), DATABASE);
        }
    }
}

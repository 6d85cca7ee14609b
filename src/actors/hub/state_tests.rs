//! The hub's promises: consecutive delivery, holes that are read, gates that lose nothing.

use std::cell::RefCell;

use uuid::Uuid;

use super::*;
use crate::domain::time::Timestamp;

struct Listener {
    id: ConnectionId,
    user: UserId,
    heard: RefCell<Vec<String>>,
}

impl Listener {
    fn new(n: u128) -> Rc<Self> {
        Rc::new(Self {
            id: ConnectionId::from(Uuid::from_u128(n)),
            user: UserId::from(Uuid::from_u128(n)),
            heard: RefCell::default(),
        })
    }

    fn heard(&self) -> String {
        self.heard.borrow().join(" ")
    }
}

impl Subscriber for Listener {
    fn id(&self) -> ConnectionId {
        self.id
    }
    fn user(&self) -> Option<UserId> {
        Some(self.user)
    }
    fn push(&self, frame: &Frame) {
        self.heard.borrow_mut().push(String::from_utf8(frame.payload().to_vec()).unwrap());
    }
    fn push_ephemeral(&self, frame: &Frame) {
        self.push(frame);
    }
    fn unsubscribed(&self, _: Channel) {
        self.heard.borrow_mut().push("removed".to_owned());
    }
    fn drain(&self) {}
    fn tick(&self, _: Timestamp) {}
}

fn room() -> RoomId {
    RoomId::from(Uuid::from_u128(99))
}

fn channel() -> Channel {
    Channel::Room(room())
}

fn batch(seqs: impl IntoIterator<Item = Seq>) -> Delivery {
    let event =
        |seq: Seq| EncodedEvent { seq, frame: Frame::text(&seq.to_string()), removed: None };
    Delivery { room: room(), events: seqs.into_iter().map(event).collect() }
}

/// A hub with one live listener at head 10.
fn live() -> (HubState, Rc<Listener>) {
    let mut hub = HubState::default();
    let listener = Listener::new(1);
    assert!(hub.open(listener.clone(), channel()).is_ok());
    assert_eq!(hub.watching(channel(), 10), Effect::None);
    assert_eq!(hub.go_live(listener.id, channel()), Some(10));
    (hub, listener)
}

#[test]
fn a_batch_is_delivered_once_and_in_order() {
    let (mut hub, listener) = live();
    assert_eq!(hub.deliver(&batch(11..=13)), Effect::None);
    assert_eq!(hub.deliver(&batch(12..=14)), Effect::None);
    assert_eq!(listener.heard(), "11 12 13 14");
}

#[test]
fn a_hole_is_read_from_the_store_before_anything_after_it() {
    let (mut hub, listener) = live();
    assert_eq!(hub.deliver(&batch([12])), Effect::Fill { room: room(), after: 10 });
    assert_eq!(hub.deliver(&batch([13])), Effect::None, "asked for once");
    assert_eq!(listener.heard(), "");
    assert_eq!(hub.filled(&batch(11..=13)), Effect::None);
    assert_eq!(listener.heard(), "11 12 13");
}

#[test]
fn what_was_committed_while_a_hole_was_read_is_read_too() {
    let (mut hub, listener) = live();
    assert_eq!(hub.deliver(&batch([12])), Effect::Fill { room: room(), after: 10 });
    assert_eq!(hub.deliver(&batch([14])), Effect::None);
    assert_eq!(hub.filled(&batch(11..=12)), Effect::Fill { room: room(), after: 12 });
    assert_eq!(hub.filled(&batch(13..=14)), Effect::None);
    assert_eq!(listener.heard(), "11 12 13 14");
}

#[test]
fn a_new_incarnation_with_a_higher_head_shows_what_its_predecessor_kept() {
    let (mut hub, listener) = live();
    assert_eq!(hub.watching(channel(), 11), Effect::Fill { room: room(), after: 10 });
    assert_eq!(hub.filled(&batch([11])), Effect::None);
    assert_eq!(listener.heard(), "11");
}

#[test]
fn what_happens_behind_a_gate_follows_the_reply() {
    let (mut hub, _) = live();
    let late = Listener::new(2);
    assert!(hub.open(late.clone(), channel()).is_ok());
    hub.deliver(&batch(11..=12));
    assert_eq!(hub.position(late.id, channel()), Some(10));
    assert_eq!(late.heard(), "");
    assert_eq!(hub.go_live(late.id, channel()), Some(12));
    assert_eq!(late.heard(), "11 12");
}

#[test]
fn a_full_gate_begins_again_from_the_newest_position() {
    let (mut hub, _) = live();
    let late = Listener::new(2);
    assert!(hub.open(late.clone(), channel()).is_ok());
    let last = 10 + Seq::try_from(GATE_MAX).unwrap() + 1;
    hub.deliver(&batch(11..=last));
    assert_eq!(hub.position(late.id, channel()), Some(last));
    assert_eq!(hub.go_live(late.id, channel()), Some(last));
    assert_eq!(late.heard(), "");
}

#[test]
fn a_removed_member_hears_of_it_and_nothing_after() {
    let (mut hub, listener) = live();
    let event = |seq, removed| EncodedEvent { seq, frame: Frame::text(&seq.to_string()), removed };
    let events = [event(11, Some(listener.user)), event(12, None)].into_iter().collect();
    assert_eq!(hub.deliver(&Delivery { room: room(), events }), Effect::Unwatch(room()));
    assert_eq!(listener.heard(), "11 removed");
}

#[test]
fn the_last_to_leave_ends_the_watch() {
    let (mut hub, listener) = live();
    assert_eq!(hub.unsubscribe(listener.id, channel()), Effect::Unwatch(room()));
    assert_eq!(hub.unsubscribe(listener.id, channel()), Effect::None);
}

#[test]
fn a_watch_that_fails_tells_everybody_who_waited() {
    let mut hub = HubState::default();
    let listener = Listener::new(1);
    let Ok(Opened::First(mut waiting)) = hub.open(listener.clone(), channel()) else {
        panic!("the first to open");
    };
    assert_eq!(hub.watch_failed(channel(), SubscribeError::Busy), Effect::Unwatch(room()));
    assert_eq!(waiting.try_recv(), Ok(Err(SubscribeError::Busy)));
    assert!(!hub.is_watched(channel()));
}

#[test]
fn a_live_subscription_survives_a_watch_that_failed_late() {
    let (mut hub, listener) = live();
    assert_eq!(hub.watch_failed(channel(), SubscribeError::Busy), Effect::None);
    hub.deliver(&batch([11]));
    assert_eq!(listener.heard(), "11");
}

#[test]
fn what_nobody_follows_is_no_longer_watched() {
    let mut hub = HubState::default();
    assert_eq!(hub.deliver(&batch([1])), Effect::Unwatch(room()));
    assert_eq!(hub.watching(channel(), 1), Effect::Unwatch(room()));
    assert_eq!(hub.watch_failed(channel(), SubscribeError::Busy), Effect::Unwatch(room()));
}

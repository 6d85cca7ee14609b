//! The hub's promises: consecutive delivery, holes that are read, clients that catch up without loss.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::*;
use crate::actors::hub::close::CloseCode;
use crate::actors::hub::subscription::{GATE_MAX, REPLAY_MAX};
use crate::domain::ids::{RoomId, SessionId};
use crate::domain::time::Timestamp;

struct Listener {
    id: ConnectionId,
    user: UserId,
    heard: RefCell<Vec<String>>,
    /// Events that it still takes.
    space: Cell<usize>,
}

impl Listener {
    fn new(n: u128) -> Rc<Self> {
        Rc::new(Self {
            id: ConnectionId::from(Uuid::from_u128(n)),
            user: UserId::from(Uuid::from_u128(n)),
            heard: RefCell::default(),
            space: Cell::new(usize::MAX),
        })
    }

    fn heard(&self) -> String {
        self.heard.borrow().join(" ")
    }

    fn hear(&self, what: &str) {
        self.heard.borrow_mut().push(what.to_owned());
    }
}

impl Subscriber for Listener {
    fn id(&self) -> ConnectionId {
        self.id
    }
    fn user(&self) -> Option<UserId> {
        Some(self.user)
    }
    fn session(&self) -> Option<SessionId> {
        None
    }
    fn push(&self, channel: Channel, event: &EncodedEvent) -> bool {
        self.queue(channel, event)
    }
    fn queue(&self, _: Channel, event: &EncodedEvent) -> bool {
        let Some(left) = self.space.get().checked_sub(1) else { return false };
        self.space.set(left);
        self.hear(&event.seq.to_string());
        true
    }
    fn push_ephemeral(&self, _: &'static str, _: &Frame) {
        self.hear("ephemeral");
    }
    fn live(&self, _: Channel, _: Seq) {}
    fn gap(&self, _: Channel, _: Gap) {}
    fn lagging(&self, _: Channel) {}
    fn unsubscribed(&self, _: Channel) {
        self.hear("removed");
    }
    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<bool> {
        Poll::Ready(true)
    }
    fn drain(&self, _: Duration) {}
    fn end(&self, _: CloseCode) {}
    fn tick(&self, _: Instant, _: Timestamp) -> Duration {
        Duration::MAX
    }
}

fn channel() -> Channel {
    Channel::Room(RoomId::from(Uuid::from_u128(99)))
}

fn event(seq: Seq) -> EncodedEvent {
    EncodedEvent { seq, name: "message_sent", frame: Frame::text(&seq.to_string()), removed: None }
}

fn batch(seqs: impl IntoIterator<Item = Seq>) -> Delivery {
    Delivery { channel: channel(), events: seqs.into_iter().map(event).collect() }
}

/// A batch of one, by which somebody stops being a member.
fn removal(seq: Seq, user: UserId) -> Delivery {
    let events = [EncodedEvent { removed: Some(user), ..event(seq) }].into_iter().collect();
    Delivery { channel: channel(), events }
}

/// A hub with one live listener at head 10.
fn live() -> (HubState, Rc<Listener>) {
    let mut hub = HubState::default();
    let listener = Listener::new(1);
    assert!(hub.open(listener.clone(), channel()).is_ok());
    assert_eq!(hub.watching(channel(), 10), Effect::None);
    assert_eq!(hub.start(listener.id, channel(), Start::Head), None);
    assert_eq!(hub.next(listener.id, channel()), Next::Live(10));
    (hub, listener)
}

/// A newcomer who has everything up to `after`, in a hub at head 10.
fn returning(after: Seq) -> (HubState, Rc<Listener>) {
    let (mut hub, _) = live();
    let late = Listener::new(2);
    assert!(hub.open(late.clone(), channel()).is_ok());
    assert_eq!(hub.start(late.id, channel(), Start::After(after)), None);
    (hub, late)
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
    assert_eq!(hub.deliver(&batch([12])), Effect::Hole(channel()));
    assert_eq!(hub.deliver(&batch([13])), Effect::None, "asked for once");
    assert_eq!(hub.look_for_hole(channel()), Effect::Fill { channel: channel(), after: 10 });
    assert_eq!(listener.heard(), "");
    assert_eq!(hub.filled(&batch(11..=13)), Effect::None);
    assert_eq!(listener.heard(), "11 12 13");
}

#[test]
fn what_was_committed_while_a_hole_was_read_is_read_too() {
    let (mut hub, listener) = live();
    assert_eq!(hub.deliver(&batch([12])), Effect::Hole(channel()));
    assert_eq!(hub.deliver(&batch([14])), Effect::None);
    assert_eq!(hub.look_for_hole(channel()), Effect::Fill { channel: channel(), after: 10 });
    assert_eq!(hub.filled(&batch(11..=12)), Effect::Fill { channel: channel(), after: 12 });
    assert_eq!(hub.filled(&batch(13..=14)), Effect::None);
    assert_eq!(listener.heard(), "11 12 13 14");
}

#[test]
fn what_comes_early_waits_for_what_is_late_and_nothing_is_read() {
    let (mut hub, listener) = live();
    assert_eq!(hub.deliver(&batch([13])), Effect::Hole(channel()));
    assert_eq!(hub.deliver(&batch([12])), Effect::None);
    assert_eq!(listener.heard(), "");
    assert_eq!(hub.deliver(&batch([11])), Effect::None);
    assert_eq!(listener.heard(), "11 12 13");
    assert_eq!(hub.look_for_hole(channel()), Effect::None, "it has closed by itself");
    assert_eq!(hub.deliver(&batch([15])), Effect::Hole(channel()), "another one is noticed again");
}

#[test]
fn more_than_may_wait_is_read_from_the_store() {
    let (mut hub, listener) = live();
    let last = 12 + Seq::try_from(2 * EARLY_MAX).unwrap();
    assert_eq!(hub.deliver(&batch(12..=last)), Effect::Hole(channel()));
    assert_eq!(hub.deliver(&batch([11])), Effect::None);
    let kept = 11 + Seq::try_from(EARLY_MAX).unwrap();
    assert_eq!(hub.look_for_hole(channel()), Effect::Fill { channel: channel(), after: kept });
    assert_eq!(hub.filled(&batch(kept + 1..=last)), Effect::None);
    let heard: Vec<String> = (11..=last).map(|seq| seq.to_string()).collect();
    assert_eq!(listener.heard(), heard.join(" "));
}

#[test]
fn a_new_incarnation_with_a_higher_head_shows_what_its_predecessor_kept() {
    let (mut hub, listener) = live();
    assert_eq!(hub.watching(channel(), 11), Effect::Hole(channel()));
    assert_eq!(hub.look_for_hole(channel()), Effect::Fill { channel: channel(), after: 10 });
    assert_eq!(hub.filled(&batch([11])), Effect::None);
    assert_eq!(listener.heard(), "11");
}

#[test]
fn what_is_delivered_before_the_head_is_known_is_not_forgotten() {
    let mut hub = HubState::default();
    let listener = Listener::new(1);
    assert!(hub.open(listener.clone(), channel()).is_ok());
    assert_eq!(hub.deliver(&batch([11])), Effect::None);
    assert_eq!(hub.watching(channel(), 10), Effect::Fill { channel: channel(), after: 10 });
    hub.start(listener.id, channel(), Start::Head);
    assert_eq!(hub.next(listener.id, channel()), Next::Live(10));
    hub.filled(&batch([11]));
    assert_eq!(listener.heard(), "11");
}

#[test]
fn whoever_returns_is_given_what_was_missed_and_then_what_came_meanwhile() {
    let (mut hub, late) = returning(7);
    assert_eq!(hub.next(late.id, channel()), Next::Read { after: 7 });
    hub.deliver(&batch(11..=12));
    hub.page(late.id, &batch(8..=9));
    assert_eq!(hub.next(late.id, channel()), Next::Read { after: 9 });
    // The page is read after 12 was committed, and the gate has it too.
    hub.page(late.id, &batch(10..=12));
    assert_eq!(hub.next(late.id, channel()), Next::Live(12));
    hub.deliver(&batch([13]));
    assert_eq!(late.heard(), "8 9 10 11 12 13");
}

#[test]
fn what_a_page_has_beyond_the_head_is_left_to_its_delivery() {
    let (mut hub, late) = returning(9);
    assert_eq!(hub.next(late.id, channel()), Next::Read { after: 9 });
    hub.page(late.id, &batch(10..=12));
    assert_eq!(late.heard(), "10");
    assert_eq!(hub.next(late.id, channel()), Next::Live(10));
    hub.deliver(&batch(11..=12));
    assert_eq!(late.heard(), "10 11 12");
}

#[test]
fn a_gate_that_overflows_costs_another_page_and_nothing_else() {
    let (mut hub, late) = returning(9);
    assert_eq!(hub.next(late.id, channel()), Next::Read { after: 9 });
    let last = 10 + Seq::try_from(GATE_MAX).unwrap() + 1;
    hub.deliver(&batch(11..=last));
    hub.page(late.id, &batch([10]));
    assert_eq!(hub.next(late.id, channel()), Next::Read { after: 10 }, "too far for a gate");
    hub.page(late.id, &batch(11..=20));
    assert_eq!(hub.next(late.id, channel()), Next::Read { after: 20 });
    hub.deliver(&batch([last + 1]));
    hub.page(late.id, &batch(21..=last));
    assert_eq!(hub.next(late.id, channel()), Next::Live(last + 1));
    let all: Vec<String> = (10..=last + 1).map(|seq| seq.to_string()).collect();
    assert_eq!(late.heard(), all.join(" "));
}

#[test]
fn whoever_has_missed_nothing_is_live_at_once() {
    let (mut hub, late) = returning(10);
    assert_eq!(hub.next(late.id, channel()), Next::Live(10));
    assert_eq!(hub.next(late.id, channel()), Next::Nothing, "it is said once");
}

#[test]
fn the_newest_may_be_asked_for_by_their_number() {
    for (last, after) in [(3, 7), (10, 0), (50, 0), (-1, 10)] {
        let (mut hub, _) = live();
        let late = Listener::new(2);
        assert!(hub.open(late.clone(), channel()).is_ok());
        assert_eq!(hub.start(late.id, channel(), Start::Last(last)), None);
        assert_eq!(hub.position(late.id, channel()), Some(after), "last {last}");
    }
}

#[test]
fn a_position_that_proves_nothing_is_a_gap_and_goes_on_from_the_head() {
    for start in [Start::After(11), Start::After(-1), Start::Unknown(5)] {
        let (mut hub, _) = live();
        let late = Listener::new(2);
        assert!(hub.open(late.clone(), channel()).is_ok());
        let gap = hub.start(late.id, channel(), start).expect("a gap");
        assert_eq!((gap.first, gap.head), (1, 10));
        assert_eq!(hub.next(late.id, channel()), Next::Live(10));
    }
}

#[test]
fn more_than_can_be_replayed_is_a_gap_and_one_event_less_is_not() {
    for (behind, is_gap) in [(REPLAY_MAX, false), (REPLAY_MAX + 1, true)] {
        let (_, gap) = begin_at(Start::After(5), 5 + behind);
        assert_eq!(gap.is_some(), is_gap, "{behind} behind");
    }
}

#[test]
fn a_slow_client_catches_up_from_where_it_stopped_reading() {
    let (mut hub, listener) = live();
    listener.space.set(1);
    assert_eq!(hub.deliver(&batch(11..=13)), Effect::None);
    assert_eq!(hub.take_given().fallen_behind.len(), 1, "told once");
    hub.deliver(&batch([14]));
    assert_eq!(hub.take_given().fallen_behind.len(), 0);
    assert_eq!(hub.position(listener.id, channel()), Some(11));

    listener.space.set(1);
    assert_eq!(hub.next(listener.id, channel()), Next::Read { after: 11 });
    hub.page(listener.id, &batch(12..=14));
    listener.space.set(9);
    assert_eq!(hub.next(listener.id, channel()), Next::Read { after: 12 });
    hub.page(listener.id, &batch(13..=14));
    assert_eq!(hub.next(listener.id, channel()), Next::Live(14));
    assert_eq!(listener.heard(), "11 12 13 14");
}

#[test]
fn a_client_that_stops_at_its_gate_goes_on_reading() {
    let (mut hub, late) = returning(9);
    assert_eq!(hub.next(late.id, channel()), Next::Read { after: 9 });
    hub.deliver(&batch(11..=13));
    late.space.set(2);
    hub.page(late.id, &batch([10]));
    assert_eq!(hub.next(late.id, channel()), Next::Read { after: 11 });
    late.space.set(9);
    assert_eq!(hub.next(late.id, channel()), Next::Read { after: 11 }, "behind a new gate");
    hub.page(late.id, &batch(12..=13));
    assert_eq!(hub.next(late.id, channel()), Next::Live(13));
    assert_eq!(late.heard(), "10 11 12 13");
}

#[test]
fn somebody_who_is_behind_does_not_hear_what_may_be_lost() {
    let (hub, late) = returning(7);
    hub.deliver_ephemeral(channel(), "typing_indicator", &Frame::text("typing"));
    assert_eq!(late.heard(), "");
}

#[test]
fn a_removed_member_hears_of_it_and_nothing_after() {
    let (mut hub, listener) = live();
    assert_eq!(hub.deliver(&removal(11, listener.user)), Effect::Unwatch(channel()));
    assert_eq!(hub.deliver(&batch([12])), Effect::Unwatch(channel()));
    assert_eq!(listener.heard(), "11 removed");
}

#[test]
fn a_member_removed_during_its_replay_is_given_what_was_its_own_and_no_more() {
    let (mut hub, late) = returning(8);
    assert_eq!(hub.next(late.id, channel()), Next::Read { after: 8 });
    hub.deliver(&removal(11, late.user));
    hub.deliver(&batch([12]));
    hub.page(late.id, &batch(9..=10));
    assert_eq!(hub.next(late.id, channel()), Next::Removed);
    assert_eq!(late.heard(), "9 10 11");
}

#[test]
fn the_last_to_leave_ends_the_watch() {
    let (mut hub, listener) = live();
    assert_eq!(hub.unsubscribe(listener.id, channel()), Effect::Unwatch(channel()));
    assert_eq!(hub.unsubscribe(listener.id, channel()), Effect::None);
    assert_eq!(hub.next(listener.id, channel()), Next::Nothing);
}

#[test]
fn a_watch_that_fails_tells_everybody_who_waited() {
    let mut hub = HubState::default();
    let listener = Listener::new(1);
    let Ok(Opened::First(mut waiting)) = hub.open(listener.clone(), channel()) else {
        panic!("the first to open");
    };
    assert_eq!(hub.watch_failed(channel(), SubscribeError::Busy), Effect::Unwatch(channel()));
    assert_eq!(waiting.try_recv(), Ok(Err(SubscribeError::Busy)));
    assert!(!hub.is_watched(channel()));
}

#[test]
fn a_live_subscription_survives_a_watch_that_failed_late() {
    let (mut hub, listener) = live();
    assert_eq!(hub.watch_failed(channel(), SubscribeError::Busy), Effect::Watch(channel()));
    hub.deliver(&batch([11]));
    assert_eq!(listener.heard(), "11");
}

#[test]
fn what_nobody_follows_is_no_longer_watched() {
    let mut hub = HubState::default();
    assert_eq!(hub.deliver(&batch([1])), Effect::Unwatch(channel()));
    assert_eq!(hub.watching(channel(), 1), Effect::Unwatch(channel()));
    assert_eq!(hub.watch_failed(channel(), SubscribeError::Busy), Effect::Unwatch(channel()));
}

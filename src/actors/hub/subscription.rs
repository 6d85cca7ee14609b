//! One subscription, pure: where it begins, whether it is live, and how one that is not comes to the head.
//!
//! Invariant: what it is given is consecutive, from the position it began at.

use std::collections::VecDeque;
use std::rc::Rc;

use super::channel::Channel;
use super::directory::{Delivery, EncodedEvent};
use super::subscriber::Subscriber;
use crate::domain::rooms::Seq;

/// Events that wait at one gate; with more than that to come, there is another page to read first.
pub(super) const GATE_MAX: usize = 256;
/// A client that missed more is told so: a page of history serves it better than a replay.
pub const REPLAY_MAX: Seq = 2_000;

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what comes next.
    Head,
    /// After the last event that the client has.
    After(Seq),
    /// With so many of the newest events.
    Last(Seq),
    /// The client has this position of another log: nothing is known of what lies between.
    Unknown(Seq),
}

/// Why a subscription cannot go on where the client left off; it goes on from `head`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// What the client said it has.
    pub have: Seq,
    /// The oldest event there is; 0 in an empty log.
    pub first: Seq,
    /// Where it goes on.
    pub head: Seq,
}

/// What comes next for a subscription that catches up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Everything up to here was given, and the subscription is live.
    Live(Seq),
    /// Read the log after this number and hand it to [`super::state::HubState::page`].
    Read { after: Seq },
    /// It has come to where its user was removed: it ends here.
    Removed,
    /// Nothing: it is live already, or there is no such subscription.
    Nothing,
}

pub(super) struct Subscription {
    pub(super) subscriber: Rc<dyn Subscriber>,
    /// `None` for a live one; boxed because most are.
    pub(super) catch_up: Option<Box<CatchUp>>,
    _counted: Counted,
}

/// One subscription in the `madang_subscriptions` gauge, for as long as it is kept.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("madang_subscriptions").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("madang_subscriptions").decrement(1.0);
    }
}

/// A subscription on its way to the head.
#[derive(Default)]
pub(super) struct CatchUp {
    /// The last event that was given; `None` until it is known where to begin.
    pub(super) position: Option<Seq>,
    /// Once the head is near, what comes in meanwhile waits here, so that a busy channel is caught up with.
    gate: Option<Gate>,
    /// Where its user was removed: it ends there.
    pub(super) ends_at: Option<Seq>,
}

struct Gate {
    /// What waits follows this number.
    start: Seq,
    events: VecDeque<EncodedEvent>,
}

/// The position a subscription begins at, and the gap behind it if it is not where the client left off.
pub(super) fn begin_at(start: Start, head: Seq) -> (Seq, Option<Gap>) {
    let gap = |have| (head, Some(Gap { have, first: head.min(1), head }));
    match start {
        Start::Head => (head, None),
        Start::Last(count) => (head.saturating_sub(count.clamp(0, REPLAY_MAX)).max(0), None),
        Start::Unknown(have) => gap(have),
        Start::After(have) if have < 0 || have > head => gap(have),
        Start::After(have) if head.saturating_sub(have) > REPLAY_MAX => gap(have),
        Start::After(have) => (have, None),
    }
}

impl Subscription {
    /// One that is given nothing before it is known where to begin.
    pub(super) fn new(subscriber: Rc<dyn Subscriber>) -> Self {
        Self { subscriber, catch_up: Some(Box::default()), _counted: Counted::new() }
    }

    /// Gives one event as it comes; false when the client takes no more, and the subscription catches up from here.
    pub(super) fn give(&mut self, channel: Channel, event: &EncodedEvent) -> bool {
        let Some(catch_up) = &mut self.catch_up else {
            if self.subscriber.push(channel, event) {
                return true;
            }
            let position = Some(event.seq.saturating_sub(1));
            self.catch_up = Some(Box::new(CatchUp { position, ..CatchUp::default() }));
            return false;
        };
        catch_up.keep(event);
        true
    }

    pub(super) fn next(&mut self, channel: Channel, head: Seq) -> Next {
        let Some(catch_up) = &mut self.catch_up else { return Next::Nothing };
        let Some(position) = catch_up.position else { return Next::Nothing };
        if catch_up.has_ended() {
            return Next::Removed;
        }
        match &catch_up.gate {
            Some(gate) if position >= gate.start => {
                if !catch_up.open_gate(channel, &*self.subscriber) {
                    return Next::Read { after: catch_up.position.unwrap_or(position) };
                }
            }
            Some(_) => return Next::Read { after: position },
            None if position >= head => {}
            None => {
                let is_near = head.saturating_sub(position) <= Seq::try_from(GATE_MAX).unwrap_or(0);
                catch_up.gate = is_near.then(|| Gate { start: head, events: VecDeque::new() });
                return Next::Read { after: position };
            }
        }
        if catch_up.has_ended() {
            return Next::Removed;
        }
        self.catch_up = None;
        Next::Live(head)
    }

    /// Gives what was read, up to the head: what lies beyond it is on its way here.
    pub(super) fn read(&mut self, channel: Channel, delivery: &Delivery, head: Seq) {
        let Some(catch_up) = &mut self.catch_up else { return };
        for event in &*delivery.events {
            if event.seq > head || catch_up.has_ended() {
                return;
            }
            if !catch_up.advance(channel, event, &*self.subscriber) {
                // The store is read again once the client has taken what it has.
                catch_up.gate = None;
                return;
            }
        }
    }
}

impl CatchUp {
    /// An event came in: it waits if there is a gate for it, and is read later if not.
    fn keep(&mut self, event: &EncodedEvent) {
        let Some(gate) = &mut self.gate else { return };
        if gate.events.len() >= GATE_MAX {
            self.gate = None;
        } else {
            gate.events.push_back(event.clone());
        }
    }

    /// Gives an event if it is the next one; false when the client takes no more.
    fn advance(
        &mut self,
        channel: Channel,
        event: &EncodedEvent,
        subscriber: &dyn Subscriber,
    ) -> bool {
        if self.position.is_none_or(|position| event.seq != position.saturating_add(1)) {
            return true;
        }
        let taken = subscriber.queue(channel, event);
        if taken {
            self.position = Some(event.seq);
        }
        taken
    }

    /// Gives what waits at the gate; false when the client takes no more, and the gate is gone.
    fn open_gate(&mut self, channel: Channel, subscriber: &dyn Subscriber) -> bool {
        let events = self.gate.take().map(|gate| gate.events).unwrap_or_default();
        events.iter().all(|event| self.has_ended() || self.advance(channel, event, subscriber))
    }

    fn has_ended(&self) -> bool {
        self.ends_at.is_some_and(|end| self.position.is_some_and(|position| position >= end))
    }
}

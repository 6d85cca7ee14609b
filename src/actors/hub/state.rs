//! The hub's state, pure: what is given to whom, and what has to be done about it.
//!
//! A subscription is *live*, and given each event as it comes, or it *catches up*: its client is given the log from
//! the store, page by page, until nothing is missing. A new subscription begins that way, and a live one falls back
//! to it when its client reads too slowly. Invariant: what a subscription is given is consecutive, from the position
//! it began at.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::oneshot;

use super::channel::Channel;
use super::directory::{Delivery, EncodedEvent};
use super::frame::Frame;
use super::subscriber::{SubscribeError, Subscriber};
use crate::domain::ids::{ConnectionId, UserId};
use crate::domain::rooms::Seq;

/// Events that wait at one gate; with more than that to come, there is another page to read first.
const GATE_MAX: usize = 256;
/// A client that missed more is told so: a page of history serves it better than a replay.
pub const REPLAY_MAX: Seq = 2_000;

/// What the shell has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    None,
    /// Nobody here follows the channel any more.
    Unwatch(Channel),
    /// The channel is followed, but whether it is still watched is not certain.
    Watch(Channel),
    /// Read the log after this number and hand it to [`HubState::filled`].
    Fill {
        channel: Channel,
        after: Seq,
    },
}

/// Told when the channel is watched, or why it is not.
type Waiter = oneshot::Sender<Result<(), SubscribeError>>;
/// Hears when the channel is watched, or why it is not.
pub type Waiting = oneshot::Receiver<Result<(), SubscribeError>>;

/// Whether the channel of a new subscription is watched yet.
pub enum Opened {
    Now,
    /// The first: the channel has to be watched.
    First(Waiting),
    Later(Waiting),
}

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
    /// Read the log after this number and hand it to [`HubState::page`].
    Read { after: Seq },
    /// It has come to where its user was removed: it ends here.
    Removed,
    /// Nothing: it is live already, or there is no such subscription.
    Nothing,
}

/// The connections of one worker and what they follow.
#[derive(Default)]
pub struct HubState {
    connections: HashMap<ConnectionId, Rc<dyn Subscriber>>,
    // Invariant: no watch is without subscriptions.
    watches: HashMap<Channel, Watch>,
    /// Live subscriptions that began to catch up because their clients are slow.
    fallen_behind: Vec<(Rc<dyn Subscriber>, Channel)>,
}

struct Watch {
    phase: Phase,
    subscriptions: Vec<Subscription>,
}

enum Phase {
    /// Nobody has said yet where the channel's head is; `known` is the highest number seen meanwhile.
    Waiting { waiters: Vec<Waiter>, known: Seq },
    /// Everything up to `head` was delivered. While a hole behind it is read, `filling` is the last number known.
    Watched { head: Seq, filling: Option<Seq> },
}

struct Subscription {
    subscriber: Rc<dyn Subscriber>,
    /// `None` for a live one; boxed because most are.
    catch_up: Option<Box<CatchUp>>,
}

/// A subscription on its way to the head.
#[derive(Default)]
struct CatchUp {
    /// The last event that was given; `None` until it is known where to begin.
    position: Option<Seq>,
    /// Once the head is near, what comes in meanwhile waits here, so that a busy channel is caught up with.
    gate: Option<Gate>,
    /// Where its user was removed: it ends there.
    ends_at: Option<Seq>,
}

struct Gate {
    /// What waits follows this number.
    start: Seq,
    events: VecDeque<EncodedEvent>,
}

impl HubState {
    /// Takes in a connection.
    pub fn register(&mut self, subscriber: Rc<dyn Subscriber>) {
        self.connections.insert(subscriber.id(), subscriber);
    }

    /// Forgets a connection; false when it was not there.
    pub fn unregister(&mut self, connection: ConnectionId) -> bool {
        self.connections.remove(&connection).is_some()
    }

    /// Everybody who was taken in.
    #[must_use]
    pub fn connections(&self) -> Vec<Rc<dyn Subscriber>> {
        self.connections.values().cloned().collect()
    }

    /// One who was taken in.
    #[must_use]
    pub fn connection(&self, connection: ConnectionId) -> Option<Rc<dyn Subscriber>> {
        self.connections.get(&connection).cloned()
    }

    /// Every channel whose head is known.
    #[must_use]
    pub fn channels(&self) -> Vec<Channel> {
        let watched = self.watches.iter().filter(|(_, watch)| watch.head().is_some());
        watched.map(|(channel, _)| *channel).collect()
    }

    #[must_use]
    pub fn is_watched(&self, channel: Channel) -> bool {
        self.watches.contains_key(&channel)
    }

    /// Adds a subscription that is given nothing before [`Self::start`].
    ///
    /// # Errors
    /// When the connection has one already.
    pub fn open(
        &mut self,
        subscriber: Rc<dyn Subscriber>,
        channel: Channel,
    ) -> Result<Opened, SubscribeError> {
        let id = subscriber.id();
        let subscription = Subscription { subscriber, catch_up: Some(Box::default()) };
        let Some(watch) = self.watches.get_mut(&channel) else {
            let (waiter, waiting) = oneshot::channel();
            let phase = Phase::Waiting { waiters: vec![waiter], known: 0 };
            self.watches.insert(channel, Watch { phase, subscriptions: vec![subscription] });
            return Ok(Opened::First(waiting));
        };
        if watch.find(id).is_some() {
            return Err(SubscribeError::AlreadySubscribed);
        }
        watch.subscriptions.push(subscription);
        match &mut watch.phase {
            Phase::Watched { .. } => Ok(Opened::Now),
            Phase::Waiting { waiters, .. } => {
                let (waiter, waiting) = oneshot::channel();
                waiters.push(waiter);
                Ok(Opened::Later(waiting))
            }
        }
    }

    /// The channel's head is known. Where it was known before, a head beyond ours says what was committed and not
    /// delivered.
    pub fn watching(&mut self, channel: Channel, head: Seq) -> Effect {
        let Some(watch) = self.watches.get_mut(&channel) else { return Effect::Unwatch(channel) };
        match &mut watch.phase {
            Phase::Waiting { waiters, known } => {
                let (waiters, known) = (std::mem::take(waiters), *known);
                let mut filling = None;
                // What was delivered before the head was known may lie beyond it.
                let effect = fill_up_to(channel, head, known, &mut filling);
                watch.phase = Phase::Watched { head, filling };
                for waiter in waiters {
                    // Whoever stopped waiting has unsubscribed by itself.
                    let _ = waiter.send(Ok(()));
                }
                effect
            }
            Phase::Watched { head: ours, filling } => fill_up_to(channel, *ours, head, filling),
        }
    }

    /// The channel could not be watched: everybody who waited hears why. Where its head became known all the same, by
    /// an earlier watch that may have ended since, it has to be watched again.
    pub fn watch_failed(&mut self, channel: Channel, error: SubscribeError) -> Effect {
        if self.watches.get(&channel).is_some_and(|watch| watch.head().is_some()) {
            return Effect::Watch(channel);
        }
        let waiters = match self.watches.remove(&channel).map(|watch| watch.phase) {
            Some(Phase::Waiting { waiters, .. }) => waiters,
            Some(Phase::Watched { .. }) | None => Vec::new(),
        };
        for waiter in waiters {
            // Whoever stopped waiting does not need to know.
            let _ = waiter.send(Err(error));
        }
        Effect::Unwatch(channel)
    }

    /// Delivers a committed batch in order; what is known already is dropped, what is missing is asked for.
    pub fn deliver(&mut self, delivery: &Delivery) -> Effect {
        let channel = delivery.channel;
        let Some(watch) = self.watches.get_mut(&channel) else { return Effect::Unwatch(channel) };
        let last = delivery.events.last().map_or(0, |event| event.seq);
        let (head, filling) = match &mut watch.phase {
            Phase::Watched { head, filling } => (head, filling),
            Phase::Waiting { known, .. } => {
                *known = last.max(*known);
                return Effect::None;
            }
        };
        let Some(first) = delivery.events.iter().find(|event| event.seq > *head) else {
            return Effect::None;
        };
        if first.seq > head.saturating_add(1) {
            return fill_up_to(channel, *head, last, filling);
        }
        let before = std::mem::replace(head, last);
        for event in delivery.events.iter().filter(|event| event.seq > before) {
            for subscription in &mut watch.subscriptions {
                if !subscription.give(channel, event) {
                    let subscriber = Rc::clone(&subscription.subscriber);
                    self.fallen_behind.push((subscriber, channel));
                }
            }
            if let Some(user) = event.removed {
                watch.remove_user(user, channel, event.seq);
            }
        }
        self.unwatch_if_empty(channel)
    }

    /// Takes what a hole hid, and goes on reading while more is known to be there.
    pub fn filled(&mut self, delivery: &Delivery) -> Effect {
        let channel = delivery.channel;
        let known = match self.watches.get_mut(&channel).map(|watch| &mut watch.phase) {
            Some(Phase::Watched { filling, .. }) => filling.take(),
            _ => None,
        };
        let effect = self.deliver(delivery);
        let watch = self.watches.get_mut(&channel);
        match (effect, known, watch.map(|watch| &mut watch.phase)) {
            // An empty page would be asked for again for ever.
            (Effect::None, Some(known), Some(Phase::Watched { head, filling }))
                if !delivery.events.is_empty() =>
            {
                fill_up_to(channel, *head, known, filling)
            }
            // The page was too old to close the hole: what is known beyond it stays known.
            (Effect::Fill { .. }, Some(known), Some(Phase::Watched { filling, .. })) => {
                *filling = (*filling).max(Some(known));
                effect
            }
            (effect, ..) => effect,
        }
    }

    /// Gives a frame that has no number to everybody who is live.
    pub fn deliver_ephemeral(&self, channel: Channel, name: &'static str, frame: &Frame) {
        let Some(watch) = self.watches.get(&channel) else { return };
        for subscription in watch.subscriptions.iter().filter(|sub| sub.catch_up.is_none()) {
            subscription.subscriber.push_ephemeral(name, frame);
        }
    }

    /// The subscriptions that have fallen behind since this was asked last.
    pub fn take_fallen_behind(&mut self) -> Vec<(Rc<dyn Subscriber>, Channel)> {
        std::mem::take(&mut self.fallen_behind)
    }

    /// The channel's head, if the connection follows it and the head is known.
    #[must_use]
    pub fn head(&self, connection: ConnectionId, channel: Channel) -> Option<Seq> {
        let watch = self.watches.get(&channel)?;
        watch.find(connection)?;
        watch.head()
    }

    /// The last event that the subscription was given.
    #[must_use]
    pub fn position(&self, connection: ConnectionId, channel: Channel) -> Option<Seq> {
        let watch = self.watches.get(&channel)?;
        let subscription = watch.subscriptions.get(watch.find(connection)?)?;
        match &subscription.catch_up {
            Some(catch_up) => catch_up.position,
            None => watch.head(),
        }
    }

    /// Whether the connection follows the channel and its user has not been removed from it.
    #[must_use]
    pub fn is_member(&self, connection: ConnectionId, channel: Channel) -> bool {
        let watch = self.watches.get(&channel);
        let subscription = watch.and_then(|watch| watch.subscriptions.get(watch.find(connection)?));
        subscription.is_some_and(|subscription| {
            subscription.catch_up.as_ref().is_none_or(|catch_up| catch_up.ends_at.is_none())
        })
    }

    /// Says where a subscription begins; gives the gap, if it cannot begin where the client left off.
    pub fn start(
        &mut self,
        connection: ConnectionId,
        channel: Channel,
        start: Start,
    ) -> Option<Gap> {
        let watch = self.watches.get_mut(&channel)?;
        let head = watch.head()?;
        let subscription = watch.find_mut(connection)?;
        let catch_up = subscription.catch_up.as_mut()?;
        let (position, gap) = begin_at(start, head);
        catch_up.position = Some(position);
        gap
    }

    /// What a subscription that catches up needs next; at the head it becomes live.
    pub fn next(&mut self, connection: ConnectionId, channel: Channel) -> Next {
        let Some(watch) = self.watches.get_mut(&channel) else { return Next::Nothing };
        let Some(head) = watch.head() else { return Next::Nothing };
        watch
            .find_mut(connection)
            .map_or(Next::Nothing, |subscription| subscription.next(channel, head))
    }

    /// Gives a subscription that catches up a page of the log, as far as its client takes it.
    pub fn page(&mut self, connection: ConnectionId, delivery: &Delivery) {
        let channel = delivery.channel;
        if let Some(watch) = self.watches.get_mut(&channel)
            && let Some(head) = watch.head()
            && let Some(subscription) = watch.find_mut(connection)
        {
            subscription.read(channel, delivery, head);
        }
    }

    /// Ends a subscription; ending one that is not there changes nothing.
    pub fn unsubscribe(&mut self, connection: ConnectionId, channel: Channel) -> Effect {
        if let Some(watch) = self.watches.get_mut(&channel)
            && let Some(at) = watch.find(connection)
        {
            watch.subscriptions.swap_remove(at);
        }
        self.unwatch_if_empty(channel)
    }

    fn unwatch_if_empty(&mut self, channel: Channel) -> Effect {
        let empty = self.watches.get(&channel).is_some_and(|watch| watch.subscriptions.is_empty());
        if !empty {
            return Effect::None;
        }
        self.watches.remove(&channel);
        Effect::Unwatch(channel)
    }
}

/// Asks for what lies between `head` and the `known` number; once, however often it is noticed.
fn fill_up_to(channel: Channel, head: Seq, known: Seq, filling: &mut Option<Seq>) -> Effect {
    if known <= head {
        return Effect::None;
    }
    if let Some(already) = filling {
        *already = known.max(*already);
        return Effect::None;
    }
    *filling = Some(known);
    Effect::Fill { channel, after: head }
}

/// The position a subscription begins at, and the gap behind it if it is not where the client left off.
fn begin_at(start: Start, head: Seq) -> (Seq, Option<Gap>) {
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

impl Watch {
    const fn head(&self) -> Option<Seq> {
        match self.phase {
            Phase::Watched { head, .. } => Some(head),
            Phase::Waiting { .. } => None,
        }
    }

    fn find(&self, connection: ConnectionId) -> Option<usize> {
        self.subscriptions.iter().position(|sub| sub.subscriber.id() == connection)
    }

    fn find_mut(&mut self, connection: ConnectionId) -> Option<&mut Subscription> {
        let at = self.find(connection)?;
        self.subscriptions.get_mut(at)
    }

    /// Ends the subscriptions of somebody who was removed at `seq`: of those that are live at once, of the others when
    /// they have been given that event.
    fn remove_user(&mut self, user: UserId, channel: Channel, seq: Seq) {
        self.subscriptions.retain_mut(|subscription| {
            if subscription.subscriber.user() != Some(user) {
                return true;
            }
            let Some(catch_up) = &mut subscription.catch_up else {
                subscription.subscriber.unsubscribed(channel);
                return false;
            };
            catch_up.ends_at.get_or_insert(seq);
            true
        });
    }
}

impl Subscription {
    /// Gives one event as it comes; false when the client takes no more, and the subscription catches up from here.
    fn give(&mut self, channel: Channel, event: &EncodedEvent) -> bool {
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

    fn next(&mut self, channel: Channel, head: Seq) -> Next {
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
    fn read(&mut self, channel: Channel, delivery: &Delivery, head: Seq) {
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

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

//! The hub's state, pure: what is given to whom, and what has to be done about it.
//!
//! A subscription is *live*, and given each event as it comes, or it *catches up*: its client is given the log from
//! the store, page by page, until nothing is missing. A new subscription begins that way, and a live one falls back
//! to it when its client reads too slowly. Invariant: what a subscription is given is consecutive, from the position
//! it began at.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use tokio::sync::oneshot;

use super::channel::Channel;
use super::directory::{Delivery, EncodedEvent};
use super::frame::Frame;
use super::subscriber::{SubscribeError, Subscriber};
use super::subscription::{Gap, Next, Start, Subscription, begin_at};
use crate::domain::ids::{ConnectionId, UserId};
use crate::domain::rooms::Seq;

/// Events that wait for one before them that is on its way from another node; more are read from the store.
const EARLY_MAX: usize = 256;
/// What the shell has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    None,
    /// Nobody here follows the channel any more.
    Unwatch(Channel),
    /// The channel is followed, but whether it is still watched is not certain.
    Watch(Channel),
    /// Events are missing that may be on their way: wait a moment, then ask [`HubState::look_for_hole`].
    Hole(Channel),
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

/// The connections of one worker and what they follow.
#[derive(Default)]
pub struct HubState {
    connections: HashMap<ConnectionId, Rc<dyn Subscriber>>,
    // Invariant: no watch is without subscriptions.
    watches: HashMap<Channel, Watch>,
    given: Given,
}

/// What giving events has come to since it was asked for last.
#[derive(Default)]
pub struct Given {
    /// Events that live subscriptions were given, one for each.
    pub events: u64,
    /// Live subscriptions that began to catch up because their clients are slow.
    pub fallen_behind: Vec<(Rc<dyn Subscriber>, Channel)>,
}

struct Watch {
    phase: Phase,
    subscriptions: Vec<Subscription>,
}

enum Phase {
    /// Nobody has said yet where the channel's head is; `known` is the highest number seen meanwhile.
    Waiting {
        waiters: Vec<Waiter>,
        known: Seq,
    },
    Watched(Watched),
}

/// Everything up to `head` was delivered.
struct Watched {
    head: Seq,
    /// While a hole behind the head is waited for or read: the last number known.
    filling: Option<Seq>,
    /// What lies beyond the hole, as far as it is here.
    early: BTreeMap<Seq, EncodedEvent>,
}

impl Watched {
    const fn new(head: Seq) -> Self {
        Self { head, filling: None, early: BTreeMap::new() }
    }

    /// Whether anything up to `known` is missing that nobody waits for or reads yet; somebody will from now on.
    fn misses(&mut self, known: Seq) -> bool {
        if known <= self.head {
            return false;
        }
        let is_first = self.filling.is_none();
        self.filling = self.filling.max(Some(known));
        is_first
    }

    /// Keeps what cannot be delivered yet.
    fn keep(&mut self, events: &[EncodedEvent]) {
        for event in events {
            if self.early.len() >= EARLY_MAX {
                return;
            }
            self.early.insert(event.seq, event.clone());
        }
    }
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
        let subscription = Subscription::new(subscriber);
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
            Phase::Watched(_) => Ok(Opened::Now),
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
                let mut watched = Watched::new(head);
                // What was delivered before the head was known may lie beyond it.
                let effect = fill_up_to(channel, known, &mut watched);
                watch.phase = Phase::Watched(watched);
                for waiter in waiters {
                    // Whoever stopped waiting has unsubscribed by itself.
                    let _ = waiter.send(Ok(()));
                }
                effect
            }
            // It may be on its way.
            Phase::Watched(watched) => {
                if watched.misses(head) {
                    Effect::Hole(channel)
                } else {
                    Effect::None
                }
            }
        }
    }

    /// Another node says where the channel's head is, which proves nothing: what lies before it is looked for.
    pub fn hear_of(&mut self, channel: Channel, head: Seq) -> Effect {
        let Some(watch) = self.watches.get_mut(&channel) else { return Effect::None };
        match &mut watch.phase {
            Phase::Waiting { known, .. } => *known = head.max(*known),
            Phase::Watched(watched) if watched.head >= head => {}
            Phase::Watched(watched) => {
                if watched.misses(head) {
                    return Effect::Hole(channel);
                }
            }
        }
        Effect::None
    }

    /// The channel could not be watched: everybody who waited hears why. Where its head became known all the same, by
    /// an earlier watch that may have ended since, it has to be watched again.
    pub fn watch_failed(&mut self, channel: Channel, error: SubscribeError) -> Effect {
        if self.watches.get(&channel).is_some_and(|watch| watch.head().is_some()) {
            return Effect::Watch(channel);
        }
        let waiters = match self.watches.remove(&channel).map(|watch| watch.phase) {
            Some(Phase::Waiting { waiters, .. }) => waiters,
            Some(Phase::Watched(_)) | None => Vec::new(),
        };
        for waiter in waiters {
            // Whoever stopped waiting does not need to know.
            let _ = waiter.send(Err(error));
        }
        Effect::Unwatch(channel)
    }

    /// Delivers a committed batch in order; what is known already is dropped, what is missing is waited for.
    pub fn deliver(&mut self, delivery: &Delivery) -> Effect {
        let channel = delivery.channel;
        let Some(watch) = self.watches.get_mut(&channel) else { return Effect::Unwatch(channel) };
        let last = delivery.events.last().map_or(0, |event| event.seq);
        let watched = match &mut watch.phase {
            Phase::Watched(watched) => watched,
            Phase::Waiting { known, .. } => {
                *known = last.max(*known);
                return Effect::None;
            }
        };
        let Some(first) = delivery.events.iter().find(|event| event.seq > watched.head) else {
            return Effect::None;
        };
        if first.seq > watched.head.saturating_add(1) {
            watched.keep(&delivery.events);
            return if watched.misses(last) { Effect::Hole(channel) } else { Effect::None };
        }
        let before = std::mem::replace(&mut watched.head, last);
        let mut early = std::mem::take(&mut watched.early);
        for event in delivery.events.iter().filter(|event| event.seq > before) {
            watch.give(channel, event, &mut self.given);
        }
        while let Some((seq, event)) = early.pop_first() {
            let head = watch.head().unwrap_or(seq);
            if seq == head.saturating_add(1) {
                watch.set_head(seq);
                watch.give(channel, &event, &mut self.given);
            } else if seq > head {
                early.insert(seq, event);
                break;
            }
        }
        if let Phase::Watched(watched) = &mut watch.phase {
            watched.early = early;
        }
        self.unwatch_if_empty(channel)
    }

    /// A moment has passed since a hole was noticed: reads what is still missing.
    pub fn look_for_hole(&mut self, channel: Channel) -> Effect {
        let Some(Phase::Watched(watched)) =
            self.watches.get_mut(&channel).map(|watch| &mut watch.phase)
        else {
            return Effect::None;
        };
        match watched.filling {
            Some(known) if known > watched.head => Effect::Fill { channel, after: watched.head },
            Some(_) | None => {
                watched.filling = None;
                Effect::None
            }
        }
    }

    /// Takes what a hole hid, and goes on reading while more is known to be there.
    pub fn filled(&mut self, delivery: &Delivery) -> Effect {
        let channel = delivery.channel;
        let known = match self.watches.get_mut(&channel).map(|watch| &mut watch.phase) {
            Some(Phase::Watched(watched)) => watched.filling.take(),
            _ => None,
        };
        let effect = self.deliver(delivery);
        let watch = self.watches.get_mut(&channel);
        match (effect, known, watch.map(|watch| &mut watch.phase)) {
            // An empty page would be asked for again for ever.
            (Effect::None, Some(known), Some(Phase::Watched(watched)))
                if !delivery.events.is_empty() =>
            {
                fill_up_to(channel, known, watched)
            }
            // The page was too old to close the hole: what is known beyond it stays known.
            (Effect::Hole(_), Some(known), Some(Phase::Watched(watched))) => {
                watched.filling = watched.filling.max(Some(known));
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

    /// As [`Self::deliver_ephemeral`], where not everybody may be given the same, or anything.
    pub fn deliver_ephemeral_by(
        &self,
        channel: Channel,
        name: &'static str,
        frame_for: impl Fn(UserId) -> Option<Frame>,
    ) {
        let Some(watch) = self.watches.get(&channel) else { return };
        for subscription in watch.subscriptions.iter().filter(|sub| sub.catch_up.is_none()) {
            let user = subscription.subscriber.user();
            if let Some(frame) = user.and_then(&frame_for) {
                subscription.subscriber.push_ephemeral(name, &frame);
            }
        }
    }

    /// What giving events has come to since this was asked last.
    pub fn take_given(&mut self) -> Given {
        std::mem::take(&mut self.given)
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

/// Asks for what lies between the head and the `known` number; once, however often it is noticed.
fn fill_up_to(channel: Channel, known: Seq, watched: &mut Watched) -> Effect {
    if watched.misses(known) { Effect::Fill { channel, after: watched.head } } else { Effect::None }
}

impl Watch {
    const fn head(&self) -> Option<Seq> {
        match self.phase {
            Phase::Watched(Watched { head, .. }) => Some(head),
            Phase::Waiting { .. } => None,
        }
    }

    const fn set_head(&mut self, seq: Seq) {
        if let Phase::Watched(watched) = &mut self.phase {
            watched.head = seq;
        }
    }

    /// Gives everybody the next event.
    fn give(&mut self, channel: Channel, event: &EncodedEvent, given: &mut Given) {
        for subscription in &mut self.subscriptions {
            let is_live = subscription.catch_up.is_none();
            if !subscription.give(channel, event) {
                given.fallen_behind.push((Rc::clone(&subscription.subscriber), channel));
            } else if is_live {
                given.events = given.events.saturating_add(1);
            }
        }
        if let Some(user) = event.removed {
            self.remove_user(user, channel, event.seq);
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

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

//! The hub's state, pure: what is delivered to whom, and what has to be done about it.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::oneshot;

use super::channel::Channel;
use super::directory::{Delivery, EncodedEvent};
use super::frame::Frame;
use super::{SubscribeError, Subscriber, Waiter};
use crate::domain::ids::{ConnectionId, RoomId, UserId};
use crate::domain::rooms::Seq;

/// Events that wait at one gate; more move the gate's position forward instead.
const GATE_MAX: usize = 256;

/// What the shell has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// Nobody here watches the room any more.
    Unwatch(RoomId),
    /// Read the log after this number and hand it to [`HubState::filled`].
    Fill {
        room: RoomId,
        after: Seq,
    },
}

/// Whether the channel of a new subscription is watched yet.
pub(super) enum Opened {
    Now,
    /// The first: the channel has to be watched.
    First(oneshot::Receiver<Result<(), SubscribeError>>),
    Later(oneshot::Receiver<Result<(), SubscribeError>>),
}

#[derive(Default)]
pub(super) struct HubState {
    connections: HashMap<ConnectionId, Rc<dyn Subscriber>>,
    // Invariant: no watch is without subscriptions.
    watches: HashMap<Channel, Watch>,
}

struct Watch {
    phase: Phase,
    subscriptions: Vec<Subscription>,
}

enum Phase {
    /// The room has not yet said where its head is.
    Waiting(Vec<Waiter>),
    /// Everything up to `head` was delivered. While a hole behind it is read, `filling` is the last number known.
    Watched { head: Seq, filling: Option<Seq> },
}

struct Subscription {
    subscriber: Rc<dyn Subscriber>,
    /// Closed until the reply is written; boxed because most are open.
    gate: Option<Box<Gate>>,
}

#[derive(Default)]
struct Gate {
    position: Seq,
    events: VecDeque<EncodedEvent>,
}

impl HubState {
    pub(super) fn register(&mut self, subscriber: Rc<dyn Subscriber>) {
        self.connections.insert(subscriber.id(), subscriber);
    }

    pub(super) fn unregister(&mut self, connection: ConnectionId) -> bool {
        self.connections.remove(&connection).is_some()
    }

    pub(super) fn connections(&self) -> Vec<Rc<dyn Subscriber>> {
        self.connections.values().cloned().collect()
    }

    pub(super) fn is_watched(&self, channel: Channel) -> bool {
        self.watches.contains_key(&channel)
    }

    /// Adds a gated subscription; `Err` when the connection has one already.
    pub(super) fn open(
        &mut self,
        subscriber: Rc<dyn Subscriber>,
        channel: Channel,
    ) -> Result<Opened, ()> {
        if let Some(watch) = self.watches.get_mut(&channel) {
            if watch.find(subscriber.id()).is_some() {
                return Err(());
            }
            let mut gate = Box::<Gate>::default();
            let opened = match &mut watch.phase {
                Phase::Watched { head, .. } => {
                    gate.position = *head;
                    Opened::Now
                }
                Phase::Waiting(waiters) => {
                    let (sender, receiver) = oneshot::channel();
                    waiters.push(sender);
                    Opened::Later(receiver)
                }
            };
            watch.subscriptions.push(Subscription { subscriber, gate: Some(gate) });
            return Ok(opened);
        }
        let (sender, receiver) = oneshot::channel();
        let first = Subscription { subscriber, gate: Some(Box::default()) };
        let watch = Watch { phase: Phase::Waiting(vec![sender]), subscriptions: vec![first] };
        self.watches.insert(channel, watch);
        Ok(Opened::First(receiver))
    }

    /// The channel's head is known: waiting subscriptions begin there. From a new incarnation of the room, a head
    /// beyond ours says what its predecessor could not deliver.
    pub(super) fn watching(&mut self, channel: Channel, head: Seq) -> Effect {
        let Some(watch) = self.watches.get_mut(&channel) else { return unwatch(channel) };
        match &mut watch.phase {
            Phase::Waiting(waiters) => {
                let waiters = std::mem::take(waiters);
                watch.phase = Phase::Watched { head, filling: None };
                for gate in watch.subscriptions.iter_mut().filter_map(|sub| sub.gate.as_mut()) {
                    gate.position = head;
                }
                for waiter in waiters {
                    // Whoever stopped waiting has unsubscribed by itself.
                    let _ = waiter.send(Ok(()));
                }
                Effect::None
            }
            Phase::Watched { head: ours, filling } => fill_up_to(channel, *ours, head, filling),
        }
    }

    /// The channel could not be watched: everybody who waited hears why. Where the room has spoken all the same, it
    /// is being watched.
    pub(super) fn watch_failed(&mut self, channel: Channel, error: SubscribeError) -> Effect {
        if self.watches.get(&channel).is_some_and(Watch::is_watched) {
            return Effect::None;
        }
        let waiters = match self.watches.remove(&channel).map(|watch| watch.phase) {
            Some(Phase::Waiting(waiters)) => waiters,
            Some(Phase::Watched { .. }) | None => Vec::new(),
        };
        for waiter in waiters {
            // Whoever stopped waiting does not need to know.
            let _ = waiter.send(Err(error));
        }
        unwatch(channel)
    }

    /// Delivers a committed batch in order; what is known already is dropped, what is missing is asked for.
    pub(super) fn deliver(&mut self, delivery: &Delivery) -> Effect {
        let channel = Channel::Room(delivery.room);
        let Some(watch) = self.watches.get_mut(&channel) else { return unwatch(channel) };
        let Phase::Watched { head, filling } = &mut watch.phase else { return Effect::None };
        let Some(first) = delivery.events.iter().find(|event| event.seq > *head) else {
            return Effect::None;
        };
        if first.seq > head.saturating_add(1) {
            let known = delivery.events.last().map_or(first.seq, |event| event.seq);
            return fill_up_to(channel, *head, known, filling);
        }
        let before = *head;
        for event in delivery.events.iter().filter(|event| event.seq > before) {
            if let Phase::Watched { head, .. } = &mut watch.phase {
                *head = event.seq;
            }
            for subscription in &mut watch.subscriptions {
                subscription.give(event);
            }
            if let Some(user) = event.removed {
                watch.remove_user(user, channel);
            }
        }
        self.unwatch_if_empty(channel)
    }

    /// Takes what a hole hid, and goes on reading while more is known to be there.
    pub(super) fn filled(&mut self, delivery: &Delivery) -> Effect {
        let channel = Channel::Room(delivery.room);
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
            (effect, ..) => effect,
        }
    }

    pub(super) fn deliver_ephemeral(&self, channel: Channel, frame: &Frame) {
        let Some(watch) = self.watches.get(&channel) else { return };
        for subscription in watch.subscriptions.iter().filter(|sub| sub.gate.is_none()) {
            subscription.subscriber.push_ephemeral(frame);
        }
    }

    /// Where the connection's subscription begins, or has come to.
    pub(super) fn position(&self, connection: ConnectionId, channel: Channel) -> Option<Seq> {
        let watch = self.watches.get(&channel)?;
        let subscription = watch.subscriptions.get(watch.find(connection)?)?;
        match (&subscription.gate, &watch.phase) {
            (Some(gate), _) => Some(gate.position),
            (None, Phase::Watched { head, .. }) => Some(*head),
            (None, Phase::Waiting(_)) => Some(0),
        }
    }

    /// Opens the gate and gives what waited there.
    pub(super) fn go_live(&mut self, connection: ConnectionId, channel: Channel) -> Option<Seq> {
        let watch = self.watches.get_mut(&channel)?;
        let at = watch.find(connection)?;
        let subscription = watch.subscriptions.get_mut(at)?;
        let mut position = 0;
        if let Some(gate) = subscription.gate.take() {
            position = gate.position;
            for event in gate.events {
                position = event.seq;
                subscription.subscriber.push(&event.frame);
            }
        }
        Some(position)
    }

    pub(super) fn unsubscribe(&mut self, connection: ConnectionId, channel: Channel) -> Effect {
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
        unwatch(channel)
    }
}

/// Nobody here follows the channel: its room need not tell this hub.
fn unwatch(channel: Channel) -> Effect {
    match channel {
        Channel::Room(room) => Effect::Unwatch(room),
        Channel::Me(_) => Effect::None,
    }
}

/// Asks for what lies between `head` and the `known` number; once, however often it is noticed.
fn fill_up_to(channel: Channel, head: Seq, known: Seq, filling: &mut Option<Seq>) -> Effect {
    let Channel::Room(room) = channel else { return Effect::None };
    if known <= head {
        return Effect::None;
    }
    if let Some(already) = filling {
        *already = known.max(*already);
        return Effect::None;
    }
    *filling = Some(known);
    Effect::Fill { room, after: head }
}

impl Watch {
    const fn is_watched(&self) -> bool {
        matches!(self.phase, Phase::Watched { .. })
    }

    fn find(&self, connection: ConnectionId) -> Option<usize> {
        self.subscriptions.iter().position(|sub| sub.subscriber.id() == connection)
    }

    /// Ends the subscriptions of somebody who is no longer a member, after they were told.
    fn remove_user(&mut self, user: UserId, channel: Channel) {
        self.subscriptions.retain(|subscription| {
            let stays = subscription.subscriber.user() != Some(user);
            if !stays {
                subscription.subscriber.unsubscribed(channel);
            }
            stays
        });
    }
}

impl Subscription {
    fn give(&mut self, event: &EncodedEvent) {
        let Some(gate) = &mut self.gate else { return self.subscriber.push(&event.frame) };
        // The reply is not written yet, so the position in it may still move: a full gate starts again from here.
        if gate.events.len() >= GATE_MAX {
            gate.events.clear();
            gate.position = event.seq;
        } else {
            gate.events.push_back(event.clone());
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

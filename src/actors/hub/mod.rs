//! Hub: who on this HTTP worker watches what.
//!
//! One hub lives on each worker thread and owns the subscriptions of that thread's connections. A room sends one
//! message a hub, never one a member. Invariant: what a live subscriber is given of a channel is consecutive; when a
//! number is missing, the hub reads it from the store before it delivers the next.

pub mod channel;
pub mod directory;
pub mod frame;
mod state;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, StreamHandler};
use tokio::sync::{mpsc, oneshot};

use self::channel::Channel;
use self::directory::{Directory, HubId, HubMessage};
use self::frame::Frame;
use self::state::{Effect, HubState};
use crate::actors::kit::permanent::OnEscalate;
use crate::actors::room::{RoomFailure, Rooms};
use crate::domain::ids::{ConnectionId, RoomId, UserId};
use crate::domain::rooms::{RoomError, Seq};
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};

/// How often every connection of the worker is looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Events read from the store at once to fill a hole.
const FILL_PAGE: i64 = 500;
const FILL_RETRY: Duration = Duration::from_millis(250);

/// What a hub delivers to: a socket today, an event stream tomorrow. Lives on the hub's thread.
pub trait Subscriber {
    /// Which connection it is.
    fn id(&self) -> ConnectionId;
    /// Whose it is; `None` before hello.
    fn user(&self) -> Option<UserId>;
    /// Writes a frame at once, or keeps it in the bounded outbox.
    fn push(&self, frame: &Frame);
    /// Takes away a frame that may be lost, when the client is not keeping up.
    fn push_ephemeral(&self, frame: &Frame);
    /// Its subscription to the channel has ended.
    fn unsubscribed(&self, channel: Channel);
    /// The node goes away: says so and ends.
    fn drain(&self);
    /// Looks at its deadlines; called about once a second.
    fn tick(&self, now: Timestamp);
}

/// Why a channel cannot be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// There is no such channel, or the caller may not know of it.
    #[error("there is no such channel, or you may not know of it")]
    NotFound,
    /// It is subscribed on this connection already.
    #[error("this connection is already subscribed to the channel")]
    AlreadySubscribed,
    /// Nothing was done; worth trying again.
    #[error("the room is too busy")]
    Busy,
}

/// The hub of one worker. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct Hub(Rc<Inner>);

struct Inner {
    id: HubId,
    state: RefCell<HubState>,
    directory: Directory,
    rooms: Rooms,
    store: Store,
    epoch: Arc<str>,
}

impl Hub {
    /// Starts the hub of the calling worker thread.
    #[must_use]
    pub fn start(
        directory: Directory,
        rooms: Rooms,
        store: Store,
        epoch: Arc<str>,
        on_escalate: OnEscalate,
    ) -> Self {
        let (id, inbox) = directory.join();
        let state = RefCell::new(HubState::default());
        let hub = Self(Rc::new(Inner { id, state, directory, rooms, store, epoch }));
        HubActor::create(|ctx| {
            ctx.add_stream(inbox_stream(inbox));
            ctx.run_interval(SWEEP_INTERVAL, |actor, _| {
                guarded(&actor.on_escalate, || actor.hub.sweep());
            });
            HubActor { hub: hub.clone(), on_escalate }
        });
        hub
    }

    /// The mark of the database behind every position.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.0.epoch
    }

    /// Takes in a connection, so that it is swept and found.
    pub fn register(&self, subscriber: Rc<dyn Subscriber>) {
        self.0.state.borrow_mut().register(subscriber);
        metrics::gauge!("madang_connections").increment(1.0);
    }

    /// Forgets a connection and its `channels`; the only way out, on every exit path.
    pub fn unregister(&self, connection: ConnectionId, channels: &[Channel]) {
        for channel in channels {
            self.unsubscribe(connection, *channel);
        }
        if self.0.state.borrow_mut().unregister(connection) {
            metrics::gauge!("madang_connections").decrement(1.0);
        }
    }

    /// Subscribes in gated mode: from the returned position on, nothing is missed and nothing is delivered before
    /// [`Self::go_live`]. Membership is checked after the gate has closed, so that a removal cannot slip between.
    ///
    /// # Errors
    /// [`SubscribeError`]; the subscription is then gone.
    pub async fn open(
        &self,
        subscriber: &Rc<dyn Subscriber>,
        user: UserId,
        channel: Channel,
    ) -> Result<Seq, SubscribeError> {
        let watched = self
            .0
            .state
            .borrow_mut()
            .open(Rc::clone(subscriber), channel)
            .map_err(|()| SubscribeError::AlreadySubscribed)?;
        let opened = match watched {
            state::Opened::Now => Ok(()),
            state::Opened::First(waiting) => {
                self.watch(channel);
                waiting.await.unwrap_or(Err(SubscribeError::Busy))
            }
            state::Opened::Later(waiting) => waiting.await.unwrap_or(Err(SubscribeError::Busy)),
        };
        let allowed = match (opened, channel) {
            (Err(error), _) => Err(error),
            (Ok(()), Channel::Me(owner)) if owner == user => Ok(()),
            (Ok(()), Channel::Me(_)) => Err(SubscribeError::NotFound),
            (Ok(()), Channel::Room(room)) => match self.0.store.is_room_member(room, user).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(SubscribeError::NotFound),
                Err(_) => Err(SubscribeError::Busy),
            },
        };
        let position = self.0.state.borrow().position(subscriber.id(), channel);
        match (allowed, position) {
            (Ok(()), Some(position)) => Ok(position),
            // Removed from the room while the gate was closed.
            (Ok(()), None) => Err(SubscribeError::NotFound),
            (Err(error), _) => {
                self.unsubscribe(subscriber.id(), channel);
                Err(error)
            }
        }
    }

    /// Where the connection's subscription stands; while its gate is closed, this may move forward.
    #[must_use]
    pub fn gate_position(&self, connection: ConnectionId, channel: Channel) -> Option<Seq> {
        self.0.state.borrow().position(connection, channel)
    }

    /// Opens the gate: what arrived meanwhile is delivered, then everything new as it comes. Gives the position that
    /// the connection has reached; `None` when the subscription has ended.
    pub fn go_live(&self, connection: ConnectionId, channel: Channel) -> Option<Seq> {
        self.0.state.borrow_mut().go_live(connection, channel)
    }

    /// Ends a subscription; ending one that is not there changes nothing.
    pub fn unsubscribe(&self, connection: ConnectionId, channel: Channel) {
        let effect = self.0.state.borrow_mut().unsubscribe(connection, channel);
        self.perform(effect);
    }

    /// Whether the connection is subscribed to the channel, hence allowed to act in it.
    #[must_use]
    pub fn is_subscribed(&self, connection: ConnectionId, channel: Channel) -> bool {
        self.gate_position(connection, channel).is_some()
    }

    fn watch(&self, channel: Channel) {
        let Channel::Room(room) = channel else {
            // A user's own inbox has no events before notifications land: its log is empty at 0.
            self.0.state.borrow_mut().watching(channel, 0);
            return;
        };
        let hub = self.clone();
        actix_rt::spawn(async move {
            if let Err(failure) = hub.0.rooms.watch(room, hub.0.id).await {
                let error = match failure {
                    RoomFailure::Rule(RoomError::NotFound) => SubscribeError::NotFound,
                    RoomFailure::Rule(_)
                    | RoomFailure::NeverRan(_)
                    | RoomFailure::Unknown
                    | RoomFailure::Busy => SubscribeError::Busy,
                };
                let effect = hub.0.state.borrow_mut().watch_failed(channel, error);
                hub.perform(effect);
            }
        });
    }

    fn receive(&self, message: HubMessage) {
        let effect = match message {
            HubMessage::Deliver(delivery) => self.0.state.borrow_mut().deliver(&delivery),
            HubMessage::Ephemeral { channel, frame } => {
                self.0.state.borrow().deliver_ephemeral(channel, &frame);
                Effect::None
            }
            HubMessage::Drain(_told) => {
                let connections = self.0.state.borrow().connections();
                for connection in connections {
                    connection.drain();
                }
                Effect::None
            }
            HubMessage::Watching { room, head } => {
                self.0.state.borrow_mut().watching(Channel::Room(room), head)
            }
        };
        self.perform(effect);
    }

    fn perform(&self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Unwatch(room) => self.0.directory.unwatch(room, self.0.id),
            Effect::Fill { room, after } => {
                let hub = self.clone();
                actix_rt::spawn(async move { hub.fill(room, after).await });
            }
        }
    }

    /// Reads what a hole hides, until the store answers or nobody watches any more.
    async fn fill(&self, room: RoomId, after: Seq) {
        metrics::counter!("madang_hub_holes_total").increment(1);
        loop {
            let read: Result<_, StoreError> =
                self.0.store.list_room_log(room, after, FILL_PAGE).await;
            match read {
                Ok(events) => {
                    let delivery = directory::Delivery::encode(room, &events, &self.0.epoch);
                    let effect = self.0.state.borrow_mut().filled(&delivery);
                    return self.perform(effect);
                }
                Err(error) => {
                    tracing::warn!(%error, room.id = %room, "a hole could not be read yet");
                    actix_rt::time::sleep(FILL_RETRY).await;
                    if !self.0.state.borrow().is_watched(Channel::Room(room)) {
                        return;
                    }
                }
            }
        }
    }

    fn sweep(&self) {
        let now = crate::clock::now();
        // A copy, because a connection that ends during its tick leaves the hub.
        let connections = self.0.state.borrow().connections();
        for connection in connections {
            connection.tick(now);
        }
    }
}

/// The actor around the hub: its mailbox is the bounded inbox, its timer the sweep.
struct HubActor {
    hub: Hub,
    on_escalate: OnEscalate,
}

/// A hub holds its connections, which cannot be handed to another: a panic in it is one for the node.
fn guarded(on_escalate: &OnEscalate, work: impl FnOnce()) {
    if panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
        on_escalate("a hub has panicked");
    }
}

impl Actor for HubActor {
    type Context = Context<Self>;
}

impl StreamHandler<HubMessage> for HubActor {
    fn handle(&mut self, message: HubMessage, _: &mut Self::Context) {
        guarded(&self.on_escalate, || self.hub.receive(message));
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

fn inbox_stream(
    mut inbox: mpsc::Receiver<HubMessage>,
) -> impl futures_util::Stream<Item = HubMessage> {
    futures_util::stream::poll_fn(move |cx| inbox.poll_recv(cx))
}

/// Told when the channel is watched, or why it is not.
type Waiter = oneshot::Sender<Result<(), SubscribeError>>;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_panic_in_a_hub_is_escalated_and_goes_no_further() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let on_escalate: OnEscalate =
            Arc::new(move |cause: &str| heard.lock().unwrap().push(cause.to_owned()));

        guarded(&on_escalate, || panic::resume_unwind(Box::new("on purpose")));
        guarded(&on_escalate, || {});

        assert_eq!(*told.lock().unwrap(), ["a hub has panicked"]);
    }
}

//! Hub: who on this HTTP worker watches what.
//!
//! One hub lives on each worker thread and owns the subscriptions of that thread's connections. A room sends one
//! message a hub, never one a member. Invariant: what a subscriber is given of a channel is consecutive; when a number
//! is missing, the hub reads it from the store before it delivers the next. Read [`state`] (the rules), `catch_up`
//! (clients that have missed something, or read slowly) and [`subscriber`] (what a transport has to be).

mod catch_up;
pub mod channel;
pub mod close;
pub mod cursor;
pub mod directory;
pub mod frame;
pub mod notices;
pub mod presence;
pub mod state;
pub mod subscriber;
pub mod subscription;
pub mod token_end;
mod wheel;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, StreamHandler};
use futures_util::future::join_all;
use rand::Rng;
use rand::seq::SliceRandom;
use tokio::sync::{Semaphore, mpsc};

use self::catch_up::Pages;
use self::channel::Channel;
use self::close::CloseCode;
use self::directory::{Delivery, Directory, HubId, HubMessage, Looks, Whose};
use self::presence::Desk;
use self::state::{Effect, Given, HubState, Opened};
use self::subscriber::{SubscribeError, Subscriber};
use self::wheel::Wheel;
use crate::actors::kit::permanent::OnEscalate;
use crate::actors::link::Link;
use crate::actors::presence::Presences;
use crate::actors::room::{RoomFailure, Rooms};
use crate::clock;
use crate::domain::ids::{ConnectionId, RoomId, UserId};
use crate::domain::rooms::{RoomError, Seq};
use crate::store::{Store, StoreError};

/// Pages that one hub reads at a time for those who catch up.
const READS_MAX: usize = 8;
/// How often the database is looked at, where nobody says what is committed to it.
const COMPARE_INTERVAL: Duration = Duration::from_millis(250);
const COMPARE_MAX: Duration = Duration::from_secs(5);
/// Where the other nodes say it, one channel in so many is looked at each time: all of them within 2 s.
const SELDOM: usize = 8;
/// Heads that are read at once.
const HEADS_MAX: usize = 500;
const FIRST_LOOK: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_secs(1);
/// How long a client may take to be elsewhere, once its moment has come.
pub const DRAIN_GRACE: Duration = Duration::from_secs(3);
/// How long an event is waited for that another node has on its way, before it is read from the store.
const HOLE_PATIENCE: Duration = Duration::from_millis(20);
/// Events read from the store at once to fill a hole.
const FILL_PAGE: i64 = 500;
const FILL_RETRY: Duration = Duration::from_millis(250);

/// Why a connection is looked at.
#[derive(Debug, Clone, Copy)]
enum Look {
    /// Its own next deadline; there is always one such look ahead.
    Regular(ConnectionId),
    /// Something that came up in between.
    Extra(ConnectionId),
    /// Whether it may still see whom it watches.
    Watch(ConnectionId),
}

/// The hub of one worker. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct Hub(Rc<Inner>);

/// What a hub lives from.
#[derive(Clone)]
pub struct HubDeps {
    pub directory: Directory,
    pub link: Link,
    pub rooms: Rooms,
    pub presences: Presences,
    pub store: Store,
    pub epoch: Arc<str>,
}

struct Inner {
    id: HubId,
    state: RefCell<HubState>,
    directory: Directory,
    link: Link,
    rooms: Rooms,
    store: Store,
    epoch: Arc<str>,
    /// Who catches up, and with what next.
    catching_up: RefCell<HashMap<ConnectionId, VecDeque<Channel>>>,
    reads: Semaphore,
    pages: RefCell<Pages>,
    wheel: RefCell<Wheel<Look>>,
    presences: Presences,
    desk: RefCell<Desk>,
    comparing: RefCell<Comparing>,
}

/// How the hub compares its heads with those of the store.
#[derive(Default)]
struct Comparing {
    is_running: bool,
    /// How often it was its turn.
    turns: usize,
    /// Nobody knows what was missed: all of them, at once.
    is_due: bool,
}

impl Hub {
    /// Starts the hub of the calling worker thread.
    #[must_use]
    pub fn start(deps: HubDeps, on_escalate: OnEscalate) -> Self {
        let HubDeps { directory, link, rooms, presences, store, epoch } = deps;
        let (id, inbox) = directory.join();
        let state = RefCell::new(HubState::default());
        let hub = Self(Rc::new(Inner {
            id,
            state,
            directory,
            link,
            rooms,
            store,
            epoch,
            catching_up: RefCell::default(),
            reads: Semaphore::new(READS_MAX),
            pages: RefCell::default(),
            wheel: RefCell::default(),
            presences,
            desk: RefCell::default(),
            comparing: RefCell::default(),
        }));
        HubActor::create(|ctx| {
            ctx.add_stream(inbox_stream(inbox));
            ctx.run_interval(TICK, |actor, _| {
                guarded(&actor.on_escalate, || actor.hub.turn());
            });
            ctx.run_interval(COMPARE_INTERVAL, |actor, _| actor.hub.compare_heads());
            HubActor { hub: hub.clone(), on_escalate }
        });
        hub
    }

    /// The mark of the database behind every position.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.0.epoch
    }

    /// Takes in a connection, so that it is looked at and found.
    pub fn register(&self, subscriber: Rc<dyn Subscriber>) {
        self.0.wheel.borrow_mut().schedule(Look::Regular(subscriber.id()), FIRST_LOOK);
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

    /// Adds a subscription to each of `channels`, which is given nothing before [`Self::begin`]. Membership is asked for
    /// after the hub listens, so that a removal cannot slip between.
    ///
    /// The answers are in the order of `channels`; where one is an error, there is no subscription.
    pub async fn subscribe(
        &self,
        subscriber: &Rc<dyn Subscriber>,
        user: UserId,
        channels: &[Channel],
    ) -> Vec<Result<(), SubscribeError>> {
        let opening = channels.iter().map(|channel| self.open(subscriber, *channel));
        let opened = join_all(opening).await;
        let rooms: Vec<RoomId> = channels.iter().filter_map(|channel| channel.room()).collect();
        let joined = match rooms.is_empty() {
            true => Ok(Vec::new()),
            false => self.0.store.list_joined(user, &rooms).await,
        };
        let allowed = channels.iter().zip(opened).map(|(channel, opened)| {
            opened?;
            let allowed = match (channel, &joined) {
                (Channel::Me(owner), _) if *owner == user => Ok(()),
                (Channel::Room(room), Ok(joined)) if joined.contains(room) => Ok(()),
                (Channel::Room(_), Err(_)) => Err(SubscribeError::Busy),
                (Channel::Me(_) | Channel::Room(_), _) => Err(SubscribeError::NotFound),
            };
            if allowed.is_err() {
                self.unsubscribe(subscriber.id(), *channel);
            }
            allowed
        });
        allowed.collect()
    }

    async fn open(
        &self,
        subscriber: &Rc<dyn Subscriber>,
        channel: Channel,
    ) -> Result<(), SubscribeError> {
        let opened = self.0.state.borrow_mut().open(Rc::clone(subscriber), channel)?;
        let waiting = match opened {
            Opened::Now => return Ok(()),
            Opened::Later(waiting) => waiting,
            Opened::First(waiting) => {
                self.watch(channel);
                waiting
            }
        };
        let watched = waiting.await.unwrap_or(Err(SubscribeError::Busy));
        if watched.is_err() {
            self.unsubscribe(subscriber.id(), channel);
        }
        watched
    }

    /// The channel's head, where the connection follows it.
    #[must_use]
    pub fn head(&self, connection: ConnectionId, channel: Channel) -> Option<Seq> {
        self.0.state.borrow().head(connection, channel)
    }

    /// The last event that the connection was given of a channel it follows.
    #[must_use]
    pub fn position(&self, connection: ConnectionId, channel: Channel) -> Option<Seq> {
        self.0.state.borrow().position(connection, channel)
    }

    /// Ends a subscription; ending one that is not there changes nothing.
    pub fn unsubscribe(&self, connection: ConnectionId, channel: Channel) {
        let effect = self.0.state.borrow_mut().unsubscribe(connection, channel);
        self.perform(effect);
    }

    /// Whether the connection is subscribed to the channel, hence allowed to act in it.
    #[must_use]
    pub fn is_subscribed(&self, connection: ConnectionId, channel: Channel) -> bool {
        self.0.state.borrow().is_member(connection, channel)
    }

    fn watch(&self, channel: Channel) {
        let hub = self.clone();
        actix_rt::spawn(async move {
            let effect = match hub.find_head(channel).await {
                // A room tells its hubs by itself, in the order of what happens in it.
                Ok(None) => return,
                Ok(Some(head)) => hub.0.state.borrow_mut().watching(channel, head),
                Err(error) => hub.0.state.borrow_mut().watch_failed(channel, error),
            };
            hub.perform(effect);
        });
    }

    async fn find_head(&self, channel: Channel) -> Result<Option<Seq>, SubscribeError> {
        if let (Channel::Room(room), true) = (channel, self.0.link.is_alone()) {
            return match self.0.rooms.watch(room, self.0.id).await {
                Ok(()) => Ok(None),
                Err(RoomFailure::Rule(RoomError::NotFound)) => Err(SubscribeError::NotFound),
                Err(_) => Err(SubscribeError::Busy),
            };
        }
        // First whoever could tell, here and elsewhere, then the store: what is committed between them is delivered.
        self.0.directory.watch(channel, self.0.id);
        self.0.link.watch(channel).await;
        match self.read_head(channel).await {
            Ok(Some(head)) => Ok(Some(head)),
            Ok(None) => Err(SubscribeError::NotFound),
            Err(_) => Err(SubscribeError::Busy),
        }
    }

    /// Where others commit to the same database, looks what they have done.
    fn compare_heads(&self) {
        let looks = self.0.directory.looks();
        let mut comparing = self.0.comparing.borrow_mut();
        if looks == Looks::Never || comparing.is_running {
            return;
        }
        comparing.is_running = true;
        comparing.turns = comparing.turns.wrapping_add(1);
        let is_all = std::mem::take(&mut comparing.is_due) || looks == Looks::Often;
        let turn = comparing.turns % SELDOM;
        drop(comparing);
        let mut channels = self.0.state.borrow().channels();
        if !is_all {
            channels.retain(|channel| channel.spread() % SELDOM == turn);
        }
        let hub = self.clone();
        actix_rt::spawn(async move {
            for channels in channels.chunks(HEADS_MAX) {
                // What cannot be read now, or not in time, is read the next time.
                let reading = tokio::time::timeout(COMPARE_MAX, hub.read_heads(channels)).await;
                let Ok(Ok(heads)) = reading else { continue };
                for (channel, head) in heads {
                    let effect = hub.0.state.borrow_mut().watching(channel, head);
                    hub.perform(effect);
                }
            }
            hub.0.comparing.borrow_mut().is_running = false;
        });
    }

    async fn read_heads(&self, channels: &[Channel]) -> Result<Vec<(Channel, Seq)>, StoreError> {
        let rooms: Vec<RoomId> = channels.iter().filter_map(|channel| channel.room()).collect();
        let users: Vec<UserId> = channels.iter().filter_map(|channel| channel.user()).collect();
        let (rooms, users) = self.0.store.list_heads(&rooms, &users).await?;
        let rooms = rooms.into_iter().map(|(room, head)| (Channel::Room(room), head));
        Ok(rooms.chain(users.into_iter().map(|(user, head)| (Channel::Me(user), head))).collect())
    }

    /// The head of a channel's log in the store, if there is such a channel.
    async fn read_head(&self, channel: Channel) -> Result<Option<Seq>, StoreError> {
        match channel {
            Channel::Room(room) => self.0.store.find_room_head(room).await,
            Channel::Me(user) => self.0.store.find_inbox_head(user).await.map(Some),
        }
    }

    fn receive(&self, message: HubMessage) {
        let effect = match message {
            HubMessage::Deliver(delivery) => {
                if let Channel::Me(user) = delivery.channel {
                    self.ask_after(user, &delivery.events);
                }
                self.0.state.borrow_mut().deliver(&delivery)
            }
            HubMessage::Ephemeral { channel, name, frame } => {
                self.0.state.borrow().deliver_ephemeral(channel, name, &frame);
                Effect::None
            }
            HubMessage::Drain { window, told: _told } => {
                self.drain(window);
                Effect::None
            }
            HubMessage::Presence(news) => {
                for news in &*news {
                    self.receive_news(news);
                }
                Effect::None
            }
            HubMessage::ReportPresence(user) => {
                self.report_again(user);
                Effect::None
            }
            HubMessage::ReportAllPresences => {
                self.report_all_again();
                Effect::None
            }
            HubMessage::End { whose, code } => {
                self.end(&whose, code);
                Effect::None
            }
            HubMessage::LinkUp { epoch } => {
                tracing::debug!(link.epoch = epoch, "looks for what was missed");
                self.0.comparing.borrow_mut().is_due = true;
                self.compare_heads();
                Effect::None
            }
            HubMessage::HeadElsewhere { channel, head } => {
                self.0.state.borrow_mut().hear_of(channel, head)
            }
            HubMessage::Watching { channel, head } => {
                self.0.state.borrow_mut().watching(channel, head)
            }
        };
        self.perform(effect);
    }

    fn perform(&self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Unwatch(channel) => {
                self.0.directory.unwatch(channel, self.0.id);
                if !self.0.directory.is_watched(channel) {
                    self.0.link.unwatch(channel);
                }
            }
            Effect::Watch(channel) => {
                let hub = self.clone();
                actix_rt::spawn(async move {
                    actix_rt::time::sleep(FILL_RETRY).await;
                    if hub.0.state.borrow().is_watched(channel) {
                        hub.watch(channel);
                    }
                });
            }
            Effect::Hole(channel) => {
                let hub = self.clone();
                actix_rt::spawn(async move {
                    actix_rt::time::sleep(HOLE_PATIENCE).await;
                    let effect = hub.0.state.borrow_mut().look_for_hole(channel);
                    hub.perform(effect);
                });
            }
            Effect::Fill { channel, after } => {
                let hub = self.clone();
                actix_rt::spawn(async move { hub.fill(channel, after).await });
            }
        }
        let Given { events, fallen_behind } = self.0.state.borrow_mut().take_given();
        if events > 0 {
            metrics::counter!("madang_hub_deliveries_total").increment(events);
        }
        for (subscriber, channel) in fallen_behind {
            metrics::counter!("madang_hub_fallen_behind_total").increment(1);
            subscriber.lagging(channel);
            self.catch_up(&subscriber, channel);
        }
    }

    /// Reads what a hole hides, until the store answers or nobody watches any more.
    async fn fill(&self, channel: Channel, after: Seq) {
        metrics::counter!("madang_hub_holes_total").increment(1);
        loop {
            match self.read_log(channel, after, FILL_PAGE).await {
                Ok(delivery) => {
                    let effect = self.0.state.borrow_mut().filled(&delivery);
                    return self.perform(effect);
                }
                Err(error) => {
                    tracing::warn!(%error, %channel, "a hole could not be read yet");
                    actix_rt::time::sleep(FILL_RETRY).await;
                    if !self.0.state.borrow().is_watched(channel) {
                        return;
                    }
                }
            }
        }
    }

    async fn read_log(
        &self,
        channel: Channel,
        after: Seq,
        limit: i64,
    ) -> Result<Delivery, StoreError> {
        let (store, epoch) = (&self.0.store, &self.0.epoch);
        Ok(match channel {
            Channel::Room(room) => {
                Delivery::of_room(room, &store.list_room_log(room, after, limit).await?, epoch)
            }
            Channel::Me(user) => {
                Delivery::of_inbox(user, &store.list_inbox(user, after, limit).await?, epoch)
            }
        })
    }

    /// Has the connection looked at in `wait` or a little later, beside its regular looks.
    pub fn look_in(&self, connection: ConnectionId, wait: Duration) {
        self.0.wheel.borrow_mut().schedule(Look::Extra(connection), wait);
    }

    /// Looks at those who are due.
    fn turn(&self) {
        let due = self.0.wheel.borrow_mut().turn();
        let (now, time) = (Instant::now(), clock::now());
        self.0.pages.borrow_mut().prune(now);
        let mut to_ask = Vec::new();
        for look in due {
            let connection = match look {
                Look::Regular(connection) | Look::Extra(connection) => connection,
                Look::Watch(connection) => {
                    to_ask.push(connection);
                    continue;
                }
            };
            // Not held while it is called: a connection that ends leaves the hub.
            let subscriber = self.0.state.borrow().connection(connection);
            let wait = subscriber.map(|subscriber| subscriber.tick(now, time));
            if let (Look::Regular(_), Some(wait)) = (look, wait) {
                self.0.wheel.borrow_mut().schedule(look, wait);
            }
        }
        self.ask_again(to_ask);
    }

    /// Sends everybody elsewhere, each in a moment of its own.
    fn drain(&self, window: Duration) {
        let mut connections = self.0.state.borrow().connections();
        connections.shuffle(&mut rand::rng());
        let count = f64::from(u32::try_from(connections.len().max(1)).unwrap_or(u32::MAX));
        let slot = window.div_f64(count);
        let mut wait = slot.mul_f64(rand::rng().random_range(0.0..1.0));
        for connection in connections {
            connection.drain(wait);
            self.look_in(connection.id(), wait.saturating_add(DRAIN_GRACE));
            wait = wait.saturating_add(slot);
        }
    }

    fn end(&self, whose: &Whose, code: CloseCode) {
        let connections = self.0.state.borrow().connections();
        for connection in connections {
            if let (Some(session), Some(user)) = (connection.session(), connection.user())
                && whose.is_meant(session, user)
            {
                connection.end(code);
            }
        }
    }
}

/// The actor around the hub: its mailbox is the bounded inbox, its timer turns the wheel.
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

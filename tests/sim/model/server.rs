//! A server: logs, a hub, and the hub's shell, which does what `actors/hub` does around the rules.
//!
//! Where the shell would wait, the model keeps a question. The scheduler says when it is answered, and with what.

use std::fmt;
use std::rc::Rc;

use madang::actors::hub::channel::Channel;
use madang::actors::hub::directory::Delivery;
use madang::actors::hub::state::{Effect, HubState, Opened, Waiting};
use madang::actors::hub::subscriber::{SubscribeError, Subscriber};
use madang::actors::hub::subscription::Start;
use madang::domain::ids::UserId;
use madang::domain::rooms::Seq;
use tokio::sync::oneshot::error::TryRecvError;

use super::connection::Connection;
use super::log::Log;
use super::replay::Replay;
use super::{Corner, Violation, Witness};
use crate::sabotage::Sabotage;
use crate::scheduler::Rng;

/// What a room sends to a hub.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Deliver(Delivery),
    Watching { channel: Channel, head: Seq },
}

/// One node, and the store behind it.
pub(crate) struct Server {
    pub(super) hub: HubState,
    pub(super) sabotage: Sabotage,
    pub(super) replays: Vec<Replay>,
    pub(super) page_max: usize,
    pub(super) witness: Rc<Witness>,
    logs: Vec<Log>,
    users: Vec<UserId>,
    connections: Vec<Rc<Connection>>,
    /// The channels whose rooms send to the hub.
    watched: Vec<Channel>,
    /// Rooms that were asked to say where they stand, and have not answered.
    watches: Vec<Channel>,
    openings: Vec<Opening>,
    fills: Vec<Question>,
    /// Holes that are given a moment to close by themselves.
    holes: Vec<Channel>,
}

/// The store was asked for what follows `after` when the log's head was `head`.
pub(super) struct Question {
    channel: Channel,
    after: Seq,
    head: Seq,
}

/// A subscription that has not begun.
struct Opening {
    connection: Rc<Connection>,
    channel: Channel,
    start: Start,
    stage: Stage,
}

enum Stage {
    /// Until the hub knows the channel's head.
    Waiting(Waiting),
    Watched,
    /// The store has said that the user is a member.
    Allowed,
}

impl Server {
    /// A store in which every user is a member everywhere, and a hub of which nobody has heard.
    pub(crate) fn new(
        channels: &[Channel],
        users: &[UserId],
        page_max: usize,
        sabotage: Sabotage,
        witness: Rc<Witness>,
    ) -> Self {
        Self {
            hub: HubState::default(),
            sabotage,
            replays: Vec::new(),
            page_max,
            witness,
            logs: channels.iter().map(|channel| Log::new(*channel, users)).collect(),
            users: users.to_vec(),
            connections: Vec::new(),
            watched: Vec::new(),
            watches: Vec::new(),
            openings: Vec::new(),
            fills: Vec::new(),
            holes: Vec::new(),
        }
    }

    pub(crate) fn logs(&self) -> &[Log] {
        &self.logs
    }

    pub(super) fn log(&self, channel: Channel) -> &Log {
        let log = self.logs.iter().find(|log| log.channel() == channel);
        log.expect("every channel has a log")
    }

    /// Commits a batch to some log; gives the delivery, if its room knows of this hub. Now and then it has a part of
    /// the batch before it.
    pub(crate) fn commit(&mut self, count: usize, rng: &mut Rng) -> Option<Message> {
        let at = rng.below(self.logs.len());
        let log = &mut self.logs[at];
        let before = log.head();
        for _ in 0..count {
            let user = self.users[rng.below(self.users.len())];
            match rng.below(12) {
                0 if log.is_member(user) => log.remove(user),
                0..=2 if !log.is_member(user) => log.add(user),
                _ => log.append(),
            }
        }
        let overlap = if rng.chance(20) { rng.between(1, 3) } else { 0 };
        let delivery = log.page((before - overlap).max(0), log.head(), usize::MAX);
        self.watched.contains(&delivery.channel).then_some(Message::Deliver(delivery))
    }

    /// Commits one event more to every log.
    pub(crate) fn commit_everywhere(&mut self) -> Vec<Message> {
        let commit = |log: &mut Log| {
            log.append();
            Message::Deliver(log.page(log.head() - 1, log.head(), 1))
        };
        self.logs.iter_mut().map(commit).collect()
    }

    /// What the rooms say of where they stand.
    pub(crate) fn announce(&self) -> Vec<Message> {
        let say = |log: &Log| Message::Watching { channel: log.channel(), head: log.head() };
        self.logs.iter().map(say).collect()
    }

    /// The hub is given a message.
    pub(crate) fn receive(&mut self, message: &Message) {
        let effect = match message {
            Message::Deliver(delivery) if self.sabotage == Sabotage::Order => {
                self.pass_on(delivery)
            }
            Message::Deliver(delivery) => self.hub.deliver(delivery),
            Message::Watching { channel, head } => {
                let effect = self.hub.watching(*channel, *head);
                for connection in &self.connections {
                    self.hear_from(connection, *channel);
                }
                effect
            }
        };
        self.perform(effect);
    }

    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Unwatch(channel) => self.watched.retain(|watched| *watched != channel),
            Effect::Watch(channel) => {
                if !self.watched.contains(&channel) {
                    self.watched.push(channel);
                }
                self.watches.push(channel);
            }
            Effect::Hole(channel) => self.holes.push(channel),
            Effect::Fill { channel, after } => {
                self.witness.see(Corner::Hole);
                let question = self.ask(channel, after);
                self.fills.push(question);
            }
        }
        for (subscriber, channel) in self.hub.take_given().fallen_behind {
            subscriber.lagging(channel);
            self.catch_up(&subscriber, channel);
        }
    }

    /// The sabotage: whoever is live is given what comes in, as it is.
    fn pass_on(&self, delivery: &Delivery) -> Effect {
        let channel = delivery.channel;
        for connection in self.connections.iter().filter(|one| one.is_live(channel)) {
            for event in &*delivery.events {
                connection.push(channel, event);
            }
        }
        Effect::None
    }

    /// Where the hub's head is known, the connection's subscription hears of whatever follows it.
    fn hear_from(&self, connection: &Connection, channel: Channel) {
        if let Some(head) = self.hub.head(connection.id(), channel) {
            connection.hear_from(channel, head);
        }
    }
}

/// Connections and what they ask for.
impl Server {
    pub(crate) fn connect(&mut self, connection: &Rc<Connection>) {
        self.hub.register(connection.clone());
        self.connections.push(Rc::clone(connection));
    }

    pub(crate) fn disconnect(&mut self, connection: &Rc<Connection>) {
        for channel in connection.hang_up() {
            self.leave_hub(connection, channel);
        }
        self.hub.unregister(connection.id());
        self.connections.retain(|known| !Rc::ptr_eq(known, connection));
    }

    pub(crate) fn subscribe(
        &mut self,
        connection: &Rc<Connection>,
        channel: Channel,
        start: Start,
    ) {
        connection.listen(channel);
        let stage = match self.hub.open(connection.clone(), channel) {
            Ok(Opened::Now) => Stage::Watched,
            Ok(Opened::Later(waiting)) => Stage::Waiting(waiting),
            Ok(Opened::First(waiting)) => {
                self.watched.push(channel);
                self.watches.push(channel);
                Stage::Waiting(waiting)
            }
            Err(_) => return self.witness.blame(Violation::NotOpened),
        };
        self.hear_from(connection, channel);
        let connection = Rc::clone(connection);
        self.openings.push(Opening { connection, channel, start, stage });
    }

    pub(crate) fn unsubscribe(&mut self, connection: &Rc<Connection>, channel: Channel) {
        connection.forget(channel);
        self.leave_hub(connection, channel);
    }

    fn leave_hub(&mut self, connection: &Connection, channel: Channel) {
        let effect = self.hub.unsubscribe(connection.id(), channel);
        self.perform(effect);
    }

    /// Ends a subscription of whoever must not follow the channel, or cannot now.
    fn refuse(&mut self, connection: &Connection, channel: Channel) {
        self.leave_hub(connection, channel);
        connection.refuse(channel);
    }
}

/// What is under way, and goes on when the scheduler says so.
impl Server {
    pub(crate) const fn has_watches(&self) -> bool {
        !self.watches.is_empty()
    }

    pub(crate) const fn has_openings(&self) -> bool {
        !self.openings.is_empty()
    }

    pub(crate) const fn has_fills(&self) -> bool {
        !self.fills.is_empty() || !self.holes.is_empty()
    }

    pub(crate) const fn has_replays(&self) -> bool {
        !self.replays.is_empty()
    }

    pub(crate) const fn is_at_rest(&self) -> bool {
        let answers_nothing = self.watches.is_empty() && !self.has_fills();
        answers_nothing && self.openings.is_empty() && self.replays.is_empty()
    }

    /// A room that was asked says where it stands, or cannot be reached.
    pub(crate) fn answer_watch(&mut self, rng: &mut Rng) -> Option<Message> {
        let channel = self.watches.swap_remove(rng.below(self.watches.len()));
        if rng.chance(85) {
            return Some(Message::Watching { channel, head: self.log(channel).head() });
        }
        self.witness.see(Corner::WatchFailed);
        let effect = self.hub.watch_failed(channel, SubscribeError::Busy);
        self.perform(effect);
        None
    }

    /// A new subscription comes one step further: the head, then the membership, then the beginning.
    pub(crate) fn advance_opening(&mut self, rng: &mut Rng) {
        let at = rng.below(self.openings.len());
        let Opening { connection, channel, start, stage } = self.openings.swap_remove(at);
        if connection.is_gone() {
            return;
        }
        let stage = match stage {
            Stage::Waiting(mut waiting) => match waiting.try_recv() {
                Ok(Ok(())) => Stage::Watched,
                Err(TryRecvError::Empty) => Stage::Waiting(waiting),
                Ok(Err(_)) | Err(TryRecvError::Closed) => {
                    return self.refuse(&connection, channel);
                }
            },
            Stage::Watched if self.log(channel).is_member(connection.owner()) => Stage::Allowed,
            Stage::Watched => return self.refuse(&connection, channel),
            Stage::Allowed => return self.begin(&connection, channel, start),
        };
        self.openings.push(Opening { connection, channel, start, stage });
    }

    /// The moment has passed that a hole was given, or the store answers what it hides, or asks for patience.
    pub(crate) fn answer_fill(&mut self, rng: &mut Rng) {
        if !self.holes.is_empty() && (self.fills.is_empty() || rng.chance(50)) {
            let channel = self.holes.swap_remove(rng.below(self.holes.len()));
            let effect = self.hub.look_for_hole(channel);
            return self.perform(effect);
        }
        let at = rng.below(self.fills.len());
        if rng.chance(10) {
            if !self.hub.is_watched(self.fills[at].channel) {
                self.fills.swap_remove(at);
            }
            return;
        }
        let question = self.fills.swap_remove(at);
        let page = self.answer(&question, rng);
        let effect = self.hub.filled(&page);
        self.perform(effect);
    }

    pub(super) fn ask(&self, channel: Channel, after: Seq) -> Question {
        Question { channel, after, head: self.log(channel).head() }
    }

    /// A page of the log as it was at some moment since it was asked for.
    pub(super) fn answer(&self, question: &Question, rng: &mut Rng) -> Delivery {
        let log = self.log(question.channel);
        let seen = rng.between(question.head, log.head());
        log.page(question.after, seen, self.page_max)
    }

    fn begin(&mut self, connection: &Rc<Connection>, channel: Channel, start: Start) {
        let Some(head) = self.hub.head(connection.id(), channel) else {
            return self.refuse(connection, channel);
        };
        let told = match start {
            Start::After(have) if self.sabotage == Sabotage::Start && have > 0 => {
                Start::After(have - 1)
            }
            start => start,
        };
        let gap = self.hub.start(connection.id(), channel, told);
        connection.begin(self.log(channel), start, head, gap);
        if let Some(gap) = gap {
            connection.gap(channel, gap);
        }
        let subscriber: Rc<dyn Subscriber> = connection.clone();
        self.catch_up(&subscriber, channel);
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver(delivery) => {
                let seqs: Vec<Seq> = delivery.events.iter().map(|event| event.seq).collect();
                write!(f, "{seqs:?} of {}", delivery.channel)
            }
            Self::Watching { channel, head } => write!(f, "{channel} stands at {head}"),
        }
    }
}

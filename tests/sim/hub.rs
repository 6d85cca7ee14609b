//! The hub: whoever follows a channel is given it whole, once and in order, whatever the way to the hub does.
//!
//! Deliveries are dropped, doubled, reordered and late; rooms say where they stand too late or not at all; pages and
//! fills show the log as it was; clients are slow, leave, lose their connections and come back. Once all of that is
//! over, everybody who follows a channel has everything.

use std::rc::Rc;

use madang::actors::hub::channel::Channel;
use madang::actors::hub::cursor::{Cursor, Given};
use madang::actors::hub::subscription::Start;
use madang::domain::ids::{ConnectionId, RoomId, UserId};
use uuid::Uuid;

use crate::model::client::Client;
use crate::model::connection::Connection;
use crate::model::server::{Message, Server};
use crate::model::{Corner, Violation, Witness};
use crate::sabotage::Sabotage;
use crate::scheduler::{Diary, Rng, is_caught, sweep};

const SEEDS: u64 = 80_000;
/// Seeds within which the scheduler has to have come everywhere.
const CORNER_SEEDS: u64 = 500;
/// Rounds after which something that does not end never will.
const ROUNDS_MAX: usize = 10_000;
/// More than waits at a gate.
const BURST: usize = 300;

#[test]
fn every_client_has_the_log_whatever_happens_on_the_way() {
    sweep("every_client_has_the_log_whatever_happens_on_the_way", SEEDS, |seed| {
        play(seed, Sabotage::Nothing)
    });
}

#[test]
fn the_scheduler_comes_into_every_corner() {
    let runs = (0..CORNER_SEEDS).map(|seed| World::played(seed, Sabotage::Nothing));
    let witnesses: Vec<Rc<Witness>> = runs.map(|world| world.witness).collect();

    for corner in Corner::ALL {
        let is_seen = witnesses.iter().any(|witness| witness.has_seen(corner));
        assert!(is_seen, "{corner:?} in {CORNER_SEEDS} seeds");
    }
}

#[test]
fn control_without_the_gate_what_comes_in_during_the_last_page_is_missed() {
    assert!(is_caught(|seed| play(seed, Sabotage::Gate)));
}

#[test]
fn control_a_replay_that_begins_one_event_too_early_is_noticed() {
    assert!(is_caught(|seed| play(seed, Sabotage::Start)));
}

#[test]
fn control_a_client_that_keeps_what_it_has_already_has_some_of_it_twice() {
    assert!(is_caught(|seed| play(seed, Sabotage::Repeats)));
}

#[test]
fn control_without_the_hubs_order_the_way_to_it_shows() {
    assert!(is_caught(|seed| play(seed, Sabotage::Order)));
}

fn play(seed: u64, sabotage: Sabotage) -> Result<(), String> {
    let world = World::played(seed, sabotage);
    match world.witness.violation() {
        None => Ok(()),
        Some(violation) => Err(format!("{violation}{}", world.diary.text())),
    }
}

type Step = fn(&mut World);

/// One server and a few clients.
struct World {
    rng: Rng,
    server: Server,
    clients: Vec<Client>,
    /// What is on its way to the hub.
    bag: Vec<Message>,
    connection_count: u128,
    bursts_left: usize,
    witness: Rc<Witness>,
    diary: Diary,
}

impl World {
    /// A run from its beginning to its end, or to the first violation.
    fn played(seed: u64, sabotage: Sabotage) -> Self {
        let mut world = Self::new(seed, sabotage);
        world.begin();
        let steps = 30 + world.rng.below(31);
        for _ in 0..steps {
            if world.is_over() {
                return world;
            }
            world.step();
        }
        world.end();
        world
    }

    fn new(seed: u64, sabotage: Sabotage) -> Self {
        let mut rng = Rng::new(seed);
        let witness = Rc::new(Witness::default());
        let channels = [channel(1), channel(2)];
        let channels = &channels[..1 + rng.below(2)];
        let users = [user(1), user(2)];
        let bursts_left = if rng.chance(2) { 2 } else { 0 };
        // Long logs are read in long pages.
        let page_max = if bursts_left > 0 { 100 } else { 1 + rng.below(5) };
        let server = Server::new(channels, &users, page_max, sabotage, Rc::clone(&witness));
        // The first user has two devices.
        let devices = [users[0], users[1], users[0]];
        let devices = &devices[..1 + rng.below(3)];
        let clients = devices.iter().map(|user| Client::new(*user, channels, sabotage)).collect();
        Self {
            rng,
            server,
            clients,
            bag: Vec::new(),
            connection_count: 0,
            bursts_left,
            witness,
            diary: Diary::open(),
        }
    }

    /// Most follow a channel before anything happens.
    fn begin(&mut self) {
        for _ in 0..self.rng.below(4) {
            self.commit();
        }
        for at in 0..self.clients.len() {
            self.connect(at);
            for _ in 0..2 {
                self.subscribe(at);
            }
        }
        self.settle();
    }

    fn step(&mut self) {
        let when = |is_possible: bool, weight: usize| if is_possible { weight } else { 0 };
        let steps: [(usize, Step); 8] = [
            (16, Self::commit),
            (when(!self.bag.is_empty(), 24), Self::carry),
            (3, Self::announce),
            (20, Self::act),
            (when(self.server.has_watches(), 12), Self::answer_watch),
            (when(self.server.has_openings(), 16), Self::advance_opening),
            (when(self.server.has_fills(), 12), Self::answer_fill),
            (when(self.server.has_replays(), 20), Self::advance_replay),
        ];
        let (_, step) = steps[self.rng.weighted(&steps.map(|(weight, _)| weight))];
        step(self);
    }

    fn commit(&mut self) {
        let mut count = 1 + self.rng.below(3);
        if self.bursts_left > 0 && self.rng.chance(20) {
            self.bursts_left -= 1;
            count = BURST;
        }
        let delivery = self.server.commit(count, &mut self.rng);
        self.diary.note(|| match &delivery {
            Some(delivery) => format!("committed, and sent: {delivery}"),
            None => format!("committed {count}, which nobody watches"),
        });
        self.bag.extend(delivery);
    }

    /// Something in the bag reaches the hub, perhaps not for the last time, or is lost.
    fn carry(&mut self) {
        let at = if self.rng.chance(60) { 0 } else { self.rng.below(self.bag.len()) };
        match self.rng.weighted(&[70, 15, 15]) {
            0 => {
                let message = self.bag.remove(at);
                self.deliver(&message);
            }
            1 => {
                let message = self.bag[at].clone();
                self.deliver(&message);
            }
            _ => {
                let message = self.bag.remove(at);
                self.diary.note(|| format!("lost: {message}"));
            }
        }
    }

    fn deliver(&mut self, message: &Message) {
        self.diary.note(|| format!("the hub is told: {message}"));
        self.server.receive(message);
    }

    /// The rooms say where they stand, as after a restart; it may take its time to the hub.
    fn announce(&mut self) {
        self.bag.extend(self.server.announce());
    }

    fn answer_watch(&mut self) {
        self.diary.note(|| "a watch is answered".to_owned());
        self.bag.extend(self.server.answer_watch(&mut self.rng));
    }

    fn advance_opening(&mut self) {
        self.diary.note(|| "a new subscription goes on".to_owned());
        self.server.advance_opening(&mut self.rng);
    }

    fn answer_fill(&mut self) {
        self.diary.note(|| "a hole is read".to_owned());
        self.server.answer_fill(&mut self.rng);
    }

    fn advance_replay(&mut self) {
        self.diary.note(|| "a replay goes on".to_owned());
        self.server.advance_replay(&mut self.rng);
    }

    /// A client does something.
    fn act(&mut self) {
        let at = self.rng.below(self.clients.len());
        if self.clients[at].connection().is_none() {
            self.connect(at);
            return self.subscribe(at);
        }
        match self.rng.weighted(&[5, 4, 2, 1]) {
            0 => {
                let count_max = self.rng.below(6);
                self.diary.note(|| format!("client {at} reads {count_max}"));
                self.clients[at].read(count_max);
            }
            1 => self.subscribe(at),
            2 => self.unsubscribe(at),
            _ => self.disconnect(at),
        }
    }

    fn connect(&mut self, at: usize) {
        self.connection_count += 1;
        let id = ConnectionId::from(Uuid::from_u128(self.connection_count));
        let waiting_max = if self.rng.chance(40) { 1_000 } else { 1 + self.rng.below(6) };
        self.diary.note(|| format!("client {at} connects, and takes {waiting_max} at once"));
        let client = &mut self.clients[at];
        let witness = Rc::clone(&self.witness);
        let connection = Rc::new(Connection::new(id, client.user(), waiting_max, witness));
        self.server.connect(&connection);
        client.connect(connection);
    }

    /// A client asks for a channel, unless it follows it already.
    fn subscribe(&mut self, at: usize) {
        let log = &self.server.logs()[self.rng.below(self.server.logs().len())];
        let (channel, head) = (log.channel(), log.head());
        if let Some(connection) = self.clients[at].connection()
            && let Some(start) = self.clients[at].ask(channel, head, &mut self.rng)
        {
            let start = through_a_cursor(channel, start);
            self.diary.note(|| format!("client {at} asks for {channel} from {start:?}"));
            self.server.subscribe(&connection, channel, start);
        }
    }

    /// A client leaves a channel, and is back at once half of the time: whatever was under way is stale.
    fn unsubscribe(&mut self, at: usize) {
        let channel = self.server.logs()[self.rng.below(self.server.logs().len())].channel();
        if let Some(connection) = self.clients[at].connection()
            && self.clients[at].leave(channel)
        {
            self.diary.note(|| format!("client {at} leaves {channel}"));
            self.server.unsubscribe(&connection, channel);
            if self.rng.chance(50) {
                self.subscribe(at);
            }
        }
    }

    fn disconnect(&mut self, at: usize) {
        self.diary.note(|| format!("client {at} loses its connection"));
        if let Some(connection) = self.clients[at].lose_connection(&mut self.rng) {
            self.server.disconnect(&connection);
        }
    }

    /// The end: what is on its way arrives or is lost, the rooms say once more where they stand, every client reads
    /// whatever it is given. Then whoever is live is given one event more.
    fn end(&mut self) {
        self.diary.note(|| "the end begins".to_owned());
        self.clients.iter().for_each(Client::hurry);
        while let Some(message) = self.bag.pop() {
            if self.rng.chance(50) {
                self.deliver(&message);
            }
        }
        for message in self.server.announce() {
            self.deliver(&message);
        }
        self.settle();
        for message in self.server.commit_everywhere() {
            self.deliver(&message);
        }
        for client in &mut self.clients {
            client.read(usize::MAX);
        }
        self.verify();
    }

    /// Every question is answered and everything is read, until nothing is left.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if self.is_over() || self.is_at_rest() {
                return;
            }
            for client in &mut self.clients {
                client.read(usize::MAX);
            }
            if self.server.has_watches()
                && let Some(message) = self.server.answer_watch(&mut self.rng)
            {
                self.deliver(&message);
            }
            if self.server.has_openings() {
                self.advance_opening();
            }
            if self.server.has_fills() {
                self.answer_fill();
            }
            if self.server.has_replays() {
                self.advance_replay();
            }
        }
        self.witness.blame(Violation::Restless);
    }

    fn verify(&self) {
        for client in &self.clients {
            for log in self.server.logs() {
                if let Err(violation) = client.verify(log) {
                    self.witness.blame(violation);
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.witness.violation().is_some()
    }

    fn is_at_rest(&self) -> bool {
        self.server.is_at_rest() && self.clients.iter().all(Client::is_at_rest)
    }
}

fn channel(n: u128) -> Channel {
    Channel::Room(RoomId::from(Uuid::from_u128(n)))
}

fn user(n: u128) -> UserId {
    UserId::from(Uuid::from_u128(n))
}

/// A position as it comes back in a cursor, among positions of other channels.
fn through_a_cursor(asked: Channel, start: Start) -> Start {
    let Start::After(seq) = start else { return start };
    let mut cursor = Cursor::new("epoch");
    for (n, other) in (7..).zip([channel(7), asked, channel(8)]) {
        cursor.set(other, if other == asked { seq } else { n });
    }
    Given::read(&cursor.encode()).start(asked, "epoch")
}

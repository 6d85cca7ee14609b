//! Replays: the tasks that read the store for connections that have missed something, as `actors/hub/catch_up.rs` has
//! them; each waits between its steps for the scheduler.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use madang::actors::hub::channel::Channel;
use madang::actors::hub::directory::Delivery;
use madang::actors::hub::subscriber::Subscriber;
use madang::actors::hub::subscription::{Next, Start};
use madang::domain::rooms::Seq;

use super::Violation;
use super::server::{Question, Server};
use crate::sabotage::Sabotage;
use crate::scheduler::Rng;

/// The task of one connection.
pub(crate) struct Replay {
    subscriber: Rc<dyn Subscriber>,
    /// The channel it is at, and the page it waits for.
    channel: Option<Channel>,
    reading: Option<Question>,
    line: VecDeque<Channel>,
}

impl Server {
    /// Gives the client what it has missed of a channel, behind what it waits for already.
    pub(super) fn catch_up(&mut self, subscriber: &Rc<dyn Subscriber>, channel: Channel) {
        let connection = subscriber.id();
        let mut replays = self.replays.iter_mut();
        if let Some(replay) = replays.find(|replay| replay.subscriber.id() == connection) {
            return replay.line.push_back(channel);
        }
        if self.look(subscriber, channel).is_none() {
            return;
        }
        self.replays.push(Replay {
            subscriber: Rc::clone(subscriber),
            channel: None,
            reading: None,
            line: VecDeque::from([channel]),
        });
    }

    /// One task goes on: its page has come, or its client is ready for another, or it is through with a channel.
    pub(crate) fn advance_replay(&mut self, rng: &mut Rng) {
        let at = rng.below(self.replays.len());
        let replay = &mut self.replays[at];
        let subscriber = Rc::clone(&replay.subscriber);
        let Some(channel) = replay.channel else { return self.go_on(at) };
        if let Some(question) = replay.reading.take() {
            // Else the store did not answer, and is asked again.
            if rng.chance(90) {
                let page = self.answer(&question, rng);
                self.give_page(&subscriber, &page);
            }
            return;
        }
        match subscriber.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {}
            Poll::Ready(false) => self.go_on(at),
            Poll::Ready(true) => match self.look(&subscriber, channel) {
                Some(after) => self.replays[at].reading = Some(self.ask(channel, after)),
                None => self.go_on(at),
            },
        }
    }

    /// To the next channel in line; after the last, the task is over.
    fn go_on(&mut self, at: usize) {
        let replay = &mut self.replays[at];
        replay.channel = replay.line.pop_front();
        if replay.channel.is_none() {
            self.replays.swap_remove(at);
        }
    }

    fn give_page(&mut self, subscriber: &Rc<dyn Subscriber>, page: &Delivery) {
        let (connection, channel) = (subscriber.id(), page.channel);
        let Some(last) = page.events.last().map(|event| event.seq) else {
            return self.witness.blame(Violation::EmptyPage);
        };
        self.hub.page(connection, page);
        let is_last_page = page.events.len() < self.page_max;
        let has_page = self.hub.position(connection, channel) == Some(last);
        if self.sabotage == Sabotage::Gate && is_last_page && has_page {
            // Whoever has the last page counts as being at the head.
            self.hub.start(connection, channel, Start::Head);
        }
    }

    /// Where to read on; `None` once the channel is live, or over.
    fn look(&mut self, subscriber: &Rc<dyn Subscriber>, channel: Channel) -> Option<Seq> {
        match self.hub.next(subscriber.id(), channel) {
            Next::Read { after } => return Some(after),
            Next::Live(seq) => subscriber.live(channel, seq),
            Next::Removed => self.dismiss(subscriber, channel),
            Next::Nothing => {}
        }
        None
    }

    fn dismiss(&mut self, subscriber: &Rc<dyn Subscriber>, channel: Channel) {
        let effect = self.hub.unsubscribe(subscriber.id(), channel);
        self.perform(effect);
        subscriber.unsubscribed(channel);
    }
}

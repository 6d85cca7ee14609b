//! Catching up: the task that reads the store for a connection whose subscriptions are not live yet, or no longer.
//!
//! One a connection, one channel after the other, one page at a time: a client costs what it is being given, however
//! much it has missed. Invariant: a page is read only when the client has taken most of what it was given.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::Rng;
use tokio::sync::OnceCell;

use super::Hub;
use super::channel::Channel;
use super::directory::Delivery;
use super::subscriber::Subscriber;
use super::subscription::{Next, Start};
use crate::domain::ids::ConnectionId;
use crate::domain::rooms::Seq;
use crate::store::StoreError;

/// How long a page is given to others; what was deleted since is told again for so long.
const PAGE_LASTS: Duration = Duration::from_millis(500);
const PAGES_MAX: usize = 256;
/// Events read from the store at once.
const PAGE: i64 = 200;
/// How long, and how often, a hub is looked at that reads up to where a client is.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
const LOOKS_MAX: usize = 500;
const RETRY: Duration = Duration::from_millis(250);

/// A page of a log, once it has been read.
type Page = Rc<OnceCell<Delivery>>;

/// Pages that were read a moment ago, or are being read, by their channel and the number before them.
#[derive(Default)]
pub(super) struct Pages(HashMap<(Channel, Seq), (Instant, Page)>);

impl Pages {
    fn page(&mut self, channel: Channel, after: Seq, now: Instant) -> Page {
        let is_fresh = |since: Instant| now.saturating_duration_since(since) < PAGE_LASTS;
        if let Some((since, page)) = self.0.get(&(channel, after))
            && is_fresh(*since)
        {
            return Rc::clone(page);
        }
        if self.0.len() >= PAGES_MAX {
            self.0.clear();
        }
        let page = Rc::new(OnceCell::new());
        self.0.insert((channel, after), (now, Rc::clone(&page)));
        page
    }

    /// Forgets what is given to nobody any more.
    pub(super) fn prune(&mut self, now: Instant) {
        self.0.retain(|_, (since, _)| now.saturating_duration_since(*since) < PAGE_LASTS);
        if self.0.is_empty() && self.0.capacity() > 0 {
            self.0 = HashMap::new();
        }
    }
}

impl Hub {
    /// Sets new subscriptions on their way, each from where its client left off.
    ///
    /// Whoever follows from the head does so at once. Only where a client is ahead of this hub does it wait, and the
    /// caller with it: nothing else may become of that subscription meanwhile.
    pub async fn begin(&self, subscriber: &Rc<dyn Subscriber>, starts: Vec<(Channel, Start)>) {
        let mut ahead = Vec::new();
        for (channel, start) in starts {
            let head = self.head(subscriber.id(), channel);
            match start {
                Start::After(have) if head.is_some_and(|head| have > head) => {
                    ahead.push((channel, have));
                }
                start => self.begin_now(subscriber, channel, start),
            }
        }
        for (channel, have) in ahead {
            self.come_up_to(subscriber.id(), channel, have).await;
            self.begin_now(subscriber, channel, Start::After(have));
        }
    }

    /// A client may be ahead of this hub, by an acknowledgement or another worker: the hub reads up to where it is, if
    /// there is such a place.
    async fn come_up_to(&self, connection: ConnectionId, channel: Channel, have: Seq) {
        // As long as it is not known that there is no such place, and the client waits for it.
        while self.head(connection, channel).is_some_and(|head| head < have) {
            let stored = match self.read_head(channel).await {
                Ok(stored) => stored.unwrap_or(0),
                Err(error) => {
                    tracing::debug!(%error, %channel, "a head could not be read yet");
                    actix_rt::time::sleep(RETRY).await;
                    continue;
                }
            };
            if stored < have {
                return;
            }
            let effect = self.0.state.borrow_mut().watching(channel, stored);
            self.perform(effect);
            for _ in 0..LOOKS_MAX {
                if self.head(connection, channel).is_none_or(|head| head >= have) {
                    return;
                }
                actix_rt::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }

    fn begin_now(&self, subscriber: &Rc<dyn Subscriber>, channel: Channel, start: Start) {
        let gap = self.0.state.borrow_mut().start(subscriber.id(), channel, start);
        if let Some(gap) = gap {
            subscriber.gap(channel, gap);
        }
        self.catch_up(subscriber, channel);
    }

    /// Gives the client what it has missed of a channel, behind what it waits for already.
    pub(super) fn catch_up(&self, subscriber: &Rc<dyn Subscriber>, channel: Channel) {
        let connection = subscriber.id();
        if let Some(waiting) = self.0.catching_up.borrow_mut().get_mut(&connection) {
            return waiting.push_back(channel);
        }
        // Most clients have missed nothing: no task for them.
        if self.look(subscriber, channel).is_none() {
            return;
        }
        self.0.catching_up.borrow_mut().insert(connection, VecDeque::from([channel]));
        let (hub, subscriber) = (self.clone(), Rc::clone(subscriber));
        actix_rt::spawn(async move {
            while let Some(channel) = hub.next_in_line(subscriber.id()) {
                hub.replay(&subscriber, channel).await;
            }
        });
    }

    fn next_in_line(&self, connection: ConnectionId) -> Option<Channel> {
        let mut catching_up = self.0.catching_up.borrow_mut();
        let next = catching_up.get_mut(&connection)?.pop_front();
        if next.is_none() {
            catching_up.remove(&connection);
        }
        next
    }

    async fn replay(&self, subscriber: &Rc<dyn Subscriber>, channel: Channel) {
        while poll_fn(|cx| subscriber.poll_ready(cx)).await {
            let Some(after) = self.look(subscriber, channel) else { return };
            match self.read_page(channel, after).await {
                Ok(page) if page.events.is_empty() => {
                    // The head said that there is more: the room has gone meanwhile, and its log with it.
                    tracing::warn!(%channel, after, "the log ends before its head");
                    return self.dismiss(subscriber, channel);
                }
                Ok(page) => self.0.state.borrow_mut().page(subscriber.id(), &page),
                Err(error) => {
                    tracing::debug!(%error, %channel, "a page could not be read yet");
                    let wait = RETRY.mul_f64(rand::rng().random_range(0.5..1.5));
                    actix_rt::time::sleep(wait).await;
                }
            }
        }
    }

    /// Where to read on; `None` once the channel is live, or over.
    fn look(&self, subscriber: &Rc<dyn Subscriber>, channel: Channel) -> Option<Seq> {
        let connection = subscriber.id();
        let next = self.0.state.borrow_mut().next(connection, channel);
        match next {
            Next::Read { after } => return Some(after),
            Next::Live(seq) => subscriber.live(channel, seq),
            Next::Removed => self.dismiss(subscriber, channel),
            Next::Nothing => {}
        }
        None
    }

    fn dismiss(&self, subscriber: &Rc<dyn Subscriber>, channel: Channel) {
        self.unsubscribe(subscriber.id(), channel);
        subscriber.unsubscribed(channel);
    }

    /// A page of a channel. Those who come back together from the same place are given the same one.
    async fn read_page(&self, channel: Channel, after: Seq) -> Result<Delivery, StoreError> {
        let page = self.0.pages.borrow_mut().page(channel, after, Instant::now());
        let read = page.get_or_try_init(async || {
            // A crowd waits here, not for a connection to the database.
            let _turn = self.0.reads.acquire().await;
            self.read_log(channel, after, PAGE).await
        });
        read.await.cloned()
    }
}

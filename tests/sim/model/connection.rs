//! A connection: what the hub says to one client, judged as it is said, on its way to that client.
//!
//! Invariant: what is given of a channel is consecutive from where its subscription began, and ends with the removal
//! of its user.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use madang::actors::hub::channel::Channel;
use madang::actors::hub::close::CloseCode;
use madang::actors::hub::directory::EncodedEvent;
use madang::actors::hub::frame::Frame;
use madang::actors::hub::subscriber::Subscriber;
use madang::actors::hub::subscription::{Gap, Start};
use madang::domain::ids::{ConnectionId, SessionId, UserId};
use madang::domain::rooms::Seq;
use madang::domain::time::Timestamp;

use super::log::Log;
use super::{Corner, Violation, Witness};

/// What is on its way to the client.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said {
    /// The answer to a subscription: it was asked for from `start`, and the channel stands at `head`.
    Position {
        channel: Channel,
        start: Start,
        head: Seq,
    },
    Refused {
        channel: Channel,
    },
    Gap {
        channel: Channel,
        head: Seq,
    },
    Event {
        channel: Channel,
        seq: Seq,
    },
    Unsubscribed {
        channel: Channel,
    },
}

/// One client's connection, as the hub knows it.
pub(crate) struct Connection {
    id: ConnectionId,
    user: UserId,
    streams: RefCell<Vec<Stream>>,
    /// What the client has not read yet, how many events are in it, and how many it takes.
    wire: RefCell<VecDeque<Said>>,
    waiting: Cell<usize>,
    waiting_max: Cell<usize>,
    is_gone: Cell<bool>,
    witness: Rc<Witness>,
}

/// A subscription, as it has to look from outside.
struct Stream {
    channel: Channel,
    /// The hub's head when it began to listen for this subscription, once that is known: removals after it count.
    heard_from: Option<Seq>,
    /// The last event that was given; `None` until the subscription has begun.
    position: Option<Seq>,
    is_live: bool,
    /// Its user was removed: nothing may follow.
    is_over: bool,
}

impl Connection {
    pub(crate) fn new(
        id: ConnectionId,
        user: UserId,
        waiting_max: usize,
        witness: Rc<Witness>,
    ) -> Self {
        Self {
            id,
            user,
            streams: RefCell::default(),
            wire: RefCell::default(),
            waiting: Cell::new(0),
            waiting_max: Cell::new(waiting_max),
            is_gone: Cell::new(false),
            witness,
        }
    }

    /// A subscription is being opened.
    pub(crate) fn listen(&self, channel: Channel) {
        let (heard_from, position) = (None, None);
        let stream = Stream { channel, heard_from, position, is_live: false, is_over: false };
        self.streams.borrow_mut().push(stream);
    }

    /// The hub's head is known, and every removal after it will be heard of.
    pub(crate) fn hear_from(&self, channel: Channel, head: Seq) {
        self.judge(channel, |stream| {
            stream.heard_from.get_or_insert(head);
            Ok(())
        });
    }

    /// Answers a subscription: it begins where its client wants it to, or over a gap.
    pub(crate) fn begin(&self, log: &Log, start: Start, head: Seq, gap: Option<Gap>) {
        let channel = log.channel();
        let (position, has_gap) = beginning(start, head);
        self.judge(channel, |stream| {
            stream.position = Some(position);
            stream.is_over = log.removes(self.user, stream.heard_from.unwrap_or(0), position);
            if gap.is_some() == has_gap { Ok(()) } else { Err(Violation::WrongGap) }
        });
        self.say(Said::Position { channel, start, head });
    }

    pub(crate) fn refuse(&self, channel: Channel) {
        self.forget(channel);
        self.say(Said::Refused { channel });
    }

    /// Nothing more is given of the channel.
    pub(crate) fn forget(&self, channel: Channel) {
        self.streams.borrow_mut().retain(|stream| stream.channel != channel);
    }

    pub(crate) fn is_live(&self, channel: Channel) -> bool {
        self.streams.borrow().iter().any(|stream| stream.channel == channel && stream.is_live)
    }

    /// What the client reads next.
    pub(crate) fn read(&self) -> Option<Said> {
        let said = self.wire.borrow_mut().pop_front()?;
        if matches!(said, Said::Event { .. }) {
            self.waiting.set(self.waiting.get() - 1);
        }
        Some(said)
    }

    pub(crate) fn is_read(&self) -> bool {
        self.wire.borrow().is_empty()
    }

    /// From now on the client takes whatever it is given.
    pub(crate) fn hurry(&self) {
        self.waiting_max.set(usize::MAX);
    }

    /// Ends; gives the channels that it followed. What was not read is lost.
    pub(crate) fn hang_up(&self) -> Vec<Channel> {
        self.is_gone.set(true);
        self.wire.borrow_mut().clear();
        self.streams.take().into_iter().map(|stream| stream.channel).collect()
    }

    pub(crate) const fn owner(&self) -> UserId {
        self.user
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    /// Looks at what is followed at the end, when nothing is under way any more.
    pub(crate) fn verify(&self, log: &Log) -> Result<(), Violation> {
        let (streams, head) = (self.streams.borrow(), log.head());
        let Some(stream) = streams.iter().find(|stream| stream.channel == log.channel()) else {
            return Ok(());
        };
        if !log.is_member(self.user) {
            return Err(Violation::Stays);
        }
        if !stream.is_live || stream.position != Some(head) {
            return Err(Violation::Incomplete { has: stream.position, head });
        }
        Ok(())
    }

    fn judge(&self, channel: Channel, act: impl FnOnce(&mut Stream) -> Result<(), Violation>) {
        let mut streams = self.streams.borrow_mut();
        let judged = match streams.iter_mut().find(|stream| stream.channel == channel) {
            Some(stream) => act(stream),
            None => Err(Violation::NotFollowed),
        };
        if let Err(violation) = judged {
            self.witness.blame(violation);
        }
    }

    fn say(&self, said: Said) {
        self.wire.borrow_mut().push_back(said);
    }

    fn give(&self, channel: Channel, event: &EncodedEvent, as_it_comes: bool) -> bool {
        if self.waiting.get() >= self.waiting_max.get() {
            return false;
        }
        self.judge(channel, |stream| stream.take(event, self.user, as_it_comes));
        self.waiting.set(self.waiting.get() + 1);
        self.say(Said::Event { channel, seq: event.seq });
        true
    }
}

impl Stream {
    fn take(
        &mut self,
        event: &EncodedEvent,
        user: UserId,
        as_it_comes: bool,
    ) -> Result<(), Violation> {
        let given = event.seq;
        let Some(after) = self.position else { return Err(Violation::NotFollowed) };
        if self.is_over {
            return Err(Violation::AfterRemoval { given });
        }
        if given != after + 1 {
            return Err(Violation::NotNext { after, given });
        }
        if as_it_comes != self.is_live {
            return Err(Violation::WrongWay { given });
        }
        self.position = Some(given);
        // One who was removed and came back before this subscription reads past it.
        self.is_over =
            event.removed == Some(user) && self.heard_from.is_some_and(|head| given > head);
        Ok(())
    }

    fn go_live(&mut self, told: Seq) -> Result<(), Violation> {
        match self.position {
            Some(position) if position == told && !self.is_live => {
                self.is_live = true;
                Ok(())
            }
            Some(position) if position == told => Err(Violation::LiveTwice),
            has => Err(Violation::NotLive { told, has }),
        }
    }
}

impl Subscriber for Connection {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn user(&self) -> Option<UserId> {
        Some(self.user)
    }

    fn session(&self) -> Option<SessionId> {
        None
    }

    fn push(&self, channel: Channel, event: &EncodedEvent) -> bool {
        self.give(channel, event, true)
    }

    fn queue(&self, channel: Channel, event: &EncodedEvent) -> bool {
        self.give(channel, event, false)
    }

    fn push_ephemeral(&self, _: &'static str, _: &Frame) {}

    fn live(&self, channel: Channel, seq: Seq) {
        self.judge(channel, |stream| stream.go_live(seq));
    }

    fn gap(&self, channel: Channel, gap: Gap) {
        self.witness.see(Corner::Gap);
        self.say(Said::Gap { channel, head: gap.head });
    }

    fn lagging(&self, channel: Channel) {
        self.witness.see(Corner::FellBehind);
        self.judge(channel, |stream| {
            stream.is_live = false;
            Ok(())
        });
    }

    fn unsubscribed(&self, channel: Channel) {
        self.judge(channel, |stream| {
            self.witness.see(if stream.is_live {
                Corner::RemovedWhileLive
            } else {
                Corner::RemovedWhileCatchingUp
            });
            if stream.is_over { Ok(()) } else { Err(Violation::NotRemoved) }
        });
        self.forget(channel);
        self.say(Said::Unsubscribed { channel });
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<bool> {
        if self.is_gone.get() {
            return Poll::Ready(false);
        }
        if self.waiting.get() <= self.waiting_max.get() / 4 {
            return Poll::Ready(true);
        }
        Poll::Pending
    }

    fn drain(&self, _: Duration) {}

    fn end(&self, _: CloseCode) {}

    fn tick(&self, _: Instant, _: Timestamp) -> Duration {
        Duration::MAX
    }
}

/// Where a subscription has to begin in a hub at `head`, and whether that is behind a gap. A hub that lags behind its
/// client tells a gap too. No log of the model is long enough for more than can be replayed.
fn beginning(start: Start, head: Seq) -> (Seq, bool) {
    match start {
        Start::Head => (head, false),
        Start::Last(count) => ((head - count).max(0), false),
        Start::After(have) if (0..=head).contains(&have) => (have, false),
        Start::After(_) | Start::Unknown(_) => (head, true),
    }
}

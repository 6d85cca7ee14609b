//! A client: what somebody has of each channel, over all their connections.
//!
//! Invariant: a client that was told no gap has what the log has, from where it began: it drops what it has already,
//! and nothing else.

use std::rc::Rc;

use madang::actors::hub::channel::Channel;
use madang::actors::hub::subscription::Start;
use madang::domain::ids::UserId;
use madang::domain::rooms::Seq;

use super::Violation;
use super::connection::{Connection, Said};
use super::log::Log;
use crate::sabotage::Sabotage;
use crate::scheduler::Rng;

/// One device of one user.
pub(crate) struct Client {
    user: UserId,
    connection: Option<Rc<Connection>>,
    copies: Vec<LocalCopy>,
    sabotage: Sabotage,
}

/// What a client has of one channel.
struct LocalCopy {
    channel: Channel,
    phase: Phase,
    /// What it has follows this number; `None` while it has never followed the channel.
    after: Option<Seq>,
    seqs: Vec<Seq>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Asked,
    Following,
}

impl Client {
    pub(crate) fn new(user: UserId, channels: &[Channel], sabotage: Sabotage) -> Self {
        let copies = channels.iter().map(|channel| LocalCopy::new(*channel)).collect();
        Self { user, connection: None, copies, sabotage }
    }

    pub(crate) const fn user(&self) -> UserId {
        self.user
    }

    pub(crate) fn connection(&self) -> Option<Rc<Connection>> {
        self.connection.clone()
    }

    pub(crate) fn connect(&mut self, connection: Rc<Connection>) {
        self.connection = Some(connection);
    }

    /// Asks for a channel whose log ends at `head`, unless it follows it; gives from where.
    pub(crate) fn ask(&mut self, channel: Channel, head: Seq, rng: &mut Rng) -> Option<Start> {
        let copy = self.copy(channel);
        if copy.phase != Phase::Idle {
            return None;
        }
        copy.phase = Phase::Asked;
        Some(copy.start(head, rng))
    }

    /// Stops following a channel; false when it does not follow it.
    pub(crate) fn leave(&mut self, channel: Channel) -> bool {
        let copy = self.copy(channel);
        let follows = copy.phase == Phase::Following;
        if follows {
            copy.phase = Phase::Idle;
        }
        follows
    }

    /// Reads as much of what was said, at most.
    pub(crate) fn read(&mut self, count_max: usize) {
        let Some(connection) = self.connection.clone() else { return };
        for _ in 0..count_max {
            let Some(said) = connection.read() else { return };
            self.hear(said);
        }
    }

    /// Reads a part of what was said and loses the rest, and the connection with it.
    pub(crate) fn lose_connection(&mut self, rng: &mut Rng) -> Option<Rc<Connection>> {
        self.read(rng.below(8));
        for copy in &mut self.copies {
            copy.phase = Phase::Idle;
        }
        self.connection.take()
    }

    pub(crate) fn hurry(&self) {
        if let Some(connection) = &self.connection {
            connection.hurry();
        }
    }

    /// Whether everything that was said has been read.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| connection.is_read())
    }

    /// Looks at what the client has of a log at the end, when it has read everything.
    pub(crate) fn verify(&self, log: &Log) -> Result<(), Violation> {
        if let Some(connection) = &self.connection {
            connection.verify(log)?;
        }
        let copy = self.copies.iter().find(|copy| copy.channel == log.channel());
        copy.map_or(Ok(()), |copy| copy.verify(log.head()))
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Position { channel, start, head } => self.copy(channel).begin(start, head),
            Said::Refused { channel } => self.copy(channel).phase = Phase::Idle,
            Said::Gap { channel, head } => self.copy(channel).restart(head),
            Said::Event { channel, seq } => {
                let keeps_repeats = self.sabotage == Sabotage::Repeats;
                self.copy(channel).take(seq, keeps_repeats);
            }
            Said::Unsubscribed { channel } => {
                let copy = self.copy(channel);
                // It may be about a subscription before the one that was just asked for.
                if copy.phase == Phase::Following {
                    copy.phase = Phase::Idle;
                }
            }
        }
    }

    fn copy(&mut self, channel: Channel) -> &mut LocalCopy {
        let copy = self.copies.iter_mut().find(|copy| copy.channel == channel);
        copy.expect("a client knows every channel")
    }
}

impl LocalCopy {
    const fn new(channel: Channel) -> Self {
        Self { channel, phase: Phase::Idle, after: None, seqs: Vec::new() }
    }

    fn last(&self) -> Option<Seq> {
        self.seqs.last().copied().or(self.after)
    }

    /// From where it asks; mostly from what it has, sometimes from a position that it saved earlier.
    fn start(&self, head: Seq, rng: &mut Rng) -> Start {
        match (self.last(), rng.below(10)) {
            (_, 0) => Start::Head,
            (_, 1) => Start::Last(rng.between(0, 5)),
            (Some(last), 2) => Start::Unknown(last),
            (Some(last), 3..=4) => Start::After((last - rng.between(1, 3)).max(0)),
            (Some(last), _) => Start::After(last),
            (None, _) => Start::After(rng.between(0, head + 1)),
        }
    }

    fn begin(&mut self, start: Start, head: Seq) {
        self.phase = Phase::Following;
        match start {
            Start::Head => self.restart(head),
            Start::Last(count) => self.restart((head - count).max(0)),
            // What it said it has counts, also where a gap of an earlier subscription was read since.
            Start::After(have) if self.last().is_none_or(|last| last < have) => self.restart(have),
            // What it has stays; or a gap follows.
            Start::After(_) | Start::Unknown(_) => {}
        }
    }

    fn restart(&mut self, after: Seq) {
        self.after = Some(after);
        self.seqs.clear();
    }

    fn take(&mut self, seq: Seq, keeps_repeats: bool) {
        if keeps_repeats || self.last().is_none_or(|last| seq > last) {
            self.seqs.push(seq);
        }
    }

    fn verify(&self, head: Seq) -> Result<(), Violation> {
        let Some(after) = self.after else { return Ok(()) };
        let log = (after + 1..).take(self.seqs.len());
        if !self.seqs.iter().copied().eq(log) {
            return Err(Violation::OtherThanTheLog);
        }
        if self.phase == Phase::Following && self.last() != Some(head) {
            return Err(Violation::Incomplete { has: self.last(), head });
        }
        Ok(())
    }
}

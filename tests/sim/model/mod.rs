//! The world around a hub: a store, the hub's shell, connections, and the clients at their far end.
//!
//! Read [`log`] (the truth), [`server`] and [`replay`] (what drives the rules, as `actors/hub` does), [`connection`]
//! (what the hub says, and whether it may) and [`client`] (what somebody has after all of it).

pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod log;
pub(crate) mod replay;
pub(crate) mod server;

use std::cell::{Cell, RefCell};
use std::fmt;

use madang::domain::rooms::Seq;

/// A promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Something was given that does not follow what was given before it.
    NotNext { after: Seq, given: Seq },
    /// Something was given or said to somebody who does not follow the channel.
    NotFollowed,
    /// A live client was given something from the store, or one that catches up something as it came.
    WrongWay { given: Seq },
    /// Something was given after the event by which its user was removed.
    AfterRemoval { given: Seq },
    /// A client was told that it is live, and has not everything up to there.
    NotLive { told: Seq, has: Option<Seq> },
    /// A client that is live was told so again.
    LiveTwice,
    /// A client was told that it was removed, and was not.
    NotRemoved,
    /// A gap was told where there is none, or was not told where there is one.
    WrongGap,
    /// A connection that follows nothing could not subscribe.
    NotOpened,
    /// The store was asked for more, and there is none.
    EmptyPage,
    /// Something is still under way that will never end.
    Restless,
    /// Somebody who was removed follows to the end.
    Stays,
    /// At the end, a client has not everything.
    Incomplete { has: Option<Seq>, head: Seq },
    /// What a client has, over all its connections, is not what the log has.
    OtherThanTheLog,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNext { after, given } => write!(f, "{given} was given after {after}"),
            Self::NotFollowed => f.write_str("given or told what it does not follow"),
            Self::WrongWay { given } => write!(f, "{given} came the wrong way"),
            Self::AfterRemoval { given } => write!(f, "{given} was given after the removal"),
            Self::NotLive { told, has } => write!(f, "told that it is live at {told}, has {has:?}"),
            Self::LiveTwice => f.write_str("told twice that it is live"),
            Self::NotRemoved => f.write_str("told that it was removed, and was not"),
            Self::WrongGap => f.write_str("told a gap that is none, or not told of one"),
            Self::NotOpened => f.write_str("could not subscribe, though it does not follow"),
            Self::EmptyPage => f.write_str("read on behind the end of the log"),
            Self::Restless => f.write_str("something never ends"),
            Self::Stays => f.write_str("was removed, and follows to the end"),
            Self::Incomplete { has, head } => write!(f, "has {has:?} of {head} at the end"),
            Self::OtherThanTheLog => f.write_str("has something other than the log"),
        }
    }
}

/// Where a run has to come now and then, or it proves little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corner {
    FellBehind,
    Gap,
    Hole,
    RemovedWhileLive,
    RemovedWhileCatchingUp,
    WatchFailed,
}

impl Corner {
    pub(crate) const ALL: [Self; 6] = [
        Self::FellBehind,
        Self::Gap,
        Self::Hole,
        Self::RemovedWhileLive,
        Self::RemovedWhileCatchingUp,
        Self::WatchFailed,
    ];
}

/// Whom everybody tells what they see.
#[derive(Default)]
pub(crate) struct Witness {
    violation: Cell<Option<Violation>>,
    corners: RefCell<Vec<Corner>>,
}

impl Witness {
    /// The first counts: what comes after it may follow from it.
    pub(crate) fn blame(&self, violation: Violation) {
        if self.violation.get().is_none() {
            self.violation.set(Some(violation));
        }
    }

    pub(crate) fn see(&self, corner: Corner) {
        let mut corners = self.corners.borrow_mut();
        if !corners.contains(&corner) {
            corners.push(corner);
        }
    }

    pub(crate) fn violation(&self) -> Option<Violation> {
        self.violation.get()
    }

    pub(crate) fn has_seen(&self, corner: Corner) -> bool {
        self.corners.borrow().contains(&corner)
    }
}

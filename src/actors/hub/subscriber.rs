//! What a hub delivers to, and why it would not.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::close::CloseCode;
use super::directory::EncodedEvent;
use super::frame::Frame;
use super::subscription::Gap;
use crate::domain::ids::{ConnectionId, SessionId, UserId};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;

/// One client on one connection, whatever carries it. Lives on the hub's thread.
///
/// Nothing here waits: what the client does not take at once is kept within bounds, or refused.
pub trait Subscriber {
    /// Which connection it is.
    fn id(&self) -> ConnectionId;
    /// Whose it is; `None` before hello.
    fn user(&self) -> Option<UserId>;
    /// By which login; `None` before hello.
    fn session(&self) -> Option<SessionId>;
    /// Gives an event at once; false when too much waits already, and nothing was taken.
    fn push(&self, channel: Channel, event: &EncodedEvent) -> bool;
    /// As [`Self::push`], for an event that others follow: they leave in one write.
    fn queue(&self, channel: Channel, event: &EncodedEvent) -> bool;
    /// Gives a frame of the event `name` that may be lost, unless the client is behind.
    fn push_ephemeral(&self, name: &'static str, frame: &Frame);
    /// The client has everything up to `seq`, and is given what comes next as it comes.
    fn live(&self, channel: Channel, seq: Seq);
    /// What lies before `gap.head` cannot be given: the client has to ask for it.
    fn gap(&self, channel: Channel, gap: Gap);
    /// The client is slow: it is given the channel from the store, at its own pace.
    fn lagging(&self, channel: Channel);
    /// Its subscription has ended, because its user is no longer a member.
    fn unsubscribed(&self, channel: Channel);
    /// Ready with true once the client can be given more, with false once it is gone.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<bool>;
    /// The node goes away: the client is to be elsewhere in `wait`.
    fn drain(&self, wait: Duration);
    /// Says why it ends, and ends.
    fn end(&self, code: CloseCode);
    /// Looks at its deadlines; gives how long nobody needs to look again. `now` runs evenly, `time` is the time of day.
    fn tick(&self, now: Instant, time: Timestamp) -> Duration;
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

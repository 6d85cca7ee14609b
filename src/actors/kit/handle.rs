//! Handles: calls to actors that say what became of them.
//!
//! [`CallError`] splits failures in two: *never ran* (safe to send again) and *unknown* (only with an idempotency
//! key). A [`Handle`] is the only way to an actor from outside the kit.

use std::{fmt, time::Duration};

use actix::{
    Actor, Addr, Handler, MailboxError, Message,
    dev::{SendError, ToEnvelope},
};

use super::{
    gate::{Gate, Permit},
    metrics::Kind,
};

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CallError {
    /// Its mailbox is full; the call never ran.
    #[error("too busy, nothing was done")]
    Overloaded,
    /// It is stopping or gone; the call never ran.
    #[error("stopped, nothing was done")]
    Stopped,
    /// It cools down after a crash loop; the call never ran.
    #[error("unavailable for a while, nothing was done")]
    Unavailable,
    /// It went away with the call in its hands; the outcome is unknown.
    #[error("lost, the outcome is unknown")]
    Lost,
    /// No answer in time; it may still run, the outcome is unknown.
    #[error("timed out, the outcome is unknown")]
    TimedOut,
}

impl CallError {
    /// Whether the call certainly did nothing, so that sending it again is safe. `false` means nobody knows.
    #[must_use]
    pub const fn never_ran(self) -> bool {
        match self {
            Self::Overloaded | Self::Stopped | Self::Unavailable => true,
            Self::Lost | Self::TimedOut => false,
        }
    }
}

/// A message with its permit: what an actor handles.
///
/// A handler that answers later keeps the whole call, or the permit of [`Call::into_parts`], until its work is done,
/// deliveries included: when the last permit is back, a passivation ends what the actor still has running. A reply
/// that was sent before the permit was dropped still gets out.
#[derive(Debug)]
pub struct Call<M> {
    /// The message itself.
    pub msg: M,
    permit: Permit,
}

impl<M> Call<M> {
    /// Takes the message apart from the permit, which must live until the handling ends.
    pub fn into_parts(self) -> (M, Permit) {
        (self.msg, self.permit)
    }
}

impl<M: Message> Message for Call<M> {
    type Result = M::Result;
}

/// The way to one incarnation of an actor. Cheap to clone, usable from any thread.
pub struct Handle<A: Actor> {
    addr: Addr<A>,
    gate: Gate,
    incarnation: u64,
    kind: Kind,
}

impl<A: Actor> Handle<A> {
    pub(super) fn new(addr: Addr<A>, gate: Gate, incarnation: u64, kind: Kind) -> Self {
        Self { addr, gate, incarnation, kind }
    }

    /// Sends `msg` and waits up to `timeout` for its result.
    ///
    /// Dropping the future before the actor took the message cancels it; afterwards it runs to its end.
    pub async fn call<M>(&self, msg: M, timeout: Duration) -> Result<M::Result, CallError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<Call<M>>,
        A::Context: ToEnvelope<A, Call<M>>,
    {
        let result = match self.gate.enter() {
            Err(refused) => Err(refused),
            Ok(permit) => {
                self.addr.send(Call { msg, permit }).timeout(timeout).await.map_err(|failure| {
                    match failure {
                        MailboxError::Closed => CallError::Lost,
                        MailboxError::Timeout => CallError::TimedOut,
                    }
                })
            }
        };
        self.kind.count_call(result.as_ref().err().copied());
        result
    }

    /// Sends `msg` without waiting for its end. `Ok` says that it was queued, not that it will run.
    pub fn try_tell<M>(&self, msg: M) -> Result<(), CallError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<Call<M>>,
        A::Context: ToEnvelope<A, Call<M>>,
    {
        let result = self.gate.enter().and_then(|permit| {
            self.addr.try_send(Call { msg, permit }).map_err(|failure| match failure {
                SendError::Full(_) => CallError::Overloaded,
                SendError::Closed(_) => CallError::Stopped,
            })
        });
        self.kind.count_tell(result.err());
        result
    }

    /// Which life of the actor this leads to. Later lives have higher numbers.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Whether this life is over or ending: every later call is [`CallError::Stopped`].
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    /// Ends this life: nothing new enters, what entered is handled, then the actor stops.
    pub fn close(&self) {
        self.gate.close();
    }

    /// Resolves when everything that entered before [`Handle::close`] has been handled.
    pub async fn drained(&self) {
        self.gate.drained().await;
    }
}

impl<A: Actor> Clone for Handle<A> {
    fn clone(&self) -> Self {
        Self {
            addr: self.addr.clone(),
            gate: self.gate.clone(),
            incarnation: self.incarnation,
            kind: self.kind.clone(),
        }
    }
}

impl<A: Actor> fmt::Debug for Handle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("kind", &self.kind.name())
            .field("incarnation", &self.incarnation)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

//! What a connection is to its hub: who it is, what it takes, when it has to be looked at.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{CLOSING_MAX, Connection, Phase, next_ping};
use crate::actors::hub::channel::Channel;
use crate::actors::hub::close::CloseCode;
use crate::actors::hub::directory::EncodedEvent;
use crate::actors::hub::frame::Frame;
use crate::actors::hub::subscriber::Subscriber;
use crate::actors::hub::subscription::Gap;
use crate::actors::hub::token_end::TokenLook;
use crate::actors::hub::{DRAIN_GRACE, notices};
use crate::domain::ids::{ConnectionId, SessionId, UserId};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;

impl Subscriber for Connection {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn user(&self) -> Option<UserId> {
        self.caller.borrow().as_ref().map(|caller| caller.user_id)
    }

    fn session(&self) -> Option<SessionId> {
        self.caller.borrow().as_ref().map(|caller| caller.session_id)
    }

    fn push(&self, _: Channel, event: &EncodedEvent) -> bool {
        self.give(event.frame.wire(), true)
    }

    fn queue(&self, _: Channel, event: &EncodedEvent) -> bool {
        self.give(event.frame.wire(), false)
    }

    fn push_ephemeral(&self, _: &'static str, frame: &Frame) {
        // Somebody who is behind does not need to know who is typing now.
        if !self.outbox.borrow().is_blocked() {
            self.give(frame.wire(), true);
        }
    }

    fn live(&self, channel: Channel, seq: Seq) {
        self.say(&notices::live(channel, seq));
    }

    fn gap(&self, channel: Channel, gap: Gap) {
        self.say(&notices::gap(channel, gap));
    }

    fn lagging(&self, channel: Channel) {
        self.say(&notices::lag(channel));
    }

    fn unsubscribed(&self, channel: Channel) {
        self.remove_channel(channel);
        self.say(&notices::unsubscribed(channel));
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.phase.get() != Phase::Open {
            return Poll::Ready(false);
        }
        if self.outbox.borrow().has_space() {
            return Poll::Ready(true);
        }
        *self.replay.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn drain(&self, wait: Duration) {
        if self.phase.get() == Phase::Open {
            self.say(&notices::drain(wait));
            self.leave_by.set(Some(Instant::now() + wait + DRAIN_GRACE));
        }
    }

    fn end(&self, code: CloseCode) {
        self.close(code);
    }

    fn tick(&self, now: Instant, time: Timestamp) -> Duration {
        let passed = |since: Instant| now.saturating_duration_since(since);
        let socket = &self.deps.config.socket;
        if let Phase::Closing(began) = self.phase.get() {
            if passed(began) > CLOSING_MAX {
                self.phase.set(Phase::Gone);
                self.wake();
            }
            return CLOSING_MAX;
        }
        if self.leave_by.get().is_some_and(|end| now >= end) {
            self.close(CloseCode::Draining);
            return CLOSING_MAX;
        }
        let silence_max = socket.ping_interval().saturating_add(socket.pong_timeout());
        let silence = passed(self.heard_at.get());
        if silence > silence_max {
            self.close(CloseCode::NoPong);
            return CLOSING_MAX;
        }
        let mut wait = silence_max.saturating_sub(silence);
        if self.outbox.borrow_mut().has_moved() {
            self.written_at.set(now);
        }
        if !self.outbox.borrow().is_empty() {
            let stalled = passed(self.written_at.get());
            if stalled > socket.stall_timeout() {
                self.close(CloseCode::SlowReader);
                return CLOSING_MAX;
            }
            wait = wait.min(socket.stall_timeout().saturating_sub(stalled));
        }
        match self.heed_token(now, time) {
            Ok(left) => wait = wait.min(left),
            Err(code) => {
                self.close(code);
                return CLOSING_MAX;
            }
        }
        if now >= self.ping_at.get() {
            self.ping_at.set(next_ping(now, socket.ping_interval()));
            self.say(r#"{"event":"ping"}"#);
        }
        wait.min(self.ping_at.get().saturating_duration_since(now))
    }
}

impl Connection {
    /// How long the client's permission to be here lasts; says so when that is not for long.
    fn heed_token(&self, now: Instant, time: Timestamp) -> Result<Duration, CloseCode> {
        let Some(expires_at) = self.caller.borrow().as_ref().map(|caller| caller.expires_at) else {
            let hello_timeout = self.deps.config.socket.hello_timeout();
            let waited = now.saturating_duration_since(self.started_at);
            return hello_timeout.checked_sub(waited).ok_or(CloseCode::NoHello);
        };
        match self.token_end.look(expires_at, time) {
            TokenLook::Later(wait) => Ok(wait),
            TokenLook::Over => Err(CloseCode::TokenExpired),
            TokenLook::Tell(left) => {
                self.say(&notices::token_expiring(left));
                Ok(left)
            }
        }
    }
}

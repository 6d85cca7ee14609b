//! Connection: one client's life on a socket, an actor whose future does the I/O.
//!
//! Nothing here waits on a client: what the socket does not take goes to the bounded outbox, and deadlines are looked
//! at by the hub's sweep. Invariant: a drop guard takes the connection out of the hub on every exit path.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, WrapFuture};
use bytes::{BufMut, Bytes, BytesMut};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rand::Rng;
use secrecy::SecretString;
use tokio::net::TcpStream;

use super::close::CloseCode;
use super::operations;
use super::outbox::{Flushed, Outbox, Pushed};
use super::protocol::{self, Request};
use super::transport::{Incoming, Reader};
use super::{CountedIn, SocketDeps};
use crate::accounts::Caller;
use crate::actors::hub::channel::Channel;
use crate::actors::hub::frame::Frame;
use crate::actors::hub::{Hub, Subscriber};
use crate::clock;
use crate::domain::ids::{ConnectionId, UserId};
use crate::domain::time::Timestamp;
use crate::origin::{self, Origin};

/// Requests of one connection that may wait for their turn.
const QUEUE_MAX: usize = 128;
/// Refused requests in a row after which the connection is ended.
const REFUSALS_MAX: u32 = 1_000;
/// How long a closing connection may take to accept its last frames.
const CLOSING_MAX: Duration = Duration::from_secs(2);
const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;

/// Takes over a stream after the handshake.
pub(super) fn start(
    hub: Hub,
    deps: Rc<SocketDeps>,
    io: TcpStream,
    reader: Reader,
    token: Option<SecretString>,
    origin: Origin,
) {
    let now = clock::now();
    let limits = &deps.config.limits;
    let socket = &deps.config.socket;
    let limiter = limits.enabled.then(|| limiter(socket.ops_per_second, socket.ops_burst));
    let outbox = Outbox::new(socket.outbox_bytes_max);
    let ping_at = next_ping(now, socket.ping_interval());
    let connection = Rc::new(Connection {
        id: clock::new_uuid().into(),
        hub,
        deps,
        io: RefCell::new(io),
        outbox: RefCell::new(outbox),
        waker: RefCell::default(),
        caller: RefCell::default(),
        counted: RefCell::default(),
        token: RefCell::new(token),
        origin,
        channels: RefCell::default(),
        queue: RefCell::default(),
        working: Cell::new(false),
        limiter,
        refusals: Cell::new(0),
        started_at: now,
        heard_at: Cell::new(now),
        written_at: Cell::new(now),
        ping_at: Cell::new(ping_at),
        phase: Cell::new(Phase::Open),
    });
    let subscriber: Rc<dyn Subscriber> = connection.clone();
    connection.hub.register(subscriber);
    let guard = Registered(Rc::clone(&connection));
    ConnectionActor::create(move |ctx| {
        let life = async move {
            let connection = Rc::clone(&guard.0);
            connection.run(reader).await;
            drop(guard);
        };
        ctx.spawn(life.into_actor(&ConnectionActor).map(|(), _, ctx| ctx.stop()));
        ConnectionActor
    });
}

/// The connection as an actor: its life is the future it runs.
struct ConnectionActor;

impl Actor for ConnectionActor {
    type Context = actix::Context<Self>;
}

/// The one owner of the connection's place in the hub.
struct Registered(Rc<Connection>);

impl Drop for Registered {
    fn drop(&mut self) {
        let connection = &self.0;
        connection.phase.set(Phase::Gone);
        connection.queue.borrow_mut().clear();
        let channels = connection.channels.take();
        connection.hub.unregister(connection.id, &channels);
        connection.counted.take();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The last words are being written.
    Closing(Timestamp),
    Gone,
}

/// One client.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) hub: Hub,
    pub(super) deps: Rc<SocketDeps>,
    io: RefCell<TcpStream>,
    outbox: RefCell<Outbox>,
    waker: RefCell<Option<Waker>>,
    /// Who it is; set by hello.
    caller: RefCell<Option<Caller>>,
    counted: RefCell<Option<CountedIn>>,
    /// What the handshake brought, until hello takes it.
    token: RefCell<Option<SecretString>>,
    /// The handshake's request id and trace; what is done on this socket carries them.
    origin: Origin,
    channels: RefCell<Vec<Channel>>,
    queue: RefCell<VecDeque<Request>>,
    working: Cell<bool>,
    limiter: Option<DefaultDirectRateLimiter>,
    refusals: Cell<u32>,
    started_at: Timestamp,
    heard_at: Cell<Timestamp>,
    written_at: Cell<Timestamp>,
    ping_at: Cell<Timestamp>,
    phase: Cell<Phase>,
}

impl Connection {
    async fn run(self: &Rc<Self>, mut reader: Reader) {
        poll_fn(|cx| self.poll(cx, &mut reader)).await;
    }

    fn poll(self: &Rc<Self>, cx: &mut Context<'_>, reader: &mut Reader) -> Poll<()> {
        self.remember_waker(cx);
        if self.phase.get() == Phase::Open {
            let read = reader.poll_read(cx, &self.io, |incoming| self.receive(incoming));
            match read {
                Ok(()) => {}
                Err(Some(code)) => self.close(code),
                Err(None) => self.phase.set(Phase::Gone),
            }
        }
        self.poll_flush(cx);
        match self.phase.get() {
            Phase::Gone => Poll::Ready(()),
            Phase::Closing(_) if self.outbox.borrow().is_empty() => Poll::Ready(()),
            Phase::Open | Phase::Closing(_) => Poll::Pending,
        }
    }

    fn poll_flush(&self, cx: &mut Context<'_>) {
        while !self.outbox.borrow().is_empty() && self.phase.get() != Phase::Gone {
            // Only asks to be woken when the socket can be written to.
            if self.io.borrow().poll_write_ready(cx).is_pending() {
                return;
            }
            let (flushed, progress) = self.outbox.borrow_mut().flush(&self.io.borrow());
            if progress {
                self.written_at.set(clock::now());
            }
            match flushed {
                Flushed::Empty => return,
                Flushed::Blocked => {}
                Flushed::Gone => self.phase.set(Phase::Gone),
            }
        }
    }

    fn remember_waker(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn receive(self: &Rc<Self>, incoming: Incoming) {
        if self.phase.get() != Phase::Open {
            return;
        }
        self.heard_at.set(clock::now());
        match incoming {
            Incoming::Text(text) => {
                for line in text.split('\n').filter(|line| !line.trim().is_empty()) {
                    self.receive_request(line);
                }
            }
            Incoming::Ping(payload) => self.write(&control(PONG, &payload)),
            Incoming::Pong => {}
            Incoming::Close => self.close(CloseCode::Normal),
        }
    }

    /// Takes in one request, or refuses it before it runs.
    fn receive_request(self: &Rc<Self>, line: &str) {
        if self.phase.get() != Phase::Open {
            return;
        }
        let request = Request::parse(line);
        let wait = self.limiter.as_ref().and_then(|limiter| {
            let refused = limiter.check().err()?;
            let wait = refused.wait_time_from(governor::clock::Clock::now(
                &governor::clock::DefaultClock::default(),
            ));
            Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
        });
        let full = self.queue.borrow().len() >= QUEUE_MAX;
        if wait.is_some() || full {
            let refusals = self.refusals.get().saturating_add(1);
            self.refusals.set(refusals);
            if refusals > REFUSALS_MAX {
                return self.close(CloseCode::RateLimited);
            }
            let text = "too many requests on this connection; nothing was done";
            let wait = Some(wait.unwrap_or(1_000));
            return self.say(&protocol::refusal(request.id, "rate_limited", text, wait));
        }
        self.refusals.set(0);
        self.queue.borrow_mut().push_back(request);
        if !self.working.replace(true) {
            let connection = Rc::clone(self);
            actix_rt::spawn(async move { connection.work().await });
        }
    }

    /// Does the waiting requests in the order in which they came.
    async fn work(self: Rc<Self>) {
        loop {
            let next = self.queue.borrow_mut().pop_front();
            let Some(request) = next else { break };
            origin::scope(self.origin.clone(), operations::perform(&self, request)).await;
        }
        self.working.set(false);
    }

    /// Says one JSON text to this client alone. It leaves when the connection has its turn, in one write with what
    /// follows: after an answer to `send`, that is the event of the same message.
    pub(super) fn say(&self, json: &str) {
        if self.phase.get() != Phase::Open {
            return;
        }
        let frame = Frame::text(json);
        if self.outbox.borrow().is_empty() {
            self.written_at.set(clock::now());
            self.wake();
        }
        let pushed = self.outbox.borrow_mut().keep(frame.wire());
        self.heed(pushed);
    }

    fn write(&self, bytes: &Bytes) {
        if self.phase.get() == Phase::Gone {
            return;
        }
        let was_empty = self.outbox.borrow().is_empty();
        let pushed = self.outbox.borrow_mut().push(&self.io.borrow(), bytes);
        match pushed {
            Pushed::Taken if self.outbox.borrow().is_empty() => {}
            Pushed::Taken if was_empty => {
                self.written_at.set(clock::now());
                self.wake();
            }
            pushed => self.heed(pushed),
        }
    }

    fn heed(&self, pushed: Pushed) {
        match pushed {
            Pushed::Taken => {}
            Pushed::Full => self.close(CloseCode::SlowReader),
            Pushed::Gone => {
                self.phase.set(Phase::Gone);
                self.wake();
            }
        }
    }

    /// Ends the connection: `bye` with the reason, then the close frame, once.
    pub(super) fn close(&self, code: CloseCode) {
        if self.phase.get() != Phase::Open {
            return;
        }
        self.phase.set(Phase::Closing(clock::now()));
        metrics::counter!("madang_connections_closed_total", "reason" => code.reason())
            .increment(1);
        if code == CloseCode::SlowReader {
            self.outbox.borrow_mut().keep_only_started();
        }
        if code != CloseCode::Normal {
            self.write_last(Frame::text(&protocol::bye(code)).wire());
        }
        let mut reason = BytesMut::with_capacity(32);
        reason.put_u16(code.number());
        reason.put_slice(code.reason().as_bytes());
        self.write_last(&control(CLOSE, &reason));
        self.wake();
    }

    fn write_last(&self, bytes: &Bytes) {
        let pushed = self.outbox.borrow_mut().push(&self.io.borrow(), bytes);
        if pushed == Pushed::Gone {
            self.phase.set(Phase::Gone);
        }
    }

    /// Who it is, once hello has said so.
    pub(super) fn caller(&self) -> Option<Caller> {
        self.caller.borrow().clone()
    }

    pub(super) fn set_caller(&self, caller: Caller) {
        *self.caller.borrow_mut() = Some(caller);
    }

    pub(super) fn count_in(&self, counted: CountedIn) {
        *self.counted.borrow_mut() = Some(counted);
    }

    pub(super) fn take_token(&self) -> Option<SecretString> {
        self.token.borrow_mut().take()
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    pub(super) fn channel_count(&self) -> usize {
        self.channels.borrow().len()
    }

    pub(super) fn add_channel(&self, channel: Channel) {
        self.channels.borrow_mut().push(channel);
    }

    /// Takes back an [`Self::add_channel`] of a channel that was there before.
    pub(super) fn forget_repeat(&self, channel: Channel) {
        let mut channels = self.channels.borrow_mut();
        if let Some(at) = channels.iter().rposition(|known| *known == channel) {
            channels.remove(at);
        }
    }

    pub(super) fn remove_channel(&self, channel: Channel) {
        self.channels.borrow_mut().retain(|known| *known != channel);
    }
}

impl Subscriber for Connection {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn user(&self) -> Option<UserId> {
        self.caller.borrow().as_ref().map(|caller| caller.user_id)
    }

    fn push(&self, frame: &Frame) {
        if self.phase.get() == Phase::Open {
            self.write(frame.wire());
        }
    }

    fn push_ephemeral(&self, frame: &Frame) {
        // Somebody who is behind does not need to know who is typing now.
        if !self.outbox.borrow().is_blocked() {
            self.push(frame);
        }
    }

    fn unsubscribed(&self, channel: Channel) {
        self.remove_channel(channel);
    }

    fn drain(&self) {
        self.close(CloseCode::Draining);
    }

    fn tick(&self, now: Timestamp) {
        let socket = &self.deps.config.socket;
        if let Phase::Closing(since) = self.phase.get() {
            if now.since(since) > CLOSING_MAX {
                self.phase.set(Phase::Gone);
                self.wake();
            }
            return;
        }
        let silence = now.since(self.heard_at.get());
        if silence > socket.ping_interval().saturating_add(socket.pong_timeout()) {
            return self.close(CloseCode::NoPong);
        }
        let stalled = !self.outbox.borrow().is_empty()
            && now.since(self.written_at.get()) > socket.stall_timeout();
        if stalled {
            return self.close(CloseCode::SlowReader);
        }
        let caller = self.caller.borrow().as_ref().map(|caller| {
            let revoked = self.deps.revocations.is_revoked(caller.session_id, caller.user_id);
            (caller.expires_at, revoked)
        });
        match caller {
            None if now.since(self.started_at) > socket.hello_timeout() => {
                self.close(CloseCode::NoHello);
            }
            Some((_, true)) => self.close(CloseCode::Revoked),
            Some((expires_at, false)) if expires_at <= now => self.close(CloseCode::TokenExpired),
            None | Some(_) => self.ping(now, socket.ping_interval()),
        }
    }
}

impl Connection {
    fn ping(&self, now: Timestamp, interval: Duration) {
        if now >= self.ping_at.get() {
            self.ping_at.set(next_ping(now, interval));
            self.say(r#"{"event":"ping"}"#);
        }
    }
}

/// The interval ± 20 %, so that clients that came together do not stay together.
fn next_ping(now: Timestamp, interval: Duration) -> Timestamp {
    now.plus(interval.mul_f64(rand::rng().random_range(0.8..1.2)))
}

fn limiter(per_second: NonZeroU32, burst: NonZeroU32) -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst))
}

/// A control frame; its payload has at most 125 bytes (RFC 6455, section 5.5).
fn control(opcode: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len().saturating_add(2));
    frame.put_u8(opcode);
    frame.put_u8(u8::try_from(payload.len().min(125)).unwrap_or(125));
    frame.put_slice(payload.get(..125).unwrap_or(payload));
    frame.freeze()
}

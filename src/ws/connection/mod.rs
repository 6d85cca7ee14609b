//! Connection: one client's life on a socket, an actor whose future does the I/O.
//!
//! Nothing here waits on a client: what the socket does not take goes to the bounded outbox, and deadlines are looked
//! at by the hub's timer wheel. Invariant: a drop guard takes the connection out of the hub on every exit path.

mod subscriber;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, WrapFuture};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rand::Rng;
use secrecy::SecretString;
use serde_json::Value;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::accounts::Caller;
use crate::actors::hub::channel::Channel;
use crate::actors::hub::close::CloseCode;
use crate::actors::hub::cursor::Cursor;
use crate::actors::hub::frame::Frame;
use crate::actors::hub::subscriber::{SubscribeError, Subscriber};
use crate::actors::hub::token_end::TokenEnd;
use crate::actors::hub::{DRAIN_GRACE, Hub, notices};
use crate::clock;
use crate::domain::ids::ConnectionId;
use crate::http::server::load::Carried;
use crate::http::server::seats::{Seat, UserSeat};
use crate::origin::{self, Origin};
use crate::ws::SocketDeps;
use crate::ws::operations;
use crate::ws::outbox::{Flushed, Outbox, Pushed};
use crate::ws::protocol::{self, Request, RequestId};
use crate::ws::transport::{Incoming, Opening, Reader};

/// Requests of one connection that may wait for their turn.
const QUEUE_MAX: usize = 128;
/// Refused requests in a row after which the connection is ended.
const REFUSALS_MAX: u32 = 1_000;
/// How long a closing connection may take to accept its last frames.
const CLOSING_MAX: Duration = Duration::from_secs(2);
/// Hellos that may fail before a connection is ended.
const FAILED_HELLOS_MAX: u32 = 5;
const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;

/// Takes over a stream after the handshake.
pub(super) fn start(
    hub: Hub,
    deps: Rc<SocketDeps>,
    io: TcpStream,
    reader: Reader,
    opening: Opening,
) {
    let Opening { seat, carried, token, origin } = opening;
    let now = Instant::now();
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
        replay: RefCell::default(),
        caller: RefCell::default(),
        counted: RefCell::default(),
        _held: (seat, carried),
        token: RefCell::new(token),
        origin,
        channels: RefCell::default(),
        queue: RefCell::default(),
        working: Cell::new(false),
        limiter,
        refusals: Cell::new(0),
        failed_hellos: Cell::new(0),
        pong: RefCell::default(),
        started_at: now,
        heard_at: Cell::new(now),
        written_at: Cell::new(now),
        ping_at: Cell::new(ping_at),
        leave_by: Cell::default(),
        stall_look_at: Cell::new(now),
        token_end: TokenEnd::default(),
        said_bye: Cell::default(),
        phase: Cell::new(Phase::Open),
    });
    let subscriber: Rc<dyn Subscriber> = connection.clone();
    connection.hub.register(subscriber);
    let guard = Registered(Rc::clone(&connection));
    if !connection.deps.accepting.load(Ordering::Relaxed) {
        // It came in while the others were being told.
        connection.drain(Duration::ZERO);
        connection.hub.look_in(connection.id, DRAIN_GRACE);
    }
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
        if let Some(user) = connection.user() {
            connection.hub.hide(user, connection.id, connection.said_bye.get());
        }
        connection.counted.take();
        connection.wake_replay();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The last words are being written, and then the client has a moment to read them.
    Closing(Instant),
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
    /// What reads the store for this client, while it waits for the client.
    replay: RefCell<Option<Waker>>,
    /// Who it is; set by hello.
    caller: RefCell<Option<Caller>>,
    counted: RefCell<Option<UserSeat>>,
    /// Given back when the connection is gone.
    _held: (Seat, Carried),
    /// What the handshake brought, until hello takes it.
    token: RefCell<Option<SecretString>>,
    /// The handshake's request id and trace; what is done on this socket carries them.
    origin: Origin,
    channels: RefCell<Vec<Channel>>,
    queue: RefCell<VecDeque<Request>>,
    working: Cell<bool>,
    limiter: Option<DefaultDirectRateLimiter>,
    refusals: Cell<u32>,
    failed_hellos: Cell<u32>,
    /// What the last ping of this turn carried: it is answered, those before it need not be (RFC 6455, 5.5.3).
    pong: RefCell<Option<Bytes>>,
    started_at: Instant,
    heard_at: Cell<Instant>,
    /// When bytes last left, or began to wait.
    written_at: Cell<Instant>,
    ping_at: Cell<Instant>,
    /// When it must be gone, on a node that goes away.
    leave_by: Cell<Option<Instant>>,
    stall_look_at: Cell<Instant>,
    token_end: TokenEnd,
    said_bye: Cell<bool>,
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
            if let Some(payload) = self.pong.take() {
                let pong = control(PONG, &payload);
                let kept = self.outbox.borrow_mut().keep_reply(&*self.io.borrow(), &pong);
                if !self.is_taken(kept) {
                    self.close(CloseCode::SlowReader);
                }
            }
            match read {
                Ok(()) => {}
                Err(Some(code)) => self.close(code),
                Err(None) => self.phase.set(Phase::Gone),
            }
        }
        self.poll_flush(cx);
        self.wake_replay();
        if matches!(self.phase.get(), Phase::Closing(_)) && self.outbox.borrow().is_empty() {
            self.poll_end(cx);
        }
        if self.phase.get() == Phase::Gone { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_flush(&self, cx: &mut Context<'_>) {
        while !self.outbox.borrow().is_empty() && self.phase.get() != Phase::Gone {
            // Only asks to be woken when the socket can be written to.
            if self.io.borrow().poll_write_ready(cx).is_pending() {
                return;
            }
            let flushed = self.outbox.borrow_mut().flush(&*self.io.borrow());
            match flushed {
                Flushed::Empty => return,
                Flushed::Blocked => {}
                Flushed::Gone => self.phase.set(Phase::Gone),
            }
        }
    }

    /// Everything is said: says so on TCP, and waits for the client to end too.
    fn poll_end(&self, cx: &mut Context<'_>) {
        let shut = Pin::new(&mut *self.io.borrow_mut()).poll_shutdown(cx);
        let is_over = match shut {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => Reader::poll_discard(cx, &self.io),
            Poll::Ready(Err(_)) => true,
        };
        if is_over {
            self.phase.set(Phase::Gone);
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

    /// Lets the replay go on, if there is one and the client has taken most of it.
    fn wake_replay(&self) {
        if (self.phase.get() != Phase::Open || self.outbox.borrow().has_space())
            && let Some(replay) = self.replay.take()
        {
            replay.wake();
        }
    }

    fn receive(self: &Rc<Self>, incoming: Incoming) {
        if self.phase.get() != Phase::Open {
            return;
        }
        self.heard_at.set(Instant::now());
        match incoming {
            Incoming::Text(bytes) => {
                let text = std::str::from_utf8(&bytes).unwrap_or_default();
                for line in text.split('\n').filter(|line| !line.trim().is_empty()) {
                    self.receive_request(line);
                }
            }
            Incoming::Ping(payload) => {
                if self.may_go_on(None) {
                    *self.pong.borrow_mut() = Some(payload);
                }
            }
            Incoming::Pong => {
                self.may_go_on(None);
            }
            Incoming::Close => self.close(CloseCode::Normal),
        }
    }

    /// Takes in one request, or refuses it before it runs.
    fn receive_request(self: &Rc<Self>, line: &str) {
        if self.phase.get() != Phase::Open {
            return;
        }
        let request = Request::parse(line);
        if !self.may_go_on(Some(request.id)) {
            return;
        }
        self.queue.borrow_mut().push_back(request);
        if !self.working.replace(true) {
            let connection = Rc::clone(self);
            actix_rt::spawn(async move { connection.work().await });
        }
    }

    /// Counts a frame against the connection's rate, and a request against its queue too. What is refused has not run;
    /// whoever does not heed that is sent away.
    fn may_go_on(&self, request: Option<Option<RequestId>>) -> bool {
        let wait = self.limiter.as_ref().and_then(|limiter| {
            let refused = limiter.check().err()?;
            let now = governor::clock::Clock::now(&governor::clock::DefaultClock::default());
            let wait = refused.wait_time_from(now);
            Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
        });
        let is_full = request.is_some() && self.queue.borrow().len() >= QUEUE_MAX;
        if wait.is_none() && !is_full {
            self.refusals.set(0);
            return true;
        }
        let refusals = self.refusals.get().saturating_add(1);
        self.refusals.set(refusals);
        if refusals > REFUSALS_MAX {
            self.close(CloseCode::RateLimited);
        } else if let Some(id) = request {
            let text = "too many requests on this connection; nothing was done";
            self.say(&protocol::refusal(id, "rate_limited", text, Some(wait.unwrap_or(1_000))));
        }
        false
    }

    /// Does the waiting requests in the order in which they came.
    async fn work(self: Rc<Self>) {
        loop {
            let next = self.queue.borrow_mut().pop_front();
            let Some(request) = next else { break };
            let work = origin::scope(self.origin.clone(), operations::perform(&self, request));
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                self.close(CloseCode::Internal);
            }
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
            self.written_at.set(Instant::now());
            self.wake();
            self.watch_for_stall();
        }
        let kept = self.outbox.borrow_mut().keep_reply(&*self.io.borrow(), frame.wire());
        if !self.is_taken(kept) {
            // It asks and asks, and does not read the answers.
            self.close(CloseCode::SlowReader);
        }
    }

    /// Gives an event, now or with the connection's next turn; false when too much waits already.
    fn give(&self, frame: &Bytes, at_once: bool) -> bool {
        if self.phase.get() != Phase::Open {
            // It is on its way out: whatever it is given is lost to it, and it will come back for it.
            return true;
        }
        let mut outbox = self.outbox.borrow_mut();
        let was_empty = outbox.is_empty();
        let io = self.io.borrow();
        let pushed = if at_once { outbox.push(&*io, frame) } else { outbox.keep(&*io, frame) };
        let waits = !outbox.is_empty();
        drop((outbox, io));
        if was_empty && waits {
            self.written_at.set(Instant::now());
            self.wake();
            self.watch_for_stall();
        }
        self.is_taken(pushed)
    }

    /// Has the connection looked at when it must have moved; once, however often it has to wait.
    fn watch_for_stall(&self) {
        let stall_timeout = self.deps.config.socket.stall_timeout();
        let now = Instant::now();
        if self.stall_look_at.get() <= now {
            self.stall_look_at.set(now + stall_timeout);
            self.hub.look_in(self.id, stall_timeout);
        }
    }

    fn is_taken(&self, pushed: Pushed) -> bool {
        if pushed == Pushed::Gone {
            self.phase.set(Phase::Gone);
            self.wake();
        }
        pushed != Pushed::Full
    }

    /// Ends the connection: `bye` with the reason, then the close frame, once.
    pub(super) fn close(&self, code: CloseCode) {
        if self.phase.get() != Phase::Open {
            return;
        }
        self.phase.set(Phase::Closing(Instant::now()));
        self.hub.look_in(self.id, CLOSING_MAX);
        metrics::counter!("madang_connections_closed_total", "reason" => code.reason())
            .increment(1);
        if code == CloseCode::SlowReader {
            self.outbox.borrow_mut().keep_only_started();
        }
        let mut outbox = self.outbox.borrow_mut();
        if code != CloseCode::Normal {
            outbox.keep_last(Frame::text(&notices::bye(code)).wire().clone());
        }
        let mut reason = BytesMut::with_capacity(32);
        reason.put_u16(code.number());
        reason.put_slice(code.reason().as_bytes());
        outbox.keep_last(control(CLOSE, &reason));
        drop(outbox);
        self.wake();
    }

    /// The client goes, and does not mean to come back.
    pub(super) fn say_bye(&self) {
        self.said_bye.set(true);
        self.close(CloseCode::Normal);
    }

    /// Counts a hello that was refused; a client that keeps guessing is sent away.
    pub(super) fn hello_failed(&self) {
        let failed = self.failed_hellos.get().saturating_add(1);
        self.failed_hellos.set(failed);
        if failed >= FAILED_HELLOS_MAX {
            self.close(CloseCode::NoHello);
        }
    }

    /// Who it is, once hello has said so.
    pub(super) fn caller(&self) -> Option<Caller> {
        self.caller.borrow().clone()
    }

    pub(super) fn set_caller(&self, caller: Caller) {
        *self.caller.borrow_mut() = Some(caller);
    }

    pub(super) fn count_in(&self, counted: UserSeat) {
        *self.counted.borrow_mut() = Some(counted);
    }

    pub(super) fn take_token(&self) -> Option<SecretString> {
        self.token.borrow_mut().take()
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    /// Notes that the connection follows a channel; the answer to it when it may not.
    pub(super) fn add_channel(&self, channel: Channel) -> Result<(), Value> {
        let mut channels = self.channels.borrow_mut();
        if channels.contains(&channel) {
            let text = SubscribeError::AlreadySubscribed.to_string();
            return Err(protocol::failed("already_subscribed", &text));
        }
        if channels.len() >= self.deps.config.socket.channels_max {
            let text = "this connection follows as many channels as it may";
            return Err(protocol::failed("too_many_channels", text));
        }
        channels.push(channel);
        Ok(())
    }

    /// Where the client stands in every channel it follows, once it has read what it was given.
    pub(super) fn cursor(&self) -> Cursor {
        let mut cursor = Cursor::new(self.hub.epoch());
        for channel in &*self.channels.borrow() {
            if let Some(seq) = self.hub.position(self.id, *channel) {
                cursor.set(*channel, seq);
            }
        }
        cursor
    }

    pub(super) fn remove_channel(&self, channel: Channel) {
        self.channels.borrow_mut().retain(|known| *known != channel);
    }
}

/// The interval ± 20 %, so that clients that came together do not stay together.
fn next_ping(now: Instant, interval: Duration) -> Instant {
    now + interval.mul_f64(rand::rng().random_range(0.8..1.2))
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

//! Event stream: one client of `text/event-stream`, a subscriber of the hub like any socket.
//!
//! What it is given waits in a bounded queue until the HTTP connection asks for more, which it does when its client
//! reads. Every event carries the cursor over all channels of the stream. Invariant: dropping the body takes the
//! stream out of the hub.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use rand::Rng;
use serde_json::json;

use crate::accounts::Caller;
use crate::actors::hub::channel::Channel;
use crate::actors::hub::close::CloseCode;
use crate::actors::hub::cursor::Cursor;
use crate::actors::hub::directory::EncodedEvent;
use crate::actors::hub::frame::Frame;
use crate::actors::hub::presence::{self, PRESENCE_CHANGED};
use crate::actors::hub::subscriber::Subscriber;
use crate::actors::hub::subscription::Gap;
use crate::actors::hub::token_end::{TokenEnd, TokenLook};
use crate::actors::hub::{DRAIN_GRACE, Hub, notices};
use crate::clock;
use crate::domain::ids::{ConnectionId, SessionId, UserId};
use crate::domain::presence::{Choice, Presence};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;
use crate::http::server::seats::{Seat, UserSeat};

/// Bytes that are handed to the HTTP connection at once.
const CHUNK_BYTES: usize = 32 * 1024;
/// About what an event costs beside its payload: its cursor, its name, its place in the queue.
const EVENT_OVERHEAD: usize = 256;
/// Proxies cut connections that say nothing for a minute, some for half of one.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back.
const RETRY_MS: std::ops::Range<u64> = 500..2_000;
/// The same where the node has too much to do.
const RETRY_LATER_MS: std::ops::Range<u64> = 2_000..10_000;
/// What notices may take up beyond the limit for events.
const NOTICES_BYTES: usize = 64 * 1024;

/// One client of an event stream.
pub(super) struct EventStream {
    id: ConnectionId,
    hub: Hub,
    caller: Caller,
    channels: RefCell<Vec<Channel>>,
    cursor: RefCell<Cursor>,
    /// Whether the cursor names every channel.
    has_begun: Cell<bool>,
    queue: RefCell<VecDeque<Bytes>>,
    queued_bytes: Cell<usize>,
    queue_bytes_max: usize,
    stall_timeout: Duration,
    /// The HTTP connection, waiting for something to say.
    reader: RefCell<Option<Waker>>,
    /// What reads the store for this client, waiting for the client.
    replay: RefCell<Option<Waker>>,
    /// When the HTTP connection last took something, or had nothing to take.
    taken_at: Cell<Instant>,
    comment_at: Cell<Instant>,
    /// When it must be gone, on a node that goes away.
    leave_by: Cell<Option<Instant>>,
    token_end: TokenEnd,
    is_over: Cell<bool>,
    _held: (Seat, UserSeat),
}

/// What a stream is opened with.
pub(super) struct Opening {
    pub(super) hub: Hub,
    pub(super) caller: Caller,
    pub(super) queue_bytes_max: usize,
    pub(super) stall_timeout: Duration,
    pub(super) held: (Seat, UserSeat),
}

/// The body of the answer; the one owner of the stream's place in the hub.
pub(super) struct StreamBody(Rc<EventStream>);

impl EventStream {
    /// Opens a stream that follows nothing yet.
    pub(super) fn open(opening: Opening) -> (Rc<Self>, StreamBody) {
        let Opening { hub, caller, queue_bytes_max, stall_timeout, held } = opening;
        let now = Instant::now();
        let cursor = Cursor::new(hub.epoch());
        let stream = Rc::new(Self {
            id: clock::new_uuid().into(),
            hub,
            caller,
            channels: RefCell::default(),
            cursor: RefCell::new(cursor),
            has_begun: Cell::new(false),
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            queue_bytes_max,
            stall_timeout,
            reader: RefCell::default(),
            replay: RefCell::default(),
            taken_at: Cell::new(now),
            comment_at: Cell::new(now + COMMENT_INTERVAL),
            leave_by: Cell::default(),
            token_end: TokenEnd::default(),
            is_over: Cell::new(false),
            _held: held,
        });
        stream.keep(retry(RETRY_MS).into());
        let subscriber: Rc<dyn Subscriber> = stream.clone();
        stream.hub.register(subscriber);
        (Rc::clone(&stream), StreamBody(stream))
    }

    /// The stream stands: its user is here.
    pub(super) fn show(&self) {
        self.hub.show(self.caller.user_id, self.id, Choice::Online);
    }

    /// Notes which channels the stream follows.
    pub(super) fn follow(&self, channels: &[Channel]) {
        self.channels.borrow_mut().extend_from_slice(channels);
    }

    /// Notes where each channel begins. Before that, nothing has an id: it would replace one that the client has, and
    /// say nothing of where it is.
    pub(super) fn begin_at(&self, positions: impl IntoIterator<Item = (Channel, Seq)>) {
        let mut cursor = self.cursor.borrow_mut();
        for (channel, seq) in positions {
            cursor.set(channel, seq);
        }
        self.has_begun.set(true);
    }

    /// Shows how others are at this moment.
    pub(super) fn show_all(&self, presences: &[Presence]) {
        self.push_ephemeral(
            PRESENCE_CHANGED,
            &presence::changed(None, &json!({ "changes": presences })),
        );
    }

    fn keep(&self, chunk: Bytes) {
        let mut queue = self.queue.borrow_mut();
        if queue.is_empty() {
            self.taken_at.set(Instant::now());
        }
        self.queued_bytes.set(self.queued_bytes.get().saturating_add(chunk.len()));
        queue.push_back(chunk);
        drop(queue);
        self.wake_reader();
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_replay(&self) {
        if (self.is_over.get() || self.has_space())
            && let Some(replay) = self.replay.take()
        {
            replay.wake();
        }
    }

    fn has_space(&self) -> bool {
        self.queued_bytes.get() <= self.queue_bytes_max / 4
    }

    fn say(&self, name: &str, json: &str) {
        if self.is_over.get() {
            return;
        }
        if self.queued_bytes.get() > self.queue_bytes_max.saturating_add(NOTICES_BYTES) {
            // What cannot be said may not be passed over either: the client comes back for it.
            self.is_over.set(true);
            return self.wake_reader();
        }
        let id = match self.has_begun.get() {
            true => format!("id: {}\n", self.cursor.borrow().encode()),
            false => String::new(),
        };
        self.keep(format!("{id}event: {name}\ndata: {json}\n\n").into());
    }

    fn give(&self, channel: Channel, event: &EncodedEvent) -> bool {
        if self.is_over.get() {
            // It will come back for it.
            return true;
        }
        let payload = event.frame.payload();
        let cost = payload.len().saturating_add(EVENT_OVERHEAD);
        let is_empty = self.queue.borrow().is_empty();
        if !is_empty && self.queued_bytes.get().saturating_add(cost) > self.queue_bytes_max {
            return false;
        }
        let mut cursor = self.cursor.borrow_mut();
        cursor.set(channel, event.seq);
        let head = format!("id: {}\nevent: {}\ndata: ", cursor.encode(), event.name);
        drop(cursor);
        let mut chunk =
            BytesMut::with_capacity(head.len().saturating_add(payload.len()).saturating_add(2));
        chunk.extend_from_slice(head.as_bytes());
        chunk.extend_from_slice(&payload);
        chunk.extend_from_slice(b"\n\n");
        self.keep(chunk.freeze());
        true
    }

    fn take(&self) -> Option<Bytes> {
        let mut queue = self.queue.borrow_mut();
        let first = queue.pop_front()?;
        let mut chunk = BytesMut::from(&*first);
        while let Some(next) = queue.front()
            && chunk.len().saturating_add(next.len()) <= CHUNK_BYTES
            && let Some(next) = queue.pop_front()
        {
            chunk.extend_from_slice(&next);
        }
        self.queued_bytes.set(self.queued_bytes.get().saturating_sub(chunk.len()));
        self.taken_at.set(Instant::now());
        Some(chunk.freeze())
    }
}

/// What a node that is too busy, or on its way out, answers: a browser gives up on anything but 200.
pub(super) fn come_back_later(code: CloseCode) -> String {
    format!("{}event: bye\ndata: {}\n\n", retry(RETRY_LATER_MS), notices::bye(code))
}

fn retry(ms: std::ops::Range<u64>) -> String {
    format!("retry: {}\n\n", rand::rng().random_range(ms))
}

impl Subscriber for EventStream {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn user(&self) -> Option<UserId> {
        Some(self.caller.user_id)
    }

    fn session(&self) -> Option<SessionId> {
        Some(self.caller.session_id)
    }

    fn push(&self, channel: Channel, event: &EncodedEvent) -> bool {
        self.give(channel, event)
    }

    fn queue(&self, channel: Channel, event: &EncodedEvent) -> bool {
        self.give(channel, event)
    }

    fn push_ephemeral(&self, name: &'static str, frame: &Frame) {
        if self.has_space() && !self.is_over.get() {
            let payload = frame.payload();
            let mut chunk = BytesMut::from(format!("event: {name}\ndata: ").as_bytes());
            chunk.extend_from_slice(&payload);
            chunk.extend_from_slice(b"\n\n");
            self.keep(chunk.freeze());
        }
    }

    fn live(&self, channel: Channel, seq: Seq) {
        self.cursor.borrow_mut().set(channel, seq);
        self.say("live", &notices::live(channel, seq));
    }

    fn gap(&self, channel: Channel, gap: Gap) {
        self.cursor.borrow_mut().set(channel, gap.head);
        self.say("gap", &notices::gap(channel, gap));
    }

    fn lagging(&self, channel: Channel) {
        self.say("lag", &notices::lag(channel));
    }

    fn unsubscribed(&self, channel: Channel) {
        self.channels.borrow_mut().retain(|known| *known != channel);
        self.say("unsubscribed", &notices::unsubscribed(channel));
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.is_over.get() {
            return Poll::Ready(false);
        }
        if self.has_space() {
            return Poll::Ready(true);
        }
        *self.replay.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn drain(&self, wait: Duration) {
        self.say("drain", &notices::drain(wait));
        self.leave_by.set(Some(Instant::now() + wait + DRAIN_GRACE));
    }

    fn end(&self, code: CloseCode) {
        if !self.is_over.get() {
            self.say("bye", &notices::bye(code));
            self.is_over.set(true);
            metrics::counter!("madang_connections_closed_total", "reason" => code.reason())
                .increment(1);
            self.wake_reader();
            self.wake_replay();
        }
    }

    fn tick(&self, now: Instant, time: Timestamp) -> Duration {
        if self.leave_by.get().is_some_and(|end| now >= end) {
            self.end(CloseCode::Draining);
        }
        let mut wait = COMMENT_INTERVAL;
        match self.token_end.look(self.caller.expires_at, time) {
            TokenLook::Later(left) => wait = wait.min(left),
            TokenLook::Over => self.end(CloseCode::TokenExpired),
            TokenLook::Tell(left) => {
                wait = wait.min(left);
                self.say("token_expiring", &notices::token_expiring(left));
            }
        }
        if self.queue.borrow().is_empty() {
            if now >= self.comment_at.get() {
                self.comment_at.set(now + COMMENT_INTERVAL);
                self.keep(Bytes::from_static(b":\n\n"));
            }
        } else if now.saturating_duration_since(self.taken_at.get()) > self.stall_timeout {
            self.end(CloseCode::SlowReader);
        }
        wait.min(self.comment_at.get().saturating_duration_since(now))
    }
}

impl MessageBody for StreamBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let stream = &self.0;
        if let Some(chunk) = stream.take() {
            stream.wake_replay();
            return Poll::Ready(Some(Ok(chunk)));
        }
        if stream.is_over.get() {
            return Poll::Ready(None);
        }
        *stream.reader.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let stream = &self.0;
        stream.is_over.set(true);
        let channels = stream.channels.take();
        stream.hub.unregister(stream.id, &channels);
        stream.hub.hide(stream.caller.user_id, stream.id, false);
        stream.wake_replay();
    }
}

//! The outbox: frames that a socket did not take at once. Bounded in bytes; the frames themselves are shared.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;

const SLICES_MAX: usize = 64;
/// What replies and last words may take up beyond the limit for events.
const REPLIES_BYTES: usize = 768 * 1024;
/// About what the queue needs for a frame beside its bytes.
const FRAME_OVERHEAD: usize = 64;
/// A queue that grew longer than this gives its memory back once it is empty.
const KEPT_CAPACITY_MAX: usize = 16;

/// What happened to a frame that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is on its way, or waits.
    Taken,
    /// It would not fit; nothing of it was written.
    Full,
    /// The peer is gone.
    Gone,
}

/// How far a flush came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    Empty,
    Blocked,
    Gone,
}

/// Where bytes go without waiting: a socket.
pub trait Sink {
    /// Writes what is taken now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is, anything else when the peer is gone.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// As [`Self::try_write`], for several pieces at once.
    ///
    /// # Errors
    /// As [`Self::try_write`].
    fn try_write_vectored(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize>;
}

impl Sink for TcpStream {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }

    fn try_write_vectored(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::try_write_vectored(self, bytes)
    }
}

/// What waits for one client.
#[derive(Debug)]
pub struct Outbox {
    frames: VecDeque<Bytes>,
    /// What waits, with what it costs to keep it.
    bytes: usize,
    bytes_max: usize,
    /// The socket has refused bytes that still wait.
    blocked: bool,
    /// Bytes have left since somebody last asked.
    moved: bool,
}

impl Outbox {
    pub const fn new(bytes_max: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, bytes_max, blocked: false, moved: false }
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether the client is slower than what it is sent.
    pub const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether bytes have left since the last time this was asked.
    pub fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Whether most of what was given has been taken.
    pub const fn has_space(&self) -> bool {
        self.bytes <= self.bytes_max / 4
    }

    /// Writes an event at once if nothing waits, and keeps what the socket does not take.
    pub fn push(&mut self, io: &impl Sink, frame: &Bytes) -> Pushed {
        if !self.frames.is_empty() {
            return self.keep(io, frame);
        }
        match io.try_write(frame) {
            Ok(written) if written == frame.len() => Pushed::Taken,
            Ok(written) => {
                self.blocked = true;
                let mut rest = frame.clone();
                rest.advance(written);
                self.push_back(rest)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                self.push_back(frame.clone())
            }
            Err(_) => Pushed::Gone,
        }
    }

    /// Keeps an event for the next flush. What is too much is written first, if the client takes it: only one that is
    /// behind is ever told that it is slow.
    pub fn keep(&mut self, io: &impl Sink, frame: &Bytes) -> Pushed {
        self.keep_within(self.bytes_max, io, frame)
    }

    /// Keeps what was asked for, such as a reply: events leave room for it.
    pub fn keep_reply(&mut self, io: &impl Sink, frame: &Bytes) -> Pushed {
        self.keep_within(self.bytes_max.saturating_add(REPLIES_BYTES), io, frame)
    }

    fn keep_within(&mut self, bytes_max: usize, io: &impl Sink, frame: &Bytes) -> Pushed {
        let fits = |outbox: &Self| {
            // A single frame always fits, or it could never be said.
            outbox.frames.is_empty() || outbox.bytes.saturating_add(cost(frame)) <= bytes_max
        };
        if !fits(self) && !self.blocked && self.flush(io) == Flushed::Gone {
            return Pushed::Gone;
        }
        if !fits(self) {
            return Pushed::Full;
        }
        self.push_back(frame.clone())
    }

    /// Keeps a last word, whatever the limit says.
    pub fn keep_last(&mut self, frame: Bytes) {
        self.push_back(frame);
    }

    fn push_back(&mut self, frame: Bytes) -> Pushed {
        self.bytes = self.bytes.saturating_add(cost(&frame));
        self.frames.push_back(frame);
        Pushed::Taken
    }

    /// Drops what waits behind the frame that is half written, to make room for a last word.
    pub fn keep_only_started(&mut self) {
        self.frames.truncate(1);
        self.bytes = self.frames.front().map_or(0, cost);
    }

    /// Writes what the socket takes now.
    pub fn flush(&mut self, io: &impl Sink) -> Flushed {
        while !self.frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut filled = 0;
            for (slice, frame) in slices.iter_mut().zip(&self.frames) {
                *slice = IoSlice::new(frame);
                filled = usize::saturating_add(filled, 1);
            }
            match io.try_write_vectored(slices.get(..filled).unwrap_or_default()) {
                Ok(0) => return Flushed::Gone,
                Ok(written) => {
                    self.moved = true;
                    self.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Flushed::Blocked;
                }
                Err(_) => return Flushed::Gone,
            }
        }
        self.blocked = false;
        if self.frames.capacity() > KEPT_CAPACITY_MAX {
            self.frames = VecDeque::new();
        }
        Flushed::Empty
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(frame) = self.frames.front_mut() {
            if frame.len() > written {
                frame.advance(written);
                self.bytes = self.bytes.saturating_sub(written);
                return;
            }
            written = written.saturating_sub(frame.len());
            self.bytes = self.bytes.saturating_sub(cost(frame));
            self.frames.pop_front();
        }
    }
}

/// What a waiting frame takes up: many small ones are no less than a few large ones.
fn cost(frame: &Bytes) -> usize {
    frame.len().saturating_add(FRAME_OVERHEAD)
}

//! The outbox: frames that a socket did not take at once. Bounded in bytes; the frames themselves are shared.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;

const SLICES_MAX: usize = 64;
/// A queue that grew longer than this gives its memory back once it is empty.
const KEPT_CAPACITY_MAX: usize = 16;

/// What happened to a frame that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is on its way, or waits.
    Taken,
    /// It would not fit; nothing of it was written.
    Full,
    /// The peer is gone.
    Gone,
}

/// How far a flush came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    Empty,
    Blocked,
    Gone,
}

pub(super) struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
    bytes_max: usize,
    /// The socket has refused bytes that still wait.
    blocked: bool,
}

impl Outbox {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, bytes_max, blocked: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether the client is slower than what it is sent.
    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Writes at once if nothing waits, and keeps what the socket does not take.
    pub(super) fn push(&mut self, io: &TcpStream, frame: &Bytes) -> Pushed {
        if !self.frames.is_empty() {
            return self.keep(frame);
        }
        match io.try_write(frame) {
            Ok(written) if written == frame.len() => Pushed::Taken,
            // The rest of a started frame must follow, whatever the limit says.
            Ok(written) => {
                let mut rest = frame.clone();
                rest.advance(written);
                self.blocked = true;
                self.bytes = rest.len();
                self.frames.push_back(rest);
                Pushed::Taken
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                self.keep(frame)
            }
            Err(_) => Pushed::Gone,
        }
    }

    /// Keeps a frame for the next flush.
    pub(super) fn keep(&mut self, frame: &Bytes) -> Pushed {
        let bytes = self.bytes.saturating_add(frame.len());
        if bytes > self.bytes_max {
            return Pushed::Full;
        }
        self.bytes = bytes;
        self.frames.push_back(frame.clone());
        Pushed::Taken
    }

    /// Drops what waits behind the frame that is half written, to make room for a last word.
    pub(super) fn keep_only_started(&mut self) {
        self.frames.truncate(1);
        self.bytes = self.frames.front().map_or(0, Bytes::len);
    }

    /// Writes what the socket takes now.
    pub(super) fn flush(&mut self, io: &TcpStream) -> (Flushed, bool) {
        let mut progress = false;
        while !self.frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut filled = 0;
            for (slice, frame) in slices.iter_mut().zip(&self.frames) {
                *slice = IoSlice::new(frame);
                filled = usize::saturating_add(filled, 1);
            }
            match io.try_write_vectored(slices.get(..filled).unwrap_or_default()) {
                Ok(0) => return (Flushed::Gone, progress),
                Ok(written) => {
                    progress = true;
                    self.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return (Flushed::Blocked, progress);
                }
                Err(_) => return (Flushed::Gone, progress),
            }
        }
        self.blocked = false;
        if self.frames.capacity() > KEPT_CAPACITY_MAX {
            self.frames = VecDeque::new();
        }
        (Flushed::Empty, progress)
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(frame) = self.frames.front_mut() {
            if frame.len() > written {
                frame.advance(written);
                return;
            }
            written = written.saturating_sub(frame.len());
            self.frames.pop_front();
        }
    }
}

//! Workers: the threads of this node that serve. Each has an event loop of its own for the requests, the sockets, the
//! hub and the rooms that live on it, so that what belongs together meets without waking another thread.

use std::io;

use actix_rt::{Arbiter, ArbiterHandle};

/// The worker threads of a node.
pub struct Workers(Vec<Arbiter>);

impl Workers {
    /// Starts `count` threads (at least one). Needs a running actix `System`.
    ///
    /// # Errors
    /// When the operating system gives no more threads or event loops.
    pub fn start(count: usize) -> io::Result<Self> {
        (0..count.max(1)).map(|_| Arbiter::try_new()).collect::<io::Result<_>>().map(Self)
    }

    /// The way to each of them, in a fixed order.
    #[must_use]
    pub fn handles(&self) -> Vec<ArbiterHandle> {
        self.0.iter().map(Arbiter::handle).collect()
    }

    /// Ends the event loops, and with them whatever still runs there.
    pub fn stop(self) {
        for worker in self.0 {
            worker.stop();
        }
    }
}

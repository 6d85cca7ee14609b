//! Requests to stop: the first SIGTERM or SIGINT asks for an orderly stop, the second ends the process.
//!
//! The HTTP server's own handling is off, because it forces the stop on SIGINT.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell reports for a process that SIGINT ended (128 + 2).
const EXIT_INTERRUPTED: i32 = 130;

/// What the sender wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownRequest {
    /// Finish what was accepted, then stop.
    Graceful,
    /// Stop now: the orderly stop takes too long.
    Immediate,
}

/// The stop signals of this process, from [`ShutdownRequests::listen`] on.
#[derive(Debug)]
pub struct ShutdownRequests {
    terminate: Signal,
    interrupt: Signal,
    asked: bool,
}

impl ShutdownRequests {
    /// Takes over SIGTERM and SIGINT for the rest of the process's life. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the operating system refuses the handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            asked: false,
        })
    }

    /// Waits for the next signal. Cancelling the wait loses none.
    pub async fn recv(&mut self) -> ShutdownRequest {
        let name = tokio::select! {
            Some(()) = self.terminate.recv() => "SIGTERM",
            Some(()) = self.interrupt.recv() => "SIGINT",
            // Both streams end only with the runtime.
            else => std::future::pending().await,
        };
        let request =
            if self.asked { ShutdownRequest::Immediate } else { ShutdownRequest::Graceful };
        self.asked = true;
        tracing::info!(signal = name, ?request, "asked to stop");

        request
    }

    /// Waits for an immediate request, then ends the process without any clean-up: what was acknowledged is durable.
    pub async fn exit_when_immediate(mut self) {
        while self.recv().await != ShutdownRequest::Immediate {}
        std::process::exit(EXIT_INTERRUPTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_request_is_immediate() {
        let mut requests = ShutdownRequests::listen().unwrap();
        let raise = || {
            let pid = std::process::id().to_string();
            std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        };

        raise();
        assert_eq!(requests.recv().await, ShutdownRequest::Graceful);
        raise();
        assert_eq!(requests.recv().await, ShutdownRequest::Immediate);
    }
}

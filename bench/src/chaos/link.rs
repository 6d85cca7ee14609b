//! A client's connection to the server, a socket or an event stream: what the server says is the same on both.

use anyhow::{bail, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::journal::text;
use super::stream::Stream;
use crate::socket::Socket;

#[derive(Debug)]
pub enum Link {
    Socket(Socket),
    Stream(Stream),
}

/// One thing the server says.
#[derive(Debug)]
pub struct Word {
    pub frame: Value,
    /// Where a stream goes on after it.
    pub cursor: Option<String>,
}

impl Link {
    /// The next thing the server says. Errors when the connection ends; may be dropped and called again.
    pub async fn next(&mut self) -> anyhow::Result<Word> {
        match self {
            Self::Socket(socket) => {
                let frame = serde_json::from_str(&socket.text().await?)?;
                Ok(Word { frame, cursor: None })
            }
            Self::Stream(stream) => {
                let event = stream.next().await?;
                let frame: Value = serde_json::from_str(&event.data)?;
                let named = text(&frame, "/event")?;
                ensure!(named == event.name, "an event with two names: {event:?}");
                Ok(Word { frame, cursor: event.id })
            }
        }
    }

    /// When the server said something last, be it a heartbeat.
    pub fn heard_at(&self) -> Instant {
        match self {
            Self::Socket(socket) => socket.heard_at,
            Self::Stream(stream) => stream.heard_at,
        }
    }

    /// Whoever has not listened for a while cannot know whether the server was silent.
    pub fn listen_anew(&mut self) {
        match self {
            Self::Socket(socket) => socket.heard_at = Instant::now(),
            Self::Stream(stream) => stream.heard_at = Instant::now(),
        }
    }

    /// Says `text`; only a socket can.
    pub fn send(&self, text: &str) -> anyhow::Result<()> {
        match self {
            Self::Socket(socket) => socket.line().send(text),
            Self::Stream(_) => bail!("a stream cannot send"),
        }
    }
}

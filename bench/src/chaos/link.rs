//! A client's connection to the server, a socket or an event stream: what the server says is the same on both.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use anyhow::{bail, ensure};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};

use super::journal::text;
use super::stream::Stream;
use crate::socket::Socket;

/// Not the server's own address: a client never reaches itself while the server is down.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const RECEIVE_BYTES: u32 = 8 * 1024;
const SEGMENT_BYTES: libc::c_int = 1_400;

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

/// Connects with little room on the way: a client that does not read is felt by the server soon.
pub async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    limit_segments(&socket)?;
    socket.bind((SOURCE, 0).into())?;
    Ok(socket.connect(address).await?)
}

/// The kernel sizes the server's send buffer by the segments that the client takes; loopback's are huge.
fn limit_segments(socket: &TcpSocket) -> anyhow::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>())?;
    // SAFETY: the pointer is to one live value of the length that is told, and the socket is open.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MAXSEG,
            std::ptr::from_ref(&SEGMENT_BYTES).cast(),
            length,
        )
    };
    ensure!(done == 0, "cannot limit segments: {}", std::io::Error::last_os_error());
    Ok(())
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

    /// Says `text`; only a socket can.
    pub fn send(&self, text: &str) -> anyhow::Result<()> {
        match self {
            Self::Socket(socket) => socket.line().send(text),
            Self::Stream(_) => bail!("a stream cannot send"),
        }
    }
}

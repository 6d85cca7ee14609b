//! The load client's WebSocket: thousands in one thread, cheap enough not to starve the server next door.
//!
//! A [`Line`] is the writing half, shared by whoever publishes; a [`Socket`] is the reading half with the bytes
//! that arrived but were not yet used. Heartbeats are answered here, so that callers see only what matters.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::frame;

/// Time for one connection to be there: TCP, upgrade, hello, live.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Connections being opened at once.
const CONNECTING_MAX: usize = 64;
/// Connections from one source address, well below the ports it has.
const PER_SOURCE_MAX: usize = 5_000;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const READ_BYTES: usize = 64 * 1024;
/// Bytes that may wait for a server which does not read.
const BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;

thread_local! {
    // One read buffer for all: it is empty again before the next read.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Where a connection goes and what it says first.
#[derive(Debug, Clone)]
pub struct Seat {
    pub address: SocketAddr,
    pub path: String,
    pub token: Option<Rc<str>>,
    /// Channels to subscribe to in `hello`; `None` says no hello (the reference server knows none).
    pub hello: Option<Vec<String>>,
}

/// Opens a connection for each seat, a few at a time, in the order of the seats. `open` connections exist already.
pub async fn connect_all(seats: &[Seat], open: usize) -> anyhow::Result<Vec<Socket>> {
    futures_util::stream::iter(seats.iter().zip(open..))
        .map(|(seat, index)| async move {
            tokio::time::timeout(CONNECT_LIMIT, Socket::connect(seat, index))
                .await
                .with_context(|| format!("connection {index} took longer than {CONNECT_LIMIT:?}"))?
                .with_context(|| format!("connection {index}"))
        })
        .buffered(CONNECTING_MAX)
        .try_collect()
        .await
}

/// Connects from the address of connection `index`.
pub async fn dial(address: SocketAddr, index: usize) -> anyhow::Result<TcpStream> {
    let (socket, source) = (TcpSocket::new_v4()?, source(index));
    if !source.eq(&Ipv4Addr::LOCALHOST) {
        socket.bind((source, 0).into())?;
    }
    Ok(socket.connect(address).await?)
}

/// 127.0.0.1 for the first connections, 127.0.0.2 for the next, and so on: one address has too few ports.
fn source(index: usize) -> Ipv4Addr {
    let last = u8::try_from(1 + index / PER_SOURCE_MAX).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, 0, last)
}

/// The writing half.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    // What the socket did not take; while it is not empty, one task is flushing it.
    backlog: RefCell<Vec<u8>>,
}

impl Line {
    /// Sends `text` as one frame, in order. Errors when the server has gone or reads far too slowly.
    pub fn send(self: &Rc<Self>, text: &str) -> anyhow::Result<()> {
        self.write(frame::from_client(frame::TEXT, text.as_bytes()))
    }

    fn write(self: &Rc<Self>, mut frame: Vec<u8>) -> anyhow::Result<()> {
        let mut backlog = self.backlog.borrow_mut();
        if !backlog.is_empty() {
            ensure!(backlog.len() < BACKLOG_BYTES_MAX, "the server reads too slowly");
            backlog.append(&mut frame);
            return Ok(());
        }
        let written = match self.stream.try_write(&frame) {
            Ok(written) => written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        frame.drain(..written);
        if !frame.is_empty() {
            *backlog = frame;
            spawn_local(self.clone().flush());
        }
        Ok(())
    }

    async fn flush(self: Rc<Self>) {
        // A broken stream shows itself to the reading half; here it only ends the flushing.
        while self.stream.writable().await.is_ok() {
            let mut backlog = self.backlog.borrow_mut();
            match self.stream.try_write(&backlog) {
                Ok(written) => _ = backlog.drain(..written),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            if backlog.is_empty() {
                return;
            }
        }
    }
}

/// The reading half.
#[derive(Debug)]
pub struct Socket {
    line: Rc<Line>,
    unread: Vec<u8>,
    /// When [`Self::text`] was given something by the server last, be it a heartbeat.
    pub heard_at: Instant,
}

impl Socket {
    async fn connect(seat: &Seat, index: usize) -> anyhow::Result<Self> {
        Self::over(dial(seat.address, index).await?, seat).await
    }

    /// Opens the socket of `seat` on a connection that is there already.
    pub async fn over(mut stream: TcpStream, seat: &Seat) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        let unread = upgrade(&mut stream, seat).await?;
        let line = Rc::new(Line { stream, backlog: RefCell::default() });
        let mut socket = Self { line, unread, heard_at: Instant::now() };
        if let Some(channels) = &seat.hello {
            socket.hello(channels).await?;
        }
        Ok(socket)
    }

    /// Says hello and waits until every channel is live.
    async fn hello(&mut self, channels: &[String]) -> anyhow::Result<()> {
        let subscribe: Vec<_> =
            channels.iter().map(|channel| json!({ "channel": channel })).collect();
        self.line.send(&json!({ "id": 1, "op": "hello", "subscribe": subscribe }).to_string())?;
        let mut live = 0;
        let mut welcome = false;
        while !welcome || live < channels.len() {
            let text = self.text().await?;
            if text.starts_with(r#"{"id":1,"#) {
                ensure!(text.contains(r#""ok":"#), "hello was refused: {text}");
                welcome = true;
            }
            live += usize::from(text.contains(r#""event":"live""#));
        }
        Ok(())
    }

    pub fn line(&self) -> &Rc<Line> {
        &self.line
    }

    /// The next text frame that is not a heartbeat. Errors when the connection ends.
    pub async fn text(&mut self) -> anyhow::Result<String> {
        loop {
            while let Some(found) = frame::decode(&mut self.unread)? {
                let payload = self.unread.get(found.payload.clone()).unwrap_or_default();
                let text = heard(&self.line, found.opcode, payload)?.map(<[u8]>::to_vec);
                self.unread.drain(..found.payload.end);
                if let Some(text) = text {
                    return Ok(String::from_utf8(text)?);
                }
            }
            self.line.stream.readable().await?;
            match self.line.stream.try_read_buf(&mut self.unread) {
                Ok(0) => bail!("the server ended the connection"),
                Ok(_) => self.heard_at = Instant::now(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Hands each text frame to `on_text` until the connection ends, which is always an error.
    pub async fn listen(mut self, mut on_text: impl FnMut(&[u8])) -> anyhow::Result<()> {
        loop {
            self.hear(&mut on_text).await?;
        }
    }

    /// Hands each text frame that has arrived to `on_text`; waits if there is none yet. Errors when the connection ends;
    /// may be dropped and called again.
    pub async fn hear(&mut self, on_text: &mut impl FnMut(&[u8])) -> anyhow::Result<()> {
        let Self { line, unread, .. } = self;
        if !unread.is_empty() && drain(line, unread, on_text)? > 0 {
            return Ok(());
        }
        line.stream.readable().await?;
        READ.with_borrow_mut(|buffer| {
            let count = match line.stream.try_read(buffer) {
                Ok(0) => bail!("the server ended the connection"),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let fresh = buffer.get_mut(..count).unwrap_or_default();
            if unread.is_empty() {
                let used = consume(line, fresh, on_text)?;
                unread.extend(fresh.iter().skip(used));
            } else {
                unread.extend_from_slice(fresh);
                drain(line, unread, on_text)?;
            }
            Ok(())
        })
    }
}

/// Handles every complete frame in `unread` and forgets it; gives the number of bytes used.
fn drain(
    line: &Rc<Line>,
    unread: &mut Vec<u8>,
    on_text: &mut impl FnMut(&[u8]),
) -> anyhow::Result<usize> {
    let used = consume(line, unread, on_text)?;
    unread.drain(..used);
    if unread.is_empty() {
        *unread = Vec::new();
    }
    Ok(used)
}

/// Handles every complete frame in `buffer`; gives the number of bytes used.
fn consume(
    line: &Rc<Line>,
    buffer: &mut [u8],
    on_text: &mut impl FnMut(&[u8]),
) -> anyhow::Result<usize> {
    let mut used = 0;
    while let Some(rest) = buffer.get_mut(used..) {
        let Some(found) = frame::decode(rest)? else {
            break;
        };
        let payload = rest.get(found.payload.clone()).unwrap_or_default();
        if let Some(text) = heard(line, found.opcode, payload)? {
            on_text(text);
        }
        used += found.payload.end;
    }
    Ok(used)
}

/// Answers heartbeats of both kinds; gives back a text that somebody should see.
fn heard<'a>(line: &Rc<Line>, opcode: u8, payload: &'a [u8]) -> anyhow::Result<Option<&'a [u8]>> {
    match opcode {
        frame::TEXT if payload.starts_with(br#"{"event":"ping""#) => {
            line.send(r#"{"op":"pong"}"#)?;
            Ok(None)
        }
        frame::TEXT => Ok(Some(payload)),
        frame::PING => {
            line.write(frame::from_client(frame::PONG, payload))?;
            Ok(None)
        }
        frame::CLOSE => {
            let (code, reason) = payload.split_at_checked(2).unwrap_or_default();
            let code = code.iter().fold(0_u32, |code, byte| code << 8 | u32::from(*byte));
            bail!("the server closed the connection: {code} {}", String::from_utf8_lossy(reason))
        }
        _ => Ok(None),
    }
}

/// Asks for the upgrade and checks the answer; gives the bytes that came after it.
async fn upgrade(stream: &mut TcpStream, seat: &Seat) -> anyhow::Result<Vec<u8>> {
    let key = STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: madang.v1.json\r\n",
        seat.path, seat.address,
    );
    if let Some(token) = &seat.token {
        request.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;

    let (head, unread) = read_head(stream).await?;
    ensure!(
        head.starts_with("HTTP/1.1 101 "),
        "the upgrade was refused: {head}{}",
        String::from_utf8_lossy(&unread)
    );
    ensure!(
        head.contains(&frame::accept(&key)),
        "the upgrade was answered with a wrong key: {head}"
    );

    Ok(unread)
}

/// Reads the head of an HTTP answer; gives it and the bytes that came after it.
pub async fn read_head(stream: &mut TcpStream) -> anyhow::Result<(String, Vec<u8>)> {
    let mut answer = Vec::new();
    let end = loop {
        if let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        ensure!(answer.len() < HEAD_BYTES_MAX, "the head of the answer has no end");
        ensure!(stream.read_buf(&mut answer).await? > 0, "no answer");
    };
    let rest = answer.split_off(end);
    Ok((String::from_utf8(answer)?, rest))
}

//! The load client's event stream: `text/event-stream` over HTTP/1.1, read no faster than its caller wants.

use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::socket::read_head;

/// The longest line that is read, in bytes, and the longest chunk.
const BYTES_MAX: usize = 1024 * 1024;
const READ_BYTES: usize = 4 * 1024;

/// Where a stream begins.
#[derive(Debug)]
pub struct Opening<'o> {
    pub address: SocketAddr,
    pub token: &'o str,
    pub channels: Vec<&'o str>,
    /// The last `id:` that was heard.
    pub cursor: Option<&'o str>,
    /// Whether the cursor travels in the address instead of the header.
    pub is_in_query: bool,
}

/// What the server answers instead of a stream.
#[derive(Debug)]
pub struct Refused {
    status: u16,
    answer: String,
}

#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    wire: Vec<u8>,
    framing: Framing,
    body: Vec<u8>,
    /// The event whose end has not come yet.
    unfinished: Event,
    /// When the server said something last, be it a comment.
    pub heard_at: Instant,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
    pub id: Option<String>,
}

/// What comes next on the wire (RFC 9112, section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Size,
    /// So many bytes of a chunk, and its line end.
    Chunk(usize),
    /// No chunks: all that comes.
    Plain,
    Over,
}

impl Stream {
    /// Asks for the stream; [`Refused`] is the error when the server gives none.
    pub async fn open(mut tcp: TcpStream, opening: &Opening<'_>) -> anyhow::Result<Self> {
        tcp.write_all(opening.request().as_bytes()).await?;
        let (head, wire) = read_head(&mut tcp).await?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 = status.with_context(|| format!("not HTTP: {head}"))?;
        if status != 200 {
            let answer = format!("{head}{}", String::from_utf8_lossy(&wire));
            return Err(Refused { status, answer }.into());
        }
        let head = head.to_ascii_lowercase();
        ensure!(head.contains("content-type: text/event-stream"), "not a stream: {head}");
        let is_chunked = head.contains("transfer-encoding: chunked");
        let framing = if is_chunked { Framing::Size } else { Framing::Plain };

        Ok(Self {
            tcp,
            wire,
            framing,
            body: Vec::new(),
            unfinished: Event::default(),
            heard_at: Instant::now(),
        })
    }

    /// The next event that has data. Errors when the stream ends.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            self.framing.unframe(&mut self.wire, &mut self.body)?;
            while let Some(line) = take_line(&mut self.body)? {
                if let Some(event) = self.unfinished.take(&line) {
                    return Ok(event);
                }
            }
            ensure!(self.framing != Framing::Over, "the server ended the stream");
            self.wire.reserve(READ_BYTES);
            self.tcp.readable().await?;
            match self.tcp.try_read_buf(&mut self.wire) {
                Ok(0) => bail!("the server ended the connection"),
                Ok(_) => self.heard_at = Instant::now(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Opening<'_> {
    fn request(&self) -> String {
        let mut query: Vec<_> =
            self.channels.iter().map(|channel| format!("channel={channel}")).collect();
        let mut header = String::new();
        match self.cursor {
            Some(cursor) if self.is_in_query => {
                query.push(format!("last_event_id={}", escaped(cursor)));
            }
            Some(cursor) => header = format!("Last-Event-ID: {cursor}\r\n"),
            None => {}
        }
        format!(
            "GET /v1/stream?{} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\
             Authorization: Bearer {}\r\n{header}\r\n",
            query.join("&"),
            self.address,
            self.token,
        )
    }
}

impl Refused {
    /// Whether the server says that the request was wrong, and not that it cannot answer it now.
    pub fn is_for_good(&self) -> bool {
        (400..500).contains(&self.status) && self.status != 429
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a stream was refused: {}", self.answer)
    }
}

impl std::error::Error for Refused {}

impl Framing {
    /// Moves what is there of the body from `wire` to `body`.
    fn unframe(&mut self, wire: &mut Vec<u8>, body: &mut Vec<u8>) -> anyhow::Result<()> {
        loop {
            match *self {
                Self::Size => {
                    let Some(line) = take_line(wire)? else {
                        return Ok(());
                    };
                    let size = line.split(';').next().unwrap_or_default().trim();
                    let size = usize::from_str_radix(size, 16)
                        .with_context(|| format!("not the size of a chunk: {line:?}"))?;
                    ensure!(size <= BYTES_MAX, "a chunk of {size} bytes");
                    *self = if size == 0 { Self::Over } else { Self::Chunk(size) };
                }
                Self::Chunk(0) => {
                    let Some(end) = wire.get(..2) else {
                        return Ok(());
                    };
                    ensure!(end == b"\r\n", "a chunk is longer than it said");
                    wire.drain(..2);
                    *self = Self::Size;
                }
                Self::Chunk(left) => {
                    if wire.is_empty() {
                        return Ok(());
                    }
                    let count = left.min(wire.len());
                    body.extend(wire.drain(..count));
                    *self = Self::Chunk(left - count);
                }
                Self::Plain => {
                    body.append(wire);
                    return Ok(());
                }
                Self::Over => return Ok(()),
            }
        }
    }
}

impl Event {
    /// Takes a line in; gives the event that it ends, unless there is no data in it.
    fn take(&mut self, line: &str) -> Option<Self> {
        if line.is_empty() {
            let event = std::mem::take(self);
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" => self.id = Some(value.to_owned()),
            // A comment has an empty name, and `retry` is for browsers.
            _ => {}
        }
        None
    }
}

/// The first whole line of `buffer`, without its end.
fn take_line(buffer: &mut Vec<u8>) -> anyhow::Result<Option<String>> {
    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
        ensure!(buffer.len() < BYTES_MAX, "a line has no end");
        return Ok(None);
    };
    let mut line: Vec<u8> = buffer.drain(..=end).collect();
    line.pop();
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(String::from_utf8(line)?))
}

/// `text` as a part of an address (RFC 3986, section 2).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a body that comes in chunks of `size`, byte by byte.
    fn events(body: &str, size: usize) -> Vec<Event> {
        let mut wire: Vec<u8> = Vec::new();
        for chunk in body.as_bytes().chunks(size) {
            wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
            wire.extend(chunk);
            wire.extend(b"\r\n");
        }
        wire.extend(b"0\r\n\r\n");

        let (mut framing, mut event) = (Framing::Size, Event::default());
        let (mut arrived, mut body, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for byte in wire {
            arrived.push(byte);
            framing.unframe(&mut arrived, &mut body).unwrap();
            while let Some(line) = take_line(&mut body).unwrap() {
                events.extend(event.take(&line));
            }
        }
        assert_eq!(framing, Framing::Over);
        events
    }

    #[test]
    fn events_are_whole_however_the_body_is_cut() {
        let body = "retry: 500\n\n: still here\n\nid: a1\nevent: live\ndata: {\"seq\":7}\n\n\
                    event: note\r\ndata: one\r\ndata:two\r\n\r\n";

        for size in [1, 2, 7, 1_000] {
            let named = |name: &str, data: &str, id: Option<&str>| Event {
                name: name.to_owned(),
                data: data.to_owned(),
                id: id.map(str::to_owned),
            };
            let expected =
                [named("live", "{\"seq\":7}", Some("a1")), named("note", "one\ntwo", None)];
            assert_eq!(events(body, size), expected);
        }
    }

    #[test]
    fn a_chunk_that_is_none_is_an_error_and_a_body_without_chunks_is_read_as_it_is() {
        let mut body = Vec::new();
        assert!(Framing::Size.unframe(&mut b"zz\r\n".to_vec(), &mut body).is_err());
        assert!(Framing::Size.unframe(&mut b"1\r\nabc".to_vec(), &mut body).is_err());
        body.clear();
        Framing::Plain.unframe(&mut b"data: x\n".to_vec(), &mut body).unwrap();
        assert_eq!(body, b"data: x\n");
    }

    #[test]
    fn the_cursor_travels_in_the_header_or_in_the_address() {
        let opening = |is_in_query| Opening {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            token: "t",
            channels: vec!["room:x", "room:y"],
            cursor: Some("a+b"),
            is_in_query,
        };

        let (header, query) = (opening(false).request(), opening(true).request());

        assert!(header.starts_with("GET /v1/stream?channel=room:x&channel=room:y HTTP/1.1\r\n"));
        assert!(header.ends_with("\r\nLast-Event-ID: a+b\r\n\r\n"));
        assert!(query.contains("&last_event_id=a%2Bb HTTP/1.1\r\n"));
        assert!(query.ends_with("Bearer t\r\n\r\n"));
    }
}

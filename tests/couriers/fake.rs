//! An HTTP server that does as it is told: answers, or fails, in every way that servers do.
//!
//! It speaks bytes rather than HTTP, so that no library keeps it from being wrong. Each connection is one request.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const DRIP_INTERVAL: Duration = Duration::from_millis(50);
const HEAD_BYTES_MAX: usize = 64 * 1_024;
/// A client that swallowed all of it would have read far more than it should.
const HUGE_BYTES: usize = 64 * 1_024 * 1_024;

/// What happens to one request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// An answer with its status, further headers and its body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Nothing is read and nothing is said.
    Ignore,
    /// The request is taken, and never answered.
    TakeAndHang,
    /// The connection is reset before anything is read.
    ResetAtOnce,
    /// The request is taken, and the connection is reset.
    TakeAndReset,
    /// The connection ends in the middle of the head.
    EndInHead,
    /// A byte of the head every now and then, for ever.
    DripHead,
    /// 200, and then a byte of the body every now and then, for ever.
    DripBody,
    /// 200, and a body without measure.
    HugeBody,
    /// Something that is no HTTP.
    Nonsense,
}

/// A request that was read.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in small letters.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// The server; it ends when it is dropped.
pub(crate) struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    script: VecDeque<Act>,
    connections: usize,
    requests: Vec<Request>,
}

pub(crate) fn answer(status: u16, body: &str) -> Act {
    Act::Answer(status, Vec::new(), body.to_owned())
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("there is no header {name}: {self:?}"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Fake {
    /// Answers 200 unless it is told otherwise.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let state = Arc::clone(&shared);
                tokio::spawn(async move { serve(stream, &state).await });
            }
        });
        Self { address, state, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What happens to the next requests, in this order.
    pub(crate) fn will(&self, acts: impl IntoIterator<Item = Act>) {
        self.state().script.extend(acts);
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    pub(crate) fn last_request(&self) -> Request {
        self.state().requests.last().expect("there was a request").clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state().connections
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let act = {
        let mut state = state.lock().unwrap();
        state.connections += 1;
        state.script.pop_front().unwrap_or_else(|| answer(200, "{}"))
    };
    match act {
        Act::Ignore => std::future::pending().await,
        Act::ResetAtOnce => return reset(stream),
        _ => {}
    }
    let Some(request) = read_request(&mut stream).await else { return };
    state.lock().unwrap().requests.push(request);
    // A client that has had enough goes away: that is no failure here.
    let _ = perform(act, stream).await;
}

async fn perform(act: Act, mut stream: TcpStream) -> std::io::Result<()> {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
    match act {
        Act::Answer(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Told\r\nConnection: close\r\n");
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await
        }
        Act::TakeAndHang | Act::Ignore => std::future::pending().await,
        Act::TakeAndReset | Act::ResetAtOnce => {
            reset(stream);
            Ok(())
        }
        Act::EndInHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await?;
            stream.shutdown().await
        }
        Act::DripHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ").await?;
            drip(stream).await
        }
        Act::DripBody => {
            stream.write_all(OK).await?;
            drip(stream).await
        }
        Act::HugeBody => {
            stream.write_all(OK).await?;
            let block = vec![b'a'; 64 * 1_024];
            for _ in 0..HUGE_BYTES / block.len() {
                stream.write_all(&block).await?;
            }
            stream.shutdown().await
        }
        Act::Nonsense => {
            stream.write_all(b"220 mail.example.com ESMTP\r\n").await?;
            stream.shutdown().await
        }
    }
}

async fn drip(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        stream.write_all(b"a").await?;
        tokio::time::sleep(DRIP_INTERVAL).await;
    }
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if read.len() > HEAD_BYTES_MAX || stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).ok()?;
    let mut body = read.split_off(end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request { method, path, headers, body })
}

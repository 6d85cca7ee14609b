//! A client of `text/event-stream` that speaks HTTP/1.1 by itself, so that a test decides how much it reads.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::app::PATIENCE;
use crate::user::User;

pub(crate) struct EventStream {
    stream: BufReader<TcpStream>,
    text: String,
    /// What a browser would send as `Last-Event-ID`.
    pub(crate) last_event_id: Option<String>,
    /// Who comes and goes is of interest to few tests, and seen by most.
    pub(crate) hears_presence: bool,
    /// What the server last said in `retry:`.
    pub(crate) retry_ms: Option<u64>,
}

/// One event as it came.
#[derive(Debug)]
pub(crate) struct StreamEvent {
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl EventStream {
    /// Opens a stream; panics with the answer unless it is one.
    pub(crate) async fn open(
        port: u16,
        user: &User,
        path: &str,
        last_event_id: Option<&str>,
    ) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        Self::over(stream, user, path, last_event_id).await
    }

    /// As [`Self::open`], where there may be no server, or one that is going away.
    pub(crate) async fn try_open(
        port: u16,
        user: &User,
        path: &str,
        last_event_id: Option<&str>,
    ) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        Self::try_over(stream, user, path, last_event_id).await
    }

    /// The same for a client whose system takes only little before it reads.
    pub(crate) async fn open_narrow(port: u16, user: &User, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        Self::over(stream, user, path, None).await
    }

    async fn over(stream: TcpStream, user: &User, path: &str, last_event_id: Option<&str>) -> Self {
        Self::try_over(stream, user, path, last_event_id).await.expect("an answer")
    }

    async fn try_over(
        mut stream: TcpStream,
        user: &User,
        path: &str,
        last_event_id: Option<&str>,
    ) -> Option<Self> {
        let header = last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /v1{path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nAuthorization: Bearer {}\r\n{header}\r\n",
            user.token
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut stream = BufReader::with_capacity(1024, stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = timeout(PATIENCE, stream.read_line(&mut head)).await.expect("an answer");
            read.ok().filter(|read| *read > 0)?;
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let head = head.to_ascii_lowercase();
        // One that goes away says in one piece that somebody else is to be asked.
        head.contains("transfer-encoding: chunked").then_some(())?;
        for header in
            ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"]
        {
            assert!(head.contains(header), "{header}: {head}");
        }
        let last_event_id = last_event_id.map(str::to_owned);
        let hears_presence = path.starts_with("/online-status");
        Some(Self { stream, text: String::new(), last_event_id, hears_presence, retry_ms: None })
    }

    /// The next event; panics when the stream ends instead.
    pub(crate) async fn next(&mut self) -> StreamEvent {
        self.try_next().await.expect("an event")
    }

    /// The next event; `None` when the stream ends instead.
    pub(crate) async fn try_next(&mut self) -> Option<StreamEvent> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(event) = self.heed(&block) {
                    return Some(event);
                }
            }
            if !timeout(PATIENCE, self.read_chunk()).await.expect("the server says something") {
                return None;
            }
        }
    }

    /// Reads events of one channel up to `last`, which must follow one another from after `position`; gives the rest.
    pub(crate) async fn read_up_to(
        &mut self,
        channel: &str,
        mut position: i64,
        last: i64,
    ) -> Vec<StreamEvent> {
        let mut others = Vec::new();
        while position < last {
            let event = self.next().await;
            match event.data["seq"].as_i64() {
                Some(seq) if event.name != "live" && event.data["channel"] == channel => {
                    position += 1;
                    assert_eq!(seq, position, "{event:?}");
                }
                _ => others.push(event),
            }
        }
        others
    }

    fn heed(&mut self, block: &str) -> Option<StreamEvent> {
        let (mut name, mut data) = (None, None);
        for line in block.lines() {
            match line.split_once(':').map(|(field, value)| (field, value.trim_start())) {
                Some(("id", id)) => self.last_event_id = Some(id.to_owned()),
                Some(("event", value)) => name = Some(value.to_owned()),
                Some(("data", value)) => data = Some(serde_json::from_str(value).unwrap()),
                Some(("retry", ms)) => self.retry_ms = Some(ms.parse().unwrap()),
                Some(("", _)) => {}
                unknown => assert_eq!(line, "", "{unknown:?}"),
            }
        }
        let event = StreamEvent { name: name?, data: data? };
        assert_eq!(event.data["event"], event.name, "one name in both places");
        (self.hears_presence || event.name != "presence_changed").then_some(event)
    }

    /// False at the end of the body, or of the connection.
    async fn read_chunk(&mut self) -> bool {
        let mut size = String::new();
        if !self.stream.read_line(&mut size).await.is_ok_and(|read| read > 0) {
            return false;
        }
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk has a size");
        let mut chunk = vec![0; size + 2];
        if self.stream.read_exact(&mut chunk).await.is_err() || size == 0 {
            return false;
        }
        self.text.push_str(std::str::from_utf8(&chunk[..size]).expect("events are UTF-8"));
        true
    }
}

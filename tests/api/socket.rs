//! A client on the socket, by a public WebSocket library.
//!
//! Events that arrive while a reply is awaited are kept, in order.

use std::collections::VecDeque;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::app::PATIENCE;

pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    events: VecDeque<Value>,
    last_id: u64,
    /// Who comes and goes is of interest to few tests, and seen by most.
    hears_presence: bool,
}

/// What came in.
#[derive(Debug)]
enum Incoming {
    Said(Value),
    /// The connection ended, with this code if the server gave one.
    Closed(Option<u16>),
}

impl Socket {
    pub(crate) async fn open(port: u16, token: Option<&str>) -> Self {
        Self::try_open(port, token).await.expect("the handshake succeeds")
    }

    pub(crate) async fn try_open(port: u16, token: Option<&str>) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        Self::over(stream, port, token).await
    }

    /// A client whose system takes only little before it reads, as a phone on a bad line does.
    pub(crate) async fn open_narrow(port: u16, token: Option<&str>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        Self::over(stream, port, token).await.expect("the handshake succeeds")
    }

    async fn over(stream: TcpStream, port: u16, token: Option<&str>) -> Option<Self> {
        let mut request =
            format!("ws://127.0.0.1:{port}/v1/chat/socket").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", "madang.v1.json".parse().unwrap());
        if let Some(token) = token {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let (stream, response) = client_async(request, stream).await.ok()?;
        assert_eq!(response.headers()["sec-websocket-protocol"], "madang.v1.json");
        Some(Self { stream, events: VecDeque::new(), last_id: 0, hears_presence: false })
    }

    /// From now on, who comes and goes is an event like any other.
    pub(crate) fn hear_presence(mut self) -> Self {
        self.hears_presence = true;
        self
    }

    /// Says who one is and what one follows; gives the answer. The `live` events are taken off.
    pub(crate) async fn hello(&mut self, channels: &[&str]) -> Value {
        let wanted: Vec<Value> =
            channels.iter().map(|channel| json!({ "channel": channel })).collect();
        let hello = self.ok(json!({ "op": "hello", "subscribe": wanted })).await;
        for channel in channels {
            assert!(hello["channels"][channel]["seq"].is_i64(), "{hello}");
            assert_eq!(self.next_event().await["event"], "live");
        }
        hello
    }

    /// Follows one more channel, from where `wanted` says; gives the answer for it.
    pub(crate) async fn subscribe(&mut self, wanted: Value) -> Value {
        let channel = wanted["channel"].as_str().unwrap().to_owned();
        let answer = self.ok(json!({ "op": "subscribe", "channels": [wanted] })).await;
        answer["channels"][&channel].clone()
    }

    /// Reads events of one channel up to `last`, which must follow one another from after `position`; everything else
    /// that is said of it meanwhile is given, in order.
    pub(crate) async fn read_up_to(
        &mut self,
        channel: &str,
        mut position: i64,
        last: i64,
    ) -> Vec<Value> {
        let mut others = Vec::new();
        while position < last {
            let event = self.next_event().await;
            match event["seq"].as_i64() {
                Some(seq) if event["event"] != "live" && event["channel"] == channel => {
                    position += 1;
                    assert_eq!(seq, position, "{event}");
                }
                _ => others.push(event),
            }
        }
        others
    }

    /// Sends a message and gives what was acknowledged.
    pub(crate) async fn send(&mut self, room: &str, key: &str, body: &str) -> Value {
        self.ok(send(room, key, body)).await
    }

    /// Asks, and gives the answer of a request that must be done.
    pub(crate) async fn ok(&mut self, request: Value) -> Value {
        let reply = self.request(request).await;
        assert!(reply["ok"].is_object(), "{reply}");
        reply["ok"].clone()
    }

    /// Asks, and gives the code of a refusal.
    pub(crate) async fn refused(&mut self, request: Value) -> String {
        let reply = self.request(request).await;
        reply["error"]["code"].as_str().unwrap_or_else(|| panic!("not refused: {reply}")).to_owned()
    }

    /// Asks and waits for the reply.
    pub(crate) async fn request(&mut self, request: Value) -> Value {
        let id = self.ask(request).await;
        self.try_reply(id).await.expect("the server replies")
    }

    /// Asks without waiting; gives the number that the reply will have.
    pub(crate) async fn ask(&mut self, mut request: Value) -> u64 {
        self.last_id += 1;
        request["id"] = self.last_id.into();
        self.write(Message::text(request.to_string())).await;
        self.last_id
    }

    /// As [`Self::ask`], where the server may have gone already.
    pub(crate) async fn try_ask(&mut self, mut request: Value) -> Option<u64> {
        self.last_id += 1;
        request["id"] = self.last_id.into();
        self.try_write(Message::text(request.to_string())).await.then_some(self.last_id)
    }

    /// Waits for the reply to one request; `None` when the connection ends instead.
    pub(crate) async fn try_reply(&mut self, id: u64) -> Option<Value> {
        self.reply_or_close(id).await.ok()
    }

    /// As [`Self::try_reply`], with the code by which the connection ends.
    pub(crate) async fn reply_or_close(&mut self, id: u64) -> Result<Value, Option<u16>> {
        loop {
            match self.read().await {
                Incoming::Said(said) if said["id"] == id => return Ok(said),
                Incoming::Said(said) if said["event"].is_string() => self.events.push_back(said),
                Incoming::Said(said) => panic!("a reply to something else: {said}"),
                Incoming::Closed(code) => return Err(code),
            }
        }
    }

    /// The next reply, whatever it answers; `None` when the connection ends instead.
    pub(crate) async fn next_reply(&mut self) -> Option<Value> {
        loop {
            match self.read().await {
                Incoming::Said(said) if said["event"].is_string() => self.events.push_back(said),
                Incoming::Said(said) => return Some(said),
                Incoming::Closed(_) => return None,
            }
        }
    }

    /// The next event; heartbeats do not count.
    pub(crate) async fn next_event(&mut self) -> Value {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        match self.read().await {
            Incoming::Said(said) if said["event"].is_string() => said,
            unexpected => panic!("an event was expected: {unexpected:?}"),
        }
    }

    /// The next event, or `None` when the connection ends instead.
    pub(crate) async fn try_event(&mut self) -> Option<Value> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        match self.read().await {
            Incoming::Said(said) => Some(said),
            Incoming::Closed(_) => None,
        }
    }

    /// The next event of this name; others before it are passed over.
    pub(crate) async fn next_named(&mut self, name: &str) -> Value {
        loop {
            let event = self.next_event().await;
            if event["event"] == name {
                return event;
            }
        }
    }

    /// The next event of a channel; what is said of anything else is passed over.
    pub(crate) async fn next_of(&mut self, channel: &str) -> Value {
        loop {
            let event = self.next_event().await;
            if event["channel"] == channel {
                return event;
            }
        }
    }

    /// The next frame as it comes, reply or event.
    pub(crate) async fn next_frame(&mut self) -> Value {
        match self.read().await {
            Incoming::Said(said) => said,
            Incoming::Closed(code) => panic!("the connection ended: {code:?}"),
        }
    }

    /// Events that came before the answer to a ping: all that the server had to say until now.
    pub(crate) async fn events_so_far(&mut self) -> Vec<Value> {
        self.ok(json!({ "op": "ping" })).await;
        self.events.drain(..).collect()
    }

    /// Waits for the end and gives its code; `None` when there was no close frame.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.read().await {
                Incoming::Said(said) => self.events.push_back(said),
                Incoming::Closed(code) => return code,
            }
        }
    }

    /// As [`Self::closed`], with the `bye` that must come before.
    pub(crate) async fn closed_with_bye(&mut self) -> Option<u16> {
        let code = self.closed().await;
        let bye = self.events.back().expect("a last word");
        assert_eq!(bye["event"], "bye", "{bye}");
        assert_eq!(bye["code"].as_u64(), code.map(u64::from), "{bye}");
        code
    }

    pub(crate) async fn write_json(&mut self, said: &Value) {
        self.write(Message::text(said.to_string())).await;
    }

    pub(crate) async fn write(&mut self, message: Message) {
        timeout(PATIENCE, self.stream.send(message)).await.expect("the server reads").unwrap();
    }

    /// As [`Self::write`], where the server may have gone already.
    pub(crate) async fn try_write(&mut self, message: Message) -> bool {
        timeout(PATIENCE, self.stream.send(message)).await.expect("the server reads").is_ok()
    }

    async fn read(&mut self) -> Incoming {
        loop {
            let read =
                timeout(PATIENCE, self.stream.next()).await.expect("the server says something");
            match read {
                Some(Ok(Message::Text(text))) => {
                    let said: Value = serde_json::from_str(&text).expect("frames are JSON");
                    let is_presence = said["event"] == "presence_changed";
                    if said["event"] != "ping" && (self.hears_presence || !is_presence) {
                        return Incoming::Said(said);
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    return Incoming::Closed(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Incoming::Closed(None),
            }
        }
    }
}

/// The request that sends a message.
pub(crate) fn send(room: &str, key: &str, body: &str) -> Value {
    json!({ "op": "send", "channel": format!("room:{room}"), "key": key, "data": { "body": body } })
}

//! What is said on a socket: one JSON object a text frame (or several, one a line), parsed strictly.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::actors::hub::channel::Channel;
use crate::actors::hub::cursor::Given;
use crate::actors::hub::subscription::Start;
use crate::domain::ids::UserId;
use crate::domain::messages::MessageDraft;
use crate::domain::presence::Choice;
use crate::domain::rooms::Seq;
use crate::error::ApiError;

/// The subprotocol that this server speaks.
pub const SUBPROTOCOL: &str = "madang.v1.json";
/// A second subprotocol of this form carries the access token of clients that cannot set headers.
pub const TOKEN_SUBPROTOCOL_PREFIX: &str = "madang.auth.";
/// Channels in one `subscribe` or `hello`.
pub const CHANNELS_A_REQUEST_MAX: usize = 64;

/// The client's number for a request, given back in its reply.
pub type RequestId = u64;

/// One request: its number, if it wants a reply, and what it asks for.
#[derive(Debug)]
pub struct Request {
    pub id: Option<RequestId>,
    pub op: Result<Operation, BadRequest>,
}

/// Why a request was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRequest {
    /// Not a JSON object with an `op`.
    Malformed,
    /// An `op` that does not exist.
    UnknownOp,
    /// Fields that are missing, wrong or unknown.
    InvalidFields,
}

impl BadRequest {
    /// The code in the error reply.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownOp => "unknown_op",
            Self::InvalidFields => "invalid_fields",
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Malformed => {
                "a request is a JSON object with an `op` and, for a reply, a numeric `id`"
            }
            Self::UnknownOp => "there is no such op",
            Self::InvalidFields => "a field is missing, of the wrong type or unknown",
        }
    }
}

/// What a client can ask for.
#[derive(Debug)]
pub enum Operation {
    Hello(Hello),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    Send(Send),
    Edit(Edit),
    Delete(OfMessage),
    React(React),
    Unreact(React),
    Typing(OfChannel),
    Read(Read),
    History(History),
    Auth(Auth),
    Cursor(Empty),
    SetPresence(SetPresence),
    GetPresence(GetPresence),
    Ping(Empty),
    Pong(Empty),
    Bye(Empty),
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident : $type:ty),* $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            // Read before, by `Head`.
            #[serde(default, rename = "id")]
            _id: serde::de::IgnoredAny,
            #[serde(default, rename = "op")]
            _op: serde::de::IgnoredAny,
            $($(#[$attr])* pub $field: $type,)*
        }
    )+};
}

fields! {
    Hello {
        #[serde(default)] token: Option<String>,
        #[serde(default)] ticket: Option<String>,
        #[serde(default)] subscribe: Vec<Subscription>,
        /// Where the client stands in channels for which it names no position.
        #[serde(default)] cursor: Option<String>,
        /// How the user is to be seen from here.
        #[serde(default)] presence: Choice,
        /// What the client says of itself; logged nowhere, kept nowhere.
        #[serde(default)] client: Option<Client>,
    }
    Subscribe {
        channels: Vec<Subscription>,
        #[serde(default)] cursor: Option<String>,
    }
    Unsubscribe { channels: Vec<String> }
    Send { channel: String, key: String, data: MessageDraft }
    Edit { channel: String, seq: Seq, data: Wording }
    OfMessage { channel: String, seq: Seq }
    React { channel: String, seq: Seq, emoji: String }
    OfChannel { channel: String }
    Read { channel: String, seq: Seq }
    History {
        channel: String,
        #[serde(default)] before: Option<Seq>,
        #[serde(default)] after: Option<Seq>,
        #[serde(default)] limit: Option<i64>,
    }
    SetPresence { status: Choice }
    GetPresence {
        users: Vec<UserId>,
        /// Whether changes are to be shown from now on, wherever these users are.
        #[serde(default)] watch: bool,
    }
    Auth { token: String }
    Empty {}
}

/// A channel to follow, and from where.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    pub channel: String,
    /// The last position the client has.
    #[serde(default)]
    pub after: Option<Seq>,
    /// Instead of a position: so many of the newest events.
    #[serde(default)]
    pub last: Option<Seq>,
    /// The epoch of that position.
    #[serde(default)]
    pub epoch: Option<String>,
}

impl Subscription {
    /// Where its `channel` begins, in a database with this `epoch`.
    #[must_use]
    pub fn start(&self, channel: Channel, cursor: Option<&Given>, epoch: &str) -> Start {
        match (self.after, self.last) {
            (Some(after), _) if self.epoch.as_deref().is_some_and(|known| known != epoch) => {
                Start::Unknown(after)
            }
            (Some(after), _) => Start::After(after),
            (None, Some(last)) => Start::Last(last),
            (None, None) => cursor.map_or(Start::Head, |given| given.start(channel, epoch)),
        }
    }
}

/// New wording of a message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wording {
    pub body: String,
}

/// Name and version of a client program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    #[serde(default, rename = "name")]
    _name: Option<String>,
    #[serde(default, rename = "version")]
    _version: Option<String>,
}

#[derive(Deserialize)]
struct Head<'r> {
    #[serde(default)]
    id: Option<RequestId>,
    #[serde(borrow)]
    op: std::borrow::Cow<'r, str>,
}

impl Request {
    /// Reads one request. Nesting is bounded by the parser, size by the frame.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let Ok(head) = serde_json::from_str::<Head<'_>>(text) else {
            let id = serde_json::from_str::<Value>(text)
                .ok()
                .and_then(|value| value.get("id").and_then(Value::as_u64));
            return Self { id, op: Err(BadRequest::Malformed) };
        };
        let op = match head.op.as_ref() {
            "hello" => fields(text).map(Operation::Hello),
            "subscribe" => fields(text).map(Operation::Subscribe),
            "unsubscribe" => fields(text).map(Operation::Unsubscribe),
            "send" => fields(text).map(Operation::Send),
            "edit" => fields(text).map(Operation::Edit),
            "delete" => fields(text).map(Operation::Delete),
            "react" => fields(text).map(Operation::React),
            "unreact" => fields(text).map(Operation::Unreact),
            "typing" => fields(text).map(Operation::Typing),
            "read" => fields(text).map(Operation::Read),
            "history" => fields(text).map(Operation::History),
            "auth" => fields(text).map(Operation::Auth),
            "set_presence" => fields(text).map(Operation::SetPresence),
            "get_presence" => fields(text).map(Operation::GetPresence),
            "cursor" => fields(text).map(Operation::Cursor),
            "ping" => fields(text).map(Operation::Ping),
            "pong" => fields(text).map(Operation::Pong),
            "bye" => fields(text).map(Operation::Bye),
            _ => Err(BadRequest::UnknownOp),
        };
        Self { id: head.id, op }
    }
}

fn fields<T: DeserializeOwned>(text: &str) -> Result<T, BadRequest> {
    serde_json::from_str(text).map_err(|_| BadRequest::InvalidFields)
}

/// The reply to a request that was done.
#[must_use]
pub fn ok(id: Option<RequestId>, answer: &impl Serialize) -> String {
    // Answers are made of strings, numbers and lists of them: they always have a JSON form.
    let answer = serde_json::to_string(answer).unwrap_or_default();
    match id {
        Some(id) => format!(r#"{{"id":{id},"ok":{answer}}}"#),
        None => format!(r#"{{"ok":{answer}}}"#),
    }
}

/// The reply to a request that was not done, with the code that REST would give.
#[must_use]
pub fn error(id: Option<RequestId>, error: &ApiError) -> String {
    let (status, code) = error.status_and_code();
    // As in REST, the cause of a server error stays inside.
    let message = if status.is_server_error() { code.to_owned() } else { error.to_string() };
    refusal(id, code, &message, error.retry_after_ms())
}

/// The reply to a request that was not understood.
#[must_use]
pub fn not_understood(id: Option<RequestId>, bad: BadRequest) -> String {
    refusal(id, bad.code(), bad.message(), None)
}

/// The reply to a request that was refused before it ran.
#[must_use]
pub fn refusal(
    id: Option<RequestId>,
    code: &str,
    message: &str,
    retry_after_ms: Option<u64>,
) -> String {
    let mut error = json!({ "code": code, "message": message });
    if let (Some(wait), Some(fields)) = (retry_after_ms, error.as_object_mut()) {
        fields.insert("retry_after_ms".to_owned(), wait.into());
    }
    match id {
        Some(id) => format!(r#"{{"id":{id},"error":{error}}}"#),
        None => format!(r#"{{"error":{error}}}"#),
    }
}

/// The reply to a request that names more channels than one request may.
#[must_use]
pub fn too_many_channels(id: Option<RequestId>) -> String {
    refusal(id, "too_many_channels", "at most 64 channels in one request", None)
}

/// Why one channel of a `subscribe` or `hello` is not followed.
#[must_use]
pub fn failed(code: &str, message: &str) -> Value {
    json!({ "error": { "code": code, "message": message } })
}

/// The answer to `hello` and `subscribe`: where each channel stands.
#[derive(Serialize)]
pub struct Positions<'c> {
    pub channels: serde_json::Map<String, Value>,
    #[serde(flatten)]
    pub greeting: Option<Greeting<'c>>,
}

/// What `hello` tells besides.
#[derive(Serialize)]
pub struct Greeting<'c> {
    pub connection: String,
    pub user: UserId,
    pub ping_ms: u64,
    pub limits: Limits,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub epoch: &'c str,
}

/// The limits of a connection.
#[derive(Serialize)]
pub struct Limits {
    pub frame_bytes_max: usize,
    pub body_chars_max: usize,
    pub channels_max: usize,
    pub ops_per_second: u32,
    pub ops_burst: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> BadRequest {
        Request::parse(text).op.unwrap_err()
    }

    #[test]
    fn a_request_keeps_its_number_even_when_it_is_wrong() {
        let request = Request::parse(r#"{"id":7,"op":"send"}"#);
        assert_eq!(request.id, Some(7));
        assert_eq!(request.op.unwrap_err(), BadRequest::InvalidFields);
    }

    #[test]
    fn what_is_not_understood_has_a_code_of_its_own() {
        assert_eq!(refused("nonsense"), BadRequest::Malformed);
        assert_eq!(refused("[1]"), BadRequest::Malformed);
        assert_eq!(refused(r#"{"op":"fly"}"#), BadRequest::UnknownOp);
        assert_eq!(refused(r#"{"op":"ping","extra":1}"#), BadRequest::InvalidFields);
        assert_eq!(refused(&"[".repeat(60_000)), BadRequest::Malformed);
    }

    #[test]
    fn a_send_is_read_whole() {
        let text = r#"{"id":2,"op":"send","channel":"room:x","key":"k","data":{"body":"hi"}}"#;
        let Ok(Operation::Send(send)) = Request::parse(text).op else { panic!("not a send") };
        assert_eq!((send.channel.as_str(), send.key.as_str()), ("room:x", "k"));
        assert_eq!(send.data.body, "hi");
    }

    #[test]
    fn replies_begin_with_the_number() {
        assert_eq!(ok(Some(3), &json!({})), r#"{"id":3,"ok":{}}"#);
        assert_eq!(
            refusal(Some(9), "rate_limited", "slow down", Some(800)),
            r#"{"id":9,"error":{"code":"rate_limited","message":"slow down","retry_after_ms":800}}"#,
        );
    }
}

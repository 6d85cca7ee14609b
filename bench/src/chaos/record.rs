//! What one client knows: what it was given, what it was told of its sends, and what it still waits for.
//!
//! The client writes it, whoever runs the chaos reads it, and the oracle judges it.

use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::journal::{Entry, Gap, Journal, number, text};

/// The request that is said first on a socket.
pub const HELLO: u64 = 1;
/// Refusals after which the same request, with the same key, is tried again: nothing was done, or it is not known.
const PASSING: [&str; 9] = [
    "room_busy",
    "store_busy",
    "overloaded",
    "rate_limited",
    "not_ready",
    "timed_out",
    "outcome_unknown",
    "internal",
    // Of a channel, on a connection that is ending.
    "closed",
];
const RETRY: Duration = Duration::from_millis(300);
/// From here on, a close code means that the client has done wrong.
const BLAME_MIN: i64 = 4_200;
const COMPLAINTS_MAX: usize = 3;

#[derive(Debug)]
pub struct Record {
    /// The client's place among the clients.
    pub client: usize,
    pub journals: Vec<Journal>,
    pub acknowledged: Vec<Acknowledgement>,
    /// Sends whose outcome is not known yet.
    pub waiting: Vec<Waiting>,
    /// What was acknowledged, to be sent again.
    pub done: Vec<Draft>,
    /// How often it came in.
    pub visits: usize,
    /// Whether it is connected.
    pub is_here: bool,
    pub lags: usize,
    /// What no server in order says; the first few.
    pub complaints: Vec<String>,
    /// How its last connection ended.
    pub trouble: String,
}

/// A message that a client wants to send.
#[derive(Debug, Clone)]
pub struct Draft {
    pub key: String,
    pub room: usize,
    pub channel: String,
    pub chars: usize,
}

/// A send that was not acknowledged.
#[derive(Debug)]
pub struct Waiting {
    pub draft: Draft,
    /// Its number on this connection; `None` while it has still to be said there.
    pub request: Option<u64>,
    /// When it is said.
    pub due: Instant,
}

#[derive(Debug, Clone)]
pub struct Acknowledgement {
    pub key: String,
    pub room: usize,
    pub seq: i64,
    pub id: Uuid,
}

impl Draft {
    /// The frame that sends it. The same key always has the same body.
    pub fn frame(&self, request: u64) -> String {
        let body: String =
            self.key.chars().chain(std::iter::repeat('.')).take(self.chars).collect();
        json!({
            "id": request,
            "op": "send",
            "channel": self.channel,
            "key": self.key,
            "data": { "body": body },
        })
        .to_string()
    }
}

impl Waiting {
    pub fn new(draft: Draft) -> Self {
        Self { draft, request: None, due: Instant::now() }
    }
}

impl Record {
    pub fn new(client: usize, journals: Vec<Journal>) -> Self {
        Self {
            client,
            journals,
            acknowledged: Vec::new(),
            waiting: Vec::new(),
            done: Vec::new(),
            visits: 0,
            is_here: false,
            lags: 0,
            complaints: Vec::new(),
            trouble: String::new(),
        }
    }

    /// The first frame on a socket: every channel with its old position.
    pub fn hello(&self) -> String {
        let subscribe: Vec<_> = self.journals.iter().map(Journal::subscription).collect();
        json!({ "id": HELLO, "op": "hello", "subscribe": subscribe }).to_string()
    }

    /// A new connection: no request of the old ones is answered any more.
    pub fn come_in(&mut self) {
        self.visits += 1;
        self.is_here = true;
        for waiting in &mut self.waiting {
            waiting.request = None;
            waiting.due = Instant::now();
        }
    }

    /// When the next send has to be said.
    pub fn next_due(&self) -> Option<Instant> {
        let unsaid = self.waiting.iter().filter(|waiting| waiting.request.is_none());
        unsaid.map(|waiting| waiting.due).min()
    }

    /// Whether nothing of `heads`, by room, is missing.
    pub fn has_reached(&self, heads: &[i64]) -> bool {
        let mut journals = self.journals.iter();
        journals.all(|journal| journal.position() >= heads.get(journal.room).copied())
    }

    /// Where it stands, for whoever waited for it in vain.
    pub fn standing(&self) -> String {
        let positions: Vec<_> = self
            .journals
            .iter()
            .map(|journal| format!("room {} at {:?}", journal.room, journal.position()))
            .collect();
        format!(
            "client {} ({}): {} sends without an answer; {}; last trouble: {}",
            self.client,
            if self.is_here { "connected" } else { "away" },
            self.waiting.len(),
            positions.join(", "),
            self.trouble,
        )
    }

    /// Notes something that no server in order says.
    pub fn complain(&mut self, complaint: impl Into<String>) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(complaint.into());
        }
    }

    /// Takes the answer to `hello`. Errors when there is nothing to stay for.
    pub fn hear_welcome(&mut self, frame: &Value) -> anyhow::Result<()> {
        if frame.get("id").and_then(Value::as_u64) != Some(HELLO) {
            self.hear(frame)?;
            bail!("no answer to hello: {frame}");
        }
        let mut refused = refusal(frame).map(str::to_owned);
        let channels = frame.pointer("/ok/channels");
        for journal in &mut self.journals {
            let Some(place) = channels.and_then(|channels| channels.get(&journal.channel)) else {
                continue;
            };
            match place.get("seq").and_then(Value::as_i64) {
                Some(seq) => journal.welcome(seq, place.get("epoch").and_then(Value::as_str)),
                None => refused = Some(refusal(place).unwrap_or("no position").to_owned()),
            }
        }
        let Some(code) = refused else {
            return Ok(());
        };
        if !PASSING.contains(&code.as_str()) {
            self.complain(format!("hello was refused: {frame}"));
        }
        bail!("hello was refused: {code}")
    }

    /// Takes one frame. Errors when the connection is of no use any more.
    pub fn hear(&mut self, frame: &Value) -> anyhow::Result<()> {
        let Some(event) = frame.get("event").and_then(Value::as_str) else {
            return self.blame(|record| record.hear_answer(frame));
        };
        match event {
            "bye" => {
                if number(frame, "/code")? >= BLAME_MIN {
                    self.complain(frame.to_string());
                }
                bail!("the server said {frame}")
            }
            "live" | "gap" | "lag" | "unsubscribed" => {
                self.blame(|record| record.hear_of_channel(event, frame))
            }
            _ if frame.get("seq").is_some() => {
                self.blame(|record| record.hear_of_channel(event, frame))
            }
            // What has no number may be lost, and says nothing of the log.
            _ => Ok(()),
        }
    }

    fn blame(&mut self, hear: impl FnOnce(&mut Self) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let heard = hear(self);
        if let Err(nonsense) = &heard {
            self.complain(format!("{nonsense:#}"));
        }
        heard
    }

    fn hear_of_channel(&mut self, event: &str, frame: &Value) -> anyhow::Result<()> {
        let channel = text(frame, "/channel")?;
        let Some(journal) = self.journals.iter_mut().find(|journal| journal.channel == channel)
        else {
            bail!("an event of a channel that is not followed: {frame}");
        };
        match event {
            "live" => journal.hear_live(number(frame, "/seq")?),
            "lag" => self.lags += 1,
            "gap" => journal.hear_gap(Gap {
                have: number(frame, "/have")?,
                first: number(frame, "/first")?,
                head: number(frame, "/head")?,
            }),
            "unsubscribed" => bail!("a member was sent away: {frame}"),
            _ => journal.hear_event(number(frame, "/seq")?, Entry::of(event, frame)?),
        }
        Ok(())
    }

    fn hear_answer(&mut self, frame: &Value) -> anyhow::Result<()> {
        let request = frame.get("id").and_then(Value::as_u64);
        let asked = |waiting: &Waiting| request.is_some() && waiting.request == request;
        let Some(place) = self.waiting.iter().position(asked) else {
            bail!("an answer to nothing: {frame}");
        };
        match refusal(frame) {
            Some(code) if PASSING.contains(&code) => {
                let wait = frame.pointer("/error/retry_after_ms").and_then(Value::as_u64);
                let wait = wait.map_or(RETRY, Duration::from_millis);
                if let Some(waiting) = self.waiting.get_mut(place) {
                    waiting.request = None;
                    waiting.due = Instant::now() + wait;
                }
                Ok(())
            }
            Some(_) => {
                let Waiting { draft, .. } = self.waiting.remove(place);
                self.complain(format!("{} was refused for good: {frame}", draft.key));
                Ok(())
            }
            None => {
                let (seq, id) = (number(frame, "/ok/seq")?, text(frame, "/ok/id")?);
                let id = Uuid::parse_str(id)?;
                let Waiting { draft, .. } = self.waiting.remove(place);
                let (key, room) = (draft.key.clone(), draft.room);
                self.acknowledged.push(Acknowledgement { key, room, seq, id });
                self.done.push(draft);
                Ok(())
            }
        }
    }
}

/// The code of an error, if this is one.
fn refusal(frame: &Value) -> Option<&str> {
    frame.pointer("/error/code").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::new(17, vec![Journal::new(0, "room:x")])
    }

    fn waiting(request: u64) -> Waiting {
        let draft = Draft {
            key: format!("c17-{request}"),
            room: 0,
            channel: "room:x".to_owned(),
            chars: 20,
        };
        Waiting { request: Some(request), ..Waiting::new(draft) }
    }

    #[test]
    fn a_send_waits_until_it_is_acknowledged_whatever_else_is_said() {
        let (mut record, id) = (record(), Uuid::from_u128(7));
        record.waiting = vec![waiting(2), waiting(3)];

        record.hear(&json!({ "id": 2, "error": { "code": "outcome_unknown" } })).unwrap();
        assert_eq!(record.waiting.len(), 2);
        assert!(record.next_due().is_some());

        record.hear(&json!({ "id": 3, "ok": { "id": id.to_string(), "seq": 5 } })).unwrap();
        assert_eq!(record.waiting.len(), 1);
        assert_eq!(
            record.acknowledged.first().map(|answer| (answer.seq, answer.id)),
            Some((5, id))
        );

        record.come_in();
        assert!(
            record.hear(&json!({ "id": 2, "ok": { "id": id.to_string(), "seq": 6 } })).is_err()
        );
        assert_eq!((record.waiting.len(), record.complaints.len()), (1, 1));
    }

    #[test]
    fn a_refusal_for_good_is_a_complaint_and_a_busy_room_is_none() {
        let mut record = record();
        record.waiting = vec![waiting(2)];
        let busy = json!({ "id": 1, "ok": { "channels": { "room:x": { "error": { "code": "room_busy" } } } } });
        let gone = json!({ "id": 1, "ok": { "channels": { "room:x": { "error": { "code": "channel_not_found" } } } } });

        assert!(record.hear_welcome(&busy).is_err());
        assert!(record.complaints.is_empty());
        assert!(record.hear_welcome(&gone).is_err());
        assert_eq!(record.complaints.len(), 1);
        record.hear(&json!({ "id": 2, "error": { "code": "invalid_key" } })).unwrap();
        assert_eq!((record.waiting.len(), record.complaints.len()), (0, 2));
    }

    #[test]
    fn a_client_has_reached_the_heads_when_each_of_its_rooms_has() {
        let mut record = record();
        assert!(!record.has_reached(&[4]));

        record
            .hear_welcome(&json!({ "id": 1, "ok": { "channels": { "room:x": { "seq": 3 } } } }))
            .unwrap();
        assert!(!record.has_reached(&[4]));

        record.hear(&json!({ "event": "user_joined", "channel": "room:x", "seq": 4 })).unwrap();
        assert!(record.has_reached(&[4, 9]));
    }
}

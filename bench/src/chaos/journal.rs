//! What one client was given of one room, in the order in which it was given.

use anyhow::Context as _;
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Debug)]
pub struct Journal {
    /// The room's place in the scene.
    pub room: usize,
    pub channel: String,
    /// After this number nothing may be missing; `None` until the server has named one.
    pub begin: Option<i64>,
    pub heard: Vec<Heard>,
    /// The highest number that was heard, or jumped to.
    position: Option<i64>,
    epoch: Option<String>,
    /// A control: it comes back as if it had no position.
    pub is_forgetful: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Event { seq: i64, entry: Entry },
    Gap(Gap),
}

/// What stands at one number of a room's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Message { id: Uuid, key: Box<str> },
    Other,
}

/// What the server said when it could not go on where the client left off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub have: i64,
    pub first: i64,
    pub head: i64,
}

impl Journal {
    pub fn new(room: usize, channel: &str) -> Self {
        Self {
            room,
            channel: channel.to_owned(),
            begin: None,
            heard: Vec::new(),
            position: None,
            epoch: None,
            is_forgetful: false,
        }
    }

    pub fn position(&self) -> Option<i64> {
        self.position
    }

    /// How a socket asks for the channel: with the old position, if there is one.
    pub fn subscription(&self) -> Value {
        let mut subscription = json!({ "channel": self.channel });
        let position = self.position.filter(|_| !self.is_forgetful);
        if let (Some(after), Some(fields)) = (position, subscription.as_object_mut()) {
            fields.insert("after".to_owned(), after.into());
            if let Some(epoch) = &self.epoch {
                fields.insert("epoch".to_owned(), epoch.as_str().into());
            }
        }
        subscription
    }

    /// The server has told where the channel stands.
    pub fn welcome(&mut self, seq: i64, epoch: Option<&str>) {
        self.begin_at(seq);
        self.epoch = epoch.map(str::to_owned);
    }

    pub fn hear_live(&mut self, seq: i64) {
        self.begin_at(seq);
    }

    pub fn hear_gap(&mut self, gap: Gap) {
        self.begin_at(gap.head);
        self.reach(gap.head);
        self.heard.push(Heard::Gap(gap));
    }

    pub fn hear_event(&mut self, seq: i64, entry: Entry) {
        self.begin_at(seq - 1);
        self.reach(seq);
        self.heard.push(Heard::Event { seq, entry });
    }

    /// Forgets where it began: nothing can be asked for without a position.
    pub fn begin_anew(&mut self) {
        *self = Self::new(self.room, &self.channel);
    }

    fn begin_at(&mut self, seq: i64) {
        if self.begin.is_none() {
            self.begin = Some(seq);
            self.position = Some(seq);
        }
    }

    fn reach(&mut self, seq: i64) {
        self.position = self.position.max(Some(seq));
    }
}

impl Entry {
    /// What the frame of a numbered event delivers.
    pub fn of(event: &str, frame: &Value) -> anyhow::Result<Self> {
        if event != "message_sent" {
            return Ok(Self::Other);
        }
        let id = Uuid::parse_str(text(frame, "/data/id")?)?;
        Ok(Self::Message { id, key: text(frame, "/data/key")?.into() })
    }
}

/// The text at `pointer`.
pub fn text<'f>(frame: &'f Value, pointer: &str) -> anyhow::Result<&'f str> {
    let value = frame.pointer(pointer).and_then(Value::as_str);
    value.with_context(|| format!("no {pointer} in {frame}"))
}

/// The number at `pointer`.
pub fn number(frame: &Value, pointer: &str) -> anyhow::Result<i64> {
    let value = frame.pointer(pointer).and_then(Value::as_i64);
    value.with_context(|| format!("no {pointer} in {frame}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_goes_on_after_the_highest_number_it_was_given() {
        let mut journal = Journal::new(0, "room:x");
        assert_eq!(journal.subscription(), json!({ "channel": "room:x" }));

        journal.welcome(4, Some("a9"));
        journal.hear_event(5, Entry::Other);
        journal.welcome(9, Some("a9"));
        let resumed = json!({ "channel": "room:x", "after": 5, "epoch": "a9" });
        assert_eq!(journal.subscription(), resumed);
        assert_eq!(journal.begin, Some(4));

        journal.hear_gap(Gap { have: 5, first: 1, head: 3_000 });
        assert_eq!(journal.position(), Some(3_000));
    }

    #[test]
    fn a_stream_begins_with_the_first_that_it_hears() {
        let (mut live, mut event) = (Journal::new(0, "room:x"), Journal::new(0, "room:x"));

        live.hear_live(7);
        event.hear_event(7, Entry::Other);

        assert_eq!((live.begin, live.position()), (Some(7), Some(7)));
        assert_eq!((event.begin, event.position()), (Some(6), Some(7)));
    }

    #[test]
    fn a_message_is_known_by_its_id_and_key() {
        let id = Uuid::from_u128(7);
        let frame =
            json!({ "event": "message_sent", "data": { "id": id.to_string(), "key": "k" } });

        let entry = Entry::of("message_sent", &frame).unwrap();

        assert_eq!(entry, Entry::Message { id, key: "k".into() });
        assert!(Entry::of("message_sent", &json!({ "data": {} })).is_err());
        assert_eq!(Entry::of("user_joined", &json!({})).unwrap(), Entry::Other);
    }
}

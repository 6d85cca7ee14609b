//! A client that follows rooms: where it stands in each, and what it was given since.
//!
//! Numbered frames are read without parsing JSON: thousands of followers share one thread. Invariant: a position only
//! moves forward, and what it jumps over is counted.

use std::collections::HashMap;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::socket::Socket;

const HELLO: u64 = 1;

#[derive(Debug, Clone)]
pub struct Follower {
    places: Vec<Place>,
    /// Events that were given for the first time.
    pub delivered: usize,
    /// Events that were jumped over without a word.
    pub lost: usize,
    pub gaps: usize,
    pub lags: usize,
}

/// Where it stands in one room.
#[derive(Debug, Clone)]
struct Place {
    channel: String,
    /// The last event that was given; `None` until the server has named one.
    position: Option<i64>,
    epoch: Option<String>,
    is_live: bool,
}

impl Follower {
    /// Follows `channels`, from where they stand when it first comes in.
    pub fn new(channels: impl IntoIterator<Item = String>) -> Self {
        let places = channels.into_iter().map(|channel| Place {
            channel,
            position: None,
            epoch: None,
            is_live: false,
        });
        Self { places: places.collect(), delivered: 0, lost: 0, gaps: 0, lags: 0 }
    }

    /// Forgets the last `events` of every room, as if it had been away since.
    pub fn set_back(&mut self, events: i64) {
        for place in &mut self.places {
            place.position = place.position.map(|position| position - events);
        }
    }

    /// The last event of a room that it was given, or that it began after.
    pub fn position(&self, channel: &str) -> Option<i64> {
        self.places.iter().find(|place| place.channel == channel)?.position
    }

    /// How many events are missing before it has reached `heads`, by channel.
    pub fn behind(&self, heads: &HashMap<String, i64>) -> usize {
        let missing = self.places.iter().filter_map(|place| {
            let missing = heads.get(&place.channel)? - place.position.unwrap_or_default();
            usize::try_from(missing).ok()
        });
        missing.sum()
    }

    /// Says hello on a fresh connection, and listens until every room is live.
    pub async fn come_in(&mut self, socket: &mut Socket) -> anyhow::Result<()> {
        for place in &mut self.places {
            place.is_live = false;
        }
        socket.line().send(&self.hello())?;
        while !self.is_live() {
            self.listen(socket).await?;
        }
        Ok(())
    }

    /// Takes what the server says next. Errors when the connection ends, or is of no use any more.
    pub async fn listen(&mut self, socket: &mut Socket) -> anyhow::Result<()> {
        let mut heard = anyhow::Ok(());
        let mut on_text = |frame: &[u8]| {
            if heard.is_ok() {
                heard = self.hear(frame);
            }
        };
        socket.hear(&mut on_text).await?;
        heard
    }

    fn is_live(&self) -> bool {
        self.places.iter().all(|place| place.is_live)
    }

    /// The first frame on a connection: every room, from where it stands there.
    fn hello(&self) -> String {
        let subscribe = self.places.iter().map(|place| {
            let Place { channel, position, epoch, .. } = place;
            json!({ "channel": channel, "after": position, "epoch": epoch })
        });
        let subscribe: Vec<_> = subscribe.collect();
        json!({ "id": HELLO, "op": "hello", "subscribe": subscribe }).to_string()
    }

    fn hear(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        let frame = std::str::from_utf8(frame)?;
        match numbered(frame) {
            Some(("live", channel, seq)) => {
                let place = self.place(channel)?;
                place.is_live = true;
                // It says that everything up to there was given.
                let missed = place.reach(seq).map_or(0, |missed| missed + 1);
                self.lost += missed;
            }
            Some((_, channel, seq)) => {
                let missed = self.place(channel)?.reach(seq);
                if let Some(missed) = missed {
                    self.delivered += 1;
                    self.lost += missed;
                }
            }
            None => self.hear_unnumbered(&serde_json::from_str(frame)?)?,
        }
        Ok(())
    }

    fn hear_unnumbered(&mut self, frame: &Value) -> anyhow::Result<()> {
        let Some(event) = frame.get("event").and_then(Value::as_str) else {
            return self.hear_welcome(frame);
        };
        match event {
            "lag" => self.lags += 1,
            "gap" => {
                let channel = frame.get("channel").and_then(Value::as_str).unwrap_or_default();
                let head = frame.get("head").and_then(Value::as_i64);
                let head = head.with_context(|| format!("a gap without a head: {frame}"))?;
                self.place(channel)?.reach(head);
                self.gaps += 1;
            }
            "bye" | "unsubscribed" => bail!("the server said {frame}"),
            // What has no number may be lost, and says nothing of the log.
            _ => ensure!(frame.get("seq").is_none(), "a number where none is read: {frame}"),
        }
        Ok(())
    }

    fn hear_welcome(&mut self, frame: &Value) -> anyhow::Result<()> {
        ensure!(frame.get("id").and_then(Value::as_u64) == Some(HELLO), "an answer: {frame}");
        for place in &mut self.places {
            let told = frame.pointer("/ok/channels").and_then(|all| all.get(&place.channel));
            let seq = told.and_then(|told| told.get("seq")).and_then(Value::as_i64);
            let seq = seq.with_context(|| format!("hello was refused: {frame}"))?;
            place.position.get_or_insert(seq);
            let epoch = told.and_then(|told| told.get("epoch")).and_then(Value::as_str);
            place.epoch = epoch.map(str::to_owned);
        }
        Ok(())
    }

    fn place(&mut self, channel: &str) -> anyhow::Result<&mut Place> {
        let place = self.places.iter_mut().find(|place| place.channel == channel);
        place.with_context(|| format!("{channel:?} is not followed"))
    }
}

impl Place {
    /// Moves to `seq`; gives how many events were jumped over, or nothing if it has been there before.
    fn reach(&mut self, seq: i64) -> Option<usize> {
        let position = self.position.unwrap_or(seq - 1);
        if seq <= position {
            return None;
        }
        self.position = Some(seq);
        usize::try_from(seq - position - 1).ok()
    }
}

/// The name, the channel and the number of a frame that begins with all three: an event of a log, or `live`.
fn numbered(frame: &str) -> Option<(&str, &str, i64)> {
    let (event, rest) = frame.strip_prefix(r#"{"event":""#)?.split_once('"')?;
    let (channel, rest) = rest.strip_prefix(r#","channel":""#)?.split_once('"')?;
    let number = rest.strip_prefix(r#","seq":"#)?;
    let end = number.find(|digit: char| !digit.is_ascii_digit())?;
    Some((event, channel, number.get(..end)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(follower: &mut Follower, frames: &[&str]) {
        for frame in frames {
            follower.hear(frame.as_bytes()).unwrap();
        }
    }

    fn event(seq: i64) -> String {
        format!(r#"{{"event":"message_sent","channel":"room:x","seq":{seq},"data":{{"seq":1}}}}"#)
    }

    /// One that has come in at 4.
    fn follower() -> Follower {
        let mut follower = Follower::new(["room:x".to_owned()]);
        let welcome = r#"{"id":1,"ok":{"channels":{"room:x":{"seq":4,"epoch":"a9"}}}}"#;
        let live = r#"{"event":"live","channel":"room:x","seq":4}"#;
        hear(&mut follower, &[welcome, live]);
        follower
    }

    #[test]
    fn a_follower_asks_for_what_came_after_its_position() {
        let mut follower = follower();
        assert!(follower.is_live());

        hear(&mut follower, &[&event(5), &event(6)]);
        follower.set_back(3);

        let hello: Value = serde_json::from_str(&follower.hello()).unwrap();
        let asked = json!([{ "channel": "room:x", "after": 3, "epoch": "a9" }]);
        assert_eq!(hello["subscribe"], asked);
        assert_eq!((follower.delivered, follower.lost), (2, 0));
    }

    #[test]
    fn what_is_jumped_over_is_lost_and_what_is_known_is_not_counted_again() {
        let mut follower = follower();
        hear(&mut follower, &[&event(5), &event(8), &event(7)]);
        assert_eq!((follower.delivered, follower.lost), (2, 2));

        hear(&mut follower, &[r#"{"event":"live","channel":"room:x","seq":10}"#]);
        assert_eq!((follower.delivered, follower.lost), (2, 4));

        let heads = HashMap::from([("room:x".to_owned(), 13), ("room:y".to_owned(), 99)]);
        assert_eq!(follower.behind(&heads), 3);
    }

    #[test]
    fn what_has_no_number_changes_no_position() {
        let mut follower = follower();

        hear(
            &mut follower,
            &[
                r#"{"event":"lag","channel":"room:x"}"#,
                r#"{"event":"presence_changed","data":{"status":"away"}}"#,
                r#"{"event":"drain","in_ms":5}"#,
            ],
        );
        assert_eq!((follower.lags, follower.position("room:x")), (1, Some(4)));

        hear(
            &mut follower,
            &[r#"{"event":"gap","channel":"room:x","have":4,"first":1,"head":3000}"#],
        );
        assert_eq!((follower.gaps, follower.position("room:x")), (1, Some(3_000)));
        assert!(follower.hear(br#"{"event":"bye","code":4000}"#).is_err());
        assert!(follower.hear(br#"{"event":"x","seq":5,"channel":"room:x"}"#).is_err());
    }
}

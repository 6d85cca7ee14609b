//! What somebody who watches `me` on a socket is given: notifications, each once, under numbers without a hole.

use std::collections::HashSet;

use serde_json::Value;

use crate::stamp::Stamp;

const ME: &str = "me";
const CREATED: &str = "notification_created";

#[derive(Debug, Default)]
pub struct Watcher {
    /// The number of the last event.
    pub last_seq: Option<i64>,
    /// Messages that it was notified of: by publisher and number.
    heard: HashSet<(u16, u32)>,
    /// Numbers that were left out.
    pub holes: i64,
    /// Events under a number that was given before, and notifications of one message beyond the first.
    pub doubled: u64,
}

impl Watcher {
    /// Takes one frame; gives the stamp of a message that it was notified of for the first time.
    pub fn hear(&mut self, frame: &[u8]) -> Option<Stamp> {
        let event: Value = serde_json::from_slice(frame).ok()?;
        if event["channel"].as_str() != Some(ME) {
            return None;
        }
        // Frames such as `live` name a position and no event.
        let is_numbered = event.get("data").is_some();
        if let Some(seq) = event["seq"].as_i64().filter(|_| is_numbered) {
            self.count(seq);
        }
        if event["event"].as_str() != Some(CREATED) {
            return None;
        }
        let stamp = Stamp::find(frame)?;
        if self.heard.insert((stamp.publisher, stamp.number)) {
            return Some(stamp);
        }
        self.doubled += 1;
        None
    }

    fn count(&mut self, seq: i64) {
        match self.last_seq {
            Some(last) if seq <= last => self.doubled += 1,
            Some(last) => {
                self.holes += seq - last - 1;
                self.last_seq = Some(seq);
            }
            None => self.last_seq = Some(seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notified(seq: i64, number: u32) -> String {
        let body = Stamp { sent_ns: 7, publisher: 1, number }.body(64);
        format!(
            r#"{{"event":"notification_created","channel":"me","seq":{seq},"data":{{"body":"{body}","type":"mention_received"}}}}"#
        )
    }

    fn after(frames: &[String]) -> (Watcher, Vec<u32>) {
        let mut watcher = Watcher::default();
        let heard = frames.iter().filter_map(|frame| watcher.hear(frame.as_bytes()));
        let heard = heard.map(|stamp| stamp.number).collect();
        (watcher, heard)
    }

    #[test]
    fn each_message_is_heard_of_once_whatever_else_there_is() {
        let live = r#"{"event":"live","channel":"me","seq":4}"#.to_owned();
        let added = r#"{"event":"room_added","channel":"me","seq":6,"data":{}}"#.to_owned();
        let elsewhere = notified(99, 9).replace("\"me\"", "\"room:x\"");

        let (watcher, heard) = after(&[live, notified(5, 0), added, elsewhere, notified(7, 1)]);

        assert_eq!(heard, [0, 1]);
        assert_eq!((watcher.holes, watcher.doubled, watcher.last_seq), (0, 0, Some(7)));
    }

    #[test]
    fn a_hole_is_found_and_so_is_a_second_time() {
        let (watcher, heard) =
            after(&[notified(5, 0), notified(8, 1), notified(8, 2), notified(9, 1)]);

        assert_eq!(heard, [0, 1, 2]);
        assert_eq!((watcher.holes, watcher.doubled), (2, 2));
    }
}

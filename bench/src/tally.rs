//! What the receivers of a load heard, together.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::stamp::{self, Stamp};

const LATENCY_US_MAX: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// An empty histogram of microseconds, up to a minute.
pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS)?)
}

#[derive(Debug)]
pub struct Tally {
    /// Messages heard for the first time, summed over the receivers.
    pub delivered: Cell<u64>,
    /// Messages heard again, or after a later one of the same publisher.
    pub repeated: Cell<u64>,
    pub acknowledged: Cell<u64>,
    pub refused: Cell<u64>,
    /// Connections the server ended.
    pub ended: Cell<u64>,
    /// The first refusal or end, word for word.
    pub complaint: RefCell<Option<String>>,
    pub latency_us: RefCell<Histogram<u64>>,
}

impl Tally {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            delivered: Cell::default(),
            repeated: Cell::default(),
            acknowledged: Cell::default(),
            refused: Cell::default(),
            ended: Cell::default(),
            complaint: RefCell::default(),
            latency_us: RefCell::new(histogram()?),
        })
    }

    /// Takes one frame of one receiver; `next` is the number that it expects of each publisher. Gives the stamp of a
    /// message.
    pub fn hear(&self, frame: &[u8], next: &mut [u32]) -> Option<Stamp> {
        let Some(stamp) = Stamp::find(frame) else {
            self.hear_reply(frame);
            return None;
        };
        match next.get_mut(usize::from(stamp.publisher)) {
            Some(expected) if stamp.number >= *expected => {
                *expected = stamp.number + 1;
                count(&self.delivered);
            }
            _ => count(&self.repeated),
        }
        let latency_ns = stamp::nanos(Instant::now()).saturating_sub(stamp.sent_ns);
        self.latency_us.borrow_mut().saturating_record(latency_ns / 1_000);
        Some(stamp)
    }

    fn hear_reply(&self, frame: &[u8]) {
        if !frame.starts_with(br#"{"id":"#) {
            return;
        }
        if frame.windows(8).any(|window| window == br#""error":"#) {
            count(&self.refused);
            self.complain(|| String::from_utf8_lossy(frame).into_owned());
        } else {
            count(&self.acknowledged);
        }
    }

    pub fn end(&self, reason: &anyhow::Error) {
        count(&self.ended);
        self.complain(|| format!("{reason:#}"));
    }

    fn complain(&self, words: impl FnOnce() -> String) {
        self.complaint.borrow_mut().get_or_insert_with(words);
    }
}

pub fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(publisher: u16, number: u32) -> Vec<u8> {
        let body = Stamp { sent_ns: 0, publisher, number }.body(64);
        format!(r#"{{"event":"message_sent","data":{{"body":"{body}"}}}}"#).into_bytes()
    }

    #[test]
    fn each_publisher_has_its_own_numbers_and_a_second_time_is_a_repeat() {
        let (tally, mut next) = (Tally::new().unwrap(), [0; 2]);

        for (publisher, number) in [(0, 0), (1, 0), (0, 1), (0, 1), (0, 3), (0, 2)] {
            tally.hear(&event(publisher, number), &mut next);
        }

        assert_eq!((tally.delivered.get(), tally.repeated.get()), (4, 2));
    }

    #[test]
    fn replies_are_acknowledgements_or_refusals() {
        let (tally, mut next) = (Tally::new().unwrap(), [0; 1]);

        tally.hear(br#"{"id":2,"ok":{"seq":3}}"#, &mut next);
        tally.hear(br#"{"id":3,"error":{"code":"rate_limited"}}"#, &mut next);
        tally.hear(br#"{"event":"live"}"#, &mut next);

        assert_eq!(
            (tally.acknowledged.get(), tally.refused.get(), tally.delivered.get()),
            (1, 1, 0)
        );
        assert!(tally.complaint.borrow().as_deref().unwrap().contains("rate_limited"));
    }
}

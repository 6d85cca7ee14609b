//! The stamp in a message's body: when it was sent, by which publisher of its room, as which number.
//!
//! It is read from raw frame bytes without parsing JSON, for the receivers must cost less than the server.

use std::sync::LazyLock;
use std::time::Instant;

// Neither an id, a time nor an event's name contains it.
const MARK: u8 = b'~';
const HEX_DIGITS: usize = 16 + 4 + 8;

/// The shortest body that can carry a stamp.
pub const BODY_BYTES_MIN: usize = 1 + HEX_DIGITS;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds on this process's monotonic clock.
    pub sent_ns: u64,
    pub publisher: u16,
    pub number: u32,
}

/// `instant` on the clock that stamps use, in nanoseconds.
pub fn nanos(instant: Instant) -> u64 {
    let since = instant.saturating_duration_since(*START);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Starts the clock; instants before this count as zero.
pub fn start() {
    LazyLock::force(&START);
}

impl Stamp {
    /// A body of `bytes` bytes (at least [`BODY_BYTES_MIN`]) that carries the stamp.
    pub fn body(self, bytes: usize) -> String {
        let Self { sent_ns, publisher, number } = self;
        let mut body = format!("~{sent_ns:016x}{publisher:04x}{number:08x}");
        body.extend(std::iter::repeat_n('.', bytes.saturating_sub(body.len())));
        body
    }

    /// The stamp of the message that `frame` delivers, if it delivers one.
    pub fn find(frame: &[u8]) -> Option<Self> {
        let mark = frame.iter().position(|byte| *byte == MARK)?;
        let digits = frame.get(mark + 1..=mark + HEX_DIGITS)?;
        let (sent, rest) = digits.split_at(16);
        let (publisher, number) = rest.split_at(4);

        Some(Self {
            sent_ns: hex(sent)?,
            publisher: u16::try_from(hex(publisher)?).ok()?,
            number: u32::try_from(hex(number)?).ok()?,
        })
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_again_inside_an_event() {
        let stamp = Stamp { sent_ns: 0x1234_5678_9abc, publisher: 7, number: 4_000_000_000 };

        let body = stamp.body(128);
        let event = format!(r#"{{"event":"message_sent","seq":9,"data":{{"body":"{body}"}}}}"#);

        assert_eq!(body.len(), 128);
        assert_eq!(Stamp::find(event.as_bytes()), Some(stamp));
    }

    #[test]
    fn frames_without_a_whole_stamp_have_none() {
        for frame in
            ["", "{\"event\":\"ping\"}", "~", "~123", "~zz345678901234567890123456789012345"]
        {
            assert_eq!(Stamp::find(frame.as_bytes()), None);
        }
    }
}

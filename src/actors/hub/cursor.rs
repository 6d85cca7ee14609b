//! Cursors: where a client stands in each of its channels, in one opaque word that any transport and node understands.
//!
//! The word is base64url of a version, the epoch, and for each channel the end of its id and the position.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::channel::Channel;
use super::subscription::Start;
use crate::domain::rooms::Seq;

const VERSION: u8 = 1;
const KEY_BYTES: usize = 8;
/// More channels than any connection may follow, and more text than a cursor of them has.
const TEXT_MAX: usize = 8 * 1024;

/// Positions in the channels of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    epoch: String,
    positions: Vec<([u8; KEY_BYTES], Seq)>,
}

impl Cursor {
    /// A cursor of no channel yet.
    #[must_use]
    pub fn new(epoch: &str) -> Self {
        Self { epoch: epoch.to_owned(), positions: Vec::new() }
    }

    /// Notes where the client stands in a channel.
    pub fn set(&mut self, channel: Channel, seq: Seq) {
        let key = key(channel);
        match self.positions.iter_mut().find(|(known, _)| *known == key) {
            Some((_, position)) => *position = seq,
            None => self.positions.push((key, seq)),
        }
    }

    /// Where a subscription to `channel` goes on, in a database with this `epoch`. A channel that the cursor does not
    /// know begins at its head.
    #[must_use]
    pub fn start(&self, channel: Channel, epoch: &str) -> Start {
        let key = key(channel);
        match self.positions.iter().find(|(known, _)| *known == key) {
            Some((_, seq)) if self.epoch == epoch => Start::After(*seq),
            Some((_, seq)) => Start::Unknown(*seq),
            None => Start::Head,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn encode(&self) -> String {
        let epoch = self.epoch.as_bytes();
        let mut bytes = vec![VERSION, u8::try_from(epoch.len()).unwrap_or(u8::MAX)];
        bytes.extend(epoch.iter().take(usize::from(u8::MAX)));
        for (key, seq) in &self.positions {
            bytes.extend(key);
            write_number(&mut bytes, u64::try_from(*seq).unwrap_or(0));
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a word back; `None` for one that was not made here.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        if word.len() > TEXT_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(word).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (epoch, mut rest) = rest.split_at_checked(usize::from(*length))?;
        let epoch = std::str::from_utf8(epoch).ok().filter(|_| *version == VERSION)?.to_owned();
        let mut positions = Vec::new();
        while !rest.is_empty() {
            let (key, after) = rest.split_first_chunk::<KEY_BYTES>()?;
            let (seq, after) = read_number(after)?;
            positions.push((*key, Seq::try_from(seq).ok()?));
            rest = after;
        }
        Some(Self { epoch, positions })
    }
}

/// A cursor as a client gave it, which may be none of ours.
#[derive(Debug)]
pub struct Given(Option<Cursor>);

impl Given {
    #[must_use]
    pub fn read(word: &str) -> Self {
        Self(Cursor::parse(word))
    }

    /// Where a subscription to `channel` goes on. A word that was not made here proves nothing.
    #[must_use]
    pub fn start(&self, channel: Channel, epoch: &str) -> Start {
        self.0.as_ref().map_or(Start::Unknown(0), |cursor| cursor.start(channel, epoch))
    }
}

/// The end of an id, which in a UUIDv7 is random: two of one client's channels never share it.
fn key(channel: Channel) -> [u8; KEY_BYTES] {
    let id = match channel {
        Channel::Room(room) => room.uuid(),
        Channel::Me(user) => user.uuid(),
    };
    let (_, end) = id.as_u64_pair();
    end.to_be_bytes()
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

fn read_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (place, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7_usize.saturating_mul(place));
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(place.saturating_add(1)..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn room(n: u128) -> Channel {
        Channel::Room(Uuid::from_u128(n).into())
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_back_as_it_was_made(
            epoch in "[a-z0-9]{0,16}",
            positions in prop::collection::vec((any::<u128>(), 0..Seq::MAX), 0..40),
        ) {
            let mut cursor = Cursor::new(&epoch);
            for (id, seq) in positions {
                cursor.set(room(id), seq);
            }
            prop_assert_eq!(Cursor::parse(&cursor.encode()), Some(cursor));
        }

        #[test]
        fn any_text_is_a_cursor_or_none(text in ".{0,200}") {
            // Reading it is all that is asked: it must not panic.
            let _ = Cursor::parse(&text);
        }
    }

    #[test]
    fn each_channel_goes_on_where_it_was_left() {
        let mut cursor = Cursor::new("a9");
        cursor.set(room(1), 7);
        cursor.set(room(1), 8);
        assert_eq!(cursor.start(room(1), "a9"), Start::After(8));
        assert_eq!(cursor.start(room(2), "a9"), Start::Head);
        assert_eq!(cursor.start(room(1), "b0"), Start::Unknown(8));
    }

    #[test]
    fn what_is_cut_short_or_of_another_version_is_not_a_cursor() {
        let mut cursor = Cursor::new("a9");
        cursor.set(room(1), 300);
        let word = cursor.encode();
        for end in 0..word.len() {
            assert_ne!(Cursor::parse(&word[..end]), Some(cursor.clone()));
        }
        assert_eq!(Cursor::parse(&URL_SAFE_NO_PAD.encode([2, 0])), None);
        assert_eq!(Cursor::parse(""), None);
    }
}

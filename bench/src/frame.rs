//! WebSocket frames (RFC 6455), both directions: what the load client writes and reads, and what the reference
//! server reads and writes.
//!
//! Only whole, unfragmented frames up to [`FRAME_BYTES_MAX`] exist here; anything else is an error, not a guess.

use std::ops::Range;

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The longest payload that is read, in bytes.
pub const FRAME_BYTES_MAX: u64 = 1024 * 1024;

// A mask hides nothing on loopback; it is there because the protocol wants one.
const MASK: [u8; 4] = [0x6d, 0x61, 0x64, 0x67];

/// One complete frame at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    /// Where the unmasked payload lies in the buffer; its end is the frame's end.
    pub payload: Range<usize>,
}

/// Finds the frame at the start of `buffer` and unmasks it in place; `None` when it is not complete yet.
pub fn decode(buffer: &mut [u8]) -> anyhow::Result<Option<Frame>> {
    let &[first, second, ..] = &*buffer else {
        return Ok(None);
    };
    ensure!(first & 0x80 != 0, "a fragmented frame");
    let (length, head) = match second & 0x7f {
        126 => match bytes_at::<2>(buffer) {
            Some(length) => (u64::from(u16::from_be_bytes(length)), 4),
            None => return Ok(None),
        },
        127 => match bytes_at::<8>(buffer) {
            Some(length) => (u64::from_be_bytes(length), 10),
            None => return Ok(None),
        },
        length => (u64::from(length), 2),
    };
    ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
    let masked = second & 0x80 != 0;
    let start = if masked { head + 4 } else { head };
    let end = start + usize::try_from(length)?;
    let Some(frame) = buffer.get_mut(..end) else {
        return Ok(None);
    };
    if masked {
        let (before, payload) = frame.split_at_mut(start);
        let mask = before.iter().skip(head).copied().cycle();
        for (byte, mask) in payload.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }

    Ok(Some(Frame { opcode: first & 0x0f, payload: start..end }))
}

/// A frame as a client sends it: masked.
pub fn from_client(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(opcode, payload.len(), 0x80);
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame as a server sends it: bare, so that one encoding serves every receiver.
pub fn from_server(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(opcode, payload.len(), 0);
    frame.extend_from_slice(payload);
    frame
}

/// The `Sec-WebSocket-Accept` that answers `key`.
pub fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

fn bytes_at<const N: usize>(buffer: &[u8]) -> Option<[u8; N]> {
    buffer.get(2..2 + N)?.try_into().ok()
}

fn head(opcode: u8, length: usize, mask_bit: u8) -> Vec<u8> {
    let mut frame = Vec::with_capacity(length + 14);
    frame.push(0x80 | opcode);
    if let Some(short) = u8::try_from(length).ok().filter(|short| *short < 126) {
        frame.push(mask_bit | short);
    } else if let Ok(medium) = u16::try_from(length) {
        frame.push(mask_bit | 126);
        frame.extend_from_slice(&medium.to_be_bytes());
    } else {
        frame.push(mask_bit | 127);
        frame.extend_from_slice(&(length as u64).to_be_bytes());
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_class_survives_the_way_from_client_and_from_server() {
        for length in [0, 1, 125, 126, 300, 65_535, 65_536, 100_000] {
            let payload: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
            for mut wire in [from_client(TEXT, &payload), from_server(TEXT, &payload)] {
                let frame = decode(&mut wire).unwrap().unwrap();

                assert_eq!(frame.opcode, TEXT);
                assert_eq!(frame.payload.end, wire.len());
                assert_eq!(&wire[frame.payload], payload);
            }
        }
    }

    #[test]
    fn a_frame_cut_short_is_not_complete_yet() {
        let whole = from_client(TEXT, &[7; 300]);

        for cut in 0..whole.len() {
            assert_eq!(decode(&mut whole[..cut].to_vec()).unwrap(), None);
        }
    }

    #[test]
    fn fragments_and_giants_are_refused() {
        assert!(decode(&mut [0x01, 0x00]).is_err());
        let mut giant = vec![0x81, 127];
        giant.extend_from_slice(&u64::MAX.to_be_bytes());
        assert!(decode(&mut giant).is_err());
    }

    #[test]
    fn the_accept_key_is_the_one_in_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

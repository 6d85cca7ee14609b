//! Frames: an event encoded once into shared bytes that any number of sockets can be given.

use bytes::{BufMut, Bytes, BytesMut};

const TEXT: u8 = 0x81;
const HEADER_BYTES_MAX: usize = 10;

/// A whole unmasked WebSocket text frame (RFC 6455, section 5.2). Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    header: usize,
}

impl Frame {
    /// Puts the header before `payload`, which must be UTF-8 and is the event's JSON.
    #[must_use]
    pub fn text(payload: &str) -> Self {
        let mut bytes = BytesMut::with_capacity(payload.len().saturating_add(HEADER_BYTES_MAX));
        bytes.put_u8(TEXT);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short), _) if short < 126 => bytes.put_u8(short),
            (_, Ok(medium)) => {
                bytes.put_u8(126);
                bytes.put_u16(medium);
            }
            _ => {
                bytes.put_u8(127);
                bytes.put_u64(u64::try_from(payload.len()).unwrap_or(u64::MAX));
            }
        }
        let header = bytes.len();
        bytes.put_slice(payload.as_bytes());
        Self { bytes: bytes.freeze(), header }
    }

    /// A frame that another node has made: `bytes` begin with a header of so many bytes.
    #[must_use]
    pub const fn from_wire(bytes: Bytes, header: usize) -> Self {
        Self { bytes, header }
    }

    /// How many bytes come before the JSON.
    #[must_use]
    pub const fn header_bytes(&self) -> usize {
        self.header
    }

    /// What is written to a socket.
    #[must_use]
    pub const fn wire(&self) -> &Bytes {
        &self.bytes
    }

    /// The JSON alone, as other transports carry it.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(self.header..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_fits_the_length() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let payload = "x".repeat(length);
            let frame = Frame::text(&payload);
            assert_eq!(frame.wire().len(), length + header, "payload of {length}");
            assert_eq!(frame.payload(), payload.as_bytes());
        }
    }
}

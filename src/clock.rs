//! The only place that reads the clock and makes identifiers.

use uuid::Uuid;

use crate::domain::time::Timestamp;

/// The current instant, to the millisecond.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// A fresh `UUIDv7` (RFC 9562): unique, and later ones sort later within this process.
#[must_use]
pub fn new_uuid() -> Uuid {
    Uuid::now_v7()
}

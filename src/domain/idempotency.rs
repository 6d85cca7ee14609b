//! Idempotency: a request that is sent again takes effect once and is answered alike.
//!
//! Pure: the key that a client gives, what tells one body from another, and the answer that is kept. Invariant: the fingerprint
//! follows from what a body says, and not from the order of its fields or the space between them.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::stored_as;

/// How long a key stands for its first request.
pub const KEPT: Duration = Duration::from_hours(15 * 24);
/// How long whoever has begun a request has for it, before another may go on: longer than a call to the outside takes.
pub const LOCKED: Duration = Duration::from_secs(30);
const KEY_BYTES_MIN: usize = 8;
const KEY_BYTES_MAX: usize = 255;

/// Why a request under a key is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdempotencyError {
    #[error("this needs the header `Idempotency-Key`, so that it is done once")]
    Missing,
    #[error("an idempotency key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} visible ASCII characters")]
    Invalid,
    #[error("a request under this key is being done; ask again for its answer")]
    InUse,
    #[error("this idempotency key was used for another request")]
    Reused,
}

/// What a client names a request by: 8 to 255 printable characters of ASCII, without space.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// `None` for anything that is no key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_fit = (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_fit.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotentCall {
    /// Who sends it: `user:<id>` or `service:<id>`. Others may use the same key.
    pub principal: String,
    /// Method and path, such as `POST /v1/payments/create`.
    pub route: &'static str,
    pub key: IdempotencyKey,
    /// Of the body, see [`fingerprint`].
    pub fingerprint: [u8; 32],
}

/// What a request was answered, to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
}

/// How a request under a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Whoever repeats it is given the answer.
    Answered,
    /// A workflow does it; whoever repeats it waits for that.
    Workflow,
    /// Somebody does it just now.
    UnderWay,
    /// Whoever began it did not come back in time: whoever repeats it goes on with it.
    Abandoned,
}

stored_as!(KeyState {
    Answered = "answered",
    Workflow = "workflow",
    UnderWay = "under_way",
    Abandoned = "abandoned"
});

/// SHA-256 of the canonical JSON: fields in the order of their names, nothing between them.
#[must_use]
pub fn fingerprint(body: &Value) -> [u8; 32] {
    let mut canonical = body.clone();
    canonical.sort_all_objects();
    Sha256::digest(canonical.to_string()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, json};

    use super::*;

    #[test]
    fn a_key_is_printable_and_neither_short_nor_long() {
        for text in ["8 to 255", "", "seven77", "열쇠열쇠열쇠", "tab\tbed-key", &"k".repeat(256)]
        {
            assert_eq!(IdempotencyKey::parse(text), None, "{text:?}");
        }
        for text in ["eight888", "2f0a!~#\"{}", &"k".repeat(255)] {
            assert_eq!(IdempotencyKey::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn the_same_said_otherwise_has_the_same_fingerprint() {
        let plain = fingerprint(&json!({ "amount": 100, "order": { "a": [1, 2], "b": "원" } }));
        let other: Value =
            from_str(" { \"order\": {\"b\":\"\\uc6d0\" , \"a\":[1,2]}, \"amount\":100 } ").unwrap();
        assert_eq!(plain, fingerprint(&other));
        let canonical = Sha256::digest(r#"{"amount":100,"order":{"a":[1,2],"b":"원"}}"#);
        assert_eq!(plain[..], canonical[..]);
    }

    #[test]
    fn whatever_is_said_differently_has_another_fingerprint() {
        let bodies = [
            json!({ "amount": 100 }),
            json!({ "amount": 101 }),
            json!({ "amount": "100" }),
            json!({ "amount": [100] }),
            json!({ "amount": 100, "reason": null }),
            json!({}),
        ];
        for (index, one) in bodies.iter().enumerate() {
            for other in bodies.iter().skip(index + 1) {
                assert_ne!(fingerprint(one), fingerprint(other), "{one} and {other}");
            }
        }
    }
}

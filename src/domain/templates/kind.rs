//! Kinds of notifications, by name.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use super::TemplateError;

const KIND_CHARS_MAX: usize = 64;

/// What a notification is about, such as `friend_request_received`: 1 to 64 of `a-z`, `0-9`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, pattern = "^[a-z0-9_.]{1,64}$", example = "friend_request_received")]
pub struct NotificationKind(String);

impl NotificationKind {
    /// # Errors
    /// [`TemplateError::InvalidKind`] for any other text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let is_sound = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_.".contains(&c);
        if (1..=KIND_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_sound) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TemplateError::InvalidKind)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NotificationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_a_short_plain_word() {
        let longest = "k".repeat(64);
        for text in ["a", "message_received", "shop.order_7.sent", longest.as_str()] {
            assert_eq!(NotificationKind::parse(text).unwrap().as_str(), text);
        }
        let too_long = "k".repeat(65);
        for text in ["", "Order", "a b", "a-b", "알림", "*", "a/b", too_long.as_str()] {
            assert_eq!(NotificationKind::parse(text), Err(TemplateError::InvalidKind), "{text}");
        }
    }
}

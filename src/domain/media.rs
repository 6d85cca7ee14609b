//! Media: the ways in which something reaches a person, or another system.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::stored_as;

/// A way to somebody.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Medium {
    /// The user's own log in the app, on every device; never leaves madang.
    Inbox,
    Mail,
    Sms,
    Push,
    /// Another system's address: for domain events, never for a user.
    Webhook,
}
stored_as!(Medium {
    Inbox = "inbox",
    Mail = "mail",
    Sms = "sms",
    Push = "push",
    Webhook = "webhook"
});

impl Medium {
    /// The media that leave madang through a courier.
    pub const OUTWARD: [Self; 4] = [Self::Mail, Self::Sms, Self::Push, Self::Webhook];
    /// The media that a user may choose among.
    pub const OF_USERS: [Self; 4] = [Self::Inbox, Self::Mail, Self::Sms, Self::Push];
}

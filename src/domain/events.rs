//! Domain events: facts that the outbox keeps for the rest of the system.

use serde_json::Value;

use super::ids::EventId;
use super::time::Timestamp;

/// A fact in the past tense, appended in the transaction that made it true.
#[derive(Debug, Clone, PartialEq)]
pub struct DomainEvent {
    /// Consumers drop repeats by it.
    pub id: EventId,
    /// The stream it belongs to, such as `user.events`.
    pub topic: &'static str,
    /// Its CloudEvents type, such as `UserRegistered`.
    pub name: &'static str,
    /// The aggregate it is about; events of one subject keep their order.
    pub subject: String,
    /// When it became true.
    pub at: Timestamp,
    /// What it says.
    pub data: Value,
}

/// Registrations, profiles, deletions.
pub const USER_EVENTS: &str = "user.events";
/// Who comes and goes.
pub const USER_ONLINE_STATUS: &str = "user.online_status";
/// Rooms that came to be or changed their members.
pub const CHAT_EVENTS: &str = "chat.events";
/// Messages and read markers.
pub const MESSAGE_EVENTS: &str = "message.events";
/// Friend requests, friendships and blocks.
pub const FRIEND_EVENTS: &str = "friend.events";
/// What users were notified of.
pub const NOTIFICATION_EVENTS: &str = "notification.events";
/// Logins, password changes and revocations.
pub const AUTH_EVENTS: &str = "auth.events";
/// Webhook endpoints that came, changed or went.
pub const WEBHOOK_EVENTS: &str = "webhook.events";

/// Payments, refunds, withdrawals and settlements.
pub const PAYMENT_EVENTS: &str = "payment.events";
/// Workflows that somebody has to look at.
pub const WORKFLOW_EVENTS: &str = "workflow.events";

/// That something is in an inbox of which no other event tells. For the nodes alone: nobody outside is told.
pub const INBOX_SIGNALS: &str = "inbox.signals";

/// Whether those outside may be told of what is in a topic.
#[must_use]
pub fn is_outward(topic: &str) -> bool {
    topic != INBOX_SIGNALS
}

/// Every topic that there is for those outside.
pub const TOPICS: [&str; 10] = [
    USER_EVENTS,
    USER_ONLINE_STATUS,
    CHAT_EVENTS,
    MESSAGE_EVENTS,
    FRIEND_EVENTS,
    NOTIFICATION_EVENTS,
    AUTH_EVENTS,
    WEBHOOK_EVENTS,
    PAYMENT_EVENTS,
    WORKFLOW_EVENTS,
];

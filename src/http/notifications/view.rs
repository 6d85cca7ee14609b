//! What clients ask for and see of notifications.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::domain::ids::NotificationId;
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;
use crate::http::page::Limit;
use crate::store::notifications::{Notification, Shelf};

/// Which notifications.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The `next_cursor` of the page before; the first page without.
    pub(super) cursor: Option<String>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    pub(super) limit: Limit,
    /// `inbox` is everything that is not archived.
    #[serde(default)]
    #[param(value_type = String, required = false, example = "unread")]
    pub(super) status: ShelfQuery,
    /// Only of this type.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ShelfQuery {
    #[default]
    Inbox,
    Unread,
    Read,
    Archived,
}

impl From<ShelfQuery> for Shelf {
    fn from(shelf: ShelfQuery) -> Self {
        match shelf {
            ShelfQuery::Inbox => Self::Inbox,
            ShelfQuery::Unread => Self::Unread,
            ShelfQuery::Read => Self::Read,
            ShelfQuery::Archived => Self::Archived,
        }
    }
}

/// A notification, as its `notification_created` said it, with what became of it.
#[derive(Serialize, ToSchema)]
pub(super) struct NotificationView {
    id: NotificationId,
    /// Its place in the channel `me`.
    seq: Seq,
    #[serde(rename = "type")]
    #[schema(example = "friend_request_received")]
    kind: String,
    title: String,
    body: String,
    /// Notifications of one group are about the same thing, such as `room:` and an id.
    group: Option<String>,
    /// What it is about: `actor`, `room`, `message`, `count`, or what its sender gave it.
    #[schema(value_type = Object)]
    data: Map<String, Value>,
    at: Timestamp,
    read_at: Option<Timestamp>,
    archived_at: Option<Timestamp>,
}

impl From<Notification> for NotificationView {
    fn from(notification: Notification) -> Self {
        let content: Value = serde_json::from_str(&notification.content).unwrap_or_default();
        let text = |field: &str| content.get(field).and_then(Value::as_str).unwrap_or_default();
        let data = content.get("data").and_then(Value::as_object).cloned();
        Self {
            id: notification.id,
            seq: notification.seq,
            kind: notification.kind,
            title: text("title").to_owned(),
            body: text("body").to_owned(),
            group: notification.group_key,
            data: data.unwrap_or_default(),
            at: notification.at,
            read_at: notification.read_at,
            archived_at: notification.archived_at,
        }
    }
}

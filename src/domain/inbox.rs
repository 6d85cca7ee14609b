//! The inbox: what concerns one user, numbered for all their devices. The log behind the channel `me`.

use super::ids::{RoomId, UserId};
use super::rooms::Seq;
use super::stored_as;
use super::time::Timestamp;

/// One durable event of a user's inbox, as their clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxEvent {
    pub user: UserId,
    pub seq: Seq,
    pub name: InboxEventName,
    pub at: Timestamp,
    /// A JSON object.
    pub data: String,
}

/// The names of inbox events, as in the public contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboxEventName {
    /// The user became a member of a room.
    RoomAdded,
    /// The user is no longer a member of a room.
    RoomRemoved,
}
stored_as!(InboxEventName { RoomAdded = "room_added", RoomRemoved = "room_removed" });

/// Something to tell a user, before it has its number.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxNote {
    pub user: UserId,
    pub name: InboxEventName,
    pub data: serde_json::Value,
}

impl InboxNote {
    /// `user` became a member of `room` because of `by`.
    #[must_use]
    pub fn room_added(user: UserId, room: RoomId, by: UserId) -> Self {
        let data = serde_json::json!({ "room_id": room, "by": by });
        Self { user, name: InboxEventName::RoomAdded, data }
    }

    /// `user` is no longer a member of `room` because of `by`.
    #[must_use]
    pub fn room_removed(user: UserId, room: RoomId, by: UserId) -> Self {
        let data = serde_json::json!({ "room_id": room, "by": by });
        Self { user, name: InboxEventName::RoomRemoved, data }
    }
}

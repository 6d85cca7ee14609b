//! The inbox: what concerns one user, numbered for all their devices. The log behind the channel `me`.

use super::friends::FriendState;
use super::ids::{NotificationId, PaymentId, RoomId, UserId};
use super::payments::PaymentStatus;
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
    /// The user is notified of something.
    NotificationCreated,
    /// The user has read notifications, on whichever device.
    NotificationRead,
    NotificationArchived,
    /// Archived notifications are back in the inbox.
    NotificationRestored,
    NotificationDeleted,
    /// Another user is something else to the user than before.
    FriendUpdated,
    /// Something became of a payment that the user makes.
    PaymentUpdated,
}
stored_as!(InboxEventName {
    RoomAdded = "room_added",
    RoomRemoved = "room_removed",
    NotificationCreated = "notification_created",
    NotificationRead = "notification_read",
    NotificationArchived = "notification_archived",
    NotificationRestored = "notification_restored",
    NotificationDeleted = "notification_deleted",
    FriendUpdated = "friend_updated",
    PaymentUpdated = "payment_updated"
});

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

    /// Notifications were read; `unread_count` are left.
    #[must_use]
    pub fn notifications_read(user: UserId, ids: &[NotificationId], unread_count: i64) -> Self {
        Self::about(user, InboxEventName::NotificationRead, ids, unread_count)
    }

    #[must_use]
    pub fn notifications_archived(user: UserId, ids: &[NotificationId], unread_count: i64) -> Self {
        Self::about(user, InboxEventName::NotificationArchived, ids, unread_count)
    }

    /// Everything in the inbox up to `seq` was read.
    #[must_use]
    pub fn notifications_read_up_to(user: UserId, seq: Seq, unread_count: i64) -> Self {
        Self::up_to(user, InboxEventName::NotificationRead, seq, unread_count)
    }

    #[must_use]
    pub fn notifications_archived_up_to(user: UserId, seq: Seq, unread_count: i64) -> Self {
        Self::up_to(user, InboxEventName::NotificationArchived, seq, unread_count)
    }

    #[must_use]
    pub fn notifications_restored(user: UserId, ids: &[NotificationId], unread_count: i64) -> Self {
        Self::about(user, InboxEventName::NotificationRestored, ids, unread_count)
    }

    #[must_use]
    pub fn notifications_deleted(user: UserId, ids: &[NotificationId], unread_count: i64) -> Self {
        Self::about(user, InboxEventName::NotificationDeleted, ids, unread_count)
    }

    fn up_to(user: UserId, name: InboxEventName, seq: Seq, unread_count: i64) -> Self {
        let none: [NotificationId; 0] = [];
        let data =
            serde_json::json!({ "ids": none, "up_to_seq": seq, "unread_count": unread_count });
        Self { user, name, data }
    }

    fn about(
        user: UserId,
        name: InboxEventName,
        ids: &[NotificationId],
        unread_count: i64,
    ) -> Self {
        let data = serde_json::json!({ "ids": ids, "unread_count": unread_count });
        Self { user, name, data }
    }

    /// `other` is that to `user` from now on.
    #[must_use]
    pub fn friend_updated(user: UserId, other: UserId, state: FriendState) -> Self {
        let data = serde_json::json!({ "user_id": other, "state": state });
        Self { user, name: InboxEventName::FriendUpdated, data }
    }

    /// A payment of `user` has come so far.
    #[must_use]
    pub fn payment_updated(
        user: UserId,
        payment: PaymentId,
        status: PaymentStatus,
        version: i64,
    ) -> Self {
        let status = status.as_str();
        let data =
            serde_json::json!({ "payment_id": payment, "status": status, "version": version });
        Self { user, name: InboxEventName::PaymentUpdated, data }
    }
}

//! Rooms and their members as clients see them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ids::{MessageId, RoomId, UserId};
use crate::domain::preferences::{RoomLevel, RoomNotifications};
use crate::domain::rooms::{MemberRole, RoomKind, Seq, Visibility};
use crate::domain::time::Timestamp;
use crate::http::page::Page;
use crate::store::rooms::{LastMessage, PublicRoom, RoomMember, RoomSummary};

/// A room as one of its members sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomView {
    pub id: RoomId,
    pub kind: RoomKind,
    pub visibility: Visibility,
    /// Null in a direct room: show the other's name.
    pub name: Option<String>,
    pub topic: Option<String>,
    pub avatar: Option<String>,
    /// Whether read markers are events that everybody in the room sees.
    pub read_receipts: bool,
    /// In a direct room: who the other one is.
    pub peer_id: Option<UserId>,
    /// What the caller may do.
    pub role: MemberRole,
    pub member_count: i64,
    /// The number of the last event of the room's log.
    #[schema(value_type = i64)]
    pub head: Seq,
    /// The caller's read marker.
    #[schema(value_type = i64)]
    pub read_seq: Seq,
    /// Messages of others after the marker, counted up to 1,000.
    pub unread_count: i64,
    pub last_message: Option<LastMessageView>,
    pub last_active_at: Timestamp,
    pub created_at: Timestamp,
    /// What the caller wants to be told of.
    pub notifications: RoomNotificationsView,
}

/// What a member wants to be told of in a room; nobody else sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomNotificationsView {
    pub level: RoomLevel,
    /// Until then nothing at all; null: as `level` says.
    pub muted_until: Option<Timestamp>,
}

/// The newest message of a room.
#[derive(Debug, Serialize, ToSchema)]
pub struct LastMessageView {
    pub id: MessageId,
    #[schema(value_type = i64)]
    pub seq: Seq,
    pub from: UserId,
    /// Empty when the message was deleted.
    pub body: String,
    pub at: Timestamp,
    pub deleted: bool,
}

/// A room with the first page of its members.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomDetailsView {
    #[serde(flatten)]
    pub room: RoomView,
    pub members: Vec<MemberView>,
    /// The cursor for the next page of members; null when these are all.
    pub members_next_cursor: Option<String>,
}

/// A member of a room.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberView {
    pub user_id: UserId,
    pub handle: String,
    pub display_name: String,
    pub role: MemberRole,
    pub joined_at: Timestamp,
    /// The member's read marker; null where it is not shown to the caller.
    #[schema(value_type = Option<i64>)]
    pub read_seq: Option<Seq>,
    /// Until when the member may not send; null for those who may.
    pub muted_until: Option<Timestamp>,
}

/// A public channel as anybody may find it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicRoomView {
    pub id: RoomId,
    pub name: Option<String>,
    pub topic: Option<String>,
    pub avatar: Option<String>,
    pub member_count: i64,
    pub last_active_at: Timestamp,
}

/// Whether the caller and another user have a direct room.
#[derive(Debug, Serialize, ToSchema)]
pub struct DirectRoomView {
    pub exists: bool,
    pub room_id: Option<RoomId>,
}

impl RoomDetailsView {
    /// Shows a room and a page of its members as one object.
    #[must_use]
    pub fn new(room: RoomSummary, members: Page<MemberView>) -> Self {
        Self { room: room.into(), members: members.items, members_next_cursor: members.next_cursor }
    }
}

impl From<RoomSummary> for RoomView {
    fn from(room: RoomSummary) -> Self {
        Self {
            id: room.id,
            kind: room.kind,
            visibility: room.visibility,
            name: room.name,
            topic: room.topic,
            avatar: room.avatar,
            read_receipts: room.read_receipts,
            peer_id: room.peer,
            role: room.role,
            member_count: room.member_count,
            head: room.head,
            read_seq: room.read_seq,
            unread_count: room.unread_count,
            last_message: room.last_message.map(LastMessageView::from),
            last_active_at: room.last_active_at,
            created_at: room.created_at,
            notifications: room.notifications.into(),
        }
    }
}

impl From<RoomNotifications> for RoomNotificationsView {
    fn from(chosen: RoomNotifications) -> Self {
        Self { level: chosen.level, muted_until: chosen.muted_until }
    }
}

impl From<LastMessage> for LastMessageView {
    fn from(message: LastMessage) -> Self {
        let LastMessage { id, seq, from, body, at, deleted } = message;
        Self { id, seq, from, body, at, deleted }
    }
}

impl From<RoomMember> for MemberView {
    fn from(member: RoomMember) -> Self {
        Self {
            user_id: member.user,
            handle: member.handle,
            display_name: member.display_name,
            role: member.role,
            joined_at: member.joined_at,
            read_seq: member.read_seq,
            muted_until: member.muted_until,
        }
    }
}

impl From<PublicRoom> for PublicRoomView {
    fn from(room: PublicRoom) -> Self {
        let PublicRoom { id, name, topic, avatar, member_count, last_active_at } = room;
        Self { id, name, topic, avatar, member_count, last_active_at }
    }
}

impl From<Option<RoomId>> for DirectRoomView {
    fn from(room_id: Option<RoomId>) -> Self {
        Self { exists: room_id.is_some(), room_id }
    }
}

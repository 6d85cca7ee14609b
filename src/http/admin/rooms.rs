//! Rooms as administrators see them: what they are called and who is in them, not what is said there.

use actix_web::get;
use actix_web::web::{self, ServiceConfig};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::{RoomId, UserId};
use crate::domain::rooms::{MemberRole, RoomError, RoomKind, Seq, Visibility};
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::page::{Cursor, InvalidCursor, Limit, Page, PageQuery, decode};
use crate::http::views::{ReadRefusals, RoleRefusals};
use crate::store::Store;
use crate::store::room_lists::{ListedRoom, ListedRoomCursor};
use crate::store::rooms::RoomMember;

const NAME_CHARS_MAX: usize = 100;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_all_rooms).service(examine_room);
}

/// Which rooms, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RoomsQuery {
    /// The beginning of a name; capitals do not matter. Left out: every room, direct ones too.
    #[param(min_length = 1, max_length = 100, example = "madang")]
    q: Option<String>,
    /// The `next_cursor` of the page before, for the same `q`; the first page without.
    cursor: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
}

/// A room, from outside.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AdminRoomView {
    id: RoomId,
    kind: RoomKind,
    visibility: Visibility,
    /// Null in a direct room.
    name: Option<String>,
    topic: Option<String>,
    avatar: Option<String>,
    /// The number of the last event of the room's log.
    #[schema(value_type = i64)]
    head: Seq,
    member_count: i64,
    created_by: UserId,
    created_at: Timestamp,
    last_active_at: Timestamp,
}

/// A room, what there is in it, and a page of its members.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AdminRoomDetailsView {
    #[serde(flatten)]
    room: AdminRoomView,
    /// Messages that stand, counted up to 10,000.
    message_count: i64,
    /// Reports of messages that nobody has decided about.
    open_reports: i64,
    members: Page<AdminMemberView>,
}

/// A member of a room.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AdminMemberView {
    user_id: UserId,
    handle: String,
    display_name: String,
    role: MemberRole,
    joined_at: Timestamp,
    /// Until when the member may not send.
    muted_until: Option<Timestamp>,
}

/// Every room, the newest first, or those that are found by name, in the order of their names.
#[utoipa::path(
    tag = "admin",
    params(RoomsQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<AdminRoomView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/rooms")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_all_rooms(
    admin: Admin,
    query: web::Query<RoomsQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<AdminRoomView>>> {
    let RoomsQuery { q, cursor, limit } = query.into_inner();
    let name = q.as_deref().map(wanted).transpose()?;
    let after: Option<ListedRoomCursor> = cursor.as_deref().map(decode).transpose()?;
    let is_found = name.is_some();
    let is_of = |after: &ListedRoomCursor| match &name {
        Some(name) => after.found_by.starts_with(name),
        None => after.found_by.is_empty(),
    };
    if !after.as_ref().is_none_or(is_of) {
        return Err(InvalidCursor.into());
    }
    let rows = store.list_all_rooms(name, after, limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, limit, |room| ListedRoomCursor::of(room, is_found))))
}

/// A room, what there is in it, and who is in it.
#[utoipa::path(
    tag = "admin",
    params(("id" = RoomId, Path), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = AdminRoomDetailsView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/rooms/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn examine_room(
    admin: Admin,
    id: web::Path<RoomId>,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<AdminRoomDetailsView>> {
    let (after, limit) = (query.after()?, query.limit);
    let (room, counts) = store.find_room(*id).await?.ok_or(RoomError::NotFound)?;
    let members = store.list_members_of_room(*id, after, limit.with_probe()).await?;

    Ok(web::Json(AdminRoomDetailsView {
        room: room.into(),
        message_count: counts.messages,
        open_reports: counts.open_reports,
        members: Page::new(members, limit, |member: &RoomMember| member.user),
    }))
}

/// The beginning of a name, as names are compared.
fn wanted(q: &str) -> ApiResult<String> {
    let q = q.trim();
    let fits = (1..=NAME_CHARS_MAX).contains(&q.chars().count());
    if fits && !q.chars().any(char::is_control) {
        return Ok(q.to_ascii_lowercase());
    }
    Err(ApiError::invalid("?q", "invalid_search", "A name has 1 to 100 characters."))
}

impl From<ListedRoom> for AdminRoomView {
    fn from(room: ListedRoom) -> Self {
        Self {
            id: room.id,
            kind: room.kind,
            visibility: room.visibility,
            name: room.name,
            topic: room.topic,
            avatar: room.avatar,
            head: room.head,
            member_count: room.member_count,
            created_by: room.created_by,
            created_at: room.created_at,
            last_active_at: room.last_active_at,
        }
    }
}

impl From<RoomMember> for AdminMemberView {
    fn from(member: RoomMember) -> Self {
        Self {
            user_id: member.user,
            handle: member.handle,
            display_name: member.display_name,
            role: member.role,
            joined_at: member.joined_at,
            muted_until: member.muted_until,
        }
    }
}

impl Cursor for ListedRoomCursor {
    fn to_text(&self) -> String {
        format!("{}:{}", self.id, self.found_by)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (id, found_by) = text.split_once(':')?;
        // No database takes it in a text.
        let is_text = !found_by.contains('\0');
        is_text
            .then(|| Some(Self { id: id.parse().ok()?, found_by: found_by.to_owned() }))
            .flatten()
    }
}

//! Members of rooms over HTTP: who is in one, and coming, going, inviting, removing, roles and mutes.

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{delete, get, patch, post};
use serde::Deserialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::page::{Cursor, Limit, Page, PageQuery};
use super::views::{ChangeRefusals, ChangeView, MemberView, ReadRefusals, WriteRefusals};
use crate::actors::room::Rooms;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::rooms::{Action, Command, MemberRole};
use crate::domain::time::Timestamp;
use crate::error::ApiResult;
use crate::store::Store;

/// Routes below the version; `rooms` mounts and describes them among its own.
pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_members)
        .service(invite_member)
        .service(remove_member)
        .service(update_member)
        .service(join_room)
        .service(leave_room);
}

/// Whom to invite.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvitationBody {
    user_id: UserId,
}

/// What to change about a member: the role, or how long they are muted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected either `role` or `muted_until`")]
enum MemberChangeBody {
    Role(RoleBody),
    Mute(MuteBody),
}

/// A new role. `owner` hands the room over: the owner before becomes a moderator.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RoleBody {
    role: MemberRole,
}

/// Until when a member may not send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MuteBody {
    /// Null lifts it.
    // Named, so that leaving it out is an error: an empty change must not lift a mute.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    muted_until: Option<Timestamp>,
}

/// The members of one of the caller's rooms, in the order of their ids.
#[utoipa::path(
    tag = "rooms",
    params(("id" = RoomId, Path), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<MemberView>), ReadRefusals),
)]
#[get("/chat/rooms/{id}/members")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn list_members(
    caller: Caller,
    id: web::Path<RoomId>,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<MemberView>>> {
    Ok(web::Json(page(&store, *id, caller.user_id, query.after()?, query.limit).await?))
}

/// Brings a user into a group that the caller is a member of.
#[utoipa::path(
    tag = "rooms",
    params(("id" = RoomId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The user is a member now", body = ChangeView),
        (status = 200, description = "The user was a member already", body = ChangeView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/chat/rooms/{id}/members")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn invite_member(
    caller: Caller,
    id: web::Path<RoomId>,
    body: web::Json<InvitationBody>,
    rooms: web::Data<Rooms>,
) -> ApiResult<(web::Json<ChangeView>, StatusCode)> {
    let action = Action::Invite { user: body.user_id };
    let invited = rooms.append(*id, Command { actor: caller.user_id, action }).await?;
    let status = if invited.seq.is_some() { StatusCode::CREATED } else { StatusCode::OK };

    Ok((web::Json(invited.into()), status))
}

/// Removes a member of lower role, or, with the caller's own id, leaves.
#[utoipa::path(
    tag = "rooms",
    params(("id" = RoomId, Path), ("user_id" = UserId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = ChangeView), ChangeRefusals),
)]
#[delete("/chat/rooms/{id}/members/{user_id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn remove_member(
    caller: Caller,
    path: web::Path<(RoomId, UserId)>,
    rooms: web::Data<Rooms>,
) -> ApiResult<web::Json<ChangeView>> {
    let (room, user) = path.into_inner();
    let action = if user == caller.user_id { Action::Leave } else { Action::Kick { user } };
    let removed = rooms.append(room, Command { actor: caller.user_id, action }).await?;

    Ok(web::Json(removed.into()))
}

/// Changes a member's role, which the owner may, or mutes them, which a higher role may.
#[utoipa::path(
    tag = "rooms",
    params(("id" = RoomId, Path), ("user_id" = UserId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = ChangeView), ChangeRefusals, WriteRefusals),
)]
#[patch("/chat/rooms/{id}/members/{user_id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn update_member(
    caller: Caller,
    path: web::Path<(RoomId, UserId)>,
    body: web::Json<MemberChangeBody>,
    rooms: web::Data<Rooms>,
) -> ApiResult<web::Json<ChangeView>> {
    let (room, user) = path.into_inner();
    let action = match body.into_inner() {
        MemberChangeBody::Role(RoleBody { role }) => Action::SetRole { user, role },
        MemberChangeBody::Mute(MuteBody { muted_until }) => {
            Action::Mute { user, until: muted_until }
        }
    };
    let updated = rooms.append(room, Command { actor: caller.user_id, action }).await?;

    Ok(web::Json(updated.into()))
}

/// Joins a public channel.
#[utoipa::path(
    tag = "rooms",
    params(("id" = RoomId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = ChangeView), ChangeRefusals),
)]
#[post("/chat/rooms/{id}/join")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn join_room(
    caller: Caller,
    id: web::Path<RoomId>,
    rooms: web::Data<Rooms>,
) -> ApiResult<web::Json<ChangeView>> {
    let command = Command { actor: caller.user_id, action: Action::Join };
    let joined = rooms.append(*id, command).await?;

    Ok(web::Json(joined.into()))
}

/// Leaves a group or public channel. An owner hands it over before, unless they are the last one.
#[utoipa::path(
    tag = "rooms",
    params(("id" = RoomId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = ChangeView), ChangeRefusals),
)]
#[post("/chat/rooms/{id}/leave")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn leave_room(
    caller: Caller,
    id: web::Path<RoomId>,
    rooms: web::Data<Rooms>,
) -> ApiResult<web::Json<ChangeView>> {
    let command = Command { actor: caller.user_id, action: Action::Leave };
    let left = rooms.append(*id, command).await?;

    Ok(web::Json(left.into()))
}

/// A page of a room's members, from above `after`.
pub(super) async fn page(
    store: &Store,
    room: RoomId,
    caller: UserId,
    after: Option<UserId>,
    limit: Limit,
) -> ApiResult<Page<MemberView>> {
    let rows = store.list_room_members(room, caller, after, limit.with_probe()).await?;

    Ok(Page::new(rows, limit, |member| member.user))
}

impl Cursor for UserId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::http::page::{decode, encode};

    #[test]
    fn a_cursor_leads_back_to_its_member() {
        let user = UserId::from(Uuid::from_u128(7));
        assert_eq!(decode(&encode(&user)), Ok(user));
        assert_eq!(UserId::from_text("7"), None);
    }

    #[test]
    fn a_member_change_is_a_role_or_a_mute_and_never_nothing() {
        let read = |text| serde_json::from_str::<MemberChangeBody>(text);
        assert!(matches!(read(r#"{"role":"moderator"}"#), Ok(MemberChangeBody::Role(_))));
        let lifted = read(r#"{"muted_until":null}"#);
        assert!(matches!(lifted, Ok(MemberChangeBody::Mute(MuteBody { muted_until: None }))));
        let muted = read(r#"{"muted_until":"2026-11-21T07:00:00Z"}"#);
        assert!(matches!(muted, Ok(MemberChangeBody::Mute(MuteBody { muted_until: Some(_) }))));
        for text in [
            "{}",
            r#"{"role":"king"}"#,
            r#"{"role":"owner","muted_until":null}"#,
            r#"{"muted_until":"soon"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

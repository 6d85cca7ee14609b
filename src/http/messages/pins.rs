//! Pinned messages over HTTP: what a room keeps at hand.

use actix_web::{delete, get, put, web};

use super::named;
use crate::actors::room::Rooms;
use crate::config::Config;
use crate::domain::ids::RoomId;
use crate::domain::rooms::{Action, Command};
use crate::error::ApiResult;
use crate::http::caller::Caller;
use crate::http::views::{ChangeRefusals, ChangeView, MessageView, PinsView, ReadRefusals};
use crate::store::Store;

/// The pinned messages of one of the caller's rooms, the newest pin first.
#[utoipa::path(
    tag = "messages",
    params(("id" = RoomId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = PinsView), ReadRefusals),
)]
#[get("/chat/rooms/{id}/pins")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn list_pins(
    caller: Caller,
    id: web::Path<RoomId>,
    store: web::Data<Store>,
    config: web::Data<Config>,
) -> ApiResult<web::Json<PinsView>> {
    let pins_max = i64::try_from(config.chat.pins_max).unwrap_or(i64::MAX);
    let rows = store.list_pinned_messages(*id, caller.user_id, pins_max).await?;

    Ok(web::Json(PinsView { items: rows.into_iter().map(MessageView::from).collect() }))
}

/// Pins a message; in a group its moderators and owner may, in a direct room both.
#[utoipa::path(
    tag = "messages",
    params(("id" = RoomId, Path), ("message" = String, Path, description = "Its id or its `seq`")),
    security(("bearer" = [])),
    responses((status = 200, body = ChangeView), ChangeRefusals),
)]
#[put("/chat/rooms/{id}/pins/{message}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn pin_message(
    caller: Caller,
    path: web::Path<(RoomId, String)>,
    rooms: web::Data<Rooms>,
) -> ApiResult<web::Json<ChangeView>> {
    let (room, message) = path.into_inner();
    let action = Action::Pin { message: named(&message)? };
    let pinned = rooms.append(room, Command { actor: caller.user_id, action }).await?;

    Ok(web::Json(pinned.into()))
}

/// Takes a pin away; who may pin may.
#[utoipa::path(
    tag = "messages",
    params(("id" = RoomId, Path), ("message" = String, Path, description = "Its id or its `seq`")),
    security(("bearer" = [])),
    responses((status = 200, body = ChangeView), ChangeRefusals),
)]
#[delete("/chat/rooms/{id}/pins/{message}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn unpin_message(
    caller: Caller,
    path: web::Path<(RoomId, String)>,
    rooms: web::Data<Rooms>,
) -> ApiResult<web::Json<ChangeView>> {
    let (room, message) = path.into_inner();
    let action = Action::Unpin { message: named(&message)? };
    let unpinned = rooms.append(room, Command { actor: caller.user_id, action }).await?;

    Ok(web::Json(unpinned.into()))
}

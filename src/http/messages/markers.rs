//! Read markers over HTTP: how far the caller has read a room.

use actix_web::{post, web};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::actors::room::{RoomFailure, Rooms};
use crate::domain::ids::RoomId;
use crate::domain::rooms::{Action, Command};
use crate::error::ApiResult;
use crate::http::caller::Caller;
use crate::http::page::Position;
use crate::http::views::{ChangeRefusals, MarkerView, WriteRefusals};

/// How far a room was read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MarkerBody {
    room_id: RoomId,
    /// Everything up to here; at most the head of the room.
    #[schema(value_type = i64, minimum = 0, maximum = 9223372036854775807i64)]
    seq: Position,
}

/// Moves the caller's read marker forward; a place behind it changes nothing.
#[utoipa::path(
    tag = "messages",
    security(("bearer" = [])),
    responses((status = 200, body = MarkerView), ChangeRefusals, WriteRefusals),
)]
#[post("/messages/read")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn mark_read(
    caller: Caller,
    body: web::Json<MarkerBody>,
    rooms: web::Data<Rooms>,
) -> ApiResult<web::Json<MarkerView>> {
    let action = Action::Read { seq: body.seq.seq() };
    let read = rooms.append(body.room_id, Command { actor: caller.user_id, action }).await?;
    let view = MarkerView::new(body.room_id, read).ok_or(RoomFailure::Unknown)?;

    Ok(web::Json(view))
}

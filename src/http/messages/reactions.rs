//! Reactions over HTTP: the caller's own, one an emoji and message.

use actix_web::{delete, put, web};

use super::named;
use crate::actors::room::Rooms;
use crate::domain::ids::RoomId;
use crate::domain::messages::Emoji;
use crate::domain::rooms::{Action, Command};
use crate::error::ApiResult;
use crate::http::caller::Caller;
use crate::http::views::{ChangeRefusals, ChangeView};

/// Gives a message an emoji or a short word such as `:tada:`.
#[utoipa::path(
    tag = "messages",
    params(
        ("id" = RoomId, Path),
        ("message" = String, Path, description = "Its id or its `seq`"),
        ("emoji" = String, Path, description = "At most 32 bytes, percent-encoded", min_length = 1, max_length = 32),
    ),
    security(("bearer" = [])),
    responses((status = 200, body = ChangeView), ChangeRefusals),
)]
#[put("/chat/rooms/{id}/messages/{message}/reactions/{emoji}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn add_reaction(
    caller: Caller,
    path: web::Path<(RoomId, String, String)>,
    rooms: web::Data<Rooms>,
) -> ApiResult<web::Json<ChangeView>> {
    let (room, message, emoji) = path.into_inner();
    let action = Action::React { message: named(&message)?, emoji: Emoji::parse(&emoji)? };
    let added = rooms.append(room, Command { actor: caller.user_id, action }).await?;

    Ok(web::Json(added.into()))
}

/// Takes a reaction of the caller back.
#[utoipa::path(
    tag = "messages",
    params(
        ("id" = RoomId, Path),
        ("message" = String, Path, description = "Its id or its `seq`"),
        ("emoji" = String, Path, description = "At most 32 bytes, percent-encoded", min_length = 1, max_length = 32),
    ),
    security(("bearer" = [])),
    responses((status = 200, body = ChangeView), ChangeRefusals),
)]
#[delete("/chat/rooms/{id}/messages/{message}/reactions/{emoji}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn remove_reaction(
    caller: Caller,
    path: web::Path<(RoomId, String, String)>,
    rooms: web::Data<Rooms>,
) -> ApiResult<web::Json<ChangeView>> {
    let (room, message, emoji) = path.into_inner();
    let action = Action::Unreact { message: named(&message)?, emoji: Emoji::parse(&emoji)? };
    let removed = rooms.append(room, Command { actor: caller.user_id, action }).await?;

    Ok(web::Json(removed.into()))
}

//! What a member wants to be told of in a room, over HTTP.

use actix_web::put;
use actix_web::web::{self, ServiceConfig};
use serde::Deserialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::views::{ChangeRefusals, RoomNotificationsView, WriteRefusals};
use crate::domain::ids::RoomId;
use crate::domain::preferences::{RoomLevel, RoomNotifications};
use crate::domain::time::Timestamp;
use crate::error::ApiResult;
use crate::store::Store;

/// Routes below the version; `rooms` mounts and describes them among its own.
pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(update_room_notifications);
}

/// What to be told of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RoomNotificationsBody {
    level: RoomLevel,
    /// Until then nothing at all; null: as `level` says.
    #[serde(default)]
    muted_until: Option<Timestamp>,
}

/// Chooses what the caller is told of in one of their rooms. Messages come either way.
#[utoipa::path(
    tag = "rooms",
    params(("id" = RoomId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = RoomNotificationsView), ChangeRefusals, WriteRefusals),
)]
#[put("/chat/rooms/{id}/notifications")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn update_room_notifications(
    caller: Caller,
    id: web::Path<RoomId>,
    body: web::Json<RoomNotificationsBody>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<RoomNotificationsView>> {
    let RoomNotificationsBody { level, muted_until } = body.into_inner();
    let chosen = RoomNotifications { level, muted_until };
    store.update_room_notifications(*id, caller.user_id, chosen).await?;

    Ok(web::Json(chosen.into()))
}

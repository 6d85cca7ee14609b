//! Presence over HTTP: how others are shown to the caller. Who is no friend and shares no room is nobody it knows.

use actix_web::get;
use actix_web::web::{self, ServiceConfig};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::caller::Caller;
use super::views::ReadRefusals;
use crate::domain::accounts::AccountError;
use crate::domain::ids::UserId;
use crate::domain::presence::Presence;
use crate::error::{ApiError, ApiResult};
use crate::store::Store;

/// Users whose presence is asked for at once.
pub const USERS_MAX: usize = 100;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_presences).service(get_presence);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(list_presences, get_presence))]
pub struct Doc;

/// How several users are shown.
#[derive(Serialize, ToSchema)]
struct PresencesView {
    items: Vec<Presence>,
}

/// How one user is shown to the caller.
#[utoipa::path(
    tag = "presence",
    params(("user_id" = UserId, Path, description = "The user")),
    security(("bearer" = [])),
    responses((status = 200, description = "The user's presence", body = Presence), ReadRefusals),
)]
#[get("/online-status/{user_id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn get_presence(
    caller: Caller,
    user_id: web::Path<UserId>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Presence>> {
    let found = store.list_presences(caller.user_id, &[*user_id]).await?;
    let presence = found.into_iter().next().ok_or(AccountError::UserNotFound)?;
    Ok(web::Json(presence))
}

/// How up to 100 users are shown to the caller; those it may not know of are left out.
#[utoipa::path(
    tag = "presence",
    params(("user_ids" = Vec<UserId>, Query, description = "Repeated, or separated by commas", explode = false)),
    security(("bearer" = [])),
    responses((status = 200, description = "Their presences", body = PresencesView), ReadRefusals),
)]
#[get("/online-status")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn list_presences(
    caller: Caller,
    query: web::Query<Vec<(String, String)>>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<PresencesView>> {
    let users = user_ids(&query)?;
    let items = store.list_presences(caller.user_id, &users).await?;
    Ok(web::Json(PresencesView { items }))
}

/// Reads `user_ids`, however often and in whatever way they are given.
///
/// # Errors
/// 422 for what is no id, and for too many.
pub fn user_ids(query: &[(String, String)]) -> ApiResult<Vec<UserId>> {
    let given = query.iter().filter(|(name, _)| name == "user_ids");
    let words = given.flat_map(|(_, value)| value.split(',')).filter(|word| !word.is_empty());
    let mut users = Vec::new();
    for word in words {
        let user: UserId = word
            .parse()
            .map_err(|_| ApiError::invalid("?user_ids", "invalid_id", "a user's id is a UUID"))?;
        if !users.contains(&user) {
            users.push(user);
        }
    }
    if users.len() > USERS_MAX {
        return Err(ApiError::invalid("?user_ids", "too_many", "at most 100 users"));
    }
    Ok(users)
}

//! Follows over HTTP: following somebody and no more, who follows a user, and whom they follow.

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{delete, get, post};
use utoipa::OpenApi;

use super::caller::Caller;
use super::page::{Page, PageQuery};
use super::views::{ChangeRefusals, FollowView, ListRefusals, ListedView};
use crate::clock;
use crate::config::Config;
use crate::domain::ids::UserId;
use crate::error::ApiResult;
use crate::store::Store;
use crate::store::friends::lists::Listed;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(follow_user).service(unfollow_user).service(list_followers).service(list_following);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(follow_user, unfollow_user, list_followers, list_following))]
pub struct Doc;

/// Follows another user.
#[utoipa::path(
    tag = "users",
    params(("id" = UserId, Path, description = "The user")),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The caller follows the user now", body = FollowView),
        (status = 200, description = "The caller did already", body = FollowView),
        ChangeRefusals,
    ),
)]
#[post("/users/{id:[0-9a-fA-F-]+}/follow")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn follow_user(
    caller: Caller,
    id: web::Path<UserId>,
    store: web::Data<Store>,
    config: web::Data<Config>,
) -> ApiResult<(web::Json<FollowView>, StatusCode)> {
    let following_max = config.friends.following_max;
    let is_new = store.insert_follow(caller.user_id, *id, following_max, clock::now()).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };

    Ok((web::Json(FollowView { user_id: *id, following: true }), status))
}

/// Follows another user no more.
#[utoipa::path(
    tag = "users",
    params(("id" = UserId, Path, description = "The user")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The caller does not follow the user", body = FollowView),
        ChangeRefusals,
    ),
)]
#[delete("/users/{id:[0-9a-fA-F-]+}/follow")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn unfollow_user(
    caller: Caller,
    id: web::Path<UserId>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<FollowView>> {
    store.delete_follow(caller.user_id, *id, clock::now()).await?;

    Ok(web::Json(FollowView { user_id: *id, following: false }))
}

/// Who follows a user, the newest first. Of a private profile, only friends see it.
#[utoipa::path(
    tag = "users",
    params(("id" = UserId, Path, description = "The user"), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<ListedView>), ListRefusals),
)]
#[get("/users/{id:[0-9a-fA-F-]+}/followers")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn list_followers(
    caller: Caller,
    id: web::Path<UserId>,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<ListedView>>> {
    let (after, limit) = (query.after()?, query.limit.with_probe());
    let rows = store.list_followers(caller.user_id, *id, after, limit).await?;

    Ok(web::Json(Page::new(rows, query.limit, Listed::cursor)))
}

/// Whom a user follows, the newest first. Of a private profile, only friends see it.
#[utoipa::path(
    tag = "users",
    params(("id" = UserId, Path, description = "The user"), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<ListedView>), ListRefusals),
)]
#[get("/users/{id:[0-9a-fA-F-]+}/following")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn list_following(
    caller: Caller,
    id: web::Path<UserId>,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<ListedView>>> {
    let (after, limit) = (query.after()?, query.limit.with_probe());
    let rows = store.list_following(caller.user_id, *id, after, limit).await?;

    Ok(web::Json(Page::new(rows, query.limit, Listed::cursor)))
}

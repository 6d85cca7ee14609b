//! Finding people over HTTP.

mod query;

use actix_web::get;
use actix_web::web::{self, ServiceConfig};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use self::query::SearchQuery;
use super::caller::Caller;
use super::page::Page;
use super::views::{AvatarSizes, ReadRefusals};
use crate::domain::ids::UserId;
use crate::error::ApiResult;
use crate::store::Store;
use crate::store::names::Found;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(search_users);
}

/// What [`routes`] serves, for `/openapi.json`.
#[derive(OpenApi)]
#[openapi(paths(search_users))]
pub struct Doc;

/// Somebody who was found: what everybody sees of them.
#[derive(Debug, Serialize, ToSchema)]
struct FoundView {
    id: UserId,
    handle: String,
    display_name: String,
    /// An `https` address or an absolute path.
    avatar: Option<String>,
    /// Where the picture is kept here: its sizes.
    avatar_sizes: Option<AvatarSizes>,
}

/// Finds people by handle or display name.
///
/// Whoever has the handle `q` comes first, then all others by the word that begins with it. The caller, and whoever does not
/// want to be found, are not in the list.
#[utoipa::path(
    tag = "users",
    params(SearchQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "Those who were found", body = Page<FoundView>), ReadRefusals),
)]
#[get("/users/search")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn search_users(
    caller: Caller,
    query: web::Query<SearchQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<FoundView>>> {
    let (term, after) = query.start()?;
    let found = store.search_users(caller.user_id, term, after, query.limit.with_probe()).await?;

    Ok(web::Json(Page::new(found, query.limit, |found| found.cursor.clone())))
}

impl From<Found> for FoundView {
    fn from(found: Found) -> Self {
        Self {
            id: found.id,
            handle: found.handle,
            display_name: found.display_name,
            avatar_sizes: AvatarSizes::of(found.avatar.as_deref()),
            avatar: found.avatar,
        }
    }
}

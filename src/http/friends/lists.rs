//! Lists of people over HTTP: friends, requests, blocks, and friends in common.

use actix_web::get;
use actix_web::web;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::error::ApiResult;
use crate::http::caller::Caller;
use crate::http::page::{Cursor, Limit, Page, PageQuery};
use crate::http::views::{FriendView, ListedView, PersonView, ReadRefusals};
use crate::store::Store;
use crate::store::friends::lists::{Direction, ListCursor, Listed};

/// Which requests, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RequestsQuery {
    /// Those that others have sent to the caller, or the caller's own; `incoming` unless said otherwise.
    #[serde(default)]
    #[param(inline, required = false)]
    direction: DirectionQuery,
    /// The `next_cursor` of the page before; the first page without.
    cursor: Option<String>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
}

/// Which way requests go.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DirectionQuery {
    #[default]
    Incoming,
    Outgoing,
}

/// The caller's friends, the newest first, with how they are shown.
#[utoipa::path(
    tag = "friends",
    params(PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<FriendView>), ReadRefusals),
)]
#[get("/friends")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn list_friends(
    caller: Caller,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<FriendView>>> {
    let rows = store.list_friends(caller.user_id, query.after()?, query.limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, query.limit, |friend| ListCursor {
        at: friend.since,
        user: friend.person.id,
    })))
}

/// Requests that wait for an answer, the newest first.
#[utoipa::path(
    tag = "friends",
    params(RequestsQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<ListedView>), ReadRefusals),
)]
#[get("/friends/requests")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn list_requests(
    caller: Caller,
    query: web::Query<RequestsQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<ListedView>>> {
    let RequestsQuery { direction, cursor, limit } = query.into_inner();
    let direction = match direction {
        DirectionQuery::Incoming => Direction::Incoming,
        DirectionQuery::Outgoing => Direction::Outgoing,
    };
    let page = PageQuery { cursor, limit };
    let rows = store
        .list_friend_requests(caller.user_id, direction, page.after()?, limit.with_probe())
        .await?;

    Ok(web::Json(Page::new(rows, limit, Listed::cursor)))
}

/// Whom the caller has blocked, the newest first.
#[utoipa::path(
    tag = "friends",
    params(PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<ListedView>), ReadRefusals),
)]
#[get("/friends/blocked")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn list_blocked(
    caller: Caller,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<ListedView>>> {
    let rows = store.list_blocked(caller.user_id, query.after()?, query.limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, query.limit, Listed::cursor)))
}

/// The friends that the caller and another user have in common, in the order of their ids.
#[utoipa::path(
    tag = "friends",
    params(("user_id" = UserId, Path, description = "The other user"), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<PersonView>), ReadRefusals),
)]
#[get("/friends/mutual/{user_id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn list_mutual(
    caller: Caller,
    user_id: web::Path<UserId>,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<PersonView>>> {
    let (after, limit) = (query.after()?, query.limit.with_probe());
    let rows = store.list_mutual_friends(caller.user_id, *user_id, after, limit).await?;

    Ok(web::Json(Page::new(rows, query.limit, |person| person.id)))
}

impl Cursor for ListCursor {
    fn to_text(&self) -> String {
        format!("{}:{}", self.at.millis(), self.user)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (millis, user) = text.split_once(':')?;
        let at = Timestamp::from_millis(millis.parse().ok()?);
        Some(Self { at, user: user.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::http::page::{decode, encode};

    #[test]
    fn a_cursor_leads_back_to_its_person() {
        let cursor = ListCursor {
            at: Timestamp::from_millis(1_795_244_400_123),
            user: Uuid::from_u128(7).into(),
        };
        assert_eq!(decode(&encode(&cursor)), Ok(cursor));
        assert_eq!(ListCursor::from_text("1795244400123"), None);
        assert_eq!(ListCursor::from_text("1:7"), None);
    }
}

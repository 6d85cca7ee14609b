//! Friends over HTTP: asking, answering, parting, and blocking. Every call may be repeated.

mod lists;

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{delete, post};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

use super::caller::Caller;
use super::views::{ChangeRefusals, FriendStateView, WriteRefusals};
use crate::actors::inbox::Inboxes;
use crate::clock;
use crate::config::{Config, FriendsConfig};
use crate::domain::friends::{FriendAction, FriendChange, FriendLimits};
use crate::domain::ids::UserId;
use crate::error::ApiResult;
use crate::store::Store;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    // What is literal comes before what takes an id.
    cfg.service(lists::list_friends)
        .service(lists::list_requests)
        .service(lists::list_blocked)
        .service(lists::list_mutual)
        .service(request_friendship)
        .service(accept_request)
        .service(reject_request)
        .service(cancel_request)
        .service(block_user)
        .service(unblock_user)
        .service(delete_friend);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(
    lists::list_friends,
    lists::list_requests,
    lists::list_blocked,
    lists::list_mutual,
    request_friendship,
    accept_request,
    reject_request,
    cancel_request,
    block_user,
    unblock_user,
    delete_friend,
))]
pub struct Doc;

/// Whom it is about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OtherBody {
    user_id: UserId,
}

type Answer = ApiResult<(web::Json<FriendStateView>, StatusCode)>;

/// Asks another user to be friends. Where they have asked already, the two are friends at once.
#[utoipa::path(
    tag = "friends",
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The request is new", body = FriendStateView),
        (status = 200, description = "It was sent before, or the two are friends", body = FriendStateView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/friends/request")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn request_friendship(
    caller: Caller,
    body: web::Json<OtherBody>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
    config: web::Data<Config>,
) -> Answer {
    let wish = Wish { actor: caller.user_id, other: body.user_id, action: FriendAction::Request };
    wish.perform(&store, &inboxes, &config).await
}

/// Accepts the request of another user.
#[utoipa::path(
    tag = "friends",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The two are friends", body = FriendStateView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/friends/accept")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn accept_request(
    caller: Caller,
    body: web::Json<OtherBody>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
    config: web::Data<Config>,
) -> Answer {
    let wish = Wish { actor: caller.user_id, other: body.user_id, action: FriendAction::Accept };
    wish.perform(&store, &inboxes, &config).await
}

/// Declines the request of another user, who is told no more than that it is over.
#[utoipa::path(
    tag = "friends",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "There is no request any more", body = FriendStateView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/friends/reject")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn reject_request(
    caller: Caller,
    body: web::Json<OtherBody>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
    config: web::Data<Config>,
) -> Answer {
    let wish = Wish { actor: caller.user_id, other: body.user_id, action: FriendAction::Reject };
    wish.perform(&store, &inboxes, &config).await
}

/// Takes the caller's own request back.
#[utoipa::path(
    tag = "friends",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "There is no request of the caller any more", body = FriendStateView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/friends/cancel")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn cancel_request(
    caller: Caller,
    body: web::Json<OtherBody>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
    config: web::Data<Config>,
) -> Answer {
    let wish = Wish { actor: caller.user_id, other: body.user_id, action: FriendAction::Cancel };
    wish.perform(&store, &inboxes, &config).await
}

/// Ends a friendship.
#[utoipa::path(
    tag = "friends",
    params(("friend_id" = UserId, Path, description = "The friend")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The two are not friends", body = FriendStateView),
        ChangeRefusals,
    ),
)]
// Only what looks like an id, so that no other path under `/friends` is shadowed.
#[delete("/friends/{friend_id:[0-9a-fA-F-]+}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn delete_friend(
    caller: Caller,
    friend_id: web::Path<UserId>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
    config: web::Data<Config>,
) -> Answer {
    let wish = Wish { actor: caller.user_id, other: *friend_id, action: FriendAction::Delete };
    wish.perform(&store, &inboxes, &config).await
}

/// Blocks another user: whatever there was between the two is over, and neither reaches the other.
///
/// The other is not told.
#[utoipa::path(
    tag = "friends",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The user is blocked", body = FriendStateView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/friends/block")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn block_user(
    caller: Caller,
    body: web::Json<OtherBody>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
    config: web::Data<Config>,
) -> Answer {
    let wish = Wish { actor: caller.user_id, other: body.user_id, action: FriendAction::Block };
    wish.perform(&store, &inboxes, &config).await
}

/// Ends a block. What there was before does not come back.
#[utoipa::path(
    tag = "friends",
    params(("user_id" = UserId, Path, description = "Who was blocked")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The user is not blocked", body = FriendStateView),
        ChangeRefusals,
    ),
)]
#[delete("/friends/unblock/{user_id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn unblock_user(
    caller: Caller,
    user_id: web::Path<UserId>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
    config: web::Data<Config>,
) -> Answer {
    let wish = Wish { actor: caller.user_id, other: *user_id, action: FriendAction::Unblock };
    wish.perform(&store, &inboxes, &config).await
}

/// What the caller wants of another user.
struct Wish {
    actor: UserId,
    other: UserId,
    action: FriendAction,
}

impl Wish {
    /// Does it, and tells both.
    async fn perform(self, store: &Store, inboxes: &Inboxes, config: &Config) -> Answer {
        let Self { actor, other, action } = self;
        let limits = FriendLimits::from(&config.friends);
        let outcome = store.change_friendship(actor, other, action, limits, clock::now()).await?;
        inboxes.deliver(&outcome.inbox).await;
        let status = match outcome.change {
            FriendChange::Requested => StatusCode::CREATED,
            _ => StatusCode::OK,
        };

        Ok((web::Json(FriendStateView { user_id: other, state: outcome.state }), status))
    }
}

impl From<&FriendsConfig> for FriendLimits {
    fn from(config: &FriendsConfig) -> Self {
        Self {
            friends_max: config.friends_max,
            requests_open_max: config.requests_open_max,
            requests_received_max: config.requests_received_max,
            requests_per_day: config.requests_per_day,
            new_account: config.new_account(),
            new_account_requests_per_day: config.new_account_requests_per_day,
            reject_cooldown: config.reject_cooldown(),
            blocks_max: config.blocks_max,
        }
    }
}

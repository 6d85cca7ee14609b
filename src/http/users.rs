//! People over HTTP: one's own profile, somebody else's as far as one may see it, and leaving.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, delete, get, put};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::auth::refusals::{BodyRefusals, CallerRefusals, PublicRefusals};
use super::caller::Caller;
use super::client_ip::ClientIp;
use super::views::AvatarSizes;
use crate::accounts::{Accounts, Images, Seen};
use crate::actors::inbox::Inboxes;
use crate::domain::accounts::{AccountError, Avatar, Bio, DisplayName, Roles};
use crate::domain::ids::UserId;
use crate::domain::profiles::Portrait;
use crate::domain::settings::ProfileVisibility;
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult, Problem};
use crate::store::accounts::{ProfileChange, User};

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(read_profile).service(update_profile).service(delete_account).service(read_user);
}

/// What [`routes`] serves, for `/openapi.json`.
#[derive(OpenApi)]
#[openapi(paths(read_profile, update_profile, delete_account, read_user))]
pub struct Doc;

/// A user as they see themselves.
#[derive(Serialize, ToSchema)]
pub struct ProfileView {
    id: UserId,
    handle: String,
    display_name: String,
    bio: String,
    /// An `https` address or an absolute path.
    avatar: Option<String>,
    /// Where the picture is kept here: its sizes.
    avatar_sizes: Option<AvatarSizes>,
    email: String,
    /// Whether the e-mail address was confirmed.
    verified: bool,
    roles: Roles,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A user as the caller sees them.
#[derive(Serialize, ToSchema)]
pub struct UserView {
    id: UserId,
    handle: String,
    display_name: String,
    /// Null where the profile is private and the caller is not a friend.
    bio: Option<String>,
    /// An `https` address or an absolute path.
    avatar: Option<String>,
    follower_count: i64,
    following_count: i64,
    /// Where the picture is kept here: its sizes.
    avatar_sizes: Option<AvatarSizes>,
    /// Who may read the whole profile: everybody, or friends.
    profile: ProfileVisibility,
    /// Null where the profile is private and the caller is not a friend.
    created_at: Option<Timestamp>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProfileBody {
    /// Left out: stays as it is.
    #[schema(min_length = 1, max_length = 50)]
    display_name: Option<String>,
    /// Left out: stays as it is.
    #[schema(max_length = 500)]
    bio: Option<String>,
    /// Left out: stays as it is; null: is taken away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 512)]
    avatar: Option<Option<String>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeleteAccountBody {
    #[schema(value_type = String, format = Password, max_length = 128)]
    password: SecretString,
}

impl From<User> for ProfileView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            handle: user.handle,
            display_name: user.display_name,
            bio: user.bio,
            avatar_sizes: AvatarSizes::of(user.avatar.as_deref()),
            avatar: user.avatar,
            email: user.email,
            verified: user.verified_at.is_some(),
            roles: user.roles,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

impl From<Seen> for UserView {
    fn from(Seen { user, profile, portrait, follows }: Seen) -> Self {
        let is_whole = portrait == Portrait::Whole;
        Self {
            id: user.id,
            handle: user.handle,
            display_name: user.display_name,
            bio: is_whole.then_some(user.bio),
            avatar_sizes: AvatarSizes::of(user.avatar.as_deref()),
            avatar: user.avatar,
            follower_count: follows.followers,
            following_count: follows.following,
            profile,
            created_at: is_whole.then_some(user.created_at),
        }
    }
}

impl TryFrom<ProfileBody> for ProfileChange {
    type Error = AccountError;

    fn try_from(body: ProfileBody) -> Result<Self, AccountError> {
        Ok(Self {
            display_name: body.display_name.as_deref().map(DisplayName::parse).transpose()?,
            bio: body.bio.as_deref().map(Bio::parse).transpose()?,
            avatar: body
                .avatar
                .map(|avatar| avatar.as_deref().map(Avatar::parse).transpose())
                .transpose()?,
        })
    }
}

/// The caller's own profile.
#[utoipa::path(
    tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The profile as it is now", body = ProfileView),
        (
            status = 404,
            description = "The account is gone",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[get("/users/profile")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn read_profile(
    caller: Caller,
    accounts: web::Data<Accounts>,
) -> ApiResult<web::Json<ProfileView>> {
    let user = accounts.user(caller.user_id).await?;

    Ok(web::Json(user.into()))
}

/// Changes the caller's own profile; what is left out stays as it is.
#[utoipa::path(
    tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The profile as it is now", body = ProfileView),
        (
            status = 404,
            description = "The account is gone",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[put("/users/profile")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn update_profile(
    caller: Caller,
    body: web::Json<ProfileBody>,
    accounts: web::Data<Accounts>,
    images: web::Data<Images>,
) -> ApiResult<web::Json<ProfileView>> {
    let change = ProfileChange::try_from(body.into_inner()).map_err(ApiError::Account)?;
    let is_other_picture = change.avatar.is_some();
    let user = accounts.update_profile(caller.user_id, change).await?;
    if is_other_picture {
        images.clear_of(caller.user_id).await;
    }

    Ok(web::Json(user.into()))
}

/// Deletes the caller's account for good: sessions end, nothing personal stays.
#[utoipa::path(
    tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Done"),
        (
            status = 403,
            description = "`wrong_password`, `own_decision` for an administrator",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 409,
            description = "`wallet_not_empty`: the caller's money is here or on its way, or they owe some",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[delete("/users/account")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn delete_account(
    caller: Caller,
    body: web::Json<DeleteAccountBody>,
    ip: ClientIp,
    accounts: web::Data<Accounts>,
    inboxes: web::Data<Inboxes>,
    images: web::Data<Images>,
) -> ApiResult<HttpResponse> {
    let told = accounts.delete(caller.user_id, &body.password, ip.0).await?;
    inboxes.deliver(&told).await;
    images.clear_of(caller.user_id).await;

    Ok(HttpResponse::NoContent().finish())
}

/// Another user, as the caller sees them: of a private profile, only handle, display name and picture; nothing of one who
/// has blocked the caller.
#[utoipa::path(
    tag = "users",
    params(("id" = UserId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The user", body = UserView),
        (
            status = 404,
            description = "No such user",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        PublicRefusals,
    ),
)]
// Only what looks like an id, so that no other path under `/users` is shadowed.
#[get("/users/{id:[0-9a-fA-F-]+}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn read_user(
    caller: Caller,
    id: web::Path<UserId>,
    accounts: web::Data<Accounts>,
) -> ApiResult<web::Json<UserView>> {
    let seen = accounts.user_seen_by(caller.user_id, *id).await?;

    Ok(web::Json(seen.into()))
}

/// Tells a field that is null from one that is left out.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> ProfileChange {
        serde_json::from_str::<ProfileBody>(json).unwrap().try_into().unwrap()
    }

    #[test]
    fn what_is_left_out_stays_and_null_takes_the_avatar_away() {
        assert!(change("{}").avatar.is_none());
        assert_eq!(change(r#"{"avatar":null}"#).avatar, Some(None));
        assert!(change(r#"{"avatar":"/v1/files/7"}"#).avatar.flatten().is_some());
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(serde_json::from_str::<ProfileBody>(r#"{"roles":["ADMIN"]}"#).is_err());
    }
}

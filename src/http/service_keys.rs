//! Service keys over HTTP: administrators make them, look at them and end them.

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, delete, get, post};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{OpenApi, ToSchema};

use super::auth::refusals::{BodyRefusals, PublicRefusals};
use super::caller::Admin;
use super::page::{Cursor, Page, PageQuery};
use super::service::AuthorityRefusals;
use crate::accounts::service_keys::ServiceKeys;
use crate::domain::ids::{ServiceKeyId, UserId};
use crate::domain::service_keys::{DAYS_DEFAULT, Scope, Scopes, ServiceName};
use crate::domain::time::Timestamp;
use crate::error::{ApiResult, Problem};
use crate::store::Store;
use crate::store::service_keys::ServiceKey;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(create_service_key).service(list_service_keys).service(revoke_service_key);
}

/// What [`routes`] serves, for `/openapi.json`.
#[derive(OpenApi)]
#[openapi(paths(create_service_key, list_service_keys, revoke_service_key))]
pub struct Doc;

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewServiceKeyBody {
    /// The service that will call with it, in `X-Service-Name`; several keys may be of one service.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[a-z0-9][a-z0-9._-]*$",
        example = "billing"
    )]
    name: String,
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
    #[serde(default = "days")]
    #[schema(minimum = 1, maximum = 730, default = 365)]
    expires_in_days: u32,
}

/// A key, as far as it is ever shown again.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceKeyView {
    id: ServiceKeyId,
    name: String,
    scopes: Scopes,
    /// Null for a key that was made on the command line.
    created_by: Option<UserId>,
    created_at: Timestamp,
    expires_at: Timestamp,
    /// To the minute; null for one that was never used.
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
pub struct NewServiceKeyView {
    #[serde(flatten)]
    service_key: ServiceKeyView,
    /// For `X-API-Key`. Shown now and never again.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, example = "md_0193a7c27c3b70008000000000000001_…")]
    key: SecretString,
}

impl From<ServiceKey> for ServiceKeyView {
    fn from(key: ServiceKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            scopes: key.scopes,
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
        }
    }
}

/// Makes a key for another server, and shows it once.
#[utoipa::path(
    tag = "admin",
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The key is good from now on", body = NewServiceKeyView),
        (
            status = 409,
            description = "`too_many_service_keys`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/admin/service-keys")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
async fn create_service_key(
    admin: Admin,
    body: web::Json<NewServiceKeyBody>,
    keys: web::Data<ServiceKeys>,
) -> ApiResult<(web::Json<NewServiceKeyView>, StatusCode)> {
    let NewServiceKeyBody { name, scopes, expires_in_days } = body.into_inner();
    let (name, scopes) = (ServiceName::parse(&name)?, Scopes::new(scopes)?);
    let made = keys.create(name, scopes, expires_in_days, Some(admin.0.user_id)).await?;
    let (key, text) = made;
    let view = NewServiceKeyView { service_key: key.into(), key: text };

    Ok((web::Json(view), StatusCode::CREATED))
}

/// All keys, dead ones too, the newest first.
#[utoipa::path(
    tag = "admin",
    params(PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<ServiceKeyView>), AuthorityRefusals, PublicRefusals),
)]
#[get("/admin/service-keys")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
async fn list_service_keys(
    admin: Admin,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<ServiceKeyView>>> {
    let rows = store.list_service_keys(query.after()?, query.limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, query.limit, |key| key.id)))
}

/// Ends a key: on this node at once, on every other within five seconds.
#[utoipa::path(
    tag = "admin",
    params(("id" = ServiceKeyId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "It has ended, now or before"),
        (
            status = 404,
            description = "`service_key_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        PublicRefusals,
    ),
)]
#[delete("/admin/service-keys/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, key.id = %id))]
async fn revoke_service_key(
    admin: Admin,
    id: web::Path<ServiceKeyId>,
    keys: web::Data<ServiceKeys>,
) -> ApiResult<HttpResponse> {
    keys.revoke(*id, admin.0.user_id).await?;

    Ok(HttpResponse::NoContent().finish())
}

const fn days() -> u32 {
    DAYS_DEFAULT
}

/// The one moment at which a secret is told.
pub(super) fn shown<S: Serializer>(secret: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose_secret())
}

impl Cursor for ServiceKeyId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lives_for_a_year_and_its_scopes_are_known_words() {
        let read = |json: serde_json::Value| serde_json::from_value::<NewServiceKeyBody>(json);
        let body = read(serde_json::json!({ "name": "a", "scopes": ["webhooks:manage"] })).unwrap();
        assert_eq!((body.expires_in_days, body.scopes), (365, vec![Scope::WebhooksManage]));
        assert!(read(serde_json::json!({ "name": "a", "scopes": ["everything"] })).is_err());
        assert!(read(serde_json::json!({ "name": "a", "scopes": [], "key": "x" })).is_err());
    }
}

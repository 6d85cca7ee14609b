//! Webhooks over HTTP: the endpoints of other systems, for administrators and for services with `webhooks:manage`.

mod log;
mod views;

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, delete, get, patch, post};
use utoipa::OpenApi;

use self::views::{
    EndpointBody, EndpointChangeBody, EndpointView, NewEndpointView, RotateSecretBody, SecretView,
};
use super::auth::optional::Optional;
use super::auth::refusals::{BodyRefusals, PublicRefusals};
use super::page::{Cursor, Page, PageQuery};
use super::service::{AuthorityRefusals, WebhookManager};
use crate::actors::webhooks::{EndpointDraft, Webhooks};
use crate::clock;
use crate::domain::ids::EndpointId;
use crate::domain::webhooks::{Description, EventFilter, WebhookError, overlap};
use crate::error::{ApiResult, Problem};
use crate::providers::couriers::outward::guard::Guard;
use crate::store::Store;
use crate::store::webhooks::EndpointChange;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(create_webhook)
        .service(list_webhooks)
        .service(read_webhook)
        .service(update_webhook)
        .service(delete_webhook)
        .service(rotate_webhook_secret)
        .configure(log::routes);
}

/// What [`routes`] serves, for `/openapi.json`.
#[derive(OpenApi)]
#[openapi(paths(
    create_webhook,
    list_webhooks,
    read_webhook,
    update_webhook,
    delete_webhook,
    rotate_webhook_secret,
    log::test_webhook,
    log::list_webhook_deliveries,
    log::replay_webhook_deliveries,
))]
pub struct Doc;

/// Makes an endpoint, which is posted what happens from now on, and shows its signing secret once.
#[utoipa::path(
    tag = "webhooks",
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 201, description = "The endpoint is there", body = NewEndpointView),
        (
            status = 409,
            description = "`too_many_webhooks`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/webhooks")]
#[tracing::instrument(skip_all, fields(principal = manager.0.label()))]
async fn create_webhook(
    manager: WebhookManager,
    body: web::Json<EndpointBody>,
    webhooks: web::Data<Webhooks>,
    guard: web::Data<Guard>,
) -> ApiResult<(web::Json<NewEndpointView>, StatusCode)> {
    let EndpointBody { url, events, description } = body.into_inner();
    let draft = EndpointDraft {
        url: checked(url, &guard)?,
        events: EventFilter::parse(&events)?,
        description: Description::parse(&description)?,
    };
    let (endpoint, secret) = webhooks.create(draft, manager.0.label()).await?;

    Ok((web::Json(NewEndpointView::new(endpoint, secret)), StatusCode::CREATED))
}

/// The endpoints, the newest first.
#[utoipa::path(
    tag = "webhooks",
    params(PageQuery),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses((status = 200, body = Page<EndpointView>), AuthorityRefusals, PublicRefusals),
)]
#[get("/webhooks")]
#[tracing::instrument(skip_all, fields(principal = manager.0.label()))]
async fn list_webhooks(
    manager: WebhookManager,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<EndpointView>>> {
    let rows = store.list_webhooks(query.after()?, query.limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, query.limit, |endpoint| endpoint.id)))
}

/// One endpoint.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = EndpointId, Path)),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 200, body = EndpointView),
        (
            status = 404,
            description = "`webhook_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        PublicRefusals,
    ),
)]
#[get("/webhooks/{id}")]
#[tracing::instrument(skip_all, fields(principal = manager.0.label(), endpoint.id = %id))]
async fn read_webhook(
    manager: WebhookManager,
    id: web::Path<EndpointId>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<EndpointView>> {
    let endpoint = store.find_webhook(*id).await?.ok_or(WebhookError::NotFound)?;

    Ok(web::Json(endpoint.into()))
}

/// Changes an endpoint; what is left out stays as it is. What is on its way already goes to the new address.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = EndpointId, Path)),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 200, description = "The endpoint as it is now", body = EndpointView),
        (
            status = 404,
            description = "`webhook_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[patch("/webhooks/{id}")]
#[tracing::instrument(skip_all, fields(principal = manager.0.label(), endpoint.id = %id))]
async fn update_webhook(
    manager: WebhookManager,
    id: web::Path<EndpointId>,
    body: web::Json<EndpointChangeBody>,
    store: web::Data<Store>,
    guard: web::Data<Guard>,
) -> ApiResult<web::Json<EndpointView>> {
    let body = body.into_inner();
    let change = EndpointChange {
        url: body.url.map(|url| checked(url, &guard)).transpose()?,
        events: body.events.as_deref().map(EventFilter::parse).transpose()?,
        description: body.description.as_deref().map(Description::parse).transpose()?,
        is_enabled: body.enabled,
    };
    // Nothing to change is nothing to announce.
    let endpoint = if change == EndpointChange::default() {
        store.find_webhook(*id).await?
    } else {
        store.update_webhook(*id, change, manager.0.label(), clock::now()).await?
    };

    Ok(web::Json(endpoint.ok_or(WebhookError::NotFound)?.into()))
}

/// Deletes an endpoint. What is on its way is not sent any more.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = EndpointId, Path)),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 204, description = "Done"),
        (
            status = 404,
            description = "`webhook_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        PublicRefusals,
    ),
)]
#[delete("/webhooks/{id}")]
#[tracing::instrument(skip_all, fields(principal = manager.0.label(), endpoint.id = %id))]
async fn delete_webhook(
    manager: WebhookManager,
    id: web::Path<EndpointId>,
    store: web::Data<Store>,
) -> ApiResult<HttpResponse> {
    if !store.delete_webhook(*id, manager.0.label(), clock::now()).await? {
        return Err(WebhookError::NotFound.into());
    }

    Ok(HttpResponse::NoContent().finish())
}

/// Gives an endpoint a new signing secret, and shows it once. The one before signs as well for a day, or as long as is
/// asked for; the one before that does no more.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = EndpointId, Path)),
    request_body = Option<RotateSecretBody>,
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 200, description = "The new secret signs from now on", body = SecretView),
        (
            status = 404,
            description = "`webhook_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/webhooks/{id}/rotate-secret")]
#[tracing::instrument(skip_all, fields(principal = manager.0.label(), endpoint.id = %id))]
async fn rotate_webhook_secret(
    manager: WebhookManager,
    id: web::Path<EndpointId>,
    body: Optional<RotateSecretBody>,
    webhooks: web::Data<Webhooks>,
) -> ApiResult<web::Json<SecretView>> {
    let overlap = overlap(body.0.and_then(|body| body.overlap_s))?;
    let (secret, old_secret_until) =
        webhooks.rotate_secret(*id, overlap, manager.0.label()).await?;

    Ok(web::Json(SecretView { secret, old_secret_until }))
}

/// An address that madang may post to, as it was written.
fn checked(url: String, guard: &Guard) -> Result<String, WebhookError> {
    guard.check(&url).map_err(|error| WebhookError::InvalidUrl(error.to_string()))?;
    Ok(url)
}

impl Cursor for EndpointId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

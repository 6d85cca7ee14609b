//! What was sent to an endpoint: a test, the log, and sending it again.

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{get, post};

use super::views::{QueuedView, WebhookDeliveryView, WebhookReplayBody, WebhookReplayedView};
use crate::actors::webhooks::Webhooks;
use crate::clock;
use crate::config::Config;
use crate::domain::ids::EndpointId;
use crate::domain::time::Timestamp;
use crate::domain::webhooks::WebhookError;
use crate::error::{ApiResult, Problem};
use crate::http::auth::refusals::{BodyRefusals, PublicRefusals};
use crate::http::page::{Cursor, Page, PageQuery};
use crate::http::service::{AuthorityRefusals, WebhookManager};
use crate::store::Store;
use crate::store::webhooks::{LogCursor, Replayed};

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(test_webhook).service(list_webhook_deliveries).service(replay_webhook_deliveries);
}

/// Posts an event called `WebhookTest` to an endpoint, soon.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = EndpointId, Path)),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 202, description = "It is in the queue", body = QueuedView),
        (
            status = 404,
            description = "`webhook_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 409,
            description = "`webhook_disabled`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        PublicRefusals,
    ),
)]
#[post("/webhooks/{id}/test")]
#[tracing::instrument(skip_all, fields(principal = manager.0.label(), endpoint.id = %id))]
pub(super) async fn test_webhook(
    manager: WebhookManager,
    id: web::Path<EndpointId>,
    webhooks: web::Data<Webhooks>,
    config: web::Data<Config>,
) -> ApiResult<(web::Json<QueuedView>, StatusCode)> {
    let delivery_id = webhooks.test(*id, &config.node.name).await?;

    Ok((web::Json(QueuedView { delivery_id }), StatusCode::ACCEPTED))
}

/// What was to be posted to an endpoint and what became of it, the newest first.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = EndpointId, Path), PageQuery),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 200, body = Page<WebhookDeliveryView>),
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
#[get("/webhooks/{id}/deliveries")]
#[tracing::instrument(skip_all, fields(principal = manager.0.label(), endpoint.id = %id))]
pub(super) async fn list_webhook_deliveries(
    manager: WebhookManager,
    id: web::Path<EndpointId>,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<WebhookDeliveryView>>> {
    store.find_webhook(*id).await?.ok_or(WebhookError::NotFound)?;
    let (after, limit) = (query.after()?, query.limit.with_probe());
    let rows = store.list_webhook_deliveries(*id, after, limit).await?;

    Ok(web::Json(Page::new(rows, query.limit, |delivery| LogCursor {
        created_at: delivery.created_at,
        id: delivery.id,
    })))
}

/// Posts again what did not arrive since a time, or one delivery; with the same ids and bodies.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = EndpointId, Path)),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 202, description = "So many are in the queue", body = WebhookReplayedView),
        (
            status = 404,
            description = "`webhook_not_found`, `delivery_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 409,
            description = "`webhook_disabled`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/webhooks/{id}/replay")]
#[tracing::instrument(skip_all, fields(principal = manager.0.label(), endpoint.id = %id))]
pub(super) async fn replay_webhook_deliveries(
    manager: WebhookManager,
    id: web::Path<EndpointId>,
    body: web::Json<WebhookReplayBody>,
    webhooks: web::Data<Webhooks>,
    store: web::Data<Store>,
) -> ApiResult<(web::Json<WebhookReplayedView>, StatusCode)> {
    webhooks.get_enabled(*id).await?;
    let now = clock::now();
    let replayed = match body.into_inner() {
        WebhookReplayBody { since: Some(since), delivery_id: None } => {
            store.replay_webhook_since(*id, since, now).await?
        }
        WebhookReplayBody { since: None, delivery_id: Some(delivery) } => {
            if !store.replay_webhook_delivery(*id, delivery, now).await? {
                return Err(WebhookError::DeliveryNotFound.into());
            }
            Replayed { count: 1, has_more: false }
        }
        _ => return Err(WebhookError::InvalidReplay.into()),
    };
    let view = WebhookReplayedView { queued: replayed.count, has_more: replayed.has_more };

    Ok((web::Json(view), StatusCode::ACCEPTED))
}

impl Cursor for LogCursor {
    fn to_text(&self) -> String {
        format!("{}:{}", self.created_at.millis(), self.id)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (millis, id) = text.split_once(':')?;
        let created_at = Timestamp::from_millis(millis.parse().ok()?);
        Some(Self { created_at, id: id.parse().ok()? })
    }
}

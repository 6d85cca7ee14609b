//! For operators: is it alive, is it ready, how is it, what has it counted; and the description of the API.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, get};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};
use utoipa_swagger_ui::{Config as DocsConfig, SwaggerUi};

use super::openapi;
use crate::actors::link::{Link, LinkStatus};
use crate::config::Config;
use crate::error::{ApiError, ApiResult, Problem};
use crate::store::Store;

/// An orchestrator asks again soon; a store that takes longer is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Routes at the root.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(livez)
        .service(readyz)
        .service(health)
        .service(metrics)
        .service(openapi_json)
        .service(docs)
        .service(SwaggerUi::new("/docs/{_:.*}").config(DocsConfig::from("/openapi.json")));
}

/// What [`routes`] serves, for the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(paths(livez, readyz, health, metrics))]
pub struct Doc;

/// Whether new work is welcome: not before everything has started, and not once it stops. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Opens or closes the door.
    pub fn set(&self, is_ready: bool) {
        self.0.store(is_ready, Ordering::Release);
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Serialize, ToSchema)]
struct StatusView {
    #[schema(example = "ok")]
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
struct HealthView {
    /// `ok` or `unavailable`.
    #[schema(example = "ok")]
    status: &'static str,
    version: &'static str,
    node: String,
    checks: ChecksView,
}

#[derive(Serialize, ToSchema)]
struct ChecksView {
    /// Whether new requests are welcome.
    ready: bool,
    store: StoreView,
    link: LinkView,
}

#[derive(Serialize, ToSchema)]
struct LinkView {
    /// `ok`, `alone` (there are no other nodes) or `degraded` (they are not heard for now).
    #[schema(example = "alone")]
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
struct StoreView {
    /// `ok` or `unavailable`.
    #[schema(example = "ok")]
    status: &'static str,
    /// How long a write took.
    latency_ms: u64,
}

/// Says that the process runs.
#[utoipa::path(tag = "ops", responses((status = 200, body = StatusView)))]
#[get("/livez")]
async fn livez() -> web::Json<StatusView> {
    web::Json(StatusView { status: "ok" })
}

/// Says whether requests should be sent here: the store takes a write, and the process is not stopping. `degraded` is
/// ready, too: other nodes are not heard for now, and the database is looked at instead.
#[utoipa::path(
    tag = "ops",
    responses(
        (status = 200, body = StatusView),
        (status = 503, description = "Starting, stopping, or without its store", body = Problem),
    ),
)]
#[get("/readyz")]
async fn readyz(
    readiness: web::Data<Readiness>,
    store: web::Data<Store>,
    link: web::Data<Link>,
) -> ApiResult<web::Json<StatusView>> {
    if !readiness.is_ready() || !probe(&store).await {
        return Err(ApiError::NotReady);
    }

    let status = if link.status() == LinkStatus::Down { "degraded" } else { "ok" };
    Ok(web::Json(StatusView { status }))
}

/// Says how the node is, part by part.
#[utoipa::path(
    tag = "ops",
    responses(
        (status = 200, body = HealthView),
        (status = 503, description = "A part is unavailable", body = HealthView),
    ),
)]
#[get("/health")]
async fn health(
    readiness: web::Data<Readiness>,
    store: web::Data<Store>,
    link: web::Data<Link>,
    config: web::Data<Config>,
) -> HttpResponse {
    let started = Instant::now();
    let has_store = probe(&store).await;
    let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let ready = readiness.is_ready();
    let word = |is_ok| if is_ok { "ok" } else { "unavailable" };
    let is_well = ready && has_store;
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };

    HttpResponse::build(status).json(HealthView {
        status: word(is_well),
        version: env!("CARGO_PKG_VERSION"),
        node: config.node.name.clone(),
        checks: ChecksView {
            ready,
            store: StoreView { status: word(has_store), latency_ms },
            link: LinkView {
                status: match link.status() {
                    LinkStatus::Alone => "alone",
                    LinkStatus::Up => "ok",
                    LinkStatus::Down => "degraded",
                },
            },
        },
    })
}

/// Gives the metrics in Prometheus' text format.
#[utoipa::path(
    tag = "ops",
    responses((status = 200, body = String, content_type = "text/plain")),
)]
#[get("/metrics")]
async fn metrics(recorder: web::Data<PrometheusHandle>) -> HttpResponse {
    HttpResponse::Ok().content_type(METRICS_TYPE).body(recorder.render())
}

#[get("/openapi.json")]
async fn openapi_json() -> ApiResult<HttpResponse> {
    let json = openapi::json().ok_or(ApiError::Internal)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(json))
}

#[get("/docs")]
async fn docs() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/docs/")).finish()
}

async fn probe(store: &Store) -> bool {
    match tokio::time::timeout(PROBE_TIMEOUT, store.probe()).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store does not answer");
            false
        }
        Err(_) => {
            tracing::warn!("the store does not answer in time");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ready_before_it_is_said() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready());

        readiness.clone().set(true);
        assert!(readiness.is_ready());
    }
}

//! The development outbox over HTTP: the letters that the sandbox holds, for whoever tries the server out.
//!
//! It shows what letters say, codes for new passwords included. Invariant: served in development mode only, where the
//! settings ask for it, to whoever is at this very machine; to everybody else there is nothing here.

use actix_web::http::header::{FORWARDED, HOST, HeaderMap, X_FORWARDED_FOR};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, get};
use serde::Serialize;
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use super::views::{OutboxQuery, ReadRefusals};
use crate::config::Config;
use crate::error::{ApiError, ApiResult};
use crate::providers::couriers::sandbox::Sandbox;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_outbox);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(list_outbox))]
pub struct Doc;

/// Letters as the sandbox wrote them.
#[derive(Serialize, ToSchema)]
struct OutboxView {
    /// The newest first; each has `id`, `medium`, `kind`, `to`, `text` and `at`, and what else its medium has.
    items: Vec<Value>,
}

/// Letters that were not sent but written into files: in development mode with `http.dev_outbox` only, and only from the
/// same machine.
#[utoipa::path(
    tag = "dev",
    params(OutboxQuery),
    responses((status = 200, body = OutboxView), ReadRefusals),
)]
#[get("/dev/outbox")]
#[tracing::instrument(skip_all)]
async fn list_outbox(
    request: HttpRequest,
    query: web::Query<OutboxQuery>,
    config: web::Data<Config>,
    sandbox: web::Data<Sandbox>,
) -> ApiResult<web::Json<OutboxView>> {
    let is_local = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    // A proxy on this machine may say nothing of whom it speaks for: hence the setting.
    let is_shown = config.http.dev_outbox && !config.is_production();
    if !is_shown || !is_local || !is_direct(request.headers()) {
        return Err(ApiError::NotFound);
    }
    let items = sandbox.list(query.medium, query.limit.items()).await.map_err(|error| {
        tracing::error!(%error, "the outbox folder cannot be read");
        ApiError::Internal
    })?;

    Ok(web::Json(OutboxView { items }))
}

/// Through no proxy, which may speak for somebody far away; and to a name of this machine: a page elsewhere may have made
/// its own name lead here (DNS rebinding).
fn is_direct(headers: &HeaderMap) -> bool {
    if headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED) {
        return false;
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_port = |rest: &str| rest.is_empty() || rest.starts_with(':');
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|name| host.strip_prefix(name).is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn direct(said: &[(HeaderName, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
        is_direct(&headers)
    }

    #[test]
    fn only_a_direct_request_to_this_machine_is_answered() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]"] {
            assert!(direct(&[(HOST, host)]), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example"] {
            assert!(!direct(&[(HOST, host)]), "{host}");
        }
        assert!(!direct(&[(HOST, "localhost"), (X_FORWARDED_FOR, "203.0.113.7")]));
        assert!(!direct(&[(HOST, "localhost"), (FORWARDED, "for=203.0.113.7")]));
        assert!(!direct(&[]));
    }
}

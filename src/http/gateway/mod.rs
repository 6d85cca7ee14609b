//! What stands in front of every request, in this order: name it (request id, trace, client address), answer
//! preflights, limit its rate, canonicalise its path, bound its time; and on the way back: make every error a problem,
//! add the headers, log one line and count it.
//!
//! Invariant: nothing leaves without a request id and the security headers, whatever failed inside.

mod cors;
mod limiter;
pub mod rate_limit;
mod request_id;
mod routing;
mod security_headers;
mod shared_limiter;
#[cfg(test)]
mod tests;
mod trace;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpResponse, ResponseError as _};
use ipnet::IpNet;
use tracing::Instrument as _;

pub use self::rate_limit::Limiters;
use self::security_headers::{SecurityHeaders, Zone};
use self::trace::Exchange;
use super::client_ip;
use super::problem;
use crate::config::Config;
use crate::error::ApiError;
use crate::origin::{self, Origin};

/// The settings of the gateway, ready for use; one for all workers.
pub struct Gateway {
    trusted_proxies: Vec<IpNet>,
    cors: cors::Cors,
    security_headers: SecurityHeaders,
    body_bytes_max: usize,
    request_timeout: Duration,
    limiters: Limiters,
}

impl Gateway {
    #[must_use]
    pub fn new(config: &Config, limiters: Limiters) -> Self {
        Self {
            trusted_proxies: config.http.trusted_proxies.clone(),
            cors: cors::Cors::new(&config.http.cors_origins),
            security_headers: SecurityHeaders::new(config),
            body_bytes_max: config.http.body_bytes_max,
            request_timeout: config.http.request_timeout(),
            limiters,
        }
    }

    /// Takes a request through to its answer. Use it as the outermost middleware.
    ///
    /// # Errors
    /// An error that renders the finished answer, when the framework has kept the request.
    pub async fn pass<B: MessageBody + 'static>(
        self: Arc<Self>,
        mut request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<BoxBody>, Error> {
        let started = Instant::now();
        let ip = client_ip::resolve(request.peer_addr(), request.headers(), &self.trusted_proxies);
        request.extensions_mut().insert(ip);
        let origin = request_id::origin_of(request.headers());
        let cors = self.cors.answer_to(request.headers());
        let method = request.method().clone();
        let zone = Zone::of(request.path());
        routing::canonicalise(&mut request);
        let exchange = Exchange::new(&method, &request, &origin, started);

        let work = self.answer(request, next, &method, cors.is_allowed());
        let outcome = origin::scope(origin.clone(), work).instrument(exchange.span()).await;

        finish(outcome, |status, headers| {
            request_id::write(&origin, headers);
            self.security_headers.write(zone, headers);
            cors.write(headers);
            exchange.end(status);
        })
    }

    async fn answer<B: MessageBody + 'static>(
        &self,
        request: ServiceRequest,
        next: Next<B>,
        method: &Method,
        is_origin_allowed: bool,
    ) -> Result<ServiceResponse<BoxBody>, Error> {
        if cors::is_preflight(method, request.headers()) {
            return Ok(if is_origin_allowed {
                request.into_response(HttpResponse::NoContent().finish())
            } else {
                request.error_response(ApiError::OriginNotAllowed)
            });
        }
        let allowance = match self.limiters.check_request(&request).await {
            Ok(allowance) => allowance,
            Err(refused) => {
                let mut response = request.error_response(refused.error());
                rate_limit::write(&[refused.allowance], response.headers_mut());
                return Ok(response);
            }
        };

        let timed = tokio::time::timeout(self.request_timeout, next.call(request)).await;
        let mut response = match timed {
            Ok(Ok(response)) => response.map_into_boxed_body(),
            // The request is gone with the future; what is left of it is in the span.
            Ok(Err(error)) => return Err(rendered(&error)),
            Err(_) => return Err(rendered(&ApiError::Timeout.into())),
        };
        response = self.explain(response, method);
        rate_limit::write_all(allowance, &mut response);

        Ok(response)
    }

    /// Replaces an error without a body of ours.
    fn explain(
        &self,
        response: ServiceResponse<BoxBody>,
        method: &Method,
    ) -> ServiceResponse<BoxBody> {
        let status = response.status();
        let is_error = status.is_client_error() || status.is_server_error();
        if !is_error || has_json(response.headers()) {
            return response;
        }
        let path = response.request().path().to_owned();
        let error = problem::of_bare_status(status, method, &path, self.body_bytes_max);

        response.error_response(error)
    }
}

fn has_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| {
        kind.starts_with(problem::CONTENT_TYPE) || kind.starts_with("application/json")
    })
}

/// Renders an error while its origin is still known.
fn rendered(error: &Error) -> Error {
    let mut response = error.error_response();
    if !has_json(response.headers()) {
        response = problem::of_bare_status(response.status(), &Method::GET, "", 0).error_response();
    }

    InternalError::from_response("answered by the gateway", response).into()
}

/// Gives the last word on the headers to `decorate`, whichever way the answer came.
fn finish(
    outcome: Result<ServiceResponse<BoxBody>, Error>,
    decorate: impl FnOnce(StatusCode, &mut HeaderMap),
) -> Result<ServiceResponse<BoxBody>, Error> {
    match outcome {
        Ok(mut response) => {
            decorate(response.status(), response.headers_mut());
            Ok(response)
        }
        Err(error) => {
            let mut response = error.error_response();
            decorate(response.status(), response.headers_mut());
            Err(InternalError::from_response("answered by the gateway", response).into())
        }
    }
}

/// Says on an answer outside the application which request it belongs to.
pub fn write_request_id(origin: &Origin, headers: &mut HeaderMap) {
    request_id::write(origin, headers);
}

/// The origin that a request outside the application, such as an upgrade, comes from.
#[must_use]
pub fn origin_of(headers: &HeaderMap) -> Origin {
    request_id::origin_of(headers)
}

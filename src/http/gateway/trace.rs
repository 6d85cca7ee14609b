//! One span, one log line and two metrics for each request.
//!
//! Invariant: what is written has the route's pattern, never the path, the query, a token or an address.

use std::time::Instant;

use actix_web::dev::ServiceRequest;
use actix_web::http::{Method, StatusCode};
use metrics::{counter, histogram};
use tracing::Span;

use crate::origin::Origin;

/// A request under way.
pub(super) struct Exchange {
    span: Span,
    method: &'static str,
    route: String,
    started: Instant,
}

impl Exchange {
    pub(super) fn new(
        method: &Method,
        request: &ServiceRequest,
        origin: &Origin,
        started: Instant,
    ) -> Self {
        let method = label(method);
        let route = request.match_pattern().unwrap_or_else(|| "unmatched".to_owned());
        let span = tracing::info_span!(
            "request",
            request_id = origin.request_id.as_deref(),
            traceparent = origin.traceparent.as_deref(),
            http.method = method,
            http.route = %route,
        );

        Self { span, method, route, started }
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Says how it ended.
    pub(super) fn end(self, status: StatusCode) {
        let Self { span, method, route, started } = self;
        let taken = started.elapsed();
        let duration_ms = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
        let _inside = span.enter();
        tracing::info!(http.status = status.as_u16(), duration_ms, "a request was answered");

        let status = status.as_str().to_owned();
        counter!("madang_http_requests_total", "method" => method, "route" => route.clone(), "status" => status)
            .increment(1);
        histogram!("madang_http_request_duration_seconds", "method" => method, "route" => route)
            .record(taken.as_secs_f64());
    }
}

/// A client may invent methods, but not label values.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

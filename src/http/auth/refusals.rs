//! The refusals that the endpoints of people have in common, for `/openapi.json`.

use utoipa::IntoResponses;

use crate::error::Problem;

/// What anybody may be told.
#[derive(IntoResponses)]
pub enum PublicRefusals {
    /// The request cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] Problem),
    /// Too many requests, or too many failed attempts; `Retry-After` says how long to wait.
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(#[to_schema] Problem),
    /// The server failed.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(#[to_schema] Problem),
    /// Too busy; nothing was done, and `Retry-After` says how long to wait.
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(#[to_schema] Problem),
}

/// What a caller may be told besides [`PublicRefusals`].
#[derive(IntoResponses)]
pub enum CallerRefusals {
    /// There is no valid access token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
}

/// What a request with a body may be told besides [`PublicRefusals`].
#[derive(IntoResponses)]
pub enum BodyRefusals {
    /// The body is too big.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] Problem),
    /// The body is not `application/json`.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(#[to_schema] Problem),
    /// An input is not allowed; `code` and `errors` say which and why.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
}

//! The refusals that these endpoints have in common, for `/openapi.json`.

use utoipa::IntoResponses;

use crate::error::Problem;

/// What an administrator who looks at something may be told.
#[derive(IntoResponses)]
pub enum LookRefusals {
    /// The request cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] Problem),
    /// There is no valid access token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// The caller is no administrator.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// It does not exist.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// An input is not allowed; `code` and `errors` say which and why.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// Too many requests; `Retry-After` says how long to wait.
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(#[to_schema] Problem),
    /// The server failed.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(#[to_schema] Problem),
    /// Too busy, or a provider does not answer; nothing was done, and `Retry-After` says how long to wait.
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(#[to_schema] Problem),
}

/// What an administrator who does something may be told.
#[derive(IntoResponses)]
pub enum DeedRefusals {
    /// The request cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] Problem),
    /// There is no valid access token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// The caller is no administrator, or may not decide about this (`own_decision`).
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// It does not exist.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// Not as things stand; `code` says why.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] Problem),
    /// The body is too big.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] Problem),
    /// The body is not `application/json`.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(#[to_schema] Problem),
    /// An input is not allowed; `code` and `errors` say which and why.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// Too many requests; `Retry-After` says how long to wait.
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(#[to_schema] Problem),
    /// The server failed; whether it was done, the audit says.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(#[to_schema] Problem),
    /// Too busy, or a provider does not answer; nothing was done, and `Retry-After` says how long to wait.
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(#[to_schema] Problem),
}

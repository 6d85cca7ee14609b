//! The refusals that endpoints have in common, for the description of the API.

use utoipa::IntoResponses;

use crate::error::Problem;

/// What a request that only reads may be told.
#[derive(IntoResponses)]
pub enum ReadRefusals {
    /// The request cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] Problem),
    /// There is no valid access token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// It does not exist, or the caller may not know that it does.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// A parameter is not allowed: out of bounds, unknown, or a cursor of another list.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// Too many requests; `Retry-After` says how long to wait.
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(#[to_schema] Problem),
    /// The database did not answer.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(#[to_schema] Problem),
    /// Too busy; nothing was done, and `Retry-After` says how long to wait.
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(#[to_schema] Problem),
}

/// What a request for a list that is not everybody's may be told.
#[derive(IntoResponses)]
pub enum ListRefusals {
    /// The request cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] Problem),
    /// There is no valid access token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// It is not for the caller.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// It does not exist, or the caller may not know that it does.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// A parameter is not allowed: out of bounds, unknown, or a cursor of another list.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
}

/// What a request that only reads, and is not for everybody, may be told besides [`ReadRefusals`].
#[derive(IntoResponses)]
pub enum RoleRefusals {
    /// It is not for the caller.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
}

/// What a change without a body may be told.
#[derive(IntoResponses)]
pub enum ChangeRefusals {
    /// The request cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] Problem),
    /// There is no valid access token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// Not for this caller: not a member, of too low a role, or not wanted.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// It does not exist, or the caller may not know that it does.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// The state of things does not allow it.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] Problem),
    /// An input is not allowed; `code` and `errors` say which and why.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// Too many requests; `Retry-After` says how long to wait.
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(#[to_schema] Problem),
    /// Whether it was done is not known; doing it again does no harm (a message: with the same key).
    #[response(status = 500, content_type = "application/problem+json")]
    OutcomeUnknown(#[to_schema] Problem),
    /// Too busy; nothing was done, and `Retry-After` says how long to wait.
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(#[to_schema] Problem),
}

/// What a change with a body may be told besides [`ChangeRefusals`].
#[derive(IntoResponses)]
pub enum WriteRefusals {
    /// The body is too big.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] Problem),
    /// The body is not `application/json`.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(#[to_schema] Problem),
}

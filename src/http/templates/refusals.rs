//! The refusals that the endpoints of templates have in common, for the description of the API.

use utoipa::IntoResponses;

use crate::error::Problem;

/// What administrators may be told besides the refusals of every caller.
#[derive(IntoResponses)]
pub enum TemplateRefusals {
    /// The caller is no administrator.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// `template_not_found`
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// The kind, the locale or the template is not right; `errors` has the part, and the detail the line.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
}

//! Errors on the wire: every failure, the framework's own included, leaves as `application/problem+json` (RFC 9457).
//!
//! A head that actix-http cannot parse is the one exception: it is answered with a bare 400 or 431 before any of our
//! code runs.

use actix_web::error::{JsonPayloadError, PathError, PayloadError, QueryPayloadError};
use actix_web::http::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{JsonConfig, PathConfig, PayloadConfig, QueryConfig, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde_json::error::Category;

use super::openapi;
use crate::error::{ApiError, ApiResult, FieldError, Problem};
use crate::origin;

/// The media type of a [`Problem`].
pub const CONTENT_TYPE: &str = "application/problem+json";

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status_and_code().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, code) = self.status_and_code();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            // Logged once, here, with its cause. The client sees only the code.
            tracing::error!(error = ?self, error.code = code, "a request failed");
        }
        let request_id = origin::current().request_id;
        let mut response = answer(status, &self.problem(request_id.as_deref()));
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after() {
            headers.insert(RETRY_AFTER, whole_seconds(wait.as_millis()).into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::MethodNotAllowed { allow } = self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            headers.insert(ALLOW, allow);
        }

        response
    }
}

fn answer(status: StatusCode, problem: &Problem) -> HttpResponse {
    HttpResponse::build(status).content_type(CONTENT_TYPE).json(problem)
}

/// Rounds up, and never to zero: a client that obeys must not come back too early.
fn whole_seconds(millis: u128) -> u64 {
    u64::try_from(millis.div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

/// Sets what the framework's extractors answer, and how large a body may be.
pub fn configure(cfg: &mut ServiceConfig, body_bytes_max: usize) {
    let json = JsonConfig::default()
        .limit(body_bytes_max)
        .error_handler(move |error, _| json_error(error, body_bytes_max).into());
    cfg.app_data(json)
        .app_data(PayloadConfig::new(body_bytes_max))
        .app_data(PathConfig::default().error_handler(|error, _| path_error(&error).into()))
        .app_data(QueryConfig::default().error_handler(|error, _| query_error(error).into()));
}

fn json_error(error: JsonPayloadError, bytes_max: usize) -> ApiError {
    match error {
        JsonPayloadError::OverflowKnownLength { .. } | JsonPayloadError::Overflow { .. } => {
            ApiError::PayloadTooLarge { bytes_max }
        }
        JsonPayloadError::ContentType => ApiError::UnsupportedMediaType,
        JsonPayloadError::Deserialize(error) if error.classify() == Category::Data => {
            ApiError::InvalidBody { errors: vec![field_error(&error.to_string())] }
        }
        JsonPayloadError::Deserialize(error) => {
            ApiError::MalformedJson { line: error.line(), column: error.column() }
        }
        JsonPayloadError::Payload(error) => payload_error(&error, bytes_max),
        _ => ApiError::Malformed("The body cannot be read.".to_owned()),
    }
}

fn payload_error(error: &PayloadError, bytes_max: usize) -> ApiError {
    match error {
        PayloadError::Overflow => ApiError::PayloadTooLarge { bytes_max },
        _ => ApiError::Malformed("The body ended early or is not encoded as it says.".to_owned()),
    }
}

/// A path that names nothing, such as an id that is none, is a path without anything behind it.
fn path_error(_: &PathError) -> ApiError {
    ApiError::NotFound
}

fn query_error(error: QueryPayloadError) -> ApiError {
    match error {
        QueryPayloadError::Deserialize(error) => {
            let FieldError { pointer, code, detail } = field_error(&error.to_string());
            let name = pointer.strip_prefix('/').unwrap_or_default();
            let pointer = format!("?{name}");
            ApiError::InvalidQuery { errors: vec![FieldError { pointer, code, detail }] }
        }
        _ => ApiError::Malformed("The query cannot be read.".to_owned()),
    }
}

/// Finds the field that serde complains about, where it names one.
fn field_error(message: &str) -> FieldError {
    let (code, rest) = if let Some(rest) = message.strip_prefix("unknown field `") {
        ("unknown_field", Some(rest))
    } else if let Some(rest) = message.strip_prefix("missing field `") {
        ("missing_field", Some(rest))
    } else {
        ("invalid_value", None)
    };
    let name = rest.and_then(|rest| rest.split('`').next());
    // RFC 6901: `~` and `/` inside a name are escaped.
    let pointer = name.map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1")));

    FieldError {
        pointer: pointer.unwrap_or_default(),
        code: code.to_owned(),
        detail: message.to_owned(),
    }
}

/// What answers where no route does: 405 with `Allow` if the path exists for other methods, else 404.
///
/// # Errors
/// Always.
pub async fn no_route(request: HttpRequest) -> ApiResult<HttpResponse> {
    Err(missing(request.method(), request.path()))
}

fn missing(method: &Method, path: &str) -> ApiError {
    let allowed = openapi::methods_of(path);
    if allowed.is_empty() || allowed.iter().any(|name| *name == method.as_str()) {
        return ApiError::NotFound;
    }

    ApiError::MethodNotAllowed { allow: allowed.join(", ") }
}

/// The problem for an error status that came without a body of ours.
#[must_use]
pub fn of_bare_status(
    status: StatusCode,
    method: &Method,
    path: &str,
    bytes_max: usize,
) -> ApiError {
    match status {
        StatusCode::UNAUTHORIZED => ApiError::Unauthenticated,
        StatusCode::FORBIDDEN => ApiError::Forbidden,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => missing(method, path),
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::PayloadTooLarge { bytes_max },
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::UnsupportedMediaType,
        StatusCode::SERVICE_UNAVAILABLE => ApiError::Overloaded,
        status if status.is_client_error() => {
            ApiError::Malformed("The request cannot be understood.".to_owned())
        }
        _ => ApiError::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_serde_names_is_pointed_at() {
        let unknown = field_error("unknown field `a/b`, expected `name` at line 1 column 9");
        let missing = field_error("missing field `name` at line 1 column 2");
        let wrong = field_error("invalid type: integer `1`, expected a string");

        assert_eq!((unknown.pointer.as_str(), unknown.code.as_str()), ("/a~1b", "unknown_field"));
        assert_eq!((missing.pointer.as_str(), missing.code.as_str()), ("/name", "missing_field"));
        assert_eq!((wrong.pointer.as_str(), wrong.code.as_str()), ("", "invalid_value"));
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        assert_eq!(whole_seconds(0), 1);
        assert_eq!(whole_seconds(1_000), 1);
        assert_eq!(whole_seconds(1_001), 2);
    }

    #[test]
    fn broken_json_is_400_and_wrong_json_is_422() {
        let broken = serde_json::from_str::<serde_json::Value>("{").unwrap_err();
        let wrong = serde_json::from_str::<u8>("\"a\"").unwrap_err();

        let status = |error| json_error(JsonPayloadError::Deserialize(error), 1).status_code();
        assert_eq!(status(broken), StatusCode::BAD_REQUEST);
        assert_eq!(status(wrong), StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn a_known_path_with_another_method_names_the_ones_it_has() {
        let ApiError::MethodNotAllowed { allow } = missing(&Method::DELETE, "/livez") else {
            panic!("/livez cannot be deleted");
        };

        assert_eq!(allow, "GET, HEAD");
        assert!(matches!(missing(&Method::GET, "/nowhere"), ApiError::NotFound));
    }
}

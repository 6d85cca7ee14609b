//! `Idempotency-Key`: what makes a request that moves money take effect once, however often it is sent.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::HeaderName;
use actix_web::{FromRequest, HttpRequest};
use serde::Serialize;

use crate::domain::idempotency::{IdempotencyError, IdempotencyKey, IdempotentCall, fingerprint};
use crate::error::{ApiError, ApiResult};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The key of a request; one without is refused before the handler runs.
#[derive(Debug)]
pub struct Key(IdempotencyKey);

impl Key {
    /// The request as it is claimed: who sends it, where to, and what it says.
    ///
    /// # Errors
    /// [`ApiError::Internal`] for a body that cannot be written as JSON, which there is not.
    pub fn call(
        self,
        principal: String,
        route: &'static str,
        body: &impl Serialize,
    ) -> ApiResult<IdempotentCall> {
        let body = serde_json::to_value(body).map_err(|_| ApiError::Internal)?;
        Ok(IdempotentCall { principal, route, key: self.0, fingerprint: fingerprint(&body) })
    }
}

impl FromRequest for Key {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read(request).map(Self).map_err(ApiError::Idempotency))
    }
}

fn read(request: &HttpRequest) -> Result<IdempotencyKey, IdempotencyError> {
    let value = request.headers().get(IDEMPOTENCY_KEY).ok_or(IdempotencyError::Missing)?;
    let key = value.to_str().ok().and_then(IdempotencyKey::parse);
    key.ok_or(IdempotencyError::Invalid)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use serde_json::json;

    use super::*;

    fn key_of(value: Option<&str>) -> Result<String, IdempotencyError> {
        let mut request = TestRequest::post();
        if let Some(value) = value {
            request = request.insert_header((IDEMPOTENCY_KEY, value));
        }
        read(&request.to_http_request()).map(|key| key.as_str().to_owned())
    }

    #[test]
    fn a_key_is_there_and_sound_or_the_request_is_refused() {
        assert_eq!(key_of(Some("order-7:1")).as_deref(), Ok("order-7:1"));
        assert_eq!(key_of(None), Err(IdempotencyError::Missing));
        for value in ["", "short", "with a space", "열쇠열쇠열쇠"] {
            assert_eq!(key_of(Some(value)), Err(IdempotencyError::Invalid), "{value}");
        }
    }

    #[test]
    fn a_call_knows_who_where_and_what() {
        let call = |principal: &str, body: serde_json::Value| {
            let key = Key(IdempotencyKey::parse("order-7:1").unwrap());
            key.call(principal.to_owned(), "POST /v1/payments/create", &body).unwrap()
        };
        let one = call("user:1", json!({ "a": 1 }));
        assert_eq!(one, call("user:1", json!({ "a": 1 })));
        assert_ne!(one, call("user:2", json!({ "a": 1 })));
        assert_ne!(one, call("user:1", json!({ "a": 2 })));
    }
}

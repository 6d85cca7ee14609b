//! A body that may be left out, which the framework has no extractor for: its `Option<Json>` hides what is wrong.

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

/// A JSON body that may be left out or null; one that is there is read like any other.
pub(in crate::http) struct Optional<T>(pub(in crate::http) Option<T>);

impl<T: DeserializeOwned + 'static> FromRequest for Optional<T> {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let headers = request.headers();
        let length = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
        let is_absent = length == Some(b"0")
            || (length.is_none()
                && !headers.contains_key(TRANSFER_ENCODING)
                && !headers.contains_key(CONTENT_TYPE));
        if is_absent {
            return Box::pin(async { Ok(Self(None)) });
        }
        let body = web::Json::<Option<T>>::from_request(request, payload);
        Box::pin(async move { Ok(Self(body.await?.into_inner())) })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    async fn read(request: TestRequest) -> Result<Option<u8>, actix_web::Error> {
        let (request, mut payload) = request.to_http_parts();
        Optional::<u8>::from_request(&request, &mut payload).await.map(|body| body.0)
    }

    #[actix_web::test]
    async fn nothing_is_fine_but_something_wrong_is_not() {
        assert_eq!(read(TestRequest::post()).await.unwrap(), None);
        assert_eq!(read(TestRequest::post().set_json(7)).await.unwrap(), Some(7));
        assert_eq!(read(TestRequest::post().set_json(())).await.unwrap(), None);
        assert!(read(TestRequest::post().set_json("seven")).await.is_err());
        let cut = TestRequest::post().insert_header((CONTENT_TYPE, "application/json"));
        assert!(read(cut.set_payload("{")).await.is_err());
    }
}

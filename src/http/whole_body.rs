//! Bodies that are taken as they are: whole, in memory, and no longer than they may be.

use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::error::{ApiError, ApiResult};

/// The whole body.
///
/// # Errors
/// [`ApiError::PayloadTooLarge`] for one of more than `bytes_max` bytes, [`ApiError::Malformed`] for one that breaks off.
pub async fn whole_body(
    request: &HttpRequest,
    mut payload: web::Payload,
    bytes_max: usize,
) -> ApiResult<Bytes> {
    let too_large = ApiError::PayloadTooLarge { bytes_max };
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length: Option<usize> = length.and_then(|length| length.parse().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_large);
    }
    // What it says may be a lie: memory is taken as bytes come.
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| {
            ApiError::Malformed("The body ended early or is not encoded as it says.".to_owned())
        })?;
        if body.len().saturating_add(chunk.len()) > bytes_max {
            return Err(too_large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

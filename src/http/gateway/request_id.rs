//! Names a request: `X-Request-Id` and W3C `traceparent`, taken in if sane, made or left out if not.

use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::clock;
use crate::origin::Origin;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Where a request says it comes from.
pub(super) fn origin_of(headers: &HeaderMap) -> Origin {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let request_id = text(REQUEST_ID)
        .filter(|id| is_sane(id))
        .map_or_else(|| clock::new_uuid().to_string().into(), Arc::from);
    let traceparent = text(TRACEPARENT).filter(|value| is_traceparent(value)).map(Arc::from);

    Origin { request_id: Some(request_id), traceparent }
}

/// Sends the id back.
pub(super) fn write(origin: &Origin, headers: &mut HeaderMap) {
    let id = origin.request_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok());
    if let Some(id) = id {
        headers.insert(REQUEST_ID, id);
    }
}

/// Short, and of characters that cannot disturb a log or a header.
fn is_sane(id: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// `version-trace-parent-flags` of W3C Trace Context: lower-case hex, ids not all zero, version not `ff`.
fn is_traceparent(value: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |text: &str| is_hex(text) && text.bytes().any(|b| b != b'0');
    let parts: Vec<&str> = value.split('-').collect();
    match parts.as_slice() {
        [version, trace, parent, flags] => {
            version.len() == 2
                && trace.len() == 32
                && parent.len() == 16
                && flags.len() == 2
                && is_hex(version)
                && *version != "ff"
                && is_id(trace)
                && is_id(parent)
                && is_hex(flags)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(name: &'static str, value: &str) -> Origin {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        origin_of(&headers)
    }

    #[test]
    fn a_sane_id_is_kept() {
        let id = "a.B_c-9".repeat(9);
        assert_eq!(origin("x-request-id", &id).request_id.as_deref(), Some(id.as_str()));
    }

    #[test]
    fn any_other_id_is_replaced() {
        for id in ["", "a b", "a\"b", "한", &"a".repeat(65)] {
            let made = origin("x-request-id", id).request_id.unwrap();
            assert_eq!(made.len(), 36, "{id:?}");
        }
    }

    #[test]
    fn only_a_valid_traceparent_is_carried_on() {
        let sound = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(origin("traceparent", sound).traceparent.as_deref(), Some(sound));
        for broken in [
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "",
        ] {
            assert_eq!(origin("traceparent", broken).traceparent, None, "{broken}");
        }
    }
}

//! Canonicalises a request before it is routed: an alias becomes the path it stands for, HEAD becomes GET.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::uri::{PathAndQuery, Uri};

use crate::http::{aliases, openapi};

/// Must run before anything clones the request: its head is changed in place.
pub(super) fn canonicalise(request: &mut ServiceRequest) {
    let target = aliases::canonical(request.method().as_str(), request.path(), openapi::is_literal);
    if let Some(uri) = target.and_then(|path| with_path(request.uri(), &path)) {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
    // The codec remembers that the client asked for HEAD and leaves the body out (RFC 9110, 9.3.2).
    if request.method() == Method::HEAD && !never_ends(request.path()) {
        request.head_mut().method = Method::GET;
    }
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let path_and_query = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")).ok()?,
        None => PathAndQuery::try_from(path).ok()?,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query);

    Uri::from_parts(parts).ok()
}

/// A stream goes on for as long as it is listened to, so it has no answer without a body.
fn never_ends(path: &str) -> bool {
    path.ends_with("/stream") || path.contains("/stream/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_survives_a_new_path() {
        let uri = Uri::from_static("/v1/messages/42?after=7");

        let uri = with_path(&uri, "/v1/chat/rooms/42/messages").unwrap();

        assert_eq!(uri.to_string(), "/v1/chat/rooms/42/messages?after=7");
    }
}

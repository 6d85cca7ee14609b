//! Conditional requests (RFC 9110, 13): whether the client has already what it asks for.

use actix_web::HttpRequest;
use actix_web::http::header::{EntityTag, Header as _, IfNoneMatch};

/// Whether the client has what the tag stands for (13.1.2).
pub(super) fn is_known(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(tag)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::IF_NONE_MATCH;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn one_of_the_tags_that_a_client_names_is_enough() {
        let tag = EntityTag::new_strong("b".to_owned());
        let asks = |known: &str| {
            let request = TestRequest::get().insert_header((IF_NONE_MATCH, known));
            is_known(&request.to_http_request(), &tag)
        };

        assert!(asks("\"a\", W/\"b\"") && asks("*"));
        assert!(!asks("\"a\"") && !asks("b"));
        assert!(!is_known(&TestRequest::get().to_http_request(), &tag));
    }
}

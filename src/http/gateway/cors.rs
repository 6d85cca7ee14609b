//! Which web origins may call from a browser: the list in `http.cors_origins`, compared whole, and nobody else.
//!
//! Invariant: the answer names the one origin that asked, never `*`; credentials are not allowed, because tokens travel
//! in a header that the page sets itself.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    CROSS_ORIGIN_RESOURCE_POLICY, HeaderMap, HeaderValue, ORIGIN, VARY,
};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const REQUEST_HEADERS: &str =
    "authorization, content-type, idempotency-key, last-event-id, traceparent, x-request-id";
const RESPONSE_HEADERS: &str = "ratelimit, ratelimit-policy, retry-after, x-request-id";
/// Two hours, the most that Chromium keeps.
const PREFLIGHT_SECONDS: &str = "7200";

/// The allow-list.
pub(super) struct Cors {
    origins: Arc<[String]>,
}

/// What one request is told.
pub(super) enum Verdict {
    /// There is no allow-list, so answers do not depend on the origin.
    Closed,
    /// No origin, or one that is not listed.
    Refused,
    Allowed {
        origin: HeaderValue,
        is_preflight: bool,
    },
}

impl Cors {
    pub(super) fn new(origins: &[String]) -> Self {
        Self { origins: origins.into() }
    }

    pub(super) fn answer_to(&self, headers: &HeaderMap) -> Verdict {
        if self.origins.is_empty() {
            return Verdict::Closed;
        }
        match headers.get(ORIGIN) {
            Some(origin) if self.origins.iter().any(|listed| origin == listed.as_str()) => {
                let is_preflight = headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
                Verdict::Allowed { origin: origin.clone(), is_preflight }
            }
            _ => Verdict::Refused,
        }
    }
}

impl Verdict {
    pub(super) fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        if matches!(self, Self::Closed) {
            return;
        }
        // A cache must not give one origin what another was told.
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Self::Allowed { origin, is_preflight } = self else { return };

        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin");
        if *is_preflight {
            set(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            set(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            set(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
        } else {
            set(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        }
    }
}

/// Whether a browser asks if it may ask.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(listed: &[&str], origin: &str) -> HeaderMap {
        let listed: Vec<String> = listed.iter().copied().map(str::to_owned).collect();
        let mut asked = HeaderMap::new();
        asked.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        let mut told = HeaderMap::new();
        Cors::new(&listed).answer_to(&asked).write(&mut told);
        told
    }

    #[test]
    fn a_listed_origin_is_named_back() {
        let told = answer(&["https://app.example.com"], "https://app.example.com");

        assert_eq!(told.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), "https://app.example.com");
        assert_eq!(told.get(VARY).unwrap(), "Origin");
    }

    #[test]
    fn another_origin_is_told_nothing_even_if_it_looks_alike() {
        for origin in ["https://app.example.com.evil.test", "http://app.example.com", "null", "*"] {
            let told = answer(&["https://app.example.com"], origin);
            assert!(!told.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{origin}");
            assert_eq!(told.get(VARY).unwrap(), "Origin");
        }
    }

    #[test]
    fn without_a_list_nothing_depends_on_the_origin() {
        assert!(answer(&[], "https://app.example.com").is_empty());
    }
}

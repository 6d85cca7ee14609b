//! Headers that keep browsers from doing more with an answer than it is meant for.

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, HeaderMap, HeaderValue,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

/// Data is never rendered: nothing may load, frame or submit.
const DATA_POLICY: &str =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// A page with one form that calls this server, and its own styles.
const FORM_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; \
                           base-uri 'none'; form-action 'self'";
/// Swagger UI runs its own files, writes style attributes, and calls this server.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; font-src 'self'; connect-src 'self'; \
                           frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// Two years, as browsers' preload lists ask for.
const HSTS: &str = "max-age=63072000; includeSubDomains";

/// What kind of answer a path gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// Below `/v1`: personal, never kept by a cache.
    Api,
    /// The page that a link in a mail leads to: as personal as the rest below `/v1`.
    Form,
    /// Pictures that people show: pages of any origin may, and caches may keep them.
    Pictures,
    /// The documentation pages.
    Docs,
    /// The rest: probes, metrics, keys.
    Root,
}

impl Zone {
    pub(super) fn of(path: &str) -> Self {
        if path == "/docs" || path.starts_with("/docs/") {
            Self::Docs
        } else if path == "/v1/notifications/unsubscribe" {
            Self::Form
        } else if path.starts_with("/v1/images/") {
            Self::Pictures
        } else if path == "/v1" || path.starts_with("/v1/") {
            Self::Api
        } else {
            Self::Root
        }
    }
}

pub(super) fn write(zone: Zone, is_production: bool, headers: &mut HeaderMap) {
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(REFERRER_POLICY, "no-referrer");
    set(X_FRAME_OPTIONS, "DENY");
    let resource_policy = if zone == Zone::Pictures { "cross-origin" } else { "same-origin" };
    set(CROSS_ORIGIN_RESOURCE_POLICY, resource_policy);
    let policy = match zone {
        Zone::Docs => DOCS_POLICY,
        Zone::Form => FORM_POLICY,
        Zone::Api | Zone::Root | Zone::Pictures => DATA_POLICY,
    };
    set(CONTENT_SECURITY_POLICY, policy);
    if is_production {
        set(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    // A picture says by itself how long it may be kept; that there is none may change.
    let is_kept = zone == Zone::Pictures && headers.contains_key(CACHE_CONTROL);
    if matches!(zone, Zone::Api | Zone::Form | Zone::Pictures) && !is_kept {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &str, is_production: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        write(Zone::of(path), is_production, &mut headers);
        headers
    }

    #[test]
    fn personal_answers_are_never_cached() {
        assert_eq!(written("/v1/users/profile", false).get(CACHE_CONTROL).unwrap(), "no-store");
        assert!(!written("/livez", false).contains_key(CACHE_CONTROL));
    }

    #[test]
    fn a_picture_is_kept_as_long_as_it_says_and_shown_anywhere() {
        let forever = HeaderValue::from_static("public, immutable");
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, forever.clone());
        write(Zone::of("/v1/images/a.jpg"), false, &mut headers);

        assert_eq!(headers.get(CACHE_CONTROL), Some(&forever));
        assert_eq!(headers.get(CROSS_ORIGIN_RESOURCE_POLICY).unwrap(), "cross-origin");
        assert_eq!(headers.get(CONTENT_SECURITY_POLICY).unwrap(), DATA_POLICY);
        let missing = written("/v1/images/a.jpg", false);
        assert_eq!(missing.get(CACHE_CONTROL).unwrap(), "no-store");
    }

    #[test]
    fn only_the_documentation_may_run_scripts() {
        let policy = |path| written(path, false).get(CONTENT_SECURITY_POLICY).cloned().unwrap();
        assert_eq!(policy("/docs/index.html"), DOCS_POLICY);
        assert_eq!(policy("/docsx"), DATA_POLICY);
    }

    #[test]
    fn https_is_insisted_on_in_production_only() {
        assert!(written("/v1", true).contains_key(STRICT_TRANSPORT_SECURITY));
        assert!(!written("/v1", false).contains_key(STRICT_TRANSPORT_SECURITY));
    }
}

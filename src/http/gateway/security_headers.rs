//! Headers that keep browsers from doing more with an answer than it is meant for.

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_OPENER_POLICY,
    CROSS_ORIGIN_RESOURCE_POLICY, HeaderMap, HeaderValue, PERMISSIONS_POLICY, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use crate::config::Config;
use crate::http::web_app;

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
/// The web app runs its own files, none of them written into a page, and no text becomes markup or a script but by what
/// Svelte's templates and the app's worker are made of; around the origins that pictures may come from.
const PAGE_POLICY: [&str; 2] = [
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:",
    "; font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html madang-worker",
];
/// What no page of ours asks for.
const PAGE_PERMISSIONS: &str = "camera=(), microphone=(), geolocation=()";
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
    /// The web app, and what its pages are made of.
    Page,
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
        } else if web_app::is_page(path) {
            Self::Page
        } else {
            Self::Root
        }
    }
}

/// What the settings say about them.
pub(super) struct SecurityHeaders {
    is_production: bool,
    page_policy: HeaderValue,
}

impl SecurityHeaders {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            is_production: config.is_production(),
            page_policy: page_policy(&config.http.image_origins),
        }
    }

    pub(super) fn write(&self, zone: Zone, headers: &mut HeaderMap) {
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(REFERRER_POLICY, "no-referrer");
        set(X_FRAME_OPTIONS, "DENY");
        let resource_policy = if zone == Zone::Pictures { "cross-origin" } else { "same-origin" };
        set(CROSS_ORIGIN_RESOURCE_POLICY, resource_policy);
        if self.is_production {
            set(STRICT_TRANSPORT_SECURITY, HSTS);
        }
        if zone == Zone::Page {
            set(CROSS_ORIGIN_OPENER_POLICY, "same-origin");
            set(PERMISSIONS_POLICY, PAGE_PERMISSIONS);
        }
        headers.insert(CONTENT_SECURITY_POLICY, self.policy(zone));
        // Pictures and pages say by themselves how long they may be kept; that there is none may change.
        let may_say = matches!(zone, Zone::Pictures | Zone::Page);
        let is_kept = may_say && headers.contains_key(CACHE_CONTROL);
        if !matches!(zone, Zone::Docs | Zone::Root) && !is_kept {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }

    fn policy(&self, zone: Zone) -> HeaderValue {
        match zone {
            Zone::Docs => HeaderValue::from_static(DOCS_POLICY),
            Zone::Form => HeaderValue::from_static(FORM_POLICY),
            Zone::Page => self.page_policy.clone(),
            Zone::Api | Zone::Root | Zone::Pictures => HeaderValue::from_static(DATA_POLICY),
        }
    }
}

/// An origin has been checked: it is visible ASCII, without anything that a policy is divided by.
fn page_policy(image_origins: &[String]) -> HeaderValue {
    let [before, after] = PAGE_POLICY;
    let origins: String = image_origins.iter().map(|origin| format!(" {origin}")).collect();
    HeaderValue::try_from(format!("{before}{origins}{after}"))
        .unwrap_or_else(|_| HeaderValue::from_static(DATA_POLICY))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As what is in production says, or what is not.
    fn headers_of(is_production: bool) -> SecurityHeaders {
        SecurityHeaders { is_production, page_policy: page_policy(&[]) }
    }

    fn written(path: &str, is_production: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers_of(is_production).write(Zone::of(path), &mut headers);
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
        headers_of(false).write(Zone::of("/v1/images/a.jpg"), &mut headers);

        assert_eq!(headers.get(CACHE_CONTROL), Some(&forever));
        assert_eq!(headers.get(CROSS_ORIGIN_RESOURCE_POLICY).unwrap(), "cross-origin");
        assert_eq!(headers.get(CONTENT_SECURITY_POLICY).unwrap(), DATA_POLICY);
        let missing = written("/v1/images/a.jpg", false);
        assert_eq!(missing.get(CACHE_CONTROL).unwrap(), "no-store");
    }

    #[test]
    fn only_pages_and_the_documentation_may_run_scripts() {
        let policy = |path| written(path, false).get(CONTENT_SECURITY_POLICY).cloned().unwrap();
        assert_eq!(policy("/docs/index.html"), DOCS_POLICY);
        assert_eq!(policy("/docsx"), DATA_POLICY);
        for path in ["/", "/console/payments", "/assets/worker-3f2a.js"] {
            let policy = policy(path);
            let policy = policy.to_str().unwrap();
            assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{path}");
            assert_eq!(
                written(path, false).get(CROSS_ORIGIN_OPENER_POLICY).unwrap(),
                "same-origin"
            );
        }
        assert!(!written("/v1", false).contains_key(CROSS_ORIGIN_OPENER_POLICY));
    }

    #[test]
    fn pictures_come_from_here_and_from_where_the_settings_say() {
        let sources = |origins: &[&str]| {
            let origins: Vec<String> = origins.iter().copied().map(str::to_owned).collect();
            let policy = page_policy(&origins).to_str().unwrap().to_owned();
            policy.split("; ").find(|part| part.starts_with("img-src")).unwrap().to_owned()
        };
        assert_eq!(sources(&[]), "img-src 'self' data: blob:");
        assert_eq!(
            sources(&["https://cdn.example.com", "https://a.example:8443"]),
            "img-src 'self' data: blob: https://cdn.example.com https://a.example:8443"
        );
    }

    #[test]
    fn a_page_that_is_not_there_is_not_kept() {
        assert_eq!(written("/assets/gone.js", false).get(CACHE_CONTROL).unwrap(), "no-store");
    }

    #[test]
    fn https_is_insisted_on_in_production_only() {
        assert!(written("/v1", true).contains_key(STRICT_TRANSPORT_SECURITY));
        assert!(!written("/v1", false).contains_key(STRICT_TRANSPORT_SECURITY));
    }
}

//! The cookies: tokens where a page cannot set a header, as an `EventSource` cannot, or should not be able to read them.
//!
//! Invariant: they are believed only of requests that a page of this very origin has made.

use actix_web::http::Method;
use actix_web::http::header::{COOKIE, HOST, HeaderMap, HeaderName, ORIGIN};

const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a browser keeps for pages of this origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookie {
    /// The access token, for what cannot set a header.
    Access,
    /// The refresh token, which no script of the page can read.
    Refresh,
}

impl Cookie {
    /// `__Host-`: browsers take it only over TLS (or on loopback), for this host alone and for every path.
    const fn name(self) -> &'static str {
        match self {
            Self::Access => "__Host-madang",
            Self::Refresh => "__Host-madang-refresh",
        }
    }

    /// The token in it, if the request comes from a page of this origin.
    #[must_use]
    pub fn token<'h>(self, method: &Method, headers: &'h HeaderMap) -> Option<&'h str> {
        if !is_of_this_origin(method, headers) {
            return None;
        }
        let cookies = headers.get_all(COOKIE).filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| name.trim() == self.name()).map(|(_, token)| token.trim())
    }

    /// What makes a browser keep the token for so many seconds.
    #[must_use]
    pub fn set(self, token: &str, seconds: u64) -> String {
        format!("{}={token}; Max-Age={seconds}; {ATTRIBUTES}", self.name())
    }

    /// What makes a browser forget it.
    #[must_use]
    pub fn clear(self) -> String {
        self.set("", 0)
    }
}

/// Whether a page of this origin has made the request. Browsers say where it comes from; what says nothing may only read.
#[must_use]
pub fn is_of_this_origin(method: &Method, headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(ORIGIN), text(HOST)) {
        (Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, authority)| authority == host)
        }
        (None, _) => method.is_safe(),
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn believed(method: &Method, said: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("chat.example"));
        let cookies = "a=b; __Host-madang=token; __Host-madang-refresh=other";
        headers.insert(COOKIE, HeaderValue::from_static(cookies));
        for (name, value) in said {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let access = Cookie::Access.token(method, &headers);
        let refresh = Cookie::Refresh.token(method, &headers);
        assert_eq!(access.is_some(), refresh.is_some());
        (access, refresh) == (Some("token"), Some("other"))
    }

    #[test]
    fn a_page_of_another_origin_is_not_believed() {
        let (get, post) = (&Method::GET, &Method::POST);
        assert!(believed(get, &[]), "a reader that is no browser");
        assert!(!believed(post, &[]), "a writer that says nothing");
        for method in [get, post] {
            assert!(believed(method, &[("origin", "https://chat.example")]));
            assert!(!believed(method, &[("origin", "https://evil.example")]));
            assert!(!believed(method, &[("origin", "null")]));
            assert!(believed(method, &[("sec-fetch-site", "same-origin")]));
            for site in ["same-site", "cross-site", "none"] {
                assert!(!believed(method, &[("sec-fetch-site", site)]), "{site}");
            }
        }
    }

    #[test]
    fn only_the_named_cookie_counts() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("madang=a; x__Host-madang=b"));
        assert_eq!(Cookie::Access.token(&Method::GET, &headers), None);
        headers.insert(COOKIE, HeaderValue::from_static("__Host-madang-refresh=a"));
        assert_eq!(Cookie::Access.token(&Method::GET, &headers), None);
    }

    #[test]
    fn a_script_cannot_read_it_and_another_site_cannot_send_it() {
        assert_eq!(
            Cookie::Refresh.set("token", 60),
            "__Host-madang-refresh=token; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Strict"
        );
        assert_eq!(
            Cookie::Access.clear(),
            "__Host-madang=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Strict"
        );
    }
}

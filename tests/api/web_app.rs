//! The web app at the root: whether or not it was built, there is a page, and it may do no more than its policy says.

use reqwest::Method;
use serde_json::json;

use crate::answer::Answer;
use crate::app::{TestApp, eventually};
use crate::both::Settings;

const CDN: Settings = &[("MADANG__HTTP__IMAGE_ORIGINS", "https://cdn.example.com")];
/// So slow that no bucket fills up again while a test runs.
const TIGHT: Settings = &[
    ("MADANG__LIMITS__ENABLED", "true"),
    ("MADANG__LIMITS__REQUESTS_PER_SECOND_IP", "1"),
    ("MADANG__LIMITS__BURST_IP", "20"),
];

on_both_databases!(
    the_root_is_a_page_that_runs_nothing_but_its_own_files,
    nothing_is_posted_to_a_page_and_what_is_not_there_is_a_problem,
    a_newcomer_is_told_what_to_open,
);
on_both_databases!(with super::CDN; pictures_may_come_from_where_the_settings_say);
on_both_databases!(with super::TIGHT; a_page_can_be_loaded_by_whoever_has_called_too_often);

async fn the_root_is_a_page_that_runs_nothing_but_its_own_files(app: &mut TestApp) {
    for path in ["/", "/console", "/console/payments"] {
        let page = app.get(path).await;
        assert!(page.is(200).text.starts_with("<!doctype html>"), "{}", page.text);
        let header = |name| page.header(name).unwrap_or_default();
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert!(["no-cache", "no-store"].contains(&header("cache-control")));
        assert_eq!(
            header("content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
             font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types svelte-trusted-html madang-worker"
        );
        assert_eq!(header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(header("permissions-policy"), "camera=(), microphone=(), geolocation=()");
        assert_eq!(header("x-content-type-options"), "nosniff");
    }
    let head = Answer::of(app.http.head(app.url("/"))).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

async fn nothing_is_posted_to_a_page_and_what_is_not_there_is_a_problem(app: &mut TestApp) {
    for path in ["/", "/console/payments", "/assets/a.js", "/favicon.svg"] {
        let refused =
            Answer::of(app.http.request(Method::PUT, app.url(path)).json(&json!({}))).await;
        refused.refused(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), Some("GET, HEAD"), "{path}");
    }
    for path in ["/assets/no-such-file.js", "/assets/%2e%2e/%2e%2e/Cargo.toml", "/consoles"] {
        let missing = app.get(path).await;
        missing.refused(404, "not_found");
        assert!(missing.header("cache-control").is_none_or(|kept| kept == "no-store"), "{path}");
    }
}

async fn pictures_may_come_from_where_the_settings_say(app: &mut TestApp) {
    let page = app.get("/").await;
    let policy = page.header("content-security-policy").unwrap();
    let pictures = "; img-src 'self' data: blob: https://cdn.example.com; ";
    assert!(policy.contains(pictures), "{policy}");
}

async fn a_page_can_be_loaded_by_whoever_has_called_too_often(app: &mut TestApp) {
    let mut last = app.get("/v1/users/profile").await;
    for _ in 0..100 {
        if last.status == 429 {
            break;
        }
        last = app.get("/v1/users/profile").await;
    }
    last.refused(429, "rate_limited");

    let page = app.get("/").await;

    assert!(page.is(200).header("ratelimit-policy").unwrap().starts_with("\"page\";q=20"));
    // Not for ever, either: whoever floods is turned away here, too.
    let mut last = page;
    for _ in 0..100 {
        last = app.get("/assets/none.js").await;
        if last.status == 429 {
            break;
        }
    }
    last.refused(429, "rate_limited");
}

async fn a_newcomer_is_told_what_to_open(app: &mut TestApp) {
    let told = format!("madang is serving: open {} in a browser", app.url(""));
    eventually("it is said", async || app.log().contains(&told).then_some(())).await;
}

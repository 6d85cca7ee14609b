//! A refresh token that the browser keeps: no script of a page reads it, and no page of another origin uses it.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{PASSWORD, TestApp};
use crate::both::Settings;

const NO_GRACE: Settings = &[("MADANG__AUTH__REFRESH_GRACE_MS", "0")];
const COOKIE: &str = "__Host-madang-refresh";
/// What keeps scripts and other sites from it.
const FLAGS: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";

on_both_databases!(
    a_page_stays_logged_in_with_a_token_that_it_never_sees,
    two_tabs_may_exchange_one_cookie_within_the_grace,
    a_page_of_another_origin_has_nothing_kept_and_nothing_taken,
    a_token_or_the_cookie_is_exchanged_and_not_both,
    logging_out_ends_the_session_and_clears_both_cookies,
);
on_both_databases!(with super::NO_GRACE; a_cookie_that_comes_back_ends_its_session_and_is_cleared);

async fn a_page_stays_logged_in_with_a_token_that_it_never_sees(app: &mut TestApp) {
    let mut browser = Browser::new(app);

    let grant = browser.register("jisoo").await;
    let first = browser.kept.clone().unwrap();
    assert_eq!(
        browser.post("/v1/auth/login", &login()).await.json(200)["refresh_token"],
        json!(null)
    );
    let other = browser.kept.replace(first.clone());
    assert_ne!(other.as_ref(), Some(&first));

    let refreshed = browser.post("/v1/auth/refresh", &by_cookie()).await;
    let months = format!("{COOKIE}={}; Max-Age=2592000; {FLAGS}", browser.kept.as_ref().unwrap());
    assert_eq!(refreshed.header("set-cookie"), Some(months.as_str()));
    assert_eq!(refreshed.header("cache-control"), Some("no-store"));
    let refreshed = refreshed.json(200);
    assert_eq!(refreshed["session_id"], grant["session_id"]);
    assert_ne!(browser.kept.as_ref(), Some(&first));
    browser.post("/v1/auth/refresh", &by_cookie()).await.is(200);
    let token = refreshed["access_token"].as_str().unwrap();
    Answer::of(app.http.get(app.url("/v1/users/profile")).bearer_auth(token)).await.is(200);
}

async fn two_tabs_may_exchange_one_cookie_within_the_grace(app: &mut TestApp) {
    let mut browser = Browser::new(app);
    browser.register("jisoo").await;
    let shared = browser.kept.clone();

    browser.post("/v1/auth/refresh", &by_cookie()).await.is(200);
    let mut other_tab = Browser { kept: shared, ..Browser::new(app) };
    other_tab.post("/v1/auth/refresh", &by_cookie()).await.is(200);

    assert_ne!(browser.kept, other_tab.kept);
    for tab in [&mut browser, &mut other_tab] {
        tab.post("/v1/auth/refresh", &by_cookie()).await.is(200);
    }
}

async fn a_cookie_that_comes_back_ends_its_session_and_is_cleared(app: &mut TestApp) {
    let mut browser = Browser::new(app);
    browser.register("jisoo").await;
    let mut thief = Browser { kept: browser.kept.clone(), ..Browser::new(app) };
    let grant = browser.post("/v1/auth/refresh", &by_cookie()).await.json(200);

    let refused = thief.post("/v1/auth/refresh", &by_cookie()).await;

    refused.refused(401, "invalid_refresh_token");
    let cleared = format!("{COOKIE}=; Max-Age=0; {FLAGS}");
    assert_eq!(refused.header("set-cookie"), Some(cleared.as_str()));
    assert_eq!(thief.kept, None);
    let honest = browser.post("/v1/auth/refresh", &by_cookie()).await;
    honest.refused(401, "invalid_refresh_token");
    assert_eq!(browser.kept, None);
    let token = grant["access_token"].as_str().unwrap();
    let profile = Answer::of(app.http.get(app.url("/v1/users/profile")).bearer_auth(token)).await;
    profile.refused(401, "unauthenticated");
    // There is nothing left to offer.
    browser.post("/v1/auth/refresh", &by_cookie()).await.refused(401, "unauthenticated");
}

async fn a_page_of_another_origin_has_nothing_kept_and_nothing_taken(app: &mut TestApp) {
    let mut browser = Browser::new(app);
    browser.register("jisoo").await;
    let (here, sessions) = (browser.kept.clone(), "SELECT COUNT(*) FROM sessions");
    let before = app.count(sessions).await;

    let origin = format!("http://127.0.0.1:{}", app.port());
    let elsewhere = [
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site"), ("origin", origin.as_str())],
        vec![("origin", "https://evil.example")],
        // No browser, which may keep the token itself.
        vec![],
    ];
    for says in elsewhere {
        let mut page = Browser { says, kept: here.clone(), ..Browser::new(app) };
        for (path, body) in [
            ("/v1/auth/register", registration("minho")),
            ("/v1/auth/login", login()),
            ("/v1/auth/logout", by_cookie()),
        ] {
            let refused = page.post(path, &body).await;
            refused.refused(403, "origin_not_allowed");
            assert_eq!(refused.header("set-cookie"), None, "{path}");
        }
        let refused = page.post("/v1/auth/refresh", &by_cookie()).await;
        refused.refused(401, "unauthenticated");
        assert_eq!(refused.header("set-cookie"), None);
    }
    assert_eq!(app.count(sessions).await, before);

    // Neither was the session ended nor its token used; and a browser that says its origin alone is believed as well.
    browser.says = vec![("origin", origin.as_str())];
    browser.post("/v1/auth/refresh", &by_cookie()).await.is(200);
}

async fn a_token_or_the_cookie_is_exchanged_and_not_both(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut browser = Browser::new(app);
    browser.post("/v1/auth/login", &login()).await.is(200);

    for (body, pointer) in [
        (json!({}), "/refresh_token"),
        (json!({ "cookie": false }), "/refresh_token"),
        (json!({ "cookie": true, "refresh_token": jisoo.refresh }), "/cookie"),
    ] {
        let problem = browser.post("/v1/auth/refresh", &body).await.refused(422, "invalid_body");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    // Whoever keeps it themselves is told the next one, whatever the browser keeps.
    let body = json!({ "refresh_token": jisoo.refresh });
    let answer = browser.post("/v1/auth/refresh", &body).await;
    assert_eq!(answer.header("set-cookie"), None);
    assert!(answer.json(200)["refresh_token"].is_string());
}

async fn logging_out_ends_the_session_and_clears_both_cookies(app: &mut TestApp) {
    let mut browser = Browser::new(app);
    let grant = browser.register("jisoo").await;
    let before = browser.kept.clone();

    let answer = browser.post("/v1/auth/logout", &by_cookie()).await;

    let cleared: Vec<&str> = answer
        .is(204)
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|it| it.to_str().unwrap())
        .collect();
    let clear = |name: &str| format!("{name}=; Max-Age=0; {FLAGS}");
    assert_eq!(cleared, [clear(COOKIE), clear("__Host-madang")]);
    let token = grant["access_token"].as_str().unwrap();
    let profile = Answer::of(app.http.get(app.url("/v1/users/profile")).bearer_auth(token)).await;
    profile.refused(401, "unauthenticated");
    browser.kept = before;
    let refused = browser.post("/v1/auth/refresh", &by_cookie()).await;
    refused.refused(401, "invalid_refresh_token");
    // Whoever has logged out may do it again.
    browser.post("/v1/auth/logout", &by_cookie()).await.is(204);
}

fn by_cookie() -> Value {
    json!({ "cookie": true })
}

fn login() -> Value {
    json!({ "identifier": "jisoo", "password": PASSWORD, "cookie": true })
}

fn registration(name: &str) -> Value {
    json!({
        "handle": name, "email": format!("{name}@example.com"), "password": PASSWORD,
        "display_name": name, "cookie": true,
    })
}

/// What a browser does for a page: it says where a request comes from, and keeps the cookie for it.
struct Browser<'a> {
    app: &'a TestApp,
    says: Vec<(&'static str, &'a str)>,
    kept: Option<String>,
}

impl<'a> Browser<'a> {
    /// With a page of the server's own.
    fn new(app: &'a TestApp) -> Self {
        Self { app, says: vec![("sec-fetch-site", "same-origin")], kept: None }
    }

    async fn register(&mut self, name: &str) -> Value {
        let grant = self.post("/v1/auth/register", &registration(name)).await.json(201);
        assert!(grant["refresh_token"].is_null());
        grant
    }

    async fn post(&mut self, path: &str, body: &Value) -> Answer {
        let mut request = self.app.http.post(self.app.url(path)).json(body);
        for (name, value) in &self.says {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.kept {
            request = request.header("cookie", format!("a=b; {COOKIE}={token}"));
        }
        let answer = Answer::of(request).await;
        let set = answer.headers.get_all("set-cookie").iter().map(|set| set.to_str().unwrap());
        for token in set.filter_map(|set| set.strip_prefix(COOKIE)?.strip_prefix('=')) {
            let token = token.split(';').next().unwrap_or_default();
            assert!(token.is_empty() || !answer.text.contains(token), "the page was told it");
            self.kept = (!token.is_empty()).then(|| token.to_owned());
        }
        answer
    }
}

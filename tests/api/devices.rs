//! Devices: a browser or an app takes push messages for one user at a time, and nobody sees its address.

use serde_json::{Value, json};

use crate::app::{PASSWORD, TestApp};
use crate::user::User;

const POINT: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

on_both_databases!(
    a_browser_and_an_app_are_registered_listed_and_forgotten,
    an_address_moves_to_whoever_registers_it_last,
    the_twenty_first_device_makes_the_least_used_go,
    what_cannot_be_a_device_is_refused,
    whoever_logs_out_is_told_nothing_more_on_that_device,
);

fn browser(endpoint: &str) -> Value {
    json!({
        "kind": "web_push",
        "name": "지수의 노트북",
        "subscription": {
            "endpoint": endpoint,
            // Browsers say so, too.
            "expirationTime": null,
            "keys": { "p256dh": POINT, "auth": AUTH },
        },
    })
}

fn app_of(token: &str) -> Value {
    json!({ "kind": "fcm", "token": token, "name": "phone" })
}

async fn devices(user: &User) -> Vec<Value> {
    let listed = user.get("/notifications/devices").await.json(200);
    listed["items"].as_array().unwrap().clone()
}

async fn a_browser_and_an_app_are_registered_listed_and_forgotten(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    assert_eq!(devices(&jisoo).await, Vec::<Value>::new());

    let path = "/notifications/devices";
    let laptop = jisoo.post(path, &browser("https://push.example.net/1")).await.json(201);
    let phone = jisoo.post(path, &app_of("token-1")).await.json(201);
    let again = jisoo.post(path, &browser("https://push.example.net/1")).await.json(200);

    assert_eq!((&again["id"], &again["kind"]), (&laptop["id"], &json!("web_push")));
    assert_eq!(laptop["name"], "지수의 노트북");
    let listed = devices(&jisoo).await;
    assert_eq!(listed.len(), 2);
    let shown = json!(listed).to_string();
    assert!(!shown.contains("push.example") && !shown.contains("token-1"), "{shown}");
    assert!(!shown.contains(AUTH), "{shown}");

    let minho = app.register("minho").await;
    let one = format!("{path}/{}", phone["id"].as_str().unwrap());
    minho.delete(&one).await.refused(404, "device_not_found");
    jisoo.delete(&one).await.is(204);
    jisoo.delete(&one).await.refused(404, "device_not_found");
    assert_eq!(devices(&jisoo).await.len(), 1);
    app.get("/v1/notifications/devices").await.refused(401, "unauthenticated");
}

async fn an_address_moves_to_whoever_registers_it_last(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let path = "/notifications/devices";
    let hers = jisoo.post(path, &app_of("shared-phone")).await.json(201);

    let his = minho.post(path, &app_of("shared-phone")).await.json(200);

    assert_ne!(hers["id"], his["id"]);
    assert_eq!(devices(&jisoo).await, Vec::<Value>::new());
    assert_eq!(devices(&minho).await.len(), 1);
}

async fn the_twenty_first_device_makes_the_least_used_go(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut ids = Vec::new();
    for n in 0..21 {
        let body = app_of(&format!("token-{n}"));
        let device = jisoo.post("/notifications/devices", &body).await.json(201);
        ids.insert(0, device["id"].clone());
    }
    let listed: Vec<Value> = devices(&jisoo).await.iter().map(|it| it["id"].clone()).collect();
    assert_eq!(listed, ids[..20]);
}

async fn what_cannot_be_a_device_is_refused(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut without_key = browser("https://push.example.net/1");
    without_key["subscription"]["keys"]["p256dh"] = json!("AAAA");
    let mut nameless = app_of("token");
    nameless["name"] = json!("  ");
    for (body, code, pointer) in [
        (browser("http://push.example.net/1"), "invalid_endpoint", "/subscription/endpoint"),
        (browser("https://slow.example/1"), "unknown_push_service", "/subscription/endpoint"),
        (without_key, "invalid_keys", "/subscription/keys"),
        (app_of("a b"), "invalid_registration_token", "/token"),
        (nameless, "invalid_name", "/name"),
    ] {
        let problem = jisoo.post("/notifications/devices", &body).await.refused(422, code);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let unknown = json!({ "kind": "pager", "name": "a" });
    jisoo.post("/notifications/devices", &unknown).await.refused(422, "invalid_body");
    jisoo.delete("/notifications/devices/nonsense").await.refused(404, "not_found");
}

async fn whoever_logs_out_is_told_nothing_more_on_that_device(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let path = "/notifications/devices";
    jisoo.post(path, &app_of("shared-browser")).await.is(201);
    let elsewhere = app.login("jisoo", PASSWORD).await;
    elsewhere.post(path, &app_of("own-phone")).await.is(201);

    jisoo.post("/auth/logout", &json!({ "refresh_token": jisoo.refresh })).await.is(204);

    let left = devices(&elsewhere).await;
    assert_eq!((left.len(), &left[0]["name"]), (1, &json!("phone")));
    jisoo.post(path, &app_of("too-late")).await.refused(401, "unauthenticated");
}

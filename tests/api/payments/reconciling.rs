//! Reconciliation over HTTP: what is planted at the provider is found, and exactly that; administrators close it, and
//! nobody else.

use reqwest::Method;
use serde_json::{Value, json};

use super::shop::{Begun, Shop, new_key, order_of};
use crate::answer::Answer;
use crate::app::TestApp;
use crate::both::Settings;
use crate::user::User;

/// What happened just now is looked at, too.
pub(super) const AT_ONCE: Settings = &[
    ("MADANG__PAYMENTS__RECONCILIATION__LAG_MINUTES", "0"),
    ("MADANG__PAYMENTS__TIMEOUT_MS", "1000"),
];
const ROOM: &str = "/admin/payments/reconciliation";

on_both_databases!(with super::AT_ONCE;
    what_is_planted_is_found_and_nothing_else,
    administrators_look_and_nobody_else,
);

/// Calls the provider as if somebody else did.
pub(super) async fn provider(
    shop: &Shop,
    app: &TestApp,
    begun: &Begun,
    path: &str,
    body: &Value,
) -> Answer {
    let (host, _) = begun.checkout.split_once("/checkout/").expect("a page of an order");
    let _ = shop;
    // Any 64 hexadecimal digits.
    let key = format!("{}{}", new_key().replace('-', ""), new_key().replace('-', ""));
    let request = app.http.post(format!("{host}{path}")).header("idempotency-key", key);
    Answer::of(request.json(body)).await
}

pub(super) async fn compare(admin: &User) -> Value {
    // Around midnight in Seoul the day of what has happened may be over.
    let now = jiff::Timestamp::from_millisecond(madang::clock::now().millis()).expect("a time");
    let day = jiff::tz::offset(9).to_datetime(now).date().to_string();
    let body = json!({ "provider": "fake", "day": day });
    admin.post(&format!("{ROOM}/run"), &body).await.json(200)
}

pub(super) async fn open(admin: &User) -> Vec<Value> {
    let page = admin.get(&format!("{ROOM}/breaks?status=open")).await.json(200);
    page["items"].as_array().expect("items").clone()
}

async fn what_is_planted_is_found_and_nothing_else(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.login("gwanri", crate::app::PASSWORD).await;
    let right = shop.buy("right", 12_000).await;
    shop.cancel(&right, Some(2_000), &new_key()).await.json(200);
    let clean = compare(&admin).await;
    let runs = clean["runs"].as_array().expect("runs");
    assert!(runs.iter().all(|run| run["status"] == "clean"), "{clean}");
    assert_eq!((&runs[0]["remote"], &runs[0]["matched"]), (&json!(2), &json!(2)), "{clean}");

    // A charge that we do not know, a refund made at the provider's desk, and one that came to less.
    let order = json!({
        "order": "stranger", "amount": 7_000, "currency": "KRW", "name": "a lamp",
        "is_captured_later": false,
    });
    let call = async |body: &Value| provider(&shop, app, &right, "/v1/calls", body).await;
    call(&json!({ "prepare": order })).await.json(200);
    let page = right.checkout.replace(order_of(&right), "stranger");
    Answer::of(app.http.post(&page).form(&[("action", "pay")])).await.is(200);
    let confirm = json!({ "confirm": {
        "provider_key": "fake-stranger", "order": "stranger", "amount": 7_000, "currency": "KRW",
    } });
    call(&confirm).await.json(200);
    let by_hand = shop.buy("by-hand", 12_000).await;
    let refund = json!({ "cancel": {
        "provider_key": format!("fake-{}", order_of(&by_hand)), "order": order_of(&by_hand),
        "amount": 3_000, "currency": "KRW", "reason": "by hand",
    } });
    call(&refund).await.json(200);
    let wrong = shop.buy("wrong", 12_000).await;
    let plan = json!({ "next": { "operation": "cancel", "next": ["wrong_amount"] } });
    provider(&shop, app, &wrong, "/admin/faults", &plan).await.json(200);
    shop.cancel(&wrong, Some(2_000), &new_key()).await.is(202);

    let found = compare(&admin).await;
    assert_eq!(found["runs"][0]["status"], "breaks", "{found}");
    assert_eq!((&found["runs"][0]["remote"], &found["runs"][0]["matched"]), (&json!(7), &json!(4)));
    let breaks = open(&admin).await;
    let mut buckets: Vec<&str> = breaks.iter().filter_map(|it| it["bucket"].as_str()).collect();
    buckets.sort_unstable();
    assert_eq!(buckets, ["amount", "missing_local", "missing_local"], "{breaks:?}");
    let text = json!(breaks).to_string();
    assert!(!text.contains("fake-stranger") && !text.contains("fake-md_"), "{text}");

    let lost = |it: &&Value| it["bucket"] == "missing_local";
    let id = breaks.iter().find(lost).expect("one")["break_id"].as_str().expect("an id").to_owned();
    let path = format!("{ROOM}/breaks/{id}");
    let note = json!({ "note": "a lamp of our own" });
    let nothing = json!({ "entry_id": new_key(), "note": "…" });
    admin.post(&format!("{path}/fix"), &nothing).await.refused(422, "entry_not_found");
    admin
        .post(&format!("{path}/explain"), &json!({ "note": " " }))
        .await
        .refused(422, "invalid_input");
    let explained = admin.post(&format!("{path}/explain"), &note).await.json(200);
    assert_eq!(explained["status"], "explained");
    assert_eq!(explained["closed_by"], format!("user:{}", admin.id));
    admin.post(&format!("{path}/explain"), &note).await.refused(409, "wrong_state");
    compare(&admin).await;
    assert_eq!(open(&admin).await.len(), 2, "it stays explained, and nothing is doubled");
    assert_eq!(admin.get(&path).await.json(200), explained_again(&admin, &path, &explained).await);
}

/// What was explained may have been found again since.
async fn explained_again(admin: &User, path: &str, explained: &Value) -> Value {
    let shown = admin.get(path).await.json(200);
    assert_eq!((&shown["status"], &shown["note"]), (&explained["status"], &explained["note"]));
    shown
}

async fn administrators_look_and_nobody_else(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.login("gwanri", crate::app::PASSWORD).await;
    let id = new_key();
    let run = json!({ "provider": "fake", "day": "2026-01-05" });
    let note = json!({ "note": "…" });
    for path in ["/runs", "/breaks", "/reports", &format!("/breaks/{id}")] {
        shop.payer.get(&format!("{ROOM}{path}")).await.refused(403, "forbidden");
    }
    for (path, body) in [("/run", &run), (&format!("/breaks/{id}/explain"), &note)] {
        shop.payer.post(&format!("{ROOM}{path}"), body).await.refused(403, "forbidden");
    }
    admin.get(&format!("{ROOM}/breaks/{id}")).await.refused(404, "break_not_found");
    admin.post(&format!("{ROOM}/breaks/{id}/explain"), &note).await.refused(404, "break_not_found");
    for (provider, day, status, code) in [
        ("nobody", "2026-01-05", 404, "provider_not_found"),
        ("toss", "2026-01-05", 404, "provider_not_found"),
        ("fake", "yesterday", 422, "invalid_day"),
        ("fake", "9999-12-31", 422, "invalid_day"),
        ("fake", "2999-01-01", 422, "invalid_day"),
    ] {
        let body = json!({ "provider": provider, "day": day });
        admin.post(&format!("{ROOM}/run"), &body).await.refused(status, code);
    }
    for (query, code) in [
        ("status=closed", "invalid_input"),
        ("bucket=lost", "invalid_input"),
        ("cursor=x", "invalid_input"),
        ("limit=0", "invalid_query"),
    ] {
        admin.get(&format!("{ROOM}/breaks?{query}")).await.refused(422, code);
    }
    let ran = admin.post(&format!("{ROOM}/run"), &run).await.json(200);
    let listed = admin.get(&format!("{ROOM}/runs?limit=1")).await.json(200);
    assert_eq!(listed["items"][0]["run_id"], ran["runs"][1]["run_id"]);
    let cursor = listed["next_cursor"].as_str().expect("there are two");
    let rest = admin.get(&format!("{ROOM}/runs?cursor={cursor}")).await.json(200);
    assert_eq!(rest["items"], json!([ran["runs"][0]]));
    assert_eq!(admin.get(&format!("{ROOM}/reports")).await.json(200)["items"], json!([]));
    let method = admin.request(Method::DELETE, &format!("{ROOM}/runs"));
    Answer::of(method).await.is(405);
}

//! Webhooks of the provider: they make us look, and whatever they say, nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use serde_json::json;
use sha2::Sha256;
use uuid::Uuid;

use super::shop::{Begun, Books, Shop, new_key};
use crate::answer::Answer;
use crate::app::{TestApp, eventually};

/// Known to everybody: that of the fake provider.
const KEY: &[u8] = b"the key of the fake provider";

on_both_databases!(
    a_deposit_that_nobody_asks_about_is_heard_of,
    what_is_told_backwards_and_twice_comes_to_the_same,
    what_a_webhook_says_is_not_believed,
    what_is_forged_replayed_or_too_long_changes_nothing,
);

async fn a_deposit_that_nobody_asks_about_is_heard_of(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    shop.order("a1", 12_000).await;
    let begun = shop.begin_by("a1", "virtual_account").await;
    let key = shop.key_of(&begun, "transfer").await;
    let confirmed = shop.confirm(&begun, &key, 12_000, &new_key()).await.json(200);
    assert_eq!(confirmed["status"], "awaiting_deposit", "{confirmed}");
    assert_eq!(Books::of(app).await.escrow, 0);

    shop.press(&begun, "deposit").await;

    eventually("the deposit is booked", async || {
        (shop.payment(&begun).await["status"] == "captured").then_some(())
    })
    .await;
    assert_eq!(Books::of(app).await.escrow, 12_000);
    assert_eq!(shop.moved(&begun).await, [12_000]);
}

async fn what_is_told_backwards_and_twice_comes_to_the_same(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    shop.order("a1", 12_000).await;
    let begun = shop.begin_by("a1", "virtual_account").await;
    let key = shop.key_of(&begun, "transfer").await;
    shop.confirm(&begun, &key, 12_000, &new_key()).await.json(200);
    shop.press(&begun, "deposit").await;

    let told = ["canceled", "failed", "captured", "awaiting_deposit", "open"];
    for status in told {
        let body = says(begun.order(), status);
        for _ in 0..2 {
            post(app, &body, &signed(&body, now_ms())).await.is(200);
        }
    }

    eventually("everything is looked into", async || {
        let open = "SELECT COUNT(*) FROM payment_webhooks WHERE status = 'received'";
        let is_told = app.count(open).await == 0;
        (is_told && shop.payment(&begun).await["status"] == "captured").then_some(())
    })
    .await;
    assert_eq!(Books::of(app).await.escrow, 12_000);
    assert_eq!(shop.moved(&begun).await, [12_000]);
    // Ours, each once, and those of the provider itself.
    let ours = "SELECT COUNT(*) FROM payment_webhooks WHERE status = 'done'";
    assert!(app.count(ours).await >= i64::try_from(told.len()).unwrap());
}

async fn what_a_webhook_says_is_not_believed(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.begin("a1", 12_000).await;
    let books = Books::of(app).await;

    // Signed as it should be, and untrue; about ours, and about nobody's.
    for order in [begun.order(), "md_nobody"] {
        let body = says(order, "captured");
        post(app, &body, &signed(&body, now_ms())).await.is(200);
    }

    settled(app, 2).await;
    assert_eq!(shop.payment(&begun).await["status"], "created");
    assert_eq!(Books::of(app).await, books);
    let ignored = "SELECT COUNT(*) FROM payment_webhooks WHERE status = 'ignored'";
    assert_eq!(app.count(ignored).await, 1);
}

async fn what_is_forged_replayed_or_too_long_changes_nothing(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.buy("a1", 12_000).await;
    let body = says(begun.order(), "captured");
    let good = signed(&body, now_ms());
    post(app, &body, &good).await.is(200);
    eventually("everything is looked into", async || {
        let open = "SELECT COUNT(*) FROM payment_webhooks WHERE status = 'received'";
        (app.count(open).await == 0).then_some(())
    })
    .await;
    let (books, kept) = (Books::of(app).await, kept(app).await);

    // The same once more; changed on its way; without a signature; of an hour ago; to nobody; too long.
    post(app, &body, &good).await.is(200);
    let changed = says(begun.order(), "canceled");
    post(app, &changed, &good).await.refused(401, "invalid_signature");
    post(app, &changed, &[]).await.refused(401, "invalid_signature");
    let old = signed(&changed, now_ms() - 3_600_000);
    post(app, &changed, &old).await.refused(401, "invalid_signature");
    let nobody = app.post("/v1/payments/webhooks/nobody", &json!({})).await;
    nobody.refused(404, "provider_not_found");
    let long = "a".repeat(65_537);
    post(app, &long, &signed(&long, now_ms())).await.refused(413, "payload_too_large");

    assert_eq!(self::kept(app).await, kept);
    assert_eq!(Books::of(app).await, books);
    assert_eq!(shop.payment(&begun).await["status"], "captured");
    assert_eq!(shop.moved(&begun).await, [12_000]);
}

fn says(order: &str, status: &str) -> String {
    json!({
        "kind": "payment_changed", "id": format!("{order}-{status}"), "order": order,
        "provider_key": format!("fake-{order}"), "status": status,
    })
    .to_string()
}

fn signed(body: &str, at: i64) -> Vec<(&'static str, String)> {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    vec![("fake-at", at.to_string()), ("fake-signature", signature)]
}

fn now_ms() -> i64 {
    let now = Uuid::now_v7().get_timestamp().expect("it has the time in it");
    let (seconds, nanos) = now.to_unix();
    i64::try_from(seconds).unwrap() * 1_000 + i64::from(nanos) / 1_000_000
}

async fn post(app: &TestApp, body: &str, headers: &[(&'static str, String)]) -> Answer {
    let mut request = app.http.post(app.url("/v1/payments/webhooks/fake")).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    Answer::of(request).await
}

async fn kept(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) FROM payment_webhooks").await
}

/// Waits until so many were kept and looked into.
async fn settled(app: &TestApp, count: i64) {
    eventually("everything is looked into", async || {
        let settled = "SELECT COUNT(*) FROM payment_webhooks WHERE status <> 'received'";
        (app.count(settled).await >= count).then_some(())
    })
    .await;
}

impl Begun {
    /// Our order, as the provider knows it.
    fn order(&self) -> &str {
        let (_, order) = self.checkout.split_once("/checkout/").expect("a page of an order");
        order.split('?').next().expect("an order")
    }
}

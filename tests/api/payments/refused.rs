//! What is not as it should be: a clear error each, and books that stay as they are.

use serde_json::{Value, json};
use uuid::Uuid;

use super::shop::{Books, Shop, decided, new_key, send};
use crate::app::TestApp;

on_both_databases!(
    no_amount_is_taken_that_is_none,
    another_amount_than_agreed_is_refused,
    another_currency_is_refused,
    what_is_somebody_elses_is_not_there,
    what_names_nothing_is_refused,
    more_than_was_taken_is_not_given_back,
    what_is_over_does_not_begin_again,
    a_key_of_another_payment_confirms_nothing,
);

/// Negative, nothing, more than there is, more than a number holds, a part, and things that are no numbers.
fn no_amounts() -> Vec<Value> {
    let huge: Value = serde_json::from_str("99999999999999999999").unwrap();
    vec![
        json!(-1),
        json!(i64::MIN),
        json!(0),
        json!(1_000_000_000_001_i64),
        json!(i64::MAX),
        huge,
        json!(0.5),
        json!(12_000.5),
        json!(1e30),
        json!("12000"),
        json!([12_000]),
    ]
}

async fn no_amount_is_taken_that_is_none(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.begin("a1", 12_000).await;
    let key = shop.pay(&begun).await;
    let books = Books::of(app).await;

    for amount in no_amounts() {
        let order = json!({ "amount": amount, "name": "화단" });
        shop.put("a2", &order).await.refused(422, "invalid_body");
        let create = json!({ "order_type": "job", "order_id": "a1", "amount": amount });
        let confirm = json!({ "payment_id": begun.id, "payment_key": key, "amount": amount });
        let cancel = json!({ "payment_id": begun.id, "amount": amount, "reason": "why not" });
        for (what, body) in [("create", create), ("confirm", confirm), ("cancel", cancel)] {
            let refused = send(&shop.payer, what, &new_key(), &body).await;
            let detail = refused.refused(422, "invalid_body")["detail"].clone();
            assert!(!detail.as_str().unwrap().is_empty(), "{what} {amount}");
        }
    }
    assert_eq!(Books::of(app).await, books);
    assert_eq!(app.count("SELECT COUNT(*) FROM orders").await, 1);
    assert!(shop.moved(&begun).await.is_empty());
}

async fn another_amount_than_agreed_is_refused(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    shop.order("a1", 12_000).await;
    let before = Books::of(app).await;
    let create = json!({ "order_type": "job", "order_id": "a1", "amount": 11_999 });
    let refused = send(&shop.payer, "create", &new_key(), &create).await;
    decided(&refused, 422, "amount_mismatch");
    assert_eq!(Books::of(app).await, before);

    let begun = shop.begin_by("a1", "card").await;
    let key = shop.pay(&begun).await;
    let before = Books::of(app).await;
    for amount in [1, 11_999, 12_001] {
        let refused = shop.confirm(&begun, &key, amount, &new_key()).await;
        decided(&refused, 422, "amount_mismatch");
    }
    assert_eq!(Books::of(app).await, before);
    shop.confirm(&begun, &key, 12_000, &new_key()).await.json(200);
}

async fn another_currency_is_refused(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let order = |currency: &str| json!({ "amount": 100, "name": "화단", "currency": currency });
    shop.put("a1", &order("USD")).await.refused(422, "currency_not_supported");
    for currency in ["krw", "KR", "WON!", ""] {
        shop.put("a1", &order(currency)).await.refused(422, "invalid_body");
    }
    let create = json!({ "order_type": "job", "order_id": "a1", "currency": "USD" });
    send(&shop.payer, "create", &new_key(), &create).await.refused(422, "invalid_body");
    assert_eq!(app.count("SELECT COUNT(*) FROM orders").await, 0);
    shop.put("a1", &order("KRW")).await.json(201);
}

async fn what_is_somebody_elses_is_not_there(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.begin("a1", 12_000).await;
    let key = shop.pay(&begun).await;
    let thief = &shop.payee;
    let books = Books::of(app).await;

    let create = json!({ "order_type": "job", "order_id": "a1" });
    send(thief, "create", &new_key(), &create).await.refused(404, "order_not_found");
    let confirm = json!({ "payment_id": begun.id, "payment_key": key, "amount": 12_000 });
    send(thief, "confirm", &new_key(), &confirm).await.refused(404, "payment_not_found");
    let cancel = json!({ "payment_id": begun.id, "reason": "mine now" });
    send(thief, "cancel", &new_key(), &cancel).await.refused(404, "payment_not_found");
    thief.get(&format!("/payments/{}", begun.id)).await.refused(404, "payment_not_found");
    let nobody = app.post("/v1/payments/create", &create).await;
    nobody.refused(401, "unauthenticated");

    assert_eq!(Books::of(app).await, books);
    shop.confirm(&begun, &key, 12_000, &new_key()).await.json(200);
    send(thief, "cancel", &new_key(), &cancel).await.refused(404, "payment_not_found");
    assert_eq!(shop.moved(&begun).await, [12_000]);
}

async fn what_names_nothing_is_refused(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.begin("a1", 12_000).await;
    let books = Books::of(app).await;
    let create = |order_type: &str, id: &str| json!({ "order_type": order_type, "order_id": id });
    for (body, status, code) in [
        (create("job", "a2"), 404, "order_not_found"),
        (create("Job!", "a1"), 422, "invalid_order_type"),
        (create("job", "a/1"), 422, "invalid_order_id"),
        (json!({ "order_type": "job" }), 422, "invalid_body"),
        (json!({ "order_type": "job", "order_id": "a1", "method": "cash" }), 422, "invalid_body"),
    ] {
        send(&shop.payer, "create", &new_key(), &body).await.refused(status, code);
    }
    let confirm =
        |id: &str, key: &str| json!({ "payment_id": id, "payment_key": key, "amount": 12_000 });
    for (body, status, code) in [
        (confirm(&Uuid::nil().to_string(), "k"), 404, "payment_not_found"),
        (confirm(&begun.id, ""), 422, "invalid_payment_key"),
        (confirm(&begun.id, "열쇠"), 422, "invalid_payment_key"),
        (confirm(&begun.id, &"k".repeat(201)), 422, "invalid_payment_key"),
        (confirm("7", "k"), 422, "invalid_body"),
    ] {
        send(&shop.payer, "confirm", &new_key(), &body).await.refused(status, code);
    }
    let cancel = |reason: &str| json!({ "payment_id": begun.id, "reason": reason });
    for reason in ["", " ", "a\nb", &"가".repeat(201)] {
        let refused = send(&shop.payer, "cancel", &new_key(), &cancel(reason)).await;
        refused.refused(422, "invalid_reason");
    }
    for (id, body, code) in [
        ("a2", json!({ "amount": 1, "name": " " }), "invalid_name"),
        ("a2", json!({ "amount": 1, "name": "a", "fee_bps": 10_001 }), "invalid_fee"),
        ("a%20b", json!({ "amount": 1, "name": "a" }), "invalid_order_id"),
        (
            "a2",
            json!({ "amount": 1, "name": "a", "payer_id": shop.payer.id, "payee_id": shop.payer.id }),
            "payer_is_payee",
        ),
    ] {
        shop.put(id, &body).await.refused(422, code);
    }
    assert_eq!(Books::of(app).await, books);
}

async fn more_than_was_taken_is_not_given_back(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.buy("a1", 12_000).await;
    shop.cancel(&begun, Some(5_000), &new_key()).await.json(200);
    let books = Books::of(app).await;

    for amount in [7_001, 12_000, 1_000_000_000_000] {
        let refused = shop.cancel(&begun, Some(amount), &new_key()).await;
        assert_eq!(decided(&refused, 422, "exceeds_refundable")["refundable"], 7_000);
    }

    assert_eq!(Books::of(app).await, books);
    assert_eq!(shop.moved(&begun).await, [12_000, -5_000]);
}

async fn what_is_over_does_not_begin_again(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.begin("a1", 12_000).await;
    let key = shop.pay(&begun).await;
    shop.cancel(&begun, None, &new_key()).await.json(200);
    let canceled = Books::of(app).await;
    let refused = shop.confirm(&begun, &key, 12_000, &new_key()).await;
    decided(&refused, 409, "wrong_state");
    decided(&shop.cancel(&begun, None, &new_key()).await, 409, "wrong_state");
    assert_eq!(Books::of(app).await, canceled);

    let paid = shop.buy("a2", 5_000).await;
    let books = Books::of(app).await;
    let refused = shop.confirm(&paid, "another", 5_000, &new_key()).await;
    decided(&refused, 409, "wrong_state");
    let create = json!({ "order_type": "job", "order_id": "a2" });
    let exists = send(&shop.payer, "create", &new_key(), &create).await;
    assert_eq!(decided(&exists, 409, "payment_exists")["payment_id"], json!(paid.id));
    assert_eq!(Books::of(app).await, books);

    let late = shop.begin("a3", 5_000).await;
    let key = shop.pay(&late).await;
    app.alter("UPDATE payments SET expires_at = 1 WHERE status = 'created'").await;
    decided(&shop.confirm(&late, &key, 5_000, &new_key()).await, 410, "payment_expired");
    assert_eq!(shop.payment(&late).await["status"], "expired");
    assert!(shop.moved(&late).await.is_empty());
}

async fn a_key_of_another_payment_confirms_nothing(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let (cheap, dear) = (shop.begin("a1", 1_000).await, shop.begin("a2", 90_000).await);
    let key = shop.pay(&cheap).await;
    shop.confirm(&cheap, &key, 1_000, &new_key()).await.json(200);
    let books = Books::of(app).await;

    let refused = shop.confirm(&dear, &key, 90_000, &new_key()).await;

    decided(&refused, 409, "payment_key_in_use");
    assert_eq!(Books::of(app).await, books);
    assert!(shop.moved(&dear).await.is_empty());
}

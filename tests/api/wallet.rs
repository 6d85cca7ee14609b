//! Wallets over HTTP: what is earned, where it would be paid out to, and everything that is refused.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::{PASSWORD, TestApp};
use crate::payments::shop::{Books, Shop, decided, new_key, send};
use crate::user::User;

on_both_databases!(
    what_is_released_is_pending_once_and_goes_back_from_there,
    a_wallet_is_sent_when_it_has_changed,
    an_account_is_masked_and_somebody_else_vouches_for_it,
    what_is_no_withdrawal_is_refused_and_changes_nothing,
    administrators_decide_and_nobody_else,
    nobody_leaves_money_behind,
    an_order_that_could_not_be_shared_out_is_refused,
);

async fn release(shop: &Shop, order: &str) -> Answer {
    let path = format!("/payments/orders/job/{order}/release");
    Answer::of(shop.service.request(Method::POST, &path)).await
}

async fn add_account(shop: &Shop) -> Value {
    let body = json!({
        "bank_code": "004", "account_number": "110-123-456789", "holder": "김민호",
    });
    shop.payee.post("/payments/bank-accounts", &body).await.json(201)
}

async fn verify(shop: &Shop, account: &Value) -> Answer {
    let id = account["bank_account_id"].as_str().expect("an id");
    let path = format!("/payments/bank-accounts/{id}/verification");
    Answer::of(shop.service.request(Method::PUT, &path)).await
}

async fn what_is_released_is_pending_once_and_goes_back_from_there(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    release(&shop, "w1").await.refused(404, "order_not_found");
    let begun = shop.begin("w1", 10_000).await;
    release(&shop, "w1").await.refused(409, "order_not_paid");
    let key = shop.pay(&begun).await;
    shop.confirm(&begun, &key, 10_000, &new_key()).await.json(200);
    let stranger = shop.payee.post("/payments/orders/job/w1/release", &json!({})).await;
    stranger.refused(403, "forbidden");

    let released = release(&shop, "w1").await.json(200);
    assert_eq!((&released["gross"], &released["net"]), (&json!(10_000), &json!(10_000)));
    assert_eq!(release(&shop, "w1").await.json(200), released);

    let wallet = shop.payee.get("/payments/wallet").await.json(200);
    assert_eq!((&wallet["pending"], &wallet["available"]), (&json!(10_000), &json!(0)));
    assert_eq!(Books::of(app).await.escrow, 0);
    let own = shop.cancel(&begun, Some(4_000), &new_key()).await;
    decided(&own, 409, "released");
    send(&shop.payer, "refund", &new_key(), &json!({ "payment_id": begun.id, "reason": "mine" }))
        .await
        .refused(403, "forbidden");
    assert_eq!(shop.payee.get("/payments/wallet").await.json(200), wallet);
    shop.refund(&begun, Some(4_000), &new_key()).await.json(200);
    let wallet = shop.payee.get("/payments/wallet").await.json(200);
    assert_eq!((&wallet["pending"], &wallet["debt"]), (&json!(6_000), &json!(0)));
    let settlements = shop.payee.get("/payments/settlements").await.json(200);
    assert_eq!(settlements["items"], json!([]));
}

async fn a_wallet_is_sent_when_it_has_changed(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let first = shop.payee.get("/payments/wallet").await;
    first.is(200);
    let tag = first.header("etag").expect("a tag").to_owned();
    let again = async |tag: &str| {
        let request = shop.payee.request(Method::GET, "/payments/wallet");
        Answer::of(request.header("if-none-match", tag)).await
    };
    again(&tag).await.is(304);
    shop.buy("w2", 10_000).await;
    again(&tag).await.is(304);
    release(&shop, "w2").await.json(200);
    let changed = again(&tag).await;
    assert_eq!(changed.json(200)["pending"], 10_000);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
}

async fn an_account_is_masked_and_somebody_else_vouches_for_it(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let account = add_account(&shop).await;
    assert_eq!((&account["account"], &account["verified_at"]), (&json!("****6789"), &Value::Null));
    let listed = shop.payee.get("/payments/bank-accounts").await;
    assert!(!listed.text.contains("110123456789") && !listed.text.contains("김민호"));
    assert_eq!(listed.json(200)["bank_accounts"], json!([account]));

    let id = account["bank_account_id"].as_str().expect("an id").to_owned();
    let path = format!("/payments/bank-accounts/{id}");
    shop.payee.put(&format!("{path}/verification"), &json!({})).await.refused(403, "forbidden");
    assert!(verify(&shop, &account).await.json(200)["verified_at"].is_string());
    shop.payer.delete(&path).await.refused(404, "bank_account_not_found");
    shop.payee.delete(&path).await.is(204);
    verify(&shop, &account).await.refused(404, "bank_account_not_found");
    for (field, value, code) in [
        ("bank_code", "국민", "invalid_bank_code"),
        ("account_number", "12-34", "invalid_account_number"),
        ("holder", " ", "invalid_holder"),
    ] {
        let mut body = json!({
            "bank_code": "004", "account_number": "110123456789", "holder": "김민호",
        });
        body[field] = json!(value);
        shop.payee.post("/payments/bank-accounts", &body).await.refused(422, code);
    }
}

async fn what_is_no_withdrawal_is_refused_and_changes_nothing(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    shop.buy("w3", 50_000).await;
    release(&shop, "w3").await.json(200);
    let account = add_account(&shop).await;
    let books = Books::of(app).await;
    let body =
        |amount: Value| json!({ "amount": amount, "bank_account_id": account["bank_account_id"] });
    let ask = async |amount: Value| send(&shop.payee, "withdraw", &new_key(), &body(amount)).await;

    ask(json!(1_000)).await.refused(403, "bank_account_unverified");
    verify(&shop, &account).await.json(200);
    for amount in [json!(-1), json!(0), json!(1.5), json!("1000"), json!(1e30)] {
        ask(amount).await.refused(422, "invalid_body");
    }
    decided(&ask(json!(999)).await, 422, "withdrawal_limit");
    decided(&ask(json!(10_000_001)).await, 422, "withdrawal_limit");
    // It is earned, and not yet to be taken out.
    decided(&ask(json!(50_000)).await, 402, "insufficient_available");
    let keyless = shop.payee.post("/payments/withdraw", &body(json!(1_000))).await;
    keyless.refused(400, "idempotency_key_missing");
    let strange = send(&shop.payer, "withdraw", &new_key(), &body(json!(1_000))).await;
    strange.refused(404, "bank_account_not_found");

    assert_eq!(Books::of(app).await, books);
    assert_eq!(app.count("SELECT COUNT(*) FROM withdrawals").await, 0);
    assert_eq!(shop.payee.get("/payments/withdrawals").await.json(200)["items"], json!([]));
}

async fn administrators_decide_and_nobody_else(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    let queue = "/admin/payments/withdrawals";
    assert_eq!(admin.get(queue).await.json(200)["items"], json!([]));
    shop.payee.get(queue).await.refused(403, "forbidden");
    let reason = json!({ "reason": "called back" });
    for what in ["approve", "reject"] {
        let path = format!("{queue}/{}/{what}", Uuid::now_v7());
        admin.post(&path, &reason).await.refused(404, "withdrawal_not_found");
        shop.payee.post(&path, &reason).await.refused(403, "forbidden");
        admin.post(&path, &json!({ "reason": " " })).await.refused(422, "invalid_input");
    }
    let freeze = format!("/admin/payments/wallets/{}/freeze", shop.payee.id);
    admin.put(&freeze, &reason).await.is(204);
    assert_eq!(shop.payee.get("/payments/wallet").await.json(200)["is_frozen"], true);
    let account = add_account(&shop).await;
    verify(&shop, &account).await.json(200);
    let body = json!({ "amount": 1_000, "bank_account_id": account["bank_account_id"] });
    let frozen = send(&shop.payee, "withdraw", &new_key(), &body).await;
    decided(&frozen, 409, "wallet_frozen");
    admin.delete_with(&freeze, &json!({ "reason": " " })).await.refused(422, "invalid_input");
    admin.delete_with(&freeze, &reason).await.is(204);
    assert_eq!(shop.payee.get("/payments/wallet").await.json(200)["is_frozen"], false);
    let own = format!("/admin/payments/wallets/{}/freeze", admin.id);
    admin.put(&own, &reason).await.is(204);
    admin.delete_with(&own, &reason).await.refused(403, "own_decision");
}

async fn leave(user: &User) -> Answer {
    let request = user.request(Method::DELETE, "/users/account");
    Answer::of(request.json(&json!({ "password": PASSWORD }))).await
}

async fn nobody_leaves_money_behind(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    add_account(&shop).await;
    let accounts = "SELECT COUNT(*) FROM bank_accounts";
    let begun = shop.begin("w4", 10_000).await;
    // Nobody knows yet whether it is paid.
    leave(&shop.payee).await.refused(409, "wallet_not_empty");
    shop.cancel(&begun, None, &new_key()).await.json(200);
    shop.order("w7", 10_000).await;
    let begun = shop.buy("w5", 10_000).await;
    // Paid, and not yet earned.
    leave(&shop.payee).await.refused(409, "wallet_not_empty");
    shop.payee.get("/payments/wallet").await.is(200);
    assert_eq!(app.count(accounts).await, 1);
    shop.cancel(&begun, None, &new_key()).await.json(200);
    leave(&shop.payee).await.is(204);
    assert_eq!(app.count(accounts).await, 0);

    let body = json!({ "order_type": "job", "order_id": "w7", "method": "card" });
    decided(&send(&shop.payer, "create", &new_key(), &body).await, 409, "payee_gone");
    let order = json!({ "payee_id": shop.payee.id, "amount": 10_000, "name": "정리" });
    shop.put("w8", &order).await.refused(404, "user_not_found");

    // Earned, and not yet to be taken out.
    let dokki = app.register("dokki").await;
    let order = json!({ "payee_id": dokki.id, "amount": 10_000, "name": "정리" });
    shop.put("w6", &order).await.json(201);
    let begun = shop.begin_by("w6", "card").await;
    let key = shop.pay(&begun).await;
    shop.confirm(&begun, &key, 10_000, &new_key()).await.json(200);
    release(&shop, "w6").await.json(200);
    leave(&dokki).await.refused(409, "wallet_not_empty");
    // Whoever has paid has nothing here.
    leave(&shop.payer).await.is(204);
}

async fn an_order_that_could_not_be_shared_out_is_refused(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let order = |fee_bps: i64, payee: Value| json!({ "payee_id": payee, "amount": 10_000, "name": "정리", "fee_bps": fee_bps });
    let payee = json!(shop.payee.id);
    shop.put("w8", &order(9_091, payee.clone())).await.refused(422, "fee_too_high");
    shop.put("w8", &order(9_090, payee)).await.json(201);
    // What nobody is to get is not shared out.
    shop.put("w9", &order(10_000, Value::Null)).await.json(201);
}

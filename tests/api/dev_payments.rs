//! Trying payments out without an app's server: from an order of one's own to the money in the payee's wallet.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::TestApp;
use crate::payments::shop::{Begun, Books, new_key, send};
use crate::user::User;

on_both_databases!(
    whoever_tries_it_out_sees_a_wallet_move,
    only_what_can_be_paid_is_registered_and_only_by_who_pays,
    what_was_not_paid_is_not_released_and_nobody_releases_for_another,
    an_account_is_vouched_for_by_its_own_user_and_money_is_taken_out,
    in_production_there_is_nothing_to_try,
);

fn tea(payee: &User, amount: i64) -> Value {
    json!({ "payee_id": payee.id, "amount": amount, "name": "차 한 잔" })
}

/// Begins to pay for an order, pays at the provider's page, and confirms it.
async fn pay(app: &TestApp, payer: &User, order: &Value) {
    let body = json!({ "order_type": order["order_type"], "order_id": order["order_id"] });
    let begun = send(payer, "create", &new_key(), &body).await.json(201);
    let begun = Begun::read(&begun);
    let page = Answer::of(app.http.post(&begun.checkout).form(&[("action", "pay")])).await;
    page.is(200);
    let (_, rest) = page.text.split_once("id=\"payment-key\">").expect("the page shows a key");
    let key = rest.split('<').next().expect("a key ends");
    let body = json!({ "payment_id": begun.id, "payment_key": key, "amount": order["amount"] });
    let confirmed = send(payer, "confirm", &new_key(), &body).await.json(200);
    assert_eq!(confirmed["status"], "captured", "{confirmed}");
}

async fn release(user: &User, order: &Value) -> Answer {
    let id = order["order_id"].as_str().expect("an id");
    user.post(&format!("/dev/orders/{id}/release"), &json!({})).await
}

fn verification(account: &Value) -> String {
    format!(
        "/dev/bank-accounts/{}/verification",
        account["bank_account_id"].as_str().expect("an id")
    )
}

async fn wallet(user: &User) -> (i64, i64) {
    let wallet = user.get("/payments/wallet").await.json(200);
    let figure = |name: &str| wallet[name].as_i64().expect("a figure");
    (figure("pending"), figure("available"))
}

async fn whoever_tries_it_out_sees_a_wallet_move(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let order = jisoo.post("/dev/orders", &tea(&minho, 4_500)).await.json(201);
    assert_eq!((&order["order_type"], &order["amount"]), (&json!("dev"), &json!(4_500)));
    assert_eq!((&order["payer_id"], &order["payee_id"]), (&json!(jisoo.id), &json!(minho.id)));
    assert_eq!((&order["name"], &order["currency"]), (&json!("차 한 잔"), &json!("KRW")));
    pay(app, &jisoo, &order).await;
    assert_eq!(wallet(&minho).await, (0, 0));

    let released = release(&jisoo, &order).await.json(200);

    assert_eq!((&released["gross"], &released["net"]), (&json!(4_500), &json!(4_500)));
    assert_eq!(released["settlement"]["status"], "released");
    assert_eq!(wallet(&minho).await, (0, 4_500));
    assert_eq!(Books::of(app).await.escrow, 0);
    let again = release(&jisoo, &order).await.json(200);
    assert_eq!((&again["net"], &again["settlement"]), (&json!(4_500), &Value::Null));

    // They have a batch of today.
    let order = jisoo.post("/dev/orders", &tea(&minho, 1_000)).await.json(201);
    pay(app, &jisoo, &order).await;
    assert_eq!(release(&jisoo, &order).await.json(200)["settlement"], Value::Null);
    assert_eq!(wallet(&minho).await, (1_000, 4_500));
}

async fn only_what_can_be_paid_is_registered_and_only_by_who_pays(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let with = |field: &str, value: Value| {
        let mut body = tea(&minho, 1_000);
        body[field] = value;
        body
    };
    jisoo.post("/dev/orders", &tea(&jisoo, 1_000)).await.refused(422, "payer_is_payee");
    let nobody = with("payee_id", json!(uuid::Uuid::now_v7()));
    jisoo.post("/dev/orders", &nobody).await.refused(404, "user_not_found");
    jisoo.post("/dev/orders", &with("name", json!(" "))).await.refused(422, "invalid_name");
    for (field, value) in [("amount", json!(0)), ("payer_id", json!(minho.id))] {
        jisoo.post("/dev/orders", &with(field, value)).await.refused(422, "invalid_body");
    }
    app.post("/v1/dev/orders", &tea(&minho, 1_000)).await.refused(401, "unauthenticated");
    assert_eq!(app.count("SELECT COUNT(*) FROM orders").await, 0);
}

async fn what_was_not_paid_is_not_released_and_nobody_releases_for_another(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let order = jisoo.post("/dev/orders", &tea(&minho, 4_500)).await.json(201);
    release(&jisoo, &order).await.refused(409, "order_not_paid");
    pay(app, &jisoo, &order).await;

    release(&minho, &order).await.refused(404, "order_not_found");
    release(&jisoo, &json!({ "order_id": "nothing" })).await.refused(404, "order_not_found");
    release(&jisoo, &json!({ "order_id": "a,b" })).await.refused(422, "invalid_order_id");

    assert_eq!(wallet(&minho).await, (0, 0));
}

async fn an_account_is_vouched_for_by_its_own_user_and_money_is_taken_out(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let order = jisoo.post("/dev/orders", &tea(&minho, 4_500)).await.json(201);
    pay(app, &jisoo, &order).await;
    release(&jisoo, &order).await.json(200);
    let account = json!({ "bank_code": "088", "account_number": "110123456789", "holder": "민호" });
    let account = minho.post("/payments/bank-accounts", &account).await.json(201);
    let asked = json!({ "amount": 1_000, "bank_account_id": account["bank_account_id"] });
    send(&minho, "withdraw", &new_key(), &asked).await.refused(403, "bank_account_unverified");
    let path = verification(&account);
    jisoo.put(&path, &json!({})).await.refused(404, "bank_account_not_found");

    let verified = minho.put(&path, &json!({})).await.json(200);

    assert_ne!(verified["verified_at"], Value::Null);
    send(&minho, "withdraw", &new_key(), &asked).await.json(202);
    assert_eq!(wallet(&minho).await, (0, 3_500));
}

async fn in_production_there_is_nothing_to_try(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let order = jisoo.post("/dev/orders", &tea(&minho, 4_500)).await.json(201);
    // With the keys that it made for itself, and as much memory for hashes as production asks for.
    app.restart_with("MADANG__AUTH__HASH_MEMORY_KIB", "19456").await;
    app.restart_with("MADANG__MODE", "production").await;
    let jisoo = jisoo.at(app);

    jisoo.post("/dev/orders", &tea(&minho, 4_500)).await.refused(404, "not_found");
    release(&jisoo, &order).await.refused(404, "not_found");
    let account = json!({ "bank_account_id": uuid::Uuid::now_v7() });
    jisoo.put(&verification(&account), &json!({})).await.refused(404, "not_found");
    app.post("/v1/dev/orders", &tea(&minho, 4_500)).await.refused(404, "not_found");
}

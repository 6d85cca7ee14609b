//! Operating payments over HTTP: what administrators see, what they do by hand, and that it is written down.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::payments::shop::{Shop, decided, is_replayed, new_key, send};
use crate::user::User;

const IMPATIENT: Settings = &[("MADANG__PAYMENTS__TIMEOUT_MS", "300")];
const SOMETHING: &str = "0199a000-0000-7000-8000-000000000000";

on_both_databases!(
    nobody_but_administrators_operates,
    money_gets_from_an_order_to_a_bank_by_hand,
    a_timeline_has_everything_and_no_key,
    a_provider_is_stopped_over_a_restart,
    what_cannot_be_written_down_is_not_done,
    a_refused_withdrawal_is_refused_alike,
    what_the_app_may_do_is_in_the_audit_where_a_person_does_it,
    nobody_decides_about_what_is_their_own,
    a_lost_key_stops_the_start_until_the_accounts_it_sealed_are_forgotten,
);
on_both_databases!(with super::IMPATIENT; what_nobody_knows_is_shown_and_told_live);

fn because() -> Value {
    json!({ "reason": "the payee leaves tonight" })
}

async fn nobody_but_administrators_operates(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    for path in [
        "/payments",
        &format!("/payments/{SOMETHING}"),
        "/payments/audit",
        "/payments/providers",
        "/payments/ledger",
        "/payments/ledger/accounts/suspense",
        "/payments/ledger/accounts/suspense/statement",
        "/payments/settlements",
        &format!("/payments/settlements/{SOMETHING}"),
        "/workflows",
        &format!("/workflows/{SOMETHING}"),
    ] {
        shop.payer.get(&format!("/admin{path}")).await.refused(403, "forbidden");
        app.get(&format!("/v1/admin{path}")).await.refused(401, "unauthenticated");
    }
    for path in [
        &format!("/payments/{SOMETHING}/proposals"),
        &format!("/payments/{SOMETHING}/proposals/{SOMETHING}/confirm"),
        &format!("/payments/{SOMETHING}/refunds/{SOMETHING}/settle"),
        "/payments/providers/fake/stop",
        "/payments/providers/fake/start",
        "/payments/settlements/close",
        &format!("/payments/settlements/{SOMETHING}/release"),
        &format!("/workflows/{SOMETHING}/resume"),
        &format!("/workflows/{SOMETHING}/look-up"),
        &format!("/workflows/{SOMETHING}/compensate"),
    ] {
        let answer = shop.payer.post(&format!("/admin{path}"), &because()).await;
        answer.refused(403, "forbidden");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM money_audit").await, 0);
}

/// The payee's bank account, for which the shop vouches.
async fn vouched_account(shop: &Shop) -> Value {
    let body = json!({
        "bank_code": "004", "account_number": "110-123-456789", "holder": "김민호",
    });
    let account = shop.payee.post("/payments/bank-accounts", &body).await.json(201);
    let id = account["bank_account_id"].as_str().expect("an id");
    let path = format!("/payments/bank-accounts/{id}/verification");
    Answer::of(shop.service.request(Method::PUT, &path)).await.json(200)
}

async fn release(shop: &Shop, order: &str) {
    let path = format!("/payments/orders/job/{order}/release");
    Answer::of(shop.service.request(Method::POST, &path)).await.json(200);
}

async fn actions(admin: &User) -> Vec<Value> {
    let page = admin.get("/admin/payments/audit").await.json(200);
    let items = page["items"].as_array().expect("a page has items");
    items.iter().rev().map(|it| it["action"].clone()).collect()
}

async fn money_gets_from_an_order_to_a_bank_by_hand(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    shop.buy("b1", 50_000).await;
    release(&shop, "b1").await;

    let closing = json!({ "payee_id": shop.payee.id, "reason": "they leave tonight" });
    let closed = admin.post("/admin/payments/settlements/close", &closing).await.json(200);
    let batch = &closed["settlements"][0];
    assert_eq!((&batch["net"], &batch["status"]), (&json!(50_000), &json!("closed")));
    let path = format!("/admin/payments/settlements/{}", batch["settlement_id"].as_str().unwrap());
    let details = admin.get(&path).await.json(200);
    assert_eq!(details["items"]["items"][0]["gross"], 50_000);
    let paid = admin.post(&format!("{path}/release"), &because()).await.json(200);
    assert_eq!(paid["status"], "released");
    admin.post(&format!("{path}/release"), &because()).await.refused(409, "wrong_state");
    let nothing = admin.post("/admin/payments/settlements/close", &closing).await.json(200);
    assert_eq!(nothing["settlements"], json!([]));
    let wallet = shop.payee.get("/payments/wallet").await.json(200);
    assert_eq!((&wallet["available"], &wallet["pending"]), (&json!(50_000), &json!(0)));

    let account = vouched_account(&shop).await;
    let body = json!({ "amount": 20_000, "bank_account_id": account["bank_account_id"] });
    let asked = send(&shop.payee, "withdraw", &new_key(), &body).await.json(202);
    let id = asked["withdrawal_id"].as_str().unwrap();
    let queue = "/admin/payments/withdrawals";
    let waiting = admin.get(queue).await.json(200)["items"][0].clone();
    assert_eq!((&waiting["withdrawal_id"], &waiting["waits_for"]), (&json!(id), &json!(["time"])));
    admin.post(&format!("{queue}/{id}/approve"), &because()).await.json(200);
    eventually("it is paid", async || {
        let path = format!("/payments/withdrawals/{id}");
        (shop.payee.get(&path).await.json(200)["status"] == "paid").then_some(())
    })
    .await;
    assert_eq!(admin.get(queue).await.json(200)["items"], json!([]));

    let said = ["settlement_closed", "settlement_released", "withdrawal_approved"];
    assert_eq!(actions(&admin).await, said);
    let first = admin.get("/admin/payments/audit?limit=2").await.json(200);
    let approved = &first["items"][0];
    assert_eq!(
        (&approved["by"], &approved["before"]["status"]),
        (&json!(admin.id), &json!("requested"))
    );
    assert_eq!(approved["reason"], "the payee leaves tonight");
    let cursor = first["next_cursor"].as_str().unwrap();
    let path = format!("/admin/payments/audit?limit=2&cursor={cursor}");
    let last = admin.get(&path).await.json(200);
    assert_eq!(last["items"][0]["action"], "settlement_closed");
    assert_eq!((last["items"].as_array().unwrap().len(), &last["next_cursor"]), (1, &Value::Null));
    let path = format!("/admin/payments/audit?by={}&target=withdrawal:{id}", admin.id);
    assert_eq!(admin.get(&path).await.json(200)["items"].as_array().unwrap().len(), 1);
    let path = format!("/admin/payments/settlements?status=released&payee_id={}", shop.payee.id);
    assert_eq!(admin.get(&path).await.json(200)["items"].as_array().unwrap().len(), 1);
    admin.get("/admin/payments/settlements?status=paid").await.refused(422, "invalid_input");
}

async fn a_timeline_has_everything_and_no_key(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    let begun = shop.begin("t1", 12_000).await;
    let key = shop.pay(&begun).await;
    shop.confirm(&begun, &key, 12_000, &new_key()).await.json(200);
    shop.cancel(&begun, Some(2_000), &new_key()).await.json(200);
    shop.begin("t2", 5_000).await;

    let answer = admin.get(&format!("/admin/payments/{}", begun.id)).await;
    assert!(!answer.text.contains(&key), "the provider's key is shown: {}", answer.text);
    let seen = answer.json(200);
    let words = |list: &str, field: &str| -> Vec<Value> {
        seen[list].as_array().unwrap().iter().map(|it| it[field].clone()).collect()
    };
    assert_eq!(
        words("transitions", "to"),
        ["created", "confirming", "captured", "partially_refunded"]
    );
    assert_eq!(words("workflows", "kind"), ["payment_confirm", "payment_refund"]);
    assert_eq!(words("workflows", "status"), ["done", "done"]);
    assert_eq!(words("ledger", "kind"), ["capture", "refund_hold", "refund"]);
    assert_eq!(words("refunds", "status"), ["succeeded"]);
    let shown = seen["attempts"][0]["provider_key"].as_str().unwrap();
    assert!(shown.starts_with("****") && key.ends_with(shown.trim_start_matches('*')), "{shown}");

    let orders = async |query: &str| -> Vec<Value> {
        let page = admin.get(&format!("/admin/payments?{query}")).await.json(200);
        page["items"].as_array().unwrap().iter().map(|it| it["order_id"].clone()).collect()
    };
    assert_eq!(orders("").await, ["t1", "t2"]);
    assert_eq!(orders("status=created,confirming&provider=fake").await, ["t2"]);
    assert_eq!(orders("older_than=2020-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(orders("provider=toss").await.len(), 0);
    let first = admin.get("/admin/payments?limit=1").await.json(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(orders(&format!("limit=1&cursor={cursor}")).await, ["t2"]);
    for query in ["status=paid", "provider=nobody", "cursor=x"] {
        let path = format!("/admin/payments?{query}");
        admin.get(&path).await.refused(422, "invalid_input");
    }
    let nothing = admin.get(&format!("/admin/payments/{}", Uuid::now_v7())).await;
    nothing.refused(404, "payment_not_found");

    let balance = admin.get("/admin/payments/ledger").await.json(200);
    assert_eq!(balance["totals"][0]["is_balanced"], true);
    let now = "2099-01-01T00:00:00Z";
    let later = admin.get(&format!("/admin/payments/ledger?at={now}")).await.json(200);
    assert_eq!((&later["totals"], &later["families"]), (&balance["totals"], &balance["families"]));
    let before = admin.get("/admin/payments/ledger?at=2020-01-01T00:00:00Z").await.json(200);
    assert_eq!(before["families"], json!([]));
    let code = seen["ledger"][0]["credit"].as_str().unwrap().replace('#', "%23");
    let path = format!("/admin/payments/ledger/accounts/{code}");
    let account = admin.get(&path).await.json(200);
    assert_eq!(
        (&account["credits_posted"], &account["debits_posted"]),
        (&json!(12_000), &json!(2_000))
    );
    let past = admin.get(&format!("{path}?at=2020-01-01T00:00:00Z")).await.json(200);
    assert_eq!(past["credits_posted"], 0);
    let statement = admin.get(&format!("{path}/statement?limit=1")).await.json(200);
    assert_eq!(statement["items"][0]["kind"], "refund");
    assert_eq!(statement["items"][0]["other"], seen["ledger"][0]["debit"]);
    assert!(statement["next_cursor"].is_string());
    admin.get("/admin/payments/ledger/accounts/nothing").await.refused(404, "not_found");
}

async fn a_provider_is_stopped_over_a_restart(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    let begun = shop.begin("p1", 5_000).await;
    let key = shop.pay(&begun).await;
    shop.order("p2", 5_000).await;
    let path = "/admin/payments/providers";
    let stopped = admin.post(&format!("{path}/fake/stop"), &because()).await.json(200);
    assert_eq!(stopped["providers"][0]["stopped"]["by"], json!(admin.id));
    admin.post(&format!("{path}/nobody/stop"), &because()).await.refused(404, "provider_not_found");
    let wordless = json!({ "reason": " " });
    admin.post(&format!("{path}/fake/stop"), &wordless).await.refused(422, "invalid_input");

    app.restart().await;

    let (payer, admin) = (shop.payer.at(app), admin.at(app));
    let confirm = json!({ "payment_id": begun.id, "payment_key": key, "amount": 5_000 });
    let create = json!({ "order_type": "job", "order_id": "p2" });
    let (confirm_key, create_key) = (new_key(), new_key());
    for (what, key, body) in [("confirm", &confirm_key, &confirm), ("create", &create_key, &create)]
    {
        let refused = send(&payer, what, key, body).await;
        refused.refused(503, "provider_stopped");
        assert!(refused.header("retry-after").is_some());
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM payments WHERE status <> 'created'").await, 0);
    let seen = admin.get(path).await.json(200);
    let fake = &seen["providers"][0];
    assert_eq!((&fake["provider"], &fake["is_preferred"]), (&json!("fake"), &json!(true)));
    assert_eq!(fake["stopped"]["reason"], "the payee leaves tonight");

    let started = admin.post(&format!("{path}/fake/start"), &because()).await.json(200);
    assert_eq!(started["providers"][0]["stopped"], Value::Null);
    send(&payer, "create", &create_key, &create).await.json(201);
    assert_eq!(actions(&admin).await, ["provider_stopped", "provider_started"]);
}

async fn what_cannot_be_written_down_is_not_done(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    shop.buy("n1", 50_000).await;
    release(&shop, "n1").await;
    app.alter("ALTER TABLE money_audit RENAME TO money_audit_kept").await;

    let freeze = format!("/admin/payments/wallets/{}/freeze", shop.payee.id);
    admin.put(&freeze, &because()).await.is(500);
    admin.post("/admin/payments/providers/fake/stop", &because()).await.is(500);
    admin.post("/admin/payments/settlements/close", &because()).await.is(500);

    assert_eq!(shop.payee.get("/payments/wallet").await.json(200)["is_frozen"], false);
    shop.begin("n2", 5_000).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM settlements").await, 0);
    app.alter("ALTER TABLE money_audit_kept RENAME TO money_audit").await;
    admin.put(&freeze, &because()).await.is(204);
    assert_eq!(actions(&admin).await, ["wallet_frozen"]);
}

async fn a_refused_withdrawal_is_refused_alike(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let account = vouched_account(&shop).await;
    let body =
        |amount: i64| json!({ "amount": amount, "bank_account_id": account["bank_account_id"] });
    for (amount, status, code) in
        [(5_000, 402, "insufficient_available"), (1, 422, "withdrawal_limit")]
    {
        let key = new_key();
        let first = send(&shop.payee, "withdraw", &key, &body(amount)).await;
        decided(&first, status, code);
        assert!(!is_replayed(&first));
        let again = send(&shop.payee, "withdraw", &key, &body(amount)).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        assert!(is_replayed(&again));
        let other = send(&shop.payee, "withdraw", &key, &body(amount + 1)).await;
        other.refused(422, "idempotency_key_reused");
    }
    let admin = app.administrator("dokki").await;
    let freeze = format!("/admin/payments/wallets/{}/freeze", shop.payee.id);
    admin.put(&freeze, &because()).await.is(204);
    let key = new_key();
    let first = send(&shop.payee, "withdraw", &key, &body(5_000)).await;
    decided(&first, 409, "wallet_frozen");
    admin.delete_with(&freeze, &because()).await.is(204);
    let again = send(&shop.payee, "withdraw", &key, &body(5_000)).await;
    assert_eq!(again.text, first.text);
    // What may change without another request is not kept.
    let unverified =
        json!({ "bank_code": "004", "account_number": "110-123-456789", "holder": "김" });
    let account = shop.payee.post("/payments/bank-accounts", &unverified).await.json(201);
    let body = json!({ "amount": 5_000, "bank_account_id": account["bank_account_id"] });
    for _ in 0..2 {
        let refused = send(&shop.payee, "withdraw", "an-unverified-one", &body).await;
        refused.refused(403, "bank_account_unverified");
        assert!(!is_replayed(&refused));
    }
}

async fn what_the_app_may_do_is_in_the_audit_where_a_person_does_it(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    let order = json!({
        "payer_id": shop.payer.id, "payee_id": shop.payee.id, "amount": 10_000, "name": "화단 정리",
    });
    admin.put("/payments/orders/job/p1", &order).await.json(201);
    let begun = shop.begin_by("p1", "card").await;
    let key = shop.pay(&begun).await;
    shop.confirm(&begun, &key, 10_000, &new_key()).await.json(200);
    let refund = json!({ "payment_id": begun.id, "amount": 1_000, "reason": "it was late" });
    send(&admin, "refund", &new_key(), &refund).await.json(200);
    let released = admin.request(Method::POST, "/payments/orders/job/p1/release");
    Answer::of(released).await.json(200);
    let account = json!({ "bank_code": "004", "account_number": "110-123-456789", "holder": "김" });
    let account = shop.payee.post("/payments/bank-accounts", &account).await.json(201);
    let id = account["bank_account_id"].as_str().expect("an id");
    let path = format!("/payments/bank-accounts/{id}/verification");
    Answer::of(admin.request(Method::PUT, &path)).await.json(200);

    let said = ["order_registered", "payment_refunded", "order_released", "bank_account_vouched"];
    assert_eq!(actions(&admin).await, said);
    // What the app does by its key is not a person's.
    shop.buy("p2", 10_000).await;
    release(&shop, "p2").await;
    assert_eq!(actions(&admin).await.len(), 4);
}

async fn nobody_decides_about_what_is_their_own(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    let order = json!({ "payee_id": admin.id, "amount": 10_000, "name": "정리" });
    shop.put("o1", &order).await.json(201);
    let begun = shop.begin_by("o1", "card").await;
    let key = shop.pay(&begun).await;
    shop.confirm(&begun, &key, 10_000, &new_key()).await.json(200);

    let own = admin.request(Method::POST, "/payments/orders/job/o1/release");
    Answer::of(own).await.refused(403, "own_decision");
    let refund = json!({ "payment_id": begun.id, "amount": 1_000, "reason": "it was late" });
    send(&admin, "refund", &new_key(), &refund).await.refused(403, "own_decision");
    release(&shop, "o1").await;
    let closing = json!({ "payee_id": admin.id, "reason": "I leave tonight" });
    let own = admin.post("/admin/payments/settlements/close", &closing).await;
    own.refused(403, "own_decision");
    assert_eq!(actions(&admin).await, Vec::<Value>::new());
}

async fn what_nobody_knows_is_shown_and_told_live(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    // The provider takes it, says nothing, and answers no question for minutes.
    let begun = shop.begin("u1", 10_919).await;
    let key = shop.pay(&begun).await;
    let mut phone = shop.payer.socket().await;
    phone.hello(&["me"]).await;
    let confirm_key = new_key();
    let confirming = shop.confirm(&begun, &key, 10_919, &confirm_key);
    let told = async {
        let mut told = Vec::new();
        while told.last() != Some(&json!("unknown")) {
            let updated = phone.next_named("payment_updated").await;
            told.push(updated["data"]["status"].clone());
        }
        told
    };
    let (told, confirmed) = tokio::join!(told, confirming);
    assert_eq!(told, ["confirming", "unknown"]);
    confirmed.is(202);

    let queue = "/admin/payments?status=unknown,confirming,conflicted";
    assert_eq!(admin.get(queue).await.json(200)["items"][0]["id"], json!(begun.id));
    let providers = admin.get("/admin/payments/providers").await.json(200);
    assert_eq!(providers["providers"][0]["unknown"], 1);
    let list = "/admin/workflows?status=waiting&kind=payment_confirm";
    let workflow = eventually("it waits", async || {
        let page = admin.get(list).await.json(200);
        page["items"].get(0).cloned()
    })
    .await;
    assert!(workflow["last_error"].is_string(), "{workflow}");
    assert!(workflow["owner"].is_string() && workflow["fence"].is_i64(), "{workflow}");
    let path = format!("/admin/workflows/{}", workflow["id"].as_str().unwrap());
    let refused = admin.post(&format!("{path}/compensate"), &because()).await;
    refused.refused(409, "not_undoable");
    let propose = json!({ "amount": 10_919, "reason": "seen in the console" });
    let proposals = format!("/admin/payments/{}/proposals", begun.id);
    admin.post(&proposals, &propose).await.refused(409, "wrong_state");
    admin.post(&format!("{path}/resume"), &because()).await.refused(409, "wrong_state");
    let looked = admin.post(&format!("{path}/look-up"), &json!({})).await.json(200);
    assert_eq!(looked["signals"][0]["name"], "look_now");
    let steps = looked["steps"].as_array().unwrap();
    assert_eq!(steps[0]["kind"], "intent", "{looked}");
    let nothing = format!("/admin/workflows/{}", Uuid::now_v7());
    admin.get(&nothing).await.refused(404, "workflow_not_found");
    admin.get("/admin/workflows?status=lost").await.refused(422, "invalid_input");
    assert_eq!(actions(&admin).await, ["workflow_looked_at"]);
}

async fn a_lost_key_stops_the_start_until_the_accounts_it_sealed_are_forgotten(app: &mut TestApp) {
    const SEAL: &str = "MADANG_SECRET_BANK_SEAL";
    let other = "another-key-of-forty-three-random-characters";
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    shop.buy("b9", 50_000).await;
    release(&shop, "b9").await;
    let closed = admin.post("/admin/payments/settlements/close", &because()).await.json(200);
    let batch = closed["settlements"][0]["settlement_id"].as_str().expect("a batch");
    let path = format!("/admin/payments/settlements/{batch}/release");
    admin.post(&path, &because()).await.json(200);
    let (used, _unused) = (vouched_account(&shop).await, vouched_account(&shop).await);
    let body = json!({ "amount": 20_000, "bank_account_id": used["bank_account_id"] });
    let asked = send(&shop.payee, "withdraw", &new_key(), &body).await.json(202);
    app.kill();

    let doctor = app.run(&["doctor"], &[(SEAL, other)]);
    assert!(!doctor.status.success() && said(&doctor).contains("forget-lost"), "{doctor:?}");
    let refused = app.run(&["serve"], &[(SEAL, other)]);
    assert!(!refused.status.success() && said(&refused).contains("forget-lost"), "{refused:?}");
    let forgotten = app.run(&["bank-accounts", "forget-lost"], &[(SEAL, other)]);
    assert!(said(&forgotten).starts_with("2 bank accounts"), "{forgotten:?}");
    let again = app.run(&["bank-accounts", "forget-lost"], &[(SEAL, other)]);
    assert!(said(&again).starts_with("0 bank accounts"), "{again:?}");
    assert!(app.run(&["doctor"], &[(SEAL, other)]).status.success());

    app.restart_with(SEAL, other).await;
    let (shop, admin) = (shop.at(app), admin.at(app));
    let kept = shop.payee.get("/payments/bank-accounts").await.json(200);
    assert_eq!(kept["bank_accounts"], json!([]));
    vouched_account(&shop).await;
    // Nobody knows where it was to go: it goes back.
    let id = asked["withdrawal_id"].as_str().expect("an id");
    let path = format!("/admin/payments/withdrawals/{id}/reject");
    admin.post(&path, &because()).await.json(200);
    eventually("it is there again", async || {
        let wallet = shop.payee.get("/payments/wallet").await.json(200);
        (wallet["available"] == 50_000).then_some(())
    })
    .await;
}

fn said(output: &std::process::Output) -> String {
    let (told, complained) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(told), String::from_utf8_lossy(complained))
}

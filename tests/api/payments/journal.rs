//! The manual journal over HTTP: two administrators, amounts and accounts that are refused, the break that an entry puts right, and
//! what became of a key.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::reconciling::{AT_ONCE, compare, open, provider};
use super::shop::{Books, Shop, is_replayed, new_key, order_of};
use crate::answer::Answer;
use crate::app::TestApp;
use crate::user::User;

const JOURNAL: &str = "/admin/payments/journal-entries";

on_both_databases!(
    two_administrators_move_what_nobody_could_place,
    what_is_no_journal_entry_is_refused_and_changes_nothing,
    nobody_else_sees_or_moves_anything,
    a_key_says_what_became_of_it_and_not_what_was_said,
);
on_both_databases!(with super::AT_ONCE; a_break_is_put_right_and_names_its_entry);

async fn propose(user: &User, key: &str, body: &Value) -> Answer {
    let request = user.request(Method::POST, JOURNAL);
    Answer::of(request.header("idempotency-key", key).json(body)).await
}

fn entry(debit: &str, credit: &str, amount: i64) -> Value {
    json!({ "debit": debit, "credit": credit, "amount": amount, "reason": "seen in the statement" })
}

fn because() -> Value {
    json!({ "reason": "I see it, too" })
}

fn path_of(proposed: &Value) -> String {
    format!("{JOURNAL}/{}", proposed["journal_entry_id"].as_str().expect("an id"))
}

/// What an account comes to, credits over debits.
async fn balance(admin: &User, code: &str) -> i64 {
    let account = admin.get(&format!("/admin/payments/ledger/accounts/{code}")).await;
    if account.status == 404 {
        return 0;
    }
    let account = account.json(200);
    let side = |name: &str| account[name].as_i64().expect("a sum");
    side("credits_posted") - side("debits_posted")
}

async fn two_administrators_move_what_nobody_could_place(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.buy("j1", 12_000).await;
    let (first, second) = (app.administrator("dokki").await, app.administrator("sori").await);
    let key = new_key();
    let mut body = entry("bank:operating", "suspense", 9_000);
    body["payment_id"] = json!(begun.id);

    let answer = propose(&first, &key, &body).await;
    let proposed = answer.json(201);
    assert_eq!((&proposed["status"], &proposed["currency"]), (&json!("proposed"), &json!("KRW")));
    let again = propose(&first, &key, &body).await;
    assert_eq!((again.status, &again.text), (201, &answer.text));
    assert!(is_replayed(&again) && !is_replayed(&answer));
    body["amount"] = json!(9_001);
    propose(&first, &key, &body).await.refused(422, "idempotency_key_reused");
    assert_eq!(app.count("SELECT COUNT(*) FROM journal_entries").await, 1);

    let path = path_of(&proposed);
    let approve = format!("{path}/approve");
    first.post(&approve, &because()).await.refused(403, "own_decision");
    assert_eq!(balance(&first, "suspense").await, 0);
    let approved = second.post(&approve, &because()).await.json(200);
    assert_eq!(
        (&approved["status"], &approved["decided_by"]),
        (&json!("approved"), &json!(second.id))
    );
    assert_eq!(first.get(&path).await.json(200), approved);
    second.post(&approve, &because()).await.refused(409, "wrong_state");
    second.post(&format!("{path}/reject"), &because()).await.refused(409, "wrong_state");
    assert_eq!(balance(&first, "suspense").await, 9_000);
    // The answer to the key is of then.
    assert_eq!(
        propose(&first, &key, &{
            body["amount"] = json!(9_000);
            body
        })
        .await
        .text,
        answer.text
    );

    let much = propose(&first, &new_key(), &entry("suspense", "income:fee", 9_001)).await.json(201);
    let books = Books::of(app).await;
    let refused = second.post(&format!("{}/approve", path_of(&much)), &because()).await;
    refused.refused(409, "suspense_overdrawn");
    assert_eq!(Books::of(app).await, books);
    let rejected = first.post(&format!("{}/reject", path_of(&much)), &because()).await.json(200);
    assert_eq!((&rejected["status"], &rejected["entry_id"]), (&json!("rejected"), &Value::Null));
    let listed = first.get(&format!("{JOURNAL}?status=rejected")).await.json(200);
    assert_eq!(listed["items"], json!([rejected]));
    let page = first.get(&format!("{JOURNAL}?limit=1")).await.json(200);
    assert_eq!(page["items"], json!([rejected]));
    let cursor = page["next_cursor"].as_str().expect("there are two");
    let rest = first.get(&format!("{JOURNAL}?cursor={cursor}")).await.json(200);
    assert_eq!(rest["items"], json!([approved]));

    let trial = first.get("/admin/payments/ledger").await.json(200);
    assert_eq!(trial["totals"][0]["is_balanced"], true, "{trial}");
    let timeline = first.get(&format!("/admin/payments/{}", begun.id)).await.json(200);
    assert_eq!(timeline["journal"], json!([approved]));
    let lines = timeline["ledger"].as_array().expect("lines");
    assert!(lines.iter().any(|line| line["kind"] == "journal"), "{timeline}");
    let id = approved["journal_entry_id"].as_str().expect("an id");
    let audit = first.get(&format!("/admin/payments/audit?target=journal_entry:{id}")).await;
    let audit = audit.json(200);
    let said: Vec<_> = audit["items"].as_array().expect("lines").iter().collect();
    assert_eq!(
        (&said[0]["action"], &said[0]["by"]),
        (&json!("journal_approved"), &json!(second.id))
    );
    assert_eq!(
        (&said[1]["action"], &said[1]["by"]),
        (&json!("journal_proposed"), &json!(first.id))
    );
    assert_eq!(said.len(), 2);
}

async fn what_is_no_journal_entry_is_refused_and_changes_nothing(app: &mut TestApp) {
    let admin = app.administrator("dokki").await;
    let user = admin.id.clone();
    let refused = async |body: &Value, status, code: &str| {
        propose(&admin, &new_key(), body).await.refused(status, code)
    };
    for amount in
        [json!(-1), json!(0), json!(1.5), json!("100"), json!(1e30), json!(1_000_000_000_001_i64)]
    {
        let mut body = entry("suspense", "income:fee", 1);
        body["amount"] = amount;
        refused(&body, 422, "invalid_body").await;
    }
    for (debit, credit, pointer) in [
        ("nothing", "suspense", "/debit"),
        ("suspense", "nothing", "/credit"),
        ("escrow", "suspense", "/debit"),
        ("suspense", "payout:in_transit", "/credit"),
        ("suspense", &format!("user:{user}:available"), "/credit"),
        (&format!("user:{user}:pending"), "suspense", "/debit"),
        ("suspense", &"s".repeat(10_000), "/credit"),
    ] {
        let problem = refused(&entry(debit, credit, 1), 422, "account_not_allowed").await;
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    refused(&entry("suspense", "suspense", 1), 422, "suspense_required").await;
    refused(&entry("bank:operating", "income:fee", 1), 422, "suspense_required").await;
    for (field, value, status, code) in [
        ("currency", json!("USD"), 422, "currency_not_supported"),
        ("currency", json!("won"), 422, "invalid_body"),
        ("reason", json!(" "), 422, "invalid_input"),
        ("reason", json!("r".repeat(501)), 422, "invalid_input"),
        ("payment_id", json!(Uuid::now_v7()), 404, "payment_not_found"),
        ("break_id", json!(Uuid::now_v7()), 404, "break_not_found"),
        ("break_id", json!("none"), 422, "invalid_body"),
        ("escrow", json!(1), 422, "invalid_body"),
    ] {
        let mut body = entry("suspense", "income:fee", 1);
        body[field] = value;
        refused(&body, status, code).await;
    }
    let sound = entry("suspense", "income:fee", 1);
    admin.post(JOURNAL, &sound).await.refused(400, "idempotency_key_missing");
    propose(&admin, "short", &sound).await.refused(400, "idempotency_key_invalid");
    let nothing = format!("{JOURNAL}/{}", Uuid::now_v7());
    admin.get(&nothing).await.refused(404, "journal_entry_not_found");
    for what in ["approve", "reject"] {
        let path = format!("{nothing}/{what}");
        admin.post(&path, &because()).await.refused(404, "journal_entry_not_found");
        admin.post(&path, &json!({ "reason": " " })).await.refused(422, "invalid_input");
        admin.post(&path, &json!({})).await.refused(422, "invalid_body");
    }
    for (query, code) in [
        ("status=open", "invalid_input"),
        ("cursor=x", "invalid_input"),
        ("limit=0", "invalid_query"),
        ("payment_id=x", "invalid_query"),
    ] {
        admin.get(&format!("{JOURNAL}?{query}")).await.refused(422, code);
    }
    for table in [
        "SELECT COUNT(*) FROM journal_entries",
        "SELECT COUNT(*) FROM ledger_entries",
        "SELECT COUNT(*) FROM money_audit",
        "SELECT COUNT(*) FROM idempotency_keys",
    ] {
        assert_eq!(app.count(table).await, 0, "{table}");
    }
}

async fn nobody_else_sees_or_moves_anything(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let id = Uuid::now_v7();
    let keys = "/admin/payments/idempotency-keys?key=some-key-of-mine";
    for path in [JOURNAL, &format!("{JOURNAL}/{id}"), keys] {
        jisoo.get(path).await.refused(403, "forbidden");
        app.get(&format!("/v1{path}")).await.refused(401, "unauthenticated");
    }
    let body = entry("suspense", "income:fee", 1);
    propose(&jisoo, &new_key(), &body).await.refused(403, "forbidden");
    for what in ["approve", "reject"] {
        jisoo.post(&format!("{JOURNAL}/{id}/{what}"), &because()).await.refused(403, "forbidden");
    }
    for path in [JOURNAL, &format!("{JOURNAL}/{id}/approve"), &format!("{JOURNAL}/{id}/reject")] {
        let request = app.http.post(app.url(&format!("/v1{path}"))).json(&because());
        Answer::of(request).await.refused(401, "unauthenticated");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM money_audit").await, 0);
}

async fn a_break_is_put_right_and_names_its_entry(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let (first, second) = (app.administrator("dokki").await, app.administrator("sori").await);
    let right = shop.buy("right", 12_000).await;
    // Somebody has paid at the provider for something that nobody here knows.
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
    compare(&first).await;
    let breaks = open(&first).await;
    assert_eq!(breaks.len(), 1, "{breaks:?}");
    assert_eq!(breaks[0]["journal_entry_id"], Value::Null);
    let path = format!(
        "/admin/payments/reconciliation/breaks/{}",
        breaks[0]["break_id"].as_str().expect("an id")
    );

    let mut body = entry("psp:fake:receivable", "suspense", 7_000);
    body["break_id"] = breaks[0]["break_id"].clone();
    let proposed = propose(&first, &new_key(), &body).await.json(201);
    let late = propose(&first, &new_key(), &body).await.json(201);
    let approve =
        async |it: &Value| second.post(&format!("{}/approve", path_of(it)), &because()).await;
    let approved = approve(&proposed).await.json(200);

    let fixed = first.get(&path).await.json(200);
    assert_eq!((&fixed["status"], &fixed["fixed_entry"]), (&json!("fixed"), &approved["entry_id"]));
    assert_eq!(fixed["journal_entry_id"], approved["journal_entry_id"]);
    assert_eq!(fixed["closed_by"], format!("user:{}", second.id));
    approve(&late).await.refused(409, "wrong_state");
    propose(&first, &new_key(), &body).await.refused(409, "wrong_state");
    assert_eq!(balance(&first, "suspense").await, 7_000);
    compare(&first).await;
    assert!(open(&first).await.is_empty(), "what was put right stays so");
    assert_eq!(first.get(&path).await.json(200)["journal_entry_id"], fixed["journal_entry_id"]);
}

async fn a_key_says_what_became_of_it_and_not_what_was_said(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    let begun = shop.begin("k1", 10_932).await;
    let (payment_key, key) = (shop.pay(&begun).await, new_key());
    shop.confirm(&begun, &payment_key, 10_932, &key).await.is(402);
    let look =
        async |query: &str| admin.get(&format!("/admin/payments/idempotency-keys?{query}")).await;

    let answer = look(&format!("key={key}")).await;
    let seen = answer.json(200);
    let items = seen["items"].as_array().expect("items");
    assert_eq!(items.len(), 1, "{seen}");
    let item = &items[0];
    assert_eq!(item["principal"], format!("user:{}", shop.payer.id));
    assert_eq!(item["route"], "POST /v1/payments/confirm");
    assert_eq!((&item["state"], &item["status"]), (&json!("answered"), &json!(402)));
    assert_eq!(item["code"], "payment_declined");
    assert_eq!(item["fingerprint"].as_str().expect("a hash").len(), 64);
    assert!(item["workflow_id"].is_string() && item["expires_at"].is_string(), "{item}");
    assert!(!answer.text.contains(&payment_key) && !answer.text.contains(&begun.id), "{seen}");

    // Somebody else's of the same name is another.
    shop.payee.post("/payments/create", &json!({})).await.refused(400, "idempotency_key_missing");
    let order = json!({ "payee_id": shop.payer.id, "amount": 5_000, "name": "정리" });
    shop.put("k2", &order).await.json(201);
    let create = json!({ "order_type": "job", "order_id": "k2" });
    super::shop::send(&shop.payee, "create", &key, &create).await.json(201);
    let both = look(&format!("key={key}")).await;
    assert_eq!(both.json(200)["items"].as_array().expect("items").len(), 2);
    assert!(!both.text.contains("checkout"), "what its payer pays with is nobody else's");
    let own = look(&format!("key={key}&principal=user:{}", shop.payee.id)).await.json(200);
    assert_eq!(own["items"].as_array().expect("items").len(), 1);
    assert_eq!((&own["items"][0]["status"], &own["items"][0]["code"]), (&json!(201), &Value::Null));
    assert_eq!(look(&format!("key={}", new_key())).await.json(200)["items"], json!([]));
    for (query, code) in [
        ("", "invalid_query"),
        ("key=short", "invalid_input"),
        ("key=with%20a%20space", "invalid_input"),
        (&format!("key={key}&principal=jisoo"), "invalid_input"),
        (&format!("key={key}&principal=user:jisoo"), "invalid_input"),
        (&format!("key={key}&user=x"), "invalid_query"),
    ] {
        look(query).await.refused(422, code);
    }
}

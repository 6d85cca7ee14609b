//! Pay-out by bank file over HTTP: from a withdrawal to a file, to what the bank did, and to whoever waits for it.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::payments::shop::{Shop, new_key, send};
use crate::user::User;

const BY_FILE: Settings = &[
    ("MADANG__PAYMENTS__PAYOUTS", "bank_file"),
    ("MADANG__PAYMENTS__WITHDRAWALS__FIRST_WAIT_HOURS", "0"),
];
const FILES: &str = "/admin/payments/payout-files";
const NUMBER: &str = "110123456789";
/// What a spreadsheet would calculate.
const HOLDER: &str = "=HYPERLINK(\"http://evil\",\"김민호\")";

on_both_databases!(with super::BY_FILE;
    money_is_carried_to_a_bank_in_a_file,
    what_a_bank_sends_back_is_there_again,
    two_who_take_out_at_once_take_nothing_twice,
    nobody_but_administrators_sees_or_makes_files,
    what_makes_no_sense_is_refused_and_changes_nothing,
);

fn because() -> Value {
    json!({ "reason": "the run of Friday" })
}

fn results(results: &Value) -> Value {
    json!({ "results": results, "reason": "the bank's statement" })
}

/// Lets the payee have so much in the wallet, and a bank account that is known to be theirs.
async fn earn(shop: &Shop, admin: &User, order: &str, amount: i64) -> Value {
    shop.buy(order, amount).await;
    let path = format!("/payments/orders/job/{order}/release");
    Answer::of(shop.service.request(Method::POST, &path)).await.json(200);
    let closed = admin.post("/admin/payments/settlements/close", &because()).await.json(200);
    let batch = closed["settlements"][0]["settlement_id"].as_str().expect("a batch");
    let path = format!("/admin/payments/settlements/{batch}/release");
    admin.post(&path, &because()).await.json(200);
    let body = json!({ "bank_code": "004", "account_number": NUMBER, "holder": HOLDER });
    let account = shop.payee.post("/payments/bank-accounts", &body).await.json(201);
    let id = account["bank_account_id"].as_str().expect("an id");
    let path = format!("/payments/bank-accounts/{id}/verification");
    Answer::of(shop.service.request(Method::PUT, &path)).await.json(200)
}

/// Asks for money, and gives the withdrawal once it waits for a file.
async fn ask(app: &TestApp, shop: &Shop, account: &Value, amount: i64) -> String {
    let before = waiting(app).await;
    let body = json!({ "amount": amount, "bank_account_id": account["bank_account_id"] });
    let asked = send(&shop.payee, "withdraw", &new_key(), &body).await.json(202);
    eventually("it waits", async || (waiting(app).await > before).then_some(())).await;
    asked["withdrawal_id"].as_str().expect("an id").to_owned()
}

async fn waiting(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) FROM payout_entries WHERE status = 'waiting'").await
}

async fn status(shop: &Shop, id: &str) -> Value {
    shop.payee.get(&format!("/payments/withdrawals/{id}")).await.json(200)["status"].clone()
}

async fn told(user: &User, kind: &str) {
    eventually(kind, async || {
        let page = user.get(&format!("/notifications?type={kind}")).await.json(200);
        page["items"].as_array().is_some_and(|items| !items.is_empty()).then_some(())
    })
    .await;
}

async fn money_is_carried_to_a_bank_in_a_file(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    let account = earn(&shop, &admin, "f1", 50_000).await;
    admin.post(FILES, &because()).await.refused(409, "nothing_to_pay_out");
    let id = ask(app, &shop, &account, 20_000).await;
    assert_eq!(status(&shop, &id).await, "sending");
    let cancel = shop.payee.post(&format!("/payments/withdrawals/{id}/cancel"), &json!({})).await;
    cancel.refused(409, "wrong_state");

    let file = admin.post(FILES, &because()).await.json(201);
    assert_eq!(
        (&file["count"], &file["sum"], &file["open"], &file["created_by"]),
        (&json!(1), &json!(20_000), &json!(1), &json!(admin.id))
    );
    let listed = admin.get(FILES).await.json(200);
    assert_eq!(listed["items"], json!([file]));
    let path = format!("{FILES}/{}", file["id"].as_str().unwrap());
    let details = admin.get(&path).await;
    assert!(!details.text.contains(NUMBER) && !details.text.contains("HYPERLINK"));
    let entry = details.json(200)["entries"]["items"][0].clone();
    assert_eq!((&entry["withdrawal_id"], &entry["account"]), (&json!(id), &json!("****6789")));
    assert_eq!((&entry["status"], &entry["user_id"]), (&json!("exported"), &json!(shop.payee.id)));

    let text = admin.get(&format!("{path}/file")).await;
    let guarded = "\"'=HYPERLINK(\"\"http://evil\"\",\"\"김민호\"\")\"";
    assert_eq!(
        text.is(200).text,
        format!(
            "reference,bank_code,account_number,holder,amount,currency\r\n\
             \"{id}\",\"004\",\"{NUMBER}\",{guarded},\"20000\",\"KRW\"\r\n"
        )
    );
    assert_eq!(text.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(text.header("cache-control"), Some("no-store"));
    let attachment = text.header("content-disposition").unwrap();
    assert!(attachment.starts_with("attachment; filename=\"payouts-"), "{attachment}");

    let said = results(&json!([{ "withdrawal_id": id, "status": "paid" }]));
    let mut phone = shop.payee.socket().await;
    phone.hello(&["me"]).await;
    let recorded = admin.post(&format!("{path}/results"), &said).await.json(200);
    assert_eq!(recorded, json!({ "recorded": 1, "unchanged": 0 }));
    assert_eq!(status(&shop, &id).await, "paid");
    while !phone.next_named("notification_created").await.to_string().contains("withdrawal_paid") {}
    told(&shop.payee, "withdrawal_paid").await;
    let again = admin.post(&format!("{path}/results"), &said).await.json(200);
    assert_eq!(again, json!({ "recorded": 0, "unchanged": 1 }));
    admin.get(&format!("{path}/file")).await.refused(409, "payout_file_finished");
    let other = results(&json!([{ "withdrawal_id": id, "status": "failed" }]));
    let contradicted = admin.post(&format!("{path}/results"), &other).await;
    contradicted.refused(409, "result_contradicted");
    assert_eq!(admin.get(&path).await.json(200)["open"], 0);

    let bank = "SELECT CAST(SUM(credits_posted - debits_posted) AS BIGINT)
                FROM ledger_accounts WHERE code = 'bank:operating'";
    assert_eq!(app.count(bank).await, 20_000);
    let audit = admin.get("/admin/payments/audit").await;
    let lines = audit.json(200);
    let done: Vec<_> = lines["items"].as_array().unwrap().iter().map(|it| &it["action"]).collect();
    assert_eq!(done[..3], ["payout_settled", "payout_file_read", "payout_file_made"]);
    assert_eq!(lines["items"][0]["target"], json!(format!("withdrawal:{id}")));
    for place in [&audit.text, &app.log()] {
        assert!(!place.contains(NUMBER) && !place.contains("HYPERLINK"));
    }
    let figures = app.get("/metrics").await.text;
    assert!(figures.contains("madang_withdrawals_pending"), "it looks at all");
    assert!(figures.contains("madang_payouts_open{status=\"waiting\"}"), "{figures}");
}

async fn what_a_bank_sends_back_is_there_again(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    let account = earn(&shop, &admin, "f2", 50_000).await;
    let failed = ask(app, &shop, &account, 10_000).await;
    let returned = ask(app, &shop, &account, 15_000).await;
    let file = admin.post(FILES, &because()).await.json(201);
    let path = format!("{FILES}/{}/results", file["id"].as_str().unwrap());
    let first = results(&json!([
        { "withdrawal_id": failed, "status": "failed", "code": "invalid_bank_account" },
        { "withdrawal_id": returned, "status": "paid" },
    ]));
    assert_eq!(admin.post(&path, &first).await.json(200)["recorded"], 2);
    let available =
        async || shop.payee.get("/payments/wallet").await.json(200)["available"].clone();
    assert_eq!(available().await, 35_000);
    let then = results(&json!([{ "withdrawal_id": returned, "status": "returned" }]));
    assert_eq!(admin.post(&path, &then).await.json(200)["recorded"], 1);
    // What was said first is still so.
    assert_eq!(admin.post(&path, &first).await.json(200)["unchanged"], 2);
    assert_eq!(available().await, 50_000);
    assert_eq!(status(&shop, &failed).await, "failed");
    assert_eq!(status(&shop, &returned).await, "returned");
    told(&shop.payee, "withdrawal_failed").await;
    let seen = shop.payee.get(&format!("/payments/withdrawals/{failed}")).await.json(200);
    assert_eq!(seen["failure_code"], "invalid_bank_account");
}

async fn two_who_take_out_at_once_take_nothing_twice(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admins = [app.administrator("dokki").await, app.administrator("toki").await];
    let account = earn(&shop, &admins[0], "f3", 50_000).await;
    for amount in [1_000, 2_000, 3_000] {
        ask(app, &shop, &account, amount).await;
    }
    let body = because();
    let (one, other) = tokio::join!(admins[0].post(FILES, &body), admins[1].post(FILES, &body));
    let made: Vec<&Answer> = [&one, &other].into_iter().filter(|it| it.status == 201).collect();
    assert_eq!(made.len(), 1, "{one:?} {other:?}");
    assert_eq!(made[0].json(201)["sum"], 6_000);
    let nothing = if one.status == 201 { &other } else { &one };
    nothing.refused(409, "nothing_to_pay_out");
    let path = format!("{FILES}/{}?limit=2", made[0].json(201)["id"].as_str().unwrap());
    let page = admins[0].get(&path).await.json(200)["entries"].clone();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let rest = format!("{path}&cursor={}", page["next_cursor"].as_str().unwrap());
    let rest = admins[0].get(&rest).await.json(200)["entries"].clone();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
}

async fn nobody_but_administrators_sees_or_makes_files(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    let account = earn(&shop, &admin, "f4", 50_000).await;
    let id = ask(app, &shop, &account, 1_000).await;
    let file = admin.post(FILES, &because()).await.json(201);
    let path = format!("{FILES}/{}", file["id"].as_str().unwrap());
    let said = results(&json!([{ "withdrawal_id": id, "status": "paid" }]));
    let deeds = app.count("SELECT COUNT(*) FROM money_audit").await;
    for (method, path, body) in [
        (Method::GET, FILES.to_owned(), Value::Null),
        (Method::GET, path.clone(), Value::Null),
        (Method::GET, format!("{path}/file"), Value::Null),
        (Method::POST, FILES.to_owned(), because()),
        (Method::POST, format!("{path}/results"), said),
    ] {
        let by =
            async |user: &User| Answer::of(user.request(method.clone(), &path).json(&body)).await;
        by(&shop.payee).await.refused(403, "forbidden");
        by(&shop.payee.with_token("nobody")).await.is(401);
        let service = shop.service.request(method.clone(), &path).json(&body);
        let service = Answer::of(service).await;
        assert!([401, 403].contains(&service.status), "{}", service.text);
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM money_audit").await, deeds);
    assert_eq!(status(&shop, &id).await, "sending");
}

async fn what_makes_no_sense_is_refused_and_changes_nothing(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    let account = earn(&shop, &admin, "f5", 50_000).await;
    let id = ask(app, &shop, &account, 1_000).await;
    admin.post(FILES, &json!({ "reason": " " })).await.refused(422, "invalid_input");
    admin.post(FILES, &json!({})).await.refused(422, "invalid_body");
    let file = admin.post(FILES, &because()).await.json(201);
    let path = format!("{FILES}/{}", file["id"].as_str().unwrap());
    let one = |status: &str| json!({ "withdrawal_id": id, "status": status });
    for list in [
        json!([]),
        json!([one("lost")]),
        json!([one("waiting")]),
        json!([one("paid"), one("paid")]),
        json!([{ "withdrawal_id": id, "status": "failed", "code": "whatever" }]),
        json!([{ "withdrawal_id": id, "status": "paid", "code": "payout_refused" }]),
        json!(vec![one("paid"); 1_001]),
    ] {
        let refused = admin.post(&format!("{path}/results"), &results(&list)).await;
        refused.refused(422, "invalid_input");
    }
    let more = json!([{ "withdrawal_id": id, "status": "paid", "amount": 1 }]);
    admin.post(&format!("{path}/results"), &results(&more)).await.refused(422, "invalid_body");
    let unreasoned = json!({ "results": [one("paid")], "reason": "" });
    admin.post(&format!("{path}/results"), &unreasoned).await.refused(422, "invalid_input");
    let stranger = json!([one("paid"), { "withdrawal_id": Uuid::now_v7(), "status": "paid" }]);
    let stranger = admin.post(&format!("{path}/results"), &results(&stranger)).await;
    stranger.refused(422, "payout_not_in_file");
    let early = admin.post(&format!("{path}/results"), &results(&json!([one("returned")]))).await;
    early.refused(409, "result_contradicted");

    let nowhere = format!("{FILES}/{}", Uuid::now_v7());
    admin.get(&nowhere).await.refused(404, "payout_file_not_found");
    admin.get(&format!("{nowhere}/file")).await.refused(404, "payout_file_not_found");
    let said = results(&json!([one("paid")]));
    let lost = admin.post(&format!("{nowhere}/results"), &said).await;
    lost.refused(404, "payout_file_not_found");
    admin.get(&format!("{FILES}/x")).await.refused(404, "not_found");
    admin.get(&format!("{FILES}?cursor=x")).await.refused(422, "invalid_input");

    assert_eq!(status(&shop, &id).await, "sending");
    // It takes no payments, and nobody asks it what it has moved.
    admin.post("/admin/payments/providers/bank_file/stop", &because()).await.is(404);
    let hook = app.post("/v1/payments/webhooks/bank_file", &json!({})).await;
    hook.refused(404, "provider_not_found");
    let day = json!({ "provider": "bank_file", "day": "2026-11-20" });
    let run = admin.post("/admin/payments/reconciliation/run", &day).await;
    run.refused(404, "provider_not_found");
}

//! Payments, from an order to its refund: what is answered, what is told, and what the books say in the end.

mod journal;
mod keys;
mod reconciling;
mod refused;
mod returned;
pub(crate) mod shop;
mod webhooks;

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use self::shop::{Books, ORDERS, Shop, is_replayed, new_key, send};
use crate::answer::Answer;
use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::service::Service;
use crate::user::User;

/// Everything is told, and whoever is not answered gives up soon.
const TOLD: Settings = &[
    ("MADANG__NOTIFICATIONS__DISABLED_TYPES", "welcome"),
    ("MADANG__PAYMENTS__TIMEOUT_MS", "300"),
];
/// So slow that no bucket fills up again while a test runs.
const LIMITED: Settings = &[
    ("MADANG__LIMITS__ENABLED", "true"),
    ("MADANG__LIMITS__PAYMENTS_PER_MINUTE_USER", "2"),
    ("MADANG__LIMITS__BURST_IP", "1000"),
];

on_both_databases!(with super::TOLD;
    what_is_paid_is_taken_told_and_given_back,
    an_answer_that_was_lost_is_found_out,
    what_is_declined_says_why,
    what_was_not_paid_yet_is_given_up,
    what_is_set_aside_is_taken_when_the_shop_says_so,
    a_history_is_paged_and_filtered_and_ones_own,
    whoever_sells_reads_what_is_paid_and_no_other_service_does,
    an_order_is_changed_until_somebody_pays,
);
on_both_databases!(with super::LIMITED; a_payer_begins_so_many_payments_a_minute);

async fn what_is_paid_is_taken_told_and_given_back(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.begin("a1", 12_000).await;
    let mut phone = shop.payer.socket().await;
    phone.hello(&["me"]).await;
    let key = shop.pay(&begun).await;

    let confirmed = shop.confirm(&begun, &key, 12_000, &new_key()).await.json(200);

    assert_eq!(
        (&confirmed["status"], &confirmed["captured"]),
        (&json!("captured"), &json!(12_000))
    );
    let told = loop {
        let updated = phone.next_named("payment_updated").await;
        if updated["data"]["status"] == "captured" {
            break updated;
        }
    };
    assert_eq!(told["data"]["payment_id"], json!(begun.id));
    let paid = notified(&shop.payer, "payment_completed").await;
    assert!(paid["body"].as_str().unwrap().contains("12,000"), "{paid}");
    assert_eq!(paid["data"]["money"]["amount"], 12_000);
    assert_eq!(paid["data"]["payment_id"], json!(begun.id));
    notified(&shop.payee, "payment_received").await;
    assert_eq!(shop.moved(&begun).await, [12_000]);
    let books = Books::of(app).await;
    assert_eq!((books.escrow, books.receivable), (12_000, 12_000));

    let part = shop.cancel(&begun, Some(2_000), &new_key()).await.json(200);
    assert_eq!(part["status"], "partially_refunded");
    assert_eq!((&part["refunded"], &part["refund"]["amount"]), (&json!(2_000), &json!(2_000)));
    let rest = shop.cancel(&begun, None, &new_key()).await.json(200);
    assert_eq!((&rest["status"], &rest["refunded"]), (&json!("refunded"), &json!(12_000)));

    assert_eq!(shop.moved(&begun).await, [12_000, -2_000, -10_000]);
    let books = Books::of(app).await;
    assert_eq!((books.escrow, books.receivable), (0, 0));
    let refunds = eventually("both refunds are told", async || {
        let told = told_of(&shop.payer, "payment_refunded").await;
        (told.len() == 2).then_some(told)
    })
    .await;
    // Each is a fan-out of its own, and nobody's turn is before another's.
    let amounts: HashSet<_> =
        refunds.iter().filter_map(|it| it["data"]["money"]["text"].as_str()).collect();
    assert_eq!(amounts, HashSet::from(["10,000", "2,000"]));
}

async fn an_answer_that_was_lost_is_found_out(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    // The provider takes it, and nobody hears of that.
    let begun = shop.begin("a1", 10_912).await;
    let (key, idempotency) = (shop.pay(&begun).await, new_key());

    let captured = eventually("it is found out", async || {
        let answer = shop.confirm(&begun, &key, 10_912, &idempotency).await;
        if answer.status == 202 {
            let path = format!("/v1/payments/{}", begun.id);
            assert_eq!(answer.header("location"), Some(path.as_str()));
            return None;
        }
        Some(answer.json(200))
    })
    .await;

    assert_eq!(captured["status"], "captured");
    assert_eq!(shop.moved(&begun).await, [10_912]);
    assert_eq!(Books::of(app).await.escrow, 10_912);
}

async fn whoever_sells_reads_what_is_paid_and_no_other_service_does(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let admin = app.administrator("dokki").await;
    let (other, _) = Service::made_by(&admin, app, "post", &["notifications:send"]).await;
    let begun = shop.begin("a1", 10_000).await;
    let path = format!("/payments/{}", begun.id);
    let read = async |service: &Service| Answer::of(service.request(Method::GET, &path)).await;

    assert_eq!(read(&shop.service).await.json(200)["id"], json!(begun.id));
    assert_eq!(admin.get(&path).await.json(200)["id"], json!(begun.id));
    assert_eq!(shop.payer.get(&path).await.json(200)["id"], json!(begun.id));
    read(&other).await.refused(403, "scope_missing");
    shop.payee.get(&path).await.refused(404, "payment_not_found");
}

async fn what_is_declined_says_why(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.begin("a1", 10_932).await;
    let key = shop.pay(&begun).await;

    let declined = shop.confirm(&begun, &key, 10_932, &new_key()).await;

    let declined = shop::decided(&declined, 402, "payment_declined");
    assert_eq!(declined["failure_code"], "insufficient_funds");
    assert_eq!(declined["payment_id"], json!(begun.id));
    notified(&shop.payer, "payment_failed").await;
    assert_eq!(Books::of(app).await.escrow, 0);
    // The order can be paid for again.
    shop.begin_by("a1", "card").await;
}

async fn what_was_not_paid_yet_is_given_up(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.begin("a1", 12_000).await;

    let given_up = shop.cancel(&begun, None, &new_key()).await.json(200);

    assert_eq!(given_up["status"], "canceled");
    assert!(shop.moved(&begun).await.is_empty());
    let again = shop.begin_by("a1", "card").await;
    assert_ne!(again.id, begun.id);
}

async fn what_is_set_aside_is_taken_when_the_shop_says_so(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    shop.order("a1", 12_000).await;
    let body = json!({ "order_type": "job", "order_id": "a1", "capture_later": true });
    let created = send(&shop.payer, "create", &new_key(), &body).await.json(201);
    let begun = shop::Begun::read(&created);
    let key = shop.pay(&begun).await;
    let confirmed = shop.confirm(&begun, &key, 12_000, &new_key()).await.json(200);
    assert_eq!(confirmed["status"], "authorized");
    assert_eq!(Books::of(app).await.escrow, 0);

    let capture = json!({ "payment_id": begun.id });
    send(&shop.payer, "capture", &new_key(), &capture).await.refused(403, "forbidden");
    let request = shop.service.request(Method::POST, "/payments/capture");
    let request = request.header("idempotency-key", new_key()).json(&capture);
    let captured = Answer::of(request).await.json(200);

    assert_eq!(captured["status"], "captured");
    assert_eq!(Books::of(app).await.escrow, 12_000);
}

async fn a_history_is_paged_and_filtered_and_ones_own(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    for id in ["a1", "a2", "a3"] {
        shop.begin(id, 12_000).await;
    }
    shop.buy("a4", 5_000).await;
    let page =
        async |query: &str| shop.payer.get(&format!("/payments/history?{query}")).await.json(200);
    let orders = |page: &Value| -> Vec<Value> {
        page["items"].as_array().unwrap().iter().map(|it| it["order_id"].clone()).collect()
    };

    let first = page("limit=3").await;
    assert_eq!(orders(&first), ["a4", "a3", "a2"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let last = page(&format!("limit=3&cursor={cursor}")).await;
    assert_eq!((orders(&last), &last["next_cursor"]), (vec![json!("a1")], &Value::Null));
    assert_eq!(orders(&page("status=captured").await), ["a4"]);
    assert!(orders(&page("to=2020-01-01T00:00:00Z").await).is_empty());
    assert_eq!(orders(&page("from=2020-01-01T00:00:00Z").await).len(), 4);
    let others = shop.payee.get("/payments/history").await.json(200);
    assert!(orders(&others).is_empty());
    for (query, code) in [
        ("limit=101", "invalid_query"),
        ("status=paid", "invalid_input"),
        ("cursor=x", "invalid_input"),
    ] {
        shop.payer.get(&format!("/payments/history?{query}")).await.refused(422, code);
    }
}

async fn an_order_is_changed_until_somebody_pays(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    shop.order("a1", 12_000).await;
    let dearer = json!({ "amount": 13_000, "name": "화단 정리", "fee_bps": 350 });
    let changed = shop.put("a1", &dearer).await.json(200);
    assert_eq!((&changed["amount"], &changed["currency"]), (&json!(13_000), &json!("KRW")));
    assert_eq!((&changed["payer_id"], &changed["fee_bps"]), (&Value::Null, &json!(350)));
    shop.put("a1", &dearer).await.json(200);

    let begun = shop.begin_by("a1", "card").await;

    let cheaper = json!({ "amount": 1, "name": "화단 정리" });
    shop.put("a1", &cheaper).await.refused(409, "order_has_payment");
    // What it is already is no change.
    shop.put("a1", &dearer).await.json(200);
    shop.cancel(&begun, None, &new_key()).await.json(200);
    shop.put("a1", &cheaper).await.json(200);
    let read = shop.service.get("/payments/orders/job/a1").await.json(200);
    assert_eq!(read["amount"], 1);
    shop.service.get("/payments/orders/job/a2").await.refused(404, "order_not_found");

    // Whoever registers orders is no user, and no other server.
    shop.payer.put("/payments/orders/job/a1", &cheaper).await.refused(403, "forbidden");
    let admin = app.login("gwanri", crate::app::PASSWORD).await;
    let (other, _) = Service::made_by(&admin, app, "other", &["webhooks:manage"]).await;
    other.get("/payments/orders/job/a1").await.refused(403, "scope_missing");
    assert_eq!(ORDERS, ["payments:orders"]);
}

async fn a_payer_begins_so_many_payments_a_minute(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let body = json!({ "order_type": "job", "order_id": "nothing" });
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(send(&shop.payer, "create", &new_key(), &body).await);
    }

    answers[0].refused(404, "order_not_found");
    answers[1].refused(404, "order_not_found");
    answers[2].refused(429, "rate_limited");
    let wait: u64 = answers[2].header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let policy = answers[2].header("ratelimit-policy").unwrap();
    assert!(policy.contains("\"create\";q=2;w=60"), "{policy}");
    assert!(!is_replayed(&answers[2]));
    // Confirming has a limit of its own, and so has somebody else.
    let body = json!({ "payment_id": uuid::Uuid::nil(), "payment_key": "k", "amount": 1 });
    send(&shop.payer, "confirm", &new_key(), &body).await.refused(404, "payment_not_found");
    send(&shop.payee, "confirm", &new_key(), &body).await.refused(404, "payment_not_found");
}

/// What a user is told of a kind, the newest first.
async fn told_of(user: &User, kind: &str) -> Vec<Value> {
    let page = user.get(&format!("/notifications?type={kind}")).await.json(200);
    page["items"].as_array().unwrap().clone()
}

/// The first that a user is told of a kind.
async fn notified(user: &User, kind: &str) -> Value {
    eventually(kind, async || told_of(user, kind).await.into_iter().next()).await
}

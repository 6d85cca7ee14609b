//! Idempotency keys: a request that is sent again, however often and at once, takes effect once and is answered alike.

use reqwest::Method;
use serde_json::json;

use super::shop::{Books, Shop, at_once, decided, is_replayed, new_key, send};
use crate::answer::Answer;
use crate::app::TestApp;

const CROWD: usize = 64;

on_both_databases!(
    a_repeat_is_answered_to_the_byte_and_does_nothing,
    a_request_without_a_sound_key_is_refused,
    a_key_of_another_request_is_refused_and_does_nothing,
    a_crowd_with_one_key_is_charged_once,
    a_crowd_with_a_key_each_is_charged_once,
    a_crowd_begins_one_payment,
    a_crowd_is_given_its_money_back_once,
);

async fn a_repeat_is_answered_to_the_byte_and_does_nothing(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    shop.order("a1", 12_000).await;
    let keys = [new_key(), new_key(), new_key()];
    let create = json!({ "order_type": "job", "order_id": "a1" });
    let created = send(&shop.payer, "create", &keys[0], &create).await;
    let begun = super::shop::Begun::read(&created.json(201));
    let payment_key = shop.pay(&begun).await;
    let confirmed = shop.confirm(&begun, &payment_key, 12_000, &keys[1]).await;
    let canceled = shop.cancel(&begun, Some(1_000), &keys[2]).await;
    let books = Books::of(app).await;

    // Written otherwise, it is the same request.
    let same = "{\"order_id\" : \"a1\",\n\"order_type\":\"job\"}";
    let request = shop.payer.request(Method::POST, "/payments/create").body(same);
    let request = request.header("content-type", "application/json");
    let again = [
        Answer::of(request.header("idempotency-key", &keys[0])).await,
        shop.confirm(&begun, &payment_key, 12_000, &keys[1]).await,
        shop.cancel(&begun, Some(1_000), &keys[2]).await,
    ];

    for (first, again) in [created, confirmed, canceled].iter().zip(&again) {
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        assert!(!is_replayed(first) && is_replayed(again));
        assert_eq!(again.header("content-type"), Some("application/json"));
    }
    assert_eq!(Books::of(app).await, books);
    assert_eq!(shop.moved(&begun).await, [12_000, -1_000]);
}

async fn a_request_without_a_sound_key_is_refused(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.begin("a1", 12_000).await;
    let books = Books::of(app).await;
    let create = json!({ "order_type": "job", "order_id": "a1" });
    let confirm = json!({ "payment_id": begun.id, "payment_key": "k", "amount": 12_000 });
    let cancel = json!({ "payment_id": begun.id, "reason": "why not" });
    for (what, body) in [("create", create), ("confirm", confirm), ("cancel", cancel)] {
        let path = format!("/payments/{what}");
        shop.payer.post(&path, &body).await.refused(400, "idempotency_key_missing");
        for key in ["short", "with a space", &"k".repeat(256)] {
            send(&shop.payer, what, key, &body).await.refused(400, "idempotency_key_invalid");
        }
    }
    assert_eq!(Books::of(app).await, books);
}

async fn a_key_of_another_request_is_refused_and_does_nothing(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.buy("a1", 12_000).await;
    let key = new_key();
    shop.cancel(&begun, Some(1_000), &key).await.json(200);
    let books = Books::of(app).await;

    shop.cancel(&begun, Some(2_000), &key).await.refused(422, "idempotency_key_reused");
    shop.cancel(&begun, None, &key).await.refused(422, "idempotency_key_reused");

    assert_eq!(Books::of(app).await, books);
    // Somebody else's key of the same name is another.
    let body = json!({ "payment_id": begun.id, "amount": 2_000, "reason": "changed my mind" });
    send(&shop.payee, "cancel", &key, &body).await.refused(404, "payment_not_found");
}

async fn a_crowd_with_one_key_is_charged_once(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.begin("a1", 12_000).await;
    let (payment_key, key) = (shop.pay(&begun).await, new_key());

    let answers =
        at_once(CROWD, async || shop.confirm(&begun, &payment_key, 12_000, &key).await).await;

    let first = answers.iter().find(|answer| answer.status == 200).expect("somebody is told");
    for answer in &answers {
        if answer.status == 409 {
            answer.refused(409, "idempotency_key_in_use");
            assert_eq!(answer.header("retry-after"), Some("1"));
        } else {
            assert_eq!((answer.status, &answer.text), (200, &first.text));
        }
    }
    assert_eq!(answers.iter().filter(|it| it.status == 200 && !is_replayed(it)).count(), 1);
    charged_once(app, &shop, &begun).await;
}

async fn a_crowd_with_a_key_each_is_charged_once(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.begin("a1", 12_000).await;
    let payment_key = shop.pay(&begun).await;

    let answers =
        at_once(CROWD, async || shop.confirm(&begun, &payment_key, 12_000, &new_key()).await).await;

    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        let problem = answer.json(409);
        let code = problem["code"].as_str().unwrap();
        assert!(["payment_under_way", "wrong_state"].contains(&code), "{problem}");
    }
    charged_once(app, &shop, &begun).await;
}

async fn a_crowd_begins_one_payment(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    shop.order("a1", 12_000).await;
    let body = json!({ "order_type": "job", "order_id": "a1" });

    let answers =
        at_once(CROWD, async || send(&shop.payer, "create", &new_key(), &body).await).await;

    let begun: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 201).collect();
    let [begun] = begun.as_slice() else { panic!("{} have begun", begun.len()) };
    let id = begun.json(201)["payment_id"].clone();
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(decided(answer, 409, "payment_exists")["payment_id"], id);
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM payments").await, 1);
}

async fn a_crowd_is_given_its_money_back_once(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.buy("a1", 12_000).await;

    let answers = at_once(CROWD, async || shop.cancel(&begun, Some(7_000), &new_key()).await).await;

    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(decided(answer, 422, "exceeds_refundable")["refundable"], 5_000);
    }
    assert_eq!(shop.moved(&begun).await, [12_000, -7_000]);
    assert_eq!(Books::of(app).await.escrow, 5_000);
}

async fn charged_once(app: &TestApp, shop: &Shop, begun: &super::shop::Begun) {
    assert_eq!(shop.moved(begun).await, [12_000]);
    let books = Books::of(app).await;
    assert_eq!((books.escrow, books.receivable), (12_000, 12_000));
    let charges = "SELECT COUNT(*) FROM workflows WHERE dedupe_key LIKE 'confirm:%'";
    assert_eq!(app.count(charges).await, 1);
}

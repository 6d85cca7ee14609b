//! What came by a transfer goes back to an account that its payer names: asked for, sealed while it is needed, and told
//! to nobody.

use std::fs;

use serde_json::{Value, json};

use super::shop::{Begun, Shop, decided, new_key, send};
use crate::answer::Answer;
use crate::app::{TestApp, eventually};
use crate::database::Kind;
use crate::rows::texts;

const NUMBER: &str = "110555123987";
const HOLDER: &str = "한가람";
/// What the provider does three minutes later, and nobody knows until then.
const PUT_OFF: i64 = 10_917;
const SEALED: &str = "SELECT COUNT(*) FROM refunds WHERE sealed_account IS NOT NULL";

on_both_databases!(
    a_deposit_goes_back_to_an_account_and_not_without_one,
    an_account_is_sealed_while_it_is_needed_and_told_to_nobody,
    what_came_by_card_needs_no_account_and_keeps_none,
);

fn account() -> Value {
    json!({ "bank": "088", "account_number": "110-555-123987", "holder": HOLDER })
}

/// A payment of 50,000 that came by a transfer.
async fn deposited(shop: &Shop, order: &str) -> Begun {
    shop.order(order, 50_000).await;
    let begun = shop.begin_by(order, "virtual_account").await;
    let key = shop.key_of(&begun, "transfer").await;
    shop.confirm(&begun, &key, 50_000, &new_key()).await.json(200);
    shop.press(&begun, "deposit").await;
    eventually("the deposit is booked", async || {
        (shop.payment(&begun).await["status"] == "captured").then_some(())
    })
    .await;
    begun
}

fn body(begun: &Begun, amount: Option<i64>, account: &Value) -> Value {
    let reason = "changed my mind";
    json!({
        "payment_id": begun.id, "amount": amount, "reason": reason, "refund_account": account,
    })
}

async fn cancel(shop: &Shop, begun: &Begun, amount: Option<i64>, account: &Value) -> Answer {
    send(&shop.payer, "cancel", &new_key(), &body(begun, amount, account)).await
}

/// All of the database: the bytes of its files, or every row of every table in words.
async fn dump(app: &TestApp) -> Vec<u8> {
    match app.kind() {
        Kind::Sqlite => {
            let file = app.sqlite_file();
            let log = file.with_extension("db-wal");
            [file, log].iter().flat_map(|file| fs::read(file).unwrap_or_default()).collect()
        }
        Kind::Postgres => {
            let rows = "SELECT query_to_xml(format('SELECT * FROM %I.%I', schemaname, tablename),
                                            FALSE, FALSE, '')::text
                        FROM pg_tables
                        WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
            texts(app, rows).await.concat().into_bytes()
        }
    }
}

fn has(text: &[u8], what: &str) -> bool {
    text.windows(what.len()).any(|part| part == what.as_bytes())
}

/// Neither the database nor a log knows it, though they know of the refund.
async fn is_told_to_nobody(app: &TestApp) {
    let (dump, log) = (dump(app).await, app.log());
    assert!(has(&dump, "changed my mind") && !log.is_empty());
    for secret in [NUMBER, "110-555-123987", HOLDER] {
        assert!(!has(&dump, secret) && !log.contains(secret), "{secret}");
    }
}

async fn a_deposit_goes_back_to_an_account_and_not_without_one(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = deposited(&shop, "r1").await;
    let books = super::Books::of(app).await;

    for amount in [None, Some(10_000)] {
        let refused = cancel(&shop, &begun, amount, &Value::Null).await;
        decided(&refused, 422, "refund_account_required");
        let by_app = shop.refund(&begun, amount, &new_key()).await;
        decided(&by_app, 422, "refund_account_required");
    }
    for (field, value, code) in [
        ("bank", "국민", "invalid_bank_code"),
        ("account_number", "12-34", "invalid_account_number"),
        ("holder", " ", "invalid_holder"),
    ] {
        let mut account = account();
        account[field] = json!(value);
        cancel(&shop, &begun, None, &account).await.refused(422, code);
    }
    let mut more = account();
    more["iban"] = json!("DE02");
    cancel(&shop, &begun, None, &more).await.refused(422, "invalid_body");
    assert_eq!(super::Books::of(app).await, books);

    let part = cancel(&shop, &begun, Some(20_000), &account()).await;
    assert_eq!(part.json(200)["status"], "partially_refunded");
    let key = new_key();
    let rest = send(&shop.payer, "cancel", &key, &body(&begun, None, &account())).await;
    assert_eq!(rest.json(200)["refunded"], 50_000);
    assert!(!rest.text.contains(HOLDER) && !rest.text.contains("5512"), "{}", rest.text);
    let again = send(&shop.payer, "cancel", &key, &body(&begun, None, &account())).await;
    assert_eq!(again.text, rest.text);
    let mut elsewhere = account();
    elsewhere["account_number"] = json!("110-555-123988");
    let reused = send(&shop.payer, "cancel", &key, &body(&begun, None, &elsewhere)).await;
    reused.refused(422, "idempotency_key_reused");

    assert_eq!(shop.moved(&begun).await, [50_000, -20_000, -30_000]);
    assert_eq!(app.count(SEALED).await, 0, "nobody needs it any more");
    is_told_to_nobody(app).await;
}

async fn an_account_is_sealed_while_it_is_needed_and_told_to_nobody(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = deposited(&shop, "r1").await;

    let accepted = cancel(&shop, &begun, Some(PUT_OFF), &account()).await.json(202);
    assert_eq!(accepted["refund"]["amount"], PUT_OFF);

    assert_eq!(app.count(SEALED).await, 1, "it has to be asked for again");
    is_told_to_nobody(app).await;
    // What is there is given up with it.
    cancel(&shop, &begun, Some(20_000), &account()).await.json(200);
    assert_eq!(app.count(SEALED).await, 1);
    is_told_to_nobody(app).await;
}

async fn what_came_by_card_needs_no_account_and_keeps_none(app: &mut TestApp) {
    let shop = Shop::open(app).await;
    let begun = shop.buy("r1", 50_000).await;
    cancel(&shop, &begun, Some(PUT_OFF), &account()).await.json(202);
    assert_eq!(app.count(SEALED).await, 0);
    let part = cancel(&shop, &begun, Some(20_000), &Value::Null).await.json(200);
    assert_eq!(part["refunded"], 20_000);
    is_told_to_nobody(app).await;
}

//! Toss against a stand-in that speaks as Toss does and keeps its books with the fake provider: the conformance suite, and
//! what each of its answers means.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use serde_json::{Value, json};

use super::*;
use crate::clock;
use crate::domain::money::Amount;
use crate::domain::payments::disputes::DisputeStatus;
use crate::providers::payments::RefundTo;
use crate::providers::payments::conformance::{Payer, Subject, conforms};
use crate::providers::payments::fake::faults::Faults;
use crate::providers::payments::fake::payer::Method;
use crate::providers::payments::fake::{FakeProvider, SOUND};
use crate::providers::payments::stand_in::{self, Asked, Told};
use crate::providers::payments::{DeclineCode, RemoteKind};

const SECRET: &str = "test_sk_of_nobody";

/// Toss, as far as it is seen from here.
struct Town {
    books: FakeProvider,
    /// What payers' clients were given, by order.
    windows: Mutex<HashMap<String, Value>>,
    /// Why something was refunded, by the refund.
    reasons: Mutex<HashMap<String, String>>,
}

impl Town {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            books: FakeProvider::new(SOUND, Faults::by_amount(), Arc::new(clock::now)),
            windows: Mutex::default(),
            reasons: Mutex::default(),
        })
    }

    async fn answer(self: Arc<Self>, asked: Asked) -> Told {
        let expected = format!("Basic {}", STANDARD.encode(format!("{SECRET}:")));
        if asked.header("authorization") != expected {
            return refusal(401, "UNAUTHORIZED_KEY");
        }
        match (asked.method.as_str(), &asked.route()[..]) {
            ("POST", ["v1", "payments", "confirm"]) => self.confirm(&asked).await,
            ("POST", ["v1", "payments", key, "cancel"]) => self.cancel(key, &asked).await,
            ("GET", ["v1", "payments", "orders", order]) => self.show(order, None).await,
            ("GET", ["v1", "payments", key]) => self.show("", Some(*key)).await,
            ("GET", ["v1", "transactions"]) => self.list(&asked).await,
            ("GET", ["v1", "settlements"]) => self.settle(&asked).await,
            _ => refusal(404, "NOT_FOUND_METHOD"),
        }
    }

    async fn confirm(&self, asked: &Asked) -> Told {
        let body = asked.json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        let request = Confirm {
            provider_key: text("paymentKey"),
            order: text("orderId"),
            amount: Amount::new(body["amount"].as_i64().unwrap()).unwrap(),
            currency: Currency::KRW,
        };
        match self.books.confirm(&request, &idempotency(asked)).await {
            Answer::Done(charge) | Answer::Pending(charge) => {
                Told::json(200, &self.payment(&charge))
            }
            Answer::Declined(_) => refusal(403, "REJECT_CARD_COMPANY"),
            Answer::Unknown(why) => unclear(&why),
            Answer::Misconfigured(_) => refusal(401, "UNAUTHORIZED_KEY"),
        }
    }

    async fn cancel(&self, key: &str, asked: &Asked) -> Told {
        let body = asked.json();
        let LookUp::Found(charge) = self.books.find_charge("", Some(key)).await else {
            return refusal(404, "NOT_FOUND_PAYMENT");
        };
        let reason = body["cancelReason"].as_str().unwrap().to_owned();
        assert!(reason.chars().count() <= 200);
        let request = Cancel {
            provider_key: key.to_owned(),
            order: charge.order.clone(),
            amount: body["cancelAmount"].as_i64().map(|minor| Amount::new(minor).unwrap()),
            currency: Currency::KRW,
            reason: reason.clone(),
            refund_account: body.get("refundReceiveAccount").map(|account| {
                let text = |name: &str| account[name].as_str().unwrap().to_owned();
                RefundTo {
                    bank_code: text("bank"),
                    account_number: text("accountNumber").into(),
                    holder: text("holderName"),
                }
            }),
        };
        match self.books.cancel(&request, &idempotency(asked)).await {
            Answer::Done(canceled) => {
                self.reasons.lock().unwrap().insert(canceled.provider_key, reason);
                self.show("", Some(key)).await
            }
            Answer::Declined(decline) if decline.code == DeclineCode::RefundTooLarge => {
                refusal(403, "NOT_CANCELABLE_AMOUNT")
            }
            Answer::Declined(decline) if decline.code == DeclineCode::InvalidBankAccount => {
                refusal(400, "INVALID_REFUND_ACCOUNT_INFO")
            }
            Answer::Declined(_) => refusal(403, "NOT_CANCELABLE_PAYMENT"),
            Answer::Unknown(why) => unclear(&why),
            Answer::Pending(_) | Answer::Misconfigured(_) => refusal(401, "UNAUTHORIZED_KEY"),
        }
    }

    async fn show(&self, order: &str, key: Option<&str>) -> Told {
        match self.books.find_charge(order, key).await {
            LookUp::Found(charge) => Told::json(200, &self.payment(&charge)),
            LookUp::Absent => refusal(404, "NOT_FOUND_PAYMENT"),
            LookUp::Unknown(_) => refusal(500, "FAILED_INTERNAL_SYSTEM_PROCESSING"),
        }
    }

    async fn list(&self, asked: &Asked) -> Told {
        let day = asked.query["startDate"].strip_suffix("T00:00:00.000").unwrap();
        assert_eq!(asked.query["endDate"], format!("{day}T23:59:59.999"));
        let page = self.books.list_transactions(day, None).await.unwrap();
        let lines = page.items.into_iter().map(|it| {
            let (transaction, payment) = match it.kind {
                RemoteKind::Cancel => {
                    let payment = it.provider_key.split_once("+c").unwrap().0.to_owned();
                    (it.provider_key.clone(), payment)
                }
                _ => (format!("tx-{}", it.provider_key), it.provider_key.clone()),
            };
            let is_refund = it.kind == RemoteKind::Cancel;
            json!({
                "mId": "m", "transactionKey": transaction, "paymentKey": payment,
                "orderId": it.order, "method": "카드", "currency": "KRW",
                "amount": it.amount.minor(), "transactionAt": it.at.to_string(),
                "status": if is_refund { "CANCELED" } else { "DONE" },
            })
        });
        Told::json(200, &lines.collect())
    }

    async fn settle(&self, asked: &Asked) -> Told {
        assert_eq!((&*asked.query["dateType"], &*asked.query["page"]), ("paidOutDate", "1"));
        let day = &asked.query["startDate"];
        assert_eq!(&asked.query["endDate"], day);
        let page = self.books.list_settlements(day, None).await.unwrap();
        let lines = page.items.into_iter().map(|it| {
            json!({
                "mId": "m", "transactionKey": it.movement, "paymentKey": it.movement,
                "orderId": it.order, "method": "카드", "currency": "KRW", "amount": it.gross,
                "interestFee": 0, "fee": it.fee, "payOutAmount": it.net, "paidOutDate": day,
                "cancel": if it.gross < 0 { json!({ "cancelReason": "…" }) } else { json!(null) },
            })
        });
        Told::json(200, &lines.collect())
    }

    fn payment(&self, charge: &Charge) -> Value {
        let status = match charge.status {
            ChargeStatus::Open => "IN_PROGRESS",
            ChargeStatus::AwaitingDeposit => "WAITING_FOR_DEPOSIT",
            ChargeStatus::Captured if charge.cancels.is_empty() => "DONE",
            ChargeStatus::Captured => "PARTIAL_CANCELED",
            ChargeStatus::Failed => "ABORTED",
            ChargeStatus::Canceled => "CANCELED",
            ChargeStatus::Authorized => panic!("nothing is captured later"),
        };
        let failure = charge.decline.as_ref();
        let failure = failure.map(|_| json!({ "code": "REJECT_CARD_COMPANY", "message": "…" }));
        let reasons = self.reasons.lock().unwrap();
        let cancels: Vec<Value> = charge
            .cancels
            .iter()
            .map(|it| {
                json!({
                    "transactionKey": it.provider_key, "cancelAmount": it.amount.minor(),
                    "cancelReason": reasons.get(&it.provider_key), "cancelStatus": "DONE",
                    "canceledAt": it.at.map(|at| at.to_string()),
                })
            })
            .collect();
        json!({
            "version": "2022-11-16", "paymentKey": charge.provider_key, "orderId": charge.order,
            "status": status, "totalAmount": charge.amount.minor(), "currency": "KRW",
            "method": charge.method.as_ref().map(|_| "카드"),
            "approvedAt": charge.approved_at.map(|at| at.to_string()),
            "cancels": if cancels.is_empty() { json!(null) } else { json!(cancels) },
            "failure": failure, "lastTransactionKey": format!("tx-{}", cancels.len()),
        })
    }
}

fn idempotency(asked: &Asked) -> EffectKey {
    EffectKey::parse(asked.header("idempotency-key")).unwrap()
}

fn refusal(status: u16, code: &str) -> Told {
    Told::json(status, &json!({ "code": code, "message": "…" }))
}

/// The fake provider has named it so.
fn unclear(why: &str) -> Told {
    let code = why.split(' ').find(|word| word.contains('_')).unwrap_or("PROVIDER_ERROR");
    refusal(400, code.trim_end_matches(','))
}

struct TossPayer(Arc<Town>);

impl TossPayer {
    /// Opens the window, where Toss hears of the order.
    async fn arrive(&self, order: &str) {
        let window = self.0.windows.lock().unwrap()[order].clone();
        assert_eq!(window["clientKey"], "test_ck_of_nobody");
        let request = Prepare {
            order: window["orderId"].as_str().unwrap().to_owned(),
            amount: Amount::new(window["amount"].as_i64().unwrap()).unwrap(),
            currency: Currency::KRW,
            name: window["orderName"].as_str().unwrap().to_owned(),
            is_captured_later: false,
        };
        assert!(matches!(self.0.books.prepare(&request).await, Answer::Done(_)));
    }
}

#[async_trait]
impl Payer for TossPayer {
    async fn open(&self, parameters: &ClientParameters) {
        let order = parameters.0["orderId"].as_str().unwrap().to_owned();
        self.0.windows.lock().unwrap().insert(order, parameters.0.clone());
    }

    async fn pay(&self, order: &str) -> String {
        self.arrive(order).await;
        self.0.books.pay(order, Method::Card).unwrap()
    }

    async fn promise(&self, order: &str) -> Option<String> {
        self.arrive(order).await;
        Some(self.0.books.pay(order, Method::VirtualAccount).unwrap())
    }

    async fn deposit(&self, order: &str) {
        self.0.books.deposit(order).unwrap();
    }

    async fn give_up(&self, order: &str) -> String {
        self.arrive(order).await;
        self.0.books.decline(order).unwrap()
    }

    async fn dispute(&self, _: &str) -> Option<String> {
        None
    }

    async fn decide(&self, dispute: &str, _: DisputeStatus) {
        panic!("nobody told of {dispute}");
    }

    async fn take_webhooks(&self) -> Vec<RawWebhook> {
        let mut sent = Vec::new();
        for mut webhook in self.0.books.take_webhooks() {
            let order = self.0.books.read_webhook(&webhook).unwrap().order.unwrap();
            let charge = self.0.books.find_order(&order).unwrap();
            let body = json!({
                "eventType": "PAYMENT_STATUS_CHANGED",
                "createdAt": "2026-11-22T10:00:00.000000",
                "data": self.0.payment(&charge),
            });
            webhook.body = body.to_string().into();
            webhook.headers.clear();
            sent.push(webhook);
        }
        sent
    }

    fn day(&self) -> String {
        let now = jiff::Timestamp::from_millisecond(clock::now().millis()).unwrap();
        jiff::tz::offset(9).to_datetime(now).date().to_string()
    }
}

fn toss(url: &str, secret_key: &str) -> Toss {
    let settings = [
        ("MADANG__PAYMENTS__PROVIDER", "toss"),
        ("MADANG__PAYMENTS__TOSS__CLIENT_KEY", "test_ck_of_nobody"),
        ("MADANG__PAYMENTS__TOSS__URL", url),
        ("MADANG__PAYMENTS__SUCCESS_URL", "https://app.example/paid"),
    ];
    Toss::new(&Config::read(None, settings).unwrap(), secret_key.into()).unwrap()
}

fn subject() -> Subject {
    let town = Town::new();
    let answering = Arc::clone(&town);
    let url = stand_in::start(move |asked| Arc::clone(&answering).answer(asked).boxed());
    Subject { provider: Arc::new(toss(&url, SECRET)), payer: Arc::new(TossPayer(town)) }
}

mod it_conforms {
    use super::{conforms, subject};

    conforms!(subject);
}

/// A Toss that always answers the same.
fn always(status: u16, more: &'static str, body: &str) -> Toss {
    let body = body.to_owned();
    let url = stand_in::start(move |_| {
        let body = body.clone().into_bytes();
        async move { Told(status, more, body) }.boxed()
    });
    toss(&url, SECRET)
}

fn confirm() -> Confirm {
    Confirm {
        provider_key: "key-1".to_owned(),
        order: "order-1".to_owned(),
        amount: Amount::new(1_000).unwrap(),
        currency: Currency::KRW,
    }
}

fn cancel() -> Cancel {
    let Confirm { provider_key, order, currency, .. } = confirm();
    Cancel {
        provider_key,
        order,
        amount: None,
        currency,
        reason: "…".to_owned(),
        refund_account: None,
    }
}

#[tokio::test]
async fn only_a_listed_code_with_a_4xx_is_a_refusal() {
    let refused = |code: &str| json!({ "code": code, "message": "…" }).to_string();
    let key = EffectKey::of("key");
    for (status, code, is_declined) in [
        (403, "REJECT_CARD_PAYMENT", true),
        (400, "INVALID_CARD_EXPIRATION", true),
        (500, "REJECT_CARD_PAYMENT", false),
        (200, "REJECT_CARD_PAYMENT", false),
        (400, "PROVIDER_ERROR", false),
        (400, "ALREADY_PROCESSED_PAYMENT", false),
        (404, "NOT_FOUND_PAYMENT_SESSION", false),
        (409, "IDEMPOTENT_REQUEST_PROCESSING", false),
        (400, "A_CODE_OF_TOMORROW", false),
        (403, "a sentence about 김하나", false),
    ] {
        let answer = always(status, "", &refused(code)).confirm(&confirm(), &key).await;
        match answer {
            Answer::Declined(decline) => assert!(is_declined && decline.provider_code == code),
            Answer::Unknown(why) => {
                assert!(!is_declined, "{code}");
                assert!(!why.contains("김하나"), "{why}");
            }
            answer => panic!("{code}: {answer:?}"),
        }
    }
    let answer = always(403, "", &refused("NOT_CANCELABLE_PAYMENT")).cancel(&cancel(), &key).await;
    assert!(matches!(answer, Answer::Declined(_)), "{answer:?}");
    let answer =
        always(400, "", &refused("ALREADY_CANCELED_PAYMENT")).cancel(&cancel(), &key).await;
    assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
}

#[tokio::test]
async fn what_is_no_whole_answer_of_toss_says_nothing() {
    let page = "<html>".to_owned() + &" ".repeat(100_000);
    for (status, more, body) in [
        (302, "location: http://127.0.0.1:1/elsewhere\r\n", ""),
        (200, "", ""),
        (200, "", "{}"),
        (200, "", r#"{"paymentKey":"key-1","orderId":"order-1","status":"DONE"}"#),
        (200, "", page.as_str()),
        (404, "", "not here"),
        (404, "", r#"{"code":"NOT_FOUND_METHOD"}"#),
        (502, "", "bad gateway"),
    ] {
        let toss = always(status, more, body);
        let answer = toss.confirm(&confirm(), &EffectKey::of("key")).await;
        assert!(matches!(answer, Answer::Unknown(_)), "{status}: {answer:?}");
        let found = toss.find_charge("order-1", None).await;
        assert!(matches!(found, LookUp::Unknown(_)), "{status}: {found:?}");
        assert!(toss.list_transactions("2026-11-22", None).await.is_err());
    }
}

#[tokio::test]
async fn a_key_that_toss_does_not_accept_is_ours_to_mend() {
    let town = Town::new();
    let url = stand_in::start(move |asked| Arc::clone(&town).answer(asked).boxed());
    let answer = toss(&url, "test_sk_of_another").confirm(&confirm(), &EffectKey::of("key")).await;
    assert!(matches!(answer, Answer::Misconfigured(_)), "{answer:?}");
    let found = toss(&url, "test_sk_of_another").find_charge("order-1", None).await;
    assert!(matches!(found, LookUp::Unknown(_)), "it may be there: {found:?}");
}

#[tokio::test]
async fn a_transfer_into_a_virtual_account_is_pending_until_it_arrives() {
    let town = Town::new();
    let answering = Arc::clone(&town);
    let url = stand_in::start(move |asked| Arc::clone(&answering).answer(asked).boxed());
    let (toss, payer) = (toss(&url, SECRET), TossPayer(Arc::clone(&town)));
    let request = Prepare {
        order: "order-1".to_owned(),
        amount: Amount::new(1_000).unwrap(),
        currency: Currency::KRW,
        name: "a lamp".to_owned(),
        is_captured_later: false,
    };
    let Answer::Done(parameters) = toss.prepare(&request).await else { panic!() };
    payer.open(&parameters).await;
    payer.arrive("order-1").await;
    let provider_key = town.books.pay("order-1", Method::VirtualAccount).unwrap();
    let request = Confirm { provider_key, ..confirm() };
    let Answer::Pending(charge) = toss.confirm(&request, &EffectKey::of("key")).await else {
        panic!()
    };
    assert_eq!(charge.status, ChargeStatus::AwaitingDeposit);

    town.books.deposit("order-1").unwrap();
    let LookUp::Found(charge) = toss.find_charge("order-1", None).await else { panic!() };
    assert_eq!(charge.status, ChargeStatus::Captured);
}

#[tokio::test]
async fn what_toss_would_not_take_is_not_sent() {
    let toss = always(500, "", "");
    let request = |order: &str, currency: &str| Prepare {
        order: order.to_owned(),
        amount: Amount::new(1_000).unwrap(),
        currency: currency.parse().unwrap(),
        name: "이".repeat(300),
        is_captured_later: false,
    };
    let Answer::Done(parameters) = toss.prepare(&request("order-1", "KRW")).await else { panic!() };
    assert_eq!(parameters.0["orderName"].as_str().unwrap().chars().count(), 100);
    for (order, currency) in [("order-1", "USD"), ("order", "KRW"), ("an order", "KRW")] {
        let answer = toss.prepare(&request(order, currency)).await;
        assert!(matches!(answer, Answer::Misconfigured(_)), "{answer:?}");
    }
    let elsewhere = Cancel { provider_key: "../confirm".to_owned(), ..cancel() };
    let answer = toss.cancel(&elsewhere, &EffectKey::of("key")).await;
    assert!(matches!(answer, Answer::Misconfigured(_)), "{answer:?}");
}

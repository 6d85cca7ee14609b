//! Stripe against a stand-in that speaks as Stripe does and keeps its books with the fake provider: the conformance suite,
//! and what each of its answers means.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt as _;

use super::*;
use crate::clock;
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::disputes::DisputeStatus;
use crate::providers::payments::conformance::{Payer, Subject, conforms};
use crate::providers::payments::fake::faults::Faults;
use crate::providers::payments::fake::payer::Method;
use crate::providers::payments::fake::{FakeProvider, SOUND};
use crate::providers::payments::stand_in::{self, Asked, Told};
use crate::providers::payments::{ChargeStatus, RemoteKind};

const SECRET: &str = "sk_test_of_nobody";
const WEBHOOKS: &str = "whsec_of_nobody";

type Form = HashMap<String, String>;

/// Stripe, as far as it is seen from here.
struct Town {
    books: FakeProvider,
    /// What intents were made with, by intent.
    made: Mutex<HashMap<String, Form>>,
    /// What refunds were made with, by refund.
    refunds: Mutex<HashMap<String, Form>>,
    /// How far refunds have come.
    refunded: Mutex<&'static str>,
}

impl Town {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            books: FakeProvider::new(SOUND, Faults::default(), Arc::new(clock::now)),
            made: Mutex::default(),
            refunds: Mutex::default(),
            refunded: Mutex::new("succeeded"),
        })
    }

    fn served(self: &Arc<Self>) -> String {
        let town = Arc::clone(self);
        stand_in::start(move |asked| Arc::clone(&town).answer(asked).boxed())
    }

    async fn answer(self: Arc<Self>, asked: Asked) -> Told {
        if asked.header("authorization") != format!("Bearer {SECRET}") {
            return refusal(401, "api_key_expired");
        }
        assert_eq!(asked.header("stripe-version"), VERSION);
        match (asked.method.as_str(), &asked.route()[..]) {
            ("POST", ["v1", "payment_intents"]) => self.make(&asked).await,
            ("GET", ["v1", "payment_intents", id]) => self.show(id),
            ("POST", ["v1", "payment_intents", id, how]) => self.change(id, how, &asked).await,
            ("POST", ["v1", "refunds"]) => self.refund(&asked).await,
            ("GET", ["v1", "disputes"]) => self.list_disputes(&asked).await,
            ("GET", ["v1", "disputes", id]) => match self.dispute_object(id).await {
                Some(object) => Told::json(200, &object),
                None => refusal(404, "resource_missing"),
            },
            ("GET", ["v1", "refunds"]) => self.list_refunds(&asked),
            ("GET", ["v1", "balance_transactions"]) => self.list(&asked),
            _ => refusal(404, "no_such_route"),
        }
    }

    async fn make(&self, asked: &Asked) -> Told {
        let form = form(asked);
        assert_eq!(form["capture_method"], "manual", "nothing is taken before it is confirmed");
        let order = form["metadata[order]"].clone();
        let request = Prepare {
            order: order.clone(),
            amount: won(form["amount"].parse().unwrap()),
            currency: form["currency"].to_uppercase().parse().unwrap(),
            name: form["description"].clone(),
            is_captured_later: true,
        };
        assert!(matches!(self.books.prepare(&request).await, Answer::Done(_)));
        let id = self.books.find_order(&order).unwrap().provider_key;
        self.made.lock().unwrap().insert(id.clone(), form);
        self.show(&id)
    }

    fn show(&self, id: &str) -> Told {
        self.intent(id).map_or_else(|| refusal(404, "resource_missing"), |it| Told::json(200, &it))
    }

    fn intent(&self, id: &str) -> Option<Value> {
        let made = self.made.lock().unwrap().get(id)?.clone();
        let order = &made["metadata[order]"];
        let charge = self.books.find_order(order).unwrap();
        let has_moved = !self.books.movements(order).is_empty();
        let status = match charge.status {
            ChargeStatus::Authorized => "requires_capture",
            ChargeStatus::Captured => "succeeded",
            ChargeStatus::Canceled if has_moved => "succeeded",
            ChargeStatus::Canceled | ChargeStatus::Failed => "canceled",
            ChargeStatus::Open | ChargeStatus::AwaitingDeposit => "requires_payment_method",
        };
        let refunded: i64 = charge.cancels.iter().map(|it| it.amount.minor()).sum();
        let error = made.get("declined").filter(|_| status == "requires_payment_method");
        Some(json!({
            "id": id, "object": "payment_intent", "amount": charge.amount, "status": status,
            "amount_received": if has_moved { charge.amount.minor() } else { 0 },
            "currency": made["currency"], "client_secret": format!("{id}_secret"),
            "metadata": { "order": order, "later": made["metadata[later]"] },
            "last_payment_error": error.map(|code| json!({ "code": "card_declined", "decline_code": code })),
            "latest_charge": charge.approved_at.map(|at| json!({
                "id": format!("ch_{id}"), "created": at.millis() / 1_000,
                "amount_refunded": if has_moved { refunded } else { 0 },
                "disputed": !charge.disputes.is_empty(),
            })),
        }))
    }

    async fn change(&self, id: &str, how: &str, asked: &Asked) -> Told {
        let Some(request) = self.request(id) else { return refusal(404, "resource_missing") };
        let key = key_of(asked);
        let is_done = match how {
            "capture" => matches!(self.books.capture(&request, &key).await, Answer::Done(_)),
            "cancel" => matches!(self.books.cancel(&cancel(&request), &key).await, Answer::Done(_)),
            how => panic!("{how}"),
        };
        if is_done { self.show(id) } else { refusal(400, "payment_intent_unexpected_state") }
    }

    async fn refund(&self, asked: &Asked) -> Told {
        let form = form(asked);
        let Some(request) = self.request(&form["payment_intent"]) else {
            return refusal(404, "resource_missing");
        };
        let disputes = self.books.find_order(&request.order).unwrap().disputes;
        if let Some(key) = disputes.last()
            && self.dispute_object(key).await.is_some_and(|it| it["status"] == "needs_response")
        {
            return refusal(400, "charge_disputed");
        }
        let amount = form.get("amount").map(|minor| won(minor.parse().unwrap()));
        let request = Cancel { amount, ..cancel(&request) };
        match self.books.cancel(&request, &key_of(asked)).await {
            Answer::Done(canceled) => {
                self.refunds.lock().unwrap().insert(canceled.provider_key.clone(), form);
                Told::json(200, &self.refund_object(&canceled))
            }
            Answer::Declined(_) => refusal(400, "parameter_invalid"),
            _ => refusal(400, "charge_already_refunded"),
        }
    }

    fn refund_object(&self, canceled: &Canceled) -> Value {
        let refunds = self.refunds.lock().unwrap();
        json!({
            "id": canceled.provider_key, "object": "refund", "amount": canceled.amount,
            "status": *self.refunded.lock().unwrap(), "created": canceled.at.unwrap().millis() / 1_000,
            "metadata": {
                "effect_key": refunds[&canceled.provider_key]["metadata[effect_key]"],
            },
        })
    }

    /// Those of an intent, or all that were opened since.
    async fn list_disputes(&self, asked: &Asked) -> Told {
        let keys: Vec<String> = match asked.query.get("payment_intent") {
            Some(id) => {
                let order = self.made.lock().unwrap()[id]["metadata[order]"].clone();
                self.books.find_order(&order).unwrap().disputes
            }
            None => {
                let since: i64 = asked.query["created[gte]"].parse().unwrap();
                let since = Timestamp::from_millis(since * 1_000);
                let page = self.books.list_disputes(since, None).await.unwrap();
                page.items.into_iter().map(|it| it.provider_key).collect()
            }
        };
        let mut data = Vec::new();
        for key in keys.iter().rev() {
            data.push(self.dispute_object(key).await.unwrap());
        }
        paged(asked, data)
    }

    async fn dispute_object(&self, id: &str) -> Option<Value> {
        let LookUp::Found(dispute) = self.books.find_dispute(id).await else { return None };
        Some(json!({
            "id": id, "object": "dispute", "amount": dispute.amount, "currency": "krw",
            "payment_intent": dispute.charge, "status": dispute.status,
            "evidence_details": { "due_by": 1_795_309_201 },
            "evidence": { "uncategorized_text": "증".repeat(150_000) },
        }))
    }

    fn list_refunds(&self, asked: &Asked) -> Told {
        let id = &asked.query["payment_intent"];
        let order = self.made.lock().unwrap()[id]["metadata[order]"].clone();
        let charge = self.books.find_order(&order).unwrap();
        let data: Vec<Value> =
            charge.cancels.iter().rev().map(|it| self.refund_object(it)).collect();
        paged(asked, data)
    }

    /// The newest first, two a page.
    fn list(&self, asked: &Asked) -> Told {
        let seconds = |name: &str| asked.query[name].parse::<i64>().unwrap();
        let (begin, end) = (seconds("created[gte]"), seconds("created[lt]"));
        let lines = self.books.all_movements(None).unwrap().items;
        let lines = lines.into_iter().enumerate().rev();
        let mut lines: Vec<Value> = lines
            .filter(|(_, it)| (begin..end).contains(&(it.at.millis() / 1_000)))
            .map(|(n, it)| {
                json!({
                    "id": format!("txn_{n}"), "fee": it.fee, "created": it.at.millis() / 1_000,
                    "type": if it.kind == RemoteKind::Charge { "charge" } else { "refund" },
                    "source": {
                        "id": it.provider_key, "amount": it.amount,
                        "payment_intent": it.provider_key, "metadata": { "order": it.order },
                    },
                })
            })
            .collect();
        if let Some(after) = asked.query.get("starting_after") {
            let at = lines.iter().position(|line| line["id"] == **after).unwrap();
            lines.drain(..=at);
        }
        let has_more = lines.len() > 2;
        lines.truncate(2);
        Told::json(200, &json!({ "data": lines, "has_more": has_more }))
    }

    fn request(&self, id: &str) -> Option<Confirm> {
        let order = self.made.lock().unwrap().get(id)?["metadata[order]"].clone();
        let Charge { provider_key, order, amount, currency, .. } =
            self.books.find_order(&order).unwrap();
        Some(Confirm { provider_key, order, amount, currency })
    }

    /// The payer's card is declined, and the payer may try another.
    fn decline(&self, order: &str, code: &str) -> String {
        let id = self.books.find_order(order).unwrap().provider_key;
        let mut made = self.made.lock().unwrap();
        made.get_mut(&id).unwrap().insert("declined".to_owned(), code.to_owned());
        id
    }
}

/// As many of what there is as are asked for, from behind one on.
fn paged(asked: &Asked, mut data: Vec<Value>) -> Told {
    if let Some(after) = asked.query.get("starting_after") {
        let at = data.iter().position(|it| it["id"] == **after).unwrap();
        data.drain(..=at);
    }
    let limit: usize = asked.query["limit"].parse().unwrap();
    let has_more = data.len() > limit;
    data.truncate(limit);
    Told::json(200, &json!({ "data": data, "has_more": has_more }))
}

fn form(asked: &Asked) -> Form {
    let text = String::from_utf8(asked.body.clone()).unwrap();
    let url: Url = format!("http://localhost/?{text}").parse().unwrap();
    url.query_pairs().into_owned().collect()
}

fn key_of(asked: &Asked) -> EffectKey {
    EffectKey::parse(asked.header("idempotency-key")).unwrap()
}

fn refusal(status: u16, code: &str) -> Told {
    Told::json(status, &json!({ "error": { "code": code, "type": "invalid_request_error" } }))
}

fn won(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

fn cancel(request: &Confirm) -> Cancel {
    let Confirm { provider_key, order, currency, .. } = request.clone();
    Cancel {
        provider_key,
        order,
        amount: None,
        currency,
        reason: "…".to_owned(),
        refund_account: None,
    }
}

struct StripePayer(Arc<Town>);

#[async_trait]
impl Payer for StripePayer {
    async fn open(&self, parameters: &ClientParameters) {
        let secret = format!("{}_secret", parameters.0["paymentKey"].as_str().unwrap());
        assert_eq!(parameters.0["clientSecret"], secret);
        assert_eq!(parameters.0["publishableKey"], "pk_test_of_nobody");
    }

    async fn pay(&self, order: &str) -> String {
        let id = self.0.books.pay(order, Method::Card).unwrap();
        let request = self.0.request(&id).unwrap();
        let key = EffectKey::of(&format!("the browser of {order}"));
        assert!(matches!(self.0.books.confirm(&request, &key).await, Answer::Done(_)));
        id
    }

    async fn promise(&self, _: &str) -> Option<String> {
        None
    }

    async fn deposit(&self, order: &str) {
        panic!("nobody promised {order}");
    }

    async fn give_up(&self, order: &str) -> String {
        self.0.books.decline(order).unwrap()
    }

    async fn dispute(&self, order: &str) -> Option<String> {
        Some(self.0.books.dispute(order, None).unwrap())
    }

    async fn decide(&self, dispute: &str, status: DisputeStatus) {
        self.0.books.decide(dispute, status).unwrap();
    }

    async fn take_webhooks(&self) -> Vec<RawWebhook> {
        let mut sent = Vec::new();
        for (n, mut webhook) in self.0.books.take_webhooks().into_iter().enumerate() {
            let id = self.0.books.read_webhook(&webhook).unwrap().provider_key.unwrap();
            let intent = self.0.intent(&id).unwrap();
            let order = intent["metadata"]["order"].as_str().unwrap();
            let object = match self.0.books.find_order(order).unwrap().disputes.last() {
                Some(key) => self.0.dispute_object(key).await.unwrap(),
                None => intent,
            };
            let body = json!({
                "id": format!("evt_{n}"), "object": "event", "type": "payment_intent.succeeded",
                "data": { "object": object },
            });
            let body = body.to_string();
            let header = webhooks::tests::sign(&body, WEBHOOKS, webhook.received_at);
            webhook.headers = vec![("Stripe-Signature".to_owned(), header)];
            webhook.body = body.into();
            sent.push(webhook);
        }
        sent
    }

    fn day(&self) -> String {
        clock::now().to_string()[..10].to_owned()
    }
}

fn stripe(url: &str, secret_key: &str) -> Stripe {
    let settings = [
        ("MADANG__PAYMENTS__PROVIDER", "stripe"),
        ("MADANG__PAYMENTS__STRIPE__PUBLISHABLE_KEY", "pk_test_of_nobody"),
        ("MADANG__PAYMENTS__STRIPE__URL", url),
    ];
    let config = Config::read(None, settings).unwrap();
    Stripe::new(&config, secret_key.into(), WEBHOOKS.into()).unwrap()
}

fn subject() -> Subject {
    let town = Town::new();
    let provider = Arc::new(stripe(&town.served(), SECRET));
    Subject { provider, payer: Arc::new(StripePayer(town)) }
}

mod it_conforms {
    use super::{conforms, subject};

    conforms!(subject);
}

fn prepared(order: &str, currency: &str) -> Prepare {
    Prepare {
        order: order.to_owned(),
        amount: won(1_000),
        currency: currency.parse().unwrap(),
        name: "a lamp".to_owned(),
        is_captured_later: false,
    }
}

fn confirm(provider_key: &str) -> Confirm {
    Confirm {
        provider_key: provider_key.to_owned(),
        order: "order-1".to_owned(),
        amount: won(1_000),
        currency: Currency::KRW,
    }
}

#[tokio::test]
async fn what_a_payer_has_made_is_not_taken_before_it_is_confirmed() {
    let town = Town::new();
    let stripe = stripe(&town.served(), SECRET);
    stripe.prepare(&prepared("order-1", "KRW")).await;
    let id = StripePayer(Arc::clone(&town)).pay("order-1").await;
    let LookUp::Found(charge) = stripe.find_charge("order-1", Some(&id)).await else { panic!() };
    assert_eq!(charge.status, ChargeStatus::Open);
    assert!(town.books.movements("order-1").is_empty());
    let answer = stripe.confirm(&confirm(&id), &EffectKey::of("key")).await;
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    assert_eq!(town.books.movements("order-1").len(), 1);
}

#[tokio::test]
async fn a_declined_card_is_a_refusal_once_nobody_can_pay_any_more() {
    let town = Town::new();
    let stripe = stripe(&town.served(), SECRET);
    stripe.prepare(&prepared("order-1", "KRW")).await;
    let id = town.books.find_order("order-1").unwrap().provider_key;
    let waiting = stripe.confirm(&confirm(&id), &EffectKey::of("early")).await;
    assert!(matches!(waiting, Answer::Unknown(_)), "the payer may still pay: {waiting:?}");

    town.decline("order-1", "insufficient_funds");
    let answer = stripe.confirm(&confirm(&id), &EffectKey::of("key")).await;
    let Answer::Declined(decline) = answer else { panic!("{answer:?}") };
    assert_eq!(decline.code, DeclineCode::InsufficientFunds);
    assert!(town.books.pay("order-1", Method::Card).is_err(), "the intent is closed");
}

#[tokio::test]
async fn somebody_elses_intent_stays_open_whatever_its_payer_was_told() {
    let town = Town::new();
    let stripe = stripe(&town.served(), SECRET);
    stripe.prepare(&prepared("order-1", "KRW")).await;
    let id = town.books.find_order("order-1").unwrap().provider_key;
    town.decline("order-1", "insufficient_funds");
    let foreign = Confirm { order: "order-2".to_owned(), ..confirm(&id) };
    let answer = stripe.confirm(&foreign, &EffectKey::of("key")).await;
    assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
    assert!(town.books.pay("order-1", Method::Card).is_ok(), "its own payer may try again");
}

#[tokio::test]
async fn a_refund_is_made_when_stripe_has_made_it_and_not_before() {
    let town = Town::new();
    let stripe = stripe(&town.served(), SECRET);
    stripe.prepare(&prepared("order-1", "KRW")).await;
    let request = confirm(&StripePayer(Arc::clone(&town)).pay("order-1").await);
    stripe.confirm(&request, &EffectKey::of("key")).await;
    let (request, key) = (cancel(&request), EffectKey::of("back"));
    let charged = async || match stripe.find_charge("order-1", Some(&request.provider_key)).await {
        LookUp::Found(charge) => charge.cancels.len(),
        other => panic!("{other:?}"),
    };

    *town.refunded.lock().unwrap() = "pending";
    let answer = stripe.cancel(&request, &key).await;
    assert!(matches!(answer, Answer::Pending(_)), "{answer:?}");
    for (status, is_made) in [("pending", false), ("failed", false), ("succeeded", true)] {
        *town.refunded.lock().unwrap() = status;
        let found = stripe.find_cancel(&request, &key).await;
        assert_eq!(matches!(found, LookUp::Found(_)), is_made, "{status}: {found:?}");
        assert!(!matches!(found, LookUp::Absent), "{status}: it would be made again");
        assert_eq!(charged().await, usize::from(is_made), "{status}");
    }
}

#[tokio::test]
async fn an_amount_that_stripe_does_not_take_is_refused_for_good() {
    for (code, is_refused) in [("amount_too_small", true), ("rate_limit", false)] {
        let answer = json!({ "error": { "code": code } }).to_string().into_bytes();
        let url = stand_in::start(move |_| {
            let answer = answer.clone();
            async move { Told(400, "", answer) }.boxed()
        });
        let answer = stripe(&url, SECRET).prepare(&prepared("order-1", "KRW")).await;
        assert_eq!(matches!(answer, Answer::Declined(_)), is_refused, "{code}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_whole_answer_of_stripe_says_nothing() {
    let error = |code: &str| json!({ "error": { "code": code } }).to_string();
    for (status, body) in [
        (200, String::new()),
        (200, "{}".to_owned()),
        (302, String::new()),
        (402, error("card_declined")),
        (404, "not here".to_owned()),
        (409, error("idempotency_key_in_use")),
        (429, error("lock_timeout")),
        (500, error("charge_disputed")),
    ] {
        let answer = body.clone().into_bytes();
        let url = stand_in::start(move |_| {
            let answer = answer.clone();
            async move { Told(status, "location: http://127.0.0.1:1/\r\n", answer) }.boxed()
        });
        let (stripe, key) = (stripe(&url, SECRET), EffectKey::of("key"));
        let answer = stripe.confirm(&confirm("pi_1"), &key).await;
        assert!(matches!(answer, Answer::Unknown(_)), "{status} {body}: {answer:?}");
        let answer = stripe.cancel(&cancel(&confirm("pi_1")), &key).await;
        assert!(matches!(answer, Answer::Unknown(_)), "{status} {body}: {answer:?}");
        let found = stripe.find_charge("order-1", Some("pi_1")).await;
        assert!(matches!(found, LookUp::Unknown(_)), "{status} {body}: {found:?}");
        assert!(stripe.list_transactions("2026-11-22", None).await.is_err());
    }
}

#[tokio::test]
async fn a_key_that_stripe_does_not_accept_is_ours_to_mend() {
    let stripe = stripe(&Town::new().served(), "sk_test_of_another");
    let answer = stripe.prepare(&prepared("order-1", "KRW")).await;
    assert!(matches!(answer, Answer::Misconfigured(_)), "{answer:?}");
    let answer = stripe.confirm(&confirm("pi_1"), &EffectKey::of("key")).await;
    assert!(matches!(answer, Answer::Misconfigured(_)), "{answer:?}");
}

#[tokio::test]
async fn a_day_is_read_page_by_page() {
    let town = Town::new();
    let stripe = stripe(&town.served(), SECRET);
    let payer = StripePayer(Arc::clone(&town));
    for n in 0..5 {
        let order = format!("order-{n}");
        stripe.prepare(&prepared(&order, "KRW")).await;
        let request = Confirm { order: order.clone(), ..confirm(&payer.pay(&order).await) };
        assert!(matches!(stripe.confirm(&request, &EffectKey::of(&order)).await, Answer::Done(_)));
    }
    let (mut orders, mut cursor) = (Vec::new(), None);
    loop {
        let page = stripe.list_transactions(&payer.day(), cursor.as_deref()).await.unwrap();
        orders.extend(page.items.into_iter().map(|it| it.order));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    orders.sort();
    assert_eq!(orders, (0..5).map(|n| format!("order-{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_currency_whose_minor_units_are_not_stripes_is_not_sent() {
    let stripe = stripe("http://127.0.0.1:1", SECRET);
    let answer = stripe.prepare(&prepared("order-1", "KWD")).await;
    assert!(matches!(answer, Answer::Misconfigured(_)), "{answer:?}");
}

#[tokio::test]
async fn a_payment_of_many_refunds_is_read_to_its_end() {
    let town = Town::new();
    let stripe = stripe(&town.served(), SECRET);
    stripe.prepare(&prepared("order-1", "KRW")).await;
    let request = confirm(&StripePayer(Arc::clone(&town)).pay("order-1").await);
    stripe.confirm(&request, &EffectKey::of("key")).await;
    for n in 0..120 {
        let part = Cancel { amount: Some(won(1)), ..cancel(&request) };
        let answer = stripe.cancel(&part, &EffectKey::of(&format!("part-{n}"))).await;
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    }
    let found = stripe.find_charge("order-1", Some(&request.provider_key)).await;
    let LookUp::Found(charge) = found else { panic!("{found:?}") };
    assert_eq!(charge.cancels.len(), 120);
    let first = stripe.find_cancel(&cancel(&request), &EffectKey::of("part-0")).await;
    assert!(matches!(first, LookUp::Found(_)), "{first:?}");
}

#[tokio::test]
async fn an_answer_that_is_too_long_says_so() {
    let answer = json!({ "evidence": "x".repeat(2 * 1_024 * 1_024) }).to_string().into_bytes();
    let url = stand_in::start(move |_| {
        let answer = answer.clone();
        async move { Told(200, "", answer) }.boxed()
    });
    let found = stripe(&url, SECRET).find_dispute("dp_1").await;
    assert_eq!(found, LookUp::Unknown("the provider's answer is too long".to_owned()));
}

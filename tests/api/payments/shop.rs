//! A shop: an app's own server that registers orders, people who pay for them at the fake provider, and the books afterwards.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::TestApp;
use crate::service::Service;
use crate::user::User;

pub(crate) const ORDERS: &[&str] = &["payments:orders"];

pub(crate) struct Shop {
    pub(crate) service: Service,
    pub(crate) payer: User,
    pub(crate) payee: User,
    http: reqwest::Client,
}

/// A payment that has begun.
pub(crate) struct Begun {
    pub(crate) id: String,
    pub(crate) checkout: String,
}

impl Begun {
    /// Reads what beginning a payment answers.
    pub(crate) fn read(begun: &Value) -> Self {
        let checkout = begun["client"]["checkout_url"].as_str().expect("a page to pay at");
        let id = begun["payment_id"].as_str().expect("an id").to_owned();
        Self { id, checkout: checkout.to_owned() }
    }
}

/// What everybody has, and how many there are of each: what a refusal leaves as it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Books {
    payments: i64,
    transitions: i64,
    refunds: i64,
    transfers: i64,
    pub(crate) escrow: i64,
    pub(crate) receivable: i64,
}

impl Shop {
    pub(crate) async fn open(app: &TestApp) -> Self {
        let admin = app.administrator("gwanri").await;
        let (service, _) = Service::made_by(&admin, app, "shop", ORDERS).await;
        let (payer, payee) = (app.register("jisoo").await, app.register("minho").await);
        Self { service, payer, payee, http: app.http.clone() }
    }

    /// The same shop after its server has started again.
    pub(crate) fn at(&self, app: &TestApp) -> Self {
        Self {
            service: self.service.at(app),
            payer: self.payer.at(app),
            payee: self.payee.at(app),
            http: self.http.clone(),
        }
    }

    pub(crate) async fn put(&self, id: &str, body: &Value) -> Answer {
        let request = self.service.request(Method::PUT, &format!("/payments/orders/job/{id}"));
        Answer::of(request.json(body)).await
    }

    /// Registers an order of the payer's.
    pub(crate) async fn order(&self, id: &str, amount: i64) {
        let body = json!({
            "payer_id": self.payer.id, "payee_id": self.payee.id, "amount": amount,
            "name": "화단 정리",
        });
        self.put(id, &body).await.json(201);
    }

    /// Registers an order, and begins to pay for it.
    pub(crate) async fn begin(&self, id: &str, amount: i64) -> Begun {
        self.order(id, amount).await;
        self.begin_by(id, "card").await
    }

    pub(crate) async fn begin_by(&self, id: &str, method: &str) -> Begun {
        let body = json!({ "order_type": "job", "order_id": id, "method": method });
        let begun = send(&self.payer, "create", &new_key(), &body).await.json(201);
        Begun::read(&begun)
    }

    /// Presses a button of the provider's page.
    pub(crate) async fn press(&self, begun: &Begun, action: &str) -> Answer {
        Answer::of(self.http.post(&begun.checkout).form(&[("action", action)])).await
    }

    /// The payer pays at the provider's page; gives the key with which that is confirmed.
    pub(crate) async fn pay(&self, begun: &Begun) -> String {
        self.key_of(begun, "pay").await
    }

    pub(crate) async fn key_of(&self, begun: &Begun, action: &str) -> String {
        let page = self.press(begun, action).await;
        page.is(200);
        let (_, rest) = page.text.split_once("id=\"payment-key\">").expect("the page shows a key");
        rest.split('<').next().expect("a key ends").to_owned()
    }

    /// Registers, begins, pays and confirms.
    pub(crate) async fn buy(&self, id: &str, amount: i64) -> Begun {
        let begun = self.begin(id, amount).await;
        let key = self.pay(&begun).await;
        let confirmed = self.confirm(&begun, &key, amount, &new_key()).await.json(200);
        assert_eq!(confirmed["status"], "captured", "{confirmed}");
        begun
    }

    pub(crate) async fn confirm(
        &self,
        begun: &Begun,
        payment_key: &str,
        amount: i64,
        key: &str,
    ) -> Answer {
        let body = json!({ "payment_id": begun.id, "payment_key": payment_key, "amount": amount });
        send(&self.payer, "confirm", key, &body).await
    }

    pub(crate) async fn cancel(&self, begun: &Begun, amount: Option<i64>, key: &str) -> Answer {
        let body = json!({ "payment_id": begun.id, "amount": amount, "reason": "changed my mind" });
        send(&self.payer, "cancel", key, &body).await
    }

    /// As the app that sells.
    pub(crate) async fn refund(&self, begun: &Begun, amount: Option<i64>, key: &str) -> Answer {
        let body = json!({ "payment_id": begun.id, "amount": amount, "reason": "it was late" });
        let request = self.service.request(Method::POST, "/payments/refund");
        Answer::of(request.header("idempotency-key", key).json(&body)).await
    }

    pub(crate) async fn payment(&self, begun: &Begun) -> Value {
        self.payer.get(&format!("/payments/{}", begun.id)).await.json(200)
    }

    /// What the provider has moved: charges are positive, refunds negative.
    pub(crate) async fn moved(&self, begun: &Begun) -> Vec<i64> {
        let (host, order) = begun.checkout.split_once("/checkout/").expect("a page of an order");
        let order = order.split('?').next().expect("an order");
        let url = format!("{host}/admin/movements");
        let page = Answer::of(self.http.get(url)).await.json(200);
        let items = page["items"].as_array().expect("a page has items");
        let of_order = items.iter().filter(|item| item["order"] == order);
        let signed = of_order.map(|item| {
            let amount = item["amount"].as_i64().expect("an amount");
            let is_charge =
                item["kind"].as_str().is_some_and(|it| it.eq_ignore_ascii_case("charge"));
            if is_charge { amount } else { -amount }
        });
        signed.collect()
    }
}

impl Books {
    pub(crate) async fn of(app: &TestApp) -> Self {
        let sum = "SELECT CAST(COALESCE(SUM(credits_posted - debits_posted), 0) AS BIGINT)
                   FROM ledger_accounts WHERE code LIKE 'escrow%'";
        let receivable = "SELECT CAST(COALESCE(SUM(debits_posted - credits_posted), 0) AS BIGINT)
                          FROM ledger_accounts WHERE code LIKE 'psp:%'";
        Self {
            payments: app.count("SELECT COUNT(*) FROM payments").await,
            transitions: app.count("SELECT COUNT(*) FROM payment_transitions").await,
            refunds: app.count("SELECT COUNT(*) FROM refunds").await,
            transfers: app.count("SELECT COUNT(*) FROM ledger_transfers").await,
            escrow: app.count(sum).await,
            receivable: app.count(receivable).await,
        }
    }
}

/// A payment's order, as the provider knows it.
pub(super) fn order_of(begun: &Begun) -> &str {
    let (_, order) = begun.checkout.split_once("/checkout/").expect("a page of an order");
    order.split('?').next().expect("an order")
}

/// A key that nobody has used.
pub(crate) fn new_key() -> String {
    Uuid::now_v7().to_string()
}

/// Posts something that moves money, under a key.
pub(crate) async fn send(user: &User, what: &str, key: &str, body: &Value) -> Answer {
    let request = user.request(Method::POST, &format!("/payments/{what}"));
    Answer::of(request.header("idempotency-key", key).json(body)).await
}

/// The same request so many times at once.
pub(crate) async fn at_once(count: usize, request: impl AsyncFn() -> Answer) -> Vec<Answer> {
    join_all((0..count).map(|_| request())).await
}

/// Checks that this is a problem that was decided about a payment, which is answered alike for ever.
pub(crate) fn decided(answer: &Answer, status: u16, code: &str) -> Value {
    let problem = answer.json(status);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{problem}");
    assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{problem}");
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    problem
}

pub(crate) fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

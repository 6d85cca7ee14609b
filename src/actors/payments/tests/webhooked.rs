//! Webhooks in every order, each of them twice: a payment comes to what its provider says, whatever was heard first.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{Ground, Made, eventually, grounds};
use crate::actors::payment_webhooks::{Inspection, NotTaken, PaymentWebhooks};
use crate::actors::payments::requests::{CreatePayment, PaymentMethod};
use crate::domain::payments::PaymentStatus;
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::payments::refunds::Sums;
use crate::providers::payments::fake::payer::Method;
use crate::providers::payments::{Providers, RawWebhook};

/// Begun, waiting for a transfer, paid, disputed, lost.
const EVENTS: usize = 5;
const ORDERS: usize = 120;

/// A payment, and what its provider has told of it so far.
struct Told {
    made: Made,
    webhooks: Vec<RawWebhook>,
}

/// What became of a payment, in every place where that is written.
#[derive(Debug, PartialEq)]
struct End {
    status: PaymentStatus,
    sums: Sums,
    failure_code: Option<String>,
    history: Vec<String>,
    events: Vec<String>,
    entries: Vec<String>,
    disputes: Vec<(DisputeStatus, bool)>,
    moved: (i64, usize),
}

/// Every order of the first numbers.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let shorter = orders(last);
    let longer = shorter.iter().flat_map(|order| {
        (0..count).map(|at| {
            let mut order = order.clone();
            order.insert(at, last);
            order
        })
    });
    longer.collect()
}

impl Told {
    /// A payment whose account is open, of which two things were told.
    async fn begin(ground: &Ground, n: usize) -> Self {
        let with = |request| CreatePayment { method: PaymentMethod::VirtualAccount, ..request };
        let made = ground.created_as(&n.to_string(), 1_000, with).await;
        let key = ground.provider.pay(&made.order, Method::VirtualAccount).unwrap();
        ground.confirm(&made, &key).await;
        let webhooks = ground.provider.take_webhooks();
        assert_eq!(webhooks.len(), 2, "{made:?}");
        Self { made, webhooks }
    }

    /// What is told of an event, which happens now if it has not, and everything before it.
    fn webhook(&mut self, ground: &Ground, event: usize) -> RawWebhook {
        while self.webhooks.len() <= event {
            let (provider, order) = (&ground.provider, &self.made.order);
            match self.webhooks.len() {
                2 => provider.deposit(order).unwrap(),
                3 => drop(provider.dispute(order, None).unwrap()),
                _ => {
                    let charge = provider.find_order(order).unwrap();
                    provider.decide(&charge.disputes[0], DisputeStatus::Lost).unwrap();
                }
            }
            let told = provider.take_webhooks();
            assert_eq!(told.len(), 1, "{:?}", self.made);
            self.webhooks.extend(told);
        }
        self.webhooks[event].clone()
    }
}

async fn end(ground: &Ground, made: &Made) -> End {
    let payment = ground.payment(made).await;
    let disputes = ground.store.list_disputes(made.id).await.unwrap();
    let history = ground.store.list_payment_transitions(made.id).await.unwrap();
    End {
        status: payment.status,
        sums: payment.sums,
        failure_code: payment.failure_code,
        history: history.into_iter().map(|row| row.to_status).collect(),
        events: ground.store.list_event_names(made.id.to_string()).await,
        entries: ground.entries(made).await,
        disputes: disputes.iter().map(|it| (it.status, it.closed_at.is_some())).collect(),
        moved: ground.moved(made),
    }
}

async fn looked_into(ground: &Ground) {
    eventually("every webhook is looked into", async || {
        let next = ground.store.find_next_payment_webhook().await.unwrap();
        next.is_none().then_some(())
    })
    .await;
}

/// Whatever waits for a minute is over.
async fn over(ground: &Ground, all: &[Told]) {
    for told in all {
        ground.pass_until(&told.made, PaymentStatus::ChargedBack).await;
    }
}

/// Says what nobody has signed: that it was given back.
async fn forge(webhooks: &PaymentWebhooks, good: &RawWebhook) {
    let text = String::from_utf8_lossy(&good.body).replace("\"status\":\"", "\"status\":\"un");
    assert_ne!(text.as_bytes(), &good.body[..]);
    let changed = RawWebhook { body: Bytes::from(text.into_bytes()), ..good.clone() };
    let bare = RawWebhook { headers: Vec::new(), ..good.clone() };
    for forged in [changed, bare] {
        let taken = webhooks.receive("fake", forged).await;
        assert!(matches!(taken, Err(NotTaken::Unsigned)), "{taken:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_webhooks_in_any_of_120_orders_each_twice_come_to_the_same() {
    for ground in grounds().await {
        let webhooks =
            PaymentWebhooks::new(ground.store.clone(), Providers::of(ground.provider.clone()));
        let on_escalate = Arc::new(|cause: &str| panic!("{cause}"));
        let looker = Arc::new(ground.payments.clone());
        let inspection = Inspection::start(&Handle::current(), &ground.store, looker, on_escalate);
        let orders = orders(EVENTS);
        assert_eq!(orders.len(), ORDERS);
        let in_order: Vec<usize> = (0..EVENTS).collect();
        // The last of them hears of everything once, as it happens.
        let mut all = Vec::new();
        for n in 0..=ORDERS {
            all.push(Told::begin(&ground, n).await);
        }
        for nth in 0..EVENTS {
            for (told, order) in all.iter_mut().zip(orders.iter().chain([&in_order])) {
                let times = if std::ptr::eq(order, &in_order) { 1 } else { 2 };
                let webhook = told.webhook(&ground, order[nth]);
                forge(&webhooks, &webhook).await;
                for _ in 0..times {
                    webhooks.receive("fake", webhook.clone()).await.unwrap();
                }
            }
            looked_into(&ground).await;
        }
        over(&ground, &all).await;

        let expected = end(&ground, &all[ORDERS].made).await;
        assert_eq!(expected.disputes, [(DisputeStatus::Lost, true)]);
        assert_eq!(expected.moved, (0, 1));
        for (told, order) in all.iter().zip(&orders) {
            assert_eq!(end(&ground, &told.made).await, expected, "{order:?}");
            ground.must_agree(&told.made).await;
        }
        // And all of them once more, when everything is over.
        for (told, order) in all.iter().zip(&orders) {
            for event in order {
                webhooks.receive("fake", told.webhooks[*event].clone()).await.unwrap();
            }
        }
        looked_into(&ground).await;
        for told in &all {
            assert_eq!(end(&ground, &told.made).await, expected);
        }
        inspection.stop().await;
        ground.workflows.stop().await;
    }
}

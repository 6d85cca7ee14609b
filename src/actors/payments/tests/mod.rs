//! Payments with the fake provider, on both databases, with a clock that can be put forward.

mod checked;
mod confirming;
mod creating;
mod disputed;
mod expiring;
mod journal;
mod later;
mod left;
mod operated;
mod reconciling;
mod refunding;
mod returning;
pub(in crate::actors::payments) mod states;
mod webhooked;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::again::{LookAgain, Looked};
use super::answers::Answered;
use super::desk::Desk;
use super::requests::{CancelPayment, ConfirmPayment, CreatePayment, PaymentKey, PaymentMethod};
use super::{Payments, PaymentsError, PaymentsSettings, flows};
use crate::actors::kit::permanent::OnEscalate;
use crate::actors::workflow::engine::{Clock, Engine};
use crate::actors::workflow::supervisor::{WorkflowSettings, Workflows};
use crate::clock;
use crate::config::Config;
use crate::domain::idempotency::{IdempotencyKey, IdempotentCall, fingerprint};
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::orders::{FeeBps, NewOrder, OrderKey, OrderName};
use crate::domain::payments::refunds::RefundReason;
use crate::domain::payments::{Cause, PaymentStatus, ProviderName};
use crate::domain::time::Timestamp;
use crate::domain::workflows::WorkflowStatus;
use crate::providers::payments::fake::faults::Faults;
use crate::providers::payments::fake::payer::Method;
use crate::providers::payments::fake::{FakeProvider, SOUND};
use crate::providers::payments::{Capabilities, PaymentProvider, Providers, RemoteKind};
use crate::providers::seal::Seal;
use crate::store::Store;
use crate::store::payments::Payment;
use crate::store::testing::{database_urls, new_user};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a payer has.
const EXPIRES_AFTER: Duration = Duration::from_mins(30);

/// A database, the provider, and a node that works on payments.
struct Ground {
    store: Store,
    data: PathBuf,
    provider: Arc<FakeProvider>,
    /// Milliseconds that its clock is ahead.
    ahead: Arc<AtomicI64>,
    /// Whoever asks waits for the end.
    payments: Payments,
    /// Nobody waits for anything.
    hasty: Payments,
    workflows: Workflows,
    keys: AtomicU64,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// One ground for each database.
async fn grounds() -> Vec<Ground> {
    grounds_with(SOUND).await
}

async fn grounds_with(capabilities: Capabilities) -> Vec<Ground> {
    let mut grounds = Vec::new();
    for url in database_urls().await {
        grounds.push(Ground::with(&url, capabilities).await);
    }
    grounds
}

fn won(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

impl Ground {
    async fn with(url: &str, capabilities: Capabilities) -> Self {
        let data = std::env::temp_dir().join(format!("madang-payments-{}", clock::new_uuid()));
        std::fs::create_dir_all(&data).unwrap();
        let variables =
            [("MADANG__DATA__DIR", data.to_str().unwrap()), ("MADANG__DATABASE__URL", url)];
        let config = Config::read(None, variables).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        let ahead = Arc::new(AtomicI64::new(0));
        let shifted = Arc::clone(&ahead);
        let clock: Clock = Arc::new(move || {
            Timestamp::from_millis(clock::now().millis() + shifted.load(Ordering::SeqCst))
        });
        let provider =
            Arc::new(FakeProvider::new(capabilities, Faults::default(), Arc::clone(&clock)));
        let shared: Arc<dyn PaymentProvider> = provider.clone();
        let providers = Providers::of(shared);
        let seal = Seal::new(&"k".repeat(43).into()).unwrap();
        let desk = Desk::new(store.clone(), providers, Arc::clone(&clock));
        let desk = desk.with_seal(Some(Arc::new(seal)));
        let node = clock::new_uuid().into();
        let engine = Engine::new(store.clone(), node, flows(&desk), clock);
        let on_escalate: OnEscalate = Arc::new(|cause: &str| panic!("{cause}"));
        let settings = WorkflowSettings { workers: 4 };
        let io = Handle::current();
        let workflows =
            Workflows::start(&io, engine.clone(), settings, &on_escalate).await.unwrap();
        let with = |answered_within| {
            let expires_after = EXPIRES_AFTER;
            let settings =
                PaymentsSettings { currency: Currency::KRW, expires_after, answered_within };
            Payments::new(desk.clone(), engine.clone(), workflows.clone(), settings)
        };
        let (payments, hasty) = (with(PATIENCE), with(Duration::ZERO));
        let keys = AtomicU64::new(0);
        Self { store, data, provider, ahead, payments, hasty, workflows, keys }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(clock::now().millis() + self.ahead.load(Ordering::SeqCst))
    }

    /// Lets the time pass; whoever waits for a commit looks at the clock again.
    async fn pass(&self, time: Duration) {
        self.ahead.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
        self.store.probe().await.unwrap();
    }

    /// A request under a key that nobody has used, or under this one.
    fn call(&self, route: &'static str, by: UserId, key: Option<&str>) -> IdempotentCall {
        let fresh = format!("fresh-key-{}", self.keys.fetch_add(1, Ordering::SeqCst));
        IdempotentCall {
            principal: format!("user:{by}"),
            route,
            key: IdempotencyKey::parse(key.unwrap_or(&fresh)).unwrap(),
            fingerprint: fingerprint(&json!({ "route": route })),
        }
    }

    async fn order(&self, id: &str, amount: i64) -> OrderKey {
        let order = NewOrder {
            key: OrderKey::parse("job", id).unwrap(),
            payer: None,
            payee: None,
            amount: won(amount),
            currency: Currency::KRW,
            name: OrderName::parse("화단 정리").unwrap(),
            fee: FeeBps::default(),
        };
        self.store.put_order(order.clone(), self.now()).await.unwrap();
        order.key
    }

    /// Begins a payment of a new order.
    async fn created(&self, order: &str, amount: i64) -> Made {
        self.created_as(order, amount, |request| request).await
    }

    async fn created_as(
        &self,
        order: &str,
        amount: i64,
        with: impl FnOnce(CreatePayment) -> CreatePayment,
    ) -> Made {
        let payer = new_user(&self.store).await;
        let order = self.order(order, amount).await;
        let request = with(CreatePayment {
            payer,
            order,
            method: PaymentMethod::Card,
            is_captured_later: false,
            amount: None,
        });
        let answered = self.payments.create(request, self.call("create", payer, None)).await;
        let body = body(&answered.unwrap(), 201);
        let id: PaymentId = body["payment_id"].as_str().unwrap().parse().unwrap();
        let order = body["client"]["order"].as_str().unwrap().to_owned();
        Made { id, payer, order, amount: won(amount) }
    }

    /// A payment that its payer has made at the provider, and the provider's key.
    async fn paid(&self, order: &str, amount: i64) -> (Made, String) {
        let made = self.created(order, amount).await;
        let key = self.provider.pay(&made.order, Method::Card).unwrap();
        (made, key)
    }

    async fn captured(&self, order: &str, amount: i64) -> Made {
        let (made, key) = self.paid(order, amount).await;
        let answered = self.confirm(&made, &key).await;
        assert_eq!(body(&answered, 200)["status"], "captured");
        made
    }

    async fn confirm(&self, made: &Made, key: &str) -> Answered {
        let call = self.call("confirm", made.payer, None);
        self.payments.confirm(made.confirm(key), call).await.unwrap()
    }

    async fn cancel(&self, made: &Made, amount: Option<i64>) -> Answered {
        let call = self.call("cancel", made.payer, None);
        self.payments.cancel(made.cancel(amount), call).await.unwrap()
    }

    async fn look_again(&self, made: &Made) -> Result<Looked, PaymentsError> {
        let hint = LookAgain {
            order: Some(made.order.clone()),
            provider_key: None,
            cause: Cause::Webhook,
        };
        self.payments.look_again(ProviderName::Fake, hint).await
    }

    async fn payment(&self, made: &Made) -> Payment {
        self.store.find_payment(made.id).await.unwrap().unwrap()
    }

    async fn until(&self, made: &Made, status: PaymentStatus) -> Payment {
        eventually(status.as_str(), async || {
            let payment = self.payment(made).await;
            (payment.status == status && payment.under_way.is_none()).then_some(payment)
        })
        .await
    }

    /// When the first workflow is due that waits; `None` while one is being driven, for which time must not fly.
    async fn next_wake(&self) -> Option<Timestamp> {
        for busy in [WorkflowStatus::Running, WorkflowStatus::Ready] {
            if !self.store.list_workflows(busy, None, 1).await.unwrap().is_empty() {
                return None;
            }
        }
        let waiting = self.store.list_workflows(WorkflowStatus::Waiting, None, 99).await.unwrap();
        waiting.into_iter().map(|workflow| workflow.wake_at).min().filter(|at| *at > self.now())
    }

    /// Waits until nothing is being done.
    async fn rest(&self) {
        eventually("it rests", async || self.next_wake().await).await;
    }

    /// Lets the time pass, from one look-up to the next, until a payment has that status.
    async fn pass_until(&self, made: &Made, status: PaymentStatus) -> Payment {
        eventually(status.as_str(), async || {
            if let Some(wake_at) = self.next_wake().await {
                self.pass(wake_at.since(self.now())).await;
            }
            let payment = self.payment(made).await;
            (payment.status == status && payment.under_way.is_none()).then_some(payment)
        })
        .await
    }

    /// What the provider has taken for a payment, less what it has given back; and how often it took something.
    fn moved(&self, made: &Made) -> (i64, usize) {
        let movements = self.provider.movements(&made.order);
        let charges = movements.iter().filter(|it| it.kind == RemoteKind::Charge).count();
        let signed = |kind| if kind == RemoteKind::Charge { 1 } else { -1 };
        (movements.iter().map(|it| signed(it.kind) * it.amount.minor()).sum(), charges)
    }

    /// Whatever is wrong between the provider, the payment and the books.
    async fn must_agree(&self, made: &Made) {
        let payment = self.payment(made).await;
        let booked = self.store.sum_receivable_of(made.id.uuid()).await.unwrap();
        let (moved, charges) = self.moved(made);
        assert_eq!(moved, booked, "the provider's and ours: {payment:?}");
        assert_eq!(booked, payment.sums.captured - payment.sums.refunded, "{payment:?}");
        assert!(charges <= 1, "{charges} charges");
        let page = self.store.check_ledger(None, 500).await.unwrap();
        assert_eq!(page.drifts, []);
    }

    /// The kinds of entries about a payment.
    async fn entries(&self, made: &Made) -> Vec<String> {
        let mut kinds = self.store.list_entry_kinds(made.id.uuid()).await.unwrap();
        // Two of them may be of the same moment.
        kinds.sort_unstable();
        kinds
    }
}

/// A payment that was begun.
#[derive(Debug, Clone)]
struct Made {
    id: PaymentId,
    payer: UserId,
    /// As the provider knows it.
    order: String,
    amount: Amount,
}

impl Made {
    fn confirm(&self, key: &str) -> ConfirmPayment {
        ConfirmPayment {
            payer: self.payer,
            payment: self.id,
            payment_key: PaymentKey::parse(key).unwrap(),
            amount: self.amount,
        }
    }

    fn cancel(&self, amount: Option<i64>) -> CancelPayment {
        CancelPayment {
            payment: self.id,
            payer: Some(self.payer),
            actor: format!("user:{}", self.payer),
            admin: None,
            amount: amount.map(won),
            reason: RefundReason::parse("늦음").unwrap(),
            refund_account: None,
        }
    }
}

/// The body of an answer that has to have this status.
fn body(answered: &Answered, status: u16) -> Value {
    assert_eq!(answered.answer.status, status, "{}", answered.answer.body);
    serde_json::from_str(&answered.answer.body).unwrap()
}

fn code(answered: &Answered, status: u16) -> String {
    body(answered, status)["code"].as_str().unwrap().to_owned()
}

async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

//! Payments that are not taken at once, in the simulation: paid by transfer, captured later, voided, or taken when they
//! are over and given back.
//!
//! Read [`scenes`] (what becomes of one), [`outside`] (who survives every death), [`ear`] (who looks into what was heard)
//! and [`by_hand`] (what people do in the end), then [`tests`]; [`forgetful`] is a control. A run has three parts: all
//! is confirmed or given up, then what the scenes say happens, then some of it goes back, and what was parked goes on.
//! Invariant: besides what holds for every payment, each is what the provider says of it, a transfer that came in time
//! is the payment's, and everybody is answered.

mod by_hand;
mod ear;
mod forgetful;
mod outside;
mod scenes;
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use uuid::Uuid;

use self::outside::{Facts, Made, Outside, Request};
use self::scenes::Scene;
use super::audit::Audit;
use super::ground::Nature;
use crate::actors::payments::desk::Desk;
use crate::actors::payments::requests::{
    CancelPayment, ConfirmPayment, CreatePayment, PaymentKey, PaymentMethod,
};
use crate::actors::payments::{Payments, PaymentsError, PaymentsSettings, flows};
use crate::actors::workflow::engine::{Clock, Engine};
use crate::actors::workflow::flow::Flow;
use crate::actors::workflow::simulation::scheduler::{Handed, Play, Played, Scheduler, Visit};
use crate::actors::workflow::supervisor::Workflows;
use crate::clock;
use crate::config::Config;
use crate::domain::bank_accounts::{AccountDetails, BankCode, RefundAccount};
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::orders::{FeeBps, NewOrder, OrderKey, OrderName};
use crate::domain::time::Timestamp;
use crate::providers::payments::fake::FakeProvider;
use crate::providers::payments::fake::faults::Faults;
use crate::providers::payments::fake::payer::Method;
use crate::providers::payments::{PaymentProvider, Providers};
use crate::providers::seal::Seal;
use crate::store::Store;
use crate::store::testing::new_user;

const START: i64 = 1_795_262_400_000;
const IDLE_MAX: Duration = Duration::from_mins(3);
/// Whoever creates a payment tries again after that.
const BETWEEN_TRIES: Duration = Duration::from_secs(10);
/// Longer than anything that the provider puts off.
const AFTERWARDS: Duration = Duration::from_mins(10);
const SETTINGS: PaymentsSettings = PaymentsSettings {
    currency: Currency::KRW,
    expires_after: Duration::from_mins(30),
    answered_within: Duration::ZERO,
};

/// Parts of a run.
pub(super) const PARTS: usize = 3;

/// A database for some runs.
pub(super) struct Later {
    store: Store,
    data: PathBuf,
    payer: UserId,
    now: Arc<AtomicI64>,
    runs: u64,
    audit: Audit,
    /// Whether voids are those of the control.
    pub(super) is_forgetful: bool,
}

impl Drop for Later {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// How a run was played, part by part, and what is wrong.
pub(super) struct Outcome {
    pub(super) parts: Vec<Played>,
    pub(super) wrongs: Vec<String>,
}

struct Run {
    desk: Desk,
    handed: Handed,
    outside: Arc<Outside>,
}

impl Later {
    pub(super) async fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let data = folder.join(format!("madang-later-{}", clock::new_uuid().simple()));
        std::fs::create_dir_all(&data).unwrap();
        let config = Config::read(None, [("MADANG__DATA__DIR", data.to_str().unwrap())]).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        let now = Arc::new(AtomicI64::new(START));
        let (payer, audit) = (new_user(&store).await, Audit::new(store.clone()));
        Self { store, data, payer, now, runs: 0, audit, is_forgetful: false }
    }

    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Arc::new(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
    }

    fn pass(&self, time: Duration) {
        self.now.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Plays one run, of a payment for each scene.
    pub(super) async fn run(
        &mut self,
        plays: [Play; PARTS],
        nature: Nature,
        scenes: &[Scene],
    ) -> Outcome {
        self.runs += 1;
        let [confirming, meanwhile, afterwards] = plays;
        let seed = confirming.seed;
        let run = self.begin(seed, nature, scenes).await;
        let mut parts = Vec::new();
        parts.push(self.play(&run, confirming).await);
        self.go_on(&run, seed).await;
        parts.push(self.play(&run, meanwhile).await);
        ask_back(&run.outside).await;
        run.outside.see_to(seed.is_multiple_of(2)).await;
        run.outside.plan(std::iter::empty());
        parts.push(self.play(&run, afterwards).await);
        self.pass(AFTERWARDS);
        let mut wrongs: Vec<String> = parts.iter().filter_map(|it| it.failure.clone()).collect();
        wrongs.extend(self.wrongs(&run).await);
        Outcome { parts, wrongs }
    }

    /// A payment for each scene, and everybody has asked for it to be taken, or has given it up.
    async fn begin(&self, seed: u64, nature: Nature, scenes: &[Scene]) -> Run {
        let faults = Faults::by_chance(nature.faults, seed);
        let provider = FakeProvider::new(nature.capabilities, faults, self.clock());
        let provider = Arc::new(provider);
        let shared: Arc<dyn PaymentProvider> = provider.clone();
        let seal = Arc::new(Seal::new(&"k".repeat(43).into()).unwrap());
        let desk = Desk::new(self.store.clone(), Providers::of(shared), self.clock());
        let desk = desk.with_seal(Some(seal));
        let handed = Handed::new(Mutex::new(VecDeque::new()));
        let node = Uuid::from_u128(u128::MAX).into();
        let engine = Engine::new(self.store.clone(), node, self.flows()(&desk), self.clock());
        let mut outside = Outside {
            store: self.store.clone(),
            provider,
            clock: self.clock(),
            payments: payments(&desk, &handed, engine),
            payer: self.payer,
            made: Vec::new(),
            run: self.runs,
            facts: Mutex::new(Facts::default()),
        };
        for (n, scene) in scenes.iter().enumerate() {
            let amount = 100 + i64::try_from((seed + u64::try_from(n).unwrap()) % 900).unwrap();
            let made = self.made(&outside, n, *scene, Amount::new(amount).unwrap()).await;
            outside.made.push(made);
        }
        for made in &outside.made {
            let request = match made.scene {
                scene if scene.is_given_up() => Request::Cancel(outside.cancel(made)),
                _ => Request::Confirm(confirm(self.payer, made)),
            };
            outside.ask(request).await;
        }
        let at_first = |made: &Made| made.scene.deeds_at_first();
        let deeds = outside.made.iter().map(at_first).enumerate();
        outside.plan(deeds.flat_map(each));
        if seed.is_multiple_of(2) {
            // Whoever has begun all that dies at once.
            handed.lock().unwrap().clear();
        }
        Run { desk, handed, outside: Arc::new(outside) }
    }

    /// A payment that was begun, and made by its payer.
    async fn made(&self, outside: &Outside, n: usize, scene: Scene, amount: Amount) -> Made {
        let order = NewOrder {
            key: OrderKey::parse("job", &format!("{}-{n}", self.runs)).unwrap(),
            payer: None,
            payee: None,
            amount,
            currency: Currency::KRW,
            name: OrderName::parse("화단 정리").unwrap(),
            fee: FeeBps::default(),
        };
        self.store.put_order(order.clone(), outside.now()).await.unwrap();
        let method = match scene.method() {
            Method::Card => PaymentMethod::Card,
            Method::VirtualAccount => PaymentMethod::VirtualAccount,
        };
        let create = CreatePayment {
            payer: self.payer,
            order: order.key,
            method,
            is_captured_later: scene.is_captured_later(),
            amount: None,
        };
        let call = outside.call();
        let created = loop {
            match outside.payments.create(create.clone(), call.clone()).await {
                Err(PaymentsError::Unavailable(_) | PaymentsError::KeyInUse) => {
                    self.pass(BETWEEN_TRIES);
                }
                created => break created.unwrap(),
            }
        };
        let body: serde_json::Value = serde_json::from_str(&created.answer.body).unwrap();
        let id: PaymentId = body["payment_id"].as_str().unwrap().parse().unwrap();
        let order = body["client"]["order"].as_str().unwrap().to_owned();
        let provider_key = outside.provider.pay(&order, scene.method()).unwrap();
        Made { id, order, provider_key, amount, scene }
    }

    /// What the scenes say begins to happen.
    async fn go_on(&self, run: &Run, seed: u64) {
        let outside = &run.outside;
        for made in &outside.made {
            for (operation, fault) in made.scene.planned() {
                outside.provider.plan(operation, [Some(fault)]);
            }
            if made.scene == Scene::DepositedUnheard {
                outside.deposit_unheard(made).await;
            }
        }
        let passes = outside.made.iter().map(|made| made.scene.passes()).max();
        self.pass(passes.unwrap_or_default());
        let deeds = outside.made.iter().zip(0_u64..).map(|(made, n)| {
            let mixed = seed.wrapping_mul(31).wrapping_add(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            made.scene.deeds(mixed >> 24)
        });
        outside.plan(deeds.enumerate().flat_map(each));
    }

    fn flows(&self) -> impl Fn(&Desk) -> Vec<Flow> + Send + Sync + 'static {
        let is_forgetful = self.is_forgetful;
        move |desk| {
            let mut flows = flows(desk);
            if is_forgetful {
                flows.push(forgetful::flow(desk));
            }
            flows
        }
    }

    async fn play(&self, run: &Run, play: Play) -> Played {
        let (desk, make) = (run.desk.clone(), self.flows());
        let flows = Arc::new(move |_| make(&desk));
        let scheduler = Scheduler::new(self.store.clone(), flows, Arc::clone(&self.now));
        let (desk, handed) = (run.desk.clone(), Arc::clone(&run.handed));
        let ear = ear::listening(&run.outside, move |engine| payments(&desk, &handed, engine));
        let scheduler = scheduler.idling(IDLE_MAX).visited(visit(&run.outside));
        scheduler.handed(Arc::clone(&run.handed)).beside(ear).play(play).await
    }

    /// Everything that is wrong after a run.
    async fn wrongs(&mut self, run: &Run) -> Vec<String> {
        let outside = &run.outside;
        let of_provider: Vec<_> =
            outside.made.iter().map(|made| (made.id, made.order.clone())).collect();
        let mut wrongs = outside.unanswered().await;
        wrongs.extend(self.audit.wrongs(&outside.provider, &of_provider).await);
        for made in &outside.made {
            let payment = outside.payment(made).await;
            if !outside.stands(made, &payment) {
                let charge = outside.charge(made);
                wrongs.push(format!("{made:?} is {:?}, and {charge:?} there", payment.status));
            }
            let is_in_time = outside.facts.lock().unwrap().in_time.contains(&made.id);
            if is_in_time && payment.sums.captured != made.amount.minor() {
                wrongs.push(format!("{made:?} came in time, and is {:?}", payment.status));
            }
            for refund in self.store.list_refunds(made.id).await.unwrap() {
                if self.store.find_sealed_refund_account(refund.id).await.unwrap().is_some() {
                    wrongs.push(format!("{made:?}: an account is kept that nobody needs"));
                }
            }
        }
        wrongs.append(&mut outside.facts.lock().unwrap().wrongs);
        wrongs
    }
}

/// How payments are asked for at a node.
fn payments(desk: &Desk, handed: &Handed, engine: Engine) -> Payments {
    let workflows = Workflows::handing(&Handle::current(), engine.clone(), Arc::clone(handed));
    Payments::new(desk.clone(), engine, workflows, SETTINGS)
}

fn confirm(payer: UserId, made: &Made) -> ConfirmPayment {
    ConfirmPayment {
        payer,
        payment: made.id,
        payment_key: PaymentKey::parse(&made.provider_key).unwrap(),
        amount: made.amount,
    }
}

/// Deeds about the payment of a number, by their turns.
fn each<D: Copy>((n, deeds): (usize, Vec<(usize, D)>)) -> Vec<(usize, (usize, D))> {
    deeds.into_iter().map(|(turn, deed)| (turn, (n, deed))).collect()
}

/// Before each turn, somebody does what is to be done.
fn visit(outside: &Arc<Outside>) -> Visit {
    let outside = Arc::clone(outside);
    Arc::new(move |turn| {
        let outside = Arc::clone(&outside);
        async move { outside.act(turn).await }.boxed()
    })
}

/// Asks for parts of what came by a transfer, to an account.
async fn ask_back(outside: &Outside) {
    for made in outside.made.iter().filter(|made| made.scene == Scene::DepositReturned) {
        let part = Amount::new(made.amount.minor() / 3).unwrap();
        for amount in [Some(part), None] {
            let details = AccountDetails::parse("110-123-456789", "김지수").unwrap();
            let account = RefundAccount { bank: BankCode::parse("088").unwrap(), details };
            let whole = outside.cancel(made);
            let request = CancelPayment { amount, refund_account: Some(account), ..whole };
            outside.ask(Request::Cancel(request)).await;
        }
    }
}

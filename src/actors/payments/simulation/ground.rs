//! The ground of a run: payments that were confirmed, refunds that were asked for, and disputes that were heard of.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use uuid::Uuid;

use super::super::desk::Desk;
use super::super::dispute::{told, write_down};
use super::super::requests::{refund_workflow, send};
use super::super::{PaymentsError, flows};
use super::apart;
use super::audit::Audit;
use crate::actors::workflow::engine::{Clock, Engine, WORN};
use crate::actors::workflow::simulation::scheduler::{Play, Played, Scheduler};
use crate::clock;
use crate::config::Config;
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::ledger::chart::Shard;
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::payments::orders::{FeeBps, NewOrder, OrderKey, OrderName};
use crate::domain::payments::refunds::{Sums, refund_of};
use crate::domain::payments::{Cause, PaymentStatus, ProviderName};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{Reason, WorkflowStatus};
use crate::providers::payments::fake::FakeProvider;
use crate::providers::payments::fake::faults::{Fault, Faults, Operation};
use crate::providers::payments::fake::payer::Method;
use crate::providers::payments::{
    Answer, Capabilities, DeclineCode, Dispute, LookUp, PaymentProvider, Prepare, Providers,
};
use crate::store::payments::attempts::{get_attempt, insert_attempt, update_provider_key};
use crate::store::payments::refunds::{NewRefund, request};
use crate::store::payments::transitions::{By, created};
use crate::store::payments::{Payment, get_locked};
use crate::store::testing::new_user;
use crate::store::workflows::insert_workflow;
use crate::store::{Store, StoreError};

const START: i64 = 1_795_262_400_000;
/// What nobody knows is asked for every five minutes.
const IDLE_MAX: Duration = Duration::from_mins(3);
/// Longer than anything that the provider puts off.
const AFTERWARDS: Duration = Duration::from_mins(10);

/// How the provider of a run is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nature {
    pub(super) name: &'static str,
    pub(super) capabilities: Capabilities,
    /// Calls of a hundred that go wrong.
    pub(super) faults: u32,
}

/// A database for some runs.
pub(super) struct Ground {
    store: Store,
    data: PathBuf,
    payer: UserId,
    now: Arc<AtomicI64>,
    runs: u64,
    audit: Audit,
    /// Whether disputes are worked on as by the control.
    pub(super) is_apart: bool,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// How a run was played: until everything was confirmed, and until everything was given back that was asked for.
pub(super) struct Outcome {
    pub(super) confirming: Played,
    pub(super) refunding: Played,
    pub(super) wrongs: Vec<String>,
}

struct Run {
    provider: Arc<FakeProvider>,
    desk: Desk,
    /// Each with our order, as the provider knows it.
    payments: Vec<(PaymentId, String)>,
}

impl Ground {
    pub(super) async fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let data = folder.join(format!("madang-payments-{}", clock::new_uuid().simple()));
        std::fs::create_dir_all(&data).unwrap();
        let config = Config::read(None, [("MADANG__DATA__DIR", data.to_str().unwrap())]).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        let now = Arc::new(AtomicI64::new(START));
        let payer = new_user(&store).await;
        let audit = Audit::new(store.clone());
        Self { store, data, payer, now, runs: 0, audit, is_apart: false }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Arc::new(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
    }

    /// Plays one run: `count` payments are confirmed, then parts of them, or all, are given back.
    pub(super) async fn run(
        &mut self,
        (play, then): (Play, Play),
        nature: Nature,
        count: u64,
    ) -> Outcome {
        self.runs += 1;
        let run = self.begin(play.seed, nature, count).await;
        let confirming = self.play(&run, play).await;
        self.ask_for_refunds(&run, play.seed).await;
        self.hear_of_disputes(&run, play.seed).await;
        let refunding = self.play(&run, then).await;
        let mut wrongs: Vec<String> =
            [&confirming, &refunding].into_iter().filter_map(|it| it.failure.clone()).collect();
        self.now.fetch_add(i64::try_from(AFTERWARDS.as_millis()).unwrap(), Ordering::SeqCst);
        wrongs.extend(self.audit.wrongs(&run.provider, &run.payments).await);
        Outcome { confirming, refunding, wrongs }
    }

    async fn play(&self, run: &Run, play: Play) -> Played {
        let (desk, is_apart) = (run.desk.clone(), self.is_apart);
        let flows = Arc::new(move |_| {
            let mut flows = flows(&desk);
            if is_apart {
                flows.push(apart::flow(&desk));
            }
            flows
        });
        let scheduler = Scheduler::new(self.store.clone(), flows, Arc::clone(&self.now));
        let mut scheduler = scheduler.idling(IDLE_MAX);
        let mut played = scheduler.play(play).await;
        // Where any turn may end in a death, some of ten thousand have twenty of them in a row.
        let is_deadly = play.crashes > 0 || play.sleeps > 0;
        while is_deadly && played.failure.is_none() {
            let by_hand = self.let_go_on().await;
            if by_hand == 0 {
                break;
            }
            let again = scheduler.play(play).await;
            played.by_hand += by_hand;
            played.points += again.points;
            played.crashes += again.crashes;
            played.failure = again.failure;
        }
        played
    }

    /// Lets go on, as somebody would, what was parked because too many who took it have died or slept, and says how much
    /// that was. Whatever is parked for another reason stays so.
    async fn let_go_on(&self) -> usize {
        let parked = self.store.list_workflows(WorkflowStatus::Parked, None, 99).await.unwrap();
        let is_worn = |why: &Option<String>| why.as_ref().is_some_and(|why| why.starts_with(WORN));
        let worn: Vec<_> = parked.iter().filter(|it| is_worn(&it.last_error)).collect();
        for workflow in &worn {
            let (reason, now) = (Reason::parse("looked at").unwrap(), self.time());
            self.store.resume_workflow(workflow.id, self.payer, reason, now).await.unwrap();
        }
        worn.len()
    }

    async fn begin(&self, seed: u64, nature: Nature, count: u64) -> Run {
        let faults = Faults::by_chance(nature.faults, seed);
        let provider = FakeProvider::new(nature.capabilities, faults, self.clock());
        let provider = Arc::new(provider);
        let shared: Arc<dyn PaymentProvider> = provider.clone();
        let providers = Providers::of(shared);
        let desk = Desk::new(self.store.clone(), providers, self.clock());
        let mut run = Run { provider, desk, payments: Vec::new() };
        for n in 0..count {
            // Some are refused, and of some another amount is taken.
            let planned = match (seed + n) % 10 {
                3 => Some(Fault::Declined(DeclineCode::CardDeclined)),
                7 => Some(Fault::WrongAmount),
                _ => None,
            };
            let payment = self.confirmed(&run, seed, n).await;
            if let Some(fault) = planned {
                run.provider.plan(Operation::Confirm, [Some(fault)]);
            }
            run.payments.push(payment);
        }
        run
    }

    /// A payment that somebody has asked to be confirmed.
    async fn confirmed(&self, run: &Run, seed: u64, n: u64) -> (PaymentId, String) {
        let now = self.time();
        let id = Uuid::from_u128((u128::from(self.runs) << 64) + (u128::from(n) << 32) + 1);
        let order = NewOrder {
            key: OrderKey::parse("job", &format!("{}-{n}", self.runs)).unwrap(),
            payer: None,
            payee: None,
            amount: Amount::new(100 + i64::try_from((seed + n) % 900).unwrap()).unwrap(),
            currency: Currency::KRW,
            name: OrderName::parse("화단 정리").unwrap(),
            fee: FeeBps::default(),
        };
        self.store.put_order(order.clone(), now).await.unwrap();
        let payment = Payment {
            id: id.into(),
            order: order.key,
            payer: self.payer,
            payee: None,
            provider: ProviderName::Fake,
            shard: Shard::numbered(0),
            currency: order.currency,
            amount: order.amount,
            sums: Sums::default(),
            status: PaymentStatus::Created,
            under_way: None,
            is_captured_later: false,
            is_by_deposit: false,
            failure_code: None,
            version: 0,
            // The time of some is over before anybody knows.
            expires_at: now.plus(Duration::from_mins(if (seed + n).is_multiple_of(4) {
                2
            } else {
                30
            })),
            created_at: now,
            updated_at: now,
        };
        let attempt = format!("md_{}", id.simple());
        let prepare = Prepare {
            order: attempt.clone(),
            amount: payment.amount,
            currency: payment.currency,
            name: "화단 정리".to_owned(),
            is_captured_later: false,
        };
        while !matches!(run.provider.prepare(&prepare).await, Answer::Done(_)) {}
        // Some payers never pay, and say that they have.
        let key = format!("fake-{attempt}");
        if (seed + n) % 8 != 5 {
            assert_eq!(run.provider.pay(&attempt, Method::Card).unwrap(), key);
        }
        // Some workflows are begun by a node that dies at once, its effect announced.
        let dead = (seed + n).is_multiple_of(2).then(|| {
            let node = Uuid::from_u128(u128::MAX).into();
            Engine::new(self.store.clone(), node, flows(&run.desk), self.clock())
        });
        let begun: Result<(), PaymentsError> = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    let mut payment = payment;
                    created(db, &payment, &By::new(Cause::Api, "test")).await?;
                    let attempt =
                        insert_attempt(db, id.into(), payment.id, payment.provider, now).await?;
                    update_provider_key(db, attempt.id, &key).await?;
                    let new = send(db, &mut payment, &attempt, &key, now).await?;
                    match dead {
                        Some(engine) => engine.begin(db, &new, now).await.map(|_| ())?,
                        None => insert_workflow(db, &new, now).await.map(|_| ())?,
                    }
                    Ok(())
                })
            })
            .await;
        begun.unwrap();
        (id.into(), attempt)
    }

    /// Asks for a part of what was taken, and for some of the rest at the same time.
    async fn ask_for_refunds(&self, run: &Run, seed: u64) {
        if seed % 10 == 5 {
            let refused = Fault::Declined(DeclineCode::NotRefundable);
            run.provider.plan(Operation::Cancel, [Some(refused)]);
        }
        let now = self.time();
        for (n, (id, _)) in run.payments.iter().enumerate() {
            let (id, is_whole) = (*id, (seed + u64::try_from(n).unwrap()).is_multiple_of(3));
            let asked: Result<(), PaymentsError> = self
                .store
                .write(move |db| {
                    Box::pin(async move {
                        let mut payment = get_locked(db, id).await?;
                        let attempt = get_attempt(db, id).await?;
                        let part = Amount::new(payment.amount.minor() / 3).unwrap();
                        for asked in [Some(part), (!is_whole).then_some(part)] {
                            let Ok(amount) = refund_of(payment.status, payment.sums, 0, asked)
                            else {
                                return Ok(());
                            };
                            let refund = NewRefund {
                                id: clock::new_uuid().into(),
                                amount,
                                reason: "늦음".to_owned(),
                                actor: "test".to_owned(),
                                sealed_account: None,
                            };
                            let refund = request(db, &mut payment, refund, now).await?;
                            let key = attempt.provider_key.clone().unwrap();
                            let new = refund_workflow(&payment, &attempt, key, &refund, now);
                            insert_workflow(db, &new, now).await?;
                        }
                        Ok(())
                    })
                })
                .await;
            asked.unwrap();
        }
    }

    /// Some payers' banks want their money back, and have decided by the time that anybody hears of it.
    async fn hear_of_disputes(&self, run: &Run, seed: u64) {
        for (n, (id, order)) in run.payments.iter().enumerate() {
            let chance = seed + u64::try_from(n).unwrap();
            if chance % 3 == 2 {
                continue;
            }
            let Ok(key) = run.provider.dispute(order, None) else { continue };
            let is_lost = chance.is_multiple_of(2);
            let status = if is_lost { DisputeStatus::Lost } else { DisputeStatus::Won };
            run.provider.decide(&key, status).unwrap();
            let found = loop {
                if let LookUp::Found(dispute) = run.provider.find_dispute(&key).await {
                    break dispute;
                }
            };
            let payment = self.store.find_payment(*id).await.unwrap().unwrap();
            // That it was open is heard of as well, and late.
            let open = Dispute { status: DisputeStatus::NeedsResponse, ..found.clone() };
            let (open, over) = (told(&payment, &open), told(&payment, &found));
            let now = self.time();
            let heard: Result<(), StoreError> = self
                .store
                .write(move |db| {
                    Box::pin(async move {
                        let is_lost = over.status == DisputeStatus::Lost;
                        let (first, then) = if is_lost { (over, open) } else { (open, over) };
                        write_down(db, &first, now).await?;
                        write_down(db, &then, now).await.map(|_| ())
                    })
                })
                .await;
            heard.unwrap();
        }
    }
}

//! Suites: every point of a crash, pairs of them, swarms of nodes, and the controls.

#![expect(clippy::print_stdout, reason = "what was played is told to whoever looks")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde_json::json;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::Safeguard;
use super::flows::{OrderState, flows};
use super::scheduler::{Play, Played, Scheduler};
use super::seeds::{pairs, single_deaths, swarms};
use super::world::{Nature, World};
use crate::clock;
use crate::config::Config;
use crate::domain::ids::UserId;
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;
use crate::store::ledger::book;
use crate::store::relay::OutboxPosition;
use crate::store::workflows::{NewWorkflow, insert_workflow};
use crate::store::{Store, StoreError};

const START: i64 = 1_795_262_400_000;
/// Runs that share a database: it is small then, and opened seldom.
const RUNS_PER_DATABASE: usize = 200;
const USER: Uuid = Uuid::from_u128(7);

const SOUND: Nature = Nature { faults: 0, is_idempotent: true, has_look_up: true, unsigned: 30 };
const FAULTY: Nature = Nature { faults: 50, ..SOUND };
/// It does not know its keys, and has to be asked.
const FORGETFUL: Nature = Nature { is_idempotent: false, ..FAULTY };
/// It knows its keys, and cannot be asked.
const SILENT: Nature = Nature { has_look_up: false, ..FAULTY };

/// A database for some runs.
struct Ground {
    store: Store,
    data: PathBuf,
    now: Arc<AtomicI64>,
    runs: u128,
    seen: OutboxPosition,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// Orders and payouts of one run.
struct Scenario {
    orders: Vec<(Uuid, i64)>,
    payouts: Vec<(Uuid, i64)>,
}

impl Ground {
    async fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let data = folder.join(format!("madang-simulation-{}", clock::new_uuid().simple()));
        std::fs::create_dir_all(&data).unwrap();
        let config = Config::read(None, [("MADANG__DATA__DIR", data.to_str().unwrap())]).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        let now = Arc::new(AtomicI64::new(START));
        Self { store, data, now, runs: 0, seen: OutboxPosition::START }
    }

    /// Begins what a run consists of: the wallet of its user, orders and payouts.
    async fn set(&mut self, seed: u64, orders: usize, payouts: usize) -> Scenario {
        self.runs += 1;
        let base = (u128::from(seed) << 40) + (self.runs << 20);
        let id = |n: usize| Uuid::from_u128(base + u128::try_from(n).unwrap());
        let amount =
            |n: usize| 100 + i64::try_from((seed + u64::try_from(n).unwrap()) % 4_900).unwrap();
        let scenario = Scenario {
            orders: (0..orders).map(|n| (id(n), amount(n))).collect(),
            payouts: (orders..orders + payouts).map(|n| (id(n), amount(n))).collect(),
        };
        let user = UserId::from(USER);
        let mut entries = vec![entry(
            format!("pay_in:{}", id(0)),
            Line::Move {
                debit: AccountName::BankTrust,
                credit: AccountName::UserAvailable(user),
                amount: Amount::new(1_000_000).unwrap(),
                code: "pay_in",
            },
        )];
        let mut workflows = Vec::new();
        for (kind, (order, amount)) in scenario
            .orders
            .iter()
            .map(|it| ("order", it))
            .chain(scenario.payouts.iter().map(|it| ("payout", it)))
        {
            let deposit = if kind == "order" { 100 } else { *amount };
            let state = OrderState { order: *order, user, amount: *amount, deposit };
            if kind == "payout" {
                entries.push(entry(
                    format!("deposit:{order}"),
                    Line::Hold {
                        debit: AccountName::UserAvailable(user),
                        credit: AccountName::PayoutInTransit,
                        amount: Amount::new(*amount).unwrap(),
                        code: "deposit",
                        expires_at: None,
                    },
                ));
            }
            workflows.push(NewWorkflow {
                id: (*order).into(),
                kind,
                version: 1,
                dedupe_key: format!("{kind}:{order}"),
                state: json!(state),
                wake_at: self.time(),
            });
        }
        let now = self.time();
        let written: Result<(), StoreError> = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    for entry in &entries {
                        book(db, entry, now).await.unwrap();
                    }
                    for workflow in &workflows {
                        insert_workflow(db, workflow, now).await?;
                    }
                    Ok(())
                })
            })
            .await;
        written.unwrap();
        scenario
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    /// Everything that is wrong after a run.
    async fn wrongs(&mut self, scenario: &Scenario, world: &World) -> Vec<String> {
        let mut wrongs = Vec::new();
        let mut told = std::collections::BTreeMap::<(String, String), usize>::new();
        loop {
            let events = self.store.list_outbox(self.seen, 500).await.unwrap();
            let Some(last) = events.last() else { break };
            self.seen = last.position;
            for event in events {
                *told.entry((event.subject, event.name)).or_default() += 1;
            }
        }
        let count = |order: Uuid, name: &str| {
            told.get(&(order.to_string(), name.to_owned())).copied().unwrap_or_default()
        };
        for (order, amount) in &scenario.orders {
            let (charges, refunded) = world.charged(*order);
            let lines = self.lines(*order).await;
            let has = |kind: &str| lines.iter().any(|line| line == kind);
            if charges.len() > 1 {
                wrongs.push(format!("{order} was charged twice: {charges:?}"));
            }
            let captured = if has("capture") { *amount } else { 0 };
            if charges.iter().sum::<i64>() != captured {
                wrongs.push(format!("{order}: charged {charges:?}, booked {captured}"));
            }
            let booked = if has("refund") { *amount } else { 0 };
            if refunded != booked {
                wrongs.push(format!("{order}: refunded {refunded}, booked {booked}"));
            }
            if has("finish") == has("give_back") && has("deposit") {
                wrongs.push(format!("{order}: its deposit is neither here nor there"));
            }
            if world.is_signed(*order) != has("finish") {
                wrongs.push(format!("{order}: signed, and not finished, or the other way round"));
            }
            if has("finish") && has("refund") {
                wrongs.push(format!("{order}: finished and refunded"));
            }
            if has("capture") && !has("finish") && !has("refund") {
                wrongs.push(format!("{order}: charged for nothing"));
            }
            for (name, is_true) in [
                ("OrderCharged", has("capture")),
                ("OrderRefunded", has("refund")),
                ("OrderFinished", has("finish")),
            ] {
                if count(*order, name) != usize::from(is_true) {
                    wrongs.push(format!("{order}: {name} was told {} times", count(*order, name)));
                }
            }
        }
        for (order, amount) in &scenario.payouts {
            let (paid, lines) = (world.paid_out(*order), self.lines(*order).await);
            let has = |kind: &str| lines.iter().any(|line| line == kind);
            let booked = if has("finish") { vec![*amount] } else { Vec::new() };
            if paid != booked {
                wrongs.push(format!("{order}: paid out {paid:?}, booked {booked:?}"));
            }
            if has("finish") == has("give_back") {
                wrongs.push(format!("{order}: its money is neither here nor there"));
            }
            if count(*order, "PaidOut") != usize::from(has("finish")) {
                wrongs.push(format!("{order}: PaidOut was told otherwise"));
            }
        }
        wrongs.extend(self.wrong_books().await);
        wrongs
    }

    async fn lines(&self, order: Uuid) -> Vec<String> {
        self.store.list_entry_kinds(order).await.unwrap()
    }

    async fn wrong_books(&self) -> Vec<String> {
        let page = self.store.check_ledger(None, 500).await.unwrap();
        let mut wrongs: Vec<String> =
            page.drifts.iter().map(|drift| format!("{} has drifted", drift.code)).collect();
        let families = self.store.list_family_balances().await.unwrap();
        let sum = |of: fn(&crate::domain::ledger::Counters) -> i64| {
            families.iter().map(|family| of(&family.counters)).sum::<i64>()
        };
        if sum(|it| it.debits_posted) != sum(|it| it.credits_posted) {
            wrongs.push("the books do not balance".to_owned());
        }
        if sum(|it| it.debits_pending) != 0 {
            wrongs.push("something is still held".to_owned());
        }
        wrongs
    }
}

fn entry(key: String, line: Line) -> Entry {
    Entry {
        key,
        kind: "deposit",
        reference: Reference { kind: "order", id: Uuid::nil() },
        actor: "test".to_owned(),
        currency: Currency::KRW,
        lines: vec![line],
    }
}

/// Plays one run on a ground; gives how it went, and what is wrong.
async fn run(
    ground: &mut Ground,
    play: Play,
    nature: Nature,
    (orders, payouts): (usize, usize),
) -> (Played, Vec<String>) {
    let world = Arc::new(World::new(play.seed, nature, Arc::clone(&ground.now)));
    let scenario = ground.set(play.seed, orders, payouts).await;
    let now = Arc::clone(&ground.now);
    let played_in = Arc::clone(&world);
    let flows = Arc::new(move |unsent| flows(&played_in, unsent));
    let mut scheduler = Scheduler::new(ground.store.clone(), flows, now);
    let mut played = scheduler.play(play).await;
    let wrongs = match played.failure.take() {
        Some(failure) => vec![failure],
        None => ground.wrongs(&scenario, &world).await,
    };
    (played, wrongs)
}

/// What is played: how the outside is, and how many orders and payouts there are.
type Scene = (&'static str, Nature, (usize, usize));

const ONE_OF_EACH: [Scene; 6] = [
    ("an order", SOUND, (1, 0)),
    ("a payout", SOUND, (0, 1)),
    ("an order and faults", FAULTY, (1, 0)),
    ("a payout and faults", FAULTY, (0, 1)),
    ("an order and a forgetful provider", FORGETFUL, (1, 0)),
    ("an order and a silent provider", SILENT, (1, 0)),
];

/// Plays `run` for every seed on two grounds at once, each renewed now and then; gives what the runs came to, in all.
async fn on_grounds<R>(seeds: u64, run: impl Fn(Ground, u64) -> R + Send + Sync + 'static) -> Sum
where
    R: Future<Output = (Ground, Sum)> + Send,
{
    let (run, next) = (Arc::new(run), Arc::new(AtomicU64::new(0)));
    let hands = (0..2).map(|_| {
        let (run, next) = (Arc::clone(&run), Arc::clone(&next));
        tokio::spawn(async move {
            let (mut ground, mut sum, mut since) = (Ground::new().await, Sum::default(), 0);
            loop {
                let seed = next.fetch_add(1, Ordering::SeqCst);
                if seed >= seeds {
                    return sum;
                }
                if sum.runs - since > RUNS_PER_DATABASE {
                    (ground, since) = (Ground::new().await, sum.runs);
                }
                let (played_on, came_to) = run(ground, seed).await;
                ground = played_on;
                sum.add(came_to);
            }
        })
    });
    let mut sum = Sum::default();
    for hand in hands.collect::<Vec<_>>() {
        sum.add(hand.await.unwrap());
    }
    sum
}

/// What runs came to.
#[derive(Debug, Default)]
struct Sum {
    runs: usize,
    points: usize,
    crashes: usize,
    /// The first that went wrong.
    wrong: Option<String>,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.points += other.points;
        self.crashes += other.crashes;
        self.wrong = self.wrong.take().or(other.wrong);
    }

    fn count(&mut self, name: &str, play: Play, (played, wrongs): &(Played, Vec<String>)) {
        self.runs += 1;
        self.points += played.points;
        self.crashes += played.crashes;
        if !wrongs.is_empty() && self.wrong.is_none() {
            self.wrong = Some(format!("{name}, {play:?}: {}", wrongs.join("; ")));
        }
    }

    fn must_be_right(&self, what: &str) {
        println!("{what}: {} runs, {} points, {} crashes", self.runs, self.points, self.crashes);
        assert!(self.wrong.is_none(), "{}", self.wrong.as_deref().unwrap_or_default());
    }
}

/// A death after every single turn that a run has.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_loses_and_doubles_nothing() {
    let sum = on_grounds(single_deaths(66), async |mut ground: Ground, seed| {
        let mut sum = Sum::default();
        for (name, nature, scenes) in ONE_OF_EACH {
            let quiet = Play::quiet(seed);
            let whole = run(&mut ground, quiet, nature, scenes).await;
            sum.count(name, quiet, &whole);
            for point in 0..whole.0.points {
                let play = Play { crash_at: Some(point), ..quiet };
                sum.count(name, play, &run(&mut ground, play, nature, scenes).await);
            }
        }
        (ground, sum)
    })
    .await;
    sum.must_be_right("one crash");
}

/// A death after every turn, and another after every turn of what comes then.
#[tokio::test(flavor = "multi_thread")]
async fn two_crashes_at_any_points_lose_and_double_nothing() {
    let sum = on_grounds(pairs(3), async |mut ground: Ground, seed| {
        let mut sum = Sum::default();
        for (name, nature, scenes) in [ONE_OF_EACH[0], ONE_OF_EACH[1], ONE_OF_EACH[2]] {
            let quiet = Play::quiet(seed);
            let points = run(&mut ground, quiet, nature, scenes).await.0.points;
            for first in 0..points {
                for second in first + 1..points + 4 {
                    let crash_again_at = Some(second);
                    let play = Play { crash_at: Some(first), crash_again_at, ..quiet };
                    sum.count(name, play, &run(&mut ground, play, nature, scenes).await);
                }
            }
        }
        (ground, sum)
    })
    .await;
    sum.must_be_right("two crashes");
}

fn swarm(seed: u64) -> (Play, Nature) {
    let natures = [SOUND, FAULTY, FORGETFUL, SILENT];
    let nature = natures[usize::try_from(seed % 4).unwrap()];
    (Play { nodes: 3, crashes: 5, sleeps: 5, ..Play::quiet(seed) }, nature)
}

/// Three nodes that die and sleep through their leases at random, over several workflows.
#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_that_die_and_sleep_lose_and_double_nothing() {
    let sum = on_grounds(swarms(1_000), async |mut ground: Ground, seed| {
        let (mut sum, (play, nature)) = (Sum::default(), swarm(seed));
        sum.count("a swarm", play, &run(&mut ground, play, nature, (3, 2)).await);
        (ground, sum)
    })
    .await;
    sum.must_be_right("swarms");
}

/// Plays without a safeguard until it is missed.
async fn must_be_missed(without: Safeguard, natures: &[Nature], usual: u64) {
    let mut ground = Ground::new().await;
    for seed in 0..usual {
        let nature = natures[usize::try_from(seed).unwrap() % natures.len()];
        let play = Play { without: Some(without), ..swarm(seed).0 };
        let (_, wrongs) = run(&mut ground, play, nature, (3, 2)).await;
        if !wrongs.is_empty() {
            println!("without {without:?}: caught by seed {seed}: {}", wrongs.join("; "));
            return;
        }
        if seed % 50 == 49 {
            ground = Ground::new().await;
        }
    }
    panic!("nothing went wrong without {without:?} in {usual} seeds");
}

const CONTROL_SEEDS: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn without_the_fence_something_goes_wrong() {
    must_be_missed(Safeguard::Fence, &[FAULTY, FORGETFUL], CONTROL_SEEDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_asking_first_something_goes_wrong() {
    must_be_missed(Safeguard::LookUp, &[FORGETFUL], CONTROL_SEEDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_new_key_for_each_try_something_goes_wrong() {
    must_be_missed(Safeguard::StableKeys, &[SILENT], CONTROL_SEEDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_transactions_for_a_step_something_goes_wrong() {
    must_be_missed(Safeguard::OneTransaction, &[SOUND, FAULTY], CONTROL_SEEDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_timeout_taken_for_a_refusal_something_goes_wrong() {
    must_be_missed(Safeguard::UnknownIsUnknown, &[FAULTY], CONTROL_SEEDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_undoing_that_gives_up_something_goes_wrong() {
    must_be_missed(Safeguard::Persistence, &[FAULTY], CONTROL_SEEDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_events_sent_afterwards_something_goes_wrong() {
    must_be_missed(Safeguard::EventInside, &[SOUND], CONTROL_SEEDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_plays_the_same_way_again() {
    let play = swarm(1).0;
    let mut points = Vec::new();
    for _ in 0..3 {
        let (played, _) = run(&mut Ground::new().await, play, FAULTY, (3, 2)).await;
        points.push((played.points, played.crashes));
    }
    assert!(points.windows(2).all(|pair| pair[0] == pair[1]), "{points:?}");
}

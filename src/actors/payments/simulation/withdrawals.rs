//! Withdrawals in the simulation: asked for, decided about at any moment by somebody else, sent, watched, and held
//! against what the provider has paid out.

#![expect(clippy::print_stdout, reason = "what was played is told to whoever looks")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::ground::Nature;
use super::tests::{FAULTY, FORGETTING, MUTE, NATURES, Sum, WELL, play};
use crate::actors::payments::bank_file::BankFile;
use crate::actors::payments::wallets::{AccountDraft, Wallets};
use crate::actors::workflow::engine::Clock;
use crate::actors::workflow::simulation::Safeguard;
use crate::actors::workflow::simulation::scheduler::{Play, Played, Scheduler, Visit};
use crate::actors::workflow::simulation::seeds::{pairs, single_deaths, swarms};
use crate::clock;
use crate::config::Config;
use crate::domain::bank_accounts::{AccountDetails, BankCode};
use crate::domain::idempotency::{IdempotencyKey, IdempotentCall};
use crate::domain::ids::{BankAccountId, UserId, WithdrawalId};
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::money::{Amount, Currency};
use crate::domain::payouts::{BANK_FILE, BankResult, EntryStatus, FailureCode};
use crate::domain::time::Timestamp;
use crate::domain::withdrawals::{WithdrawalRules, WithdrawalStatus};
use crate::domain::workflows::Reason;
use crate::providers::payments::fake::FakeProvider;
use crate::providers::payments::fake::faults::{Fault, Faults, Operation};
use crate::providers::payments::{DeclineCode, PaymentProvider, Providers};
use crate::providers::seal::Seal;
use crate::store::bank_accounts::Voucher;
use crate::store::ledger::{BookError, book};
use crate::store::relay::OutboxPosition;
use crate::store::testing::{new_user, sum_bank_of};
use crate::store::withdrawals::Withdrawal;
use crate::store::workflows::count_open;
use crate::store::{Store, StoreError};

const START: i64 = 1_795_262_400_000;
const OPENING: i64 = 1_000_000;
const IDLE_MAX: Duration = Duration::from_mins(3);
/// Longer than anything that the provider puts off.
const AFTERWARDS: Duration = Duration::from_mins(10);
/// Turns between two looks at what banks have done.
const WATCH_TURNS: usize = 40;
/// Turns between two files that are carried to the bank.
const CARRIED_TURNS: usize = 3;
/// Decisions fall before this turn.
const DECIDED_BEFORE: u64 = 30;
const CONTROL_SEEDS: u64 = 200;
const RULES: WithdrawalRules = WithdrawalRules {
    amount_min: 100,
    amount_max: 1_000_000,
    per_day_count_max: 1_000,
    per_day_sum_max: 100_000_000,
    approved_up_to: 500,
    first_wait: Duration::ZERO,
};

/// A database for some runs, and somebody with a wallet in it.
pub(super) struct Bank {
    store: Store,
    data: PathBuf,
    now: Arc<AtomicI64>,
    runs: u64,
    seen: OutboxPosition,
    /// Whether people carry files to a bank, and the provider pays nobody.
    is_by_file: bool,
}

impl Drop for Bank {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// What people do about withdrawals, by the turn before which they do it.
type Decisions = Arc<Mutex<BTreeMap<usize, Vec<(WithdrawalId, WithdrawalStatus)>>>>;

struct Run {
    provider: Arc<FakeProvider>,
    wallets: Wallets,
    user: UserId,
    asked: Vec<Withdrawal>,
    decisions: Decisions,
}

impl Bank {
    pub(super) async fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let data = folder.join(format!("madang-withdrawals-{}", clock::new_uuid().simple()));
        std::fs::create_dir_all(&data).unwrap();
        let config = Config::read(None, [("MADANG__DATA__DIR", data.to_str().unwrap())]).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        let now = Arc::new(AtomicI64::new(START));
        Self { store, data, now, runs: 0, seen: OutboxPosition::START, is_by_file: false }
    }

    async fn by_file() -> Self {
        let mut bank = Self::new().await;
        bank.is_by_file = true;
        bank
    }

    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Arc::new(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
    }

    /// Plays one run of so many withdrawals; gives how it went, and what is wrong.
    async fn run(&mut self, play: Play, nature: Nature, count: u64) -> (Played, Vec<String>) {
        self.runs += 1;
        let run = self.begin(play.seed, nature, count).await;
        let wallets = run.wallets.clone();
        let flows = Arc::new(move |_| vec![wallets.flow()]);
        let scheduler = Scheduler::new(self.store.clone(), flows, Arc::clone(&self.now));
        let mut scheduler = scheduler.idling(IDLE_MAX).visited(self.visit(&run));
        let played = scheduler.play(play).await;
        self.now.fetch_add(i64::try_from(AFTERWARDS.as_millis()).unwrap(), Ordering::SeqCst);
        let mut wrongs: Vec<String> = played.failure.clone().into_iter().collect();
        wrongs.extend(self.wrongs(&run).await);
        (played, wrongs)
    }

    async fn begin(&self, seed: u64, nature: Nature, count: u64) -> Run {
        let faults = Faults::by_chance(nature.faults, seed);
        let provider = FakeProvider::new(nature.capabilities, faults, self.clock());
        let provider = Arc::new(provider);
        let shared: Arc<dyn PaymentProvider> = provider.clone();
        let seal = Some(Seal::new(&"k".repeat(43).into()).unwrap());
        let (store, clock) = (self.store.clone(), self.clock());
        let mut providers = Providers::of(shared);
        if self.is_by_file {
            providers.add(Arc::new(BankFile::new(store.clone(), Arc::clone(&clock))));
            providers.pay_out_by(BANK_FILE);
        }
        let wallets = Wallets::new(store, providers, seal, RULES, Currency::KRW, clock);
        let user = new_user(&self.store).await;
        self.earn(user).await;
        let account = open_account(&wallets, user).await;
        match seed % 10 {
            3 => {
                let refused = Fault::Declined(DeclineCode::CardDeclined);
                provider.plan(Operation::PayOut, [Some(refused)]);
            }
            // Whoever says that it takes its time can be asked when it is done.
            6 if nature.capabilities.has_look_up_by_key => {
                let later = Fault::PaidLater(Duration::from_mins(3));
                provider.plan(Operation::PayOut, [Some(later)]);
            }
            _ => {}
        }
        for n in 0..count {
            let amount = 100 + i64::try_from((seed + n * 317) % 900).unwrap();
            let call = call(user, self.runs, n);
            let amount = Amount::new(amount).unwrap();
            wallets.withdraw(user, amount, account, call).await.unwrap();
        }
        let asked = self.store.list_withdrawals(user, None, 100).await.unwrap();
        let decisions = decisions(seed, &asked);
        Run { provider, wallets, user, asked, decisions }
    }

    async fn earn(&self, user: UserId) {
        let entry = Entry {
            key: format!("earned:{user}"),
            kind: "test",
            reference: Reference { kind: "test", id: Uuid::nil() },
            actor: "test".to_owned(),
            currency: Currency::KRW,
            lines: vec![Line::Move {
                debit: AccountName::BankTrust,
                credit: AccountName::UserAvailable(user),
                amount: Amount::new(OPENING).unwrap(),
                code: "test",
            }],
        };
        let now = (self.clock())();
        let booked: Result<_, BookError> =
            self.store.write(move |db| Box::pin(async move { book(db, &entry, now).await })).await;
        booked.unwrap();
    }

    /// Everything that is wrong after a run.
    async fn wrongs(&mut self, run: &Run) -> Vec<String> {
        let (mut wrongs, mut out) = (Vec::new(), 0);
        let told = self.told().await;
        for asked in &run.asked {
            let found = self.store.find_withdrawal(asked.id).await.unwrap().unwrap();
            let moved = self.moved(run, asked.id).await;
            let sum: i64 = moved.iter().sum();
            let (is_paid, amount) = (found.status == WithdrawalStatus::Paid, asked.amount.minor());
            if moved.len() > 1 {
                wrongs.push(format!("{} was paid out {} times", asked.id, moved.len()));
            }
            if sum != if is_paid { amount } else { 0 } {
                let status = found.status;
                wrongs.push(format!("{}: {sum} was paid out, and it is {status:?}", asked.id));
            }
            if !is_paid && !found.status.is_final() {
                wrongs.push(format!("{} is not over: {:?}", asked.id, found.status));
            }
            let mut booked = -self.store.sum_receivable_of(asked.id.uuid()).await.unwrap();
            if self.is_by_file {
                booked -= sum_bank_of(&self.store, asked.id.uuid()).await;
            }
            if booked != sum {
                wrongs.push(format!("{}: {sum} was paid out, and {booked} booked", asked.id));
            }
            let end = found.status.event().unwrap_or_default().to_owned();
            for name in ["WithdrawalRequested".to_owned(), end] {
                let times = told.get(&(asked.id.to_string(), name.clone())).copied();
                if times != Some(1) {
                    wrongs.push(format!("{}: {name} was told {times:?} times", asked.id));
                }
            }
            out += sum;
        }
        let wallet = run.wallets.wallet(run.user).await.unwrap();
        if (wallet.available, wallet.held) != (OPENING - out, 0) {
            wrongs.push(format!("{out} was paid out, and what is left is {wallet:?}"));
        }
        let (_, parked) = self
            .store
            .read::<_, StoreError, _>(|db| Box::pin(async move { count_open(db).await }))
            .await
            .unwrap();
        if parked > 0 {
            wrongs.push(format!("{parked} are parked"));
        }
        let page = self.store.check_ledger(None, 500).await.unwrap();
        wrongs.extend(page.drifts.iter().map(|drift| format!("{} has drifted", drift.code)));
        wrongs
    }

    /// What was paid out for a withdrawal: by the provider, or by a bank, as somebody has said.
    async fn moved(&self, run: &Run, id: WithdrawalId) -> Vec<i64> {
        let moved = run.provider.movements(&id.to_string());
        let mut moved: Vec<i64> = moved.iter().map(|it| it.amount.minor()).collect();
        let entry = self.store.find_payout_entry(id).await.unwrap();
        let paid = entry.filter(|it| it.status == EntryStatus::Paid);
        moved.extend(paid.map(|it| it.amount.minor()));
        moved
    }

    /// How often each event was told, by withdrawal and name.
    async fn told(&mut self) -> BTreeMap<(String, String), usize> {
        let mut told = BTreeMap::new();
        loop {
            let events = self.store.list_outbox(self.seen, 500).await.unwrap();
            let Some(last) = events.last() else { return told };
            self.seen = last.position;
            for event in events {
                *told.entry((event.subject, event.name)).or_default() += 1;
            }
        }
    }
}

async fn open_account(wallets: &Wallets, user: UserId) -> BankAccountId {
    let draft = AccountDraft {
        bank_code: BankCode::parse("004").unwrap(),
        details: AccountDetails::parse("110-123-456789", "김지수").unwrap(),
    };
    let account = wallets.add_account(user, draft).await.unwrap().id;
    wallets.verify_account(account, Voucher::Service("app".to_owned())).await.unwrap();
    account
}

fn call(user: UserId, run: u64, n: u64) -> IdempotentCall {
    IdempotentCall {
        principal: format!("user:{user}"),
        route: "POST /v1/payments/withdraw",
        key: IdempotencyKey::parse(&format!("withdraw-{run}-{n}")).unwrap(),
        fingerprint: [0; 32],
    }
}

/// What is large is decided about at some moment, and some of what is not is given up.
fn decisions(seed: u64, asked: &[Withdrawal]) -> Decisions {
    let mut decisions = BTreeMap::<usize, Vec<_>>::new();
    for (n, withdrawal) in (0_u64..).zip(asked) {
        let drawn = (seed + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let to = match drawn % 8 {
            0 => WithdrawalStatus::Canceled,
            1 if withdrawal.needs_approval => WithdrawalStatus::Rejected,
            _ if withdrawal.needs_approval => WithdrawalStatus::Approved,
            _ => continue,
        };
        let turn = usize::try_from(drawn / 8 % DECIDED_BEFORE).unwrap();
        decisions.entry(turn).or_default().push((withdrawal.id, to));
    }
    Arc::new(Mutex::new(decisions))
}

impl Bank {
    /// People decide, carry files to the bank, and somebody asks banks; whoever comes too late is refused.
    fn visit(&self, run: &Run) -> Visit {
        let (decide, wallets) = (decide(run), run.wallets.clone());
        let carrier = self.is_by_file.then(|| self.store.clone());
        Arc::new(move |turn| {
            let (deciding, wallets, carrier) = (decide(turn), wallets.clone(), carrier.clone());
            async move {
                deciding.await;
                if let Some(store) = carrier.filter(|_| turn % CARRIED_TURNS == 0) {
                    carry(&store, &wallets, turn).await;
                }
                if turn % WATCH_TURNS == WATCH_TURNS - 1 {
                    wallets.watch().await.unwrap();
                }
            }
            .boxed()
        })
    }
}

/// Takes out what waits, and says what the bank did. Every other time whoever does so dies before anybody is told.
async fn carry(store: &Store, wallets: &Wallets, turn: usize) {
    let reason = Reason::parse("carried").unwrap();
    let admin = UserId::from(Uuid::from_u128(1));
    // Nothing waits: there is nothing to carry.
    let Ok(file) = wallets.make_payout_file(admin, reason.clone()).await else { return };
    let inside = store.list_filed_payouts(file.id, None, 1_000).await.unwrap();
    let result = |amount: i64| match amount % 5 {
        0 => BankResult::Failed(FailureCode::InvalidBankAccount),
        _ => BankResult::Paid,
    };
    let results = inside.iter().map(|it| (it.withdrawal, result(it.amount))).collect();
    if turn.is_multiple_of(2) {
        wallets.settle_payouts(file.id, admin, results, reason).await.unwrap();
    } else {
        let now = file.created_at;
        store.settle_payouts(file.id, admin, results, reason, now).await.unwrap();
    }
}

fn decide(run: &Run) -> Visit {
    let (wallets, user) = (run.wallets.clone(), run.user);
    let decisions = Arc::clone(&run.decisions);
    let reason = Reason::parse("looked at").unwrap();
    let admin = UserId::from(Uuid::from_u128(1));
    Arc::new(move |turn| {
        let now = decisions.lock().unwrap().remove(&turn).unwrap_or_default();
        let (wallets, reason) = (wallets.clone(), reason.clone());
        async move {
            for (id, to) in now {
                // Too late is no failure: the withdrawal says how it stands.
                let _ = match to {
                    WithdrawalStatus::Canceled => wallets.cancel(user, id).await.is_ok(),
                    WithdrawalStatus::Rejected => {
                        wallets.reject(admin, id, reason.clone()).await.is_ok()
                    }
                    _ => wallets.approve(admin, id, reason.clone()).await.is_ok(),
                };
            }
        }
        .boxed()
    })
}

fn count(sum: &mut Sum, nature: Nature, play: Play, (played, wrongs): &(Played, Vec<String>)) {
    sum.add(nature.name, &play, [played], wrongs);
}

/// A death after every single turn that a run has.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_of_a_withdrawal_loses_and_doubles_nothing() {
    play(
        "one crash of a withdrawal",
        single_deaths(10),
        Bank::new,
        async |mut bank: Bank, seed| {
            let mut sum = Sum::default();
            for nature in NATURES {
                let quiet = Play::quiet(seed);
                let whole = bank.run(quiet, nature, 1).await;
                count(&mut sum, nature, quiet, &whole);
                for point in 0..whole.0.points {
                    let play = Play { crash_at: Some(point), ..quiet };
                    count(&mut sum, nature, play, &bank.run(play, nature, 1).await);
                }
            }
            (bank, sum)
        },
    )
    .await;
}

/// The same where people carry files to a bank.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_of_a_payout_by_file_loses_and_doubles_nothing() {
    play(
        "one crash of a payout by file",
        single_deaths(10),
        Bank::by_file,
        async |mut bank: Bank, seed| {
            let mut sum = Sum::default();
            let quiet = Play::quiet(seed);
            let whole = bank.run(quiet, WELL, 2).await;
            count(&mut sum, WELL, quiet, &whole);
            for point in 0..whole.0.points {
                let play = Play { crash_at: Some(point), ..quiet };
                count(&mut sum, WELL, play, &bank.run(play, WELL, 2).await);
            }
            count(&mut sum, WELL, swarm(seed), &bank.run(swarm(seed), WELL, 4).await);
            (bank, sum)
        },
    )
    .await;
}

/// A death after every turn, and another after every turn of what comes then.
#[tokio::test(flavor = "multi_thread")]
async fn two_crashes_at_any_points_of_a_withdrawal_lose_and_double_nothing() {
    play("two crashes of a withdrawal", pairs(4), Bank::new, async |mut bank: Bank, seed| {
        let mut sum = Sum::default();
        for nature in [WELL, FORGETTING] {
            let quiet = Play::quiet(seed);
            let points = bank.run(quiet, nature, 1).await.0.points;
            for first in 0..points {
                for second in first + 1..points + 4 {
                    let crash_again_at = Some(second);
                    let play = Play { crash_at: Some(first), crash_again_at, ..quiet };
                    count(&mut sum, nature, play, &bank.run(play, nature, 1).await);
                }
            }
        }
        (bank, sum)
    })
    .await;
}

fn swarm(seed: u64) -> Play {
    Play { nodes: 3, crashes: 5, sleeps: 5, ..Play::quiet(seed) }
}

/// Three nodes that die and sleep through their leases at random, over several withdrawals.
#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_that_die_and_sleep_lose_and_double_no_withdrawal() {
    play("swarms of withdrawals", swarms(60), Bank::new, async |mut bank: Bank, seed| {
        let mut sum = Sum::default();
        let nature = NATURES[usize::try_from(seed % 4).unwrap()];
        count(&mut sum, nature, swarm(seed), &bank.run(swarm(seed), nature, 4).await);
        (bank, sum)
    })
    .await;
}

/// Plays without a safeguard until it is missed.
async fn must_be_missed(without: Safeguard, nature: Nature) {
    let mut bank = Bank::new().await;
    for seed in 0..CONTROL_SEEDS {
        let play = Play { without: Some(without), ..swarm(seed) };
        let (_, wrongs) = bank.run(play, nature, 4).await;
        if !wrongs.is_empty() {
            println!("without {without:?}: caught by seed {seed}: {}", wrongs.join("; "));
            return;
        }
        if seed % 20 == 19 {
            bank = Bank::new().await;
        }
    }
    panic!("nothing went wrong without {without:?} in {CONTROL_SEEDS} seeds");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_asking_first_a_withdrawal_goes_wrong() {
    must_be_missed(Safeguard::LookUp, FORGETTING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_timeout_taken_for_a_refusal_a_withdrawal_goes_wrong() {
    must_be_missed(Safeguard::UnknownIsUnknown, FAULTY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_new_key_for_each_try_a_withdrawal_goes_wrong() {
    must_be_missed(Safeguard::StableKeys, MUTE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_transactions_for_a_step_a_withdrawal_goes_wrong() {
    must_be_missed(Safeguard::OneTransaction, FAULTY).await;
}

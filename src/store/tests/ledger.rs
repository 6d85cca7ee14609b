//! The ledger on both databases against an oracle in memory, under concurrency, and with its books falsified.

#![expect(clippy::print_stdout, reason = "what was played is told to whoever looks")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use metrics_exporter_prometheus::PrometheusBuilder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::super::ledger::balances::{find_counters, update_frozen};
use super::super::ledger::{BookError, Booked, book, require_open};
use super::super::{Store, StoreError, execute, fetch_optional};
use super::{Fixture, fixtures};
use crate::domain::ids::{TransferId, UserId};
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::ledger::{Counters, Guard, LedgerError};
use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;

const CASES: &str = "MADANG_LEDGER_CASES";
/// Cases that are played beside each other on one database.
const AT_ONCE: usize = 8;
/// Seconds for which eight writers write, on each database; without it, some transfers each.
const SECONDS: &str = "MADANG_LEDGER_SECONDS";
const OPERATIONS: usize = 50;
const NOW: Timestamp = Timestamp::from_millis(1_795_262_400_000);

pub(super) fn won(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

fn user(n: u128) -> UserId {
    Uuid::from_u128(n).into()
}

pub(super) fn wallet(n: u128) -> AccountName {
    AccountName::UserAvailable(user(n))
}

pub(super) fn entry(key: &str, lines: Vec<Line>) -> Entry {
    Entry {
        key: key.to_owned(),
        kind: "test",
        reference: Reference { kind: "test", id: Uuid::nil() },
        actor: "test".to_owned(),
        currency: Currency::KRW,
        lines,
    }
}

pub(super) fn moved(debit: AccountName, credit: AccountName, amount: i64) -> Line {
    Line::Move { debit, credit, amount: won(amount), code: "test" }
}

pub(super) fn held(debit: AccountName, credit: AccountName, amount: i64) -> Line {
    Line::Hold { debit, credit, amount: won(amount), code: "test", expires_at: None }
}

pub(super) async fn booked(store: &Store, entry: Entry) -> Result<Booked, BookError> {
    store.write(move |db| Box::pin(async move { book(db, &entry, NOW).await })).await
}

pub(super) async fn counters(store: &Store, name: AccountName) -> Counters {
    let found: Result<Counters, StoreError> = store
        .read(move |db| Box::pin(async move { find_counters(db, name, Currency::KRW).await }))
        .await;
    found.unwrap()
}

fn refusal(result: Result<Booked, BookError>) -> Option<LedgerError> {
    match result {
        Ok(_) => None,
        Err(BookError::Ledger(error)) => Some(error),
        Err(BookError::Store(error)) => panic!("not a refusal: {error}"),
    }
}

pub(super) async fn drifts(store: &Store) -> Vec<String> {
    let (mut codes, mut after) = (Vec::new(), None);
    loop {
        let page = store.check_ledger(after, 3).await.unwrap();
        codes.extend(page.drifts.into_iter().map(|drift| drift.code));
        after = page.last;
        if after.is_none() {
            return codes;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_booked_once_and_another_under_its_key_is_refused() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let pay_in =
            |amount| entry("pay_in:1", vec![moved(AccountName::BankTrust, wallet(1), amount)]);

        assert_eq!(booked(store, pay_in(100)).await.unwrap(), Booked::Now);
        assert_eq!(booked(store, pay_in(100)).await.unwrap(), Booked::Before);
        assert_eq!(refusal(booked(store, pay_in(101)).await), Some(LedgerError::KeyReused));

        let wallet = counters(store, wallet(1)).await;
        assert_eq!(wallet, Counters { credits_posted: 100, ..Counters::default() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_never_pays_out_more_than_it_has_nor_what_is_held() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let transit = AccountName::PayoutInTransit;
        booked(store, entry("in", vec![moved(AccountName::BankTrust, wallet(1), 100)]))
            .await
            .unwrap();
        booked(store, entry("hold", vec![held(wallet(1), transit, 70)])).await.unwrap();

        for (key, amount, expected) in [("a", 31, Some(LedgerError::Overdraft)), ("b", 30, None)] {
            let taken = booked(store, entry(key, vec![moved(wallet(1), transit, amount)])).await;
            assert_eq!(refusal(taken), expected, "{amount}");
        }
        let hold = Entry::transfer_id("hold", 0);
        booked(store, entry("void", vec![Line::Void { hold }])).await.unwrap();
        let again = booked(store, entry("post", vec![Line::Post { hold, amount: won(1) }])).await;
        assert_eq!(refusal(again), Some(LedgerError::HoldResolved));

        assert_eq!(counters(store, wallet(1)).await.credit_available(), 70);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_refused_entry_is_left() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let lines = vec![
            moved(AccountName::BankTrust, wallet(1), 5),
            moved(wallet(2), AccountName::BankOperating, 5),
        ];

        assert_eq!(refusal(booked(store, entry("a", lines)).await), Some(LedgerError::Overdraft));

        assert_eq!(counters(store, wallet(1)).await, Counters::default());
        let right = vec![moved(AccountName::BankTrust, wallet(1), 5)];
        assert_eq!(booked(store, entry("a", right)).await.unwrap(), Booked::Now, "its key is free");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_account_takes_part_in_nothing_new_and_what_is_held_is_resolved() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        booked(store, entry("in", vec![moved(AccountName::BankTrust, wallet(1), 100)]))
            .await
            .unwrap();
        let lines = vec![held(wallet(1), AccountName::PayoutInTransit, 40)];
        booked(store, entry("hold", lines)).await.unwrap();
        let account = wallet(1).id(Currency::KRW);
        let freeze = async |at: Option<i64>| {
            let frozen: Result<(), StoreError> = store
                .write(move |db| Box::pin(async move { update_frozen(db, account, at).await }))
                .await;
            frozen.unwrap();
        };

        freeze(Some(1)).await;

        let more = entry("more", vec![moved(AccountName::BankTrust, wallet(1), 1)]);
        assert_eq!(refusal(booked(store, more.clone()).await), Some(LedgerError::Frozen));
        let hold = Entry::transfer_id("hold", 0);
        booked(store, entry("post", vec![Line::Post { hold, amount: won(40) }])).await.unwrap();
        freeze(None).await;
        assert_eq!(booked(store, more).await.unwrap(), Booked::Now);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_books_cannot_be_changed_or_taken_out() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        booked(store, entry("in", vec![moved(AccountName::BankTrust, wallet(1), 100)]))
            .await
            .unwrap();
        let hour = Duration::from_hours(1);
        let lease = store.claim_lease("books", user(1).uuid().into(), hour).await.unwrap();
        assert!(store.seal_hour(&lease.unwrap(), NOW.plus(hour * 3)).await.unwrap());
        macro_rules! refused {
            ($($sql:literal),+) => {$(
                let tried: Result<u64, StoreError> =
                    store.write(|db| Box::pin(async move { execute!(db, $sql) })).await;
                assert!(tried.unwrap_err().to_string().contains("append-only"), $sql);
            )+};
        }
        refused!(
            "UPDATE ledger_transfers SET amount = 1",
            "DELETE FROM ledger_transfers",
            "UPDATE ledger_entries SET key = 'x'",
            "DELETE FROM ledger_entries",
            "UPDATE ledger_seals SET entries = 7",
            "DELETE FROM ledger_seals"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_self_check_finds_an_account_that_was_falsified() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for n in 1..=5 {
            let lines = vec![moved(AccountName::BankTrust, wallet(n), 100)];
            booked(store, entry(&format!("in:{n}"), lines)).await.unwrap();
            let lines = vec![held(wallet(n), AccountName::PayoutInTransit, 10)];
            booked(store, entry(&format!("hold:{n}"), lines)).await.unwrap();
        }
        assert_eq!(drifts(store).await, Vec::<String>::new());

        let id = wallet(3).id(Currency::KRW).uuid();
        let falsified: Result<u64, StoreError> = store
            .write(move |db| {
                Box::pin(async move {
                    execute!(
                        db,
                        "UPDATE ledger_accounts SET credits_posted = credits_posted + 1 WHERE id = $1",
                        id,
                    )
                })
            })
            .await;
        assert_eq!(falsified.unwrap(), 1);

        assert_eq!(drifts(store).await, [format!("user:{}:available", user(3))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_and_a_trial_balance_say_what_moved() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for n in 1..=7 {
            let lines = vec![moved(AccountName::BankTrust, wallet(1), n)];
            booked(store, entry(&format!("in:{n}"), lines)).await.unwrap();
        }
        let account = wallet(1).id(Currency::KRW);
        let (mut amounts, mut before) = (BTreeSet::new(), None);
        loop {
            let lines = store.list_statement(account, before, 3).await.unwrap();
            let Some(last) = lines.last() else { break };
            before = Some((last.at, last.id));
            assert!(lines.iter().all(|line| !line.is_debit));
            amounts.extend(lines.into_iter().map(|line| line.amount.minor()));
        }
        assert_eq!(amounts, (1..=7).collect());
        let at = store.find_counters_at(account, NOW).await.unwrap();
        assert_eq!(at.credits_posted, 28);
        let before = Timestamp::from_millis(NOW.millis() - 1);
        assert_eq!(store.find_counters_at(account, before).await.unwrap(), Counters::default());

        let families = store.list_family_balances().await.unwrap();
        let names: Vec<&str> = families.iter().map(|family| family.family.as_str()).collect();
        assert_eq!(names, ["bank:trust", "user:available"]);
        assert_eq!(families[0].counters.debits_posted, families[1].counters.credits_posted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_at_once_lose_nothing_and_owe_nothing() {
    const USERS: u128 = 5;
    let seconds = std::env::var(SECONDS).ok();
    let seconds = seconds.map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
    for fixture in fixtures().await {
        let store = Arc::new(fixture.store.clone());
        for n in 0..USERS {
            let lines = vec![moved(AccountName::BankTrust, wallet(n), 1_000)];
            booked(&store, entry(&format!("in:{n}"), lines)).await.unwrap();
        }
        let writers = (0..8_u64).map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut rng = StdRng::seed_from_u64(writer);
                let (mut booked_here, mut refused, began) = (0_u64, 0_u64, Instant::now());
                for n in 0_u64.. {
                    if seconds.map_or(n >= 60, |seconds| began.elapsed() >= seconds) {
                        break;
                    }
                    let (from, to) = (rng.random_range(0..USERS), rng.random_range(0..USERS));
                    if from == to {
                        continue;
                    }
                    let lines = vec![moved(wallet(from), wallet(to), rng.random_range(1..900))];
                    match refusal(booked(&store, entry(&format!("{writer}:{n}"), lines)).await) {
                        None => booked_here += 1,
                        Some(LedgerError::Overdraft) => refused += 1,
                        Some(other) => panic!("{other}"),
                    }
                }
                (booked_here, refused)
            })
        });
        let reading = {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let began = Instant::now();
                for n in 0_u64.. {
                    if seconds.map_or(n >= 100, |seconds| began.elapsed() >= seconds) {
                        return n;
                    }
                    let families = store.list_family_balances().await.unwrap();
                    let wallets = families.iter().find(|it| it.family == "user:available").unwrap();
                    let sum = wallets.counters.credit_balance();
                    assert_eq!(sum, i64::try_from(USERS).unwrap() * 1_000, "a bad read");
                }
                0
            })
        };
        let (mut done, mut refused) = (0, 0);
        for writer in writers.collect::<Vec<_>>() {
            let (booked_there, refused_there) = writer.await.unwrap();
            (done, refused) = (done + booked_there, refused + refused_there);
        }
        let reads = reading.await.unwrap();
        println!("eight writers: {done} booked, {refused} refused, {reads} reads");

        assert!(refused > 0, "nobody ever wanted more than there was");
        assert_eq!(drifts(&store).await, Vec::<String>::new());
        for n in 0..USERS {
            assert!(counters(&store, wallet(n)).await.keeps(Guard::DebitsWithinCredits));
        }
    }
}

/// The control: with the frozen picked out in the statement that locks, PostgreSQL locks nobody.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_locked_before_they_are_counted_on() {
    let fixture = Fixture::postgres().await;
    let store = &fixture.store;
    let lines = vec![moved(AccountName::BankTrust, wallet(1), 100)];
    booked(store, entry("in", lines)).await.unwrap();
    let (locked, is_locked) = oneshot::channel::<()>();
    let (release, released) = oneshot::channel::<()>();
    let locking = {
        let (store, id) = (store.clone(), wallet(1).id(Currency::KRW));
        tokio::spawn(async move {
            let held: Result<(), BookError> = store
                .write(move |db| {
                    Box::pin(async move {
                        require_open(db, &BTreeMap::from([(id, true)])).await?;
                        locked.send(()).unwrap();
                        let _ = released.await;
                        Ok(())
                    })
                })
                .await;
            held.unwrap();
        })
    };
    is_locked.await.unwrap();

    let id = wallet(1).id(Currency::KRW).uuid();
    let found: Result<Option<(Uuid,)>, StoreError> = store
        .write(move |db| {
            Box::pin(async move {
                fetch_optional!(
                    db,
                    (Uuid,),
                    "SELECT id FROM ledger_accounts WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED",
                    id,
                )
            })
        })
        .await;

    assert_eq!(found.unwrap(), None, "somebody else could have it");
    release.send(()).unwrap();
    locking.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_entry_at_once_is_booked_by_one() {
    for fixture in fixtures().await {
        let tries = (0..16).map(|_| {
            let store = fixture.store.clone();
            let same = entry("in", vec![moved(AccountName::BankTrust, wallet(1), 7)]);
            tokio::spawn(async move { booked(&store, same).await.unwrap() })
        });
        let mut now = 0;
        for tried in tries.collect::<Vec<_>>() {
            now += usize::from(tried.await.unwrap() == Booked::Now);
        }
        assert_eq!(now, 1);
        assert_eq!(counters(&fixture.store, wallet(1)).await.credits_posted, 7);
    }
}

/// A ledger in memory: as simple as it can be, and sharing nothing with the other but its errors.
#[derive(Default)]
struct Oracle {
    accounts: BTreeMap<AccountName, Counters>,
    keys: HashMap<String, Vec<Line>>,
    holds: HashMap<TransferId, (AccountName, AccountName, i64, bool)>,
}

impl Oracle {
    fn book(&mut self, entry: &Entry) -> Result<Booked, LedgerError> {
        if let Some(known) = self.keys.get(&entry.key) {
            return if *known == entry.lines {
                Ok(Booked::Before)
            } else {
                Err(LedgerError::KeyReused)
            };
        }
        let (mut accounts, mut holds) = (self.accounts.clone(), self.holds.clone());
        for (number, line) in entry.lines.iter().enumerate() {
            match line {
                Line::Move { debit, credit, amount, .. } => {
                    accounts.entry(*debit).or_default().debits_posted += amount.minor();
                    accounts.entry(*credit).or_default().credits_posted += amount.minor();
                }
                Line::Hold { debit, credit, amount, .. } => {
                    accounts.entry(*debit).or_default().debits_pending += amount.minor();
                    accounts.entry(*credit).or_default().credits_pending += amount.minor();
                    let id = Entry::transfer_id(&entry.key, number);
                    holds.insert(id, (*debit, *credit, amount.minor(), true));
                }
                Line::Post { hold, .. } | Line::Void { hold } => {
                    let (debit, credit, held, is_open) =
                        holds.get_mut(hold).ok_or(LedgerError::HoldNotFound)?;
                    let posted =
                        if let Line::Post { amount, .. } = line { amount.minor() } else { 0 };
                    if posted > *held {
                        return Err(LedgerError::MoreThanHeld);
                    }
                    if !std::mem::replace(is_open, false) {
                        return Err(LedgerError::HoldResolved);
                    }
                    let debit = accounts.entry(*debit).or_default();
                    debit.debits_pending -= *held;
                    debit.debits_posted += posted;
                    let credit = accounts.entry(*credit).or_default();
                    credit.credits_pending -= *held;
                    credit.credits_posted += posted;
                }
            }
        }
        let is_guarded = |name: &AccountName| matches!(name, AccountName::UserAvailable(_));
        let owes = |counters: &Counters| {
            counters.debits_posted + counters.debits_pending > counters.credits_posted
        };
        if accounts.iter().any(|(name, counters)| is_guarded(name) && owes(counters)) {
            return Err(LedgerError::Overdraft);
        }
        self.keys.insert(entry.key.clone(), entry.lines.clone());
        (self.accounts, self.holds) = (accounts, holds);
        Ok(Booked::Now)
    }
}

fn drawn_line(rng: &mut StdRng, holds: &[TransferId]) -> Line {
    let names = |rng: &mut StdRng| match rng.random_range(0..6) {
        0 => AccountName::BankTrust,
        1 => AccountName::PayoutInTransit,
        n => wallet(n),
    };
    let amount = won(rng.random_range(1..200));
    let hold = holds.get(rng.random_range(0..holds.len().max(1))).copied();
    match (rng.random_range(0..10), hold) {
        (0 | 1, Some(hold)) => Line::Post { hold, amount },
        (2, Some(hold)) => Line::Void { hold },
        (3, None) => Line::Void { hold: Uuid::nil().into() },
        (choice, _) => {
            let debit = if rng.random_bool(0.4) { AccountName::BankTrust } else { names(rng) };
            let credit = loop {
                let credit = names(rng);
                if credit != debit {
                    break credit;
                }
            };
            if choice < 6 {
                Line::Hold { debit, credit, amount, code: "test", expires_at: None }
            } else {
                Line::Move { debit, credit, amount, code: "test" }
            }
        }
    }
}

async fn play(fixture: &Fixture, seed: u64) {
    let (store, mut rng) = (&fixture.store, StdRng::seed_from_u64(seed));
    let (mut oracle, mut holds) = (Oracle::default(), Vec::new());
    // Cases share a database: each has users and keys of its own, and only those are compared.
    let offset = u128::from(seed) << 64;
    let own = |name: AccountName| match name {
        AccountName::UserAvailable(user) => wallet(user.uuid().as_u128() + offset),
        other => other,
    };
    for operation in 0..OPERATIONS {
        let number = if rng.random_bool(0.1) { rng.random_range(0..=operation) } else { operation };
        let key = format!("{seed}:{number}");
        let lines: Vec<Line> = match oracle.keys.get(&key) {
            Some(known) if rng.random_bool(0.7) => known.clone(),
            _ => (0..rng.random_range(1..4))
                .map(|_| match drawn_line(&mut rng, &holds) {
                    Line::Move { debit, credit, amount, code } => {
                        Line::Move { debit: own(debit), credit: own(credit), amount, code }
                    }
                    Line::Hold { debit, credit, amount, code, expires_at } => Line::Hold {
                        debit: own(debit),
                        credit: own(credit),
                        amount,
                        code,
                        expires_at,
                    },
                    line => line,
                })
                .collect(),
        };
        let entry = entry(&key, lines);
        let expected = oracle.book(&entry);
        for (number, line) in entry.lines.iter().enumerate() {
            if matches!((line, &expected), (Line::Hold { .. }, Ok(Booked::Now))) {
                holds.push(Entry::transfer_id(&key, number));
            }
        }
        let actual = match booked(store, entry.clone()).await {
            Ok(booked) => Ok(booked),
            Err(BookError::Ledger(error)) => Err(error),
            Err(BookError::Store(error)) => panic!("seed {seed}: {error}"),
        };
        let is_same = match (&actual, &expected) {
            (Ok(one), Ok(other)) => one == other,
            // Which of several wrongs is told first is nobody's business.
            (Err(_), Err(_)) => true,
            _ => false,
        };
        assert!(is_same, "seed {seed}, {entry:?}: {actual:?} instead of {expected:?}");
    }
    for (name, expected) in &oracle.accounts {
        if matches!(name, AccountName::UserAvailable(_)) {
            assert_eq!(counters(store, *name).await, *expected, "seed {seed}, {name:?}");
        }
    }
}

/// More with `MADANG_LEDGER_CASES=10000`.
#[tokio::test(flavor = "multi_thread")]
async fn both_databases_do_as_the_oracle_does() {
    let cases = std::env::var(CASES).map_or(25, |cases| cases.parse().unwrap());
    // Each case has wallets of its own.
    let played = fixtures().await.into_iter().map(|fixture| async move {
        let cases = stream::iter(0..cases);
        cases.for_each_concurrent(AT_ONCE, |seed| play(&fixture, seed)).await;
        assert_eq!(drifts(&fixture.store).await, Vec::<String>::new());
    });
    join_all(played).await;
}

#[tokio::test]
async fn entries_are_counted_by_kind_and_what_was_refused_by_reason() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let local = metrics::set_default_local_recorder(&recorder);
    let fixtures = fixtures().await;
    for fixture in &fixtures {
        let store = &fixture.store;
        let line = moved(wallet(1), AccountName::PayoutInTransit, 5);
        let refused = booked(store, entry("a", vec![line])).await;
        assert_eq!(refusal(refused), Some(LedgerError::Overdraft));
        let right = vec![moved(AccountName::BankTrust, wallet(1), 5)];
        assert_eq!(booked(store, entry("b", right.clone())).await.unwrap(), Booked::Now);
        assert_eq!(booked(store, entry("b", right)).await.unwrap(), Booked::Before);
    }
    drop(local);
    let figures = recorder.handle().render();
    // The writer of SQLite counts on a thread of its own.
    let (kind, count) = (entry("b", Vec::new()).kind, 1);
    for line in [
        format!("madang_ledger_txn_total{{kind=\"{kind}\"}} {count}"),
        format!("madang_ledger_refused_total{{reason=\"overdraft\"}} {count}"),
    ] {
        assert!(figures.contains(&line), "{line} is not in {figures}");
    }
}

//! The ledger under writers that book as fast as they are let: payments into escrow, each an entry with one transfer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use madang::clock;
use madang::config::Config;
use madang::domain::ledger::chart::{AccountName, Shard};
use madang::domain::ledger::entry::{Entry, Line, Reference};
use madang::domain::money::{Amount, Currency};
use madang::store::Store;
use madang::store::ledger::{BookError, Booked, book_all};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::folder::Folder;
use crate::plan::Plan;
use crate::report::{Bound, Report, figure, median};
use crate::servers::postgres::Postgres;

/// Who books at once; as many as make a group.
const WRITERS: u64 = 64;
const SHARDS: u8 = 16;
/// Entries that are booked together.
const BATCH: usize = 32;

/// How a run books.
#[derive(Clone, Copy)]
struct Booking {
    writers: u64,
    /// Parts that the accounts of every payment are split into.
    shards: u8,
    /// Entries that one transaction books.
    batch: usize,
}

/// On the embedded database with durable commits, beside one writer who waits for each commit: entries that are booked
/// together, and writers whose commits are.
pub async fn together(plan: &Plan, io: &Handle, report: &mut Report) -> anyhow::Result<()> {
    let (mut batches, mut group, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds() {
        for (writers, batch, rates) in
            [(1, BATCH, &mut batches), (WRITERS, 1, &mut group), (1, 1, &mut alone)]
        {
            let folder = Folder::new(&plan.folder())?;
            let store = open(folder.path(), "", io).await?;
            rates.push(rate(plan, &store, io, Booking { writers, shards: 1, batch }).await?);
            store.close().await;
        }
    }
    let (batches, group, alone) = (median(batches), median(group), median(alone));
    report.either("money.sqlite_entries", batches, alone, "1/s", 3_000.0, 10.0);
    report.compare("money.sqlite_writers", group, alone, "1/s", Bound::AtLeast(1.0));
    report.note(format!(
        "money, SQLite: entries of one transfer each, `synchronous=FULL`: {BATCH} booked together, and {WRITERS} writers whose \
         commits are one, beside single commits; median of {} round(s).",
        plan.rounds(),
    ));
    Ok(())
}

/// On PostgreSQL: hot accounts in shards beside hot accounts of one row each.
pub async fn sharded(plan: &Plan, io: &Handle, report: &mut Report) -> anyhow::Result<()> {
    let (mut shards, mut one) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds() {
        for (count, rates) in [(SHARDS, &mut shards), (1, &mut one)] {
            let folder = Folder::new(&plan.folder())?;
            let postgres = Postgres::start(folder.path()).await?;
            let store = open(folder.path(), &postgres.url(), io).await?;
            let booking = Booking { writers: WRITERS, shards: count, batch: 1 };
            rates.push(rate(plan, &store, io, booking).await?);
            store.close().await;
            postgres.stop().await?;
        }
    }
    let (shards, one) = (median(shards), median(one));
    report.compare("money.postgres_entries", shards, one, "1/s", Bound::AtLeast(2.5));
    report.measure("money.postgres_entries_sharded", shards, None, "1/s", Bound::AtLeast(1_500.0));
    report.note(format!(
        "money, PostgreSQL: the same with {SHARDS} shards beside one row for each account; median of {} round(s).",
        plan.rounds(),
    ));
    Ok(())
}

async fn open(folder: &Path, url: &str, io: &Handle) -> anyhow::Result<Store> {
    let data = folder.to_str().context("the folder has no name in Unicode")?;
    let variables = [("MADANG__DATA__DIR", data), ("MADANG__DATABASE__URL", url)];
    let config = Config::read(None, variables)?;
    let store = Store::connect(&config, io.clone()).await?;
    store.migrate("bench".to_owned()).await?;
    Ok(store)
}

/// Entries that are booked each second.
async fn rate(plan: &Plan, store: &Store, io: &Handle, booking: Booking) -> anyhow::Result<f64> {
    let booked = Arc::new(AtomicU64::new(0));
    let length = plan.duration_or(8, 1);
    let began = Instant::now();
    let writers: Vec<_> = (0..booking.writers)
        .map(|_| io.spawn(write(store.clone(), booking, Arc::clone(&booked), length)))
        .collect();
    for writer in writers {
        writer.await??;
    }
    let entries = figure(booked.load(Ordering::Relaxed));
    Ok(entries / began.elapsed().as_secs_f64())
}

async fn write(
    store: Store,
    booking: Booking,
    booked: Arc<AtomicU64>,
    length: Duration,
) -> anyhow::Result<()> {
    let until = Instant::now() + length;
    while Instant::now() < until {
        let entries: Vec<Entry> =
            (0..booking.batch).map(|_| capture(booking.shards)).collect::<Result<_, _>>()?;
        let now = clock::now();
        let done: Result<Vec<Booked>, BookError> =
            store.write(move |db| Box::pin(async move { book_all(db, &entries, now).await })).await;
        let done = done?;
        anyhow::ensure!(done.iter().all(|it| *it == Booked::Now), "an entry was booked before");
        booked.fetch_add(u64::try_from(done.len())?, Ordering::Relaxed);
    }
    Ok(())
}

/// A payment that was captured: the provider owes what the escrow holds.
fn capture(shards: u8) -> anyhow::Result<Entry> {
    let payment = Uuid::now_v7();
    let shard = Shard::of(payment, shards);
    Ok(Entry {
        key: format!("capture:{payment}"),
        kind: "capture",
        reference: Reference { kind: "payment", id: payment },
        actor: "bench".to_owned(),
        currency: Currency::KRW,
        lines: vec![Line::Move {
            debit: AccountName::ProviderReceivable("fake", shard),
            credit: AccountName::Escrow(shard),
            amount: Amount::new(10_000)?,
            code: "capture",
        }],
    })
}

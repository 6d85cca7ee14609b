//! Chaos of money: people pay, are paid back, earn and take out while nodes, the payment provider and PostgreSQL are killed
//! and answers get lost; and an oracle that looks for money that was lost, moved twice, or stays on its way.
//!
//! Everything that is drawn comes from one seed. Read `schedule` (what is killed when), `provider` (who moves the money),
//! `shoppers`, `till` and `journal` (what is asked for, how, and what was answered), `funds` (what there was before), `truth`,
//! `oracle`, `secrecy` and `verdict` (what is true, and what nobody may read).

mod funds;
pub mod journal;
mod oracle;
#[cfg(test)]
mod oracle_tests;
pub mod provider;
mod schedule;
mod secrecy;
pub mod shoppers;
pub mod stage;
pub mod till;
mod truth;
mod verdict;

use clap::Args;

use self::oracle::{Kind, Oracle};
use self::schedule::Schedule;
use self::stage::Stage;
use self::truth::Truth;
use crate::chance::Chance;
use crate::chaos::random_seed;
use crate::plan::Plan;
use crate::report::{Bound, Report};

const NAME: &str = "chaos_money";
/// Streams of the seed: what is killed, what is asked for again, and from then on what each shopper does.
const SCHEDULE_STREAM: u64 = 0;
const REPEATS_STREAM: u64 = 1;
const SHOPPERS_STREAM: u64 = 16;
const NODES: usize = 2;
/// Seconds of a run for each kill: as long as a node is down, starts, and works a little.
const SECONDS_PER_KILL: u64 = 3;

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Plays the run again that printed it.
    #[arg(long)]
    seed: Option<u32>,
    /// How often a node is killed.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    kills: Option<u32>,
    /// How often PostgreSQL is stopped without a clean end.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    restarts: Option<u32>,
    /// Calls of a hundred that go wrong at the provider besides those whose amount says so; some of them for minutes.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=50))]
    faults: Option<u32>,
    /// Buyers at once.
    #[arg(long)]
    shoppers: Option<usize>,
    /// One node on the embedded database, instead of two on PostgreSQL.
    #[arg(long)]
    sqlite: bool,
    /// A control: the provider forgets half of what it did, so that the run must fail.
    #[arg(long)]
    forgetful: bool,
}

/// What was done to processes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strokes {
    pub kills: usize,
    pub provider_kills: usize,
    pub restarts: usize,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(random_seed);
    let kills = options.kills.unwrap_or(plan.pick(20, 3));
    let restarts = options.restarts.unwrap_or_default();
    anyhow::ensure!(restarts == 0 || !options.sqlite, "SQLite is no server to restart");
    let shoppers = options.shoppers.unwrap_or(plan.pick(12, 6));
    let struck = u64::from(kills.saturating_add(restarts));
    let duration = plan.duration_or((struck * SECONDS_PER_KILL).max(30), 10);
    let again = again(seed, kills, restarts, options);
    eprintln!("{NAME}: {kills} kills in {} s; to play it again: {again}", duration.as_secs());

    let nodes = if options.sqlite { 1 } else { NODES };
    let mut chance = Chance::new(seed.into(), SCHEDULE_STREAM);
    let schedule = Schedule::draw(&mut chance, duration, kills, restarts, nodes);
    let mut stage = Stage::set(plan, options.sqlite, options.faults.unwrap_or(0), seed).await?;
    let memory = stage.memory()?;
    let strokes = stage.play(&schedule, duration, shoppers, seed, report).await?;
    stage.settle(report).await?;
    stage.repeat_all(&mut Chance::new(seed.into(), REPEATS_STREAM)).await?;
    if options.forgetful {
        stage.provider.forget_half().await?;
    }
    let wallets = stage.wallets(&mut chance).await?;
    let truth = Truth::read(&stage.database()).await?;
    let movements = stage.provider.movements().await?;
    let leaks = stage.leaks().await?;
    {
        let journal = stage.till.journal.borrow();
        let mut oracle = Oracle::new(&truth, &movements);
        oracle.judge(&journal.entries, &wallets);
        for leak in leaks {
            oracle.violate(Kind::Leaked, leak);
        }
        verdict::tell(seed, strokes, (&journal, &truth, &movements), &oracle, report);
    }
    if struck == 0 {
        let unit = "KiB";
        let figure = format!("{NAME}.memory");
        report.measure(&figure, stage.memory()?, Some(memory), unit, Bound::None);
    }
    report.note(format!(
        "{NAME}: {nodes} node(s) on {}, {shoppers} buyers, {} s, seed {seed}; to play it again: {again}",
        if options.sqlite { "SQLite" } else { "PostgreSQL" },
        duration.as_secs(),
    ));
    stage.leave(report).await
}

fn again(seed: u32, kills: u32, restarts: u32, options: &Options) -> String {
    let mut again = format!("make chaos-money SEED={seed} KILLS={kills}");
    if restarts > 0 {
        again.push_str(&format!(" RESTARTS={restarts}"));
    }
    if let Some(faults) = options.faults {
        again.push_str(&format!(" FAULTS={faults}"));
    }
    if options.sqlite {
        again.push_str(" SQLITE=1");
    }
    again
}

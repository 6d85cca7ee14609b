//! Scenario `money`: what the ledger books each second, many at once and one by one, over shards and over one row;
//! what confirming costs besides the provider; and how long a payment waits whose node goes away.
//!
//! The ledger is measured inside madang and not at its door: the store alone, with durable commits.

mod confirm;
mod failover;
#[cfg(feature = "money")]
mod ledger;

use anyhow::Context as _;
use clap::Args;

use crate::plan::Plan;
use crate::report::Report;

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Only on the embedded database.
    #[arg(long)]
    sqlite: bool,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    book(plan, options, report).await?;
    confirm::run(plan, true, report).await.context("confirm on SQLite")?;
    if !options.sqlite {
        confirm::run(plan, false, report).await.context("confirm on PostgreSQL")?;
        failover::run(plan, report).await.context("failover")?;
    }
    Ok(())
}

#[cfg(feature = "money")]
async fn book(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    // As in the server: whoever waits for the database is not alone with it on a thread.
    let io = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured = async {
        ledger::together(plan, io.handle(), report).await.context("committed together")?;
        if !options.sqlite {
            ledger::sharded(plan, io.handle(), report).await.context("over shards")?;
        }
        Ok(())
    };
    let measured = measured.await;
    io.shutdown_background();
    measured
}

#[cfg(not(feature = "money"))]
async fn book(_: &Plan, _: &Options, report: &mut Report) -> anyhow::Result<()> {
    report.note("money: the ledger by itself is measured by a bench with the feature `money`.");
    Ok(())
}

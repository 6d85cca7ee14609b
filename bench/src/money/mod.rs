//! Scenario `money`: what the ledger books each second, committed together and one by one, over shards and over one row.
//!
//! Inside madang and not at its door: the store alone, with durable commits.

mod ledger;

use anyhow::Context as _;
use clap::Args;
use tokio::runtime::Builder;

use crate::plan::Plan;
use crate::report::Report;

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Only on the embedded database.
    #[arg(long)]
    sqlite: bool,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    // As in the server: whoever waits for the database is not alone with it on a thread.
    let io = Builder::new_multi_thread().enable_all().build()?;
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

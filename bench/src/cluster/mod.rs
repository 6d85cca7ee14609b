//! Scenario `cluster`: what a second node costs and what it is good for.
//!
//! Each figure is measured on nodes, PostgreSQL and Redis of its own, and beside another in the same run.

mod delivery;
mod durable;
mod failover;
mod idle;
mod returner;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::plan::Plan;
use crate::report::Report;

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Measures only this.
    #[arg(long)]
    part: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Rooms on two nodes beside the same on one.
    Delivery,
    /// Durable sends on PostgreSQL beside single commits.
    Sends,
    /// What Redis is asked while everybody is idle.
    Idle,
    /// One of three nodes is killed.
    Failover,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let is_wanted = |part| options.part.is_none_or(|only| only == part);
    if is_wanted(Part::Delivery) {
        delivery::run(plan, report).await.context("delivery")?;
    }
    if is_wanted(Part::Sends) {
        durable::run(plan, report).await.context("sends")?;
    }
    if is_wanted(Part::Idle) {
        idle::run(plan, report).await.context("idle")?;
    }
    if is_wanted(Part::Failover) {
        failover::run(plan, report).await.context("failover")?;
    }
    Ok(())
}

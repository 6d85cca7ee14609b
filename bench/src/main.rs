//! Measures madang beside a bare reference server and itself, on one machine, in one run; and tries to make it lose
//! something.
//!
//! Each scenario starts its servers afresh on loopback ports and temporary folders, and prints a table and one
//! JSON line per figure. The exit code tells loss and failure, never speed.

mod api;
mod arrivals;
mod chance;
mod chaos;
mod cluster;
mod cluster_chaos;
mod commits;
mod database;
mod fanout;
mod folder;
mod follower;
mod frame;
mod history;
mod hops;
mod idle;
mod load;
mod money;
mod money_chaos;
mod narrow;
mod notify;
mod notify_chaos;
mod plan;
mod reconnect;
mod reference;
mod report;
mod residents;
mod resume;
mod seed;
mod sends;
mod server;
mod servers;
mod socket;
mod stalled;
mod stamp;
mod tally;
mod usage;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::plan::Plan;
use crate::report::Report;

/// Nothing runs longer than it was asked to and this, whatever hangs.
const RUN_LIMIT: Duration = Duration::from_secs(3_600);

/// Load generator, reference server and ratio reports.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    plan: Plan,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Every scenario that measures, one after the other.
    All,
    /// One crowded room beside the reference server.
    Fanout(fanout::Options),
    /// Many small rooms beside the reference server.
    Rooms(fanout::Options),
    /// Memory of idle connections, and the work they make.
    Idle(idle::Options),
    /// Durable sends beside single commits.
    Sends(sends::Options),
    /// A page of history of a long room beside a short one's.
    History(history::Options),
    /// Missed events on the socket beside pages of history.
    Resume(resume::Options),
    /// Everybody comes back at once after the server was killed.
    Reconnect(reconnect::Options),
    /// One crowded room with and without members that have stopped reading.
    Stalled(stalled::Options),
    /// What several nodes cost and are good for, with PostgreSQL and Redis.
    Cluster(cluster::Options),
    /// One message to ten thousand, notifications that somebody watches, and what chat feels of them.
    Notify(notify::Options),
    /// What the ledger books, what confirming costs besides the provider, and how long a payment waits whose node goes away.
    Money(money::Options),
    /// Clients that come and go while the server is killed and its store is slow: nothing may be lost.
    Chaos(chaos::Options),
    /// The same on several nodes, while these, Redis, PostgreSQL and the wires between them fail.
    ChaosCluster(cluster_chaos::Options),
    /// Notifications on every medium while nodes are killed and providers fail: everybody is told, and told once.
    ChaosNotify(notify_chaos::Options),
    /// Money on its way while nodes and the payment provider are killed and answers get lost: none is lost, none doubled.
    ChaosMoney(money_chaos::Options),
    Reference(reference::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    let Cli { plan, scenario } = Cli::parse();
    stamp::start();
    usage::raise_open_files()?;
    // The HTTP client asks for it, although it speaks in the clear.
    let provider = rustls::crypto::ring::default_provider();
    anyhow::ensure!(provider.install_default().is_ok(), "somebody else has chosen how TLS is done");
    if let Scenario::Reference(options) = &scenario {
        return reference::serve(options).map(|()| ExitCode::SUCCESS);
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = LocalSet::new().block_on(&runtime, run_until_stopped(&plan, &scenario))?;
    report.print(&title(&plan));

    Ok(if report.faults().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the scenario. Whatever ends it early drops it, and with it the servers and folders.
async fn run_until_stopped(plan: &Plan, scenario: &Scenario) -> anyhow::Result<Report> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = timeout(RUN_LIMIT + plan.asked(), run(plan, scenario)) => ended.context("the run took too long")?,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminated.recv() => anyhow::bail!("terminated"),
    }
}

async fn run(plan: &Plan, scenario: &Scenario) -> anyhow::Result<Report> {
    let mut report = Report::default();
    match scenario {
        Scenario::All => {
            fanout::one_room(plan, &fanout::Options::default(), &mut report)
                .await
                .context("fanout")?;
            fanout::many_rooms(plan, &fanout::Options::default(), &mut report)
                .await
                .context("rooms")?;
            idle::run(plan, &idle::Options::default(), &mut report).await.context("idle")?;
            sends::run(plan, &sends::Options::default(), &mut report).await.context("sends")?;
            history::run(plan, &history::Options::default(), &mut report)
                .await
                .context("history")?;
            resume::run(plan, &resume::Options::default(), &mut report).await.context("resume")?;
            reconnect::run(plan, &reconnect::Options::default(), &mut report)
                .await
                .context("reconnect")?;
            stalled::run(plan, &stalled::Options::default(), &mut report)
                .await
                .context("stalled")?;
        }
        Scenario::Fanout(options) => fanout::one_room(plan, options, &mut report).await?,
        Scenario::Rooms(options) => fanout::many_rooms(plan, options, &mut report).await?,
        Scenario::Idle(options) => idle::run(plan, options, &mut report).await?,
        Scenario::Sends(options) => sends::run(plan, options, &mut report).await?,
        Scenario::History(options) => history::run(plan, options, &mut report).await?,
        Scenario::Resume(options) => resume::run(plan, options, &mut report).await?,
        Scenario::Reconnect(options) => reconnect::run(plan, options, &mut report).await?,
        Scenario::Stalled(options) => stalled::run(plan, options, &mut report).await?,
        Scenario::Cluster(options) => cluster::run(plan, options, &mut report).await?,
        Scenario::Notify(options) => notify::run(plan, options, &mut report).await?,
        Scenario::Money(options) => money::run(plan, options, &mut report).await?,
        Scenario::Chaos(options) => chaos::run(plan, options, &mut report).await?,
        Scenario::ChaosCluster(options) => cluster_chaos::run(plan, options, &mut report).await?,
        Scenario::ChaosNotify(options) => notify_chaos::run(plan, options, &mut report).await?,
        Scenario::ChaosMoney(options) => money_chaos::run(plan, options, &mut report).await?,
        Scenario::Reference(_) => {}
    }
    Ok(report)
}

/// When, on what, and whether the numbers mean anything.
#[expect(clippy::disallowed_methods, reason = "the date stands in a heading and decides nothing")]
fn title(plan: &Plan) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unnamed CPU", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let quick = if plan.quick { " (quick: shows that it runs, measures nothing)" } else { "" };
    format!(
        "## madang bench, {:.0}, {cores} cores of {model}, Linux {}, server and load on one machine{quick}",
        jiff::Timestamp::now(),
        kernel.trim(),
    )
}

//! Does to the servers what the schedule says, and undoes it.
//!
//! Invariant: when a fault is over, everything runs and every wire is open.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::NAME;
use super::schedule::{Fault, Kind, REDIS_PAUSE};
use crate::report::Report;
use crate::servers::cluster::{Cluster, Node};
use crate::servers::proxy::{Mode, Proxy};

/// Does all of `faults` and gives how many that were. What a node did that it must not is a fault of the report, and so is
/// a server that cannot be brought back; with that it ends.
pub async fn strike_all(cluster: &mut Cluster, faults: &[Fault], report: &mut Report) -> usize {
    let started = Instant::now();
    let mut done = 0;
    for fault in faults {
        sleep(fault.pause).await;
        done += 1;
        eprintln!("{NAME}: {:.1} s: {done}. {fault}", started.elapsed().as_secs_f64());
        if let Err(trouble) = strike(cluster, fault, report).await {
            let trouble = format!("{NAME}: {done}. {fault}: {trouble:#}");
            // Said at once: without this server the run may not come as far as its report.
            eprintln!("{trouble}");
            report.fault(trouble);
            break;
        }
    }
    done
}

async fn strike(cluster: &mut Cluster, fault: &Fault, report: &mut Report) -> anyhow::Result<()> {
    let Cluster { nodes, redis, postgres, .. } = cluster;
    let node = nodes.get_mut(fault.node).context("no such node")?;
    match fault.kind {
        Kind::KillNode => {
            blame(node.kill().await, report);
            sleep(fault.lasts).await;
            node.start().await?;
        }
        Kind::StopNode => stop(node, fault.lasts).await?,
        Kind::DrainNode => {
            blame(node.stop().await, report);
            node.start().await?;
        }
        Kind::RestartRedis => {
            redis.kill().await?;
            sleep(fault.lasts).await;
            redis.run().await?;
        }
        Kind::CutPubSub => _ = redis.ask("CLIENT KILL TYPE pubsub").await?,
        Kind::PauseRedis if fault.is_silent => {
            redis.ask(&format!("DEBUG SLEEP {}", REDIS_PAUSE.as_secs())).await?;
        }
        Kind::PauseRedis => {
            redis.ask(&format!("CLIENT PAUSE {} ALL", REDIS_PAUSE.as_millis())).await?;
            sleep(fault.lasts).await;
        }
        Kind::RestartPostgres => postgres.restart().await?,
        Kind::PartitionRedis => part(&node.wires()?.redis, fault).await,
        Kind::PartitionPostgres => part(&node.wires()?.postgres, fault).await,
    }
    for node in nodes {
        if let Err(ended) = node.check() {
            blame(Err(ended), report);
            node.start().await?;
        }
    }
    Ok(())
}

/// Notes what a node did that it must not; it is started again all the same.
fn blame(ended: anyhow::Result<()>, report: &mut Report) {
    if let Err(trouble) = ended {
        report.fault(format!("{NAME}: {trouble:#}"));
    }
}

async fn stop(node: &Node, lasts: Duration) -> anyhow::Result<()> {
    node.server()?.freeze()?;
    sleep(lasts).await;
    node.server()?.thaw()
}

async fn part(wire: &Proxy, fault: &Fault) {
    wire.set(if fault.is_silent { Mode::Silent } else { Mode::Cut });
    sleep(fault.lasts).await;
    wire.set(Mode::Open);
}

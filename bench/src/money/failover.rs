//! How long a payment waits whose node goes away in the middle of a call to the provider, until another node has seen it
//! to its end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::time::sleep;

use crate::chance::Chance;
use crate::money_chaos::shoppers::begin_a_payment;
use crate::money_chaos::stage::Stage;
use crate::plan::Plan;
use crate::report::{Bound, Report};

/// A lease, and what another node takes to look and to ask.
const CRASH_S_MAX: f64 = 35.0;
const GRACEFUL_S_MAX: f64 = 2.0;
/// Nobody answers, and nothing was done.
const AMOUNT: i64 = 5_911;
/// Into the call, which is given up later than that.
const INTO_CALL: Duration = Duration::from_millis(400);
const LOOK: Duration = Duration::from_millis(50);
const END_LIMIT: Duration = Duration::from_secs(90);

pub async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    for (name, is_graceful, bound) in
        [("crash", false, CRASH_S_MAX), ("graceful", true, GRACEFUL_S_MAX)]
    {
        let mut slowest = 0.0_f64;
        for round in 0..plan.pick(3, 1) {
            slowest = slowest.max(once(plan, is_graceful, round).await?);
        }
        let figure = format!("money.failover_{name}");
        report.measure(&figure, slowest, None, "s", Bound::AtMost(bound));
    }
    report.note(
        "money, failover: two nodes on PostgreSQL; from the end of the one that was calling the provider to the payment's \
         being captured; the slowest round.",
    );
    Ok(())
}

/// Seconds from the end of the node to the end of the payment.
async fn once(plan: &Plan, is_graceful: bool, round: u32) -> anyhow::Result<f64> {
    let mut stage = Stage::set(plan, false, 0, round).await?;
    let mut chance = Chance::new(round.into(), 0);
    let (id, confirmation) = begin_a_payment(&stage.till, &mut chance, AMOUNT).await?;
    let node = stage.nodes().first().context("no node")?.address();
    let asking = stage.till.send(node, &confirmation);
    let (heard, ()) = tokio::join!(
        async { tokio::time::timeout(INTO_CALL, asking).await.is_ok() },
        sleep(INTO_CALL),
    );
    anyhow::ensure!(!heard, "it was over before anybody went away");
    let node = stage.nodes().first_mut().context("no node")?;
    if is_graceful {
        node.stop().await?;
    } else {
        node.kill().await?;
    }
    let began = Instant::now();
    loop {
        let status = status_of(&stage, &id).await?;
        if status == "captured" {
            break;
        }
        if began.elapsed() > END_LIMIT {
            bail!("the payment is still {status}");
        }
        sleep(LOOK).await;
    }
    let took = began.elapsed().as_secs_f64();
    stage.close().await?;
    Ok(took)
}

async fn status_of(stage: &Stage, id: &str) -> anyhow::Result<String> {
    let mut db = stage.database().open().await?;
    let id: uuid::Uuid = id.parse()?;
    let rows =
        crate::database::rows!(&mut db, (String,), "SELECT status FROM payments WHERE id = $1", id);
    db.close().await?;
    let (status,) = rows.into_iter().next().context("no such payment")?;
    Ok(status)
}

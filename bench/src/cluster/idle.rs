//! What Redis is asked while thousands of connections say nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use crate::api::PEOPLE;
use crate::idle::{FILES_SPARE, Listeners, seats};
use crate::plan::Plan;
use crate::report::{Bound, Report, figure};
use crate::servers::cluster::{Cluster, Layout};
use crate::servers::redis::Redis;
use crate::usage;

const NODES: usize = 2;
const COMMANDS_MAX: f64 = 5.0;
const SHOWN_MAX: usize = 6;

pub async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    // Both ends of a connection are open files, but only one of them is ours.
    let files = usize::try_from(usage::raise_open_files()?.saturating_sub(FILES_SPARE))?;
    let each = plan.pick(10_000, 200).min(files / NODES);
    let (settle, quiet) = (plan.pick(35, 3), plan.pick(30, 5));
    let layout = Layout { nodes: NODES, is_linked: true, is_proxied: false, settings: &[] };
    let cluster = Cluster::start(plan, layout).await?;
    let apis = cluster.apis()?;
    let first = apis.first().context("a cluster without nodes")?;
    let people = first.register(PEOPLE).await?;
    let channels = first.create_rooms(&people, plan.pick(300, 10)).await?;
    eprintln!("cluster: idle, {each} connections to each of {NODES} nodes");
    let seats: Vec<_> = apis.iter().flat_map(|api| seats(api, &people, &channels, each)).collect();
    let listeners = Listeners::seat(&seats).await?;
    sleep(Duration::from_secs(settle)).await;

    let (calls, commands, started) =
        (calls(&cluster.redis).await?, commands(&cluster.redis).await?, Instant::now());
    sleep(Duration::from_secs(quiet)).await;
    let seconds = started.elapsed().as_secs_f64();
    // Of the two times that it was asked for this, one lies between them.
    let asked = self::commands(&cluster.redis).await?.saturating_sub(commands + 1);
    let each_second = figure(asked) / seconds / figure(NODES);
    let bound = Bound::AtMost(COMMANDS_MAX);
    report.measure("cluster.redis_commands_idle", each_second, None, "1/s", bound);
    let since = self::calls(&cluster.redis).await?;
    report.note(format!(
        "cluster, idle: {each} connections to each of {NODES} nodes, Redis watched for {quiet} s after {settle} s; its \
         commands each second, for each node ({}).",
        most_called(&calls, &since, seconds * figure(NODES)),
    ));
    let ended = listeners.leave();
    if let Some(first) = ended.first() {
        report.fault(format!("cluster: {} idle connections were ended ({first})", ended.len()));
    }
    cluster.stop().await
}

/// The commands that Redis has done since it started.
async fn commands(redis: &Redis) -> anyhow::Result<u64> {
    let told = redis.ask("INFO stats").await?;
    let line = told.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    Ok(line.context("Redis does not count its commands")?.parse()?)
}

/// How often each of them was called.
async fn calls(redis: &Redis) -> anyhow::Result<BTreeMap<String, u64>> {
    Ok(read_calls(&redis.ask("INFO commandstats").await?))
}

fn read_calls(told: &str) -> BTreeMap<String, u64> {
    let calls = told.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    });
    calls.collect()
}

/// The commands that came most often between the two, in words.
fn most_called(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
    seconds: f64,
) -> String {
    let called = after.iter().map(|(name, calls)| {
        let before = before.get(name).copied().unwrap_or_default();
        (calls.saturating_sub(before), name)
    });
    let mut called: Vec<_> = called.filter(|(calls, _)| *calls > 0).collect();
    called.sort_unstable();
    let most = called.iter().rev().take(SHOWN_MAX);
    let words = most.map(|(calls, name)| format!("{name} {:.1}/s", figure(*calls) / seconds));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_that_came_most_often_are_told_first() {
        let before = read_calls("# Commandstats\r\ncmdstat_publish:calls=5,usec=9\r\n");
        let after = read_calls(
            "cmdstat_publish:calls=25,usec=9\r\ncmdstat_client|kill:calls=30,usec=1\r\ncmdstat_info:calls=0,usec=1\r\n",
        );

        assert_eq!(most_called(&before, &after, 10.0), "client|kill 3.0/s, publish 2.0/s");
    }
}

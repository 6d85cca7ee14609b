//! Durable sends on PostgreSQL: many senders over many rooms, and in one room, beside one that waits for each commit.

use anyhow::Context as _;

use crate::api::PEOPLE;
use crate::plan::Plan;
use crate::report::{Bound, Report, median};
use crate::sends::{self, Outcome};
use crate::servers::cluster::{Cluster, Layout};

const TIMES_SINGLE_MIN: f64 = 3.0;
const HOT_PER_SECOND_MIN: f64 = 1_500.0;

pub async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let senders = plan.pick(64, 16);
    let layout = Layout { nodes: 1, is_linked: true, is_proxied: false, settings: &[] };
    let cluster = Cluster::start(plan, layout).await?;
    let apis = cluster.apis()?;
    let api = apis.first().context("a cluster without nodes")?;
    let people = api.register(PEOPLE).await?;
    let (mut spread, mut single, mut hot) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=plan.rounds() {
        eprintln!("cluster: sends, round {round} of {}", plan.rounds());
        let send = |senders, rooms| sends::drive(api, &people, senders, rooms, plan.duration());
        spread.push(send(senders, senders).await?);
        single.push(send(1, 1).await?);
        hot.push(send(senders, 1).await?);
    }
    cluster.stop().await?;

    let middle = |side: &[Outcome], of: fn(&Outcome) -> f64| median(side.iter().map(of).collect());
    let per_second = |side| middle(side, |outcome| outcome.per_second);
    let (alone, bound) = (per_second(&single), Bound::AtLeast(TIMES_SINGLE_MIN));
    report.compare("cluster.sends", per_second(&spread), alone, "1/s", bound);
    let bound = Bound::AtLeast(HOT_PER_SECOND_MIN);
    report.measure("cluster.sends_hot_room", per_second(&hot), Some(alone), "1/s", bound);
    let p99 = |side| middle(side, |outcome| outcome.p99_ms);
    let alone = p99(&single);
    for (figure, side) in [("cluster.sends_p99", &spread), ("cluster.sends_hot_room_p99", &hot)] {
        report.measure(figure, p99(side), Some(alone), "ms", Bound::None);
    }
    report.note(format!(
        "cluster, sends: one node on PostgreSQL; {senders} senders over {senders} rooms, and in one room, each waits for \
         its acknowledgement; beside it: one sender in one room; {} s, median of {} round(s).",
        plan.duration().as_secs(),
        plan.rounds(),
    ));
    let all = || spread.iter().chain(&single).chain(&hot);
    let holes: u64 = all().map(|outcome| outcome.holes).sum();
    if holes > 0 {
        report.fault(format!("cluster: {holes} acknowledgements came out of order"));
    }
    let refused: u64 = all().map(|outcome| outcome.refused).sum();
    if refused > 0 {
        report.note(format!("cluster, sends: {refused} sends were refused and tried again."));
    }
    Ok(())
}

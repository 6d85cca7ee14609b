//! Rooms whose members are on two nodes, beside the same rooms on one: what a delivery costs, and how much later it comes
//! on the other node.

use std::rc::Rc;

use anyhow::Context as _;

use crate::api::{PEOPLE, Person};
use crate::fanout::blame;
use crate::hops::Hops;
use crate::load::{Load, Outcome, Room};
use crate::plan::Plan;
use crate::report::{Bound, Report, median};
use crate::servers::cluster::{Cluster, Layout};

/// 5,000 deliveries a second.
const FULL: Load = Load { rooms: 50, members: 20, rate: 250, body_bytes: 128 };
const QUICK: Load = Load { rooms: 10, members: 10, rate: 50, body_bytes: 128 };
const RATIO_MIN: f64 = 0.6;
const HOP_MS_MAX: f64 = 5.0;

struct Round {
    outcome: Outcome,
    hops: Rc<Hops>,
}

pub async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let load = plan.pick(FULL, QUICK);
    load.check()?;
    let (mut two, mut one) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds() {
        eprintln!("cluster: delivery, round {round} of {}", plan.rounds());
        two.push(measure(plan, load, 2).await.context("two nodes")?);
        one.push(measure(plan, load, 1).await.context("one node")?);
    }

    let both = |of: fn(&Outcome) -> f64| {
        let sides = [&two, &one].map(|side| side.iter().map(|round| of(&round.outcome)).collect());
        sides.map(median)
    };
    let [ours, theirs] = both(|outcome| outcome.deliveries_per_cpu_second);
    let figure = "cluster.deliveries_per_cpu_second";
    report.compare(figure, ours, theirs, "1/s", Bound::AtLeast(RATIO_MIN));
    for (part, unit, [ours, theirs]) in [
        ("deliveries_per_second", "1/s", both(|outcome| outcome.deliveries_per_second)),
        ("server_cpu", "s", both(|outcome| outcome.cpu_seconds)),
        ("latency_p50", "ms", both(|outcome| outcome.p50_ms)),
        ("latency_p99", "ms", both(|outcome| outcome.p99_ms)),
    ] {
        report.measure(&format!("cluster.{part}"), ours, Some(theirs), unit, Bound::None);
    }
    let hop = |quantile| median(two.iter().map(|round| round.hops.quantile_ms(quantile)).collect());
    report.measure("cluster.hop_p50", hop(0.5), None, "ms", Bound::None);
    report.measure("cluster.hop_p99", hop(0.99), None, "ms", Bound::AtMost(HOP_MS_MAX));

    let Load { rooms, members, rate, body_bytes } = load;
    report.note(format!(
        "cluster, deliveries: {rooms} rooms of {members} connections on two nodes in turn, and (beside it) on one, with \
         Redis and PostgreSQL in both; {rate} messages/s of {body_bytes} bytes, {} s, median of {} round(s); CPU of all \
         nodes, not of Redis and PostgreSQL; a hop is how much later a member on the other node is given a message than \
         one on its sender's own.",
        plan.duration().as_secs(),
        plan.rounds(),
    ));
    for Round { outcome, .. } in two.iter().chain(&one) {
        blame("cluster", "madang", outcome, report);
    }
    if two.iter().any(|round| round.hops.count() == 0) {
        report.fault("cluster: no message came from one node to the other");
    }
    Ok(())
}

async fn measure(plan: &Plan, load: Load, nodes: usize) -> anyhow::Result<Round> {
    let layout = Layout { nodes, is_linked: true, is_proxied: false, settings: &[] };
    let cluster = Cluster::start(plan, layout).await?;
    let apis = cluster.apis()?;
    let first = apis.first().context("a cluster without nodes")?;
    let people = first.register(PEOPLE).await?;
    let (mut rooms, mut places) = (Vec::new(), Vec::new());
    for number in 0..load.rooms {
        let members: Vec<&Person> =
            people.iter().cycle().skip(number % PEOPLE).take(load.members).collect();
        let owner = members.first().context("a room needs people")?;
        let others = members.get(..members.len().min(PEOPLE)).unwrap_or_default();
        let id = first.create_room(&format!("bench {number}"), owner, others).await?;
        let channel = format!("room:{id}");
        // The publisher of every other room is on another node.
        let turns = || apis.iter().enumerate().cycle().skip(number % nodes);
        let seats = members.iter().zip(turns());
        let seats =
            seats.map(|(person, (_, api))| api.seat(person, vec![channel.clone()])).collect();
        places.push(turns().map(|(place, _)| place).take(members.len()).collect());
        rooms.push(Room { channel, seats });
    }

    let warm_up = load.rate.div_ceil(u64::try_from(load.rooms)?);
    let hops = Rc::new(Hops::new(places, u32::try_from(warm_up)?)?);
    let audience = load.seat(&rooms, Some(&hops)).await?;
    let outcome = load.publish(&cluster.servers(), &audience, plan.duration()).await?;
    drop(audience);
    cluster.stop().await?;
    Ok(Round { outcome, hops })
}

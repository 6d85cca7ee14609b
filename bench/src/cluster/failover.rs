//! One of three nodes is killed: how soon its clients are live elsewhere, and whether anybody else notices.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::returner::{Returner, Returners};
use crate::api::{Api, PEOPLE, Person};
use crate::plan::Plan;
use crate::report::{Bound, Report, figure};
use crate::sends::send_one;
use crate::servers::cluster::{Cluster, Layout};
use crate::socket::{self, Socket};

const NODES: usize = 3;
/// Who speaks while a node is killed, on the others.
const SPEAKERS: usize = 4;
const SPEAKER_PAUSE: Duration = Duration::from_millis(200);
/// All is well for so long before.
const BEFORE: Duration = Duration::from_secs(3);
/// Time for what was said last to be heard.
const QUIET: Duration = Duration::from_secs(3);
const SECONDS_MAX: f64 = 5.0;

pub async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let (clients, rooms) = (plan.pick(1_500, 90), plan.pick(100, 10));
    // Longer than a node's lease.
    let after = Duration::from_secs(plan.pick(15, 3));
    let layout = Layout { nodes: NODES, is_linked: true, is_proxied: false, settings: &[] };
    let mut cluster = Cluster::start(plan, layout).await?;
    let apis = cluster.apis()?;
    let (victim, others) = apis.split_first().context("a cluster without nodes")?;
    let people = victim.register(PEOPLE).await?;
    let channels = victim.create_rooms(&people, rooms).await?;

    eprintln!("cluster: failover, {clients} clients of {NODES} nodes");
    let nodes = cluster.addresses().into();
    let crowd = Returners::gather(victim, nodes, &people, &channels, clients)?;
    let late = crowd.wait_until_live(clients).await;
    ensure!(late == 0, "{late} clients were not live in time");
    let speakers = Speakers::begin(others, &people, &channels).await?;
    sleep(BEFORE).await;
    let orphans = clients.div_ceil(NODES);
    crowd.arrivals.begin_anew();
    cluster.nodes.first_mut().context("a cluster without nodes")?.kill().await?;
    let late = crowd.wait_until_live(orphans).await;
    let (p50, p99, last) =
        (crowd.arrivals.seconds(0.5), crowd.arrivals.seconds(0.99), crowd.arrivals.seconds(1.0));
    sleep(after).await;
    let heads = speakers.end().await?;
    sleep(QUIET).await;
    let clients = crowd.cut().await?;
    cluster.stop().await?;

    let p99 = if late == 0 { p99 } else { f64::INFINITY };
    report.measure("cluster.failover_p99", p99, None, "s", Bound::AtMost(SECONDS_MAX));
    report.measure("cluster.failover_p50", p50, None, "s", Bound::None);
    report.measure("cluster.failover_max", last, None, "s", Bound::None);
    tell_of(&clients, &heads, report);
    if late > 0 {
        let trouble = clients.iter().find_map(|client| client.trouble.as_ref());
        let trouble = trouble.map_or_else(String::new, |trouble| format!("{trouble:#}"));
        report.fault(format!("cluster: {late} of {orphans} clients never came back ({trouble})"));
    }
    report.note(format!(
        "cluster, failover: {} clients of {NODES} nodes, each in three of {rooms} rooms, one node killed; seconds until \
         its clients are live elsewhere, with full jitter: a wait between nothing and half a second, twice that each \
         time, and 30 s at most; noticed: connections of others that ended, and their gaps and lost events.",
        clients.len(),
    ));
    Ok(())
}

/// What the clients were given, and what those noticed whose node lived.
fn tell_of(clients: &[Returner], heads: &HashMap<String, i64>, report: &mut Report) {
    let lost: usize =
        clients.iter().map(|client| client.follower.lost + client.follower.behind(heads)).sum();
    let delivered: usize = clients.iter().map(|client| client.follower.delivered).sum();
    let others = clients.iter().filter(|client| client.home > 0);
    let noticed: usize = others
        .map(|client| client.visits.saturating_sub(1) + client.follower.gaps + client.follower.lost)
        .sum();
    let bound = Bound::AtMost(0.0);
    report.measure("cluster.failover_noticed", figure(noticed), None, "times", bound);
    report.measure("cluster.failover_lost", figure(lost), None, "events", bound);
    report.measure("cluster.failover_delivered", figure(delivered), None, "events", Bound::None);
    if noticed + lost > 0 || delivered == 0 {
        report.fault(format!(
            "cluster: when a node was killed, the others' clients noticed {noticed} times; of {} events, {lost} were lost",
            delivered + lost,
        ));
    }
}

/// Those who send all the while; each knows where the rooms stand that it speaks in.
struct Speakers {
    running: JoinSet<anyhow::Result<HashMap<String, i64>>>,
    is_over: Rc<Cell<bool>>,
}

impl Speakers {
    async fn begin(apis: &[Api], people: &[Person], channels: &[String]) -> anyhow::Result<Self> {
        let (mut running, is_over) = (JoinSet::new(), Rc::new(Cell::new(false)));
        let seats = apis.iter().cycle().zip(people.iter().cycle()).take(SPEAKERS);
        let seats: Vec<_> = seats.map(|(api, person)| api.seat(person, Vec::new())).collect();
        for (number, socket) in socket::connect_all(&seats, 0).await?.into_iter().enumerate() {
            let rooms = channels.iter().skip(number).step_by(SPEAKERS).cloned().collect();
            running.spawn_local(speak(socket, rooms, is_over.clone()));
        }
        Ok(Self { running, is_over })
    }

    /// Has them stop; gives where each room stands.
    async fn end(mut self) -> anyhow::Result<HashMap<String, i64>> {
        self.is_over.set(true);
        let mut heads = HashMap::new();
        while let Some(spoken) = self.running.join_next().await {
            heads.extend(spoken?.context("a sender")?);
        }
        Ok(heads)
    }
}

/// Sends to each of `rooms` in turn until it is over.
async fn speak(
    mut socket: Socket,
    rooms: Vec<String>,
    is_over: Rc<Cell<bool>>,
) -> anyhow::Result<HashMap<String, i64>> {
    let (mut heads, refused) = (HashMap::new(), Cell::default());
    for (number, channel) in (0..).zip(rooms.iter().cycle()) {
        if is_over.get() {
            break;
        }
        let seq = send_one(&mut socket, number, channel, &refused).await?;
        heads.insert(channel.clone(), seq);
        sleep(SPEAKER_PAUSE).await;
    }
    Ok(heads)
}

//! Chaos on several nodes: clients that come and go on all of them, while nodes, Redis, PostgreSQL and the wires between
//! them fail one after the other; and the oracle of `chaos`.
//!
//! Read `schedule` (what is done, from one seed), `strike` (how), and `chaos` for clients and oracle.

mod schedule;
mod strike;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;

use self::schedule::Kind;
use crate::api::Api;
use crate::chance::Chance;
use crate::chaos::crowd::{Cast, Crowd, SCENE_STREAM};
use crate::chaos::oracle::Oracle;
use crate::chaos::scene::Scene;
use crate::chaos::{random_seed, verdict};
use crate::database::Database;
use crate::plan::Plan;
use crate::report::Report;
use crate::sends;
use crate::servers::cluster::{Cluster, Layout};
use crate::socket;

const NAME: &str = "cluster_chaos";
/// Small queues and short patience, so that slow readers are met often; frequent heartbeats, so that a client notices a
/// node that hangs; and no long farewell.
const SETTINGS: [(&str, &str); 6] = [
    ("MADANG__SOCKET__OUTBOX_BYTES_MAX", "32768"),
    ("MADANG__SOCKET__STALL_TIMEOUT_MS", "5000"),
    ("MADANG__SOCKET__PING_INTERVAL_MS", "2000"),
    ("MADANG__SOCKET__PONG_TIMEOUT_MS", "3000"),
    ("MADANG__HTTP__DRAIN_WINDOW_S", "4"),
    ("MADANG__HTTP__SHUTDOWN_TIMEOUT_S", "20"),
];
/// Four heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(8);
/// Access tokens live for 15 minutes, and nobody gets a new one.
const LENGTH_MAX: Duration = Duration::from_secs(720);

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Plays the run again that printed it.
    #[arg(long)]
    seed: Option<u32>,
    /// How many faults there are, of all nine kinds in turn.
    #[arg(long)]
    faults: Option<usize>,
    /// Connections that come and go.
    #[arg(long)]
    clients: Option<usize>,
    /// People, each with several clients.
    #[arg(long)]
    people: Option<usize>,
    #[arg(long)]
    rooms: Option<usize>,
    /// One alone is not linked to Redis.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// The nodes have no Redis, and look at the database for what the others do.
    #[arg(long)]
    unlinked: bool,
    /// A control: clients come back without their positions, so that the run must fail.
    #[arg(long)]
    forgetful: bool,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(random_seed);
    let count = options.faults.unwrap_or(plan.pick(45, Kind::ALL.len()));
    let nodes = usize::from(options.nodes);
    let stop = Duration::from_secs(plan.pick(30, 12));
    let mut chance = Chance::new(seed.into(), SCENE_STREAM);
    let faults = schedule::draw(&mut chance, count, nodes, stop);
    let length = schedule::length(&faults);
    ensure!(length <= LENGTH_MAX, "{count} faults take {length:?}: at most {LENGTH_MAX:?}");
    let again = format!("make chaos-cluster SEED={seed} FAULTS={count}");
    let seconds = length.as_secs();
    eprintln!("{NAME}: {count} faults in about {seconds} s; to play it again: {again}");

    let is_linked = nodes > 1 && !options.unlinked;
    let layout = Layout { nodes, is_linked, is_proxied: true, settings: &SETTINGS };
    let mut cluster = Cluster::start(plan, layout).await?;
    let addresses: Rc<[_]> = cluster.addresses().into();
    let (people, rooms) =
        (options.people.unwrap_or(plan.pick(40, 8)), options.rooms.unwrap_or(plan.pick(10, 4)));
    ensure!(people > 1 && rooms > 0, "at least two people and one room");
    let first = *addresses.first().context("a cluster without nodes")?;
    let scene = Scene::set(&Api::new(first)?, people, rooms, &mut chance).await?;

    let mut crowd = Crowd::gather(&Cast {
        name: NAME,
        clients: options.clients.unwrap_or(plan.pick(200, 30)),
        seed,
        scene: &scene,
        nodes: addresses,
        silence_max: SILENCE_MAX,
        is_forgetful: options.forgetful,
    })?;
    let done = strike::strike_all(&mut cluster, &faults, report).await;
    let database = Database::Postgres(cluster.postgres.url());
    crowd.settle(&database, &scene, report).await?;
    if let Err(trouble) = call_the_roll(&cluster, &scene).await {
        report.fault(format!("{NAME}: the roll was not called: {trouble:#}"));
    }
    crowd.wait_until_read(&database, &scene, report).await?;
    crowd.go_home().await?;

    let logs = database.logs(&scene.rooms).await?;
    let mut oracle = Oracle::new(&logs);
    for record in &crowd.records {
        oracle.judge(&record.borrow());
    }
    let times = |kind| faults.iter().take(done).filter(|fault| fault.kind == kind).count();
    let harm: Vec<_> = Kind::ALL.map(|kind| (kind.name(), times(kind), "times")).into();
    verdict::tell(NAME, seed, &harm, &crowd.records, &oracle, report);
    report.note(format!(
        "{NAME}: {nodes} node(s), {} clients of {people} people in {rooms} rooms, seed {seed}; to play it again: {again}",
        crowd.records.len(),
    ));
    if report.faults().is_empty() {
        cluster.stop().await
    } else {
        let folder = cluster.stop_and_keep().await?;
        report.note(format!("{NAME}: data and logs of the servers are in {}", folder.display()));
        Ok(())
    }
}

/// Sends one more message to each room, on each node in turn: whoever is live hears it.
async fn call_the_roll(cluster: &Cluster, scene: &Scene) -> anyhow::Result<()> {
    let apis = cluster.apis()?;
    for (room, api) in (0..scene.rooms.len()).zip(apis.iter().cycle()) {
        let (channel, person) = scene.member_of(room).context("a room without members")?;
        let seats = [api.seat(person, Vec::new())];
        for mut socket in socket::connect_all(&seats, 0).await? {
            sends::send_one(&mut socket, 0, channel, &Cell::default()).await?;
        }
    }
    Ok(())
}

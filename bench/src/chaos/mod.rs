//! Chaos: clients that come and go while the server is killed and its store is slow, and an oracle that looks for
//! what was lost.
//!
//! Everything that is drawn comes from one seed, and the run can be played again with it; what the machine makes of it
//! differs a little each time. Read `schedule` and `scene` (what is set up), `crowd`, `client`, `link` and `stream` (who
//! does what), `record` and `journal` (what clients know), `database`, `oracle` and `verdict` (what is true). The clients
//! and the oracle know nothing of what is done to the servers: `cluster_chaos` plays with them too.

mod client;
pub mod crowd;
pub mod database;
mod journal;
mod link;
pub mod oracle;
mod record;
pub mod scene;
mod schedule;
mod stream;
pub mod verdict;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use self::crowd::{Cast, Crowd, SCENE_STREAM};
use self::oracle::Oracle;
use self::scene::Scene;
use self::schedule::{Schedule, Stroke};
use crate::api::Api;
use crate::chance::Chance;
use crate::database::Database;
use crate::folder::Folder;
use crate::plan::Plan;
use crate::report::Report;
use crate::server::Server;
use crate::servers::ports::lasting_address;

/// Small queues and short patience, so that slow readers are met often.
const SETTINGS: [(&str, &str); 2] =
    [("MADANG__SOCKET__OUTBOX_BYTES_MAX", "32768"), ("MADANG__SOCKET__STALL_TIMEOUT_MS", "5000")];
/// Longer than the server's pings are apart.
const SILENCE_MAX: Duration = Duration::from_secs(40);

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Plays the run again that printed it.
    #[arg(long)]
    seed: Option<u32>,
    /// How often the server is killed.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    kills: Option<u32>,
    /// Connections that come and go.
    #[arg(long)]
    clients: Option<usize>,
    /// People, each with several clients.
    #[arg(long)]
    people: Option<usize>,
    #[arg(long)]
    rooms: Option<usize>,
    /// A control: clients come back without their positions, so that the run must fail.
    #[arg(long)]
    forgetful: bool,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(random_seed);
    let kills = options.kills.unwrap_or(plan.pick(10, 2));
    let duration = plan.duration_or(60, 10);
    let (seconds, again) = (duration.as_secs(), format!("make chaos SEED={seed} KILLS={kills}"));
    eprintln!("chaos: {kills} kills in {seconds} s; to play it again: {again}");

    let mut chance = Chance::new(seed.into(), SCENE_STREAM);
    let schedule = Schedule::draw(&mut chance, duration, kills);
    let folder = Folder::new(&plan.folder())?;
    let data = folder.path().join("data");
    let address = lasting_address()?;
    let server = Server::madang_at(address, &plan.madang, folder.path(), &SETTINGS).await?;
    let (people, rooms) =
        (options.people.unwrap_or(plan.pick(40, 8)), options.rooms.unwrap_or(plan.pick(10, 4)));
    ensure!(people > 1 && rooms > 0, "at least two people and one room");
    let scene = Scene::set(&Api::new(address)?, people, rooms, &mut chance).await?;

    let mut crowd = Crowd::gather(&Cast {
        name: "chaos",
        clients: options.clients.unwrap_or(plan.pick(200, 40)),
        seed,
        scene: &scene,
        nodes: Rc::new([address]),
        silence_max: SILENCE_MAX,
        is_forgetful: options.forgetful,
    })?;
    let started = Instant::now();
    let (server, locks, ()) = tokio::try_join!(
        kill_and_restart(server, &schedule.kills, started, plan, folder.path()),
        slow_down(&data, &schedule.locks, started),
        async {
            sleep_until(started + duration).await;
            anyhow::Ok(())
        },
    )?;
    let database = Database::Sqlite(data);
    crowd.settle(&database, &scene, report).await?;
    crowd.go_home().await?;
    if let Err(error) = server.stop().await {
        report.fault(format!("chaos: {error:#}"));
    }

    let logs = database.logs(&scene.rooms).await?;
    let mut oracle = Oracle::new(&logs);
    for record in &crowd.records {
        oracle.judge(&record.borrow());
    }
    let harm = [("kills", schedule.kills.len(), "kills"), ("slow_store", locks, "times")];
    verdict::tell("chaos", seed, &harm, &crowd.records, &oracle, report);
    report.note(format!(
        "chaos: {} clients of {people} people in {rooms} rooms, {seconds} s, seed {seed}; to play it again: {again}",
        crowd.records.len(),
    ));
    if !report.faults().is_empty() {
        report
            .note(format!("chaos: data and log of the server are in {}", folder.keep().display()));
    }
    Ok(())
}

pub fn random_seed() -> u32 {
    // The first 32 of its random bits.
    u32::try_from(Uuid::new_v4().as_u128() >> 96).unwrap_or_default()
}

/// Kills the server at each stroke and starts it again on the same data and port; gives the one that runs at last.
async fn kill_and_restart(
    mut server: Server,
    strokes: &[Stroke],
    started: Instant,
    plan: &Plan,
    folder: &Path,
) -> anyhow::Result<Server> {
    let address = server.address();
    for (number, stroke) in (1_u32..).zip(strokes) {
        sleep_until(started + stroke.at).await;
        server.kill().await.with_context(|| format!("kill {number}"))?;
        sleep(stroke.lasts).await;
        server = Server::madang_at(address, &plan.madang, folder, &SETTINGS)
            .await
            .with_context(|| format!("restart {number}"))?;
    }
    Ok(server)
}

/// Holds the database at each stroke; gives how often that went well.
async fn slow_down(data: &Path, strokes: &[Stroke], started: Instant) -> anyhow::Result<usize> {
    let mut held = 0;
    for stroke in strokes {
        sleep_until(started + stroke.at).await;
        // Whoever does not get the lock in time has slowed down nobody.
        held += usize::from(database::hold(data, stroke.lasts).await.is_ok());
    }
    Ok(held)
}

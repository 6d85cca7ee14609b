//! Chaos: clients that come and go while the server is killed and its store is slow, and an oracle that looks for
//! what was lost.
//!
//! Everything that is drawn comes from one seed, and the run can be played again with it; what the machine makes of it
//! differs a little each time. Read `schedule` and `scene` (what is set up), `client`, `link` and `stream` (who does
//! what), `record` and `journal` (what clients know), `database` and `oracle` (what is true).

mod client;
mod database;
mod journal;
mod link;
mod oracle;
mod record;
mod scene;
mod schedule;
mod stream;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use self::client::{Client, Stage, Transport};
use self::journal::{Gap, Journal};
use self::oracle::{Kind, Oracle};
use self::record::Record;
use self::scene::Scene;
use self::schedule::{Schedule, Stroke};
use crate::api::Api;
use crate::chance::Chance;
use crate::folder::Folder;
use crate::plan::Plan;
use crate::report::{Bound, Report, figure};
use crate::server::{Server, lasting_address};

/// Small queues and short patience, so that slow readers are met often.
const SETTINGS: [(&str, &str); 2] =
    [("MADANG__SOCKET__OUTBOX_BYTES_MAX", "32768"), ("MADANG__SOCKET__STALL_TIMEOUT_MS", "5000")];
/// Time for all to be acknowledged, and for all to have read everything.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// Time in which an event that is delivered twice would show.
const ECHO: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(50);
/// The stream of the seed that the scene is drawn from; each client has one after it.
const SCENE_STREAM: u64 = 0;
/// One client of so many has an event stream; the others have sockets.
const STREAM_EVERY: usize = 4;
const SHOWN_MAX: usize = 10;

type Records = [Rc<RefCell<Record>>];

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
}

/// What was done to the server.
struct Harm {
    kills: usize,
    locks: usize,
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

    let (stage, watching) = watch::channel(Stage::Chaos);
    let mut clients = JoinSet::new();
    let mut records = Vec::new();
    for number in 0..options.clients.unwrap_or(plan.pick(200, 40)) {
        let client = cast(number, seed, &scene, &server, &watching)?;
        records.push(client.record.clone());
        clients.spawn_local(client.live());
    }
    let started = Instant::now();
    let (server, locks, ()) = tokio::try_join!(
        kill_and_restart(server, &schedule.kills, started, plan, folder.path()),
        slow_down(&data, &schedule.locks, started),
        async {
            sleep_until(started + duration).await;
            anyhow::Ok(())
        },
    )?;
    stage.send_replace(Stage::Settle);
    settle(&records, &data, &scene, report).await?;
    // They never end by themselves.
    if let Some(ended) = clients.try_join_next() {
        ended.context("a client ended")?;
    }
    clients.shutdown().await;
    if let Err(error) = server.stop().await {
        report.fault(format!("chaos: {error:#}"));
    }

    let logs = database::logs(&data, &scene.rooms).await?;
    let mut oracle = Oracle::new(&logs);
    for record in &records {
        oracle.judge(&record.borrow());
    }
    tell(seed, &Harm { kills: schedule.kills.len(), locks }, &records, &oracle, report);
    report.note(format!(
        "chaos: {} clients of {people} people in {rooms} rooms, {seconds} s, seed {seed}; to play it again: {again}",
        records.len(),
    ));
    if !report.faults().is_empty() {
        report
            .note(format!("chaos: data and log of the server are in {}", folder.keep().display()));
    }
    Ok(())
}

fn random_seed() -> u32 {
    // The first 32 of its random bits.
    u32::try_from(Uuid::new_v4().as_u128() >> 96).unwrap_or_default()
}

/// Makes one client: who it is, what it follows, and over what.
fn cast(
    number: usize,
    seed: u32,
    scene: &Scene,
    server: &Server,
    stage: &watch::Receiver<Stage>,
) -> anyhow::Result<Client> {
    let mut chance = Chance::new(seed.into(), SCENE_STREAM + 1 + u64::try_from(number)?);
    let place = number % scene.people.len();
    let person = scene.people.get(place).context("a client needs a person")?;
    let followed = scene.followed(place, &mut chance).into_iter();
    let journals =
        followed.filter_map(|room| Some(Journal::new(room, &scene.rooms.get(room)?.channel)));
    let record = Rc::new(RefCell::new(Record::new(number, journals.collect())));
    let is_stream = number % STREAM_EVERY == STREAM_EVERY - 1;
    Ok(Client {
        record,
        transport: if is_stream { Transport::Stream } else { Transport::Socket },
        address: server.address(),
        person: person.clone(),
        chance,
        stage: stage.clone(),
        cursor: None,
        written: 0,
    })
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

/// Waits until every send is acknowledged and every client has read everything; whoever has not is a fault.
async fn settle(
    records: &Records,
    data: &Path,
    scene: &Scene,
    report: &mut Report,
) -> anyhow::Result<()> {
    let late = wait_for(records, |record| record.waiting.is_empty()).await;
    complain_of(&late, "not every send was acknowledged", report);
    let heads = database::heads(data, &scene.rooms).await?;
    let late = wait_for(records, |record| record.has_reached(&heads)).await;
    complain_of(&late, &format!("not everything was read; the heads are {heads:?}"), report);
    sleep(ECHO).await;
    Ok(())
}

/// Waits until `is_done` holds for all; tells how those stand for whom it does not in time.
async fn wait_for(records: &Records, is_done: impl Fn(&Record) -> bool) -> Vec<String> {
    let started = Instant::now();
    loop {
        let late = records.iter().filter(|record| !is_done(&record.borrow()));
        let late: Vec<_> = late.map(|record| record.borrow().standing()).collect();
        if late.is_empty() || started.elapsed() > SETTLE_LIMIT {
            return late;
        }
        sleep(POLL).await;
    }
}

fn complain_of(late: &[String], what: &str, report: &mut Report) {
    if late.is_empty() {
        return;
    }
    report.fault(format!("chaos: after {SETTLE_LIMIT:?}, {what}: {} clients", late.len()));
    for standing in late.iter().take(SHOWN_MAX) {
        report.fault(standing);
    }
}

fn tell(seed: u32, harm: &Harm, records: &Records, oracle: &Oracle<'_>, report: &mut Report) {
    let sum =
        |of: fn(&Record) -> usize| records.iter().map(|record| of(&record.borrow())).sum::<usize>();
    report.measure("chaos.seed", f64::from(seed), None, "", Bound::None);
    for (name, count, unit) in [
        ("kills", harm.kills, "kills"),
        ("slow_store", harm.locks, "times"),
        ("clients", records.len(), "clients"),
        ("connections", sum(|record| record.visits), "connections"),
        ("acknowledged", oracle.acknowledged(), "messages"),
        ("delivered", oracle.delivered, "events"),
        ("lags", sum(|record| record.lags), "times"),
        ("gaps", oracle.gaps.len(), "gaps"),
    ] {
        report.measure(&format!("chaos.{name}"), figure(count), None, unit, Bound::None);
    }
    for (name, kind) in [
        ("lost", Kind::Lost),
        ("doubled", Kind::Doubled),
        ("out_of_order", Kind::OutOfOrder),
        ("altered", Kind::Altered),
        ("unkept", Kind::Unkept),
        ("holes", Kind::Hole),
    ] {
        let count = figure(oracle.count(kind));
        report.measure(&format!("chaos.{name}"), count, None, "events", Bound::AtMost(0.0));
    }

    for (client, room, gap) in oracle.gaps.iter().take(SHOWN_MAX) {
        let Gap { have, first, head } = gap;
        report.note(format!(
            "chaos: a gap was announced to client {client} in room {room}: have {have}, first {first}, head {head}"
        ));
    }
    for violation in oracle.violations.iter().take(SHOWN_MAX) {
        report.fault(format!("chaos: {violation}"));
    }
    if oracle.violations.len() > SHOWN_MAX {
        report.fault(format!("chaos: {} violations in all", oracle.violations.len()));
    }
    for record in records {
        let record = record.borrow();
        for complaint in &record.complaints {
            report.fault(format!("chaos: client {} was told: {complaint}", record.client));
        }
    }
    // What nobody sent or heard proves nothing.
    if oracle.acknowledged() == 0 || oracle.delivered == 0 {
        report.fault("chaos: nothing was acknowledged or delivered");
    }
}

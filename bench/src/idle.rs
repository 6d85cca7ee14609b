//! Scenario 3: the memory that a connection holds which says nothing, and what the server does meanwhile.
//!
//! The server is restarted between making the scene and measuring, so that memory freed by password hashing is
//! not there to be used again and the figure hides nothing.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::api::{Api, PEOPLE, Person};
use crate::commits::Commits;
use crate::folder::Folder;
use crate::plan::Plan;
use crate::report::{Bound, Report, figure};
use crate::server::Server;
use crate::socket::{self, Seat};
use crate::usage;

const ROOMS_EACH: usize = 3;
/// Connections opened before they start to answer heartbeats.
const BATCH: usize = 500;
/// Files that are not connections of the load.
pub const FILES_SPARE: u64 = 200;
const KIB_MAX: f64 = 6.0;
/// How often the database is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const CPU_US_MAX: f64 = 2.2;

#[derive(Debug, Default, Args)]
pub struct Options {
    #[arg(long)]
    connections: Option<usize>,
    /// Rooms that the connections are spread over, three each.
    #[arg(long)]
    rooms: Option<usize>,
    /// Seconds between the last connection and the measurement; more than a heartbeat's period.
    #[arg(long)]
    settle_seconds: Option<u64>,
    /// Seconds after that in which the server's work is measured.
    #[arg(long)]
    quiet_seconds: Option<u64>,
}

/// Memory of one connection, and connections that the server gave up on.
struct Outcome {
    kib_each: f64,
    quiet: Option<Quiet>,
    ended: Vec<String>,
}

/// Connections that say nothing but answer heartbeats, until this is dropped.
pub struct Listeners {
    _receivers: JoinSet<()>,
    ended: Rc<RefCell<Vec<String>>>,
}

/// What the server does while nobody says anything.
struct Quiet {
    /// Microseconds of CPU for one connection, each second.
    cpu_us: f64,
    /// Looks that found something written, each second.
    writes: f64,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let connections = options.connections.unwrap_or(plan.pick(10_000, 200));
    let rooms = options.rooms.unwrap_or(plan.pick(300, 10));
    let settle = Duration::from_secs(options.settle_seconds.unwrap_or(plan.pick(35, 2)));
    let quiet = Duration::from_secs(options.quiet_seconds.unwrap_or(plan.pick(30, 2)));
    ensure!(
        connections > 0 && rooms >= ROOMS_EACH,
        "at least one connection and {ROOMS_EACH} rooms"
    );
    let files = usage::raise_open_files()?;
    ensure!(
        files >= connections as u64 + FILES_SPARE,
        "{connections} connections need more than {files} open files"
    );

    eprintln!("idle: {connections} connections to madang");
    let subject = on_madang(plan, connections, rooms, settle, quiet).await?;
    eprintln!("idle: {connections} connections to the reference");
    let reference = on_reference(plan, connections, settle).await?;

    report.measure(
        "idle.rss_per_connection",
        subject.kib_each,
        Some(reference.kib_each),
        "KiB",
        Bound::AtMost(KIB_MAX),
    );
    if let Some(Quiet { cpu_us, writes }) = subject.quiet {
        let bound = Bound::AtMost(CPU_US_MAX);
        report.measure("idle.cpu_per_connection", cpu_us, None, "us/s", bound);
        report.measure("idle.writes_per_second", writes, None, "1/s", Bound::AtMost(0.0));
    }
    report.note(format!(
        "idle: {connections} authenticated connections of {PEOPLE} people, each in `me` and {ROOMS_EACH} of {rooms} \
         rooms; VmRSS of a fresh process before the first and {} s after the last; the reference's are each in one \
         room; CPU (heartbeats included) and writes in the {} s after that; the database is looked at every second, and \
         a look that finds commits of the server counts as one write.",
        settle.as_secs(),
        quiet.as_secs(),
    ));
    for (who, outcome) in [("madang", subject), ("the reference", reference)] {
        if let Some(first) = outcome.ended.first() {
            report
                .fault(format!("idle: {who} ended {} connections ({first})", outcome.ended.len()));
        }
    }
    Ok(())
}

async fn on_madang(
    plan: &Plan,
    connections: usize,
    rooms: usize,
    settle: Duration,
    quiet: Duration,
) -> anyhow::Result<Outcome> {
    let folder = Folder::new(&plan.folder())?;
    let server = Server::madang(&plan.madang, folder.path(), &[]).await?;
    let api = Api::new(server.address())?;
    let people = api.register(PEOPLE).await?;
    let channels = api.create_rooms(&people, rooms).await?;
    server.stop().await?;

    let server = Server::madang(&plan.madang, folder.path(), &[]).await?;
    let api = Api::new(server.address())?;
    let seats = seats(&api, &people, &channels, connections);
    let data = folder.path().join("data");
    measure(server, &seats, settle, Some((data.as_path(), quiet))).await
}

/// Seats for so many connections of `people`, each in `me` and three of the rooms.
pub fn seats(api: &Api, people: &[Person], channels: &[String], connections: usize) -> Vec<Seat> {
    let mut channels = channels.iter().cycle();
    let seats = people.iter().cycle().take(connections).map(|person| {
        let rooms = channels.by_ref().take(ROOMS_EACH).cloned();
        api.seat(person, std::iter::once("me".to_owned()).chain(rooms).collect())
    });
    seats.collect()
}

async fn on_reference(
    plan: &Plan,
    connections: usize,
    settle: Duration,
) -> anyhow::Result<Outcome> {
    let folder = Folder::new(&plan.folder())?;
    let server = Server::reference(folder.path()).await?;
    let address = server.address();
    let seats: Vec<_> = (0..connections)
        .map(|number| Seat {
            address,
            path: format!("/?room={}", number / 30),
            token: None,
            hello: None,
        })
        .collect();
    measure(server, &seats, settle, None).await
}

/// Fills the seats and waits; then looks at the memory and, if told where the data is and for how long, at the work.
async fn measure(
    server: Server,
    seats: &[Seat],
    settle: Duration,
    quiet: Option<(&Path, Duration)>,
) -> anyhow::Result<Outcome> {
    let before = server.usage()?;
    let listeners = Listeners::seat(seats).await?;
    sleep(settle).await;
    let after = server.usage()?;
    let kib_each = (after.resident_kib - before.resident_kib) / figure(seats.len());
    let quiet = match quiet {
        Some((data, lasts)) => Some(Quiet::watch(&server, seats.len(), data, lasts).await?),
        None => None,
    };
    let ended = listeners.leave();
    server.stop().await?;

    Ok(Outcome { kib_each, quiet, ended })
}

impl Listeners {
    /// Opens a connection for each seat, many at a time.
    pub async fn seat(seats: &[Seat]) -> anyhow::Result<Self> {
        let ended = Rc::new(RefCell::new(Vec::new()));
        let mut receivers = JoinSet::new();
        for batch in seats.chunks(BATCH) {
            for socket in socket::connect_all(batch, receivers.len()).await? {
                let ended = ended.clone();
                receivers.spawn_local(async move {
                    if let Err(reason) = socket.listen(|_| {}).await {
                        ended.borrow_mut().push(format!("{reason:#}"));
                    }
                });
            }
        }
        Ok(Self { _receivers: receivers, ended })
    }

    /// Drops every connection; gives why the server had ended some before, if it had.
    pub fn leave(self) -> Vec<String> {
        self.ended.take()
    }
}

impl Quiet {
    /// Watches a server with so many connections, and asks it for nothing.
    async fn watch(
        server: &Server,
        connections: usize,
        data: &Path,
        lasts: Duration,
    ) -> anyhow::Result<Self> {
        let mut commits = Commits::watch(data).await?;
        let (started, before) = (Instant::now(), server.usage()?);
        let mut writes = 0_u32;
        while started.elapsed() < lasts {
            sleep(LOOK_INTERVAL).await;
            writes += u32::from(commits.has_any().await?);
        }
        let after = server.usage()?;
        let seconds = started.elapsed().as_secs_f64();
        commits.close().await?;

        let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
        let cpu_us = cpu_seconds * 1_000_000.0 / seconds / figure(connections);
        Ok(Self { cpu_us, writes: f64::from(writes) / seconds })
    }
}

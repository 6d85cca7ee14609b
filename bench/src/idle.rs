//! Scenario 3: the memory that a connection holds which says nothing.
//!
//! The server is restarted between making the scene and measuring, so that memory freed by password hashing is
//! not there to be used again and the figure hides nothing.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::api::{Api, PEOPLE};
use crate::folder::Folder;
use crate::plan::Plan;
use crate::report::{Bound, Report};
use crate::server::Server;
use crate::socket::{self, Seat};
use crate::usage;

const ROOMS_EACH: usize = 3;
/// Connections opened before they start to answer heartbeats.
const BATCH: usize = 500;
/// Files that are not connections of the load.
const FILES_SPARE: u64 = 200;
const KIB_MAX: f64 = 6.0;

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
}

/// Memory of one connection, and connections that the server gave up on.
struct Outcome {
    kib_each: f64,
    ended: Vec<String>,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let connections = options.connections.unwrap_or(plan.pick(10_000, 200));
    let rooms = options.rooms.unwrap_or(plan.pick(300, 10));
    let settle = Duration::from_secs(options.settle_seconds.unwrap_or(plan.pick(35, 2)));
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
    let subject = on_madang(plan, connections, rooms, settle).await?;
    eprintln!("idle: {connections} connections to the reference");
    let reference = on_reference(plan, connections, settle).await?;

    report.measure(
        "idle.rss_per_connection",
        subject.kib_each,
        Some(reference.kib_each),
        "KiB",
        Bound::AtMost(KIB_MAX),
    );
    report.note(format!(
        "idle: {connections} authenticated connections of {PEOPLE} people, each in `me` and {ROOMS_EACH} of {rooms} \
         rooms; VmRSS of a fresh process before the first and {} s after the last; the reference's are each in one \
         room.",
        settle.as_secs(),
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
) -> anyhow::Result<Outcome> {
    let folder = Folder::new(&plan.folder())?;
    let server = Server::madang(&plan.madang, folder.path(), &[]).await?;
    let api = Api::new(server.address())?;
    let people = api.register(PEOPLE).await?;
    let mut channels = Vec::with_capacity(rooms);
    for (number, owner) in (0..rooms).zip(people.iter().cycle()) {
        let everybody: Vec<_> = people.iter().collect();
        let id = api.create_room(&format!("bench {number}"), owner, &everybody).await?;
        channels.push(format!("room:{id}"));
    }
    server.stop().await?;

    let server = Server::madang(&plan.madang, folder.path(), &[]).await?;
    let api = Api::new(server.address())?;
    let mut channels = channels.iter().cycle();
    let seats: Vec<_> = people
        .iter()
        .cycle()
        .take(connections)
        .map(|person| {
            let rooms = channels.by_ref().take(ROOMS_EACH).cloned();
            api.seat(person, std::iter::once("me".to_owned()).chain(rooms).collect())
        })
        .collect();
    measure(server, &seats, settle).await
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
    measure(server, &seats, settle).await
}

async fn measure(server: Server, seats: &[Seat], settle: Duration) -> anyhow::Result<Outcome> {
    let before = server.usage()?;
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
    sleep(settle).await;
    let after = server.usage()?;
    let ended = ended.take();
    drop(receivers);
    server.stop().await?;

    Ok(Outcome { kib_each: (after.resident_kib - before.resident_kib) / seats.len() as f64, ended })
}

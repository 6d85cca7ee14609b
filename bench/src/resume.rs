//! Scenario 6: what it costs to come back to a room after 1,000 events, beside reading as many page by page.
//!
//! A return is a connection too, and pages are read on one that is there: what coming in costs without having missed
//! anything is measured as often, and subtracted.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::api::{Api, Person};
use crate::folder::Folder;
use crate::follower::Follower;
use crate::history::ask;
use crate::plan::Plan;
use crate::report::{Bound, Report, figure};
use crate::seed;
use crate::server::Server;
use crate::socket::{self, Seat, Socket};
use crate::tally::histogram;

const MISSED: i64 = 1_000;
const PAGE: i64 = 200;
/// Blocks that are measured of each way, in turn, after one that warms up.
const BLOCKS: u32 = 5;
/// Connections that follow the room all the time, so that every worker knows it and nobody comes online.
const RESIDENTS: usize = 8;
/// Time in which the server does what is left to do after a block.
const SETTLE: Duration = Duration::from_millis(100);
const RATIO_MAX: f64 = 1.2;

#[derive(Debug, Default, Args)]
pub struct Options {
    /// How often the events are resumed, and read.
    #[arg(long, value_parser = clap::value_parser!(u32).range(5..=100_000))]
    times: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// On the socket, with everything missed.
    Resume,
    /// On the socket, with nothing missed.
    Hello,
    /// Through REST.
    Pages,
}

struct Side {
    way: Way,
    cpu_seconds: f64,
    took_us: Histogram<u64>,
    lost: usize,
}

struct Scene {
    api: Api,
    person: Person,
    room: String,
    /// One that has missed nothing.
    present: Follower,
    /// One that has missed everything.
    absent: Follower,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let block = options.times.unwrap_or(plan.pick(200, 20)).div_ceil(BLOCKS);
    let times = block * BLOCKS;
    let folder = Folder::new(&plan.folder())?;
    let (person, room) = prepare(plan, folder.path()).await?;
    let server = Server::madang(&plan.madang, folder.path(), &[]).await?;
    let api = Api::new(server.address())?;
    let channel = format!("room:{room}");
    let seats = vec![api.seat(&person, vec![channel.clone()]); RESIDENTS];
    let mut residents = JoinSet::new();
    for socket in socket::connect_all(&seats, 0).await? {
        residents.spawn_local(socket.listen(|_| {}));
    }
    let scene = Scene::open(api, person, room, channel).await?;

    eprintln!("resume: {times} times {MISSED} events");
    let mut sides = [Side::new(Way::Resume)?, Side::new(Way::Hello)?, Side::new(Way::Pages)?];
    for number in 0..=BLOCKS {
        // Which of them goes first changes each time.
        sides.rotate_left(1);
        for side in &mut sides {
            side.measure(&scene, &server, block, number > 0).await?;
        }
    }
    drop(residents);
    server.stop().await?;

    sides.sort_by_key(|side| side.way);
    tell(&sides, times, report);
    report.note(format!(
        "resume: {MISSED} missed events of one room, {times} times on the socket (from hello to `live`) and (beside it) \
         {times} times in pages of {PAGE} over one connection, in turn; server CPU of the socket's side is net of \
         hello_cpu: the same connection, upgrade and hello, as often, with nothing missed.",
    ));
    Ok(())
}

/// Makes a room with so many messages; gives one who is in it, and its id.
async fn prepare(plan: &Plan, folder: &Path) -> anyhow::Result<(Person, String)> {
    let server = Server::madang(&plan.madang, folder, &[]).await?;
    let api = Api::new(server.address())?;
    let people = api.register(2).await?;
    let [person, other] = people.as_slice() else { bail!("two people were asked for") };
    let room = api.create_room("bench resume", person, &[other]).await?;
    server.stop().await?;
    seed::fill(&folder.join("data"), &room, &other.id, MISSED).await?;
    Ok((person.clone(), room))
}

fn tell(sides: &[Side; 3], times: u32, report: &mut Report) {
    let [resumed, hello, pages] = sides;
    let cpu_ms = |side: &Side| side.cpu_seconds * 1_000.0 / f64::from(times);
    report.compare(
        "resume.cpu_per_1000_events",
        cpu_ms(resumed) - cpu_ms(hello),
        cpu_ms(pages),
        "ms",
        Bound::AtMost(RATIO_MAX),
    );
    report.measure("resume.hello_cpu", cpu_ms(hello), None, "ms", Bound::None);
    let p50_ms = |side: &Side| figure(side.took_us.value_at_quantile(0.5)) / 1_000.0;
    report.measure("resume.p50", p50_ms(resumed), Some(p50_ms(pages)), "ms", Bound::None);
    report.measure("resume.hello_p50", p50_ms(hello), None, "ms", Bound::None);
    let lost = figure(resumed.lost);
    report.measure("resume.lost", lost, None, "events", Bound::AtMost(0.0));
    if resumed.lost > 0 {
        report.fault(format!("resume: {lost} events were not given"));
    }
}

impl Side {
    fn new(way: Way) -> anyhow::Result<Self> {
        Ok(Self { way, cpu_seconds: 0.0, took_us: histogram()?, lost: 0 })
    }

    /// Goes its way so many times; what `counts` is kept.
    async fn measure(
        &mut self,
        scene: &Scene,
        server: &Server,
        times: u32,
        counts: bool,
    ) -> anyhow::Result<()> {
        let before = server.usage()?;
        for _ in 0..times {
            let (took_us, lost) = scene.go(self.way).await?;
            if counts {
                self.took_us.saturating_record(took_us);
            }
            self.lost += lost;
        }
        sleep(SETTLE).await;
        if counts {
            self.cpu_seconds += server.usage()?.cpu_seconds - before.cpu_seconds;
        }
        Ok(())
    }
}

impl Scene {
    /// Comes in once, to know where the room stands.
    async fn open(api: Api, person: Person, room: String, channel: String) -> anyhow::Result<Self> {
        let follower = Follower::new([channel]);
        let mut scene = Self { api, person, room, present: follower.clone(), absent: follower };
        let (_, present) = scene.visit(&scene.present).await?;
        scene.present = present;
        scene.absent = scene.present.clone();
        scene.absent.set_back(MISSED);
        Ok(scene)
    }

    /// Gives the microseconds that it took, and the events that were owed and not given.
    async fn go(&self, way: Way) -> anyhow::Result<(u64, usize)> {
        match way {
            Way::Resume => {
                let (took_us, follower) = self.visit(&self.absent).await?;
                let owed = usize::try_from(MISSED)?;
                Ok((took_us, owed.saturating_sub(follower.delivered)))
            }
            Way::Hello => Ok((self.visit(&self.present).await?.0, 0)),
            Way::Pages => Ok((self.read_pages().await?, 0)),
        }
    }

    /// One connection of `follower`, until it is live; the time is without the connecting.
    async fn visit(&self, follower: &Follower) -> anyhow::Result<(u64, Follower)> {
        let mut follower = follower.clone();
        let seat = Seat { hello: None, ..self.api.seat(&self.person, Vec::new()) };
        let mut socket = Socket::over(socket::dial(seat.address, 0).await?, &seat).await?;
        let started = Instant::now();
        follower.come_in(&mut socket).await?;
        Ok((u64::try_from(started.elapsed().as_micros())?, follower))
    }

    async fn read_pages(&self) -> anyhow::Result<u64> {
        let last = self.present.position(&format!("room:{}", self.room)).unwrap_or_default();
        let (mut after, mut took_us) = (last - MISSED, 0);
        while after < last {
            let request = self.api.history_after(&self.person, &self.room, after, PAGE);
            let (body, page_us) = ask(request).await?;
            took_us += page_us;
            let page: Value = serde_json::from_slice(&body)?;
            let items = page.get("items").and_then(Value::as_array).map(Vec::as_slice);
            let items = items.unwrap_or_default().iter();
            let numbers = items.map(|item| item.get("seq").and_then(Value::as_i64));
            let expected = (after + 1..=after + PAGE).map(Some);
            ensure!(numbers.eq(expected), "not the page after {after}: {page}");
            after += PAGE;
        }
        Ok(took_us)
    }
}

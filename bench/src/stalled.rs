//! Scenario 8: what members of a room that have stopped reading cost those who read, and the server.
//!
//! They were live once and take nothing any more; the kernel takes little for them ([`narrow`]), and the server is
//! told to keep them. Some of them read on in the end: nothing may be missing.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use crate::api::{Api, PEOPLE, Person};
use crate::fanout::blame;
use crate::folder::Folder;
use crate::follower::Follower;
use crate::load::{Load, Outcome, Room};
use crate::narrow;
use crate::plan::Plan;
use crate::report::{Bound, Report, figure, median};
use crate::server::Server;
use crate::socket::{Seat, Socket};

const SETTINGS: [(&str, &str); 2] =
    [("MADANG__SOCKET__STALL_TIMEOUT_MS", "600000"), ("MADANG__SOCKET__PONG_TIMEOUT_MS", "600000")];
/// Stalled readers that read on in the end.
const DRAINED: usize = 10;
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// Between the last reader and the look at the memory before.
const SETTLE: Duration = Duration::from_secs(1);
/// What the server keeps for one slow reader before it leaves the rest to the store.
const OUTBOX_KIB: f64 = 256.0;
const P99_RATIO_MAX: f64 = 1.5;
const KIB_MAX: f64 = 320.0;

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Members that read.
    #[arg(long)]
    readers: Option<usize>,
    /// Members that do not.
    #[arg(long)]
    stalled: Option<usize>,
    /// Messages in a second.
    #[arg(long)]
    rate: Option<u64>,
    #[arg(long)]
    body_bytes: Option<usize>,
}

/// A member that has stopped reading.
struct Sleeper {
    socket: Socket,
    follower: Follower,
}

struct Round {
    load: Outcome,
    /// The server's memory when the last message was delivered.
    resident_kib: f64,
    drained: Drained,
}

/// What those had heard that read on in the end.
#[derive(Default)]
struct Drained {
    sleepers: usize,
    lags: usize,
    lost: usize,
    complaint: Option<String>,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let load = Load {
        rooms: 1,
        members: options.readers.unwrap_or(plan.pick(400, 40)),
        rate: options.rate.unwrap_or(100),
        body_bytes: options.body_bytes.unwrap_or(512),
    };
    let stalled = options.stalled.unwrap_or(plan.pick(200, 20));
    let duration = plan.duration_or(15, 6);
    load.check()?;
    ensure!(stalled > 0, "at least one stalled reader");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds() {
        eprintln!("stalled: round {round} of {}", plan.rounds());
        with.push(measure(plan, load, stalled, duration).await?);
        without.push(measure(plan, load, 0, duration).await?);
    }

    tell(load, &with, &without, stalled, report);
    let Load { members, rate, body_bytes, .. } = load;
    report.note(format!(
        "stalled: one room of {members} connections that read, {rate} messages/s of {body_bytes} bytes, {} s, median of {} \
         round(s), with {stalled} more that stopped reading when they were live, and (beside it) without; latency is \
         that of the readers; RSS is what the server holds more than without them, when the last message was \
         delivered, for each of them; addressed are the bodies alone; the first {DRAINED} of them read on in the end.",
        duration.as_secs(),
        plan.rounds(),
    ));
    Ok(())
}

async fn measure(
    plan: &Plan,
    load: Load,
    stalled: usize,
    duration: Duration,
) -> anyhow::Result<Round> {
    let folder = Folder::new(&plan.folder())?;
    let server = Server::madang(&plan.madang, folder.path(), &SETTINGS).await?;
    let api = Api::new(server.address())?;
    let people = api.register(PEOPLE).await?;
    let everybody: Vec<_> = people.iter().collect();
    let owner = people.first().context("a room needs people")?;
    let channel = format!("room:{}", api.create_room("bench stalled", owner, &everybody).await?);
    let seats = people.iter().cycle().take(load.members);
    let seats = seats.map(|person| api.seat(person, vec![channel.clone()])).collect();
    let audience = load.seat(&[Room { channel: channel.clone(), seats }], None).await?;
    sleep(SETTLE).await;

    let mut sleepers = Vec::with_capacity(stalled);
    for person in people.iter().cycle().take(stalled) {
        sleepers.push(Sleeper::fall_asleep(&api, person, &channel).await?);
    }
    let outcome = load.publish(&[&server], &audience, duration).await?;
    let resident_kib = server.usage()?.resident_kib;

    sleepers.truncate(DRAINED);
    let drained = drain(&mut sleepers, &channel, outcome.acknowledged).await?;
    drop((sleepers, audience));
    server.stop().await?;
    Ok(Round { load: outcome, resident_kib, drained })
}

/// Has the sleepers read on to the end of the channel, all at the same time.
async fn drain(sleepers: &mut [Sleeper], channel: &str, messages: u64) -> anyhow::Result<Drained> {
    let mut drained = Drained { sleepers: sleepers.len(), ..Drained::default() };
    let owed = usize::try_from(messages)?;
    let waking = sleepers.iter_mut().map(|sleeper| sleeper.wake(channel, messages));
    let woken = join_all(waking).await;
    for (sleeper, woken) in sleepers.iter().zip(woken) {
        drained.lags += sleeper.follower.lags;
        drained.lost += owed.saturating_sub(sleeper.follower.delivered);
        if let Err(trouble) = woken {
            drained.complaint.get_or_insert_with(|| format!("{trouble:#}"));
        }
    }
    Ok(drained)
}

impl Sleeper {
    /// Comes in, and reads nothing after the first `live`.
    async fn fall_asleep(api: &Api, person: &Person, channel: &str) -> anyhow::Result<Self> {
        let seat = Seat { hello: None, ..api.seat(person, Vec::new()) };
        let mut socket = Socket::over(narrow::connect(seat.address).await?, &seat).await?;
        let mut follower = Follower::new([channel.to_owned()]);
        follower.come_in(&mut socket).await?;
        Ok(Self { socket, follower })
    }

    /// Reads the `messages` that were sent since.
    async fn wake(&mut self, channel: &str, messages: u64) -> anyhow::Result<()> {
        let Self { socket, follower } = self;
        let head = follower.position(channel).unwrap_or_default() + i64::try_from(messages)?;
        let heads = HashMap::from([(channel.to_owned(), head)]);
        let reading = async {
            while follower.behind(&heads) > 0 {
                follower.listen(socket).await?;
            }
            anyhow::Ok(())
        };
        timeout(DRAIN_LIMIT, reading).await.context("not everything came in time")?
    }
}

fn tell(load: Load, with: &[Round], without: &[Round], stalled: usize, report: &mut Report) {
    tell_of_readers(with, without, report);
    let resident_kib =
        |side: &[Round]| median(side.iter().map(|round| round.resident_kib).collect());
    report.measure(
        "stalled.rss_per_stalled_reader",
        (resident_kib(with) - resident_kib(without)) / figure(stalled),
        None,
        "KiB",
        Bound::AtMost(KIB_MAX),
    );
    let addressed_kib =
        with.iter().map(|round| figure(round.load.sent)).fold(f64::INFINITY, f64::min)
            * figure(load.body_bytes)
            / 1_024.0;
    report.measure(
        "stalled.addressed_per_stalled_reader",
        addressed_kib,
        None,
        "KiB",
        Bound::AtLeast(OUTBOX_KIB),
    );

    let sum =
        |of: fn(&Drained) -> usize| with.iter().map(|round| of(&round.drained)).sum::<usize>();
    // Without a lag, nobody was further behind than the server keeps.
    let (sleepers, lags) = (sum(|drained| drained.sleepers), sum(|drained| drained.lags));
    report.measure("stalled.lags", figure(lags), None, "times", Bound::AtLeast(figure(sleepers)));
    let rounds = || with.iter().chain(without);
    let lost_reading: u64 = rounds().map(|round| round.load.lost).sum();
    let lost_asleep = sum(|drained| drained.lost);
    let lost = figure(lost_reading) + figure(lost_asleep);
    report.measure("stalled.lost", lost, None, "deliveries", Bound::AtMost(0.0));

    for round in rounds() {
        let Outcome { sent, acknowledged, .. } = round.load;
        blame("stalled", "madang", &round.load, report);
        if acknowledged != sent {
            report.fault(format!("stalled: madang acknowledged {acknowledged} of {sent} messages"));
        }
        if round.drained.lost > 0 {
            let complaint = round.drained.complaint.as_deref().unwrap_or("no complaint");
            report.fault(format!(
                "stalled: {} events never came to {} stalled readers that read on ({complaint})",
                round.drained.lost, round.drained.sleepers,
            ));
        }
    }
}

/// What those who read felt of those who did not.
fn tell_of_readers(with: &[Round], without: &[Round], report: &mut Report) {
    let middle = |side: &[Round], of: fn(&Outcome) -> f64| {
        median(side.iter().map(|round| of(&round.load)).collect())
    };
    let both = |of| (middle(with, of), middle(without, of));
    let (ours, theirs) = both(|outcome| outcome.p99_ms);
    report.compare("stalled.latency_p99", ours, theirs, "ms", Bound::AtMost(P99_RATIO_MAX));
    for (part, unit, (ours, theirs)) in [
        ("latency_p50", "ms", both(|outcome| outcome.p50_ms)),
        ("latency_max", "ms", both(|outcome| outcome.max_ms)),
        ("deliveries_per_second", "1/s", both(|outcome| outcome.deliveries_per_second)),
        ("server_cpu", "s", both(|outcome| outcome.cpu_seconds)),
    ] {
        report.measure(&format!("stalled.{part}"), ours, Some(theirs), unit, Bound::None);
    }
}

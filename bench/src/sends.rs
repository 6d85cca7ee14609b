//! Scenario 4: durable sends. Each sender waits for its acknowledgement, which comes only after the commit.
//!
//! The baseline is madang itself, told in the same run to commit every message alone.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::api::{Api, PEOPLE, Person};
use crate::folder::Folder;
use crate::load::message;
use crate::plan::Plan;
use crate::report::{Bound, Report, median};
use crate::server::Server;
use crate::socket::{self, Socket};
use crate::tally::{count, histogram};

const WARM_UP: Duration = Duration::from_secs(1);
const REPLY_LIMIT: Duration = Duration::from_secs(30);
/// Refusals in a row after which a sender gives up.
const TRIES_MAX: usize = 100;
const BODY: &str = "Is the table in the courtyard still free tonight? We are five, and my mother brings the soup, so we need the long bench.";
const SINGLE_COMMITS: [(&str, &str); 1] = [("MADANG__DATABASE__GROUP_COMMIT_MAX", "1")];
const PER_SECOND_MIN: f64 = 3_000.0;
const TIMES_BASELINE_MIN: f64 = 10.0;

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Senders, each in a room of its own.
    #[arg(long)]
    senders: Option<usize>,
}

#[derive(Debug)]
pub struct Outcome {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub refused: u64,
    /// Acknowledgements whose `seq` did not follow the sender's one before in that room.
    pub holes: u64,
}

/// What the senders of one run share.
struct Counts {
    from: Instant,
    until: Instant,
    /// Whether several senders send to one room.
    is_shared: bool,
    acknowledged: Cell<u64>,
    refused: Cell<u64>,
    holes: Cell<u64>,
    latency_us: RefCell<Histogram<u64>>,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let senders = options.senders.unwrap_or(plan.pick(64, 16));
    ensure!(senders > 0, "at least one sender");
    let (mut grouped, mut single) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds() {
        eprintln!("sends: round {round} of {}", plan.rounds());
        grouped.push(measure(plan, senders, &[]).await?);
        single.push(measure(plan, senders, &SINGLE_COMMITS).await?);
    }

    let middle = |side: &[Outcome], of: fn(&Outcome) -> f64| median(side.iter().map(of).collect());
    let both = |of| (middle(&grouped, of), middle(&single, of));
    let (ours, theirs) = both(|outcome| outcome.per_second);
    report.either("sends.acknowledged", ours, theirs, "1/s", PER_SECOND_MIN, TIMES_BASELINE_MIN);
    let (ours, theirs) = both(|outcome| outcome.p50_ms);
    report.measure("sends.acknowledgement_p50", ours, Some(theirs), "ms", Bound::None);
    let (ours, theirs) = both(|outcome| outcome.p99_ms);
    report.measure("sends.acknowledgement_p99", ours, Some(theirs), "ms", Bound::None);
    report.note(format!(
        "sends: {senders} senders over {senders} rooms, each waits for its acknowledgement, {} s, median of {} \
         round(s); beside it: the same with single commits.{}",
        plan.duration().as_secs(),
        plan.rounds(),
        if is_memory(&plan.folder()) { " The data folder is in memory: a commit cost nothing." } else { "" },
    ));
    let holes: u64 = grouped.iter().chain(&single).map(|outcome| outcome.holes).sum();
    if holes > 0 {
        report.fault(format!(
            "sends: {holes} acknowledgements did not follow the one before in their room"
        ));
    }
    let refused: u64 = grouped.iter().chain(&single).map(|outcome| outcome.refused).sum();
    if refused > 0 {
        report.note(format!("sends: {refused} sends were refused and tried again."));
    }
    Ok(())
}

async fn measure(
    plan: &Plan,
    senders: usize,
    settings: &[(&str, &str)],
) -> anyhow::Result<Outcome> {
    let folder = Folder::new(&plan.folder())?;
    let server = Server::madang(&plan.madang, folder.path(), settings).await?;
    let api = Api::new(server.address())?;
    let people = api.register(PEOPLE).await?;
    let outcome = drive(&api, &people, senders, senders, plan.duration());
    let outcome = outcome.await.with_context(|| server.log_end())?;
    server.stop().await?;
    Ok(outcome)
}

/// Has so many senders send to so many rooms of their own, or to ones that they share, for `duration` after a warm-up.
pub async fn drive(
    api: &Api,
    people: &[Person],
    senders: usize,
    rooms: usize,
    duration: Duration,
) -> anyhow::Result<Outcome> {
    let mut channels = Vec::with_capacity(rooms);
    let is_shared = rooms < senders;
    for (number, owner) in (0..rooms).zip(people.iter().cycle()) {
        let others: Vec<_> = if is_shared {
            people.iter().collect()
        } else {
            people.iter().cycle().skip(1 + number % people.len()).take(1).collect()
        };
        let id = api.create_room(&format!("bench {number}"), owner, &others).await?;
        channels.push(format!("room:{id}"));
    }
    let seats = people.iter().cycle().take(senders).map(|person| api.seat(person, Vec::new()));
    let sockets = socket::connect_all(&seats.collect::<Vec<_>>(), 0).await?;

    let from = Instant::now() + WARM_UP;
    let counts = Rc::new(Counts {
        from,
        until: from + duration,
        is_shared,
        acknowledged: Cell::default(),
        refused: Cell::default(),
        holes: Cell::default(),
        latency_us: RefCell::new(histogram()?),
    });
    let mut running = JoinSet::new();
    for (socket, channel) in sockets.into_iter().zip(channels.iter().cycle()) {
        running.spawn_local(send(socket, channel.clone(), counts.clone()));
    }
    while let Some(sender) = running.join_next().await {
        sender??;
    }

    let latency = counts.latency_us.borrow();
    let quantile = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(Outcome {
        per_second: counts.acknowledged.get() as f64 / duration.as_secs_f64(),
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
        refused: counts.refused.get(),
        holes: counts.holes.get(),
    })
}

/// One sender: a message, its acknowledgement, the next message, until the time is up.
async fn send(mut socket: Socket, channel: String, counts: Rc<Counts>) -> anyhow::Result<()> {
    let mut last_seq = None;
    let mut id = 0;
    while Instant::now() < counts.until {
        let sent = Instant::now();
        let seq = send_one(&mut socket, id, &channel, &counts.refused).await?;
        let is_next = |last| if counts.is_shared { seq > last } else { seq == last + 1 };
        if last_seq.is_some_and(|last| !is_next(last)) {
            count(&counts.holes);
        }
        last_seq = Some(seq);
        let now = Instant::now();
        if now >= counts.from && now < counts.until {
            count(&counts.acknowledged);
            let latency_us = u64::try_from((now - sent).as_micros()).unwrap_or(u64::MAX);
            counts.latency_us.borrow_mut().saturating_record(latency_us);
        }
        id += 1;
    }
    Ok(())
}

/// Sends one message until it is acknowledged, with the same key each time; gives its `seq`.
pub async fn send_one(
    socket: &mut Socket,
    id: u64,
    channel: &str,
    refused: &Cell<u64>,
) -> anyhow::Result<i64> {
    let frame = message(id, channel, BODY);
    for _ in 0..TRIES_MAX {
        let reply = ask(socket, &frame).await?;
        if let Some(seq) = reply.pointer("/ok/seq").and_then(Value::as_i64) {
            return Ok(seq);
        }
        count(refused);
        let Some(wait_ms) = reply.pointer("/error/retry_after_ms").and_then(Value::as_u64) else {
            bail!("a send was refused for good: {reply}");
        };
        sleep(Duration::from_millis(wait_ms)).await;
    }
    bail!("a send was refused {TRIES_MAX} times")
}

/// Sends the request in `frame` and waits for its reply.
pub async fn ask(socket: &mut Socket, frame: &str) -> anyhow::Result<Value> {
    let asked: Value = serde_json::from_str(frame)?;
    socket.line().send(frame)?;
    timeout(REPLY_LIMIT, reply_to(socket, &asked["id"])).await.context("no reply to a send")?
}

async fn reply_to(socket: &mut Socket, id: &Value) -> anyhow::Result<Value> {
    loop {
        let frame: Value = serde_json::from_str(&socket.text().await?)?;
        if frame["id"] == *id {
            return Ok(frame);
        }
    }
}

/// Whether `folder` lies in memory, where synchronising is free.
fn is_memory(folder: &std::path::Path) -> bool {
    let Ok(mounts) = std::fs::read_to_string("/proc/mounts") else {
        return false;
    };
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(point, _)| folder.starts_with(point))
        .max_by_key(|(point, _)| point.len());
    matches!(mount, Some((_, "tmpfs" | "ramfs")))
}

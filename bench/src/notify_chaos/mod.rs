//! Chaos of notifications: everybody is told on every medium while nodes are killed and providers fail in every way, and an
//! oracle that looks for what was lost, told twice, or came under another name.
//!
//! Everything that is drawn comes from one seed. Read `schedule` (what is sent and who is killed), `people` (who is told),
//! `ledger`, `temper`, `requests`, `http_sink` and `smtp_sink` (the providers, and what they took), `truth`, `oracle` and
//! `verdict` (what is true).

mod http_sink;
mod ledger;
mod oracle;
#[cfg(test)]
mod oracle_tests;
mod people;
mod providers;
mod requests;
mod schedule;
mod smtp_sink;
mod temper;
mod truth;
mod verdict;

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use self::http_sink::HttpSink;
use self::ledger::Ledger;
use self::oracle::{Kill, Oracle, Promise};
use self::people::KIND;
use self::providers::Providers;
use self::schedule::{Schedule, Stroke};
use self::smtp_sink::SmtpSink;
use self::truth::Truth;
use crate::api::{Api, Person};
use crate::chance::Chance;
use crate::chaos::random_seed;
use crate::database::{Database, execute};
use crate::plan::Plan;
use crate::report::Report;
use crate::residents::Residents;
use crate::servers::cluster::Node;
use crate::servers::house::{ADMIN, House, PASSWORD};

const NAME: &str = "chaos_notify";
/// Streams of the seed: what is played, and where requests go.
const SCHEDULE_STREAM: u64 = 0;
const REQUESTS_STREAM: u64 = 1;
const NODES: usize = 2;
/// What waits for another attempt waits for minutes. The run does not: this often, all of it is due.
const HURRY_INTERVAL: Duration = Duration::from_secs(1);
/// A request is repeated with the same key, on any node, until it is answered.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
const REQUEST_AGAIN: Duration = Duration::from_millis(200);
/// Longer than the leases of whoever was killed, and than a way stays closed.
const SETTLE_LIMIT: Duration = Duration::from_secs(180);
const SETTLE_LOOK: Duration = Duration::from_millis(500);
/// Time in which a letter that is delivered twice would show.
const ECHO: Duration = Duration::from_secs(2);
/// One request names so many.
const USERS_MAX: usize = 1_000;

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Plays the run again that printed it.
    #[arg(long)]
    seed: Option<u32>,
    /// How often a node is killed.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    kills: Option<u32>,
    /// People that everything is sent to.
    #[arg(long)]
    users: Option<usize>,
    /// How often something is sent to all of them.
    #[arg(long)]
    sendings: Option<u32>,
    /// One node on the embedded database, instead of two on PostgreSQL.
    #[arg(long)]
    sqlite: bool,
}

/// Everything that a run is played with.
struct Stage {
    house: House,
    database: Database,
    residents: Residents,
    ledger: Rc<RefCell<Ledger>>,
    // They listen until they are dropped.
    _sinks: (HttpSink, SmtpSink),
    admin: Person,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(random_seed);
    let kills = options.kills.unwrap_or(plan.pick(12, 3));
    let users = options.users.unwrap_or(plan.pick(200, 40));
    let sendings = options.sendings.unwrap_or(plan.pick(10, 4));
    ensure!((1..=USERS_MAX).contains(&users), "1 to {USERS_MAX} users");
    ensure!(sendings > 0, "at least one sending");
    let duration = plan.duration_or(60, 12);
    let on_sqlite = if options.sqlite { " SQLITE=1" } else { "" };
    let again = format!("make chaos-notify SEED={seed} KILLS={kills}{on_sqlite}");
    eprintln!("{NAME}: {kills} kills in {} s; to play it again: {again}", duration.as_secs());

    let nodes = if options.sqlite { 1 } else { NODES };
    let mut chance = Chance::new(seed.into(), SCHEDULE_STREAM);
    let schedule = Schedule::draw(&mut chance, duration, sendings, kills, nodes);
    let mut stage = Stage::set(plan, options, seed, users).await?;
    let killed = stage.play(&schedule, seed, report).await?;
    let promise = Promise { users, sendings };
    stage.settle(&promise, report).await?;

    let truth = Truth::read(&stage.database, &stage.residents).await?;
    {
        let ledger = stage.ledger.borrow();
        let mut oracle = Oracle::new(promise, &killed);
        oracle.judge(&truth, &ledger.takes);
        verdict::tell(seed, &killed, &ledger, &oracle, report);
    }
    report.note(format!(
        "{NAME}: {nodes} node(s) on {}, {users} people, {sendings} sendings to all of them by inbox, mail, SMS and push, and \
         one webhook; {} s, seed {seed}; to play it again: {again}",
        if options.sqlite { "SQLite" } else { "PostgreSQL" },
        duration.as_secs(),
    ));
    stage.house.leave(NAME, report).await
}

impl Stage {
    /// Starts providers and nodes, and has everybody and everything there.
    async fn set(plan: &Plan, options: &Options, seed: u32, users: usize) -> anyhow::Result<Self> {
        let ledger = Rc::new(RefCell::new(Ledger::new(seed)));
        let http = HttpSink::start(&ledger).await?;
        let smtp = SmtpSink::start(&ledger).await?;
        let providers = Providers::new(http.address(), smtp.address())?;
        let house = if options.sqlite {
            House::alone(plan, providers.settings(1)).await?
        } else {
            House::of_nodes(plan, NODES, |node| providers.settings(node)).await?
        };
        let database = house.database();
        let mut db = database.open().await?;
        let residents = people::settle(&mut db, users).await?;
        db.close().await?;
        let api = Api::new(house.first()?.address())?;
        let admin = api.log_in(ADMIN, PASSWORD).await?;
        api.write_template(&admin, KIND, &people::words(), &json!({ "number": 1 })).await?;
        api.create_webhook(&admin, &http.hook(), "notification.events").await?;
        Ok(Self { house, database, residents, ledger, _sinks: (http, smtp), admin })
    }

    /// Sends everything while nodes are killed; gives the kills that were made.
    async fn play(
        &mut self,
        schedule: &Schedule,
        seed: u32,
        report: &mut Report,
    ) -> anyhow::Result<Vec<Kill>> {
        let started = self.ledger.borrow_mut().begin();
        let nodes = self.house.nodes();
        let addresses: Vec<SocketAddr> = nodes.iter().map(Node::address).collect();
        let chance = Chance::new(seed.into(), REQUESTS_STREAM);
        let playing = async {
            tokio::try_join!(
                kill_all(nodes, &schedule.kills, started, report),
                send_all(
                    &addresses,
                    &self.admin,
                    &self.residents,
                    &schedule.sendings,
                    started,
                    chance
                ),
            )
        };
        let (killed, ()) = tokio::select! {
            played = playing => played?,
            never = hurry(&self.database) => match never {},
        };
        Ok(killed)
    }

    /// Has the providers take whatever comes, and waits until nothing is left to be done; whatever is left is a fault.
    async fn settle(&mut self, promise: &Promise, report: &mut Report) -> anyhow::Result<()> {
        self.ledger.borrow_mut().is_calm = true;
        let waiting = async {
            let started = Instant::now();
            loop {
                let left = truth::left(&self.database, promise).await?;
                let untold = promise.notifications() - self.ledger.borrow().told().len();
                if left.is_nothing() && untold == 0 {
                    return anyhow::Ok(None);
                }
                if started.elapsed() > SETTLE_LIMIT {
                    return Ok(Some(format!(
                        "{left}, {untold} notifications of which the webhook knows nothing"
                    )));
                }
                sleep(SETTLE_LOOK).await;
            }
        };
        let left = tokio::select! {
            left = waiting => left?,
            never = hurry(&self.database) => match never {},
        };
        if let Some(left) = left {
            report.fault(format!("{NAME}: after {SETTLE_LIMIT:?}, this was left: {left}"));
        }
        sleep(ECHO).await;
        for node in self.house.nodes() {
            if let Err(ended) = node.check() {
                report.fault(format!("{NAME}: {ended:#}"));
            }
        }
        Ok(())
    }
}

/// Kills nodes at each stroke and starts them again; gives what was done. What a node did that it must not is a fault.
async fn kill_all(
    nodes: &mut [Node],
    strokes: &[Stroke],
    started: Instant,
    report: &mut Report,
) -> anyhow::Result<Vec<Kill>> {
    let mut killed = Vec::with_capacity(strokes.len());
    for (number, stroke) in (1_u32..).zip(strokes) {
        sleep_until(started + stroke.at).await;
        let node = nodes.get_mut(stroke.node).context("no such node")?;
        killed.push(Kill { node: stroke.node, at: started.elapsed() });
        if let Err(ended) = node.kill().await {
            report.fault(format!("{NAME}: kill {number}: {ended:#}"));
        }
        eprintln!(
            "{NAME}: {:.1} s: {number}. kill of {}",
            started.elapsed().as_secs_f64(),
            node.name
        );
        sleep(stroke.lasts).await;
        node.start().await.with_context(|| format!("restart {number}"))?;
    }
    Ok(killed)
}

/// Sends to everybody at each of the `times`, numbered from 1, by whichever node answers.
async fn send_all(
    addresses: &[SocketAddr],
    admin: &Person,
    residents: &Residents,
    times: &[Duration],
    started: Instant,
    mut chance: Chance,
) -> anyhow::Result<()> {
    let apis =
        addresses.iter().map(|address| Api::new(*address)).collect::<anyhow::Result<Vec<_>>>()?;
    let users: Vec<_> = residents.ids().map(|user| user.to_string()).collect();
    for (number, at) in (1_u32..).zip(times) {
        sleep_until(started + *at).await;
        let body = json!({
            "type": KIND,
            "to": { "user_ids": users },
            "data": { "number": number },
            "media": ["inbox", "mail", "sms", "push"],
        });
        let key = format!("{KIND}-{number}");
        let asked = Instant::now();
        loop {
            let api = chance.pick(&apis).context("nobody to ask")?;
            match api.send_notification(admin, &key, &body).await {
                Ok(_) => break,
                Err(error) if asked.elapsed() > REQUEST_LIMIT => {
                    return Err(error)
                        .with_context(|| format!("sending {number} was not accepted"));
                }
                Err(_) => sleep(REQUEST_AGAIN).await,
            }
        }
    }
    Ok(())
}

/// Has everything that waits be due, again and again, as if time went faster; never ends.
async fn hurry(database: &Database) -> Infallible {
    loop {
        sleep(HURRY_INTERVAL).await;
        // A store that is not there, or is busy, is asked again soon.
        _ = bring_forward(database).await;
    }
}

/// Each time with a connection of its own: one that stayed would spare the server the recovery after a kill.
async fn bring_forward(database: &Database) -> anyhow::Result<()> {
    let mut db = database.open().await?;
    execute!(
        &mut db,
        "UPDATE deliveries SET due_at = created_at WHERE status = 'queued' AND due_at > created_at",
    );
    db.close().await
}

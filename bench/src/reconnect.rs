//! Scenario 7: everybody is cut off, the server is killed and started again, and all come back at once for what they
//! have missed.
//!
//! Memory is compared with that of another fresh server, to which the same clients come back for the same events, but
//! a few at a time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::api::{Api, PEOPLE, Person};
use crate::arrivals::Arrivals;
use crate::chance::Chance;
use crate::folder::Folder;
use crate::follower::Follower;
use crate::load::message;
use crate::plan::Plan;
use crate::report::{Bound, Report, figure};
use crate::sends;
use crate::server::Server;
use crate::servers::ports::lasting_address;
use crate::socket::{self, Seat, Socket};
use crate::usage;

const ROOMS_EACH: usize = 3;
/// Messages that are sent to a room while its members are away.
const MISSED: (i64, i64) = (1, 50);
const BODY: &str = "The rain has stopped, so we are outside again, at the long table under the persimmon tree; come when you can.";
/// Clients that connect at the same time the first time, when nobody is in a hurry.
const CONNECTING_MAX: usize = 64;
/// Before the next try after a lost or refused connection, in milliseconds.
const RETRY_MS: (i64, i64) = (50, 200);
/// Time for all clients to be live.
const LIMIT: Duration = Duration::from_secs(60);
/// Nothing happens for so long before memory is looked at.
const QUIET: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);
/// Files that are not connections of the clients.
const FILES_SPARE: u64 = 200;
const SECONDS_MAX: f64 = 10.0;
const RSS_RATIO_MAX: f64 = 1.1;

#[derive(Debug, Default, Args)]
pub struct Options {
    #[arg(long)]
    clients: Option<usize>,
    /// Rooms that the clients are spread over, three each.
    #[arg(long)]
    rooms: Option<usize>,
}

/// One connection's worth of somebody, who always comes back.
struct Client {
    number: usize,
    seat: Seat,
    follower: Follower,
    chance: Chance,
    tries: usize,
    /// How its last connection ended.
    trouble: Option<anyhow::Error>,
}

/// Clients on their way, or live.
struct Crowd {
    clients: JoinSet<Client>,
    cut: watch::Sender<bool>,
    arrivals: Rc<Arrivals>,
}

/// What came of it.
struct Outcome {
    calm_kib: f64,
    after_kib: f64,
    p50_seconds: f64,
    seconds: f64,
    /// Tries of all clients to come back.
    tries: usize,
    heads: HashMap<String, i64>,
    clients: Vec<Client>,
    /// How many of them were not live in time.
    late: usize,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let clients = options.clients.unwrap_or(plan.pick(5_000, 200));
    let rooms = options.rooms.unwrap_or(plan.pick(100, 10));
    ensure!(clients > 0 && rooms >= ROOMS_EACH, "at least one client and {ROOMS_EACH} rooms");
    let files = usage::raise_open_files()?;
    ensure!(
        files >= u64::try_from(clients)? + FILES_SPARE,
        "{clients} clients need more than {files} open files"
    );

    let outcome = measure(plan, clients, rooms).await?;
    tell(&outcome, report);
    let (fewest, most) = MISSED;
    report.note(format!(
        "reconnect: {clients} clients of {PEOPLE} people, each in {ROOMS_EACH} of {rooms} rooms; all are cut off, {fewest} \
         to {most} messages go to each room, the server is killed and started again; seconds from the kill until \
         the last client is live in its rooms; a try that fails is repeated after {} to {} ms ({} tries in all); RSS \
         {} s after the last was live, beside that of a server to which the same clients came back a few at a time.",
        RETRY_MS.0,
        RETRY_MS.1,
        outcome.tries,
        QUIET.as_secs(),
    ));
    Ok(())
}

async fn measure(plan: &Plan, clients: usize, rooms: usize) -> anyhow::Result<Outcome> {
    let folder = Folder::new(&plan.folder())?;
    let address = lasting_address()?;
    let server = start(plan, &folder, address).await?;
    let api = Api::new(address)?;
    let people = api.register(PEOPLE).await?;
    let channels = api.create_rooms(&people, rooms).await?;
    server.stop().await?;

    eprintln!("reconnect: {clients} clients connect");
    let server = start(plan, &folder, address).await?;
    let crowd = Crowd::gather(cast(&api, &people, &channels, clients), CONNECTING_MAX)?;
    let late = crowd.wait_until_live().await;
    ensure!(late == 0, "{late} clients were not live after {LIMIT:?}\n{}", server.log_end());
    let seats: Vec<_> = people.iter().map(|person| api.seat(person, Vec::new())).collect();
    let senders = socket::connect_all(&seats, clients).await?;
    let cut_off = crowd.cut().await?;
    let heads = send_missed(senders, &channels).await?;
    server.kill().await?;

    eprintln!("reconnect: {clients} clients come back");
    let as_they_were: Vec<_> = cut_off.iter().map(Client::as_it_was).collect();
    let tries_before: usize = cut_off.iter().map(|client| client.tries).sum();
    let crowd = Crowd::gather(cut_off, clients)?;
    let (server, late) = tokio::try_join!(start(plan, &folder, address), async {
        anyhow::Ok(crowd.wait_until_live().await)
    })?;
    sleep(QUIET).await;
    let after_kib = server.usage()?.resident_kib;
    let (p50_seconds, seconds) = (crowd.arrivals.seconds(0.5), crowd.arrivals.seconds(1.0));
    let clients = crowd.cut().await?;
    server.kill().await?;

    eprintln!("reconnect: the same, {CONNECTING_MAX} at a time");
    let server = start(plan, &folder, address).await?;
    let calm = Crowd::gather(as_they_were, CONNECTING_MAX)?;
    let late_in_calm = calm.wait_until_live().await;
    ensure!(late_in_calm == 0, "{late_in_calm} clients were not live after {LIMIT:?}");
    sleep(QUIET).await;
    let calm_kib = server.usage()?.resident_kib;
    calm.cut().await?;
    server.stop().await?;

    let tries: usize = clients.iter().map(|client| client.tries).sum();
    let seconds = if late == 0 { seconds } else { f64::INFINITY };
    let tries = tries - tries_before;
    Ok(Outcome { calm_kib, after_kib, p50_seconds, seconds, tries, heads, clients, late })
}

async fn start(plan: &Plan, folder: &Folder, address: SocketAddr) -> anyhow::Result<Server> {
    Server::madang_at(address, &plan.madang, folder.path(), &[]).await
}

/// Makes the clients: who each of them is, and which rooms they follow.
fn cast(api: &Api, people: &[Person], channels: &[String], count: usize) -> Vec<Client> {
    let mut channels = channels.iter().cycle();
    let clients = (0..).zip(people.iter().cycle()).take(count).map(|(number, person)| Client {
        number,
        seat: Seat { hello: None, ..api.seat(person, Vec::new()) },
        follower: Follower::new(channels.by_ref().take(ROOMS_EACH).cloned()),
        chance: Chance::new(0, 1 + u64::try_from(number).unwrap_or_default()),
        tries: 0,
        trouble: None,
    });
    clients.collect()
}

/// Sends what is missed to each room, as many senders at the same time as there are sockets; gives the heads.
async fn send_missed(
    sockets: Vec<Socket>,
    channels: &[String],
) -> anyhow::Result<HashMap<String, i64>> {
    let mut chance = Chance::new(0, 0);
    let (fewest, most) = MISSED;
    let rooms = channels.iter().map(|channel| (channel.clone(), chance.between(fewest, most)));
    let rooms: Vec<_> = rooms.collect();
    let share = rooms.len().div_ceil(sockets.len().max(1)).max(1);
    let mut senders = JoinSet::new();
    for (socket, share) in sockets.into_iter().zip(rooms.chunks(share)) {
        senders.spawn_local(send(socket, share.to_vec()));
    }
    let mut heads = HashMap::with_capacity(channels.len());
    while let Some(sent) = senders.join_next().await {
        heads.extend(sent??);
    }
    Ok(heads)
}

/// Sends so many messages to each room, one after the other; gives where the rooms stand then.
async fn send(mut socket: Socket, rooms: Vec<(String, i64)>) -> anyhow::Result<Vec<(String, i64)>> {
    let mut heads = Vec::with_capacity(rooms.len());
    let mut number = 0;
    for (channel, count) in rooms {
        let mut head = None;
        for _ in 0..count {
            let reply = sends::ask(&mut socket, &message(number, &channel, BODY)).await?;
            head = reply.pointer("/ok/seq").and_then(Value::as_i64);
            ensure!(head.is_some(), "a send was refused: {reply}");
            number += 1;
        }
        heads.extend(head.map(|head| (channel, head)));
    }
    Ok(heads)
}

fn tell(outcome: &Outcome, report: &mut Report) {
    let Outcome { clients, heads, late, .. } = outcome;
    let sum = |of: fn(&Follower) -> usize| -> usize {
        clients.iter().map(|client| of(&client.follower)).sum()
    };
    let delivered = sum(|follower| follower.delivered);
    let behind: usize = clients.iter().map(|client| client.follower.behind(heads)).sum();
    let (lost, gaps) = (sum(|follower| follower.lost) + behind, sum(|follower| follower.gaps));
    report.measure("reconnect.time", outcome.seconds, None, "s", Bound::AtMost(SECONDS_MAX));
    report.measure("reconnect.time_p50", outcome.p50_seconds, None, "s", Bound::None);
    report.measure("reconnect.delivered", figure(delivered), None, "events", Bound::None);
    report.measure("reconnect.gaps", figure(gaps), None, "gaps", Bound::AtMost(0.0));
    report.measure("reconnect.lost", figure(lost), None, "events", Bound::AtMost(0.0));
    let (calm, after) = (outcome.calm_kib, outcome.after_kib);
    report.compare("reconnect.rss", after, calm, "KiB", Bound::AtMost(RSS_RATIO_MAX));

    if lost + gaps > 0 || delivered == 0 {
        report.fault(format!(
            "reconnect: of {} events, {lost} were lost; {gaps} gaps",
            delivered + lost
        ));
    }
    if *late > 0 {
        let mut troubles = clients.iter().filter_map(|client| client.trouble.as_ref());
        let trouble = troubles.next().map_or_else(String::new, |trouble| format!("{trouble:#}"));
        report.fault(format!(
            "reconnect: {late} clients were not live after {LIMIT:?} (one of the last troubles: {trouble})"
        ));
    }
}

impl Crowd {
    /// Sends all clients on their way, so many at the same time.
    fn gather(clients: Vec<Client>, at_once: usize) -> anyhow::Result<Self> {
        let (cut, is_cut) = watch::channel(false);
        let (arrivals, turns) = (Rc::new(Arrivals::new()?), Rc::new(Semaphore::new(at_once)));
        let mut gathered = JoinSet::new();
        for client in clients {
            gathered.spawn_local(client.stay(turns.clone(), arrivals.clone(), is_cut.clone()));
        }
        Ok(Self { clients: gathered, cut, arrivals })
    }

    /// Waits until every client is live; gives how many are not in time.
    async fn wait_until_live(&self) -> usize {
        loop {
            let late = self.clients.len().saturating_sub(self.arrivals.count());
            if late == 0 || self.arrivals.since().elapsed() > LIMIT {
                return late;
            }
            sleep(POLL).await;
        }
    }

    /// Drops every socket, all at the same moment; gives the clients.
    async fn cut(mut self) -> anyhow::Result<Vec<Client>> {
        self.cut.send_replace(true);
        let mut clients = Vec::with_capacity(self.clients.len());
        while let Some(client) = self.clients.join_next().await {
            clients.push(client?);
        }
        Ok(clients)
    }
}

impl Client {
    /// Another client at the same place, before it has tried anything.
    fn as_it_was(&self) -> Self {
        Self {
            number: self.number,
            seat: self.seat.clone(),
            follower: self.follower.clone(),
            chance: Chance::new(1, 1 + u64::try_from(self.number).unwrap_or_default()),
            tries: 0,
            trouble: None,
        }
    }

    /// Comes back as often as it has to, until it is cut off.
    async fn stay(
        mut self,
        turns: Rc<Semaphore>,
        arrivals: Rc<Arrivals>,
        mut is_cut: watch::Receiver<bool>,
    ) -> Self {
        tokio::select! {
            () = self.live(&turns, &arrivals) => {}
            // An error would mean that nobody waits for it any more.
            _ = is_cut.wait_for(|is_cut| *is_cut) => {}
        }
        self
    }

    /// Never ends by itself.
    async fn live(&mut self, turns: &Semaphore, arrivals: &Arrivals) {
        let mut arrivals = Some(arrivals);
        loop {
            self.trouble = self.visit(turns, &mut arrivals).await.err();
            let (shortest, longest) = RETRY_MS;
            sleep(self.chance.wait_ms(shortest, longest)).await;
        }
    }

    /// One connection, for as long as it lasts. Only the first of them is an arrival.
    async fn visit(
        &mut self,
        turns: &Semaphore,
        arrivals: &mut Option<&Arrivals>,
    ) -> anyhow::Result<()> {
        let turn = turns.acquire().await?;
        self.tries += 1;
        let tcp = socket::dial(self.seat.address, self.number).await?;
        let mut socket = Socket::over(tcp, &self.seat).await?;
        self.follower.come_in(&mut socket).await?;
        drop(turn);
        if let Some(arrivals) = arrivals.take() {
            arrivals.add();
        }
        loop {
            self.follower.listen(&mut socket).await?;
        }
    }
}

//! The clients of a run together: gathered, waited for, and sent home.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::{Client, Stage, Transport};
use super::journal::Journal;
use super::record::Record;
use super::scene::Scene;
use crate::chance::Chance;
use crate::database::Database;
use crate::report::Report;

/// The stream of the seed that the scene is drawn from; each client has one after it.
pub const SCENE_STREAM: u64 = 0;
/// One client of so many has an event stream; the others have sockets.
const STREAM_EVERY: usize = 4;
/// A stream is given a comment every 15 s, and its client gives up somewhat later.
const STREAM_SILENCE_MAX: Duration = Duration::from_secs(20);
/// Time for all to be acknowledged, and for all to have read everything.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// Time in which an event that is delivered twice would show.
const ECHO: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(50);
const SHOWN_MAX: usize = 10;

pub type Records = [Rc<RefCell<Record>>];

/// Who is gathered, and where to.
#[derive(Debug)]
pub struct Cast<'c> {
    /// The scenario, as the report calls it.
    pub name: &'static str,
    pub clients: usize,
    pub seed: u32,
    pub scene: &'c Scene,
    /// Where the nodes listen; one by chance is gone to.
    pub nodes: Rc<[SocketAddr]>,
    /// A socket that says nothing for longer has lost its node.
    pub silence_max: Duration,
    /// A control: sockets come back without their positions.
    pub is_forgetful: bool,
}

/// The clients, on their way until this is dropped.
#[derive(Debug)]
pub struct Crowd {
    name: &'static str,
    clients: JoinSet<()>,
    stage: watch::Sender<Stage>,
    pub records: Vec<Rc<RefCell<Record>>>,
}

impl Crowd {
    /// Sends all clients on their way.
    pub fn gather(cast: &Cast<'_>) -> anyhow::Result<Self> {
        let (stage, watching) = watch::channel(Stage::Chaos);
        let (mut clients, mut records) = (JoinSet::new(), Vec::with_capacity(cast.clients));
        for number in 0..cast.clients {
            let client = cast.client(number, &watching)?;
            records.push(client.record.clone());
            clients.spawn_local(client.live());
        }
        Ok(Self { name: cast.name, clients, stage, records })
    }

    /// Has the clients stay and send nothing new, and waits until every send is acknowledged and every client is live
    /// and has read everything; whoever has not is a fault.
    pub async fn settle(
        &self,
        database: &Database,
        scene: &Scene,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        self.stage.send_replace(Stage::Settle);
        let late = self.wait_for(|record| record.waiting.is_empty()).await;
        self.complain_of(&late, "not every send was acknowledged", report);
        self.wait_until_read(database, scene, report).await
    }

    /// Waits until every client is live and has read everything; whoever has not is a fault.
    pub async fn wait_until_read(
        &self,
        database: &Database,
        scene: &Scene,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let heads = database.heads(&scene.rooms).await?;
        let late = self.wait_for(|record| record.is_here && record.has_reached(&heads)).await;
        let what = format!("not everything was read, or not all are live; the heads are {heads:?}");
        self.complain_of(&late, &what, report);
        sleep(ECHO).await;
        Ok(())
    }

    /// Ends every client; what they know stays.
    pub async fn go_home(&mut self) -> anyhow::Result<()> {
        // They never end by themselves.
        if let Some(ended) = self.clients.try_join_next() {
            ended.context("a client ended")?;
        }
        self.clients.shutdown().await;
        Ok(())
    }

    /// Waits until `is_done` holds for all; tells how those stand for whom it does not in time.
    async fn wait_for(&self, is_done: impl Fn(&Record) -> bool) -> Vec<String> {
        let started = Instant::now();
        loop {
            let late = self.records.iter().filter(|record| !is_done(&record.borrow()));
            let late: Vec<_> = late.map(|record| record.borrow().standing()).collect();
            if late.is_empty() || started.elapsed() > SETTLE_LIMIT {
                return late;
            }
            sleep(POLL).await;
        }
    }

    fn complain_of(&self, late: &[String], what: &str, report: &mut Report) {
        if late.is_empty() {
            return;
        }
        let (name, count) = (self.name, late.len());
        report.fault(format!("{name}: after {SETTLE_LIMIT:?}, {what}: {count} clients"));
        for standing in late.iter().take(SHOWN_MAX) {
            report.fault(standing);
        }
    }
}

impl Cast<'_> {
    /// Makes one client: who it is, what it follows, and over what.
    fn client(&self, number: usize, stage: &watch::Receiver<Stage>) -> anyhow::Result<Client> {
        let stream = SCENE_STREAM + 1 + u64::try_from(number)?;
        let mut chance = Chance::new(self.seed.into(), stream);
        let place = number % self.scene.people.len();
        let person = self.scene.people.get(place).context("a client needs a person")?;
        let followed = self.scene.followed(place, &mut chance).into_iter();
        let rooms = &self.scene.rooms;
        let journals = followed.filter_map(|room| {
            let mut journal = Journal::new(room, &rooms.get(room)?.channel);
            journal.is_forgetful = self.is_forgetful;
            Some(journal)
        });
        let record = Rc::new(RefCell::new(Record::new(number, journals.collect())));
        let is_stream = number % STREAM_EVERY == STREAM_EVERY - 1;
        let (transport, silence_max) = if is_stream {
            (Transport::Stream, STREAM_SILENCE_MAX)
        } else {
            (Transport::Socket, self.silence_max)
        };
        Ok(Client {
            record,
            transport,
            node: chance.below(self.nodes.len()),
            nodes: self.nodes.clone(),
            silence_max,
            person: person.clone(),
            chance,
            stage: stage.clone(),
            cursor: None,
            written: 0,
        })
    }
}

//! The scheduler: gives one node after the other a turn, from one point to the next, and kills or freezes some of them.
//!
//! Invariant: at most one node runs at a time, and while it runs nothing else happens; so a seed plays the same way again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::super::engine::{Clock, Engine, LEASE};
use super::super::flow::Flow;
use super::{Points, Safeguard};
use crate::domain::events::DomainEvent;
use crate::domain::time::Timestamp;
use crate::store::workflows::{Running, count_open};
use crate::store::{Store, StoreError, outbox};

const TURNS_MAX: usize = 60_000;
/// How long it takes to come from one point to the next.
const STEP_MAX: Duration = Duration::from_millis(200);
/// Of those beside the nodes; one of them may sleep while the other goes on.
const BESIDE_MAX: usize = 2;

/// Events that a node has not sent yet, by workflow: for a control that sends them afterwards.
pub(in crate::actors) type Unsent = Arc<Mutex<BTreeMap<Uuid, DomainEvent>>>;

/// Makes the flows of one life of a node.
pub(in crate::actors) type MakeFlows = Arc<dyn Fn(Option<Unsent>) -> Vec<Flow> + Send + Sync>;

/// Does something from outside before a turn, by its number.
pub(in crate::actors) type Visit = Arc<dyn Fn(usize) -> BoxFuture<'static, ()> + Send + Sync>;

/// What requests have begun, and no node has taken up yet.
pub(in crate::actors) type Handed = Arc<Mutex<VecDeque<Running>>>;

/// Somebody beside the nodes that drive workflows, who dies and sleeps as they do.
#[derive(Clone)]
pub(in crate::actors) struct Beside {
    /// A life, which tells its engine where it is; `idle` where it finds nothing to do.
    pub(in crate::actors) live: Arc<dyn Fn(Engine) -> BoxFuture<'static, StoreError> + Send + Sync>,
    /// Whether there is nothing left to do.
    pub(in crate::actors) is_done: Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
}

/// How a run is played.
#[derive(Debug, Clone, Copy)]
pub(in crate::actors) struct Play {
    pub(in crate::actors) seed: u64,
    pub(in crate::actors) nodes: usize,
    /// The turn at whose end the node dies.
    pub(in crate::actors) crash_at: Option<usize>,
    /// The same, for a second death.
    pub(in crate::actors) crash_again_at: Option<usize>,
    /// Turns of a hundred that end in a death.
    pub(in crate::actors) crashes: u32,
    /// Turns of a hundred after which a node sleeps through its lease.
    pub(in crate::actors) sleeps: u32,
    pub(in crate::actors) without: Option<Safeguard>,
}

impl Play {
    pub(in crate::actors) const fn quiet(seed: u64) -> Self {
        let (crash_at, crash_again_at, without) = (None, None, None);
        Self { seed, nodes: 1, crash_at, crash_again_at, crashes: 0, sleeps: 0, without }
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub(in crate::actors) struct Played {
    /// Turns that were worth a crash.
    pub(in crate::actors) points: usize,
    pub(in crate::actors) crashes: usize,
    /// How often somebody let go on what was parked, for a suite that has somebody do so.
    pub(in crate::actors) by_hand: usize,
    /// What went wrong before it was over.
    pub(in crate::actors) failure: Option<String>,
}

struct Node {
    reached: mpsc::Receiver<&'static str>,
    go: mpsc::Sender<()>,
    /// Ends with what the store would not do.
    life: JoinHandle<StoreError>,
    /// Asleep until that turn.
    asleep: usize,
    /// In the middle of something.
    is_busy: bool,
    is_beside: bool,
}

struct Gate {
    reached: mpsc::Sender<&'static str>,
    go: tokio::sync::Mutex<mpsc::Receiver<()>>,
    store: Store,
    unsent: Option<Unsent>,
}

#[async_trait]
impl Points for Gate {
    async fn at(&self, point: &'static str) {
        // The scheduler has gone: the run is over.
        if self.reached.send(point).await.is_err() || self.go.lock().await.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let Some(unsent) = &self.unsent else { return };
        let events: Vec<_> = std::mem::take(&mut *unsent.lock().unwrap()).into_values().collect();
        for event in events {
            let sent: Result<(), StoreError> = self
                .store
                .write(move |db| Box::pin(async move { outbox::append(db, &event).await }))
                .await;
            sent.unwrap();
        }
    }
}

pub(in crate::actors) struct Scheduler {
    store: Store,
    flows: MakeFlows,
    now: Arc<AtomicI64>,
    /// How much time passes at most when a node finds nothing to do.
    idle_max: Duration,
    lives: u128,
    visit: Option<Visit>,
    handed: Option<Handed>,
    beside: Option<Beside>,
}

impl Scheduler {
    pub(in crate::actors) fn new(store: Store, flows: MakeFlows, now: Arc<AtomicI64>) -> Self {
        let (visit, handed, beside) = (None, None, None);
        let idle_max = Duration::from_secs(20);
        Self { store, flows, now, idle_max, lives: 0, visit, handed, beside }
    }

    /// Lets more time pass where there is nothing to do: for what waits for long.
    pub(in crate::actors) fn idling(self, idle_max: Duration) -> Self {
        Self { idle_max, ..self }
    }

    /// Has somebody come by before each turn.
    pub(in crate::actors) fn visited(self, visit: Visit) -> Self {
        Self { visit: Some(visit), ..self }
    }

    /// Has nodes take up what requests have begun, before anything else.
    pub(in crate::actors) fn handed(self, handed: Handed) -> Self {
        Self { handed: Some(handed), ..self }
    }

    /// Has somebody live beside the nodes.
    pub(in crate::actors) fn beside(self, beside: Beside) -> Self {
        Self { beside: Some(beside), ..self }
    }

    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Arc::new(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
    }

    fn pass(&self, at_most: Duration, rng: &mut StdRng) {
        let millis = i64::try_from(at_most.as_millis()).unwrap();
        self.now.fetch_add(rng.random_range(1..=millis), Ordering::SeqCst);
    }

    /// Lets time pass. Whoever is awake works quickly: what takes long is somebody's sleep, and not that others have nothing
    /// to do, or sleep.
    fn pass_beside(&self, nodes: &[Node], turn: usize, at_most: Duration, rng: &mut StdRng) {
        let is_worked = nodes.iter().any(|node| node.is_busy && node.asleep <= turn);
        self.pass(if is_worked { STEP_MAX } else { at_most }, rng);
    }

    async fn is_over(&self) -> bool {
        let open: Result<(i64, i64), StoreError> =
            self.store.read(|db| Box::pin(async move { count_open(db).await })).await;
        let (open, parked) = open.unwrap();
        if open != parked {
            return false;
        }
        match &self.beside {
            Some(beside) => (beside.is_done)().await,
            None => true,
        }
    }

    async fn born(&mut self, play: &Play, is_beside: bool) -> Node {
        self.lives += 1;
        let unsent =
            (play.without == Some(Safeguard::EventInside)).then(|| Arc::new(Mutex::default()));
        let flows = (self.flows)(unsent.clone());
        let id = Uuid::from_u128(self.lives).into();
        let mut engine = Engine::new(self.store.clone(), id, flows, self.clock());
        let (reached, at) = mpsc::channel(1);
        let (go, going) = mpsc::channel(1);
        let store = self.store.clone();
        let gate = Gate { reached, go: tokio::sync::Mutex::new(going), store, unsent };
        engine.points = Some(Arc::new(gate));
        engine.without = play.without;
        let life = match self.beside.as_ref().filter(|_| is_beside) {
            Some(beside) => tokio::spawn((beside.live)(engine)),
            None => tokio::spawn(drive(engine, self.handed.clone())),
        };
        let mut node = Node { reached: at, go, life, asleep: 0, is_busy: false, is_beside };
        assert_eq!(node.reached.recv().await, Some("idle"));
        node
    }

    /// Plays until every workflow has come to its end.
    pub(in crate::actors) async fn play(&mut self, play: Play) -> Played {
        let mut rng = StdRng::seed_from_u64(play.seed);
        let mut nodes = Vec::new();
        for _ in 0..play.nodes {
            nodes.push(self.born(&play, false).await);
        }
        let beside = if self.beside.is_some() { play.nodes.min(BESIDE_MAX) } else { 0 };
        for _ in 0..beside {
            nodes.push(self.born(&play, true).await);
        }
        let mut played = Played::default();
        for turn in 0..TURNS_MAX {
            if let Some(visit) = &self.visit {
                visit(turn).await;
            }
            let awake: Vec<usize> =
                (0..nodes.len()).filter(|at| nodes[*at].asleep <= turn).collect();
            let at = match awake.as_slice() {
                [] => rng.random_range(0..nodes.len()),
                awake => awake[rng.random_range(0..awake.len())],
            };
            nodes[at].go.send(()).await.unwrap();
            let Some(point) = nodes[at].reached.recv().await else {
                let life = nodes.swap_remove(at).life.await;
                played.failure = Some(format!("a node stopped: {life:?}"));
                break;
            };
            nodes[at].is_busy = point != "idle";
            if point == "idle" {
                if rng.random_bool(0.5) {
                    self.pass_beside(&nodes, turn, self.idle_max, &mut rng);
                }
                if self.is_over().await {
                    break;
                }
                continue;
            }
            self.pass(STEP_MAX, &mut rng);
            let point = played.points;
            played.points += 1;
            let is_chosen = [play.crash_at, play.crash_again_at].contains(&Some(point));
            if is_chosen || rng.random_ratio(play.crashes, 100) {
                played.crashes += 1;
                nodes[at].life.abort();
                let _ = (&mut nodes[at].life).await;
                nodes[at] = self.born(&play, nodes[at].is_beside).await;
            } else if rng.random_ratio(play.sleeps, 100) {
                nodes[at].asleep = turn + rng.random_range(20..120);
                self.pass_beside(&nodes, turn, LEASE * 2, &mut rng);
            }
        }
        for node in nodes {
            node.life.abort();
            let _ = node.life.await;
        }
        if played.failure.is_none() && !self.is_over().await {
            played.failure = Some("a workflow has not come to its end".to_owned());
        }
        played
    }
}

/// A node that drives workflows: what it was handed, and then whatever is due.
async fn drive(engine: Engine, handed: Option<Handed>) -> StoreError {
    loop {
        engine.at("idle").await;
        let begun = handed.as_ref().and_then(|handed| handed.lock().unwrap().pop_front());
        let claimed = match begun {
            Some(running) => Ok(Some(running)),
            None => engine.claim().await,
        };
        let driven = match claimed {
            Ok(None) => Ok(()),
            Ok(Some(running)) => engine.drive(running).await,
            Err(error) => Err(error),
        };
        if let Err(error) = driven {
            return error;
        }
    }
}

//! The actor the kit is tested with: it counts what it ran, holds, panics and leaves when told to.
//!
//! What it saw is in a [`Ledger`] that outlives every incarnation.

use std::{
    collections::HashMap,
    future::{Future, pending},
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use actix::{
    Actor, ActorFutureExt, Arbiter, AsyncContext, Context, Handler, Message, ResponseActFuture,
    System, WrapFuture,
};
use futures_util::FutureExt;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use super::{
    gate::Gate,
    handle::Call,
    registry::{LoadError, Loader, Registry, Sabotage, Settings},
    restart::{Limit, RestartPolicy},
    shard::{ChildExited, Shard},
    virtual_actor::{Life, VirtualActor},
};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Nothing is stored under this key.
pub(super) const MISSING: u32 = 404;
/// Its loader panics.
pub(super) const UNLOADABLE: u32 = 500;
/// Its seed makes `create` panic.
pub(super) const STILLBORN: u32 = 666;

/// What all incarnations did.
#[derive(Default)]
pub(super) struct Ledger {
    runs: Mutex<HashMap<u64, u32>>,
    alive: Mutex<HashMap<u32, u32>>,
    alive_together_max: Mutex<u32>,
    lives: Mutex<HashMap<u32, u32>>,
    gates: Mutex<HashMap<u32, Gate>>,
}

impl Ledger {
    /// How often call `number` ran.
    pub(super) fn runs(&self, number: u64) -> u32 {
        lock(&self.runs).get(&number).copied().unwrap_or(0)
    }

    /// How many incarnations of one key lived at once, at most.
    pub(super) fn alive_together_max(&self) -> u32 {
        *lock(&self.alive_together_max)
    }

    /// How many incarnations of any key there were.
    pub(super) fn lives(&self) -> u32 {
        lock(&self.lives).values().sum()
    }

    /// The gate of the latest incarnation of `key`.
    pub(super) fn gate(&self, key: u32) -> Gate {
        lock(&self.gates)[&key].clone()
    }

    fn ran(&self, number: u64) {
        *lock(&self.runs).entry(number).or_default() += 1;
    }

    fn born(&self, key: u32, gate: Gate) {
        let mut alive = lock(&self.alive);
        let together = alive.entry(key).or_default();
        *together += 1;
        let mut most = lock(&self.alive_together_max);
        *most = (*most).max(*together);
        *lock(&self.lives).entry(key).or_default() += 1;
        lock(&self.gates).insert(key, gate);
    }

    fn died(&self, key: u32) {
        *lock(&self.alive).get_mut(&key).unwrap() -= 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// The test actor. Its seed is the ledger it writes.
pub(super) struct Probe {
    life: Option<Life<Self>>,
    incarnation: u64,
    _alive: Alive,
    ledger: Arc<Ledger>,
}

struct Alive(u32, Arc<Ledger>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.1.died(self.0);
    }
}

impl Actor for Probe {
    type Context = Context<Self>;
}

impl VirtualActor for Probe {
    type Key = u32;
    type Seed = Arc<Ledger>;

    const KIND: &'static str = "probe";
    const MAILBOX_MAX: u32 = 8;

    fn create(key: u32, ledger: Arc<Ledger>, life: Life<Self>) -> Self {
        if key == STILLBORN {
            panic_quietly();
        }
        assert_eq!(life.key(), key);
        ledger.born(key, life.gate().clone());
        let alive = Alive(key, Arc::clone(&ledger));
        Self { incarnation: life.incarnation(), life: Some(life), _alive: alive, ledger }
    }
}

/// A panic that the hook does not print.
pub(super) fn panic_quietly() {
    resume_unwind(Box::new("injected"));
}

/// Counts a run and answers with the incarnation that ran it.
#[derive(Message)]
#[rtype(result = "u64")]
pub(super) struct Work {
    pub(super) number: u64,
    pub(super) panics: bool,
    pub(super) leaves: bool,
}

impl Work {
    pub(super) fn plain(number: u64) -> Self {
        Self { number, panics: false, leaves: false }
    }
}

impl Handler<Call<Work>> for Probe {
    type Result = ResponseActFuture<Self, u64>;

    fn handle(&mut self, call: Call<Work>, _: &mut Self::Context) -> Self::Result {
        if call.msg.panics {
            panic_quietly();
        }
        if call.msg.leaves
            && let Some(life) = &self.life
        {
            life.passivate();
        }
        let later = async move {
            tokio::task::yield_now().await;
            call
        };
        Box::pin(later.into_actor(self).map(|call, probe, _| {
            probe.ledger.ran(call.msg.number);
            drop(call);
            probe.incarnation
        }))
    }
}

/// Says that it began, waits for a permit of `release`, then answers with the incarnation.
#[derive(Message)]
#[rtype(result = "u64")]
pub(super) struct Hold {
    pub(super) began: mpsc::UnboundedSender<()>,
    pub(super) release: Arc<Semaphore>,
}

impl Handler<Call<Hold>> for Probe {
    type Result = ResponseActFuture<Self, u64>;

    fn handle(&mut self, call: Call<Hold>, _: &mut Self::Context) -> Self::Result {
        let _test_over = call.msg.began.send(());
        let held = async move {
            call.msg.release.acquire().await.unwrap().forget();
            call
        };
        Box::pin(held.into_actor(self).map(|call, probe, _| {
            drop(call);
            probe.incarnation
        }))
    }
}

/// As [`Hold`], but one future of the actor does the work and keeps the permit, another carries the reply.
#[derive(Message)]
#[rtype(result = "u64")]
pub(super) struct Relayed(pub(super) Hold);

impl Handler<Call<Relayed>> for Probe {
    type Result = ResponseActFuture<Self, u64>;

    fn handle(&mut self, call: Call<Relayed>, ctx: &mut Self::Context) -> Self::Result {
        let (Relayed(Hold { began, release }), permit) = call.into_parts();
        let (reply, answer) = oneshot::channel();
        let work = async move {
            let _test_over = began.send(());
            release.acquire().await.unwrap().forget();
            reply.send(()).unwrap();
            drop(permit);
            pending::<()>().await;
        };
        // Started by a future of its own, so that it is polled after the one that replies.
        let start = tokio::task::yield_now().into_actor(self);
        ctx.spawn(start.map(|(), probe: &mut Self, ctx| {
            ctx.spawn(work.into_actor(probe));
        }));
        Box::pin(answer.into_actor(self).map(|answer, probe, _| {
            answer.unwrap();
            probe.incarnation
        }))
    }
}

/// Passivates it.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Leave;

impl Handler<Call<Leave>> for Probe {
    type Result = ();

    fn handle(&mut self, _: Call<Leave>, _: &mut Self::Context) {
        self.life.as_ref().unwrap().passivate();
    }
}

/// Leaves its life behind with a task that outlives it and passivates it when told, then says so.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LeaveLifeBehind {
    pub(super) passivate: Arc<Notify>,
    pub(super) passivated: mpsc::UnboundedSender<()>,
}

impl Handler<Call<LeaveLifeBehind>> for Probe {
    type Result = ();

    fn handle(&mut self, call: Call<LeaveLifeBehind>, _: &mut Self::Context) {
        let life = self.life.take().unwrap();
        let (LeaveLifeBehind { passivate, passivated }, _permit) = call.into_parts();
        actix_rt::spawn(async move {
            passivate.notified().await;
            life.passivate();
            let _test_over = passivated.send(());
        });
    }
}

/// Makes a shard panic.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Crash;

impl Handler<Call<Crash>> for Shard<Probe> {
    type Result = ();

    fn handle(&mut self, _: Call<Crash>, _: &mut Self::Context) {
        panic_quietly();
    }
}

// The shard takes exits past its gate; a test sends one through it, to know when it was handled.
impl Handler<Call<ChildExited<u32>>> for Shard<Probe> {
    type Result = ();

    fn handle(&mut self, call: Call<ChildExited<u32>>, ctx: &mut Self::Context) {
        self.handle(call.into_parts().0, ctx);
    }
}

/// Settings that forgive a few crashes, cool for milliseconds and never escalate.
pub(super) fn settings() -> Settings {
    Settings {
        resolve_max: PATIENCE,
        load_max: PATIENCE,
        drain_max: PATIENCE,
        child_restarts: RestartPolicy {
            restarts: Limit { events_max: 3, window: Duration::from_millis(50) },
            cooling_min: Duration::from_millis(1),
            cooling_max: Duration::from_millis(4),
        },
        quarantines: Limit { events_max: usize::MAX, window: Duration::from_secs(1) },
        ..Settings::new(Arc::new(|why| panic!("escalated: {why}")))
    }
}

pub(super) fn sabotaged(sabotage: Sabotage) -> Settings {
    Settings { sabotage, ..settings() }
}

/// A registry of probes and the ledger they write.
pub(super) fn start(shards: usize, settings: Settings) -> (Registry<Probe>, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::default());
    let stored = Arc::clone(&ledger);
    let loader: Loader<Probe> = Arc::new(move |key| {
        let ledger = Arc::clone(&stored);
        async move {
            tokio::task::yield_now().await;
            match key {
                MISSING => return Err(LoadError::NotFound),
                UNLOADABLE => panic_quietly(),
                _ => {}
            }
            Ok(ledger)
        }
        .boxed()
    });
    let arbiters: Vec<_> = (0..shards).map(|_| Arbiter::new().handle()).collect();
    (Registry::start(&arbiters, loader, settings), ledger)
}

/// Runs `test` inside an actix system and gives up on it after a while.
pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    System::new().block_on(async { tokio::time::timeout(3 * PATIENCE, test).await.unwrap() })
}

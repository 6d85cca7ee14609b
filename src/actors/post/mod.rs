//! Post: takes queued letters, has them composed, and hands them to the couriers of their media.
//!
//! Each medium has a desk of its own on each node, with a bounded number of workers, so that one that is slow or down holds
//! up no other. Invariant: every letter that is queued is attempted at least once, by one node at a time; an attempt is
//! made again only where nobody can say what came of it, and then with the same id.

mod attempt;
mod behind;
mod desk;
mod figures;
mod record;
pub mod routes;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::desk::Desk;
use self::routes::RouteView;
use super::kit::permanent::OnEscalate;
use super::kit::vital::spawn_vital;
use super::nodes::Nodes;
use crate::clock;
use crate::config::DeliveryConfig;
use crate::domain::deliveries::{Delivery, DeliveryEnd};
use crate::domain::letters::Letter;
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::providers::couriers::Courier;
use crate::store::{Db, Store, StoreError};

const CLEARED_MAX: u64 = 1_000;
const LEASE: Duration = Duration::from_secs(15);

/// Makes letters of what is queued.
#[async_trait]
pub trait Composer: Send + Sync + 'static {
    /// Composes a letter, as things are now.
    ///
    /// # Errors
    /// [`ComposeError`], which says whether another attempt makes sense.
    async fn compose(&self, delivery: &Delivery) -> Result<Composed, ComposeError>;

    /// Told how a letter ended, in the transaction that records it: a device that is no more is forgotten here. When it
    /// fails again and again, the end is recorded without it.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses; nothing is recorded then.
    async fn ended(&self, db: &mut Db, ended: &Ended) -> Result<(), StoreError> {
        let _ = (db, ended);
        Ok(())
    }

    /// Whether somebody waits for this letter. Where its medium has no provider, it is kept as a dead letter then, to be
    /// replayed; any other is suppressed.
    fn must_arrive(&self, delivery: &Delivery) -> bool {
        let _ = delivery;
        false
    }
}

/// What a composer makes of a delivery.
#[derive(Debug, Clone)]
pub enum Composed {
    /// Boxed, because it is far larger than the others.
    Letter(Box<Letter>),
    /// Not to be sent, and why: a word for the log, such as `unsubscribed`.
    Suppressed(String),
    /// Not now, such as in quiet hours; no attempt is counted, and its time begins then.
    Later(Timestamp),
    /// Not here or not yet, because of something that somebody has to mend; no attempt is counted, and its time goes on.
    Unable(Timestamp),
}

/// Why there is no letter.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// There never will be: a template that fails, data that cannot be read. A sentence without personal data.
    #[error("{0}")]
    Poison(String),
    /// Another attempt may succeed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a letter ended.
#[derive(Debug, Clone)]
pub struct Ended {
    pub delivery: Delivery,
    /// As it was attempted last; `None` where it was not composed this time.
    pub letter: Option<Box<Letter>>,
    pub end: DeliveryEnd,
    /// A word for the log: why it was not delivered.
    pub reason: Option<String>,
    pub at: Timestamp,
}

/// Who composes the letters of each medium; a medium without a composer is left to other nodes.
pub type Composers = HashMap<Medium, Arc<dyn Composer>>;
/// Who delivers the letters of each medium; one without a courier has no provider.
pub type Couriers = HashMap<Medium, Arc<dyn Courier>>;
/// What time it is; tests have their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How the post works.
#[derive(Clone)]
pub struct PostSettings {
    /// Letters of a medium on their way at once; a medium that is not named has one.
    pub workers: HashMap<Medium, usize>,
    pub attempt_timeout: Duration,
    /// How long a letter stays with a node that has died with it; renewed while the node lives.
    pub lease: Duration,
    pub clock: Clock,
}

impl From<&DeliveryConfig> for PostSettings {
    fn from(config: &DeliveryConfig) -> Self {
        let workers = Medium::OUTWARD.into_iter().map(|it| (it, config.workers(it))).collect();
        let attempt_timeout = config.attempt_timeout();
        Self { workers, attempt_timeout, lease: LEASE, clock: Arc::new(clock::now) }
    }
}

/// The running post. Cheap to clone; dropping it stops nothing, [`Post::stop`] does.
#[derive(Clone)]
pub struct Post(Arc<Inner>);

struct Inner {
    stop: watch::Sender<bool>,
    desks: HashMap<Medium, Arc<Desk>>,
    providers: HashMap<Medium, &'static str>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// How a medium is on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediumView {
    /// The provider's name; `None` where there is none.
    pub provider: Option<&'static str>,
    /// Letters on their way.
    pub busy: usize,
    /// The ways that are not open.
    pub routes: Vec<RouteView>,
}

impl Post {
    /// Opens a desk for each medium that has a composer, on the shared I/O runtime.
    #[must_use]
    pub fn start(
        io: &Handle,
        store: &Store,
        nodes: &Nodes,
        composers: Composers,
        couriers: Couriers,
        settings: &PostSettings,
        on_escalate: &OnEscalate,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let providers =
            couriers.iter().map(|(medium, courier)| (*medium, courier.name())).collect();
        let mut desks: HashMap<Medium, Arc<Desk>> = HashMap::new();
        let mut tasks = Vec::new();
        for (medium, composer) in composers {
            let courier = couriers.get(&medium).map(Arc::clone);
            let desk = Desk::new(medium, store, nodes, composer, courier, settings, &stopped);
            let desk = Arc::new(desk);
            let working = Arc::clone(&desk).work(stopped.clone());
            tasks.push(spawn_vital(io, "post", Arc::clone(on_escalate), working));
            desks.insert(medium, desk);
        }
        let routes = desks.iter().map(|(medium, desk)| (*medium, desk.routes.clone())).collect();
        let counting = figures::count(store.clone(), routes, Arc::clone(&settings.clock), stopped);
        tasks.push(spawn_vital(io, "figures of the post", Arc::clone(on_escalate), counting));
        Self(Arc::new(Inner { stop, desks, providers, tasks: Mutex::new(tasks) }))
    }

    /// Letters were queued, or may be due: every desk looks at once. What other nodes queue is found a little later.
    pub fn wake(&self) {
        for desk in self.0.desks.values() {
            desk.wake();
        }
    }

    /// As [`Post::wake`], of one medium.
    pub fn wake_medium(&self, medium: Medium) {
        if let Some(desk) = self.0.desks.get(&medium) {
            desk.wake();
        }
    }

    /// How a medium is on this node.
    #[must_use]
    pub fn look(&self, medium: Medium) -> MediumView {
        let provider = self.0.providers.get(&medium).copied();
        let desk = self.0.desks.get(&medium);
        MediumView {
            provider,
            busy: desk.map_or(0, |desk| desk.busy()),
            routes: desk.map(|desk| desk.closed_routes()).unwrap_or_default(),
        }
    }

    /// Takes nothing any more, and waits for what is on its way. Letters that were taken and not handed over go back.
    pub async fn stop(&self) {
        // Nobody listening means every task has ended already.
        let _ = self.0.stop.send(true);
        let tasks: Vec<_> =
            self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        for task in tasks {
            let _ = task.await;
        }
    }
}

/// Forgets letters that ended longer ago than `keep`, and addresses that have been dead for long enough.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn clear(store: &Store, keep: Duration) -> Result<(), StoreError> {
    store.delete_old_dead_addresses(clock::now()).await?;
    let before = clock::now().minus(keep);
    let limit = i64::try_from(CLEARED_MAX).unwrap_or(i64::MAX);
    while store.delete_finished_deliveries(before, limit).await? >= CLEARED_MAX {}
    Ok(())
}

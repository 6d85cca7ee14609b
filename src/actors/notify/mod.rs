//! Notify: tells people what happened, each of them once.
//!
//! The relay leaves occasions as fan-outs; every node takes some of them, a bounded number at a time, and does each page
//! after page. Invariant: a page is one transaction under the fence of its fan-out, so that a node that dies, or sleeps
//! through its lease, leaves nobody untold and nobody told twice.

pub mod compose;
mod fanout;
pub mod subscriber;
#[cfg(test)]
mod unsent_tests;
pub mod words;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Fuse, FusedFuture as _};
use rand::Rng;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use self::fanout::{Failure, FanoutDeps, LEASE, Ran};
use self::words::Words;
use super::inbox::Inboxes;
use super::kit::permanent::OnEscalate;
use super::kit::vital::spawn_vital;
use super::nodes::Nodes;
use crate::clock;
use crate::domain::ids::NodeId;
use crate::domain::notifications::Occasion;
use crate::domain::notifications::plan::Policy;
use crate::domain::time::Timestamp;
use crate::store::notifications::fanouts::{Fanout, Taking};
use crate::store::{Store, StoreError};

/// How often a node looks for fan-outs that others have left.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a fan-out is left alone that could not be done.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// As often as it was tried, so much longer, up to so many times.
const RETRY_FACTOR_MAX: i64 = 15;
/// A fan-out that was taken so often and came no further breaks whoever takes it.
const TAKEN_MAX: i64 = 50;
/// Fan-outs that a node takes at a time; they wait for its workers, far shorter than their lease.
const TAKEN_AT_ONCE_MAX: usize = 16;
/// How long a page may take that is being told while the node stops.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Finished fan-outs are known this long, for those who look into a mishap; and so are marks of rooms, longer than any
/// event is kept that could be carried again.
const KEEP: Duration = Duration::from_hours(7 * 24);
/// Those that were given up can be begun again for so long.
const KEEP_DEAD: Duration = Duration::from_hours(30 * 24);
const CLEARED_MAX: i64 = 1_000;

/// The running fan-out; dropping it stops nothing, [`Notify::stop`] does.
pub struct Notify {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    desk: Desk,
}

/// Where fan-outs are put that were taken for this node as they were noted: nobody has to look for them. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    me: NodeId,
    places: mpsc::Sender<Fanout>,
}

/// What notifying is done with.
pub struct NotifyDeps {
    pub store: Store,
    pub nodes: Nodes,
    pub inboxes: Inboxes,
    pub words: Arc<Words>,
    pub policy: Policy,
    /// Fan-outs that this node works on at once.
    pub workers: usize,
}

impl Notify {
    /// Starts on the shared I/O runtime.
    #[must_use]
    pub fn start(io: &Handle, deps: NotifyDeps, on_escalate: OnEscalate) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (places, handed) = mpsc::channel(deps.workers.max(1));
        let desk = Desk { me: deps.nodes.me(), places };
        let NotifyDeps { store, nodes, inboxes, words, policy, workers } = deps;
        let fanouts = Arc::new(FanoutDeps {
            store: store.clone(),
            inboxes,
            words,
            policy,
            stopped: stopped.clone(),
        });
        let foreman = Foreman { store, nodes, fanouts, workers: workers.max(1) };
        let task = spawn_vital(io, "notify", on_escalate, foreman.work(handed, stopped));
        Self { stop, task, desk }
    }

    /// Where this node is handed what was noted.
    #[must_use]
    pub fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Takes nothing more and ends what it works on at the next page.
    pub async fn stop(self) {
        // Nobody listening means that it has ended already.
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

impl Desk {
    /// Notes occasions, and takes as many as this node can begin with soon: a commit less on the way to whoever is told.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was noted.
    async fn note(&self, store: &Store, occasions: Vec<Occasion>) -> Result<(), StoreError> {
        let free = self.places.capacity().min(occasions.len());
        // With everybody busy, or while the node stops, whoever is free later takes them.
        let Ok(mut places) = self.places.try_reserve_many(free) else {
            return store.insert_fanouts(occasions, clock::now()).await;
        };
        let taking = (free > 0).then_some(Taking { owner: self.me, at_most: free, lasts: LEASE });
        let taken = store.insert_and_claim_fanouts(occasions, clock::now(), taking).await?;
        for fanout in taken {
            if let Some(place) = places.next() {
                place.send(fanout);
            }
        }
        Ok(())
    }
}

/// Forgets what was told longer than `keep` ago, read or not, and what was finished long ago.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn clear(store: &Store, keep: Duration) -> Result<(), StoreError> {
    let now = clock::now();
    let (told, done, dead) = (now.minus(keep), now.minus(KEEP), now.minus(KEEP_DEAD));
    let full = u64::try_from(CLEARED_MAX).unwrap_or(u64::MAX);
    while store.delete_finished_fanouts(done, dead, CLEARED_MAX).await? >= full {}
    while store.delete_old_marks(done, CLEARED_MAX).await? >= full {}
    while store.delete_old_notifications(told, CLEARED_MAX).await? >= full {}
    while store.delete_old_inbox_events(told, CLEARED_MAX).await? >= full {}
    Ok(())
}

/// Takes fan-outs and gives each to a worker.
struct Foreman {
    store: Store,
    nodes: Nodes,
    fanouts: Arc<FanoutDeps>,
    workers: usize,
}

impl Foreman {
    async fn work(self, mut handed: mpsc::Receiver<Fanout>, mut stopped: watch::Receiver<bool>) {
        let mut commits = self.store.commits();
        let mut working = JoinSet::new();
        let mut taken = VecDeque::new();
        // Looking is a commit where something is found: whatever is handed over meanwhile does not wait for it.
        let mut looking = pin!(Fuse::terminated());
        let mut look_at = Instant::now();
        while !*stopped.borrow() {
            while working.len() < self.workers
                && let Some(fanout) = taken.pop_front()
            {
                working.spawn(do_fanout(Arc::clone(&self.fanouts), fanout));
            }
            let has_room = taken.len() < self.workers;
            let may_look = has_room && looking.is_terminated();
            tokio::select! {
                Some(ended) = working.join_next() => log_panic(ended),
                Some(fanout) = handed.recv(), if has_room => taken.push_back(fanout),
                (found, rest) = &mut looking, if !looking.is_terminated() => {
                    taken.extend(found);
                    look_at = Instant::now() + rest;
                }
                () = tokio::time::sleep_until(look_at), if may_look => {
                    commits.mark_unchanged();
                    looking.set(self.look().fuse());
                }
                _ = commits.changed(), if may_look => looking.set(self.look().fuse()),
                _ = stopped.changed() => {}
            }
        }
        if !looking.is_terminated() {
            taken.extend(looking.await.0);
        }
        handed.close();
        while let Some(fanout) = handed.recv().await {
            taken.push_back(fanout);
        }
        for fanout in taken {
            give_back(&self.fanouts.store, fanout, clock::now()).await;
        }
        // Each gives back what it works on after the page that is being told: others go on at once, behind whoever was told.
        let all_end = async {
            while let Some(ended) = working.join_next().await {
                log_panic(ended);
            }
        };
        if tokio::time::timeout(STOP_GRACE, all_end).await.is_err() {
            working.shutdown().await;
        }
    }

    /// Takes some of what is due; gives how long there is nothing to look for as well. Most fan-outs are for one person, and
    /// a commit each would be most of the work.
    async fn look(&self) -> (Vec<Fanout>, Duration) {
        let poll = POLL_INTERVAL.mul_f64(rand::rng().random_range(0.5..1.5));
        match self.claim(TAKEN_AT_ONCE_MAX).await {
            // There may be more, but what others were quicker to take is no reason to hurry.
            Ok(Claim::Taken(fanouts)) => {
                let rest = if fanouts.is_empty() { poll } else { Duration::ZERO };
                (fanouts, rest)
            }
            Ok(Claim::Nothing(wait)) => (Vec::new(), poll.min(wait)),
            Err(error) => {
                tracing::warn!(%error, "nobody can be notified now");
                (Vec::new(), RETRY_AFTER)
            }
        }
    }

    /// Looks before it takes: where there is nothing to do, nothing is written.
    async fn claim(&self, limit: usize) -> Result<Claim, StoreError> {
        let now = clock::now();
        match self.store.find_next_fanout().await? {
            None => Ok(Claim::Nothing(POLL_INTERVAL)),
            Some(due_at) if due_at > now => Ok(Claim::Nothing(due_at.since(now))),
            Some(_) => {
                let taking = Taking { owner: self.nodes.me(), at_most: limit, lasts: LEASE };
                let taken = self.store.claim_fanouts(taking, now).await?;
                Ok(Claim::Taken(taken))
            }
        }
    }
}

/// What came of looking for work.
enum Claim {
    Taken(Vec<Fanout>),
    /// None for so long.
    Nothing(Duration),
}

/// Gives back a fan-out; where that fails, its lease ends by itself.
async fn give_back(store: &Store, fanout: Fanout, due_at: Timestamp) {
    let id = fanout.occasion.id;
    if let Err(error) = store.release_fanout(fanout, due_at).await {
        tracing::debug!(fanout.id = %id, %error, "a fan-out was not given back");
    }
}

async fn do_fanout(deps: Arc<FanoutDeps>, fanout: Fanout) {
    let id = fanout.occasion.id;
    let kind = fanout.occasion.kind.clone();
    let takes = fanout.takes;
    let done = if takes > TAKEN_MAX {
        Err(Failure::Poison("it was begun again and again".to_owned()))
    } else {
        deps.run(fanout.clone()).await
    };
    let left = match done {
        Ok(Ran::Done) => {
            metrics::counter!("madang_fanouts_total", "outcome" => "done").increment(1);
            return;
        }
        // Behind whatever is due already.
        Ok(Ran::Paused(fanout)) => deps.store.release_fanout(*fanout, clock::now()).await,
        // Somebody else does it.
        Err(Failure::Store(StoreError::LeaseLost)) => return,
        Err(Failure::Store(error)) => {
            tracing::warn!(fanout.id = %id, kind, %error, "a fan-out will go on later");
            let factor = u32::try_from(takes.clamp(1, RETRY_FACTOR_MAX)).unwrap_or(1);
            let wait = RETRY_AFTER.mul_f64(f64::from(factor) * rand::rng().random_range(0.5..1.5));
            deps.store.release_fanout(fanout, clock::now().plus(wait)).await
        }
        Err(Failure::Poison(reason)) => {
            tracing::error!(fanout.id = %id, kind, reason, "a fan-out was given up");
            metrics::counter!("madang_fanouts_total", "outcome" => "dead").increment(1);
            deps.store.bury_fanout(fanout, reason, clock::now()).await
        }
    };
    if let Err(error) = left {
        // Its lease ends by itself.
        tracing::debug!(fanout.id = %id, %error, "a fan-out was not given back");
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!("a fan-out has panicked; it is tried again");
    }
}

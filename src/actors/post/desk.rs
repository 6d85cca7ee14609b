//! A desk: one medium on one node. Takes as many letters as it has free workers, when they are due.
//!
//! Invariant: it looks before it takes; where nothing is due, nothing is written. While it does not know what became of
//! letters that it has, it takes no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::Rng as _;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::attempt;
use super::routes::{Allowance, RouteView, Routes};
use super::{Clock, Composer, PostSettings};
use crate::actors::nodes::Nodes;
use crate::domain::deliveries::RetryRule;
use crate::domain::media::Medium;
use crate::providers::couriers::Courier;
use crate::store::deliveries::queue::Wanted;
use crate::store::{Store, StoreError};

/// Looks at least so often for what other nodes have queued, or have left behind.
const POLL_INTERVAL_MS: u64 = 2_000;
/// How long it rests after a look: what ends or is queued meanwhile is seen together.
const GATHER: Duration = Duration::from_millis(20);
/// How long it rests between looks that only something's being committed was the reason for: most commits are about
/// something else.
const COMMIT_REST: Duration = Duration::from_millis(250);
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long it takes nothing once the database is back: every node first renews and records what it has.
const AFTER_OUTAGE: Duration = Duration::from_secs(3);
/// Another node was quicker, or holds what is due: it looks again soon.
const BESIDE_OTHERS: Duration = Duration::from_millis(200);

pub(super) struct Desk {
    pub(super) medium: Medium,
    pub(super) store: Store,
    pub(super) composer: Arc<dyn Composer>,
    pub(super) courier: Option<Arc<dyn Courier>>,
    pub(super) routes: Routes,
    pub(super) rule: RetryRule,
    pub(super) attempt_timeout: Duration,
    pub(super) lease: Duration,
    pub(super) clock: Clock,
    nodes: Nodes,
    workers: usize,
    woken: Notify,
    stopped: watch::Receiver<bool>,
    /// Letters of which nobody knows whether their lease is over.
    doubts: Arc<AtomicUsize>,
}

/// That the lease of one letter may be over, until this is dropped.
pub(super) struct Doubt(Arc<AtomicUsize>);

impl Drop for Doubt {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Desk {
    pub(super) fn new(
        medium: Medium,
        store: &Store,
        nodes: &Nodes,
        composer: Arc<dyn Composer>,
        courier: Option<Arc<dyn Courier>>,
        settings: &PostSettings,
        stopped: &watch::Receiver<bool>,
    ) -> Self {
        let workers = settings.workers.get(&medium).copied().unwrap_or(1).max(1);
        Self {
            medium,
            store: store.clone(),
            composer,
            courier,
            routes: Routes::new(medium, workers),
            rule: RetryRule::of(medium),
            attempt_timeout: settings.attempt_timeout,
            lease: settings.lease,
            clock: Arc::clone(&settings.clock),
            nodes: nodes.clone(),
            workers,
            woken: Notify::new(),
            stopped: stopped.clone(),
            doubts: Arc::default(),
        }
    }

    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    pub(super) fn busy(&self) -> usize {
        self.routes.busy()
    }

    pub(super) fn closed_routes(&self) -> Vec<RouteView> {
        self.routes.closed()
    }

    /// Notes that the lease of a letter may be over.
    pub(super) fn doubt(&self) -> Doubt {
        self.doubts.fetch_add(1, Ordering::SeqCst);
        Doubt(Arc::clone(&self.doubts))
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Works until it is told to stop, and then until its last letter is settled.
    pub(super) async fn work(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut workers = JoinSet::new();
        let mut commits = self.store.commits();
        let mut outage = Outage::default();
        while !self.is_stopping() {
            commits.mark_unchanged();
            let rest = match self.take(&mut workers, &mut outage).await {
                Ok(rest) => rest,
                Err(error) => {
                    tracing::warn!(medium = self.medium.as_str(), %error, "letters wait for the database");
                    outage = Outage::Lasts;
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(GATHER).await;
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.woken.notified() => {}
                () = committed(&mut commits), if workers.len() < self.workers => {}
                Some(ended) = workers.join_next() => self.note(ended),
                changed = stopped.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
            }
            while let Some(ended) = workers.try_join_next() {
                self.note(ended);
            }
        }
        while let Some(ended) = workers.join_next().await {
            self.note(ended);
        }
    }

    /// Takes what is due and gives it to free workers; gives how long to rest then.
    async fn take(
        self: &Arc<Self>,
        workers: &mut JoinSet<()>,
        outage: &mut Outage,
    ) -> Result<Duration, StoreError> {
        while !self.is_stopping() {
            if self.doubts.load(Ordering::SeqCst) > 0 {
                return Ok(BESIDE_OTHERS);
            }
            let now = (self.clock)();
            let free = self.workers.saturating_sub(workers.len());
            let limit = match self.routes.allowance(free, now) {
                Allowance::Letters(0) => break,
                Allowance::Letters(limit) => limit,
                Allowance::NoneUntil(until) => return Ok(until.since(now).min(a_while())),
            };
            let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            let wanted = Wanted {
                medium: self.medium,
                limit: count(limit),
                party_max: count(self.routes.party_max()),
                held: self.routes.held(now),
            };
            match self.store.find_next_delivery(&wanted).await? {
                None => break,
                Some(due_at) if due_at > now => return Ok(due_at.since(now).min(a_while())),
                Some(_) => {}
            }
            if let Some(rest) = outage.rest() {
                return Ok(rest);
            }
            let me = self.nodes.me();
            let claimed = self.store.claim_deliveries(me, &wanted, self.lease, now).await?;
            if claimed.is_empty() {
                return Ok(BESIDE_OTHERS);
            }
            for claimed in claimed {
                let place = self.routes.enter(claimed.delivery.party());
                workers.spawn(attempt::make(Arc::clone(self), claimed, place));
            }
        }
        Ok(a_while())
    }

    /// A worker that panicked leaves its letter to whoever takes it once its lease is over.
    fn note(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended {
            tracing::error!(medium = self.medium.as_str(), %error, "a worker of the post was lost");
        }
    }
}

/// Whether the database was away when this desk last looked.
#[derive(Default)]
enum Outage {
    #[default]
    None,
    Lasts,
    /// It is back; nothing is taken before then.
    Until(Instant),
}

impl Outage {
    /// The database has answered: how long there is still nothing to take.
    fn rest(&mut self) -> Option<Duration> {
        if matches!(self, Self::Lasts) {
            *self = Self::Until(Instant::now() + AFTER_OUTAGE);
        }
        let Self::Until(until) = self else { return None };
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            *self = Self::None;
            return None;
        }
        Some(rest)
    }
}

/// Something was committed here, though not too soon after the last look.
async fn committed(commits: &mut watch::Receiver<()>) {
    tokio::time::sleep(COMMIT_REST).await;
    if commits.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn a_while() -> Duration {
    let most = POLL_INTERVAL_MS.saturating_mul(2);
    Duration::from_millis(rand::rng().random_range(POLL_INTERVAL_MS..most))
}

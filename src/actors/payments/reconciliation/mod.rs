//! Reconciliation: every morning what providers say of the day before, and of the third before, is held against our rows
//! and the ledger. `transactions` is what was moved, `settlements` what we were paid, and `report` tells of it.
//!
//! Invariant: a provider is reconciled by one node at a time, under a lease that every write confirms; whoever dies is
//! followed by whoever looks next, and what was found twice is one break. Nothing is corrected but what the flows of
//! payments correct by themselves.

mod report;
mod settlements;
mod transactions;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::civil::Date;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Payments, PaymentsError};
use crate::actors::schedule::Task;
use crate::actors::workflow::engine::Clock;
use crate::domain::calendar::{CalendarError, day_of, instant_of};
use crate::domain::ids::{NodeId, UserId};
use crate::domain::payments::ProviderName;
use crate::domain::reconciliation::{ReconciliationError, RunKind, RunStatus};
use crate::domain::time::Timestamp;
use crate::providers::payments::{PaymentProvider, Providers};
use crate::store::leases::Lease;
use crate::store::ledger::BookError;
use crate::store::reconciliation::{Ended, Run};
use crate::store::{Store, StoreError};

/// When the day before is looked at, into the day in Seoul.
const BEGINS_AT: Duration = Duration::from_hours(6);
const DAY: Duration = Duration::from_hours(24);
/// How often somebody looks whether it is time.
const INTERVAL: Duration = Duration::from_mins(5);
/// After how long a provider that did not answer is asked again.
const RETRY_AFTER: Duration = Duration::from_mins(15);
/// Longer than any call of a provider.
const LEASE: Duration = Duration::from_secs(90);
/// The days before today that are looked at; the second only where something did not agree on it.
const DAYS_BACK: [i64; 3] = [1, 2, 3];
/// The last of them.
const LOOKED_BACK: i64 = 3;
/// How far back a day is looked at that was not on its mornings.
const LEFT_DAYS_MAX: i64 = 31;
/// Times a provider does not say how a payment stands, in a row, after which a run asks about no other.
const SILENT_MAX: usize = 3;
/// What a provider is compared by.
const KINDS: [RunKind; 2] = [RunKind::Transactions, RunKind::Settlements];
/// Orders that are compared at once.
const PAGE: i64 = 200;
/// Pages of a provider's day at most: one whose cursors go round has no end.
const PAGES_MAX: usize = 100_000;

/// How our books are held against those of providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconciliationRules {
    /// How long either side may take to hear of what the other has done.
    pub lag: Duration,
    /// Days after which a provider has to have paid for a charge; 0 where nobody looks.
    pub settled_within_days: u16,
    /// What was agreed that providers keep of a charge, in hundredths of a percent.
    pub fees: HashMap<ProviderName, u16>,
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The provider did not answer, or not so that it could be read. A sentence without personal data.
    #[error("{0}")]
    Unavailable(String),
    #[error(transparent)]
    Book(#[from] BookError),
    #[error(transparent)]
    Payments(#[from] PaymentsError),
    #[error(transparent)]
    Calendar(#[from] CalendarError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Book(BookError::Store(error))
    }
}

impl Failure {
    /// Somebody else has taken the run over, and ends it.
    const fn is_lost(&self) -> bool {
        matches!(self, Self::Book(BookError::Store(StoreError::LeaseLost)))
    }
}

/// Why nobody is reconciled.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Refused(#[from] ReconciliationError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reconciliation of this installation. Cheap to clone.
#[derive(Clone)]
pub struct Reconciliation(Arc<Inner>);

struct Inner {
    store: Store,
    providers: Providers,
    payments: Payments,
    rules: ReconciliationRules,
    clock: Clock,
    node: NodeId,
    /// An owner who claims its lease again is a new one: on this node one reconciles at a time.
    turn: Arc<Mutex<()>>,
    /// Where a day is compared that nobody waits for.
    io: Handle,
}

/// A day of a provider that is being compared, and by nobody else.
struct Turn {
    name: ProviderName,
    provider: Arc<dyn PaymentProvider>,
    lease: Lease,
    runs: Vec<Run>,
    _turn: OwnedMutexGuard<()>,
}

/// A run and what it is about.
struct Running<'r> {
    lease: &'r Lease,
    run: &'r Run,
    name: ProviderName,
    provider: &'r dyn PaymentProvider,
    /// How often in a row the provider did not say how a payment stands.
    silent: AtomicUsize,
}

impl Running<'_> {
    /// The day of the run.
    fn window(&self) -> Result<(Timestamp, Timestamp), CalendarError> {
        Ok((instant_of(self.run.day, Duration::ZERO)?, instant_of(self.run.day, DAY)?))
    }
}

impl Reconciliation {
    #[must_use]
    pub fn new(
        store: Store,
        providers: Providers,
        payments: Payments,
        rules: ReconciliationRules,
        clock: Clock,
        node: NodeId,
    ) -> Self {
        let (turn, io) = (Arc::default(), Handle::current());
        Self(Arc::new(Inner { store, providers, payments, rules, clock, node, turn, io }))
    }

    /// Reconciles a day of a provider now, and says how its runs ended.
    ///
    /// # Errors
    /// [`RunError::Refused`] while somebody else does so, and for a day that has not begun.
    pub async fn run(&self, provider: &str, day: Date) -> Result<Vec<Run>, RunError> {
        let (name, provider) = self.asked_for(provider, day)?;
        let turn = self.begin(name, provider, day, &KINDS, None).await?;
        self.compare_turn(turn).await
    }

    /// The same for somebody, who waits for `within`. Whoever waits no longer finds how its runs stand, and they go on.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_for(
        &self,
        by: UserId,
        provider: &str,
        day: Date,
        within: Duration,
    ) -> Result<Vec<Run>, RunError> {
        let (name, provider) = self.asked_for(provider, day)?;
        let turn = self.begin(name, provider, day, &KINDS, Some(by)).await?;
        let (begun, reconciling) = (turn.runs.clone(), self.clone());
        let comparing = self.0.io.spawn(async move {
            reconciling.compare_turn(turn).await.inspect_err(|error| {
                tracing::error!(%error, "a day that somebody has compared is left to the next");
            })
        });
        match tokio::time::timeout(within, comparing).await {
            Ok(Ok(ended)) => ended,
            // What has panicked is running for whoever looks next.
            Ok(Err(_)) | Err(_) => Ok(begun),
        }
    }

    fn asked_for(
        &self,
        provider: &str,
        day: Date,
    ) -> Result<(ProviderName, Arc<dyn PaymentProvider>), RunError> {
        let today = day_of(self.now()).map_err(|_| ReconciliationError::InvalidDay)?;
        if day > today || instant_of(day, DAY).is_err() {
            return Err(ReconciliationError::InvalidDay.into());
        }
        let name = ProviderName::parse(provider).ok_or(ReconciliationError::UnknownProvider)?;
        let provider = self.0.providers.get(name.as_str());
        Ok((name, Arc::clone(provider.ok_or(ReconciliationError::UnknownProvider)?)))
    }

    /// Reconciles whatever is due, from six in the morning in Seoul on, and reports once a day.
    ///
    /// # Errors
    /// A sentence for the log. What one provider does not answer holds up no other.
    pub async fn run_due(&self) -> Result<(), String> {
        let mut problems = Vec::new();
        let today = day_of(self.now().minus(BEGINS_AT)).map_err(|error| error.to_string())?;
        for provider in self.0.providers.all() {
            let Some(name) = ProviderName::parse(provider.name()) else { continue };
            if let Err(error) = self.run_left(name, provider, today).await {
                problems.push(format!("{} of days before: {error}", name.as_str()));
            }
        }
        for back in DAYS_BACK {
            for provider in self.0.providers.all() {
                let Some(name) = ProviderName::parse(provider.name()) else { continue };
                let day = before(today, back);
                if let Err(error) = self.run_if_due(name, provider, today, day).await {
                    problems.push(format!("{} of {day}: {error}", name.as_str()));
                }
            }
        }
        if let Err(error) = self.report(today).await {
            problems.push(format!("the report: {error}"));
        }
        self.show().await.map_err(|error| error.to_string())?;
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// Days that nobody has compared on their mornings, and whatever somebody has begun and not ended: the oldest first, so
    /// that what was moved is known before what was paid for it. One that fails is no reason to ask about the next.
    async fn run_left(
        &self,
        name: ProviderName,
        provider: &Arc<dyn PaymentProvider>,
        today: Date,
    ) -> Result<(), RunError> {
        let days = (before(today, LEFT_DAYS_MAX), before(today, LOOKED_BACK + 1));
        for day in self.0.store.list_left_days(name.as_str(), days).await? {
            let runs = self.run_if_due(name, provider, today, day).await?;
            if runs.iter().any(|run| run.status == RunStatus::Failed) {
                break;
            }
        }
        Ok(())
    }

    async fn run_if_due(
        &self,
        name: ProviderName,
        provider: &Arc<dyn PaymentProvider>,
        today: Date,
        day: Date,
    ) -> Result<Vec<Run>, RunError> {
        let mut due = Vec::new();
        for kind in KINDS {
            let run = self.0.store.find_run(name.as_str(), day, kind).await?;
            if self.is_due(run.as_ref(), today, day) {
                due.push(kind);
            }
        }
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let compared = match self.begin(name, Arc::clone(provider), day, &due, None).await {
            Ok(turn) => self.compare_turn(turn).await,
            Err(error) => Err(error),
        };
        match compared {
            // Whoever does so does it for us.
            Err(RunError::Refused(ReconciliationError::Running)) => Ok(Vec::new()),
            compared => compared,
        }
    }

    /// A day is looked at once on each of its mornings; what failed, whoever looked died, or nobody has looked at is tried
    /// again.
    fn is_due(&self, run: Option<&Run>, today: Date, day: Date) -> bool {
        let is = |back: i64| day == before(today, back);
        let Some(run) = run else { return !is(2) };
        let Ok(begins) = instant_of(today, BEGINS_AT) else { return false };
        match (run.status, run.ended_at) {
            (RunStatus::Running, _) | (_, None) => true,
            (RunStatus::Failed, Some(at)) => self.now().since(at) >= RETRY_AFTER,
            (RunStatus::Clean | RunStatus::NotOffered, Some(at)) => (is(1) || is(3)) && at < begins,
            (RunStatus::Breaks, Some(at)) => DAYS_BACK.into_iter().any(is) && at < begins,
        }
    }

    /// Takes the turn of a provider, and begins its runs: whoever dies leaves them as running.
    async fn begin(
        &self,
        name: ProviderName,
        provider: Arc<dyn PaymentProvider>,
        day: Date,
        kinds: &[RunKind],
        by: Option<UserId>,
    ) -> Result<Turn, RunError> {
        let turn = Arc::clone(&self.0.turn).try_lock_owned();
        let turn = turn.map_err(|_| ReconciliationError::Running)?;
        let lease_name = format!("reconciliation:{}", name.as_str());
        let claimed = self.0.store.claim_lease(&lease_name, self.0.node, LEASE).await?;
        let lease = claimed.ok_or(ReconciliationError::Running)?;
        let mut runs = Vec::new();
        for kind in kinds {
            let (store, what) = (&self.0.store, (day, *kind));
            runs.push(store.begin_run(&lease, name.as_str(), what, by, self.now()).await?);
        }
        Ok(Turn { name, provider, lease, runs, _turn: turn })
    }

    async fn compare_turn(&self, turn: Turn) -> Result<Vec<Run>, RunError> {
        let (store, name, lease) = (&self.0.store, turn.name, &turn.lease);
        let mut runs = Vec::new();
        for run in &turn.runs {
            // What was compared before it took its time.
            store.renew_lease(lease, LEASE).await?;
            let (provider, silent) = (turn.provider.as_ref(), AtomicUsize::default());
            let running = Running { lease, run, name, provider, silent };
            let compared = match run.kind {
                RunKind::Settlements => self.compare_settlements(&running).await,
                RunKind::Transactions | RunKind::Ledger => {
                    self.compare_transactions(&running).await
                }
            };
            let ended = match compared {
                Ok(ended) => ended,
                Err(failure) if failure.is_lost() => return Err(StoreError::LeaseLost.into()),
                Err(failure) => {
                    let (provider, kind, day) = (name.as_str(), run.kind.as_str(), run.day);
                    tracing::warn!(provider, kind, day = %day, %failure, "a run has failed");
                    Ended::Failed(said(&failure))
                }
            };
            runs.push(store.end_run(lease, run, ended, self.now()).await?);
        }
        store.release_lease(lease).await?;
        self.show().await?;
        Ok(runs)
    }

    /// How many breaks are open, as a metric.
    async fn show(&self) -> Result<(), StoreError> {
        for (bucket, count, _) in self.0.store.count_open_breaks().await? {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            metrics::gauge!("madang_recon_breaks", "bucket" => bucket.as_str()).set(count);
        }
        Ok(())
    }

    /// What is done every so often, on one node at a time.
    #[must_use]
    pub fn task(&self) -> Task {
        let reconciling = self.clone();
        let run = move || {
            let reconciling = reconciling.clone();
            async move { reconciling.run_due().await }.boxed()
        };
        Task { name: "reconciliation", every: INTERVAL, run: Arc::new(run) }
    }

    /// Keeps the lease; whoever has lost it stops at the next write.
    async fn stay(&self, running: &Running<'_>) -> Result<(), Failure> {
        Ok(self.0.store.renew_lease(running.lease, LEASE).await?)
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }
}

/// The cursor of the next page; one that stands still has no end.
fn next_page(cursor: Option<String>, next: Option<String>) -> Result<Option<String>, Failure> {
    if next.is_some() && next == cursor { Err(endless()) } else { Ok(next) }
}

fn endless() -> Failure {
    Failure::Unavailable("the provider's list of the day has no end".to_owned())
}

fn before(today: Date, days: i64) -> Date {
    today.saturating_sub(jiff::Span::new().days(days))
}

/// For administrators: what a provider did is told, what our database says is in the log.
fn said(failure: &Failure) -> String {
    match failure {
        Failure::Unavailable(why) | Failure::Payments(PaymentsError::Unavailable(why)) => {
            why.clone()
        }
        Failure::Calendar(error) => error.to_string(),
        Failure::Book(BookError::Ledger(error)) => error.to_string(),
        Failure::Book(BookError::Store(_)) | Failure::Payments(_) => {
            "the database did not allow it; the log says why".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_whose_cursor_stands_still_has_no_end() {
        let cursor = || Some("7".to_owned());
        assert!(matches!(next_page(cursor(), cursor()), Err(Failure::Unavailable(_))));
        assert_eq!(next_page(None, cursor()).ok(), Some(cursor()));
        assert_eq!(next_page(cursor(), None).ok(), Some(None));
    }
}

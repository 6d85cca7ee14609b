//! Supervisor: what runs the engine on a node. A foreman takes workflows while somebody is free, and each is driven in a
//! task of its own.
//!
//! Invariant: it looks before it takes; where nothing is due, nothing is written. A panic ends the drive of one workflow
//! and of no other. Whoever drives holds a place, so that when all places are free, nobody does.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use rand::Rng as _;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::engine::Engine;
use super::figures;
#[cfg(test)]
use super::simulation::scheduler::Handed;
use crate::actors::kit::permanent::OnEscalate;
use crate::actors::kit::vital::spawn_vital;
use crate::domain::ids::WorkflowId;
use crate::domain::workflows::WorkflowStatus;
use crate::store::StoreError;
use crate::store::workflows::Running;

/// Looks at least so often where other nodes commit, too.
const NETWORKED_POLL: Duration = Duration::from_secs(1);
/// The same where at most a successor does.
const LONE_POLL: Duration = Duration::from_secs(10);
/// How long it rests between looks that only something's being committed was the reason for: most commits are about
/// something else.
const COMMIT_REST: Duration = Duration::from_millis(50);
/// Another node was quicker, or holds what is due: it looks again soon.
const BESIDE_OTHERS: Duration = Duration::from_millis(200);
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long a step may take while the node stops; what takes longer is another node's once its lease is over.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How often whoever waits for an end looks by themselves: another node may have the workflow.
const WAIT_POLL: Duration = Duration::from_millis(500);
/// Ends of drives that somebody may be late to hear of; who is later looks once more.
const DRIVEN_MAX: usize = 256;

/// How a node works on workflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkflowSettings {
    /// Workflows that it drives at once; as many again that requests have begun.
    pub workers: u16,
}

/// Why a node does not begin to work on workflows.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Some are not at their end, and nobody would go on with them; each as `kind:version`.
    #[error("this release knows no workflows of {}, and there are some that have not ended", .0.join(", "))]
    UnknownKinds(Vec<String>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What runs workflows on this node. Cheap to clone; dropping it stops nothing, [`Workflows::stop`] does.
#[derive(Clone)]
pub struct Workflows(Arc<Inner>);

struct Inner {
    io: Handle,
    engine: Engine,
    stop: watch::Sender<bool>,
    workers: u16,
    places: Arc<Semaphore>,
    /// For what requests begin: no backlog holds up those who wait.
    begun_places: Arc<Semaphore>,
    /// Whose drive has ended, for those who wait.
    driven: broadcast::Sender<WorkflowId>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Where a simulation has what requests begin.
    #[cfg(test)]
    handed: Option<Handed>,
}

impl Workflows {
    /// Starts on the shared I/O runtime.
    ///
    /// # Errors
    /// [`StartError`] when nobody here knows what to do with a workflow that is in the store.
    pub async fn start(
        io: &Handle,
        engine: Engine,
        settings: WorkflowSettings,
        on_escalate: &OnEscalate,
    ) -> Result<Self, StartError> {
        let unknown = engine.unknown_kinds().await?;
        if !unknown.is_empty() {
            return Err(StartError::UnknownKinds(unknown));
        }
        let (stop, stopped) = watch::channel(false);
        let workers = settings.workers.max(1);
        let inner = Arc::new(Inner {
            io: io.clone(),
            engine: engine.clone(),
            stop,
            workers,
            places: Arc::new(Semaphore::new(workers.into())),
            begun_places: Arc::new(Semaphore::new(workers.into())),
            driven: broadcast::Sender::new(DRIVEN_MAX),
            tasks: Mutex::default(),
            #[cfg(test)]
            handed: None,
        });
        let working = work(Arc::clone(&inner), stopped.clone());
        let counting = figures::count(engine, stopped);
        let tasks = vec![
            spawn_vital(io, "workflows", Arc::clone(on_escalate), working),
            spawn_vital(io, "figures of workflows", Arc::clone(on_escalate), counting),
        ];
        *inner.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(Self(inner))
    }

    /// Drives a workflow that was begun here, as this node's own, by [`Engine::begin`]. With nobody free, and while the node
    /// stops, it is given back, and waits its turn with the others.
    pub fn begin(&self, running: Running) {
        #[cfg(test)]
        if let Some(handed) = &self.0.handed {
            handed.lock().unwrap_or_else(PoisonError::into_inner).push_back(running);
            return;
        }
        match Arc::clone(&self.0.begun_places).try_acquire_owned() {
            Ok(place) => self.0.spawn(running, place),
            Err(_) => {
                let inner = Arc::clone(&self.0);
                self.0.io.spawn(async move {
                    // Stopped before its first step.
                    let given_back = inner.engine.drive_while(running, &|| false).await;
                    if let Err(error) = given_back {
                        tracing::debug!(%error, "a lease ends by itself");
                    }
                });
            }
        }
    }

    /// Waits until a workflow has come to its end or is parked; `None` where it has not by then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, any other when the database does not answer.
    pub async fn wait_for_end(
        &self,
        id: WorkflowId,
        at_most: Duration,
    ) -> Result<Option<WorkflowStatus>, StoreError> {
        let mut driven = self.0.driven.subscribe();
        let waiting = async {
            loop {
                let status = self.0.engine.store.get_workflow_status(id).await?;
                if !status.is_going_on() {
                    return Ok::<_, StoreError>(status);
                }
                // An error says that some were missed: this one may be among them.
                let is_driven =
                    async { while driven.recv().await.is_ok_and(|other| other != id) {} };
                let _ = timeout(WAIT_POLL, is_driven).await;
            }
        };
        match timeout(at_most, waiting).await {
            Ok(status) => status.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Takes nothing more, and waits until each that is driven has come to the end of its step: others go on at once.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        let tasks: Vec<_> =
            self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        for task in tasks {
            let _ = task.await;
        }
        let all_end = async {
            for places in [&self.0.places, &self.0.begun_places] {
                let _ = places.acquire_many(self.0.workers.into()).await;
            }
        };
        if timeout(STOP_GRACE, all_end).await.is_err() {
            tracing::warn!(
                "a step outlasts this node; its workflow goes on when the lease is over"
            );
        }
    }
}

#[cfg(test)]
impl Workflows {
    /// One that drives nothing: what requests begin is handed to a simulation.
    pub(in crate::actors) fn handing(io: &Handle, engine: Engine, handed: Handed) -> Self {
        Self(Arc::new(Inner {
            io: io.clone(),
            engine,
            stop: watch::channel(false).0,
            workers: 0,
            places: Arc::new(Semaphore::new(0)),
            begun_places: Arc::new(Semaphore::new(0)),
            driven: broadcast::Sender::new(DRIVEN_MAX),
            tasks: Mutex::default(),
            handed: Some(handed),
        }))
    }
}

/// Takes workflows until the node stops.
async fn work(inner: Arc<Inner>, mut stopped: watch::Receiver<bool>) {
    let mut commits = inner.engine.store.commits();
    while !*stopped.borrow() {
        commits.mark_unchanged();
        let rest = match inner.take(&mut stopped).await {
            Ok(None) => continue,
            Ok(Some(rest)) => rest,
            Err(error) => {
                tracing::warn!(%error, "nobody can go on with workflows now");
                RETRY_AFTER
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = committed(&mut commits) => {}
            _ = stopped.changed() => {}
        }
    }
}

impl Inner {
    /// Takes the next workflow, if one is due and somebody is free for it; gives how long there is nothing to look for.
    async fn take(
        self: &Arc<Self>,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<Option<Duration>, StoreError> {
        let due_at = self.engine.next_due().await?;
        let now = (self.engine.clock)();
        match due_at {
            None => return Ok(Some(self.poll())),
            Some(due_at) if due_at > now => return Ok(Some(self.poll().min(due_at.since(now)))),
            Some(_) => {}
        }
        let place = tokio::select! {
            place = Arc::clone(&self.places).acquire_owned() => place,
            _ = stopped.changed() => return Ok(None),
        };
        // Nobody closes it.
        let Ok(place) = place else { return Ok(Some(self.poll())) };
        // Seen to its end even while the node stops: a claim that nobody knows of would last as long as its lease.
        match self.engine.claim().await? {
            Some(running) => self.spawn(running, place),
            None => tokio::time::sleep(BESIDE_OTHERS).await,
        }
        Ok(None)
    }

    /// How long it looks for nothing, at most.
    fn poll(&self) -> Duration {
        let is_networked = self.engine.store.is_networked();
        let poll = if is_networked { NETWORKED_POLL } else { LONE_POLL };
        poll.mul_f64(rand::rng().random_range(0.5..1.0))
    }

    fn spawn(self: &Arc<Self>, running: Running, place: OwnedSemaphorePermit) {
        let inner = Arc::clone(self);
        self.io.spawn(async move {
            inner.drive(running).await;
            drop(place);
        });
    }

    async fn drive(&self, running: Running) {
        let (claim, kind) = (running.claim, running.kind.clone());
        let goes_on = || !*self.stop.borrow();
        let driving = AssertUnwindSafe(self.engine.drive_while(running, &goes_on)).catch_unwind();
        match driving.await {
            Ok(Ok(())) => {}
            // The store has stopped, or a transaction has panicked.
            Ok(Err(StoreError::Stopped)) | Err(_) => {
                tracing::error!(workflow.id = %claim.id, workflow.kind = kind, "a workflow broke off");
                self.engine.give_back_panicked(claim).await;
            }
            Ok(Err(error)) => {
                tracing::warn!(workflow.id = %claim.id, workflow.kind = kind, %error, "a workflow goes on later");
            }
        }
        // Nobody may be waiting.
        let _ = self.driven.send(claim.id);
    }
}

/// Something was committed here, though not too soon after the last look.
async fn committed(commits: &mut watch::Receiver<()>) {
    tokio::time::sleep(COMMIT_REST).await;
    if commits.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

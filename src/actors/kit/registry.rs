//! The front to virtual actors: from a key to a handle, and calls that follow an actor from life to life.
//!
//! Keys are spread over shards, one on each arbiter it is given. Living children are found without the shard's
//! mailbox, in its roster; everything else goes through the shard.
//!
//! Invariant: a call is sent again only when the one before certainly never ran.

use std::{
    collections::hash_map::RandomState, error::Error, fmt::Debug, hash::BuildHasher, sync::Arc,
    time::Duration,
};

use actix::{ArbiterHandle, Context, Handler, Message, dev::ToEnvelope};
use futures_util::future::{BoxFuture, join_all};
use tokio::time::{Instant, timeout_at};

use super::{
    handle::{Call, CallError, Handle},
    metrics::Kind,
    permanent::{Keeping, OnEscalate, Permanent},
    restart::{Limit, RestartPolicy},
    shard::{Core, Resolve, Roster, Shard, StopChildren},
    virtual_actor::VirtualActor,
};

/// Why a key has no actor, or a call through the registry no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResolveError {
    /// The actor, or the way to it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The store has nothing under this key.
    #[error("not found")]
    NotFound,
    /// It could not be loaded; the cause is in the log.
    #[error("could not be loaded, nothing was done")]
    Failed,
}

impl ResolveError {
    /// Whether the call certainly did nothing, so that sending it again is safe.
    #[must_use]
    pub const fn never_ran(self) -> bool {
        match self {
            Self::Call(failure) => failure.never_ran(),
            Self::NotFound | Self::Failed => true,
        }
    }
}

/// Why a seed was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is nothing under this key.
    #[error("not found")]
    NotFound,
    /// The store failed.
    #[error("loading failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// Loads what an actor is made from. Runs on the shard's arbiter; a panic counts as a failure.
pub type Loader<A> = Arc<
    dyn Fn(
            <A as VirtualActor>::Key,
        ) -> BoxFuture<'static, Result<<A as VirtualActor>::Seed, LoadError>>
        + Send
        + Sync,
>;

/// The limits of one registry.
#[derive(Clone)]
pub struct Settings {
    /// Resolutions one shard works on at a time.
    pub shard_mailbox_max: u32,
    /// Callers that may wait for one child to be loaded.
    pub waiters_max: usize,
    /// How long finding a child may take; after it the caller is told [`CallError::Overloaded`].
    pub resolve_max: Duration,
    /// How long the store may take; after it the load has failed.
    pub load_max: Duration,
    /// How long a child may take to finish what it has before it is stopped all the same.
    pub drain_max: Duration,
    /// When a crashing child is quarantined.
    pub child_restarts: RestartPolicy,
    /// Quarantines in one shard before they are escalated.
    pub quarantines: Limit,
    /// Restarts of one shard before they are escalated.
    pub shard_restarts: Limit,
    /// Told why, when restarting no longer helps.
    pub on_escalate: OnEscalate,
    /// The safeguard a control test takes away.
    #[cfg(test)]
    pub sabotage: Sabotage,
}

/// Safeguards that a control test takes away.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    #[default]
    Nothing,
    Drain,
    IncarnationCheck,
}

impl Settings {
    /// The defaults, with `on_escalate` told when restarting no longer helps.
    #[must_use]
    pub fn new(on_escalate: OnEscalate) -> Self {
        Self {
            shard_mailbox_max: 4_096,
            waiters_max: 1_024,
            resolve_max: Duration::from_secs(5),
            load_max: Duration::from_secs(5),
            drain_max: Duration::from_secs(10),
            child_restarts: RestartPolicy {
                restarts: Limit { events_max: 3, window: Duration::from_secs(10) },
                cooling_min: Duration::from_secs(1),
                cooling_max: Duration::from_secs(60),
            },
            quarantines: Limit { events_max: 32, window: Duration::from_secs(60) },
            shard_restarts: Limit { events_max: 5, window: Duration::from_secs(30) },
            on_escalate,
            #[cfg(test)]
            sabotage: Sabotage::Nothing,
        }
    }
}

// Each round waits for a real change (an exit, a load), so more than a few mean a key that cannot stay alive.
const ATTEMPTS_MAX: usize = 16;

/// The front to all actors of one kind. Clones lead to the same ones.
pub struct Registry<A: VirtualActor> {
    front: Arc<Front<A>>,
}

struct Front<A: VirtualActor> {
    doors: Vec<Door<A>>,
    hasher: RandomState,
    resolve_max: Duration,
    drain_max: Duration,
}

struct Door<A: VirtualActor> {
    shard: Permanent<Shard<A>>,
    roster: Arc<Roster<A>>,
}

impl<A: VirtualActor> Registry<A> {
    /// Starts one shard on each of `arbiters`, which outlive the registry.
    #[must_use]
    pub fn start(arbiters: &[ArbiterHandle], loader: Loader<A>, settings: Settings) -> Self {
        let (kind, shard_kind) = (Kind::new(A::KIND), Kind::new(&format!("{}_shard", A::KIND)));
        let (resolve_max, drain_max) = (settings.resolve_max, settings.drain_max);
        let mut doors = Vec::with_capacity(arbiters.len());

        for (number, arbiter) in arbiters.iter().enumerate() {
            let roster = Arc::new(Roster::default());
            let core = Arc::new(Core {
                loader: Arc::clone(&loader),
                settings: settings.clone(),
                roster: Arc::clone(&roster),
                kind: kind.clone(),
            });
            let keeping = Keeping {
                kind: shard_kind.clone(),
                label: number.to_string(),
                mailbox_max: settings.shard_mailbox_max,
                restarts: settings.shard_restarts,
                drain_max,
                on_escalate: Arc::clone(&settings.on_escalate),
            };
            let shard = Permanent::start(arbiter, keeping, move |generation, family| {
                Shard::new(Arc::clone(&core), generation, family.clone())
            });
            doors.push(Door { shard, roster });
        }

        let front = Front { doors, hasher: RandomState::new(), resolve_max, drain_max };
        Self { front: Arc::new(front) }
    }

    /// The living actor of `key`, loaded first if there is none.
    pub async fn resolve(&self, key: A::Key) -> Result<Handle<A>, ResolveError> {
        self.resolve_before(key, Instant::now() + self.front.resolve_max).await
    }

    /// The living actor of `key`, if there is one at this moment.
    #[must_use]
    pub fn live(&self, key: A::Key) -> Option<Handle<A>> {
        self.door(key).and_then(|door| door.roster.get(key)).filter(|handle| !handle.is_closed())
    }

    /// How many actors live at this moment.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.front.doors.iter().map(|door| door.roster.len()).sum()
    }

    /// Calls the actor of `key` and waits up to `timeout` for its result, loading included.
    ///
    /// A call that met an actor on its way out never ran and is made again for the next incarnation.
    pub async fn call<M>(
        &self,
        key: A::Key,
        make_msg: impl Fn() -> M,
        timeout: Duration,
    ) -> Result<M::Result, ResolveError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<Call<M>>,
        Context<A>: ToEnvelope<A, Call<M>>,
    {
        let deadline = Instant::now() + timeout;
        for _ in 0..ATTEMPTS_MAX {
            let handle = self.resolve_before(key, deadline).await?;
            let remaining = deadline.saturating_duration_since(Instant::now());
            match handle.call(make_msg(), remaining).await {
                Err(CallError::Stopped) => {}
                outcome => return outcome.map_err(ResolveError::Call),
            }
        }
        Err(CallError::Stopped.into())
    }

    /// Refuses new calls, lets every child finish what it has, then stops the shards.
    pub async fn stop(&self) {
        let window = self.front.drain_max.saturating_add(Duration::from_secs(1));
        join_all(self.front.doors.iter().map(|door| async {
            if let Err(failure) = door.shard.call(StopChildren, window).await
                && failure != CallError::Stopped
            {
                tracing::warn!(actor.kind = A::KIND, error = %failure, "children are stopped by way of their shard");
            }
            door.shard.stop().await;
        }))
        .await;
    }

    async fn resolve_before(
        &self,
        key: A::Key,
        deadline: Instant,
    ) -> Result<Handle<A>, ResolveError> {
        if let Some(handle) = self.live(key) {
            return Ok(handle);
        }
        // Finding the actor runs nothing of the caller's, so being late is not an unknown outcome.
        timeout_at(deadline, self.ask(key)).await.unwrap_or(Err(CallError::Overloaded.into()))
    }

    async fn ask(&self, key: A::Key) -> Result<Handle<A>, ResolveError> {
        let door = self.door(key).ok_or(CallError::Stopped)?;
        for _ in 0..ATTEMPTS_MAX {
            let shard = door.shard.handle().await?;
            match shard.call(Resolve::<A>(key), self.front.resolve_max).await {
                Ok(answer) => return answer,
                // Resolving twice does no harm: ask the next incarnation of the shard.
                Err(CallError::Stopped | CallError::Lost) => {}
                Err(CallError::TimedOut) => return Err(CallError::Overloaded.into()),
                Err(refused @ (CallError::Overloaded | CallError::Unavailable)) => {
                    return Err(refused.into());
                }
            }
        }
        Err(CallError::Stopped.into())
    }

    fn door(&self, key: A::Key) -> Option<&Door<A>> {
        let doors = u64::try_from(self.front.doors.len()).ok()?;
        let number = self.front.hasher.hash_one(key).checked_rem(doors)?;
        self.front.doors.get(usize::try_from(number).ok()?)
    }

    /// The shard of a key, for tests that speak to it directly.
    #[cfg(test)]
    pub(super) fn shard(&self, key: A::Key) -> &Permanent<Shard<A>> {
        &self.door(key).unwrap().shard
    }
}

impl<A: VirtualActor> Clone for Registry<A> {
    fn clone(&self) -> Self {
        Self { front: Arc::clone(&self.front) }
    }
}

//! A shard: the shell around the slot machine, parent of its children.
//!
//! Loads, starts, hands out, drains and forgets as the machine says. Only the shard writes its roster; callers read
//! it to find the living without asking.
//!
//! Invariant: a handle in the roster whose gate is open leads to the one living incarnation of its key.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, WrapFuture,
};
use futures_util::FutureExt;
use tokio::{sync::oneshot, time::timeout};

#[cfg(test)]
use super::registry::Sabotage;
use super::{
    handle::{Call, CallError, Handle},
    metrics::Kind,
    registry::{LoadError, Loader, ResolveError, Settings},
    slots::{Effect, Event, Rules, Slots},
    supervise::{self, ExitReason, Family, Plan},
    virtual_actor::{Life, Passivate, VirtualActor},
};

/// What every incarnation of a shard shares.
pub(super) struct Core<A: VirtualActor> {
    pub(super) loader: Loader<A>,
    pub(super) settings: Settings,
    pub(super) roster: Arc<Roster<A>>,
    pub(super) kind: Kind,
}

/// The living children of one shard.
pub(super) struct Roster<A: VirtualActor> {
    handles: RwLock<HashMap<A::Key, Handle<A>>>,
}

/// Asks for the living child of a key.
pub(super) struct Resolve<A: VirtualActor>(pub(super) A::Key);

impl<A: VirtualActor> Message for Resolve<A> {
    type Result = Answer<A>;
}

/// Drains and stops every child; answered when none is left.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct StopChildren;

/// A child is gone, and all it held.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ChildExited<K> {
    pub(super) key: K,
    pub(super) incarnation: u64,
    pub(super) reason: ExitReason,
}

type Answer<A> = Result<Handle<A>, ResolveError>;
type Waiter<A> = oneshot::Sender<Answer<A>>;
type ShardEvent<A> = Event<<A as VirtualActor>::Key, Waiter<A>, <A as VirtualActor>::Seed>;
type ShardEffect<A> = Effect<<A as VirtualActor>::Key, Waiter<A>, <A as VirtualActor>::Seed>;

/// One shard of a registry.
pub(super) struct Shard<A: VirtualActor> {
    core: Arc<Core<A>>,
    slots: Slots<A::Key, Waiter<A>>,
    family: Family,
    stopped: Vec<oneshot::Sender<()>>,
}

impl<A: VirtualActor> Shard<A> {
    /// An empty shard; `generation` keeps its incarnation numbers above those of the shards before it.
    pub(super) fn new(core: Arc<Core<A>>, generation: u32, family: Family) -> Self {
        core.roster.clear();
        let rules = Rules {
            waiters_max: core.settings.waiters_max,
            restarts: core.settings.child_restarts,
            quarantines: core.settings.quarantines,
            #[cfg(test)]
            trusts_any_incarnation: core.settings.sabotage == Sabotage::IncarnationCheck,
        };
        Self {
            core,
            slots: Slots::new(rules, u64::from(generation) << 32),
            family,
            stopped: Vec::new(),
        }
    }

    fn take(&mut self, event: ShardEvent<A>, ctx: &mut Context<Self>) {
        for effect in self.slots.step(event, Instant::now()) {
            self.perform(effect, ctx);
        }
    }

    fn perform(&mut self, effect: ShardEffect<A>, ctx: &mut Context<Self>) {
        match effect {
            Effect::Load { key, incarnation } => self.load(key, incarnation, ctx),
            Effect::Start { key, incarnation, seed, waiters } => {
                let handle = self.start(key, incarnation, seed, ctx);
                for waiter in waiters {
                    answer::<A>(waiter, Ok(handle.clone()));
                }
            }
            Effect::Hand { key, waiter } => {
                let handle =
                    self.core.roster.get(key).ok_or(ResolveError::Call(CallError::Stopped));
                answer::<A>(waiter, handle);
            }
            Effect::Drain { key } => {
                if let Some(handle) = self.core.roster.remove(key) {
                    handle.close();
                }
            }
            Effect::Forget { key } => {
                self.core.roster.remove(key);
            }
            Effect::Refuse { waiters, error } => {
                for waiter in waiters {
                    answer::<A>(waiter, Err(error));
                }
            }
            Effect::Quarantined { key, wait } => tracing::error!(
                actor.kind = A::KIND,
                actor.key = %key,
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "an actor crashed too often and is quarantined"
            ),
            Effect::Escalate => {
                (self.core.settings.on_escalate)(&format!(
                    "too many actors of kind {} crash too often",
                    A::KIND
                ));
            }
            Effect::Settled => {
                for waiting in self.stopped.drain(..) {
                    let _gone = waiting.send(());
                }
            }
        }
    }

    fn load(&mut self, key: A::Key, incarnation: u64, ctx: &mut Context<Self>) {
        let (loader, load_max) = (Arc::clone(&self.core.loader), self.core.settings.load_max);
        // The state a panicking loader leaves behind is its own.
        let loading =
            AssertUnwindSafe(async move { timeout(load_max, loader(key)).await }).catch_unwind();

        ctx.spawn(loading.into_actor(self).map(move |outcome, shard: &mut Self, ctx| {
            let error = match outcome {
                Ok(Ok(Ok(seed))) => {
                    return shard.take(Event::Loaded { key, incarnation, seed }, ctx);
                }
                Ok(Ok(Err(LoadError::NotFound))) => ResolveError::NotFound,
                Ok(Ok(Err(LoadError::Failed(cause)))) => load_failed::<A>(key, &cause.to_string()),
                Ok(Err(late)) => load_failed::<A>(key, &late.to_string()),
                Err(_panic) => load_failed::<A>(key, "the loader panicked"),
            };
            shard.take(Event::LoadFailed { key, incarnation, error }, ctx);
        }));
    }

    fn start(
        &mut self,
        key: A::Key,
        incarnation: u64,
        seed: A::Seed,
        ctx: &mut Context<Self>,
    ) -> Handle<A> {
        let mailbox_max = A::MAILBOX_MAX;
        let drain_max = self.core.settings.drain_max;
        let plan = Plan {
            incarnation,
            #[cfg(test)]
            skips_drain: self.core.settings.sabotage == Sabotage::Drain,
            ..Plan::new(self.core.kind.clone(), key.to_string(), mailbox_max, drain_max)
        };
        let (leaving, exits) = (ctx.address().recipient(), ctx.address().recipient());
        let handle = supervise::start(
            plan,
            self.family.clone(),
            |gate| {
                let life = Life::new(key, incarnation, gate.clone(), leaving);
                move |_ctx: &mut Context<A>| <A as VirtualActor>::create(key, seed, life)
            },
            // Not through the shard's gate: an exit must never be refused. There is one per child.
            move |reason| exits.do_send(ChildExited { key, incarnation, reason }),
        );
        self.core.roster.insert(key, handle.clone());
        handle
    }
}

impl<A: VirtualActor> Actor for Shard<A> {
    type Context = Context<Self>;
}

impl<A: VirtualActor> Handler<Call<Resolve<A>>> for Shard<A> {
    type Result = ResponseFuture<Answer<A>>;

    fn handle(&mut self, call: Call<Resolve<A>>, ctx: &mut Self::Context) -> Self::Result {
        let (Resolve(key), permit) = call.into_parts();
        // It may have panicked a moment ago: wait for its exit instead of handing out a closed door.
        if let Some(handle) = self.core.roster.get(key)
            && handle.is_closed()
        {
            self.take(Event::FoundClosed { key, incarnation: handle.incarnation() }, ctx);
        }

        let (waiter, answer) = oneshot::channel();
        self.take(Event::Resolve { key, waiter }, ctx);
        Box::pin(async move {
            let answer = answer.await.unwrap_or(Err(CallError::Stopped.into()));
            drop(permit);
            answer
        })
    }
}

impl<A: VirtualActor> Handler<Call<StopChildren>> for Shard<A> {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, call: Call<StopChildren>, ctx: &mut Self::Context) -> Self::Result {
        let (settled, stopped) = oneshot::channel();
        self.stopped.push(settled);
        self.take(Event::Stop, ctx);
        Box::pin(async move {
            let _gone = stopped.await;
            drop(call);
        })
    }
}

impl<A: VirtualActor> Handler<Passivate<A::Key>> for Shard<A> {
    type Result = ();

    fn handle(
        &mut self,
        Passivate { key, incarnation }: Passivate<A::Key>,
        ctx: &mut Self::Context,
    ) {
        self.take(Event::Passivate { key, incarnation }, ctx);
    }
}

impl<A: VirtualActor> Handler<ChildExited<A::Key>> for Shard<A> {
    type Result = ();

    fn handle(&mut self, exit: ChildExited<A::Key>, ctx: &mut Self::Context) {
        let ChildExited { key, incarnation, reason } = exit;
        self.take(Event::Exited { key, incarnation, reason, jitter: rand::random() }, ctx);
    }
}

impl<A: VirtualActor> Roster<A> {
    /// The handle of `key`; its gate says whether it still leads anywhere.
    pub(super) fn get(&self, key: A::Key) -> Option<Handle<A>> {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// How many children are listed.
    pub(super) fn len(&self) -> usize {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn insert(&self, key: A::Key, handle: Handle<A>) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).insert(key, handle);
    }

    fn remove(&self, key: A::Key) -> Option<Handle<A>> {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).remove(&key)
    }

    fn clear(&self) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl<A: VirtualActor> Default for Roster<A> {
    fn default() -> Self {
        Self { handles: RwLock::default() }
    }
}

fn answer<A: VirtualActor>(waiter: Waiter<A>, answer: Answer<A>) {
    // The caller may have given up.
    let _gone = waiter.send(answer);
}

// The cause is logged once, here; callers learn only that it failed.
fn load_failed<A: VirtualActor>(key: A::Key, cause: &str) -> ResolveError {
    tracing::error!(actor.kind = A::KIND, actor.key = %key, error = cause, "an actor could not be loaded");
    ResolveError::Failed
}

//! One life of one actor, watched from outside.
//!
//! The actor's future is polled under `catch_unwind`; the watcher, not the actor, stops it when its gate has drained,
//! throws its memory away when it panicked, and reports the exit.
//!
//! Invariant: an exit is reported once, after the actor and everything it spawned in its context are gone.

use std::{
    any::Any,
    convert::Infallible,
    future::{Future, pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context, dev::ContextFut};
use tokio::sync::{mpsc, watch};

use super::{gate::Gate, handle::Handle, metrics::Kind};

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// It was drained or stopped itself.
    Normal,
    /// It panicked; its memory is gone.
    Crashed,
}

/// What the watcher has to know about a life.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The kind of actor, for figures and logs.
    pub kind: Kind,
    /// Which one of its kind, for logs.
    pub label: String,
    /// The number of this life.
    pub incarnation: u64,
    /// Messages in the mailbox and in handling, at most.
    pub mailbox_max: u32,
    /// How long the drain may take before the actor is stopped with calls in its hands.
    pub drain_max: Duration,
    /// Whether the drain is left out: the control of the stress test.
    #[cfg(test)]
    pub skips_drain: bool,
}

impl Plan {
    /// The plan of a first life; set `incarnation` for a later one.
    #[must_use]
    pub fn new(kind: Kind, label: String, mailbox_max: u32, drain_max: Duration) -> Self {
        Self {
            kind,
            label,
            incarnation: 1,
            mailbox_max,
            drain_max,
            #[cfg(test)]
            skips_drain: false,
        }
    }
}

/// The tie between a parent and those that live under it.
///
/// When the parent is gone its children drain and stop; the parent's keeper sees when the last one is gone.
#[derive(Debug, Clone, Default)]
pub struct Family {
    parent: Option<watch::Receiver<()>>,
    alive: Option<mpsc::Sender<Infallible>>,
}

/// The keeper's end of a [`Family`].
#[derive(Debug)]
pub(super) struct Parent {
    here: watch::Sender<()>,
    children: mpsc::Receiver<Infallible>,
}

impl Family {
    /// A family with a parent.
    pub(super) fn found() -> (Parent, Self) {
        let (here, parent) = watch::channel(());
        let (alive, children) = mpsc::channel(1);
        (Parent { here, children }, Self { parent: Some(parent), alive: Some(alive) })
    }

    async fn parent_gone(&mut self) {
        match &mut self.parent {
            Some(parent) => while parent.changed().await.is_ok() {},
            None => pending().await,
        }
    }
}

impl Parent {
    /// Tells the children to drain and waits until none is left.
    pub(super) async fn leave(self) {
        let Self { here, mut children } = self;
        drop(here);
        // Nothing is ever sent: this resolves when the last child has dropped its end.
        let _none = children.recv().await;
    }
}

/// Starts an actor on the current arbiter, without a parent, and watches over its one life.
///
/// `create` runs inside the watched life, so a panic in it is a crash too. `on_exit` runs on this arbiter, last.
pub fn start_here<A, C, E>(plan: Plan, create: C, on_exit: E) -> Handle<A>
where
    A: Actor<Context = Context<A>>,
    C: FnOnce(&mut Context<A>) -> A + 'static,
    E: FnOnce(ExitReason) + 'static,
{
    start(plan, Family::default(), |_gate| create, on_exit)
}

/// As [`start_here`], under a parent; `create` is made with the gate of the new life in hand.
pub(super) fn start<A, C, E>(
    plan: Plan,
    family: Family,
    create: impl FnOnce(&Gate) -> C,
    on_exit: E,
) -> Handle<A>
where
    A: Actor<Context = Context<A>>,
    C: FnOnce(&mut Context<A>) -> A + 'static,
    E: FnOnce(ExitReason) + 'static,
{
    let gate = Gate::measured(plan.mailbox_max, plan.kind.depth());
    let mut context = Context::new();
    // Zero means no limit. With a limit actix parks a sender and then never wakes it; the gate is the limit.
    context.set_mailbox_capacity(0);
    let handle = Handle::new(context.address(), gate.clone(), plan.incarnation, plan.kind.clone());

    let create = create(&gate);
    // An actor nobody can reach stops; while it is watched that is for its gate to decide.
    let reachable = handle.clone();
    actix_rt::spawn(async move {
        let living = plan.kind.count_live();
        let alive = family.alive.clone();
        let reason = watch_over(&plan, gate, family, context, create).await;
        drop((living, reachable));
        if reason == ExitReason::Crashed {
            plan.kind.count_restart();
        }
        on_exit(reason);
        drop(alive);
    });
    handle
}

async fn watch_over<A, C>(
    plan: &Plan,
    gate: Gate,
    family: Family,
    mut context: Context<A>,
    create: C,
) -> ExitReason
where
    A: Actor<Context = Context<A>>,
    C: FnOnce(&mut Context<A>) -> A,
{
    // `AssertUnwindSafe` throughout: what a panic may have left half done is dropped, never looked at again.
    let mut body = match catch_unwind(AssertUnwindSafe(|| create(&mut context))) {
        Ok(actor) => context.into_future(actor),
        Err(panic) => {
            // Before the mailbox goes: who comes now is told that nothing was done.
            gate.close();
            return crashed(plan, &*panic);
        }
    };

    let outcome = live(&mut body, ending(plan, gate.clone(), family)).await;
    gate.close();
    if outcome.is_err() {
        // The hooks of a panicked actor do not run: clean-up belongs to drop guards.
        body.ctx().terminate();
    }
    let dropped = catch_unwind(AssertUnwindSafe(move || drop(body)));

    match outcome.and(dropped) {
        Ok(()) => ExitReason::Normal,
        Err(panic) => crashed(plan, &*panic),
    }
}

// Polls the actor until it ends by itself, panics, or is stopped because `ending` resolved.
async fn live<A>(
    body: &mut ContextFut<A, Context<A>>,
    ending: impl Future<Output = ()>,
) -> Result<(), Box<dyn Any + Send>>
where
    A: Actor<Context = Context<A>>,
{
    let mut ending = pin!(ending);
    poll_fn(move |task| {
        catch_unwind(AssertUnwindSafe(|| {
            if Pin::new(&mut *body).poll(task).is_ready() {
                return Poll::Ready(());
            }
            if ending.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
            // The last permit may have come back from one future of the actor with the reply on its way through
            // another: that one gets its turn.
            if Pin::new(&mut *body).poll(task).is_ready() {
                return Poll::Ready(());
            }
            body.ctx().stop();
            if Pin::new(&mut *body).poll(task).is_ready() {
                return Poll::Ready(());
            }
            // `Actor::stopping` asked to go on; nobody can reach it any more, so it may not.
            body.ctx().terminate();
            Pin::new(&mut *body).poll(task)
        }))
        .map_or_else(|panic| Poll::Ready(Err(panic)), |progress| progress.map(Ok))
    })
    .await
}

// Resolves when the actor may be stopped: its gate was closed, or its parent is gone, and every permit is back.
async fn ending(plan: &Plan, gate: Gate, mut family: Family) {
    tokio::select! {
        () = gate.closed() => {}
        () = family.parent_gone() => gate.close(),
    }
    #[cfg(test)]
    if plan.skips_drain {
        return;
    }
    if tokio::time::timeout(plan.drain_max, gate.drained()).await.is_err() {
        tracing::warn!(
            actor.kind = plan.kind.name(),
            actor.key = plan.label,
            actor.incarnation = plan.incarnation,
            "an actor did not drain in time and is stopped with calls in its hands"
        );
    }
}

fn crashed(plan: &Plan, panic: &(dyn Any + Send)) -> ExitReason {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    tracing::error!(
        actor.kind = plan.kind.name(),
        actor.key = plan.label,
        actor.incarnation = plan.incarnation,
        panic = said,
        "an actor crashed"
    );
    ExitReason::Crashed
}

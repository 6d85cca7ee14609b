//! Permanent actors: always there, or the program ends.
//!
//! A keeper on the actor's arbiter starts it again after a crash, once its children are gone; too many crashes are
//! escalated.
//!
//! Invariant: two incarnations of a permanent actor, or of anything under it, never live at once.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Actor, ArbiterHandle, Context, Handler, Message, dev::ToEnvelope};
use tokio::sync::{oneshot, watch};

use super::{
    handle::{Call, CallError, Handle},
    metrics::Kind,
    restart::{Limit, Tally},
    supervise::{self, ExitReason, Family, Plan},
};

/// Called with the reason when restarting no longer helps. The program is expected to end with status 70.
pub type OnEscalate = Arc<dyn Fn(&str) + Send + Sync>;

/// How a permanent actor is kept.
#[derive(Clone)]
pub struct Keeping {
    /// The kind of actor, for figures and logs.
    pub kind: Kind,
    /// Which one of its kind, for logs.
    pub label: String,
    /// Messages in its mailbox and in handling, at most.
    pub mailbox_max: u32,
    /// Restarts before it is escalated.
    pub restarts: Limit,
    /// How long a drain may take when it is stopped.
    pub drain_max: Duration,
    /// Told when there were too many.
    pub on_escalate: OnEscalate,
}

/// The way to a permanent actor, whichever incarnation is alive. Clones lead to the same one.
pub struct Permanent<A: Actor> {
    state: watch::Receiver<State<A>>,
    stopping: Arc<AtomicBool>,
}

enum State<A: Actor> {
    Starting,
    Up(Handle<A>),
    Stopped,
    Failed,
}

impl<A: Actor<Context = Context<A>>> Permanent<A> {
    /// Starts it on `arbiter`. `create` is called there for each incarnation, with its number (from 1) and the family
    /// its children are started under.
    pub fn start<C>(arbiter: &ArbiterHandle, keeping: Keeping, create: C) -> Self
    where
        C: FnMut(u32, &Family) -> A + Send + 'static,
    {
        let (told, state) = watch::channel(State::Starting);
        let stopping = Arc::new(AtomicBool::new(false));
        let keeper_stopping = Arc::clone(&stopping);
        arbiter.spawn_fn(move || {
            actix_rt::spawn(keep(keeping, create, told, keeper_stopping));
        });
        Self { state, stopping }
    }

    /// The living incarnation; waits while one is being started. [`CallError::Stopped`] after [`Permanent::stop`],
    /// [`CallError::Unavailable`] after escalation.
    pub async fn handle(&self) -> Result<Handle<A>, CallError> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| match state {
            State::Starting => false,
            // A closed one is about to be replaced.
            State::Up(handle) => !handle.is_closed(),
            State::Stopped | State::Failed => true,
        });
        // An error says that the keeper is gone, and its arbiter with it.
        match settled.await.as_deref() {
            Ok(State::Up(handle)) => Ok(handle.clone()),
            Ok(State::Failed) => Err(CallError::Unavailable),
            Ok(State::Starting | State::Stopped) | Err(_) => Err(CallError::Stopped),
        }
    }

    /// Calls the living incarnation; `timeout` covers waiting for one, too.
    pub async fn call<M>(&self, msg: M, timeout: Duration) -> Result<M::Result, CallError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<Call<M>>,
        A::Context: ToEnvelope<A, Call<M>>,
    {
        let began = Instant::now();
        let Ok(handle) = tokio::time::timeout(timeout, self.handle()).await else {
            return Err(CallError::Unavailable);
        };
        handle?.call(msg, timeout.saturating_sub(began.elapsed())).await
    }

    /// Drains and stops it and everything under it, for good. Returns when it is gone.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let State::Up(handle) = &*self.state.borrow() {
            handle.close();
        }
        let mut state = self.state.clone();
        let _gone = state.wait_for(|state| matches!(state, State::Stopped | State::Failed)).await;
    }
}

impl<A: Actor> Clone for Permanent<A> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), stopping: Arc::clone(&self.stopping) }
    }
}

async fn keep<A, C>(
    keeping: Keeping,
    create: C,
    told: watch::Sender<State<A>>,
    stopping: Arc<AtomicBool>,
) where
    A: Actor<Context = Context<A>>,
    C: FnMut(u32, &Family) -> A + 'static,
{
    let create = Rc::new(RefCell::new(create));
    let mut crashes = Tally::default();
    let mut generation: u32 = 0;

    while !stopping.load(Ordering::SeqCst) {
        generation = generation.saturating_add(1);
        let (parent, family) = Family::found();
        let (exited, exit) = oneshot::channel();

        let (number, children, creator) = (generation, family, Rc::clone(&create));
        let handle = supervise::start_here(
            plan(&keeping, generation),
            move |_ctx| (creator.borrow_mut())(number, &children),
            move |reason| {
                let _keeper_gone = exited.send(reason);
            },
        );
        told.send_replace(State::Up(handle.clone()));
        // `stop` may have looked before the new incarnation was there.
        if stopping.load(Ordering::SeqCst) {
            handle.close();
        }

        let reason = exit.await.unwrap_or(ExitReason::Crashed);
        told.send_replace(State::Starting);
        parent.leave().await;

        // Ending unasked is as bad as a crash.
        if !stopping.load(Ordering::SeqCst) && crashes.exceeds(&keeping.restarts, Instant::now()) {
            let (kind, label) = (keeping.kind.name(), &keeping.label);
            (keeping.on_escalate)(&format!(
                "{kind} {label} ended too often, the last time {reason:?}"
            ));
            told.send_replace(State::Failed);
            return;
        }
    }
    told.send_replace(State::Stopped);
}

fn plan(keeping: &Keeping, generation: u32) -> Plan {
    let Keeping { kind, label, mailbox_max, drain_max, .. } = keeping;
    let first = Plan::new(kind.clone(), label.clone(), *mailbox_max, *drain_max);
    Plan { incarnation: u64::from(generation), ..first }
}

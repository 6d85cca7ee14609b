//! Presence: one actor a user who is here, fed by the hubs that hold the user's connections.
//!
//! It records what they come to when that changes, and never to keep it up; the store merges what all nodes record.
//! Who comes back within the grace was never away, on whichever node.

mod news;
pub mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, ArbiterHandle, AsyncContext, Context, Handler, Message, SpawnHandle,
    WrapFuture,
};

use rand::Rng;
use tokio::sync::Semaphore;

pub use self::news::{Herald, News};
use self::state::{Next, PresenceState, Report};
use super::hub::directory::{Directory, HubId, HubMessage};
use super::kit::handle::Call;
use super::kit::registry::{LoadError, Loader, Registry, ResolveError, Settings};
use super::kit::virtual_actor::{Life, VirtualActor};
use super::nodes::Nodes;
use crate::clock;
use crate::domain::ids::{NodeId, UserId};
use crate::domain::presence::Choice;
use crate::store::{Store, StoreError};

/// How long a hub waits for its report to be taken in.
const CALL_MAX: Duration = Duration::from_secs(10);
const IDLE_CHECK: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);
/// Presences that are recorded at once.
const TURNS_MAX: usize = 4;

/// The front to the presence of every user. Cheap to clone.
#[derive(Clone)]
pub struct Presences {
    registry: Registry<UserPresence>,
    deps: Arc<Deps>,
}

/// What every presence needs.
struct Deps {
    store: Store,
    directory: Directory,
    nodes: Nodes,
    herald: Herald,
    grace: Duration,
    /// Whoever has to record something takes turns: a crowd must not keep everything else from the database.
    turns: Semaphore,
    /// The node goes away: whoever leaves it goes to another, and nobody is shown differently from here.
    is_frozen: AtomicBool,
}

impl Presences {
    /// Starts presences that live on `arbiters`; whoever has gone is waited for so long (`grace`).
    #[must_use]
    pub fn start(
        arbiters: &[ArbiterHandle],
        store: Store,
        nodes: Nodes,
        herald: Herald,
        grace: Duration,
        supervision: Settings,
    ) -> Self {
        let directory = herald.directory().clone();
        let (turns, is_frozen) = (Semaphore::new(TURNS_MAX), AtomicBool::new(false));
        let deps = Arc::new(Deps { store, directory, nodes, herald, grace, turns, is_frozen });
        let shared = Arc::clone(&deps);
        let loader: Loader<UserPresence> = Arc::new(move |user| {
            let deps = Arc::clone(&deps);
            Box::pin(async move {
                let node = deps.nodes.me();
                match deps.store.find_node_presence(node, user).await {
                    Ok(recorded) => Ok(Seed { node, recorded, deps }),
                    Err(error) => Err(LoadError::Failed(Box::new(error))),
                }
            })
        });
        Self { registry: Registry::start(arbiters, loader, supervision), deps: shared }
    }

    /// Takes in which devices of a user a hub holds; told again, it changes nothing.
    ///
    /// # Errors
    /// [`ResolveError`]: tell it again.
    pub async fn report(&self, user: UserId, report: Report<HubId>) -> Result<(), ResolveError> {
        self.registry.call(user, || Take(report.clone()), CALL_MAX).await
    }

    /// From now on nobody is shown differently by this node, which sends its clients elsewhere.
    pub fn freeze(&self) {
        self.deps.is_frozen.store(true, Ordering::Relaxed);
    }

    /// Ends every presence; what is shown stays so, because a restart is nobody's going.
    pub async fn stop(&self) {
        self.registry.stop().await;
    }
}

/// What a presence is loaded with: what `node` has recorded.
pub struct Seed {
    node: NodeId,
    recorded: Option<Choice>,
    deps: Arc<Deps>,
}

/// One user's actor.
pub struct UserPresence {
    user: UserId,
    life: Life<Self>,
    deps: Arc<Deps>,
    state: PresenceState<HubId>,
    /// Under which name the state is recorded.
    node: NodeId,
    is_recording: bool,
    waiting: Option<SpawnHandle>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Take(Report<HubId>);

impl VirtualActor for UserPresence {
    type Key = UserId;
    type Seed = Seed;
    const KIND: &'static str = "presence";
    const MAILBOX_MAX: u32 = 256;

    fn create(user: UserId, seed: Seed, life: Life<Self>) -> Self {
        let Seed { node, recorded, deps } = seed;
        let state = PresenceState::new(recorded, deps.grace, clock::now());
        Self { user, life, deps, state, node, is_recording: false, waiting: None }
    }
}

impl Actor for UserPresence {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // What a predecessor knew is gone: the hubs tell it again.
        self.deps.directory.tell_all(&HubMessage::ReportPresence(self.user));
        // A hub may have been too busy to hear that.
        ctx.run_later(self.deps.grace / 2, |presence, _| {
            presence.deps.directory.tell_all(&HubMessage::ReportPresence(presence.user));
        });
        self.go_on(ctx);
        ctx.run_interval(IDLE_CHECK, |presence, _| {
            if presence.state.is_idle() && !presence.is_recording {
                presence.life.passivate();
            }
        });
    }
}

impl Handler<Call<Take>> for UserPresence {
    type Result = ();

    fn handle(&mut self, call: Call<Take>, ctx: &mut Self::Context) {
        let (Take(report), _permit) = call.into_parts();
        self.state.report(report, clock::now());
        self.go_on(ctx);
    }
}

impl UserPresence {
    /// Records what is due, one change at a time, and waits for what is not yet.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        if self.is_recording || self.deps.is_frozen.load(Ordering::Relaxed) {
            return;
        }
        if let Some(waiting) = self.waiting.take() {
            ctx.cancel_future(waiting);
        }
        let node = self.deps.nodes.me();
        if node != self.node {
            self.node = node;
            self.state.forget();
        }
        match self.state.next(clock::now()) {
            Next::Nothing => {}
            Next::Wait(wait) => self.wait(wait, ctx),
            Next::Record(choice) => self.record(choice, ctx),
        }
    }

    fn wait(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        let waiting = ctx.run_later(wait, |presence, ctx| {
            presence.waiting = None;
            presence.go_on(ctx);
        });
        self.waiting = Some(waiting);
    }

    fn record(&mut self, choice: Option<Choice>, ctx: &mut Context<Self>) {
        self.is_recording = true;
        let (node, user, now) = (self.node, self.user, clock::now());
        let seen_at = self.state.seen_at().unwrap_or(now);
        let deps = Arc::clone(&self.deps);
        let recording = async move {
            let turn = deps.turns.acquire().await;
            let changed = deps.store.update_presence(node, user, choice, seen_at, now).await?;
            drop(turn);
            // What is not told to hubs now is told with the next change; it is stored already.
            deps.herald.tell(changed.as_slice()).await;
            Ok::<_, StoreError>(())
        };
        ctx.spawn(recording.into_actor(self).map(move |recorded, this: &mut Self, ctx| {
            this.is_recording = false;
            match recorded {
                Ok(()) => {
                    this.state.recorded(choice, clock::now());
                    this.go_on(ctx);
                }
                Err(error) => {
                    tracing::warn!(%error, user.id = %this.user, "a presence is not recorded yet");
                    this.wait(RETRY.mul_f64(rand::rng().random_range(0.5..1.5)), ctx);
                }
            }
        }));
    }
}

//! Presence: one actor a user who is here, fed by the hubs that hold the user's connections.
//!
//! It writes when what others see changes, and never to keep it up. Who comes back within the grace was never away.

pub mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, ArbiterHandle, AsyncContext, Context, Handler, Message, SpawnHandle,
    WrapFuture,
};

use self::state::{Next, PresenceState, Report};
use super::hub::channel::Channel;
use super::hub::directory::{Directory, HubId, HubMessage};
use super::kit::handle::Call;
use super::kit::registry::{LoadError, Loader, Registry, ResolveError, Settings};
use super::kit::virtual_actor::{Life, VirtualActor};
use crate::clock;
use crate::config::PresenceConfig;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::presence::{Presence, Status};
use crate::store::Store;

/// How long a hub waits for its report to be taken in.
const CALL_MAX: Duration = Duration::from_secs(10);
const IDLE_CHECK: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);

/// What hubs are told of a user.
#[derive(Debug)]
pub struct News {
    pub presence: Presence,
    /// The rooms with watchers on this node in which the user is seen, and whether each is large.
    pub rooms: Vec<(RoomId, bool)>,
}

/// The front to the presence of every user. Cheap to clone.
#[derive(Clone)]
pub struct Presences {
    registry: Registry<UserPresence>,
    store: Store,
    deps: Arc<Deps>,
}

/// What every presence needs.
struct Deps {
    store: Store,
    directory: Directory,
    settings: PresenceConfig,
    /// The node goes away: whoever leaves it goes to another, and nobody is shown differently from here.
    is_frozen: AtomicBool,
}

impl Presences {
    /// Starts presences that live on `arbiters`.
    #[must_use]
    pub fn start(
        arbiters: &[ArbiterHandle],
        store: Store,
        directory: Directory,
        settings: PresenceConfig,
        supervision: Settings,
    ) -> Self {
        let is_frozen = AtomicBool::new(false);
        let deps = Arc::new(Deps { store: store.clone(), directory, settings, is_frozen });
        let shared = Arc::clone(&deps);
        let loader: Loader<UserPresence> = Arc::new(move |user| {
            let deps = Arc::clone(&deps);
            Box::pin(async move {
                match deps.store.find_presence(user).await {
                    Ok(presence) => Ok(Seed { presence, deps }),
                    Err(error) => Err(LoadError::Failed(Box::new(error))),
                }
            })
        });
        Self { registry: Registry::start(arbiters, loader, supervision), store, deps: shared }
    }

    /// Takes in which devices of a user a hub holds; told again, it changes nothing.
    ///
    /// # Errors
    /// [`ResolveError`]: tell it again.
    pub async fn report(&self, user: UserId, report: Report<HubId>) -> Result<(), ResolveError> {
        self.registry.call(user, || Take(report.clone()), CALL_MAX).await
    }

    /// Looks at everybody who was shown when the node last went: who does not come back in time has gone.
    pub async fn look_after_start(&self) {
        let shown = match self.store.list_shown().await {
            Ok(shown) => shown,
            Err(error) => return tracing::error!(%error, "nobody knows who was here"),
        };
        for user in shown {
            if let Err(error) = self.registry.resolve(user).await {
                tracing::warn!(%error, user.id = %user, "a presence could not be looked at");
            }
        }
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

/// What a presence is loaded with.
pub struct Seed {
    presence: Presence,
    deps: Arc<Deps>,
}

/// One user's actor.
pub struct UserPresence {
    user: UserId,
    life: Life<Self>,
    deps: Arc<Deps>,
    state: PresenceState<HubId>,
    is_showing: bool,
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
        let Seed { presence, deps } = seed;
        let Presence { status, last_seen_at, .. } = presence;
        let state = PresenceState::new(status, last_seen_at, deps.settings.grace(), clock::now());
        Self { user, life, deps, state, is_showing: false, waiting: None }
    }
}

impl Actor for UserPresence {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // What a predecessor knew is gone: the hubs tell it again.
        self.deps.directory.tell_all(&HubMessage::ReportPresence(self.user));
        // A hub may have been too busy to hear that.
        ctx.run_later(self.deps.settings.grace() / 2, |presence, _| {
            presence.deps.directory.tell_all(&HubMessage::ReportPresence(presence.user));
        });
        self.go_on(ctx);
        ctx.run_interval(IDLE_CHECK, |presence, _| {
            if presence.state.is_idle() && !presence.is_showing {
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
    /// Shows what is due, one change at a time, and waits for what is not yet.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        if self.is_showing || self.deps.is_frozen.load(Ordering::Relaxed) {
            return;
        }
        if let Some(waiting) = self.waiting.take() {
            ctx.cancel_future(waiting);
        }
        match self.state.next(clock::now()) {
            Next::Nothing => {}
            Next::Wait(wait) => self.wait(wait, ctx),
            // Whoever is not here may still be with the process before, which has not gone yet.
            Next::Show(Status::Offline)
                if self.state.status() == Status::Offline && self.deps.directory.is_shared() =>
            {
                self.wait(RETRY, ctx);
            }
            Next::Show(status) => self.show(status, ctx),
        }
    }

    fn wait(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        let waiting = ctx.run_later(wait, |presence, ctx| {
            presence.waiting = None;
            presence.go_on(ctx);
        });
        self.waiting = Some(waiting);
    }

    fn show(&mut self, status: Status, ctx: &mut Context<Self>) {
        self.is_showing = true;
        let now = clock::now();
        let last_seen_at = Some(self.state.seen_at().unwrap_or(now));
        let presence = Presence { user_id: self.user, status, last_seen_at };
        let (deps, before) = (Arc::clone(&self.deps), self.state.is_shown_as());
        let showing = async move {
            let event = clock::new_uuid().into();
            deps.store.update_presence(event, presence, before, now).await?;
            deps.tell(presence).await
        };
        ctx.spawn(showing.into_actor(self).map(move |shown, this: &mut Self, ctx| {
            this.is_showing = false;
            match shown {
                Ok(()) => {
                    this.state.shown(status, clock::now());
                    this.go_on(ctx);
                }
                Err(error) => {
                    tracing::warn!(%error, user.id = %this.user, "a presence is not shown yet");
                    this.wait(RETRY, ctx);
                }
            }
        }));
    }
}

impl Deps {
    /// Tells the hubs where somebody may see it.
    async fn tell(&self, presence: Presence) -> Result<(), crate::store::StoreError> {
        let mut rooms = self.store.list_room_sizes(presence.user_id).await?;
        rooms.retain(|(room, _)| self.directory.is_watched(Channel::Room(*room)));
        let large = self.settings.large_room_members;
        let rooms = rooms.into_iter().map(|(room, members)| (room, members > large)).collect();
        self.directory.tell_all(&HubMessage::Presence(Arc::new(News { presence, rooms })));
        Ok(())
    }
}

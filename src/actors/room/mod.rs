//! Room: the one place on this node where things happen in a room, in order.
//!
//! Commands that arrive while a batch is being committed are the next batch. Invariant: one batch in flight a room;
//! the answer follows the commit, the delivery follows the answer, and the next batch follows the delivery.

mod state;

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, ArbiterHandle, AsyncContext, Context, Handler, Message, ResponseFuture,
    WrapFuture,
};
use serde_json::json;
use tokio::sync::oneshot;

use self::state::{Pending, RoomState};
use super::hub::channel::Channel;
use super::hub::directory::{Delivery, Directory, HubId, HubMessage};
use super::hub::frame::Frame;
use super::inbox::Inboxes;
use super::kit::gate::Permit;
use super::kit::handle::{Call, CallError};
use super::kit::registry::{LoadError, Loader, Registry, ResolveError, Settings};
use super::kit::virtual_actor::{Life, VirtualActor};
use super::link::Link;
use super::link::packet::Packet;
use crate::clock;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::rooms::{
    Appended, Command, EventName, LogEvent, RoomError, RoomKind, RoomRules, Seq,
};
use crate::origin::{self, Origin};
use crate::store::room_log::{Batch, Recorded};
use crate::store::{Store, StoreError};

/// How long a caller waits for a room before the outcome counts as unknown.
const CALL_MAX: Duration = Duration::from_secs(10);
/// How long a room nobody calls keeps its place in memory.
const IDLE_MAX: Duration = Duration::from_secs(60);
const IDLE_CHECK: Duration = Duration::from_secs(30);
/// How long a typing indicator lasts unless it is renewed.
pub const TYPING_LASTS: Duration = Duration::from_secs(6);

/// The event that shows that somebody is typing.
pub const TYPING: &str = "typing_indicator";

/// Why a room did not do what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoomFailure {
    /// The rules refuse it.
    #[error(transparent)]
    Rule(#[from] RoomError),
    /// It never ran: safe to send again.
    #[error("the room is too busy: {0}")]
    NeverRan(CallError),
    /// It may have been done: send it again only with the same key.
    #[error("the outcome is unknown; repeat it with the same key")]
    Unknown,
    /// The store is too busy; nothing was done.
    #[error("the store is too busy")]
    Busy,
}

/// The front to every room of this node. Cheap to clone.
#[derive(Clone)]
pub struct Rooms {
    registry: Registry<Room>,
    directory: Directory,
}

/// What every room needs; shared by all of them.
pub struct RoomDeps {
    pub store: Store,
    pub directory: Directory,
    pub inboxes: Inboxes,
    /// The other nodes.
    pub link: Link,
    pub epoch: Arc<str>,
    /// What the installation allows.
    pub rules: RoomRules,
}

impl Rooms {
    /// Starts rooms that live on `arbiters`.
    #[must_use]
    pub fn start(arbiters: &[ArbiterHandle], deps: RoomDeps, settings: Settings) -> Self {
        let deps = Arc::new(deps);
        let directory = deps.directory.clone();
        let loader: Loader<Room> = Arc::new(move |room| {
            let deps = Arc::clone(&deps);
            Box::pin(async move {
                match deps.store.find_room_head_and_kind(room).await {
                    Ok(Some((head, kind))) => Ok(Seed { head, kind, deps }),
                    Ok(None) => Err(LoadError::NotFound),
                    Err(error) => Err(LoadError::Failed(Box::new(error))),
                }
            })
        });
        Self { registry: Registry::start(arbiters, loader, settings), directory }
    }

    /// Does one thing in a room and answers once it is durable.
    ///
    /// # Errors
    /// [`RoomFailure`], which says whether it may have been done all the same.
    pub async fn append(&self, room: RoomId, command: Command) -> Result<Appended, RoomFailure> {
        let origin = origin::current();
        let message = || Append(command.clone(), origin.clone());
        let outcome = self.registry.call(room, message, CALL_MAX).await;
        outcome.map_err(RoomFailure::from)?
    }

    /// Makes `hub` hear of everything that happens in the room from now on; the hub is sent where that begins.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] where there is no such room.
    pub async fn watch(&self, room: RoomId, hub: HubId) -> Result<(), RoomFailure> {
        // First the directory, then the room: no batch can begin between them without this hub.
        self.directory.watch(Channel::Room(room), hub);
        let announced = self.registry.call(room, || Announce(hub), CALL_MAX).await;
        announced.map_err(RoomFailure::from)?
    }

    /// Shows the room's watchers that somebody is typing; lost without harm.
    ///
    /// # Errors
    /// [`RoomFailure`] when the room cannot be reached.
    pub async fn typing(&self, room: RoomId, user: UserId) -> Result<(), RoomFailure> {
        self.registry.call(room, || Typing(user), CALL_MAX).await.map_err(RoomFailure::from)
    }

    /// Ends every room after it has finished what it accepted.
    pub async fn stop(&self) {
        self.registry.stop().await;
    }
}

impl From<ResolveError> for RoomFailure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::NotFound => Self::Rule(RoomError::NotFound),
            ResolveError::Failed => Self::Busy,
            ResolveError::Call(cause) if cause.never_ran() => Self::NeverRan(cause),
            ResolveError::Call(_) => Self::Unknown,
        }
    }
}

/// What a room is loaded with.
pub struct Seed {
    head: Seq,
    kind: RoomKind,
    deps: Arc<RoomDeps>,
}

/// One room's actor.
pub struct Room {
    id: RoomId,
    kind: RoomKind,
    life: Life<Self>,
    deps: Arc<RoomDeps>,
    state: RoomState<Answer, Newcomer>,
}

/// A hub that is to hear where the room's head is, and who waits until it has been told.
struct Newcomer {
    hub: HubId,
    told: oneshot::Sender<Result<(), RoomFailure>>,
    permit: Permit,
}

/// Who waits for a command, and the permit that counts it in until it is answered.
struct Answer {
    reply: Reply,
    permit: Permit,
    /// The request that it came with.
    origin: Origin,
}

type Reply = oneshot::Sender<Result<Appended, RoomFailure>>;

#[derive(Message)]
#[rtype(result = "Result<Appended, RoomFailure>")]
struct Append(Command, Origin);

#[derive(Message)]
#[rtype(result = "Result<(), RoomFailure>")]
struct Announce(HubId);

#[derive(Message)]
#[rtype(result = "()")]
struct Typing(UserId);

impl VirtualActor for Room {
    type Key = RoomId;
    type Seed = Seed;
    const KIND: &'static str = "room";
    const MAILBOX_MAX: u32 = 1_024;

    fn create(id: RoomId, seed: Seed, life: Life<Self>) -> Self {
        let state = RoomState::new(seed.head, clock::now());
        Self { id, kind: seed.kind, life, deps: seed.deps, state }
    }
}

impl Actor for Room {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // What a crashed predecessor committed but did not deliver shows in the head.
        let watching =
            HubMessage::Watching { channel: Channel::Room(self.id), head: self.state.head() };
        let hubs = self.deps.directory.watchers(Channel::Room(self.id));
        ctx.spawn(
            async move {
                for hub in hubs {
                    // A hub that is gone has nobody to deliver to.
                    let _ = hub.send(watching.clone()).await;
                }
            }
            .into_actor(self),
        );
        ctx.run_interval(IDLE_CHECK, |room, _| {
            if room.state.is_idle(clock::now(), IDLE_MAX) {
                room.life.passivate();
            }
        });
    }
}

impl Handler<Call<Append>> for Room {
    type Result = ResponseFuture<Result<Appended, RoomFailure>>;

    fn handle(&mut self, call: Call<Append>, ctx: &mut Self::Context) -> Self::Result {
        let (Append(command, origin), permit) = call.into_parts();
        let (reply, answer) = oneshot::channel();
        self.state.push(command, Answer { reply, permit, origin }, clock::now());
        self.commit_next(ctx);
        Box::pin(async move { answer.await.unwrap_or(Err(RoomFailure::Unknown)) })
    }
}

impl Handler<Call<Announce>> for Room {
    type Result = ResponseFuture<Result<(), RoomFailure>>;

    fn handle(&mut self, call: Call<Announce>, ctx: &mut Self::Context) -> Self::Result {
        let (Announce(hub), permit) = call.into_parts();
        let (told, is_told) = oneshot::channel();
        let newcomer = Newcomer { hub, told, permit };
        // Behind the batch in flight: its delivery may have left before this hub was in the directory.
        if let Some(newcomer) = self.state.announce(newcomer, clock::now()) {
            self.announce(newcomer, ctx);
        }
        // A room that crashes before it has told drops its promise, and the hub hears that it waits in vain.
        Box::pin(async move { is_told.await.unwrap_or(Err(RoomFailure::Unknown)) })
    }
}

impl Handler<Call<Typing>> for Room {
    type Result = ();

    fn handle(&mut self, call: Call<Typing>, ctx: &mut Self::Context) {
        let (Typing(user), permit) = call.into_parts();
        if !self.state.may_show_typing(user, clock::now()) {
            return;
        }
        if self.kind == RoomKind::Group {
            show_typing(self.id, user, &self.deps);
            return;
        }
        // Between two of whom one has blocked the other, nothing is shown.
        let (room, deps) = (self.id, Arc::clone(&self.deps));
        ctx.spawn(
            async move {
                if matches!(deps.store.is_silenced(room, user).await, Ok(false)) {
                    show_typing(room, user, &deps);
                }
                drop(permit);
            }
            .into_actor(self),
        );
    }
}

fn show_typing(room: RoomId, user: UserId, deps: &RoomDeps) {
    let channel = Channel::Room(room);
    let payload = json!({
        "event": TYPING,
        "channel": channel.to_string(),
        "from": user,
        "data": { "user_id": user, "expires_in_ms": TYPING_LASTS.as_millis() },
    });
    let frame = Frame::text(&payload.to_string());
    let packet = Packet::Ephemeral { channel, name: TYPING, frame: frame.clone() };
    deps.link.publish(&packet);
    // A full hub does without: the latest indicator wins, and none is promised.
    deps.directory.hear(channel, &HubMessage::Ephemeral { channel, name: TYPING, frame });
}

impl Room {
    /// Starts the next batch, unless one is in flight or nothing waits.
    fn commit_next(&mut self, ctx: &mut Context<Self>) {
        let Some(batch) = self.state.next_batch() else { return };
        let (room, head, deps) = (self.id, self.state.head(), Arc::clone(&self.deps));
        ctx.spawn(async move { commit(room, head, &deps, batch).await }.into_actor(self).map(
            |head, room: &mut Self, ctx| {
                for newcomer in room.state.committed(head) {
                    room.announce(newcomer, ctx);
                }
                room.commit_next(ctx);
            },
        ));
    }

    fn announce(&self, newcomer: Newcomer, ctx: &mut Context<Self>) {
        let Newcomer { hub, told, permit } = newcomer;
        let inbox = self.deps.directory.inbox(hub);
        let watching =
            HubMessage::Watching { channel: Channel::Room(self.id), head: self.state.head() };
        ctx.spawn(
            async move {
                let sent = match inbox {
                    Some(inbox) => inbox.send(watching).await.is_ok(),
                    None => false,
                };
                // The hub may have stopped waiting.
                let _ = told.send(if sent { Ok(()) } else { Err(RoomFailure::Unknown) });
                drop(permit);
            }
            .into_actor(self),
        );
    }
}

/// Commits one batch, answers its callers, then delivers it. Gives the head, as far as it is known.
async fn commit(room: RoomId, known: Seq, deps: &RoomDeps, batch: Vec<Pending<Answer>>) -> Seq {
    let mut commands = Vec::with_capacity(batch.len());
    let mut replies = Vec::with_capacity(batch.len());
    // Held until the batch is delivered: a drain waits for the delivery too.
    let mut permits = Vec::with_capacity(batch.len());
    // A batch has one outbox event, which carries the origin of the first command.
    let mut first_origin = None;
    for Pending { command, answer: Answer { reply, permit, origin } } in batch {
        first_origin.get_or_insert(origin);
        commands.push(command);
        replies.push(reply);
        permits.push(permit);
    }
    let outbox_ids = [clock::new_uuid().into(), clock::new_uuid().into()];
    let users: Vec<UserId> = commands.iter().filter_map(Command::member).collect();
    let now = clock::now();
    let append = deps.store.append_to_room(room, commands, deps.rules, outbox_ids, now);
    let stored = origin::scope(first_origin.unwrap_or_default(), append).await;
    let head = match stored {
        Ok(Some(results)) => answer_and_deliver(room, known, deps, replies, results).await,
        Ok(None) => {
            answer_all(replies, RoomFailure::Rule(RoomError::NotFound));
            known
        }
        Err(StoreError::Busy) => {
            answer_all(replies, RoomFailure::Busy);
            known
        }
        Err(error) => {
            tracing::error!(%error, room.id = %room, "a batch was not stored, or nobody knows");
            answer_all(replies, RoomFailure::Unknown);
            let head = deps.store.find_room_head(room).await.ok().flatten().unwrap_or(known);
            tell_of_hole(room, known, head, deps).await;
            deps.inboxes.look_again(users).await;
            head
        }
    };
    drop(permits);
    head.max(known)
}

async fn answer_and_deliver(
    room: RoomId,
    known: Seq,
    deps: &RoomDeps,
    replies: Vec<Reply>,
    Batch { results, inbox }: Batch,
) -> Seq {
    let mut events: Vec<LogEvent> = Vec::with_capacity(results.len());
    let mut head = known;
    for (reply, result) in replies.into_iter().zip(results) {
        let answer = match result {
            Ok(Recorded { appended, event }) => {
                head = head.max(appended.seq.unwrap_or(known));
                events.extend(event);
                Ok(appended)
            }
            Err(refusal) => Err(RoomFailure::Rule(refusal)),
        };
        // A caller that stopped waiting will ask again with its key.
        let _ = reply.send(answer);
    }
    let sent = events.iter().filter(|event| event.name == EventName::MessageSent).count();
    for (name, count) in
        [("madang_room_events_total", events.len()), ("madang_messages_total", sent)]
    {
        metrics::counter!(name).increment(u64::try_from(count).unwrap_or(u64::MAX));
    }
    let delivered = events.last().map_or(known, |event| event.seq);
    let hubs =
        if events.is_empty() { Vec::new() } else { deps.directory.watchers(Channel::Room(room)) };
    if !events.is_empty() && (!hubs.is_empty() || !deps.link.is_alone()) {
        let delivery = Delivery::of_room(room, &events, &deps.epoch);
        // It only queues: the nodes that are further away hear of it no later than those that are full.
        if !deps.link.is_alone() {
            deps.link.publish(&Packet::of(&delivery));
        }
        for hub in hubs {
            // Waits for a hub that is full, and with it the room's next batch: bounded all the way back.
            let _ = hub.send(HubMessage::Deliver(delivery.clone())).await;
        }
    }
    deps.inboxes.deliver(&inbox).await;
    tell_of_hole(room, delivered, head, deps).await;
    head
}

/// A repeat was answered with a number beyond what was delivered, or a commit came to nothing but the message is
/// there: the hubs read for themselves what they were not given.
async fn tell_of_hole(room: RoomId, delivered: Seq, head: Seq, deps: &RoomDeps) {
    if head <= delivered {
        return;
    }
    deps.link.publish(&Packet::Head { channel: Channel::Room(room), head });
    for hub in deps.directory.watchers(Channel::Room(room)) {
        // A hub that is gone has nobody to deliver to.
        let _ = hub.send(HubMessage::Watching { channel: Channel::Room(room), head }).await;
    }
}

fn answer_all(replies: Vec<Reply>, failure: RoomFailure) {
    for reply in replies {
        let _ = reply.send(Err(failure));
    }
}

//! Link: the wire to the other nodes. What a node has committed is published here, and what others publish is handed
//! to the hubs that watch.
//!
//! It promises nothing: the database orders, `seq` proves, and what is lost on the way is found in the store
//! (`docs/decisions/0014`). Invariant: nobody waits for it longer than a moment, and while it is down it says so. It
//! tries for ever and never escalates. In one process there is none: [`Link::alone`] has the same surface.

mod line;
pub mod packet;
mod state;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use rand::Rng;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::line::{LineError, nodes_channel, nodes_partition};
use self::packet::Packet;
use self::state::{LinkState, partition, redis_name};
use super::hub::channel::Channel;
use super::hub::directory::{Directory, HubMessage};
use crate::domain::ids::{NodeId, SessionId, UserId};
use crate::providers::redis::partition::{PARTITIONS, Partition};
use crate::providers::redis::topology::{Server, Topology};
use crate::providers::redis::{Redis, RedisError};

/// How long a new watcher waits for its channel to be heard.
const WATCH_MAX: Duration = Duration::from_millis(250);
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(3);
/// A line that has lasted so long begins its retries anew.
const LASTING: Duration = Duration::from_secs(10);
const ASK_MAX: Duration = Duration::from_secs(6);
const EXPIRE_INTERVAL: Duration = Duration::from_secs(5);

/// Something to be published, and the channel in Redis.
type Outgoing = (String, Bytes);

/// Whose logins are over, as another node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Session(SessionId),
    User(UserId),
}

/// Told what others have ended; must not wait.
pub type OnEnded = Arc<dyn Fn(Ended) + Send + Sync>;

/// How the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkStatus {
    /// There are no other nodes.
    Alone,
    Up,
    /// The other nodes, or some of them, are not heard for now.
    Down,
}

/// The way to the other nodes. Cheap to clone.
#[derive(Clone)]
pub struct Link(Option<Arc<Inner>>);

struct Inner {
    node: NodeId,
    /// The mark of the database: whoever works on another one is not listened to.
    database: Arc<str>,
    directory: Directory,
    redis: Redis,
    on_ended: OnEnded,
    state: Mutex<LinkState>,
    /// Sent when there is work for a line.
    work: watch::Sender<()>,
    /// By partition: the line that publishes.
    routes: RwLock<Vec<Option<mpsc::Sender<Outgoing>>>>,
    /// By partition: whether everything that is wanted is heard.
    up: Mutex<Vec<bool>>,
    status: watch::Sender<LinkStatus>,
    epoch: AtomicU64,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Link {
    /// The link of a process that has no other nodes.
    #[must_use]
    pub const fn alone() -> Self {
        Self(None)
    }

    /// Links `node` with the others on the same `database`, over whatever Redis `topology` finds; tries for ever.
    #[must_use]
    pub fn start(
        io: &Handle,
        (node, database): (NodeId, Arc<str>),
        topology: Topology,
        redis: Redis,
        directory: Directory,
        on_ended: OnEnded,
    ) -> Self {
        let partitions = usize::from(PARTITIONS);
        directory.set_linked(false);
        let inner = Arc::new(Inner {
            node,
            database,
            directory,
            redis,
            on_ended,
            state: Mutex::default(),
            work: watch::Sender::new(()),
            routes: RwLock::new(vec![None; partitions]),
            up: Mutex::new(vec![false; partitions]),
            status: watch::Sender::new(LinkStatus::Down),
            epoch: AtomicU64::new(0),
            keeper: Mutex::default(),
        });
        let keeper = io.spawn(keep(Arc::clone(&inner), topology));
        *lock(&inner.keeper) = Some(keeper);
        Self(Some(inner))
    }

    /// Whether there are no other nodes.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.0.is_none()
    }

    /// How the link is now.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        self.0.as_ref().map_or(LinkStatus::Alone, |inner| *inner.status.borrow())
    }

    /// Hears how the link is from now on; `None` where there are no other nodes.
    #[must_use]
    pub fn follow(&self) -> Option<watch::Receiver<LinkStatus>> {
        self.0.as_ref().map(|inner| inner.status.subscribe())
    }

    /// Hears what others publish in a channel. Comes back when that is certain, or after a moment: what is said
    /// meanwhile is found by looking.
    pub async fn watch(&self, channel: Channel) {
        let Some(inner) = &self.0 else { return };
        let waiting = inner.state().want(channel);
        inner.work.send_replace(());
        if let Some(waiting) = waiting {
            // Neither a line that ends nor the time that passes is a reason not to go on.
            let _ = tokio::time::timeout(WATCH_MAX, waiting).await;
        }
    }

    /// Nobody on this node watches the channel any more, as it seems.
    pub fn unwatch(&self, channel: Channel) {
        if let Some(inner) = &self.0 {
            inner.state().leave(channel, Instant::now());
        }
    }

    /// Tells the other nodes; lost while the link is down or too much waits already.
    pub fn publish(&self, packet: &Packet) {
        let Some(inner) = &self.0 else { return };
        let (partition, name) = match packet {
            Packet::Events(delivery) => (partition(delivery.channel), redis_name(delivery.channel)),
            Packet::Head { channel, .. } | Packet::Ephemeral { channel, .. } => {
                (partition(*channel), redis_name(*channel))
            }
            Packet::News(_) | Packet::SessionEnded(_) | Packet::UserEnded(_) | Packet::Probe(_) => {
                (nodes_partition(), nodes_channel())
            }
        };
        let route = inner.routes().get(partition.index()).cloned().flatten();
        let is_queued = route.is_some_and(|route| {
            route.try_send((name, packet.encode(inner.node, &inner.database))).is_ok()
        });
        if !is_queued {
            metrics::counter!("madang_link_dropped_total").increment(1);
        }
    }

    /// Ends the link.
    pub fn stop(&self) {
        let Some(inner) = &self.0 else { return };
        if let Some(keeper) = lock(&inner.keeper).take() {
            keeper.abort();
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, LinkState> {
        lock(&self.state)
    }

    fn routes(&self) -> std::sync::RwLockReadGuard<'_, Vec<Option<mpsc::Sender<Outgoing>>>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_routes(&self, partitions: &[Partition], route: Option<&mpsc::Sender<Outgoing>>) {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        for partition in partitions {
            if let Some(known) = routes.get_mut(partition.index()) {
                *known = route.cloned();
            }
        }
    }

    /// Hands a packet to whom it concerns; gives the number of a probe of this node's own.
    fn hear(&self, payload: Bytes) -> Option<u64> {
        let Some((node, packet)) = Packet::decode(payload, &self.database) else {
            metrics::counter!("madang_link_not_understood_total").increment(1);
            return None;
        };
        if node == self.node {
            return if let Packet::Probe(number) = packet { Some(number) } else { None };
        }
        metrics::counter!("madang_link_heard_total").increment(1);
        match packet {
            Packet::Events(delivery) => {
                self.directory.hear(delivery.channel, &HubMessage::Deliver(delivery));
            }
            Packet::Head { channel, head } => {
                self.directory.hear(channel, &HubMessage::HeadElsewhere { channel, head });
            }
            Packet::Ephemeral { channel, name, frame } => {
                self.directory.hear(channel, &HubMessage::Ephemeral { channel, name, frame });
            }
            Packet::News(news) => self.directory.tell_all(&HubMessage::Presence(news.into())),
            Packet::SessionEnded(session) => (self.on_ended)(Ended::Session(session)),
            Packet::UserEnded(user) => (self.on_ended)(Ended::User(user)),
            Packet::Probe(_) => {}
        }
        None
    }

    /// Leaves the channels that nobody has watched for a while.
    fn expire(&self) {
        if self.state().expire(Instant::now(), |channel| self.directory.is_watched(channel)) {
            self.work.send_replace(());
        }
    }

    /// Whether a name in Redis is one that every node listens to.
    fn is_own(&self, name: &str) -> bool {
        name == nodes_channel() || name.ends_with(&format!(":node:{}", self.node))
    }

    /// Whether a channel of this name in Redis is wanted.
    fn wants(&self, name: &str) -> bool {
        let Some((_, name)) = name.split_once("}:") else { return false };
        let channel = match name.split_once(':') {
            Some(("room", room)) => room.parse().ok().map(Channel::Room),
            Some(("me", user)) => user.parse().ok().map(Channel::Me),
            _ => None,
        };
        channel.is_some_and(|channel| self.state().is_wanted_and_heard(channel))
    }

    /// Everything that is wanted of these partitions is heard again.
    fn line_is_up(self: &Arc<Self>, partitions: &[Partition]) {
        self.note(partitions, true);
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let directory = self.directory.clone();
        tokio::spawn(async move { directory.tell_all_surely(&HubMessage::LinkUp { epoch }).await });
    }

    fn line_is_down(&self, partitions: &[Partition]) {
        self.note(partitions, false);
    }

    fn note(&self, partitions: &[Partition], is_up: bool) {
        let mut up = lock(&self.up);
        for partition in partitions {
            if let Some(known) = up.get_mut(partition.index()) {
                *known = is_up;
            }
        }
        let is_whole = up.iter().all(|is_up| *is_up);
        self.directory.set_linked(is_whole);
        metrics::gauge!("madang_link_up").set(f64::from(u8::from(is_whole)));
        let status = if is_whole { LinkStatus::Up } else { LinkStatus::Down };
        let has_changed = self.status.send_if_modified(|known| {
            let has_changed = *known != status;
            *known = status;
            has_changed
        });
        drop(up);
        if has_changed && !is_whole {
            tracing::warn!(
                "degraded: other nodes are not heard, the database is looked at instead"
            );
        }
    }
}

/// Begins again whatever happens, a panic included.
async fn keep(link: Arc<Inner>, topology: Topology) {
    loop {
        let life = AssertUnwindSafe(supervise(Arc::clone(&link), &topology)).catch_unwind().await;
        if life.is_err() {
            tracing::error!("the link has panicked and begins anew");
        }
        tokio::time::sleep(RETRY_MAX).await;
    }
}

/// Keeps a line to each server.
async fn supervise(link: Arc<Inner>, topology: &Topology) {
    let mut lines = Lines::default();
    let mut retry = RETRY_MIN;
    let mut expiring = tokio::time::interval(EXPIRE_INTERVAL);
    loop {
        let asked_at = Instant::now();
        if let Err(error) = lines.adjust(&link, topology).await {
            tracing::warn!(%error, "nobody says where Redis is");
        } else {
            while lines.are_complete() {
                tokio::select! {
                    ended = lines.next_end() => {
                        if let Some((address, error)) = ended {
                            tracing::warn!(redis.address = address, %error, "a line has ended");
                        }
                    }
                    () = link.redis.has_moved() => break,
                    _ = expiring.tick() => link.expire(),
                }
            }
        }
        link.expire();
        retry = if asked_at.elapsed() > LASTING { RETRY_MIN } else { (retry * 2).min(RETRY_MAX) };
        let wait = retry.mul_f64(rand::rng().random_range(0.5..1.0));
        tokio::time::sleep(wait).await;
    }
}

/// The lines that run, by the address of their server.
#[derive(Default)]
struct Lines {
    tasks: JoinSet<(String, LineError)>,
    servers: HashMap<String, (tokio::task::AbortHandle, Vec<Partition>)>,
    wanted: usize,
}

impl Lines {
    /// Asks where the servers are; ends the lines of others, and begins those that are missing.
    async fn adjust(&mut self, link: &Arc<Inner>, topology: &Topology) -> Result<(), RedisError> {
        let asked = tokio::time::timeout(ASK_MAX, topology.servers()).await;
        let servers = asked.map_err(|_| RedisError::TimedOut)??;
        let is_current = |address: &String, partitions: &Vec<Partition>| {
            servers
                .iter()
                .any(|server| server.address() == *address && server.partitions == *partitions)
        };
        let outdated: Vec<String> = self
            .servers
            .iter()
            .filter(|(address, (_, partitions))| !is_current(address, partitions))
            .map(|(address, _)| address.clone())
            .collect();
        // The old line of a partition has let go of it before the new one begins.
        for address in outdated {
            if let Some((task, _)) = self.servers.remove(&address) {
                task.abort();
            }
        }
        while self.tasks.len() > self.servers.len() {
            self.next_end().await;
        }
        self.wanted = servers.len();
        for server in servers {
            self.begin(server, link);
        }
        Ok(())
    }

    fn begin(&mut self, server: Server, link: &Arc<Inner>) {
        let address = server.address();
        if self.servers.contains_key(&address) {
            return;
        }
        let partitions = server.partitions.clone();
        let (named, link) = (address.clone(), Arc::clone(link));
        let task = self.tasks.spawn(async move { (named, line::run(server, link).await) });
        self.servers.insert(address, (task, partitions));
    }

    fn are_complete(&self) -> bool {
        !self.servers.is_empty() && self.servers.len() == self.wanted
    }

    /// Waits for a line to end; gives whose and why, if it ended by itself.
    async fn next_end(&mut self) -> Option<(String, LineError)> {
        let ended = self.tasks.join_next().await?;
        match ended {
            Ok((address, error)) => {
                self.servers.remove(&address);
                Some((address, error))
            }
            Err(failed) => {
                // Aborted, or a panic: then nobody knows whose it was, and every line is looked at.
                if failed.is_panic() {
                    self.tasks.abort_all();
                    self.servers.clear();
                }
                None
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding it; if something did, what it guards is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

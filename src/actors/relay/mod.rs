//! Relay: carries the outbox to its subscribers.
//!
//! Each subscriber has its own cursor, so that a slow one holds up nobody. A subscriber of the whole cluster is carried to
//! by one node at a time, which holds its lease; one of a single node has a cursor and events of its own on each.
//! Invariant: a stored cursor never lies ahead of what its subscriber took, hence every event is taken at least once and,
//! by a subscriber, in order.

pub mod bus;
mod carrier;
pub mod figures;
#[cfg(test)]
mod tests;
pub mod webhooks;
#[cfg(test)]
mod webhooks_tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::watch;

use self::carrier::Carrier;
use super::kit::permanent::OnEscalate;
use super::kit::vital::spawn_vital;
use super::nodes::Nodes;
use crate::clock;
use crate::store::relay::{OutboxBeginning, OutboxEvent};
use crate::store::{Store, StoreError};

/// Events that everybody has read are kept this long, for those who look into a mishap; and so is the cursor of a node
/// that is not heard of.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
const CLEARED_MAX: u64 = 1_000;

/// Takes domain events. Must bear repeats: drop those whose `id` it has seen.
#[async_trait]
pub trait Subscriber: Send + Sync + 'static {
    /// The name of its cursor; never changes, and has no `@`.
    fn name(&self) -> &'static str;

    /// Who is meant by it.
    fn scope(&self) -> Scope {
        Scope::Cluster
    }

    /// Where it begins when it is new. Whoever tells people or other systems begins now: an installation that learns to
    /// tell does not tell of yesterday.
    fn beginning(&self) -> OutboxBeginning {
        OutboxBeginning::Oldest
    }

    /// How soon after its commit an event is carried.
    fn pace(&self) -> Pace {
        Pace::Calm
    }

    /// Takes a page of events, in order.
    ///
    /// # Errors
    /// A sentence for the log; the page is offered again.
    async fn take(&self, events: &[OutboxEvent]) -> Result<(), String>;
}

/// How often an event is carried to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Once, to whichever node.
    Cluster,
    /// Once to each node: what it is for lies there.
    Node,
}

/// How soon after its commit an event is carried to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Within half a second or so, many together.
    Calm,
    /// At once where this node committed it, and soon where another did: somebody waits.
    Prompt,
}

/// The running relay; dropping it stops nothing, [`Relay::stop`] does.
pub struct Relay {
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Relay {
    /// Starts one task a subscriber on the shared I/O runtime.
    ///
    /// # Errors
    /// [`StoreError`] when a new subscriber cannot be given its cursor.
    pub async fn start(
        io: &Handle,
        store: &Store,
        nodes: &Nodes,
        node_name: &str,
        subscribers: Vec<Arc<dyn Subscriber>>,
        on_escalate: OnEscalate,
    ) -> Result<Self, StoreError> {
        if store.rebase_outbox().await? {
            tracing::warn!("the outbox comes from another server; its order was written anew");
        }
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::with_capacity(subscribers.len());
        for subscriber in subscribers {
            let carrier = Carrier::new(store, nodes, node_name, subscriber).await?;
            let carrying = carrier.carry(stopped.clone());
            tasks.push(spawn_vital(io, "relay", Arc::clone(&on_escalate), carrying));
        }
        Ok(Self { stop, tasks })
    }

    /// Stops between two pages.
    pub async fn stop(self) {
        // Nobody listening means every task has ended already.
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// Clears what everybody has read, and the cursors of nodes that have gone for good.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn clear(store: &Store) -> Result<(), StoreError> {
    let before = clock::now().minus(KEEP);
    store.delete_stale_outbox_cursors(before).await?;
    while store.delete_read_outbox(before, CLEARED_MAX).await? >= CLEARED_MAX {}
    Ok(())
}

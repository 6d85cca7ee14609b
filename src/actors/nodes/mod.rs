//! Nodes: this node's place among those that serve the database, and what becomes of the ones that have died.
//!
//! On PostgreSQL a node renews its lease, so that its death is noticed by whoever lives; on SQLite there is one process,
//! and at most one that takes over from it, and both know that without a lease. Invariant: a node declares others dead
//! only after it could renew its own lease all the time in which they could have renewed theirs.

pub mod living;
mod patience;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::living::LivingNodes;
use self::patience::Patience;
use super::hub::directory::HubMessage;
use super::kit::permanent::OnEscalate;
use super::kit::vital::spawn_vital;
use super::presence::Herald;
use crate::clock;
use crate::domain::ids::NodeId;
use crate::store::nodes::Node;
use crate::store::{Store, StoreError};

/// How long a node that is not heard of counts as alive.
pub const LEASE: Duration = Duration::from_secs(10);
const RENEW_INTERVAL: Duration = Duration::from_secs(3);
const RENEW_MAX: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(500);
/// Users of a dead node whose presence is corrected in one transaction.
const CORRECTED_MAX: i64 = 500;

/// This node and the others. Cheap to clone.
#[derive(Clone)]
pub struct Nodes(Arc<Inner>);

struct Inner {
    store: Store,
    name: String,
    key_id: String,
    living: LivingNodes,
    /// Whether there were others at the last renewal.
    was_beside: AtomicBool,
    keepers: Mutex<Vec<JoinHandle<()>>>,
}

impl Nodes {
    /// Takes a place among the nodes, under the name and the key that others will see.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn join(store: &Store, name: &str, key_id: &str) -> Result<Self, StoreError> {
        let me = NodeId::from(clock::new_uuid());
        let node = Node { id: me, name: name.to_owned(), key_id: key_id.to_owned() };
        let lease = store.is_networked().then_some(LEASE);
        store.insert_node(node, lease, clock::now()).await?;
        Ok(Self(Arc::new(Inner {
            store: store.clone(),
            name: name.to_owned(),
            key_id: key_id.to_owned(),
            living: LivingNodes::alone(me),
            was_beside: AtomicBool::new(true),
            keepers: Mutex::default(),
        })))
    }

    /// The name of this node's life. Another one once it was declared dead.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.0.living.me()
    }

    /// The nodes that live, as far as this one knows.
    #[must_use]
    pub fn all(&self) -> LivingNodes {
        self.0.living.clone()
    }

    fn know(&self, me: NodeId, living: &[Node]) {
        let others = living.iter().map(|node| node.id).filter(|id| *id != me);
        let ids: Vec<NodeId> = std::iter::once(me).chain(others).collect();
        self.0.living.set(me, ids);
    }

    /// From now on the lease is renewed, and what dead nodes have left is cleared away.
    pub fn keep(&self, io: &Handle, herald: Herald, on_escalate: OnEscalate) {
        if !self.0.store.is_networked() {
            return;
        }
        // Apart from each other: clearing away may take longer than a lease lasts.
        let (due, is_due) = mpsc::channel(1);
        let renewing = keep(self.clone(), herald.clone(), due);
        let keepers = [
            spawn_vital(io, "nodes", Arc::clone(&on_escalate), renewing),
            spawn_vital(io, "dead nodes", on_escalate, clear_away(self.clone(), herald, is_due)),
        ];
        self.keepers().extend(keepers);
    }

    fn keepers(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.0.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process knows that no other serves the database: whatever node is left counts as dead in `grace`, and what
    /// they knew is corrected then.
    pub async fn outlive_others(&self, herald: &Herald, grace: Duration) {
        if self.0.store.is_networked() {
            return;
        }
        while let Err(error) = self.0.store.end_earlier_node_leases(self.me(), grace).await {
            tracing::warn!(%error, "nobody knows yet which nodes have gone");
            tokio::time::sleep(RETRY).await;
        }
        tokio::time::sleep(grace.saturating_add(RETRY)).await;
        while !(self.correct(herald).await && self.correct_strays(herald).await) {
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The node goes: in `grace`, whoever it knew has gone with it, unless another node knows them.
    pub async fn leave(&self, grace: Duration) {
        for keeper in self.keepers().drain(..) {
            keeper.abort();
        }
        if let Err(error) = self.0.store.end_node_lease(self.me(), grace).await {
            tracing::warn!(%error, "the others find out by themselves that this node has gone");
        }
    }

    /// Renews the lease, or takes a new place where this node was declared dead; false when neither could be done.
    async fn renew(&self, herald: &Herald) -> bool {
        let renewed =
            tokio::time::timeout(RENEW_MAX, self.0.store.update_node_lease(self.me(), LEASE)).await;
        match renewed {
            Ok(Ok((living, was_over))) => {
                self.know(self.me(), &living);
                // Once more after the last one has gone: it may have committed as its last deed.
                let is_beside = living.len() > 1;
                let was_beside = self.0.was_beside.swap(is_beside, Ordering::Relaxed);
                herald.directory().set_beside_others(is_beside || was_beside);
                if was_over {
                    // Beside the renewals, which must not wait for it.
                    let (nodes, herald) = (self.clone(), herald.clone());
                    tokio::spawn(async move { nodes.merge_again(&herald).await });
                }
                let count = u32::try_from(living.len()).unwrap_or(u32::MAX);
                metrics::gauge!("madang_nodes_living").set(f64::from(count));
                let nodes = self.clone();
                tokio::spawn(async move { nodes.compare_clocks().await });
                true
            }
            Ok(Err(StoreError::LeaseLost)) => {
                tracing::warn!("this node was declared dead, and comes back as another");
                self.come_back(herald).await
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease of this node is not renewed");
                false
            }
            Err(_) => {
                tracing::warn!(
                    "the database does not answer in time to renew the lease of this node"
                );
                false
            }
        }
    }

    /// Says by how much the clock of this node is ahead of the database's: what is due is due by the nodes' clocks.
    async fn compare_clocks(&self) {
        let before = clock::now().millis();
        let asked = tokio::time::timeout(RENEW_MAX, self.0.store.find_database_time()).await;
        // Without an answer the last figure stands; that the database does not answer is told elsewhere.
        let Ok(Ok(there)) = asked else { return };
        let between = before.midpoint(clock::now().millis());
        let skew_ms = between.saturating_sub(there.millis());
        let skew_ms = i32::try_from(skew_ms).unwrap_or(i32::MAX);
        metrics::gauge!("madang_clock_skew_ms").set(f64::from(skew_ms));
    }

    async fn come_back(&self, herald: &Herald) -> bool {
        let id = NodeId::from(clock::new_uuid());
        let node = Node { id, name: self.0.name.clone(), key_id: self.0.key_id.clone() };
        let joining = self.0.store.insert_node(node, Some(LEASE), clock::now());
        match tokio::time::timeout(RENEW_MAX, joining).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "this node has no place yet");
                return false;
            }
            Err(_) => {
                tracing::warn!("the database does not answer in time to give this node a place");
                return false;
            }
        }
        let others = self.0.living.ids();
        let others = others.iter().copied().filter(|known| *known != self.me());
        let ids: Vec<NodeId> = std::iter::once(id).chain(others).collect();
        self.0.living.set(id, ids);
        herald.directory().tell_all_surely(&HubMessage::ReportAllPresences).await;
        true
    }

    /// The lease was over for a while: whoever moved meanwhile was shown as if this node knew nothing.
    async fn merge_again(&self, herald: &Herald) {
        let (me, mut after) = (self.me(), None);
        loop {
            let merging =
                self.0.store.merge_node_presences(me, after, CORRECTED_MAX, clock::now()).await;
            match merging {
                Ok((changed, Some(last))) => {
                    herald.tell(&changed).await;
                    after = Some(last);
                }
                Ok((_, None)) => return,
                Err(error) => {
                    return tracing::warn!(%error, "who is here may be shown as elsewhere only");
                }
            }
        }
    }

    /// Clears away what dead nodes have left, and shows users as the living know them; false when there is more to do.
    async fn correct(&self, herald: &Herald) -> bool {
        let corrected = self.try_to_correct(herald).await;
        if let Err(error) = &corrected {
            tracing::warn!(%error, "what dead nodes knew is not cleared away yet");
        }
        corrected.is_ok()
    }

    async fn try_to_correct(&self, herald: &Herald) -> Result<(), StoreError> {
        let store = &self.0.store;
        for dead in store.list_dead_nodes(self.me()).await? {
            tracing::info!(node.id = %dead.id, node.name = dead.name, "clears away what a dead node knew");
            loop {
                let (changed, has_more) =
                    store.delete_dead_presences(dead.id, CORRECTED_MAX, clock::now()).await?;
                herald.tell(&changed).await;
                if !has_more {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Corrects how users are shown whom a release showed that noted nothing of its own; false when there is more to do.
    pub async fn correct_strays(&self, herald: &Herald) -> bool {
        loop {
            match self.0.store.update_stray_presences(CORRECTED_MAX, clock::now()).await {
                Ok(changed) if changed.is_empty() => return true,
                Ok(changed) => herald.tell(&changed).await,
                Err(error) => {
                    tracing::warn!(%error, "whoever is shown by nobody stays shown");
                    return false;
                }
            }
        }
    }
}

/// Renews the lease; says on `due` that others may be declared dead.
async fn keep(nodes: Nodes, herald: Herald, due: mpsc::Sender<Instant>) {
    let mut patience = Patience::new(LEASE, Instant::now());
    let mut ticks = tokio::time::interval(RENEW_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !nodes.renew(&herald).await {
            metrics::counter!("madang_node_lease_failures_total").increment(1);
            patience.missed();
            ticks.reset_after(RETRY);
        } else if patience.renewed(Instant::now()) {
            // One that is still at it looks again the next time.
            let _ = due.try_send(Instant::now());
        }
    }
}

async fn clear_away(nodes: Nodes, herald: Herald, mut is_due: mpsc::Receiver<Instant>) {
    while let Some(since) = is_due.recv().await {
        // What was true a while ago may be no more: others may not have been able to renew since.
        if since.elapsed() < RENEW_INTERVAL {
            nodes.correct(&herald).await;
        }
    }
}

//! Living nodes: which nodes of the cluster are there, as this one knows it.
//!
//! Whoever keeps the leases of the nodes sets them; whoever counts something by node reads them.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::domain::ids::NodeId;

/// The nodes that live. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct LivingNodes {
    me: Arc<watch::Sender<NodeId>>,
    ids: Arc<RwLock<Arc<[NodeId]>>>,
}

impl LivingNodes {
    /// This node, which is the only one until [`Self::set`] says otherwise.
    #[must_use]
    pub fn alone(me: NodeId) -> Self {
        Self { me: Arc::new(watch::Sender::new(me)), ids: Arc::new(RwLock::new(Arc::from([me]))) }
    }

    /// The id of this node; another one once it was declared dead.
    #[must_use]
    pub fn me(&self) -> NodeId {
        *self.me.borrow()
    }

    /// Hears when this node is another.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<NodeId> {
        self.me.subscribe()
    }

    /// The ids of all that live.
    #[must_use]
    pub fn ids(&self) -> Arc<[NodeId]> {
        Arc::clone(&self.ids.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// These live, and no others; `me` is this one.
    pub fn set(&self, me: NodeId, ids: impl Into<Arc<[NodeId]>>) {
        *self.ids.write().unwrap_or_else(PoisonError::into_inner) = ids.into();
        self.me.send_if_modified(|known| std::mem::replace(known, me) != me);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_one_clone_is_told_all_know() {
        let [me, other] = [1, 2].map(|n| NodeId::from(Uuid::from_u128(n)));
        let nodes = LivingNodes::alone(me);
        let clone = nodes.clone();
        assert_eq!(*clone.ids(), [me]);

        nodes.set(me, [me, other]);

        assert_eq!((clone.me(), &*clone.ids()), (me, [me, other].as_slice()));
    }
}

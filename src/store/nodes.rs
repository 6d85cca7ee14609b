//! Nodes: the processes that serve this database, each alive until its lease is over and another declares it dead.
//!
//! Time is the database's own, so that nodes need not agree about it. Invariant: what a node writes under its name, it
//! writes in a transaction in which it cannot be declared dead; and whoever was, comes back only as another.

use std::time::Duration;

use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::domain::ids::NodeId;
use crate::domain::time::Timestamp;

/// Of this release.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A node that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    /// `node.name`.
    pub name: String,
    /// The key that signs its access tokens.
    pub key_id: String,
}

/// A node as somebody sees it who looks after the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenNode {
    pub id: NodeId,
    pub name: String,
    /// Of the release; `None` of one that does not say.
    pub version: Option<String>,
    pub state: NodeState,
    pub started_at: Timestamp,
    /// `None` where it needs none.
    pub lease_until: Option<Timestamp>,
}

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    Serving,
    /// It has said that it goes.
    Leaving,
    /// Its lease is over, and nobody has noticed yet.
    Silent,
    Dead,
}

#[derive(sqlx::FromRow)]
struct SeenRow {
    id: Uuid,
    name: String,
    version: Option<String>,
    started_at: i64,
    lease_until: i64,
    is_leased: bool,
    has_left: bool,
    is_dead: bool,
}

#[derive(sqlx::FromRow)]
struct NodeRow {
    id: Uuid,
    name: String,
    key_id: String,
}

impl Store {
    /// A node begins to serve, for `lease` unless it renews that; for as long as nobody says otherwise, if `None`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn insert_node(
        &self,
        node: Node,
        lease: Option<Duration>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let lease_ms = lease.map(millis);
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                let insert = db.dialect(
                    "INSERT INTO nodes (id, name, key_id, started_at, version, has_left, is_dead,
                                        lease_until)
                     VALUES ($1, $2, $3, $4, $6, FALSE, FALSE, coalesce(
                         CAST(unixepoch('subsec') * 1000 AS INTEGER) + $5, 9223372036854775807))",
                    "INSERT INTO nodes (id, name, key_id, started_at, version, has_left, is_dead,
                                        lease_until)
                     VALUES ($1, $2, $3, $4, $6, FALSE, FALSE, coalesce(
                         (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $5,
                         9223372036854775807))",
                );
                let Node { id, name, key_id } = node;
                execute!(db, insert, id.uuid(), name, key_id, now.millis(), lease_ms, VERSION)
            })
        })
        .await
        .map(|_| ())
    }

    /// Renews a node's lease to `lease` from now, also when it is over but nobody has noticed; gives every node that
    /// lives, and whether it was over: then what the node knew may have counted for nothing.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when the node was declared dead: it has to come back as another.
    pub async fn update_node_lease(
        &self,
        node: NodeId,
        lease: Duration,
    ) -> Result<(Vec<Node>, bool), StoreError> {
        let (rows, was_over): (Vec<NodeRow>, bool) = self
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let ask = db.dialect(
                        "SELECT lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
                         FROM nodes
                         WHERE id = $1 AND NOT is_dead",
                        "SELECT lease_until <=
                             (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                         FROM nodes
                         WHERE id = $1 AND NOT is_dead
                         FOR NO KEY UPDATE",
                    );
                    let was_over = fetch_optional!(db, (bool,), ask, node.uuid())?;
                    let Some((was_over,)) = was_over else { return Err(StoreError::LeaseLost) };
                    let update = db.dialect(
                        "UPDATE nodes
                         SET lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $2
                         WHERE id = $1",
                        "UPDATE nodes
                         SET lease_until =
                             (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $2
                         WHERE id = $1",
                    );
                    execute!(db, update, node.uuid(), millis(lease))?;
                    Ok((living(db).await?, was_over))
                })
            })
            .await?;
        Ok((rows.into_iter().map(NodeRow::into_node).collect(), was_over))
    }

    /// What time it is at the database.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_database_time(&self) -> Result<Timestamp, StoreError> {
        let (now,) = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)",
                        "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
                    );
                    fetch_one!(db, (i64,), select)
                })
            })
            .await?;
        Ok(Timestamp::from_millis(now))
    }

    /// Every node that lives.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_living_nodes(&self) -> Result<Vec<Node>, StoreError> {
        let rows: Vec<NodeRow> = self.read(|db| Box::pin(async move { living(db).await })).await?;
        Ok(rows.into_iter().map(NodeRow::into_node).collect())
    }

    /// Every node there is, the last started first; a hundred at most.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_nodes(&self) -> Result<Vec<SeenNode>, StoreError> {
        let rows: Vec<SeenRow> = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT id, name, version, started_at, lease_until, has_left, is_dead,
                                lease_until > CAST(unixepoch('subsec') * 1000 AS INTEGER)
                                    AS is_leased
                         FROM nodes
                         ORDER BY id DESC
                         LIMIT 100",
                        "SELECT id, name, version, started_at, lease_until, has_left, is_dead,
                                lease_until > (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                                    AS is_leased
                         FROM nodes
                         ORDER BY id DESC
                         LIMIT 100",
                    );
                    fetch_all!(db, SeenRow, select)
                })
            })
            .await?;
        Ok(rows.into_iter().map(SeenRow::into_seen).collect())
    }

    /// A node has gone: it is none of the living any more, and in `wait` it counts as dead.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn end_node_lease(&self, node: NodeId, wait: Duration) -> Result<(), StoreError> {
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                let update = db.dialect(
                    "UPDATE nodes
                     SET has_left = TRUE,
                         lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $2
                     WHERE id = $1",
                    "UPDATE nodes
                     SET has_left = TRUE,
                         lease_until = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $2
                     WHERE id = $1",
                );
                execute!(db, update, node.uuid(), millis(wait))
            })
        })
        .await
        .map(|_| ())
    }

    /// Everybody who came before `node` has gone, and counts as dead in `wait`: for a process that knows that it is the
    /// only one.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn end_earlier_node_leases(
        &self,
        node: NodeId,
        wait: Duration,
    ) -> Result<(), StoreError> {
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                let update = db.dialect(
                    "UPDATE nodes
                     SET has_left = TRUE,
                         lease_until =
                         min(lease_until, CAST(unixepoch('subsec') * 1000 AS INTEGER) + $2)
                     WHERE id < $1",
                    "UPDATE nodes
                     SET has_left = TRUE, lease_until = least(lease_until,
                         (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $2)
                     WHERE id < $1",
                );
                execute!(db, update, node.uuid(), millis(wait))
            })
        })
        .await
        .map(|_| ())
    }

    /// The nodes besides `me` whose leases are over.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_dead_nodes(&self, me: NodeId) -> Result<Vec<Node>, StoreError> {
        let rows: Vec<NodeRow> = self
            .read(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT id, name, key_id FROM nodes
                         WHERE id <> $1
                           AND lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
                         ORDER BY id",
                        "SELECT id, name, key_id FROM nodes
                         WHERE id <> $1
                           AND lease_until <=
                               (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                         ORDER BY id",
                    );
                    fetch_all!(db, NodeRow, select, me.uuid())
                })
            })
            .await?;
        Ok(rows.into_iter().map(NodeRow::into_node).collect())
    }
}

async fn living(db: &mut Db) -> Result<Vec<NodeRow>, StoreError> {
    let select = db.dialect(
        "SELECT id, name, key_id FROM nodes
         WHERE NOT has_left AND lease_until > CAST(unixepoch('subsec') * 1000 AS INTEGER)
         ORDER BY id",
        "SELECT id, name, key_id FROM nodes
         WHERE NOT has_left
           AND lease_until > (extract(epoch FROM clock_timestamp()) * 1000)::bigint
         ORDER BY id",
    );
    fetch_all!(db, NodeRow, select)
}

/// Makes sure that `node` is not declared dead before the transaction ends.
pub(super) async fn confirm(db: &mut Db, node: NodeId) -> Result<(), StoreError> {
    let select = db.dialect(
        "SELECT 1 FROM nodes WHERE id = $1 AND NOT is_dead",
        // Does not wait for a renewal, nor that for it; only whoever declares the node dead does.
        "SELECT 1::bigint FROM nodes WHERE id = $1 AND NOT is_dead FOR KEY SHARE",
    );
    let lives = fetch_optional!(db, (i64,), select, node.uuid())?;
    lives.map(|_| ()).ok_or(StoreError::LeaseLost)
}

/// Declares `node` dead, if its lease is over; gives whether it is. Waits for whatever it is writing.
pub(super) async fn declare_dead(db: &mut Db, node: NodeId) -> Result<bool, StoreError> {
    let lock =
        db.dialect("SELECT 1 WHERE $1 IS NULL", "SELECT 1 FROM nodes WHERE id = $1 FOR UPDATE");
    execute!(db, lock, node.uuid())?;
    let update = db.dialect(
        "UPDATE nodes
         SET is_dead = TRUE
         WHERE id = $1 AND lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)",
        "UPDATE nodes
         SET is_dead = TRUE
         WHERE id = $1
           AND lease_until <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    );
    Ok(execute!(db, update, node.uuid())? > 0)
}

/// Forgets a node.
pub(super) async fn delete(db: &mut Db, node: NodeId) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM nodes WHERE id = $1", node.uuid()).map(|_| ())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl SeenRow {
    fn into_seen(self) -> SeenNode {
        let state = match (self.is_dead, self.has_left, self.is_leased) {
            (true, ..) => NodeState::Dead,
            (false, true, _) => NodeState::Leaving,
            (false, false, false) => NodeState::Silent,
            (false, false, true) => NodeState::Serving,
        };
        let has_end = self.lease_until < i64::MAX;
        SeenNode {
            id: self.id.into(),
            name: self.name,
            version: self.version,
            state,
            started_at: Timestamp::from_millis(self.started_at),
            lease_until: has_end.then(|| Timestamp::from_millis(self.lease_until)),
        }
    }
}

impl NodeRow {
    fn into_node(self) -> Node {
        Node { id: self.id.into(), name: self.name, key_id: self.key_id }
    }
}

//! Leases: work that one node does at a time, whoever dies, sleeps or has a wrong clock.
//!
//! A lease has an end, by the database's clock, and a fence that grows with every new owner. Invariant: a transaction
//! that has confirmed a lease commits only while nobody else has it; an owner that slept through its end is refused.

use std::time::Duration;

use super::{Db, Store, StoreError, execute, fetch_optional};
use crate::domain::ids::NodeId;

/// Proof of ownership: to be confirmed in every transaction that relies on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    name: String,
    owner: NodeId,
    /// Higher for every later owner.
    fence: i64,
}

impl Lease {
    /// Grows with every owner: what is outside can refuse an earlier one by it.
    #[must_use]
    pub const fn fence(&self) -> i64 {
        self.fence
    }

    /// Makes sure that the lease is still held, and stays so until the transaction ends.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when it is over or somebody else's.
    pub async fn confirm(&self, db: &mut Db) -> Result<(), StoreError> {
        let select = db.dialect(
            "SELECT fence FROM leases
             WHERE name = $1 AND owner = $2 AND fence = $3
               AND lease_until > CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            "SELECT fence FROM leases
             WHERE name = $1 AND owner = $2 AND fence = $3
               AND lease_until > (extract(epoch FROM clock_timestamp()) * 1000)::bigint
             FOR SHARE",
        );
        let held =
            fetch_optional!(db, (i64,), select, self.name.as_str(), self.owner.uuid(), self.fence)?;
        held.map(|_| ()).ok_or(StoreError::LeaseLost)
    }
}

impl Store {
    /// Takes the lease `name` for `lasts`; `None` while somebody else holds it. An owner that claims again what it
    /// still holds is a new owner.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn claim_lease(
        &self,
        name: &str,
        owner: NodeId,
        lasts: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let name = name.to_owned();
        self.write(move |db| {
            Box::pin(async move {
                let claim = db.dialect(
                    "INSERT INTO leases (name, owner, fence, lease_until)
                     VALUES ($1, $2, 1, CAST(unixepoch('subsec') * 1000 AS INTEGER) + $3)
                     ON CONFLICT (name) DO UPDATE
                     SET owner = excluded.owner, fence = leases.fence + 1,
                         lease_until = excluded.lease_until
                     WHERE leases.owner = excluded.owner
                        OR leases.lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
                     RETURNING fence",
                    "INSERT INTO leases (name, owner, fence, lease_until)
                     VALUES ($1, $2, 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $3)
                     ON CONFLICT (name) DO UPDATE
                     SET owner = excluded.owner, fence = leases.fence + 1,
                         lease_until = excluded.lease_until
                     WHERE leases.owner = excluded.owner
                        OR leases.lease_until <=
                           (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                     RETURNING fence",
                );
                let fence: Option<(i64,)> =
                    fetch_optional!(db, (i64,), claim, name.as_str(), owner.uuid(), millis(lasts))?;
                Ok(fence.map(|(fence,)| Lease { name, owner, fence }))
            })
        })
        .await
    }

    /// Makes a lease last `lasts` from now.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when it is over or somebody else's.
    pub async fn renew_lease(&self, lease: &Lease, lasts: Duration) -> Result<(), StoreError> {
        let Lease { name, owner, fence } = lease.clone();
        self.write(move |db| {
            Box::pin(async move {
                let update = db.dialect(
                    "UPDATE leases
                     SET lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $4
                     WHERE name = $1 AND owner = $2 AND fence = $3
                       AND lease_until > CAST(unixepoch('subsec') * 1000 AS INTEGER)",
                    "UPDATE leases
                     SET lease_until = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $4
                     WHERE name = $1 AND owner = $2 AND fence = $3
                       AND lease_until > (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
                );
                match execute!(db, update, name.as_str(), owner.uuid(), fence, millis(lasts))? {
                    0 => Err(StoreError::LeaseLost),
                    _ => Ok(()),
                }
            })
        })
        .await
    }

    /// Gives a lease back, so that the next owner need not wait; one that is lost already stays lost.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer; then it ends by itself.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let Lease { name, owner, fence } = lease.clone();
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "UPDATE leases
                     SET lease_until = 0
                     WHERE name = $1 AND owner = $2 AND fence = $3",
                    name.as_str(),
                    owner.uuid(),
                    fence,
                )
            })
        })
        .await
        .map(|_| ())
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

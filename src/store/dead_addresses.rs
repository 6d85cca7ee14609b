//! Dead addresses: where no letter goes for a while, because the provider said that they are no more.
//!
//! Invariants: only a hash of each is kept: the table names nobody. None is dead for ever: mailboxes come back, numbers
//! get new owners, and providers err.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Db, Store, StoreError, execute, fetch_optional};
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;

/// How long an address is taken for dead after the last time that somebody said so.
const DEAD_FOR: Duration = Duration::from_hours(30 * 24);

impl Store {
    /// Forgets what was said too long ago; gives how many addresses.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_old_dead_addresses(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = now.minus(DEAD_FOR).millis();
        self.write(move |db| {
            Box::pin(
                async move { execute!(db, "DELETE FROM dead_addresses WHERE at <= $1", before) },
            )
        })
        .await
    }
}

/// Notes that an address is no more; the last reason counts.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn insert_dead_address(
    db: &mut Db,
    medium: Medium,
    address: &str,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO dead_addresses (medium, address, reason, at)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (medium, address) DO UPDATE SET reason = excluded.reason, at = excluded.at",
        medium.as_str(),
        hash(address),
        reason,
        now.millis(),
    )
    .map(|_| ())
}

/// Whether an address is no more.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_dead_address(
    db: &mut Db,
    medium: Medium,
    address: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let found = fetch_optional!(
        db,
        (i64,),
        "SELECT at FROM dead_addresses WHERE medium = $1 AND address = $2 AND at > $3",
        medium.as_str(),
        hash(address),
        now.minus(DEAD_FOR).millis(),
    )?;
    Ok(found.is_some())
}

/// An address lives after all, such as one that was just confirmed.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn delete_dead_address(
    db: &mut Db,
    medium: Medium,
    address: &str,
) -> Result<(), StoreError> {
    execute!(
        db,
        "DELETE FROM dead_addresses WHERE medium = $1 AND address = $2",
        medium.as_str(),
        hash(address),
    )
    .map(|_| ())
}

/// Upper and lower case are one address, as mail servers have it.
fn hash(address: &str) -> Vec<u8> {
    Sha256::digest(address.to_lowercase()).to_vec()
}

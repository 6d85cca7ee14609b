//! Dead addresses: where no letter goes any more, because the provider said so.
//!
//! Invariant: only a hash of each is kept: the table names nobody.

use sha2::{Digest, Sha256};

use super::{Db, StoreError, execute, fetch_optional};
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;

/// Notes that an address is no more; the first reason stays.
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
         ON CONFLICT (medium, address) DO NOTHING",
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
) -> Result<bool, StoreError> {
    let found = fetch_optional!(
        db,
        (i64,),
        "SELECT at FROM dead_addresses WHERE medium = $1 AND address = $2",
        medium.as_str(),
        hash(address),
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

//! Seals: a digest of the ledger's entries, hour by hour, each with the one before it, so that a change behind the back of
//! the triggers shows.
//!
//! What is sealed is of an hour that ended an hour ago: no transaction takes so long, and no clock may be so wrong.
//! Invariant: every entry before the end of the last seal is in exactly one seal.

use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::checks::finding;
use crate::domain::reconciliation::Break;
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one};

const HOUR_MS: i64 = 3_600_000;
/// An hour that has ended for so long is sealed.
const SEALED_AFTER: Duration = Duration::from_hours(1);
/// Hours that one check seals; what is left is the next one's.
const SEALED_MAX: usize = 200;
/// The latest hours, which every check looks at again.
const LATEST: i64 = 26;
/// Every older hour is looked at again once in so many checks: a week.
const TURN: i64 = 168;
/// Entries that are read at once.
const PAGE: i64 = 500;

type SealRow = (i64, i64, Vec<u8>);

/// What a digest goes over: after the end of the seal before, until the end of its own hour.
struct Stretch {
    from: i64,
    until: i64,
    before: Vec<u8>,
}

impl Store {
    /// Seals what is to be sealed by now. Gives how many hours that were.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn seal_ledger(&self, now: Timestamp) -> Result<usize, StoreError> {
        let until = now.minus(SEALED_AFTER).millis().div_euclid(HOUR_MS).saturating_mul(HOUR_MS);
        for sealed in 0..SEALED_MAX {
            let is_sealed = self
                .read_snapshot(move |db| {
                    Box::pin(async move {
                        let last = last_seal(db).await?;
                        let Some(hour) = next_hour(db, &last, until).await? else {
                            return Ok(None);
                        };
                        let stretch = stretch(hour, &last);
                        let (entries, digest) = digest(db, &stretch).await?;
                        Ok::<_, StoreError>(Some((hour, entries, digest)))
                    })
                })
                .await?;
            let Some((hour, entries, digest)) = is_sealed else { return Ok(sealed) };
            self.write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    // Whoever was quicker has sealed the same.
                    execute!(
                        db,
                        "INSERT INTO ledger_seals (hour, entries, digest, at)
                         VALUES ($1, $2, $3, $4)
                         ON CONFLICT (hour) DO NOTHING",
                        hour,
                        entries,
                        digest,
                        now.millis(),
                    )
                })
            })
            .await?;
        }
        Ok(SEALED_MAX)
    }

    /// Looks at the latest seals again, and at those older ones whose turn it is. Gives those that are broken.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_broken_seals(&self, now: Timestamp) -> Result<Vec<Break>, StoreError> {
        let hour = now.millis().div_euclid(HOUR_MS);
        let seals: Vec<SealRow> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        SealRow,
                        "SELECT hour, entries, digest FROM ledger_seals
                         WHERE hour >= $1 OR (hour / 3600000) % 168 = $2
                         ORDER BY hour",
                        hour.saturating_sub(LATEST).saturating_mul(HOUR_MS),
                        hour.rem_euclid(TURN),
                    )
                })
            })
            .await?;
        let mut broken = Vec::new();
        for (hour, entries, sealed) in seals {
            let (counted, digest) = self
                .read_snapshot(move |db| {
                    Box::pin(async move {
                        let last = seal_before(db, hour).await?;
                        digest(db, &stretch(hour, &last)).await
                    })
                })
                .await?;
            if digest != sealed {
                let says = "entries of the ledger are not what they were when they were sealed";
                broken.push(finding(format!("seal:{hour}"), entries, counted, says));
            }
        }
        Ok(broken)
    }
}

fn stretch(hour: i64, last: &[SealRow]) -> Stretch {
    let until = hour.saturating_add(HOUR_MS);
    match last.first() {
        Some((last, _, before)) => {
            Stretch { from: last.saturating_add(HOUR_MS), until, before: before.clone() }
        }
        None => Stretch { from: i64::MIN, until, before: Vec::new() },
    }
}

async fn last_seal(db: &mut Db) -> Result<Vec<SealRow>, StoreError> {
    seal_before(db, i64::MAX).await
}

/// At most one.
async fn seal_before(db: &mut Db, hour: i64) -> Result<Vec<SealRow>, StoreError> {
    fetch_all!(
        db,
        SealRow,
        "SELECT hour, entries, digest FROM ledger_seals
         WHERE hour < $1
         ORDER BY hour DESC
         LIMIT 1",
        hour,
    )
}

/// The next hour that has entries and has ended.
async fn next_hour(db: &mut Db, last: &[SealRow], until: i64) -> Result<Option<i64>, StoreError> {
    let from = last.first().map_or(i64::MIN, |(hour, ..)| hour.saturating_add(HOUR_MS));
    let (first,): (Option<i64>,) = fetch_one!(
        db,
        (Option<i64>,),
        "SELECT MIN(at) FROM ledger_entries WHERE at >= $1 AND at < $2",
        from,
        until,
    )?;
    Ok(first.map(|at| at.div_euclid(HOUR_MS).saturating_mul(HOUR_MS)))
}

/// Goes over a stretch in the order of its entries.
async fn digest(db: &mut Db, stretch: &Stretch) -> Result<(i64, Vec<u8>), StoreError> {
    type EntryRow = (i64, Uuid, String, Vec<u8>, String, String, Uuid, String);
    let (mut count, mut at, mut id) = (0_i64, stretch.from, Uuid::nil());
    let mut hash = Sha256::new();
    hash.update(&stretch.before);
    loop {
        let entries = fetch_all!(
            db,
            EntryRow,
            "SELECT at, id, key, fingerprint, kind, reference_kind, reference_id, actor
             FROM ledger_entries
             WHERE at < $1 AND (at, id) > ($2, $3)
             ORDER BY at, id
             LIMIT $4",
            stretch.until,
            at,
            id,
            PAGE,
        )?;
        let Some(last) = entries.last() else { break };
        (at, id) = (last.0, last.1);
        count = count.saturating_add(i64::try_from(entries.len()).unwrap_or(i64::MAX));
        let ids: Vec<Uuid> = entries.iter().map(|entry| entry.1).collect();
        for entry in &entries {
            add(&mut hash, entry)?;
        }
        digest_transfers(db, &ids, &mut hash).await?;
    }
    Ok((count, hash.finalize().to_vec()))
}

async fn digest_transfers(
    db: &mut Db,
    entries: &[Uuid],
    hash: &mut Sha256,
) -> Result<(), StoreError> {
    type TransferRow =
        (Uuid, Uuid, i64, String, Option<Uuid>, Uuid, Uuid, String, i64, String, Option<i64>, i64);
    let select = db.dialect(
        "SELECT entry_id, id, line, phase, hold_id, debit_id, credit_id, currency, amount, code,
                expires_at, at
         FROM ledger_transfers
         WHERE entry_id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)
         ORDER BY entry_id, line",
        "SELECT entry_id, id, line::bigint, phase, hold_id, debit_id, credit_id, currency, amount,
                code, expires_at, at
         FROM ledger_transfers
         WHERE entry_id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)
         ORDER BY entry_id, line",
    );
    for transfer in fetch_all!(db, TransferRow, select, json!(entries).to_string())? {
        add(hash, &transfer)?;
    }
    Ok(())
}

/// As JSON: where a field ends is never in doubt.
fn add(hash: &mut Sha256, row: &impl serde::Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_vec(row).map_err(|error| sqlx::Error::Encode(error.into()))?;
    hash.update(&text);
    Ok(())
}

//! Seals: a digest of the ledger's entries, hour by hour, each with the one before it, so that a change behind the back of
//! the triggers shows.
//!
//! What is sealed is of an hour that ended an hour ago: no transaction takes so long, and no clock may be so wrong.
//! Invariant: every entry before the end of the last seal is in exactly one seal.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::checks::finding;
use super::found::BY_ITSELF;
use crate::domain::reconciliation::Break;
use crate::domain::time::Timestamp;
use crate::store::leases::Lease;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};

const HOUR_MS: i64 = 3_600_000;
/// An hour that has ended for so long is sealed.
const SEALED_AFTER: Duration = Duration::from_hours(1);
/// The latest hours, which every check looks at again.
const LATEST: i64 = 26;
/// Every older hour is looked at again once in so many checks: a week.
const TURN: i64 = 168;
/// Entries that are read at once.
const PAGE: i64 = 500;
/// The only turn there is.
const OLDER: &str = "older";
const CHANGED: &str = "entries of the ledger are not what they were when they were sealed";
const GONE: &str = "the seal of an hour is gone";

type SealRow = (i64, i64, Vec<u8>);

/// The digest of the ledger until the end of an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub hour: Timestamp,
    pub entries: i64,
    /// In hexadecimal.
    pub digest: String,
}

impl Sealed {
    /// The last moment that is sealed.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        Timestamp::from_millis(self.hour.millis().saturating_add(HOUR_MS - 1))
    }
}

/// Hours whose seals a check looks at again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    pub hours: BTreeSet<Timestamp>,
    /// The last of the older ones: the next check goes on behind it.
    last: i64,
}

/// What a digest goes over: after the end of the seal before, until the end of its own hour.
struct Stretch {
    from: i64,
    until: i64,
    before: Vec<u8>,
}

impl Store {
    /// Seals the next hour that is to be sealed by now. Says whether there was one.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when somebody else checks.
    pub async fn seal_hour(&self, lease: &Lease, now: Timestamp) -> Result<bool, StoreError> {
        let until = now.minus(SEALED_AFTER).millis().div_euclid(HOUR_MS).saturating_mul(HOUR_MS);
        let next = self
            .read_snapshot(move |db| {
                Box::pin(async move {
                    let last = last_seal(db).await?;
                    let Some(hour) = next_hour(db, &last, until).await? else {
                        return Ok(None);
                    };
                    let (entries, digest) = digest(db, &stretch(hour, &last)).await?;
                    Ok::<_, StoreError>(Some((hour, entries, digest)))
                })
            })
            .await?;
        let Some((hour, entries, digest)) = next else { return Ok(false) };
        let lease = lease.clone();
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                lease.confirm(db).await?;
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
        Ok(true)
    }

    /// The last seal.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_last_seal(&self) -> Result<Option<Sealed>, StoreError> {
        let last = self
            .read::<_, StoreError, _>(|db| Box::pin(async move { last_seal(db).await }))
            .await?;
        let sealed = |(hour, entries, digest): SealRow| Sealed {
            hour: Timestamp::from_millis(hour),
            entries,
            digest: hex(&digest),
        };
        Ok(last.into_iter().next().map(sealed))
    }

    /// What is to be looked at again: the latest hours, those older ones whose turn it is, and whatever has a break, so that
    /// none closes by itself that was not looked at.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_turn(&self, provider: &str, now: Timestamp) -> Result<Turn, StoreError> {
        let provider = provider.to_owned();
        let hour = now.millis().div_euclid(HOUR_MS).saturating_sub(LATEST);
        let latest = hour.saturating_mul(HOUR_MS);
        self.read_snapshot(move |db| {
            Box::pin(async move {
                let (older, last) = list_older(db, latest).await?;
                let rest = fetch_all!(
                    db,
                    (i64,),
                    "SELECT hour FROM ledger_seals WHERE hour >= $1",
                    latest,
                )?;
                let broken = list_broken(db, &provider).await?;
                let hours = older.into_iter().chain(rest).map(|(hour,)| hour).chain(broken);
                Ok(Turn { hours: hours.map(Timestamp::from_millis).collect(), last })
            })
        })
        .await
    }

    /// Looks at the seal of an hour again. Gives what is wrong with it.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn check_seal(&self, hour: Timestamp) -> Result<Option<Break>, StoreError> {
        let hour = hour.millis();
        self.read_snapshot(move |db| {
            Box::pin(async move {
                let sealed = seal_before(db, hour.saturating_add(1)).await?;
                let sealed = sealed.into_iter().find(|(at, ..)| *at == hour);
                let last = seal_before(db, hour).await?;
                let (counted, digest) = digest(db, &stretch(hour, &last)).await?;
                let (entries, says) = match sealed {
                    Some((.., sealed)) if sealed == digest => return Ok(None),
                    Some((_, entries, _)) => (entries, CHANGED),
                    None => (0, GONE),
                };
                let found = finding(format!("seal:{hour}"), entries, counted, says);
                // Whoever has closed it has seen this, and not what may come after.
                let begins = digest.get(..8).unwrap_or_default();
                let local_ref = Some(format!("seal:{hour}:{}", hex(begins)));
                Ok(Some(Break { local_ref, ..found }))
            })
        })
        .await
    }

    /// Notes that what was listed was looked at.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when somebody else checks.
    pub async fn end_turn(&self, lease: &Lease, turn: &Turn) -> Result<(), StoreError> {
        let (lease, last) = (lease.clone(), turn.last);
        self.write(move |db| {
            Box::pin(async move {
                lease.confirm(db).await?;
                execute!(
                    db,
                    "INSERT INTO ledger_seal_turns (name, hour)
                     VALUES ($1, $2)
                     ON CONFLICT (name) DO UPDATE SET hour = excluded.hour",
                    OLDER,
                    last,
                )
                .map(|_| ())
            })
        })
        .await
    }
}

/// The next of the seals from before `latest`, and where the next turn begins: after the last of them at the first again.
async fn list_older(db: &mut Db, latest: i64) -> Result<(Vec<(i64,)>, i64), StoreError> {
    let select = "SELECT hour FROM ledger_seal_turns WHERE name = $1";
    let turn = fetch_optional!(db, (i64,), select, OLDER)?;
    let (count,) =
        fetch_one!(db, (i64,), "SELECT COUNT(*) FROM ledger_seals WHERE hour < $1", latest,)?;
    let limit = count.div_euclid(TURN).saturating_add(1);
    let hours = fetch_all!(
        db,
        (i64,),
        "SELECT hour FROM ledger_seals
         WHERE hour > $1 AND hour < $2
         ORDER BY hour
         LIMIT $3",
        turn.map_or(i64::MIN, |(hour,)| hour),
        latest,
        limit,
    )?;
    let is_full = i64::try_from(hours.len()).unwrap_or(i64::MAX) >= limit;
    let last = hours.last().filter(|_| is_full).map_or(i64::MIN, |(hour,)| *hour);
    Ok((hours, last))
}

/// The hours that have a break, closed by somebody or not.
async fn list_broken(db: &mut Db, provider: &str) -> Result<Vec<i64>, StoreError> {
    let subjects = fetch_all!(
        db,
        (String,),
        "SELECT subject FROM recon_breaks
         WHERE provider = $1 AND kind = 'ledger' AND bucket = 'ledger' AND subject LIKE 'seal:%'
           AND gone_at IS NULL AND (closed_by IS NULL OR closed_by <> $2)",
        provider,
        BY_ITSELF,
    )?;
    let hour = |(subject,): &(String,)| subject.strip_prefix("seal:")?.parse().ok();
    Ok(subjects.iter().filter_map(hour).collect())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
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

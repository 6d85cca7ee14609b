//! The queue: letters are taken under a lease, and what came of an attempt is recorded under its fence.
//!
//! The lease is of the database's clock; when a letter is due is said by whoever asks. Invariant: every attempt is noted
//! before it is made, so that one that died with its node is known; and what a node says that was late, changes nothing.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::domain::deliveries::{AttemptOutcome, Delivery, DeliveryStatus};
use crate::domain::ids::{DeliveryId, NodeId, UserId};
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_optional};

const DETAIL_CHARS_MAX: usize = 500;

/// Which letters a node takes.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub medium: Medium,
    /// Letters at most.
    pub limit: i64,
    /// Letters of one party at most.
    pub party_max: i64,
    /// Parties of which it takes fewer, or none.
    pub held: Vec<Held>,
}

/// A party that the node is busy with, or leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Held {
    pub party: Uuid,
    /// How many more of its letters the node takes.
    pub spare: i64,
}

/// The right to say what came of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    id: DeliveryId,
    fence: i64,
}

/// A letter that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub claim: Claim,
    pub delivery: Delivery,
}

/// What became of a letter that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    pub fate: Fate,
    /// What is kept of the attempt; `None` when none was made.
    pub attempt: Option<AttemptEnd>,
    /// Which provider was asked.
    pub provider: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It has an end. Only a dead letter keeps what it is composed from.
    Ended { status: DeliveryStatus, reason: Option<String>, provider_id: Option<String> },
    /// It goes back into the queue.
    Again {
        due_at: Timestamp,
        reason: Option<String>,
        /// Whether the attempt is counted.
        counts: bool,
        /// Whether its time begins only then.
        starts_anew: bool,
    },
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEnd {
    pub outcome: AttemptOutcome,
    /// One sentence without personal data, cut to 500 characters.
    pub detail: Option<String>,
}

#[derive(sqlx::FromRow)]
struct QueuedRow {
    id: Uuid,
    kind: String,
    user_id: Option<Uuid>,
    seq: Option<i64>,
    target_id: Option<Uuid>,
    digest_key: Option<String>,
    data: Option<String>,
    attempts: i64,
    created_at: i64,
    first_due_at: i64,
    due_at: i64,
    fence: i64,
}

impl Store {
    /// When the next letter is due that [`Store::claim_deliveries`] would take; writes nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_next_delivery(
        &self,
        wanted: &Wanted,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (medium, held) = (wanted.medium, json!(wanted.held).to_string());
        let found: Option<(i64,)> = self
            .read(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "WITH held AS
                             (SELECT unhex(replace(j.value ->> 'party', '-', '')) AS party,
                                     j.value ->> 'spare' AS spare
                              FROM json_each($2) j)
                         SELECT d.due_at FROM deliveries d
                         WHERE d.medium = $1 AND d.status = 'queued'
                           AND d.lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
                           AND coalesce(d.user_id, d.target_id, d.id) NOT IN
                               (SELECT party FROM held WHERE spare <= 0)
                         ORDER BY d.due_at, d.id
                         LIMIT 1",
                        "WITH held AS
                             (SELECT party, spare FROM jsonb_to_recordset($2::jsonb)
                                  AS j (party uuid, spare bigint))
                         SELECT d.due_at FROM deliveries d
                         WHERE d.medium = $1 AND d.status = 'queued'
                           AND d.lease_until <=
                               (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                           AND coalesce(d.user_id, d.target_id, d.id) NOT IN
                               (SELECT party FROM held WHERE spare <= 0)
                         ORDER BY d.due_at, d.id
                         LIMIT 1",
                    );
                    fetch_optional!(db, (i64,), select, medium.as_str(), held)
                })
            })
            .await?;
        Ok(found.map(|(due_at,)| Timestamp::from_millis(due_at)))
    }

    /// Takes letters that are due at `now`, the longest due first, for `lasts`; notes an attempt at each. One that was
    /// taken before, and of which nobody said what came of it, is taken again once its lease is over.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn claim_deliveries(
        &self,
        owner: NodeId,
        wanted: &Wanted,
        lasts: Duration,
        now: Timestamp,
    ) -> Result<Vec<Claimed>, StoreError> {
        let wanted = wanted.clone();
        let medium = wanted.medium;
        let mut rows: Vec<QueuedRow> = self
            .write(move |db| {
                Box::pin(async move {
                    let rows = take(db, owner, &wanted, lasts, now).await?;
                    note_attempts(db, &rows, now).await?;
                    Ok::<_, StoreError>(rows)
                })
            })
            .await?;
        rows.sort_unstable_by_key(|row| (row.due_at, row.id));
        Ok(rows.into_iter().map(|row| row.into_claimed(medium)).collect())
    }

    /// Makes a lease last `lasts` from now, whether or not it is over, unless the letter was taken again.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when it was.
    pub async fn renew_delivery(&self, claim: Claim, lasts: Duration) -> Result<(), StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let update = db.dialect(
                    "UPDATE deliveries
                     SET lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $3
                     WHERE id = $1 AND fence = $2 AND status = 'queued'",
                    "UPDATE deliveries
                     SET lease_until = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $3
                     WHERE id = $1 AND fence = $2 AND status = 'queued'",
                );
                match execute!(db, update, claim.id.uuid(), claim.fence, millis(lasts))? {
                    0 => Err(StoreError::LeaseLost),
                    _ => Ok(()),
                }
            })
        })
        .await
    }
}

async fn take(
    db: &mut Db,
    owner: NodeId,
    wanted: &Wanted,
    lasts: Duration,
    now: Timestamp,
) -> Result<Vec<QueuedRow>, StoreError> {
    // A page of the queue, of which each party gets what it has to spare; others look further in the next page.
    let update = db.dialect(
        "WITH held AS
             (SELECT unhex(replace(j.value ->> 'party', '-', '')) AS party,
                     j.value ->> 'spare' AS spare
              FROM json_each($7) j),
         page AS
             (SELECT d.id, d.due_at, coalesce(d.user_id, d.target_id, d.id) AS party,
                     coalesce((SELECT h.spare FROM held h
                               WHERE h.party = coalesce(d.user_id, d.target_id, d.id)), $5) AS spare
              FROM deliveries d
              WHERE d.medium = $1 AND d.status = 'queued' AND d.due_at <= $3
                AND d.lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
                AND coalesce(d.user_id, d.target_id, d.id) NOT IN
                    (SELECT party FROM held WHERE spare <= 0)
              ORDER BY d.due_at, d.id
              LIMIT $4)
         UPDATE deliveries
         SET owner = $2, fence = fence + 1, attempts = attempts + 1,
             lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $6
         WHERE id IN
             (SELECT id FROM
                 (SELECT id, spare,
                         row_number() OVER (PARTITION BY party ORDER BY due_at, id) AS place
                  FROM page)
              WHERE place <= spare)
         RETURNING id, kind, user_id, seq, target_id, digest_key, data, attempts, created_at,
                   first_due_at, due_at, fence",
        "WITH held AS
             (SELECT party, spare FROM jsonb_to_recordset($7::jsonb)
                  AS j (party uuid, spare bigint)),
         page AS MATERIALIZED
             (SELECT d.id, d.due_at, coalesce(d.user_id, d.target_id, d.id) AS party,
                     coalesce((SELECT h.spare FROM held h
                               WHERE h.party = coalesce(d.user_id, d.target_id, d.id)), $5) AS spare
              FROM deliveries d
              WHERE d.medium = $1 AND d.status = 'queued' AND d.due_at <= $3
                AND d.lease_until <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                AND coalesce(d.user_id, d.target_id, d.id) NOT IN
                    (SELECT party FROM held WHERE spare <= 0)
              ORDER BY d.due_at, d.id
              LIMIT $4
              FOR UPDATE OF d SKIP LOCKED),
         chosen AS
             (SELECT id FROM
                 (SELECT id, spare,
                         row_number() OVER (PARTITION BY party ORDER BY due_at, id) AS place
                  FROM page) AS ranked
              WHERE place <= spare)
         UPDATE deliveries d
         SET owner = $2, fence = d.fence + 1, attempts = d.attempts + 1,
             lease_until = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $6
         FROM chosen
         WHERE d.id = chosen.id
         RETURNING d.id, d.kind, d.user_id, d.seq, d.target_id, d.digest_key, d.data, d.attempts,
                   d.created_at, d.first_due_at, d.due_at, d.fence",
    );
    fetch_all!(
        db,
        QueuedRow,
        update,
        wanted.medium.as_str(),
        owner.uuid(),
        now.millis(),
        wanted.limit,
        wanted.party_max,
        millis(lasts),
        json!(wanted.held).to_string(),
    )
}

/// Notes the attempts that are about to be made, and that those before, which never ended, never will.
async fn note_attempts(db: &mut Db, rows: &[QueuedRow], now: Timestamp) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let ids = json!(ids).to_string();
    let lose = db.dialect(
        "UPDATE delivery_attempts
         SET ended_at = $2, outcome = $3
         WHERE outcome IS NULL AND delivery_id IN
             (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)",
        "UPDATE delivery_attempts
         SET ended_at = $2, outcome = $3
         WHERE outcome IS NULL AND delivery_id IN
             (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)",
    );
    execute!(db, lose, ids.as_str(), now.millis(), AttemptOutcome::Lost.as_str())?;
    let insert = db.dialect(
        "INSERT INTO delivery_attempts (delivery_id, fence, began_at)
         SELECT id, fence, $2 FROM deliveries
         WHERE id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)",
        "INSERT INTO delivery_attempts (delivery_id, fence, began_at)
         SELECT id, fence, $2 FROM deliveries
         WHERE id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)",
    );
    execute!(db, insert, ids, now.millis()).map(|_| ())
}

/// Records what became of a letter, and of the attempt at it.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the letter was taken again, or is no more; nothing was changed then.
pub async fn settle(
    db: &mut Db,
    claim: Claim,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (id, fence) = (claim.id.uuid(), claim.fence);
    let Settlement { fate, attempt, provider } = settlement;
    let changed = match fate {
        Fate::Ended { status, reason, provider_id } => execute!(
            db,
            "UPDATE deliveries
             SET status = $3, reason = $4, provider = coalesce($5, provider), provider_id = $6,
                 finished_at = $7, attempts = attempts - $8, owner = NULL, lease_until = 0,
                 data = CASE WHEN $3 = 'dead' OR medium = 'webhook' THEN data END
             WHERE id = $1 AND fence = $2 AND status = 'queued'",
            id,
            fence,
            status.as_str(),
            reason.as_deref(),
            *provider,
            provider_id.as_deref(),
            now.millis(),
            i64::from(attempt.is_none()),
        )?,
        Fate::Again { due_at, reason, counts, starts_anew } => execute!(
            db,
            "UPDATE deliveries
             SET due_at = $3, reason = $4, provider = coalesce($5, provider),
                 attempts = attempts - $6, owner = NULL, lease_until = 0,
                 first_due_at = CASE WHEN $7 THEN $3 ELSE first_due_at END
             WHERE id = $1 AND fence = $2 AND status = 'queued'",
            id,
            fence,
            due_at.millis(),
            reason.as_deref(),
            *provider,
            i64::from(!counts),
            *starts_anew,
        )?,
    };
    if changed == 0 {
        return Err(StoreError::LeaseLost);
    }
    end_attempt(db, claim, attempt.as_ref(), now).await
}

async fn end_attempt(
    db: &mut Db,
    claim: Claim,
    attempt: Option<&AttemptEnd>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (id, fence) = (claim.id.uuid(), claim.fence);
    let Some(AttemptEnd { outcome, detail }) = attempt else {
        let delete = "DELETE FROM delivery_attempts WHERE delivery_id = $1 AND fence = $2";
        return execute!(db, delete, id, fence).map(|_| ());
    };
    let detail: Option<String> =
        detail.as_ref().map(|detail| detail.chars().take(DETAIL_CHARS_MAX).collect());
    execute!(
        db,
        "UPDATE delivery_attempts
         SET ended_at = $3, outcome = $4, detail = $5
         WHERE delivery_id = $1 AND fence = $2",
        id,
        fence,
        now.millis(),
        outcome.as_str(),
        detail,
    )
    .map(|_| ())
}

/// Takes letters of one kind to a user out of their queue; what is said of one that is on its way changes nothing then.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn delete_queued(
    db: &mut Db,
    user: UserId,
    medium: Medium,
    kind: &str,
) -> Result<(), StoreError> {
    execute!(
        db,
        "DELETE FROM deliveries
         WHERE user_id = $1 AND medium = $2 AND kind = $3 AND status = 'queued'",
        user.uuid(),
        medium.as_str(),
        kind,
    )
    .map(|_| ())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl QueuedRow {
    fn into_claimed(self, medium: Medium) -> Claimed {
        let delivery = Delivery {
            id: self.id.into(),
            medium,
            kind: self.kind,
            user: self.user_id.map(Into::into),
            seq: self.seq,
            target: self.target_id,
            digest_key: self.digest_key,
            data: self.data,
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
            created_at: Timestamp::from_millis(self.created_at),
            first_due_at: Timestamp::from_millis(self.first_due_at),
            due_at: Timestamp::from_millis(self.due_at),
        };
        Claimed { claim: Claim { id: delivery.id, fence: self.fence }, delivery }
    }
}

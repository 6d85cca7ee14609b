//! Breaks as runs find them: new ones are told of, known ones are the same row, and what is not found any more closes by
//! itself.
//!
//! Invariant: what a person has closed stays closed while it is what they have seen; what differs otherwise, had agreed
//! since, or closed by itself is open again when it is found again.

use serde_json::json;
use uuid::Uuid;

use super::Run;
use crate::clock;
use crate::domain::events::{DomainEvent, PAYMENT_EVENTS};
use crate::domain::reconciliation::{Break, RunKind};
use crate::domain::time::Timestamp;
use crate::store::{Db, StoreError, execute, fetch_optional, outbox};

/// Who has closed what closed by itself.
pub(super) const BY_ITSELF: &str = "reconciliation";

/// Writes down what a run has found: new ones with their event, known ones as found again.
pub(super) async fn write_breaks(
    db: &mut Db,
    run: &Run,
    breaks: &[Break],
    now: Timestamp,
) -> Result<(), StoreError> {
    for found in breaks {
        let id = match find_known(db, run, found).await? {
            None => insert(db, run, found, now).await?,
            Some(known) if known.is_settled(run.kind, found) => {
                seen_again(db, run, known.id).await?;
                continue;
            }
            Some(known) => {
                found_again(db, run, known.id, found, now).await?;
                if known.closed_by.is_none() {
                    continue;
                }
                known.id
            }
        };
        outbox::append(db, &event(run, id, found, now)).await?;
    }
    Ok(())
}

/// A break that was found before.
#[derive(sqlx::FromRow)]
struct Known {
    id: Uuid,
    local_ref: Option<String>,
    local_amount: Option<i64>,
    remote_amount: Option<i64>,
    closed_by: Option<String>,
    gone_at: Option<i64>,
}

impl Known {
    /// Whether somebody has closed just this, and it was there ever since.
    fn is_settled(&self, kind: RunKind, found: &Break) -> bool {
        let by_somebody = self.closed_by.as_deref().is_some_and(|by| by != BY_ITSELF);
        by_somebody && self.gone_at.is_none() && self.is_same(kind, found)
    }

    fn is_same(&self, kind: RunKind, found: &Break) -> bool {
        let (ours, theirs) = (self.local_amount, self.remote_amount);
        match kind {
            // The sums of the ledger move on: what counts is how far they are apart.
            RunKind::Ledger => {
                let apart =
                    |ours: i64, theirs: Option<i64>| theirs.map(|it| ours.saturating_sub(it));
                let before = ours.and_then(|it| apart(it, theirs));
                let now = found.local_amount.and_then(|it| apart(it, found.remote_amount));
                before == now && self.local_ref == found.local_ref
            }
            RunKind::Transactions | RunKind::Settlements => {
                (ours, theirs) == (found.local_amount, found.remote_amount)
            }
        }
    }
}

async fn find_known(db: &mut Db, run: &Run, found: &Break) -> Result<Option<Known>, StoreError> {
    let select = db.dialect(
        "SELECT id, local_ref, local_amount, remote_amount, closed_by, gone_at
         FROM recon_breaks
         WHERE provider = $1 AND kind = $2 AND bucket = $3 AND subject = $4",
        "SELECT id, local_ref, local_amount, remote_amount, closed_by, gone_at
         FROM recon_breaks
         WHERE provider = $1 AND kind = $2 AND bucket = $3 AND subject = $4
         FOR UPDATE",
    );
    fetch_optional!(
        db,
        Known,
        select,
        run.provider.as_str(),
        run.kind.as_str(),
        found.bucket.as_str(),
        found.subject.as_str(),
    )
}

async fn insert(db: &mut Db, run: &Run, found: &Break, now: Timestamp) -> Result<Uuid, StoreError> {
    let id = clock::new_uuid();
    execute!(
        db,
        "INSERT INTO recon_breaks
             (id, run_id, provider, kind, day, bucket, subject, order_ref, local_ref, remote_ref,
              local_amount, remote_amount, says, status, pass, found_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'open', $14, $15, $15)",
        id,
        run.id.uuid(),
        run.provider.as_str(),
        run.kind.as_str(),
        run.day.to_string(),
        found.bucket.as_str(),
        found.subject.as_str(),
        found.order.as_str(),
        found.local_ref.as_deref(),
        found.remote_ref.as_deref(),
        found.local_amount,
        found.remote_amount,
        found.says.as_str(),
        run.pass,
        now.millis(),
    )?;
    Ok(id)
}

/// Notes that a break was found again: it is open, whoever had closed it.
async fn found_again(
    db: &mut Db,
    run: &Run,
    id: Uuid,
    found: &Break,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE recon_breaks
         SET run_id = $2, day = $3, pass = $4, local_ref = $5, local_amount = $6,
             remote_amount = $7, says = $8, updated_at = $9, status = 'open', closed_by = NULL,
             note = NULL, fixed_entry = NULL, gone_at = NULL
         WHERE id = $1",
        id,
        run.id.uuid(),
        run.day.to_string(),
        run.pass,
        found.local_ref.as_deref(),
        found.local_amount,
        found.remote_amount,
        found.says.as_str(),
        now.millis(),
    )
    .map(|_| ())
}

/// Notes that what somebody has closed is still so. What they have seen is kept.
async fn seen_again(db: &mut Db, run: &Run, id: Uuid) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE recon_breaks SET run_id = $2, day = $3, pass = $4 WHERE id = $1",
        id,
        run.id.uuid(),
        run.day.to_string(),
        run.pass,
    )
    .map(|_| ())
}

/// Closes what was open and has not been found again: over all days for the ledger, which is one. What a person has closed
/// and is not there any more is another matter if it comes again.
pub(super) async fn close_unfound(
    db: &mut Db,
    run: &Run,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (provider, id) = (run.provider.as_str(), run.id.uuid());
    if run.kind == RunKind::Ledger {
        execute!(
            db,
            "UPDATE recon_breaks
             SET status = 'fixed', closed_by = $4, note = 'It was not found again.',
                 updated_at = $3
             WHERE provider = $1 AND kind = 'ledger' AND status = 'open' AND pass <> $2",
            provider,
            run.pass,
            now.millis(),
            BY_ITSELF,
        )?;
        return execute!(
            db,
            "UPDATE recon_breaks SET gone_at = $3
             WHERE provider = $1 AND kind = 'ledger' AND status <> 'open' AND pass <> $2
               AND closed_by <> $4 AND gone_at IS NULL",
            provider,
            run.pass,
            now.millis(),
            BY_ITSELF,
        )
        .map(|_| ());
    }
    execute!(
        db,
        "UPDATE recon_breaks
         SET status = 'fixed', closed_by = $3, note = 'It was not found again.', updated_at = $4
         WHERE run_id = $1 AND status = 'open' AND pass <> $2",
        id,
        run.pass,
        BY_ITSELF,
        now.millis(),
    )?;
    execute!(
        db,
        "UPDATE recon_breaks SET gone_at = $4
         WHERE run_id = $1 AND status <> 'open' AND pass <> $2 AND closed_by <> $3
           AND gone_at IS NULL",
        id,
        run.pass,
        BY_ITSELF,
        now.millis(),
    )
    .map(|_| ())
}

/// Closes what has kept a line of a settlement out of the books: it is in them.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn close_booked(
    db: &mut Db,
    provider: &str,
    line_key: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE recon_breaks
         SET status = 'fixed', closed_by = $3, note = 'It was booked later.', updated_at = $4
         WHERE provider = $1 AND kind = 'settlements' AND bucket IN ('missing_local', 'amount')
           AND subject = $2 AND status = 'open'",
        provider,
        format!("settled:{line_key}"),
        BY_ITSELF,
        now.millis(),
    )
    .map(|_| ())
}

/// Never the provider's key.
fn event(run: &Run, id: Uuid, found: &Break, now: Timestamp) -> DomainEvent {
    let data = json!({
        "break": found.bucket.as_str(),
        "break_id": id,
        "provider": run.provider,
        "kind": run.kind.as_str(),
        "day": run.day.to_string(),
        "local_ref": found.local_ref,
        "local_amount": found.local_amount,
        "remote_amount": found.remote_amount,
        "says": found.says,
    });
    DomainEvent {
        id: clock::new_uuid().into(),
        topic: PAYMENT_EVENTS,
        name: "ReconciliationBreakFound",
        subject: id.to_string(),
        at: now,
        data,
    }
}

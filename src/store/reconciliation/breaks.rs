//! Breaks: what did not agree, one row each, until somebody has closed it or it was not found again.
//!
//! Invariant: what a person has closed stays closed; what closed by itself is open again when it is found again.

use serde_json::json;
use uuid::Uuid;

use super::Run;
use crate::clock;
use crate::domain::events::{DomainEvent, PAYMENT_EVENTS};
use crate::domain::ids::{EntryId, ReconBreakId, ReconRunId, UserId};
use crate::domain::money_audit::{Action, Target};
use crate::domain::reconciliation::{Break, BreakStatus, Bucket, ReconciliationError, RunKind};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::money_audit::{Deed, record};
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional, outbox};

const BY_ITSELF: &str = "reconciliation";

/// A break as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakRow {
    pub id: ReconBreakId,
    pub run: ReconRunId,
    pub provider: String,
    pub kind: RunKind,
    pub day: String,
    pub found: Break,
    pub status: BreakStatus,
    pub note: Option<String>,
    /// The entry of the ledger that has put it right.
    pub fixed_entry: Option<EntryId>,
    /// Such as `user:<id>`, or `reconciliation`.
    pub closed_by: Option<String>,
    pub found_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    run_id: Uuid,
    provider: String,
    kind: String,
    day: String,
    bucket: String,
    subject: String,
    order_ref: String,
    local_ref: Option<String>,
    remote_ref: Option<String>,
    local_amount: Option<i64>,
    remote_amount: Option<i64>,
    says: String,
    status: String,
    note: Option<String>,
    fixed_entry: Option<Uuid>,
    closed_by: Option<String>,
    found_at: i64,
    updated_at: i64,
}

impl Row {
    fn into_break(self) -> Result<BreakRow, StoreError> {
        let found = Break {
            bucket: Bucket::parse(&self.bucket).ok_or(StoreError::NotFound)?,
            subject: self.subject,
            order: self.order_ref,
            local_ref: self.local_ref,
            remote_ref: self.remote_ref,
            local_amount: self.local_amount,
            remote_amount: self.remote_amount,
            says: self.says,
        };
        Ok(BreakRow {
            id: self.id.into(),
            run: self.run_id.into(),
            provider: self.provider,
            kind: RunKind::parse(&self.kind).ok_or(StoreError::NotFound)?,
            day: self.day,
            found,
            status: BreakStatus::parse(&self.status).ok_or(StoreError::NotFound)?,
            note: self.note,
            fixed_entry: self.fixed_entry.map(EntryId::from),
            closed_by: self.closed_by,
            found_at: Timestamp::from_millis(self.found_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

/// Which breaks are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BreakFilter {
    pub status: Option<BreakStatus>,
    pub bucket: Option<Bucket>,
}

/// How somebody closes a break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// It is right as it is.
    Explained,
    /// This entry of the ledger puts it right.
    Fixed(EntryId),
}

/// Why a break is not closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    #[error(transparent)]
    Refused(#[from] ReconciliationError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes down what a run has found: new ones with their event, known ones as found again.
pub(super) async fn write_breaks(
    db: &mut Db,
    run: &Run,
    breaks: &[Break],
    now: Timestamp,
) -> Result<(), StoreError> {
    for found in breaks {
        let id = match find_known(db, run, found).await? {
            None => Some(insert(db, run, found, now).await?),
            Some((id, by)) => {
                let is_again = by.as_deref() == Some(BY_ITSELF);
                found_again(db, run, id, found, is_again, now).await?;
                is_again.then_some(id)
            }
        };
        if let Some(id) = id {
            outbox::append(db, &event(run, id, found, now)).await?;
        }
    }
    Ok(())
}

async fn find_known(
    db: &mut Db,
    run: &Run,
    found: &Break,
) -> Result<Option<(Uuid, Option<String>)>, StoreError> {
    let select = db.dialect(
        "SELECT id, closed_by FROM recon_breaks
         WHERE provider = $1 AND kind = $2 AND bucket = $3 AND subject = $4",
        "SELECT id, closed_by FROM recon_breaks
         WHERE provider = $1 AND kind = $2 AND bucket = $3 AND subject = $4
         FOR UPDATE",
    );
    fetch_optional!(
        db,
        (Uuid, Option<String>),
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

/// Notes that a break was found again; one that had closed by itself is open again.
async fn found_again(
    db: &mut Db,
    run: &Run,
    id: Uuid,
    found: &Break,
    is_again: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE recon_breaks
         SET run_id = $2, day = $3, pass = $4, local_amount = $5, remote_amount = $6, says = $7,
             updated_at = $8
         WHERE id = $1",
        id,
        run.id.uuid(),
        run.day.to_string(),
        run.pass,
        found.local_amount,
        found.remote_amount,
        found.says.as_str(),
        now.millis(),
    )?;
    if is_again {
        execute!(
            db,
            "UPDATE recon_breaks
             SET status = 'open', closed_by = NULL, note = NULL
             WHERE id = $1",
            id,
        )?;
    }
    Ok(())
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

impl Store {
    /// A break.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_break(&self, id: ReconBreakId) -> Result<Option<BreakRow>, StoreError> {
        self.read(move |db| Box::pin(async move { find(db, id).await })).await
    }

    /// Breaks from before `before`, those that were found last first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_breaks(
        &self,
        filter: BreakFilter,
        before: Option<ReconBreakId>,
        limit: i64,
    ) -> Result<Vec<BreakRow>, StoreError> {
        let before = before.map_or(Uuid::max(), ReconBreakId::uuid);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        Row,
                        "SELECT id, run_id, provider, kind, day, bucket, subject, order_ref,
                                local_ref, remote_ref, local_amount, remote_amount, says, status,
                                note, fixed_entry, closed_by, found_at, updated_at
                         FROM recon_breaks
                         WHERE id < $1 AND ($2 = '' OR status = $2) AND ($3 = '' OR bucket = $3)
                         ORDER BY id DESC
                         LIMIT $4",
                        before,
                        filter.status.map_or("", BreakStatus::as_str),
                        filter.bucket.map_or("", Bucket::as_str),
                        limit,
                    )
                })
            })
            .await?;
        rows.into_iter().map(Row::into_break).collect()
    }

    /// How many breaks of each bucket are open, and what they are about comes to.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count_open_breaks(&self) -> Result<Vec<(Bucket, i64, i64)>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String, i64, i64),
                        "SELECT bucket, COUNT(*),
                                CAST(SUM(coalesce(remote_amount, local_amount, 0)) AS BIGINT)
                         FROM recon_breaks
                         WHERE status = 'open'
                         GROUP BY bucket",
                    )
                })
            })
            .await?;
        let count = |bucket: Bucket| {
            let row = rows.iter().find(|(name, ..)| name == bucket.as_str());
            row.map_or((bucket, 0, 0), |(_, count, sum)| (bucket, *count, *sum))
        };
        Ok(Bucket::ALL.map(count).into())
    }

    /// Closes a break that is open.
    ///
    /// # Errors
    /// [`CloseError`], with nothing done.
    pub async fn close_break(
        &self,
        id: ReconBreakId,
        by: UserId,
        closing: Closing,
        note: Reason,
        now: Timestamp,
    ) -> Result<BreakRow, CloseError> {
        self.write(move |db| Box::pin(async move { close(db, id, by, &closing, &note, now).await }))
            .await
    }
}

async fn close(
    db: &mut Db,
    id: ReconBreakId,
    by: UserId,
    closing: &Closing,
    note: &Reason,
    now: Timestamp,
) -> Result<BreakRow, CloseError> {
    let (status, entry) = match closing {
        Closing::Explained => (BreakStatus::Explained, None),
        Closing::Fixed(entry) => (BreakStatus::Fixed, Some(entry.uuid())),
    };
    if let Some(entry) = entry {
        let (count,) =
            fetch_one!(db, (i64,), "SELECT COUNT(*) FROM ledger_entries WHERE id = $1", entry,)?;
        if count == 0 {
            return Err(ReconciliationError::EntryNotFound.into());
        }
    }
    let closed = execute!(
        db,
        "UPDATE recon_breaks
         SET status = $2, fixed_entry = $3, note = $4, closed_by = $5, updated_at = $6
         WHERE id = $1 AND status = 'open'",
        id.uuid(),
        status.as_str(),
        entry,
        note.as_str(),
        format!("user:{by}"),
        now.millis(),
    )?;
    let row = find(db, id).await?.ok_or(ReconciliationError::NotFound)?;
    if closed == 0 {
        return Err(ReconciliationError::Closed.into());
    }
    let action = match closing {
        Closing::Explained => Action::BreakExplained,
        Closing::Fixed(_) => Action::BreakFixed,
    };
    let deed = Deed {
        by,
        action,
        target: Target::Break(id),
        reason: Some(note),
        before: json!({ "status": BreakStatus::Open.as_str() }),
        after: json!({ "status": status.as_str(), "fixed_entry": entry }),
    };
    record(db, &deed, now).await?;
    Ok(row)
}

async fn find(db: &mut Db, id: ReconBreakId) -> Result<Option<BreakRow>, StoreError> {
    let row = fetch_optional!(
        db,
        Row,
        "SELECT id, run_id, provider, kind, day, bucket, subject, order_ref, local_ref,
                remote_ref, local_amount, remote_amount, says, status, note, fixed_entry,
                closed_by, found_at, updated_at
         FROM recon_breaks
         WHERE id = $1",
        id.uuid(),
    )?;
    row.map(Row::into_break).transpose()
}

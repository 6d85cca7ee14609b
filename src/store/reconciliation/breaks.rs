//! Breaks: what did not agree, one row each, until somebody has closed it or it was not found again.
//!
//! Invariant: a break is closed by one person, with the reason, and written down with the amounts that they have seen.

use serde_json::json;
use uuid::Uuid;

use crate::domain::audit::{Action, Target};
use crate::domain::ids::{EntryId, JournalEntryId, ReconBreakId, ReconRunId, UserId};
use crate::domain::reconciliation::{Break, BreakStatus, Bucket, ReconciliationError, RunKind};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::audit::{Deed, record};
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};

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
    /// The journal entry that it was, where two people have booked it by hand.
    pub journal_entry: Option<JournalEntryId>,
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
    journal_entry: Option<Uuid>,
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
            journal_entry: self.journal_entry.map(JournalEntryId::from),
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
                    // Each with the index that it needs.
                    let select = match filter.status {
                        Some(_) => {
                            "SELECT b.id, b.run_id, b.provider, b.kind, b.day, b.bucket, b.subject,
                                    b.order_ref, b.local_ref, b.remote_ref, b.local_amount,
                                    b.remote_amount, b.says, b.status, b.note, b.fixed_entry,
                                    (SELECT j.id FROM journal_entries j
                                     WHERE j.entry_id = b.fixed_entry) AS journal_entry,
                                    b.closed_by, b.found_at, b.updated_at
                             FROM recon_breaks b
                             WHERE b.status = $2 AND b.id < $1 AND ($3 = '' OR b.bucket = $3)
                             ORDER BY b.id DESC
                             LIMIT $4"
                        }
                        None => {
                            "SELECT b.id, b.run_id, b.provider, b.kind, b.day, b.bucket, b.subject,
                                    b.order_ref, b.local_ref, b.remote_ref, b.local_amount,
                                    b.remote_amount, b.says, b.status, b.note, b.fixed_entry,
                                    (SELECT j.id FROM journal_entries j
                                     WHERE j.entry_id = b.fixed_entry) AS journal_entry,
                                    b.closed_by, b.found_at, b.updated_at
                             FROM recon_breaks b
                             WHERE b.id < $1 AND $2 = '' AND ($3 = '' OR b.bucket = $3)
                             ORDER BY b.id DESC
                             LIMIT $4"
                        }
                    };
                    fetch_all!(
                        db,
                        Row,
                        select,
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

    /// How much of what the ledger's check of itself has found is open.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count_open_findings(&self, provider: &str) -> Result<i64, StoreError> {
        let provider = provider.to_owned();
        let (count,) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (i64,),
                        "SELECT COUNT(*) FROM recon_breaks
                         WHERE provider = $1 AND kind = 'ledger' AND status = 'open'",
                        provider,
                    )
                })
            })
            .await?;
        Ok(count)
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
        self.write(move |db| {
            Box::pin(async move { close_break(db, id, by, &closing, &note, now).await })
        })
        .await
    }
}

/// A break that nobody else closes until the transaction ends.
///
/// # Errors
/// [`CloseError`] where there is none, or it is closed.
pub async fn lock_open_break(db: &mut Db, id: ReconBreakId) -> Result<(), CloseError> {
    let select = db.dialect(
        "SELECT status FROM recon_breaks WHERE id = $1",
        "SELECT status FROM recon_breaks WHERE id = $1 FOR UPDATE",
    );
    let found = fetch_optional!(db, (String,), select, id.uuid())?;
    let (status,) = found.ok_or(ReconciliationError::NotFound)?;
    match BreakStatus::parse(&status).ok_or(StoreError::NotFound)? {
        BreakStatus::Open => Ok(()),
        BreakStatus::Explained | BreakStatus::Fixed => Err(ReconciliationError::Closed.into()),
    }
}

/// Closes a break that is open, in the transaction of whatever puts it right.
///
/// # Errors
/// [`CloseError`]; the transaction must not be committed then.
pub async fn close_break(
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
        if !is_about(db, id, entry).await? {
            return Err(ReconciliationError::EntryElsewhere.into());
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
        after: json!({
            "status": status.as_str(),
            "fixed_entry": entry,
            "local_amount": row.found.local_amount,
            "remote_amount": row.found.remote_amount,
        }),
    };
    record(db, &deed, now).await?;
    Ok(row)
}

/// Whether an entry moves what a break may be about: what its provider owes, or what is set aside. What the ledger finds in
/// itself may be about any account.
async fn is_about(db: &mut Db, id: ReconBreakId, entry: Uuid) -> Result<bool, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*)
         FROM recon_breaks b
         JOIN ledger_transfers t ON t.entry_id = $2
         JOIN ledger_accounts a ON a.id IN (t.debit_id, t.credit_id)
         WHERE b.id = $1
           AND (a.family = 'suspense' OR a.family = 'psp:' || b.provider || ':receivable'
                OR b.kind = 'ledger')",
        id.uuid(),
        entry,
    )?;
    Ok(count > 0)
}

async fn find(db: &mut Db, id: ReconBreakId) -> Result<Option<BreakRow>, StoreError> {
    let row = fetch_optional!(
        db,
        Row,
        "SELECT b.id, b.run_id, b.provider, b.kind, b.day, b.bucket, b.subject, b.order_ref,
                b.local_ref, b.remote_ref, b.local_amount, b.remote_amount, b.says, b.status,
                b.note, b.fixed_entry,
                (SELECT j.id FROM journal_entries j
                 WHERE j.entry_id = b.fixed_entry) AS journal_entry,
                b.closed_by, b.found_at, b.updated_at
         FROM recon_breaks b
         WHERE b.id = $1",
        id.uuid(),
    )?;
    row.map(Row::into_break).transpose()
}

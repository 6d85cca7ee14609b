//! The manual journal as rows: what somebody has proposed to book, and what somebody else has decided.
//!
//! Invariant: a row that is approved names its entry of the ledger, and was approved by another than has proposed it; a check of
//! the table says so, too.

use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_optional};
use crate::domain::ids::{EntryId, JournalEntryId, PaymentId, ReconBreakId, UserId};
use crate::domain::journal::{DECIDED_WITHIN, JournalAccounts, JournalStatus};
use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;

/// What somebody proposes to book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJournalEntry {
    pub id: JournalEntryId,
    pub accounts: JournalAccounts,
    pub amount: Amount,
    pub currency: Currency,
    pub reason: Reason,
    /// The payment that it is about.
    pub payment: Option<PaymentId>,
    /// The break that it puts right.
    pub recon_break: Option<ReconBreakId>,
    pub by: UserId,
}

/// A journal entry as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    pub id: JournalEntryId,
    /// As it was written down; see [`JournalStatus::at`].
    pub status: JournalStatus,
    pub accounts: JournalAccounts,
    pub amount: Amount,
    pub currency: Currency,
    pub reason: String,
    pub payment: Option<PaymentId>,
    pub recon_break: Option<ReconBreakId>,
    /// What it became in the ledger.
    pub entry: Option<EntryId>,
    pub proposed_by: UserId,
    pub decided_by: Option<UserId>,
    /// Why it was decided so.
    pub decision: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub decided_at: Option<Timestamp>,
}

/// What somebody decides.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'d> {
    /// The entry of the ledger; `None` rejects it.
    pub entry: Option<EntryId>,
    pub by: UserId,
    pub reason: &'d Reason,
}

/// Which journal entries are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalFilter {
    pub status: Option<JournalStatus>,
    pub payment: Option<PaymentId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    status: String,
    debit: String,
    credit: String,
    amount: i64,
    currency: String,
    reason: String,
    payment_id: Option<Uuid>,
    break_id: Option<Uuid>,
    entry_id: Option<Uuid>,
    proposed_by: Uuid,
    decided_by: Option<Uuid>,
    decision: Option<String>,
    created_at: i64,
    expires_at: i64,
    decided_at: Option<i64>,
}

impl Row {
    fn into_entry(self) -> Result<JournalEntry, StoreError> {
        let accounts = JournalAccounts::parse(&self.debit, &self.credit);
        Ok(JournalEntry {
            id: self.id.into(),
            status: JournalStatus::parse(&self.status).ok_or(StoreError::NotFound)?,
            accounts: accounts.map_err(|_| StoreError::NotFound)?,
            amount: Amount::new(self.amount).map_err(|_| StoreError::NotFound)?,
            currency: self.currency.parse().map_err(|_| StoreError::NotFound)?,
            reason: self.reason,
            payment: self.payment_id.map(PaymentId::from),
            recon_break: self.break_id.map(ReconBreakId::from),
            entry: self.entry_id.map(EntryId::from),
            proposed_by: self.proposed_by.into(),
            decided_by: self.decided_by.map(UserId::from),
            decision: self.decision,
            created_at: Timestamp::from_millis(self.created_at),
            expires_at: Timestamp::from_millis(self.expires_at),
            decided_at: self.decided_at.map(Timestamp::from_millis),
        })
    }
}

/// Writes a proposal down.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn insert_journal_entry(
    db: &mut Db,
    new: &NewJournalEntry,
    now: Timestamp,
) -> Result<JournalEntry, StoreError> {
    let expires_at = now.plus(DECIDED_WITHIN);
    execute!(
        db,
        "INSERT INTO journal_entries
             (id, status, debit, credit, amount, currency, reason, payment_id, break_id,
              proposed_by, created_at, expires_at)
         VALUES ($1, 'proposed', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        new.id.uuid(),
        new.accounts.debit(),
        new.accounts.credit(),
        new.amount.minor(),
        new.currency.as_str(),
        new.reason.as_str(),
        new.payment.map(PaymentId::uuid),
        new.recon_break.map(ReconBreakId::uuid),
        new.by.uuid(),
        now.millis(),
        expires_at.millis(),
    )?;
    Ok(JournalEntry {
        id: new.id,
        status: JournalStatus::Proposed,
        accounts: new.accounts,
        amount: new.amount,
        currency: new.currency,
        reason: new.reason.as_str().to_owned(),
        payment: new.payment,
        recon_break: new.recon_break,
        entry: None,
        proposed_by: new.by,
        decided_by: None,
        decision: None,
        created_at: now,
        expires_at,
        decided_at: None,
    })
}

/// An entry that nobody else decides about until the transaction ends.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn lock_journal_entry(
    db: &mut Db,
    id: JournalEntryId,
) -> Result<Option<JournalEntry>, StoreError> {
    let select = db.dialect(
        "SELECT id, status, debit, credit, amount, currency, reason, payment_id, break_id,
                entry_id, proposed_by, decided_by, decision, created_at, expires_at, decided_at
         FROM journal_entries
         WHERE id = $1",
        "SELECT id, status, debit, credit, amount, currency, reason, payment_id, break_id,
                entry_id, proposed_by, decided_by, decision, created_at, expires_at, decided_at
         FROM journal_entries
         WHERE id = $1
         FOR UPDATE",
    );
    let row = fetch_optional!(db, Row, select, id.uuid())?;
    row.map(Row::into_entry).transpose()
}

/// Notes what somebody has decided, in the transaction that does it.
///
/// # Errors
/// [`StoreError::NotFound`] for one that was decided about; [`StoreError::Constraint`] `journal_entries_approver_check` where
/// it is the same person.
pub async fn update_decided(
    db: &mut Db,
    id: JournalEntryId,
    decision: &Decision<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let status = match decision.entry {
        Some(_) => JournalStatus::Approved,
        None => JournalStatus::Rejected,
    };
    let updated = execute!(
        db,
        "UPDATE journal_entries
         SET status = $2, entry_id = $3, decided_by = $4, decision = $5, decided_at = $6
         WHERE id = $1 AND status = 'proposed'",
        id.uuid(),
        status.as_str(),
        decision.entry.map(EntryId::uuid),
        decision.by.uuid(),
        decision.reason.as_str(),
        now.millis(),
    )?;
    if updated == 1 { Ok(()) } else { Err(StoreError::NotFound) }
}

impl Store {
    /// A journal entry.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_journal_entry(
        &self,
        id: JournalEntryId,
    ) -> Result<Option<JournalEntry>, StoreError> {
        let row = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        Row,
                        "SELECT id, status, debit, credit, amount, currency, reason, payment_id,
                                break_id, entry_id, proposed_by, decided_by, decision, created_at,
                                expires_at, decided_at
                         FROM journal_entries
                         WHERE id = $1",
                        id.uuid(),
                    )
                })
            })
            .await?;
        row.map(Row::into_entry).transpose()
    }

    /// Journal entries from before `before`, the newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_journal_entries(
        &self,
        filter: JournalFilter,
        before: Option<JournalEntryId>,
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let before = before.map_or(Uuid::max(), JournalEntryId::uuid);
        let payment = filter.payment.map_or(Uuid::nil(), PaymentId::uuid);
        let (status, after, until) = match filter.status {
            None => ("", i64::MIN, i64::MAX),
            Some(JournalStatus::Proposed) => ("proposed", now.millis(), i64::MAX),
            Some(JournalStatus::Expired) => ("proposed", i64::MIN, now.millis()),
            Some(decided) => (decided.as_str(), i64::MIN, i64::MAX),
        };
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        Row,
                        "SELECT id, status, debit, credit, amount, currency, reason, payment_id,
                                break_id, entry_id, proposed_by, decided_by, decision, created_at,
                                expires_at, decided_at
                         FROM journal_entries
                         WHERE id < $1 AND ($2 = '' OR status = $2)
                           AND expires_at > $3 AND expires_at <= $4
                           AND ($5 = $6 OR payment_id = $5)
                         ORDER BY id DESC
                         LIMIT $7",
                        before,
                        status,
                        after,
                        until,
                        payment,
                        Uuid::nil(),
                        limit,
                    )
                })
            })
            .await?;
        rows.into_iter().map(Row::into_entry).collect()
    }
}

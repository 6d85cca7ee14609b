//! The manual journal: one person proposes to move money out of suspense or into it, and another has it booked.
//!
//! Invariant: an entry is booked once, in one transaction with who has approved it, its lines of the audit, and the break that
//! it puts right; and no entry by hand takes more from suspense than there is. Flows may: what a provider has given back is
//! booked, whatever people have moved meanwhile. So it is looked at here, with the account locked, and not by a guard.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Payments;
use super::answers::Answered;
use crate::domain::audit::{Action, Target};
use crate::domain::idempotency::{IdempotencyError, IdempotentCall, StoredAnswer};
use crate::domain::ids::{EntryId, JournalEntryId, PaymentId, ReconBreakId, UserId};
use crate::domain::journal::{Deciding, JournalError};
use crate::domain::ledger::LedgerError;
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::Reference;
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::PaymentError;
use crate::domain::reconciliation::ReconciliationError;
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::audit::{Deed, record};
use crate::store::idempotency::{Claimed, claim, finish};
use crate::store::journal::{
    Decision, JournalEntry, NewJournalEntry, insert_journal_entry, lock_journal_entry,
    update_decided,
};
use crate::store::ledger::balances::{find_counters, is_account};
use crate::store::ledger::{BookError, book};
use crate::store::payments::lock_payment;
use crate::store::reconciliation::breaks::{CloseError, Closing, close_break, lock_open_break};
use crate::store::{Db, StoreError};

const CREATED: u16 = 201;

/// Why nothing was proposed, or decided.
#[derive(Debug, thiserror::Error)]
pub enum JournalFailure {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Break(#[from] ReconciliationError),
    #[error(transparent)]
    Payment(#[from] PaymentError),
    #[error(transparent)]
    Key(#[from] IdempotencyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The books say something that they cannot: a defect.
    #[error("a journal entry cannot be booked: {0}")]
    Broken(LedgerError),
}

impl From<CloseError> for JournalFailure {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::Refused(error) => Self::Break(error),
            CloseError::Store(error) => Self::Store(error),
        }
    }
}

impl From<BookError> for JournalFailure {
    fn from(error: BookError) -> Self {
        match error {
            BookError::Store(error) => Self::Store(error),
            BookError::Ledger(LedgerError::Overdraft) => JournalError::Overdraft.into(),
            BookError::Ledger(LedgerError::TooLarge) => JournalError::TooLarge.into(),
            BookError::Ledger(LedgerError::Frozen) => JournalError::AccountFrozen.into(),
            BookError::Ledger(
                error @ (LedgerError::InvalidEntry
                | LedgerError::KeyReused
                | LedgerError::HoldNotFound
                | LedgerError::HoldResolved
                | LedgerError::HoldExpired
                | LedgerError::MoreThanHeld),
            ) => Self::Broken(error),
        }
    }
}

/// Money that two people move out of suspense, or into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JournalEntryView {
    pub journal_entry_id: JournalEntryId,
    /// `proposed`, `approved`, `rejected`, or `expired` where nobody has decided in time.
    #[schema(example = "proposed")]
    pub status: &'static str,
    /// The family of the account that is debited.
    #[schema(example = "suspense")]
    pub debit: String,
    /// The family of the account that is credited.
    #[schema(example = "income:fee")]
    pub credit: String,
    pub amount: Amount,
    pub currency: Currency,
    pub reason: String,
    /// The payment that it is about.
    pub payment_id: Option<PaymentId>,
    /// The break that it puts right.
    pub break_id: Option<ReconBreakId>,
    /// What it became in the ledger.
    pub entry_id: Option<EntryId>,
    pub proposed_by: UserId,
    pub decided_by: Option<UserId>,
    /// Why it was decided so.
    pub decision: Option<String>,
    pub created_at: Timestamp,
    /// Until when somebody may approve it.
    pub expires_at: Timestamp,
    pub decided_at: Option<Timestamp>,
}

impl JournalEntryView {
    /// An entry as it stands by now.
    #[must_use]
    pub fn of(entry: JournalEntry, now: Timestamp) -> Self {
        Self {
            journal_entry_id: entry.id,
            status: entry.status.at(now, entry.expires_at).as_str(),
            debit: entry.accounts.debit(),
            credit: entry.accounts.credit(),
            amount: entry.amount,
            currency: entry.currency,
            reason: entry.reason,
            payment_id: entry.payment,
            break_id: entry.recon_break,
            entry_id: entry.entry,
            proposed_by: entry.proposed_by,
            decided_by: entry.decided_by,
            decision: entry.decision,
            created_at: entry.created_at,
            expires_at: entry.expires_at,
            decided_at: entry.decided_at,
        }
    }
}

/// Somebody who decides about an entry.
#[derive(Debug, Clone)]
struct Decider {
    id: JournalEntryId,
    by: UserId,
    reason: Reason,
}

impl Payments {
    /// Notes what somebody wants to have booked; moves nothing. Sent again under the same key it gives the same answer.
    ///
    /// # Errors
    /// [`JournalFailure`], with nothing done and nothing kept under the key.
    pub async fn propose_journal_entry(
        &self,
        new: NewJournalEntry,
        call: IdempotentCall,
    ) -> Result<Answered, JournalFailure> {
        let (now, dealt_in) = (self.now(), self.0.settings.currency);
        self.0
            .desk
            .store
            .write(move |db| Box::pin(async move { propose(db, &new, &call, dealt_in, now).await }))
            .await
    }

    /// Books what somebody else has proposed, and closes the break that it puts right.
    ///
    /// # Errors
    /// [`JournalFailure`], with nothing done.
    pub async fn approve_journal_entry(
        &self,
        id: JournalEntryId,
        by: UserId,
        reason: Reason,
    ) -> Result<JournalEntryView, JournalFailure> {
        let (decider, now) = (Decider { id, by, reason }, self.now());
        self.0
            .desk
            .store
            .write(move |db| Box::pin(async move { approve(db, &decider, now).await }))
            .await
    }

    /// Says no to what somebody has proposed; whoever has proposed it takes it back so.
    ///
    /// # Errors
    /// [`JournalFailure`], with nothing done.
    pub async fn reject_journal_entry(
        &self,
        id: JournalEntryId,
        by: UserId,
        reason: Reason,
    ) -> Result<JournalEntryView, JournalFailure> {
        let (decider, now) = (Decider { id, by, reason }, self.now());
        self.0
            .desk
            .store
            .write(move |db| Box::pin(async move { reject(db, &decider, now).await }))
            .await
    }
}

async fn propose(
    db: &mut Db,
    new: &NewJournalEntry,
    call: &IdempotentCall,
    dealt_in: Currency,
    now: Timestamp,
) -> Result<Answered, JournalFailure> {
    match claim(db, call, now).await? {
        Claimed::New | Claimed::Resumed(_) => {}
        Claimed::Finished(answer) => {
            return Ok(Answered { answer, is_replayed: true, payment: None });
        }
        Claimed::Reused => return Err(IdempotencyError::Reused.into()),
        Claimed::InFlight | Claimed::Workflow(_) => return Err(IdempotencyError::InUse.into()),
    }
    // A provider may have taken another currency than was agreed: that is in suspense, too.
    if new.currency != dealt_in && !is_account(db, AccountName::Suspense.id(new.currency)).await? {
        return Err(PaymentError::CurrencyNotSupported.into());
    }
    if let Some(payment) = new.payment
        && lock_payment(db, payment).await?.is_none()
    {
        return Err(PaymentError::NotFound.into());
    }
    if let Some(id) = new.recon_break {
        lock_open_break(db, id).await?;
    }
    let entry = insert_journal_entry(db, new, now).await?;
    let view = JournalEntryView::of(entry, now);
    let deed = Deed {
        by: new.by,
        action: Action::JournalProposed,
        target: Target::JournalEntry(new.id),
        reason: Some(&new.reason),
        before: Value::Null,
        after: money_of(&view),
    };
    record(db, &deed, now).await?;
    let answer = StoredAnswer { status: CREATED, body: json!(view).to_string() };
    let answer = finish(db, call, &answer).await?;
    Ok(Answered { answer, is_replayed: false, payment: None })
}

/// Locks the proposal, then its break, and the accounts last.
async fn approve(
    db: &mut Db,
    decider: &Decider,
    now: Timestamp,
) -> Result<JournalEntryView, JournalFailure> {
    let Decider { id, by, reason } = decider;
    let found = lock_journal_entry(db, *id).await?.ok_or(JournalError::NotFound)?;
    deciding(&found, *by, now).approve()?;
    if let Some(recon_break) = found.recon_break {
        lock_open_break(db, recon_break).await?;
    }
    let entry = book_entry(db, &found, *by, now).await?;
    let decision = Decision { entry: Some(entry), by: *by, reason };
    update_decided(db, *id, &decision, now).await?;
    if let Some(recon_break) = found.recon_break {
        close_break(db, recon_break, *by, &Closing::Fixed(entry), reason, now).await?;
    }
    decided(db, decider, Action::JournalApproved, now).await
}

async fn reject(
    db: &mut Db,
    decider: &Decider,
    now: Timestamp,
) -> Result<JournalEntryView, JournalFailure> {
    let Decider { id, by, reason } = decider;
    let found = lock_journal_entry(db, *id).await?.ok_or(JournalError::NotFound)?;
    deciding(&found, *by, now).reject()?;
    update_decided(db, *id, &Decision { entry: None, by: *by, reason }, now).await?;
    decided(db, decider, Action::JournalRejected, now).await
}

fn deciding(found: &JournalEntry, by: UserId, now: Timestamp) -> Deciding {
    Deciding {
        status: found.status.at(now, found.expires_at),
        proposed_by: found.proposed_by,
        decided_by: by,
    }
}

/// Writes what was proposed into the ledger.
async fn book_entry(
    db: &mut Db,
    found: &JournalEntry,
    by: UserId,
    now: Timestamp,
) -> Result<EntryId, JournalFailure> {
    let payment = found.payment.map(|it| Reference { kind: "payment", id: it.uuid() });
    let recon_break = found.recon_break.map(|it| Reference { kind: "break", id: it.uuid() });
    let money = (found.amount, found.currency);
    let entry = found.accounts.entry(found.id, payment.or(recon_break), money, by);
    book(db, &entry, now).await?;
    // Booking has locked the account: nobody else moves it until this commits.
    if found.accounts.takes_from_suspense() {
        let suspense = find_counters(db, AccountName::Suspense, found.currency).await?;
        if suspense.credit_available() < 0 {
            return Err(JournalError::Overdraft.into());
        }
    }
    Ok(entry.id())
}

/// Writes down who has decided, and gives the entry as it stands then.
async fn decided(
    db: &mut Db,
    decider: &Decider,
    action: Action,
    now: Timestamp,
) -> Result<JournalEntryView, JournalFailure> {
    let found = lock_journal_entry(db, decider.id).await?.ok_or(JournalError::NotFound)?;
    let view = JournalEntryView::of(found, now);
    let mut after = money_of(&view);
    if let Some(after) = after.as_object_mut() {
        after.insert("status".to_owned(), json!(view.status));
        after.insert("entry_id".to_owned(), json!(view.entry_id));
    }
    let deed = Deed {
        by: decider.by,
        action,
        target: Target::JournalEntry(decider.id),
        reason: Some(&decider.reason),
        before: json!({ "status": "proposed", "proposed_by": view.proposed_by }),
        after,
    };
    record(db, &deed, now).await?;
    Ok(view)
}

/// What moves, as the audit says it.
fn money_of(view: &JournalEntryView) -> Value {
    json!({
        "debit": view.debit,
        "credit": view.credit,
        "amount": view.amount,
        "currency": view.currency,
        "payment_id": view.payment_id,
        "break_id": view.break_id,
    })
}

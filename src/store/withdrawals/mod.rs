//! Withdrawals as rows: asked for once, and moved on by [`transition`] alone.
//!
//! Invariant: a status, its line in the history, the domain event and what the ledger says of it are of one
//! transaction. Locks are taken in the order workflow, withdrawal, wallet, ledger.

mod lists;
mod postings;

use serde_json::json;
use uuid::Uuid;

pub use self::lists::{WaitingWithdrawal, WaitsFor, Watched};
pub use self::postings::{paid_out, requested, returned, voided};
use super::{Db, StoreError, execute, fetch_one, fetch_optional, outbox};
use crate::clock;
use crate::domain::events::{DomainEvent, PAYMENT_EVENTS};
use crate::domain::ids::{BankAccountId, UserId, WithdrawalId, WorkflowId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::Cause;
use crate::domain::time::Timestamp;
use crate::domain::withdrawals::{IllegalWithdrawal, WithdrawalStatus};

/// A withdrawal as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    pub id: WithdrawalId,
    pub user: UserId,
    pub currency: Currency,
    pub amount: Amount,
    pub bank_account: BankAccountId,
    pub provider: String,
    pub provider_key: Option<String>,
    pub workflow: WorkflowId,
    pub status: WithdrawalStatus,
    pub failure_code: Option<String>,
    pub needs_approval: bool,
    pub not_before: Timestamp,
    pub requested_by: UserId,
    pub approved_by: Option<UserId>,
    pub rejected_by: Option<UserId>,
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A withdrawal about to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWithdrawal {
    pub id: WithdrawalId,
    pub user: UserId,
    pub currency: Currency,
    pub amount: Amount,
    pub bank_account: BankAccountId,
    pub provider: &'static str,
    pub workflow: WorkflowId,
    pub needs_approval: bool,
    pub not_before: Timestamp,
}

/// A change of status, and what is noted with it.
#[derive(Debug, Clone)]
pub struct Change {
    pub to: WithdrawalStatus,
    pub cause: Cause,
    /// `user:<id>`, `workflow:<id>`.
    pub actor: String,
    /// Who says yes or no, where a person does.
    pub by: Option<UserId>,
    pub reason: Option<String>,
    pub provider_key: Option<String>,
    pub failure_code: Option<String>,
}

/// Why a withdrawal is not moved on.
#[derive(Debug, thiserror::Error)]
pub enum TransitionError {
    #[error(transparent)]
    Illegal(#[from] IllegalWithdrawal),
    /// Whoever asked for it does not decide about it.
    #[error("nobody decides about a withdrawal of their own")]
    OwnWithdrawal,
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for TransitionError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Constraint(name)
                if name == "withdrawals_approver_check"
                    || name == "withdrawals_rejecter_check"
                    || name == "withdrawals_wait_lifter_check" =>
            {
                Self::OwnWithdrawal
            }
            _ => Self::Store(error),
        }
    }
}

impl Change {
    /// One about which there is nothing more to say.
    #[must_use]
    pub const fn new(to: WithdrawalStatus, cause: Cause, actor: String) -> Self {
        let (by, reason, provider_key, failure_code) = (None, None, None, None);
        Self { to, cause, actor, by, reason, provider_key, failure_code }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    user_id: Uuid,
    currency: String,
    amount: i64,
    bank_account_id: Uuid,
    provider: String,
    provider_key: Option<String>,
    workflow_id: Uuid,
    status: String,
    failure_code: Option<String>,
    needs_approval: i64,
    not_before: i64,
    requested_by: Uuid,
    approved_by: Option<Uuid>,
    rejected_by: Option<Uuid>,
    version: i64,
    created_at: i64,
    updated_at: i64,
}

impl Row {
    /// `None` where a later release has written something that this one does not know.
    fn into_withdrawal(self) -> Option<Withdrawal> {
        Some(Withdrawal {
            id: self.id.into(),
            user: self.user_id.into(),
            currency: self.currency.parse().ok()?,
            amount: Amount::new(self.amount).ok()?,
            bank_account: self.bank_account_id.into(),
            provider: self.provider,
            provider_key: self.provider_key,
            workflow: self.workflow_id.into(),
            status: WithdrawalStatus::parse(&self.status)?,
            failure_code: self.failure_code,
            needs_approval: self.needs_approval != 0,
            not_before: Timestamp::from_millis(self.not_before),
            requested_by: self.requested_by.into(),
            approved_by: self.approved_by.map(Into::into),
            rejected_by: self.rejected_by.map(Into::into),
            version: self.version,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

/// Stores a withdrawal; `WithdrawalRequested`.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn insert_withdrawal(
    db: &mut Db,
    new: &NewWithdrawal,
    now: Timestamp,
) -> Result<Withdrawal, StoreError> {
    execute!(
        db,
        "INSERT INTO withdrawals
             (id, user_id, currency, amount, bank_account_id, provider, workflow_id, status,
              needs_approval, not_before, requested_by, looked_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'requested', $8, $9, $2, $10, $10, $10)",
        new.id.uuid(),
        new.user.uuid(),
        new.currency.as_str(),
        new.amount.minor(),
        new.bank_account.uuid(),
        new.provider,
        new.workflow.uuid(),
        i64::from(new.needs_approval),
        new.not_before.millis(),
        now.millis(),
    )?;
    let withdrawal = lock_withdrawal(db, new.id).await?;
    let actor = format!("user:{}", new.user);
    let change = Change::new(WithdrawalStatus::Requested, Cause::Api, actor);
    insert_transition(db, &withdrawal, None, &change, now).await?;
    Ok(withdrawal)
}

/// A withdrawal, locked until the transaction ends.
///
/// # Errors
/// [`StoreError::NotFound`], any other when the database does not answer.
pub async fn lock_withdrawal(db: &mut Db, id: WithdrawalId) -> Result<Withdrawal, StoreError> {
    let select = db.dialect(
        "SELECT id, user_id, currency, amount, bank_account_id, provider, provider_key,
                workflow_id, status, failure_code, needs_approval, not_before, requested_by,
                approved_by, rejected_by, version, created_at, updated_at
         FROM withdrawals
         WHERE id = $1",
        "SELECT id, user_id, currency, amount, bank_account_id, provider, provider_key,
                workflow_id, status, failure_code, needs_approval, not_before, requested_by,
                approved_by, rejected_by, version, created_at, updated_at
         FROM withdrawals
         WHERE id = $1
         FOR UPDATE",
    );
    let row = fetch_optional!(db, Row, select, id.uuid())?;
    row.and_then(Row::into_withdrawal).ok_or(StoreError::NotFound)
}

/// The workflow of a withdrawal: locked before the withdrawal itself, as by whoever works on it.
///
/// # Errors
/// [`StoreError::NotFound`], any other when the database does not answer.
pub async fn get_workflow_of(db: &mut Db, id: WithdrawalId) -> Result<WorkflowId, StoreError> {
    let (workflow,) =
        fetch_one!(db, (Uuid,), "SELECT workflow_id FROM withdrawals WHERE id = $1", id.uuid())?;
    Ok(workflow.into())
}

/// Who has changed the status of a locked withdrawal last.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_last_actor(db: &mut Db, withdrawal: &Withdrawal) -> Result<String, StoreError> {
    let (actor,) = fetch_one!(
        db,
        (String,),
        "SELECT actor FROM withdrawal_transitions
         WHERE withdrawal_id = $1
         ORDER BY seq DESC
         LIMIT 1",
        withdrawal.id.uuid(),
    )?;
    Ok(actor)
}

/// What a user asked for since then and what was neither refused nor given up: how often, and how much. Then whether
/// they were ever paid.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn count_withdrawals(
    db: &mut Db,
    user: UserId,
    currency: Currency,
    since: Timestamp,
) -> Result<(i64, i64, bool), StoreError> {
    let (count, sum) = fetch_one!(
        db,
        (i64, i64),
        "SELECT COUNT(*), CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM withdrawals
         WHERE user_id = $1 AND currency = $2 AND created_at > $3
           AND status NOT IN ('rejected', 'canceled', 'failed')",
        user.uuid(),
        currency.as_str(),
        since.millis(),
    )?;
    let (paid,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM withdrawals WHERE user_id = $1 AND status = 'paid'",
        user.uuid(),
    )?;
    Ok((count, sum, paid > 0))
}

/// Moves a locked withdrawal on: the one way there is. Publishes what happened.
///
/// # Errors
/// [`TransitionError`]; the transaction must not be committed then.
pub async fn transition(
    db: &mut Db,
    withdrawal: &Withdrawal,
    change: Change,
    now: Timestamp,
) -> Result<Withdrawal, TransitionError> {
    let from = withdrawal.status;
    let mut next = withdrawal.clone();
    next.status = from.next(change.to)?;
    next.version = next.version.saturating_add(1);
    next.updated_at = now;
    match next.status {
        WithdrawalStatus::Approved => next.approved_by = change.by,
        WithdrawalStatus::Rejected => next.rejected_by = change.by,
        _ => {}
    }
    next.provider_key = change.provider_key.clone().or(next.provider_key);
    next.failure_code = change.failure_code.clone().or(next.failure_code);
    let updated = execute!(
        db,
        "UPDATE withdrawals
         SET status = $3, version = version + 1, updated_at = $4, approved_by = $5,
             rejected_by = $6, provider_key = $7, failure_code = $8, reason = coalesce($9, reason)
         WHERE id = $1 AND version = $2",
        next.id.uuid(),
        withdrawal.version,
        next.status.as_str(),
        now.millis(),
        next.approved_by.map(UserId::uuid),
        next.rejected_by.map(UserId::uuid),
        next.provider_key.as_deref(),
        next.failure_code.as_deref(),
        change.reason.as_deref(),
    )?;
    if updated == 0 {
        return Err(StoreError::NotFound.into());
    }
    insert_transition(db, &next, Some(from), &change, now).await?;
    Ok(next)
}

/// Lets a locked withdrawal go before its time. No change of status.
///
/// # Errors
/// [`TransitionError::OwnWithdrawal`] for whoever asked for it, or approved what a second person has to let go.
pub async fn lift_wait(
    db: &mut Db,
    withdrawal: &Withdrawal,
    by: UserId,
    now: Timestamp,
) -> Result<Withdrawal, TransitionError> {
    execute!(
        db,
        "UPDATE withdrawals
         SET not_before = $2, wait_lifted_by = $3, version = version + 1, updated_at = $2
         WHERE id = $1",
        withdrawal.id.uuid(),
        now.millis(),
        by.uuid(),
    )?;
    let version = withdrawal.version.saturating_add(1);
    Ok(Withdrawal { not_before: now, version, updated_at: now, ..withdrawal.clone() })
}

/// Notes what the provider calls a withdrawal that it has accepted and not yet made.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn update_provider_key(
    db: &mut Db,
    withdrawal: &Withdrawal,
    provider_key: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE withdrawals SET provider_key = $2, looked_at = $3 WHERE id = $1",
        withdrawal.id.uuid(),
        provider_key,
        now.millis(),
    )
    .map(|_| ())
}

async fn insert_transition(
    db: &mut Db,
    withdrawal: &Withdrawal,
    from: Option<WithdrawalStatus>,
    change: &Change,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO withdrawal_transitions
             (withdrawal_id, seq, from_status, to_status, cause, actor, reason, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        withdrawal.id.uuid(),
        withdrawal.version,
        from.map(WithdrawalStatus::as_str),
        withdrawal.status.as_str(),
        change.cause.as_str(),
        change.actor.as_str(),
        change.reason.as_deref(),
        now.millis(),
    )?;
    let Some(name) = withdrawal.status.event() else { return Ok(()) };
    let event = DomainEvent {
        id: clock::new_uuid().into(),
        topic: PAYMENT_EVENTS,
        name,
        subject: withdrawal.id.to_string(),
        at: now,
        data: json!({
            "withdrawal_id": withdrawal.id,
            "user_id": withdrawal.user,
            "amount": withdrawal.amount,
            "currency": withdrawal.currency,
            "failure_code": withdrawal.failure_code,
            "seq": withdrawal.version,
        }),
    };
    outbox::append(db, &event).await
}

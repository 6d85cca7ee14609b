//! Decisions: who lets a withdrawal go, and who does not.
//!
//! Invariant: whoever works on a withdrawal locks its workflow first, and so does whoever decides; what an administrator
//! does is in the audit, in the same transaction.

use serde_json::json;

use super::{Wallets, WalletsError, known, wake};
use crate::domain::audit::{Action, Target};
use crate::domain::ids::{UserId, WithdrawalId};
use crate::domain::payments::Cause;
use crate::domain::time::Timestamp;
use crate::domain::wallets::WalletError;
use crate::domain::withdrawals::{Asked, WithdrawalStatus, Yes};
use crate::domain::workflows::Reason;
use crate::store::Db;
use crate::store::audit::{Deed, record};
use crate::store::disputes::arrivals::book_arrival;
use crate::store::withdrawals::{
    Change, Withdrawal, get_workflow_of, lift_wait, lock_withdrawal, transition, voided,
};

impl Wallets {
    /// Gives up a withdrawal that was not sent; what was held is free.
    ///
    /// # Errors
    /// [`WalletError::NotFound`], [`WalletError::WrongStatus`], [`WalletsError::Store`].
    pub async fn cancel(&self, user: UserId, id: WithdrawalId) -> Result<Withdrawal, WalletsError> {
        let now = (self.clock)();
        self.store()
            .write(move |db| {
                Box::pin(async move {
                    let found = locked(db, id, "canceled", now).await?;
                    if found.user != user {
                        return Err(WalletError::NotFound.into());
                    }
                    let actor = format!("user:{user}");
                    let change = Change::new(WithdrawalStatus::Canceled, Cause::Api, actor);
                    let canceled = transition(db, &found, change, now).await?;
                    book_arrival(db, canceled.user, &voided(&canceled), now).await?;
                    Ok(canceled)
                })
            })
            .await
    }

    /// Says yes to a withdrawal: another person than who asked for it. A small one goes at once; of a large one that has
    /// to wait, a second person says so.
    ///
    /// # Errors
    /// [`WalletError::OwnDecision`], [`WalletError::SecondPersonNeeded`], [`WalletError::NotFound`],
    /// [`WalletError::WrongStatus`], [`WalletsError::Store`].
    pub async fn approve(
        &self,
        by: UserId,
        id: WithdrawalId,
        reason: Reason,
    ) -> Result<Withdrawal, WalletsError> {
        let now = (self.clock)();
        self.store()
            .write(move |db| {
                Box::pin(async move {
                    // Of two people each wakes it, in their own name.
                    let found = locked(db, id, &format!("approved:{by}"), now).await?;
                    let asked = Asked {
                        status: found.status,
                        needs_approval: found.needs_approval,
                        is_early: now < found.not_before,
                        approved_by: found.approved_by,
                    };
                    let yes = asked.yes_of(by)?;
                    let mut next = found.clone();
                    let mut action = Action::WithdrawalWaitLifted;
                    if matches!(yes, Yes::Approves | Yes::ApprovesNow) {
                        let change = decided(WithdrawalStatus::Approved, by, &reason);
                        next = transition(db, &next, change, now).await?;
                        action = Action::WithdrawalApproved;
                    }
                    if matches!(yes, Yes::LiftsWait | Yes::ApprovesNow) {
                        next = lift_wait(db, &next, by, now).await?;
                    }
                    written(db, (&found, &next), (by, action), &reason, now).await?;
                    Ok(next)
                })
            })
            .await
    }

    /// Says no to a withdrawal; what was held is free.
    ///
    /// # Errors
    /// [`WalletError::OwnDecision`], [`WalletError::NotFound`], [`WalletError::WrongStatus`], [`WalletsError::Store`].
    pub async fn reject(
        &self,
        by: UserId,
        id: WithdrawalId,
        reason: Reason,
    ) -> Result<Withdrawal, WalletsError> {
        let now = (self.clock)();
        self.store()
            .write(move |db| {
                Box::pin(async move {
                    let found = locked(db, id, "rejected", now).await?;
                    let change = decided(WithdrawalStatus::Rejected, by, &reason);
                    let rejected = transition(db, &found, change, now).await?;
                    let who = (by, Action::WithdrawalRejected);
                    written(db, (&found, &rejected), who, &reason, now).await?;
                    book_arrival(db, rejected.user, &voided(&rejected), now).await?;
                    Ok(rejected)
                })
            })
            .await
    }
}

/// A withdrawal, locked behind its workflow, which is told that something was decided.
async fn locked(
    db: &mut Db,
    id: WithdrawalId,
    what: &str,
    now: Timestamp,
) -> Result<Withdrawal, WalletsError> {
    let workflow = get_workflow_of(db, id).await.map_err(known)?;
    wake(db, workflow, what, now).await?;
    lock_withdrawal(db, id).await.map_err(known)
}

async fn written(
    db: &mut Db,
    (before, after): (&Withdrawal, &Withdrawal),
    (by, action): (UserId, Action),
    reason: &Reason,
    now: Timestamp,
) -> Result<(), WalletsError> {
    let said = |it: &Withdrawal| {
        json!({
            "status": it.status.as_str(),
            "not_before": it.not_before,
            "amount": it.amount,
            "currency": it.currency,
        })
    };
    let deed = Deed {
        by,
        action,
        target: Target::Withdrawal(after.id),
        reason: Some(reason),
        before: said(before),
        after: said(after),
    };
    Ok(record(db, &deed, now).await?)
}

fn decided(to: WithdrawalStatus, by: UserId, reason: &Reason) -> Change {
    let change = Change::new(to, Cause::Admin, format!("user:{by}"));
    Change { by: Some(by), reason: Some(reason.as_str().to_owned()), ..change }
}

//! Wallets: what users have, where it is paid out to, and how it gets there.
//!
//! Invariant: what is asked for is held before anybody decides about it, and the ledger alone says whether there is
//! enough. Whoever asks, decides about nothing of their own.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::withdraw::{
    DECIDED, KIND, Sender, VERSION, Way, WithdrawState, flow, is_what_was_asked_for, record_failed,
    record_paid, refusal_of, send_key,
};
use crate::actors::workflow::engine::Clock;
use crate::actors::workflow::flow::{Flow, StepError};
use crate::clock;
use crate::domain::bank_accounts::{AccountDetails, BankAccountError, BankCode};
use crate::domain::idempotency::{IdempotencyError, IdempotentCall};
use crate::domain::ids::{BankAccountId, UserId, WithdrawalId, WorkflowId};
use crate::domain::ledger::LedgerError;
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::Cause;
use crate::domain::time::Timestamp;
use crate::domain::wallets::WalletError;
use crate::domain::withdrawals::{Standing, WithdrawalRefusal, WithdrawalRules, WithdrawalStatus};
use crate::domain::workflows::Reason;
use crate::providers::payments::{LookUp, PaidOut, PayoutStatus, Providers};
use crate::providers::seal::Seal;
use crate::store::bank_accounts::{
    AccountChangeError, BankAccount, NewBankAccount, Voucher, find_bank_account, keep_bank_account,
};
use crate::store::idempotency::{Claimed, attach, claim};
use crate::store::ledger::{BookError, book};
use crate::store::wallets::{Wallet, lock_wallet};
use crate::store::withdrawals::{
    Change, NewWithdrawal, TransitionError, Watch, Withdrawal, count_withdrawals, get_workflow_of,
    insert_withdrawal, lock_withdrawal, requested, returned, transition, voided,
};
use crate::store::workflows::signals::{Signal, insert_signal};
use crate::store::workflows::{NewWorkflow, insert_workflow};
use crate::store::{Db, Store, StoreError};

const DAY: Duration = Duration::from_hours(24);
/// How often somebody asks what a bank does with what it was given, and whether it has sent it back.
const ACCEPTED_INTERVAL: Duration = Duration::from_mins(1);
const PAID_INTERVAL: Duration = Duration::from_hours(1);
/// A bank sends nothing back after that.
const RETURNED_WITHIN: Duration = Duration::from_hours(14 * 24);
/// Withdrawals that are asked for in one round.
const WATCHED_MAX: i64 = 100;

/// What an operation with wallets can come to besides success.
#[derive(Debug, thiserror::Error)]
pub enum WalletsError {
    #[error(transparent)]
    Wallet(#[from] WalletError),
    #[error(transparent)]
    Key(#[from] IdempotencyError),
    #[error(transparent)]
    Store(StoreError),
    /// The books say something that they cannot: a defect.
    #[error("{0}")]
    Broken(String),
}

/// A bank account that somebody asks to be kept.
#[derive(Debug, Clone)]
pub struct AccountDraft {
    pub bank_code: BankCode,
    pub details: AccountDetails,
}

/// The wallets of this installation. Cheap to clone.
#[derive(Clone)]
pub struct Wallets {
    sender: Sender,
    rules: WithdrawalRules,
    currency: Currency,
    clock: Clock,
}

impl Wallets {
    #[must_use]
    pub fn new(
        store: Store,
        providers: Providers,
        seal: Option<Seal>,
        rules: WithdrawalRules,
        currency: Currency,
        clock: Clock,
    ) -> Self {
        let sender = Sender { store, providers, seal: seal.map(Arc::new) };
        Self { sender, rules, currency, clock }
    }

    /// What the engine has to know, so that withdrawals get on.
    #[must_use]
    pub fn flow(&self) -> Flow {
        flow(&self.sender)
    }

    /// What a user has.
    ///
    /// # Errors
    /// [`WalletsError::Store`].
    pub async fn wallet(&self, user: UserId) -> Result<Wallet, WalletsError> {
        Ok(self.store().find_wallet(user, self.currency).await?)
    }

    /// Keeps a bank account, sealed; somebody has to vouch for it.
    ///
    /// # Errors
    /// [`BankAccountError::TooMany`], [`WalletError::Unavailable`] without a key, [`WalletsError::Store`].
    pub async fn add_account(
        &self,
        user: UserId,
        draft: AccountDraft,
    ) -> Result<BankAccount, WalletsError> {
        let id = BankAccountId::from(clock::new_uuid());
        let seal = self.sender.seal.as_ref().ok_or(WalletError::Unavailable)?;
        let sealed = seal.seal(&draft.details.to_text(), id.uuid().as_bytes());
        let new = NewBankAccount {
            id,
            user,
            bank_code: draft.bank_code,
            details: sealed.map_err(|_| WalletError::Unavailable)?,
            seal: seal.mark().to_owned(),
            last_digits: draft.details.last_digits(),
        };
        Ok(self.store().insert_bank_account(new, (self.clock)()).await?)
    }

    /// A user's bank accounts.
    ///
    /// # Errors
    /// [`WalletsError::Store`].
    pub async fn accounts(&self, user: UserId) -> Result<Vec<BankAccount>, WalletsError> {
        Ok(self.store().list_bank_accounts(user).await?)
    }

    /// Removes a user's bank account.
    ///
    /// # Errors
    /// [`BankAccountError::NotFound`], [`BankAccountError::InUse`], [`WalletsError::Store`].
    pub async fn remove_account(
        &self,
        user: UserId,
        id: BankAccountId,
    ) -> Result<(), WalletsError> {
        Ok(self.store().delete_bank_account(user, id, (self.clock)()).await?)
    }

    /// Notes that a bank account is its user's own, because somebody else says so.
    ///
    /// # Errors
    /// [`BankAccountError::NotFound`], [`BankAccountError::OwnAccount`], [`WalletsError::Store`].
    pub async fn verify_account(
        &self,
        id: BankAccountId,
        voucher: Voucher,
    ) -> Result<BankAccount, WalletsError> {
        Ok(self.store().verify_bank_account(id, voucher, (self.clock)()).await?)
    }

    /// Asks for money to be paid out. Sent again under the same key it gives the withdrawal there is, as it stands by
    /// then.
    ///
    /// # Errors
    /// [`WalletsError`], with nothing done.
    pub async fn withdraw(
        &self,
        user: UserId,
        amount: Amount,
        account: BankAccountId,
        call: IdempotentCall,
    ) -> Result<Withdrawal, WalletsError> {
        let now = (self.clock)();
        let provider = self.sender.providers.preferred();
        let provider = provider.filter(|it| it.capabilities().has_payouts);
        let provider = provider.ok_or(WalletError::Unavailable)?.name();
        let (rules, currency) = (self.rules, self.currency);
        let asked = self
            .store()
            .write::<_, WalletsError, _>(move |db| {
                Box::pin(async move {
                    match claim(db, &call, now).await? {
                        Claimed::New | Claimed::Resumed(_) => {}
                        Claimed::Workflow(workflow) => return Ok(Asked::Before(workflow)),
                        Claimed::Reused => return Err(IdempotencyError::Reused.into()),
                        Claimed::Finished(_) | Claimed::InFlight => {
                            return Err(IdempotencyError::InUse.into());
                        }
                    }
                    let is_kept = keep_bank_account(db, account).await?;
                    let found = find_bank_account(db, user, account).await?;
                    let found = found.filter(|_| is_kept);
                    let found = found.ok_or(WalletError::Account(BankAccountError::NotFound))?;
                    let wallet = lock_wallet(db, user, currency, now).await?;
                    let (count, sum, was_paid) =
                        count_withdrawals(db, user, currency, now.minus(DAY)).await?;
                    let (is_frozen, verified_at) = (wallet.frozen_at.is_some(), found.verified_at);
                    let standing = Standing { is_frozen, verified_at, was_paid, count, sum };
                    let decision =
                        rules.decide(amount, &standing, now).map_err(WalletError::from)?;
                    let new = NewWithdrawal {
                        id: clock::new_uuid().into(),
                        user,
                        currency,
                        amount,
                        bank_account: account,
                        provider,
                        workflow: clock::new_uuid().into(),
                        needs_approval: decision.needs_approval,
                        not_before: decision.not_before,
                    };
                    let withdrawal = insert_withdrawal(db, &new, now).await?;
                    insert_workflow(db, &workflow_of(&withdrawal), now).await?;
                    attach(db, &call, withdrawal.workflow).await?;
                    book(db, &requested(&withdrawal), now).await?;
                    Ok(Asked::Now(Box::new(withdrawal)))
                })
            })
            .await?;
        match asked {
            Asked::Now(withdrawal) => Ok(*withdrawal),
            Asked::Before(workflow) => Ok(self.store().get_withdrawal_of(workflow).await?),
        }
    }

    /// A user's withdrawal.
    ///
    /// # Errors
    /// [`WalletError::NotFound`], [`WalletsError::Store`].
    pub async fn withdrawal(
        &self,
        user: UserId,
        id: WithdrawalId,
    ) -> Result<Withdrawal, WalletsError> {
        let found = self.store().find_withdrawal(id).await?;
        Ok(found.filter(|it| it.user == user).ok_or(WalletError::NotFound)?)
    }

    /// Gives up a withdrawal that was not sent; what was held is free.
    ///
    /// # Errors
    /// [`WalletError::NotFound`], [`WalletError::WrongStatus`], [`WalletsError::Store`].
    pub async fn cancel(&self, user: UserId, id: WithdrawalId) -> Result<Withdrawal, WalletsError> {
        let actor = format!("user:{user}");
        let change = Change::new(WithdrawalStatus::Canceled, Cause::Api, actor);
        self.decide(id, Some(user), change).await
    }

    /// Says yes to a withdrawal: another person than who asked for it.
    ///
    /// # Errors
    /// [`WalletError::OwnDecision`], [`WalletError::NotFound`], [`WalletError::WrongStatus`], [`WalletsError::Store`].
    pub async fn approve(
        &self,
        by: UserId,
        id: WithdrawalId,
        reason: Reason,
    ) -> Result<Withdrawal, WalletsError> {
        self.decide(id, None, decided(WithdrawalStatus::Approved, by, &reason)).await
    }

    /// Says no to a withdrawal; what was held is free.
    ///
    /// # Errors
    /// As [`Self::approve`].
    pub async fn reject(
        &self,
        by: UserId,
        id: WithdrawalId,
        reason: Reason,
    ) -> Result<Withdrawal, WalletsError> {
        self.decide(id, None, decided(WithdrawalStatus::Rejected, by, &reason)).await
    }

    /// Keeps a user from taking money out; `WalletFrozen`.
    ///
    /// # Errors
    /// [`WalletsError::Store`].
    pub async fn freeze(
        &self,
        user: UserId,
        by: UserId,
        reason: Reason,
    ) -> Result<(), WalletsError> {
        let now = (self.clock)();
        self.store().freeze_wallet(user, self.currency, by, reason, now).await?;
        Ok(())
    }

    /// Lets a user take money out again; `WalletUnfrozen`.
    ///
    /// # Errors
    /// [`WalletError::OwnDecision`], [`WalletsError::Store`].
    pub async fn unfreeze(&self, user: UserId, by: UserId) -> Result<(), WalletsError> {
        if user == by {
            return Err(WalletError::OwnDecision.into());
        }
        self.store().unfreeze_wallet(user, self.currency, by, (self.clock)()).await?;
        Ok(())
    }

    /// Asks what the banks have done with what they were given, and whether they have sent something back. One round.
    ///
    /// # Errors
    /// [`WalletsError::Store`]; one that cannot be asked for now is asked for the next time.
    pub async fn watch(&self) -> Result<(), WalletsError> {
        let now = (self.clock)();
        let watch = Watch {
            accepted: now.minus(ACCEPTED_INTERVAL),
            paid: now.minus(PAID_INTERVAL),
            paid_after: now.minus(RETURNED_WITHIN),
            limit: WATCHED_MAX,
        };
        for id in self.store().take_watched_withdrawals(watch, now).await? {
            self.look_again(id).await?;
        }
        Ok(())
    }

    /// Asks the provider how a withdrawal stands that it has accepted or made, and records what has changed.
    ///
    /// # Errors
    /// [`WalletError::NotFound`], [`WalletsError::Store`].
    pub async fn look_again(&self, id: WithdrawalId) -> Result<(), WalletsError> {
        let found = self.store().find_withdrawal(id).await?.ok_or(WalletError::NotFound)?;
        let Some(provider) = self.sender.providers.get(&found.provider) else {
            return Err(WalletError::Unavailable.into());
        };
        if !is_watched(&found) {
            return Ok(());
        }
        let asked = provider.find_payout(&id.to_string(), &send_key(found.workflow)).await;
        let LookUp::Found(paid) = asked else { return Ok(()) };
        if !is_what_was_asked_for(&found, &paid) {
            tracing::error!(withdrawal.id = %id, "the provider has sent something else");
            return Ok(());
        }
        let (name, now) = (provider.name(), (self.clock)());
        self.store()
            .write(move |db| {
                Box::pin(async move {
                    wake(db, found.workflow, &format!("{:?}", paid.status), now).await?;
                    let withdrawal = lock_withdrawal(db, id).await?;
                    record(db, &withdrawal, name, &paid, now).await
                })
            })
            .await
    }

    async fn decide(
        &self,
        id: WithdrawalId,
        owner: Option<UserId>,
        change: Change,
    ) -> Result<Withdrawal, WalletsError> {
        let now = (self.clock)();
        self.store()
            .write(move |db| {
                Box::pin(async move {
                    let workflow = get_workflow_of(db, id).await.map_err(known)?;
                    // First: whoever works on the withdrawal locks its workflow first, too.
                    wake(db, workflow, change.to.as_str(), now).await?;
                    let withdrawal = lock_withdrawal(db, id).await.map_err(known)?;
                    if owner.is_some_and(|owner| owner != withdrawal.user) {
                        return Err(WalletError::NotFound.into());
                    }
                    let is_freed = change.to != WithdrawalStatus::Approved;
                    let decided = transition(db, &withdrawal, change, now).await?;
                    if is_freed {
                        book(db, &voided(&decided), now).await?;
                    }
                    Ok(decided)
                })
            })
            .await
    }

    const fn store(&self) -> &Store {
        &self.sender.store
    }
}

enum Asked {
    Now(Box<Withdrawal>),
    Before(WorkflowId),
}

fn decided(to: WithdrawalStatus, by: UserId, reason: &Reason) -> Change {
    let change = Change::new(to, Cause::Admin, format!("user:{by}"));
    Change { by: Some(by), reason: Some(reason.as_str().to_owned()), ..change }
}

fn workflow_of(withdrawal: &Withdrawal) -> NewWorkflow {
    let state = WithdrawState {
        withdrawal: withdrawal.id,
        bank_account: withdrawal.bank_account,
        provider: withdrawal.provider.clone(),
        amount: withdrawal.amount,
        currency: withdrawal.currency,
    };
    NewWorkflow {
        id: withdrawal.workflow,
        kind: KIND,
        version: VERSION,
        dedupe_key: format!("withdraw:{}", withdrawal.id),
        state: json!(state),
        wake_at: withdrawal.created_at,
    }
}

async fn wake(
    db: &mut Db,
    workflow: WorkflowId,
    what: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (name, dedupe_key) = (DECIDED.to_owned(), what.to_owned());
    let signal = Signal { name, dedupe_key, payload: json!({}) };
    insert_signal(db, workflow, &signal, now).await.map(|_| ())
}

/// Whether a provider has it, or had it.
fn is_watched(withdrawal: &Withdrawal) -> bool {
    match withdrawal.status {
        WithdrawalStatus::Paid => true,
        WithdrawalStatus::Sending | WithdrawalStatus::Unknown => withdrawal.provider_key.is_some(),
        _ => false,
    }
}

/// Records what a provider says of a locked withdrawal.
async fn record(
    db: &mut Db,
    withdrawal: &Withdrawal,
    provider: &'static str,
    paid: &PaidOut,
    now: Timestamp,
) -> Result<(), WalletsError> {
    let way = Way { cause: Cause::Sync, actor: "withdrawals".to_owned() };
    match (withdrawal.status, paid.status) {
        (WithdrawalStatus::Paid, PayoutStatus::Failed) => {
            let change = Change::new(WithdrawalStatus::Returned, way.cause, way.actor);
            let change = Change { failure_code: Some(refusal_of(paid)), ..change };
            transition(db, withdrawal, change, now).await?;
            book(db, &returned(withdrawal, provider), now).await?;
            Ok(())
        }
        (_, _) if !is_watched(withdrawal) => Ok(()),
        (WithdrawalStatus::Paid, _) | (_, PayoutStatus::Pending) => Ok(()),
        (_, PayoutStatus::Paid) => Ok(record_paid(db, withdrawal, provider, paid, way, now).await?),
        (_, PayoutStatus::Failed) => {
            Ok(record_failed(db, withdrawal, &refusal_of(paid), way, now).await?)
        }
    }
}

fn known(error: StoreError) -> WalletsError {
    match error {
        StoreError::NotFound => WalletError::NotFound.into(),
        error => WalletsError::Store(error),
    }
}

impl From<StoreError> for WalletsError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<BookError> for WalletsError {
    fn from(error: BookError) -> Self {
        match error {
            BookError::Ledger(LedgerError::Overdraft) => WalletError::Insufficient.into(),
            BookError::Ledger(LedgerError::Frozen) => {
                WalletError::Refused(WithdrawalRefusal::Frozen).into()
            }
            BookError::Ledger(error) => Self::Broken(error.to_string()),
            BookError::Store(error) => Self::Store(error),
        }
    }
}

impl From<TransitionError> for WalletsError {
    fn from(error: TransitionError) -> Self {
        match error {
            TransitionError::Illegal(error) => WalletError::WrongStatus(error).into(),
            TransitionError::OwnWithdrawal => WalletError::OwnDecision.into(),
            TransitionError::Store(error) => Self::Store(error),
        }
    }
}

impl From<AccountChangeError> for WalletsError {
    fn from(error: AccountChangeError) -> Self {
        match error {
            AccountChangeError::Account(error) => WalletError::Account(error).into(),
            AccountChangeError::Store(error) => Self::Store(error),
        }
    }
}

impl From<StepError> for WalletsError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Store(error) => Self::Store(error),
            StepError::Refused(why) | StepError::Poison(why) => Self::Broken(why),
        }
    }
}

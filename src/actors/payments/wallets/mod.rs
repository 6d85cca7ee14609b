//! Wallets: what users have, where it is paid out to, and how it gets there.
//!
//! Invariant: what is asked for is held before anybody decides about it, and the ledger alone says whether there is
//! enough. Whoever asks, decides about nothing of their own.

mod decisions;
mod payout_files;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::withdraw::{
    DECIDED, DIFFERS, KIND, Sender, VERSION, Way, WithdrawState, flow, is_what_was_asked_for,
    record_failed, record_paid, refusal_of, send_key,
};
use crate::actors::workflow::engine::Clock;
use crate::actors::workflow::flow::{Flow, StepError};
use crate::clock;
use crate::domain::bank_accounts::{AccountDetails, BankAccountError, BankCode};
use crate::domain::idempotency::{IdempotencyError, IdempotentCall, StoredAnswer};
use crate::domain::ids::{BankAccountId, UserId, WithdrawalId, WorkflowId};
use crate::domain::ledger::LedgerError;
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::Cause;
use crate::domain::time::Timestamp;
use crate::domain::wallets::WalletError;
use crate::domain::withdrawals::{
    NoYes, Standing, WithdrawalRefusal, WithdrawalRules, WithdrawalStatus,
};
use crate::domain::workflows::{Reason, WorkflowStatus};
use crate::providers::payments::{LookUp, PaidOut, PayoutStatus, Providers};
use crate::providers::seal::Seal;
use crate::store::bank_accounts::{
    AccountChangeError, BankAccount, NewBankAccount, Voucher, find_bank_account, keep_bank_account,
};
use crate::store::disputes::arrivals::book_arrival;
use crate::store::disputes::is_payee_disputed;
use crate::store::idempotency::{Claimed, attach, claim, finish};
use crate::store::ledger::{BookError, book};
use crate::store::wallets::{Wallet, find_spendable, lock_wallet};
use crate::store::withdrawals::{
    Change, NewWithdrawal, TransitionError, Watched, Withdrawal, count_withdrawals,
    insert_withdrawal, lock_withdrawal, requested, returned, transition,
};
use crate::store::workflows::signals::{Signal, insert_signal};
use crate::store::workflows::standing::lock_workflow_by_id;
use crate::store::workflows::{NewWorkflow, insert_workflow};
use crate::store::{Db, Store, StoreError};

const DAY: Duration = Duration::from_hours(24);
/// How often somebody asks what a bank does with what it was given, and whether it has sent it back.
const ACCEPTED_INTERVAL: Duration = Duration::from_mins(1);
const PAID_INTERVAL: Duration = Duration::from_hours(1);
/// A bank sends nothing back after that.
const RETURNED_WITHIN: Duration = Duration::from_hours(14 * 24);
/// Withdrawals of each kind that are asked for in one round, and in one go.
const WATCHED_MAX: usize = 100;
const WATCHED_AT_ONCE: i64 = 10;

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

    /// With what bank accounts are sealed.
    #[must_use]
    pub fn seal(&self) -> Option<Arc<Seal>> {
        self.sender.seal.clone()
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
    /// then, or the refusal that was kept.
    ///
    /// # Errors
    /// [`WalletsError`], with nothing done; what is refused for good is then given to [`Self::keep_refusal`].
    pub async fn withdraw(
        &self,
        user: UserId,
        amount: Amount,
        account: BankAccountId,
        call: IdempotentCall,
    ) -> Result<Withdrawn, WalletsError> {
        let now = (self.clock)();
        let provider = self.sender.providers.paying_out();
        let provider = provider.ok_or(WalletError::Unavailable)?.name();
        let (rules, currency) = (self.rules, self.currency);
        let asked = self
            .store()
            .write::<_, WalletsError, _>(move |db| {
                Box::pin(async move {
                    match claim(db, &call, now).await? {
                        Claimed::New | Claimed::Resumed(_) => {}
                        Claimed::Workflow(workflow) => return Ok(Asked::Before(workflow)),
                        Claimed::Finished(answer) => return Ok(Asked::Refused(answer)),
                        Claimed::Reused => return Err(IdempotencyError::Reused.into()),
                        Claimed::InFlight => return Err(IdempotencyError::InUse.into()),
                    }
                    let is_kept = keep_bank_account(db, account).await?;
                    let found = find_bank_account(db, user, account).await?;
                    let found = found.filter(|_| is_kept);
                    let found = found.ok_or(WalletError::Account(BankAccountError::NotFound))?;
                    let wallet = lock_wallet(db, user, currency, now).await?;
                    let (count, sum, was_paid) =
                        count_withdrawals(db, user, currency, now.minus(DAY)).await?;
                    let (is_frozen, verified_at) = (wallet.frozen_at.is_some(), found.verified_at);
                    let is_disputed = is_payee_disputed(db, user, currency).await?;
                    let standing =
                        Standing { is_frozen, verified_at, was_paid, count, sum, is_disputed };
                    let decision =
                        rules.decide(amount, &standing, now).map_err(WalletError::from)?;
                    if find_spendable(db, user, currency).await? < amount.minor() {
                        return Err(WalletError::Insufficient.into());
                    }
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
        self.withdrawn(asked, true).await
    }

    /// Keeps why a request was refused, for whoever sends it again; gives what it comes to by then. In a transaction of
    /// its own: of what was refused nothing is left.
    ///
    /// # Errors
    /// [`IdempotencyError`], [`WalletsError::Store`].
    pub async fn keep_refusal(
        &self,
        call: IdempotentCall,
        refusal: StoredAnswer,
    ) -> Result<Withdrawn, WalletsError> {
        let now = (self.clock)();
        let asked = self
            .store()
            .write::<_, WalletsError, _>(move |db| {
                Box::pin(async move {
                    match claim(db, &call, now).await? {
                        Claimed::New | Claimed::Resumed(_) => {
                            Ok(Asked::Refused(finish(db, &call, &refusal).await?))
                        }
                        // Somebody sent the same meanwhile.
                        Claimed::Workflow(workflow) => Ok(Asked::Before(workflow)),
                        Claimed::Finished(answer) => Ok(Asked::Refused(answer)),
                        Claimed::Reused => Err(IdempotencyError::Reused.into()),
                        Claimed::InFlight => Err(IdempotencyError::InUse.into()),
                    }
                })
            })
            .await?;
        self.withdrawn(asked, false).await
    }

    async fn withdrawn(&self, asked: Asked, is_replayed: bool) -> Result<Withdrawn, WalletsError> {
        Ok(match asked {
            Asked::Now(withdrawal) => Withdrawn::Asked(withdrawal),
            Asked::Before(workflow) => {
                Withdrawn::Asked(Box::new(self.store().get_withdrawal_of(workflow).await?))
            }
            Asked::Refused(answer) => Withdrawn::Refused { answer, is_replayed },
        })
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
    pub async fn unfreeze(
        &self,
        user: UserId,
        by: UserId,
        reason: Reason,
    ) -> Result<(), WalletsError> {
        if user == by {
            return Err(WalletError::OwnDecision.into());
        }
        self.store().unfreeze_wallet(user, self.currency, by, reason, (self.clock)()).await?;
        Ok(())
    }

    /// Asks what the banks have done with what they were given, and whether they have sent something back. One round.
    ///
    /// # Errors
    /// [`WalletsError::Store`]; one that cannot be asked for now is named in the log, asked for the next time, and
    /// holds up no other.
    pub async fn watch(&self) -> Result<(), WalletsError> {
        let round = (self.clock)();
        let accepted = Watched::Accepted { before: round.minus(ACCEPTED_INTERVAL) };
        let paid = Watched::Paid {
            before: round.minus(PAID_INTERVAL),
            after: round.minus(RETURNED_WITHIN),
        };
        for watched in [accepted, paid] {
            let mut asked = 0;
            while asked < WATCHED_MAX {
                // Few at a time: what another node finds noted was asked for moments ago.
                let now = (self.clock)();
                let ids =
                    self.store().take_watched_withdrawals(watched, WATCHED_AT_ONCE, now).await?;
                if ids.is_empty() {
                    break;
                }
                asked = asked.saturating_add(ids.len());
                for id in ids {
                    if let Err(error) = self.look_again(id).await {
                        tracing::error!(withdrawal.id = %id, %error, "a withdrawal cannot be looked at");
                    }
                }
            }
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
            return self.stop(&found).await;
        }
        if paid.status == PayoutStatus::Pending {
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

    /// Stops a withdrawal of which its provider says something else, for somebody to look; says so once, and once more
    /// after somebody has let it go on.
    async fn stop(&self, withdrawal: &Withdrawal) -> Result<(), WalletsError> {
        let (id, workflow, now) = (withdrawal.id, withdrawal.workflow, (self.clock)());
        let is_new = self
            .store()
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let found = lock_workflow_by_id(db, workflow).await?;
                    // One that is parked has stopped; one that is about to look is told the next time.
                    match found.status {
                        WorkflowStatus::Parked
                        | WorkflowStatus::Ready
                        | WorkflowStatus::Running => return Ok(false),
                        WorkflowStatus::Waiting
                        | WorkflowStatus::Done
                        | WorkflowStatus::Compensated => {}
                    }
                    // Whoever lets it go on raises the fence.
                    let what = format!("{DIFFERS}:{}", found.fence);
                    tell(db, workflow, DIFFERS, &what, now).await
                })
            })
            .await?;
        if is_new {
            tracing::error!(withdrawal.id = %id, "the provider has sent something else");
        }
        Ok(())
    }

    const fn store(&self) -> &Store {
        &self.sender.store
    }
}

enum Asked {
    Now(Box<Withdrawal>),
    Before(WorkflowId),
    Refused(StoredAnswer),
}

/// What a request for money comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawn {
    /// It is asked for, now or before.
    Asked(Box<Withdrawal>),
    /// It was refused for good, and is answered alike from now on.
    Refused { answer: StoredAnswer, is_replayed: bool },
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
    tell(db, workflow, DECIDED, what, now).await.map(|_| ())
}

/// Gives whether it is something new.
async fn tell(
    db: &mut Db,
    workflow: WorkflowId,
    name: &str,
    what: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (name, dedupe_key) = (name.to_owned(), what.to_owned());
    let signal = Signal { name, dedupe_key, payload: json!({}) };
    insert_signal(db, workflow, &signal, now).await
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
            book_arrival(db, withdrawal.user, &returned(withdrawal, provider), now).await?;
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

impl From<NoYes> for WalletsError {
    fn from(error: NoYes) -> Self {
        match error {
            NoYes::SecondPersonNeeded => WalletError::SecondPersonNeeded.into(),
            NoYes::WrongStatus(error) => WalletError::WrongStatus(error).into(),
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

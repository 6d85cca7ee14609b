//! Files for a bank: made of what waits, read by whoever carries them there, and told what the bank did.
//!
//! Invariant: a result is recorded first, whole; then whoever waits for it is told. Who dies in between is followed by
//! whoever looks at withdrawals next.

use futures_util::StreamExt as _;

use super::{Wallets, WalletsError};
use crate::domain::bank_accounts::AccountDetails;
use crate::domain::ids::{PayoutFileId, UserId, WithdrawalId};
use crate::domain::payouts::{BankResult, FileLine, PayoutFileError, to_csv};
use crate::domain::wallets::WalletError;
use crate::domain::workflows::Reason;
use crate::providers::seal::Seal;
use crate::store::payouts::files::{PayoutFile, SealedPayout};
use crate::store::payouts::results::SettleError;

/// Withdrawals that are told at once what the bank did.
const TOLD_AT_ONCE: usize = 8;

impl Wallets {
    /// Takes what waits to be paid out into a new file.
    ///
    /// # Errors
    /// [`PayoutFileError::NothingWaiting`], [`WalletsError::Store`].
    pub async fn make_payout_file(
        &self,
        by: UserId,
        reason: Reason,
    ) -> Result<PayoutFile, WalletsError> {
        let made = self.store().insert_payout_file(by, reason, (self.clock)()).await?;
        Ok(made.ok_or(WalletError::PayoutFile(PayoutFileError::NothingWaiting))?)
    }

    /// What of a file is to be paid, as a bank takes it, with numbers and holders in the open.
    ///
    /// # Errors
    /// [`PayoutFileError::NotFound`], [`PayoutFileError::Finished`], [`WalletError::Unavailable`] without the key,
    /// [`WalletsError::Store`].
    pub async fn read_payout_file(
        &self,
        id: PayoutFileId,
        by: UserId,
    ) -> Result<String, WalletsError> {
        let seal = self.sender.seal.as_ref().ok_or(WalletError::Unavailable)?;
        let sealed = self.store().read_payout_file(id, by, (self.clock)()).await?;
        let lines: Option<Vec<FileLine>> = sealed.iter().map(|it| opened(it, seal)).collect();
        let broken =
            || WalletsError::Broken("a bank account in a file cannot be opened".to_owned());
        Ok(to_csv(&lines.ok_or_else(broken)?))
    }

    /// Records what a bank did with withdrawals of a file, and tells them; gives of how many that is new. The same again
    /// records nothing, and tells them again.
    ///
    /// # Errors
    /// [`PayoutFileError`], [`WalletError::OwnDecision`], [`WalletsError::Store`], with nothing recorded.
    pub async fn settle_payouts(
        &self,
        file: PayoutFileId,
        by: UserId,
        results: Vec<(WithdrawalId, BankResult)>,
        reason: Reason,
    ) -> Result<usize, WalletsError> {
        let named: Vec<WithdrawalId> = results.iter().map(|(id, _)| *id).collect();
        let now = (self.clock)();
        let new = self.store().settle_payouts(file, by, results, reason, now).await?;
        let told = futures_util::stream::iter(named).for_each_concurrent(TOLD_AT_ONCE, |id| {
            let wallets = self.clone();
            async move {
                if let Err(error) = wallets.look_again(id).await {
                    tracing::error!(withdrawal.id = %id, %error, "a withdrawal cannot be looked at");
                }
            }
        });
        told.await;
        Ok(new.len())
    }
}

fn opened(sealed: &SealedPayout, seal: &Seal) -> Option<FileLine> {
    let text = seal.open(&sealed.details, sealed.bank_account.uuid().as_bytes()).ok()?;
    Some(FileLine {
        reference: sealed.withdrawal,
        bank_code: sealed.bank_code.clone(),
        details: AccountDetails::from_text(&text)?,
        amount: sealed.amount,
        currency: sealed.currency,
    })
}

impl From<SettleError> for WalletsError {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::File(error) => Self::Wallet(error.into()),
            SettleError::OwnWithdrawal => Self::Wallet(WalletError::OwnDecision),
            SettleError::Store(error) => Self::Store(error),
        }
    }
}

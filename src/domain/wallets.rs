//! Wallets: why something is not done with what somebody has.

use super::bank_accounts::BankAccountError;
use super::payouts::PayoutFileError;
use super::withdrawals::{IllegalWithdrawal, WithdrawalRefusal};

/// What a caller may be refused, in words that tell nothing of anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalletError {
    #[error("There is not so much that can be taken out.")]
    Insufficient,
    #[error(transparent)]
    Refused(#[from] WithdrawalRefusal),
    #[error(transparent)]
    Account(#[from] BankAccountError),
    #[error(transparent)]
    PayoutFile(#[from] PayoutFileError),
    #[error("There is no such withdrawal.")]
    NotFound,
    #[error(transparent)]
    WrongStatus(#[from] IllegalWithdrawal),
    #[error("Nobody decides about what is their own.")]
    OwnDecision,
    #[error("Another person has to say that it goes before its time.")]
    SecondPersonNeeded,
    #[error("Nobody can be paid out here.")]
    Unavailable,
    #[error("The order is not paid for, or its payment is disputed.")]
    OrderNotPaid,
    #[error("A refund of the order is on its way.")]
    RefundUnderWay,
    #[error("Fee, its VAT and what is withheld would come to more than the payment.")]
    FeeTooHigh,
}

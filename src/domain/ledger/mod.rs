//! The ledger: double-entry bookkeeping. Money moves in transfers and in no other way.
//!
//! [`chart`] names the accounts, [`entry`] is what happened, line by line. Invariant: a transfer takes one positive amount
//! from one account and gives it to another, so that debits and credits are the same by construction; and whoever may not
//! owe cannot, because a check of the database refuses the row, whatever the code before it has overlooked.

pub mod chart;
pub mod entry;
#[cfg(test)]
mod entry_tests;

use super::money::AMOUNT_MAX;
use super::stored_as;

/// Lines of one entry.
pub const LINES_MAX: usize = 1_000;

/// Why an entry is refused. Nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("an entry has 1 to {LINES_MAX} lines, each between two accounts of one currency")]
    InvalidEntry,
    #[error("this key was used for another entry")]
    KeyReused,
    #[error("an account would owe more than it may")]
    Overdraft,
    #[error("a counter would exceed what it holds; one transfer moves at most {AMOUNT_MAX}")]
    TooLarge,
    #[error("an account takes part in nothing new")]
    Frozen,
    #[error("there is no such hold")]
    HoldNotFound,
    #[error("this hold was posted or voided already")]
    HoldResolved,
    #[error("this hold has ended")]
    HoldExpired,
    #[error("a hold cannot be posted with more than it holds")]
    MoreThanHeld,
}

impl LedgerError {
    /// In a word, for whoever counts.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::InvalidEntry => "invalid_entry",
            Self::KeyReused => "key_reused",
            Self::Overdraft => "overdraft",
            Self::TooLarge => "too_large",
            Self::Frozen => "frozen",
            Self::HoldNotFound => "hold_not_found",
            Self::HoldResolved => "hold_resolved",
            Self::HoldExpired => "hold_expired",
            Self::MoreThanHeld => "more_than_held",
        }
    }
}

/// What an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountKind {
    Asset,
    Liability,
    Equity,
    Income,
    Expense,
}

stored_as!(AccountKind {
    Asset = "asset",
    Liability = "liability",
    Equity = "equity",
    Income = "income",
    Expense = "expense"
});

/// What the database holds an account to, counting what is pending against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    None,
    /// It never pays out more than was paid in: a wallet.
    DebitsWithinCredits,
    /// It never pays in more than was paid out: what somebody owes.
    CreditsWithinDebits,
}

stored_as!(Guard {
    None = "none",
    DebitsWithinCredits = "debits_lte_credits",
    CreditsWithinDebits = "credits_lte_debits"
});

/// The four counters of an account, in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub debits_pending: i64,
    pub debits_posted: i64,
    pub credits_pending: i64,
    pub credits_posted: i64,
}

impl Counters {
    /// What an account that is paid into has: what may still be taken out of it, without what is held.
    #[must_use]
    pub const fn credit_available(self) -> i64 {
        self.credits_posted.saturating_sub(self.debits_posted).saturating_sub(self.debits_pending)
    }

    /// Posted credits over posted debits.
    #[must_use]
    pub const fn credit_balance(self) -> i64 {
        self.credits_posted.saturating_sub(self.debits_posted)
    }

    /// Posted debits over posted credits.
    #[must_use]
    pub const fn debit_balance(self) -> i64 {
        self.debits_posted.saturating_sub(self.credits_posted)
    }

    /// Whether a guard allows them.
    #[must_use]
    pub const fn keeps(self, guard: Guard) -> bool {
        match guard {
            Guard::None => true,
            Guard::DebitsWithinCredits => {
                self.debits_posted.saturating_add(self.debits_pending) <= self.credits_posted
            }
            Guard::CreditsWithinDebits => {
                self.credits_posted.saturating_add(self.credits_pending) <= self.debits_posted
            }
        }
    }
}

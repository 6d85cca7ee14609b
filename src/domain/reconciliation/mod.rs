//! Reconciliation: what a provider says that it moved, held against our rows and against the ledger.
//!
//! [`matching`] compares the three, [`settled`] what a provider pays us. Both are pure. Invariant: what does not agree is
//! said in one of eight words, each of which means one thing, and nothing that agrees is said to be a break.

pub mod matching;
#[cfg(test)]
mod matching_tests;
pub mod settled;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::stored_as;

/// How something does not agree.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// The provider has moved money of which we know nothing, or for something that is over here.
    MissingLocal,
    /// We say that money was moved, and the provider does not, although it has had the time to.
    MissingRemote,
    /// Both know of it, and of another amount.
    Amount,
    /// Both know of it; the provider has moved it, and here it is still open, or was given up.
    Status,
    /// The provider has moved twice what we have asked for once.
    Duplicate,
    /// The provider keeps another fee than was agreed.
    Fee,
    /// One side has it so late that the other may not have heard of it yet: it is looked at again the next day.
    Timing,
    /// Our rows and our ledger say different things, whatever the provider says.
    Ledger,
}

stored_as!(Bucket {
    MissingLocal = "missing_local",
    MissingRemote = "missing_remote",
    Amount = "amount",
    Status = "status",
    Duplicate = "duplicate",
    Fee = "fee",
    Timing = "timing",
    Ledger = "ledger"
});

impl Bucket {
    pub const ALL: [Self; 8] = [
        Self::MissingLocal,
        Self::MissingRemote,
        Self::Amount,
        Self::Status,
        Self::Duplicate,
        Self::Fee,
        Self::Timing,
        Self::Ledger,
    ];
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// What a provider moved on a day.
    Transactions,
    /// What a provider paid us on a day.
    Settlements,
    /// The ledger with itself and with our rows.
    Ledger,
}

stored_as!(RunKind {
    Transactions = "transactions",
    Settlements = "settlements",
    Ledger = "ledger"
});

/// How a comparison stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Running,
    /// Nothing is open.
    Clean,
    /// Somebody has to look.
    Breaks,
    /// It did not come to its end, and is tried again.
    Failed,
    /// The provider has no such list.
    NotOffered,
}

stored_as!(RunStatus {
    Running = "running",
    Clean = "clean",
    Breaks = "breaks",
    Failed = "failed",
    NotOffered = "not_offered"
});

/// Where a break is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakStatus {
    Open,
    /// Somebody has said why it is right as it is.
    Explained,
    /// It agrees by now, or an entry of the ledger has put it right.
    Fixed,
}

stored_as!(BreakStatus { Open = "open", Explained = "explained", Fixed = "fixed" });

/// Something that does not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    pub bucket: Bucket,
    /// What it is about: the same whenever the same is found.
    pub subject: String,
    /// The order, as the provider knows it; of a payout its reference. Empty for what has none.
    pub order: String,
    /// Ours: a payment, a refund, a withdrawal, an account.
    pub local_ref: Option<String>,
    /// The provider's key.
    pub remote_ref: Option<String>,
    pub local_amount: Option<i64>,
    pub remote_amount: Option<i64>,
    /// A sentence.
    pub says: String,
}

/// Why a break is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReconciliationError {
    #[error("There is no such break.")]
    NotFound,
    #[error("It is closed already.")]
    Closed,
    #[error("There is no such entry in the ledger.")]
    EntryNotFound,
    #[error("The entry moves neither what the provider owes nor what is set aside.")]
    EntryElsewhere,
    #[error("There is no payment provider of this name here.")]
    UnknownProvider,
    #[error("A day is `YYYY-MM-DD`, and today in Seoul at the latest.")]
    InvalidDay,
    #[error("The provider is being reconciled; come back in a while.")]
    Running,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for bucket in Bucket::ALL {
            assert_eq!(Bucket::parse(bucket.as_str()), Some(bucket));
        }
        assert_eq!(Bucket::parse("other"), None);
    }
}

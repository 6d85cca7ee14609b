//! What people do about money by hand, and how it is written down.
//!
//! Invariant: a deed has one word, for ever; what it was done to is named by a kind and an id.

use std::fmt;

use super::ids::{PaymentId, ReconBreakId, SettlementId, UserId, WithdrawalId, WorkflowId};
use super::payments::ProviderName;
use super::stored_as;

/// What somebody did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    WithdrawalApproved,
    WithdrawalRejected,
    /// A withdrawal goes before its time.
    WithdrawalWaitLifted,
    WalletFrozen,
    WalletUnfrozen,
    WorkflowResumed,
    WorkflowLookedAt,
    WorkflowCompensated,
    /// A provider takes nothing new.
    ProviderStopped,
    ProviderStarted,
    /// A batch was closed before its night.
    SettlementClosed,
    /// A batch was paid before its day.
    SettlementReleased,
    ConflictProposed,
    ConflictConfirmed,
    /// A break is right as it is.
    BreakExplained,
    /// An entry of the ledger puts a break right.
    BreakFixed,
}

stored_as!(Action {
    WithdrawalApproved = "withdrawal_approved",
    WithdrawalRejected = "withdrawal_rejected",
    WithdrawalWaitLifted = "withdrawal_wait_lifted",
    WalletFrozen = "wallet_frozen",
    WalletUnfrozen = "wallet_unfrozen",
    WorkflowResumed = "workflow_resumed",
    WorkflowLookedAt = "workflow_looked_at",
    WorkflowCompensated = "workflow_compensated",
    ProviderStopped = "provider_stopped",
    ProviderStarted = "provider_started",
    SettlementClosed = "settlement_closed",
    SettlementReleased = "settlement_released",
    ConflictProposed = "conflict_proposed",
    ConflictConfirmed = "conflict_confirmed",
    BreakExplained = "break_explained",
    BreakFixed = "break_fixed"
});

/// What it was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Withdrawal(WithdrawalId),
    /// Of this user.
    Wallet(UserId),
    Workflow(WorkflowId),
    Provider(ProviderName),
    Settlement(SettlementId),
    Payment(PaymentId),
    Break(ReconBreakId),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withdrawal(id) => write!(f, "withdrawal:{id}"),
            Self::Wallet(user) => write!(f, "wallet:{user}"),
            Self::Workflow(id) => write!(f, "workflow:{id}"),
            Self::Provider(name) => write!(f, "provider:{}", name.as_str()),
            Self::Settlement(id) => write!(f, "settlement:{id}"),
            Self::Payment(id) => write!(f, "payment:{id}"),
            Self::Break(id) => write!(f, "break:{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_target_says_what_it_is() {
        let id = Uuid::nil();
        assert_eq!(Target::Payment(id.into()).to_string(), format!("payment:{id}"));
        assert_eq!(Target::Provider(ProviderName::Toss).to_string(), "provider:toss");
    }
}

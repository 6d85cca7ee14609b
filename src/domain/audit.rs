//! What people do by hand, and how it is written down.
//!
//! Invariant: a deed has one word, for ever; what it was done to is named by a kind and an id.

use std::fmt;

use super::ids::{
    BankAccountId, JournalEntryId, PaymentId, PayoutFileId, ReconBreakId, ReconRunId, ReportId,
    SettlementId, UserId, WithdrawalId, WorkflowId,
};
use super::payments::ProviderName;
use super::payments::orders::OrderKey;
use super::stored_as;

/// What a deed is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    Money,
    /// Accounts, and who may do what.
    People,
    /// What is said in rooms.
    Rooms,
}

stored_as!(Area { Money = "money", People = "people", Rooms = "rooms" });

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
    JournalProposed,
    /// It is in the ledger.
    JournalApproved,
    JournalRejected,
    /// What waits to be paid out was put into a file.
    PayoutFileMade,
    /// Somebody has the numbers of accounts that are in a file.
    PayoutFileRead,
    /// What a bank did with a withdrawal.
    PayoutSettled,
    /// A bank account is its user's own: it may be paid to.
    BankAccountVouched,
    OrderRegistered,
    /// What it costs, or who pays or gets it.
    OrderChanged,
    OrderReleased,
    /// A payment is to be given up or given back; what came of it is in its history.
    PaymentRefunded,
    /// What was set aside is to be taken.
    PaymentCaptured,
    /// How a refund is to end of which another amount was given back.
    RefundSettlingProposed,
    RefundSettled,
    /// A day of a provider is compared before its time, or again.
    DayCompared,
    /// Nobody logs in to an account any more.
    UserSuspended,
    UserRestored,
    UserRolesChanged,
    /// One login of somebody's.
    SessionEnded,
    /// Every login of somebody's.
    SessionsEnded,
    /// What becomes of a message that a member has told of.
    ReportResolved,
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
    BreakFixed = "break_fixed",
    JournalProposed = "journal_proposed",
    JournalApproved = "journal_approved",
    JournalRejected = "journal_rejected",
    PayoutFileMade = "payout_file_made",
    PayoutFileRead = "payout_file_read",
    PayoutSettled = "payout_settled",
    BankAccountVouched = "bank_account_vouched",
    OrderRegistered = "order_registered",
    OrderChanged = "order_changed",
    OrderReleased = "order_released",
    PaymentRefunded = "payment_refunded",
    PaymentCaptured = "payment_captured",
    RefundSettlingProposed = "refund_settling_proposed",
    RefundSettled = "refund_settled",
    DayCompared = "day_compared",
    UserSuspended = "user_suspended",
    UserRestored = "user_restored",
    UserRolesChanged = "user_roles_changed",
    SessionEnded = "session_ended",
    SessionsEnded = "sessions_ended",
    ReportResolved = "report_resolved"
});

impl Action {
    /// What it is about.
    #[must_use]
    pub const fn area(self) -> Area {
        match self {
            Self::UserSuspended
            | Self::UserRestored
            | Self::UserRolesChanged
            | Self::SessionEnded
            | Self::SessionsEnded => Area::People,
            Self::ReportResolved => Area::Rooms,
            _ => Area::Money,
        }
    }
}

/// What it was done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Withdrawal(WithdrawalId),
    /// Of this user.
    Wallet(UserId),
    Workflow(WorkflowId),
    Provider(ProviderName),
    Settlement(SettlementId),
    Payment(PaymentId),
    Break(ReconBreakId),
    JournalEntry(JournalEntryId),
    PayoutFile(PayoutFileId),
    BankAccount(BankAccountId),
    Order(OrderKey),
    /// How a day is compared.
    Run(ReconRunId),
    /// An account.
    User(UserId),
    Report(ReportId),
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
            Self::JournalEntry(id) => write!(f, "journal_entry:{id}"),
            Self::PayoutFile(id) => write!(f, "payout_file:{id}"),
            Self::BankAccount(id) => write!(f, "bank_account:{id}"),
            Self::Order(key) => write!(f, "order:{key}"),
            Self::Run(id) => write!(f, "run:{id}"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Report(id) => write!(f, "report:{id}"),
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
        let order = OrderKey::parse("job", "2026-117").unwrap();
        assert_eq!(Target::Order(order).to_string(), "order:job/2026-117");
    }
}

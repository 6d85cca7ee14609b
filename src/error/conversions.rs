//! Conversions: how the failures of the rooms below become the errors of the edge.

use super::ApiError;
use crate::accounts::AccountsError;
use crate::accounts::service_keys::ServiceKeysError;
use crate::actors::payment_webhooks::NotTaken;
use crate::actors::payments::PaymentsError;
use crate::actors::payments::conflicts::ResolvingError;
use crate::actors::payments::journal::JournalFailure;
use crate::actors::payments::operating::OperatingError;
use crate::actors::payments::reconciliation::RunError;
use crate::actors::payments::settlements::early::EarlyError;
use crate::actors::payments::wallets::WalletsError;
use crate::actors::room::RoomFailure;
use crate::actors::webhooks::WebhooksError;
use crate::domain::bank_accounts::BankAccountError;
use crate::domain::idempotency::IdempotencyError;
use crate::domain::passwords::PasswordError;
use crate::domain::payments::PaymentError;
use crate::domain::wallets::WalletError;
use crate::store::StoreError;
use crate::store::follows::FollowsError;
use crate::store::friends::FriendsError;
use crate::store::ledger::BookError;
use crate::store::message_reports::ReportsError;
use crate::store::messages::ReadError;
use crate::store::reconciliation::breaks::CloseError;
use crate::store::settlements::releases::ReleaseError;
use crate::store::templates::TemplateFailure;

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<AccountsError> for ApiError {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::Account(error) => Self::Account(error),
            AccountsError::Phone(error) => Self::Phone(error),
            AccountsError::Image(error) => Self::Image(error),
            AccountsError::Blob(error) => {
                tracing::error!(%error, "a picture could not be kept or read");
                Self::Internal
            }
            AccountsError::Store(error) => Self::Store(error),
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        Self::Account(error.into())
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Room(error) => Self::Room(error),
            ReadError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ReportsError> for ApiError {
    fn from(error: ReportsError) -> Self {
        match error {
            ReportsError::Report(error) => Self::Report(error),
            ReportsError::Room(error) => Self::Room(error),
            ReportsError::Store(error) => Self::Store(error),
        }
    }
}

impl From<FollowsError> for ApiError {
    fn from(error: FollowsError) -> Self {
        match error {
            FollowsError::Follow(error) => Self::Follow(error),
            FollowsError::Store(error) => Self::Store(error),
        }
    }
}

impl From<RoomFailure> for ApiError {
    fn from(failure: RoomFailure) -> Self {
        match failure {
            RoomFailure::Rule(error) => Self::Room(error),
            RoomFailure::NeverRan(_) | RoomFailure::Busy => Self::RoomBusy,
            RoomFailure::Unknown => Self::OutcomeUnknown,
        }
    }
}

impl From<TemplateFailure> for ApiError {
    fn from(failure: TemplateFailure) -> Self {
        match failure {
            TemplateFailure::Template(error) => Self::Template(error),
            TemplateFailure::Store(error) => Self::Store(error),
        }
    }
}

impl From<FriendsError> for ApiError {
    fn from(error: FriendsError) -> Self {
        match error {
            FriendsError::Friend(error) => Self::Friend(error),
            FriendsError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ServiceKeysError> for ApiError {
    fn from(error: ServiceKeysError) -> Self {
        match error {
            ServiceKeysError::Key(error) => Self::ServiceKey(error),
            ServiceKeysError::Account(error) => Self::Account(error),
            ServiceKeysError::Store(error) => Self::Store(error),
        }
    }
}

impl From<PaymentsError> for ApiError {
    fn from(error: PaymentsError) -> Self {
        match error {
            PaymentsError::NotFound => PaymentError::NotFound.into(),
            PaymentsError::ProviderStopped => PaymentError::ProviderStopped.into(),
            PaymentsError::OwnDecision => PaymentError::OwnDecision.into(),
            PaymentsError::NotInReview => PaymentError::NotInReview.into(),
            PaymentsError::KeyInUse => IdempotencyError::InUse.into(),
            PaymentsError::KeyReused => IdempotencyError::Reused.into(),
            PaymentsError::Unavailable(reason) => {
                tracing::warn!(reason, "a provider of payments does not answer");
                PaymentError::Unavailable.into()
            }
            PaymentsError::NotNow(_) => IdempotencyError::InUse.into(),
            PaymentsError::Store(error) => Self::Store(error),
            PaymentsError::Broken(reason) => {
                tracing::error!(reason, "a payment cannot come on");
                Self::Internal
            }
        }
    }
}

impl From<OperatingError> for ApiError {
    fn from(error: OperatingError) -> Self {
        match error {
            OperatingError::Workflow(error) => Self::Workflow(error),
            OperatingError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ResolvingError> for ApiError {
    fn from(error: ResolvingError) -> Self {
        match error {
            ResolvingError::Conflict(error) => Self::Conflict(error),
            ResolvingError::Payments(error) => error.into(),
        }
    }
}

impl From<JournalFailure> for ApiError {
    fn from(error: JournalFailure) -> Self {
        match error {
            JournalFailure::Journal(error) => Self::Journal(error),
            JournalFailure::Break(error) => Self::Reconciliation(error),
            JournalFailure::Payment(error) => Self::Payment(error),
            JournalFailure::Key(error) => Self::Idempotency(error),
            JournalFailure::Store(error) => Self::Store(error),
            JournalFailure::Broken(error) => {
                tracing::error!(%error, "a journal entry cannot be booked");
                Self::Internal
            }
        }
    }
}

impl From<EarlyError> for ApiError {
    fn from(error: EarlyError) -> Self {
        match error {
            EarlyError::Settlement(error) => Self::Settlement(error),
            EarlyError::Book(BookError::Store(error)) => Self::Store(error),
            EarlyError::Book(BookError::Ledger(error)) => {
                tracing::error!(%error, "a settlement cannot be paid");
                Self::Internal
            }
        }
    }
}

impl From<WalletsError> for ApiError {
    fn from(error: WalletsError) -> Self {
        match error {
            WalletsError::Wallet(error) => Self::Wallet(error),
            WalletsError::Key(error) => Self::Idempotency(error),
            WalletsError::Store(error) => Self::Store(error),
            WalletsError::Broken(reason) => {
                tracing::error!(reason, "a withdrawal cannot come on");
                Self::Internal
            }
        }
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Refused(error) => Self::Reconciliation(error),
            RunError::Store(error) => Self::Store(error),
        }
    }
}

impl From<CloseError> for ApiError {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::Refused(error) => Self::Reconciliation(error),
            CloseError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ReleaseError> for ApiError {
    fn from(error: ReleaseError) -> Self {
        match error {
            ReleaseError::NotFound => PaymentError::OrderNotFound.into(),
            ReleaseError::NotPaid => WalletError::OrderNotPaid.into(),
            ReleaseError::RefundUnderWay => WalletError::RefundUnderWay.into(),
            ReleaseError::OwnDecision => PaymentError::OwnDecision.into(),
            ReleaseError::Share(_) => WalletError::FeeTooHigh.into(),
            ReleaseError::Book(BookError::Store(error)) => Self::Store(error),
            ReleaseError::Book(BookError::Ledger(error)) => {
                tracing::error!(%error, "an order cannot be released");
                Self::Internal
            }
        }
    }
}

impl From<BankAccountError> for ApiError {
    fn from(error: BankAccountError) -> Self {
        Self::Wallet(error.into())
    }
}

impl From<NotTaken> for ApiError {
    fn from(error: NotTaken) -> Self {
        match error {
            NotTaken::UnknownProvider => PaymentError::UnknownProvider.into(),
            NotTaken::Unsigned => PaymentError::WebhookUnsigned.into(),
            NotTaken::Store(error) => Self::Store(error),
        }
    }
}

impl From<WebhooksError> for ApiError {
    fn from(error: WebhooksError) -> Self {
        match error {
            WebhooksError::Webhook(error) => Self::Webhook(error),
            WebhooksError::Store(error) => Self::Store(error),
        }
    }
}

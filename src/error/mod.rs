//! The public error contract on one page: what each failure is called, and which status it has.
//!
//! Invariant: every failure has exactly one (status, code), chosen in tables without a `_` arm; sockets use the same
//! codes. The cause of a 5xx is logged and never sent.

mod conversions;
mod table;

use std::time::Duration;

use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actors::kit::handle::CallError;
use crate::domain::accounts::AccountError;
use crate::domain::deliveries::DeliveryLogError;
use crate::domain::devices::DeviceError;
use crate::domain::follows::FollowError;
use crate::domain::friends::FriendError;
use crate::domain::idempotency::IdempotencyError;
use crate::domain::images::ImageError;
use crate::domain::journal::JournalError;
use crate::domain::message_reports::ReportError;
use crate::domain::notifications::NotificationError;
use crate::domain::payments::PaymentError;
use crate::domain::payments::conflicts::ConflictError;
use crate::domain::payments::orders::OrderError;
use crate::domain::phones::PhoneError;
use crate::domain::preferences::PreferenceError;
use crate::domain::reconciliation::ReconciliationError;
use crate::domain::rooms::RoomError;
use crate::domain::service_keys::ServiceKeyError;
use crate::domain::settings::SettingsError;
use crate::domain::settlements::SettlementError;
use crate::domain::templates::TemplateError;
use crate::domain::wallets::WalletError;
use crate::domain::webhooks::WebhookError;
use crate::domain::workflows::WorkflowError;
use crate::store::StoreError;

/// Every refusal says when to come back, at least roughly: what is full now has usually drained by then.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// What a handler, or anything in front of it, gives when it does not succeed.
pub type ApiResult<T> = Result<T, ApiError>;

/// Every way a call can fail, as a client is told.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("A valid access token is needed.")]
    Unauthenticated,
    #[error("You may not do this.")]
    Forbidden,
    #[error("A browser may not call from this origin.")]
    OriginNotAllowed,
    #[error("There is nothing here, or you may not know of it.")]
    NotFound,
    #[error("This exists, but not with this method; `Allow` names the ones it has.")]
    MethodNotAllowed { allow: String },
    /// Text that cannot be read at all. The detail is about the client's own input.
    #[error("{0}")]
    Malformed(String),
    #[error("The body is not JSON: line {line}, column {column}.")]
    MalformedJson { line: usize, column: usize },
    #[error("The body is larger than {bytes_max} bytes.")]
    PayloadTooLarge { bytes_max: usize },
    #[error("The body must be application/json.")]
    UnsupportedMediaType,
    /// Understood, but not allowed: each place with its reason.
    #[error("{}", first_detail(errors))]
    Invalid { errors: Vec<FieldError> },
    /// JSON, but not the fields and types that are asked for.
    #[error("{}", first_detail(errors))]
    InvalidBody { errors: Vec<FieldError> },
    #[error("{}", first_detail(errors))]
    InvalidQuery { errors: Vec<FieldError> },
    #[error("Too many requests.")]
    RateLimited { retry_after: Duration },
    #[error("The server is too busy; nothing was done.")]
    Overloaded,
    #[error("The server is starting or stopping.")]
    NotReady,
    #[error("The server did not finish in time.")]
    Timeout,
    #[error("The server failed.")]
    Internal,
    #[error("You or your address hold as many live connections as may be.")]
    TooManyConnections,
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    Notification(#[from] NotificationError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// One choice of several, at this place in the body.
    #[error("{error}")]
    Preference { pointer: String, error: PreferenceError },
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Delivery(#[from] DeliveryLogError),
    #[error(transparent)]
    Friend(#[from] FriendError),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Phone(#[from] PhoneError),
    #[error(transparent)]
    ServiceKey(#[from] ServiceKeyError),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Idempotency(#[from] IdempotencyError),
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(transparent)]
    Payment(#[from] PaymentError),
    #[error(transparent)]
    Wallet(#[from] WalletError),
    #[error(transparent)]
    Workflow(#[from] WorkflowError),
    #[error(transparent)]
    Conflict(#[from] ConflictError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    #[error(transparent)]
    Reconciliation(#[from] ReconciliationError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Store(StoreError),
    /// A room that had too much to do, or could not be reached before anything was done.
    #[error("The room is too busy; nothing was done.")]
    RoomBusy,
    /// Lost after it was taken over.
    #[error("Whether this was done is not known; retry with the same key.")]
    OutcomeUnknown,
}

/// One place in the input and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// A JSON Pointer (RFC 6901) into the body, or `?name` for a query parameter.
    #[schema(example = "/name")]
    pub pointer: String,
    #[schema(example = "invalid_name")]
    pub code: String,
    pub detail: String,
}

/// An error as clients see it (RFC 9457), sent as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` says what happened.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    /// The name of the status.
    #[schema(example = "Not Found")]
    pub title: String,
    #[schema(example = 404)]
    pub status: u16,
    /// Stable; what programs look at.
    #[schema(example = "not_found")]
    pub code: String,
    /// For people.
    pub detail: String,
    /// What to quote when asking for help.
    pub request_id: Option<String>,
    /// Which inputs are wrong, as far as that is known.
    pub errors: Vec<FieldError>,
}

impl ApiError {
    /// One wrong input.
    #[must_use]
    pub fn invalid(
        pointer: impl Into<String>,
        code: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        let error =
            FieldError { pointer: pointer.into(), code: code.into(), detail: detail.into() };
        Self::Invalid { errors: vec![error] }
    }

    /// The status of the answer and the stable code in it.
    #[must_use]
    pub fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Self::OriginNotAllowed => (StatusCode::FORBIDDEN, "origin_not_allowed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::MalformedJson { .. } => (StatusCode::BAD_REQUEST, "malformed_json"),
            Self::PayloadTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
            }
            Self::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_input"),
            Self::InvalidBody { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_body"),
            Self::InvalidQuery { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_query"),
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            Self::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timed_out"),
            Self::TooManyConnections => (StatusCode::TOO_MANY_REQUESTS, "too_many_connections"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Self::Account(error) => table::of_account(error),
            Self::Room(error) => table::of_room(*error),
            Self::Notification(error) => table::of_notification(*error),
            Self::Template(error) => table::of_template(error),
            Self::Preference { error, .. } => table::of_preference(*error),
            Self::Device(error) => table::of_device(*error),
            Self::Delivery(error) => table::of_delivery(*error),
            Self::Friend(error) => table::of_friend(*error),
            Self::Follow(error) => table::of_follow(*error),
            Self::Settings(error) => table::of_settings(*error),
            Self::Image(error) => table::of_image(*error),
            Self::Phone(error) => table::of_phone(*error),
            Self::ServiceKey(error) => table::of_service_key(*error),
            Self::Webhook(error) => table::of_webhook(error),
            Self::Idempotency(error) => table::of_idempotency(*error),
            Self::Order(error) => table::of_order(*error),
            Self::Payment(error) => table::of_payment(*error),
            Self::Wallet(error) => table::of_wallet(*error),
            Self::Workflow(error) => table::of_workflow(*error),
            Self::Conflict(error) => table::of_conflict(*error),
            Self::Journal(error) => table::of_journal(*error),
            Self::Settlement(error) => table::of_settlement(*error),
            Self::Reconciliation(error) => table::of_reconciliation(*error),
            Self::Report(error) => table::of_report(*error),
            Self::Call(error) => table::of_call(*error),
            Self::Store(error) => table::of_store(error),
            Self::RoomBusy => (StatusCode::SERVICE_UNAVAILABLE, "room_busy"),
            Self::OutcomeUnknown => (StatusCode::INTERNAL_SERVER_ERROR, "outcome_unknown"),
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.status_and_code().1
    }

    /// When to try again, for what passes by itself.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after }
            | Self::Friend(FriendError::TooManyRequests { retry_after })
            | Self::Account(AccountError::LoginBackOff { retry_after })
            | Self::Phone(
                PhoneError::CodeBackOff { retry_after } | PhoneError::TooManyCodes { retry_after },
            ) => Some(*retry_after),
            Self::Overloaded
            | Self::NotReady
            | Self::RoomBusy
            | Self::TooManyConnections
            | Self::Account(AccountError::HasherBusy)
            | Self::Image(ImageError::Busy)
            | Self::Idempotency(IdempotencyError::InUse)
            | Self::Payment(PaymentError::Unavailable | PaymentError::ProviderStopped)
            | Self::Conflict(ConflictError::Unknown)
            | Self::Wallet(WalletError::Unavailable)
            | Self::Store(StoreError::Busy) => Some(RETRY_SOON),
            Self::Call(error) => error.never_ran().then_some(RETRY_SOON),
            _ => None,
        }
    }

    /// [`ApiError::retry_after`] in milliseconds, as sockets say it.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    }

    /// What a person is told. Of a failure that is ours, nothing about its cause.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Store(StoreError::Busy) => Self::Overloaded.to_string(),
            Self::Store(StoreError::Stopped | StoreError::Commit(_)) => {
                Self::OutcomeUnknown.to_string()
            }
            Self::Store(_)
            | Self::Account(AccountError::Crypto)
            | Self::Webhook(WebhookError::Crypto | WebhookError::NoSeal) => {
                Self::Internal.to_string()
            }
            Self::Call(error) if error.never_ran() => Self::Overloaded.to_string(),
            Self::Call(_) => Self::OutcomeUnknown.to_string(),
            _ => self.to_string(),
        }
    }

    /// The inputs that are wrong, where that is known.
    #[must_use]
    pub fn field_errors(&self) -> Vec<FieldError> {
        if let Self::Invalid { errors }
        | Self::InvalidBody { errors }
        | Self::InvalidQuery { errors } = self
        {
            return errors.clone();
        }
        if let Self::Preference { pointer, error } = self {
            return vec![self.field_error(pointer, &error.to_string())];
        }
        if let Self::Template(error) = self
            && let Some(part) = error.part()
        {
            return vec![
                self.field_error(&format!("/parts/{}", part.as_str()), &error.to_string()),
            ];
        }
        let pointer = match self {
            Self::Template(TemplateError::SampleTooLarge) => "/data",
            Self::Template(TemplateError::MediumNotTested) => "/medium",
            Self::Account(AccountError::HandleInvalid | AccountError::HandleReserved) => "/handle",
            Self::Account(AccountError::EmailInvalid) => "/email",
            Self::Account(AccountError::DisplayNameInvalid) => "/display_name",
            Self::Account(AccountError::BioInvalid) => "/bio",
            Self::Device(DeviceError::InvalidEndpoint | DeviceError::UnknownService) => {
                "/subscription/endpoint"
            }
            Self::Device(DeviceError::InvalidKeys) => "/subscription/keys",
            Self::Device(DeviceError::InvalidToken) => "/token",
            Self::Device(DeviceError::InvalidName) => "/name",
            Self::Account(AccountError::AvatarInvalid) => "/avatar",
            Self::Settings(SettingsError::LocaleInvalid) => "/locale",
            Self::Settings(SettingsError::TimeZoneUnknown) => "/time_zone",
            Self::Settings(SettingsError::QuietHoursInvalid) => "/quiet_hours",
            Self::Phone(PhoneError::NumberInvalid) => "/number",
            Self::Phone(PhoneError::CodeInvalid) => "/code",
            Self::Room(RoomError::InvalidName) => "/name",
            Self::Room(RoomError::InvalidTopic) => "/topic",
            Self::Room(RoomError::MessageEmpty | RoomError::MessageTooLong) => "/body",
            Self::Room(RoomError::InvalidKey) => "/key",
            Self::Room(RoomError::InvalidEmoji) => "/emoji",
            Self::Room(RoomError::TooManyMentions) => "/mentions",
            Self::Room(RoomError::InvalidAttachments) => "/attachments",
            Self::Room(RoomError::PositionBeyondHead) => "/seq",
            Self::Notification(
                NotificationError::UnknownType | NotificationError::ReservedType,
            ) => "/type",
            Self::Notification(NotificationError::InvalidAudience) => "/to",
            Self::Notification(NotificationError::InvalidMedia) => "/media",
            Self::Notification(
                NotificationError::DataTooLarge | NotificationError::InvalidData,
            ) => "/data",
            Self::Notification(NotificationError::InvalidGroup) => "/group",
            Self::ServiceKey(ServiceKeyError::InvalidName) => "/name",
            Self::ServiceKey(ServiceKeyError::NoScope | ServiceKeyError::UnknownScope) => "/scopes",
            Self::ServiceKey(ServiceKeyError::InvalidLifetime) => "/expires_in_days",
            Self::Order(OrderError::InvalidName) => "/name",
            Self::Order(OrderError::InvalidFee) => "/fee_bps",
            Self::Order(OrderError::InvalidType) => "/order_type",
            Self::Order(OrderError::InvalidId) => "/order_id",
            Self::Journal(JournalError::DebitNotAllowed) => "/debit",
            Self::Journal(JournalError::CreditNotAllowed) => "/credit",
            Self::Payment(PaymentError::InvalidKey) => "/payment_key",
            Self::Payment(PaymentError::InvalidReason) => "/reason",
            Self::Payment(PaymentError::CurrencyNotSupported) => "/currency",
            Self::Webhook(WebhookError::InvalidEvents) => "/events",
            Self::Webhook(WebhookError::InvalidUrl(_)) => "/url",
            Self::Webhook(WebhookError::InvalidDescription) => "/description",
            Self::Webhook(WebhookError::InvalidOverlap) => "/overlap_s",
            _ => return Vec::new(),
        };

        vec![self.field_error(pointer, &self.detail())]
    }

    fn field_error(&self, pointer: &str, detail: &str) -> FieldError {
        FieldError {
            pointer: pointer.to_owned(),
            code: self.code().to_owned(),
            detail: detail.to_owned(),
        }
    }

    /// The whole answer.
    #[must_use]
    pub fn problem(&self, request_id: Option<&str>) -> Problem {
        let (status, code) = self.status_and_code();
        Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: self.detail(),
            request_id: request_id.map(str::to_owned),
            errors: self.field_errors(),
        }
    }
}

fn first_detail(errors: &[FieldError]) -> &str {
    errors.first().map_or("The input is not allowed.", |error| error.detail.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_to_answer_for_is_not_explained() {
        let error = ApiError::from(StoreError::Constraint("secret_table_key".to_owned()));
        let problem = error.problem(Some("r-1"));

        assert_eq!((problem.status, problem.code.as_str()), (500, "internal"));
        assert!(!problem.detail.contains("secret_table_key"));
        assert_eq!(problem.request_id.as_deref(), Some("r-1"));
    }

    #[test]
    fn a_busy_store_says_when_to_come_back() {
        let error = ApiError::from(StoreError::Busy);

        assert_eq!(error.status_and_code(), (StatusCode::SERVICE_UNAVAILABLE, "store_busy"));
        assert_eq!(error.retry_after_ms(), Some(1_000));
        assert_eq!(ApiError::OutcomeUnknown.retry_after_ms(), None);
    }

    #[test]
    fn a_wrong_input_is_pointed_at() {
        let problem = ApiError::from(RoomError::MessageTooLong).problem(None);

        assert_eq!(problem.code, "message_too_long");
        assert_eq!(problem.errors.first().map(|error| error.pointer.as_str()), Some("/body"));
    }
}

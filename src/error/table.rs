//! The tables: each failure's status and stable code. No `_` arm: a new failure must choose its own to compile.

use actix_web::http::StatusCode;

use crate::actors::kit::handle::CallError;
use crate::domain::accounts::AccountError;
use crate::domain::bank_accounts::BankAccountError;
use crate::domain::deliveries::DeliveryLogError;
use crate::domain::devices::DeviceError;
use crate::domain::follows::FollowError;
use crate::domain::friends::FriendError;
use crate::domain::idempotency::IdempotencyError;
use crate::domain::images::ImageError;
use crate::domain::journal::JournalError;
use crate::domain::message_reports::ReportError;
use crate::domain::notifications::NotificationError;
use crate::domain::passwords::PasswordError;
use crate::domain::payments::PaymentError;
use crate::domain::payments::conflicts::ConflictError;
use crate::domain::payments::orders::OrderError;
use crate::domain::payouts::PayoutFileError;
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
use crate::domain::withdrawals::WithdrawalRefusal;
use crate::domain::workflows::WorkflowError;
use crate::store::StoreError;

pub(super) fn of_account(error: &AccountError) -> (StatusCode, &'static str) {
    match error {
        AccountError::HandleInvalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_handle"),
        AccountError::HandleReserved => (StatusCode::UNPROCESSABLE_ENTITY, "handle_reserved"),
        AccountError::EmailInvalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_email"),
        AccountError::DisplayNameInvalid => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_display_name")
        }
        AccountError::BioInvalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_bio"),
        AccountError::AvatarInvalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_avatar"),
        AccountError::Password(PasswordError::TooShort) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "password_too_short")
        }
        AccountError::Password(PasswordError::TooLong) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "password_too_long")
        }
        AccountError::Password(PasswordError::Common) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "password_common")
        }
        AccountError::Password(PasswordError::ContainsIdentity) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "password_contains_identity")
        }
        AccountError::AccountExists => (StatusCode::CONFLICT, "account_exists"),
        AccountError::WalletNotEmpty => (StatusCode::CONFLICT, "wallet_not_empty"),
        AccountError::OwnDecision => (StatusCode::FORBIDDEN, "own_decision"),
        AccountError::NotAdministrator => (StatusCode::FORBIDDEN, "forbidden"),
        AccountError::InvalidCredentials => (StatusCode::UNAUTHORIZED, "invalid_credentials"),
        AccountError::WrongPassword => (StatusCode::FORBIDDEN, "wrong_password"),
        AccountError::AccountDisabled => (StatusCode::FORBIDDEN, "account_disabled"),
        AccountError::LoginBackOff { .. } => (StatusCode::TOO_MANY_REQUESTS, "login_backoff"),
        AccountError::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        AccountError::InvalidRefreshToken => (StatusCode::UNAUTHORIZED, "invalid_refresh_token"),
        AccountError::InvalidOneTimeToken => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_token"),
        AccountError::SessionNotFound => (StatusCode::NOT_FOUND, "session_not_found"),
        AccountError::UserNotFound => (StatusCode::NOT_FOUND, "user_not_found"),
        AccountError::HasherBusy => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        AccountError::Crypto => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

pub(super) fn of_room(error: RoomError) -> (StatusCode, &'static str) {
    match error {
        RoomError::NotFound => (StatusCode::NOT_FOUND, "room_not_found"),
        RoomError::NotMember => (StatusCode::FORBIDDEN, "not_room_member"),
        RoomError::RoleTooLow => (StatusCode::FORBIDDEN, "role_too_low"),
        RoomError::Muted => (StatusCode::FORBIDDEN, "member_muted"),
        RoomError::Blocked => (StatusCode::FORBIDDEN, "blocked"),
        RoomError::CannotMessage => (StatusCode::FORBIDDEN, "cannot_message"),
        RoomError::NotSender => (StatusCode::FORBIDDEN, "not_message_sender"),
        RoomError::MessageNotFound => (StatusCode::NOT_FOUND, "message_not_found"),
        RoomError::MessageDeleted => (StatusCode::CONFLICT, "message_deleted"),
        RoomError::DirectRoom => (StatusCode::CONFLICT, "direct_room"),
        RoomError::RoomFull => (StatusCode::CONFLICT, "room_full"),
        RoomError::UserNotFound => (StatusCode::NOT_FOUND, "user_not_found"),
        RoomError::TargetNotMember => (StatusCode::NOT_FOUND, "member_not_found"),
        RoomError::OwnerMustHandOver => (StatusCode::CONFLICT, "owner_must_hand_over"),
        RoomError::Oneself => (StatusCode::UNPROCESSABLE_ENTITY, "oneself"),
        RoomError::PositionBeyondHead => (StatusCode::UNPROCESSABLE_ENTITY, "position_beyond_head"),
        RoomError::InvalidName => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_name"),
        RoomError::InvalidTopic => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_topic"),
        RoomError::InvalidAvatar => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_avatar"),
        RoomError::MessageEmpty => (StatusCode::UNPROCESSABLE_ENTITY, "message_empty"),
        RoomError::MessageTooLong => (StatusCode::UNPROCESSABLE_ENTITY, "message_too_long"),
        RoomError::InvalidKey => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_key"),
        RoomError::InvalidEmoji => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_emoji"),
        RoomError::TooManyMentions => (StatusCode::UNPROCESSABLE_ENTITY, "too_many_mentions"),
        RoomError::InvalidAttachments => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_attachments"),
    }
}

pub(super) fn of_notification(error: NotificationError) -> (StatusCode, &'static str) {
    match error {
        NotificationError::NotFound => (StatusCode::NOT_FOUND, "notification_not_found"),
        NotificationError::UnknownType => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_type"),
        NotificationError::ReservedType => (StatusCode::UNPROCESSABLE_ENTITY, "reserved_type"),
        NotificationError::InvalidAudience => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_audience")
        }
        NotificationError::InvalidMedia => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_media"),
        NotificationError::DataTooLarge => (StatusCode::UNPROCESSABLE_ENTITY, "data_too_large"),
        NotificationError::InvalidData => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_data"),
        NotificationError::InvalidGroup => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_group"),
        NotificationError::InvalidKey => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_idempotency_key")
        }
        NotificationError::KeyReused => {
            (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused")
        }
        NotificationError::InvalidChange => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_change"),
    }
}

pub(super) fn of_template(error: &TemplateError) -> (StatusCode, &'static str) {
    match error {
        TemplateError::InvalidKind => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_kind"),
        TemplateError::InvalidLocale => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_locale"),
        TemplateError::NotFound => (StatusCode::NOT_FOUND, "template_not_found"),
        TemplateError::TooMany => (StatusCode::CONFLICT, "too_many_templates"),
        TemplateError::SampleTooLarge => (StatusCode::UNPROCESSABLE_ENTITY, "sample_too_large"),
        TemplateError::SourceTooLong { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "template_too_long")
        }
        TemplateError::Broken { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "template_broken"),
        TemplateError::Unrendered { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "template_not_rendered")
        }
        TemplateError::OutputTooLong { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "template_output_too_long")
        }
        TemplateError::Empty { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "template_empty"),
        TemplateError::MediumNotTested => (StatusCode::UNPROCESSABLE_ENTITY, "medium_not_tested"),
        TemplateError::NoDevice => (StatusCode::CONFLICT, "no_device"),
    }
}

pub(super) fn of_preference(error: PreferenceError) -> (StatusCode, &'static str) {
    let code = match error {
        PreferenceError::UnknownKind => "unknown_kind",
        PreferenceError::Mandatory => "notification_mandatory",
        PreferenceError::NotOffered => "medium_not_offered",
        PreferenceError::NoDigestInInbox => "no_digest_in_inbox",
        PreferenceError::InvalidDigestMinutes => "invalid_digest_minutes",
        PreferenceError::TooManyChanges => "too_many_changes",
    };
    (StatusCode::UNPROCESSABLE_ENTITY, code)
}

pub(super) fn of_device(error: DeviceError) -> (StatusCode, &'static str) {
    match error {
        DeviceError::InvalidEndpoint => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_endpoint"),
        DeviceError::UnknownService => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_push_service"),
        DeviceError::InvalidKeys => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_keys"),
        DeviceError::InvalidToken => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_registration_token")
        }
        DeviceError::InvalidName => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_name"),
        DeviceError::NotFound => (StatusCode::NOT_FOUND, "device_not_found"),
        DeviceError::NoPushKey => (StatusCode::NOT_FOUND, "no_push_key"),
    }
}

pub(super) fn of_delivery(error: DeliveryLogError) -> (StatusCode, &'static str) {
    match error {
        DeliveryLogError::NotFound => (StatusCode::NOT_FOUND, "delivery_not_found"),
        DeliveryLogError::NotDead => (StatusCode::CONFLICT, "delivery_not_dead"),
    }
}

pub(super) fn of_friend(error: FriendError) -> (StatusCode, &'static str) {
    match error {
        FriendError::Oneself => (StatusCode::UNPROCESSABLE_ENTITY, "oneself"),
        FriendError::UserNotFound => (StatusCode::NOT_FOUND, "user_not_found"),
        FriendError::Blocked => (StatusCode::FORBIDDEN, "blocked"),
        FriendError::CannotBefriend => (StatusCode::FORBIDDEN, "cannot_befriend"),
        FriendError::RequestNotFound => (StatusCode::NOT_FOUND, "friend_request_not_found"),
        FriendError::AlreadyFriends => (StatusCode::CONFLICT, "already_friends"),
        FriendError::TooManyFriends => (StatusCode::CONFLICT, "too_many_friends"),
        FriendError::TooManyOpenRequests => (StatusCode::CONFLICT, "too_many_open_requests"),
        FriendError::TooManyRequests { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "too_many_friend_requests")
        }
        FriendError::TooManyBlocks => (StatusCode::CONFLICT, "too_many_blocks"),
    }
}

pub(super) fn of_follow(error: FollowError) -> (StatusCode, &'static str) {
    match error {
        FollowError::Oneself => (StatusCode::UNPROCESSABLE_ENTITY, "oneself"),
        FollowError::UserNotFound => (StatusCode::NOT_FOUND, "user_not_found"),
        FollowError::Blocked => (StatusCode::FORBIDDEN, "blocked"),
        FollowError::TooMany => (StatusCode::CONFLICT, "too_many_followed"),
        FollowError::Private => (StatusCode::FORBIDDEN, "profile_private"),
    }
}

pub(super) fn of_settings(error: SettingsError) -> (StatusCode, &'static str) {
    match error {
        SettingsError::LocaleInvalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_locale"),
        SettingsError::TimeZoneUnknown => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_time_zone"),
        SettingsError::QuietHoursInvalid => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_quiet_hours")
        }
    }
}

pub(super) fn of_image(error: ImageError) -> (StatusCode, &'static str) {
    match error {
        ImageError::TypeNotSupported => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "image_type_not_supported")
        }
        ImageError::TooManyPixels => (StatusCode::UNPROCESSABLE_ENTITY, "image_too_many_pixels"),
        ImageError::Unreadable => (StatusCode::UNPROCESSABLE_ENTITY, "image_unreadable"),
        ImageError::FieldMissing => (StatusCode::UNPROCESSABLE_ENTITY, "image_missing"),
        ImageError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
    }
}

pub(super) fn of_phone(error: PhoneError) -> (StatusCode, &'static str) {
    match error {
        PhoneError::NumberInvalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_phone_number"),
        PhoneError::CodeInvalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_code"),
        PhoneError::CodeBackOff { .. } => (StatusCode::TOO_MANY_REQUESTS, "code_backoff"),
        PhoneError::TooManyCodes { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_codes"),
    }
}

pub(super) fn of_service_key(error: ServiceKeyError) -> (StatusCode, &'static str) {
    match error {
        ServiceKeyError::InvalidName => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_name"),
        ServiceKeyError::NoScope | ServiceKeyError::UnknownScope => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_scopes")
        }
        ServiceKeyError::InvalidLifetime => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_lifetime"),
        ServiceKeyError::TooMany => (StatusCode::CONFLICT, "too_many_service_keys"),
        ServiceKeyError::NotFound => (StatusCode::NOT_FOUND, "service_key_not_found"),
        ServiceKeyError::Invalid => (StatusCode::UNAUTHORIZED, "invalid_service_key"),
        ServiceKeyError::ScopeMissing => (StatusCode::FORBIDDEN, "scope_missing"),
    }
}

pub(super) fn of_webhook(error: &WebhookError) -> (StatusCode, &'static str) {
    match error {
        WebhookError::InvalidEvents => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_events"),
        WebhookError::InvalidUrl(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_url"),
        WebhookError::InvalidDescription => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_description")
        }
        WebhookError::InvalidOverlap => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_overlap"),
        WebhookError::InvalidReplay => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_replay"),
        WebhookError::TooMany => (StatusCode::CONFLICT, "too_many_webhooks"),
        WebhookError::NotFound => (StatusCode::NOT_FOUND, "webhook_not_found"),
        WebhookError::DeliveryNotFound => (StatusCode::NOT_FOUND, "delivery_not_found"),
        WebhookError::Disabled => (StatusCode::CONFLICT, "webhook_disabled"),
        // An operator has something to mend; the log says what.
        WebhookError::NoSeal | WebhookError::Crypto => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}

pub(super) fn of_idempotency(error: IdempotencyError) -> (StatusCode, &'static str) {
    match error {
        IdempotencyError::Missing => (StatusCode::BAD_REQUEST, "idempotency_key_missing"),
        IdempotencyError::Invalid => (StatusCode::BAD_REQUEST, "idempotency_key_invalid"),
        IdempotencyError::InUse => (StatusCode::CONFLICT, "idempotency_key_in_use"),
        IdempotencyError::Reused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
    }
}

pub(super) fn of_order(error: OrderError) -> (StatusCode, &'static str) {
    let code = match error {
        OrderError::InvalidType => "invalid_order_type",
        OrderError::InvalidId => "invalid_order_id",
        OrderError::InvalidName => "invalid_name",
        OrderError::InvalidFee => "invalid_fee",
        OrderError::PayerIsPayee => "payer_is_payee",
    };
    (StatusCode::UNPROCESSABLE_ENTITY, code)
}

pub(super) fn of_payment(error: PaymentError) -> (StatusCode, &'static str) {
    match error {
        PaymentError::NotFound => (StatusCode::NOT_FOUND, "payment_not_found"),
        PaymentError::OrderNotFound => (StatusCode::NOT_FOUND, "order_not_found"),
        PaymentError::OrderHasPayment => (StatusCode::CONFLICT, "order_has_payment"),
        PaymentError::CurrencyNotSupported => {
            (StatusCode::UNPROCESSABLE_ENTITY, "currency_not_supported")
        }
        PaymentError::InvalidKey => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_payment_key"),
        PaymentError::InvalidReason => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_reason"),
        PaymentError::UnknownProvider => (StatusCode::NOT_FOUND, "provider_not_found"),
        PaymentError::NotInReview => (StatusCode::CONFLICT, "wrong_state"),
        PaymentError::OwnDecision => (StatusCode::FORBIDDEN, "own_decision"),
        PaymentError::WebhookUnsigned => (StatusCode::UNAUTHORIZED, "invalid_signature"),
        PaymentError::ProviderStopped => (StatusCode::SERVICE_UNAVAILABLE, "provider_stopped"),
        PaymentError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "payments_unavailable"),
    }
}

pub(super) fn of_workflow(error: WorkflowError) -> (StatusCode, &'static str) {
    match error {
        WorkflowError::NotFound => (StatusCode::NOT_FOUND, "workflow_not_found"),
        WorkflowError::WrongStatus(_) => (StatusCode::CONFLICT, "wrong_state"),
        WorkflowError::GoesBack => (StatusCode::CONFLICT, "workflow_goes_back"),
        WorkflowError::NotUndoable => (StatusCode::CONFLICT, "not_undoable"),
    }
}

pub(super) fn of_conflict(error: ConflictError) -> (StatusCode, &'static str) {
    match error {
        ConflictError::NotFound => (StatusCode::NOT_FOUND, "proposal_not_found"),
        ConflictError::NotConflicted => (StatusCode::CONFLICT, "wrong_state"),
        ConflictError::GivenBack => (StatusCode::CONFLICT, "give_back_under_way"),
        ConflictError::Superseded => (StatusCode::CONFLICT, "proposal_superseded"),
        ConflictError::SaysOtherwise => (StatusCode::CONFLICT, "provider_says_otherwise"),
        ConflictError::Disputed => (StatusCode::CONFLICT, "disputed"),
        ConflictError::TooMuch => (StatusCode::CONFLICT, "more_than_agreed"),
        ConflictError::OwnProposal | ConflictError::OwnDecision => {
            (StatusCode::FORBIDDEN, "own_decision")
        }
        ConflictError::Unknown => (StatusCode::SERVICE_UNAVAILABLE, "payments_unavailable"),
    }
}

pub(super) fn of_journal(error: JournalError) -> (StatusCode, &'static str) {
    match error {
        JournalError::NotFound => (StatusCode::NOT_FOUND, "journal_entry_not_found"),
        JournalError::DebitNotAllowed | JournalError::CreditNotAllowed => {
            (StatusCode::UNPROCESSABLE_ENTITY, "account_not_allowed")
        }
        JournalError::NotOneSuspense => (StatusCode::UNPROCESSABLE_ENTITY, "suspense_required"),
        JournalError::Decided(_) => (StatusCode::CONFLICT, "wrong_state"),
        JournalError::Expired => (StatusCode::CONFLICT, "proposal_expired"),
        JournalError::OwnEntry => (StatusCode::FORBIDDEN, "own_decision"),
        JournalError::Overdraft => (StatusCode::CONFLICT, "suspense_overdrawn"),
        JournalError::AccountFrozen => (StatusCode::CONFLICT, "account_frozen"),
        JournalError::TooLarge => (StatusCode::CONFLICT, "balance_too_large"),
    }
}

pub(super) fn of_settlement(error: SettlementError) -> (StatusCode, &'static str) {
    match error {
        SettlementError::NotFound => (StatusCode::NOT_FOUND, "settlement_not_found"),
        SettlementError::NotClosed => (StatusCode::CONFLICT, "wrong_state"),
        SettlementError::OwnDecision => (StatusCode::FORBIDDEN, "own_decision"),
        SettlementError::NoCalendar => (StatusCode::CONFLICT, "calendar_missing"),
    }
}

pub(super) fn of_wallet(error: WalletError) -> (StatusCode, &'static str) {
    match error {
        WalletError::Insufficient => (StatusCode::PAYMENT_REQUIRED, "insufficient_available"),
        WalletError::Refused(refusal) => of_withdrawal(refusal),
        WalletError::Account(error) => of_bank_account(error),
        WalletError::PayoutFile(error) => of_payout_file(error),
        WalletError::NotFound => (StatusCode::NOT_FOUND, "withdrawal_not_found"),
        WalletError::WrongStatus(_) => (StatusCode::CONFLICT, "wrong_state"),
        WalletError::OwnDecision => (StatusCode::FORBIDDEN, "own_decision"),
        WalletError::SecondPersonNeeded => (StatusCode::FORBIDDEN, "second_person_needed"),
        WalletError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "payouts_unavailable"),
        WalletError::OrderNotPaid => (StatusCode::CONFLICT, "order_not_paid"),
        WalletError::RefundUnderWay => (StatusCode::CONFLICT, "refund_under_way"),
        WalletError::FeeTooHigh => (StatusCode::UNPROCESSABLE_ENTITY, "fee_too_high"),
    }
}

pub(super) fn of_reconciliation(error: ReconciliationError) -> (StatusCode, &'static str) {
    match error {
        ReconciliationError::NotFound => (StatusCode::NOT_FOUND, "break_not_found"),
        ReconciliationError::Closed => (StatusCode::CONFLICT, "wrong_state"),
        ReconciliationError::EntryNotFound => (StatusCode::UNPROCESSABLE_ENTITY, "entry_not_found"),
        ReconciliationError::EntryElsewhere => {
            (StatusCode::UNPROCESSABLE_ENTITY, "entry_elsewhere")
        }
        ReconciliationError::UnknownProvider => (StatusCode::NOT_FOUND, "provider_not_found"),
        ReconciliationError::InvalidDay => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_day"),
        ReconciliationError::Running => (StatusCode::CONFLICT, "reconciliation_running"),
    }
}

pub(super) fn of_report(error: ReportError) -> (StatusCode, &'static str) {
    match error {
        ReportError::NotFound => (StatusCode::NOT_FOUND, "report_not_found"),
        ReportError::Resolved => (StatusCode::CONFLICT, "report_resolved"),
        ReportError::TooMany => (StatusCode::CONFLICT, "too_many_reports"),
        ReportError::OwnDecision => (StatusCode::FORBIDDEN, "own_decision"),
    }
}

fn of_withdrawal(refusal: WithdrawalRefusal) -> (StatusCode, &'static str) {
    match refusal {
        WithdrawalRefusal::Frozen => (StatusCode::CONFLICT, "wallet_frozen"),
        WithdrawalRefusal::Unverified => (StatusCode::FORBIDDEN, "bank_account_unverified"),
        WithdrawalRefusal::TooSmall(_)
        | WithdrawalRefusal::TooLarge(_)
        | WithdrawalRefusal::TooMany(_)
        | WithdrawalRefusal::TooMuch(_) => (StatusCode::UNPROCESSABLE_ENTITY, "withdrawal_limit"),
    }
}

fn of_payout_file(error: PayoutFileError) -> (StatusCode, &'static str) {
    match error {
        PayoutFileError::NotFound => (StatusCode::NOT_FOUND, "payout_file_not_found"),
        PayoutFileError::NothingWaiting => (StatusCode::CONFLICT, "nothing_to_pay_out"),
        PayoutFileError::Finished => (StatusCode::CONFLICT, "payout_file_finished"),
        PayoutFileError::NotInFile(_) => (StatusCode::UNPROCESSABLE_ENTITY, "payout_not_in_file"),
        PayoutFileError::Contradicted(_) => (StatusCode::CONFLICT, "result_contradicted"),
    }
}

fn of_bank_account(error: BankAccountError) -> (StatusCode, &'static str) {
    match error {
        BankAccountError::InvalidBank => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_bank_code"),
        BankAccountError::InvalidNumber => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_account_number")
        }
        BankAccountError::InvalidHolder => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_holder"),
        BankAccountError::TooMany => (StatusCode::CONFLICT, "too_many_bank_accounts"),
        BankAccountError::NotFound => (StatusCode::NOT_FOUND, "bank_account_not_found"),
        BankAccountError::InUse => (StatusCode::CONFLICT, "bank_account_in_use"),
        BankAccountError::OwnAccount => (StatusCode::FORBIDDEN, "own_decision"),
    }
}

pub(super) fn of_call(error: CallError) -> (StatusCode, &'static str) {
    match error {
        CallError::Overloaded | CallError::Stopped | CallError::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "overloaded")
        }
        CallError::Lost | CallError::TimedOut => {
            (StatusCode::INTERNAL_SERVER_ERROR, "outcome_unknown")
        }
    }
}

pub(super) fn of_store(error: &StoreError) -> (StatusCode, &'static str) {
    match error {
        // Neither has done anything.
        StoreError::Busy | StoreError::LeaseLost => (StatusCode::SERVICE_UNAVAILABLE, "store_busy"),
        // A commit that failed may have reached a remote database all the same.
        StoreError::Stopped | StoreError::TimedOut | StoreError::Commit(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "outcome_unknown")
        }
        StoreError::NotFound | StoreError::Constraint(_) | StoreError::Database(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}

//! What Toss calls its errors, and which of them say for certain that nothing was done and nothing will be.
//!
//! Invariant: what is not listed is unknown. `PROVIDER_ERROR` and `ALREADY_PROCESSED_PAYMENT` come with 400 and may both
//! mean that the money has moved; `NOT_FOUND_PAYMENT_SESSION` comes when a payment took too long, and when it is over.

use crate::providers::payments::{Decline, DeclineCode};

/// Of a payment that is confirmed; also what a payment that failed says of itself.
const CONFIRM: [(&str, DeclineCode); 31] = [
    ("REJECT_CARD_COMPANY", DeclineCode::CardDeclined),
    ("INVALID_REJECT_CARD", DeclineCode::CardDeclined),
    ("FDS_ERROR", DeclineCode::CardDeclined),
    ("REJECT_CARD_PAYMENT", DeclineCode::InsufficientFunds),
    ("REJECT_ACCOUNT_PAYMENT", DeclineCode::InsufficientFunds),
    ("BELOW_MINIMUM_AMOUNT", DeclineCode::LimitExceeded),
    ("EXCEED_MAX_AMOUNT", DeclineCode::LimitExceeded),
    ("EXCEED_MAX_DAILY_PAYMENT_COUNT", DeclineCode::LimitExceeded),
    ("EXCEED_MAX_MONTHLY_PAYMENT_AMOUNT", DeclineCode::LimitExceeded),
    ("EXCEED_MAX_ONE_DAY_AMOUNT", DeclineCode::LimitExceeded),
    ("EXCEED_MAX_ONE_DAY_WITHDRAW_AMOUNT", DeclineCode::LimitExceeded),
    ("EXCEED_MAX_ONE_TIME_WITHDRAW_AMOUNT", DeclineCode::LimitExceeded),
    ("EXCEED_MAX_PAYMENT_AMOUNT", DeclineCode::LimitExceeded),
    ("EXCEED_MAX_CARD_INSTALLMENT_PLAN", DeclineCode::InvalidPaymentMethod),
    ("INVALID_ACCOUNT_INFO_RE_REGISTER", DeclineCode::InvalidPaymentMethod),
    ("INVALID_CARD_EXPIRATION", DeclineCode::InvalidPaymentMethod),
    ("INVALID_CARD_INSTALLMENT_PLAN", DeclineCode::InvalidPaymentMethod),
    ("INVALID_CARD_LOST_OR_STOLEN", DeclineCode::InvalidPaymentMethod),
    ("INVALID_CARD_NUMBER", DeclineCode::InvalidPaymentMethod),
    ("INVALID_STOPPED_CARD", DeclineCode::InvalidPaymentMethod),
    ("NOT_ALLOWED_POINT_USE", DeclineCode::InvalidPaymentMethod),
    ("NOT_SUPPORTED_CARD_TYPE", DeclineCode::InvalidPaymentMethod),
    ("NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT", DeclineCode::InvalidPaymentMethod),
    ("NOT_SUPPORTED_MONTHLY_INSTALLMENT_PLAN", DeclineCode::InvalidPaymentMethod),
    ("REJECT_TOSSPAY_INVALID_ACCOUNT", DeclineCode::InvalidPaymentMethod),
    ("RESTRICTED_TRANSFER_ACCOUNT", DeclineCode::InvalidPaymentMethod),
    ("EXCEED_MAX_AUTH_COUNT", DeclineCode::AuthenticationFailed),
    ("INVALID_AUTHORIZE_AUTH", DeclineCode::AuthenticationFailed),
    ("INVALID_PASSWORD", DeclineCode::AuthenticationFailed),
    ("PAY_PROCESS_CANCELED", DeclineCode::CanceledByPayer),
    ("USER_CANCEL", DeclineCode::CanceledByPayer),
];

/// Of a refund. That a payment is refunded already is none: it may have been this very refund.
const CANCEL: [(&str, DeclineCode); 13] = [
    ("EXCEED_MAX_REFUND_DUE", DeclineCode::NotRefundable),
    ("FORBIDDEN_BANK_REFUND_REQUEST", DeclineCode::NotRefundable),
    ("NOT_ALLOWED_PARTIAL_REFUND", DeclineCode::NotRefundable),
    ("NOT_ALLOWED_PARTIAL_REFUND_WAITING_DEPOSIT", DeclineCode::NotRefundable),
    ("NOT_CANCELABLE_PAYMENT", DeclineCode::NotRefundable),
    ("NOT_CANCELABLE_PAYMENT_FOR_DORMANT_USER", DeclineCode::NotRefundable),
    ("REFUND_REJECTED", DeclineCode::NotRefundable),
    ("EXCEED_CANCEL_AMOUNT_DISCOUNT_AMOUNT", DeclineCode::RefundTooLarge),
    ("EXCEED_CANCEL_LIMIT", DeclineCode::RefundTooLarge),
    ("NOT_CANCELABLE_AMOUNT", DeclineCode::RefundTooLarge),
    ("INVALID_BANK", DeclineCode::InvalidBankAccount),
    ("INVALID_REFUND_ACCOUNT_INFO", DeclineCode::InvalidBankAccount),
    ("INVALID_REFUND_ACCOUNT_NUMBER", DeclineCode::InvalidBankAccount),
];

/// Our keys are wrong; nothing was looked at.
const KEYS: [&str; 4] =
    ["UNAUTHORIZED_KEY", "INCORRECT_BASIC_AUTH_FORMAT", "INVALID_API_KEY", "INVALID_CLIENT_KEY"];

/// That there is no such payment.
pub(super) const NOT_FOUND: &str = "NOT_FOUND_PAYMENT";

pub(super) fn of_confirm(code: &str) -> Option<Decline> {
    listed(&CONFIRM, code)
}

pub(super) fn of_cancel(code: &str) -> Option<Decline> {
    listed(&CANCEL, code)
}

pub(super) fn is_about_keys(code: &str) -> bool {
    KEYS.contains(&code)
}

fn listed(list: &[(&str, DeclineCode)], code: &str) -> Option<Decline> {
    let (word, ours) = list.iter().find(|(word, _)| *word == code)?;
    Some(Decline { code: *ours, provider_code: (*word).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_moved_money_is_no_refusal() {
        for code in [
            "PROVIDER_ERROR",
            "ALREADY_PROCESSED_PAYMENT",
            "ALREADY_CANCELED_PAYMENT",
            "ALREADY_REFUND_PAYMENT",
            "NOT_FOUND_PAYMENT",
            "NOT_FOUND_PAYMENT_SESSION",
            "NOT_MATCHES_REFUNDABLE_AMOUNT",
            "FORBIDDEN_CONSECUTIVE_REQUEST",
            "IDEMPOTENT_REQUEST_PROCESSING",
            "INVALID_REQUEST",
            "NOT_AVAILABLE_BANK",
            "FAILED_INTERNAL_SYSTEM_PROCESSING",
            "A_CODE_OF_TOMORROW",
            "",
        ] {
            assert_eq!((of_confirm(code), of_cancel(code)), (None, None), "{code}");
        }
    }

    #[test]
    fn a_word_is_listed_once_and_means_what_it_is_listed_for() {
        for list in [&CONFIRM[..], &CANCEL[..]] {
            for (n, (word, _)) in list.iter().enumerate() {
                assert!(list[n + 1..].iter().all(|(other, _)| other != word), "{word}");
            }
        }
        assert!(of_confirm("REJECT_CARD_PAYMENT").is_some());
        assert_eq!(of_cancel("REJECT_CARD_PAYMENT"), None);
        assert_eq!(of_confirm("NOT_CANCELABLE_PAYMENT"), None);
    }
}

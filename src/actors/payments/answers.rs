//! Answers: what callers are told, written down once so that a repeat is told the same, to the byte.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::domain::idempotency::StoredAnswer;
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::PaymentStatus;
use crate::domain::time::Timestamp;
use crate::store::payments::Payment;

/// What is told of a request that was accepted, and is not over.
pub const ACCEPTED: u16 = 202;

/// An answer, and whether it was given before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub answer: StoredAnswer,
    pub is_replayed: bool,
    /// The payment that it is about, where there is one: for `Location`.
    pub payment: Option<PaymentId>,
}

/// A payment as its payer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PaymentView {
    pub id: PaymentId,
    pub order_type: String,
    pub order_id: String,
    pub payer: UserId,
    /// `null`: the platform.
    pub payee: Option<UserId>,
    /// Such as `toss`.
    pub provider: String,
    pub amount: Amount,
    pub currency: Currency,
    /// In minor units.
    pub captured: i64,
    /// What refunds that are not over are about to take.
    pub refund_reserved: i64,
    pub refunded: i64,
    /// Such as `captured`.
    pub status: String,
    /// Why it came to nothing.
    pub failure_code: Option<String>,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Grows with every change.
    pub version: i64,
}

impl From<&Payment> for PaymentView {
    fn from(payment: &Payment) -> Self {
        Self {
            id: payment.id,
            order_type: payment.order.order_type().to_owned(),
            order_id: payment.order.order_id().to_owned(),
            payer: payment.payer,
            payee: payment.payee,
            provider: payment.provider.as_str().to_owned(),
            amount: payment.amount,
            currency: payment.currency,
            captured: payment.sums.captured,
            refund_reserved: payment.sums.reserved,
            refunded: payment.sums.refunded,
            status: payment.status.as_str().to_owned(),
            failure_code: payment.failure_code.clone(),
            expires_at: payment.expires_at,
            created_at: payment.created_at,
            updated_at: payment.updated_at,
            version: payment.version,
        }
    }
}

/// Why a request is refused for good: a status, a code that programs look at, and a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    status: u16,
    code: &'static str,
    detail: &'static str,
    is_retryable: bool,
}

const fn refusal(status: u16, code: &'static str, detail: &'static str) -> Refusal {
    Refusal { status, code, detail, is_retryable: false }
}

pub(super) const PAYMENT_EXISTS: Refusal =
    refusal(409, "payment_exists", "The order is being paid for, or is paid for.");
pub(super) const WRONG_STATE: Refusal =
    refusal(409, "wrong_state", "This cannot be done with the payment as it stands.");
pub(super) const UNDER_WAY: Refusal = Refusal {
    is_retryable: true,
    ..refusal(409, "payment_under_way", "Something else is being done with the payment.")
};
pub(super) const DISPUTED: Refusal =
    refusal(409, "disputed", "The payment is disputed: its payer's bank decides.");
pub(super) const RELEASED: Refusal =
    refusal(409, "released", "The order is fulfilled: whoever sold it gives the money back.");
pub(super) const TOO_MANY_REFUNDS: Refusal = refusal(
    409,
    "too_many_refunds",
    "The payment was refunded in so many parts that only all that is left can be given back.",
);
pub(super) const PAYMENT_KEY_IN_USE: Refusal =
    refusal(409, "payment_key_in_use", "The payment key belongs to another payment.");
pub(super) const EXPIRED: Refusal =
    refusal(410, "payment_expired", "The payment was not made in time.");
pub(super) const AMOUNT_MISMATCH: Refusal =
    refusal(422, "amount_mismatch", "The amount is not that of the order.");
pub(super) const CURRENCY_NOT_SUPPORTED: Refusal =
    refusal(422, "currency_not_supported", "This currency is not dealt in here.");
pub(super) const PAYER_IS_PAYEE: Refusal =
    refusal(422, "payer_is_payee", "Nobody pays themselves.");
pub(super) const PAYEE_GONE: Refusal =
    refusal(409, "payee_gone", "Whoever would be paid has left for good.");
pub(super) const METHOD_NOT_SUPPORTED: Refusal =
    refusal(422, "method_not_supported", "The provider cannot take a payment in this way.");
pub(super) const EXCEEDS_REFUNDABLE: Refusal =
    refusal(422, "exceeds_refundable", "More than is left cannot be given back.");
pub(super) const REFUND_ACCOUNT_REQUIRED: Refusal = refusal(
    422,
    "refund_account_required",
    "What came by a transfer needs an account that it goes back to.",
);
pub(super) const PARTIAL_NOT_SUPPORTED: Refusal =
    refusal(422, "partial_refund_not_supported", "The provider gives back the whole only.");
pub(super) const CANCEL_DECLINED: Refusal =
    refusal(422, "cancel_declined", "The provider does not give it back.");
const DECLINED: Refusal = refusal(402, "payment_declined", "The payment was declined.");
const CONFLICTED: Refusal =
    refusal(409, "payment_conflicted", "Something else was taken than agreed, and is given back.");

impl Refusal {
    /// As it is told; `more` is an object, or nothing.
    pub(super) fn answer(self, payment: Option<&Payment>, more: &Value) -> StoredAnswer {
        let title = match self.status {
            402 => "Payment Required",
            409 => "Conflict",
            410 => "Gone",
            _ => "Unprocessable Entity",
        };
        let mut body = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": null,
            "errors": [],
            "payment_id": payment.map(|it| it.id),
            "payment_status": payment.map(|it| it.status.as_str()),
            "failure_code": payment.and_then(|it| it.failure_code.as_deref()),
            "retryable": self.is_retryable,
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more.clone());
        }
        StoredAnswer { status: self.status, body: body.to_string() }
    }

    pub(super) fn of(self, payment: &Payment) -> StoredAnswer {
        self.answer(Some(payment), &Value::Null)
    }

    pub(super) fn plain(self) -> StoredAnswer {
        self.answer(None, &Value::Null)
    }
}

/// A payment, with whatever there is to say besides.
pub(super) fn seen(status: u16, payment: &Payment, more: &Value) -> StoredAnswer {
    let mut body = json!(PaymentView::from(payment));
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more.clone());
    }
    StoredAnswer { status, body: body.to_string() }
}

/// What came of confirming or capturing a payment.
pub(super) fn of_confirming(payment: &Payment) -> StoredAnswer {
    let is_conflicted = payment.failure_code.as_deref() == Some("conflicted");
    match payment.status {
        _ if payment.under_way.is_some() => seen(ACCEPTED, payment, &Value::Null),
        PaymentStatus::Created
        | PaymentStatus::Confirming
        | PaymentStatus::Unknown
        | PaymentStatus::Conflicted => seen(ACCEPTED, payment, &Value::Null),
        PaymentStatus::AwaitingDeposit
        | PaymentStatus::Authorized
        | PaymentStatus::Captured
        | PaymentStatus::PartiallyRefunded
        | PaymentStatus::Refunded
        | PaymentStatus::Disputed
        | PaymentStatus::ChargedBack => seen(200, payment, &Value::Null),
        PaymentStatus::Canceled if is_conflicted => CONFLICTED.of(payment),
        PaymentStatus::Canceled | PaymentStatus::Failed => DECLINED.of(payment),
        PaymentStatus::Expired => EXPIRED.of(payment),
    }
}

/// What came of voiding a payment.
pub(super) fn of_voiding(payment: &Payment) -> StoredAnswer {
    match (payment.status, payment.under_way) {
        (PaymentStatus::Canceled | PaymentStatus::Expired, _) => seen(200, payment, &Value::Null),
        (_, Some(_)) => seen(ACCEPTED, payment, &Value::Null),
        (_, None) => CANCEL_DECLINED.of(payment),
    }
}

/// A provider that does not even get a payment ready.
pub(super) fn of_preparing(payment: &Payment) -> StoredAnswer {
    DECLINED.of(payment)
}

//! Payments as requests and answers have them.

use std::fmt;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

use crate::actors::payments::answers::{ACCEPTED, Answered, PaymentView};
use crate::actors::payments::requests::PaymentMethod;
use crate::domain::bank_accounts::{AccountDetails, BankAccountError, BankCode, RefundAccount};
use crate::domain::ids::{PaymentId, RefundId, UserId};
use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult, Problem};
use crate::http::problem;
use crate::origin;
use crate::store::orders::Order;

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A payment to begin.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBody {
    #[schema(example = "job")]
    pub order_type: String,
    #[schema(example = "2026-117")]
    pub order_id: String,
    /// How its payer pays.
    #[serde(default)]
    pub method: PaymentMethod,
    /// What the payer was shown; refused where the order costs something else.
    #[serde(default)]
    pub amount: Option<Amount>,
    /// Whether confirming sets the money aside, to be captured later.
    #[serde(default)]
    pub capture_later: bool,
}

/// A payment to be taken, which its payer has made at the provider.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmBody {
    pub payment_id: PaymentId,
    /// What the provider calls it; 1 to 200 visible ASCII characters.
    pub payment_key: String,
    /// What the payer has paid.
    pub amount: Amount,
}

/// A payment to be captured that was set aside.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureBody {
    pub payment_id: PaymentId,
}

/// A payment to be given up or given back.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelBody {
    pub payment_id: PaymentId,
    /// Left out: all that is left.
    #[serde(default)]
    pub amount: Option<Amount>,
    /// 1 to 200 characters.
    #[schema(max_length = 200, example = "It was not what I had expected.")]
    pub reason: String,
    /// Where it goes, for what came by a transfer; not kept once it is there.
    #[serde(default)]
    pub refund_account: Option<RefundAccountBody>,
}

impl CancelBody {
    /// What tells it from another under the same key, and is kept: of an account only what `disguise` makes of it.
    ///
    /// # Errors
    /// [`ApiError::Internal`] for a body that cannot be written as JSON, which there is not.
    pub fn told_apart(&self, disguise: impl Fn(&str) -> String) -> ApiResult<Value> {
        let mut body = serde_json::to_value(self).map_err(|_| ApiError::Internal)?;
        for field in ["/refund_account/account_number", "/refund_account/holder"] {
            if let Some(Value::String(text)) = body.pointer_mut(field) {
                *text = disguise(text);
            }
        }
        Ok(body)
    }
}

/// A bank account of the payer's.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundAccountBody {
    /// As the provider knows it: 2 to 11 digits and capitals.
    #[schema(min_length = 2, max_length = 11, example = "088")]
    bank: String,
    /// 6 to 20 digits; `-` and space may stand between them.
    #[schema(min_length = 6, max_length = 40, example = "110-123-456789")]
    account_number: String,
    /// 1 to 60 characters.
    #[schema(min_length = 1, max_length = 60, example = "김지수")]
    holder: String,
}

impl RefundAccountBody {
    /// # Errors
    /// [`BankAccountError`].
    pub fn parse(self) -> Result<RefundAccount, BankAccountError> {
        Ok(RefundAccount {
            bank: BankCode::parse(&self.bank)?,
            details: AccountDetails::parse(&self.account_number, &self.holder)?,
        })
    }
}

impl fmt::Debug for RefundAccountBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefundAccountBody(..)")
    }
}

/// A payment that was begun, with what its payer's client needs.
#[derive(Serialize, ToSchema)]
pub struct CreatedView {
    payment_id: PaymentId,
    provider: String,
    amount: Amount,
    currency: Currency,
    status: String,
    /// What the provider wants of the client: keys, our order, where to go.
    #[schema(value_type = Object)]
    client: Value,
    expires_at: Timestamp,
}

/// A payment, and what became of a refund of it.
#[derive(Serialize, ToSchema)]
pub struct CanceledView {
    #[serde(flatten)]
    payment: PaymentView,
    /// Left out where nothing had been taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    refund: Option<RefundView>,
}

/// Money that goes back.
#[derive(Serialize, ToSchema)]
pub struct RefundView {
    id: RefundId,
    amount: Amount,
    /// `requested`, `sent`, `unknown`, `succeeded`, `failed` or `needs_review`.
    status: String,
    failure_code: Option<String>,
}

/// An order to be paid for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// Whoever pays, where that is left out.
    #[serde(default)]
    pub payer_id: Option<UserId>,
    /// The platform keeps it, where that is left out.
    #[serde(default)]
    pub payee_id: Option<UserId>,
    /// In minor units.
    pub amount: Amount,
    /// That of this installation, where it is left out.
    #[serde(default)]
    pub currency: Option<Currency>,
    /// What its payer is shown: 1 to 100 characters.
    #[schema(max_length = 100, example = "A day in the garden")]
    pub name: String,
    /// What is kept of it, in hundredths of a percent.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 10_000)]
    pub fee_bps: i64,
}

/// An order as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderView {
    pub order_type: String,
    pub order_id: String,
    pub payer_id: Option<UserId>,
    pub payee_id: Option<UserId>,
    pub amount: Amount,
    pub currency: Currency,
    pub name: String,
    pub fee_bps: i64,
    /// When its payee had earned it.
    pub released_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        Self {
            order_type: order.key.order_type().to_owned(),
            order_id: order.key.order_id().to_owned(),
            payer_id: order.payer,
            payee_id: order.payee,
            amount: order.amount,
            currency: order.currency,
            name: order.name,
            fee_bps: order.fee.get(),
            released_at: order.released_at,
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

/// What a request that moves money may be told. Besides what a problem always has, those about a payment have `payment_id`,
/// `payment_status`, `failure_code` and `retryable`.
#[derive(IntoResponses)]
pub enum MoneyRefusals {
    /// The request cannot be read, or has no sound key: `idempotency_key_missing`, `idempotency_key_invalid`.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] Problem),
    /// There is no valid access token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// It does not exist, or is somebody else's: `order_not_found`, `payment_not_found`.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// Not as things stand: `wrong_state`, `payment_under_way`, `payment_exists`, `disputed`, `too_many_refunds`; or the same
    /// request is being done (`idempotency_key_in_use`, with `Retry-After`).
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] Problem),
    /// An amount or another input is not allowed (`amount_mismatch`, `exceeds_refundable`), or the key was used for
    /// something else (`idempotency_key_reused`).
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// Too many requests; `Retry-After` says how long to wait.
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(#[to_schema] Problem),
    /// The same request with the same key finds out whether it was done.
    #[response(status = 500, content_type = "application/problem+json")]
    OutcomeUnknown(#[to_schema] Problem),
    /// Too busy, or no provider answers (`payments_unavailable`); `Retry-After` says how long to wait.
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(#[to_schema] Problem),
}

/// Lets what was begun come to its end, also where the client goes away meanwhile.
///
/// # Errors
/// [`ApiError::Internal`] where it has panicked.
pub async fn undisturbed<T: 'static>(work: impl Future<Output = T> + 'static) -> ApiResult<T> {
    let work = origin::scope(origin::current(), work);
    actix_web::rt::spawn(work).await.map_err(|_| ApiError::Internal)
}

/// An answer as it was kept, to the byte.
///
/// # Errors
/// [`ApiError::Internal`] for a status that is none.
pub fn response(answered: Answered) -> ApiResult<HttpResponse> {
    let Answered { answer, is_replayed, payment } = answered;
    let status = StatusCode::from_u16(answer.status).map_err(|_| ApiError::Internal)?;
    let kind = if status.is_success() { "application/json" } else { problem::CONTENT_TYPE };
    let mut response = HttpResponse::build(status);
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static(kind)));
    if is_replayed {
        response.insert_header((REPLAYED, HeaderValue::from_static("true")));
    }
    if let Some(payment) = payment.filter(|_| answer.status == ACCEPTED) {
        response.insert_header((LOCATION, format!("/v1/payments/{payment}")));
    }
    Ok(response.body(answer.body))
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn of_an_account_only_what_it_is_disguised_as_is_kept() {
        let body = |account: Value| -> CancelBody {
            from_value(json!({
                "payment_id": PaymentId::from(uuid::Uuid::nil()), "amount": 1, "reason": "늦음",
                "refund_account": account,
            }))
            .unwrap()
        };
        let account =
            json!({ "bank": "088", "account_number": "110123456789", "holder": "김하나" });
        let said = body(account).told_apart(|text| format!("{} characters", text.chars().count()));
        let said = said.unwrap();
        let account = json!({
            "bank": "088", "account_number": "12 characters", "holder": "3 characters",
        });
        assert_eq!(said["refund_account"], account);
        let without = body(Value::Null);
        assert_eq!(without.told_apart(str::to_owned).unwrap(), to_value(&without).unwrap());
    }
}

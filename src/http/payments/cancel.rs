//! Canceling: a payment is given up, or given back, whole or in part.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, post};

use super::key::Key;
use super::views::{CancelBody, CanceledView, MoneyRefusals, response, undisturbed};
use crate::actors::payments::Payments;
use crate::actors::payments::requests::CancelPayment;
use crate::domain::payments::PaymentError;
use crate::domain::payments::refunds::RefundReason;
use crate::error::ApiResult;
use crate::http::caller::Caller;

const ROUTE: &str = "POST /v1/payments/cancel";

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(cancel_payment);
}

/// Gives up a payment of the caller's that was not taken, or gives back what was, whole or in part.
///
/// 202 says that nobody knows yet, as it does of confirming. More than is left is 422 `exceeds_refundable`, with what is left in
/// `refundable`.
#[utoipa::path(
    tag = "payments",
    params(("Idempotency-Key" = String, Header, description = "8 to 255 visible characters, one for each refund")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It is given up or given back", body = CanceledView),
        (status = 202, description = "Nobody knows yet; `Location` says where to ask", body = CanceledView),
        MoneyRefusals,
    ),
)]
#[post("/payments/cancel")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id, payment.id = %body.payment_id))]
pub(super) async fn cancel_payment(
    caller: Caller,
    key: Key,
    body: web::Json<CancelBody>,
    payments: web::Data<Payments>,
) -> ApiResult<HttpResponse> {
    let actor = format!("user:{}", caller.user_id);
    let call = key.call(actor.clone(), ROUTE, &*body)?;
    let CancelBody { payment_id: payment, amount, reason } = body.into_inner();
    let reason = RefundReason::parse(&reason).ok_or(PaymentError::InvalidReason)?;
    let payer = Some(caller.user_id);
    let request = CancelPayment { payment, payer, actor, amount, reason };

    let payments = payments.get_ref().clone();
    response(undisturbed(async move { payments.cancel(request, call).await }).await??)
}

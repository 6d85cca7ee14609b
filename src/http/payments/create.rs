//! Beginning a payment: the server says what an order costs, and what the payer's client needs.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, post};

use super::key::Key;
use super::payer::Beginning;
use super::views::{CreateBody, CreatedView, MoneyRefusals, response, undisturbed};
use crate::actors::payments::requests::CreatePayment;
use crate::actors::payments::{Payments, PaymentsError};
use crate::domain::payments::PaymentError;
use crate::domain::payments::orders::OrderKey;
use crate::error::{ApiError, ApiResult, Problem};

const ROUTE: &str = "POST /v1/payments/create";

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(create_payment);
}

/// Begins a payment for an order.
///
/// The server says what it costs. The payer then pays at the provider, with what is in `client`, and the payment is confirmed.
#[utoipa::path(
    tag = "payments",
    params(("Idempotency-Key" = String, Header, description = "8 to 255 visible characters, one for each payment")),
    security(("bearer" = [])),
    responses(
        (
            status = 201,
            description = "It has begun, now or (`Idempotent-Replayed: true`) before",
            body = CreatedView,
        ),
        (
            status = 402,
            description = "`payment_declined`: the provider will not have it",
            body = Problem,
            content_type = "application/problem+json",
        ),
        MoneyRefusals,
    ),
)]
#[post("/payments/create")]
#[tracing::instrument(skip_all, fields(user.id = %payer.0.user_id))]
pub(super) async fn create_payment(
    payer: Beginning,
    key: Key,
    body: web::Json<CreateBody>,
    payments: web::Data<Payments>,
) -> ApiResult<HttpResponse> {
    let payer = payer.0.user_id;
    let call = key.call(format!("user:{payer}"), ROUTE, &*body)?;
    let body = body.into_inner();
    let request = CreatePayment {
        payer,
        order: OrderKey::parse(&body.order_type, &body.order_id)?,
        method: body.method,
        is_captured_later: body.capture_later,
        amount: body.amount,
    };
    let payments = payments.get_ref().clone();
    let created = undisturbed(async move { payments.create(request, call).await }).await?;
    let answered = created.map_err(|error| match error {
        PaymentsError::NotFound => PaymentError::OrderNotFound.into(),
        error => ApiError::from(error),
    })?;

    response(answered)
}

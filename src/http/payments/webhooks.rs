//! Webhooks of payment providers: taken in as they come, answered once they are kept.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, post};

use crate::actors::payment_webhooks::PaymentWebhooks;
use crate::clock;
use crate::domain::payments::webhooks::BODY_BYTES_MAX;
use crate::error::{ApiResult, Problem};
use crate::http::auth::refusals::PublicRefusals;
use crate::http::whole_body::whole_body;
use crate::providers::payments::RawWebhook;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(take_webhook);
}

/// For a payment provider: something became of a payment.
///
/// What it says is not believed: the provider is asked. Whoever may have sent it, nothing else comes of it.
#[utoipa::path(
    tag = "payments",
    params(("provider" = String, Path, example = "toss")),
    responses(
        (status = 200, description = "It is kept, and will be looked into"),
        (
            status = 401,
            description = "`invalid_signature`, of a provider that signs",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 404,
            description = "`provider_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 413,
            description = "It has more than 64 KiB",
            body = Problem,
            content_type = "application/problem+json",
        ),
        PublicRefusals,
    ),
)]
#[post("/payments/webhooks/{provider}")]
#[tracing::instrument(skip_all, fields(payment.provider = %provider))]
pub(super) async fn take_webhook(
    provider: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
    webhooks: web::Data<PaymentWebhooks>,
) -> ApiResult<HttpResponse> {
    let body = whole_body(&request, payload, BODY_BYTES_MAX).await?;
    let headers = request.headers().iter().filter_map(text_of).collect();
    let raw = RawWebhook { headers, body, received_at: clock::now() };
    webhooks.receive(&provider, raw).await?;

    Ok(HttpResponse::Ok().finish())
}

/// A header, unless it is no text.
fn text_of((name, value): (&HeaderName, &HeaderValue)) -> Option<(String, String)> {
    Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
}

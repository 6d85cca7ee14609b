//! What callers have, and how they take it out.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, ETag, EntityTag, Header as _, HeaderValue, IfNoneMatch,
};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, get, post};

use super::views::{WalletView, WithdrawBody, WithdrawalRefusals, WithdrawalView};
use crate::actors::payments::answers::Answered;
use crate::actors::payments::wallets::{Wallets, Withdrawn};
use crate::domain::idempotency::StoredAnswer;
use crate::domain::ids::WithdrawalId;
use crate::error::{ApiError, ApiResult, Problem};
use crate::http::auth::refusals::{BodyRefusals, CallerRefusals, PublicRefusals};
use crate::http::caller::Caller;
use crate::http::page::{Page, PageQuery};
use crate::http::payments::key::Key;
use crate::http::payments::payer::Beginning;
use crate::http::payments::views::response;
use crate::store::Store;

const ROUTE: &str = "POST /v1/payments/withdraw";
/// Asked for each time, and sent only when it has changed.
const NOT_WITHOUT_ASKING: HeaderValue = HeaderValue::from_static("private, no-cache");

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(read_wallet)
        .service(ask_withdrawal)
        .service(list_withdrawals)
        .service(read_withdrawal)
        .service(cancel_withdrawal);
}

/// What the caller has.
#[utoipa::path(
    tag = "payments",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of what the client has")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "With an `ETag`", body = WalletView),
        (status = 304, description = "As the client has it"),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[get("/payments/wallet")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn read_wallet(
    caller: Caller,
    request: HttpRequest,
    wallets: web::Data<Wallets>,
) -> ApiResult<HttpResponse> {
    let wallet = wallets.wallet(caller.user_id).await?;
    let tag = EntityTag::new_strong(wallet.version.clone());
    let is_known = is_known(&request, &tag);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header(ETag(tag)).insert_header((CACHE_CONTROL, NOT_WITHOUT_ASKING));

    Ok(if is_known { response.finish() } else { response.json(WalletView::from(wallet)) })
}

/// Asks for money to be paid out.
///
/// It is held at once. The first time, and to a bank account for which somebody has just vouched, it waits for a day; a
/// large amount waits until somebody has said yes. Sent again with the same key it tells how the withdrawal stands, or
/// why it was refused (402, 409, 422), to the byte and with `Idempotent-Replayed`.
#[utoipa::path(
    tag = "payments",
    params(("Idempotency-Key" = String, Header, description = "8 to 255 visible characters, one for each withdrawal")),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "It is asked for, now or before", body = WithdrawalView),
        (
            status = 413,
            description = "The body is too big.",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 415,
            description = "The body is not `application/json`.",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 429,
            description = "Too many requests; `Retry-After` says how long to wait.",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 500,
            description = "The same request with the same key finds out whether it was done.",
            body = Problem,
            content_type = "application/problem+json",
        ),
        WithdrawalRefusals,
    ),
)]
#[post("/payments/withdraw")]
#[tracing::instrument(skip_all, fields(user.id = %caller.0.user_id))]
pub(super) async fn ask_withdrawal(
    caller: Beginning,
    key: Key,
    body: web::Json<WithdrawBody>,
    wallets: web::Data<Wallets>,
) -> ApiResult<HttpResponse> {
    let user = caller.0.user_id;
    let call = key.call(format!("user:{user}"), ROUTE, &*body)?;
    let WithdrawBody { amount, bank_account_id } = body.into_inner();
    let asked = wallets.withdraw(user, amount, bank_account_id, call.clone()).await;
    let withdrawn = match asked.map_err(ApiError::from) {
        Ok(withdrawn) => withdrawn,
        Err(error) => match refusal_of(&error)? {
            Some(refusal) => wallets.keep_refusal(call, refusal).await?,
            None => return Err(error),
        },
    };

    match withdrawn {
        Withdrawn::Asked(withdrawal) => {
            Ok(HttpResponse::Accepted().json(WithdrawalView::from(*withdrawal)))
        }
        Withdrawn::Refused { answer, is_replayed } => {
            response(Answered { answer, is_replayed, payment: None })
        }
    }
}

/// What is answered alike for ever: a refusal of the request itself, and not of how things stand with its caller or the server.
fn refusal_of(error: &ApiError) -> ApiResult<Option<StoredAnswer>> {
    let ApiError::Wallet(_) = error else { return Ok(None) };
    let (status, _) = error.status_and_code();
    let is_kept = matches!(
        status,
        StatusCode::PAYMENT_REQUIRED | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY
    );
    if !is_kept {
        return Ok(None);
    }
    // Without the id of the request: a repeat has another.
    let body = serde_json::to_string(&error.problem(None)).map_err(|_| ApiError::Internal)?;
    Ok(Some(StoredAnswer { status: status.as_u16(), body }))
}

/// The caller's withdrawals, the newest first.
#[utoipa::path(
    tag = "payments",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, body = Page<WithdrawalView>),
        (
            status = 422,
            description = "The query is not allowed",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[get("/payments/withdrawals")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn list_withdrawals(
    caller: Caller,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<WithdrawalView>>> {
    let (after, limit) = (query.after()?, query.limit.with_probe());
    let rows = store.list_withdrawals(caller.user_id, after, limit).await?;

    Ok(web::Json(Page::new(rows, query.limit, |withdrawal| withdrawal.id)))
}

/// A withdrawal of the caller's as it stands.
#[utoipa::path(
    tag = "payments",
    params(("id" = WithdrawalId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, body = WithdrawalView),
        (
            status = 404,
            description = "`withdrawal_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[get("/payments/withdrawals/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id, withdrawal.id = %id))]
pub(super) async fn read_withdrawal(
    caller: Caller,
    id: web::Path<WithdrawalId>,
    wallets: web::Data<Wallets>,
) -> ApiResult<web::Json<WithdrawalView>> {
    Ok(web::Json(wallets.withdrawal(caller.user_id, *id).await?.into()))
}

/// Gives up a withdrawal of the caller's that was not sent.
#[utoipa::path(
    tag = "payments",
    params(("id" = WithdrawalId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What was held is free", body = WithdrawalView),
        (
            status = 404,
            description = "`withdrawal_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 409,
            description = "`wrong_state`: it is on its way, or over",
            body = Problem,
            content_type = "application/problem+json",
        ),
        BodyRefusals,
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[post("/payments/withdrawals/{id}/cancel")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id, withdrawal.id = %id))]
pub(super) async fn cancel_withdrawal(
    caller: Caller,
    id: web::Path<WithdrawalId>,
    wallets: web::Data<Wallets>,
) -> ApiResult<web::Json<WithdrawalView>> {
    Ok(web::Json(wallets.cancel(caller.user_id, *id).await?.into()))
}

/// Whether the client has what the tag stands for (RFC 9110, 13.1.2).
fn is_known(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(tag)),
        Err(_) => false,
    }
}

//! Where callers are paid out to, and who vouches for it.

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, delete, get, post, put};

use super::views::{BankAccountBody, BankAccountView, BankAccountsView};
use crate::actors::payments::wallets::{AccountDraft, Wallets};
use crate::domain::bank_accounts::{AccountDetails, BankCode};
use crate::domain::ids::BankAccountId;
use crate::error::{ApiResult, Problem};
use crate::http::auth::refusals::{BodyRefusals, CallerRefusals, PublicRefusals};
use crate::http::caller::Caller;
use crate::http::service::{AuthorityRefusals, OrderKeeper, Principal};
use crate::store::bank_accounts::Voucher;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(add_bank_account)
        .service(list_bank_accounts)
        .service(remove_bank_account)
        .service(verify_bank_account);
}

/// Keeps a bank account of the caller's, sealed. Somebody has to vouch for it before it is paid to.
#[utoipa::path(
    tag = "payments",
    security(("bearer" = [])),
    responses(
        (status = 201, body = BankAccountView),
        (
            status = 409,
            description = "`too_many_bank_accounts`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        BodyRefusals,
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[post("/payments/bank-accounts")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn add_bank_account(
    caller: Caller,
    body: web::Json<BankAccountBody>,
    wallets: web::Data<Wallets>,
) -> ApiResult<(web::Json<BankAccountView>, StatusCode)> {
    let draft = AccountDraft {
        bank_code: BankCode::parse(&body.bank_code)?,
        details: AccountDetails::parse(&body.account_number, &body.holder)?,
    };
    let account = wallets.add_account(caller.user_id, draft).await?;

    Ok((web::Json(account.into()), StatusCode::CREATED))
}

/// The caller's bank accounts; no number is ever shown whole.
#[utoipa::path(
    tag = "payments",
    security(("bearer" = [])),
    responses((status = 200, body = BankAccountsView), CallerRefusals, PublicRefusals),
)]
#[get("/payments/bank-accounts")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn list_bank_accounts(
    caller: Caller,
    wallets: web::Data<Wallets>,
) -> ApiResult<web::Json<BankAccountsView>> {
    let accounts = wallets.accounts(caller.user_id).await?;
    let bank_accounts = accounts.into_iter().map(BankAccountView::from).collect();

    Ok(web::Json(BankAccountsView { bank_accounts }))
}

/// Removes a bank account of the caller's.
#[utoipa::path(
    tag = "payments",
    params(("id" = BankAccountId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Nothing is paid to it any more"),
        (
            status = 404,
            description = "`bank_account_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 409,
            description = "`bank_account_in_use`: money is on its way there",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[delete("/payments/bank-accounts/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id, bank_account.id = %id))]
pub(super) async fn remove_bank_account(
    caller: Caller,
    id: web::Path<BankAccountId>,
    wallets: web::Data<Wallets>,
) -> ApiResult<HttpResponse> {
    wallets.remove_account(caller.user_id, *id).await?;

    Ok(HttpResponse::NoContent().finish())
}

/// Says that a bank account is its user's own. Nobody says so of an account of their own.
#[utoipa::path(
    tag = "payments",
    params(("id" = BankAccountId, Path)),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 200, body = BankAccountView),
        (
            status = 404,
            description = "`bank_account_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        PublicRefusals,
    ),
)]
#[put("/payments/bank-accounts/{id}/verification")]
#[tracing::instrument(skip_all, fields(principal = keeper.0.label(), bank_account.id = %id))]
pub(super) async fn verify_bank_account(
    keeper: OrderKeeper,
    id: web::Path<BankAccountId>,
    wallets: web::Data<Wallets>,
) -> ApiResult<web::Json<BankAccountView>> {
    let voucher = match &keeper.0 {
        Principal::Admin(caller) => Voucher::User(caller.user_id),
        Principal::Service(service) => Voucher::Service(service.id.to_string()),
    };

    Ok(web::Json(wallets.verify_account(*id, voucher).await?.into()))
}

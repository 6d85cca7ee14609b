//! Administrators decide about withdrawals, and freeze wallets. What they say is kept with what they do.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, delete, get, post, put};

use super::views::{ReasonBody, WaitingWithdrawalView, WithdrawalView};
use crate::actors::payments::wallets::Wallets;
use crate::clock;
use crate::domain::ids::{UserId, WithdrawalId};
use crate::error::ApiResult;
use crate::http::caller::Admin;
use crate::http::page::{Page, PageQuery};
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::store::Store;
use crate::store::withdrawals::WaitingWithdrawal;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_waiting_withdrawals)
        .service(approve_withdrawal)
        .service(reject_withdrawal)
        .service(freeze_wallet)
        .service(unfreeze_wallet);
}

/// Withdrawals that wait before they are sent, the oldest first, each with what it waits for.
///
/// A yes helps where that is `approval`, `time` or `dispute`. What is `frozen`, or whose provider is stopped
/// (`provider_stopped`), waits until that is over.
#[utoipa::path(
    tag = "admin",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, body = Page<WaitingWithdrawalView>),
        ReadRefusals,
        RoleRefusals,
    ),
)]
#[get("/admin/payments/withdrawals")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_waiting_withdrawals(
    admin: Admin,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<WaitingWithdrawalView>>> {
    let (after, limit) = (query.after()?, query.limit.with_probe());
    let rows = store.list_waiting_withdrawals(after, limit, clock::now()).await?;

    Ok(web::Json(Page::new(rows, query.limit, |row: &WaitingWithdrawal| row.withdrawal.id)))
}

/// Says yes to a withdrawal of somebody else's.
///
/// One that waits for its time goes at once, unless it is so large that somebody had to say yes to the amount: then a
/// second person says so, by the same request (`second_person_needed`).
#[utoipa::path(
    tag = "admin",
    params(("id" = WithdrawalId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It is sent, at once or when its time has come", body = WithdrawalView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/admin/payments/withdrawals/{id}/approve")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, withdrawal.id = %id))]
pub(super) async fn approve_withdrawal(
    admin: Admin,
    id: web::Path<WithdrawalId>,
    body: web::Json<ReasonBody>,
    wallets: web::Data<Wallets>,
) -> ApiResult<web::Json<WithdrawalView>> {
    let decided = wallets.approve(admin.0.user_id, *id, body.parse()?).await?;

    Ok(web::Json(decided.into()))
}

/// Says no to a withdrawal of somebody else's; what was held is free.
#[utoipa::path(
    tag = "admin",
    params(("id" = WithdrawalId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, body = WithdrawalView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/admin/payments/withdrawals/{id}/reject")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, withdrawal.id = %id))]
pub(super) async fn reject_withdrawal(
    admin: Admin,
    id: web::Path<WithdrawalId>,
    body: web::Json<ReasonBody>,
    wallets: web::Data<Wallets>,
) -> ApiResult<web::Json<WithdrawalView>> {
    let decided = wallets.reject(admin.0.user_id, *id, body.parse()?).await?;

    Ok(web::Json(decided.into()))
}

/// Keeps somebody from taking money out; what is not on its way to a bank waits.
#[utoipa::path(
    tag = "admin",
    params(("user_id" = UserId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "It is frozen, now or before"),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[put("/admin/payments/wallets/{user_id}/freeze")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, wallet.user_id = %user))]
pub(super) async fn freeze_wallet(
    admin: Admin,
    user: web::Path<UserId>,
    body: web::Json<ReasonBody>,
    wallets: web::Data<Wallets>,
) -> ApiResult<HttpResponse> {
    wallets.freeze(*user, admin.0.user_id, body.parse()?).await?;

    Ok(HttpResponse::NoContent().finish())
}

/// Lets somebody take money out again. Nobody does so for themselves.
#[utoipa::path(
    tag = "admin",
    params(("user_id" = UserId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "It is not frozen, now or before"),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[delete("/admin/payments/wallets/{user_id}/freeze")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, wallet.user_id = %user))]
pub(super) async fn unfreeze_wallet(
    admin: Admin,
    user: web::Path<UserId>,
    body: web::Json<ReasonBody>,
    wallets: web::Data<Wallets>,
) -> ApiResult<HttpResponse> {
    wallets.unfreeze(*user, admin.0.user_id, body.parse()?).await?;

    Ok(HttpResponse::NoContent().finish())
}

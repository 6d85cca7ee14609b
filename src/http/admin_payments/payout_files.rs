//! Files for a bank: what waits to be paid out is taken out in one, and what the bank did is said.
//!
//! Invariant: numbers of accounts are in the file itself and nowhere else, and whoever has it is in the audit.

use std::collections::HashSet;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, get, post};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actors::payments::wallets::Wallets;
use crate::domain::bank_accounts::masked;
use crate::domain::ids::{PayoutFileId, UserId, WithdrawalId};
use crate::domain::payouts::{BankResult, FailureCode, PayoutFileError, RESULTS_MAX};
use crate::domain::time::Timestamp;
use crate::domain::wallets::WalletError;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::page::{Cursor, Page, PageQuery};
use crate::http::payments::views::undisturbed;
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::http::wallet::views::{ReasonBody, parse_reason};
use crate::store::Store;
use crate::store::payouts::files::{FiledPayout, PayoutFile};

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(make_payout_file)
        .service(list_payout_files)
        .service(read_payout_file)
        .service(download_payout_file)
        .service(settle_payouts);
}

/// What was taken out at once to be paid by a bank, in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PayoutFileView {
    id: PayoutFileId,
    #[schema(example = "KRW")]
    currency: String,
    count: i64,
    sum: i64,
    /// Of how many nobody has said what the bank did.
    open: i64,
    created_by: UserId,
    created_at: Timestamp,
}

/// A withdrawal in a file.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FiledPayoutView {
    withdrawal_id: WithdrawalId,
    user_id: UserId,
    bank_code: String,
    #[schema(example = "****6789")]
    account: String,
    amount: i64,
    currency: String,
    /// `exported`, `paid`, `failed` or `returned`.
    #[schema(example = "exported")]
    status: String,
    /// Why it was not paid, or came back.
    failure_code: Option<String>,
    updated_at: Timestamp,
}

/// A file, and a page of what is in it.
#[derive(Serialize, ToSchema)]
pub(super) struct PayoutFileDetailsView {
    #[serde(flatten)]
    file: PayoutFileView,
    entries: Page<FiledPayoutView>,
}

/// What a bank did with a withdrawal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultBody {
    withdrawal_id: WithdrawalId,
    /// `paid`, `failed`, or `returned`: it was paid, and the bank sent it back.
    #[schema(example = "paid")]
    status: String,
    /// Why it was not paid, or came back: `invalid_bank_account`, or `payout_refused`, which is meant where it is left
    /// out.
    #[serde(default)]
    code: Option<String>,
}

/// What a bank did.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultsBody {
    /// 1 to 1,000, each withdrawal once.
    #[schema(min_items = 1, max_items = 1_000)]
    results: Vec<ResultBody>,
    /// 1 to 500 characters.
    #[schema(max_length = 500, example = "The bank's statement of 23 November.")]
    reason: String,
}

/// What was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordedView {
    recorded: usize,
    /// What was known already.
    unchanged: usize,
}

/// Takes what waits to be paid out into a new file, 1,000 at most: each withdrawal is in one file, for ever.
///
/// What is of a frozen wallet waits on. 409 `nothing_to_pay_out` where nothing is left: also for the second of two who ask
/// at once.
#[utoipa::path(
    tag = "admin",
    security(("bearer" = [])),
    responses((status = 201, body = PayoutFileView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/payments/payout-files")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn make_payout_file(
    admin: Admin,
    body: web::Json<ReasonBody>,
    wallets: web::Data<Wallets>,
) -> ApiResult<(web::Json<PayoutFileView>, StatusCode)> {
    let made = wallets.make_payout_file(admin.0.user_id, body.parse()?).await?;

    Ok((web::Json(made.into()), StatusCode::CREATED))
}

/// The files, the newest first.
#[utoipa::path(
    tag = "admin",
    params(PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<PayoutFileView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/payout-files")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_payout_files(
    admin: Admin,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<PayoutFileView>>> {
    let rows = store.list_payout_files(query.after()?, query.limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, query.limit, |file: &PayoutFile| file.id)))
}

/// A file, and what became of what is in it.
#[utoipa::path(
    tag = "admin",
    params(("id" = PayoutFileId, Path), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = PayoutFileDetailsView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/payout-files/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, payout_file.id = %id))]
pub(super) async fn read_payout_file(
    admin: Admin,
    id: web::Path<PayoutFileId>,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<PayoutFileDetailsView>> {
    let (after, limit) = (query.after()?, query.limit);
    let found = store.find_payout_file(*id).await?;
    let file = found.ok_or(WalletError::PayoutFile(PayoutFileError::NotFound))?.into();
    let rows = store.list_filed_payouts(*id, after, limit.with_probe()).await?;
    let entries = Page::new(rows, limit, |entry: &FiledPayout| entry.withdrawal);

    Ok(web::Json(PayoutFileDetailsView { file, entries }))
}

/// The file itself, as a bank takes it: `reference`, `bank_code`, `account_number`, `holder`, `amount`, `currency`.
///
/// It has what nobody has said the end of, so that nothing is paid twice from a file that is read again; 409
/// `payout_file_finished` where nothing is left. Whoever reads it is in the audit.
#[utoipa::path(
    tag = "admin",
    params(("id" = PayoutFileId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "RFC 4180, UTF-8, with a header", body = String, content_type = "text/csv"),
        ChangeRefusals,
    ),
)]
#[get("/admin/payments/payout-files/{id}/file")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, payout_file.id = %id))]
pub(super) async fn download_payout_file(
    admin: Admin,
    id: web::Path<PayoutFileId>,
    wallets: web::Data<Wallets>,
) -> ApiResult<HttpResponse> {
    let text = wallets.read_payout_file(*id, admin.0.user_id).await?;

    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/csv; charset=utf-8; header=present"))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"payouts-{id}.csv\"")))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(text))
}

/// Says what the bank did with withdrawals of a file: all of it is recorded, or nothing.
///
/// What is said again is nothing new. `returned` is for what was paid before: it is in its user's wallet again. Nobody says
/// so of a withdrawal of their own (403 `own_decision`). 409 `result_contradicted` where something else was said before,
/// 422 `payout_not_in_file`.
#[utoipa::path(
    tag = "admin",
    params(("id" = PayoutFileId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = RecordedView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/payments/payout-files/{id}/results")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, payout_file.id = %id))]
pub(super) async fn settle_payouts(
    admin: Admin,
    id: web::Path<PayoutFileId>,
    body: web::Json<ResultsBody>,
    wallets: web::Data<Wallets>,
) -> ApiResult<web::Json<RecordedView>> {
    let (results, reason) = (body.parse()?, parse_reason(&body.reason)?);
    let (file, by, count) = (*id, admin.0.user_id, results.len());
    let wallets = wallets.get_ref().clone();
    let settled = async move { wallets.settle_payouts(file, by, results, reason).await };
    let recorded = undisturbed(settled).await??;

    Ok(web::Json(RecordedView { recorded, unchanged: count.saturating_sub(recorded) }))
}

impl ResultsBody {
    fn parse(&self) -> ApiResult<Vec<(WithdrawalId, BankResult)>> {
        let refused =
            |pointer: &str, why: &str| Err(ApiError::invalid(pointer, "invalid_results", why));
        if !(1..=RESULTS_MAX).contains(&self.results.len()) {
            return refused("/results", "There are 1 to 1,000 results.");
        }
        let mut seen = HashSet::new();
        let mut results = Vec::with_capacity(self.results.len());
        for (nth, result) in self.results.iter().enumerate() {
            if !seen.insert(result.withdrawal_id) {
                let pointer = format!("/results/{nth}/withdrawal_id");
                return refused(&pointer, "A withdrawal has one result.");
            }
            let Some(parsed) = result.parse() else {
                let why = "A result is paid, or failed or returned with a code, or without one.";
                return refused(&format!("/results/{nth}"), why);
            };
            results.push((result.withdrawal_id, parsed));
        }
        Ok(results)
    }
}

impl ResultBody {
    fn parse(&self) -> Option<BankResult> {
        let code = match &self.code {
            Some(code) => FailureCode::parse(code)?,
            None => FailureCode::PayoutRefused,
        };
        match self.status.as_str() {
            "paid" if self.code.is_none() => Some(BankResult::Paid),
            "failed" => Some(BankResult::Failed(code)),
            "returned" => Some(BankResult::Returned(code)),
            _ => None,
        }
    }
}

impl From<PayoutFile> for PayoutFileView {
    fn from(file: PayoutFile) -> Self {
        let PayoutFile { id, currency, count, sum, open, created_by, created_at } = file;
        Self { id, currency, count, sum, open, created_by, created_at }
    }
}

impl From<FiledPayout> for FiledPayoutView {
    fn from(entry: FiledPayout) -> Self {
        Self {
            withdrawal_id: entry.withdrawal,
            user_id: entry.user,
            bank_code: entry.bank_code,
            account: masked(&entry.last_digits),
            amount: entry.amount,
            currency: entry.currency,
            status: entry.status,
            failure_code: entry.failure_code,
            updated_at: entry.updated_at,
        }
    }
}

impl Cursor for PayoutFileId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

//! The manual journal: one administrator proposes to move money out of suspense or into it, another has it booked.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, get, post};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actors::payments::Payments;
use crate::actors::payments::journal::JournalEntryView;
use crate::clock;
use crate::config::Config;
use crate::domain::ids::{JournalEntryId, PaymentId, ReconBreakId, UserId};
use crate::domain::journal::{JournalAccounts, JournalError, JournalStatus};
use crate::domain::money::{Amount, Currency};
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::page::{Cursor, Limit, Page, decode};
use crate::http::payments::key::Key;
use crate::http::payments::views::{response, undisturbed};
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::http::wallet::views::{ReasonBody, parse_reason};
use crate::store::Store;
use crate::store::journal::{JournalFilter, NewJournalEntry};

const PROPOSE: &str = "POST /v1/admin/payments/journal-entries";

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(propose_journal_entry)
        .service(list_journal_entries)
        .service(read_journal_entry)
        .service(approve_journal_entry)
        .service(reject_journal_entry);
}

/// What is to be moved. One of the two accounts is `suspense`; the other is `psp:<provider>:receivable`, `bank:operating`,
/// `bank:trust`, `income:fee`, `expense:psp_fee`, `expense:chargeback`, `tax:vat_payable` or `tax:withholding_payable`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalEntryBody {
    /// In minor units.
    amount: Amount,
    /// That of this installation, where it is left out; another only where some of it is in suspense.
    #[serde(default)]
    currency: Option<Currency>,
    /// The family of the account that is debited.
    #[schema(max_length = 100, example = "suspense")]
    debit: String,
    /// The family of the account that is credited.
    #[schema(max_length = 100, example = "income:fee")]
    credit: String,
    /// 1 to 500 characters; kept for ever.
    #[schema(max_length = 500, example = "The payer was found, and lets us keep it.")]
    reason: String,
    /// The payment that it is about.
    #[serde(default)]
    payment_id: Option<PaymentId>,
    /// The break that it puts right: it is closed when this is booked.
    #[serde(default)]
    break_id: Option<ReconBreakId>,
}

impl JournalEntryBody {
    fn parse(self, by: UserId, dealt_in: Currency) -> ApiResult<NewJournalEntry> {
        Ok(NewJournalEntry {
            id: JournalEntryId::from(clock::new_uuid()),
            accounts: JournalAccounts::parse(&self.debit, &self.credit)?,
            amount: self.amount,
            currency: self.currency.unwrap_or(dealt_in),
            reason: parse_reason(&self.reason)?,
            payment: self.payment_id,
            recon_break: self.break_id,
            by,
        })
    }
}

/// Which journal entries, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct JournalQuery {
    /// `proposed`, `approved`, `rejected` or `expired`.
    status: Option<String>,
    /// About this payment.
    payment_id: Option<PaymentId>,
    /// The `next_cursor` of the page before; the first page without.
    cursor: Option<String>,
    /// How many entries at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
}

impl JournalQuery {
    fn filter(&self) -> ApiResult<JournalFilter> {
        let status = |text: &str| {
            JournalStatus::parse(text).ok_or_else(|| {
                let says = "A status is proposed, approved, rejected or expired.";
                ApiError::invalid("?status", "invalid_status", says)
            })
        };
        let status = self.status.as_deref().map(status).transpose()?;
        Ok(JournalFilter { status, payment: self.payment_id })
    }
}

/// Proposes to move money out of suspense, or into it. Moves nothing: another administrator approves it, within seven days.
///
/// Sent again under the same key it is answered the same. 404 `payment_not_found`, `break_not_found`; 409 `wrong_state` where
/// the break is closed; 422 `account_not_allowed`, `suspense_required`, `currency_not_supported`.
#[utoipa::path(
    tag = "admin",
    params(("Idempotency-Key" = String, Header, description = "8 to 255 visible characters, one for each entry")),
    security(("bearer" = [])),
    responses(
        (
            status = 201,
            description = "It is proposed, now or (`Idempotent-Replayed: true`) before",
            body = JournalEntryView,
        ),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/admin/payments/journal-entries")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn propose_journal_entry(
    admin: Admin,
    key: Key,
    body: web::Json<JournalEntryBody>,
    payments: web::Data<Payments>,
    config: web::Data<Config>,
) -> ApiResult<HttpResponse> {
    let by = admin.0.user_id;
    let call = key.call(format!("user:{by}"), PROPOSE, &*body)?;
    let new = body.into_inner().parse(by, config.payments.currency)?;

    response(payments.propose_journal_entry(new, call).await?)
}

/// What was to be moved by hand, the newest first.
#[utoipa::path(
    tag = "admin",
    params(JournalQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<JournalEntryView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/journal-entries")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_journal_entries(
    admin: Admin,
    query: web::Query<JournalQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<JournalEntryView>>> {
    let (filter, limit, now) = (query.filter()?, query.limit, clock::now());
    let before = query.cursor.as_deref().map(decode).transpose()?;
    let rows = store.list_journal_entries(filter, before, limit.with_probe(), now).await?;
    let views = rows.into_iter().map(|row| JournalEntryView::of(row, now)).collect();

    Ok(web::Json(Page::new(views, limit, |view: &JournalEntryView| view.journal_entry_id)))
}

/// One of them.
#[utoipa::path(
    tag = "admin",
    params(("id" = JournalEntryId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = JournalEntryView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/journal-entries/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, journal_entry.id = %id))]
pub(super) async fn read_journal_entry(
    admin: Admin,
    id: web::Path<JournalEntryId>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<JournalEntryView>> {
    let found = store.find_journal_entry(*id).await?.ok_or(JournalError::NotFound)?;

    Ok(web::Json(JournalEntryView::of(found, clock::now())))
}

/// Has somebody else's proposal booked, and the break closed that it puts right.
///
/// 403 `own_decision`; 409 `wrong_state` where it was decided about or the break is closed, `proposal_expired`,
/// `suspense_overdrawn`, `account_frozen`, `balance_too_large`: nothing was booked then.
#[utoipa::path(
    tag = "admin",
    params(("id" = JournalEntryId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It is in the ledger", body = JournalEntryView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/admin/payments/journal-entries/{id}/approve")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, journal_entry.id = %id))]
pub(super) async fn approve_journal_entry(
    admin: Admin,
    id: web::Path<JournalEntryId>,
    body: web::Json<ReasonBody>,
    payments: web::Data<Payments>,
) -> ApiResult<web::Json<JournalEntryView>> {
    let (id, by, reason) = (*id, admin.0.user_id, body.parse()?);
    let payments = payments.get_ref().clone();
    let approved = async move { payments.approve_journal_entry(id, by, reason).await };

    Ok(web::Json(undisturbed(approved).await??))
}

/// Says no to a proposal; whoever has made it takes it back so. 409 `wrong_state`, `proposal_expired`.
#[utoipa::path(
    tag = "admin",
    params(("id" = JournalEntryId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = JournalEntryView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/payments/journal-entries/{id}/reject")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, journal_entry.id = %id))]
pub(super) async fn reject_journal_entry(
    admin: Admin,
    id: web::Path<JournalEntryId>,
    body: web::Json<ReasonBody>,
    payments: web::Data<Payments>,
) -> ApiResult<web::Json<JournalEntryView>> {
    let rejected = payments.reject_journal_entry(*id, admin.0.user_id, body.parse()?).await?;

    Ok(web::Json(rejected))
}

impl Cursor for JournalEntryId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

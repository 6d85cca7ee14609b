//! The books: what all accounts come to, one account, and what moved on it.

use actix_web::get;
use actix_web::web::{self, ServiceConfig};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::config::Config;
use crate::domain::ids::{AccountId, EntryId, TransferId, UserId};
use crate::domain::ledger::Counters;
use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::page::{Cursor, Limit, Page, decode};
use crate::http::views::{ReadRefusals, RoleRefusals};
use crate::store::Store;
use crate::store::ledger::balances::{FamilyBalance, LedgerAccount};
use crate::store::ledger::statement::StatementLine;

const CODE_BYTES_MAX: usize = 100;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(read_trial_balance).service(read_account).service(read_statement);
}

/// When, and in which currency.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BalanceQuery {
    /// At the end of this moment, from the transfers alone; now, without.
    at: Option<Timestamp>,
    /// Every currency of a trial balance, and that of this installation of an account, without.
    currency: Option<Currency>,
}

/// In which currency, and which page.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatementQuery {
    /// That of this installation, without.
    currency: Option<Currency>,
    /// The `next_cursor` of the page before; the first page without.
    cursor: Option<String>,
    /// How many lines at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
}

/// What accounts of one family come to, in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FamilyView {
    /// Such as `escrow`; those of users under `user:pending` and the like.
    family: String,
    #[schema(example = "liability")]
    kind: &'static str,
    currency: Currency,
    accounts: i64,
    #[serde(flatten)]
    sums: SumsView,
}

/// Both sides, in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SumsView {
    /// Held, and neither posted nor freed.
    debits_pending: i64,
    debits_posted: i64,
    credits_pending: i64,
    credits_posted: i64,
}

/// What both sides come to in one currency: the same, or the books are broken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TotalView {
    currency: Currency,
    debits_posted: i64,
    credits_posted: i64,
    is_balanced: bool,
}

/// The trial balance.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TrialBalanceView {
    /// `null`: now.
    at: Option<Timestamp>,
    totals: Vec<TotalView>,
    families: Vec<FamilyView>,
}

/// An account, and what it comes to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountView {
    id: AccountId,
    #[schema(example = "escrow#03")]
    code: String,
    #[schema(example = "liability")]
    kind: &'static str,
    currency: Currency,
    /// `null`: the platform.
    owner: Option<UserId>,
    is_frozen: bool,
    #[serde(flatten)]
    sums: SumsView,
}

/// A transfer, seen from one of its accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatementView {
    id: TransferId,
    entry_id: EntryId,
    /// What happened.
    #[schema(example = "capture")]
    kind: String,
    /// Such as `payment`.
    reference_kind: String,
    reference_id: Uuid,
    /// `single`, `pending`, `post` or `void`.
    #[schema(example = "single")]
    phase: &'static str,
    is_debit: bool,
    /// The account on the other side.
    other: String,
    amount: Amount,
    code: String,
    at: Timestamp,
}

/// What all accounts come to, family by family. At a time before now it reads every transfer up to then.
#[utoipa::path(
    tag = "admin",
    params(BalanceQuery),
    security(("bearer" = [])),
    responses((status = 200, body = TrialBalanceView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/ledger")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn read_trial_balance(
    admin: Admin,
    query: web::Query<BalanceQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<TrialBalanceView>> {
    let mut balances = match query.at {
        Some(at) => store.list_family_balances_at(at).await?,
        None => store.list_family_balances().await?,
    };
    balances.retain(|it| query.currency.is_none_or(|currency| currency == it.currency));

    Ok(web::Json(TrialBalanceView {
        at: query.at,
        totals: totals(&balances),
        families: balances.into_iter().map(FamilyView::from).collect(),
    }))
}

/// An account by its code; `#` in it is written `%23`.
#[utoipa::path(
    tag = "admin",
    params(("code" = String, Path, example = "suspense"), BalanceQuery),
    security(("bearer" = [])),
    responses((status = 200, body = AccountView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/ledger/accounts/{code}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn read_account(
    admin: Admin,
    code: web::Path<String>,
    query: web::Query<BalanceQuery>,
    store: web::Data<Store>,
    config: web::Data<Config>,
) -> ApiResult<web::Json<AccountView>> {
    let (code, currency) = (code.into_inner(), query.currency.unwrap_or(config.payments.currency));
    let account = find(&store, &code, currency).await?;
    let counters = match query.at {
        Some(at) => store.find_counters_at(account.id, at).await?,
        None => account.counters,
    };

    Ok(web::Json(AccountView {
        id: account.id,
        code,
        kind: account.kind.as_str(),
        currency,
        owner: account.owner,
        is_frozen: account.is_frozen,
        sums: counters.into(),
    }))
}

/// What moved on an account, the latest first.
#[utoipa::path(
    tag = "admin",
    params(("code" = String, Path, example = "suspense"), StatementQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<StatementView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/ledger/accounts/{code}/statement")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn read_statement(
    admin: Admin,
    code: web::Path<String>,
    query: web::Query<StatementQuery>,
    store: web::Data<Store>,
    config: web::Data<Config>,
) -> ApiResult<web::Json<Page<StatementView>>> {
    let before: Option<StatementCursor> = query.cursor.as_deref().map(decode).transpose()?;
    let currency = query.currency.unwrap_or(config.payments.currency);
    let account = find(&store, &code, currency).await?;
    let before = before.map(|cursor| (cursor.at, cursor.id));
    let rows = store.list_statement(account.id, before, query.limit.with_probe()).await?;
    let cursor = |line: &StatementLine| StatementCursor { at: line.at, id: line.id };

    Ok(web::Json(Page::new(rows, query.limit, cursor)))
}

async fn find(store: &Store, code: &str, currency: Currency) -> ApiResult<LedgerAccount> {
    if code.len() > CODE_BYTES_MAX || !code.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiError::NotFound);
    }
    let found = store.find_ledger_account(code.to_owned(), currency).await?;
    found.ok_or(ApiError::NotFound)
}

/// The families are in the order of their currencies.
fn totals(balances: &[FamilyBalance]) -> Vec<TotalView> {
    let mut totals: Vec<TotalView> = Vec::new();
    for balance in balances {
        let Counters { debits_posted, credits_posted, .. } = balance.counters;
        match totals.last_mut().filter(|it| it.currency == balance.currency) {
            Some(total) => {
                total.debits_posted = total.debits_posted.saturating_add(debits_posted);
                total.credits_posted = total.credits_posted.saturating_add(credits_posted);
                total.is_balanced = total.debits_posted == total.credits_posted;
            }
            None => totals.push(TotalView {
                currency: balance.currency,
                debits_posted,
                credits_posted,
                is_balanced: debits_posted == credits_posted,
            }),
        }
    }
    totals
}

/// Where the next page of a statement begins.
struct StatementCursor {
    at: Timestamp,
    id: TransferId,
}

impl Cursor for StatementCursor {
    fn to_text(&self) -> String {
        format!("{}:{}", self.at.millis(), self.id)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (at, id) = text.split_once(':')?;
        Some(Self { at: Timestamp::from_millis(at.parse().ok()?), id: id.parse().ok()? })
    }
}

impl From<Counters> for SumsView {
    fn from(counters: Counters) -> Self {
        let Counters { debits_pending, debits_posted, credits_pending, credits_posted } = counters;
        Self { debits_pending, debits_posted, credits_pending, credits_posted }
    }
}

impl From<FamilyBalance> for FamilyView {
    fn from(balance: FamilyBalance) -> Self {
        Self {
            family: balance.family,
            kind: balance.kind.as_str(),
            currency: balance.currency,
            accounts: balance.accounts,
            sums: balance.counters.into(),
        }
    }
}

impl From<StatementLine> for StatementView {
    fn from(line: StatementLine) -> Self {
        Self {
            id: line.id,
            entry_id: line.entry,
            kind: line.kind,
            reference_kind: line.reference_kind,
            reference_id: line.reference,
            phase: line.phase.as_str(),
            is_debit: line.is_debit,
            other: line.other_code,
            amount: line.amount,
            code: line.code,
            at: line.at,
        }
    }
}

//! Wallets as requests and answers have them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};

use crate::domain::bank_accounts::masked;
use crate::domain::ids::{BankAccountId, PaymentId, SettlementId, UserId, WithdrawalId};
use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::error::{ApiError, ApiResult, Problem};
use crate::http::page::Cursor;
use crate::store::bank_accounts::BankAccount;
use crate::store::settlements::Settlement;
use crate::store::settlements::releases::Released;
use crate::store::wallets::Wallet;
use crate::store::withdrawals::{WaitingWithdrawal, WaitsFor, Withdrawal};

/// What somebody has, in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WalletView {
    currency: Currency,
    /// What can be taken out.
    available: i64,
    /// Earned, and not yet to be taken out.
    pending: i64,
    /// On its way out.
    held: i64,
    /// What is owed; the next settlement pays it first.
    debt: i64,
    /// Whether it is kept from being taken out.
    is_frozen: bool,
    /// Another one whenever anything of it has changed.
    version: String,
}

/// Money to be taken out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WithdrawBody {
    pub(super) amount: Amount,
    pub(super) bank_account_id: BankAccountId,
}

/// Money that is taken out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WithdrawalView {
    withdrawal_id: WithdrawalId,
    user_id: UserId,
    amount: Amount,
    currency: Currency,
    bank_account_id: BankAccountId,
    /// `requested`, `approved`, `rejected`, `canceled`, `sending`, `unknown`, `paid`, `failed` or `returned`.
    #[schema(example = "requested")]
    status: &'static str,
    /// Why it was not sent, or came back.
    failure_code: Option<String>,
    /// Whether somebody has to say yes.
    needs_approval: bool,
    /// Not sent before then.
    not_before: Timestamp,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: i64,
}

/// Money that is not on its way yet, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WaitingWithdrawalView {
    #[serde(flatten)]
    withdrawal: WithdrawalView,
    /// `approval`, `time`, `dispute`, `frozen` and `provider_stopped`: whatever applies.
    #[schema(example = json!(["time"]))]
    waits_for: Vec<&'static str>,
}

/// Why somebody decides so; kept for ever.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasonBody {
    /// 1 to 500 characters.
    #[schema(max_length = 500, example = "Called back; it is them.")]
    pub reason: String,
}

impl ReasonBody {
    /// The reason, if it says something.
    ///
    /// # Errors
    /// [`ApiError::Invalid`].
    pub fn parse(&self) -> ApiResult<Reason> {
        parse_reason(&self.reason)
    }
}

/// The reason in a body, if it says something.
///
/// # Errors
/// [`ApiError::Invalid`].
pub fn parse_reason(text: &str) -> ApiResult<Reason> {
    Reason::parse(text).ok_or_else(|| {
        ApiError::invalid("/reason", "invalid_reason", "A reason has 1 to 500 characters.")
    })
}

/// A bank account to be kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BankAccountBody {
    /// 2 to 11 digits and capitals.
    #[schema(example = "004")]
    pub(super) bank_code: String,
    /// 6 to 20 digits; `-` and space may stand between them. Stored sealed, and never shown again.
    #[schema(example = "110-123-456789")]
    pub(super) account_number: String,
    /// 1 to 60 characters. Stored sealed, and never shown again.
    #[schema(max_length = 60)]
    pub(super) holder: String,
}

/// A bank account, as far as it is ever shown.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct BankAccountView {
    bank_account_id: BankAccountId,
    bank_code: String,
    #[schema(example = "****6789")]
    account: String,
    /// Since when it is known that it is the caller's own; null until then.
    verified_at: Option<Timestamp>,
    created_at: Timestamp,
}

/// Somebody's bank accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BankAccountsView {
    pub(super) bank_accounts: Vec<BankAccountView>,
}

/// What became of what was paid for an order, in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReleasedView {
    payment_id: PaymentId,
    gross: i64,
    fee: i64,
    fee_vat: i64,
    withholding: i64,
    /// The payee's.
    net: i64,
}

/// What somebody has earned until a day, in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettlementView {
    settlement_id: SettlementId,
    currency: Currency,
    /// Days in Seoul.
    #[schema(example = "2026-11-18")]
    period_start: String,
    period_end: String,
    /// The business day on which it comes to the wallet.
    pay_on: String,
    gross: i64,
    refunds: i64,
    fee: i64,
    fee_vat: i64,
    withholding: i64,
    /// What refunds took from the wallet at once, or left as a debt.
    elsewhere: i64,
    carry_in: i64,
    net: i64,
    debt_repaid: i64,
    /// `closed`, `carried` or `released`.
    #[schema(example = "closed")]
    status: &'static str,
}

/// What somebody who takes money out may be told.
#[derive(IntoResponses)]
pub enum WithdrawalRefusals {
    /// The request cannot be read, or has no sound key: `idempotency_key_missing`, `idempotency_key_invalid`.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] Problem),
    /// There is no valid access token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// `insufficient_available`: there is not so much that can be taken out.
    #[response(status = 402, content_type = "application/problem+json")]
    Insufficient(#[to_schema] Problem),
    /// `bank_account_unverified`: nobody has vouched for the bank account.
    #[response(status = 403, content_type = "application/problem+json")]
    Unverified(#[to_schema] Problem),
    /// `bank_account_not_found`
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// `wallet_frozen`; or the same request is being done (`idempotency_key_in_use`, with `Retry-After`).
    #[response(status = 409, content_type = "application/problem+json")]
    Frozen(#[to_schema] Problem),
    /// `withdrawal_limit`: too little, too much, or too often; or the key was used for something else
    /// (`idempotency_key_reused`).
    #[response(status = 422, content_type = "application/problem+json")]
    Limit(#[to_schema] Problem),
    /// Nobody can be paid out here (`payouts_unavailable`), or too busy; `Retry-After` says how long to wait.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] Problem),
}

impl From<Wallet> for WalletView {
    fn from(wallet: Wallet) -> Self {
        let Wallet { currency, available, pending, held, debt, is_frozen, version } = wallet;
        Self { currency, available, pending, held, debt, is_frozen, version }
    }
}

impl From<Withdrawal> for WithdrawalView {
    fn from(withdrawal: Withdrawal) -> Self {
        Self {
            withdrawal_id: withdrawal.id,
            user_id: withdrawal.user,
            amount: withdrawal.amount,
            currency: withdrawal.currency,
            bank_account_id: withdrawal.bank_account,
            status: withdrawal.status.as_str(),
            failure_code: withdrawal.failure_code,
            needs_approval: withdrawal.needs_approval,
            not_before: withdrawal.not_before,
            created_at: withdrawal.created_at,
            updated_at: withdrawal.updated_at,
            version: withdrawal.version,
        }
    }
}

impl From<WaitingWithdrawal> for WaitingWithdrawalView {
    fn from(waiting: WaitingWithdrawal) -> Self {
        let waits_for = waiting.waits_for.into_iter().map(WaitsFor::as_str).collect();
        Self { withdrawal: waiting.withdrawal.into(), waits_for }
    }
}

impl From<BankAccount> for BankAccountView {
    fn from(account: BankAccount) -> Self {
        Self {
            bank_account_id: account.id,
            bank_code: account.bank_code,
            account: masked(&account.last_digits),
            verified_at: account.verified_at,
            created_at: account.created_at,
        }
    }
}

impl From<Released> for ReleasedView {
    fn from(released: Released) -> Self {
        let share = released.share;
        Self {
            payment_id: released.payment,
            gross: share.gross,
            fee: share.fee,
            fee_vat: share.fee_vat,
            withholding: share.withholding,
            net: share.net(),
        }
    }
}

impl From<Settlement> for SettlementView {
    fn from(settlement: Settlement) -> Self {
        Self {
            settlement_id: settlement.id,
            currency: settlement.currency,
            period_start: settlement.period_start.to_string(),
            period_end: settlement.period_end.to_string(),
            pay_on: settlement.pay_on.to_string(),
            gross: settlement.gross,
            refunds: settlement.refunds,
            fee: settlement.fee,
            fee_vat: settlement.fee_vat,
            withholding: settlement.withholding,
            elsewhere: settlement.elsewhere,
            carry_in: settlement.carry_in,
            net: settlement.net,
            debt_repaid: settlement.debt_repaid,
            status: settlement.status.as_str(),
        }
    }
}

impl Cursor for WithdrawalId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Cursor for SettlementId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

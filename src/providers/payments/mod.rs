//! Payment providers: who charges, refunds and pays out for us, behind one trait.
//!
//! A provider tells us what it knows, and never what we would like to hear. Invariant: only a code that is on an adapter's
//! own list of refusals is a refusal; whatever else is not a clear yes is unknown, and found out by asking.

#[cfg(test)]
pub(crate) mod conformance;
pub mod fake;
mod http;
mod measured;
mod registry;
#[cfg(test)]
mod stand_in;
pub mod stripe;
pub mod toss;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::money::{Amount, Currency};
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;

pub use registry::{OpenError, Providers};

/// What a provider can do. One that says yes and cannot is a defect of its adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// How long the same key is done once; `None` where keys mean nothing.
    pub idempotent_for: Option<Duration>,
    /// Whether a charge is found by our order, without the provider's own key.
    pub has_look_up_by_order: bool,
    /// Whether a refund or a payout is found by our key.
    pub has_look_up_by_key: bool,
    /// How long after the last call no trace means that there never will be one.
    pub absent_after: Duration,
    pub has_manual_capture: bool,
    pub has_partial_refund: bool,
    /// Whether a payer can transfer to an account that is opened for the payment.
    pub has_deposits: bool,
    pub has_payouts: bool,
    /// Whether it lists what it pays us.
    pub has_settlements: bool,
    /// How far its days are ahead of UTC: they begin at its midnight.
    pub utc_offset_hours: i8,
    /// Whether it tells of disputes: with a charge, by their keys, and all that were opened since a time.
    pub has_disputes: bool,
    /// Whether what payers' banks take is in its list of what moved.
    pub lists_chargebacks: bool,
    pub webhooks: WebhookTrust,
}

/// How far a webhook of a provider can be believed: never further than which object to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookTrust {
    /// It proves who sent it.
    Signed,
    /// Anybody may have sent it.
    Unsigned,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<T> {
    Done(T),
    /// Accepted, and not yet done: somebody has to pay into an account, or a bank to move.
    Pending(T),
    /// Certainly not done, and never will be.
    Declined(Decline),
    /// Nobody knows. A sentence without personal data.
    Unknown(String),
    /// Our keys or settings are wrong; certainly not done. A sentence for the operator.
    Misconfigured(String),
}

/// What asking came to.
#[derive(Debug, Clone, PartialEq)]
pub enum LookUp<T> {
    Found(T),
    /// There is no trace of it.
    Absent,
    Unknown(String),
}

/// Why a provider refuses for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// Ours, such as `card_declined`.
    pub code: DeclineCode,
    /// The provider's own word, for whoever looks.
    pub provider_code: String,
}

/// Why a payment, refund or payout was refused, in words that are the same for every provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclineCode {
    CardDeclined,
    InsufficientFunds,
    LimitExceeded,
    InvalidPaymentMethod,
    AuthenticationFailed,
    CanceledByPayer,
    NotRefundable,
    RefundTooLarge,
    InvalidBankAccount,
    PayoutRefused,
}

/// How a charge stands at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStatus {
    /// The payer has not finished.
    Open,
    /// Waits for a transfer into a virtual account.
    AwaitingDeposit,
    /// Set aside on the payer's side; to be captured.
    Authorized,
    Captured,
    /// Refused or given up.
    Failed,
    /// Voided, or refunded as a whole.
    Canceled,
}

/// A charge as the provider has it. What identifies it is always there, to be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Charge {
    pub provider_key: String,
    /// Our order, as we named it to the provider.
    pub order: String,
    pub amount: Amount,
    pub currency: Currency,
    pub status: ChargeStatus,
    /// Such as `card`; shown, and nothing depends on it.
    pub method: Option<String>,
    pub decline: Option<Decline>,
    pub approved_at: Option<Timestamp>,
    pub cancels: Vec<Canceled>,
    /// Whether the provider is giving some of it back and has not finished, whoever asked for it.
    #[serde(default)]
    pub has_open_cancels: bool,
    /// The provider's keys of what its payer's bank wants back, or wanted.
    #[serde(default)]
    pub disputes: Vec<String>,
}

/// A dispute as the provider has it. What identifies it is always there, to be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dispute {
    pub provider_key: String,
    /// The provider's key of the charge.
    pub charge: String,
    pub amount: Amount,
    pub currency: Currency,
    pub status: DisputeStatus,
    /// Until when the bank hears what speaks against it.
    pub due_at: Option<Timestamp>,
}

/// A void or a refund as the provider has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Canceled {
    pub provider_key: String,
    /// Our key, where the provider keeps it.
    pub effect_key: Option<String>,
    pub amount: Amount,
    pub at: Option<Timestamp>,
}

/// How a payout stands at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayoutStatus {
    /// The bank has not moved it yet.
    Pending,
    Paid,
    /// Refused by the bank, or sent back by it, even after it was paid.
    Failed,
}

/// A payout as the provider has it. What identifies it is always there, to be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaidOut {
    pub provider_key: String,
    /// Ours, as we named it to the provider.
    pub reference: String,
    pub amount: Amount,
    pub currency: Currency,
    pub status: PayoutStatus,
    pub decline: Option<Decline>,
}

/// What a payer's client needs to pay, such as a key, a secret of this payment, an address to go to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientParameters(pub Value);

/// A payment that a payer is about to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepare {
    /// Our order: new for every attempt.
    pub order: String,
    pub amount: Amount,
    pub currency: Currency,
    /// What the payer is shown.
    pub name: String,
    /// Whether confirming only sets it aside, to be captured later.
    pub is_captured_later: bool,
}

/// A payment that a payer has made and that is to be taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confirm {
    pub provider_key: String,
    pub order: String,
    pub amount: Amount,
    pub currency: Currency,
}

/// A charge to be voided or refunded, whole or in part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cancel {
    pub provider_key: String,
    pub order: String,
    /// `None` for all that is left.
    pub amount: Option<Amount>,
    pub currency: Currency,
    pub reason: String,
    /// Where it goes, where it came by a transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_account: Option<RefundTo>,
}

/// The bank account of a payer. As it is written down for the fake provider, it has no number: nobody needs to know the
/// account of a refund that is not made.
#[derive(Clone, Serialize, Deserialize)]
pub struct RefundTo {
    pub bank_code: String,
    /// Sealed until here; never logged.
    #[serde(skip)]
    pub account_number: SecretString,
    #[serde(skip)]
    pub holder: String,
}

/// Money to be paid to somebody's bank.
#[derive(Clone)]
pub struct Payout {
    /// Ours, such as the id of the withdrawal.
    pub reference: String,
    pub amount: Amount,
    pub currency: Currency,
    /// Sealed until here; never logged.
    pub bank_code: String,
    pub account_number: SecretString,
    pub holder: String,
}

/// What a webhook is about: which object to ask for. Never what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The same for the same happening.
    pub dedupe_key: String,
    pub provider_key: Option<String>,
    pub order: Option<String>,
}

/// A webhook as it came.
#[derive(Debug, Clone)]
pub struct RawWebhook {
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub received_at: Timestamp,
}

/// Why a webhook is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("the signature is missing or wrong")]
    Unsigned,
    #[error("this is not a webhook of the provider")]
    Unreadable,
}

/// What a line of a provider's list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteKind {
    Charge,
    /// A refund. What was voided moved no money, and is not in the list.
    Cancel,
    /// What a dispute that was lost has taken.
    Chargeback,
    PayOut,
}

/// One line of a provider's list of what it did on a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemoteTransaction {
    /// Of the charge, the refund or the payout itself.
    pub provider_key: String,
    /// Our order; of a payout, our reference.
    pub order: String,
    pub amount: Amount,
    pub kind: RemoteKind,
    pub fee: i64,
    pub at: Timestamp,
}

/// One side of what happened on a day, page by page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemotePage {
    pub items: Vec<RemoteTransaction>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// One line of what a provider paid us on a day: for a charge, or with a minus for what it took back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteSettlement {
    /// The same for the same line, for ever.
    pub key: String,
    pub order: String,
    /// The provider's key of the charge or the refund.
    pub movement: String,
    /// What was moved, with its sign, what of it the provider keeps, and what it pays.
    pub gross: i64,
    pub fee: i64,
    pub net: i64,
}

/// A part of what a provider paid us on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettlementPage {
    pub items: Vec<RemoteSettlement>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// A dispute in a provider's list: what it is called, and the charge that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedDispute {
    pub provider_key: String,
    /// The provider's key of the charge.
    pub charge: String,
}

/// A part of the disputes that were opened since a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputePage {
    pub items: Vec<ListedDispute>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// Somebody who moves money for us.
#[async_trait]
pub trait PaymentProvider: Send + Sync {
    /// Its name in the books; never changes.
    fn name(&self) -> &'static str;

    fn capabilities(&self) -> Capabilities;

    /// Gets a payment ready for its payer. Charges nothing.
    async fn prepare(&self, request: &Prepare) -> Answer<ClientParameters>;

    /// Takes a payment that its payer has made.
    async fn confirm(&self, request: &Confirm, key: &EffectKey) -> Answer<Charge>;

    /// Takes what was authorised.
    async fn capture(&self, request: &Confirm, key: &EffectKey) -> Answer<Charge>;

    /// Voids or refunds.
    async fn cancel(&self, request: &Cancel, key: &EffectKey) -> Answer<Canceled>;

    async fn pay_out(&self, request: &Payout, key: &EffectKey) -> Answer<PaidOut>;

    /// Finds a charge by the provider's key, or by our order. One that is [`ChargeStatus::Open`] says no more than
    /// [`LookUp::Absent`] does: nothing was taken so far, and a call may still be on its way.
    async fn find_charge(&self, order: &str, provider_key: Option<&str>) -> LookUp<Charge>;

    /// Finds a void or refund by our key.
    async fn find_cancel(&self, request: &Cancel, key: &EffectKey) -> LookUp<Canceled>;

    async fn find_payout(&self, reference: &str, key: &EffectKey) -> LookUp<PaidOut>;

    /// Finds a dispute by the provider's key.
    async fn find_dispute(&self, provider_key: &str) -> LookUp<Dispute>;

    /// The disputes that were opened since, from a cursor on. Nobody is asked who tells of none.
    ///
    /// # Errors
    /// A sentence without personal data; to be asked again.
    async fn list_disputes(
        &self,
        _since: Timestamp,
        _cursor: Option<&str>,
    ) -> Result<DisputePage, String> {
        Err("the provider tells of no disputes".to_owned())
    }

    /// Reads which object a webhook is about.
    ///
    /// # Errors
    /// [`WebhookError`].
    fn read_webhook(&self, webhook: &RawWebhook) -> Result<Hint, WebhookError>;

    /// What happened on a day (`YYYY-MM-DD`, of the provider's own time zone), from a cursor on.
    ///
    /// # Errors
    /// A sentence without personal data; to be asked again.
    async fn list_transactions(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<RemotePage, String>;

    /// What was paid to us on a day, from a cursor on. Nobody is asked who has no such list.
    ///
    /// # Errors
    /// A sentence without personal data; to be asked again.
    async fn list_settlements(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<SettlementPage, String>;
}

impl fmt::Debug for RefundTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefundTo(..)")
    }
}

impl fmt::Debug for Payout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payout").field("reference", &self.reference).finish_non_exhaustive()
    }
}

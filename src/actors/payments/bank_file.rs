//! The bank file as one of those who move money: its books are our own, people carry them to a bank, and say what came
//! of it.
//!
//! Invariant: it takes no payments. A payout is one entry, found by its withdrawal for ever: what is not there was never
//! asked for.

use std::time::Duration;

use async_trait::async_trait;

use crate::actors::workflow::engine::Clock;
use crate::domain::payouts::{BANK_FILE, EntryStatus, FailureCode};
use crate::domain::workflows::EffectKey;
use crate::providers::payments::{
    Answer, Cancel, Canceled, Capabilities, Charge, ClientParameters, Confirm, Decline,
    DeclineCode, Dispute, Hint, LookUp, PaidOut, PaymentProvider, Payout, PayoutStatus, Prepare,
    RawWebhook, RemotePage, SettlementPage, WebhookError, WebhookTrust,
};
use crate::store::Store;
use crate::store::payouts::PayoutEntry;

const NO_PAYMENTS: &str = "a bank file takes no payments";
const NO_LIST: &str = "a bank file has no list of what a bank did";

/// Pays out by files that people carry to a bank.
pub struct BankFile {
    store: Store,
    clock: Clock,
}

impl BankFile {
    #[must_use]
    pub const fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }
}

/// As the flow of withdrawals has it.
fn paid_out(entry: &PayoutEntry) -> PaidOut {
    let status = match entry.status {
        EntryStatus::Waiting | EntryStatus::Exported => PayoutStatus::Pending,
        EntryStatus::Paid => PayoutStatus::Paid,
        EntryStatus::Failed | EntryStatus::Returned => PayoutStatus::Failed,
    };
    let decline = entry.failure_code.map(|code| Decline {
        code: match code {
            FailureCode::InvalidBankAccount => DeclineCode::InvalidBankAccount,
            FailureCode::PayoutRefused => DeclineCode::PayoutRefused,
        },
        provider_code: code.as_str().to_owned(),
    });
    PaidOut {
        provider_key: entry.withdrawal.to_string(),
        reference: entry.withdrawal.to_string(),
        amount: entry.amount,
        currency: entry.currency,
        status,
        decline,
    }
}

#[async_trait]
impl PaymentProvider for BankFile {
    fn name(&self) -> &'static str {
        BANK_FILE
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            idempotent_for: Some(Duration::MAX),
            has_look_up_by_order: false,
            has_look_up_by_key: true,
            absent_after: Duration::ZERO,
            has_manual_capture: false,
            has_partial_refund: false,
            has_deposits: false,
            has_payouts: true,
            has_settlements: false,
            utc_offset_hours: 9,
            has_disputes: false,
            lists_chargebacks: false,
            webhooks: WebhookTrust::Unsigned,
        }
    }

    async fn prepare(&self, _: &Prepare) -> Answer<ClientParameters> {
        Answer::Misconfigured(NO_PAYMENTS.to_owned())
    }

    async fn confirm(&self, _: &Confirm, _: &EffectKey) -> Answer<Charge> {
        Answer::Misconfigured(NO_PAYMENTS.to_owned())
    }

    async fn capture(&self, _: &Confirm, _: &EffectKey) -> Answer<Charge> {
        Answer::Misconfigured(NO_PAYMENTS.to_owned())
    }

    async fn cancel(&self, _: &Cancel, _: &EffectKey) -> Answer<Canceled> {
        Answer::Misconfigured(NO_PAYMENTS.to_owned())
    }

    async fn pay_out(&self, request: &Payout, key: &EffectKey) -> Answer<PaidOut> {
        let Ok(id) = request.reference.parse() else {
            return Answer::Unknown("the reference is no withdrawal".to_owned());
        };
        let (asked, now) = ((request.amount, request.currency), (self.clock)());
        match self.store.put_payout_entry(id, key.clone(), asked, now).await {
            Ok(Some(entry))
                if entry.effect_key == key.as_str() && (entry.amount, entry.currency) == asked =>
            {
                Answer::Pending(paid_out(&entry))
            }
            Ok(Some(_)) => Answer::Unknown("there is another entry for the withdrawal".to_owned()),
            Ok(None) => Answer::Unknown("the withdrawal is not being sent".to_owned()),
            Err(error) => Answer::Unknown(format!("the entry cannot be written: {error}")),
        }
    }

    async fn find_charge(&self, _: &str, _: Option<&str>) -> LookUp<Charge> {
        LookUp::Unknown(NO_PAYMENTS.to_owned())
    }

    async fn find_cancel(&self, _: &Cancel, _: &EffectKey) -> LookUp<Canceled> {
        LookUp::Unknown(NO_PAYMENTS.to_owned())
    }

    async fn find_payout(&self, reference: &str, key: &EffectKey) -> LookUp<PaidOut> {
        let Ok(id) = reference.parse() else {
            return LookUp::Unknown("the reference is no withdrawal".to_owned());
        };
        match self.store.find_payout_entry(id).await {
            Ok(Some(entry)) if entry.effect_key == key.as_str() => LookUp::Found(paid_out(&entry)),
            Ok(Some(_)) => LookUp::Unknown("there is another entry for the withdrawal".to_owned()),
            Ok(None) => LookUp::Absent,
            Err(error) => LookUp::Unknown(format!("the entry cannot be read: {error}")),
        }
    }

    async fn find_dispute(&self, _: &str) -> LookUp<Dispute> {
        LookUp::Unknown(NO_PAYMENTS.to_owned())
    }

    fn read_webhook(&self, _: &RawWebhook) -> Result<Hint, WebhookError> {
        Err(WebhookError::Unreadable)
    }

    async fn list_transactions(&self, _: &str, _: Option<&str>) -> Result<RemotePage, String> {
        Err(NO_LIST.to_owned())
    }

    async fn list_settlements(&self, _: &str, _: Option<&str>) -> Result<SettlementPage, String> {
        Err(NO_LIST.to_owned())
    }
}

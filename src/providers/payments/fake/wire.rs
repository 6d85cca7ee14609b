//! What goes between us and the fake provider, and what we make of it: the part that every real adapter has too.
//!
//! Invariant: only a code in [`LISTED`] is a refusal.

use serde::{Deserialize, Serialize};

use super::faults::{Loss, Operation};
use crate::domain::money::{Amount, Currency};
use crate::domain::workflows::EffectKey;
use crate::providers::payments::{
    Answer, Cancel, Canceled, Charge, ChargeStatus, Confirm, Decline, DeclineCode, LookUp, PaidOut,
    Payout, PayoutStatus, Prepare,
};

/// A code as the provider writes it.
pub(super) type Code = &'static str;

// Codes that say nothing certain, or nothing about the payment.
pub(super) const NOT_FOUND: Code = "NOT_FOUND_PAYMENT";
pub(super) const MISMATCH: Code = "PAYMENT_MISMATCH";
pub(super) const NOT_READY: Code = "PAYMENT_NOT_READY";
pub(super) const ALREADY_PROCESSED: Code = "ALREADY_PROCESSED_PAYMENT";
pub(super) const ALREADY_CANCELED: Code = "ALREADY_CANCELED_PAYMENT";
pub(super) const IN_PROGRESS: Code = "REQUEST_IN_PROGRESS";
const PROVIDER_ERROR: Code = "PROVIDER_ERROR";

/// What the provider refuses for good.
const LISTED: [DeclineCode; 10] = [
    DeclineCode::CardDeclined,
    DeclineCode::InsufficientFunds,
    DeclineCode::LimitExceeded,
    DeclineCode::InvalidPaymentMethod,
    DeclineCode::AuthenticationFailed,
    DeclineCode::CanceledByPayer,
    DeclineCode::NotRefundable,
    DeclineCode::RefundTooLarge,
    DeclineCode::InvalidBankAccount,
    DeclineCode::PayoutRefused,
];

/// How the provider calls it.
pub(super) const fn code_of(decline: DeclineCode) -> Code {
    match decline {
        DeclineCode::CardDeclined => "CARD_DECLINED",
        DeclineCode::InsufficientFunds => "NOT_ENOUGH_MONEY",
        DeclineCode::LimitExceeded => "EXCEEDS_LIMIT",
        DeclineCode::InvalidPaymentMethod => "INVALID_CARD",
        DeclineCode::AuthenticationFailed => "AUTHENTICATION_FAILED",
        DeclineCode::CanceledByPayer => "PAYER_CANCELED",
        DeclineCode::NotRefundable => "NOT_REFUNDABLE",
        DeclineCode::RefundTooLarge => "EXCEEDS_REFUNDABLE",
        DeclineCode::InvalidBankAccount => "INVALID_BANK_ACCOUNT",
        DeclineCode::PayoutRefused => "PAYOUT_REFUSED",
    }
}

pub(super) fn decline(code: DeclineCode) -> Decline {
    Decline { code, provider_code: code_of(code).to_owned() }
}

/// A call that changes something.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    Prepare(Prepare),
    Confirm(Confirm),
    Capture(Confirm),
    Cancel(Cancel),
    PayOut(#[serde(with = "without_account")] Payout),
}

/// A payout as it is written down and sent: nobody needs to know the account of one that is not made.
mod without_account {
    use secrecy::SecretString;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Amount, Currency, Payout};

    #[derive(Serialize, Deserialize)]
    struct Written {
        reference: String,
        amount: Amount,
        currency: Currency,
        bank_code: String,
    }

    pub(super) fn serialize<S: Serializer>(payout: &Payout, to: S) -> Result<S::Ok, S::Error> {
        let Payout { reference, amount, currency, bank_code, .. } = payout.clone();
        Written { reference, amount, currency, bank_code }.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Payout, D::Error> {
        let Written { reference, amount, currency, bank_code } = Written::deserialize(from)?;
        let (account_number, holder) = (SecretString::from(""), String::new());
        Ok(Payout { reference, amount, currency, bank_code, account_number, holder })
    }
}

impl Request {
    pub(super) const fn operation(&self) -> Operation {
        match self {
            Self::Prepare(_) => Operation::Prepare,
            Self::Confirm(_) => Operation::Confirm,
            Self::Capture(_) => Operation::Capture,
            Self::Cancel(_) => Operation::Cancel,
            Self::PayOut(_) => Operation::PayOut,
        }
    }

    /// What the provider knows a call by, to do it once.
    pub(super) fn known_by(&self, key: &EffectKey) -> (Operation, EffectKey) {
        (self.operation(), key.clone())
    }

    /// The provider's key of the charge that it is about.
    pub(super) fn charge(&self) -> Option<&String> {
        match self {
            Self::Confirm(request) | Self::Capture(request) => Some(&request.provider_key),
            Self::Cancel(request) => Some(&request.provider_key),
            Self::Prepare(_) | Self::PayOut(_) => None,
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fact {
    Charge(Charge),
    Canceled(Canceled),
    PaidOut(PaidOut),
}

impl Fact {
    fn is_pending(&self) -> bool {
        match self {
            Self::Charge(charge) => charge.status == ChargeStatus::AwaitingDeposit,
            Self::Canceled(_) => false,
            Self::PaidOut(paid_out) => paid_out.status == PayoutStatus::Pending,
        }
    }

    /// What it means.
    pub(super) fn read<T>(self, pick: fn(Self) -> Option<T>) -> Answer<T> {
        let is_pending = self.is_pending();
        match pick(self) {
            Some(it) if is_pending => Answer::Pending(it),
            Some(it) => Answer::Done(it),
            None => Answer::Unknown("the provider answered something else".to_owned()),
        }
    }

    pub(super) fn charge(self) -> Option<Charge> {
        if let Self::Charge(charge) = self { Some(charge) } else { None }
    }

    pub(super) fn canceled(self) -> Option<Canceled> {
        if let Self::Canceled(canceled) = self { Some(canceled) } else { None }
    }

    pub(super) fn paid_out(self) -> Option<PaidOut> {
        if let Self::PaidOut(paid_out) = self { Some(paid_out) } else { None }
    }
}

/// What comes back.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// 200.
    Fact(Fact),
    /// 4xx with a code.
    Refused(Code),
    /// 401.
    Unauthorized,
    /// 500.
    ServerError,
    /// Nothing, in time.
    Silence,
}

impl Reply {
    /// What comes back when the answer gets lost.
    pub(super) const fn lost(loss: Loss) -> Self {
        match loss {
            Loss::Timeout => Self::Silence,
            Loss::ServerError => Self::ServerError,
            Loss::UnlistedCode => Self::Refused(PROVIDER_ERROR),
        }
    }

    /// What it means.
    pub(super) fn read<T>(self, pick: fn(Fact) -> Option<T>) -> Answer<T> {
        match self {
            Self::Fact(fact) => fact.read(pick),
            Self::Refused(code) => refused(code),
            Self::Unauthorized => {
                Answer::Misconfigured("the provider does not accept our keys".to_owned())
            }
            Self::ServerError => Answer::Unknown("the provider answered 500".to_owned()),
            Self::Silence => Answer::Unknown("the provider did not answer in time".to_owned()),
        }
    }
}

/// What a code means: a refusal, if it is listed.
pub(super) fn refused<T>(code: &str) -> Answer<T> {
    match LISTED.into_iter().find(|it| code_of(*it) == code) {
        Some(code) => Answer::Declined(decline(code)),
        None => Answer::Unknown(format!("the provider answered {code}, which is no refusal")),
    }
}

pub(super) fn unanswered<T>() -> LookUp<T> {
    LookUp::Unknown("the provider did not answer in time".to_owned())
}

pub(super) fn cannot_be_asked<T>() -> LookUp<T> {
    LookUp::Unknown("the provider cannot be asked for it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_code_and_no_other_is_a_refusal() {
        for code in LISTED {
            let answer = Reply::Refused(code_of(code)).read(Fact::charge);
            assert_eq!(answer, Answer::Declined(decline(code)));
        }
        for code in [NOT_FOUND, MISMATCH, NOT_READY, ALREADY_PROCESSED, ALREADY_CANCELED] {
            let answer = Reply::Refused(code).read(Fact::charge);
            assert!(matches!(answer, Answer::Unknown(_)), "{code}");
        }
        for reply in [Reply::lost(Loss::UnlistedCode), Reply::ServerError, Reply::Silence] {
            assert!(matches!(reply.read(Fact::charge), Answer::Unknown(_)));
        }
    }
}

//! Payments: what each status means, and which may follow which. One table, and nothing beside it.
//!
//! [`orders`] is what is paid for, [`charges`] what a provider took compared with what was agreed, [`conflicts`] what
//! people do where that differs, [`refunds`] what goes back, [`disputes`] what a bank wants back, [`postings`] what all
//! of it is in the books. Invariant: a payment changes its status through [`PaymentStatus::next`] only; what has come to
//! its end stays there. A late success of a payment that is over is no transition, but a break that has to be
//! reconciled.

pub mod charges;
pub mod conflicts;
pub mod disputes;
pub mod orders;
pub mod postings;
pub mod refunds;
pub mod webhooks;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::stored_as;

/// Who takes the money for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderName {
    Fake,
    Toss,
    Stripe,
}

stored_as!(ProviderName { Fake = "fake", Toss = "toss", Stripe = "stripe" });

impl ProviderName {
    pub const ALL: [Self; 3] = [Self::Fake, Self::Toss, Self::Stripe];
}

impl FromStr for ProviderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or_else(|| format!("{text:?} is none of fake, toss and stripe"))
    }
}

/// A call to a provider of which a workflow takes care. A payment has one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnderWay {
    Confirm,
    Capture,
    Void,
}

stored_as!(UnderWay { Confirm = "confirm", Capture = "capture", Void = "void" });

/// Why a request about payments is refused before anything is decided about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    #[error("there is no such payment, or it is not yours")]
    NotFound,
    #[error("there is no such order, or it is not yours to pay")]
    OrderNotFound,
    #[error("the order is being paid for, or is paid for: it stays as it is")]
    OrderHasPayment,
    #[error("this currency is not dealt in here")]
    CurrencyNotSupported,
    #[error("a payment key has 1 to 200 visible ASCII characters")]
    InvalidKey,
    #[error("a reason has 1 to 200 characters, none of which controls anything")]
    InvalidReason,
    #[error("there is no payment provider of this name here")]
    UnknownProvider,
    #[error("nobody decides about what is their own")]
    OwnDecision,
    #[error("the refund does not wait for anybody's decision")]
    NotInReview,
    #[error("the signature is missing or wrong")]
    WebhookUnsigned,
    #[error("nothing new is taken by this payment provider for now; nothing was done")]
    ProviderStopped,
    #[error("no payment provider answers; nothing was taken")]
    Unavailable,
}

/// Where a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PaymentStatus {
    /// Priced; its payer has not paid.
    Created,
    /// A virtual account waits for the payer's transfer.
    AwaitingDeposit,
    /// The provider is being asked to take it.
    Confirming,
    /// Nobody knows whether the provider took it; that is found out by asking.
    Unknown,
    /// Set aside on the payer's side, to be captured.
    Authorized,
    Captured,
    PartiallyRefunded,
    Refunded,
    Canceled,
    Failed,
    Expired,
    /// The provider took something else than was agreed.
    Conflicted,
    /// The payer's bank wants it back.
    Disputed,
    ChargedBack,
}

stored_as!(PaymentStatus {
    Created = "created",
    AwaitingDeposit = "awaiting_deposit",
    Confirming = "confirming",
    Unknown = "unknown",
    Authorized = "authorized",
    Captured = "captured",
    PartiallyRefunded = "partially_refunded",
    Refunded = "refunded",
    Canceled = "canceled",
    Failed = "failed",
    Expired = "expired",
    Conflicted = "conflicted",
    Disputed = "disputed",
    ChargedBack = "charged_back"
});

/// Who or what changed a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    Api,
    Provider,
    Webhook,
    /// The provider was asked without anybody waiting.
    Sync,
    Timer,
    Admin,
    /// A larger workflow that goes back.
    Saga,
}

stored_as!(Cause {
    Api = "api",
    Provider = "provider",
    Webhook = "webhook",
    Sync = "sync",
    Timer = "timer",
    Admin = "admin",
    Saga = "saga"
});

/// A change of status that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a payment that is {} does not become {}", from.as_str(), to.as_str())]
pub struct IllegalTransition {
    pub from: PaymentStatus,
    pub to: PaymentStatus,
}

impl PaymentStatus {
    pub const ALL: [Self; 14] = [
        Self::Created,
        Self::AwaitingDeposit,
        Self::Confirming,
        Self::Unknown,
        Self::Authorized,
        Self::Captured,
        Self::PartiallyRefunded,
        Self::Refunded,
        Self::Canceled,
        Self::Failed,
        Self::Expired,
        Self::Conflicted,
        Self::Disputed,
        Self::ChargedBack,
    ];

    /// What may follow it.
    #[must_use]
    pub const fn followers(self) -> &'static [Self] {
        match self {
            Self::Created => {
                &[Self::AwaitingDeposit, Self::Confirming, Self::Canceled, Self::Expired]
            }
            Self::AwaitingDeposit => &[Self::Captured, Self::Expired, Self::Canceled],
            Self::Confirming => {
                &[Self::Captured, Self::Authorized, Self::Failed, Self::Unknown, Self::Conflicted]
            }
            Self::Unknown => &[Self::Captured, Self::Authorized, Self::Failed, Self::Conflicted],
            Self::Authorized => &[Self::Captured, Self::Canceled, Self::Unknown],
            Self::Captured => &[Self::PartiallyRefunded, Self::Refunded, Self::Disputed],
            Self::PartiallyRefunded => &[Self::PartiallyRefunded, Self::Refunded, Self::Disputed],
            Self::Disputed => &[Self::Captured, Self::PartiallyRefunded, Self::ChargedBack],
            Self::Conflicted => &[Self::Canceled, Self::Captured],
            Self::Refunded | Self::Canceled | Self::Failed | Self::Expired | Self::ChargedBack => {
                &[]
            }
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.followers().is_empty()
    }

    /// Whether its order has to wait for it before it can be paid for in another way.
    #[must_use]
    pub const fn is_live(self) -> bool {
        !self.is_final()
    }

    /// The event that tells of a change; `None` where only the payer is told.
    #[must_use]
    pub const fn event(from: Option<Self>, to: Self) -> Option<&'static str> {
        Some(match (from, to) {
            (Some(Self::Disputed), Self::Captured | Self::PartiallyRefunded) => "PaymentDisputeWon",
            (_, Self::Created) => "PaymentCreated",
            (_, Self::AwaitingDeposit) => "PaymentAwaitingDeposit",
            (_, Self::Authorized) => "PaymentAuthorized",
            (_, Self::Captured) => "PaymentCompleted",
            (_, Self::Failed) => "PaymentFailed",
            (_, Self::Canceled) => "PaymentCanceled",
            (_, Self::Expired) => "PaymentExpired",
            (_, Self::PartiallyRefunded | Self::Refunded) => "PaymentRefunded",
            (_, Self::Disputed) => "PaymentDisputed",
            (_, Self::ChargedBack) => "PaymentChargedBack",
            (_, Self::Confirming | Self::Unknown | Self::Conflicted) => return None,
        })
    }

    /// The statuses that lead to another: one step, or for what nobody had asked to be confirmed, that one before.
    ///
    /// # Errors
    /// [`IllegalTransition`] where nothing leads there.
    pub fn way(self, to: Self) -> Result<Vec<Self>, IllegalTransition> {
        match self.next(to) {
            Err(_) if self == Self::Created && Self::Confirming.next(to).is_ok() => {
                Ok(vec![Self::Confirming, to])
            }
            next => next.map(|to| vec![to]),
        }
    }

    /// The status that follows.
    ///
    /// # Errors
    /// [`IllegalTransition`] for one that does not.
    pub fn next(self, to: Self) -> Result<Self, IllegalTransition> {
        if self.followers().contains(&to) {
            Ok(to)
        } else {
            Err(IllegalTransition { from: self, to })
        }
    }
}

#[cfg(test)]
mod tests {
    use PaymentStatus::{
        Authorized, AwaitingDeposit, Canceled, Captured, ChargedBack, Confirming, Conflicted,
        Created, Disputed, Expired, Failed, PartiallyRefunded, Refunded, Unknown,
    };

    use super::*;

    /// As the design has them, written down once more.
    const LEGAL: [(PaymentStatus, PaymentStatus); 30] = [
        (Created, AwaitingDeposit),
        (Created, Confirming),
        (Created, Canceled),
        (Created, Expired),
        (AwaitingDeposit, Captured),
        (AwaitingDeposit, Expired),
        (AwaitingDeposit, Canceled),
        (Confirming, Captured),
        (Confirming, Authorized),
        (Confirming, Failed),
        (Confirming, Unknown),
        (Confirming, Conflicted),
        (Unknown, Captured),
        (Unknown, Authorized),
        (Unknown, Failed),
        (Unknown, Conflicted),
        (Authorized, Captured),
        (Authorized, Canceled),
        (Authorized, Unknown),
        (Captured, PartiallyRefunded),
        (Captured, Refunded),
        (PartiallyRefunded, PartiallyRefunded),
        (PartiallyRefunded, Refunded),
        (Captured, Disputed),
        (PartiallyRefunded, Disputed),
        (Disputed, Captured),
        (Disputed, PartiallyRefunded),
        (Disputed, ChargedBack),
        (Conflicted, Canceled),
        (Conflicted, Captured),
    ];

    #[test]
    fn of_all_pairs_exactly_the_legal_ones_pass() {
        let mut passed = 0;
        for from in PaymentStatus::ALL {
            for to in PaymentStatus::ALL {
                let is_legal = LEGAL.contains(&(from, to));
                assert_eq!(from.next(to).is_ok(), is_legal, "{from:?} to {to:?}");
                passed += usize::from(is_legal);
            }
        }
        assert_eq!(passed, 30);
    }

    #[test]
    fn five_are_final() {
        let last: Vec<PaymentStatus> =
            PaymentStatus::ALL.into_iter().filter(|status| status.is_final()).collect();
        assert_eq!(last, [Refunded, Canceled, Failed, Expired, ChargedBack]);
    }

    #[test]
    fn what_nobody_had_asked_to_be_confirmed_is_confirmed_on_its_way() {
        assert_eq!(Created.way(Captured), Ok(vec![Confirming, Captured]));
        assert_eq!(Created.way(AwaitingDeposit), Ok(vec![AwaitingDeposit]));
        assert_eq!(Confirming.way(Captured), Ok(vec![Captured]));
        assert!(Created.way(Refunded).is_err());
        assert!(AwaitingDeposit.way(Conflicted).is_err());
    }

    #[test]
    fn a_status_is_read_as_it_was_written() {
        for status in PaymentStatus::ALL {
            assert_eq!(PaymentStatus::parse(status.as_str()), Some(status));
        }
    }
}

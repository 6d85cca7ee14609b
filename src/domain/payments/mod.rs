//! Payments: what each status means, and which may follow which. One table, and nothing beside it.
//!
//! Invariant: a payment changes its status through [`PaymentStatus::next`] only; what has come to its end stays there. A late success of
//! a payment that is over is no transition, but a break that has to be reconciled.

use super::stored_as;

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
    fn a_status_is_read_as_it_was_written() {
        for status in PaymentStatus::ALL {
            assert_eq!(PaymentStatus::parse(status.as_str()), Some(status));
        }
    }
}

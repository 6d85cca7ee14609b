//! Conflicts: a provider has taken something else than was agreed, does not give it back, and two people say that it is
//! kept.
//!
//! Invariant: what is kept is what both have said, what the books have in suspense, and what the provider says at that
//! moment; and never more than was agreed.

use super::PaymentStatus;
use crate::domain::ids::UserId;
use crate::domain::money::{Amount, Currency};

/// Why a conflict stays one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConflictError {
    #[error("there is no such proposal")]
    NotFound,
    #[error("the payment is not conflicted")]
    NotConflicted,
    #[error("the provider gives it back, or may yet; only what it does not give back can be kept")]
    GivenBack,
    #[error("there is a later proposal, or this one was confirmed")]
    Superseded,
    #[error("the provider, or the books, do not say the same")]
    SaysOtherwise,
    #[error("more than was agreed is never kept")]
    TooMuch,
    #[error("nobody confirms a proposal of their own")]
    OwnProposal,
    #[error("its payer's bank wants it back, or has taken it")]
    Disputed,
    #[error("nobody decides about what is their own")]
    OwnDecision,
    #[error("the provider does not say how the payment stands")]
    Unknown,
}

/// What is known when somebody confirms a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirming {
    pub status: PaymentStatus,
    /// What is to be kept.
    pub proposed: Amount,
    pub proposed_by: UserId,
    pub confirmed_by: UserId,
    /// Whether it is the latest, and not confirmed.
    pub is_open: bool,
    /// Whether whoever confirms is its payer or its payee.
    pub is_own: bool,
    /// Whether the provider gives it back, or may yet, because somebody asks it or has asked lately.
    pub is_given_back: bool,
    /// Whether its payer's bank wants it back, or has taken it.
    pub is_disputed: bool,
    pub agreed: (Amount, Currency),
    /// What the books have in suspense for it; `None` where no money has moved.
    pub in_suspense: Option<(Amount, Currency)>,
    /// What the provider has, as it says now; `None` for anything but a charge that was taken, of which nothing was given back.
    pub at_provider: Option<(Amount, Currency)>,
}

impl Confirming {
    /// How much is kept.
    ///
    /// # Errors
    /// [`ConflictError`].
    pub fn decide(&self) -> Result<Amount, ConflictError> {
        if self.status != PaymentStatus::Conflicted {
            return Err(ConflictError::NotConflicted);
        }
        if !self.is_open {
            return Err(ConflictError::Superseded);
        }
        if self.proposed_by == self.confirmed_by {
            return Err(ConflictError::OwnProposal);
        }
        if self.is_own {
            return Err(ConflictError::OwnDecision);
        }
        if self.is_given_back {
            return Err(ConflictError::GivenBack);
        }
        if self.is_disputed {
            return Err(ConflictError::Disputed);
        }
        let (agreed, currency) = self.agreed;
        let said = Some((self.proposed, currency));
        if self.in_suspense != said || self.at_provider != said {
            return Err(ConflictError::SaysOtherwise);
        }
        if self.proposed > agreed {
            return Err(ConflictError::TooMuch);
        }
        Ok(self.proposed)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_kept_is_what_everybody_says_and_no_more_than_was_agreed() {
        let krw = |minor| (Amount::new(minor).unwrap(), Currency::KRW);
        let somebody = |n| UserId::from(Uuid::from_u128(n));
        let sound = Confirming {
            status: PaymentStatus::Conflicted,
            proposed: krw(999).0,
            proposed_by: somebody(1),
            confirmed_by: somebody(2),
            is_open: true,
            is_own: false,
            is_given_back: false,
            is_disputed: false,
            agreed: krw(1_000),
            in_suspense: Some(krw(999)),
            at_provider: Some(krw(999)),
        };
        assert_eq!(sound.decide(), Ok(krw(999).0));
        let dollars = (krw(999).0, "USD".parse().unwrap());
        for (refused, why) in [
            (Confirming { status: PaymentStatus::Canceled, ..sound }, ConflictError::NotConflicted),
            (Confirming { is_open: false, ..sound }, ConflictError::Superseded),
            (Confirming { confirmed_by: somebody(1), ..sound }, ConflictError::OwnProposal),
            (Confirming { is_own: true, ..sound }, ConflictError::OwnDecision),
            (Confirming { is_given_back: true, ..sound }, ConflictError::GivenBack),
            (Confirming { is_disputed: true, ..sound }, ConflictError::Disputed),
            (Confirming { in_suspense: None, ..sound }, ConflictError::SaysOtherwise),
            (Confirming { at_provider: Some(krw(998)), ..sound }, ConflictError::SaysOtherwise),
            (Confirming { at_provider: Some(dollars), ..sound }, ConflictError::SaysOtherwise),
            (Confirming { proposed: krw(998).0, ..sound }, ConflictError::SaysOtherwise),
            (Confirming { agreed: krw(998), ..sound }, ConflictError::TooMuch),
        ] {
            assert_eq!(refused.decide(), Err(why), "{refused:?}");
        }
    }
}

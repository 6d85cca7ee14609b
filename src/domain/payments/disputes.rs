//! Disputes: a payer's bank wants money back, and decides whether it gets it.
//!
//! Invariant: what a provider says of a dispute only ever moves on, from a question to a dispute to its end. Whatever
//! is heard late, or in another order, changes nothing that was further on.

use serde::{Deserialize, Serialize};

use super::PaymentStatus;
use super::refunds::Sums;
use crate::domain::stored_as;

/// Where a dispute is, as its provider says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    /// The bank asks, and has taken nothing.
    Inquiry,
    /// The bank wants it back, and waits to hear what speaks against that.
    NeedsResponse,
    UnderReview,
    /// The money stays where it is.
    Won,
    /// The money has gone back.
    Lost,
    /// The bank has given up.
    Withdrawn,
}

stored_as!(DisputeStatus {
    Inquiry = "inquiry",
    NeedsResponse = "needs_response",
    UnderReview = "under_review",
    Won = "won",
    Lost = "lost",
    Withdrawn = "withdrawn"
});

/// What is done about a dispute that stands so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Nothing so far.
    None,
    /// What it is about is held.
    Hold,
    /// It is free again.
    Free,
    /// It goes back.
    Give,
}

impl DisputeStatus {
    pub const ALL: [Self; 6] = [
        Self::Inquiry,
        Self::NeedsResponse,
        Self::UnderReview,
        Self::Won,
        Self::Lost,
        Self::Withdrawn,
    ];

    #[must_use]
    pub const fn demand(self) -> Demand {
        match self {
            Self::Inquiry => Demand::None,
            Self::NeedsResponse | Self::UnderReview => Demand::Hold,
            Self::Won | Self::Withdrawn => Demand::Free,
            Self::Lost => Demand::Give,
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self.demand(), Demand::Free | Demand::Give)
    }

    /// Whether another may follow: a question may become a dispute, and not the other way round.
    #[must_use]
    pub const fn leads_to(self, to: Self) -> bool {
        match self {
            Self::Inquiry => !matches!(to, Self::Inquiry),
            Self::NeedsResponse => !matches!(to, Self::Inquiry | Self::NeedsResponse),
            Self::UnderReview => !matches!(to, Self::Inquiry | Self::UnderReview),
            Self::Won | Self::Lost | Self::Withdrawn => false,
        }
    }
}

/// What a dispute finds that a payment has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// It is not known yet that it was taken: that is waited for.
    NotYet,
    /// Its money is there.
    Taken,
    /// Nothing is left of it that could be held. A dispute of it is for people to look at.
    Over,
}

/// What a payment of this status has for a dispute.
#[must_use]
pub const fn ground_of(status: PaymentStatus) -> Ground {
    match status {
        PaymentStatus::Created
        | PaymentStatus::AwaitingDeposit
        | PaymentStatus::Confirming
        | PaymentStatus::Unknown
        | PaymentStatus::Authorized => Ground::NotYet,
        PaymentStatus::Captured | PaymentStatus::PartiallyRefunded | PaymentStatus::Disputed => {
            Ground::Taken
        }
        PaymentStatus::Refunded
        | PaymentStatus::Canceled
        | PaymentStatus::Failed
        | PaymentStatus::Expired
        | PaymentStatus::Conflicted
        | PaymentStatus::ChargedBack => Ground::Over,
    }
}

/// The statuses through which a payment goes whose dispute was won. One that was refunded as a whole meanwhile was
/// partially refunded first.
#[must_use]
pub fn after_winning(sums: Sums) -> Vec<PaymentStatus> {
    if sums.refunded == 0 {
        vec![PaymentStatus::Captured]
    } else if sums.refunded < sums.captured {
        vec![PaymentStatus::PartiallyRefunded]
    } else {
        vec![PaymentStatus::PartiallyRefunded, PaymentStatus::Refunded]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_late_changes_nothing() {
        for from in DisputeStatus::ALL {
            assert!(!from.leads_to(from), "{from:?}");
            assert!(!from.leads_to(DisputeStatus::Inquiry), "{from:?}");
            let followers = DisputeStatus::ALL.into_iter().filter(|to| from.leads_to(*to)).count();
            assert_eq!(followers == 0, from.is_final(), "{from:?}");
        }
        assert!(DisputeStatus::UnderReview.leads_to(DisputeStatus::NeedsResponse));
        assert!(DisputeStatus::Inquiry.leads_to(DisputeStatus::Withdrawn));
    }

    #[test]
    fn whatever_is_won_is_legal() {
        for (refunded, last) in [
            (0, PaymentStatus::Captured),
            (1, PaymentStatus::PartiallyRefunded),
            (1_000, PaymentStatus::Refunded),
        ] {
            let mut status = PaymentStatus::Disputed;
            for to in after_winning(Sums { captured: 1_000, reserved: 0, refunded }) {
                status = status.next(to).unwrap();
            }
            assert_eq!(status, last);
        }
    }

    #[test]
    fn only_what_was_taken_can_become_disputed() {
        for status in PaymentStatus::ALL {
            let can =
                status == PaymentStatus::Disputed || status.next(PaymentStatus::Disputed).is_ok();
            assert_eq!(ground_of(status) == Ground::Taken, can, "{status:?}");
        }
    }

    #[test]
    fn a_status_is_read_as_it_was_written() {
        for status in DisputeStatus::ALL {
            assert_eq!(DisputeStatus::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::json!(status), status.as_str());
        }
    }
}

//! Refunds: how much can go back to a payer, and where a refund is.
//!
//! Invariant: what was refunded and what is about to be never come to more than was captured; the table says so too.

use super::PaymentStatus;
use crate::domain::money::Amount;
use crate::domain::stored_as;

pub const REASON_CHARS_MAX: usize = 200;
/// Refunds that one payment may have, but for one that gives back all that is left: whoever asks the provider about it
/// reads all of them.
pub const REFUNDS_MAX: i64 = 50;

/// Where a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefundStatus {
    Requested,
    /// The provider is being asked.
    Sent,
    /// Nobody knows whether the provider has done it.
    Unknown,
    Succeeded,
    Failed,
    /// Somebody has to look at it.
    NeedsReview,
}

stored_as!(RefundStatus {
    Requested = "requested",
    Sent = "sent",
    Unknown = "unknown",
    Succeeded = "succeeded",
    Failed = "failed",
    NeedsReview = "needs_review"
});

/// How a refund ends that somebody had to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settling {
    /// Its payer has all of it, from the provider or otherwise.
    Succeeded,
    /// Its payer has nothing of it, and keeps what was paid for.
    Failed,
}

stored_as!(Settling { Succeeded = "succeeded", Failed = "failed" });

impl RefundStatus {
    /// Whether another may follow.
    #[must_use]
    pub const fn leads_to(self, to: Self) -> bool {
        match self {
            Self::Requested => matches!(to, Self::Sent | Self::Failed | Self::NeedsReview),
            Self::Sent => {
                matches!(to, Self::Succeeded | Self::Failed | Self::Unknown | Self::NeedsReview)
            }
            Self::Unknown => matches!(to, Self::Succeeded | Self::Failed | Self::NeedsReview),
            // Somebody has looked.
            Self::NeedsReview => matches!(to, Self::Succeeded | Self::Failed),
            Self::Succeeded | Self::Failed => false,
        }
    }
}

/// Why somebody gives money back: shown to the payer by some providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundReason(String);

impl RefundReason {
    /// Takes a text without the space around it; `None` where nothing is left, or more than fits, or it controls
    /// something.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_fit = (1..=REASON_CHARS_MAX).contains(&text.chars().count())
            && !text.chars().any(char::is_control);
        is_fit.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why nothing goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefundError {
    #[error("the payment is disputed: its payer's bank decides")]
    Disputed,
    #[error("a payment that is {} is not refunded", .0.as_str())]
    WrongStatus(PaymentStatus),
    #[error("{refundable} are left to be refunded")]
    ExceedsRefundable { refundable: i64 },
    #[error("a payment is refunded {REFUNDS_MAX} times at most; all that is left still can be")]
    TooMany,
}

/// What a payment has come to, in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub captured: i64,
    /// By refunds that are not at their end.
    pub reserved: i64,
    pub refunded: i64,
}

impl Sums {
    /// What may still be asked for.
    #[must_use]
    pub const fn refundable(self) -> i64 {
        self.captured.saturating_sub(self.reserved).saturating_sub(self.refunded)
    }

    /// The status of a payment of which something was refunded.
    #[must_use]
    pub const fn after_refund(self) -> PaymentStatus {
        if self.refunded >= self.captured {
            PaymentStatus::Refunded
        } else {
            PaymentStatus::PartiallyRefunded
        }
    }
}

/// How much goes back where so much is asked for, or all that is left. `made` counts the refunds that there are and that have
/// not failed.
///
/// # Errors
/// [`RefundError`].
pub fn refund_of(
    status: PaymentStatus,
    sums: Sums,
    made: i64,
    asked: Option<Amount>,
) -> Result<Amount, RefundError> {
    match status {
        PaymentStatus::Captured | PaymentStatus::PartiallyRefunded => {}
        PaymentStatus::Disputed => return Err(RefundError::Disputed),
        other => return Err(RefundError::WrongStatus(other)),
    }
    let refundable = sums.refundable();
    let left =
        Amount::new(refundable).map_err(|_| RefundError::ExceedsRefundable { refundable })?;
    let amount = asked.unwrap_or(left);
    if amount > left {
        return Err(RefundError::ExceedsRefundable { refundable });
    }
    if made >= REFUNDS_MAX && amount < left {
        return Err(RefundError::TooMany);
    }
    Ok(amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUSES: [RefundStatus; 6] = [
        RefundStatus::Requested,
        RefundStatus::Sent,
        RefundStatus::Unknown,
        RefundStatus::Succeeded,
        RefundStatus::Failed,
        RefundStatus::NeedsReview,
    ];

    fn won(minor: i64) -> Amount {
        Amount::new(minor).unwrap()
    }

    #[test]
    fn of_all_pairs_twelve_pass_and_what_is_over_stays_so() {
        let legal = |from: RefundStatus| STATUSES.into_iter().filter(move |to| from.leads_to(*to));
        assert_eq!(STATUSES.into_iter().flat_map(legal).count(), 12);
        assert_eq!(legal(RefundStatus::Succeeded).count(), 0);
        assert_eq!(legal(RefundStatus::Failed).count(), 0);
    }

    #[test]
    fn all_that_is_left_may_go_back_and_not_more() {
        let sums = Sums { captured: 1_000, reserved: 200, refunded: 300 };
        let of = |asked| refund_of(PaymentStatus::PartiallyRefunded, sums, 1, asked);
        assert_eq!(of(None), Ok(won(500)));
        assert_eq!(of(Some(won(500))), Ok(won(500)));
        assert_eq!(of(Some(won(501))), Err(RefundError::ExceedsRefundable { refundable: 500 }));
        let nothing = Sums { captured: 1_000, reserved: 1_000, refunded: 0 };
        let refused = refund_of(PaymentStatus::Captured, nothing, 0, None);
        assert_eq!(refused, Err(RefundError::ExceedsRefundable { refundable: 0 }));
    }

    #[test]
    fn after_so_many_parts_only_all_that_is_left_goes_back() {
        let sums = Sums { captured: 1_000, reserved: 0, refunded: 300 };
        let of = |made, asked| refund_of(PaymentStatus::PartiallyRefunded, sums, made, asked);
        assert_eq!(of(REFUNDS_MAX - 1, Some(won(1))), Ok(won(1)));
        assert_eq!(of(REFUNDS_MAX, Some(won(699))), Err(RefundError::TooMany));
        assert_eq!(of(REFUNDS_MAX, Some(won(700))), Ok(won(700)));
        assert_eq!(of(REFUNDS_MAX + 1, None), Ok(won(700)));
    }

    #[test]
    fn only_what_was_captured_is_refunded() {
        let sums = Sums { captured: 1_000, ..Sums::default() };
        for status in PaymentStatus::ALL {
            let refund = refund_of(status, sums, 0, Some(won(1)));
            let expected = match status {
                PaymentStatus::Captured | PaymentStatus::PartiallyRefunded => Ok(won(1)),
                PaymentStatus::Disputed => Err(RefundError::Disputed),
                other => Err(RefundError::WrongStatus(other)),
            };
            assert_eq!(refund, expected);
        }
    }

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(RefundReason::parse(" 늦음 ").unwrap().as_str(), "늦음");
        for text in ["", " ", "a\nb", &"가".repeat(201)] {
            assert_eq!(RefundReason::parse(text), None);
        }
    }
}

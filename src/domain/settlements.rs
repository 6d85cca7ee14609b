//! Settlements: what of a payment is whose, and what each gives back when it is refunded.
//!
//! Whole minor units, rounded down in the payee's favour. Invariant: the parts of a share are never negative and come
//! to the whole of it; and the refunds of a payment take back exactly what its release gave, however they are cut.

use super::money::Amount;
use super::payments::orders::FeeBps;
use super::stored_as;

/// Hundredths of a percent.
const BASIS: i64 = 10_000;
/// The VAT that is added to a fee: a tenth.
const VAT_DIVISOR: i64 = 10;

/// Why a share cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    #[error("fee, its VAT and what is withheld come to no more than a payment")]
    TooMuch,
    #[error("more than there is left cannot be given back")]
    MoreThanLeft,
}

/// Why a batch is not closed or paid before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettlementError {
    #[error("there is no such settlement")]
    NotFound,
    #[error("only a batch that is closed, and neither carried nor paid, can be paid")]
    NotClosed,
    #[error("nobody decides about what is their own")]
    OwnDecision,
    #[error("the calendar does not have the day on which it would be paid")]
    NoCalendar,
}

/// What is taken from whatever a payee earns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    fee_bps: i64,
    withholding_bps: i64,
}

impl Terms {
    /// Takes the fee, which VAT is added to, and the income tax that is withheld of what is earned, in basis points.
    ///
    /// # Errors
    /// [`ShareError::TooMuch`] when they could come to more than the whole.
    pub const fn new(fee_bps: u16, withholding_bps: u16) -> Result<Self, ShareError> {
        #[expect(clippy::as_conversions, reason = "widens; `From` is not const")]
        let (fee_bps, withholding_bps) = (fee_bps as i64, withholding_bps as i64);
        let fee_with_vat = fee_bps.saturating_mul(VAT_DIVISOR + 1);
        let all = fee_with_vat.saturating_add(withholding_bps.saturating_mul(VAT_DIVISOR));
        if all > BASIS * VAT_DIVISOR {
            return Err(ShareError::TooMuch);
        }
        Ok(Self { fee_bps, withholding_bps })
    }

    /// As [`Self::new`], with the fee of an order.
    ///
    /// # Errors
    /// [`ShareError::TooMuch`].
    pub fn of(fee: FeeBps, withholding_bps: u16) -> Result<Self, ShareError> {
        let fee_bps = u16::try_from(fee.get()).map_err(|_| ShareError::TooMuch)?;
        Self::new(fee_bps, withholding_bps)
    }

    /// Shares out what was earned.
    #[must_use]
    pub fn share(self, gross: Amount) -> Share {
        let gross = gross.minor();
        let fee = part_of(gross, self.fee_bps, BASIS);
        let fee_vat = part_of(fee, 1, VAT_DIVISOR);
        let withholding = part_of(gross, self.withholding_bps, BASIS);
        Share { gross, fee, fee_vat, withholding }
    }
}

/// A sum, and how much of it is not the payee's. What is left of it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub gross: i64,
    pub fee: i64,
    pub fee_vat: i64,
    pub withholding: i64,
}

impl Share {
    /// The payee's part.
    #[must_use]
    pub const fn net(self) -> i64 {
        self.gross
            .saturating_sub(self.fee)
            .saturating_sub(self.fee_vat)
            .saturating_sub(self.withholding)
    }

    /// What is left of it without `other`.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self {
            gross: self.gross.saturating_sub(other.gross),
            fee: self.fee.saturating_sub(other.fee),
            fee_vat: self.fee_vat.saturating_sub(other.fee_vat),
            withholding: self.withholding.saturating_sub(other.withholding),
        }
    }

    /// The other way round.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self { gross: 0, fee: 0, fee_vat: 0, withholding: 0 }.less(self)
    }

    /// What each gives back of a refund, where `self` is left of the release: pro rata, rounded down. What does not
    /// divide is the payee's for as long as they have something left, and then the fee's; the last refund takes all
    /// there is.
    ///
    /// # Errors
    /// [`ShareError::MoreThanLeft`].
    pub fn give_back(self, refund: Amount) -> Result<Self, ShareError> {
        let gross = refund.minor();
        if gross > self.gross {
            return Err(ShareError::MoreThanLeft);
        }
        let mut back = Self {
            gross,
            fee: part_of(self.fee, gross, self.gross),
            fee_vat: part_of(self.fee_vat, gross, self.gross),
            withholding: part_of(self.withholding, gross, self.gross),
        };
        let mut over = back.net().saturating_sub(self.net());
        for (part, left) in [
            (&mut back.fee, self.fee),
            (&mut back.fee_vat, self.fee_vat),
            (&mut back.withholding, self.withholding),
        ] {
            let more = over.clamp(0, left.saturating_sub(*part));
            *part = part.saturating_add(more);
            over = over.saturating_sub(more);
        }
        Ok(back)
    }
}

/// `of * numerator / denominator`, rounded down; no more than `of` where the fraction is at most one.
fn part_of(of: i64, numerator: i64, denominator: i64) -> i64 {
    let product = i128::from(of).saturating_mul(i128::from(numerator));
    let part = product.checked_div(i128::from(denominator)).unwrap_or_default();
    i64::try_from(part).unwrap_or(i64::MAX)
}

/// Where a settlement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SettlementStatus {
    /// Summed up; its money comes on its day.
    Closed,
    /// Not worth a payment: it goes into the next one.
    Carried,
    /// Its money is in the payee's wallet.
    Released,
}

stored_as!(SettlementStatus { Closed = "closed", Carried = "carried", Released = "released" });

/// What an item of a settlement is of. Each is settled once, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemSource {
    /// What a payment's release gave.
    Payment,
    /// What a refund took back.
    Refund,
    /// What a refund that came to nothing had taken back.
    FailedRefund,
    /// What a dispute has taken away, for as long as it is open; for good where it is lost.
    Dispute,
    /// What a dispute that was won had taken away.
    DisputeWon,
}

stored_as!(ItemSource {
    Payment = "payment",
    Refund = "refund",
    FailedRefund = "failed_refund",
    Dispute = "dispute",
    DisputeWon = "dispute_won"
});

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;
    use crate::domain::money::AMOUNT_MAX;

    /// Test L of the design: as many as it asks for.
    const AMOUNTS: usize = 1_000_000;
    const REFUNDS_MAX: usize = 6;

    fn won(minor: i64) -> Amount {
        Amount::new(minor).unwrap()
    }

    fn parts(share: Share) -> [i64; 5] {
        [share.gross, share.fee, share.fee_vat, share.withholding, share.net()]
    }

    #[test]
    fn a_payment_is_shared_as_the_terms_say() {
        let share = Terms::new(1_000, 330).unwrap().share(won(10_009));
        assert_eq!(share, Share { gross: 10_009, fee: 1_000, fee_vat: 100, withholding: 330 });
        assert_eq!(share.net(), 8_579);
        let all = Terms::new(0, 0).unwrap().share(won(1));
        assert_eq!((all.net(), all.fee), (1, 0));
    }

    #[test]
    fn terms_come_to_no_more_than_a_payment() {
        for (fee_bps, withholding_bps) in [(9_091, 0), (0, 10_001), (9_000, 101), (u16::MAX, 0)] {
            assert_eq!(Terms::new(fee_bps, withholding_bps), Err(ShareError::TooMuch));
        }
        assert!(Terms::new(9_090, 1).is_ok());
        assert!(Terms::new(0, 10_000).is_ok());
    }

    #[test]
    fn a_million_shares_come_to_the_whole_and_so_do_their_refunds() {
        let mut chance = StdRng::seed_from_u64(8);
        for _ in 0..AMOUNTS {
            let most =
                *[100, 10_000, 10_000_000, AMOUNT_MAX].get(chance.random_range(0..4)).unwrap();
            let terms = (chance.random_range(0..=5_000), chance.random_range(0..=4_500));
            let terms = Terms::new(terms.0, terms.1).unwrap();
            let share = terms.share(won(chance.random_range(1..=most)));
            assert!(parts(share).into_iter().all(|part| part >= 0), "{share:?}");
            let sum = share.fee + share.fee_vat + share.withholding + share.net();
            assert_eq!(sum, share.gross);

            let (mut left, mut refunds) = (share, 0);
            while left.gross > 0 {
                refunds += 1;
                let is_last = refunds == REFUNDS_MAX;
                let refund = if is_last { left.gross } else { chance.random_range(1..=left.gross) };
                let back = left.give_back(won(refund)).unwrap();
                left = left.less(back);
                assert!(parts(back).into_iter().all(|part| part >= 0), "{share:?} {back:?}");
                assert!(parts(left).into_iter().all(|part| part >= 0), "{share:?} {left:?}");
            }
            assert_eq!(left, Share::default(), "the refunds came to the whole");
        }
    }

    #[test]
    fn a_payment_given_back_won_by_won_comes_to_the_whole() {
        let share = Terms::new(1_000, 330).unwrap().share(won(1_000));
        let mut left = share;
        for _ in 0..1_000 {
            let back = left.give_back(won(1)).unwrap();
            left = left.less(back);
            assert!(parts(left).into_iter().chain(parts(back)).all(|part| part >= 0), "{left:?}");
        }
        assert_eq!(left, Share::default());
    }

    #[test]
    fn the_fee_comes_back_pro_rata() {
        let share = Terms::new(1_000, 0).unwrap().share(won(10_000));
        let half = share.give_back(won(5_000)).unwrap();
        assert_eq!(half, Share { gross: 5_000, fee: 500, fee_vat: 50, withholding: 0 });
        let rest = share.less(half);
        assert_eq!(rest.give_back(won(5_000)).unwrap(), rest);
        assert_eq!(rest.give_back(won(5_001)), Err(ShareError::MoreThanLeft));
    }

    #[test]
    fn what_was_taken_and_what_was_given_back_cancel_out() {
        let share = Share { gross: 10, fee: 3, fee_vat: 1, withholding: 2 };
        assert_eq!(parts(share.negated()), [-10, -3, -1, -2, -4]);
    }
}

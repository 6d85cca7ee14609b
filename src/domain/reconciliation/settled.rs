//! What a provider pays us, line by line: whether it adds up, is ours, and keeps what was agreed.

use super::matching::{Kind, Remote, fee_of, is_agreed};
use super::{Break, Bucket};

/// A line of what a provider paid us: for a charge, or with a minus for what it took back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledLine {
    /// The same for the same line, for ever.
    pub key: String,
    pub order: String,
    /// The charge or refund that it is of.
    pub movement: String,
    pub gross: i64,
    pub fee: i64,
    pub net: i64,
}

/// Whether a line is to be booked, and what is wrong with it. A fee that was not agreed is booked as it was kept: the money
/// has come so.
#[must_use]
pub fn judge(
    line: &SettledLine,
    moved: Option<&Remote>,
    fee_bps: Option<u16>,
) -> (bool, Vec<Break>) {
    let found = |bucket, local_amount, remote_amount, says: &str| Break {
        bucket,
        subject: format!("settled:{}", line.key),
        order: line.order.clone(),
        local_ref: None,
        remote_ref: Some(line.movement.clone()),
        local_amount,
        remote_amount,
        says: says.to_owned(),
    };
    let adds_up = line.gross.checked_sub(line.fee) == Some(line.net);
    if !adds_up {
        let says = "what it paid, what it kept and what it took do not add up";
        let expected = line.gross.saturating_sub(line.fee);
        return (false, vec![found(Bucket::Amount, Some(expected), Some(line.net), says)]);
    }
    let Some(moved) = moved else {
        let says = "it is paid for something that the provider's list does not have";
        return (false, vec![found(Bucket::MissingLocal, None, Some(line.gross), says)]);
    };
    let gross = if moved.kind == Kind::Charge { moved.amount } else { -moved.amount };
    if gross != line.gross {
        let says = "it is paid for another amount than was moved";
        return (false, vec![found(Bucket::Amount, Some(gross), Some(line.gross), says)]);
    }
    let agreed = fee_bps.filter(|_| moved.kind == Kind::Charge).map(|bps| fee_of(gross, bps));
    let breaks = match agreed {
        Some(agreed) if !is_agreed(line.fee, agreed) => {
            let says = "the provider has kept another fee than was agreed";
            vec![found(Bucket::Fee, Some(agreed), Some(line.fee), says)]
        }
        Some(_) | None => Vec::new(),
    };
    (true, breaks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn line(gross: i64, fee: i64, net: i64) -> SettledLine {
        let (key, order, movement) = ("s-1".to_owned(), "md_1".to_owned(), "key".to_owned());
        SettledLine { key, order, movement, gross, fee, net }
    }

    fn moved(kind: Kind, amount: i64) -> Remote {
        let (order, key, at) = ("md_1".to_owned(), "key".to_owned(), Timestamp::from_millis(0));
        Remote { kind, order, key, amount, fee: 0, at }
    }

    #[test]
    fn a_line_that_fits_is_booked_and_says_nothing() {
        let charge = moved(Kind::Charge, 10_000);
        assert_eq!(judge(&line(10_000, 300, 9_700), Some(&charge), Some(300)), (true, vec![]));
        let refund = moved(Kind::Refund, 4_000);
        assert_eq!(judge(&line(-4_000, 0, -4_000), Some(&refund), Some(300)), (true, vec![]));
    }

    #[test]
    fn a_line_that_does_not_fit_says_why() {
        let charge = moved(Kind::Charge, 10_000);
        for (settled, moved, booked, bucket) in [
            (line(10_000, 302, 9_698), Some(&charge), true, Bucket::Fee),
            (line(10_000, 298, 9_702), Some(&charge), true, Bucket::Fee),
            (line(10_000, 300, 9_699), Some(&charge), false, Bucket::Amount),
            (line(9_999, 300, 9_699), Some(&charge), false, Bucket::Amount),
            (line(10_000, 300, 9_700), None, false, Bucket::MissingLocal),
            (line(i64::MIN, 300, 9_700), Some(&charge), false, Bucket::Amount),
        ] {
            let (is_booked, breaks) = judge(&settled, moved, Some(300));
            let buckets: Vec<Bucket> = breaks.iter().map(|it| it.bucket).collect();
            assert_eq!((is_booked, buckets), (booked, vec![bucket]), "{settled:?}");
        }
    }

    #[test]
    fn a_fee_whose_parts_were_rounded_is_the_agreed_one() {
        let charge = moved(Kind::Charge, 10_000);
        for fee in [299, 300, 301] {
            let settled = line(10_000, fee, 10_000 - fee);
            assert_eq!(judge(&settled, Some(&charge), Some(300)), (true, vec![]), "{fee}");
        }
    }

    #[test]
    fn a_fee_about_which_nothing_was_agreed_is_not_compared() {
        let charge = moved(Kind::Charge, 10_000);
        assert_eq!(judge(&line(10_000, 999, 9_001), Some(&charge), None), (true, vec![]));
    }
}

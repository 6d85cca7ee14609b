//! Charges: what a provider says it took, compared with what was agreed.
//!
//! Invariant: a payment becomes what the provider says only where the order, the amount and the currency are those that
//! were agreed. What was taken for another order is nobody's business here, and is not given back.

use serde::{Deserialize, Serialize};

use super::PaymentStatus;
use crate::domain::money::{Amount, Currency};

/// What was agreed with a payer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// Our order, as we named it to the provider.
    pub order: String,
    pub amount: Amount,
    pub currency: Currency,
    pub is_captured_later: bool,
    pub is_by_deposit: bool,
}

/// How a charge stands at its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Open,
    AwaitingDeposit,
    Authorized,
    Captured,
    Failed,
    Canceled,
}

/// A charge as its provider has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported<'r> {
    pub order: &'r str,
    pub amount: Amount,
    pub currency: Currency,
    pub standing: Standing,
}

/// Where a charge leads its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// [`PaymentStatus::Captured`], [`PaymentStatus::Authorized`] or [`PaymentStatus::AwaitingDeposit`].
    Became(PaymentStatus),
    /// Nothing will come of it; a word for whoever looks.
    Over(&'static str),
    /// Something else was taken than was agreed: it has to be given back.
    Conflicted,
    /// Nothing was taken so far.
    Open,
}

/// What a provider says of another order.
pub const NOT_OURS: &str = "payment_key_mismatch";
/// What a provider had taken, and has given back.
pub const GIVEN_BACK: &str = "canceled_at_provider";
/// What its payer has never made, as far as a provider can say.
pub const NOT_CONFIRMED: &str = "not_confirmed";
/// What a provider had refused, without saying why.
pub const REFUSED: &str = "declined";

/// Compares a charge with what was agreed.
#[must_use]
pub fn compare(agreed: &Agreed, reported: &Reported<'_>) -> Verdict {
    if reported.order != agreed.order {
        return Verdict::Over(NOT_OURS);
    }
    let is_agreed = reported.amount == agreed.amount && reported.currency == agreed.currency;
    match reported.standing {
        Standing::Open => Verdict::Open,
        Standing::Failed => Verdict::Over(REFUSED),
        Standing::Canceled => Verdict::Over(GIVEN_BACK),
        Standing::Captured if is_agreed => Verdict::Became(PaymentStatus::Captured),
        Standing::Authorized if is_agreed && agreed.is_captured_later => {
            Verdict::Became(PaymentStatus::Authorized)
        }
        Standing::AwaitingDeposit if is_agreed && agreed.is_by_deposit => {
            Verdict::Became(PaymentStatus::AwaitingDeposit)
        }
        Standing::Captured | Standing::Authorized | Standing::AwaitingDeposit => {
            Verdict::Conflicted
        }
    }
}

/// What is done about a charge of which something was heard, where no workflow takes care of its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    Nothing,
    /// The payment has come so far.
    Become(PaymentStatus),
    /// Nothing will come of the payment any more; a word for whoever looks.
    Close(&'static str),
    /// What was taken is given back, and a payment that is not over is closed first.
    GiveBack,
}

/// What follows for a payment from a verdict about its charge.
#[must_use]
pub fn react(status: PaymentStatus, verdict: Verdict, standing: Standing) -> Reaction {
    match status {
        PaymentStatus::Created | PaymentStatus::AwaitingDeposit | PaymentStatus::Authorized => {
            match verdict {
                Verdict::Became(to) if to != status && status.way(to).is_ok() => {
                    Reaction::Become(to)
                }
                Verdict::Conflicted => Reaction::GiveBack,
                // Its payer may try again until its time is over.
                Verdict::Over(code) if status != PaymentStatus::Created => Reaction::Close(code),
                Verdict::Over(_) | Verdict::Became(_) | Verdict::Open => Reaction::Nothing,
            }
        }
        PaymentStatus::Canceled | PaymentStatus::Failed | PaymentStatus::Expired => {
            let is_ours = verdict != Verdict::Over(NOT_OURS);
            match standing {
                Standing::AwaitingDeposit | Standing::Authorized | Standing::Captured
                    if is_ours =>
                {
                    Reaction::GiveBack
                }
                _ => Reaction::Nothing,
            }
        }
        // A workflow takes care of it, or it was taken; what went back is compared elsewhere.
        PaymentStatus::Confirming
        | PaymentStatus::Unknown
        | PaymentStatus::Conflicted
        | PaymentStatus::Captured
        | PaymentStatus::PartiallyRefunded
        | PaymentStatus::Refunded
        | PaymentStatus::Disputed
        | PaymentStatus::ChargedBack => Reaction::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn won(minor: i64) -> Amount {
        Amount::new(minor).unwrap()
    }

    fn agreed() -> Agreed {
        Agreed {
            order: "md_1".to_owned(),
            amount: won(1_000),
            currency: Currency::KRW,
            is_captured_later: false,
            is_by_deposit: false,
        }
    }

    fn reported(standing: Standing) -> Reported<'static> {
        Reported { order: "md_1", amount: won(1_000), currency: Currency::KRW, standing }
    }

    #[test]
    fn what_was_agreed_becomes_of_it() {
        let captured = compare(&agreed(), &reported(Standing::Captured));
        assert_eq!(captured, Verdict::Became(PaymentStatus::Captured));
        let later = Agreed { is_captured_later: true, ..agreed() };
        let authorized = compare(&later, &reported(Standing::Authorized));
        assert_eq!(authorized, Verdict::Became(PaymentStatus::Authorized));
        let deposit = Agreed { is_by_deposit: true, ..agreed() };
        let awaiting = compare(&deposit, &reported(Standing::AwaitingDeposit));
        assert_eq!(awaiting, Verdict::Became(PaymentStatus::AwaitingDeposit));
    }

    #[test]
    fn another_amount_currency_or_method_is_a_conflict() {
        let captured = reported(Standing::Captured);
        for amount in [1, 999, 1_001] {
            let other = Reported { amount: won(amount), ..captured };
            assert_eq!(compare(&agreed(), &other), Verdict::Conflicted, "{amount}");
        }
        let dollars = Reported { currency: "USD".parse().unwrap(), ..captured };
        assert_eq!(compare(&agreed(), &dollars), Verdict::Conflicted);
        for standing in [Standing::Authorized, Standing::AwaitingDeposit] {
            assert_eq!(compare(&agreed(), &reported(standing)), Verdict::Conflicted);
        }
    }

    #[test]
    fn a_charge_of_another_order_is_not_ours_whatever_was_taken() {
        for standing in [Standing::Captured, Standing::Authorized, Standing::Open] {
            let other = Reported { order: "md_2", ..reported(standing) };
            assert_eq!(compare(&agreed(), &other), Verdict::Over(NOT_OURS));
        }
    }

    #[test]
    fn what_is_over_or_open_is_so_whatever_its_amount() {
        let of = |standing| compare(&agreed(), &Reported { amount: won(5), ..reported(standing) });
        assert_eq!(of(Standing::Failed), Verdict::Over(REFUSED));
        assert_eq!(of(Standing::Canceled), Verdict::Over(GIVEN_BACK));
        assert_eq!(of(Standing::Open), Verdict::Open);
    }

    #[test]
    fn what_comes_too_late_is_given_back_and_changes_nothing() {
        let captured = Verdict::Became(PaymentStatus::Captured);
        for status in [PaymentStatus::Canceled, PaymentStatus::Failed, PaymentStatus::Expired] {
            for standing in [Standing::Captured, Standing::Authorized, Standing::AwaitingDeposit] {
                assert_eq!(react(status, captured, standing), Reaction::GiveBack);
                assert_eq!(react(status, Verdict::Over(NOT_OURS), standing), Reaction::Nothing);
            }
            let given_back = react(status, Verdict::Over(GIVEN_BACK), Standing::Canceled);
            assert_eq!(given_back, Reaction::Nothing);
        }
    }

    #[test]
    fn what_waits_becomes_what_it_can_become() {
        let captured = Verdict::Became(PaymentStatus::Captured);
        for status in [PaymentStatus::Created, PaymentStatus::AwaitingDeposit] {
            let reaction = react(status, captured, Standing::Captured);
            assert_eq!(reaction, Reaction::Become(PaymentStatus::Captured));
            let conflicted = react(status, Verdict::Conflicted, Standing::Captured);
            assert_eq!(conflicted, Reaction::GiveBack);
        }
        let refused = Verdict::Over(REFUSED);
        let created = react(PaymentStatus::Created, refused, Standing::Failed);
        assert_eq!(created, Reaction::Nothing);
        let awaiting = react(PaymentStatus::AwaitingDeposit, refused, Standing::Failed);
        assert_eq!(awaiting, Reaction::Close(REFUSED));
    }

    #[test]
    fn what_a_workflow_takes_care_of_or_was_taken_is_left_alone() {
        for status in PaymentStatus::ALL {
            let reaction = react(status, Verdict::Conflicted, Standing::Captured);
            let is_touched = status.is_final() || reaction == Reaction::GiveBack;
            let is_open = matches!(
                status,
                PaymentStatus::Created | PaymentStatus::AwaitingDeposit | PaymentStatus::Authorized
            );
            assert_eq!(is_touched, is_open || status.is_final(), "{status:?}");
        }
    }
}

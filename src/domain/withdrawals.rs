//! Withdrawals: money that a user takes out, and what has to be so before anybody sends it.
//!
//! The balance is no rule here: the ledger's guard is. Invariant: a withdrawal changes its status through
//! [`WithdrawalStatus::next`] only, and whoever approves one is not who asked for it; the table says so too.

use std::time::Duration;

use super::ids::UserId;
use super::money::Amount;
use super::stored_as;
use super::time::Timestamp;

/// Where a withdrawal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WithdrawalStatus {
    /// Its money is held; it waits for its time, or for somebody to approve it.
    Requested,
    Approved,
    /// Somebody said no; its money is free again.
    Rejected,
    /// Given up by whoever asked for it; its money is free again.
    Canceled,
    /// The provider is being asked, or a bank is moving it.
    Sending,
    /// Nobody knows whether it was sent; its money stays held.
    Unknown,
    Paid,
    /// Certainly not sent; its money is free again.
    Failed,
    /// The bank sent it back; it is in the wallet again.
    Returned,
}

stored_as!(WithdrawalStatus {
    Requested = "requested",
    Approved = "approved",
    Rejected = "rejected",
    Canceled = "canceled",
    Sending = "sending",
    Unknown = "unknown",
    Paid = "paid",
    Failed = "failed",
    Returned = "returned"
});

/// A change of status that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a withdrawal that is {} does not become {}", from.as_str(), to.as_str())]
pub struct IllegalWithdrawal {
    pub from: WithdrawalStatus,
    pub to: WithdrawalStatus,
}

impl WithdrawalStatus {
    pub const ALL: [Self; 9] = [
        Self::Requested,
        Self::Approved,
        Self::Rejected,
        Self::Canceled,
        Self::Sending,
        Self::Unknown,
        Self::Paid,
        Self::Failed,
        Self::Returned,
    ];

    /// What may follow it.
    #[must_use]
    pub const fn followers(self) -> &'static [Self] {
        match self {
            Self::Requested => &[Self::Approved, Self::Rejected, Self::Canceled],
            Self::Approved => &[Self::Sending, Self::Canceled],
            Self::Sending => &[Self::Paid, Self::Failed, Self::Unknown],
            Self::Unknown => &[Self::Paid, Self::Failed],
            Self::Paid => &[Self::Returned],
            Self::Rejected | Self::Canceled | Self::Failed | Self::Returned => &[],
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.followers().is_empty()
    }

    /// The event that tells of a change to it; `None` where only its owner could see it.
    #[must_use]
    pub const fn event(self) -> Option<&'static str> {
        match self {
            Self::Requested => Some("WithdrawalRequested"),
            Self::Approved => Some("WithdrawalApproved"),
            Self::Rejected => Some("WithdrawalRejected"),
            Self::Canceled => Some("WithdrawalCanceled"),
            Self::Paid => Some("WithdrawalPaid"),
            Self::Failed => Some("WithdrawalFailed"),
            Self::Returned => Some("WithdrawalReturned"),
            Self::Sending | Self::Unknown => None,
        }
    }

    /// The status that follows.
    ///
    /// # Errors
    /// [`IllegalWithdrawal`] for one that does not.
    pub fn next(self, to: Self) -> Result<Self, IllegalWithdrawal> {
        if self.followers().contains(&to) {
            Ok(to)
        } else {
            Err(IllegalWithdrawal { from: self, to })
        }
    }
}

/// What an operator lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WithdrawalRules {
    pub amount_min: i64,
    pub amount_max: i64,
    /// Withdrawals that a user asks for in 24 hours, and what they come to.
    pub per_day_count_max: i64,
    pub per_day_sum_max: i64,
    /// Up to so much nobody has to approve it.
    pub approved_up_to: i64,
    /// How long somebody waits who takes money out for the first time, or to a bank account for which somebody has just
    /// vouched.
    pub first_wait: Duration,
}

impl Default for WithdrawalRules {
    fn default() -> Self {
        Self {
            amount_min: 1_000,
            amount_max: 10_000_000,
            per_day_count_max: 5,
            per_day_sum_max: 20_000_000,
            approved_up_to: 1_000_000,
            first_wait: Duration::from_hours(24),
        }
    }
}

/// What is known of somebody who asks for their money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub is_frozen: bool,
    /// Since when it is known that the bank account is their own.
    pub verified_at: Option<Timestamp>,
    /// Whether they were paid before.
    pub was_paid: bool,
    /// What they asked for in the last 24 hours and what was not refused.
    pub count: i64,
    pub sum: i64,
    /// Whether somebody's bank wants back what they were paid.
    pub is_disputed: bool,
}

/// Why a withdrawal is refused at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WithdrawalRefusal {
    #[error("The wallet is frozen.")]
    Frozen,
    #[error("It is not known yet that this bank account is your own.")]
    Unverified,
    #[error("At least {0} can be withdrawn.")]
    TooSmall(i64),
    #[error("At most {0} can be withdrawn at once.")]
    TooLarge(i64),
    #[error("At most {0} withdrawals can be asked for in a day.")]
    TooMany(i64),
    #[error("At most {0} can be withdrawn in a day.")]
    TooMuch(i64),
}

/// How a withdrawal goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Not sent before then.
    pub not_before: Timestamp,
    /// Whether another person has to say yes.
    pub needs_approval: bool,
}

/// What somebody's yes to a withdrawal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yes {
    /// It is approved, and goes when its time has come.
    Approves,
    /// It is approved, and goes at once: so small that one person does.
    ApprovesNow,
    /// It was approved, and goes at once: two people have said so.
    LiftsWait,
}

/// Why somebody's yes does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoYes {
    #[error("Another person has to say that it goes before its time.")]
    SecondPersonNeeded,
    #[error(transparent)]
    WrongStatus(#[from] IllegalWithdrawal),
}

/// What is known of a withdrawal that somebody says yes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub status: WithdrawalStatus,
    pub needs_approval: bool,
    /// Whether its time has not come.
    pub is_early: bool,
    pub approved_by: Option<UserId>,
}

impl Asked {
    /// What a yes of `by` does. What somebody had to approve goes before its time when a second person says so.
    ///
    /// # Errors
    /// [`NoYes`].
    pub fn yes_of(&self, by: UserId) -> Result<Yes, NoYes> {
        let is_approved = self.status == WithdrawalStatus::Approved;
        match (is_approved && self.needs_approval && self.is_early, self.approved_by) {
            (true, Some(first)) if first == by => return Err(NoYes::SecondPersonNeeded),
            (true, _) => return Ok(Yes::LiftsWait),
            (false, _) => {}
        }
        self.status.next(WithdrawalStatus::Approved)?;
        Ok(if self.is_early && !self.needs_approval { Yes::ApprovesNow } else { Yes::Approves })
    }
}

impl WithdrawalRules {
    /// Looks at somebody who asks for an amount.
    ///
    /// # Errors
    /// [`WithdrawalRefusal`].
    pub fn decide(
        &self,
        amount: Amount,
        standing: &Standing,
        now: Timestamp,
    ) -> Result<Decision, WithdrawalRefusal> {
        let minor = amount.minor();
        if standing.is_frozen {
            return Err(WithdrawalRefusal::Frozen);
        }
        let Some(verified_at) = standing.verified_at else {
            return Err(WithdrawalRefusal::Unverified);
        };
        if minor < self.amount_min {
            return Err(WithdrawalRefusal::TooSmall(self.amount_min));
        }
        if minor > self.amount_max {
            return Err(WithdrawalRefusal::TooLarge(self.amount_max));
        }
        if standing.count >= self.per_day_count_max {
            return Err(WithdrawalRefusal::TooMany(self.per_day_count_max));
        }
        if standing.sum.saturating_add(minor) > self.per_day_sum_max {
            return Err(WithdrawalRefusal::TooMuch(self.per_day_sum_max));
        }
        let since = if standing.was_paid { verified_at } else { now };
        let not_before = since.plus(self.first_wait).max(now);
        let needs_approval = standing.is_disputed || minor > self.approved_up_to;
        Ok(Decision { not_before, needs_approval })
    }
}

#[cfg(test)]
mod tests {
    use WithdrawalStatus::{
        Approved, Canceled, Failed, Paid, Rejected, Requested, Returned, Sending, Unknown,
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_262_400_000);
    const DAY: Duration = Duration::from_hours(24);
    const RULES: WithdrawalRules = WithdrawalRules {
        amount_min: 100,
        amount_max: 10_000,
        per_day_count_max: 3,
        per_day_sum_max: 12_000,
        approved_up_to: 5_000,
        first_wait: DAY,
    };
    /// Known for long, and asks for the first time today.
    const KNOWN: Standing = Standing {
        is_frozen: false,
        verified_at: Some(Timestamp::from_millis(0)),
        was_paid: true,
        count: 0,
        sum: 0,
        is_disputed: false,
    };
    /// As the design has them, written down once more.
    const LEGAL: [(WithdrawalStatus, WithdrawalStatus); 11] = [
        (Requested, Approved),
        (Requested, Rejected),
        (Requested, Canceled),
        (Approved, Sending),
        (Approved, Canceled),
        (Sending, Paid),
        (Sending, Failed),
        (Sending, Unknown),
        (Unknown, Paid),
        (Unknown, Failed),
        (Paid, Returned),
    ];

    fn decide(amount: i64, standing: Standing) -> Result<Decision, WithdrawalRefusal> {
        RULES.decide(Amount::new(amount).unwrap(), &standing, NOW)
    }

    #[test]
    fn of_all_pairs_exactly_the_legal_ones_pass() {
        for from in WithdrawalStatus::ALL {
            for to in WithdrawalStatus::ALL {
                let is_legal = LEGAL.contains(&(from, to));
                assert_eq!(from.next(to).is_ok(), is_legal, "{from:?} to {to:?}");
            }
            assert_eq!(WithdrawalStatus::parse(from.as_str()), Some(from));
        }
        let last: Vec<_> =
            WithdrawalStatus::ALL.into_iter().filter(|status| status.is_final()).collect();
        assert_eq!(last, [Rejected, Canceled, Failed, Returned]);
    }

    #[test]
    fn somebody_who_is_known_gets_a_small_amount_at_once() {
        let decision = Decision { not_before: NOW, needs_approval: false };
        assert_eq!(decide(100, KNOWN), Ok(decision));
        assert_eq!(decide(5_000, KNOWN), Ok(decision));
        assert_eq!(decide(5_001, KNOWN), Ok(Decision { needs_approval: true, ..decision }));
    }

    #[test]
    fn the_first_withdrawal_and_a_new_bank_account_wait_for_a_day() {
        let wait = |standing| decide(100, standing).unwrap().not_before;
        assert_eq!(wait(Standing { was_paid: false, ..KNOWN }), NOW.plus(DAY));
        let an_hour_ago = NOW.minus(Duration::from_hours(1));
        let new = Standing { verified_at: Some(an_hour_ago), ..KNOWN };
        assert_eq!(wait(new), an_hour_ago.plus(DAY));
        assert_eq!(wait(Standing { verified_at: Some(NOW.minus(DAY)), ..KNOWN }), NOW);
    }

    #[test]
    fn what_an_operator_does_not_let_through_is_refused() {
        for (amount, standing, refusal) in [
            (100, Standing { is_frozen: true, ..KNOWN }, WithdrawalRefusal::Frozen),
            (100, Standing { verified_at: None, ..KNOWN }, WithdrawalRefusal::Unverified),
            (99, KNOWN, WithdrawalRefusal::TooSmall(100)),
            (10_001, KNOWN, WithdrawalRefusal::TooLarge(10_000)),
            (100, Standing { count: 3, ..KNOWN }, WithdrawalRefusal::TooMany(3)),
            (2_001, Standing { sum: 10_000, ..KNOWN }, WithdrawalRefusal::TooMuch(12_000)),
        ] {
            assert_eq!(decide(amount, standing), Err(refusal));
        }
        assert!(decide(2_000, Standing { sum: 10_000, count: 2, ..KNOWN }).is_ok());
    }

    #[test]
    fn a_yes_lets_a_small_amount_go_at_once_and_a_large_one_with_a_second_person() {
        let [first, second] = [1, 2].map(|n| UserId::from(uuid::Uuid::from_u128(n)));
        let asked = |status, needs_approval, is_early| Asked {
            status,
            needs_approval,
            is_early,
            approved_by: (status == Approved).then_some(first),
        };
        assert_eq!(asked(Requested, false, true).yes_of(first), Ok(Yes::ApprovesNow));
        assert_eq!(asked(Requested, true, true).yes_of(first), Ok(Yes::Approves));
        assert_eq!(asked(Requested, true, false).yes_of(first), Ok(Yes::Approves));
        let early = asked(Approved, true, true);
        assert_eq!(early.yes_of(first), Err(NoYes::SecondPersonNeeded));
        assert_eq!(early.yes_of(second), Ok(Yes::LiftsWait));
        for over in [asked(Approved, true, false), asked(Approved, false, true)] {
            assert!(matches!(over.yes_of(second), Err(NoYes::WrongStatus(_))), "{over:?}");
        }
        assert!(asked(Sending, true, true).yes_of(second).is_err());
    }
}

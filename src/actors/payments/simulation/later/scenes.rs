//! Scenes: what becomes of a payment that is not taken at once, and what the outside does about it at which turn.

use std::time::Duration;

use crate::providers::payments::DeclineCode;
use crate::providers::payments::fake::faults::{Fault, Operation};
use crate::providers::payments::fake::payer::Method;

/// Something that a payer, a shop or the provider does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// The payer's transfer arrives, if the account is open.
    Deposit,
    /// The same, tried until it is.
    DepositAtOnce,
    Capture,
    Cancel,
    /// The provider lets go by itself.
    LetGoThere,
    /// The provider takes it, and nobody here has asked it to.
    TakeAnyway,
}

/// What becomes of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::actors::payments::simulation) enum Scene {
    /// A transfer comes, and is told of.
    Deposited,
    /// It comes before anybody here knows that the account is open.
    DepositedAtOnce,
    /// Nobody is told of it.
    DepositedUnheard,
    /// It comes, and parts of it go back to an account.
    DepositReturned,
    /// Its payer gives it up.
    DepositVoided,
    /// Its payer gives it up, and the transfer comes meanwhile.
    DepositVoidedTooLate,
    /// It does not come in time.
    DepositExpired,
    /// It comes when its time is over.
    DepositTooLate,
    /// Set aside, and taken.
    Captured,
    /// Set aside, and no longer there when it is to be taken.
    Lapsed,
    /// Another amount is taken of it.
    CapturedOtherwise,
    /// Another amount is taken of it, and not given back until somebody has looked.
    CapturedOtherwiseAndKept,
    /// Set aside, and voided.
    Voided,
    /// The provider does not void it.
    NotVoided,
    /// The provider lets go of it by itself.
    LetGoThere,
    /// Given up before it was paid, and taken all the same.
    TakenAfterwards,
    /// The same, and the provider does not give it back until somebody has looked.
    TakenAndKept,
}

impl Scene {
    pub(super) const ALL: [Self; 17] = [
        Self::Deposited,
        Self::Captured,
        Self::TakenAfterwards,
        Self::DepositVoidedTooLate,
        Self::DepositTooLate,
        Self::Voided,
        Self::CapturedOtherwiseAndKept,
        Self::DepositReturned,
        Self::TakenAndKept,
        Self::DepositedAtOnce,
        Self::LetGoThere,
        Self::DepositVoided,
        Self::Lapsed,
        Self::DepositExpired,
        Self::NotVoided,
        Self::DepositedUnheard,
        Self::CapturedOtherwise,
    ];

    /// One after the other, by a number.
    pub(super) fn of(number: u64) -> Self {
        let count = u64::try_from(Self::ALL.len()).unwrap();
        Self::ALL[usize::try_from(number % count).unwrap()]
    }

    pub(super) const fn method(self) -> Method {
        match self {
            Self::Deposited
            | Self::DepositedAtOnce
            | Self::DepositedUnheard
            | Self::DepositReturned
            | Self::DepositVoided
            | Self::DepositVoidedTooLate
            | Self::DepositExpired
            | Self::DepositTooLate => Method::VirtualAccount,
            _ => Method::Card,
        }
    }

    pub(super) const fn is_captured_later(self) -> bool {
        matches!(self.method(), Method::Card) && !self.is_given_up()
    }

    /// Whether its payer gives it up instead of confirming it.
    pub(super) const fn is_given_up(self) -> bool {
        matches!(self, Self::TakenAfterwards | Self::TakenAndKept)
    }

    /// How much time passes before anything more is done.
    pub(super) const fn passes(self) -> Duration {
        match self {
            Self::DepositExpired | Self::DepositTooLate => Duration::from_hours(8 * 24),
            Self::DepositedUnheard => Duration::from_mins(61),
            _ => Duration::ZERO,
        }
    }

    /// What goes wrong at the provider, besides what does by chance.
    pub(super) fn planned(self) -> Vec<(Operation, Fault)> {
        let not_back = (Operation::Cancel, Fault::Declined(DeclineCode::NotRefundable));
        let otherwise = (Operation::Capture, Fault::WrongAmount);
        match self {
            Self::Lapsed => {
                vec![(Operation::Capture, Fault::Declined(DeclineCode::CardDeclined))]
            }
            Self::CapturedOtherwise => vec![otherwise],
            Self::CapturedOtherwiseAndKept => vec![otherwise, not_back],
            Self::NotVoided | Self::TakenAndKept => vec![not_back],
            _ => Vec::new(),
        }
    }

    /// What is done while it is being confirmed, or given up.
    pub(super) fn deeds_at_first(self) -> Vec<(usize, Deed)> {
        match self {
            Self::DepositedAtOnce => vec![(0, Deed::DepositAtOnce)],
            _ => Vec::new(),
        }
    }

    /// What is done then, each with the turn before which it is. `drawn` is a large number.
    pub(super) fn deeds(self, drawn: u64) -> Vec<(usize, Deed)> {
        let below = |shift: u32, turns: u64| usize::try_from((drawn >> shift) % turns).unwrap();
        let soon = below(0, 8);
        match self {
            Self::Deposited | Self::DepositReturned => vec![(soon, Deed::Deposit)],
            Self::DepositVoided => vec![(soon, Deed::Cancel)],
            Self::DepositVoidedTooLate => {
                vec![(soon, Deed::Cancel), (soon + 1 + below(8, 16), Deed::Deposit)]
            }
            Self::DepositTooLate => vec![(below(8, 40), Deed::Deposit)],
            Self::Captured
            | Self::Lapsed
            | Self::CapturedOtherwise
            | Self::CapturedOtherwiseAndKept => vec![(soon, Deed::Capture)],
            Self::Voided | Self::NotVoided => vec![(soon, Deed::Cancel)],
            Self::LetGoThere => vec![(soon, Deed::LetGoThere)],
            Self::TakenAfterwards | Self::TakenAndKept => vec![(soon, Deed::TakeAnyway)],
            Self::DepositedAtOnce | Self::DepositedUnheard | Self::DepositExpired => Vec::new(),
        }
    }
}

//! What goes wrong at the fake provider: by script, by amount or by chance, in that order.
//!
//! The last three digits of an amount say what becomes of it, as in the sandboxes of real providers. Each of them strikes
//! the first call with a key, so that whoever tries again gets on; what is refused stays refused.
//!
//! | digits | what happens |
//! |---|---|
//! | 911, 912 | nobody answers in time: nothing was done; it was done |
//! | 913, 914 | 500: nothing was done; it was done |
//! | 915, 916 | a 4xx code that is on no list: nothing was done; it was done |
//! | 917 | nobody answers, and it is done three minutes later |
//! | 918 | nobody answers; it was done, and is not shown for three minutes |
//! | 919 | nobody answers; it was done, and look-ups go unanswered for three minutes |
//! | 921 | it is done twice, and told once |
//! | 922 | it is done with one minor unit less |
//! | 931 to 936 | declined: card, funds, limit, method, authentication, given up by the payer |
//! | 941 | the payer gets a virtual account, and pays into it later |
//! | 951, 952 | a payout takes three minutes; it is sent back after three minutes |
//! | 953, 954 | a payout is declined: bank account; refused |
//! | 961 | it is disputed at once |
//! | 962, 963 | it is disputed at once, and after three minutes that is won; lost |
//! | 971, 972 | of a charge one minor unit more is kept than was agreed; it is not paid to us |

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use super::kept::Kept;
use crate::domain::money::Amount;
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::workflows::EffectKey;
use crate::providers::payments::{DeclineCode, RemoteSettlement};

/// Calls that are remembered to have been struck.
const STRUCK_MAX: usize = 50_000;
/// The longest that what went wrong by chance or by amount stays wrong. Less than any provider's `absent_after`.
const WRONG_FOR_MAX: Duration = Duration::from_mins(4);
pub(super) const WRONG_FOR: Duration = Duration::from_mins(3);
const DEPOSIT_DIGITS: i64 = 941;
const SETTLED_WRONG_DIGITS: i64 = 971;
const SETTLED_NEVER_DIGITS: i64 = 972;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Prepare,
    Confirm,
    Capture,
    Cancel,
    PayOut,
    /// Of any object. Whatever goes wrong with it, nobody knows.
    LookUp,
    List,
}

/// How an answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    Timeout,
    ServerError,
    /// A 4xx whose code is on no list of refusals.
    UnlistedCode,
}

/// Whether what was asked for had been done by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    Before,
    After,
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Lost(Loss, Moment),
    /// Our keys are refused. Nothing is done.
    Misconfigured,
    Declined(DeclineCode),
    /// It is done twice, and told once.
    Doubled,
    /// It is done with one minor unit less.
    WrongAmount,
    /// Nobody answers, and it is done so much later.
    Late(Duration),
    /// Nobody answers; it was done, and is not shown for so long.
    Hidden(Duration),
    /// Nobody answers; it was done, and look-ups of it go unanswered for so long.
    Mute(Duration),
    /// A refund takes so long, and is shown as under way until then.
    Slow(Duration),
    /// A payout takes so long.
    PaidLater(Duration),
    /// A payout is made, and sent back so much later.
    Returned(Duration),
    /// It is taken and disputed at once, and three minutes later that ends so, if at all.
    Disputed(Option<DisputeStatus>),
}

impl Fault {
    /// What is given where so much was asked for.
    pub(super) fn given(asked: Amount, fault: Option<Self>) -> Amount {
        match fault {
            Some(Self::WrongAmount) => {
                Amount::new(asked.minor().saturating_sub(1)).unwrap_or(asked)
            }
            Some(_) | None => asked,
        }
    }
}

const LOSSES: [Fault; 6] = [
    Fault::Lost(Loss::Timeout, Moment::Before),
    Fault::Lost(Loss::Timeout, Moment::After),
    Fault::Lost(Loss::ServerError, Moment::Before),
    Fault::Lost(Loss::ServerError, Moment::After),
    Fault::Lost(Loss::UnlistedCode, Moment::Before),
    Fault::Lost(Loss::UnlistedCode, Moment::After),
];

/// Decides what goes wrong. The default lets everything go well.
pub struct Faults {
    /// What becomes of the next calls; `None` goes well.
    script: BTreeMap<Operation, VecDeque<Option<Fault>>>,
    has_amounts: bool,
    struck: Kept<(Operation, EffectKey), ()>,
    /// Calls of a hundred.
    percent: u32,
    chance: StdRng,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            script: BTreeMap::new(),
            has_amounts: false,
            struck: Kept::new(STRUCK_MAX),
            percent: 0,
            chance: StdRng::seed_from_u64(0),
        }
    }
}

impl Faults {
    /// Some amounts go wrong, as in the table above.
    #[must_use]
    pub fn by_amount() -> Self {
        Self { has_amounts: true, ..Self::default() }
    }

    /// So many calls of a hundred go wrong, in the ways in which nothing is lost for good: answers get lost, effects come
    /// late or are hidden. The same seed plays the same way again.
    #[must_use]
    pub fn by_chance(percent: u32, seed: u64) -> Self {
        Self { percent: percent.min(100), chance: StdRng::seed_from_u64(seed), ..Self::default() }
    }

    /// From now on so many calls of a hundred go wrong, as by [`Self::by_chance`]; what else goes wrong stays as it is.
    pub fn set_chance(&mut self, percent: u32, seed: u64) {
        self.percent = percent.min(100);
        self.chance = StdRng::seed_from_u64(seed);
    }

    /// What becomes of the next calls of an operation, after what was planned before; `None` goes well.
    pub fn plan(&mut self, operation: Operation, next: impl IntoIterator<Item = Option<Fault>>) {
        self.script.entry(operation).or_default().extend(next);
    }

    /// What becomes of a call, and of its amount where it has one.
    pub(super) fn next(
        &mut self,
        operation: Operation,
        subject: Option<(Amount, &EffectKey)>,
    ) -> Option<Fault> {
        if let Some(planned) = self.script.get_mut(&operation).and_then(VecDeque::pop_front) {
            return planned;
        }
        if self.has_amounts
            && let Some((amount, key)) = subject
            && let Some(fault) = of_amount(operation, amount)
            && self.struck.insert((operation, key.clone()), ())
        {
            return Some(fault);
        }
        if self.percent > 0 && self.chance.random_ratio(self.percent, 100) {
            return self.any(operation);
        }
        None
    }

    /// A call was struck before.
    pub(super) fn remember(&mut self, operation: Operation, key: &EffectKey) {
        self.struck.insert((operation, key.clone()), ());
    }

    /// Whether whoever pays this gets a virtual account.
    pub(super) fn has_deposit(&self, amount: Amount) -> bool {
        self.has_amounts && last_digits(amount) == DEPOSIT_DIGITS
    }

    /// What arrives of a list of webhooks: where things go wrong by chance, in any order, and some of them twice.
    pub(super) fn deliver<T: Clone>(&mut self, mut webhooks: Vec<T>) -> Vec<T> {
        if self.percent == 0 {
            return webhooks;
        }
        let (percent, chance) = (self.percent, &mut self.chance);
        let doubles: Vec<T> =
            webhooks.iter().filter(|_| chance.random_ratio(percent, 100)).cloned().collect();
        webhooks.extend(doubles);
        webhooks.shuffle(chance);
        webhooks
    }

    /// What is paid to us of a charge; `None` where it is forgotten.
    pub(super) fn settled(&self, line: RemoteSettlement) -> Option<RemoteSettlement> {
        match line.gross.checked_rem(1_000) {
            Some(SETTLED_WRONG_DIGITS) if self.has_amounts => {
                Some(RemoteSettlement { fee: line.fee + 1, net: line.net - 1, ..line })
            }
            Some(SETTLED_NEVER_DIGITS) if self.has_amounts => None,
            Some(_) | None => Some(line),
        }
    }

    fn any(&mut self, operation: Operation) -> Option<Fault> {
        match operation {
            Operation::Prepare | Operation::LookUp | Operation::List => {
                Some(Fault::Lost(Loss::Timeout, Moment::Before))
            }
            Operation::Confirm | Operation::Capture | Operation::Cancel | Operation::PayOut => {
                match self.chance.random_range(0..8) {
                    0 => Some(Fault::Late(self.while_wrong())),
                    1 => Some(Fault::Hidden(self.while_wrong())),
                    _ => LOSSES.choose(&mut self.chance).copied(),
                }
            }
        }
    }

    fn while_wrong(&mut self) -> Duration {
        WRONG_FOR_MAX.mul_f64(self.chance.random_range(0.0..1.0))
    }
}

fn last_digits(amount: Amount) -> i64 {
    amount.minor().checked_rem(1_000).unwrap_or_default()
}

fn of_amount(operation: Operation, amount: Amount) -> Option<Fault> {
    let digits = last_digits(amount);
    match operation {
        Operation::Confirm => of_any(digits).or_else(|| of_charge(digits)),
        Operation::PayOut => of_any(digits).or_else(|| of_payout(digits)),
        Operation::Capture | Operation::Cancel => of_any(digits),
        Operation::Prepare | Operation::LookUp | Operation::List => None,
    }
}

const fn of_any(digits: i64) -> Option<Fault> {
    Some(match digits {
        911 => Fault::Lost(Loss::Timeout, Moment::Before),
        912 => Fault::Lost(Loss::Timeout, Moment::After),
        913 => Fault::Lost(Loss::ServerError, Moment::Before),
        914 => Fault::Lost(Loss::ServerError, Moment::After),
        915 => Fault::Lost(Loss::UnlistedCode, Moment::Before),
        916 => Fault::Lost(Loss::UnlistedCode, Moment::After),
        917 => Fault::Late(WRONG_FOR),
        918 => Fault::Hidden(WRONG_FOR),
        919 => Fault::Mute(WRONG_FOR),
        921 => Fault::Doubled,
        922 => Fault::WrongAmount,
        _ => return None,
    })
}

const fn of_charge(digits: i64) -> Option<Fault> {
    let becomes = match digits {
        961 => return Some(Fault::Disputed(None)),
        962 => Some(DisputeStatus::Won),
        963 => Some(DisputeStatus::Lost),
        _ => None,
    };
    if becomes.is_some() {
        return Some(Fault::Disputed(becomes));
    }
    Some(Fault::Declined(match digits {
        931 => DeclineCode::CardDeclined,
        932 => DeclineCode::InsufficientFunds,
        933 => DeclineCode::LimitExceeded,
        934 => DeclineCode::InvalidPaymentMethod,
        935 => DeclineCode::AuthenticationFailed,
        936 => DeclineCode::CanceledByPayer,
        _ => return None,
    }))
}

const fn of_payout(digits: i64) -> Option<Fault> {
    Some(match digits {
        951 => Fault::PaidLater(WRONG_FOR),
        952 => Fault::Returned(WRONG_FOR),
        953 => Fault::Declined(DeclineCode::InvalidBankAccount),
        954 => Fault::Declined(DeclineCode::PayoutRefused),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn won(minor: i64) -> Amount {
        Amount::new(minor).unwrap()
    }

    #[test]
    fn an_amount_strikes_the_first_call_with_a_key() {
        let mut faults = Faults::by_amount();
        let (first, second) = (EffectKey::of("first"), EffectKey::of("second"));
        let timeout = Some(Fault::Lost(Loss::Timeout, Moment::After));

        assert_eq!(faults.next(Operation::Confirm, Some((won(10_912), &first))), timeout);
        assert_eq!(faults.next(Operation::Confirm, Some((won(10_912), &first))), None);
        assert_eq!(faults.next(Operation::Confirm, Some((won(10_912), &second))), timeout);
        assert_eq!(faults.next(Operation::Cancel, Some((won(10_912), &first))), timeout);
    }

    #[test]
    fn ordinary_amounts_and_other_operations_go_well() {
        let mut faults = Faults::by_amount();
        let key = EffectKey::of("key");
        for minor in [1, 900, 990, 9_900, 10_000, 999_999] {
            assert_eq!(faults.next(Operation::Confirm, Some((won(minor), &key))), None, "{minor}");
        }
        assert_eq!(faults.next(Operation::Cancel, Some((won(931), &key))), None);
        assert_eq!(faults.next(Operation::Confirm, Some((won(953), &key))), None);
        assert_eq!(faults.next(Operation::LookUp, None), None);
    }

    #[test]
    fn a_script_is_played_in_its_order_and_before_everything_else() {
        let mut faults = Faults::by_chance(100, 1);
        faults.plan(Operation::Confirm, [Some(Fault::Doubled), None]);
        faults.plan(Operation::Confirm, [Some(Fault::Misconfigured)]);

        assert_eq!(faults.next(Operation::Confirm, None), Some(Fault::Doubled));
        assert_eq!(faults.next(Operation::Confirm, None), None);
        assert_eq!(faults.next(Operation::Confirm, None), Some(Fault::Misconfigured));
        assert!(faults.next(Operation::Confirm, None).is_some(), "by chance again");
    }

    #[test]
    fn a_seed_plays_the_same_way_again_at_about_its_rate() {
        let play = |seed| {
            let mut faults = Faults::by_chance(20, seed);
            (0..1_000).map(|_| faults.next(Operation::Confirm, None)).collect::<Vec<_>>()
        };
        assert_eq!(play(7), play(7));
        assert_ne!(play(7), play(8));
        let wrong = play(7).iter().flatten().count();
        assert!((150..250).contains(&wrong), "{wrong}");
    }

    #[test]
    fn some_charges_are_paid_with_another_fee_or_never() {
        let line = |gross: i64| RemoteSettlement {
            key: "s".to_owned(),
            order: "md_1".to_owned(),
            movement: "key".to_owned(),
            gross,
            fee: 30,
            net: gross - 30,
        };
        let faults = Faults::by_amount();
        assert_eq!(faults.settled(line(10_000)), Some(line(10_000)));
        let wrong = faults.settled(line(10_971)).unwrap();
        assert_eq!((wrong.fee, wrong.net), (31, 10_940));
        assert_eq!(faults.settled(line(10_972)), None);
        assert_eq!(Faults::default().settled(line(10_972)), Some(line(10_972)));
    }

    #[test]
    fn webhooks_arrive_in_any_order_and_some_of_them_twice() {
        let sent: Vec<u32> = (0..50).collect();
        assert_eq!(Faults::default().deliver(sent.clone()), sent);

        let mut arrived = Faults::by_chance(30, 3).deliver(sent.clone());
        assert!(arrived.len() > sent.len());
        assert!(!arrived.is_sorted());
        arrived.sort_unstable();
        arrived.dedup();
        assert_eq!(arrived, sent, "none is lost");
    }
}

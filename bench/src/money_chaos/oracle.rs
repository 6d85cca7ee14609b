//! The oracle: what everybody was promised, what the database says, what the provider moved and what was told of it must
//! be the same money.
//!
//! Invariant: the provider's movements are the truth; everything else is held against them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use uuid::Uuid;

use super::journal::{Entry, Promise};
use super::provider::{Movement, MovementKind};
use super::truth::{Change, Counters, Event, Payment, Truth};

/// A wallet as its owner is shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    pub user: Uuid,
    pub available: i64,
    pub pending: i64,
    pub held: i64,
    pub debt: i64,
    /// What was in it before the run.
    pub opening: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Somebody was promised something that is not so.
    Lost,
    /// Something has happened twice.
    Doubled,
    /// Two of those who count money do not come to the same.
    Unbalanced,
    /// Something is not over that has to be.
    Stuck,
    /// A change was not told of, or not once, or not in its order.
    Untold,
    /// A repeat was answered otherwise.
    Unlike,
    /// A secret stands where somebody may read it.
    Leaked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    words: String,
}

#[derive(Debug)]
pub struct Oracle<'t> {
    truth: &'t Truth,
    movements: &'t [Movement],
    pub violations: Vec<Violation>,
}

impl<'t> Oracle<'t> {
    pub fn new(truth: &'t Truth, movements: &'t [Movement]) -> Self {
        Self { truth, movements, violations: Vec::new() }
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }

    /// Looks at everything.
    pub fn judge(&mut self, entries: &[Entry], wallets: &[Shown]) {
        self.look_at_payments();
        self.look_at_withdrawals();
        self.look_at_ledger();
        self.look_at_what_is_left();
        self.look_at_events();
        for entry in entries {
            self.look_at_promises(entry);
            self.look_at_repeats(entry);
        }
        self.look_for_strays(entries);
        for wallet in wallets {
            self.look_at_wallet(wallet);
        }
    }

    /// What the provider moved for an order is what the ledger and the payment say.
    fn look_at_payments(&mut self) {
        let mut moved: HashMap<&str, Vec<&Movement>> = HashMap::new();
        for movement in self.movements {
            moved.entry(&movement.order).or_default().push(movement);
        }
        for (id, payment) in &self.truth.payments {
            let of_it = moved.remove(payment.provider_order.as_str()).unwrap_or_default();
            let charges = of_it.iter().filter(|it| it.kind == MovementKind::Charge).count();
            if charges > 1 {
                self.violate(Kind::Doubled, format!("payment {id} was charged {charges} times"));
            }
            let sum: i64 = of_it.iter().map(|it| signed(it)).sum();
            let booked = self.truth.receivable_of(*id);
            let Payment { captured, refunded, .. } = payment;
            if sum != booked || booked != captured - refunded {
                let words = format!(
                    "payment {id}: the provider moved {sum}, the ledger has {booked}, the payment {captured} less {refunded}"
                );
                self.violate(Kind::Unbalanced, words);
            }
            let given_back: i64 = self.refunds_of(*id);
            if given_back != *refunded {
                let words =
                    format!("payment {id}: {refunded} refunded, by refunds of {given_back}");
                self.violate(Kind::Unbalanced, words);
            }
            if payment.is_under_way || payment.reserved != 0 {
                self.violate(Kind::Stuck, format!("payment {id}: {payment:?}"));
            }
        }
        for (order, movements) in moved {
            let is_payout = movements.iter().all(|it| it.kind == MovementKind::PayOut);
            if !is_payout {
                self.violate(
                    Kind::Unbalanced,
                    format!("nobody knows order {order} of the provider"),
                );
            }
        }
    }

    fn refunds_of(&self, payment: Uuid) -> i64 {
        let refunds = self.truth.refunds.values();
        let of_it = refunds.filter(|it| it.payment == payment && it.status == "succeeded");
        of_it.map(|it| it.amount).sum()
    }

    /// What is paid was paid out once, and nothing else was.
    fn look_at_withdrawals(&mut self) {
        let mut paid: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for movement in self.movements.iter().filter(|it| it.kind == MovementKind::PayOut) {
            paid.entry(&movement.order).or_default().push(movement.amount);
        }
        for (id, withdrawal) in &self.truth.withdrawals {
            let payouts = paid.remove(id.to_string().as_str()).unwrap_or_default();
            if payouts.len() > 1 {
                let times = payouts.len();
                self.violate(Kind::Doubled, format!("withdrawal {id} was paid out {times} times"));
            }
            let expected = if withdrawal.status == "paid" { withdrawal.amount } else { 0 };
            let (sum, booked) = (payouts.iter().sum::<i64>(), -self.truth.receivable_of(*id));
            if sum != expected || booked != expected {
                let words = format!(
                    "withdrawal {id}: the provider paid {sum}, the ledger has {booked}, and it is {withdrawal:?}"
                );
                self.violate(Kind::Unbalanced, words);
            }
        }
        for order in paid.keys() {
            self.violate(Kind::Doubled, format!("nobody asked for the payout {order}"));
        }
    }

    /// Debits are credits, counters are what transfers come to, and no hold is open.
    fn look_at_ledger(&mut self) {
        let folded = self.truth.folded();
        let mut all = Counters::default();
        for (id, account) in &self.truth.accounts {
            let of_transfers = folded.get(id).copied().unwrap_or_default();
            if of_transfers != account.counters {
                let words = format!(
                    "{}: counted {:?}, and its transfers come to {of_transfers:?}",
                    account.code, account.counters
                );
                self.violate(Kind::Unbalanced, words);
            }
            all.debits_posted += account.counters.debits_posted;
            all.credits_posted += account.counters.credits_posted;
            all.debits_pending += account.counters.debits_pending;
            all.credits_pending += account.counters.credits_pending;
        }
        if all.debits_posted != all.credits_posted || all.debits_pending != all.credits_pending {
            self.violate(Kind::Unbalanced, format!("the books come to {all:?}"));
        }
        let resolved: HashSet<Uuid> =
            self.truth.transfers.iter().filter_map(|transfer| transfer.hold).collect();
        let transfers = self.truth.transfers.iter();
        let open: Vec<Uuid> = transfers
            .filter(|transfer| transfer.phase == "pending" && !resolved.contains(&transfer.id))
            .map(|transfer| transfer.reference)
            .collect();
        for reference in open {
            self.violate(Kind::Stuck, format!("something is held for {reference}"));
        }
    }

    fn look_at_what_is_left(&mut self) {
        for workflow in &self.truth.unfinished {
            self.violate(Kind::Stuck, workflow.clone());
        }
        for (id, refund) in &self.truth.refunds {
            if !["succeeded", "failed"].contains(&refund.status.as_str()) {
                self.violate(Kind::Stuck, format!("refund {id}: {refund:?}"));
            }
        }
        for (id, withdrawal) in &self.truth.withdrawals {
            if !["paid", "failed", "canceled", "rejected"].contains(&withdrawal.status.as_str()) {
                self.violate(Kind::Stuck, format!("withdrawal {id}: {withdrawal:?}"));
            }
        }
    }

    /// Each change that has an event has one, and they come in the order of the changes.
    fn look_at_events(&mut self) {
        let mut told: HashMap<Uuid, Vec<&Event>> = HashMap::new();
        for event in &self.truth.events {
            told.entry(event.subject).or_default().push(event);
        }
        for (id, changes) in &self.truth.changes {
            let is_payment = self.truth.payments.contains_key(id);
            let expected: Vec<(&str, i64)> = changes
                .iter()
                .filter_map(|change| Some((event_of(is_payment, change)?, change.seq)))
                .collect();
            let of_it = told.get(id).map(Vec::as_slice).unwrap_or_default();
            let heard: Vec<(&str, i64)> = of_it
                .iter()
                .map(|event| (event.name.as_str(), event.seq.unwrap_or_default()))
                .collect();
            if heard != expected {
                self.violate(Kind::Untold, format!("{id}: told {heard:?}, and not {expected:?}"));
            }
            let follows = changes
                .windows(2)
                .all(|two| matches!(two, [one, other] if other.from.as_ref() == Some(&one.to)));
            if !follows || changes.first().is_some_and(|first| first.from.is_some()) {
                self.violate(Kind::Lost, format!("{id}: its history has a hole: {changes:?}"));
            }
        }
    }

    /// Whatever anybody was promised is so.
    fn look_at_promises(&mut self, entry: &Entry) {
        for promise in entry.promises() {
            if let Some(words) = self.broken(&promise) {
                self.violate(Kind::Lost, format!("{}: {promise:?}, but {words}", entry.request));
            }
        }
    }

    /// How a promise is not kept.
    fn broken(&self, promise: &Promise) -> Option<String> {
        match promise {
            Promise::Begun { payment, amount } => match self.truth.payments.get(payment) {
                Some(found) if found.amount == *amount => None,
                found => Some(format!("it is {found:?}")),
            },
            Promise::Captured { payment, amount } => match self.truth.payments.get(payment) {
                Some(found) if found.captured == *amount => None,
                found => Some(format!("it is {found:?}")),
            },
            Promise::NotTaken { payment } => match self.truth.payments.get(payment) {
                Some(found) if found.captured == 0 => None,
                found => Some(format!("it is {found:?}")),
            },
            Promise::Refunded { payment, refund, amount } => match self.truth.refunds.get(refund) {
                Some(found)
                    if found.payment == *payment
                        && found.amount == *amount
                        && found.status == "succeeded" =>
                {
                    None
                }
                found => Some(format!("it is {found:?}")),
            },
            Promise::Released { payment, gross } => {
                let mut items = self.truth.items.iter();
                // A repeat tells what is left after refunds.
                let is_there = items.any(|item| {
                    item.payment == *payment && item.is_earning && item.gross >= *gross
                });
                (!is_there).then(|| "nobody has earned it".to_owned())
            }
            Promise::Withdrawn { withdrawal, amount } => {
                match self.truth.withdrawals.get(withdrawal) {
                    Some(found) if found.amount == *amount => None,
                    found => Some(format!("it is {found:?}")),
                }
            }
            Promise::WithdrawalCanceled { withdrawal } => {
                match self.truth.withdrawals.get(withdrawal) {
                    Some(found) if found.status == "canceled" => None,
                    found => Some(format!("it is {found:?}")),
                }
            }
        }
    }

    /// What has come to its end is answered alike for ever, to the byte; a withdrawal stays the same one.
    fn look_at_repeats(&mut self, entry: &Entry) {
        if entry.request.key.is_none() {
            return;
        }
        let effects: BTreeSet<Uuid> = entry
            .promises()
            .iter()
            .map(|promise| match promise {
                Promise::Withdrawn { withdrawal, .. } => *withdrawal,
                Promise::Refunded { refund, .. } => *refund,
                Promise::Begun { payment, .. }
                | Promise::Captured { payment, .. }
                | Promise::NotTaken { payment }
                | Promise::Released { payment, .. } => *payment,
                Promise::WithdrawalCanceled { withdrawal } => *withdrawal,
            })
            .collect();
        if effects.len() > 1 {
            self.violate(Kind::Doubled, format!("{} made {effects:?}", entry.request));
        }
        if entry.request.what() == "withdraw" {
            return;
        }
        let mut last = entry.answers.iter().filter(|answer| answer.is_final());
        let Some(first) = last.next() else {
            self.violate(Kind::Stuck, format!("{} was never answered", entry.request));
            return;
        };
        if let Some(other) =
            last.find(|other| (other.status, &other.text) != (first.status, &first.text))
        {
            let words = format!(
                "{}: {} {}, and then {} {}",
                entry.request, first.status, first.text, other.status, other.text
            );
            self.violate(Kind::Unlike, words);
        }
    }

    /// Nothing is there that nobody asked for.
    fn look_for_strays(&mut self, entries: &[Entry]) {
        let mut promised: HashSet<Uuid> = HashSet::new();
        for promise in entries.iter().flat_map(Entry::promises) {
            match promise {
                Promise::Begun { payment, .. } => promised.insert(payment),
                Promise::Withdrawn { withdrawal, .. } => promised.insert(withdrawal),
                _ => false,
            };
        }
        let known = self.truth.payments.keys().chain(self.truth.withdrawals.keys());
        let strays: Vec<Uuid> = known.filter(|id| !promised.contains(id)).copied().collect();
        for id in strays {
            self.violate(Kind::Doubled, format!("nobody was told of {id}"));
        }
    }

    /// What its owner is shown is what the books say, and what was earned less what was paid out.
    fn look_at_wallet(&mut self, shown: &Shown) {
        let Shown { user, available, pending, held, debt, opening } = *shown;
        let counters = |part: &str| self.truth.counters(&format!("user:{user}:{part}"));
        let (of_available, of_pending, of_debt) =
            (counters("available"), counters("pending"), counters("debt"));
        let free = |it: Counters| it.credits_posted - it.debits_posted - it.debits_pending;
        let booked = (
            free(of_available),
            free(of_pending),
            of_available.debits_pending,
            of_debt.debits_posted - of_debt.credits_posted,
        );
        if booked != (available, pending, held, debt) {
            self.violate(Kind::Unbalanced, format!("{shown:?}, and the books say {booked:?}"));
        }
        let items = self.truth.items.iter().filter(|item| item.payee == Some(user));
        let earned: i64 = items.map(|item| item.net).sum();
        let withdrawals = self.truth.withdrawals.values();
        let paid = withdrawals.filter(|it| it.user == user && it.status == "paid");
        let paid: i64 = paid.map(|it| it.amount).sum();
        if available + pending + held - debt != opening + earned - paid {
            let words = format!("{shown:?}, but {earned} was earned and {paid} paid out");
            self.violate(Kind::Unbalanced, words);
        }
    }

    pub fn violate(&mut self, kind: Kind, words: String) {
        self.violations.push(Violation { kind, words });
    }
}

fn signed(movement: &Movement) -> i64 {
    match movement.kind {
        MovementKind::Charge => movement.amount,
        MovementKind::Cancel => -movement.amount,
        MovementKind::PayOut => 0,
    }
}

/// The event that tells of a change, as the documentation has it; `None` where there is none.
fn event_of(is_payment: bool, change: &Change) -> Option<&'static str> {
    Some(match (is_payment, change.to.as_str()) {
        (true, "created") => "PaymentCreated",
        (true, "awaiting_deposit") => "PaymentAwaitingDeposit",
        (true, "authorized") => "PaymentAuthorized",
        (true, "captured") => "PaymentCompleted",
        (true, "failed") => "PaymentFailed",
        (true, "canceled") => "PaymentCanceled",
        (true, "expired") => "PaymentExpired",
        (true, "partially_refunded" | "refunded") => "PaymentRefunded",
        (false, "requested") => "WithdrawalRequested",
        (false, "approved") => "WithdrawalApproved",
        (false, "canceled") => "WithdrawalCanceled",
        (false, "paid") => "WithdrawalPaid",
        (false, "failed") => "WithdrawalFailed",
        _ => return None,
    })
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Lost,
        Self::Doubled,
        Self::Unbalanced,
        Self::Stuck,
        Self::Untold,
        Self::Unlike,
        Self::Leaked,
    ];

    /// As reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Unbalanced => "unbalanced",
            Self::Stuck => "stuck",
            Self::Untold => "untold",
            Self::Unlike => "unlike",
            Self::Leaked => "leaked",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.words)
    }
}

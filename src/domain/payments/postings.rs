//! Postings: what becomes of a payment, as entries of the ledger. Pure; each has a key of its own, so that it is booked
//! once.

use super::ProviderName;
use crate::domain::ids::{DisputeId, PaymentId, RefundId, TransferId};
use crate::domain::ledger::chart::{AccountName, Shard};
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::money::{Amount, Currency};
use crate::domain::reconciliation::settled::SettledLine;

const ACTOR: &str = "payments";

/// Where a payment is in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub payment: PaymentId,
    pub provider: ProviderName,
    pub shard: Shard,
    pub currency: Currency,
}

/// A part of a refund, and whose money it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side {
    pub debit: AccountName,
    pub amount: Amount,
}

impl Place {
    /// The provider owes us what it has taken, and nobody has earned it yet.
    #[must_use]
    pub fn capture(&self, amount: Amount) -> Entry {
        let key = format!("capture:{}", self.payment);
        self.moved(key, "capture", self.receivable(), self.escrow(), amount)
    }

    /// The provider has taken something that was not agreed.
    #[must_use]
    pub fn conflict(&self, amount: Amount) -> Entry {
        let key = format!("conflict:{}", self.payment);
        self.moved(key, "conflict", self.receivable(), AccountName::Suspense, amount)
    }

    /// The provider has given back what was not agreed.
    #[must_use]
    pub fn conflict_back(&self, amount: Amount) -> Entry {
        let key = format!("conflict_back:{}", self.payment);
        self.moved(key, "conflict_back", AccountName::Suspense, self.receivable(), amount)
    }

    /// Two people have said that what was not agreed is kept.
    #[must_use]
    pub fn conflict_kept(&self, amount: Amount) -> Entry {
        let key = format!("conflict_kept:{}", self.payment);
        self.moved(key, "conflict_kept", AccountName::Suspense, self.escrow(), amount)
    }

    /// The provider has taken something for a payment that was over.
    #[must_use]
    pub fn orphan(&self, provider_key: &str, amount: Amount) -> Entry {
        let key = format!("orphan:{}:{provider_key}", self.provider.as_str());
        self.moved(key, "orphan", self.receivable(), AccountName::Suspense, amount)
    }

    /// The provider has given that back.
    #[must_use]
    pub fn orphan_refund(&self, provider_key: &str, amount: Amount) -> Entry {
        let key = format!("orphan_refund:{}:{provider_key}", self.provider.as_str());
        self.moved(key, "orphan_refund", AccountName::Suspense, self.receivable(), amount)
    }

    /// A refund is about to be made: what it takes is held.
    #[must_use]
    pub fn refund_hold(&self, refund: RefundId, sides: &[Side]) -> Entry {
        let credit = self.receivable();
        let line = |side: &Side| Line::Hold {
            debit: side.debit,
            credit,
            amount: side.amount,
            code: "refund",
            expires_at: None,
        };
        self.entry(hold_key(refund), "refund_hold", sides.iter().map(line).collect())
    }

    /// A refund was made. `held` is what each of its sides holds.
    #[must_use]
    pub fn refund(&self, refund: RefundId, held: &[Amount]) -> Entry {
        let line =
            |(n, amount): (usize, &Amount)| Line::Post { hold: hold(refund, n), amount: *amount };
        let lines = held.iter().enumerate().map(line).collect();
        self.entry(format!("refund:{refund}"), "refund", lines)
    }

    /// A refund was not made: what was held is free.
    #[must_use]
    pub fn refund_void(&self, refund: RefundId, held: &[Amount]) -> Entry {
        let lines = (0..held.len()).map(|n| Line::Void { hold: hold(refund, n) }).collect();
        self.entry(format!("refund_void:{refund}"), "refund_void", lines)
    }

    /// A payer's bank wants it back: what of it is there is held. `nth` counts how often something was held for it.
    #[must_use]
    pub fn dispute_hold(&self, dispute: DisputeId, nth: usize, sides: &[Side]) -> Entry {
        let credit = self.receivable();
        let line = |side: &Side| Line::Hold {
            debit: side.debit,
            credit,
            amount: side.amount,
            code: "dispute",
            expires_at: None,
        };
        let lines = sides.iter().map(line).collect();
        self.entry(dispute_key(dispute, nth), "dispute_hold", lines)
    }

    /// The bank leaves it: what was held is free. `None` where nothing was.
    #[must_use]
    pub fn dispute_won(&self, dispute: DisputeId, held: &[Vec<Amount>]) -> Option<Entry> {
        let lines: Vec<Line> = holds(dispute, held).map(|(hold, _)| Line::Void { hold }).collect();
        let key = format!("dispute_won:{dispute}");
        (!lines.is_empty()).then(|| self.entry(key, "dispute_won", lines))
    }

    /// The bank has taken it: what was held goes there, and `others` bear the rest.
    #[must_use]
    pub fn dispute_lost(&self, dispute: DisputeId, held: &[Vec<Amount>], others: &[Side]) -> Entry {
        let credit = self.receivable();
        let line = |side: &Side| Line::Move {
            debit: side.debit,
            credit,
            amount: side.amount,
            code: "dispute_lost",
        };
        let posts = holds(dispute, held).map(|(hold, amount)| Line::Post { hold, amount });
        let lines = posts.chain(others.iter().map(line)).collect();
        self.entry(format!("dispute_lost:{dispute}"), "dispute_lost", lines)
    }

    /// It is earned: what is held for it is whose it is.
    #[must_use]
    pub fn release(&self, lines: Vec<Line>, actor: &str) -> Entry {
        let entry = self.entry(format!("release:{}", self.payment), "release", lines);
        Entry { actor: actor.to_owned(), ..entry }
    }

    /// The provider has paid us what it owed for a charge, less what it keeps, or with a minus for a refund. `None` where
    /// nothing moves.
    #[must_use]
    pub fn settled(&self, line: &SettledLine) -> Option<Entry> {
        let parts = [(AccountName::BankOperating, line.net), (AccountName::ProviderFee, line.fee)];
        let moved = |(account, minor): (AccountName, i64)| {
            let amount = Amount::new(minor.checked_abs()?).ok()?;
            let (debit, credit) = if minor.is_positive() {
                (account, self.receivable())
            } else {
                (self.receivable(), account)
            };
            Some(Line::Move { debit, credit, amount, code: "psp_settled" })
        };
        let lines: Vec<Line> = parts.into_iter().filter_map(moved).collect();
        let key = format!("psp_settled:{}:{}", self.provider.as_str(), line.key);
        (!lines.is_empty()).then(|| self.entry(key, "psp_settled", lines))
    }

    #[must_use]
    pub const fn receivable(&self) -> AccountName {
        AccountName::ProviderReceivable(self.provider.as_str(), self.shard)
    }

    #[must_use]
    pub const fn escrow(&self) -> AccountName {
        AccountName::Escrow(self.shard)
    }

    fn moved(
        &self,
        key: String,
        kind: &'static str,
        debit: AccountName,
        credit: AccountName,
        amount: Amount,
    ) -> Entry {
        self.entry(key, kind, vec![Line::Move { debit, credit, amount, code: kind }])
    }

    fn entry(&self, key: String, kind: &'static str, lines: Vec<Line>) -> Entry {
        let reference = Reference { kind: "payment", id: self.payment.uuid() };
        Entry { key, kind, reference, actor: ACTOR.to_owned(), currency: self.currency, lines }
    }
}

fn dispute_key(dispute: DisputeId, nth: usize) -> String {
    format!("dispute_hold:{dispute}:{nth}")
}

/// Everything that was held for a dispute, by what it can be resolved with.
fn holds(
    dispute: DisputeId,
    held: &[Vec<Amount>],
) -> impl Iterator<Item = (TransferId, Amount)> + '_ {
    held.iter().enumerate().flat_map(move |(nth, amounts)| {
        let key = dispute_key(dispute, nth);
        let hold =
            move |(line, amount): (usize, &Amount)| (Entry::transfer_id(&key, line), *amount);
        amounts.iter().enumerate().map(hold)
    })
}

fn hold_key(refund: RefundId) -> String {
    format!("refund_hold:{refund}")
}

fn hold(refund: RefundId, side: usize) -> TransferId {
    Entry::transfer_id(&hold_key(refund), side)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_given_back_is_what_was_taken_the_other_way_round() {
        let place = Place {
            payment: Uuid::from_u128(1).into(),
            provider: ProviderName::Fake,
            shard: Shard::numbered(3),
            currency: Currency::KRW,
        };
        let amount = Amount::new(100).unwrap();
        let sides = |entry: Entry| match entry.lines.as_slice() {
            [Line::Move { debit, credit, .. }] => (*debit, *credit),
            other => panic!("{other:?}"),
        };
        for (there, back) in [
            (place.conflict(amount), place.conflict_back(amount)),
            (place.orphan("k", amount), place.orphan_refund("k", amount)),
        ] {
            assert_ne!(there.key, back.key);
            let ((debit, credit), (back_debit, back_credit)) = (sides(there), sides(back));
            assert_eq!((debit, credit), (back_credit, back_debit));
        }
    }
}

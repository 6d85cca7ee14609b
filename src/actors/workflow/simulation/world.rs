//! The outside: a provider that charges, refunds and pays out, and somebody who signs contracts. It survives every crash,
//! and fails before or after it has done what it was asked, by a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::flow::{Found, Outcome, Repeating};
use crate::domain::workflows::EffectKey;

/// After that, no trace means that there is nothing.
pub(super) const ABSENT_AFTER: Duration = Duration::from_mins(5);
/// A charge is not shown for so long at most, from when it was made.
const HIDDEN_MS_MAX: i64 = 4 * 60 * 1_000;

/// How the outside is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nature {
    /// Calls of a hundred that fail.
    pub(super) faults: u32,
    pub(super) is_idempotent: bool,
    pub(super) has_look_up: bool,
    /// Contracts of a hundred that nobody signs.
    pub(super) unsigned: u32,
}

pub(super) struct World {
    nature: Nature,
    now: Arc<AtomicI64>,
    facts: Mutex<Facts>,
}

struct Facts {
    rng: StdRng,
    /// What was really done, by order: each charge, refund, payout.
    charges: BTreeMap<Uuid, Vec<i64>>,
    refunds: BTreeMap<Uuid, Vec<(EffectKeyText, i64)>>,
    payouts: BTreeMap<Uuid, Vec<i64>>,
    contracts: BTreeSet<Uuid>,
    /// Answers that were given, where the outside knows its keys.
    answers: BTreeMap<(&'static str, EffectKeyText), Outcome>,
    /// Charges that are not shown yet, and until when.
    hidden: BTreeMap<Uuid, i64>,
}

type EffectKeyText = String;

/// How a call goes wrong.
enum Fault {
    Before,
    After,
}

impl World {
    pub(super) fn new(seed: u64, nature: Nature, now: Arc<AtomicI64>) -> Self {
        let facts = Facts {
            rng: StdRng::seed_from_u64(seed),
            charges: BTreeMap::new(),
            refunds: BTreeMap::new(),
            payouts: BTreeMap::new(),
            contracts: BTreeSet::new(),
            answers: BTreeMap::new(),
            hidden: BTreeMap::new(),
        };
        Self { nature, now, facts: Mutex::new(facts) }
    }

    pub(super) const fn repeating(&self) -> Repeating {
        let Nature { is_idempotent, has_look_up, .. } = self.nature;
        Repeating { is_idempotent, has_look_up, absent_after: ABSENT_AFTER }
    }

    pub(super) fn charge(&self, order: Uuid, amount: i64, key: &EffectKey) -> Outcome {
        let now = self.now.load(Ordering::SeqCst);
        self.call("charge", key, |facts| {
            if is_unlucky(order, 10) {
                return Outcome::Declined("card_declined".to_owned());
            }
            facts.charges.entry(order).or_default().push(amount);
            if facts.rng.random_ratio(1, 5) {
                let hidden_ms = facts.rng.random_range(1..HIDDEN_MS_MAX);
                facts.hidden.insert(order, now + hidden_ms);
            }
            done(order)
        })
    }

    pub(super) fn find_charge(&self, order: Uuid) -> Found {
        let now = self.now.load(Ordering::SeqCst);
        self.look(|facts| {
            if facts.hidden.get(&order).is_some_and(|until| now < *until) {
                return Found::Absent;
            }
            found(facts.charges.contains_key(&order), order)
        })
    }

    pub(super) fn refund(&self, order: Uuid, amount: i64, key: &EffectKey) -> Outcome {
        let text = key.as_str().to_owned();
        self.call("refund", key, |facts| {
            let charged: i64 = facts.charges.get(&order).map_or(0, |it| it.iter().sum());
            let refunds = facts.refunds.entry(order).or_default();
            if refunds.iter().map(|(_, amount)| amount).sum::<i64>() + amount > charged {
                return Outcome::Declined("more_than_charged".to_owned());
            }
            refunds.push((text, amount));
            done(order)
        })
    }

    pub(super) fn find_refund(&self, order: Uuid, key: &EffectKey) -> Found {
        self.look(|facts| {
            let refunds = facts.refunds.get(&order).map(Vec::as_slice).unwrap_or_default();
            found(refunds.iter().any(|(known, _)| known == key.as_str()), order)
        })
    }

    pub(super) fn pay_out(&self, order: Uuid, amount: i64, key: &EffectKey) -> Outcome {
        self.call("payout", key, |facts| {
            if is_unlucky(order, 15) {
                return Outcome::Declined("no_such_bank_account".to_owned());
            }
            facts.payouts.entry(order).or_default().push(amount);
            done(order)
        })
    }

    pub(super) fn find_payout(&self, order: Uuid) -> Found {
        self.look(|facts| found(facts.payouts.contains_key(&order), order))
    }

    pub(super) fn sign(&self, order: Uuid, key: &EffectKey) -> Outcome {
        let unsigned = self.nature.unsigned;
        self.call("contract", key, |facts| {
            if is_unlucky(order, unsigned) {
                return Outcome::Declined("withdrew".to_owned());
            }
            facts.contracts.insert(order);
            done(order)
        })
    }

    pub(super) fn find_contract(&self, order: Uuid) -> Found {
        self.look(|facts| found(facts.contracts.contains(&order), order))
    }

    /// What was charged and refunded for an order.
    pub(super) fn charged(&self, order: Uuid) -> (Vec<i64>, i64) {
        let facts = self.facts.lock().unwrap();
        let charges = facts.charges.get(&order).cloned().unwrap_or_default();
        let refunds = facts.refunds.get(&order).map(Vec::as_slice).unwrap_or_default();
        (charges, refunds.iter().map(|(_, amount)| amount).sum())
    }

    pub(super) fn paid_out(&self, order: Uuid) -> Vec<i64> {
        self.facts.lock().unwrap().payouts.get(&order).cloned().unwrap_or_default()
    }

    pub(super) fn is_signed(&self, order: Uuid) -> bool {
        self.facts.lock().unwrap().contracts.contains(&order)
    }

    fn call(
        &self,
        what: &'static str,
        key: &EffectKey,
        act: impl FnOnce(&mut Facts) -> Outcome,
    ) -> Outcome {
        let mut facts = self.facts.lock().unwrap();
        let fault = facts.fault(self.nature.faults);
        if matches!(fault, Some(Fault::Before)) {
            return Outcome::Unknown("the connection was refused".to_owned());
        }
        let known = (what, key.as_str().to_owned());
        let answer = match facts.answers.get(&known) {
            Some(answer) if self.nature.is_idempotent => answer.clone(),
            _ => {
                let answer = act(&mut facts);
                facts.answers.insert(known, answer.clone());
                answer
            }
        };
        match fault {
            Some(_) => Outcome::Unknown("the answer was lost".to_owned()),
            None => answer,
        }
    }

    fn look(&self, look: impl FnOnce(&mut Facts) -> Found) -> Found {
        let mut facts = self.facts.lock().unwrap();
        if !self.nature.has_look_up || facts.rng.random_ratio(self.nature.faults.min(100) / 5, 100)
        {
            return Found::Outcome(Outcome::Unknown("nobody answers".to_owned()));
        }
        look(&mut facts)
    }
}

impl Facts {
    fn fault(&mut self, percent: u32) -> Option<Fault> {
        if !self.rng.random_ratio(percent.min(100), 100) {
            return None;
        }
        Some(if self.rng.random_bool(0.45) { Fault::Before } else { Fault::After })
    }
}

fn done(order: Uuid) -> Outcome {
    Outcome::Done(answer(order))
}

fn found(is_there: bool, order: Uuid) -> Found {
    if is_there { Found::Outcome(done(order)) } else { Found::Absent }
}

fn answer(order: Uuid) -> Value {
    json!({ "order": order })
}

/// Decided by the order, so that it is refused however often it is asked.
fn is_unlucky(order: Uuid, percent: u32) -> bool {
    let low = order.as_u128().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17;
    u32::try_from(low % 100).unwrap() < percent
}

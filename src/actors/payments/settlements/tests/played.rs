//! Weeks that are played by a seed: whatever is earned, refunded, closed, paid and taken out in whatever order, no won
//! is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{HOUR, RULES, SettlementRules, TODAY, Town, somebody, towns};
use crate::domain::ids::{PaymentId, RefundId, UserId};
use crate::domain::ledger::chart::{AccountName, Shard};
use crate::store::disputes::Dispute;

const SEEDS: &str = "MADANG_SETTLEMENT_SEEDS";
const SEEDS_DEFAULT: u64 = 2;
const MOVES: usize = 40;

/// What has happened so far, as the payers know it.
#[derive(Default)]
struct Played {
    /// What is left of each payment that nobody asks back.
    left: BTreeMap<PaymentId, i64>,
    open: Vec<(RefundId, PaymentId, i64)>,
    disputed: Vec<Dispute>,
}

async fn play(town: &Town, payees: &[UserId], seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let (mut played, mut day): (Played, Date) = (Played::default(), TODAY);
    for _ in 0..MOVES {
        let payee = payees[chance.random_range(0..payees.len())];
        match chance.random_range(0..12) {
            0..3 => {
                let amount = chance.random_range(1..30_000);
                played.left.insert(town.earned(payee, amount).await, amount);
            }
            3..6 => ask_back(town, &mut played, &mut chance).await,
            6 => end_one(town, &mut played, &mut chance).await,
            10 => dispute(town, &mut played, &mut chance).await,
            11 => decide_one(town, &mut played, &mut chance).await,
            7 => {
                town.take_out(payee, chance.random_range(1..20_000)).await;
            }
            _ => {
                day = day.tomorrow().unwrap();
                town.go_to(day, Duration::from_mins(10));
                town.settlements.close_due().await.unwrap();
                town.go_to(day, HOUR * 9);
                town.settlements.pay_due().await.unwrap();
            }
        }
        town.assert_books_are_right(payees).await;
        for payee in payees {
            let (_, available, debt) = town.figures(*payee).await;
            assert_eq!(available.min(debt), 0, "money beside a debt, seed {seed}");
        }
    }
    while !played.open.is_empty() {
        end_one(town, &mut played, &mut chance).await;
    }
    while !played.disputed.is_empty() {
        decide_one(town, &mut played, &mut chance).await;
    }
    town.assert_books_are_right(payees).await;
    // The provider owes what was not given back, and everybody together has it.
    let receivable = AccountName::ProviderReceivable("fake", Shard::numbered(0));
    let owed = town.counters(receivable).await.debit_balance();
    assert_eq!(owed, played.left.values().sum::<i64>(), "seed {seed}");
    // Once all of it goes back, nobody has kept a won. What banks have taken is gone as a whole.
    for (payment, left) in std::mem::take(&mut played.left) {
        if left > 0 {
            town.refund(payment, left).await;
        }
    }
    let zero = Shard::numbered(0);
    for name in [
        receivable,
        AccountName::FeeIncome(zero),
        AccountName::VatPayable,
        AccountName::Escrow(zero),
    ] {
        assert_eq!(town.counters(name).await.credit_balance(), 0, "{name:?} of seed {seed}");
    }
    assert_eq!(town.counters(AccountName::WithholdingPayable).await.credit_balance(), 0);
    town.assert_books_are_right(payees).await;
}

async fn ask_back(town: &Town, played: &mut Played, chance: &mut StdRng) {
    let some: Vec<PaymentId> =
        played.left.iter().filter(|(_, left)| **left > 0).map(|(id, _)| *id).collect();
    if some.is_empty() {
        return;
    }
    let payment = some[chance.random_range(0..some.len())];
    let left = played.left.get_mut(&payment).unwrap();
    let amount = if chance.random_ratio(1, 3) { *left } else { chance.random_range(1..=*left) };
    *left -= amount;
    let refund = town.request(payment, amount).await.unwrap();
    if chance.random_ratio(1, 2) {
        town.end(refund, true).await;
    } else {
        played.open.push((refund, payment, amount));
    }
}

/// A bank wants all that is left of a payment of which nobody wants anything.
async fn dispute(town: &Town, played: &mut Played, chance: &mut StdRng) {
    let is_wanted = |id: &PaymentId| {
        played.open.iter().any(|(_, payment, _)| payment == id)
            || played.disputed.iter().any(|it| it.payment == *id)
    };
    let mut some = played.left.iter().filter(|(id, left)| **left > 0 && !is_wanted(id));
    let Some((payment, left)) = some.nth(chance.random_range(0..3)) else { return };
    let dispute = town.dispute(*payment, *left).await;
    played.left.remove(&dispute.payment);
    played.disputed.push(dispute);
}

/// A bank decides.
async fn decide_one(town: &Town, played: &mut Played, chance: &mut StdRng) {
    let Some(dispute) = played.disputed.pop() else { return };
    let is_lost = chance.random_ratio(1, 2);
    town.decide(&dispute, is_lost).await;
    if !is_lost {
        played.left.insert(dispute.payment, dispute.covered);
    }
}

/// Ends a refund that is open, one way or the other.
async fn end_one(town: &Town, played: &mut Played, chance: &mut StdRng) {
    let Some((refund, payment, amount)) = played.open.pop() else { return };
    let is_made = chance.random_ratio(1, 2);
    town.end(refund, is_made).await;
    if !is_made {
        *played.left.get_mut(&payment).unwrap() += amount;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_played_no_won_is_lost() {
    let seeds = std::env::var(SEEDS).ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(SEEDS_DEFAULT) {
        let minimum = if seed % 2 == 0 { 1 } else { 15_000 };
        for town in towns(SettlementRules { minimum, ..RULES }).await {
            let payees = [somebody(), somebody()];
            play(&town, &payees, seed).await;
        }
    }
}

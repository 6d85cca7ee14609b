//! Many calls that go wrong by chance: whoever follows the rules does each thing once, and whoever breaks them is seen.

use super::super::{FORGETFUL, SILENT, SOUND};
use super::*;

const ORDERS: usize = 300;
const TRIES_MAX: usize = 1_000;
const SECOND: Duration = Duration::from_secs(1);

/// What is done about a call that nobody knows the end of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// It is made again, with the same key.
    Repeats,
    /// It is asked for, and made again when there is no trace of it for as long as the provider says.
    Asks,
}

impl Town {
    /// Calls until it is known to be done, or there is no end to it.
    async fn persist<T, C, L>(
        &self,
        habit: Habit,
        call: impl Fn() -> C,
        ask: impl Fn() -> L,
        is_done: impl Fn(&T) -> bool,
    ) where
        C: Future<Output = Answer<T>>,
        L: Future<Output = LookUp<T>>,
    {
        for _ in 0..TRIES_MAX {
            if matches!(call().await, Answer::Done(_)) {
                return;
            }
            if habit == Habit::Repeats {
                self.pass(SECOND);
            } else if self.is_found(&ask, &is_done).await {
                return;
            }
        }
    }

    async fn is_found<T, L: Future<Output = LookUp<T>>>(
        &self,
        ask: impl Fn() -> L,
        is_done: impl Fn(&T) -> bool,
    ) -> bool {
        for _ in 0..6 {
            if matches!(ask().await, LookUp::Found(ref found) if is_done(found)) {
                return true;
            }
            self.pass(MINUTE);
        }
        loop {
            match ask().await {
                LookUp::Found(found) => return is_done(&found),
                LookUp::Absent => return false,
                LookUp::Unknown(_) => {}
            }
        }
    }

    /// Takes a payment, refunds a part of it and pays out.
    async fn play(&self, order: &str, habit: Habit) {
        while !matches!(self.provider.prepare(&prepared(order, 1_000)).await, Answer::Done(_)) {}
        let provider_key = self.provider.pay(order, Method::Card).unwrap();
        let charge = confirm(order, &provider_key, 1_000);
        let is_taken = |charge: &Charge| charge.status != ChargeStatus::Open;
        self.persist(habit, || self.confirm(&charge, order), || self.find(&charge), is_taken).await;
        let refund = || self.cancel(&charge, Some(300), order);
        self.persist(habit, refund, || self.find_cancel(&charge, order), |_| true).await;
        let (request, key) = (payout(&format!("{order}-out"), 700), EffectKey::of(order));
        let find = || self.provider.find_payout(&request.reference, &key);
        self.persist(habit, || self.provider.pay_out(&request, &key), find, |_| true).await;
    }
}

/// How many orders moved something else than what was asked for, once each.
async fn wrong(capabilities: Capabilities, seed: u64, habit: Habit) -> usize {
    let town = Town::new(capabilities, Faults::by_chance(50, seed));
    for n in 0..ORDERS {
        town.play(&format!("order-{n}"), habit).await;
    }
    town.pass(MINUTE * 10);
    let is_right = |order: &String| {
        town.moved(order) == [(RemoteKind::Charge, 1_000), (RemoteKind::Cancel, 300)]
            && town.moved(&format!("{order}-out")) == [(RemoteKind::PayOut, 700)]
    };
    (0..ORDERS).map(|n| format!("order-{n}")).filter(|order| !is_right(order)).count()
}

#[tokio::test]
async fn whoever_repeats_with_the_same_key_does_it_once_where_keys_are_known() {
    for seed in 0..3 {
        assert_eq!(wrong(SOUND, seed, Habit::Repeats).await, 0, "seed {seed}");
        assert_eq!(wrong(SILENT, seed, Habit::Repeats).await, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn whoever_asks_and_waits_before_repeating_does_it_once_where_they_are_not() {
    for seed in 0..3 {
        assert_eq!(wrong(FORGETFUL, seed, Habit::Asks).await, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn whoever_just_repeats_where_keys_are_not_known_is_seen() {
    assert!(wrong(FORGETFUL, 0, Habit::Repeats).await > ORDERS / 4);
}

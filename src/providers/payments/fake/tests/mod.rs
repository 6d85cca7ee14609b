//! The fake provider: one fault after the other, its payers, many faults at once, and the conformance suite.

mod chances;
mod conforming;
mod payers;
mod payouts;
mod strikes;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use secrecy::SecretString;

use super::faults::{Fault, Faults, Operation};
use super::payer::Method;
use super::{Clock, FakeProvider};
use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;
use crate::providers::payments::{
    Answer, Cancel, Canceled, Capabilities, Charge, ChargeStatus, Confirm, LookUp,
    PaymentProvider as _, Payout, Prepare, RemoteKind,
};

const START: i64 = 1_795_262_400_000;
const MINUTE: Duration = Duration::from_mins(1);

/// A provider with a clock of its own.
struct Town {
    provider: Arc<FakeProvider>,
    now: Arc<AtomicI64>,
}

impl Town {
    fn new(capabilities: Capabilities, faults: Faults) -> Self {
        let now = Arc::new(AtomicI64::new(START));
        let clock = {
            let now = Arc::clone(&now);
            let clock: Clock = Arc::new(move || Timestamp::from_millis(now.load(Ordering::SeqCst)));
            clock
        };
        Self { provider: Arc::new(FakeProvider::new(capabilities, faults, clock)), now }
    }

    /// One whose next call of an operation goes wrong.
    fn with(capabilities: Capabilities, operation: Operation, fault: Fault) -> Self {
        let town = Self::new(capabilities, Faults::default());
        town.provider.plan(operation, [Some(fault)]);
        town
    }

    fn pass(&self, wait: Duration) {
        self.now.fetch_add(i64::try_from(wait.as_millis()).unwrap(), Ordering::SeqCst);
    }

    async fn prepare(&self, order: &str, minor: i64) {
        let answer = self.provider.prepare(&prepared(order, minor)).await;
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    }

    /// An order that its payer has paid for.
    async fn paid(&self, order: &str, minor: i64) -> Confirm {
        self.prepare(order, minor).await;
        let provider_key = self.provider.pay(order, Method::Card).unwrap();
        confirm(order, &provider_key, minor)
    }

    async fn taken(&self, order: &str, minor: i64) -> Confirm {
        let request = self.paid(order, minor).await;
        let answer = self.confirm(&request, order).await;
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
        request
    }

    async fn confirm(&self, request: &Confirm, key: &str) -> Answer<Charge> {
        self.provider.confirm(request, &EffectKey::of(key)).await
    }

    async fn cancel(&self, charge: &Confirm, minor: Option<i64>, key: &str) -> Answer<Canceled> {
        self.provider.cancel(&canceling(charge, minor), &EffectKey::of(key)).await
    }

    async fn find(&self, charge: &Confirm) -> LookUp<Charge> {
        self.provider.find_charge(&charge.order, None).await
    }

    async fn find_cancel(&self, charge: &Confirm, key: &str) -> LookUp<Canceled> {
        self.provider.find_cancel(&canceling(charge, None), &EffectKey::of(key)).await
    }

    fn moved(&self, order: &str) -> Vec<(RemoteKind, i64)> {
        let moved = self.provider.movements(order);
        moved.into_iter().map(|it| (it.kind, it.amount.minor())).collect()
    }
}

fn won(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

fn prepared(order: &str, minor: i64) -> Prepare {
    Prepare {
        order: order.to_owned(),
        amount: won(minor),
        currency: Currency::KRW,
        name: "a lamp".to_owned(),
        is_captured_later: false,
    }
}

fn confirm(order: &str, provider_key: &str, minor: i64) -> Confirm {
    Confirm {
        provider_key: provider_key.to_owned(),
        order: order.to_owned(),
        amount: won(minor),
        currency: Currency::KRW,
    }
}

fn canceling(charge: &Confirm, minor: Option<i64>) -> Cancel {
    Cancel {
        provider_key: charge.provider_key.clone(),
        order: charge.order.clone(),
        amount: minor.map(won),
        currency: charge.currency,
        refund_account: None,
        reason: "changed their mind".to_owned(),
    }
}

fn payout(reference: &str, minor: i64) -> Payout {
    Payout {
        reference: reference.to_owned(),
        amount: won(minor),
        currency: Currency::KRW,
        bank_code: "088".to_owned(),
        account_number: SecretString::from("110123456789"),
        holder: "김하나".to_owned(),
    }
}

/// Whether nobody knows.
fn is_unknown<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Answer::Unknown(_))
}

/// The status that a look-up shows.
fn status(found: &LookUp<Charge>) -> Option<ChargeStatus> {
    if let LookUp::Found(charge) = found { Some(charge.status) } else { None }
}

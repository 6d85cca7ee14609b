//! What payers do, and what the provider sends of its own accord.

use std::collections::BTreeSet;

use super::super::payer::PayerError;
use super::super::{FORGETFUL, SOUND};
use super::*;
use crate::domain::payments::disputes::DisputeStatus;
use crate::providers::payments::Dispute;

#[tokio::test]
async fn who_pays_twice_gets_the_same_key_and_nothing_is_taken_yet() {
    let town = Town::new(SOUND, Faults::default());
    town.prepare("order", 1_000).await;

    let first = town.provider.pay("order", Method::Card).unwrap();
    assert_eq!(town.provider.pay("order", Method::Card), Ok(first));
    assert!(town.moved("order").is_empty());
    assert_eq!(town.provider.pay("other", Method::Card), Err(PayerError::UnknownOrder));
    assert_eq!(town.provider.deposit("order"), Err(PayerError::NotAwaited));
}

#[tokio::test]
async fn what_was_not_paid_is_not_taken_even_with_the_right_key() {
    let town = Town::new(SOUND, Faults::default());
    town.prepare("order", 1_000).await;
    let key = town.provider.find_order("order").unwrap().provider_key;

    assert!(is_unknown(&town.confirm(&confirm("order", &key, 1_000), "early").await));
    assert!(town.moved("order").is_empty());
}

#[tokio::test]
async fn an_order_is_prepared_for_one_amount() {
    let town = Town::new(SOUND, Faults::default());
    town.prepare("order", 1_000).await;
    town.prepare("order", 1_000).await;

    assert!(is_unknown(&town.provider.prepare(&prepared("order", 999)).await));
    assert_eq!(town.provider.find_order("order").unwrap().amount, won(1_000));
}

#[tokio::test]
async fn a_deposit_is_waited_for_and_captured_when_it_arrives() {
    for (minor, method) in [(1_000, Method::VirtualAccount), (1_941, Method::Card)] {
        let town = Town::new(SOUND, Faults::by_amount());
        town.prepare("order", minor).await;
        let key = town.provider.pay("order", method).unwrap();
        let request = confirm("order", &key, minor);

        let Answer::Pending(charge) = town.confirm(&request, "key").await else { panic!() };
        assert_eq!(charge.status, ChargeStatus::AwaitingDeposit);
        assert!(town.moved("order").is_empty());
        let _ = town.provider.take_webhooks();

        town.provider.deposit("order").unwrap();
        assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Captured));
        assert_eq!(town.moved("order"), [(RemoteKind::Charge, minor)]);
        assert_eq!(town.provider.take_webhooks().len(), 1);
        assert_eq!(town.provider.deposit("order"), Err(PayerError::NotAwaited));
    }
}

#[tokio::test]
async fn nobody_pays_into_an_account_that_was_closed() {
    let town = Town::new(SOUND, Faults::default());
    town.prepare("order", 1_000).await;
    let key = town.provider.pay("order", Method::VirtualAccount).unwrap();
    let request = confirm("order", &key, 1_000);
    town.confirm(&request, "key").await;

    assert!(matches!(town.cancel(&request, None, "close").await, Answer::Done(_)));
    assert_eq!(town.provider.deposit("order"), Err(PayerError::NotAwaited));
    assert!(town.moved("order").is_empty());
}

#[tokio::test]
async fn who_gave_up_cannot_pay_and_who_paid_cannot_give_up() {
    let town = Town::new(SOUND, Faults::default());
    town.prepare("given-up", 1_000).await;
    town.provider.decline("given-up").unwrap();
    assert_eq!(town.provider.pay("given-up", Method::Card), Err(PayerError::NotAwaited));

    town.taken("taken", 1_000).await;
    assert_eq!(town.provider.decline("taken"), Err(PayerError::NotAwaited));
    assert_eq!(town.provider.pay("taken", Method::Card), Err(PayerError::NotAwaited));
}

#[tokio::test]
async fn webhooks_may_be_unsigned_doubled_and_in_any_order_and_none_is_lost() {
    let sent = |faults| async move {
        let town = Town::new(FORGETFUL, faults);
        for n in 0..20 {
            let _ = town.provider.prepare(&prepared(&format!("order-{n}"), 1_000)).await;
            let _ = town.provider.pay(&format!("order-{n}"), Method::Card);
        }
        let webhooks = town.provider.take_webhooks();
        let read = |it| town.provider.read_webhook(it).unwrap().dedupe_key;
        webhooks.iter().map(read).collect::<Vec<String>>()
    };
    let orderly = sent(Faults::default()).await;
    assert_eq!(orderly.len(), 20);

    let unruly = sent(Faults::by_chance(30, 11)).await;
    let distinct: BTreeSet<&String> = unruly.iter().collect();
    assert!(unruly.len() > distinct.len(), "some come twice");
    assert!(unruly != orderly && distinct.iter().all(|it| orderly.contains(it)));
}

#[tokio::test]
async fn a_payment_is_told_of_step_after_step() {
    let town = Town::new(SOUND, Faults::default());
    let request = town.taken("order", 1_000).await;
    town.cancel(&request, Some(400), "part").await;
    town.cancel(&request, None, "rest").await;

    let told = town.provider.take_webhooks();
    let keys: BTreeSet<String> =
        told.iter().map(|it| town.provider.read_webhook(it).unwrap().dedupe_key).collect();
    assert_eq!((told.len(), keys.len()), (4, 4), "prepared, taken, and refunded twice");
    assert!(town.provider.take_webhooks().is_empty());
}

#[tokio::test]
async fn some_amounts_are_disputed_and_a_bank_that_wins_takes_its_money() {
    for (minor, then) in [
        (10_961, DisputeStatus::NeedsResponse),
        (10_962, DisputeStatus::Won),
        (10_963, DisputeStatus::Lost),
    ] {
        let town = Town::new(SOUND, Faults::by_amount());
        town.taken("order", minor).await;
        let charge = town.provider.find_order("order").unwrap();
        let key = charge.disputes.first().unwrap().clone();
        let found = |found| match found {
            LookUp::Found(Dispute { status, .. }) => status,
            other => panic!("{other:?}"),
        };
        let first = found(town.provider.find_dispute(&key).await);
        assert_eq!(first, DisputeStatus::NeedsResponse);
        town.pass(Duration::from_mins(4));
        assert_eq!(found(town.provider.find_dispute(&key).await), then, "{minor}");
        let moved = town.provider.movements("order");
        let kinds: Vec<RemoteKind> = moved.iter().map(|it| it.kind).collect();
        let expected: &[RemoteKind] = match then {
            DisputeStatus::Lost => &[RemoteKind::Charge, RemoteKind::Chargeback],
            _ => &[RemoteKind::Charge],
        };
        assert_eq!(kinds, expected);
    }
}

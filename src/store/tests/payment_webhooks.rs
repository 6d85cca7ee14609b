//! Webhooks of payment providers: what was kept is looked into, by one at a time, and once for each charge.

use std::time::Duration;

use futures_util::future::join_all;

use super::super::Store;
use super::super::payment_webhooks::{Kept, NewPaymentWebhook, TakenWebhook};
use super::fixtures;
use crate::domain::payments::webhooks::{
    ChargeName, KEPT, LEASED, Trust, WebhookStatus, dedupe_key,
};
use crate::domain::time::Timestamp;

const START: Timestamp = Timestamp::from_millis(1_795_262_400_000);

fn at(n: u64) -> Timestamp {
    START.plus(Duration::from_millis(n))
}

fn webhook(happening: &str, order: Option<&str>, trust: Trust) -> NewPaymentWebhook {
    NewPaymentWebhook {
        provider: "fake",
        dedupe_key: dedupe_key(happening.as_bytes()),
        trust,
        charge: ChargeName::parse(order, None),
        body: vec![0, 159, 146, 150],
    }
}

async fn keep(store: &Store, happening: &str, order: &str, trust: Trust, n: u64) -> Kept {
    let new = webhook(happening, Some(order), trust);
    store.insert_payment_webhook(new, at(n)).await.unwrap()
}

async fn take(store: &Store, n: u64) -> Option<TakenWebhook> {
    store.claim_payment_webhook(at(n)).await.unwrap()
}

#[tokio::test]
async fn of_many_who_take_one_webhook_one_has_it_until_its_time_is_over() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        assert_eq!(keep(store, "paid", "md_1", Trust::Signed, 0).await, Kept::New);
        let taken: Vec<TakenWebhook> =
            join_all((0..16).map(|_| take(store, 1))).await.into_iter().flatten().collect();

        let [taken] = taken.as_slice() else { panic!("{taken:?}") };
        assert_eq!(taken.charge.order.as_deref(), Some("md_1"));
        assert_eq!((taken.attempts, taken.received_at, taken.taken_at), (0, at(0), at(1)));
        // Whoever had it died.
        let over = at(1).plus(LEASED);
        assert_eq!(store.find_next_payment_webhook().await.unwrap(), Some(over));
        let again = store.claim_payment_webhook(over).await.unwrap().unwrap();
        assert_eq!(again.attempts, 1);
    }
}

#[tokio::test]
async fn looking_once_settles_what_had_come_about_the_charge_and_nothing_that_came_later() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        keep(store, "paid", "md_1", Trust::Signed, 0).await;
        keep(store, "refunded", "md_1", Trust::Signed, 1).await;
        keep(store, "other", "md_2", Trust::Signed, 2).await;
        let taken = take(store, 3).await.unwrap();
        keep(store, "disputed", "md_1", Trust::Signed, 4).await;

        let settle = store.settle_payment_webhook(taken, WebhookStatus::Done, at(5));
        assert_eq!(settle.await.unwrap(), 2);
        let mut left = Vec::new();
        while let Some(taken) = take(store, 6).await {
            left.push((taken.charge.order.unwrap(), taken.received_at));
        }
        assert_eq!(left, [("md_2".to_owned(), at(2)), ("md_1".to_owned(), at(4))]);
    }
}

#[tokio::test]
async fn one_that_has_failed_says_nothing_about_those_that_came_after_it() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        keep(store, "waits", "md_1", Trust::Signed, 0).await;
        keep(store, "paid", "md_1", Trust::Signed, 1).await;
        let taken = take(store, 2).await.unwrap();

        let settle = store.settle_payment_webhook(taken, WebhookStatus::Failed, at(3));
        assert_eq!(settle.await.unwrap(), 1);
        assert_eq!(take(store, 4).await.unwrap().received_at, at(1));
        assert_eq!(take(store, 5).await, None);
    }
}

#[tokio::test]
async fn a_repeat_of_what_is_signed_changes_nothing() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        keep(store, "paid", "md_1", Trust::Signed, 0).await;
        assert_eq!(keep(store, "paid", "md_1", Trust::Signed, 1).await, Kept::Known);
        let taken = take(store, 2).await.unwrap();
        store.settle_payment_webhook(taken, WebhookStatus::Done, at(3)).await.unwrap();

        assert_eq!(keep(store, "paid", "md_1", Trust::Signed, 4).await, Kept::Known);
        assert_eq!(take(store, 5).await, None);
    }
}

#[tokio::test]
async fn one_that_anybody_may_have_sent_first_is_looked_into_again() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        // Somebody knows what the true one will be known by, and sends it before, about something else.
        keep(store, "paid", "md_2", Trust::Unsigned, 0).await;
        let forged = take(store, 1).await.unwrap();
        // The true one comes while the forged one is looked into.
        assert_eq!(keep(store, "paid", "md_1", Trust::Unsigned, 2).await, Kept::Again);
        store.settle_payment_webhook(forged, WebhookStatus::Done, at(3)).await.unwrap();

        let taken = take(store, 4).await.unwrap();
        assert_eq!(taken.charge.order.as_deref(), Some("md_1"));
        store.settle_payment_webhook(taken, WebhookStatus::Done, at(5)).await.unwrap();
        assert_eq!(keep(store, "paid", "md_1", Trust::Unsigned, 6).await, Kept::Again);
        assert!(take(store, 7).await.is_some());
    }
}

#[tokio::test]
async fn what_is_put_off_is_due_then() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        keep(store, "paid", "md_1", Trust::Signed, 0).await;
        let taken = take(store, 1).await.unwrap();
        store.put_off_payment_webhook(taken, at(500), "no answer".to_owned()).await.unwrap();

        assert_eq!(take(store, 499).await, None);
        assert_eq!(take(store, 500).await.unwrap().attempts, 1);
    }
}

#[tokio::test]
async fn what_is_about_nothing_of_ours_is_kept_and_nobody_looks() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for (trust, repeat) in [(Trust::Signed, Kept::Known), (Trust::Unsigned, Kept::Known)] {
            let new = webhook(trust.as_str(), None, trust);
            let keep = |n| store.insert_payment_webhook(new.clone(), at(n));
            assert_eq!(keep(0).await.unwrap(), Kept::New);
            assert_eq!(keep(1).await.unwrap(), repeat);
        }
        assert_eq!(store.find_next_payment_webhook().await.unwrap(), None);
        assert_eq!(take(store, 2).await, None);
    }
}

#[tokio::test]
async fn what_was_settled_is_forgotten_after_its_time_and_what_was_not_never() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        keep(store, "paid", "md_1", Trust::Signed, 0).await;
        let taken = take(store, 1).await.unwrap();
        store.settle_payment_webhook(taken, WebhookStatus::Failed, at(2)).await.unwrap();
        keep(store, "open", "md_2", Trust::Signed, 0).await;
        let sweep = |now| store.delete_old_payment_webhooks(now, 100);

        assert_eq!(sweep(at(1).plus(KEPT)).await.unwrap(), 0);
        assert_eq!(sweep(at(2).plus(KEPT)).await.unwrap(), 1);
        assert!(take(store, 10_000_000).await.is_some());
    }
}

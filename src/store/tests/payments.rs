//! Payments as rows: which changes pass, what is written with them, and what is never more than was captured.

use serde_json::json;

use super::super::orders::PutOrder;
use super::super::payments::attempts::{AttemptStatus, insert_attempt, update_provider_key};
use super::super::payments::refunds::{
    NewRefund, fail, get_refund, request, succeed, update_status,
};
use super::super::payments::transitions::{By, TransitionError, created, transition};
use super::super::payments::views::{PaymentCursor, PaymentFilter, find_live};
use super::super::payments::{ChangeError, Payment, get_locked};
use super::super::{Store, StoreError, execute, fetch_all};
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::events::PAYMENT_EVENTS;
use crate::domain::ids::{PaymentId, RefundId};
use crate::domain::ledger::chart::Shard;
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::orders::{FeeBps, NewOrder, OrderKey, OrderName};
use crate::domain::payments::refunds::{RefundStatus, Sums};
use crate::domain::payments::{Cause, PaymentStatus, ProviderName};
use crate::domain::time::Timestamp;
use crate::store::ledger::book;

const NOW: Timestamp = Timestamp::from_millis(1_795_262_400_000);

fn won(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

fn order(id: &str, amount: i64) -> NewOrder {
    NewOrder {
        key: OrderKey::parse("job", id).unwrap(),
        payer: None,
        payee: None,
        amount: won(amount),
        currency: Currency::KRW,
        name: OrderName::parse("화단 정리").unwrap(),
        fee: FeeBps::default(),
    }
}

async fn a_payment(fixture: &Fixture, order_id: &str) -> Payment {
    let order = order(order_id, 1_000);
    fixture.store.put_order(order.clone(), NOW).await.unwrap();
    Payment {
        id: clock::new_uuid().into(),
        order: order.key,
        payer: fixture.user().await,
        payee: None,
        provider: ProviderName::Fake,
        shard: Shard::numbered(0),
        currency: Currency::KRW,
        amount: won(1_000),
        sums: Sums::default(),
        status: PaymentStatus::Created,
        under_way: None,
        is_captured_later: false,
        is_by_deposit: false,
        failure_code: None,
        version: 0,
        expires_at: NOW,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn by() -> By<'static> {
    By::new(Cause::Api, "test")
}

async fn create(store: &Store, payment: &Payment) -> Result<(), StoreError> {
    let payment = payment.clone();
    store.write(move |db| Box::pin(async move { created(db, &payment, &by()).await })).await
}

/// A payment that was captured, in the books as well.
async fn captured(fixture: &Fixture, order_id: &str) -> PaymentId {
    let payment = a_payment(fixture, order_id).await;
    create(&fixture.store, &payment).await.unwrap();
    let id = payment.id;
    let done: Result<(), TransitionError> = fixture
        .store
        .write(move |db| {
            Box::pin(async move {
                let mut payment = get_locked(db, id).await?;
                payment.sums.captured = payment.amount.minor();
                transition(db, &mut payment, PaymentStatus::Captured, &by(), NOW).await?;
                book(db, &payment.place().capture(payment.amount), NOW).await.unwrap();
                Ok(())
            })
        })
        .await;
    done.unwrap();
    id
}

async fn requested(store: &Store, id: PaymentId, amount: i64) -> Result<RefundId, ChangeError> {
    store
        .write(move |db| {
            Box::pin(async move {
                let mut payment = get_locked(db, id).await?;
                let new = NewRefund {
                    id: clock::new_uuid().into(),
                    amount: won(amount),
                    reason: "늦음".to_owned(),
                    actor: "test".to_owned(),
                    sealed_account: None,
                };
                Ok(request(db, &mut payment, new, NOW).await?.id)
            })
        })
        .await
}

/// Ends a refund: with the provider's key where it was made.
async fn ended(
    store: &Store,
    refund: RefundId,
    made: Option<&'static str>,
) -> Result<(), ChangeError> {
    store
        .write(move |db| {
            Box::pin(async move {
                let mut refund = get_refund(db, refund).await?;
                let mut payment = get_locked(db, refund.payment).await?;
                update_status(db, &mut refund, RefundStatus::Sent, NOW).await?;
                match made {
                    Some(key) => succeed(db, &mut payment, &mut refund, key, &by(), NOW).await,
                    None => fail(db, &mut payment, &mut refund, "refused", NOW).await,
                }
            })
        })
        .await
}

/// As they were written; a relay may see them later.
async fn events(store: &Store) -> Vec<String> {
    let rows: Result<Vec<(String,)>, StoreError> = store
        .read(|db| {
            Box::pin(async move {
                let select = "SELECT name FROM outbox WHERE topic = $1 ORDER BY id";
                fetch_all!(db, (String,), select, PAYMENT_EVENTS)
            })
        })
        .await;
    rows.unwrap().into_iter().map(|(name,)| name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_pairs_exactly_the_legal_ones_are_written() {
    for fixture in fixtures().await {
        let payment = a_payment(&fixture, "1").await;
        create(&fixture.store, &payment).await.unwrap();
        let mut written = 0;
        for from in PaymentStatus::ALL {
            for to in PaymentStatus::ALL {
                let before = fixture.store.list_payment_transitions(payment.id).await.unwrap();
                let id = payment.id;
                let moved: Result<(), TransitionError> = fixture
                    .store
                    .write(move |db| {
                        Box::pin(async move {
                            let set = "UPDATE payments SET status = $2 WHERE id = $1";
                            execute!(db, set, id.uuid(), from.as_str())?;
                            let mut payment = get_locked(db, id).await?;
                            transition(db, &mut payment, to, &by(), NOW).await
                        })
                    })
                    .await;
                let after = fixture.store.list_payment_transitions(payment.id).await.unwrap();
                assert_eq!(moved.is_ok(), from.way(to).is_ok(), "{from:?} to {to:?}");
                let new = &after[before.len()..];
                assert_eq!(new.is_empty(), moved.is_err(), "{from:?} to {to:?}");
                for row in new {
                    let status = |text: &str| PaymentStatus::parse(text).unwrap();
                    let from = status(row.from_status.as_deref().unwrap());
                    assert!(from.next(status(&row.to_status)).is_ok(), "{row:?}");
                }
                written += usize::from(from.next(to).is_ok() && new.len() == 1);
            }
        }
        assert_eq!(written, 30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_the_row_the_history_the_outbox_and_the_inbox() {
    for fixture in fixtures().await {
        let id = captured(&fixture, "1").await;
        let payment = fixture.store.find_payment(id).await.unwrap().unwrap();

        assert_eq!((payment.status, payment.version), (PaymentStatus::Captured, 2));
        let history = fixture.store.list_payment_transitions(id).await.unwrap();
        let statuses: Vec<&str> = history.iter().map(|row| row.to_status.as_str()).collect();
        assert_eq!(statuses, ["created", "confirming", "captured"]);
        assert_eq!(events(&fixture.store).await, ["PaymentCreated", "PaymentCompleted"]);
        let inbox = fixture.store.list_inbox(payment.payer, 0, 9).await.unwrap();
        let last: serde_json::Value = serde_json::from_str(&inbox.last().unwrap().data).unwrap();
        assert_eq!(last, json!({ "payment_id": id, "status": "captured", "version": 2 }));
        assert_eq!(inbox.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_was_changed_meanwhile_is_refused() {
    for fixture in fixtures().await {
        let payment = a_payment(&fixture, "1").await;
        create(&fixture.store, &payment).await.unwrap();
        let stale = payment.clone();
        let moved: Result<(), TransitionError> = fixture
            .store
            .write(move |db| {
                Box::pin(async move {
                    let (mut one, mut other) = (stale.clone(), stale);
                    transition(db, &mut one, PaymentStatus::Canceled, &by(), NOW).await?;
                    transition(db, &mut other, PaymentStatus::Expired, &by(), NOW).await
                })
            })
            .await;
        assert!(matches!(moved, Err(TransitionError::Store(StoreError::NotFound))), "{moved:?}");
        let left = fixture.store.find_payment(payment.id).await.unwrap().unwrap();
        assert_eq!(left.status, PaymentStatus::Created);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_for_in_one_way_at_a_time_and_again_when_that_is_over() {
    for fixture in fixtures().await {
        let one = a_payment(&fixture, "1").await;
        let other = Payment { id: clock::new_uuid().into(), ..one.clone() };
        create(&fixture.store, &one).await.unwrap();

        let refused = create(&fixture.store, &other).await.unwrap_err();
        let StoreError::Constraint(name) = refused else { panic!("{refused}") };
        assert_eq!(name, "payments_order_type_order_id_key");
        let (id, key) = (one.id, one.order.clone());
        let canceled: Result<(), TransitionError> = fixture
            .store
            .write(move |db| {
                Box::pin(async move {
                    let mut payment = get_locked(db, id).await?;
                    transition(db, &mut payment, PaymentStatus::Canceled, &by(), NOW).await
                })
            })
            .await;
        canceled.unwrap();
        create(&fixture.store, &other).await.unwrap();
        let live: Result<Option<Payment>, StoreError> =
            fixture.store.read(move |db| Box::pin(async move { find_live(db, &key).await })).await;
        assert_eq!(live.unwrap().map(|it| it.id), Some(other.id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_provider_belongs_to_one_attempt() {
    for fixture in fixtures().await {
        for (order_id, is_first) in [("1", true), ("2", false)] {
            let payment = a_payment(&fixture, order_id).await;
            create(&fixture.store, &payment).await.unwrap();
            let bound: Result<(), StoreError> = fixture
                .store
                .write(move |db| {
                    Box::pin(async move {
                        let id = clock::new_uuid().into();
                        let attempt =
                            insert_attempt(db, id, payment.id, ProviderName::Fake, NOW).await?;
                        assert_eq!(attempt.status, AttemptStatus::Open);
                        update_provider_key(db, id, "key").await?;
                        update_provider_key(db, id, "key").await
                    })
                })
                .await;
            match bound {
                Ok(()) => assert!(is_first),
                Err(StoreError::Constraint(name)) => {
                    assert_eq!(name, "payment_attempts_provider_provider_key_key");
                    assert!(!is_first);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_are_reserved_counted_once_and_freed() {
    for fixture in fixtures().await {
        let (store, id) = (&fixture.store, captured(&fixture, "1").await);
        let sums = async || store.find_payment(id).await.unwrap().unwrap().sums;
        let first = requested(store, id, 300).await.unwrap();
        let second = requested(store, id, 700).await.unwrap();
        assert_eq!(sums().await, Sums { captured: 1_000, reserved: 1_000, refunded: 0 });
        // Whatever the code before it has overlooked.
        let refused = requested(store, id, 1).await.unwrap_err();
        let ChangeError::Store(StoreError::Constraint(name)) = refused else { panic!("{refused}") };
        assert_eq!(name, "payments_refunded_check");

        ended(store, first, Some("c1")).await.unwrap();
        ended(store, second, None).await.unwrap();
        assert!(matches!(
            ended(store, first, Some("c1")).await,
            Err(ChangeError::Refund { from: RefundStatus::Succeeded, .. })
        ));
        assert_eq!(sums().await, Sums { captured: 1_000, reserved: 0, refunded: 300 });
        let last = requested(store, id, 700).await.unwrap();
        ended(store, last, Some("c2")).await.unwrap();

        let payment = store.find_payment(id).await.unwrap().unwrap();
        assert_eq!(payment.status, PaymentStatus::Refunded);
        let told = events(store).await;
        assert_eq!(told[2..], ["PaymentRefunded", "PaymentRefunded"]);
        for family in store.list_family_balances().await.unwrap() {
            assert_eq!(family.counters.credit_balance(), 0, "{}", family.family);
            assert_eq!(family.counters.debits_pending, 0, "{}", family.family);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_stays_as_it_is_once_it_is_paid_for() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let created = store.put_order(order("1", 500), NOW).await.unwrap();
        assert!(matches!(created, PutOrder::Created(_)));
        let changed = store.put_order(order("1", 1_000), NOW).await.unwrap();
        let PutOrder::Changed(changed) = changed else { panic!("{changed:?}") };
        assert_eq!(changed.amount, won(1_000));

        captured(&fixture, "1").await;
        assert_eq!(store.put_order(order("1", 2_000), NOW).await.unwrap(), PutOrder::HasPayment);
        let same = store.put_order(order("1", 1_000), NOW).await.unwrap();
        assert!(matches!(same, PutOrder::Changed(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payers_payments_are_listed_page_by_page_and_nobody_elses() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let first = a_payment(&fixture, "1").await;
        let mut ids = Vec::new();
        for n in 0..5 {
            let at = NOW.plus(std::time::Duration::from_millis(n / 2));
            let other = a_payment(&fixture, &format!("o{n}")).await;
            create(store, &Payment { created_at: at, ..other.clone() }).await.unwrap();
            let other = a_payment(&fixture, &format!("p{n}")).await;
            let payment = Payment { payer: first.payer, created_at: at, ..other };
            create(store, &payment).await.unwrap();
            ids.push(payment.id);
        }
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let filter = PaymentFilter::default();
            let page = store.list_payments(first.payer, filter, after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(PaymentCursor { created_at: last.created_at, id: last.id });
            listed.extend(page.into_iter().map(|payment| payment.id));
        }
        listed.reverse();
        assert_eq!(listed, ids);
        let filter = PaymentFilter { status: Some(PaymentStatus::Captured), ..Default::default() };
        assert_eq!(store.list_payments(first.payer, filter, None, 9).await.unwrap(), []);
        let from = Some(NOW.plus(std::time::Duration::from_millis(2)));
        let filter = PaymentFilter { from, ..Default::default() };
        let late = store.list_payments(first.payer, filter, None, 9).await.unwrap();
        assert_eq!(late.len(), 1);
    }
}

//! What a payer's bank wants back: held, refused to everybody else, and then free again or gone.

use std::time::Duration;

use super::{Ground, Looked, Made, PaymentStatus, body, code, grounds, won};
use crate::domain::ledger::Counters;
use crate::domain::ledger::chart::AccountName;
use crate::domain::money::Currency;
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::payments::refunds::RefundStatus;
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::store::StoreError;
use crate::store::disputes::Dispute;
use crate::store::ledger::balances::find_counters;
use crate::store::testing::tamper;

async fn counters(ground: &Ground, name: AccountName) -> Counters {
    let found: Result<Counters, StoreError> = ground
        .store
        .read(move |db| Box::pin(async move { find_counters(db, name, Currency::KRW).await }))
        .await;
    found.unwrap()
}

async fn only_dispute(ground: &Ground, made: &Made) -> Dispute {
    let all = ground.store.list_disputes(made.id).await.unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap()
}

/// A payment of 10,000 whose bank wants so much back, and that is known here.
pub(super) async fn disputed(ground: &Ground, order: &str, amount: Option<i64>) -> (Made, String) {
    let made = ground.captured(order, 10_000).await;
    let key = ground.provider.dispute(&made.order, amount.map(won)).unwrap();
    assert_eq!(ground.look_again(&made).await.unwrap(), Looked::Changed);
    ground.until(&made, PaymentStatus::Disputed).await;
    (made, key)
}

pub(super) async fn decide(ground: &Ground, made: &Made, key: &str, status: DisputeStatus) {
    ground.provider.decide(key, status).unwrap();
    assert_eq!(ground.look_again(made).await.unwrap(), Looked::Changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_disputed_is_held_and_nobody_refunds_it() {
    for ground in grounds().await {
        let (made, _) = disputed(&ground, "a", None).await;
        let escrow =
            counters(&ground, AccountName::Escrow(ground.payment(&made).await.shard)).await;
        assert_eq!((escrow.debits_pending, escrow.credit_available()), (10_000, 0));
        assert_eq!(code(&ground.cancel(&made, Some(1)).await, 409), "disputed");
        let again = ground.look_again(&made).await.unwrap();
        assert_eq!(again, Looked::Nothing, "it is known");
        let names = ground.store.list_event_names(made.id.to_string()).await;
        assert_eq!(names, ["PaymentCreated", "PaymentCompleted", "PaymentDisputed"]);
        ground.must_agree(&made).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_won_or_given_up_is_as_it_was() {
    for ground in grounds().await {
        for (order, status) in [("a", DisputeStatus::Won), ("b", DisputeStatus::Withdrawn)] {
            let (made, key) = disputed(&ground, order, None).await;
            decide(&ground, &made, &key, status).await;
            ground.until(&made, PaymentStatus::Captured).await;
            let escrow =
                counters(&ground, AccountName::Escrow(ground.payment(&made).await.shard)).await;
            assert_eq!((escrow.debits_pending, escrow.credit_available()), (0, 10_000));
            assert_eq!(body(&ground.cancel(&made, None).await, 200)["status"], "refunded");
            let names = ground.store.list_event_names(made.id.to_string()).await;
            assert_eq!(names[2..], ["PaymentDisputed", "PaymentDisputeWon", "PaymentRefunded"]);
            ground.must_agree(&made).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_has_gone_back_for_good() {
    for ground in grounds().await {
        let (made, key) = disputed(&ground, "a", None).await;
        decide(&ground, &made, &key, DisputeStatus::Lost).await;
        let payment = ground.until(&made, PaymentStatus::ChargedBack).await;
        assert_eq!(payment.sums.refunded, 10_000);
        assert_eq!(code(&ground.cancel(&made, None).await, 409), "wrong_state");
        let dispute = only_dispute(&ground, &made).await;
        assert!(dispute.closed_at.is_some() && dispute.status == DisputeStatus::Lost);
        assert_eq!(ground.entries(&made).await, ["capture", "dispute_hold", "dispute_lost"]);
        ground.must_agree(&made).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_part_that_is_lost_the_rest_stays() {
    for ground in grounds().await {
        let (made, key) = disputed(&ground, "a", Some(4_000)).await;
        decide(&ground, &made, &key, DisputeStatus::Lost).await;
        let payment = ground.until(&made, PaymentStatus::ChargedBack).await;
        assert_eq!((payment.sums.captured, payment.sums.refunded), (10_000, 4_000));
        let escrow =
            counters(&ground, AccountName::Escrow(ground.payment(&made).await.shard)).await;
        assert_eq!((escrow.debits_pending, escrow.credit_available()), (0, 6_000));
        let released = ground.store.release_order(payment.order, 0, "app".to_owned(), ground.now());
        assert_eq!(released.await.unwrap().share.gross, 6_000, "it can be earned");
        ground.must_agree(&made).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_only_asks_changes_nothing_until_it_wants_something() {
    for ground in grounds().await {
        let made = ground.captured("a", 10_000).await;
        let payment = ground.payment(&made).await;
        let told = |status| crate::store::disputes::Told {
            id: crate::clock::new_uuid().into(),
            payment: made.id,
            payee: None,
            provider: payment.provider,
            provider_key: "asked".to_owned(),
            currency: payment.currency,
            amount: made.amount,
            status,
            due_at: None,
        };
        for (status, expected) in [
            (DisputeStatus::Inquiry, PaymentStatus::Captured),
            (DisputeStatus::UnderReview, PaymentStatus::Disputed),
            // Heard late.
            (DisputeStatus::Inquiry, PaymentStatus::Disputed),
            (DisputeStatus::Won, PaymentStatus::Captured),
            (DisputeStatus::Lost, PaymentStatus::Captured),
        ] {
            ground.payments.write_down_dispute(told(status)).await.unwrap();
            ground.until(&made, expected).await;
        }
        ground.must_agree(&made).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_of_which_nothing_is_heard_is_asked_about() {
    for ground in grounds().await {
        let (made, key) = disputed(&ground, "a", None).await;
        ground.provider.decide(&key, DisputeStatus::Lost).unwrap();
        assert_eq!(ground.payments.sweep().await.unwrap().told, 0, "it was asked just now");
        ground.pass(Duration::from_hours(2)).await;
        assert_eq!(ground.payments.sweep().await.unwrap().told, 1);
        ground.until(&made, PaymentStatus::ChargedBack).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_answer_is_asked_again() {
    for ground in grounds().await {
        let made = ground.captured("a", 10_000).await;
        ground.provider.dispute(&made.order, None).unwrap();
        let silent = Some(Fault::Lost(Loss::Timeout, Moment::Before));
        ground.provider.plan(Operation::LookUp, [None, silent]);
        assert!(ground.look_again(&made).await.is_err(), "the charge is shown, the dispute is not");
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Captured);
        assert_eq!(ground.look_again(&made).await.unwrap(), Looked::Changed);
        ground.until(&made, PaymentStatus::Disputed).await;
    }
}

/// The refund was on its way when the bank wanted all of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_refund_has_taken_is_not_held_and_what_it_leaves_is_taken_after_all() {
    for ground in grounds().await {
        let made = ground.captured("a", 10_000).await;
        let lost = Some(Fault::Lost(Loss::Timeout, Moment::Before));
        // The look that finds the dispute has the refund asked for again, too.
        ground.provider.plan(Operation::Cancel, [lost, lost]);
        let call = ground.call("cancel", made.payer, None);
        let asked = ground.hasty.cancel(made.cancel(Some(3_000)), call).await.unwrap();
        assert_eq!(body(&asked, 202)["refund"]["amount"], 3_000);
        ground.rest().await;
        let key = ground.provider.dispute(&made.order, None).unwrap();
        ground.look_again(&made).await.unwrap();
        ground.until(&made, PaymentStatus::Disputed).await;
        assert_eq!(only_dispute(&ground, &made).await.covered, 7_000);
        // The provider refunds nothing that is disputed.
        super::eventually("the refund has failed", async || {
            if let Some(wake_at) = ground.next_wake().await {
                ground.pass(wake_at.since(ground.now())).await;
            }
            let refund = ground.store.list_refunds(made.id).await.unwrap().remove(0);
            (refund.status == RefundStatus::Failed).then_some(())
        })
        .await;
        decide(&ground, &made, &key, DisputeStatus::Lost).await;
        let payment = ground.until(&made, PaymentStatus::ChargedBack).await;
        assert_eq!((payment.sums.refunded, payment.sums.reserved), (10_000, 0));
        let ours = counters(&ground, AccountName::Chargeback).await;
        assert_eq!(ours.debit_balance(), 0, "it was there");
        ground.must_agree(&made).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_was_made_while_it_was_disputed_counts() {
    for ground in grounds().await {
        let made = ground.captured("a", 10_000).await;
        let lost = Some(Fault::Lost(Loss::Timeout, Moment::After));
        ground.provider.plan(Operation::Cancel, [lost]);
        let call = ground.call("cancel", made.payer, None);
        ground.hasty.cancel(made.cancel(Some(3_000)), call).await.unwrap();
        ground.rest().await;
        let key = ground.provider.dispute(&made.order, None).unwrap();
        ground.look_again(&made).await.unwrap();
        ground.until(&made, PaymentStatus::Disputed).await;
        super::eventually("the refund is known", async || {
            if let Some(wake_at) = ground.next_wake().await {
                ground.pass(wake_at.since(ground.now())).await;
            }
            (ground.payment(&made).await.sums.refunded == 3_000).then_some(())
        })
        .await;
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Disputed);
        decide(&ground, &made, &key, DisputeStatus::Won).await;
        ground.until(&made, PaymentStatus::PartiallyRefunded).await;
        ground.must_agree(&made).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_that_is_lost_waits_for_a_refund_of_which_nobody_knows() {
    for ground in grounds().await {
        let made = ground.captured("a", 10_000).await;
        let lost = Some(Fault::Lost(Loss::Timeout, Moment::Before));
        ground.provider.plan(Operation::Cancel, [lost, lost]);
        let call = ground.call("cancel", made.payer, None);
        ground.hasty.cancel(made.cancel(Some(3_000)), call).await.unwrap();
        ground.rest().await;
        let key = ground.provider.dispute(&made.order, None).unwrap();
        ground.look_again(&made).await.unwrap();
        ground.until(&made, PaymentStatus::Disputed).await;
        decide(&ground, &made, &key, DisputeStatus::Lost).await;
        let payment = ground.pass_until(&made, PaymentStatus::ChargedBack).await;
        let refund = ground.store.list_refunds(made.id).await.unwrap().remove(0);
        assert_eq!(refund.status, RefundStatus::Failed, "it was waited for");
        assert_eq!((payment.sums.refunded, payment.sums.reserved), (10_000, 0));
        let ours = counters(&ground, AccountName::Chargeback).await;
        assert_eq!(ours.debit_balance(), 0, "it was there");
        ground.must_agree(&made).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_whose_webhook_was_lost_is_heard_of() {
    for ground in grounds().await {
        let made = ground.captured("a", 10_000).await;
        ground.provider.dispute(&made.order, None).unwrap();
        ground.provider.plan(Operation::List, [Some(Fault::Lost(Loss::Timeout, Moment::Before))]);
        assert_eq!(ground.payments.look_for_disputes().await.unwrap(), 0, "nobody answers");
        assert_eq!(ground.payments.look_for_disputes().await.unwrap(), 1);
        ground.until(&made, PaymentStatus::Disputed).await;
        assert_eq!(ground.payments.look_for_disputes().await.unwrap(), 0, "it is known");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_of_which_nobody_says_anything_is_asked_about_in_its_turn_and_stops_no_other() {
    for ground in grounds().await {
        let (broken, _) = disputed(&ground, "a", None).await;
        let (made, key) = disputed(&ground, "b", None).await;
        ground.provider.decide(&key, DisputeStatus::Lost).unwrap();
        let spoil = "UPDATE disputes SET held = 'what a later release writes'
                     WHERE payment_id = (SELECT id FROM payments WHERE order_id = 'a')";
        tamper(&ground.store, spoil, spoil).await;
        ground.pass(Duration::from_hours(2)).await;
        let silent = Some(Fault::Lost(Loss::Timeout, Moment::Before));
        ground.provider.plan(Operation::LookUp, [silent]);
        let swept = ground.payments.sweep().await.unwrap();
        assert_eq!((swept.told, swept.unknown), (0, 1));
        let swept = ground.payments.sweep().await.unwrap();
        assert_eq!((swept.told, swept.unknown), (0, 0), "both were asked about just now");
        ground.pass(Duration::from_hours(2)).await;
        assert_eq!(ground.payments.sweep().await.unwrap().told, 1);
        ground.until(&made, PaymentStatus::ChargedBack).await;
        assert_eq!(ground.payment(&broken).await.status, PaymentStatus::Disputed);
    }
}

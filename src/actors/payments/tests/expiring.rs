//! What was not made in time, and what comes after that.

use std::time::Duration;

use super::{Ground, Made, body, grounds};
use crate::actors::payments::PaymentsError;
use crate::actors::payments::again::{LookAgain, Looked};
use crate::actors::payments::expiry::Swept;
use crate::actors::payments::requests::{CreatePayment, PaymentMethod};
use crate::domain::payments::{Cause, PaymentStatus, ProviderName};
use crate::domain::workflows::{EffectKey, WorkflowStatus};
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::providers::payments::fake::payer::Method;
use crate::providers::payments::{Answer, Confirm, DeclineCode, PaymentProvider};

/// The provider takes a payment, and nobody here has asked it to.
pub(super) async fn take_behind_our_back(ground: &Ground, made: &Made, provider_key: String) {
    let request = Confirm {
        provider_key,
        order: made.order.clone(),
        amount: made.amount,
        currency: crate::domain::money::Currency::KRW,
    };
    let taken = ground.provider.confirm(&request, &EffectKey::of("behind our back")).await;
    assert!(matches!(taken, Answer::Done(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_made_in_time_expires_and_what_is_under_way_does_not() {
    for ground in grounds().await {
        let idle = ground.created("1", 1_000).await;
        let (made, key) = ground.paid("2", 1_000).await;
        let mute = Fault::Mute(Duration::from_hours(2));
        ground.provider.plan(Operation::Confirm, [Some(mute)]);
        let call = ground.call("confirm", made.payer, None);
        ground.hasty.confirm(made.confirm(&key), call).await.unwrap();
        ground.rest().await;
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Unknown);
        assert_eq!(ground.payments.sweep().await.unwrap(), Swept::default());

        ground.pass(super::EXPIRES_AFTER).await;
        let swept = ground.payments.sweep().await.unwrap();

        assert_eq!(swept.expired, 1);
        assert_eq!(ground.payment(&idle).await.status, PaymentStatus::Expired);
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Unknown);
        // A look-up may be on its way that the sweep has asked for.
        ground.rest().await;
        ground.pass(Duration::from_hours(2)).await;
        ground.pass_until(&made, PaymentStatus::Captured).await;
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_wakes_the_workflow_that_waits_to_ask() {
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        let after = Fault::Lost(Loss::Timeout, Moment::After);
        let lost = Fault::Lost(Loss::Timeout, Moment::Before);
        ground.provider.plan(Operation::Confirm, [Some(after)]);
        // Nobody answers the look-ups after 1, 3, 10, 30 and 60 s; the next is five minutes away.
        ground.provider.plan(Operation::LookUp, [Some(lost); 5]);
        let call = ground.call("confirm", made.payer, None);
        ground.hasty.confirm(made.confirm(&key), call).await.unwrap();
        super::eventually("it waits for long", async || {
            let wait = ground.next_wake().await?.since(ground.now());
            if wait > Duration::from_secs(120) {
                return Some(());
            }
            ground.pass(wait).await;
            None
        })
        .await;

        assert_eq!(ground.look_again(&made).await.unwrap(), Looked::Told);
        assert_eq!(ground.store.list_owing_providers().await.unwrap(), ["fake"]);

        ground.until(&made, PaymentStatus::Captured).await;
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_does_not_come_is_waited_for_no_longer() {
    for ground in grounds().await {
        let with = |request| CreatePayment { method: PaymentMethod::VirtualAccount, ..request };
        let made = ground.created_as("1", 1_000, with).await;
        let key = ground.provider.pay(&made.order, Method::VirtualAccount).unwrap();
        ground.confirm(&made, &key).await;
        ground.pass(super::EXPIRES_AFTER).await;
        assert_eq!(ground.payments.sweep().await.unwrap().expired, 0);

        ground.pass(Duration::from_hours(7 * 24)).await;
        // Nobody says whether it has come.
        let lost = Fault::Lost(Loss::Timeout, Moment::Before);
        ground.provider.plan(Operation::LookUp, [Some(lost)]);
        let swept = ground.payments.sweep().await.unwrap();
        assert_eq!((swept.expired, swept.unknown), (0, 1));
        ground.pass(Duration::from_mins(1)).await;
        assert_eq!(ground.payments.sweep().await.unwrap().expired, 1);

        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Expired);
        super::eventually("the account is closed", async || {
            let charge = ground.provider.find_order(&made.order).unwrap();
            (charge.status == crate::providers::payments::ChargeStatus::Canceled).then_some(())
        })
        .await;
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_for_a_payment_that_is_over_is_given_back_once() {
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        assert_eq!(body(&ground.cancel(&made, None).await, 200)["status"], "canceled");
        take_behind_our_back(&ground, &made, key).await;

        assert_eq!(ground.look_again(&made).await.unwrap(), Looked::Changed);
        ground.look_again(&made).await.unwrap();

        super::eventually("it is given back", async || {
            (ground.entries(&made).await == ["orphan", "orphan_refund"]).then_some(())
        })
        .await;
        assert_eq!(ground.look_again(&made).await.unwrap(), Looked::Nothing);
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Canceled);
        assert_eq!(ground.moved(&made), (0, 1));
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_before_anybody_confirms_it_is_booked_when_it_is_heard_of() {
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        take_behind_our_back(&ground, &made, key).await;
        assert_eq!(ground.look_again(&made).await.unwrap(), Looked::Changed);
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Captured);
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_about_nothing_of_ours_or_with_a_foreign_key_does_nothing() {
    for ground in grounds().await {
        let (victim, key) = ground.paid("1", 1_000).await;
        take_behind_our_back(&ground, &victim, key.clone()).await;
        let other = ground.created("2", 1_000).await;
        let look = async |order: Option<String>, provider_key: Option<String>| {
            let hint = LookAgain { order, provider_key, cause: Cause::Webhook };
            ground.payments.look_again(ProviderName::Fake, hint).await.unwrap()
        };
        assert_eq!(look(Some("nothing".to_owned()), None).await, Looked::Unknown);
        assert_eq!(look(None, Some("nothing".to_owned())).await, Looked::Unknown);
        assert_eq!(look(Some(other.order.clone()), Some(key)).await, Looked::Nothing);
        assert_eq!(ground.payment(&other).await.status, PaymentStatus::Created);
        ground.workflows.stop().await;
    }
}

async fn awaiting(ground: &Ground) -> Made {
    let with = |request| CreatePayment { method: PaymentMethod::VirtualAccount, ..request };
    let made = ground.created_as("1", 1_000, with).await;
    let key = ground.provider.pay(&made.order, Method::VirtualAccount).unwrap();
    let answered = ground.confirm(&made, &key).await;
    assert_eq!(body(&answered, 200)["status"], "awaiting_deposit");
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_of_which_nobody_has_heard_is_found_within_an_hour() {
    for ground in grounds().await {
        let made = awaiting(&ground).await;
        // Asked once already.
        ground.payments.sweep().await.unwrap();
        ground.provider.deposit(&made.order).unwrap();
        ground.pass(Duration::from_mins(59)).await;
        ground.payments.sweep().await.unwrap();
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::AwaitingDeposit);

        ground.pass(Duration::from_mins(2)).await;
        ground.payments.sweep().await.unwrap();

        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Captured);
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_comes_while_its_account_is_being_closed_is_booked() {
    for ground in grounds().await {
        let made = awaiting(&ground).await;
        ground.pass(Duration::from_hours(8 * 24)).await;
        let lost = Fault::Lost(Loss::Timeout, Moment::Before);
        ground.provider.plan(Operation::Cancel, [Some(lost), Some(lost)]);
        ground.payments.sweep().await.unwrap();
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Expired);
        ground.provider.deposit(&made.order).unwrap();

        assert_eq!(ground.look_again(&made).await.unwrap(), Looked::Changed);

        // It cannot go back without an account of the payer's: somebody has to see to it, and the books say so.
        super::eventually("somebody has to look", async || {
            if let Some(wake_at) = ground.next_wake().await {
                ground.pass(wake_at.since(ground.now())).await;
            }
            let status = WorkflowStatus::Parked;
            let parked = ground.store.list_workflows(status, None, 9).await.unwrap();
            parked.iter().any(|it| it.dedupe_key.starts_with("orphan:")).then_some(())
        })
        .await;
        assert_eq!(ground.entries(&made).await, ["orphan"]);
        let booked = ground.store.sum_receivable_of(made.id.uuid()).await.unwrap();
        assert_eq!((ground.moved(&made), booked), ((1_000, 1), 1_000));
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_heard_while_a_payment_is_voided_is_asked_about_again() {
    for ground in grounds().await {
        let made = awaiting(&ground).await;
        let lost = Fault::Lost(Loss::Timeout, Moment::Before);
        let declined = Fault::Declined(DeclineCode::NotRefundable);
        ground.provider.plan(Operation::Cancel, [Some(lost), Some(declined)]);
        let call = ground.call("cancel", made.payer, None);
        ground.hasty.cancel(made.cancel(None), call).await.unwrap();
        ground.provider.deposit(&made.order).unwrap();

        let early = ground.look_again(&made).await;
        assert!(matches!(early, Err(PaymentsError::Unavailable(_))), "{early:?}");
        ground.pass_until(&made, PaymentStatus::AwaitingDeposit).await;
        assert_eq!(ground.look_again(&made).await.unwrap(), Looked::Changed);

        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Captured);
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

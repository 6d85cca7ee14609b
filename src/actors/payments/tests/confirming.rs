//! Payments that are confirmed: taken once, for what was agreed, whatever becomes of the answers.

use std::sync::Arc;
use std::time::Duration;

use super::{Made, body, code, grounds, grounds_with, won};
use crate::actors::payments::PaymentsError;
use crate::actors::payments::requests::{ConfirmPayment, PaymentKey};
use crate::clock;
use crate::domain::payments::PaymentStatus;
use crate::domain::workflows::WorkflowStatus;
use crate::providers::payments::fake::SOUND;
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::providers::payments::fake::payer::Method;
use crate::providers::payments::{Capabilities, DeclineCode};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_payer_has_made_is_taken_and_booked() {
    for ground in grounds().await {
        let made = ground.captured("1", 1_000).await;

        ground.must_agree(&made).await;
        assert_eq!(ground.moved(&made), (1_000, 1));
        assert_eq!(ground.entries(&made).await, ["capture"]);
        let history = ground.store.list_payment_transitions(made.id).await.unwrap();
        let statuses: Vec<&str> = history.iter().map(|row| row.to_status.as_str()).collect();
        assert_eq!(statuses, ["created", "confirming", "captured"]);
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_confirms_at_once_one_charges() {
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        let ground = Arc::new(ground);
        // Half of them are the same request.
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let (ground, made, key) = (Arc::clone(&ground), made.clone(), key.clone());
                tokio::spawn(async move {
                    let same = (n % 2 == 0).then_some("the-same-key");
                    let call = ground.call("confirm", made.payer, same);
                    ground.payments.confirm(made.confirm(&key), call).await
                })
            })
            .collect();
        let mut taken = 0;
        for task in tasks {
            let answered = task.await.unwrap().unwrap();
            match answered.answer.status {
                200 => {
                    assert_eq!(body(&answered, 200)["status"], "captured");
                    taken += 1;
                }
                409 => {
                    let code = code(&answered, 409);
                    assert!(["payment_under_way", "wrong_state"].contains(&code.as_str()));
                }
                other => panic!("{other}: {}", answered.answer.body),
            }
        }
        // The same request is answered alike, whichever was the first.
        assert!(taken == 1 || taken == 32, "{taken}");
        assert_eq!(ground.moved(&made), (1_000, 1));
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_amount_somebody_elses_and_what_is_over_are_refused() {
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        let confirm = async |request: ConfirmPayment| {
            let call = ground.call("confirm", request.payer, None);
            ground.payments.confirm(request, call).await
        };
        for amount in [1, 999, 1_001] {
            let wrong = ConfirmPayment { amount: won(amount), ..made.confirm(&key) };
            assert_eq!(code(&confirm(wrong).await.unwrap(), 422), "amount_mismatch");
        }
        let stranger = ConfirmPayment { payer: clock::new_uuid().into(), ..made.confirm(&key) };
        assert!(matches!(confirm(stranger).await, Err(PaymentsError::NotFound)));
        assert_eq!(ground.moved(&made), (0, 0));

        let other = ground.created("2", 1_000).await;
        ground.confirm(&made, &key).await;
        let stolen = confirm(other.confirm(&key)).await.unwrap();
        assert_eq!(code(&stolen, 409), "payment_key_in_use");
        assert_eq!(code(&confirm(made.confirm(&key)).await.unwrap(), 409), "wrong_state");
        ground.pass(super::EXPIRES_AFTER).await;
        let late = confirm(other.confirm("late")).await.unwrap();
        assert_eq!(code(&late, 410), "payment_expired");
        ground.must_agree(&made).await;
        ground.must_agree(&other).await;
        ground.workflows.stop().await;
    }
}

#[test]
fn a_key_is_printable_and_bounded() {
    for text in ["", "a b", "키", "a\n", &"k".repeat(201)] {
        assert_eq!(PaymentKey::parse(text), None, "{text:?}");
    }
    let key = PaymentKey::parse("tgen_2026~secret").unwrap();
    assert_eq!(format!("{key:?}"), "PaymentKey");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declined_is_told_so_and_can_be_paid_otherwise() {
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        let declined = Fault::Declined(DeclineCode::CardDeclined);
        ground.provider.plan(Operation::Confirm, [Some(declined)]);

        let answered = ground.confirm(&made, &key).await;

        let told = body(&answered, 402);
        assert_eq!(told["code"], "payment_declined");
        assert_eq!(told["failure_code"], "card_declined");
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Failed);
        ground.must_agree(&made).await;
        ground.captured("1", 1_000).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_otherwise_than_agreed_is_given_back() {
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        ground.provider.plan(Operation::Confirm, [Some(Fault::WrongAmount)]);

        let answered = ground.confirm(&made, &key).await;

        assert_eq!(code(&answered, 409), "payment_conflicted");
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Canceled);
        assert_eq!(ground.moved(&made), (0, 1));
        assert_eq!(ground.entries(&made).await, ["conflict", "conflict_back"]);
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_told_so_and_found_out_by_asking() {
    let lost = |moment| Fault::Lost(Loss::Timeout, moment);
    for fault in [
        lost(Moment::Before),
        lost(Moment::After),
        Fault::Hidden(Duration::from_mins(3)),
        Fault::Late(Duration::from_mins(3)),
    ] {
        for ground in grounds().await {
            let (made, key) = ground.paid("1", 1_000).await;
            ground.provider.plan(Operation::Confirm, [Some(fault)]);
            let call = ground.call("confirm", made.payer, Some("the-same-key"));

            let first = ground.hasty.confirm(made.confirm(&key), call.clone()).await.unwrap();
            assert!(
                ["confirming", "unknown"].contains(&body(&first, 202)["status"].as_str().unwrap())
            );
            ground.pass_until(&made, PaymentStatus::Captured).await;
            let again = ground.payments.confirm(made.confirm(&key), call).await.unwrap();

            assert_eq!(body(&again, 200)["status"], "captured");
            assert!(again.is_replayed);
            assert_eq!(ground.moved(&made), (1_000, 1));
            ground.must_agree(&made).await;
            ground.workflows.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_somebody_elses_charge_fails_and_leaves_that_alone() {
    for ground in grounds().await {
        let (victim, key) = ground.paid("1", 1_000).await;
        let thief = ground.created("2", 1_000).await;
        let call = ground.call("confirm", thief.payer, None);

        ground.hasty.confirm(thief.confirm(&key), call).await.unwrap();
        let failed = ground.pass_until(&thief, PaymentStatus::Failed).await;

        assert_eq!(failed.failure_code.as_deref(), Some("payment_key_mismatch"));
        let answered = ground.confirm(&victim, &key).await;
        assert_eq!(body(&answered, 200)["status"], "captured");
        for made in [&victim, &thief] {
            ground.must_agree(made).await;
        }
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_payer_has_never_made_fails_when_its_time_is_over() {
    for ground in grounds().await {
        let made: Made = ground.created("1", 1_000).await;
        let call = ground.call("confirm", made.payer, None);
        ground.hasty.confirm(made.confirm(&format!("fake-{}", made.order)), call).await.unwrap();

        ground.rest().await;
        ground.pass(super::EXPIRES_AFTER).await;
        let failed = ground.pass_until(&made, PaymentStatus::Failed).await;

        assert_eq!(failed.failure_code.as_deref(), Some("not_confirmed"));
        // Paid by now, and nobody takes it.
        ground.provider.pay(&made.order, Method::Card).unwrap();
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

/// Toss and Stripe remember a key for a day, and say for certain what is not there after one.
#[tokio::test(flavor = "multi_thread")]
async fn what_its_payer_has_never_made_fails_however_long_its_provider_takes_to_be_certain() {
    let slow = Capabilities { absent_after: Duration::from_hours(24), ..SOUND };
    for ground in grounds_with(slow).await {
        let made = ground.created("1", 1_000).await;
        let call = ground.call("confirm", made.payer, None);
        ground.hasty.confirm(made.confirm(&format!("fake-{}", made.order)), call).await.unwrap();

        let failed = ground.pass_until(&made, PaymentStatus::Failed).await;

        assert_eq!(failed.failure_code.as_deref(), Some("not_confirmed"));
        assert!(
            ground.store.list_workflows(WorkflowStatus::Parked, None, 1).await.unwrap().is_empty()
        );
        // Its order can be paid for again.
        ground.created("1", 1_000).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_because_something_else_was_going_on_is_done_under_the_same_key_later() {
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        let lost = Fault::Lost(Loss::Timeout, Moment::After);
        ground.provider.plan(Operation::Confirm, [Some(lost)]);
        let call = ground.call("confirm", made.payer, None);
        ground.hasty.confirm(made.confirm(&key), call).await.unwrap();
        let call = ground.call("cancel", made.payer, Some("the-same-key"));
        ground.provider.plan(Operation::LookUp, [Some(lost)]);

        let early = ground.payments.cancel(made.cancel(None), call.clone()).await.unwrap();
        assert_eq!(code(&early, 409), "payment_under_way");
        ground.pass_until(&made, PaymentStatus::Captured).await;
        let late = ground.payments.cancel(made.cancel(None), call).await.unwrap();

        assert_eq!(body(&late, 200)["status"], "refunded");
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

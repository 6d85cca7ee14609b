//! Money that goes back: as much as is left, once, and never more.

use std::sync::Arc;

use super::{body, code, grounds};
use crate::actors::payments::PaymentsError;
use crate::actors::payments::requests::CancelPayment;
use crate::clock;
use crate::domain::payments::PaymentStatus;
use crate::domain::payments::refunds::{REFUNDS_MAX, RefundStatus, Sums};
use crate::domain::workflows::{Reason, WorkflowStatus};
use crate::providers::payments::DeclineCode;
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};

#[tokio::test(flavor = "multi_thread")]
async fn a_part_goes_back_then_the_rest_and_nothing_more() {
    for ground in grounds().await {
        let made = ground.captured("1", 1_000).await;

        let part = body(&ground.cancel(&made, Some(300)).await, 200);
        assert_eq!(
            (&part["status"], &part["refunded"]),
            (&"partially_refunded".into(), &300.into())
        );
        assert_eq!(part["refund"]["status"], "succeeded");
        let over = ground.cancel(&made, Some(701)).await;
        assert_eq!(code(&over, 422), "exceeds_refundable");
        assert_eq!(body(&over, 422)["refundable"], 700);
        let rest = body(&ground.cancel(&made, None).await, 200);
        assert_eq!((&rest["status"], &rest["refunded"]), (&"refunded".into(), &1_000.into()));
        assert_eq!(code(&ground.cancel(&made, Some(1)).await, 409), "wrong_state");

        ground.must_agree(&made).await;
        assert_eq!(ground.moved(&made), (0, 1));
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_refunds_of_the_whole_at_once_one_is_made() {
    for ground in grounds().await {
        let made = ground.captured("1", 1_000).await;
        let ground = Arc::new(ground);
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let (ground, made) = (Arc::clone(&ground), made.clone());
                tokio::spawn(async move { ground.cancel(&made, Some(1_000)).await.answer.status })
            })
            .collect();
        let mut statuses = Vec::new();
        for task in tasks {
            statuses.push(task.await.unwrap());
        }
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 409, 422].contains(status)), "{statuses:?}");
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_does_not_give_back_is_free_again() {
    for ground in grounds().await {
        let made = ground.captured("1", 1_000).await;
        let refused = Fault::Declined(DeclineCode::NotRefundable);
        ground.provider.plan(Operation::Cancel, [Some(refused)]);

        let answered = ground.cancel(&made, Some(400)).await;

        assert_eq!(code(&answered, 422), "cancel_declined");
        let payment = ground.payment(&made).await;
        assert_eq!(payment.sums, Sums { captured: 1_000, reserved: 0, refunded: 0 });
        assert_eq!(payment.status, PaymentStatus::Captured);
        assert_eq!(body(&ground.cancel(&made, None).await, 200)["refunded"], 1_000);
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_which_nobody_knows_is_held_until_it_is_found() {
    for moment in [Moment::Before, Moment::After] {
        for ground in grounds().await {
            let made = ground.captured("1", 1_000).await;
            let lost = Fault::Lost(Loss::ServerError, moment);
            ground.provider.plan(Operation::Cancel, [Some(lost)]);
            let call = ground.call("cancel", made.payer, Some("the-same-key"));
            let cancel = made.cancel(Some(1_000));

            let first = ground.hasty.cancel(cancel.clone(), call.clone()).await.unwrap();
            assert_eq!(body(&first, 202)["refund_reserved"], 1_000);
            let over = ground.cancel(&made, Some(1)).await;
            assert_eq!(body(&over, 422)["refundable"], 0);
            ground.pass_until(&made, PaymentStatus::Refunded).await;

            let again = ground.payments.cancel(cancel, call).await.unwrap();
            assert_eq!(body(&again, 200)["refund"]["status"], "succeeded");
            let refunds = ground.store.list_refunds(made.id).await.unwrap();
            assert_eq!(refunds.len(), 1);
            ground.must_agree(&made).await;
            ground.workflows.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_back_otherwise_is_for_somebody_to_look_at() {
    for ground in grounds().await {
        let made = ground.captured("1", 1_000).await;
        ground.provider.plan(Operation::Cancel, [Some(Fault::WrongAmount)]);

        let answered = ground.cancel(&made, Some(400)).await;

        assert_eq!(body(&answered, 202)["refund"]["status"], "needs_review");
        let refunds = ground.store.list_refunds(made.id).await.unwrap();
        assert_eq!(refunds[0].status, RefundStatus::NeedsReview);
        assert_eq!(ground.payment(&made).await.sums.reserved, 400);

        // Somebody has looked, and has it asked for again; what was given back otherwise stays for them.
        let parked = ground.store.list_workflows(WorkflowStatus::Parked, None, 9).await.unwrap();
        let reason = Reason::parse("the provider was asked").unwrap();
        ground.store.resume_workflow(parked[0].id, made.payer, reason, ground.now()).await.unwrap();
        super::eventually("it is asked for and parked again", async || {
            let id = parked[0].id;
            let (seen, steps) = ground.store.get_workflow(id).await.unwrap();
            let notes = steps.iter().filter(|step| step.name == "parked").count();
            (seen.status == WorkflowStatus::Parked && notes == 2).then_some(seen)
        })
        .await;
        assert_eq!(ground.moved(&made).1, 1);
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_back_somebody_elses_but_a_service() {
    for ground in grounds().await {
        let made = ground.captured("1", 1_000).await;
        let stranger = clock::new_uuid().into();
        let foreign = CancelPayment { payer: Some(stranger), ..made.cancel(None) };
        let call = ground.call("cancel", stranger, None);
        let refused = ground.payments.cancel(foreign, call).await;
        assert!(matches!(refused, Err(PaymentsError::NotFound)));

        let service =
            CancelPayment { payer: None, actor: "service:shop".to_owned(), ..made.cancel(None) };
        let call = ground.call("cancel", stranger, None);
        let done = ground.payments.cancel(service, call).await.unwrap();
        assert_eq!(body(&done, 200)["status"], "refunded");
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_taken_is_given_up_and_never_taken() {
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        assert_eq!(body(&ground.cancel(&made, None).await, 200)["status"], "canceled");
        assert_eq!(code(&ground.confirm(&made, &key).await, 409), "wrong_state");
        assert_eq!(code(&ground.cancel(&made, None).await, 409), "wrong_state");
        assert_eq!(ground.moved(&made), (0, 0));
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_fifty_parts_only_all_that_is_left_goes_back() {
    for ground in grounds().await {
        let made = ground.captured("1", 1_000).await;
        for _ in 0..REFUNDS_MAX {
            body(&ground.cancel(&made, Some(1)).await, 200);
        }
        assert_eq!(code(&ground.cancel(&made, Some(1)).await, 409), "too_many_refunds");
        assert_eq!(body(&ground.cancel(&made, None).await, 200)["status"], "refunded");
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

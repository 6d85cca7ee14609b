//! What is taken later: set aside first, or paid into a virtual account.

use std::time::Duration;

use super::{Ground, Made, body, code, grounds};
use crate::actors::payments::again::Looked;
use crate::actors::payments::answers::Answered;
use crate::actors::payments::requests::{CapturePayment, CreatePayment, PaymentMethod};
use crate::domain::payments::PaymentStatus;
use crate::providers::payments::DeclineCode;
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::providers::payments::fake::payer::Method;

pub(super) async fn authorized(ground: &Ground) -> Made {
    let with = |request| CreatePayment { is_captured_later: true, ..request };
    let made = ground.created_as("1", 1_000, with).await;
    let key = ground.provider.pay(&made.order, Method::Card).unwrap();
    let answered = ground.confirm(&made, &key).await;
    assert_eq!(body(&answered, 200)["status"], "authorized");
    ground.must_agree(&made).await;
    made
}

async fn capture(ground: &Ground, made: &Made) -> Answered {
    let call = ground.call("capture", made.payer, None);
    let request = CapturePayment { payment: made.id, payer: Some(made.payer), admin: None };
    ground.payments.capture(request, call).await.unwrap()
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
async fn what_was_set_aside_is_taken_once() {
    for ground in grounds().await {
        let made = authorized(&ground).await;
        assert_eq!(body(&capture(&ground, &made).await, 200)["status"], "captured");
        assert_eq!(code(&capture(&ground, &made).await, 409), "wrong_state");
        assert_eq!(ground.moved(&made), (1_000, 1));
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_of_which_nobody_knows_is_found_out() {
    for moment in [Moment::Before, Moment::After] {
        for ground in grounds().await {
            let made = authorized(&ground).await;
            let lost = Fault::Lost(Loss::Timeout, moment);
            ground.provider.plan(Operation::Capture, [Some(lost)]);
            let call = ground.call("capture", made.payer, None);
            let request = CapturePayment { payment: made.id, payer: Some(made.payer), admin: None };
            ground.hasty.capture(request, call).await.unwrap();

            ground.pass_until(&made, PaymentStatus::Captured).await;

            assert_eq!(ground.moved(&made), (1_000, 1));
            ground.must_agree(&made).await;
            ground.workflows.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_lapsed_or_is_let_go_is_canceled() {
    for ground in grounds().await {
        let made = authorized(&ground).await;
        assert_eq!(code(&ground.cancel(&made, Some(400)).await, 409), "wrong_state");
        assert_eq!(body(&ground.cancel(&made, None).await, 200)["status"], "canceled");
        ground.must_agree(&made).await;

        let made = authorized(&ground).await;
        let declined = Fault::Declined(DeclineCode::CardDeclined);
        ground.provider.plan(Operation::Capture, [Some(declined)]);
        assert_eq!(code(&capture(&ground, &made).await, 402), "payment_declined");
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Canceled);
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_voided_stays_and_may_be_tried_again() {
    for ground in grounds().await {
        let made = authorized(&ground).await;
        let refused = Fault::Declined(DeclineCode::NotRefundable);
        ground.provider.plan(Operation::Cancel, [Some(refused)]);
        assert_eq!(code(&ground.cancel(&made, None).await, 422), "cancel_declined");
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Authorized);
        assert_eq!(body(&ground.cancel(&made, None).await, 200)["status"], "canceled");
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_is_asked_about_once_an_hour() {
    let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
    for ground in grounds().await {
        let made = authorized(&ground).await;
        let taken = async || {
            let now = ground.now();
            let (since, late) = (now.minus(hour), now.minus(minute));
            ground.store.take_watched_payments(since, late, now, 9).await.unwrap()
        };
        // Beyond the time within which it had to be paid for.
        for (passed, asked) in [(hour * 2, 1), (minute * 2, 0), (minute * 30, 0), (minute * 30, 1)]
        {
            ground.pass(passed).await;
            assert_eq!(taken().await, vec![made.id; asked], "{passed:?}");
        }
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_into_a_virtual_account_is_booked_when_it_is_heard_of() {
    for ground in grounds().await {
        let made = awaiting(&ground).await;
        let history = ground.store.list_payment_transitions(made.id).await.unwrap();
        assert_eq!(history.last().unwrap().from_status.as_deref(), Some("created"));
        assert_eq!(ground.look_again(&made).await.unwrap(), Looked::Nothing);

        ground.provider.deposit(&made.order).unwrap();
        assert_eq!(ground.look_again(&made).await.unwrap(), Looked::Changed);
        assert_eq!(ground.look_again(&made).await.unwrap(), Looked::Nothing);

        let payment = ground.until(&made, PaymentStatus::Captured).await;
        assert_eq!(payment.sums.captured, 1_000);
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_account_that_nobody_had_agreed_on_is_closed() {
    for ground in grounds().await {
        let made = ground.created("1", 1_000).await;
        let key = ground.provider.pay(&made.order, Method::VirtualAccount).unwrap();
        let answered = ground.confirm(&made, &key).await;
        assert_eq!(code(&answered, 409), "payment_conflicted");
        assert!(ground.provider.deposit(&made.order).is_err());
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

//! Each fault: what it answers, what it has done, and what look-ups show.

use super::super::faults::{Loss, Moment};
use super::super::{FORGETFUL, SILENT, SOUND};
use super::*;
use crate::providers::payments::DeclineCode;

const LOSSES: [Loss; 3] = [Loss::Timeout, Loss::ServerError, Loss::UnlistedCode];

#[tokio::test]
async fn a_call_lost_before_has_done_nothing_and_can_be_made_again() {
    for loss in LOSSES {
        let fault = Fault::Lost(loss, Moment::Before);
        let town = Town::with(SOUND, Operation::Confirm, fault);
        let request = town.paid("order", 1_000).await;

        assert!(is_unknown(&town.confirm(&request, "key").await), "{loss:?}");
        assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Open));
        assert!(town.moved("order").is_empty());
        assert!(matches!(town.confirm(&request, "key").await, Answer::Done(_)));
    }
}

#[tokio::test]
async fn a_call_lost_after_has_done_it_and_a_known_key_does_it_once() {
    for loss in LOSSES {
        let town = Town::with(SOUND, Operation::Confirm, Fault::Lost(loss, Moment::After));
        let request = town.paid("order", 1_000).await;

        assert!(is_unknown(&town.confirm(&request, "key").await), "{loss:?}");
        assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Captured));
        assert!(matches!(town.confirm(&request, "key").await, Answer::Done(_)));
        assert_eq!(town.moved("order"), [(RemoteKind::Charge, 1_000)]);
    }
}

#[tokio::test]
async fn another_key_for_what_was_done_is_no_refusal() {
    let town = Town::new(SOUND, Faults::default());
    let request = town.taken("order", 1_000).await;

    assert!(is_unknown(&town.confirm(&request, "another").await));
    town.cancel(&request, None, "refund").await;
    assert!(is_unknown(&town.cancel(&request, None, "another").await));
    assert!(is_unknown(&town.confirm(&request, "a third").await));
}

#[tokio::test]
async fn who_does_not_know_keys_does_again_what_is_asked_again() {
    let town = Town::new(FORGETFUL, Faults::default());
    let request = town.taken("order", 1_000).await;

    let Answer::Done(second) = town.confirm(&request, "order").await else { panic!() };
    assert_ne!(second.provider_key, request.provider_key);
    assert_eq!(town.moved("order"), [(RemoteKind::Charge, 1_000); 2]);
    for _ in 0..2 {
        assert!(matches!(town.cancel(&request, Some(300), "refund").await, Answer::Done(_)));
    }
    assert_eq!(town.moved("order")[2..], [(RemoteKind::Cancel, 300); 2]);
}

#[tokio::test]
async fn a_key_is_known_for_so_long_and_no_longer() {
    let town = Town::new(SOUND, Faults::default());
    let request = town.taken("order", 1_000).await;
    let first = town.cancel(&request, Some(100), "refund").await;
    town.pass(MINUTE * 60 * 24 * 14);
    assert_eq!(town.cancel(&request, Some(100), "refund").await, first);
    town.pass(MINUTE * 60 * 24);
    assert_ne!(town.cancel(&request, Some(100), "refund").await, first);
}

#[tokio::test]
async fn a_late_call_is_done_later_and_once_where_keys_are_known() {
    let town = Town::with(SOUND, Operation::Confirm, Fault::Late(MINUTE * 3));
    let request = town.paid("order", 1_000).await;

    assert!(is_unknown(&town.confirm(&request, "key").await));
    assert!(is_unknown(&town.confirm(&request, "key").await), "it is on its way");
    town.pass(MINUTE * 2);
    assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Open));
    town.pass(MINUTE);
    assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Captured));
    assert!(matches!(town.confirm(&request, "key").await, Answer::Done(_)));
    assert_eq!(town.moved("order"), [(RemoteKind::Charge, 1_000)]);
}

#[tokio::test]
async fn a_late_call_comes_on_top_where_keys_are_not_known() {
    let town = Town::with(FORGETFUL, Operation::Confirm, Fault::Late(MINUTE));
    let request = town.paid("order", 1_000).await;
    town.confirm(&request, "key").await;
    assert!(matches!(town.confirm(&request, "key").await, Answer::Done(_)));
    town.pass(MINUTE);
    assert_eq!(town.moved("order").len(), 2);
}

#[tokio::test]
async fn a_late_call_does_nothing_to_what_was_voided_meanwhile() {
    let town = Town::with(SOUND, Operation::Confirm, Fault::Late(MINUTE));
    let request = town.paid("order", 1_000).await;
    town.confirm(&request, "key").await;
    assert!(matches!(town.cancel(&request, None, "void").await, Answer::Done(_)));
    town.pass(MINUTE);
    assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Canceled));
    assert!(town.moved("order").is_empty());
}

#[tokio::test]
async fn what_is_hidden_was_done_and_is_shown_later() {
    let town = Town::with(SOUND, Operation::Confirm, Fault::Hidden(MINUTE * 3));
    let request = town.paid("order", 1_000).await;

    assert!(is_unknown(&town.confirm(&request, "key").await));
    assert_eq!(town.moved("order"), [(RemoteKind::Charge, 1_000)]);
    assert_eq!(town.find(&request).await, LookUp::Absent);
    town.pass(MINUTE * 3);
    assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Captured));
}

#[tokio::test]
async fn while_a_refund_is_hidden_the_charge_is_shown_without_it() {
    let town = Town::with(SOUND, Operation::Cancel, Fault::Hidden(MINUTE));
    let request = town.taken("order", 1_000).await;

    assert!(is_unknown(&town.cancel(&request, None, "refund").await));
    assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Captured));
    assert_eq!(town.find_cancel(&request, "refund").await, LookUp::Absent);
    town.pass(MINUTE);
    assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Canceled));
    assert!(matches!(town.find_cancel(&request, "refund").await, LookUp::Found(_)));
}

#[tokio::test]
async fn what_is_mute_was_done_and_cannot_be_asked_for() {
    let town = Town::with(SOUND, Operation::Confirm, Fault::Mute(MINUTE));
    let request = town.paid("order", 1_000).await;

    assert!(is_unknown(&town.confirm(&request, "key").await));
    assert!(matches!(town.find(&request).await, LookUp::Unknown(_)));
    town.pass(MINUTE);
    assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Captured));
}

#[tokio::test]
async fn a_look_up_or_a_list_that_is_not_answered_says_nothing() {
    let town = Town::new(SOUND, Faults::default());
    let request = town.taken("order", 1_000).await;
    let lost = Some(Fault::Lost(Loss::Timeout, Moment::Before));
    town.provider.plan(Operation::LookUp, [lost, None]);
    town.provider.plan(Operation::List, [lost]);

    assert!(matches!(town.find(&request).await, LookUp::Unknown(_)));
    assert!(matches!(town.find(&request).await, LookUp::Found(_)));
    assert!(town.provider.list_transactions("2026-11-22", None).await.is_err());
}

#[tokio::test]
async fn who_is_silent_is_asked_by_its_own_key_alone() {
    let town = Town::new(SILENT, Faults::default());
    let request = town.taken("order", 1_000).await;
    town.cancel(&request, None, "refund").await;

    assert!(matches!(town.find(&request).await, LookUp::Unknown(_)));
    assert!(matches!(town.find_cancel(&request, "refund").await, LookUp::Unknown(_)));
    let key = Some(request.provider_key.as_str());
    let found = town.provider.find_charge("order", key).await;
    let LookUp::Found(charge) = found else { panic!("{found:?}") };
    assert_eq!(charge.cancels[0].effect_key, None);
}

#[tokio::test]
async fn what_is_doubled_was_told_once_and_is_listed_twice() {
    let town = Town::with(SOUND, Operation::Confirm, Fault::Doubled);
    let request = town.taken("order", 1_000).await;

    let moved = town.provider.movements("order");
    assert_eq!(town.moved("order"), [(RemoteKind::Charge, 1_000); 2]);
    let second = confirm("order", &moved[1].provider_key, 1_000);
    assert_ne!(second.provider_key, request.provider_key);
    assert!(matches!(town.cancel(&second, None, "orphan").await, Answer::Done(_)));
    assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Captured), "the first stays");
}

#[tokio::test]
async fn a_refund_is_doubled_as_far_as_there_is_enough() {
    let town = Town::new(SOUND, Faults::default());
    let request = town.taken("order", 1_000).await;
    town.provider.plan(Operation::Cancel, [Some(Fault::Doubled), Some(Fault::Doubled)]);
    town.cancel(&request, Some(400), "part").await;
    assert_eq!(town.moved("order")[1..], [(RemoteKind::Cancel, 400); 2]);
    town.cancel(&request, Some(200), "rest").await;
    assert_eq!(town.moved("order").len(), 4);
}

#[tokio::test]
async fn a_wrong_amount_is_answered_shown_and_listed() {
    let town = Town::with(SOUND, Operation::Confirm, Fault::WrongAmount);
    let request = town.paid("order", 1_000).await;

    let Answer::Done(charge) = town.confirm(&request, "key").await else { panic!() };
    assert_eq!(charge.amount, won(999));
    assert_eq!(town.find(&request).await, LookUp::Found(charge));
    assert_eq!(town.moved("order"), [(RemoteKind::Charge, 999)]);
    assert!(matches!(town.cancel(&request, None, "back").await, Answer::Done(_)));
    assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Canceled));
}

#[tokio::test]
async fn a_declined_payment_stays_declined_under_any_key() {
    let declines = [
        (931, DeclineCode::CardDeclined),
        (932, DeclineCode::InsufficientFunds),
        (933, DeclineCode::LimitExceeded),
        (934, DeclineCode::InvalidPaymentMethod),
        (935, DeclineCode::AuthenticationFailed),
        (936, DeclineCode::CanceledByPayer),
    ];
    let town = Town::new(FORGETFUL, Faults::by_amount());
    for (minor, code) in declines {
        let order = format!("order-{minor}");
        let request = town.paid(&order, minor).await;
        for key in ["key", "key", "another"] {
            let key = format!("{order}-{key}");
            let Answer::Declined(decline) = town.confirm(&request, &key).await else { panic!() };
            assert_eq!(decline.code, code);
        }
        let LookUp::Found(charge) = town.find(&request).await else { panic!() };
        assert_eq!(charge.status, ChargeStatus::Failed);
        assert_eq!(charge.decline.unwrap().code, code);
        assert!(town.moved(&order).is_empty());
    }
}

#[tokio::test]
async fn refused_keys_have_done_nothing() {
    let town = Town::with(SOUND, Operation::Confirm, Fault::Misconfigured);
    let request = town.paid("order", 1_000).await;
    assert!(matches!(town.confirm(&request, "key").await, Answer::Misconfigured(_)));
    assert!(matches!(town.confirm(&request, "key").await, Answer::Done(_)));
}

#[tokio::test]
async fn an_amount_goes_wrong_once_and_then_well() {
    let town = Town::new(SOUND, Faults::by_amount());
    for minor in 911..=919 {
        let order = format!("order-{minor}");
        let request = town.paid(&order, minor).await;
        assert!(is_unknown(&town.confirm(&request, &order).await), "{minor}");
        town.pass(MINUTE * 3);
        assert!(matches!(town.confirm(&request, &order).await, Answer::Done(_)), "{minor}");
        assert_eq!(town.moved(&order), [(RemoteKind::Charge, minor)]);
        assert_eq!(status(&town.find(&request).await), Some(ChargeStatus::Captured));
    }
}

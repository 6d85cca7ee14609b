//! What people do by hand: providers that are stopped, and conflicts that two of them keep.

use std::time::Duration;

use super::{Ground, Made, PaymentsError, code, eventually, grounds, won};
use crate::actors::payments::conflicts::{Confirmer, ResolvingError};
use crate::actors::payments::requests::{CancelPayment, CreatePayment, PaymentMethod};
use crate::actors::payments::settling::Settle;
use crate::clock;
use crate::domain::ids::{ProposalId, UserId, WorkflowId};
use crate::domain::money::Currency;
use crate::domain::payments::conflicts::ConflictError;
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::payments::refunds::{RefundStatus, Settling};
use crate::domain::payments::{PaymentStatus, ProviderName};
use crate::domain::workflows::{EffectKey, Reason, TRIED_MAX, WorkflowStatus};
use crate::providers::payments::fake::SOUND;
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::providers::payments::{Answer, Cancel, DeclineCode, PaymentProvider};
use crate::store::audit::{DeedFilter, SeenDeed};
use crate::store::disputes::Told;
use crate::store::testing::new_user;
use crate::store::workflows::admin::AnotherTurn;

pub(super) fn somebody() -> UserId {
    UserId::from(clock::new_uuid())
}

pub(super) fn reason() -> Reason {
    Reason::parse("seen in the provider's console").unwrap()
}

pub(super) async fn audit(ground: &Ground) -> Vec<SeenDeed> {
    ground.store.list_audit(DeedFilter::default(), None, 99).await.unwrap()
}

/// A payment of which one won too little was taken, which the provider does not give back.
pub(super) async fn conflicted(ground: &Ground, order: &str) -> Made {
    let refused = Fault::Declined(DeclineCode::NotRefundable);
    let made = given_back(ground, order, [Some(refused)]).await;
    parked(ground, &made).await;
    assert_eq!(ground.payment(&made).await.status, PaymentStatus::Conflicted);
    made
}

/// A payment of which one won too little was taken; what becomes of the calls that give it back.
async fn given_back(
    ground: &Ground,
    order: &str,
    calls: impl IntoIterator<Item = Option<Fault>>,
) -> Made {
    let (made, key) = ground.paid(order, 1_000).await;
    ground.provider.plan(Operation::Confirm, [Some(Fault::WrongAmount)]);
    ground.provider.plan(Operation::Cancel, calls);
    let call = ground.call("confirm", made.payer, None);
    ground.hasty.confirm(made.confirm(&key), call).await.unwrap();
    made
}

/// Waits until the workflow of a payment is parked.
async fn parked(ground: &Ground, made: &Made) -> WorkflowId {
    eventually("it is parked", async || {
        let parked = ground.store.list_workflows(WorkflowStatus::Parked, None, 9).await.unwrap();
        let key = format!("confirm:{}", made.id);
        parked.into_iter().find(|it| it.dedupe_key == key).map(|it| it.id)
    })
    .await
}

/// Lets the time pass until nobody tries any more to give a payment back.
async fn given_up(ground: &Ground, made: &Made) -> WorkflowId {
    eventually("it is conflicted", async || {
        let payment = ground.payment(made).await;
        (payment.status == PaymentStatus::Conflicted).then_some(())
    })
    .await;
    ground.rest().await;
    ground.pass(TRIED_MAX + Duration::from_hours(1)).await;
    parked(ground, made).await
}

fn refused_as(refused: &Result<(), ResolvingError>, why: ConflictError) {
    assert!(matches!(refused, Err(ResolvingError::Conflict(it)) if *it == why), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_people_and_the_provider_say_is_kept() {
    for ground in grounds().await {
        let made = conflicted(&ground, "1").await;
        let (first, second) = (somebody(), somebody());
        let propose =
            |by, amount| ground.payments.propose_keeping(made.id, by, won(amount), reason());
        let confirm =
            |by, id: ProposalId| ground.payments.confirm_keeping(made.id, id, by, reason());

        let wrong = propose(first, 1_000).await.unwrap();
        refused_as(&confirm(second, wrong).await, ConflictError::SaysOtherwise);
        let right = propose(first, 999).await.unwrap();
        refused_as(&confirm(second, wrong).await, ConflictError::Superseded);
        refused_as(&confirm(first, right).await, ConflictError::OwnProposal);
        refused_as(&confirm(second, clock::new_uuid().into()).await, ConflictError::NotFound);
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Conflicted);
        assert_eq!(ground.entries(&made).await, ["conflict"]);

        let wanted_back = |status| Told {
            id: clock::new_uuid().into(),
            payment: made.id,
            payee: None,
            provider: ProviderName::Fake,
            provider_key: "d-1".to_owned(),
            currency: Currency::KRW,
            amount: won(999),
            status,
            due_at: None,
        };
        ground.payments.write_down_dispute(wanted_back(DisputeStatus::UnderReview)).await.unwrap();
        refused_as(&confirm(second, right).await, ConflictError::Disputed);
        ground.payments.write_down_dispute(wanted_back(DisputeStatus::Won)).await.unwrap();
        confirm(second, right).await.unwrap();

        let payment = ground.payment(&made).await;
        assert_eq!((payment.status, payment.under_way), (PaymentStatus::Captured, None));
        assert_eq!((payment.sums.captured, payment.failure_code), (999, None));
        assert_eq!(ground.entries(&made).await, ["conflict", "conflict_kept"]);
        ground.must_agree(&made).await;
        refused_as(&confirm(somebody(), right).await, ConflictError::NotConflicted);
        let deeds = audit(&ground).await;
        let said: Vec<_> = deeds.iter().rev().map(|it| (it.action.as_str(), it.by)).collect();
        let proposed = ("conflict_proposed", first);
        assert_eq!(said, [proposed, proposed, ("conflict_confirmed", second)]);
        // Nobody gives back what is kept.
        let workflow = ground.store.list_workflows(WorkflowStatus::Done, None, 9).await.unwrap();
        let turn = ground.store.resume_workflow(workflow[0].id, first, reason(), ground.now());
        assert_eq!(turn.await.unwrap(), AnotherTurn::Refused(WorkflowStatus::Done));
        // And its payer can be given it as any other.
        let answered = ground.cancel(&made, None).await;
        assert_eq!(super::body(&answered, 200)["refunded"], 999);
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_confirm_at_once_one_keeps_it() {
    for ground in grounds().await {
        let made = conflicted(&ground, "1").await;
        let id = ground.payments.propose_keeping(made.id, somebody(), won(999), reason()).await;
        let id = id.unwrap();
        let confirm = || ground.payments.confirm_keeping(made.id, id, somebody(), reason());

        let (one, two) = tokio::join!(confirm(), confirm());

        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        assert_eq!(ground.entries(&made).await, ["conflict", "conflict_kept"]);
        assert_eq!(audit(&ground).await.len(), 2);
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_may_be_given_back_nothing_is_kept() {
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        ground.provider.plan(Operation::Confirm, [Some(Fault::WrongAmount)]);
        // So often that it is still being tried when somebody confirms, however slow this machine is.
        let lost = Fault::Lost(Loss::Timeout, Moment::Before);
        ground.provider.plan(Operation::Cancel, [Some(lost); 6]);
        let call = ground.call("confirm", made.payer, None);
        ground.hasty.confirm(made.confirm(&key), call).await.unwrap();
        eventually("it is conflicted", async || {
            let payment = ground.payment(&made).await;
            (payment.status == PaymentStatus::Conflicted).then_some(())
        })
        .await;

        let id = ground.payments.propose_keeping(made.id, somebody(), won(999), reason()).await;
        let kept =
            ground.payments.confirm_keeping(made.id, id.unwrap(), somebody(), reason()).await;

        refused_as(&kept, ConflictError::GivenBack);
        ground.pass_until(&made, PaymentStatus::Canceled).await;
        ground.must_agree(&made).await;
        let late = ground.payments.propose_keeping(made.id, somebody(), won(999), reason()).await;
        refused_as(&late.map(|_| ()), ConflictError::NotConflicted);
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_stopped_takes_nothing_new_and_finishes_what_it_has() {
    for ground in grounds().await {
        let captured = ground.captured("1", 1_000).await;
        let (made, key) = ground.paid("2", 1_000).await;
        let (asked, unknown_key) = ground.paid("3", 1_000).await;
        ground.provider.plan(Operation::Confirm, [Some(Fault::Lost(Loss::Timeout, Moment::After))]);
        let call = ground.call("confirm", asked.payer, None);
        ground.hasty.confirm(asked.confirm(&unknown_key), call).await.unwrap();
        let by = somebody();
        let stop = || ground.store.stop_provider(ProviderName::Fake, by, reason(), ground.now());
        assert!(stop().await.unwrap());
        assert!(!stop().await.unwrap(), "it is stopped once");

        let same = || ground.call("confirm", made.payer, Some("the-same-key"));
        let before = ground.payment(&made).await;
        let refused = ground.payments.confirm(made.confirm(&key), same()).await;
        assert!(matches!(refused, Err(PaymentsError::ProviderStopped)), "{refused:?}");
        assert_eq!(ground.payment(&made).await, before);
        let payer = new_user(&ground.store).await;
        let order = ground.order("4", 1_000).await;
        let method = PaymentMethod::Card;
        let create = CreatePayment { payer, order, method, is_captured_later: false, amount: None };
        let call = || ground.call("create", payer, Some("another-key"));
        let refused = ground.payments.create(create.clone(), call()).await;
        assert!(matches!(refused, Err(PaymentsError::ProviderStopped)), "{refused:?}");
        assert_eq!(ground.moved(&made), (0, 0));

        // What has begun goes on: look-ups, and refunds.
        ground.pass_until(&asked, PaymentStatus::Captured).await;
        let answered = ground.cancel(&captured, None).await;
        assert_eq!(super::body(&answered, 200)["status"], "refunded");

        let start = || ground.store.start_provider(ProviderName::Fake, by, reason(), ground.now());
        assert!(start().await.unwrap());
        assert!(!start().await.unwrap());
        // Under the same keys: nothing was kept.
        let confirmed = ground.payments.confirm(made.confirm(&key), same()).await.unwrap();
        assert_eq!(super::body(&confirmed, 200)["status"], "captured");
        let created = ground.payments.create(create, call()).await.unwrap();
        assert_eq!(created.answer.status, 201);
        let said: Vec<_> = audit(&ground).await.into_iter().rev().map(|it| it.action).collect();
        assert_eq!(said, ["provider_stopped", "provider_started"]);
        let again = ground.confirm(&captured, "another").await;
        assert_eq!(code(&again, 409), "wrong_state");
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_given_back_is_not_asked_for_again_where_nobody_says_how_it_stands() {
    for ground in grounds().await {
        let made = conflicted(&ground, "1").await;
        let request = Cancel {
            provider_key: format!("fake-{}", made.order),
            order: made.order.clone(),
            amount: None,
            currency: Currency::KRW,
            reason: "at the desk".to_owned(),
            refund_account: None,
        };
        let given = ground.provider.cancel(&request, &EffectKey::of("at the desk")).await;
        assert!(matches!(given, Answer::Done(_)), "{given:?}");
        let parked = ground.store.list_workflows(WorkflowStatus::Parked, None, 9).await.unwrap();
        // By our key there is no trace of it, and of the charge nothing is said.
        let lost = Some(Fault::Lost(Loss::Timeout, Moment::Before));
        ground.provider.plan(Operation::LookUp, [None, lost]);

        let turn =
            ground.store.resume_workflow(parked[0].id, somebody(), reason(), ground.now()).await;
        assert_eq!(turn.unwrap(), AnotherTurn::Given);

        ground.pass_until(&made, PaymentStatus::Canceled).await;
        assert_eq!(ground.moved(&made), (0, 1));
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_is_giving_back_is_not_kept() {
    for ground in grounds().await {
        // It takes longer than anybody tries.
        let slow = Fault::Slow(TRIED_MAX + Duration::from_hours(6));
        let made = given_back(&ground, "1", [Some(slow)]).await;
        let workflow = given_up(&ground, &made).await;
        let id = ground.payments.propose_keeping(made.id, somebody(), won(999), reason()).await;
        let id = id.unwrap();

        let kept = ground.payments.confirm_keeping(made.id, id, somebody(), reason()).await;

        refused_as(&kept, ConflictError::GivenBack);
        assert_eq!(ground.entries(&made).await, ["conflict"]);
        ground.pass(Duration::from_hours(6)).await;
        let turn = ground.store.resume_workflow(workflow, somebody(), reason(), ground.now());
        assert_eq!(turn.await.unwrap(), AnotherTurn::Given);
        ground.until(&made, PaymentStatus::Canceled).await;
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_lets_go_on_is_asked_for_as_long_as_the_first_time() {
    for ground in grounds().await {
        let slow = Fault::Slow(TRIED_MAX + Duration::from_hours(2));
        let made = given_back(&ground, "1", [Some(slow)]).await;
        let workflow = given_up(&ground, &made).await;

        // It is under way still: one more answer that says so is not the last.
        let turn = ground.store.resume_workflow(workflow, somebody(), reason(), ground.now());
        assert_eq!(turn.await.unwrap(), AnotherTurn::Given);

        ground.pass_until(&made, PaymentStatus::Canceled).await;
        assert_eq!(ground.moved(&made), (0, 1));
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_moments_ago_may_yet_be_given_back() {
    for ground in grounds().await {
        // So often that the last call was made right before it was parked, and left no trace.
        let lost = Fault::Lost(Loss::Timeout, Moment::Before);
        let made = given_back(&ground, "1", [Some(lost); 60]).await;
        given_up(&ground, &made).await;
        let id = ground.payments.propose_keeping(made.id, somebody(), won(999), reason()).await;
        let id = id.unwrap();
        let confirm = || ground.payments.confirm_keeping(made.id, id, somebody(), reason());

        refused_as(&confirm().await, ConflictError::GivenBack);
        ground.pass(SOUND.absent_after).await;
        confirm().await.unwrap();

        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Captured);
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_while_the_provider_is_asked_makes_its_answer_an_old_one() {
    for ground in grounds().await {
        let made = conflicted(&ground, "1").await;
        let id = ground.payments.propose_keeping(made.id, somebody(), won(999), reason()).await;
        let confirmer =
            Confirmer { payment: made.id, proposal: id.unwrap(), by: somebody(), reason: reason() };
        let asked = ground.payments.ask(made.id).await.unwrap();
        let workflow = parked(&ground, &made).await;
        let turn = ground.store.resume_workflow(workflow, somebody(), reason(), ground.now());
        assert_eq!(turn.await.unwrap(), AnotherTurn::Given);
        parked(&ground, &made).await;

        let kept = ground.payments.decide(confirmer.clone(), asked).await;

        refused_as(&kept, ConflictError::GivenBack);
        // The control: asked once more, it is kept.
        let asked = ground.payments.ask(made.id).await.unwrap();
        ground.payments.decide(confirmer, asked).await.unwrap();
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_it_or_is_paid_by_it_does_not_keep_it() {
    for ground in grounds().await {
        let made = conflicted(&ground, "1").await;
        let propose = |by| ground.payments.propose_keeping(made.id, by, won(999), reason());
        let own = propose(made.payer).await.map(|_| ());
        refused_as(&own, ConflictError::OwnDecision);
        let id = propose(somebody()).await.unwrap();

        let own = ground.payments.confirm_keeping(made.id, id, made.payer, reason()).await;

        refused_as(&own, ConflictError::OwnDecision);
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Conflicted);
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_of_which_nothing_is_left_is_given_back_in_how_many_parts_ever() {
    for ground in grounds().await {
        // One won less than there is.
        let made = given_back(&ground, "1", [Some(Fault::WrongAmount)]).await;
        let workflow = parked(&ground, &made).await;
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Conflicted);
        let rest = Cancel {
            provider_key: format!("fake-{}", made.order),
            order: made.order.clone(),
            amount: Some(won(1)),
            currency: Currency::KRW,
            reason: "the rest".to_owned(),
            refund_account: None,
        };
        let by_hand = ground.provider.cancel(&rest, &EffectKey::of("by hand")).await;
        assert!(matches!(by_hand, Answer::Done(_)), "{by_hand:?}");

        let turn = ground.store.resume_workflow(workflow, somebody(), reason(), ground.now());
        assert_eq!(turn.await.unwrap(), AnotherTurn::Given);

        ground.until(&made, PaymentStatus::Canceled).await;
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_gives_back_and_is_named_but_for_what_is_their_own() {
    for ground in grounds().await {
        let made = ground.captured("1", 1_000).await;
        let by = somebody();
        let asked = |by: UserId| CancelPayment {
            payer: None,
            actor: format!("user:{by}"),
            admin: Some(by),
            ..made.cancel(Some(300))
        };
        let own = ground.payments.cancel(asked(made.payer), ground.call("refund", by, None)).await;
        assert!(matches!(own, Err(PaymentsError::OwnDecision)), "{own:?}");

        let given = ground.payments.cancel(asked(by), ground.call("refund", by, None)).await;

        assert_eq!(super::body(&given.unwrap(), 200)["refunded"], 300);
        let deeds = audit(&ground).await;
        assert_eq!(deeds.len(), 1, "{deeds:?}");
        assert_eq!((deeds[0].action.as_str(), deeds[0].by), ("payment_refunded", by));
        assert_eq!(deeds[0].reason.as_deref(), Some("늦음"));
        assert_eq!(deeds[0].after["asked_for"], 300);
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_which_nobody_will_ever_know_ends_as_two_people_say() {
    for ground in grounds().await {
        let made = ground.captured("1", 1_000).await;
        let never = Duration::from_hours(24 * 365);
        ground.provider.plan(Operation::Cancel, [Some(Fault::Mute(never))]);
        let call = ground.call("cancel", made.payer, None);
        ground.hasty.cancel(made.cancel(Some(400)), call).await.unwrap();
        ground.rest().await;
        let id = ground.store.list_refunds(made.id).await.unwrap().remove(0).id;
        let (first, second) = (somebody(), somebody());
        let settle = |by| {
            let settling = Settling::Succeeded;
            let asked = Settle { payment: made.id, refund: id, settling, by, reason: reason() };
            ground.payments.settle_refund(asked)
        };
        // It is asked about still.
        let early = settle(first).await;
        assert!(matches!(early, Err(PaymentsError::NotInReview)), "{early:?}");
        eventually("it is parked", async || {
            if let Some(wake_at) = ground.next_wake().await {
                ground.pass(wake_at.since(ground.now())).await;
            }
            let parked = ground.store.list_workflows(WorkflowStatus::Parked, None, 9).await;
            (!parked.unwrap().is_empty()).then_some(())
        })
        .await;

        assert_eq!(settle(first).await.unwrap().status, RefundStatus::Unknown);
        assert_eq!(settle(second).await.unwrap().status, RefundStatus::Succeeded);

        let sums = ground.payment(&made).await.sums;
        assert_eq!((sums.reserved, sums.refunded), (0, 400));
        let left = ground.store.list_workflows(WorkflowStatus::Parked, None, 9).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
        ground.must_agree(&made).await;
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_was_given_back_otherwise_ends_as_two_people_say() {
    for settling in [Settling::Succeeded, Settling::Failed] {
        for ground in grounds().await {
            let made = ground.captured("1", 1_000).await;
            ground.provider.plan(Operation::Cancel, [Some(Fault::WrongAmount)]);
            ground.cancel(&made, Some(400)).await;
            let refund = || async { ground.store.list_refunds(made.id).await.unwrap().remove(0) };
            let id = refund().await.id;
            let (first, second) = (somebody(), somebody());
            let settle = |by, settling| {
                let asked = Settle { payment: made.id, refund: id, settling, by, reason: reason() };
                ground.payments.settle_refund(asked)
            };
            let other = match settling {
                Settling::Succeeded => Settling::Failed,
                Settling::Failed => Settling::Succeeded,
            };

            let own = settle(made.payer, settling).await;
            assert!(matches!(own, Err(PaymentsError::OwnDecision)), "{own:?}");
            // Nobody is the second after themselves, or after somebody who has said something else.
            for (by, settling) in
                [(first, settling), (first, settling), (second, other), (first, settling)]
            {
                let waits = settle(by, settling).await.unwrap();
                assert_eq!(waits.status, RefundStatus::NeedsReview);
            }
            assert_eq!(ground.payment(&made).await.sums.reserved, 400);

            settle(second, settling).await.unwrap();

            let sums = ground.payment(&made).await.sums;
            let (status, refunded) = match settling {
                Settling::Succeeded => (RefundStatus::Succeeded, 400),
                Settling::Failed => (RefundStatus::Failed, 0),
            };
            assert_eq!(refund().await.status, status);
            assert_eq!((sums.reserved, sums.refunded), (0, refunded));
            let done = ground.store.list_workflows(WorkflowStatus::Parked, None, 9).await.unwrap();
            assert!(done.is_empty(), "{done:?}");
            let late = settle(first, settling).await;
            assert!(matches!(late, Err(PaymentsError::NotInReview)), "{late:?}");
            let said: Vec<_> = audit(&ground).await.into_iter().map(|it| it.action).collect();
            assert_eq!((said.len(), said[0].as_str()), (5, "refund_settled"));
            let booked = ground.store.sum_receivable_of(made.id.uuid()).await.unwrap();
            assert_eq!(booked, 1_000 - refunded, "as it was settled");
            assert_eq!(ground.store.check_ledger(None, 500).await.unwrap().drifts, []);
            ground.workflows.stop().await;
        }
    }
}

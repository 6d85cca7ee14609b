//! What people do by hand: providers that are stopped, and conflicts that two of them keep.

use super::{Ground, Made, PaymentsError, code, eventually, grounds, won};
use crate::actors::payments::conflicts::ResolvingError;
use crate::actors::payments::requests::{CreatePayment, PaymentMethod};
use crate::clock;
use crate::domain::ids::{ProposalId, UserId};
use crate::domain::payments::conflicts::ConflictError;
use crate::domain::payments::{PaymentStatus, ProviderName};
use crate::domain::workflows::{Reason, WorkflowStatus};
use crate::providers::payments::DeclineCode;
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::store::money_audit::{DeedFilter, SeenDeed};
use crate::store::testing::new_user;
use crate::store::workflows::admin::AnotherTurn;

fn somebody() -> UserId {
    UserId::from(clock::new_uuid())
}

fn reason() -> Reason {
    Reason::parse("seen in the provider's console").unwrap()
}

async fn audit(ground: &Ground) -> Vec<SeenDeed> {
    ground.store.list_money_audit(DeedFilter::default(), None, 99).await.unwrap()
}

/// A payment of which one won too little was taken, which the provider does not give back.
async fn conflicted(ground: &Ground, order: &str) -> Made {
    let (made, key) = ground.paid(order, 1_000).await;
    ground.provider.plan(Operation::Confirm, [Some(Fault::WrongAmount)]);
    let refused = Fault::Declined(DeclineCode::NotRefundable);
    ground.provider.plan(Operation::Cancel, [Some(refused)]);
    let call = ground.call("confirm", made.payer, None);
    ground.hasty.confirm(made.confirm(&key), call).await.unwrap();
    eventually("it is parked", async || {
        let parked = ground.store.list_workflows(WorkflowStatus::Parked, None, 9).await.unwrap();
        parked.iter().any(|it| it.dedupe_key == format!("confirm:{}", made.id)).then_some(())
    })
    .await;
    assert_eq!(ground.payment(&made).await.status, PaymentStatus::Conflicted);
    made
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

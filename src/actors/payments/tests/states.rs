//! States of flows as releases have written them: each is read by every release that comes after, and gone on with.
//!
//! A file of each kind and version that was ever released is kept for ever. Invariant: a flow without one is not released.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_str, from_value, json, to_value};

use super::expiring::take_behind_our_back;
use super::later::authorized;
use super::{Ground, Made, body, eventually, grounds};
use crate::actors::payments::confirm::ConfirmState;
use crate::actors::payments::desk::Desk;
use crate::actors::payments::dispute::DisputeState;
use crate::actors::payments::flows;
use crate::actors::payments::orphan::OrphanState;
use crate::actors::payments::refund::RefundState;
use crate::actors::payments::requests::CapturePayment;
use crate::actors::payments::void::VoidState;
use crate::actors::payments::withdraw::{KIND, VERSION, WithdrawState};
use crate::domain::payments::PaymentStatus;
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::workflows::WorkflowStatus;
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::store::testing::rewrite_workflow_state;

/// By kind and version. The one of withdrawals is gone on with where wallets are tested.
pub(in crate::actors::payments) const WRITTEN: [(&str, i64, &str); 7] = [
    ("payment_confirm", 1, include_str!("states/payment_confirm-1.json")),
    ("payment_capture", 1, include_str!("states/payment_capture-1.json")),
    ("payment_refund", 1, include_str!("states/payment_refund-1.json")),
    ("payment_void", 1, include_str!("states/payment_void-1.json")),
    ("orphan_refund", 1, include_str!("states/orphan_refund-1.json")),
    ("dispute", 1, include_str!("states/dispute-1.json")),
    (KIND, 1, include_str!("states/withdraw-1.json")),
];
/// What a state calls what a test has made itself.
const NAMES: [&str; 8] = [
    "payment",
    "attempt",
    "refund",
    "withdrawal",
    "bank_account",
    "provider_key",
    "order",
    "give_up_at",
];
/// The answer is lost, and nothing was done.
const LOST: Fault = Fault::Lost(Loss::Timeout, Moment::Before);

/// The state in the file of a kind, about what `live` is about.
pub(in crate::actors::payments) fn written(kind: &str, live: &Value) -> Value {
    let (_, _, text) = WRITTEN.iter().find(|(known, _, _)| *known == kind).unwrap();
    let mut state: Value = from_str(text).unwrap();
    rename(&mut state, live);
    state
}

fn rename(state: &mut Value, live: &Value) {
    for (name, value) in state.as_object_mut().unwrap() {
        if NAMES.contains(&name.as_str()) {
            *value = live[name].clone();
        } else if value.is_object() {
            rename(value, &live[name]);
        }
    }
}

/// Is read, and written as it was.
fn is_kept<S: Serialize + DeserializeOwned>(written: &Value) {
    let state: S = from_value(written.clone()).unwrap();
    assert_eq!(&to_value(state).unwrap(), written);
}

fn of(kind: &str) -> Value {
    let (_, _, text) = WRITTEN.iter().find(|(known, _, _)| *known == kind).unwrap();
    from_str(text).unwrap()
}

#[test]
fn every_state_of_version_one_is_read() {
    is_kept::<ConfirmState>(&of("payment_confirm"));
    is_kept::<ConfirmState>(&of("payment_capture"));
    let mut conflicted = of("payment_confirm");
    conflicted["taken"] = json!({ "amount": 999, "currency": "KRW", "is_captured": true });
    is_kept::<ConfirmState>(&conflicted);
    is_kept::<RefundState>(&of("payment_refund"));
    is_kept::<VoidState>(&of("payment_void"));
    is_kept::<OrphanState>(&of("orphan_refund"));
    is_kept::<DisputeState>(&of("dispute"));
    is_kept::<WithdrawState>(&of(KIND));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_every_flow_there_is_a_written_state() {
    let [ground, _] = &grounds().await[..] else { panic!("two databases") };
    let desk: &Desk = &ground.payments.0.desk;
    let mut kinds: Vec<(&str, i64)> =
        flows(desk).into_iter().map(|flow| (flow.kind, flow.version)).collect();
    kinds.push((KIND, VERSION));
    let known: Vec<(&str, i64)> =
        WRITTEN.iter().map(|(kind, version, _)| (*kind, *version)).collect();
    for kind in kinds {
        assert!(known.contains(&kind), "{kind:?} has no file in tests/states");
    }
}

/// Puts the written state in the place of that of the one workflow that has been given back, and goes on to its end as
/// another release would.
async fn go_on(ground: &Ground, kind: &'static str) {
    eventually("it is given back", async || {
        let is_driven = has_any(ground, &[WorkflowStatus::Running]).await;
        let is_open = has_any(ground, &[WorkflowStatus::Ready, WorkflowStatus::Waiting]).await;
        (is_open && !is_driven).then_some(())
    })
    .await;
    let rewritten = rewrite_workflow_state(&ground.store, kind, |live| written(kind, &live)).await;
    assert_eq!(rewritten, 1, "{kind}");
    let engine = &ground.payments.0.engine;
    eventually("it has come to its end", async || {
        while let Some(running) = engine.claim().await.unwrap() {
            engine.drive(running).await.unwrap();
        }
        // It may have become due between the two looks; it is taken the next time.
        if let Some(wake_at) = ground.next_wake().await {
            ground.pass(wake_at.since(ground.now())).await;
        }
        let open = [WorkflowStatus::Running, WorkflowStatus::Ready, WorkflowStatus::Waiting];
        (!has_any(ground, &open).await).then_some(())
    })
    .await;
}

async fn has_any(ground: &Ground, of: &[WorkflowStatus]) -> bool {
    for status in of {
        if !ground.store.list_workflows(*status, None, 1).await.unwrap().is_empty() {
            return true;
        }
    }
    false
}

async fn must_be(ground: &Ground, made: &Made, status: PaymentStatus) {
    let payment = ground.payment(made).await;
    assert_eq!((payment.status, payment.under_way), (status, None));
    ground.must_agree(made).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_goes_on_from_what_was_written() {
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        ground.provider.plan(Operation::Confirm, [Some(LOST)]);
        ground.workflows.stop().await;
        let call = ground.call("confirm", made.payer, None);
        ground.hasty.confirm(made.confirm(&key), call).await.unwrap();
        go_on(&ground, "payment_confirm").await;
        must_be(&ground, &made, PaymentStatus::Captured).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_and_a_void_go_on_from_what_was_written() {
    for ground in grounds().await {
        let made = authorized(&ground).await;
        ground.provider.plan(Operation::Capture, [Some(LOST)]);
        ground.workflows.stop().await;
        let call = ground.call("capture", made.payer, None);
        let request = CapturePayment { payment: made.id, payer: Some(made.payer), admin: None };
        ground.hasty.capture(request, call).await.unwrap();
        go_on(&ground, "payment_capture").await;
        must_be(&ground, &made, PaymentStatus::Captured).await;
    }
    for ground in grounds().await {
        let made = authorized(&ground).await;
        ground.provider.plan(Operation::Cancel, [Some(LOST)]);
        ground.workflows.stop().await;
        let call = ground.call("cancel", made.payer, None);
        ground.hasty.cancel(made.cancel(None), call).await.unwrap();
        go_on(&ground, "payment_void").await;
        must_be(&ground, &made, PaymentStatus::Canceled).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_go_on_from_what_was_written() {
    for ground in grounds().await {
        let made = ground.captured("1", 1_000).await;
        ground.provider.plan(Operation::Cancel, [Some(LOST)]);
        ground.workflows.stop().await;
        let call = ground.call("cancel", made.payer, None);
        ground.hasty.cancel(made.cancel(Some(300)), call).await.unwrap();
        go_on(&ground, "payment_refund").await;
        must_be(&ground, &made, PaymentStatus::PartiallyRefunded).await;
        assert_eq!(ground.payment(&made).await.sums.refunded, 300);
    }
    for ground in grounds().await {
        let (made, key) = ground.paid("1", 1_000).await;
        assert_eq!(body(&ground.cancel(&made, None).await, 200)["status"], "canceled");
        take_behind_our_back(&ground, &made, key).await;
        ground.provider.plan(Operation::Cancel, [Some(LOST)]);
        ground.workflows.stop().await;
        ground.look_again(&made).await.unwrap();
        go_on(&ground, "orphan_refund").await;
        assert_eq!(ground.entries(&made).await, ["orphan", "orphan_refund"]);
        assert_eq!(ground.moved(&made), (0, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_goes_on_from_what_was_written() {
    for ground in grounds().await {
        let made = ground.captured("1", 1_000).await;
        ground.workflows.stop().await;
        let key = ground.provider.dispute(&made.order, None).unwrap();
        ground.look_again(&made).await.unwrap();
        ground.provider.decide(&key, DisputeStatus::Lost).unwrap();
        ground.look_again(&made).await.unwrap();
        go_on(&ground, "dispute").await;
        must_be(&ground, &made, PaymentStatus::ChargedBack).await;
    }
}

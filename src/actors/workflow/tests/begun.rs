//! Workflows that a request has begun: driven at once, here, and waited for.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::super::flow::StepError;
use super::{Ground, Node, POLL_INTERVAL, WORKERS, World, eventually, grounds};
use crate::domain::ids::WorkflowId;
use crate::domain::workflows::WorkflowStatus;
use crate::store::workflows::NewWorkflow;
use crate::store::workflows::claims::Begun;

const LONG: Duration = Duration::from_secs(60);

/// What a request does: begins a workflow in its transaction.
async fn begin(ground: &Ground, node: &Node, new: &NewWorkflow) -> Begun {
    let (engine, new, now) = (node.engine.clone(), new.clone(), ground.now());
    let begun: Result<Begun, StepError> = ground
        .store
        .write(move |db| Box::pin(async move { engine.begin(db, &new, now).await }))
        .await;
    begun.unwrap()
}

/// As [`begin`], and has it driven.
async fn begin_and_drive(
    ground: &Ground,
    node: &Node,
    kind: &'static str,
    state: Value,
) -> WorkflowId {
    let new = ground.new_workflow(kind, state);
    match begin(ground, node, &new).await {
        Begun::Now(running) => node.workflows.begin(*running),
        Begun::Before(_) => panic!("there is one"),
    }
    new.id
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_begins_is_driven_here_at_once_under_its_first_fence() {
    for ground in grounds(World::default).await {
        let node = ground.node(WORKERS).await;
        for (kind, lines) in [
            ("errand", &["intent call", "do call", "do finish"][..]),
            ("walk", &["do mark", "intent call", "do call", "do finish"][..]),
        ] {
            let id = begin_and_drive(&ground, &node, kind, json!({})).await;
            let end = node.workflows.wait_for_end(id, LONG).await.unwrap();

            assert_eq!(end, Some(WorkflowStatus::Done));
            assert_eq!(ground.lines(id).await, lines);
            assert_eq!(ground.calls(id), 1);
            let (seen, steps) = ground.store.get_workflow(id).await.unwrap();
            assert_eq!(seen.fence, 1);
            assert!(steps.iter().all(|step| step.fence == 1));
        }
        node.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_begun_once() {
    for ground in grounds(World::default).await {
        let node = ground.node(WORKERS).await;
        let new = ground.new_workflow("errand", json!({}));
        let again = NewWorkflow { id: ground.new_workflow("errand", json!({})).id, ..new.clone() };

        let Begun::Now(running) = begin(&ground, &node, &new).await else { panic!("not begun") };
        assert_eq!(begin(&ground, &node, &again).await, Begun::Before(new.id));
        node.workflows.begin(*running);
        assert_eq!(begin(&ground, &node, &again).await, Begun::Before(new.id));

        let end = node.workflows.wait_for_end(new.id, LONG).await.unwrap();
        assert_eq!(end, Some(WorkflowStatus::Done));
        assert_eq!(ground.calls(new.id), 1);
        node.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_slept_after_its_commit_does_not_call() {
    for ground in grounds(World::default).await {
        let node = ground.node(WORKERS).await;
        let new = ground.new_workflow("errand", json!({}));
        let Begun::Now(running) = begin(&ground, &node, &new).await else { panic!("not begun") };
        ground.pass(Duration::from_secs(11)).await;

        node.engine.drive(*running).await.unwrap();

        assert_eq!(ground.calls(new.id), 0);
        assert_eq!(ground.status(new.id).await, WorkflowStatus::Running);
        node.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_free_it_waits_its_turn_and_whoever_waits_is_told_so() {
    let world = || World { gate: Some(Semaphore::new(0)), ..World::default() };
    for ground in grounds(world).await {
        let node = ground.node(1).await;
        let backlog = ground.insert("errand", json!({})).await;
        eventually("it is called", async || (ground.calls(backlog) == 1).then_some(())).await;
        let first = begin_and_drive(&ground, &node, "errand", json!({})).await;
        eventually("it is called", async || (ground.calls(first) == 1).then_some(())).await;
        let second = begin_and_drive(&ground, &node, "errand", json!({})).await;
        ground.until(second, WorkflowStatus::Waiting).await;
        assert_eq!(ground.calls(second), 0);
        let end = node.workflows.wait_for_end(second, POLL_INTERVAL).await.unwrap();
        assert_eq!(end, None);

        ground.world.gate.as_ref().unwrap().add_permits(3);
        for id in [backlog, first, second] {
            let end = node.workflows.wait_for_end(id, LONG).await.unwrap();
            assert_eq!(end, Some(WorkflowStatus::Done));
            assert_eq!(ground.calls(id), 1);
        }
        node.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_begun_after_the_stop_is_another_nodes() {
    for ground in grounds(World::default).await {
        let (one, two) = (ground.node(WORKERS).await, ground.node(WORKERS).await);
        one.workflows.stop().await;
        let id = begin_and_drive(&ground, &one, "errand", json!({})).await;

        let end = two.workflows.wait_for_end(id, LONG).await.unwrap();

        assert_eq!(end, Some(WorkflowStatus::Done));
        assert_eq!(ground.history(id).await.last().unwrap().1, Some(two.id));
        two.workflows.stop().await;
    }
}

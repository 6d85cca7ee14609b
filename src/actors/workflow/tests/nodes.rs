//! Nodes that share workflows, stop, panic and have nothing to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::super::supervisor::{StartError, WorkflowSettings, Workflows};
use super::{Ground, WALKED, WORKERS, World, eventually, grounds};
use crate::actors::kit::permanent::OnEscalate;
use crate::clock;
use crate::domain::ids::{NodeId, WorkflowId};
use crate::domain::workflows::{Reason, WorkflowStatus};
use crate::store::StoreError;
use crate::store::workflows::signals::{Signal, insert_signal};

async fn ring(ground: &Ground, bell: WorkflowId) {
    let (name, payload, now) = ("ring".to_owned(), json!({}), ground.now());
    let signal = Signal { name, dedupe_key: "once".to_owned(), payload };
    let told: Result<bool, StoreError> = ground
        .store
        .write(move |db| Box::pin(async move { insert_signal(db, bell, &signal, now).await }))
        .await;
    assert!(told.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_driven_to_its_end_and_one_that_waits_until_it_is_called() {
    for ground in grounds(World::default).await {
        let node = ground.node(WORKERS).await;
        let bell = ground.insert("bell", json!({})).await;
        ground.until(bell, WorkflowStatus::Waiting).await;
        let walk = ground.insert("walk", json!({})).await;
        ground.until(walk, WorkflowStatus::Done).await;
        assert_eq!(ground.lines(walk).await, WALKED);
        assert_eq!(ground.status(bell).await, WorkflowStatus::Waiting);

        ring(&ground, bell).await;
        ground.until(bell, WorkflowStatus::Done).await;
        node.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_the_workflows_and_do_each_step_once() {
    for ground in grounds(World::default).await {
        let mut walks = Vec::new();
        for _ in 0..200 {
            walks.push(ground.insert("walk", json!({})).await);
        }
        let (one, two) = tokio::join!(ground.node(WORKERS), ground.node(WORKERS));

        let mut nodes = BTreeSet::new();
        for walk in walks {
            ground.until(walk, WorkflowStatus::Done).await;
            let (lines, by): (Vec<String>, Vec<Option<NodeId>>) =
                ground.history(walk).await.into_iter().unzip();
            assert_eq!(lines, WALKED);
            assert_eq!(ground.calls(walk), 1);
            nodes.extend(by.into_iter().flatten());
        }

        assert_eq!(nodes, BTreeSet::from([one.id, two.id]));
        tokio::join!(one.workflows.stop(), two.workflows.stop());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_leaves_the_others_alone_and_parks_its_workflow_in_the_end() {
    for ground in grounds(World::default).await {
        let node = ground.node(WORKERS).await;
        let mut broken = Vec::new();
        for panics in ["in a call", "in a transaction"] {
            broken.push(ground.insert("walk", json!({ "panics": panics })).await);
        }
        let sound = ground.insert("walk", json!({})).await;
        ground.until(sound, WorkflowStatus::Done).await;

        for broken in broken {
            eventually("it is parked", async || {
                ground.pass(Duration::from_millis(50)).await;
                (ground.status(broken).await == WorkflowStatus::Parked).then_some(())
            })
            .await;
            let lines = ground.lines(broken).await;
            assert_eq!(lines.last().unwrap(), "note parked");
            assert!(!lines.contains(&"do finish".to_owned()));
        }
        let sound = ground.insert("walk", json!({})).await;
        ground.until(sound, WorkflowStatus::Done).await;
        node.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_finishes_its_step_and_lets_another_go_on_at_once() {
    let world = || World { gate: Some(Semaphore::new(0)), ..World::default() };
    for ground in grounds(world).await {
        let one = ground.node(WORKERS).await;
        let walk = ground.insert("walk", json!({})).await;
        eventually("it is called", async || (ground.calls(walk) == 1).then_some(())).await;

        // In this order: it is told to stop while it calls.
        let answer = async { ground.world.gate.as_ref().unwrap().add_permits(1) };
        tokio::join!(one.workflows.stop(), answer);
        assert_eq!(ground.status(walk).await, WorkflowStatus::Waiting, "no lease has to end");
        let two = ground.node(WORKERS).await;
        ground.until(walk, WorkflowStatus::Done).await;

        let history = ground.history(walk).await;
        let by: Vec<Option<NodeId>> = history.into_iter().map(|(_, by)| by).collect();
        assert_eq!(by, [one.id, one.id, one.id, two.id].map(Some));
        assert_eq!(ground.calls(walk), 1);
        two.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_nothing_to_do_writes_nothing() {
    for ground in grounds(World::default).await {
        let node = ground.node(WORKERS).await;
        let (done, rests) =
            (ground.insert("walk", json!({})).await, ground.insert("bell", json!({})).await);
        ground.until(done, WorkflowStatus::Done).await;
        ground.until(rests, WorkflowStatus::Waiting).await;
        node.workflows.stop().await;
        // A node has died with one, whose lease lasts.
        let leased = ground.insert("walk", json!({})).await;
        let taken = ground.engine(clock::new_uuid().into()).await.claim().await.unwrap();
        assert_eq!(taken.unwrap().claim.id, leased);

        let idle = ground.node(WORKERS).await;
        let commits = idle.engine.store.commits();
        // It looks by itself meanwhile; and however often it looks.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        for _ in 0..3 {
            idle.engine.next_due().await.unwrap();
        }

        assert!(!commits.has_changed().unwrap());
        assert_eq!(ground.status(leased).await, WorkflowStatus::Running);
        idle.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_beside_workflows_that_it_does_not_know() {
    for ground in grounds(World::default).await {
        ground.insert("forgotten", json!({})).await;
        let engine = ground.engine(clock::new_uuid().into()).await;
        let on_escalate: OnEscalate = Arc::new(|cause: &str| panic!("{cause}"));
        let settings = WorkflowSettings { workers: WORKERS };
        let started = Workflows::start(&Handle::current(), engine, settings, &on_escalate).await;

        match started {
            Err(StartError::UnknownKinds(kinds)) => assert_eq!(kinds, ["forgotten:1"]),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it has started"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stopped_after_a_call_is_asked_for_when_it_is_resumed_and_not_called_again() {
    for ground in grounds(World::default).await {
        let node = ground.node(WORKERS).await;
        for doubts in ["doubts", "refuses"] {
            let walk = ground.insert("walk", json!({ doubts: "done" })).await;
            ground.until(walk, WorkflowStatus::Parked).await;
            let (seen, _) = ground.store.get_workflow(walk).await.unwrap();
            assert!(seen.last_error.unwrap().ends_with("on purpose"));

            let reason = Reason::parse("somebody has looked").unwrap();
            let by = clock::new_uuid().into();
            ground.store.resume_workflow(walk, by, reason, ground.now()).await.unwrap();
            ground.until(walk, WorkflowStatus::Done).await;

            assert_eq!(ground.calls(walk), 1, "{doubts}");
        }
        node.workflows.stop().await;
    }
}

//! Workflows that a person turns back: undone from where they are, once, and by nobody while a call is under way.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use super::{Ground, WORKERS, World, eventually, grounds};
use crate::clock;
use crate::domain::ids::{UserId, WorkflowId};
use crate::domain::workflows::{Reason, WorkflowStatus};
use crate::store::StoreError;
use crate::store::audit::{DeedFilter, SeenDeed};
use crate::store::workflows::admin::{AnotherTurn, Standing};

fn reason() -> Reason {
    Reason::parse("the customer has left").unwrap()
}

fn gated() -> World {
    World { gate: Some(Semaphore::new(0)), ..World::default() }
}

async fn audit(ground: &Ground) -> Vec<SeenDeed> {
    ground.store.list_audit(DeedFilter::default(), None, 99).await.unwrap()
}

/// A trip whose call has begun and is not answered.
async fn in_a_call(ground: &Ground) -> WorkflowId {
    let trip = ground.insert("trip", json!({})).await;
    eventually("it calls", async || (ground.calls(trip) == 1).then_some(())).await;
    trip
}

fn answer(world: &Arc<World>) {
    world.gate.as_ref().unwrap().add_permits(100);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_is_undone_from_the_last_step_to_the_first() {
    for ground in grounds(World::default).await {
        let node = ground.node(WORKERS).await;
        let by = UserId::from(clock::new_uuid());
        let tour = ground.insert("tour", json!({})).await;
        ground.until(tour, WorkflowStatus::Waiting).await;

        let turned = node.engine.compensate(tour, by, reason()).await.unwrap();

        assert_eq!(turned, AnotherTurn::Given);
        ground.until(tour, WorkflowStatus::Compensated).await;
        let lines = ground.lines(tour).await;
        assert_eq!(lines, ["do mark", "note turned back", "undo mark"]);
        let again = node.engine.compensate(tour, by, reason()).await.unwrap();
        assert_eq!(again, AnotherTurn::Refused(WorkflowStatus::Compensated));
        let deeds = audit(&ground).await;
        assert_eq!(deeds.len(), 1);
        assert_eq!((deeds[0].action.as_str(), deeds[0].by), ("workflow_compensated", by));
        assert_eq!(deeds[0].after["direction"], "backward");
        node.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_without_a_way_back_is_refused_and_goes_on() {
    for ground in grounds(World::default).await {
        let node = ground.node(WORKERS).await;
        let by = UserId::from(clock::new_uuid());
        let bell = ground.insert("bell", json!({})).await;
        ground.until(bell, WorkflowStatus::Waiting).await;

        let refused = node.engine.compensate(bell, by, reason()).await.unwrap();

        assert_eq!(refused, AnotherTurn::NotUndoable);
        assert_eq!(ground.status(bell).await, WorkflowStatus::Waiting);
        assert_eq!(ground.lines(bell).await, Vec::<String>::new());
        assert_eq!(audit(&ground).await, []);
        let nothing = WorkflowId::from(clock::new_uuid());
        let missing = node.engine.compensate(nothing, by, reason()).await;
        assert!(matches!(missing, Err(StoreError::NotFound)));
        node.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_people_at_once_one_turns_it_back() {
    for ground in grounds(World::default).await {
        let node = ground.node(WORKERS).await;
        let tour = ground.insert("tour", json!({})).await;
        ground.until(tour, WorkflowStatus::Waiting).await;
        let turn = || node.engine.compensate(tour, UserId::from(clock::new_uuid()), reason());

        let (one, two) = tokio::join!(turn(), turn());

        let given = [one.unwrap(), two.unwrap()];
        assert_eq!(given.iter().filter(|it| **it == AnotherTurn::Given).count(), 1, "{given:?}");
        ground.until(tour, WorkflowStatus::Compensated).await;
        assert_eq!(audit(&ground).await.len(), 1);
        let undone = ground.lines(tour).await.into_iter().filter(|it| it == "undo mark").count();
        assert_eq!(undone, 1);
        node.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_undoes_a_call_that_is_under_way() {
    for ground in grounds(gated).await {
        let node = ground.node(WORKERS).await;
        let trip = in_a_call(&ground).await;
        let by = UserId::from(clock::new_uuid());

        let turned = node.engine.compensate(trip, by, reason()).await.unwrap();

        assert_eq!(turned, AnotherTurn::Given);
        // The lease stays with whoever calls: nobody else finds it.
        let other = ground.engine(clock::new_uuid().into()).await;
        assert_eq!(other.claim().await.unwrap(), None);
        assert_eq!(ground.status(trip).await, WorkflowStatus::Running);
        // The answer comes too late to be recorded as done.
        answer(&ground.world);
        eventually("it is given up", async || {
            (ground.world.answered.load(std::sync::atomic::Ordering::SeqCst) == 1).then_some(())
        })
        .await;
        let lines = ground.lines(trip).await;
        assert_eq!(lines, ["intent call", "note turned back"]);
        let (seen, _) = ground.store.get_workflow(trip).await.unwrap();
        assert_eq!((seen.cursor, seen.attempt), (0, 0), "the call that was begun is undone too");
        node.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_that_ends_the_lease_undoes_a_call_that_is_under_way() {
    for ground in grounds(gated).await {
        let node = ground.node(WORKERS).await;
        let trip = in_a_call(&ground).await;
        node.engine.compensate(trip, UserId::from(clock::new_uuid()), reason()).await.unwrap();

        ground.end_lease(trip).await;

        // The same node or another: it is undone while its call is not answered.
        ground.until(trip, WorkflowStatus::Compensated).await;
        assert_eq!(ground.world.answered.load(std::sync::atomic::Ordering::SeqCst), 0);
        answer(&ground.world);
        node.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decides_is_told_where_it_is() {
    for ground in grounds(World::default).await {
        let node = ground.node(WORKERS).await;
        let tour = ground.insert("tour", json!({})).await;
        ground.until(tour, WorkflowStatus::Waiting).await;
        let by = UserId::from(clock::new_uuid());
        let seen = Arc::new(std::sync::Mutex::new(None));
        let looked = Arc::clone(&seen);
        let has_way_back = move |at: &Standing| {
            *looked.lock().unwrap() = Some(at.clone());
            false
        };
        let now = ground.now();
        let refused =
            ground.store.compensate_workflow(tour, by, reason(), has_way_back, now).await.unwrap();
        assert_eq!(refused, AnotherTurn::NotUndoable);
        let standing = Standing { kind: "tour".to_owned(), version: 1, cursor: 1 };
        assert_eq!(*seen.lock().unwrap(), Some(standing));
        node.workflows.stop().await;
    }
}

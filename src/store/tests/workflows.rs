//! Workflows as people see them, and another turn for those that stand still.

use serde_json::json;

use super::super::workflows::admin::{AnotherTurn, LOOK_NOW, WorkflowCursor};
use super::super::workflows::signals::{Signal, list_signals};
use super::super::workflows::{NewWorkflow, Progress, insert_workflow, known_kinds, save};
use super::super::{Store, StoreError};
use super::fixtures;
use crate::clock;
use crate::domain::ids::{UserId, WorkflowId};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{Reason, WorkflowStatus};

const START: i64 = 1_795_262_400_000;

fn at(n: i64) -> Timestamp {
    Timestamp::from_millis(START + n)
}

async fn insert(store: &Store, n: i64) -> WorkflowId {
    let id = WorkflowId::from(clock::new_uuid());
    let new = NewWorkflow {
        id,
        kind: "walk",
        version: 1,
        dedupe_key: format!("walk:{id}"),
        state: json!({}),
        wake_at: at(n),
    };
    let inserted: Result<WorkflowId, StoreError> = store
        .write(move |db| Box::pin(async move { insert_workflow(db, &new, at(n)).await }))
        .await;
    inserted.unwrap()
}

/// Takes the only one that is due, and leaves it as `progress` says.
async fn leave(store: &Store, n: i64, progress: Progress) {
    let known = known_kinds([("walk", 1)].into_iter());
    let (node, lasts) = (clock::new_uuid().into(), std::time::Duration::from_secs(30));
    let running = store.claim_workflow(node, &known, lasts, at(n)).await.unwrap().unwrap();
    let saved: Result<(), StoreError> = store
        .write(move |db| Box::pin(async move { save(db, &running, &progress, at(n)).await }))
        .await;
    saved.unwrap();
}

async fn signals(store: &Store, id: WorkflowId) -> Vec<Signal> {
    let signals: Result<Vec<Signal>, StoreError> =
        store.read(move |db| Box::pin(async move { list_signals(db, id).await })).await;
    signals.unwrap()
}

fn parked() -> Progress {
    Progress::Parked { reason: "nobody knows".to_owned() }
}

#[tokio::test]
async fn workflows_are_listed_by_status_page_after_page_the_latest_first() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let mut ids = Vec::new();
        for n in 0..5 {
            // Two of them at once.
            ids.push(insert(store, n / 2).await);
        }
        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let page = store.list_workflows(WorkflowStatus::Ready, after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(WorkflowCursor { updated_at: last.updated_at, id: last.id });
            listed.extend(page.into_iter().map(|seen| seen.id));
        }
        listed.reverse();
        assert_eq!(listed, ids);
        assert_eq!(store.list_workflows(WorkflowStatus::Parked, None, 9).await.unwrap(), []);
        let figures = store.list_workflow_figures(9).await.unwrap();
        let counted: Vec<_> = figures.iter().map(|it| (it.status, it.count)).collect();
        assert_eq!(counted, [(WorkflowStatus::Ready, 5)]);
    }
}

#[tokio::test]
async fn one_that_is_parked_is_resumed_with_a_line_that_says_who_and_why() {
    for fixture in fixtures().await {
        let (store, by) = (&fixture.store, UserId::from(clock::new_uuid()));
        let reason = || Reason::parse("the provider is back").unwrap();
        let id = insert(store, 0).await;
        let refused = store.resume_workflow(id, by, reason(), at(1)).await.unwrap();
        assert_eq!(refused, AnotherTurn::Refused(WorkflowStatus::Ready));

        leave(store, 2, parked()).await;
        let (seen, _) = store.get_workflow(id).await.unwrap();
        assert_eq!(seen.status, WorkflowStatus::Parked);
        assert_eq!(seen.last_error.as_deref(), Some("nobody knows"));
        let resumed = store.resume_workflow(id, by, reason(), at(3)).await.unwrap();

        assert_eq!(resumed, AnotherTurn::Given);
        let (resumed, steps) = store.get_workflow(id).await.unwrap();
        assert_eq!((resumed.status, resumed.wake_at), (WorkflowStatus::Ready, at(3)));
        assert!(resumed.fence > seen.fence);
        let [note] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!((note.kind.as_str(), note.name.as_str(), note.node), ("note", "resumed", None));
        let output: serde_json::Value =
            serde_json::from_str(note.output.as_deref().unwrap()).unwrap();
        assert_eq!(output, json!({ "by": by, "reason": "the provider is back" }));
        leave(store, 3, Progress::Ended(WorkflowStatus::Done)).await;
        let late = store.resume_workflow(id, by, reason(), at(4)).await.unwrap();
        assert_eq!(late, AnotherTurn::Refused(WorkflowStatus::Done));
    }
}

#[tokio::test]
async fn one_that_waits_looks_now_if_it_is_told_to_and_one_that_is_parked_does_not() {
    for fixture in fixtures().await {
        let (store, by) = (&fixture.store, UserId::from(clock::new_uuid()));
        let id = insert(store, 0).await;
        let rest = Progress::Rest { until: at(60_000), began: at(0), reason: None };
        leave(store, 0, rest).await;

        let told = store.look_now_at_workflow(id, by, at(5)).await.unwrap();

        assert_eq!(told, AnotherTurn::Given);
        assert_eq!(store.get_workflow(id).await.unwrap().0.wake_at, at(5));
        let signals = signals(store, id).await;
        assert_eq!(signals[0].name, LOOK_NOW);
        assert_eq!(signals[0].payload, json!({ "by": by }));
        leave(store, 5, parked()).await;
        let refused = store.look_now_at_workflow(id, by, at(6)).await.unwrap();
        assert_eq!(refused, AnotherTurn::Refused(WorkflowStatus::Parked));
    }
}

#[tokio::test]
async fn of_a_workflow_that_does_not_exist_nothing_is_known() {
    for fixture in fixtures().await {
        let (store, by) = (&fixture.store, UserId::from(clock::new_uuid()));
        let id = WorkflowId::from(clock::new_uuid());
        let reason = Reason::parse("why not").unwrap();
        let not_found = |error: StoreError| assert!(matches!(error, StoreError::NotFound));
        not_found(store.get_workflow(id).await.unwrap_err());
        not_found(store.get_workflow_status(id).await.unwrap_err());
        not_found(store.resume_workflow(id, by, reason, at(0)).await.unwrap_err());
        not_found(store.look_now_at_workflow(id, by, at(0)).await.unwrap_err());
    }
}

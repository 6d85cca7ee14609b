//! Idempotency keys: one effect a key, however many come at once and whoever dies on the way.

use std::time::Duration;

use futures_util::future::join_all;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::super::idempotency::{Claimed, SeenKey, attach, attach_resource, claim, finish};
use super::super::{Store, StoreError, execute};
use super::fixtures;
use crate::clock;
use crate::domain::idempotency::{
    IdempotencyKey, IdempotentCall, KEPT, KeyState, LOCKED, StoredAnswer, fingerprint,
};
use crate::domain::ids::WorkflowId;
use crate::domain::time::Timestamp;

const START: Timestamp = Timestamp::from_millis(1_795_262_400_000);
const CROWD: usize = 64;
const A_BIT: Duration = Duration::from_millis(1);

fn call(key: &str) -> IdempotentCall {
    IdempotentCall {
        principal: "user:jisoo".to_owned(),
        route: "POST /v1/payments/create",
        key: IdempotencyKey::parse(key).unwrap(),
        fingerprint: fingerprint(&serde_json::json!({ "amount": 100 })),
    }
}

fn answer(body: &str) -> StoredAnswer {
    StoredAnswer { status: 201, body: body.to_owned() }
}

async fn claimed(store: &Store, call: &IdempotentCall, now: Timestamp) -> Claimed {
    let call = call.clone();
    let claimed: Result<Claimed, StoreError> =
        store.write(move |db| Box::pin(async move { claim(db, &call, now).await })).await;
    claimed.unwrap()
}

async fn finished(store: &Store, call: &IdempotentCall, answer: StoredAnswer) -> StoredAnswer {
    let call = call.clone();
    let finished: Result<StoredAnswer, StoreError> =
        store.write(move |db| Box::pin(async move { finish(db, &call, &answer).await })).await;
    finished.unwrap()
}

/// Claims, has an effect that can be counted, and finishes, in one transaction; without the claim if it is left out.
async fn pay(store: &Store, call: IdempotentCall, is_claimed: bool) -> Option<Claimed> {
    let paid: Result<Option<Claimed>, StoreError> = store
        .write(move |db| {
            Box::pin(async move {
                if is_claimed {
                    let claimed = claim(db, &call, START).await?;
                    if claimed != Claimed::New {
                        return Ok(Some(claimed));
                    }
                }
                let effect = clock::new_uuid().to_string();
                execute!(db, "INSERT INTO meta (name, value) VALUES ($1, 'effect')", &effect)?;
                if is_claimed {
                    finish(db, &call, &answer(&effect)).await?;
                }
                Ok(None)
            })
        })
        .await;
    paid.unwrap()
}

async fn effects(store: &Store) -> u64 {
    let counted: Result<u64, StoreError> = store
        .write(|db| {
            Box::pin(async move { execute!(db, "DELETE FROM meta WHERE value = 'effect'") })
        })
        .await;
    counted.unwrap()
}

#[tokio::test]
async fn of_many_at_once_one_takes_effect_and_all_others_are_given_its_answer() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let paid = join_all((0..CROWD).map(|_| pay(store, call("all-at-once"), true))).await;

        let others: Vec<Claimed> = paid.into_iter().flatten().collect();
        assert_eq!(others.len(), CROWD - 1);
        let Claimed::Finished(first) = &others[0] else { panic!("{:?}", others[0]) };
        assert!(others.iter().all(|other| *other == Claimed::Finished(first.clone())));
        assert_eq!(effects(store).await, 1);
    }
}

#[tokio::test]
async fn control_without_a_claim_each_of_many_takes_effect() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        join_all((0..CROWD).map(|_| pay(store, call("all-at-once"), false))).await;
        assert_eq!(effects(store).await, 64);
    }
}

#[tokio::test]
async fn while_somebody_is_at_it_nobody_else_is() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let call = call("all-at-once");
        let all = join_all((0..CROWD).map(|_| claimed(store, &call, START))).await;

        let begun = all.iter().filter(|claimed| **claimed == Claimed::New).count();
        let waiting = all.iter().filter(|claimed| **claimed == Claimed::InFlight).count();
        assert_eq!((begun, waiting), (1, CROWD - 1));
    }
}

#[tokio::test]
async fn a_changed_body_is_another_request_at_every_stage() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let first = call("changed-body");
        let other = IdempotentCall { fingerprint: [0; 32], ..first.clone() };

        assert_eq!(claimed(store, &first, START).await, Claimed::New);
        assert_eq!(claimed(store, &other, START).await, Claimed::Reused);
        assert_eq!(claimed(store, &other, START.plus(LOCKED)).await, Claimed::Reused);
        finished(store, &first, answer("{}")).await;
        assert_eq!(claimed(store, &other, START).await, Claimed::Reused);
    }
}

#[tokio::test]
async fn the_same_key_of_somebody_else_or_for_something_else_is_another() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let first = call("the-same-key");
        let by_another = IdempotentCall { principal: "service:jisoo".to_owned(), ..first.clone() };
        let elsewhere = IdempotentCall { route: "POST /v1/payments/cancel", ..first.clone() };
        for call in [first, by_another, elsewhere] {
            assert_eq!(claimed(store, &call, START).await, Claimed::New);
        }
    }
}

#[tokio::test]
async fn what_was_answered_is_answered_again_to_the_byte() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let call = call("the-same-bytes");
        let kept = answer("{ \"name\" : \"원\\u0000\",\n \"z\":1,\"a\":2 }");
        claimed(store, &call, START).await;

        assert_eq!(finished(store, &call, kept.clone()).await, kept);
        // Somebody who waited for the same workflow, and was slower.
        assert_eq!(finished(store, &call, answer("{}")).await, kept);
        assert_eq!(claimed(store, &call, START.plus(LOCKED)).await, Claimed::Finished(kept));
    }
}

#[tokio::test]
async fn what_was_undone_was_never_claimed() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let refused = call("undone-again");
        let undone: Result<(), StoreError> = store
            .write(move |db| {
                Box::pin(async move {
                    claim(db, &refused, START).await?;
                    Err(StoreError::NotFound)
                })
            })
            .await;
        assert!(undone.is_err());
        assert_eq!(claimed(store, &call("undone-again"), START).await, Claimed::New);
    }
}

#[tokio::test]
async fn what_nobody_came_back_to_is_taken_over_by_one_with_what_was_made() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let (bare, made) = (call("nothing-made"), call("something-made"));
        let resource = clock::new_uuid();
        for call in [&bare, &made] {
            claimed(store, call, START).await;
        }
        let call = made.clone();
        let attached: Result<(), StoreError> = store
            .write(move |db| Box::pin(async move { attach_resource(db, &call, resource).await }))
            .await;
        attached.unwrap();

        let end = START.plus(LOCKED);
        for (call, expected) in [(&bare, Claimed::New), (&made, Claimed::Resumed(resource))] {
            assert_eq!(claimed(store, call, end.minus(A_BIT)).await, Claimed::InFlight);
            let all = join_all((0..CROWD).map(|_| claimed(store, call, end))).await;
            assert_eq!(all.iter().filter(|claimed| **claimed == expected).count(), 1);
            assert_eq!(all.iter().filter(|claimed| **claimed == Claimed::InFlight).count(), 63);
        }
    }
}

#[tokio::test]
async fn whoever_repeats_what_a_workflow_does_is_told_which_however_late() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let call = call("a-workflow-does");
        let workflow = WorkflowId::from(clock::new_uuid());
        let begun = call.clone();
        let attached: Result<(), StoreError> = store
            .write(move |db| {
                Box::pin(async move {
                    claim(db, &begun, START).await?;
                    attach(db, &begun, workflow).await
                })
            })
            .await;
        attached.unwrap();

        for now in [START, START.plus(LOCKED), START.plus(KEPT).minus(A_BIT)] {
            assert_eq!(claimed(store, &call, now).await, Claimed::Workflow(workflow));
        }
        finished(store, &call, answer("{}")).await;
        assert_eq!(claimed(store, &call, START).await, Claimed::Finished(answer("{}")));
    }
}

#[tokio::test]
async fn a_key_is_forgotten_after_fifteen_days_and_no_other() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let (old, new) = (call("fifteen-days"), call("and-no-other"));
        claimed(store, &old, START).await;
        claimed(store, &new, START.plus(A_BIT)).await;
        finished(store, &new, answer("{}")).await;
        let sweep = |now| store.delete_expired_idempotency_keys(now, 100);

        assert_eq!(sweep(START.plus(KEPT).minus(A_BIT)).await.unwrap(), 0);
        assert_eq!(KEPT, Duration::from_hours(15 * 24));
        assert_eq!(sweep(START.plus(KEPT)).await.unwrap(), 1);
        assert_eq!(claimed(store, &old, START).await, Claimed::New);
        assert_eq!(claimed(store, &new, START).await, Claimed::Finished(answer("{}")));
    }
}

#[tokio::test]
async fn requests_are_counted_by_what_became_of_them() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let local = metrics::set_default_local_recorder(&recorder);
    let stores = fixtures().await;
    for fixture in &stores {
        let (once, other) = (call("counted-1"), call("counted-1"));
        assert_eq!(claimed(&fixture.store, &once, START).await, Claimed::New);
        assert_eq!(claimed(&fixture.store, &once, START).await, Claimed::InFlight);
        let other = IdempotentCall { fingerprint: [0; 32], ..other };
        assert_eq!(claimed(&fixture.store, &other, START).await, Claimed::Reused);
        finished(&fixture.store, &once, answer("{}")).await;
        assert!(matches!(claimed(&fixture.store, &once, START).await, Claimed::Finished(_)));
    }
    drop(local);
    let figures = recorder.handle().render();
    for outcome in ["new", "conflict", "mismatch", "replay"] {
        // The writer of SQLite counts on a thread of its own.
        let line = format!("madang_idempotency_total{{outcome=\"{outcome}\"}} 1");
        assert!(figures.contains(&line), "{line} is not in {figures}");
    }
}

#[tokio::test]
async fn a_key_is_seen_as_it_stands_whoevers_it_is() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let call = call("all-at-once");
        let others = IdempotentCall { principal: "service:shop".to_owned(), ..call.clone() };
        let look = async |principal: Option<&str>, now| -> Vec<SeenKey> {
            let (key, principal) = (call.key.clone(), principal.map(str::to_owned));
            store.list_idempotency_keys(key, principal, now).await.unwrap()
        };
        assert_eq!(look(None, START).await, []);
        claimed(store, &call, START).await;
        claimed(store, &others, START.plus(A_BIT)).await;

        let both = look(None, START).await;
        let whose: Vec<&str> = both.iter().map(|it| it.principal.as_str()).collect();
        assert_eq!(whose, ["service:shop", "user:jisoo"]);
        assert!(both.iter().all(|it| it.state == KeyState::UnderWay), "{both:?}");
        assert_eq!(both[1].fingerprint, call.fingerprint);
        assert_eq!(both[1].expires_at, START.plus(KEPT));
        let own = async |now| look(Some("user:jisoo"), now).await.remove(0);
        assert_eq!(own(START).await, both[1]);
        assert_eq!(own(START.plus(LOCKED)).await.state, KeyState::Abandoned);
        let workflow = WorkflowId::from(clock::new_uuid());
        let attaching = call.clone();
        let attached: Result<(), StoreError> = store
            .write(move |db| Box::pin(async move { attach(db, &attaching, workflow).await }))
            .await;
        attached.unwrap();
        let seen = own(START).await;
        assert_eq!((seen.state, seen.workflow), (KeyState::Workflow, Some(workflow)));
        finished(store, &call, answer("done")).await;
        let seen = own(START.plus(LOCKED)).await;
        assert_eq!((seen.state, seen.answer), (KeyState::Answered, Some(answer("done"))));
    }
}

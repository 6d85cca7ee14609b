//! Leases: one owner at a time, whoever dies, sleeps or has a wrong clock.

use std::time::Duration;

use super::super::leases::Lease;
use super::super::{Store, StoreError, execute};
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::ids::NodeId;

const LONG: Duration = Duration::from_secs(600);
const WORK: &str = "relay:figures";

fn node() -> NodeId {
    clock::new_uuid().into()
}

/// The database's clock jumps ahead by so much, or, if it is negative, back: as far as the leases can tell.
async fn jump(fixture: &Fixture, by: i64) {
    let moved: Result<u64, StoreError> = fixture
        .store
        .write(move |db| {
            Box::pin(
                async move { execute!(db, "UPDATE leases SET lease_until = lease_until - $1", by) },
            )
        })
        .await;
    moved.unwrap();
}

/// Work that relies on the lease.
async fn work(store: &Store, lease: &Lease) -> Result<(), StoreError> {
    let lease = lease.clone();
    store.write(move |db| Box::pin(async move { lease.confirm(db).await })).await
}

#[tokio::test]
async fn of_two_claimants_one_gets_it_and_the_other_when_it_is_given_back() {
    for fixture in fixtures().await {
        let (store, one, two) = (&fixture.store, node(), node());
        let (first, second) =
            tokio::join!(store.claim_lease(WORK, one, LONG), store.claim_lease(WORK, two, LONG));
        let winners: Vec<Lease> = [first.unwrap(), second.unwrap()].into_iter().flatten().collect();
        let [lease] = winners.as_slice() else { panic!("not one owner: {winners:?}") };
        work(store, lease).await.unwrap();
        assert!(store.claim_lease("another", node(), LONG).await.unwrap().is_some());

        store.release_lease(lease).await.unwrap();
        assert!(matches!(work(store, lease).await, Err(StoreError::LeaseLost)));
        let next = store.claim_lease(WORK, node(), LONG).await.unwrap().unwrap();
        assert!(next.fence() > lease.fence());
    }
}

#[tokio::test]
async fn an_owner_that_slept_through_its_end_is_refused_whoever_came_after() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let sleeper = store.claim_lease(WORK, node(), Duration::ZERO).await.unwrap().unwrap();
        // Nobody has taken it yet: it is over all the same.
        assert!(matches!(work(store, &sleeper).await, Err(StoreError::LeaseLost)));
        assert!(matches!(store.renew_lease(&sleeper, LONG).await, Err(StoreError::LeaseLost)));

        let next = store.claim_lease(WORK, node(), LONG).await.unwrap().unwrap();
        assert!(matches!(work(store, &sleeper).await, Err(StoreError::LeaseLost)));
        assert!(matches!(store.renew_lease(&sleeper, LONG).await, Err(StoreError::LeaseLost)));
        store.release_lease(&sleeper).await.unwrap();
        work(store, &next).await.unwrap();
    }
}

#[tokio::test]
async fn the_same_node_is_another_owner_when_it_claims_again() {
    for fixture in fixtures().await {
        let (store, owner) = (&fixture.store, node());
        let before = store.claim_lease(WORK, owner, LONG).await.unwrap().unwrap();
        let after = store.claim_lease(WORK, owner, LONG).await.unwrap().unwrap();
        assert!(matches!(work(store, &before).await, Err(StoreError::LeaseLost)));
        work(store, &after).await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_jumps_makes_no_two_owners() {
    for fixture in fixtures().await {
        let (store, other) = (&fixture.store, node());
        let lease = store.claim_lease(WORK, node(), LONG).await.unwrap().unwrap();
        jump(&fixture, 3_600_000).await;
        assert!(matches!(work(store, &lease).await, Err(StoreError::LeaseLost)));
        let next = store.claim_lease(WORK, other, LONG).await.unwrap().unwrap();
        // Back again: now both leases last, and the fence decides.
        jump(&fixture, -3_600_000).await;
        assert!(matches!(work(store, &lease).await, Err(StoreError::LeaseLost)));
        work(store, &next).await.unwrap();
        store.renew_lease(&next, LONG).await.unwrap();
        work(store, &next).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_becomes_the_owner_while_somebody_works() {
    let fixture = Fixture::postgres().await;
    let store = &fixture.store;
    let lease = store.claim_lease(WORK, node(), Duration::from_secs(1)).await.unwrap().unwrap();
    let (held, claimed) = (std::sync::Arc::new(tokio::sync::Notify::new()), node());
    let holds = std::sync::Arc::clone(&held);
    let working = store.write::<_, StoreError, _>(move |db| {
        Box::pin(async move {
            lease.confirm(db).await?;
            holds.notify_one();
            // Longer than the lease: what was confirmed stays so until the end.
            execute!(db, "SELECT pg_sleep(2)")?;
            execute!(db, "UPDATE leases SET name = name WHERE fence = 1")
        })
    });
    let claiming = async {
        held.notified().await;
        loop {
            if let Some(next) = store.claim_lease(WORK, claimed, LONG).await.unwrap() {
                return next;
            }
            tokio::task::yield_now().await;
        }
    };
    let (worked, next) = tokio::join!(working, claiming);
    assert_eq!(worked.unwrap(), 1, "it was its own until it had committed");
    assert_eq!(next.fence(), 2);
}

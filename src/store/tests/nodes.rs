//! Nodes and what they know of who is here: one truth, whoever dies.

use std::time::Duration;

use super::super::nodes::Node;
use super::super::{StoreError, fetch_one};
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::ids::{NodeId, UserId};
use crate::domain::presence::{Choice, Presence, Status};
use crate::domain::time::Timestamp;

const LONG: Duration = Duration::from_secs(600);
const SEEN: Timestamp = Timestamp::from_millis(1_795_244_400_000);
const ALL: i64 = 500;

/// A node that asks about the others.
fn nobody() -> NodeId {
    clock::new_uuid().into()
}

async fn join(fixture: &Fixture, lease: Option<Duration>) -> NodeId {
    let id = NodeId::from(clock::new_uuid());
    let node = Node { id, name: "node".to_owned(), key_id: "key".to_owned() };
    fixture.store.insert_node(node, lease, clock::now()).await.unwrap();
    id
}

async fn note(
    fixture: &Fixture,
    node: NodeId,
    user: UserId,
    choice: Option<Choice>,
) -> Option<Presence> {
    fixture.store.update_presence(node, user, choice, SEEN, clock::now()).await.unwrap()
}

async fn told(fixture: &Fixture, user: UserId) -> i64 {
    let subject = user.to_string();
    let count: Result<(i64,), StoreError> = fixture
        .store
        .read(move |db| {
            Box::pin(async move {
                fetch_one!(
                    db,
                    (i64,),
                    "SELECT COUNT(*) FROM outbox
                     WHERE name = 'UserOnlineStatusChanged' AND subject = $1",
                    subject,
                )
            })
        })
        .await;
    count.unwrap().0
}

#[tokio::test]
async fn what_nodes_know_of_a_user_comes_to_one_presence() {
    for fixture in fixtures().await {
        let (one, two) = (join(&fixture, Some(LONG)).await, join(&fixture, Some(LONG)).await);
        let user = fixture.user().await;
        let came = note(&fixture, one, user, Some(Choice::Away)).await.unwrap();
        assert_eq!((came.status, came.last_seen_at), (Status::Away, Some(SEEN)));
        assert_eq!(
            note(&fixture, two, user, Some(Choice::Online)).await.unwrap().status,
            Status::Online
        );
        assert_eq!(
            note(&fixture, one, user, Some(Choice::Busy)).await,
            None,
            "the other is more present"
        );
        assert_eq!(note(&fixture, two, user, None).await.unwrap().status, Status::Busy);
        assert_eq!(
            note(&fixture, two, user, Some(Choice::Invisible)).await.unwrap().status,
            Status::Offline
        );
        assert_eq!(note(&fixture, one, user, None).await, None);
        assert_eq!(fixture.store.find_presence(user).await.unwrap().status, Status::Offline);
        assert_eq!(told(&fixture, user).await, 2);
    }
}

#[tokio::test]
async fn who_never_was_seen_and_comes_unseen_stays_unknown() {
    for fixture in fixtures().await {
        let node = join(&fixture, None).await;
        let user = fixture.user().await;
        assert_eq!(note(&fixture, node, user, Some(Choice::Invisible)).await, None);
        assert_eq!(fixture.store.find_presence(user).await.unwrap().last_seen_at, None);
    }
}

#[tokio::test]
async fn nodes_that_note_at_once_lose_nothing() {
    for fixture in fixtures().await {
        let user = fixture.user().await;
        let mut nodes = Vec::new();
        for _ in 0..8 {
            nodes.push(join(&fixture, Some(LONG)).await);
        }
        for choice in [Some(Choice::Online), None] {
            let notes = nodes.iter().map(|node| note(&fixture, *node, user, choice));
            futures_util::future::join_all(notes).await;
        }
        assert_eq!(fixture.store.find_presence(user).await.unwrap().status, Status::Offline);
        assert_eq!(told(&fixture, user).await, 2, "once online, once offline");
    }
}

#[tokio::test]
async fn the_dead_are_declared_so_once_and_write_nothing_more() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let (dying, living) = (join(&fixture, Some(LONG)).await, join(&fixture, Some(LONG)).await);
        let (gone, moved) = (fixture.user().await, fixture.user().await);
        note(&fixture, dying, gone, Some(Choice::Online)).await;
        note(&fixture, dying, moved, Some(Choice::Online)).await;
        note(&fixture, living, moved, Some(Choice::Away)).await;
        let now = clock::now();
        let (changed, has_more) = store.delete_dead_presences(dying, ALL, now).await.unwrap();
        assert!(changed.is_empty() && !has_more, "its lease is not over");

        store.end_node_lease(dying, Duration::ZERO).await.unwrap();
        let dead = store.list_dead_nodes(nobody()).await.unwrap();
        assert_eq!(dead.iter().map(|node| node.id).collect::<Vec<_>>(), [dying]);
        // Nobody has declared it dead yet: it may come back.
        let (alive, was_over) = store.update_node_lease(dying, Duration::ZERO).await.unwrap();
        assert!(was_over, "it was late");
        assert_eq!(alive.iter().map(|node| node.id).collect::<Vec<_>>(), [living]);

        let (first, second) = tokio::join!(
            store.delete_dead_presences(dying, ALL, now),
            store.delete_dead_presences(dying, ALL, now),
        );
        let changed = [first.unwrap().0, second.unwrap().0].concat();
        let mut shown: Vec<_> = changed.iter().map(|one| (one.user_id, one.status)).collect();
        shown.sort();
        let mut expected = [(gone, Status::Offline), (moved, Status::Away)];
        expected.sort();
        assert_eq!(shown, expected);
        assert_eq!((told(&fixture, gone).await, told(&fixture, moved).await), (2, 1));

        let late = store.update_presence(dying, gone, Some(Choice::Online), SEEN, now).await;
        assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
        let renewed = store.update_node_lease(dying, LONG).await;
        assert!(matches!(renewed, Err(StoreError::LeaseLost)), "{renewed:?}");
        while store.delete_dead_presences(dying, ALL, now).await.unwrap().1 {}
        assert!(
            store.list_dead_nodes(nobody()).await.unwrap().is_empty(),
            "it is forgotten in the end"
        );
    }
}

#[tokio::test]
async fn whom_no_node_knows_is_not_shown() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let node = join(&fixture, None).await;
        let (stray, here) = (fixture.user().await, fixture.user().await);
        note(&fixture, node, here, Some(Choice::Online)).await;
        note(&fixture, node, stray, Some(Choice::Online)).await;
        // As a release left it that noted nothing of its own.
        let _: Result<u64, StoreError> = store
            .write(move |db| {
                Box::pin(async move {
                    super::super::execute!(
                        db,
                        "DELETE FROM node_presences WHERE user_id = $1",
                        stray.uuid()
                    )
                })
            })
            .await;
        let changed = store.update_stray_presences(ALL, clock::now()).await.unwrap();
        let shown: Vec<_> = changed.iter().map(|one| (one.user_id, one.status)).collect();
        assert_eq!(shown, [(stray, Status::Offline)]);
        assert!(store.update_stray_presences(ALL, clock::now()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_a_node_that_has_gone_knew_counts_until_its_user_is_elsewhere() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let (gone, next) = (join(&fixture, Some(LONG)).await, join(&fixture, Some(LONG)).await);
        let (moved, away) = (fixture.user().await, fixture.user().await);
        note(&fixture, gone, moved, Some(Choice::Online)).await;
        note(&fixture, gone, away, Some(Choice::Online)).await;
        store.end_node_lease(gone, LONG).await.unwrap();
        let alive = store.list_living_nodes().await.unwrap();
        assert_eq!(alive.iter().map(|node| node.id).collect::<Vec<_>>(), [next]);
        assert_eq!(store.find_presence(away).await.unwrap().status, Status::Online);
        let seen = note(&fixture, next, moved, Some(Choice::Away)).await.unwrap();
        assert_eq!(seen.status, Status::Away, "the newer one alone counts");
        assert!(store.list_dead_nodes(nobody()).await.unwrap().is_empty(), "its grace lasts");
    }
}

#[tokio::test]
async fn what_a_late_node_knows_counts_again_once_it_has_renewed() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let (late, other) = (join(&fixture, Some(LONG)).await, join(&fixture, Some(LONG)).await);
        let user = fixture.user().await;
        note(&fixture, late, user, Some(Choice::Invisible)).await;
        store.update_node_lease(late, Duration::ZERO).await.unwrap();
        let seen = note(&fixture, other, user, Some(Choice::Online)).await;
        assert_eq!(seen.unwrap().status, Status::Online, "for all that is known");
        let (_, was_over) = store.update_node_lease(late, LONG).await.unwrap();
        assert!(was_over);
        let now = clock::now();
        let (changed, last) = store.merge_node_presences(late, None, ALL, now).await.unwrap();
        assert_eq!(changed.iter().map(|one| one.status).collect::<Vec<_>>(), [Status::Offline]);
        let (changed, last) = store.merge_node_presences(late, last, ALL, now).await.unwrap();
        assert!(changed.is_empty() && last.is_none());
        assert!(!store.update_node_lease(late, LONG).await.unwrap().1);
    }
}

#[tokio::test]
async fn a_process_outlives_those_before_it_and_not_those_after() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let (first, second) = (join(&fixture, None).await, join(&fixture, None).await);
        let third = join(&fixture, None).await;
        store.end_earlier_node_leases(second, Duration::ZERO).await.unwrap();
        let dead = store.list_dead_nodes(second).await.unwrap();
        assert_eq!(dead.iter().map(|node| node.id).collect::<Vec<_>>(), [first]);
        let alive = store.list_living_nodes().await.unwrap();
        assert_eq!(alive.iter().map(|node| node.id).collect::<Vec<_>>(), [second, third]);
    }
}

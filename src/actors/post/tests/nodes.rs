//! Nodes that share the work, and one that has died with its letters.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Manner, Office, WORKERS, eventually};
use crate::clock;
use crate::domain::deliveries::DeliveryStatus;
use crate::domain::media::Medium;
use crate::store::deliveries::queue::Wanted;

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_the_letters_and_hand_over_each_once() {
    let office = Office::open().await;
    let posts = [office.post(&[Medium::Push]).await, office.post(&[Medium::Push]).await];
    let queued = office.queue(Medium::Push, &["fine"; 20 * WORKERS]).await;
    let letters = eventually("every letter is delivered", async || {
        office.advance(1);
        for post in &posts {
            post.wake();
        }
        let all = office.all().await;
        all.iter().all(|letter| letter.finished_at.is_some()).then_some(all)
    })
    .await;

    assert!(letters.iter().all(|letter| letter.status == DeliveryStatus::Delivered));
    let taken = office.courier.taken();
    assert_eq!(taken.len(), queued.len(), "none twice");
    let (taken, queued): (BTreeSet<_>, BTreeSet<_>) =
        (taken.into_iter().collect(), queued.into_iter().collect());
    assert_eq!(taken, queued);
    office.close(&posts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_whose_attempt_outlasts_its_lease_stays_where_it_is() {
    let mut office = Office::open().await;
    office.lease = Duration::from_secs(2);
    let gate = Arc::new(Semaphore::new(0));
    office.courier.set("slow", Manner::Waits(Arc::clone(&gate)));
    let slow = office.queue(Medium::Push, &["slow"]).await;
    let posts = [office.post(&[Medium::Push]).await, office.post(&[Medium::Push]).await];
    eventually("it is handed over", async || (office.courier.calls("slow") == 1).then_some(()))
        .await;

    // Several leases long, both nodes look for more.
    for _ in 0..25 {
        posts.iter().for_each(super::Post::wake);
        tokio::time::sleep(office.lease.div_f64(10.0)).await;
    }
    gate.add_permits(2);
    office.finished(&posts[0], 0).await;

    assert_eq!(office.courier.calls("slow"), 1);
    assert_eq!(office.courier.taken(), slow);
    office.close(&posts).await;
}

/// A node takes every letter that is due, and dies: its lease is over at once.
async fn take_and_die(office: &Office) {
    let (medium, limit) = (Medium::Push, 100);
    let wanted = Wanted { medium, limit, party_max: limit, held: Vec::new() };
    let me = clock::new_uuid().into();
    let claiming = office.store.claim_deliveries(me, &wanted, Duration::ZERO, office.now());
    assert!(!claiming.await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_had_when_it_died_is_attempted_by_another_with_the_same_id() {
    let office = Office::open().await;
    let queued = office.queue(Medium::Push, &["fine"; 3]).await;
    take_and_die(&office).await;

    let post = office.post(&[Medium::Push]).await;
    let all = office.finished(&post, 1).await;

    assert!(all.iter().all(|letter| letter.status == DeliveryStatus::Delivered));
    let mut taken = office.courier.taken();
    taken.sort_unstable();
    assert_eq!(taken, queued);
    let (_, log) = office.store.get_delivery(queued[0], 10).await.unwrap();
    let outcomes: Vec<Option<&str>> = log.iter().map(|it| it.outcome.as_deref()).collect();
    assert_eq!(outcomes, [Some("lost"), Some("taken")]);
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_kills_every_node_that_takes_it_is_given_up() {
    let office = Office::open().await;
    office.queue(Medium::Push, &["deadly"]).await;
    for _ in 0..9 {
        take_and_die(&office).await;
    }

    let post = office.post(&[Medium::Push]).await;
    let all = office.finished(&post, 1).await;

    assert_eq!(all[0].status, DeliveryStatus::Dead);
    assert_eq!(office.courier.calls("deadly"), 0);
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_goes_out_when_it_is_due_and_not_before() {
    let office = Office::open().await;
    let post = office.post(&[Medium::Push]).await;
    let mut later = super::letter(Medium::Push, "later", clock::new_uuid());
    later.due_at = super::START.plus(Duration::from_secs(60));
    let id = office.queue_all(vec![later]).await[0];
    office.queue(Medium::Push, &["now"]).await;
    post.wake();
    eventually("the other is delivered", async || {
        (office.courier.taken().len() == 1).then_some(())
    })
    .await;
    assert_eq!(office.courier.calls("later"), 0);

    office.advance(60);
    post.wake();

    eventually("it is delivered", async || office.courier.taken().contains(&id).then_some(()))
        .await;
    office.close(&[post]).await;
}

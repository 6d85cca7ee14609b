//! Providers that are down: others do not notice, nobody's attempts are used up, and everything goes out afterwards.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Manner, Office, WORKERS, eventually, letter, unavailable};
use crate::clock;
use crate::domain::deliveries::DeliveryStatus;
use crate::domain::media::Medium;
use crate::providers::couriers::DeliveryError;
use crate::store::testing::take_queue_away;

/// A little longer than a way is left alone at most.
const A_MINUTE: i64 = 61;
const MINUTES: usize = 10;

/// Lets ten minutes pass in which letters on `way` find it down.
async fn ten_minutes_down(office: &Office, post: &super::Post, way: &str) {
    for _ in 0..MINUTES {
        let before = office.courier.calls(way);
        office.advance(A_MINUTE);
        post.wake();
        eventually("it is tried again", async || {
            (office.courier.calls(way) > before).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_way_is_down_the_others_are_open_and_nobodys_attempts_are_used_up() {
    let office = Office::open().await;
    office.courier.set("down", unavailable());
    let post = office.post(&[Medium::Push, Medium::Mail]).await;
    let down = office.queue(Medium::Push, &["down"; 5 * WORKERS]).await;
    let up = office.queue(Medium::Push, &["up"; 5 * WORKERS]).await;
    let mails = office.queue(Medium::Mail, &["up"; WORKERS]).await;
    post.wake();
    eventually("the others are delivered", async || {
        office.advance(1);
        post.wake();
        let taken = office.courier.taken();
        up.iter().chain(&mails).all(|id| taken.contains(id)).then_some(())
    })
    .await;
    eventually("the way is known to be down", async || {
        let routes = post.look(Medium::Push).routes;
        routes.iter().any(|view| view.route == "down").then_some(())
    })
    .await;

    ten_minutes_down(&office, &post, "down").await;

    // Those that found it out, and one in each half-open moment since.
    assert!(office.courier.calls("down") <= 3 * WORKERS + 3 * MINUTES);
    assert!(!office.statuses().await.contains_key("dead"));
    office.courier.set("down", Manner::Takes);
    let all = office.finished(&post, 5).await;
    for letter in all.iter().filter(|letter| down.contains(&letter.id)) {
        assert_eq!(letter.status, DeliveryStatus::Delivered);
        assert!(letter.attempts <= 3, "{letter:?}");
    }
    let mut taken = office.courier.taken();
    taken.sort_unstable();
    let handed_over = taken.len();
    taken.dedup();
    assert_eq!((taken.len(), handed_over), (all.len(), all.len()), "each exactly once");
    assert_eq!(post.look(Medium::Push).routes, []);
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_medium_whose_only_way_is_down_waits_and_then_delivers_everything() {
    let office = Office::open().await;
    office.courier.set("news", unavailable());
    let post = office.post(&[Medium::Mail]).await;
    office.queue(Medium::Mail, &["news"; 10 * WORKERS]).await;
    post.wake();
    eventually("the way is known to be down", async || {
        (!post.look(Medium::Mail).routes.is_empty()).then_some(())
    })
    .await;

    ten_minutes_down(&office, &post, "news").await;

    assert!(office.courier.calls("news") <= 2 * WORKERS + 3 * MINUTES, "only to find out");
    office.courier.set("news", Manner::Takes);
    let all = office.finished(&post, 5).await;
    assert!(all.iter().all(|letter| letter.status == DeliveryStatus::Delivered));
    assert!(all.iter().all(|letter| letter.attempts <= 3));
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_letter_outlives_an_outage_that_is_longer_than_its_retries() {
    let office = Office::open().await;
    office.courier.set("news", unavailable());
    let post = office.post(&[Medium::Mail]).await;
    office.queue(Medium::Mail, &["news"]).await;
    // All its retries take an hour at most, were they counted.
    let end = super::START.plus(Duration::from_mins(90));
    eventually("the outage is over", async || {
        office.advance(5);
        post.wake();
        (office.now() >= end).then_some(())
    })
    .await;

    office.courier.set("news", Manner::Takes);
    let all = office.finished(&post, 5).await;

    assert_eq!(all[0].status, DeliveryStatus::Delivered);
    assert!(all[0].attempts <= 6, "{all:?}");
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_us_costs_no_letter_anything() {
    let office = Office::open().await;
    let refusal = DeliveryError::Misconfigured { cause: "wrong key".to_owned() };
    office.courier.set("news", Manner::Fails(refusal));
    let post = office.post(&[Medium::Push]).await;
    office.queue(Medium::Push, &["news"; WORKERS]).await;
    post.wake();
    eventually("it is left alone at once", async || {
        (!post.look(Medium::Push).routes.is_empty()).then_some(())
    })
    .await;
    ten_minutes_down(&office, &post, "news").await;

    office.courier.set("news", Manner::Takes);
    let all = office.finished(&post, 5).await;

    for letter in all {
        assert_eq!((letter.status, letter.attempts), (DeliveryStatus::Delivered, 1));
    }
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_wants_less_is_left_alone_and_costs_no_letter_anything() {
    let office = Office::open().await;
    let retry_after = Some(Duration::from_secs(120));
    let throttled = DeliveryError::Throttled { cause: "429".to_owned(), retry_after };
    office.courier.set("news", Manner::Fails(throttled));
    let post = office.post(&[Medium::Mail]).await;
    office.queue(Medium::Mail, &["news"; 5 * WORKERS]).await;
    eventually("it is left alone", async || {
        (!post.look(Medium::Mail).routes.is_empty()).then_some(())
    })
    .await;
    eventually("everything that was on its way is back", async || {
        (post.look(Medium::Mail).busy == 0).then_some(())
    })
    .await;
    let calls = office.courier.calls("news");
    assert!(calls <= WORKERS, "{calls}");
    office.advance(115);
    post.wake();

    office.courier.set("news", Manner::Takes);
    let all = office.finished(&post, 5).await;

    for letter in all {
        assert_eq!((letter.status, letter.attempts), (DeliveryStatus::Delivered, 1));
    }
    assert_eq!(office.courier.calls("news"), calls + 5 * WORKERS, "nobody asked too early");
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_receiver_that_is_down_is_put_off_together() {
    let office = Office::open().await;
    office.courier.set("down", unavailable());
    let post = office.post(&[Medium::Webhook]).await;
    let endpoint = clock::new_uuid();
    let letters = (0..50 * WORKERS).map(|_| letter(Medium::Webhook, "down", endpoint));
    office.queue_all(letters.collect()).await;

    // Of those that are due when the way closes, only a few are taken to be put back one by one.
    let untouched = eventually("nothing is due any more", async || {
        post.wake();
        let all = office.all().await;
        let now = office.now();
        all.iter()
            .all(|letter| letter.due_at > now)
            .then(|| all.iter().filter(|letter| letter.reason.is_none()).count())
    })
    .await;

    assert!(untouched >= 45 * WORKERS, "{untouched}");
    assert!(office.courier.calls("down") <= WORKERS, "{}", office.courier.calls("down"));
    office.courier.set("down", Manner::Takes);
    let all = office.finished(&post, 60).await;
    assert!(all.iter().all(|letter| letter.status == DeliveryStatus::Delivered));
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_while_the_database_was_away_is_recorded_and_not_made_again() {
    let mut office = Office::open().await;
    office.lease = Duration::from_secs(1);
    let gate = Arc::new(Semaphore::new(0));
    office.courier.set("slow", Manner::Waits(Arc::clone(&gate)));
    let post = office.post(&[Medium::Push]).await;
    office.queue(Medium::Push, &["slow"]).await;
    eventually("it is on its way", async || (office.courier.calls("slow") == 1).then_some(()))
        .await;

    take_queue_away(&office.store, true).await;
    gate.add_permits(10);
    // Its lease is over several times.
    tokio::time::sleep(office.lease.mul_f64(3.5)).await;
    take_queue_away(&office.store, false).await;
    let all = eventually("it has an end", async || {
        post.wake();
        let all = office.all().await;
        all.iter().all(|letter| letter.finished_at.is_some()).then_some(all)
    })
    .await;

    assert_eq!((all[0].status, all[0].attempts), (DeliveryStatus::Delivered, 1));
    assert_eq!(office.courier.calls("slow"), 1);
    office.close(&[post]).await;
}

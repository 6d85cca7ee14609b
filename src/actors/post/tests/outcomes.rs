//! What becomes of letters: each outcome, and that whatever goes wrong with one holds up no other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Manner, Office, START, WORKERS, eventually, letter, unavailable};
use crate::clock;
use crate::domain::deliveries::{DeliveryEnd, DeliveryStatus};
use crate::domain::media::Medium;
use crate::providers::couriers::DeliveryError;
use crate::store::StoreError;
use crate::store::dead_addresses::is_dead_address;

fn refused() -> Manner {
    Manner::Fails(DeliveryError::Refused { cause: "no such mailbox".to_owned() })
}

fn gone() -> Manner {
    Manner::Fails(DeliveryError::Gone { cause: "410".to_owned() })
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_with_a_letter_ends_that_letter_only() {
    let mut office = Office::open().await;
    office.attempt_timeout = Duration::from_millis(100);
    office.courier.set("refused", refused());
    office.courier.set("gone", gone());
    office.courier.set("panics", Manner::Panics);
    let kinds = [
        ("poison", DeliveryStatus::Dead, Some("poison")),
        ("lie", DeliveryStatus::Dead, Some("poison")),
        ("unreadable", DeliveryStatus::Dead, Some("too_old")),
        ("explosive", DeliveryStatus::Dead, Some("attempts_used_up")),
        ("endless", DeliveryStatus::Dead, Some("attempts_used_up")),
        ("wayless", DeliveryStatus::Dead, Some("attempts_used_up")),
        ("panics", DeliveryStatus::Dead, Some("attempts_used_up")),
        ("refused", DeliveryStatus::Bounced, Some("refused")),
        ("gone", DeliveryStatus::Bounced, Some("gone")),
        ("unable", DeliveryStatus::Dead, Some("too_old")),
        ("muted", DeliveryStatus::Suppressed, Some("muted")),
        ("quiet", DeliveryStatus::Delivered, None),
        ("unforgettable", DeliveryStatus::Delivered, None),
        ("fine", DeliveryStatus::Delivered, None),
    ];
    let post = office.post(&[Medium::Push]).await;
    let ids = office.queue(Medium::Push, &kinds.map(|(kind, ..)| kind)).await;
    // Beside all that, what is well goes out.
    office.queue(Medium::Push, &["fine"; 3 * WORKERS]).await;
    post.wake();

    let all = office.finished_as_due(&post).await;

    for (id, (kind, status, reason)) in ids.iter().zip(kinds) {
        let letter = all.iter().find(|letter| letter.id == *id).unwrap();
        assert_eq!((letter.status, letter.reason.as_deref()), (status, reason), "{kind}");
        let is_told = office.courier.ends.lock().unwrap().iter().any(|(told, _)| told == id);
        assert_eq!(is_told, kind != "unforgettable", "{kind}");
        let (_, log) = office.store.get_delivery(*id, 100).await.unwrap();
        match reason {
            Some("attempts_used_up") => {
                assert_eq!(letter.attempts, 9, "{kind}");
                assert!(log.len() == 9 && log.iter().all(|it| it.detail.is_some()), "{kind}");
            }
            Some("muted" | "too_old") => {
                assert_eq!((letter.attempts, log.len()), (0, 0), "{kind}");
            }
            _ => assert_eq!((letter.attempts, log.len()), (1, 1), "{kind}"),
        }
    }
    let fine = all.iter().filter(|letter| letter.kind == "fine");
    assert!(fine.clone().all(|letter| letter.status == DeliveryStatus::Delivered));
    assert!(fine.clone().all(|letter| letter.provider.as_deref() == Some("fake")));
    assert!(fine.clone().all(|letter| letter.provider_id.as_deref() == Some("p-1")));
    let is_dead: Result<bool, StoreError> = office
        .store
        .read(|db| Box::pin(async move { is_dead_address(db, Medium::Push, "gone", START).await }))
        .await;
    assert!(is_dead.unwrap(), "the composer was told where it is recorded");
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_answered_is_given_up_when_it_is_too_old() {
    let mut office = Office::open().await;
    office.attempt_timeout = Duration::from_millis(50);
    office.courier.set("hangs", Manner::Hangs);
    office.courier.set("down", unavailable());
    let post = office.post(&[Medium::Push]).await;
    office.queue(Medium::Push, &["hangs", "down"]).await;
    post.wake();

    let all = office.finished(&post, 600).await;

    for letter in all {
        assert_eq!(letter.status, DeliveryStatus::Dead);
        assert_eq!(letter.reason.as_deref(), Some("too_old"));
    }
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_never_taken_is_tried_as_often_as_its_schedule_says() {
    let office = Office::open().await;
    office.courier.set("down", unavailable());
    let post = office.post(&[Medium::Webhook]).await;
    office.queue(Medium::Webhook, &["down"]).await;
    post.wake();

    let all = office.finished_as_due(&post).await;

    assert_eq!(all[0].status, DeliveryStatus::Dead);
    assert_eq!(all[0].reason.as_deref(), Some("attempts_used_up"));
    assert_eq!(office.courier.calls("down"), 10);
    let took = office.now().since(START);
    assert!(took > Duration::from_hours(75), "{took:?}");
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_medium_without_a_provider_suppresses_what_nobody_waits_for() {
    let office = Office::open().await;
    let post = office.post(&[]).await;
    let [news, vital] = office.queue(Medium::Sms, &["news", "vital"]).await[..] else {
        panic!("two letters")
    };
    post.wake();

    let all = office.finished(&post, 0).await;

    for (id, status, end) in [
        (news, DeliveryStatus::Suppressed, DeliveryEnd::Suppressed),
        (vital, DeliveryStatus::Dead, DeliveryEnd::Dead),
    ] {
        let letter = all.iter().find(|letter| letter.id == id).unwrap();
        assert_eq!((letter.status, letter.reason.as_deref()), (status, Some("no_provider")));
        assert!(office.courier.ends.lock().unwrap().contains(&(id, end)));
    }
    assert_eq!(post.look(Medium::Sms).provider, None);
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_whose_letters_are_slow_leaves_workers_to_the_others() {
    let office = Office::open().await;
    let gate = Arc::new(Semaphore::new(0));
    office.courier.set("slow", Manner::Waits(Arc::clone(&gate)));
    let greedy = clock::new_uuid();
    let slow = (0..3 * WORKERS).map(|_| letter(Medium::Push, "slow", greedy)).collect();
    let post = office.post(&[Medium::Push]).await;
    let slow = office.queue_all(slow).await;
    let quick = office.queue(Medium::Push, &["quick"; 2 * WORKERS]).await;
    post.wake();

    eventually("the others are delivered", async || {
        let taken = office.courier.taken();
        quick.iter().all(|id| taken.contains(id)).then_some(())
    })
    .await;

    assert_eq!(office.courier.calls("slow"), WORKERS / 4);
    gate.add_permits(slow.len());
    office.finished(&post, 1).await;
    let taken = office.courier.taken();
    assert!(slow.iter().all(|id| taken.contains(id)));
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_what_was_handed_over_and_gives_the_rest_back() {
    let office = Office::open().await;
    let (gate, composing) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    office.courier.set("slow", Manner::Waits(Arc::clone(&gate)));
    let post = office.post(&[Medium::Push]).await;
    let handed = office.queue(Medium::Push, &["slow"]).await;
    post.wake();
    eventually("it is handed over", async || (office.courier.calls("slow") == 1).then_some(()))
        .await;
    *office.courier.composing.lock().unwrap() = Some(Arc::clone(&composing));
    let written = office.queue(Medium::Push, &["fine"]).await;
    post.wake();
    eventually("it is being composed", async || (post.look(Medium::Push).busy == 2).then_some(()))
        .await;

    let stopping = async {
        post.stop().await;
        assert!(office.courier.taken().contains(&handed[0]));
    };
    let releasing = async {
        composing.add_permits(1);
        eventually("the other is given back", async || {
            (post.look(Medium::Push).busy == 1).then_some(())
        })
        .await;
        gate.add_permits(1);
    };
    tokio::join!(stopping, releasing);

    let (released, log) = office.store.get_delivery(written[0], 10).await.unwrap();
    assert_eq!((released.status, released.attempts), (DeliveryStatus::Queued, 0));
    assert_eq!(log, []);
    let (delivered, _) = office.store.get_delivery(handed[0], 10).await.unwrap();
    assert_eq!(delivered.status, DeliveryStatus::Delivered);
    office.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_address_denies_us_loses_it_and_closes_no_way() {
    let office = Office::open().await;
    let denial = DeliveryError::Denied { cause: "403".to_owned() };
    office.courier.set("push/foreign", Manner::Fails(denial));
    let post = office.post(&[Medium::Push]).await;
    let culprit = clock::new_uuid();
    let foreign: Vec<_> =
        (0..3 * WORKERS).map(|_| letter(Medium::Push, "push/foreign", culprit)).collect();
    let foreign = office.queue_all(foreign).await;
    office.queue(Medium::Push, &["push/fine"; 3 * WORKERS]).await;
    eventually("the others are delivered", async || {
        assert_eq!(post.look(Medium::Push).routes, []);
        office.advance(1);
        post.wake();
        (office.courier.taken().len() == 3 * WORKERS).then_some(())
    })
    .await;

    let all = office.finished_as_due(&post).await;

    for letter in all.iter().filter(|letter| foreign.contains(&letter.id)) {
        assert_eq!((letter.status, letter.attempts), (DeliveryStatus::Bounced, 2), "{letter:?}");
        assert_eq!(letter.reason.as_deref(), Some("gone"));
    }
    office.close(&[post]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_taken_as_soon_as_it_is_queued() {
    let office = Office::open().await;
    let post = office.post(&[Medium::Push]).await;
    let began = tokio::time::Instant::now();
    for count in 1..=4 {
        // The desk has looked once more since the letter before, found nothing, and rests.
        tokio::time::sleep(Duration::from_millis(200)).await;
        office.queue(Medium::Push, &["fine"]).await;
        eventually("it is delivered", async || {
            (office.courier.taken().len() == count).then_some(())
        })
        .await;
    }

    // Looks that nothing but time is the reason for are two seconds apart.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    office.close(&[post]).await;
}

//! Deliveries: one node at a time has a letter, whoever dies or is late; and the log tells it all.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::super::deliveries::insert_all;
use super::super::deliveries::log::{DeadFilter, DeliveryCursor, DeliveryFilter, Replayed};
use super::super::deliveries::queue::{
    self, AttemptEnd, Claim, Claimed, Fate, Held, Settlement, Wanted,
};
use super::super::{Store, StoreError, execute, fetch_all};
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::deliveries::{AttemptOutcome, DeliveryStatus, NewDelivery};
use crate::domain::ids::{DeliveryId, NodeId};
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;

const LONG: Duration = Duration::from_secs(600);
const START: Timestamp = Timestamp::from_millis(1_795_244_400_000);

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn node() -> NodeId {
    clock::new_uuid().into()
}

fn letter(due_at: Timestamp) -> NewDelivery {
    NewDelivery {
        id: clock::new_uuid().into(),
        medium: Medium::Mail,
        kind: "welcome".to_owned(),
        user: None,
        seq: None,
        target: None,
        digest_key: None,
        data: Some(r#"{"code":"123456"}"#.to_owned()),
        due_at,
        suppressed: None,
    }
}

async fn queue_at(store: &Store, letters: &[NewDelivery], now: Timestamp) {
    let letters = letters.to_vec();
    let queued: Result<(), StoreError> =
        store.write(move |db| Box::pin(async move { insert_all(db, &letters, now).await })).await;
    queued.unwrap();
}

async fn queue(store: &Store, letters: &[NewDelivery]) {
    queue_at(store, letters, START).await;
}

fn wanted(limit: i64) -> Wanted {
    Wanted { medium: Medium::Mail, limit, party_max: limit, held: Vec::new() }
}

async fn claim(store: &Store, limit: i64, lasts: Duration, now: Timestamp) -> Vec<Claimed> {
    store.claim_deliveries(node(), &wanted(limit), lasts, now).await.unwrap()
}

async fn claim_one(store: &Store, lasts: Duration, now: Timestamp) -> Claimed {
    let claimed = claim(store, 1, lasts, now).await;
    claimed.into_iter().next().expect("a letter is due")
}

fn ids(claimed: &[Claimed]) -> Vec<DeliveryId> {
    claimed.iter().map(|claimed| claimed.delivery.id).collect()
}

fn ended(status: DeliveryStatus) -> Settlement {
    let outcome = match status {
        DeliveryStatus::Delivered => AttemptOutcome::Taken,
        _ => AttemptOutcome::Poison,
    };
    Settlement {
        fate: Fate::Ended { status, reason: Some("why".to_owned()), provider_id: None },
        attempt: Some(AttemptEnd { outcome, detail: Some("said".to_owned()) }),
        provider: Some("smtp"),
    }
}

fn again(due_at: Timestamp, counts: bool) -> Settlement {
    let attempt = AttemptEnd { outcome: AttemptOutcome::Deferred, detail: None };
    Settlement {
        fate: Fate::Again { due_at, reason: None, counts, starts_anew: false },
        attempt: counts.then_some(attempt),
        provider: None,
    }
}

async fn settle(
    store: &Store,
    claim: Claim,
    settlement: Settlement,
    now: Timestamp,
) -> Result<(), StoreError> {
    store
        .write(move |db| Box::pin(async move { queue::settle(db, claim, &settlement, now).await }))
        .await
}

async fn next(store: &Store) -> Option<Timestamp> {
    store.find_next_delivery(&wanted(1)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_nodes_that_take_at_once_each_letter_goes_to_one() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let letters: Vec<NewDelivery> = (0..60).map(|_| letter(START)).collect();
        queue(store, &letters).await;

        let takers: Vec<_> = (0..8)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut taken = Vec::new();
                    while next(&store).await.is_some() {
                        taken.extend(ids(&claim(&store, 5, LONG, START).await));
                    }
                    taken
                })
            })
            .collect();
        let mut taken = Vec::new();
        for taker in takers {
            taken.extend(taker.await.unwrap());
        }

        let all: BTreeSet<DeliveryId> = letters.iter().map(|letter| letter.id).collect();
        assert_eq!(taken.len(), letters.len(), "none is taken twice");
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), all);
    }
}

#[tokio::test]
async fn letters_are_taken_when_they_are_due_the_longest_due_first() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let letters = [letter(after(30)), letter(after(10)), letter(after(20)), letter(after(90))];
        queue(store, &letters).await;
        let [third, first, second, _] = letters.each_ref().map(|letter| letter.id);

        assert_eq!(next(store).await, Some(after(10)));
        assert_eq!(claim(store, 10, LONG, after(9)).await, []);
        assert_eq!(ids(&claim(store, 2, LONG, after(60)).await), [first, second]);
        assert_eq!(ids(&claim(store, 10, LONG, after(60)).await), [third]);
        assert_eq!(next(store).await, Some(after(90)));

        let other = Wanted { medium: Medium::Sms, ..wanted(10) };
        assert_eq!(store.find_next_delivery(&other).await.unwrap(), None);
        assert_eq!(store.claim_deliveries(node(), &other, LONG, after(99)).await.unwrap(), []);
    }
}

#[tokio::test]
async fn what_died_with_its_node_is_taken_again_and_the_late_answer_changes_nothing() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        queue(store, &[letter(START)]).await;
        let dead = claim_one(store, Duration::ZERO, START).await;

        let living = claim_one(store, LONG, after(1)).await;

        assert_eq!((dead.delivery.attempts, living.delivery.attempts), (1, 2));
        let late = settle(store, dead.claim, ended(DeliveryStatus::Delivered), after(2)).await;
        assert!(matches!(late, Err(StoreError::LeaseLost)));
        let renewed = store.renew_delivery(dead.claim, LONG).await;
        assert!(matches!(renewed, Err(StoreError::LeaseLost)));
        let (logged, log) = store.get_delivery(dead.delivery.id, 10).await.unwrap();
        assert_eq!((logged.status, logged.attempts), (DeliveryStatus::Queued, 2));
        let outcomes: Vec<Option<&str>> = log.iter().map(|it| it.outcome.as_deref()).collect();
        assert_eq!(outcomes, [Some("lost"), None]);

        store.renew_delivery(living.claim, LONG).await.unwrap();
        settle(store, living.claim, ended(DeliveryStatus::Delivered), after(3)).await.unwrap();
        let twice = settle(store, living.claim, ended(DeliveryStatus::Dead), after(3)).await;
        assert!(matches!(twice, Err(StoreError::LeaseLost)), "an end is an end");
    }
}

#[tokio::test]
async fn a_lease_that_is_over_but_not_taken_can_be_renewed_and_settled() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        queue(store, &[letter(START)]).await;
        let slow = claim_one(store, Duration::ZERO, START).await;
        assert_eq!(next(store).await, Some(START), "anybody may take it");

        store.renew_delivery(slow.claim, LONG).await.unwrap();
        assert_eq!(next(store).await, None);
        settle(store, slow.claim, ended(DeliveryStatus::Delivered), after(1)).await.unwrap();
    }
}

#[tokio::test]
async fn the_log_tells_what_became_of_a_letter() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        queue(store, &[letter(START)]).await;
        let first = claim_one(store, LONG, START).await;
        settle(store, first.claim, again(after(5), true), after(1)).await.unwrap();
        assert_eq!(next(store).await, Some(after(5)), "its lease is given back");
        let put_off = claim_one(store, LONG, after(5)).await;
        settle(store, put_off.claim, again(after(6), false), after(5)).await.unwrap();
        let last = claim_one(store, LONG, after(6)).await;
        assert_eq!(last.delivery.attempts, 2, "being put off does not count");
        assert_eq!(last.delivery.first_due_at, START);
        settle(store, last.claim, ended(DeliveryStatus::Delivered), after(7)).await.unwrap();

        let (letter, log) = store.get_delivery(last.delivery.id, 10).await.unwrap();

        assert_eq!((letter.status, letter.attempts), (DeliveryStatus::Delivered, 2));
        assert_eq!(letter.provider.as_deref(), Some("smtp"));
        assert_eq!((letter.reason.as_deref(), letter.finished_at), (Some("why"), Some(after(7))));
        let [deferred, taken] = log.as_slice() else { panic!("{log:?}") };
        assert_eq!((deferred.began_at, deferred.ended_at), (START, Some(after(1))));
        assert_eq!(deferred.outcome.as_deref(), Some("deferred"));
        assert_eq!(taken.outcome.as_deref(), Some("taken"));
        assert_eq!(taken.detail.as_deref(), Some("said"));
        let unknown = store.get_delivery(clock::new_uuid().into(), 10).await;
        assert!(matches!(unknown, Err(StoreError::NotFound)));
    }
}

/// What a letter would be composed from.
async fn data(store: &Store) -> Vec<Option<String>> {
    let rows: Result<Vec<(Option<String>,)>, StoreError> = store
        .read(|db| {
            Box::pin(async move {
                fetch_all!(db, (Option<String>,), "SELECT data FROM deliveries ORDER BY due_at")
            })
        })
        .await;
    rows.unwrap().into_iter().map(|(data,)| data).collect()
}

#[tokio::test]
async fn what_a_letter_says_is_forgotten_once_it_is_out_but_not_while_it_is_dead() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        queue(store, &[letter(START), letter(after(1))]).await;
        let out = claim_one(store, LONG, START).await;
        settle(store, out.claim, ended(DeliveryStatus::Delivered), START).await.unwrap();
        let dead = claim_one(store, LONG, after(1)).await;
        settle(store, dead.claim, ended(DeliveryStatus::Dead), after(1)).await.unwrap();

        let kept = data(store).await;
        assert_eq!(kept.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    }
}

#[tokio::test]
async fn a_party_gets_its_share_and_others_the_rest() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let (greedy, modest) = (clock::new_uuid(), clock::new_uuid());
        let to = |target: Uuid, due_at| NewDelivery { target: Some(target), ..letter(due_at) };
        let mut letters: Vec<NewDelivery> = (0..20).map(|n| to(greedy, after(n))).collect();
        letters.push(to(modest, after(30)));
        queue(store, &letters).await;
        let take = async |held: &[Held]| {
            let wanted = Wanted { party_max: 3, held: held.to_vec(), ..wanted(10) };
            assert_eq!(
                store.find_next_delivery(&wanted).await.unwrap().is_some(),
                held.iter().all(|held| held.party != modest),
            );
            let taken = store.claim_deliveries(node(), &wanted, LONG, after(60)).await.unwrap();
            taken.into_iter().map(|claimed| claimed.delivery.target.unwrap()).collect::<Vec<_>>()
        };

        assert_eq!(take(&[]).await, [greedy; 3]);
        assert_eq!(take(&[Held { party: greedy, spare: 1 }]).await, [greedy]);
        let none = Held { party: greedy, spare: 0 };
        assert_eq!(take(&[none]).await, [modest], "however many come before it");
        assert_eq!(take(&[none, Held { party: modest, spare: 0 }]).await, Vec::<Uuid>::new());
    }
}

#[tokio::test]
async fn a_letter_that_is_known_is_queued_once_and_a_suppressed_one_never_taken() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let known = letter(START);
        let silent = NewDelivery { suppressed: Some("muted".to_owned()), ..letter(START) };
        queue(store, &[known.clone(), silent.clone()]).await;
        queue(store, &[NewDelivery { due_at: after(9), ..known.clone() }]).await;

        assert_eq!(ids(&claim(store, 10, LONG, after(9)).await), [known.id]);
        let (silent, log) = store.get_delivery(silent.id, 10).await.unwrap();
        assert_eq!(silent.status, DeliveryStatus::Suppressed);
        assert_eq!((silent.reason.as_deref(), log.len()), (Some("muted"), 0));
    }
}

#[tokio::test]
async fn dead_letters_are_replayed_as_new_with_the_same_id() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        queue(store, &[letter(START)]).await;
        let dead = claim_one(store, LONG, START).await;
        let id = dead.delivery.id;
        assert_eq!(store.replay_delivery(id, after(1)).await.unwrap(), Replayed::NotDead);
        settle(store, dead.claim, ended(DeliveryStatus::Dead), START).await.unwrap();

        let replayed = store.replay_delivery(id, after(100)).await.unwrap();
        assert_eq!(replayed, Replayed::Queued(Medium::Mail));
        let nobody = store.replay_delivery(clock::new_uuid().into(), after(1)).await.unwrap();
        assert_eq!(nobody, Replayed::Unknown);

        let again = claim_one(store, LONG, after(100)).await;
        assert_eq!((again.delivery.id, again.delivery.attempts), (id, 1));
        assert_eq!(again.delivery.first_due_at, after(100));
        assert!(again.delivery.data.is_some());
        let late = settle(store, dead.claim, ended(DeliveryStatus::Delivered), after(100)).await;
        assert!(matches!(late, Err(StoreError::LeaseLost)));
        let (_, log) = store.get_delivery(id, 10).await.unwrap();
        assert_eq!(log.len(), 2, "the log goes on");
    }
}

#[tokio::test]
async fn many_dead_letters_are_replayed_by_what_they_are_in_pages() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for created in 0..4 {
            let mail = letter(START);
            let other = NewDelivery { kind: "mention".to_owned(), ..letter(START) };
            queue_at(store, &[mail, other], after(created)).await;
        }
        for claimed in claim(store, 10, LONG, START).await {
            settle(store, claimed.claim, ended(DeliveryStatus::Dead), START).await.unwrap();
        }
        let replay = async |kind: Option<&str>, before: Option<Timestamp>, limit| {
            let filter =
                DeadFilter { medium: Some(Medium::Mail), kind: kind.map(str::to_owned), before };
            store.replay_deliveries(filter, limit, after(50)).await.unwrap()
        };

        assert_eq!(replay(Some("welcome"), Some(after(2)), 10).await, 2);
        assert_eq!(replay(Some("welcome"), None, 1).await, 1, "at most the limit");
        assert_eq!(replay(None, None, 10).await, 5);
        assert_eq!(claim(store, 10, LONG, after(50)).await.len(), 8);
    }
}

#[tokio::test]
async fn letters_are_listed_the_newest_first_by_what_they_are() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let user = fixture.user().await;
        let mut all = Vec::new();
        for created in 0..6 {
            let user = (created % 2 == 0).then_some(user);
            let letter = NewDelivery { user, ..letter(START) };
            queue_at(store, std::slice::from_ref(&letter), after(created)).await;
            all.insert(0, letter.id);
        }
        let list = async |filter: DeliveryFilter, after: Option<DeliveryCursor>, limit| {
            store.list_deliveries(filter, after, limit).await.unwrap()
        };

        let first = list(DeliveryFilter::default(), None, 4).await;
        let cursor = first.last().map(|it| DeliveryCursor { created_at: it.created_at, id: it.id });
        let rest = list(DeliveryFilter::default(), cursor, 4).await;
        let listed: Vec<DeliveryId> = first.iter().chain(&rest).map(|it| it.id).collect();
        assert_eq!(listed, all);

        let of_user = DeliveryFilter { user: Some(user), ..DeliveryFilter::default() };
        assert_eq!(list(of_user, None, 10).await.len(), 3);
        for filter in [
            DeliveryFilter { status: Some(DeliveryStatus::Dead), ..DeliveryFilter::default() },
            DeliveryFilter { medium: Some(Medium::Sms), ..DeliveryFilter::default() },
            DeliveryFilter { kind: Some("mention".to_owned()), ..DeliveryFilter::default() },
            DeliveryFilter { target: Some(clock::new_uuid()), ..DeliveryFilter::default() },
        ] {
            assert_eq!(list(filter.clone(), None, 10).await, [], "{filter:?}");
        }
    }
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten_in_pages_and_what_is_queued_never() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let letters: Vec<NewDelivery> = (0..5).map(|n| letter(after(n))).collect();
        queue(store, &letters).await;
        for (n, claimed) in (0..).zip(claim(store, 4, LONG, after(9)).await) {
            let end = ended(DeliveryStatus::Delivered);
            settle(store, claimed.claim, end, after(100 + n)).await.unwrap();
        }

        let delete =
            async |limit| store.delete_finished_deliveries(after(103), limit).await.unwrap();
        assert_eq!([delete(2).await, delete(2).await, delete(2).await], [2, 1, 0]);
        let left = store.list_deliveries(DeliveryFilter::default(), None, 10).await.unwrap();
        let statuses: BTreeSet<&str> = left.iter().map(|it| it.status.as_str()).collect();
        assert_eq!((left.len(), statuses), (2, BTreeSet::from(["delivered", "queued"])));
    }
}

#[tokio::test]
async fn figures_tell_how_full_each_queue_is() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        queue(store, &[letter(after(1)), letter(after(2)), letter(after(3))]).await;
        let dead = claim_one(store, LONG, after(1)).await;
        settle(store, dead.claim, ended(DeliveryStatus::Dead), after(1)).await.unwrap();

        let figures = store.list_queue_figures(10).await.unwrap();
        assert_eq!(figures.len(), Medium::OUTWARD.len());
        let of = |medium| *figures.iter().find(|it| it.medium == medium).unwrap();
        let mail = of(Medium::Mail);
        assert_eq!((mail.queued, mail.oldest_due_at, mail.dead), (2, Some(after(2)), 1));
        let sms = of(Medium::Sms);
        assert_eq!((sms.queued, sms.oldest_due_at, sms.dead), (0, None, 0));
        assert_eq!(
            store.list_queue_figures(1).await.unwrap()[0].queued,
            1,
            "counted up to a limit"
        );
    }
}

#[tokio::test]
async fn a_letter_that_is_being_changed_holds_up_nobody() {
    let fixture = Fixture::postgres().await;
    let store = &fixture.store;
    let (locked, free) = (letter(START), letter(after(1)));
    queue(store, &[locked.clone(), free.clone()]).await;
    let (holding, held) = (std::sync::Arc::new(tokio::sync::Notify::new()), store.clone());
    let (holds, (release, released)) = (holding.clone(), tokio::sync::oneshot::channel::<()>());
    let changing = tokio::spawn(async move {
        let changed: Result<(), StoreError> = held
            .write(move |db| {
                Box::pin(async move {
                    let update = "UPDATE deliveries SET kind = kind WHERE due_at = $1";
                    execute!(db, update, START.millis())?;
                    holds.notify_one();
                    let _ = released.await;
                    Ok(())
                })
            })
            .await;
        changed.unwrap();
    });
    holding.notified().await;

    assert_eq!(ids(&claim(store, 10, LONG, after(2)).await), [free.id]);

    release.send(()).unwrap();
    changing.await.unwrap();
    assert_eq!(ids(&claim(store, 10, LONG, after(2)).await), [locked.id]);
}

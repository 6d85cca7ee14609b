//! Fan-outs: they take turns, gather what is said once, and are given up only where they come no further.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::super::notifications::fanouts::Fanout;
use super::super::notifications::requests::{RequestOutcome, Requested, insert_requested};
use super::super::{Store, StoreError, execute, fetch_one};
use super::notifications::{LONG, claim, node, occasion, said, taking, tell, tell_all, users};
use super::{fixtures, send};
use crate::clock;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::media::Medium;
use crate::domain::messages::MessageRef;
use crate::domain::notifications::{Audience, Occasion, Segment};
use crate::domain::rooms::{Action, Command};
use crate::domain::time::Timestamp;

async fn note(store: &Store, occasions: Vec<Occasion>) {
    store.insert_fanouts(occasions, clock::now()).await.unwrap();
}

fn place(fanout: &Fanout) -> Option<i64> {
    fanout.occasion.message.map(|place| place.seq)
}

#[tokio::test]
async fn only_what_comes_no_further_is_taken_in_vain() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        users(&fixture, 7).await;
        note(store, vec![occasion(Audience::Everyone)]).await;
        for takes in 1..=3 {
            let taken = claim(store, Duration::ZERO).await.unwrap();
            assert_eq!(taken.takes, takes);
        }
        let taken = claim(store, LONG).await.unwrap();
        assert_eq!(taken.takes, 4);
        let id = taken.occasion.id;
        let (rest, _) = tell(store, taken).await.unwrap();
        store.release_fanout(rest.unwrap(), clock::now()).await.unwrap();
        let taken = claim(store, LONG).await.unwrap();
        assert_eq!(taken.takes, 1, "it came on");

        store.release_fanout(taken, clock::now()).await.unwrap();
        let taken = claim(store, LONG).await.unwrap();
        assert_eq!(taken.takes, 2, "it did not");
        store.bury_fanout(taken, "broken".to_owned(), clock::now()).await.unwrap();
        assert!(store.replay_fanout(id, clock::now()).await.unwrap());
        assert_eq!(claim(store, LONG).await.unwrap().takes, 1, "somebody has mended it");
    }
}

#[tokio::test]
async fn whoever_has_had_a_turn_lets_others_go_first() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        users(&fixture, 7).await;
        let (large, small) = (occasion(Audience::Everyone), occasion(Audience::Everyone));
        note(store, vec![large.clone()]).await;
        let turn = claim(store, LONG).await.unwrap();
        note(store, vec![small.clone()]).await;
        let (turn, _) = tell(store, turn).await.unwrap();
        let later = clock::now().plus(Duration::from_millis(1));
        store.release_fanout(turn.unwrap(), later).await.unwrap();

        let both = later.plus(Duration::from_secs(1));
        let mut order = Vec::new();
        for _ in 0..2 {
            let taken = store.claim_fanouts(taking(node(), 1, LONG), both).await.unwrap();
            order.extend(taken.into_iter().map(|fanout| fanout.occasion.id));
        }
        assert_eq!(order, [small.id, large.id]);
    }
}

#[tokio::test]
async fn what_is_said_joins_one_of_those_that_wait() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 2).await;
        let room = fixture.group(users[0], &users[1..], clock::now()).await;
        note(store, vec![said(room, users[0], 1)]).await;
        let taken = claim(store, LONG).await.unwrap();
        note(store, vec![said(room, users[0], 2)]).await;
        // Nobody was told yet of the first one, and now both wait.
        store.release_fanout(taken, clock::now()).await.unwrap();
        note(store, vec![said(room, users[0], 3)]).await;

        let mut waiting = store.claim_fanouts(taking(node(), 9, LONG), clock::now()).await.unwrap();
        waiting.sort_by_key(place);
        let told: Vec<_> =
            waiting.iter().map(|fanout| (place(fanout), fanout.occasion.messages)).collect();
        assert_eq!(told, [(Some(1), 1), (Some(3), 2)]);
    }
}

#[tokio::test]
async fn whoever_is_told_otherwise_of_one_message_is_told_of_the_other() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 3).await;
        let room = fixture.group(users[0], &users[1..], clock::now()).await;
        let but = |seq, except: &[UserId]| {
            let except = except.to_vec();
            Occasion { audience: Audience::Away { room, except }, ..said(room, users[0], seq) }
        };
        note(store, vec![but(1, &users[1..2])]).await;
        note(store, vec![but(2, &users[1..])]).await;

        let waiting = claim(store, LONG).await.unwrap();
        let except = vec![users[1]];
        assert_eq!(waiting.occasion.audience, Audience::Away { room, except });
        assert_eq!((waiting.occasion.messages, waiting.occasion.first_seq), (2, Some(1)));
    }
}

#[tokio::test]
async fn what_several_hear_at_once_is_gathered_once() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 2).await;
        let mut occasions = Vec::new();
        for _ in 0..12 {
            let room = fixture.group(users[0], &users[1..], clock::now()).await;
            occasions.extend([said(room, users[0], 1), said(room, users[0], 2)]);
        }
        let hearing = (0..8).map(|n| {
            let mut occasions = occasions.clone();
            occasions.rotate_left(n * 3);
            store.insert_fanouts(occasions, clock::now())
        });
        for heard in futures_util::future::join_all(hearing).await {
            heard.unwrap();
        }

        let told = store.claim_fanouts(taking(node(), 100, LONG), clock::now()).await.unwrap();
        let messages: i64 = told.iter().map(|fanout| fanout.occasion.messages).sum();
        assert_eq!((told.len(), messages), (12, 24));
    }
}

#[tokio::test]
async fn what_is_noted_is_its_nodes_own_at_once_as_far_as_it_has_places() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let user = fixture.user().await;
        let occasions: Vec<Occasion> =
            (0..3).map(|_| occasion(Audience::Users { users: vec![user] })).collect();
        let me = node();
        let noted = async |occasions| {
            let taking = Some(taking(me, 2, LONG));
            store.insert_and_claim_fanouts(occasions, clock::now(), taking).await.unwrap()
        };

        let mine = noted(occasions.clone()).await;
        assert_eq!(mine.len(), 2, "no more than it has places for");
        let others = store.claim_fanouts(taking(node(), 9, LONG), clock::now()).await.unwrap();
        assert_eq!(others.len(), 1, "what is left is anybody's");
        // Carried again: what somebody has is not had by two.
        assert!(noted(occasions).await.is_empty());

        for fanout in mine.into_iter().chain(others) {
            tell_all(store, fanout).await;
        }
        assert_eq!(store.find_next_fanout().await.unwrap(), None);
    }
}

#[tokio::test]
async fn of_two_requests_with_one_key_the_first_is_kept() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for (hash, outcome) in [(1, RequestOutcome::Repeated), (2, RequestOutcome::Conflict)] {
            let asked = occasion(Audience::Everyone);
            let request = |hash: u8| Requested {
                occasion: asked.clone(),
                by: "service:x".to_owned(),
                hash: [hash; 32],
                due_at: Timestamp::from_millis(i64::from(hash)),
            };
            let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (first, begins, waits) = (request(1), begun.clone(), go_on.clone());
            let held = store.clone();
            let first = tokio::spawn(async move {
                let outcome: Result<RequestOutcome, StoreError> = held
                    .write(move |db| {
                        Box::pin(async move {
                            let outcome = insert_requested(db, &first, clock::now()).await?;
                            begins.notify_one();
                            waits.notified().await;
                            Ok(outcome)
                        })
                    })
                    .await;
                outcome.unwrap()
            });
            begun.notified().await;
            let second = store.insert_requested_fanout(request(hash), clock::now());
            let (second, ()) = tokio::join!(second, async {
                // By now it waits for the row of the first, or will find it.
                tokio::task::yield_now().await;
                go_on.notify_one();
            });

            assert_eq!(first.await.unwrap(), RequestOutcome::Accepted);
            assert_eq!(second.unwrap(), outcome);
            let kept = store.find_fanout(asked.id).await.unwrap().unwrap();
            assert_eq!((kept.due_at, kept.requested_by.as_deref()), (1, Some("service:x")));
            let again = store.insert_requested_fanout(request(1), clock::now()).await.unwrap();
            assert_eq!(again, RequestOutcome::Repeated, "its hash was kept, too");
        }
    }
}

#[tokio::test]
async fn the_newest_message_that_was_not_deleted_stands_for_the_others() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 2).await;
        let room = fixture.group(users[0], &users[1..], clock::now()).await;
        let mut seqs = Vec::new();
        for (by, body) in [(0, "one"), (0, "two"), (1, "between"), (0, "three")] {
            let sent = fixture.done(room, send(room, users[by], body, body)).await;
            seqs.push(sent.seq.unwrap());
        }
        let gathered =
            Occasion { first_seq: Some(seqs[0]), messages: 3, ..said(room, users[0], seqs[3]) };
        let newest = async || {
            let scene = store.read_scene(&gathered).await.unwrap();
            scene.message.map(|message| (message.seq, message.body, message.count))
        };
        let delete = async |seq| {
            let action = Action::Delete { message: MessageRef::Seq(seq) };
            fixture.done(room, Command { actor: users[0], action }).await;
        };

        assert_eq!(newest().await, Some((seqs[3], "three".to_owned(), 3)));
        delete(seqs[3]).await;
        assert_eq!(newest().await, Some((seqs[1], "two".to_owned(), 2)));
        delete(seqs[1]).await;
        delete(seqs[0]).await;
        assert_eq!(newest().await, None);
    }
}

#[tokio::test]
async fn a_segment_is_told_and_nobody_else() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 5).await;
        let (speaks_korean, was_here, old) = (users[1], users[2], users[3]);
        let changed: Result<(), StoreError> = store
            .write(move |db| {
                Box::pin(async move {
                    execute!(
                        db,
                        "INSERT INTO user_settings (user_id, locale, updated_at) VALUES ($1, 'ko', 0)",
                        speaks_korean.uuid(),
                    )?;
                    execute!(
                        db,
                        "INSERT INTO presences (user_id, status, changed_at, last_seen_at)
                         VALUES ($1, 'offline', 0, 5000)",
                        was_here.uuid(),
                    )?;
                    execute!(db, "UPDATE users SET created_at = 7 WHERE id = $1", old.uuid())
                        .map(|_| ())
                })
            })
            .await;
        changed.unwrap();
        let at = |millis| Some(Timestamp::from_millis(millis));
        let others = |not: UserId| users.iter().copied().filter(|user| *user != not).collect();
        let with = Segment::default;
        let cases: [(Segment, Vec<UserId>); 6] = [
            (Segment { locale: Some("ko".to_owned()), ..with() }, vec![speaks_korean]),
            (Segment { locale: Some("en".to_owned()), ..with() }, others(speaks_korean)),
            (Segment { seen_since: at(5_000), ..with() }, vec![was_here]),
            (Segment { registered_before: at(8), ..with() }, vec![old]),
            (Segment { registered_after: at(8), ..with() }, others(old)),
            (Segment { registered_before: at(8), seen_since: at(1), ..with() }, Vec::new()),
        ];
        for (segment, expected) in cases {
            note(store, vec![occasion(Audience::Segment { segment: segment.clone() })]).await;
            let mut told = tell_all(store, claim(store, LONG).await.unwrap()).await;
            told.sort_unstable();
            let mut expected = expected;
            expected.sort_unstable();
            assert_eq!(told, expected, "{segment:?}");
        }
    }
}

#[tokio::test]
async fn one_notification_on_three_devices_is_one() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let user = fixture.user().await;
        let letter = |seq: Option<i64>| crate::domain::deliveries::NewDelivery {
            id: clock::new_uuid().into(),
            medium: Medium::Push,
            kind: "welcome".to_owned(),
            user: Some(user),
            seq,
            target: Some(clock::new_uuid()),
            digest_key: None,
            data: None,
            due_at: clock::now(),
            suppressed: None,
        };
        let seqs = [Some(1), Some(1), Some(1), Some(2), None, None];
        let letters = seqs.map(letter);
        let queued: Result<(), StoreError> = store
            .write(move |db| {
                Box::pin(async move {
                    super::super::deliveries::insert_all(db, &letters, clock::now()).await
                })
            })
            .await;
        queued.unwrap();
        note(store, vec![occasion(Audience::Everyone)]).await;
        let fanout = claim(store, LONG).await.unwrap();

        let since = Some(Timestamp::from_millis(0));
        let page = store.read_fanout_page(&fanout, since, 10).await.unwrap();
        assert_eq!(page.recipients[0].sent.get(&Medium::Push), Some(&3));
    }
}

#[tokio::test]
async fn what_was_finished_long_ago_is_forgotten_and_marks_with_it() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 2).await;
        let room = fixture.group(users[0], &users[1..], clock::now()).await;
        let [done, dead] = [occasion(Audience::Everyone), occasion(Audience::Everyone)];
        note(store, vec![done.clone()]).await;
        tell_all(store, claim(store, LONG).await.unwrap()).await;
        note(store, vec![dead.clone()]).await;
        let taken = claim(store, LONG).await.unwrap();
        store.bury_fanout(taken, "broken".to_owned(), clock::now()).await.unwrap();
        note(store, vec![said(room, users[0], 1)]).await;
        let (soon, never) = (clock::now().plus(LONG), Timestamp::from_millis(0));
        let is_known = async |id| store.find_fanout(id).await.unwrap().is_some();

        assert_eq!(store.delete_finished_fanouts(soon, never, 9).await.unwrap(), 1);
        assert_eq!((is_known(done.id).await, is_known(dead.id).await), (false, true));
        assert_eq!(store.delete_finished_fanouts(soon, soon, 9).await.unwrap(), 1);
        assert!(!is_known(dead.id).await);

        assert_eq!(store.delete_old_marks(never, 9).await.unwrap(), 0);
        assert_eq!(marks(store, room).await, 1);
        assert_eq!(store.delete_old_marks(soon, 9).await.unwrap(), 1);
        assert_eq!(marks(store, room).await, 0);
    }
}

async fn marks(store: &Store, room: RoomId) -> i64 {
    let counted: Result<(i64,), StoreError> = store
        .read(move |db| {
            Box::pin(async move {
                let select = "SELECT COUNT(*) FROM fanout_marks WHERE room_id = $1";
                fetch_one!(db, (i64,), select, room.uuid())
            })
        })
        .await;
    counted.unwrap().0
}

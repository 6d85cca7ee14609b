//! What becomes of notifications: read by many at once, read far back, brought back, and forgotten.

use std::time::Duration;

use serde_json::json;

use super::super::notifications::Shelf;
use super::super::notifications::changes::{Change, Which};
use super::super::{Store, StoreError, accounts, execute, fetch_one};
use super::fixtures;
use super::notifications::{LONG, claim, occasion, said, tell_all, users};
use crate::clock;
use crate::domain::ids::UserId;
use crate::domain::notifications::{Audience, MessagePlace};
use crate::domain::time::Timestamp;

/// Numbers in the inbox, each with a notification, of a time at which clocks began.
async fn fill(store: &Store, user: UserId, count: i64) {
    let numbers: Vec<i64> = (1..=count).collect();
    let filled: Result<(), StoreError> = store
        .write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "INSERT INTO inboxes (user_id, last_seq) VALUES ($1, $2)",
                    user.uuid(),
                    count,
                )?;
                let numbers = json!(numbers).to_string();
                let events = db.dialect(
                    "INSERT INTO inbox_events (user_id, seq, name, at, data)
                     SELECT $1, j.value, 'notification_created', 7, '{\"title\":\"a\"}'
                     FROM json_each($2) j",
                    "INSERT INTO inbox_events (user_id, seq, name, at, data)
                     SELECT $1, j.value::bigint, 'notification_created', 7, '{\"title\":\"a\"}'
                     FROM jsonb_array_elements_text($2::jsonb) j",
                );
                execute!(db, events, user.uuid(), numbers.as_str())?;
                let rows = db.dialect(
                    "INSERT INTO notifications (user_id, seq, id, kind, created_at)
                     SELECT $1, j.value, randomblob(16), 'welcome', 7 FROM json_each($2) j",
                    "INSERT INTO notifications (user_id, seq, id, kind, created_at)
                     SELECT $1, j.value::bigint, gen_random_uuid(), 'welcome', 7
                     FROM jsonb_array_elements_text($2::jsonb) j",
                );
                execute!(db, rows, user.uuid(), numbers).map(|_| ())
            })
        })
        .await;
    filled.unwrap();
}

#[tokio::test]
async fn many_who_read_a_room_read_what_they_were_told_of_it() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 5).await;
        let room = fixture.group(users[0], &users[1..], clock::now()).await;
        for seq in [1, 2] {
            store.insert_fanouts(vec![said(room, users[0], seq)], clock::now()).await.unwrap();
            tell_all(store, claim(store, LONG).await.unwrap()).await;
        }
        let markers = vec![(users[1], room, 2), (users[2], room, 1), (users[3], room, 0)];
        let unread = store.list_unread_of_rooms(markers.clone()).await.unwrap();
        assert_eq!(unread.len(), 2);

        let events = store.read_rooms(markers.clone(), clock::now()).await.unwrap();
        // The room and two notifications are before it.
        let mut told: Vec<(UserId, i64, i64)> = events
            .iter()
            .map(|event| {
                let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                (event.user, event.seq, data["unread_count"].as_i64().unwrap())
            })
            .collect();
        told.sort_unstable();
        let mut expected = vec![(users[1], 4, 0), (users[2], 4, 1)];
        expected.sort_unstable();
        assert_eq!(told, expected);
        assert!(store.read_rooms(markers, clock::now()).await.unwrap().is_empty());
        let stored = store.list_inbox(users[1], 3, 9).await.unwrap();
        assert_eq!(stored.len(), 1);
    }
}

#[tokio::test]
async fn whoever_has_read_up_to_a_message_is_known() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 3).await;
        let room = fixture.group(users[0], &users[1..], clock::now()).await;
        let head = fixture.head(room).await;
        let ahead = MessagePlace { room, seq: head + 1 };

        let asked = vec![users[1], users[2]];
        assert!(store.list_readers(ahead, asked.clone()).await.unwrap().is_empty());
        let reader = users[2];
        let moved: Result<u64, StoreError> = store
            .write(move |db| {
                Box::pin(async move {
                    let update = "UPDATE room_members SET read_seq = $1 WHERE user_id = $2";
                    execute!(db, update, head + 1, reader.uuid())
                })
            })
            .await;
        moved.unwrap();
        let readers = store.list_readers(ahead, asked).await.unwrap();
        assert_eq!(readers, [(reader, room, head + 1)]);
    }
}

#[tokio::test]
async fn what_reaches_far_back_is_changed_part_after_part() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let user = fixture.user().await;
        fill(store, user, 2_300).await;

        let which = Which::UpTo(2_200);
        let read =
            store.change_notifications(user, which.clone(), Change::Read, clock::now()).await;
        let read = read.unwrap();
        let reached: Vec<_> = read
            .events
            .iter()
            .map(|event| {
                let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                assert_eq!(data["ids"], json!([]));
                data["up_to_seq"].as_i64().unwrap()
            })
            .collect();
        assert_eq!(reached, [1_000, 2_000, 2_200]);
        assert_eq!((read.unread_count, read.up_to, read.ids.len()), (100, Some(2_200), 0));
        let again = store.change_notifications(user, which, Change::Read, clock::now()).await;
        assert!(again.unwrap().events.is_empty());
        let unread = store.list_notifications(user, Shelf::Unread, None, None, 200).await.unwrap();
        assert_eq!(unread.len(), 100);
    }
}

#[tokio::test]
async fn what_was_archived_by_a_clock_that_is_ahead_comes_back() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let user = fixture.user().await;
        fill(store, user, 1).await;
        let all = store.list_notifications(user, Shelf::Inbox, None, None, 9).await.unwrap();
        let which = Which::These(vec![all[0].id]);
        let ahead = clock::now().plus(LONG);
        store.change_notifications(user, which.clone(), Change::Archive, ahead).await.unwrap();

        let back = store.change_notifications(user, which, Change::Restore, clock::now()).await;
        assert_eq!(back.unwrap().ids, [all[0].id]);
    }
}

#[tokio::test]
async fn what_is_old_is_forgotten_and_no_log_has_a_hole() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let user = fixture.user().await;
        fill(store, user, 2_600).await;
        let audience = Audience::Users { users: vec![user] };
        store.insert_fanouts(vec![occasion(audience)], clock::now()).await.unwrap();
        tell_all(store, claim(store, LONG).await.unwrap()).await;
        let before = clock::now().minus(Duration::from_secs(3_600));

        assert_eq!(store.delete_old_notifications(before, 1_000).await.unwrap(), 1_000);
        assert_eq!(store.delete_old_notifications(before, 9_000).await.unwrap(), 1_600);
        assert_eq!(store.delete_old_inbox_events(before, 40).await.unwrap(), 40);
        assert_eq!(store.delete_old_inbox_events(before, 9_000).await.unwrap(), 61);
        assert_eq!(store.delete_old_inbox_events(before, 9_000).await.unwrap(), 0);

        assert_eq!(store.count_unread_notifications(user).await.unwrap(), 1);
        let events = store.list_inbox(user, 101, 9_000).await.unwrap();
        let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (102..=2_601).collect::<Vec<_>>());
        let (newest, old) = events.split_last().unwrap();
        assert_eq!(newest.data, "{}");
        assert!(old.iter().all(|event| event.data == r#"{"deleted":true}"#));
    }
}

#[tokio::test]
async fn whoever_leaves_takes_what_they_were_told_with_them() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let user = fixture.user().await;
        fill(store, user, 3).await;

        let left: Result<(), StoreError> = store
            .write(move |db| {
                Box::pin(async move { accounts::delete_user(db, user, clock::now()).await })
            })
            .await;
        left.unwrap();

        let counted: Result<(i64, i64), StoreError> = store
            .read(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (i64, i64),
                        "SELECT (SELECT COUNT(*) FROM notifications WHERE user_id = $1),
                                (SELECT COUNT(*) FROM inbox_events WHERE user_id = $1)",
                        user.uuid(),
                    )
                })
            })
            .await;
        assert_eq!(counted.unwrap(), (0, 0));
        let never = Timestamp::from_millis(0);
        assert_eq!(store.delete_old_notifications(never, 9).await.unwrap(), 0);
    }
}

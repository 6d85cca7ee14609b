//! The outbox, read by subscribers: everything, in order, at least once.
//!
//! In PostgreSQL, what any other test has open holds the horizon back for a moment: [`wait_for`] lists until the
//! events are there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::sync::oneshot;
use tokio::time::{interval, timeout};

use super::super::relay::{OutboxBeginning, OutboxEvent};
use super::super::{Db, Store, StoreError, execute, fetch_all, fetch_one, outbox};
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::events::{CHAT_EVENTS, DomainEvent};
use crate::domain::time::Timestamp;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

fn event(subject: &str, number: usize, at: Timestamp) -> DomainEvent {
    DomainEvent {
        id: clock::new_uuid().into(),
        topic: CHAT_EVENTS,
        name: "ChatRoomCreated",
        subject: subject.to_owned(),
        at,
        data: json!({ "number": number }),
    }
}

async fn publish(store: &Store, event: DomainEvent) {
    let appended: Result<(), StoreError> =
        store.write(move |db| Box::pin(async move { outbox::append(db, &event).await })).await;
    appended.unwrap();
}

/// What the subscriber's cursor leaves to read.
async fn unread(store: &Store, subscriber: &'static str, limit: u16) -> Vec<OutboxEvent> {
    let cursor = store.find_outbox_cursor(subscriber).await.unwrap();
    store.list_outbox(cursor, limit).await.unwrap()
}

/// Lists until at least `count` events are given.
async fn wait_for(store: &Store, subscriber: &'static str, count: usize) -> Vec<OutboxEvent> {
    let wait = async {
        let mut poll = interval(POLL_INTERVAL);
        loop {
            poll.tick().await;
            let events = unread(store, subscriber, 1_000).await;
            if events.len() >= count {
                return events;
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("the events are given in time")
}

/// Reads in small pages until `count` events were given, moving the cursor after each page.
async fn drain(store: &Store, subscriber: &'static str, count: usize) -> Vec<OutboxEvent> {
    let drain = async {
        let mut given = Vec::new();
        let mut poll = interval(POLL_INTERVAL);
        while given.len() < count {
            poll.tick().await;
            let page = unread(store, subscriber, 7).await;
            assert!(page.len() <= 7);
            if let Some(last) = page.last() {
                store
                    .update_outbox_cursor(subscriber, last.position, None, clock::now())
                    .await
                    .unwrap();
            }
            given.extend(page);
        }
        given
    };
    timeout(PATIENCE, drain).await.expect("the events are given in time")
}

fn number(event: &OutboxEvent) -> u64 {
    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
    data["number"].as_u64().unwrap()
}

fn numbers(events: &[OutboxEvent]) -> Vec<u64> {
    events.iter().map(number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_subscriber_is_given_every_event_in_order_while_others_write() {
    for fixture in fixtures().await {
        let writers: Vec<_> = (0..8)
            .map(|subject| {
                let store = fixture.store.clone();
                tokio::spawn(async move {
                    for number in 0..20 {
                        publish(&store, event(&subject.to_string(), number, clock::now())).await;
                    }
                })
            })
            .collect();

        let (search, mail) =
            tokio::join!(drain(&fixture.store, "search", 160), drain(&fixture.store, "mail", 160),);

        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(search, mail);
        assert!(search.is_sorted_by(|one, next| one.position < next.position));
        let mut by_subject: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for event in &search {
            by_subject.entry(&event.subject).or_default().push(number(event));
        }
        assert_eq!(by_subject.len(), 8);
        assert!(by_subject.values().all(|given| given.iter().copied().eq(0..20)));
        assert_eq!(unread(&fixture.store, "search", 10).await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_is_given_again_until_the_cursor_moves_past_it() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for number in 0..3 {
            publish(store, event("room", number, clock::now())).await;
        }
        let given = wait_for(store, "search", 3).await;

        assert_eq!(unread(store, "search", 1_000).await, given);

        store.update_outbox_cursor("search", given[1].position, None, clock::now()).await.unwrap();
        assert_eq!(unread(store, "search", 1_000).await, given[2..]);
        assert_eq!(unread(store, "mail", 1_000).await, given);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cursor_never_goes_back() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for number in 0..3 {
            publish(store, event("room", number, clock::now())).await;
        }
        let given = wait_for(store, "search", 3).await;

        for position in [given[1].position, given[0].position] {
            store.update_outbox_cursor("search", position, None, clock::now()).await.unwrap();
            assert_eq!(unread(store, "search", 1_000).await, given[2..]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_rolled_back_is_never_given() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let failed: Result<(), StoreError> = store
            .write(|db| {
                Box::pin(async move {
                    outbox::append(db, &event("room", 0, clock::now())).await?;
                    Err(StoreError::NotFound)
                })
            })
            .await;
        assert!(failed.is_err());
        publish(store, event("room", 1, clock::now())).await;

        assert_eq!(numbers(&wait_for(store, "search", 1).await), [1]);
    }
}

/// The ids above `after` that are visible now: how an outbox is often read, and the mistake.
async fn plain_reading(store: &Store, after: i64) -> Vec<i64> {
    let rows: Result<Vec<(i64,)>, StoreError> = store
        .read(move |db| {
            Box::pin(async move {
                fetch_all!(db, (i64,), "SELECT id FROM outbox WHERE id > $1 ORDER BY id", after)
            })
        })
        .await;
    rows.unwrap().into_iter().map(|(id,)| id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_transaction_that_is_still_open_is_not_skipped() {
    let fixture = Fixture::postgres().await;
    let store = &fixture.store;
    let url = fixture.postgres.as_deref().unwrap();
    let mut slow = PgConnection::connect(url).await.unwrap();
    let mut tx = slow.begin().await.unwrap();
    let (low,): (i64,) = sqlx::query_as(
        r#"INSERT INTO outbox (event_id, topic, name, subject, at, data)
           VALUES ($1, 'chat.events', 'ChatRoomCreated', 'slow', 0, '{"number": 1}')
           RETURNING id"#,
    )
    .bind(clock::new_uuid())
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    publish(store, event("quick", 2, clock::now())).await;

    // The control: a plain cursor is given the later event and will never come back for the earlier.
    let seen = plain_reading(store, 0).await;
    let [high] = seen[..] else { panic!("one event is committed: {seen:?}") };
    assert!(low < high);
    // Ours waits for the transaction that may still slip one in.
    assert_eq!(unread(store, "search", 1_000).await, []);

    tx.commit().await.unwrap();

    assert!(plain_reading(store, high).await.is_empty(), "the plain cursor skipped an event");
    assert_eq!(numbers(&drain(store, "search", 2).await), [1, 2]);
}

/// A step of a workflow gets its number with the fence, and only then waits for the row that it tells of.
#[tokio::test(flavor = "multi_thread")]
async fn who_had_to_wait_is_told_of_last_although_it_began_first() {
    let fixture = Fixture::postgres().await;
    let store = &fixture.store;
    let (began, has_begun) = oneshot::channel();
    let (go, going) = oneshot::channel();
    let slow = store.write::<_, StoreError, _>(move |db| {
        Box::pin(async move {
            began.send(transaction_number(db).await?).unwrap();
            going.await.unwrap();
            outbox::append(db, &event("room", 2, clock::now())).await
        })
    });
    let quick = async {
        let number = has_begun.await.unwrap();
        let quick = store
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    outbox::append(db, &event("room", 1, clock::now())).await?;
                    transaction_number(db).await
                })
            })
            .await
            .unwrap();
        // The control: in the order of transactions it would come last.
        assert!(number < quick, "{number} {quick}");
        go.send(()).unwrap();
    };
    let (slow, ()) = tokio::join!(slow, quick);
    slow.unwrap();

    assert_eq!(numbers(&drain(store, "search", 2).await), [1, 2]);
}

async fn transaction_number(db: &mut Db) -> Result<i64, StoreError> {
    let (number,) = fetch_one!(db, (i64,), "SELECT pg_current_xact_id()::text::bigint")?;
    Ok(number)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_some_subscriber_has_not_read_is_not_deleted() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for number in 0..10 {
            publish(store, event("room", number, Timestamp::from_millis(1_000))).await;
        }
        publish(store, event("room", 10, Timestamp::from_millis(3_000))).await;
        let before = Timestamp::from_millis(2_000);
        let given = wait_for(store, "search", 11).await;
        for (subscriber, read) in [("search", 10), ("mail", 4)] {
            let position = given[read].position;
            store.update_outbox_cursor(subscriber, position, None, clock::now()).await.unwrap();
        }

        assert_eq!(store.delete_read_outbox(before, 3).await.unwrap(), 3, "at most the limit");
        assert_eq!(store.delete_read_outbox(before, 100).await.unwrap(), 2);
        assert_eq!(store.delete_read_outbox(before, 100).await.unwrap(), 0);
        assert_eq!(numbers(&wait_for(store, "mail", 6).await), [5, 6, 7, 8, 9, 10]);

        store.update_outbox_cursor("mail", given[10].position, None, clock::now()).await.unwrap();
        assert_eq!(store.delete_read_outbox(before, 100).await.unwrap(), 5, "not the young one");
        assert_eq!(plain_reading(store, 0).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_for_a_subscriber_that_is_no_more() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for number in 0..3 {
            publish(store, event("room", number, Timestamp::from_millis(1_000))).await;
        }
        let before = Timestamp::from_millis(2_000);
        let given = wait_for(store, "search", 3).await;
        store.update_outbox_cursor("search", given[2].position, None, clock::now()).await.unwrap();
        store.insert_outbox_cursor("bus", OutboxBeginning::Oldest, clock::now()).await.unwrap();
        assert_eq!(store.delete_read_outbox(before, 100).await.unwrap(), 0);

        store.delete_outbox_cursor("bus").await.unwrap();

        assert!(store.delete_read_outbox(before, 100).await.unwrap() >= 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_begins_now_is_not_offered_what_was_before() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for number in 0..3 {
            publish(store, event("room", number, clock::now())).await;
        }
        wait_for(store, "search", 3).await;

        for (subscriber, beginning) in
            [("bus", OutboxBeginning::Oldest), ("notify", OutboxBeginning::Now)]
        {
            store.insert_outbox_cursor(subscriber, beginning, clock::now()).await.unwrap();
        }
        publish(store, event("room", 3, clock::now())).await;
        // A cursor that is there stays where it is.
        store.insert_outbox_cursor("notify", OutboxBeginning::Now, clock::now()).await.unwrap();

        assert_eq!(numbers(&wait_for(store, "notify", 1).await), [3]);
        assert_eq!(numbers(&wait_for(store, "bus", 4).await), [0, 1, 2, 3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newest_event_that_was_deleted_does_not_give_its_place_to_the_next() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for number in 0..3 {
            publish(store, event("room", number, Timestamp::from_millis(1_000))).await;
        }
        let given = wait_for(store, "search", 3).await;
        store.update_outbox_cursor("search", given[2].position, None, clock::now()).await.unwrap();
        store.delete_read_outbox(Timestamp::from_millis(2_000), 100).await.unwrap();

        publish(store, event("room", 3, clock::now())).await;

        assert_eq!(numbers(&wait_for(store, "search", 1).await), [3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_into_a_younger_server_offers_what_was_not_read() {
    let fixture = Fixture::postgres().await;
    let store = &fixture.store;
    for number in 0..4 {
        publish(store, event("room", number, clock::now())).await;
    }
    let given = wait_for(store, "search", 4).await;
    store.update_outbox_cursor("search", given[1].position, None, clock::now()).await.unwrap();
    assert!(!store.rebase_outbox().await.unwrap(), "everything is of this server");
    // As if the server that wrote them had been far older.
    let aged: Result<(), StoreError> = store
        .write(|db| {
            Box::pin(async move {
                execute!(db, "UPDATE outbox SET xid = xid + 1000000000")?;
                execute!(db, "UPDATE outbox_cursors SET xid = xid + 1000000000").map(|_| ())
            })
        })
        .await;
    aged.unwrap();
    publish(store, event("room", 4, clock::now())).await;
    assert_eq!(unread(store, "search", 10).await, [], "the control: nothing is given any more");

    assert!(store.rebase_outbox().await.unwrap());

    assert_eq!(numbers(&wait_for(store, "search", 3).await), [2, 3, 4]);
    assert!(!store.rebase_outbox().await.unwrap(), "once is enough");
}

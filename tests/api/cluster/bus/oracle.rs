//! The oracle: the bus holds what the outbox holds, each event once and each topic in order.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use uuid::Uuid;

use super::server::{BusServer, Published};
use crate::app::{TestApp, eventually};

/// The topic and the id of each event, in the order of the outbox.
type Outbox = Vec<(String, Uuid)>;

const OUTBOX: &str = "SELECT topic, event_id FROM outbox ORDER BY xid, id";
const UNSAVED: &str = "SELECT count(*) FROM outbox
     WHERE (xid, id) > (SELECT xid, position FROM outbox_cursors WHERE subscriber = 'bus')";

/// Waits until the bus has been given everything, and says what is wrong with what it holds.
pub(super) async fn complaints_about(bus: &BusServer, app: &TestApp) -> Vec<String> {
    let wanted = eventually("the bus was given everything", async || {
        let wanted = outbox(app).await;
        (bus.count().await >= wanted.len()).then_some(wanted)
    })
    .await;
    let published = bus.published().await;
    complaints(&wanted, &published, &outbox(app).await)
}

/// How many events of the outbox a subscriber would be given again after a crash, or has not been given yet.
pub(super) async fn beyond_the_cursor(app: &TestApp) -> usize {
    let count: i64 = match app.database_url().as_str() {
        "" => sqlx::query_scalar(UNSAVED).fetch_one(&mut sqlite(app).await).await.unwrap(),
        url => sqlx::query_scalar(UNSAVED).fetch_one(&mut postgres(url).await).await.unwrap(),
    };
    usize::try_from(count).unwrap()
}

pub(super) async fn outbox(app: &TestApp) -> Outbox {
    match app.database_url().as_str() {
        "" => sqlx::query_as(OUTBOX).fetch_all(&mut sqlite(app).await).await.unwrap(),
        url => sqlx::query_as(OUTBOX).fetch_all(&mut postgres(url).await).await.unwrap(),
    }
}

async fn sqlite(app: &TestApp) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(app.sqlite_file());
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn postgres(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("PostgreSQL answers")
}

/// `wanted` is the outbox before the bus was read and has to be there; `known` is the outbox afterwards, and more than
/// that may not be.
fn complaints(wanted: &Outbox, published: &[Published], known: &Outbox) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut topics: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
    for event in published {
        let id = event.id.parse().unwrap();
        let ids = topics.entry(&event.topic).or_default();
        if ids.contains(&id) {
            wrong.push(format!("{id} is there twice"));
        }
        ids.push(id);
    }
    for (topic, ids) in &topics {
        let order = known.iter().filter(|(known, _)| known == topic).map(|(_, id)| *id);
        let place = ids.iter().zip(order.clone()).position(|(found, wanted)| *found != wanted);
        if place.is_some() || ids.len() > order.count() {
            wrong.push(format!("{topic} is not the outbox's from {place:?}"));
        }
    }
    for (topic, id) in wanted {
        if !topics.get(topic.as_str()).is_some_and(|ids| ids.contains(id)) {
            wrong.push(format!("{id} of {topic} is missing"));
        }
    }
    wrong
}

/// An outbox of two topics, and a bus that holds all of it.
fn sound() -> (Outbox, Vec<Published>) {
    let topics = ["chat.events", "user.events"].into_iter().cycle();
    let outbox: Outbox =
        topics.zip(1..=6).map(|(topic, id)| (topic.to_owned(), Uuid::from_u128(id))).collect();
    let published = outbox.iter().map(|(topic, id)| Published {
        topic: topic.clone(),
        id: id.to_string(),
        name: "MessageSent".to_owned(),
        event: serde_json::Value::Null,
    });
    let published = published.collect();
    (outbox, published)
}

#[test]
fn a_bus_that_holds_the_outbox_is_no_cause_for_complaint() {
    let (outbox, published) = sound();
    let earlier = outbox[..4].to_vec();

    assert_eq!(complaints(&outbox, &published, &outbox), [""; 0]);
    assert_eq!(complaints(&earlier, &published, &outbox), [""; 0]);
    assert_eq!(complaints(&earlier, &published[..4], &outbox), [""; 0]);
}

#[test]
fn every_way_to_break_the_bus_is_noticed() {
    type Way = (fn(&mut Vec<Published>), &'static str);
    let ways: [Way; 5] = [
        (|bus| drop(bus.pop()), "is missing"),
        (|bus| drop(bus.remove(1)), "is missing"),
        (|bus| bus.swap(1, 3), "is not the outbox's"),
        (|bus| bus.push(bus[0].clone()), "is there twice"),
        (|bus| bus[0].id = Uuid::nil().to_string(), "is not the outbox's"),
    ];
    for (break_it, complaint) in ways {
        let (outbox, mut published) = sound();
        break_it(&mut published);
        let found = complaints(&outbox, &published, &outbox);
        assert!(found.iter().any(|found| found.contains(complaint)), "{complaint}: {found:?}");
    }
}

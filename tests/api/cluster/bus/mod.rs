//! The external event bus, with real servers: every event of the outbox is there, once, and in order, whoever dies.

mod crowd;
mod oracle;
mod server;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::app::{PASSWORD, TestApp};
use crate::cluster::cutter::Cutter;
use crate::database::Kind;
use crowd::Crowd;
use oracle::{beyond_the_cursor, complaints_about, outbox};
use server::{BusKind, BusServer, Published};

/// Messages after which something happens: enough that everybody is in the middle of something.
const A_WHILE: usize = 60;
/// How often the kill may miss the moment between publishing and saving.
const KILLS_MAX: usize = 10;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NONE: [String; 0] = [];

/// Makes four tests of each scenario, an `async fn(app: &mut TestApp, bus: &mut BusServer)` in scope.
macro_rules! on_every_bus {
    ($($scenario:ident),+ $(,)?) => {$(
        mod $scenario {
            use super::{BusKind, Kind, run};

            #[tokio::test]
            async fn on_redis_and_sqlite() {
                run(BusKind::Redis, Kind::Sqlite, super::$scenario).await;
            }

            #[tokio::test]
            async fn on_redis_and_postgres() {
                run(BusKind::Redis, Kind::Postgres, super::$scenario).await;
            }

            #[tokio::test]
            async fn on_nats_and_sqlite() {
                run(BusKind::Nats, Kind::Sqlite, super::$scenario).await;
            }

            #[tokio::test]
            async fn on_nats_and_postgres() {
                run(BusKind::Nats, Kind::Postgres, super::$scenario).await;
            }
        }
    )+};
}

on_every_bus!(
    every_event_arrives_as_a_cloud_event,
    a_bus_that_dies_and_comes_back_misses_nothing,
    a_node_that_dies_before_it_saves_its_place_doubles_nothing,
    a_bus_that_is_not_there_at_the_start_is_given_everything_later,
    a_line_that_is_cut_in_the_middle_of_a_page_lets_nothing_overtake,
);

async fn run(
    bus: BusKind,
    database: Kind,
    scenario: impl AsyncFnOnce(&mut TestApp, &mut BusServer),
) {
    let mut bus = BusServer::start(bus).await;
    let mut app = Box::pin(TestApp::start_with(database, bus.settings())).await;
    Box::pin(scenario(&mut app, &mut bus)).await;
    app.finish().await;
}

async fn every_event_arrives_as_a_cloud_event(app: &mut TestApp, bus: &mut BusServer) {
    let minsu = app.register("minsu").await;
    let body = json!({
        "handle": "jisoo", "email": "jisoo@example.com", "password": PASSWORD,
        "display_name": "jisoo",
    });
    let request = app.http.post(app.url("/v1/auth/register")).json(&body);
    let request = request.header("x-request-id", "request-1").header("traceparent", TRACE);
    assert_eq!(request.send().await.unwrap().status(), 201);
    let room = minsu.group("The yard", &[]).await;
    let mut socket = minsu.follow(&[&room]).await;
    for n in 0..5 {
        socket.send(&room, &n.to_string(), "hello").await;
    }

    assert_eq!(complaints_about(bus, app).await, NONE);
    let published = bus.published().await;
    for event in &published {
        check_attributes(event);
    }
    let seen: BTreeSet<(&str, &str)> =
        published.iter().map(|event| (event.topic.as_str(), event.name.as_str())).collect();
    for wanted in [
        ("user.events", "UserRegistered"),
        ("auth.events", "SessionOpened"),
        ("chat.events", "ChatRoomCreated"),
        ("message.events", "MessageSent"),
    ] {
        assert!(seen.contains(&wanted), "{wanted:?} is not among {seen:?}");
    }
    let traced = |event: &&Published| event.event["requestid"] == "request-1";
    let traced = published.iter().find(traced).expect("the request is known by its id");
    assert!(traced.event["traceparent"].as_str().unwrap().contains(&TRACE[3..35]), "{traced:?}");
    let sent = published.iter().find(|event| event.name == "MessageSent").unwrap();
    assert_eq!(sent.event["data"]["room_id"], room);
    assert_eq!(sent.event["partitionkey"], room);
}

fn check_attributes(published: &Published) {
    let Published { id, name, event, .. } = published;
    assert_eq!(event["specversion"], "1.0", "{event}");
    assert_eq!(event["id"], *id, "{event}");
    assert_eq!(event["type"], *name, "{event}");
    assert_eq!(event["source"], "madang", "{event}");
    assert_eq!(event["datacontenttype"], "application/json", "{event}");
    assert_eq!(event["partitionkey"], event["subject"], "{event}");
    assert!(event["data"].is_object(), "{event}");
    let time = event["time"].as_str().unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == 24, "{event}");
    let optional = ["traceparent", "requestid"].map(|name| event.get(name));
    assert!(optional.into_iter().flatten().all(Value::is_string), "{event}");
}

async fn a_bus_that_dies_and_comes_back_misses_nothing(app: &mut TestApp, bus: &mut BusServer) {
    let mut crowd = Crowd::gather(app, "a").await;
    for _ in 0..2 {
        crowd.hears(A_WHILE).await;
        bus.kill();
        // Nobody notices.
        crowd.hears(A_WHILE).await;
        bus.restart().await;
    }
    crowd.hears(A_WHILE).await;
    crowd.ends().await;

    assert_eq!(complaints_about(bus, app).await, NONE);
}

async fn a_node_that_dies_before_it_saves_its_place_doubles_nothing(
    app: &mut TestApp,
    bus: &mut BusServer,
) {
    for attempt in 0..KILLS_MAX {
        let mut crowd = Crowd::gather(app, &format!("a{attempt}n")).await;
        crowd.hears(A_WHILE).await;
        app.kill();
        crowd.ends().await;
        let unsaved = beyond_the_cursor(app).await;
        let unpublished = outbox(app).await.len().saturating_sub(bus.count().await);
        app.restart().await;
        assert_eq!(complaints_about(bus, app).await, NONE);
        if unsaved > unpublished {
            return;
        }
    }
    panic!("no kill fell between publishing and saving");
}

async fn a_bus_that_is_not_there_at_the_start_is_given_everything_later(
    app: &mut TestApp,
    bus: &mut BusServer,
) {
    bus.kill();
    app.restart().await;
    let mut crowd = Crowd::gather(app, "a").await;
    crowd.hears(A_WHILE).await;
    crowd.ends().await;
    bus.restart().await;

    assert_eq!(complaints_about(bus, app).await, NONE);
}

async fn a_line_that_is_cut_in_the_middle_of_a_page_lets_nothing_overtake(
    app: &mut TestApp,
    bus: &mut BusServer,
) {
    let line = Cutter::before(bus.port()).await;
    app.restart_with("MADANG__BUS__URL", &bus.url_at(line.port())).await;
    let mut crowd = Crowd::gather(app, "a").await;
    while !line.is_good_by_now() {
        crowd.hears(1).await;
    }
    crowd.ends().await;

    assert_eq!(complaints_about(bus, app).await, NONE);
}

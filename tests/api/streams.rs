//! Event streams: the same events and the same numbers as on a socket, and one cursor for both.

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::database::Kind;
use crate::event_stream::EventStream;
use crate::socket::send;
use crate::user::User;

/// However long the machine takes to fill the queue.
const PATIENT: Settings = &[("MADANG__SOCKET__STALL_TIMEOUT_MS", "600000")];
const FEW: Settings = &[("MADANG__LIMITS__CONNECTIONS_PER_USER", "1")];

on_both_databases!(
    a_stream_tells_what_a_socket_tells,
    a_stream_goes_on_after_its_last_event_in_every_channel,
    a_stream_survives_a_restart,
    a_cursor_moves_between_socket_and_stream,
    a_cursor_that_proves_nothing_is_a_gap,
    what_may_not_be_followed_is_not_streamed,
    a_login_that_ends_takes_its_connections_along,
    a_removed_member_hears_of_it_and_nothing_more,
    a_node_that_goes_away_says_so,
);
on_both_databases!(with super::PATIENT; a_stream_that_is_not_read_loses_nothing);
on_both_databases!(with super::FEW; a_stream_takes_a_seat);

async fn a_stream_tells_what_a_socket_tells(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let mut socket = minho.follow(&[&room]).await;
    let path = format!("/messages/stream/{room}");
    let mut stream = EventStream::open(app.port(), &minho, &path, None).await;
    let live = stream.next().await;
    assert_eq!((live.name.as_str(), &live.data["seq"]), ("live", &json!(minho.head(&room).await)));
    assert!(stream.retry_ms.is_some_and(|ms| (100..10_000).contains(&ms)));

    let sent = jisoo.say(&room, "k1", "안녕\nhello").await;
    let message = format!("/chat/rooms/{room}/messages/{}", sent["id"].as_str().unwrap());
    jisoo.patch(&message, &json!({ "body": "안녕!" })).await.is(200);

    for name in ["message_sent", "message_edited"] {
        let (on_stream, on_socket) = (stream.next().await, socket.next_event().await);
        assert_eq!(on_stream.name, name);
        assert_eq!(on_stream.data, on_socket);
    }
}

async fn a_stream_goes_on_after_its_last_event_in_every_channel(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let other = jisoo.group("Yard", &[&minho]).await;
    let path = format!("/stream?channel=me&channel=room:{room}&channel=room:{other}");
    let mut stream = EventStream::open(app.port(), &minho, &path, None).await;
    for _ in 0..3 {
        assert_eq!(stream.next().await.name, "live");
    }
    jisoo.say(&room, "k1", "heard").await;
    assert_eq!(stream.next().await.data["data"]["body"], "heard");
    let cursor = stream.last_event_id.clone().unwrap();
    drop(stream);

    jisoo.say(&room, "k2", "missed here").await;
    jisoo.say(&other, "k1", "missed there").await;
    let third = jisoo.group("Garden", &[&minho]).await;

    let by_parameter = format!("{path}&last_event_id={cursor}");
    for (path, header) in [(&path, Some(cursor.as_str())), (&by_parameter, None)] {
        let mut stream = EventStream::open(app.port(), &minho, path, header).await;
        let mut missed = Vec::new();
        let mut lives = 0;
        while lives < 3 {
            let event = stream.next().await;
            lives += usize::from(event.name == "live");
            missed.extend((event.name != "live").then_some(event));
        }
        let said: Vec<&Value> = missed.iter().map(|event| &event.data["data"]["body"]).collect();
        assert_eq!(missed.len(), 3, "{missed:?}");
        assert!(said.contains(&&json!("missed here")) && said.contains(&&json!("missed there")));
        let added = missed.iter().find(|event| event.name == "room_added").unwrap();
        assert_eq!(added.data["data"]["room_id"], json!(third));
        // Where it stands now is in every later cursor: nothing is told again.
        let now = stream.last_event_id.clone();
        drop(stream);
        let mut again = EventStream::open(app.port(), &minho, path, now.as_deref()).await;
        for _ in 0..3 {
            assert_eq!(again.next().await.name, "live");
        }
    }
}

async fn a_stream_survives_a_restart(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let path = format!("/messages/stream/{room}");
    let mut stream = EventStream::open(app.port(), &minho, &path, None).await;
    let start = stream.next().await.data["seq"].as_i64().unwrap();
    jisoo.say(&room, "k1", "before").await;
    stream.read_up_to(&channel, start, start + 1).await;

    app.restart().await;
    assert!(stream.try_next().await.is_none(), "the connection is gone");
    let (jisoo, minho) = (jisoo.at(app), minho.at(app));
    jisoo.say(&room, "k2", "meanwhile").await;

    let last = stream.last_event_id.as_deref();
    let mut stream = EventStream::open(app.port(), &minho, &path, last).await;
    stream.read_up_to(&channel, start + 1, start + 2).await;
}

async fn a_cursor_moves_between_socket_and_stream(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let path = format!("/stream?channel=me&channel={channel}");
    let mut socket = minho.socket().await;
    socket.hello(&["me", &channel]).await;
    jisoo.say(&room, "k1", "on the socket").await;
    let seq = socket.next_event().await["seq"].as_i64().unwrap();
    let cursor = socket.ok(json!({ "op": "cursor" })).await["cursor"].as_str().unwrap().to_owned();
    drop(socket);
    jisoo.say(&room, "k2", "for the stream").await;

    let mut stream = EventStream::open(app.port(), &minho, &path, Some(&cursor)).await;
    stream.read_up_to(&channel, seq, seq + 1).await;
    let cursor = stream.last_event_id.clone().unwrap();
    drop(stream);
    jisoo.say(&room, "k3", "for the socket").await;

    let mut socket = minho.socket().await;
    let subscribe = json!([{ "channel": "me" }, { "channel": channel }]);
    socket.ok(json!({ "op": "hello", "cursor": cursor, "subscribe": subscribe })).await;
    let others = socket.read_up_to(&channel, seq + 1, seq + 2).await;
    assert!(others.iter().all(|event| event["event"] == "live"), "{others:?}");
}

async fn a_cursor_that_proves_nothing_is_a_gap(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    jisoo.say(&room, "k1", "hello").await;
    let head = minho.head(&room).await;
    let path = format!("/messages/stream/{room}");
    for unknown in ["nonsense", "0", "AAAA", "!!", &"A".repeat(4_000)] {
        let mut stream = EventStream::open(app.port(), &minho, &path, Some(unknown)).await;
        let (gap, live) = (stream.next().await, stream.next().await);
        assert_eq!((gap.name.as_str(), &gap.data["head"]), ("gap", &json!(head)));
        assert_eq!((live.name.as_str(), &live.data["seq"]), ("live", &json!(head)));
        // It does not stick: what the stream says next can be gone on from.
        let cursor = stream.last_event_id.clone().unwrap();
        drop(stream);
        let mut stream = EventStream::open(app.port(), &minho, &path, Some(&cursor)).await;
        assert_eq!(stream.next().await.name, "live");
    }
}

async fn what_may_not_be_followed_is_not_streamed(app: &mut TestApp) {
    let (_, minho, room) = pair(app).await;
    let stranger = app.register("stranger").await;
    stranger.get(&format!("/messages/stream/{room}")).await.refused(404, "room_not_found");
    stranger.get("/stream?channel=room:nonsense").await.refused(404, "room_not_found");
    minho.get("/stream").await.refused(422, "invalid_input");
    let many: Vec<String> =
        (0..33_u128).map(|n| format!("channel=room:{}", uuid::Uuid::from_u128(n))).collect();
    minho.get(&format!("/stream?{}", many.join("&"))).await.refused(422, "invalid_input");
    app.get("/v1/notifications/stream").await.refused(401, "unauthenticated");
}

async fn a_login_that_ends_takes_its_connections_along(app: &mut TestApp) {
    let phone = app.register("jisoo").await;
    let desk = app.login("jisoo", crate::app::PASSWORD).await;
    let mut stream = EventStream::open(app.port(), &phone, "/notifications/stream", None).await;
    assert_eq!(stream.next().await.name, "live");
    let mut socket = phone.follow(&[]).await;
    let mut other = desk.follow(&[]).await;

    phone.post("/auth/logout", &json!({})).await.is(204);

    let bye = stream.next().await;
    assert_eq!((bye.name.as_str(), &bye.data["code"]), ("bye", &json!(4202)));
    assert!(stream.try_next().await.is_none());
    assert_eq!(socket.closed_with_bye().await, Some(4202));
    other.ok(json!({ "op": "ping" })).await;

    let gone = json!({ "password": crate::app::PASSWORD });
    let removed = desk.request(reqwest::Method::DELETE, "/users/account").json(&gone);
    crate::answer::Answer::of(removed).await.is(204);
    assert_eq!(other.closed_with_bye().await, Some(4307));
}

async fn a_removed_member_hears_of_it_and_nothing_more(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.group("Yard", &[&minho]).await;
    let path = format!("/messages/stream/{room}");
    let mut stream = EventStream::open(app.port(), &minho, &path, None).await;
    assert_eq!(stream.next().await.name, "live");
    jisoo.delete(&format!("/chat/rooms/{room}/members/{}", minho.id)).await.is(200);
    jisoo.say(&room, "k1", "not for minho").await;
    assert_eq!(stream.next().await.name, "user_left");
    assert_eq!(stream.next().await.name, "unsubscribed");
}

async fn a_node_that_goes_away_says_so(app: &mut TestApp) {
    let (_, minho, room) = pair(app).await;
    let path = format!("/messages/stream/{room}");
    let mut stream = EventStream::open(app.port(), &minho, &path, None).await;
    let mut socket = minho.follow(&[&room]).await;
    assert_eq!(stream.next().await.name, "live");

    app.terminate();

    let drain = stream.next().await;
    assert!(drain.name == "drain" && drain.data["in_ms"].is_u64(), "{drain:?}");
    assert_eq!(socket.next_event().await["event"], "drain");
    // A client that is told may go by itself; one that stays is sent away.
    let bye = stream.next().await;
    assert_eq!((bye.name.as_str(), &bye.data["code"]), ("bye", &json!(4000)));
    assert_eq!(socket.closed_with_bye().await, Some(4000));
    assert!(app.ended().await.success());
}

async fn a_stream_that_is_not_read_loses_nothing(app: &mut TestApp) {
    const MUCH: i64 = 2_000;
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let path = format!("/messages/stream/{room}");
    let mut slow = EventStream::open_narrow(app.port(), &minho, &path).await;
    let start = slow.next().await.data["seq"].as_i64().unwrap();
    let mut sender = jisoo.follow(&[]).await;
    let body = "마".repeat(2_000);
    for tens in 0..MUCH / 50 {
        let mut ids = Vec::new();
        for n in 0..50 {
            ids.push(sender.ask(send(&room, &format!("{tens}-{n}"), &body)).await);
        }
        for id in ids {
            assert!(sender.try_reply(id).await.unwrap()["ok"].is_object());
        }
    }
    let others = slow.read_up_to(&channel, start, start + MUCH).await;
    assert_eq!(others.first().map(|event| event.name.as_str()), Some("lag"), "{others:?}");
    assert!(others.iter().all(|event| ["lag", "live"].contains(&event.name.as_str())));
}

async fn a_stream_takes_a_seat(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut stream = EventStream::open(app.port(), &jisoo, "/notifications/stream", None).await;
    assert_eq!(stream.next().await.name, "live");
    jisoo.get("/notifications/stream").await.refused(429, "too_many_connections");
    let mut socket = jisoo.socket().await;
    socket.ask(json!({ "op": "hello" })).await;
    assert_eq!(socket.closed_with_bye().await, Some(4306));

    drop(stream);
    eventually("the seat is free again", async || {
        let mut socket = jisoo.socket().await;
        let id = socket.ask(json!({ "op": "hello" })).await;
        socket.try_reply(id).await
    })
    .await;
}

async fn pair(app: &TestApp) -> (User, User, String) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    (jisoo, minho, room)
}

/// What is said to a stream that is being opened must not make its client forget where it is.
#[tokio::test]
async fn a_stream_that_is_sent_away_while_it_opens_keeps_its_place() {
    let mut app = TestApp::start(Kind::Postgres, &[]).await;
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    let path = format!("/messages/stream/{room}");
    let mut before = EventStream::open(app.port(), &minho, &path, None).await;
    before.next().await;
    let place = before.last_event_id.clone();
    drop(before);
    jisoo.say(&room, "k1", "while nobody listens").await;
    let mut witness = minho.follow(&[]).await;

    let mut database = PgConnection::connect(&app.database_url()).await.unwrap();
    let mut holding = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE room_members").execute(&mut *holding).await.unwrap();
    let (port, user, opened) = (app.port(), minho.clone(), path.clone());
    let given = place.clone();
    let opening =
        tokio::spawn(
            async move { EventStream::try_open(port, &user, &opened, given.as_deref()).await },
        );
    eventually("the stream waits for its membership", async || {
        let waiting: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM pg_locks WHERE NOT granted")
            .fetch_one(&mut *holding)
            .await
            .unwrap();
        (waiting.0 > 0).then_some(())
    })
    .await;
    app.terminate();
    while witness.next_event().await["event"] != "drain" {}
    holding.rollback().await.unwrap();

    let mut stream = opening.await.unwrap().expect("a stream that was let in is answered");
    let drain = stream.next().await;
    assert_eq!(drain.name, "drain");
    assert_eq!(stream.last_event_id, place, "it still knows where it is");
    let mut heard = Vec::new();
    while let Some(event) = stream.try_next().await {
        heard.extend(event.data["data"]["key"].as_str().map(str::to_owned));
    }
    drop(witness);
    assert!(app.ended().await.success());

    app.start_again().await;
    let place = stream.last_event_id.as_deref();
    let mut stream = EventStream::open(app.port(), &minho, &path, place).await;
    jisoo.say(&room, "k2", "the last").await;
    while heard.last().is_none_or(|key| key != "k2") {
        heard.extend(stream.next().await.data["data"]["key"].as_str().map(str::to_owned));
    }
    assert_eq!(heard, ["k1", "k2"]);
    app.finish().await;
}

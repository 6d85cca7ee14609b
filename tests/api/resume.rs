//! Resume: whoever comes back has every event, once, in order, or is told plainly that it cannot.
//!
//! Each scenario is a bug that somebody has shipped.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::socket::{Socket, send};
use crate::user::User;

const SHORT_TOKENS: Settings = &[("MADANG__AUTH__ACCESS_TOKEN_TTL_S", "3")];
/// Whoever says nothing is soon taken for gone.
const IMPATIENT: Settings =
    &[("MADANG__SOCKET__PING_INTERVAL_MS", "200"), ("MADANG__SOCKET__PONG_TIMEOUT_MS", "200")];
/// However long the machine takes to fill the queue.
const PATIENT: Settings = &[
    ("MADANG__SOCKET__STALL_TIMEOUT_MS", "600000"),
    ("MADANG__SOCKET__PONG_TIMEOUT_MS", "600000"),
];
/// More than the limit of a queue, and more than the system keeps for a narrow client.
const MUCH: usize = 2_000;
const LONG: usize = 2_000;

on_both_databases!(
    publish_during_replay,
    unknown_future_and_other_rooms_positions_are_gaps,
    the_newest_messages_can_be_asked_for,
    resume_twice_with_nothing_new,
    resume_before_any_event,
    a_client_ahead_of_its_server_is_believed,
    resume_while_the_old_socket_is_open,
    a_night_of_messages_is_a_gap,
    two_devices_of_one_user,
    mass_reconnect_of_all_clients_at_once,
    subscribe_and_unsubscribe_while_messages_flow,
    member_removed_during_replay,
    membership_is_asked_for_again,
    everything_survives_a_restart,
    the_inbox_of_a_user_is_a_numbered_log,
);
on_both_databases!(with super::PATIENT; a_client_stops_reading);
on_both_databases!(with super::IMPATIENT; a_tab_is_hidden_for_ten_minutes);
on_both_databases!(with super::SHORT_TOKENS; a_token_expires_during_sleep);

async fn publish_during_replay(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    talk(&jisoo, &room, "before", 600, 10).await;
    let start = minho.head(&room).await - 600;
    let sender = jisoo.clone();
    let place = room.clone();
    let talking = tokio::spawn(async move { talk(&sender, &place, "during", 1_000, 10).await });

    let listeners = join_all((0..5).map(|n| {
        let (minho, channel) = (&minho, &channel);
        async move {
            let mut socket = minho.socket().await;
            socket.hello(&[]).await;
            socket.subscribe(json!({ "channel": channel, "after": start + n })).await;
            let others = socket.read_up_to(channel, start + n, start + 1_600).await;
            assert_eq!(names(&others), ["live"], "{others:?}");
        }
    }));
    listeners.await;
    talking.await.unwrap();
}

async fn unknown_future_and_other_rooms_positions_are_gaps(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    jisoo.say(&room, "k", "hello").await;
    let busy = jisoo.group("Another", &[&minho]).await;
    talk(&jisoo, &busy, "k", 20, 1).await;
    let (head, of_another) = (minho.head(&room).await, minho.head(&busy).await);

    for wanted in [
        json!({ "channel": channel, "after": head + 1 }),
        json!({ "channel": channel, "after": i64::MAX }),
        json!({ "channel": channel, "after": -1 }),
        json!({ "channel": channel, "after": of_another }),
        json!({ "channel": channel, "after": head, "epoch": "of another database" }),
    ] {
        let mut socket = minho.follow(&[]).await;
        let answer = socket.subscribe(wanted.clone()).await;
        assert_eq!(answer["seq"], head, "{wanted}");
        let gap = socket.next_event().await;
        assert_eq!(
            gap,
            json!({
                "event": "gap", "channel": channel, "have": wanted["after"], "first": 1, "head": head,
            })
        );
        let live = socket.next_event().await;
        assert_eq!((&live["event"], &live["seq"]), (&json!("live"), &json!(head)));
    }
}

async fn the_newest_messages_can_be_asked_for(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    talk(&jisoo, &room, "k", 10, 1).await;
    let head = minho.head(&room).await;
    for (last, first) in [(3, head - 3), (i64::MAX, 0), (0, head)] {
        let mut socket = minho.follow(&[]).await;
        socket.subscribe(json!({ "channel": channel, "last": last })).await;
        socket.read_up_to(&channel, first, head).await;
        assert_eq!(socket.next_event().await["event"], "live");
    }
}

async fn resume_twice_with_nothing_new(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    jisoo.say(&room, "k1", "hello").await;
    let head = minho.head(&room).await;
    for _ in 0..2 {
        let mut socket = minho.follow(&[]).await;
        socket.subscribe(json!({ "channel": channel, "after": head })).await;
        let live = socket.next_event().await;
        assert_eq!((&live["event"], &live["seq"]), (&json!("live"), &json!(head)));
        assert_eq!(socket.events_so_far().await, NOTHING);
    }
}

async fn resume_before_any_event(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let mut socket = minho.follow(&[]).await;
    socket.subscribe(json!({ "channel": channel, "after": 0 })).await;
    jisoo.say(&room, "k1", "hello").await;
    let head = minho.head(&room).await;
    socket.read_up_to(&channel, 0, head).await;

    let nobody = app.register("nobody").await;
    let mut socket = nobody.follow(&[]).await;
    assert_eq!(socket.subscribe(json!({ "channel": "me", "after": 0 })).await["seq"], 0);
    let live = socket.next_event().await;
    assert_eq!((&live["event"], &live["seq"]), (&json!("live"), &json!(0)));
}

async fn resume_while_the_old_socket_is_open(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let mut old = minho.follow(&[&room]).await;
    let start = minho.head(&room).await;
    talk(&jisoo, &room, "first", 5, 1).await;
    let mut new = minho.follow(&[]).await;
    new.subscribe(json!({ "channel": channel, "after": start })).await;
    talk(&jisoo, &room, "second", 5, 1).await;
    for socket in [&mut old, &mut new] {
        socket.read_up_to(&channel, start, start + 10).await;
    }
}

async fn a_client_ahead_of_its_server_is_believed(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let mut socket = minho.follow(&[]).await;
    // Each acknowledgement may be here before the hubs have the event.
    for n in 0..200 {
        let seq = jisoo.say(&room, &n.to_string(), "hello").await["seq"].as_i64().unwrap();
        socket.subscribe(json!({ "channel": channel, "after": seq })).await;
        let live = socket.next_event().await;
        assert_eq!((&live["event"], &live["seq"]), (&json!("live"), &json!(seq)));
        socket.ok(json!({ "op": "unsubscribe", "channels": [channel] })).await;
    }
}

async fn a_client_stops_reading(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let mut slow = Socket::open_narrow(app.port(), Some(&minho.token)).await;
    let hello = slow.hello(&[&channel]).await;
    let start = hello["channels"][&channel]["seq"].as_i64().unwrap();
    let mut quick = minho.follow(&[&room]).await;
    let port = app.port();

    let sender = jisoo.clone();
    let place = room.clone();
    let talking = tokio::spawn(async move { shout(&sender, port, &place).await });
    let last = start + i64::try_from(MUCH).unwrap();
    assert_eq!(quick.read_up_to(&channel, start, last).await, NOTHING);
    talking.await.unwrap();

    let others = slow.read_up_to(&channel, start, last).await;
    assert_eq!(others.first().map(|event| &event["event"]), Some(&json!("lag")), "{others:?}");
    assert_eq!(others[0]["channel"], channel);
    // It may have fallen behind again on its way, but in the end it is live, and hears what is new.
    jisoo.say(&room, "new", "after all that").await;
    let rest = slow.read_up_to(&channel, last, last + 1).await;
    let said: Vec<Value> = others.into_iter().chain(rest).collect();
    let (lags, lives) = (count(&said, "lag"), count(&said, "live"));
    assert_eq!((lags, said.len()), (lives, lags + lives), "{said:?}");
}

async fn a_night_of_messages_is_a_gap(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let start = minho.head(&room).await;
    talk(&jisoo, &room, "k", 2_001, 40).await;
    let head = minho.head(&room).await;

    let mut socket = minho.follow(&[]).await;
    socket.subscribe(json!({ "channel": channel, "after": start })).await;
    assert_eq!(socket.next_event().await["event"], "gap");
    assert_eq!(socket.next_event().await["event"], "live");
    // Paging through REST and going on from the head leaves nothing out.
    let mut position = start;
    while position < head {
        for message in minho.messages(&room, &format!("after={position}&limit=200")).await {
            position += 1;
            assert_eq!(message["seq"], position);
        }
    }
    // One less, and it is replayed.
    let mut socket = minho.follow(&[]).await;
    socket.subscribe(json!({ "channel": channel, "after": start + 1 })).await;
    assert_eq!(socket.read_up_to(&channel, start + 1, head).await, NOTHING);
    assert_eq!(socket.next_event().await["event"], "live");
}

async fn a_tab_is_hidden_for_ten_minutes(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    // A tab that sleeps answers no pings.
    let mut hidden = minho.follow(&[&room]).await;
    let start = minho.head(&room).await;
    assert_eq!(hidden.closed_with_bye().await, Some(4102));
    for n in 0..20 {
        jisoo.say(&room, &n.to_string(), "are you there?").await;
    }

    let mut shown = minho.socket().await;
    let subscribe = json!([{ "channel": channel, "after": start }]);
    shown.ok(json!({ "op": "hello", "subscribe": subscribe })).await;
    assert_eq!(shown.read_up_to(&channel, start, start + 20).await, NOTHING);
}

async fn two_devices_of_one_user(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let (mut phone, mut desk) = (minho.follow(&[&room]).await, minho.follow(&[&room]).await);
    let start = minho.head(&room).await;
    talk(&jisoo, &room, "k", 3, 1).await;
    for device in [&mut phone, &mut desk] {
        device.read_up_to(&channel, start, start + 3).await;
    }
    let read = |seq: i64| json!({ "op": "read", "channel": channel, "seq": seq });
    let on_phone = phone.ok(read(start + 3)).await;
    let on_desk = desk.ok(read(start + 1)).await;
    for answer in [on_phone, on_desk] {
        assert_eq!((&answer["seq"], &answer["unread_count"]), (&json!(start + 3), &json!(0)));
    }
}

async fn mass_reconnect_of_all_clients_at_once(app: &mut TestApp) {
    const CLIENTS: usize = 100;
    let jisoo = app.register("jisoo").await;
    let room = jisoo.group("Yard", &[]).await;
    let channel = format!("room:{room}");
    let start = jisoo.head(&room).await;
    talk(&jisoo, &room, "k", 100, 10).await;
    // As many as one user may have, many times over: each is another.
    let mut people = Vec::new();
    for n in 0..CLIENTS / 10 {
        people.push(app.register(&format!("person{n}")).await);
    }
    for person in &people {
        let invited = json!({ "user_id": person.id });
        jisoo.post(&format!("/chat/rooms/{room}/members"), &invited).await.is(201);
    }
    let head = jisoo.head(&room).await;
    app.restart().await;

    let people: Vec<User> = people.iter().map(|person| person.at(app)).collect();
    join_all((0..CLIENTS).map(|n| {
        let (person, channel) = (&people[n % people.len()], &channel);
        async move {
            let mut socket = person.follow(&[]).await;
            socket.subscribe(json!({ "channel": channel, "after": start })).await;
            assert_eq!(socket.read_up_to(channel, start, head).await, NOTHING);
            assert_eq!(socket.next_event().await["event"], "live");
        }
    }))
    .await;
}

async fn subscribe_and_unsubscribe_while_messages_flow(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let mut socket = minho.follow(&[]).await;
    let mut position = minho.head(&room).await;
    let (sender, place) = (jisoo.clone(), room.clone());
    let talking = tokio::spawn(async move { talk(&sender, &place, "k", 500, 2).await });
    let last = position + 500;

    for _ in 0..1_000 {
        socket.subscribe(json!({ "channel": channel, "after": position })).await;
        socket.ok(json!({ "op": "unsubscribe", "channels": [channel] })).await;
        for event in socket.events_so_far().await {
            match event["event"].as_str().unwrap() {
                "live" => assert_eq!(event["seq"], position, "{event}"),
                _ => {
                    position += 1;
                    assert_eq!(event["seq"], position, "{event}");
                }
            }
        }
    }
    talking.await.unwrap();
    socket.subscribe(json!({ "channel": channel, "after": position })).await;
    socket.read_up_to(&channel, position, last).await;
}

async fn member_removed_during_replay(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.group("Yard", &[&minho]).await;
    let channel = format!("room:{room}");
    let start = minho.head(&room).await;
    talk(&jisoo, &room, "k", 1_500, 30).await;
    let mut slow = Socket::open_narrow(app.port(), Some(&minho.token)).await;
    slow.hello(&[]).await;
    slow.subscribe(json!({ "channel": channel, "after": start })).await;

    jisoo.delete(&format!("/chat/rooms/{room}/members/{}", minho.id)).await.is(200);
    jisoo.say(&room, "secret", "not for minho").await;

    let removal = start + 1_501;
    slow.read_up_to(&channel, start, removal - 1).await;
    let mut rest = Vec::new();
    while rest.last().is_none_or(|event: &Value| event["event"] != "unsubscribed") {
        rest.push(slow.next_event().await);
    }
    rest.retain(|event| event["event"] != "live");
    assert_eq!(names(&rest), ["user_left", "unsubscribed"], "{rest:?}");
    assert_eq!(slow.events_so_far().await, NOTHING);
}

async fn membership_is_asked_for_again(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.group("Yard", &[&minho]).await;
    let position = minho.head(&room).await;
    jisoo.delete(&format!("/chat/rooms/{room}/members/{}", minho.id)).await.is(200);
    jisoo.say(&room, "secret", "not for minho").await;

    let mut socket = minho.follow(&[]).await;
    let channel = format!("room:{room}");
    let answer = socket.subscribe(json!({ "channel": channel, "after": position })).await;

    assert_eq!(answer["error"]["code"], "channel_not_found");
    assert_eq!(socket.events_so_far().await, NOTHING);
}

async fn everything_survives_a_restart(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let mut socket = minho.follow(&[&room]).await;
    let start = minho.head(&room).await;
    talk(&jisoo, &room, "k", 5, 1).await;
    socket.read_up_to(&channel, start, start + 5).await;
    app.restart().await;

    let (jisoo, minho) = (jisoo.at(app), minho.at(app));
    talk(&jisoo, &room, "later", 5, 1).await;
    let mut socket = minho.follow(&[]).await;
    socket.subscribe(json!({ "channel": channel, "after": start + 5 })).await;
    assert_eq!(socket.read_up_to(&channel, start + 5, start + 10).await, NOTHING);
}

async fn the_inbox_of_a_user_is_a_numbered_log(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let mut watching = minho.follow(&[]).await;
    assert_eq!(watching.subscribe(json!({ "channel": "me" })).await["seq"], 0);
    assert_eq!(watching.next_event().await["event"], "live");

    let direct = jisoo.direct_room(&minho).await;
    jisoo.direct_room(&minho).await;
    let group = jisoo.group("Yard", &[&minho]).await;
    jisoo.delete(&format!("/chat/rooms/{group}/members/{}", minho.id)).await.is(200);
    let invited = json!({ "user_id": minho.id });
    jisoo.post(&format!("/chat/rooms/{group}/members"), &invited).await.is(201);

    // The two became friends, because a direct room is not for strangers.
    let of_friends = |state: &str| json!({ "user_id": jisoo.id, "state": state });
    let of_room = |room: &str| json!({ "room_id": room, "by": jisoo.id });
    let expected = [
        ("friend_updated", of_friends("incoming")),
        ("friend_updated", of_friends("friends")),
        ("room_added", of_room(&direct)),
        ("room_added", of_room(&group)),
        ("room_removed", of_room(&group)),
        ("room_added", of_room(&group)),
    ];
    let mut late = minho.follow(&[]).await;
    late.subscribe(json!({ "channel": "me", "after": 0 })).await;
    for socket in [&mut watching, &mut late] {
        for (n, (name, data)) in (1..).zip(&expected) {
            let event = socket.next_event().await;
            assert_eq!(event["event"], *name, "{event}");
            assert_eq!((&event["channel"], &event["seq"]), (&json!("me"), &json!(n)));
            assert_eq!(event["data"], *data);
        }
    }
    let mut resumed = minho.follow(&[]).await;
    resumed.subscribe(json!({ "channel": "me", "after": 5 })).await;
    assert_eq!(resumed.next_event().await["seq"], 6);
}

async fn a_token_expires_during_sleep(app: &mut TestApp) {
    app.register("jisoo").await;
    app.register("minho").await;
    // Tokens that last for seconds may be over before they are used, on a busy machine.
    let (mut socket, channel, start) = eventually("a token lasts long enough", async || {
        let (jisoo, minho) = (login(app, "jisoo").await, login(app, "minho").await);
        // Both have asked, so they are friends.
        jisoo.post("/friends/request", &json!({ "user_id": minho.id })).await;
        minho.post("/friends/request", &json!({ "user_id": jisoo.id })).await;
        let body = json!({ "kind": "direct", "user_id": minho.id });
        let room = jisoo.post("/chat/rooms", &body).await;
        let room: Value = serde_json::from_str(&room.text).unwrap();
        let channel = format!("room:{}", room["id"].as_str()?);
        let mut socket = minho.socket().await;
        let hello = json!({ "op": "hello", "subscribe": [{ "channel": channel }] });
        let id = socket.ask(hello).await;
        let seq = socket.try_reply(id).await?["ok"]["channels"][&channel]["seq"].as_i64()?;
        Some((socket, channel, seq))
    })
    .await;
    assert_eq!(socket.closed_with_bye().await, Some(4200));

    eventually("somebody says something", async || {
        let path = format!("/chat/rooms/{}/messages", channel.strip_prefix("room:")?);
        let said = json!({ "key": "k", "body": "while you slept" });
        let answer = login(app, "jisoo").await.post(&path, &said).await;
        (answer.status < 300).then_some(())
    })
    .await;
    let wanted = json!([{ "channel": channel, "after": start }]);
    let event = eventually("a fresh token lasts long enough", async || {
        let mut socket = login(app, "minho").await.socket().await;
        let id = socket.ask(json!({ "op": "hello", "subscribe": wanted })).await;
        socket.try_reply(id).await?["ok"].is_object().then_some(())?;
        Some(socket.next_event().await)
    })
    .await;
    assert_eq!((&event["event"], &event["seq"]), (&json!("message_sent"), &json!(start + 1)));
}

async fn login(app: &TestApp, name: &str) -> User {
    app.login(name, crate::app::PASSWORD).await
}

const NOTHING: Vec<Value> = Vec::new();

async fn pair(app: &TestApp) -> (User, User, String) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    (jisoo, minho, room)
}

/// Sends messages over one socket, so many at a time.
async fn talk(user: &User, room: &str, prefix: &str, count: usize, at_once: usize) {
    let mut socket = user.follow(&[]).await;
    let mut waiting = std::collections::VecDeque::new();
    for n in 0..count {
        let key = format!("{prefix}-{n}");
        waiting.push_back(socket.ask(send(room, &key, &key)).await);
        if waiting.len() >= at_once {
            heed(&mut socket, waiting.pop_front()).await;
        }
    }
    while !waiting.is_empty() {
        heed(&mut socket, waiting.pop_front()).await;
    }
}

async fn heed(socket: &mut Socket, id: Option<u64>) {
    let reply = socket.try_reply(id.unwrap()).await.expect("a reply");
    assert!(reply["ok"].is_object(), "{reply}");
}

/// Sends long messages.
async fn shout(user: &User, port: u16, room: &str) {
    let mut socket = Socket::open(port, Some(&user.token)).await;
    socket.hello(&[]).await;
    let body = "마".repeat(LONG);
    let mut waiting = std::collections::VecDeque::new();
    for n in 0..MUCH {
        waiting.push_back(socket.ask(send(room, &n.to_string(), &body)).await);
        if waiting.len() >= 50 {
            heed(&mut socket, waiting.pop_front()).await;
        }
    }
    while !waiting.is_empty() {
        heed(&mut socket, waiting.pop_front()).await;
    }
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

fn count(events: &[Value], name: &str) -> usize {
    events.iter().filter(|event| event["event"] == name).count()
}

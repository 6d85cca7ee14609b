//! Presence: who is here is seen by those who may, once, and a flap by nobody.

use serde_json::{Value, json};

use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::event_stream::EventStream;
use crate::socket::Socket;
use crate::user::User;

/// Long enough that nobody goes by mistake.
const LONG_GRACE: Settings = &[("MADANG__PRESENCE__GRACE_MS", "600000")];
const CROWDS: Settings = &[("MADANG__PRESENCE__LARGE_ROOM_MEMBERS", "1")];
const SHORT_GRACE: Settings = &[("MADANG__PRESENCE__GRACE_MS", "300")];

on_both_databases!(with super::LONG_GRACE;
    who_comes_and_says_goodbye_is_seen_at_once,
    who_comes_back_in_time_was_never_away,
    devices_are_merged_and_invisible_hides_them,
    strangers_see_nothing,
    presences_are_streamed,
    a_restart_is_nobodys_going,
);
on_both_databases!(with super::CROWDS; a_crowd_is_counted_and_only_those_watched_are_named);
on_both_databases!(with super::SHORT_GRACE;
    who_does_not_come_back_has_gone,
    who_does_not_come_back_after_a_restart_has_gone,
);

async fn who_comes_and_says_goodbye_is_seen_at_once(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let mut watcher = minho.follow(&[&room]).await.hear_presence();
    is_shown(&minho, &jisoo, "offline").await;

    let mut socket = jisoo.socket().await;
    socket.hello(&[]).await;
    let seen = next_change(&mut watcher, &jisoo).await;
    assert_eq!(seen["status"], "online");
    assert!(seen["last_seen_at"].is_string());
    is_shown(&minho, &jisoo, "online").await;

    socket.ok(json!({ "op": "set_presence", "status": "busy" })).await;
    assert_eq!(next_change(&mut watcher, &jisoo).await["status"], "busy");
    socket.write_json(&json!({ "op": "bye" })).await;
    assert_eq!(next_change(&mut watcher, &jisoo).await["status"], "offline");
    is_shown(&minho, &jisoo, "offline").await;
}

async fn who_comes_back_in_time_was_never_away(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let mut watcher = minho.follow(&[&room]).await.hear_presence();
    let first = jisoo.follow(&[]).await;
    assert_eq!(next_change(&mut watcher, &jisoo).await["status"], "online");

    drop(first);
    let mut second = jisoo.follow(&[]).await;

    // What comes after the return is the next that is seen.
    second.ok(json!({ "op": "set_presence", "status": "away" })).await;
    assert_eq!(next_change(&mut watcher, &jisoo).await["status"], "away");
}

async fn devices_are_merged_and_invisible_hides_them(app: &mut TestApp) {
    let (jisoo, minho, _) = pair(app).await;
    let mut phone = jisoo.follow(&[]).await;
    let mut desk = jisoo.follow(&[]).await;
    let set = |status: &str| json!({ "op": "set_presence", "status": status });
    for (on_phone, on_desk, shown) in
        [("away", "away", "away"), ("busy", "away", "busy"), ("invisible", "online", "offline")]
    {
        phone.ok(set(on_phone)).await;
        desk.ok(set(on_desk)).await;
        is_shown(&minho, &jisoo, shown).await;
    }
    assert_eq!(phone.refused(set("elsewhere")).await, "invalid_fields");

    // A client may come in unseen.
    let ghost = app.register("ghost").await;
    ghost.direct_room(&minho).await;
    let mut socket = ghost.socket().await;
    socket.ok(json!({ "op": "hello", "presence": "invisible" })).await;
    socket.ok(json!({ "op": "ping" })).await;
    is_shown(&minho, &ghost, "offline").await;
}

async fn strangers_see_nothing(app: &mut TestApp) {
    let (jisoo, minho, _) = pair(app).await;
    let stranger = app.register("stranger").await;
    let _here = jisoo.follow(&[]).await;
    is_shown(&minho, &jisoo, "online").await;

    stranger.get(&format!("/online-status/{}", jisoo.id)).await.refused(404, "user_not_found");
    let path = format!("/online-status?user_ids={},{}", jisoo.id, stranger.id);
    let items = stranger.get(&path).await.json(200)["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1, "only oneself: {items}");
    let mut socket = stranger.follow(&[]).await;
    let asked = json!({ "op": "get_presence", "users": [jisoo.id], "watch": true });
    assert_eq!(socket.ok(asked).await["items"], json!([]));
    minho.get("/online-status?user_ids=nonsense").await.refused(422, "invalid_input");
    let many: Vec<String> = (0..101_u128).map(|n| uuid::Uuid::from_u128(n).to_string()).collect();
    minho
        .get(&format!("/online-status?user_ids={}", many.join(",")))
        .await
        .refused(422, "invalid_input");
}

async fn presences_are_streamed(app: &mut TestApp) {
    let (jisoo, minho, _) = pair(app).await;
    let mut stream = EventStream::open(app.port(), &minho, "/online-status/stream", None).await;
    let first = stream.next().await;
    assert_eq!(first.name, "presence_changed");
    assert_eq!(first.data["data"]["changes"][0]["user_id"], json!(jisoo.id));
    assert_eq!(first.data["data"]["changes"][0]["status"], "offline");

    let mut socket = minho.follow(&[]).await.hear_presence();
    let asked = json!({ "op": "get_presence", "users": [jisoo.id], "watch": true });
    assert_eq!(socket.ok(asked).await["items"][0]["status"], "offline");

    let _here = jisoo.follow(&[]).await;
    let change = stream.next().await;
    assert_eq!(change.data["data"]["changes"][0]["status"], "online");
    assert_eq!(next_change(&mut socket, &jisoo).await["status"], "online");
}

async fn a_crowd_is_counted_and_only_those_watched_are_named(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let mut watcher = minho.follow(&[&room]).await.hear_presence();
    let asked = json!({ "op": "get_presence", "users": [jisoo.id], "watch": true });
    watcher.ok(asked).await;
    let _here = jisoo.follow(&[]).await;

    let (mut named, mut counted) = (false, false);
    while !(named && counted) {
        let event = watcher.next_event().await;
        let data = &event["data"];
        if event["channel"].is_null() {
            assert_eq!(data["changes"][0]["user_id"], json!(jisoo.id), "{event}");
            named = true;
        } else {
            assert!(data["changes"].is_null(), "nobody is named: {event}");
            counted |= data["present_count"] == 2;
        }
    }
}

async fn a_restart_is_nobodys_going(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let here = jisoo.follow(&[]).await;
    is_shown(&minho, &jisoo, "online").await;
    drop(here);
    app.restart().await;

    let (jisoo, minho) = (jisoo.at(app), minho.at(app));
    let mut watcher = minho.follow(&[&room]).await.hear_presence();
    is_shown(&minho, &jisoo, "online").await;
    let mut back = jisoo.follow(&[]).await;
    back.ok(json!({ "op": "set_presence", "status": "away" })).await;
    // Nothing was seen of the restart itself.
    assert_eq!(next_change(&mut watcher, &jisoo).await["status"], "away");
}

async fn who_does_not_come_back_has_gone(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let mut watcher = minho.follow(&[&room]).await.hear_presence();
    let here = jisoo.follow(&[]).await;
    assert_eq!(next_change(&mut watcher, &jisoo).await["status"], "online");
    drop(here);
    assert_eq!(next_change(&mut watcher, &jisoo).await["status"], "offline");
}

async fn who_does_not_come_back_after_a_restart_has_gone(app: &mut TestApp) {
    let (jisoo, minho, _) = pair(app).await;
    let here = jisoo.follow(&[]).await;
    is_shown(&minho, &jisoo, "online").await;
    app.kill();
    drop(here);
    app.restart().await;
    is_shown(&minho.at(app), &jisoo, "offline").await;
}

async fn pair(app: &TestApp) -> (User, User, String) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    (jisoo, minho, room)
}

/// Waits until one is shown so to the other.
async fn is_shown(to: &User, who: &User, status: &str) {
    eventually(status, async || {
        let presence = to.get(&format!("/online-status/{}", who.id)).await.json(200);
        (presence["status"] == status).then_some(())
    })
    .await;
}

/// What the next change of somebody's presence is.
async fn next_change(socket: &mut Socket, who: &User) -> Value {
    loop {
        let event = socket.next_event().await;
        assert_eq!(event["event"], "presence_changed", "{event}");
        let changes = event["data"]["changes"].as_array().unwrap().clone();
        if let Some(change) = changes.into_iter().find(|change| change["user_id"] == *who.id) {
            return change;
        }
    }
}

//! Blocks: neither of two reaches or sees the other any more, and whoever was blocked is not told.

use serde_json::{Value, json};

use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::event_stream::EventStream;
use crate::socket::Socket;
use crate::user::{User, pluck};

/// Everything is told.
const EVERY_TYPE: Settings = &[("MADANG__NOTIFICATIONS__DISABLED_TYPES", "")];
/// Long enough that nobody goes by mistake.
const LONG_GRACE: Settings = &[("MADANG__PRESENCE__GRACE_MS", "600000")];

on_both_databases!(
    who_was_blocked_cannot_write_and_keeps_what_was_said,
    who_was_blocked_finds_nobody,
    who_blocks_knows_it,
    a_block_ends_a_friendship_without_a_word,
    how_far_the_other_has_read_is_not_shown_past_a_block,
);
on_both_databases!(with super::EVERY_TYPE; a_group_goes_on_past_a_block);
on_both_databases!(with super::LONG_GRACE;
    friends_see_each_other_without_a_room,
    who_was_blocked_sees_nobody_come_or_go,
    who_was_a_friend_sees_nobody_come_or_go,
    presence_is_shown_to_whom_one_has_chosen,
);

async fn who_was_blocked_cannot_write_and_keeps_what_was_said(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let messages = format!("/chat/rooms/{room}/messages");
    let said = jisoo.say(&room, "k1", "before").await;
    let mine = minho.say(&room, "k2", "mine").await["seq"].clone();
    let mut watching = jisoo.follow(&[&room]).await;
    let mut typist = minho.follow(&[&room]).await;
    let typing = json!({ "op": "typing", "channel": format!("room:{room}") });
    watching.ok(typing.clone()).await;
    assert_eq!(typist.next_event().await["event"], "typing_indicator");
    jisoo.post("/friends/block", &whom(&minho)).await.is(200);

    let hello = json!({ "key": "k3", "body": "hello?" });
    minho.post(&messages, &hello).await.refused(403, "cannot_message");
    jisoo.post(&messages, &hello).await.refused(403, "blocked");
    let edit = minho.patch(&format!("{messages}/{mine}"), &json!({ "body": "hello?" })).await;
    edit.refused(403, "cannot_message");
    let seq = &said["seq"];
    let reacted = minho.put(&format!("{messages}/{seq}/reactions/👍"), &json!({})).await;
    reacted.refused(403, "cannot_message");
    let channel = format!("room:{room}");
    let send = json!({ "op": "send", "channel": channel, "key": "k4", "data": { "body": "hi" } });
    assert_eq!(typist.refused(send).await, "cannot_message");
    // Reading goes on, without a word to the other; so does taking back what one has said.
    assert_eq!(minho.messages(&room, "after=0").await.len(), 2);
    let read = json!({ "room_id": room, "seq": mine });
    minho.post("/messages/read", &read).await.is(200);
    typist.ok(typing).await;
    minho.delete(&format!("{messages}/{mine}")).await.is(200);
    let mut next = watching.next_event().await;
    // One's own typing may be shown to oneself; that of the other must not.
    while next["event"] == "typing_indicator" {
        assert_eq!(next["data"]["user_id"], json!(jisoo.id));
        next = watching.next_event().await;
    }
    assert_eq!((&next["event"], &next["data"]["seq"]), (&json!("message_deleted"), &mine));
    // The room is still found, and opened again.
    assert_eq!(minho.post("/chat/rooms", &direct(&jisoo)).await.json(200)["id"], json!(room));

    jisoo.delete(&format!("/friends/unblock/{}", minho.id)).await.is(200);
    minho.post(&messages, &hello).await.is(201);
}

async fn who_was_blocked_finds_nobody(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let yard = minho.group("Yard", &[&jisoo]).await;
    jisoo.post("/friends/block", &whom(&minho)).await.is(200);

    minho.get(&format!("/users/{}", jisoo.id)).await.refused(404, "user_not_found");
    minho.get(&format!("/online-status/{}", jisoo.id)).await.refused(404, "user_not_found");
    minho.post("/friends/request", &whom(&jisoo)).await.refused(404, "user_not_found");
    minho.post("/chat/rooms", &direct(&jisoo)).await.refused(404, "user_not_found");
    let group = json!({ "kind": "group", "name": "Two", "member_ids": [jisoo.id] });
    minho.post("/chat/rooms", &group).await.refused(404, "user_not_found");
    let other = minho.group("Market", &[]).await;
    let members = format!("/chat/rooms/{other}/members");
    minho.post(&members, &whom(&jisoo)).await.refused(404, "user_not_found");
    // In the group where both are, they stay.
    let members = minho.get(&format!("/chat/rooms/{yard}/members")).await.json(200);
    assert_eq!(members["items"].as_array().unwrap().len(), 2);
    // As if there were no such account; and no event tells that there is one no more.
    for call in ["accept", "reject", "cancel"] {
        let answer = minho.post(&format!("/friends/{call}"), &whom(&jisoo)).await;
        answer.refused(404, "user_not_found");
    }
    let ended = minho.delete(&format!("/friends/{}", jisoo.id)).await;
    ended.refused(404, "user_not_found");
    let mut inbox = minho.follow(&[]).await;
    inbox.subscribe(json!({ "channel": "me", "last": 10 })).await;
    while let event = inbox.next_event().await
        && event["event"] != "live"
    {
        let is_welcome = event["data"]["type"] == "welcome";
        assert!(event["event"] == "room_added" || is_welcome, "{event}");
    }
}

async fn who_blocks_knows_it(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    jisoo.group("Yard", &[&minho]).await;
    let blocked = jisoo.post("/friends/block", &whom(&minho)).await.json(200);
    assert_eq!(blocked, json!({ "user_id": minho.id, "state": "blocked" }));
    let listed = jisoo.get("/friends/blocked").await.json(200);
    assert_eq!(listed["items"][0]["user"]["handle"], "minho");

    // Whom one has blocked, one still finds, to end it.
    jisoo.get(&format!("/users/{}", minho.id)).await.is(200);
    jisoo.post("/friends/request", &whom(&minho)).await.refused(403, "blocked");
    jisoo.post("/chat/rooms", &direct(&minho)).await.refused(403, "blocked");
    let ended = jisoo.delete(&format!("/friends/unblock/{}", minho.id)).await.json(200);
    assert_eq!(ended["state"], "none");
    assert_eq!(jisoo.get("/friends/blocked").await.json(200)["items"], json!([]));
    jisoo.post("/chat/rooms", &direct(&minho)).await.is(201);
}

async fn a_block_ends_a_friendship_without_a_word(app: &mut TestApp) {
    let (jisoo, minho, _) = pair(app).await;
    let mut inbox = minho.socket().await;
    inbox.hello(&["me"]).await;
    jisoo.post("/friends/block", &whom(&minho)).await.is(200);

    let told = inbox.next_named("friend_updated").await;
    assert_eq!(told["data"], json!({ "user_id": jisoo.id, "state": "none" }));
    assert_eq!(minho.get("/friends").await.json(200)["items"], json!([]));
}

async fn a_group_goes_on_past_a_block(app: &mut TestApp) {
    let [jisoo, minho, yuna] =
        [app.register("jisoo").await, app.register("minho").await, app.register("yuna").await];
    let room = jisoo.group("Yard", &[&minho, &yuna]).await;
    jisoo.post("/friends/block", &whom(&minho)).await.is(200);
    let mut watching = jisoo.follow(&[&room]).await;

    let call = json!({ "key": "k1", "body": "@jisoo", "mentions": [jisoo.id, yuna.id] });
    minho.post(&format!("/chat/rooms/{room}/messages"), &call).await.is(201);
    assert_eq!(watching.next_event().await["data"]["body"], "@jisoo");
    // It calls nobody past the block, and neither does what is said without a call.
    is_told(&yuna, "mention_received").await;
    drop(watching);
    minho.say(&room, "k2", "to everybody").await;
    is_told(&yuna, "message_received").await;
    assert_eq!(told(&jisoo).await, ["welcome"]);
    jisoo.say(&room, "k3", "to everybody").await;
}

async fn how_far_the_other_has_read_is_not_shown_past_a_block(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let path = format!("/chat/rooms/{room}");
    let read_by = async |other: &User, reader: &User| {
        let shown = reader.get(&path).await.json(200);
        let members = reader.get(&format!("{path}/members")).await.json(200)["items"].clone();
        assert_eq!(shown["members"], members);
        let mut members = members.as_array().unwrap().iter();
        members.find(|member| member["user_id"] == json!(other.id)).unwrap()["read_seq"].clone()
    };
    assert!(read_by(&jisoo, &minho).await.is_i64());

    jisoo.post("/friends/block", &whom(&minho)).await.is(200);

    assert_eq!(read_by(&jisoo, &minho).await, Value::Null);
    assert_eq!(read_by(&minho, &jisoo).await, Value::Null);
    assert!(read_by(&minho, &minho).await.is_i64());
}

async fn friends_see_each_other_without_a_room(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    minho.get(&format!("/online-status/{}", jisoo.id)).await.refused(404, "user_not_found");
    jisoo.befriend(&minho).await;
    is_shown(&minho, &jisoo, "offline").await;

    let mut stream = EventStream::open(app.port(), &minho, "/online-status/stream", None).await;
    let first = stream.next().await.data["data"]["changes"].clone();
    assert_eq!(first[0]["user_id"], json!(jisoo.id), "{first}");
    let _here = jisoo.follow(&[]).await;
    let change = stream.next().await.data["data"]["changes"].clone();
    assert_eq!(change[0]["status"], "online");
    let listed = minho.get("/friends").await.json(200)["items"][0]["presence"].clone();
    assert_eq!((&listed["user_id"], &listed["status"]), (&json!(jisoo.id), &json!("online")));
}

async fn who_was_blocked_sees_nobody_come_or_go(app: &mut TestApp) {
    let [jisoo, minho, yuna] =
        [app.register("jisoo").await, app.register("minho").await, app.register("yuna").await];
    let room = jisoo.group("Yard", &[&minho, &yuna]).await;
    jisoo.befriend(&minho).await;
    // Both follow the room, and minho watches besides.
    let mut of_minho = minho.follow(&[&room]).await.hear_presence();
    let mut of_yuna = yuna.follow(&[&room]).await.hear_presence();
    let watch = json!({ "op": "get_presence", "users": [jisoo.id, yuna.id], "watch": true });
    assert_eq!(of_minho.ok(watch).await["items"].as_array().unwrap().len(), 2);
    is_shown(&minho, &yuna, "online").await;
    jisoo.post("/friends/block", &whom(&minho)).await.is(200);

    let mut socket = jisoo.follow(&[]).await;
    sees(&mut of_yuna, &jisoo, "online").await;
    socket.ok(json!({ "op": "set_presence", "status": "busy" })).await;
    sees(&mut of_yuna, &jisoo, "busy").await;
    // What yuna does after that is the next that minho sees of anybody but themselves.
    of_yuna.ok(json!({ "op": "set_presence", "status": "away" })).await;
    let seen = up_to(&mut of_minho, &yuna, "away").await;
    assert!(seen.iter().all(|change| change["user_id"] != json!(jisoo.id)), "{seen:?}");
    minho.get(&format!("/online-status/{}", jisoo.id)).await.refused(404, "user_not_found");
    let asked = json!({ "op": "get_presence", "users": [jisoo.id] });
    assert_eq!(of_minho.ok(asked).await["items"], json!([]));
    // Nor does jisoo see minho.
    jisoo.get(&format!("/online-status/{}", minho.id)).await.refused(404, "user_not_found");
}

async fn who_was_a_friend_sees_nobody_come_or_go(app: &mut TestApp) {
    let [jisoo, minho, yuna] =
        [app.register("jisoo").await, app.register("minho").await, app.register("yuna").await];
    minho.befriend(&jisoo).await;
    minho.befriend(&yuna).await;
    let (mut of_jisoo, mut of_yuna) = (jisoo.follow(&[]).await, yuna.follow(&[]).await);
    is_shown(&minho, &jisoo, "online").await;
    is_shown(&minho, &yuna, "online").await;
    let mut watching = minho.socket().await.hear_presence();
    watching.hello(&["me"]).await;
    let watch = json!({ "op": "get_presence", "users": [jisoo.id, yuna.id], "watch": true });
    assert_eq!(watching.ok(watch).await["items"].as_array().unwrap().len(), 2);

    jisoo.delete(&format!("/friends/{}", minho.id)).await.is(200);

    // It is asked at once whether minho may still see whom; what comes before the answer may be shown.
    let mut statuses = ["busy", "away"].iter().cycle();
    eventually("minho sees yuna and nobody else", async || {
        let status = statuses.next().unwrap();
        let choice = json!({ "op": "set_presence", "status": status });
        of_jisoo.ok(choice.clone()).await;
        is_shown(&jisoo, &jisoo, status).await;
        of_yuna.ok(choice).await;
        let seen = up_to(&mut watching, &yuna, status).await;
        seen.iter().all(|change| change["user_id"] != json!(jisoo.id)).then_some(())
    })
    .await;
}

async fn presence_is_shown_to_whom_one_has_chosen(app: &mut TestApp) {
    let [jisoo, minho, yuna] =
        [app.register("jisoo").await, app.register("minho").await, app.register("yuna").await];
    let room = jisoo.group("Yard", &[&minho, &yuna]).await;
    jisoo.befriend(&minho).await;
    app.choose(&jisoo, "who_sees_presence", "friends").await;
    let mut of_minho = minho.follow(&[&room]).await.hear_presence();
    let mut of_yuna = yuna.follow(&[&room]).await.hear_presence();

    let mut socket = jisoo.follow(&[]).await;
    sees(&mut of_minho, &jisoo, "online").await;
    yuna.get(&format!("/online-status/{}", jisoo.id)).await.refused(404, "user_not_found");
    app.choose(&jisoo, "who_sees_presence", "nobody").await;
    minho.get(&format!("/online-status/{}", jisoo.id)).await.refused(404, "user_not_found");
    assert_eq!(minho.get("/friends").await.json(200)["items"][0]["presence"], json!(null));
    app.choose(&jisoo, "who_sees_presence", "everyone").await;
    socket.ok(json!({ "op": "set_presence", "status": "busy" })).await;
    // The first that yuna sees of jisoo is what was for everyone.
    let seen = up_to(&mut of_yuna, &jisoo, "busy").await;
    let of_jisoo = seen.iter().filter(|change| change["user_id"] == json!(jisoo.id));
    assert_eq!(of_jisoo.count(), 1, "{seen:?}");
}

async fn pair(app: &TestApp) -> (User, User, String) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    (jisoo, minho, room)
}

/// Waits until somebody is notified of this.
async fn is_told(user: &User, kind: &str) {
    eventually(kind, async || told(user).await.iter().any(|told| *told == kind).then_some(()))
        .await;
}

/// What somebody was notified of.
async fn told(user: &User) -> Vec<Value> {
    let listed = user.get("/notifications").await.json(200);
    pluck(listed["items"].as_array().unwrap(), "type")
}

fn whom(other: &User) -> Value {
    json!({ "user_id": other.id })
}

fn direct(other: &User) -> Value {
    json!({ "kind": "direct", "user_id": other.id })
}

/// Waits until one is shown so to the other.
async fn is_shown(to: &User, who: &User, status: &str) {
    eventually(status, async || {
        let presence = to.get(&format!("/online-status/{}", who.id)).await.json(200);
        (presence["status"] == status).then_some(())
    })
    .await;
}

async fn sees(socket: &mut Socket, who: &User, status: &str) {
    up_to(socket, who, status).await;
}

/// Every change that a client is shown, up to this one.
async fn up_to(socket: &mut Socket, who: &User, status: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    loop {
        let event = socket.next_event().await;
        let changes = event["data"]["changes"].as_array().cloned().unwrap_or_default();
        let is_it = |change: &Value| change["user_id"] == *who.id && change["status"] == status;
        let is_over = changes.iter().any(is_it);
        seen.extend(changes);
        if is_over {
            return seen;
        }
    }
}

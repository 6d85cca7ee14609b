//! Strangers: who may bring whom into a direct room or a group, as the server and each person want it.

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::both::Settings;
use crate::user::User;

const ACQUAINTED: Settings = &[("MADANG__CHAT__DIRECT_REQUIRES_FRIENDSHIP", "acquainted")];
const ANYBODY: Settings = &[("MADANG__CHAT__DIRECT_REQUIRES_FRIENDSHIP", "no")];
const FRIENDS_ONLY: Settings = &[("MADANG__CHAT__DIRECT_REQUIRES_FRIENDSHIP", "friends")];

on_both_databases!(with super::ACQUAINTED;
    acquaintances_may_open_a_direct_room_and_strangers_may_not,
    a_group_is_no_way_to_a_stranger,
);
on_both_databases!(with super::ANYBODY; strangers_talk_where_the_server_lets_them);
on_both_databases!(with super::FRIENDS_ONLY; only_friends_talk_where_the_server_wants_it);

async fn acquaintances_may_open_a_direct_room_and_strangers_may_not(app: &mut TestApp) {
    let [jisoo, minho, yuna] = trio(app).await;
    jisoo.post("/chat/rooms", &direct(&minho)).await.refused(403, "cannot_message");
    let host = app.register("host").await;
    host.befriend(&jisoo).await;
    host.befriend(&minho).await;
    host.group("Yard", &[&jisoo, &minho]).await;
    let room = jisoo.post("/chat/rooms", &direct(&minho)).await.json(201);
    jisoo.befriend(&yuna).await;
    yuna.post("/chat/rooms", &direct(&jisoo)).await.is(201);

    app.choose(&minho, "who_may_message", "nobody").await;
    // The room that is there stays.
    assert_eq!(jisoo.post("/chat/rooms", &direct(&minho)).await.json(200)["id"], room["id"]);
    jisoo.say(room["id"].as_str().unwrap(), "k1", "still here").await;
    yuna.befriend(&minho).await;
    yuna.post("/chat/rooms", &direct(&minho)).await.refused(403, "cannot_message");
    app.choose(&minho, "who_may_befriend", "nobody").await;
    let late = app.register("late").await;
    late.post("/friends/request", &whom(&minho)).await.refused(403, "cannot_befriend");
}

async fn a_group_is_no_way_to_a_stranger(app: &mut TestApp) {
    let [jisoo, minho, yuna] = trio(app).await;
    for visibility in ["private", "public"] {
        let group = json!({
            "kind": "group", "name": "Two", "member_ids": [minho.id], "visibility": visibility,
        });
        jisoo.post("/chat/rooms", &group).await.refused(403, "cannot_message");
    }
    let yard = jisoo.group("Yard", &[]).await;
    let members = format!("/chat/rooms/{yard}/members");
    jisoo.post(&members, &whom(&minho)).await.refused(403, "cannot_message");
    // Where anybody may come, nobody has become acquainted.
    let market = jisoo.public_channel("Market").await;
    minho.post(&format!("/chat/rooms/{market}/join"), &json!({})).await.is(200);
    jisoo.post(&members, &whom(&minho)).await.refused(403, "cannot_message");
    jisoo.post("/chat/rooms", &direct(&minho)).await.refused(403, "cannot_message");

    yuna.befriend(&jisoo).await;
    jisoo.post(&members, &whom(&yuna)).await.is(201);
    app.choose(&yuna, "who_may_message", "nobody").await;
    let again = json!({ "kind": "group", "name": "Again", "member_ids": [yuna.id] });
    jisoo.post("/chat/rooms", &again).await.refused(403, "cannot_message");
    // Who is a member stays one.
    jisoo.post(&members, &whom(&yuna)).await.is(200);
}

async fn strangers_talk_where_the_server_lets_them(app: &mut TestApp) {
    let [jisoo, minho, _] = trio(app).await;
    jisoo.post("/chat/rooms", &direct(&minho)).await.is(201);
}

async fn only_friends_talk_where_the_server_wants_it(app: &mut TestApp) {
    let [jisoo, minho, host] = trio(app).await;
    host.befriend(&jisoo).await;
    host.befriend(&minho).await;
    host.group("Yard", &[&jisoo, &minho]).await;
    jisoo.post("/chat/rooms", &direct(&minho)).await.refused(403, "cannot_message");
    jisoo.befriend(&minho).await;
    jisoo.post("/chat/rooms", &direct(&minho)).await.is(201);
}

async fn trio(app: &TestApp) -> [User; 3] {
    [app.register("jisoo").await, app.register("minho").await, app.register("yuna").await]
}

fn whom(other: &User) -> Value {
    json!({ "user_id": other.id })
}

fn direct(other: &User) -> Value {
    json!({ "kind": "direct", "user_id": other.id })
}

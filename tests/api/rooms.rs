//! Rooms: direct rooms, groups with roles, public channels, lists, and the other names of their endpoints.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::TestApp;
use crate::user::{User, pluck};

on_both_databases!(
    a_pair_has_one_direct_room_however_many_ask_at_once,
    a_group_is_run_by_its_owner_and_moderators,
    members_come_and_go,
    a_muted_member_may_read_but_not_send,
    anybody_may_join_a_public_channel,
    a_list_shows_the_last_message_and_what_is_unread,
    pages_of_rooms_skip_and_repeat_nothing,
    every_alias_reaches_its_operation,
);

async fn a_pair_has_one_direct_room_however_many_ask_at_once(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    jisoo.befriend(&minho).await;
    let check = format!("/chat-rooms/check/{}", minho.id);
    assert_eq!(jisoo.get(&check).await.json(200), json!({ "exists": false, "room_id": null }));

    let asked = (0..32).map(|n| {
        let (one, other) = if n % 2 == 0 { (&jisoo, &minho) } else { (&minho, &jisoo) };
        let body = json!({ "kind": "direct", "user_id": other.id });
        Answer::of(one.request(Method::POST, "/chat/rooms").json(&body))
    });
    let answers = join_all(asked).await;

    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1);
    let rooms: Vec<Value> = answers.iter().map(|answer| answer.json(answer.status)).collect();
    assert!(rooms.iter().all(|room| room["id"] == rooms[0]["id"] && room["head"] == 2));
    let found = json!({ "exists": true, "room_id": rooms[0]["id"] });
    assert_eq!(jisoo.get(&check).await.json(200), found);
    let with_oneself = json!({ "kind": "direct", "user_id": jisoo.id });
    jisoo.post("/chat/rooms", &with_oneself).await.refused(422, "oneself");
}

async fn a_group_is_run_by_its_owner_and_moderators(app: &mut TestApp) {
    let [owner, moderator, member] = trio(app).await;
    let room = owner.group("Yard", &[&moderator, &member]).await;
    let path = format!("/chat/rooms/{room}");
    let of = |user: &User| format!("{path}/members/{}", user.id);

    member.patch(&path, &json!({ "name": "Mine" })).await.refused(403, "role_too_low");
    member.patch(&of(&member), &json!({ "role": "owner" })).await.refused(422, "oneself");
    owner.patch(&of(&moderator), &json!({ "role": "moderator" })).await.is(200);
    let renamed =
        moderator.patch(&path, &json!({ "name": "마당", "topic": "오늘" })).await.json(200);
    assert_eq!((&renamed["name"], &renamed["topic"]), (&json!("마당"), &json!("오늘")));
    moderator
        .patch(&of(&member), &json!({ "role": "moderator" }))
        .await
        .refused(403, "role_too_low");
    moderator.delete(&of(&owner)).await.refused(403, "role_too_low");

    owner.post(&format!("{path}/leave"), &json!({})).await.refused(409, "owner_must_hand_over");
    owner.patch(&of(&moderator), &json!({ "role": "owner" })).await.is(200);
    assert_eq!(role(&member, &path, &owner).await, "moderator");
    assert_eq!(role(&member, &path, &moderator).await, "owner");
    owner.post(&format!("{path}/leave"), &json!({})).await.is(200);
}

async fn members_come_and_go(app: &mut TestApp) {
    let [owner, member, guest] = trio(app).await;
    let room = owner.group("Yard", &[&member]).await;
    let path = format!("/chat/rooms/{room}");
    let members = format!("{path}/members");

    // To somebody outside, a private room does not exist.
    guest.get(&path).await.refused(404, "room_not_found");
    guest.post(&format!("{path}/join"), &json!({})).await.refused(404, "room_not_found");
    member.post(&members, &json!({ "user_id": guest.id })).await.is(201);
    let repeated = member.post(&members, &json!({ "user_id": guest.id })).await.json(200);
    assert_eq!(repeated["seq"], json!(null));
    let listed = guest.get(&format!("{members}?limit=2")).await.json(200);
    let cursor = listed["next_cursor"].as_str().expect("there are three");
    let rest = guest.get(&format!("{members}?cursor={cursor}")).await.json(200);
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &json!(null)));

    owner.delete(&format!("{members}/{}", guest.id)).await.is(200);
    guest.get(&path).await.refused(404, "room_not_found");
    let gone = owner.delete(&format!("{members}/{}", guest.id)).await;
    gone.refused(404, "member_not_found");
    member.delete(&format!("{members}/{}", member.id)).await.is(200);
    assert_eq!(owner.get(&path).await.json(200)["member_count"], 1);
    let nobody = json!({ "user_id": "01930000-0000-7000-8000-000000000000" });
    owner.post(&members, &nobody).await.refused(404, "user_not_found");
}

async fn a_muted_member_may_read_but_not_send(app: &mut TestApp) {
    let [owner, member, _] = trio(app).await;
    let room = owner.group("Yard", &[&member]).await;
    let of_member = format!("/chat/rooms/{room}/members/{}", member.id);
    let messages = format!("/chat/rooms/{room}/messages");
    let hello = json!({ "key": "k1", "body": "hello" });

    owner.patch(&of_member, &json!({ "muted_until": "2099-01-01T00:00:00Z" })).await.is(200);
    member.post(&messages, &hello).await.refused(403, "member_muted");
    member.get(&messages).await.is(200);
    owner.patch(&of_member, &json!({ "muted_until": null })).await.is(200);
    member.post(&messages, &hello).await.is(201);
    owner.patch(&of_member, &json!({})).await.is(422);
}

async fn anybody_may_join_a_public_channel(app: &mut TestApp) {
    let [owner, guest, _] = trio(app).await;
    let room = owner.public_channel("Market").await;
    let messages = format!("/chat/rooms/{room}/messages");
    let hello = json!({ "key": "k1", "body": "hello" });

    let found = guest.get("/chat/rooms/public").await.json(200);
    assert_eq!(
        (&found["items"][0]["id"], &found["items"][0]["name"]),
        (&json!(room), &json!("Market"))
    );
    guest.post(&messages, &hello).await.refused(403, "not_room_member");
    guest.post(&format!("/chat/rooms/{room}/join"), &json!({})).await.is(200);
    guest.post(&messages, &hello).await.is(201);
    let again = guest.post(&format!("/chat/rooms/{room}/join"), &json!({})).await.json(200);
    assert_eq!(again["seq"], json!(null));
    guest.post(&format!("/chat/rooms/{room}/leave"), &json!({})).await.is(200);
    let goodbye = json!({ "key": "k2", "body": "goodbye" });
    guest.post(&messages, &goodbye).await.refused(403, "not_room_member");
}

async fn a_list_shows_the_last_message_and_what_is_unread(app: &mut TestApp) {
    let [jisoo, minho, _] = trio(app).await;
    let quiet = jisoo.group("Quiet", &[&minho]).await;
    let busy = jisoo.direct_room(&minho).await;
    for n in 1..=3 {
        jisoo.say(&busy, &format!("k{n}"), &format!("number {n}")).await;
    }

    let list = minho.get("/chat/rooms").await.json(200);

    assert_eq!(pluck(list["items"].as_array().unwrap(), "id"), [json!(busy), json!(quiet)]);
    let room = &list["items"][0];
    assert_eq!((&room["kind"], &room["peer_id"]), (&json!("direct"), &json!(jisoo.id)));
    assert_eq!((&room["unread_count"], &room["head"]), (&json!(3), &json!(5)));
    assert_eq!(room["last_message"]["body"], "number 3");
    assert_eq!(
        (&list["items"][1]["unread_count"], &list["items"][1]["last_message"]),
        (&json!(0), &json!(null))
    );
    let own = jisoo.get("/chat/rooms").await.json(200);
    assert_eq!(own["items"][0]["unread_count"], 0);
}

async fn pages_of_rooms_skip_and_repeat_nothing(app: &mut TestApp) {
    let [jisoo, minho, _] = trio(app).await;
    let mut rooms = Vec::new();
    for n in 0..5 {
        rooms.push(json!(jisoo.group(&format!("Room {n}"), &[&minho]).await));
    }
    rooms.reverse();

    let mut seen = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let page = jisoo.get(&format!("/chat/rooms?{query}")).await.json(200);
        seen.extend(pluck(page["items"].as_array().unwrap(), "id"));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=2&cursor={cursor}");
        // What becomes active meanwhile was shown already.
        let first = rooms[0].as_str().unwrap();
        jisoo.say(first, &format!("k{}", seen.len()), "busy").await;
    }

    assert_eq!(seen, rooms);
    jisoo.get("/chat/rooms?cursor=nonsense").await.is(422);
}

async fn every_alias_reaches_its_operation(app: &mut TestApp) {
    let body = json!({
        "handle": "jisoo", "email": "jisoo@example.com", "password": crate::app::PASSWORD,
        "display_name": "Jisoo",
    });
    let grant = app.post("/v1/users/register", &body).await.json(201);
    let jisoo = User::new(app, &grant);
    let login = json!({ "identifier": "jisoo", "password": crate::app::PASSWORD });
    app.post("/v1/users/login", &login).await.is(200);
    app.post("/v1/users/reset-password", &json!({ "email": "x@example.com" })).await.is(202);
    let minho = app.register("minho").await;
    let room = jisoo.direct_room(&minho).await;

    jisoo.post(&format!("/messages/{room}"), &json!({ "key": "k1", "body": "hi" })).await.is(201);
    let page = minho.get(&format!("/messages/{room}?after=0")).await.json(200);
    assert_eq!(page, minho.get(&format!("/chat/rooms/{room}/messages?after=0")).await.json(200));
    let seq = page["items"][0]["seq"].clone();
    minho.post("/messages/read", &json!({ "room_id": room, "seq": seq })).await.is(200);
    let rooms = minho.get("/chat-rooms").await.json(200);
    assert_eq!(rooms["items"][0]["id"], json!(room));
    let exists = minho.get(&format!("/chat-rooms/check/{}", jisoo.id)).await.json(200);
    assert_eq!(exists["room_id"], json!(room));
}

async fn trio(app: &TestApp) -> [User; 3] {
    [app.register("jisoo").await, app.register("minho").await, app.register("yuna").await]
}

async fn role(viewer: &User, room_path: &str, of: &User) -> Value {
    let members = viewer.get(&format!("{room_path}/members")).await.json(200);
    let mut members = members["items"].as_array().unwrap().iter();
    members.find(|member| member["user_id"] == json!(of.id)).expect("a member")["role"].clone()
}

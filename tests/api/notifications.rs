//! Notifications: whoever is concerned is told once, on every device, and what was read is read everywhere.

use serde_json::{Value, json};

use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::event_stream::EventStream;
use crate::user::User;

/// Everything is told.
const EVERY_TYPE: Settings = &[("MADANG__NOTIFICATIONS__DISABLED_TYPES", "")];

on_both_databases!(with super::EVERY_TYPE;
    a_friend_request_is_told_live_and_in_the_list,
    a_message_is_told_to_who_is_away_and_to_nobody_else,
    a_mention_is_told_even_to_who_is_looking,
    a_muted_room_tells_nothing,
    what_is_read_once_is_read_on_every_device,
    reading_a_room_reads_what_was_told_of_it,
    a_list_is_paged_and_filtered,
    what_is_archived_comes_back_and_what_is_deleted_does_not,
    somebody_elses_notifications_do_not_exist,
    a_newcomer_is_welcomed,
    a_sending_is_told_once_to_everybody_it_names,
    a_sending_has_one_key,
    who_may_not_send_is_refused,
    a_stream_resumes_where_it_was,
    what_is_interrupted_goes_on_and_nobody_is_told_twice,
);

async fn a_friend_request_is_told_live_and_in_the_list(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    wait_for(&minho, "welcome", 1).await;
    let mut phone = minho.socket().await;
    phone.hello(&["me"]).await;

    jisoo.post("/friends/request", &json!({ "user_id": minho.id })).await.json(201);

    let created = phone.next_named("notification_created").await;
    let told = &created["data"];
    assert_eq!(told["type"], "friend_request_received");
    assert_eq!(told["data"]["actor"]["id"], json!(jisoo.id));
    assert!(told["title"].as_str().is_some_and(|title| !title.is_empty()), "{told}");
    let listed = of_type(&minho, "friend_request_received").await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["id"], told["id"]);
    assert_eq!(listed[0]["seq"], created["seq"]);
    assert_eq!(listed[0]["body"], told["body"]);
    assert_eq!(listed[0]["read_at"], Value::Null);

    minho.post("/friends/accept", &json!({ "user_id": jisoo.id })).await.json(200);
    let accepted = wait_for(&jisoo, "friend_request_accepted", 1).await;
    assert_eq!(accepted[0]["data"]["actor"]["id"], json!(minho.id));
}

async fn a_message_is_told_to_who_is_away_and_to_nobody_else(app: &mut TestApp) {
    let (jisoo, minho, sora) = three(app).await;
    let room = jisoo.group("마당", &[&minho, &sora]).await;
    let _looking = sora.follow(&[&room]).await;
    is_online(&jisoo, &sora).await;

    jisoo.say(&room, "k1", "안녕하세요").await;

    let told = wait_for(&minho, "message_received", 1).await;
    assert_eq!(told[0]["data"]["message"]["preview"], "안녕하세요");
    assert_eq!(told[0]["data"]["room"]["name"], "마당");
    assert_eq!(told[0]["group"], json!(format!("room:{room}")));
    assert!(of_type(&sora, "message_received").await.is_empty(), "she is looking");
    assert!(of_type(&jisoo, "message_received").await.is_empty(), "he has said it");
}

async fn a_mention_is_told_even_to_who_is_looking(app: &mut TestApp) {
    let (jisoo, minho, sora) = three(app).await;
    let room = jisoo.group("마당", &[&minho]).await;
    let _looking = minho.follow(&[&room]).await;
    is_online(&jisoo, &minho).await;
    let body = json!({ "key": "k", "body": "@minho", "mentions": [minho.id, sora.id, jisoo.id] });

    jisoo.post(&format!("/chat/rooms/{room}/messages"), &body).await.json(201);

    wait_for(&minho, "mention_received", 1).await;
    assert!(of_type(&minho, "message_received").await.is_empty(), "once is enough");
    assert!(of_type(&sora, "mention_received").await.is_empty(), "she is no member");
    assert!(of_type(&jisoo, "mention_received").await.is_empty(), "he has said it");
}

async fn a_muted_room_tells_nothing(app: &mut TestApp) {
    let (jisoo, minho, sora) = three(app).await;
    let room = jisoo.group("마당", &[&minho, &sora]).await;
    let path = format!("/chat/rooms/{room}/notifications");
    minho.put(&path, &json!({ "level": "none", "muted_until": null })).await.json(200);
    sora.put(&path, &json!({ "level": "mentions", "muted_until": null })).await.json(200);
    let body = json!({ "key": "k", "body": "@", "mentions": [minho.id, sora.id] });
    jisoo.post(&format!("/chat/rooms/{room}/messages"), &body).await.json(201);
    wait_for(&sora, "mention_received", 1).await;
    // Of one fan-out: he would have been told by now.
    minho.put(&path, &json!({ "level": "all", "muted_until": null })).await.json(200);
    jisoo.say(&room, "k3", "last").await;

    let told = wait_for(&minho, "message_received", 1).await;
    assert_eq!(told[0]["data"]["message"]["preview"], "last");
    assert!(of_type(&minho, "mention_received").await.is_empty());
    assert!(of_type(&sora, "message_received").await.is_empty());
}

async fn what_is_read_once_is_read_on_every_device(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    jisoo.post("/friends/request", &json!({ "user_id": minho.id })).await.json(201);
    let told = wait_for(&minho, "friend_request_received", 1).await;
    wait_for(&minho, "welcome", 1).await;
    let mut desk = minho.socket().await;
    desk.hello(&["me"]).await;

    let path = format!("/notifications/{}/read", id(&told[0]));
    let read = minho.put(&path, &json!({})).await.json(200);
    assert_eq!(read, json!({ "ids": [told[0]["id"]], "unread_count": 1 }));
    let event = desk.next_named("notification_read").await;
    assert_eq!(event["data"], read);
    // Read again is read still, and nobody is told.
    let again = minho.put(&path, &json!({})).await.json(200);
    assert_eq!(again, json!({ "ids": [], "unread_count": 1 }));

    let newest = minho.get("/notifications").await.json(200)["items"][0]["seq"].clone();
    let all = minho.post("/notifications/read", &json!({ "up_to_seq": newest })).await.json(200);
    assert_eq!(all["unread_count"], 0);
    assert_eq!(desk.next_named("notification_read").await["data"]["unread_count"], 0);
    assert_eq!(minho.get("/notifications/unread-count").await.json(200)["unread_count"], 0);
    minho.post("/notifications/read", &json!({})).await.refused(422, "invalid_change");
}

async fn reading_a_room_reads_what_was_told_of_it(app: &mut TestApp) {
    let (jisoo, minho, _) = three(app).await;
    let room = jisoo.group("마당", &[&minho]).await;
    let sent = jisoo.say(&room, "k4", "하나").await;
    wait_for(&minho, "message_received", 1).await;

    minho.post("/messages/read", &json!({ "room_id": room, "seq": sent["seq"] })).await.json(200);

    eventually("it is read", async || {
        let told = of_type(&minho, "message_received").await;
        told[0]["read_at"].is_string().then_some(())
    })
    .await;
}

async fn a_list_is_paged_and_filtered(app: &mut TestApp) {
    let minho = app.register("minho").await;
    for name in ["one", "two", "three"] {
        let user = app.register(name).await;
        user.post("/friends/request", &json!({ "user_id": minho.id })).await.json(201);
    }
    wait_for(&minho, "friend_request_received", 3).await;
    wait_for(&minho, "welcome", 1).await;

    let first = minho.get("/notifications?limit=3").await.json(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = minho.get(&format!("/notifications?limit=3&cursor={cursor}")).await.json(200);
    let seqs = |page: &Value| -> Vec<i64> {
        page["items"].as_array().unwrap().iter().map(|it| it["seq"].as_i64().unwrap()).collect()
    };
    let (first_seqs, rest_seqs) = (seqs(&first), seqs(&rest));
    assert_eq!((first_seqs.len(), rest_seqs.len()), (3, 1));
    assert!(first_seqs.is_sorted_by(|a, b| a > b) && first_seqs[2] > rest_seqs[0]);
    assert_eq!(rest["next_cursor"], Value::Null);
    assert_eq!(first["unread_count"], 4);
    let path = format!("/notifications/{}/read", id(&first["items"][0]));
    minho.put(&path, &json!({})).await.json(200);
    let shelf = async |name: &str| {
        seqs(&minho.get(&format!("/notifications?status={name}")).await.json(200)).len()
    };
    assert_eq!((shelf("unread").await, shelf("read").await, shelf("inbox").await), (3, 1, 4));
    minho.get("/notifications?status=lost").await.refused(422, "invalid_query");
    minho.get("/notifications?cursor=x").await.refused(422, "invalid_input");
}

async fn what_is_archived_comes_back_and_what_is_deleted_does_not(app: &mut TestApp) {
    let minho = app.register("minho").await;
    let told = wait_for(&minho, "welcome", 1).await;
    let path = format!("/notifications/{}", id(&told[0]));

    let archived = minho.put(&format!("{path}/archive"), &json!({})).await.json(200);
    assert_eq!(archived["unread_count"], 0);
    assert!(of_type(&minho, "welcome").await.is_empty());
    let items = minho.get("/notifications?status=archived").await.json(200)["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1);
    minho.delete(&format!("{path}/archive")).await.json(200);
    assert_eq!(of_type(&minho, "welcome").await.len(), 1);

    minho.delete(&path).await.is(204);
    assert!(of_type(&minho, "welcome").await.is_empty());
    minho.delete(&path).await.refused(404, "notification_not_found");
    // Nor does a device that comes back later learn what it said.
    let mut socket = minho.socket().await;
    socket.hello(&[]).await;
    socket.subscribe(json!({ "channel": "me", "after": 0 })).await;
    let created = socket.next_named("notification_created").await;
    assert_eq!(created["data"], json!({ "deleted": true }));
}

async fn somebody_elses_notifications_do_not_exist(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let told = wait_for(&minho, "welcome", 1).await;
    let path = format!("/notifications/{}", id(&told[0]));

    jisoo.put(&format!("{path}/read"), &json!({})).await.refused(404, "notification_not_found");
    jisoo.delete(&path).await.refused(404, "notification_not_found");
    let ids = json!({ "ids": [told[0]["id"]] });
    jisoo.post("/notifications/read", &ids).await.refused(404, "notification_not_found");
    assert_eq!(of_type(&minho, "welcome").await[0]["read_at"], Value::Null);
}

async fn a_newcomer_is_welcomed(app: &mut TestApp) {
    let minho = app.register("minho").await;

    let told = wait_for(&minho, "welcome", 1).await;
    assert!(told[0]["title"].as_str().is_some_and(|title| !title.is_empty()));
}

async fn a_sending_is_told_once_to_everybody_it_names(app: &mut TestApp) {
    let admin = app.administrator("boss").await;
    let (jisoo, minho, sora) = three(app).await;
    let template = json!({ "parts": { "title": "Order {{ data.order }}", "body": "It is on its way." },
                           "data": { "order": "7" } });
    admin.put("/admin/templates/order.shipped/en", &template).await.is(201);
    let sending = json!({
        "type": "order.shipped",
        "to": { "user_ids": [jisoo.id, minho.id, minho.id, uuid::Uuid::now_v7()] },
        "data": { "order": "42" },
    });

    let accepted = admin.post("/notifications/send", &sending).await.json(202);

    for user in [&jisoo, &minho] {
        let told = wait_for(user, "order.shipped", 1).await;
        assert_eq!(told[0]["title"], "Order 42");
        assert_eq!(told[0]["data"], json!({ "order": "42" }));
    }
    assert!(of_type(&sora, "order.shipped").await.is_empty());
    let path = format!("/notifications/send/{}", accepted["id"].as_str().unwrap());
    eventually("it is done", async || {
        let sending = admin.get(&path).await.json(200);
        (sending["status"] == "done" && sending["notified"] == 2).then_some(())
    })
    .await;
    let everyone =
        json!({ "type": "order.shipped", "to": { "everyone": true }, "data": { "order": "0" } });
    admin.post("/notifications/send", &everyone).await.json(202);
    wait_for(&sora, "order.shipped", 1).await;
}

async fn a_sending_has_one_key(app: &mut TestApp) {
    let admin = app.administrator("boss").await;
    let minho = app.register("minho").await;
    let send = async |key: &str, title: &str| {
        let body = json!({ "type": "welcome", "to": { "user_ids": [minho.id] },
                           "data": { "title": title } });
        let request = admin.request(reqwest::Method::POST, "/notifications/send");
        crate::answer::Answer::of(request.header("Idempotency-Key", key).json(&body)).await
    };
    wait_for(&minho, "welcome", 1).await;

    let first = send("k-1", "a").await.json(202);
    let again = send("k-1", "a").await.json(202);
    assert_eq!(first["id"], again["id"]);
    send("k-1", "b").await.refused(422, "idempotency_key_reused");
    send("not a key", "a").await.refused(422, "invalid_idempotency_key");
    send("k-2", "a").await.json(202);

    wait_for(&minho, "welcome", 3).await;
}

async fn who_may_not_send_is_refused(app: &mut TestApp) {
    let admin = app.administrator("boss").await;
    let minho = app.register("minho").await;
    let body = |kind: &str| json!({ "type": kind, "to": { "everyone": true } });

    minho.post("/notifications/send", &body("welcome")).await.refused(403, "forbidden");
    admin.post("/notifications/send", &body("nobody.wrote.it")).await.refused(422, "unknown_type");
    admin.post("/notifications/send", &body("verify_email")).await.refused(422, "reserved_type");
    let nobody = json!({ "type": "welcome", "to": {} });
    admin.post("/notifications/send", &nobody).await.refused(422, "invalid_audience");
}

async fn a_stream_resumes_where_it_was(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    wait_for(&minho, "welcome", 1).await;
    let mut stream = EventStream::open(app.port(), &minho, "/notifications/stream", None).await;
    jisoo.post("/friends/request", &json!({ "user_id": minho.id })).await.json(201);
    streamed(&mut stream).await;
    let cursor = stream.last_event_id.clone().expect("an event has an id");
    drop(stream);
    let sora = app.register("sora").await;
    sora.post("/friends/request", &json!({ "user_id": minho.id })).await.json(201);
    wait_for(&minho, "friend_request_received", 2).await;

    let mut stream =
        EventStream::open(app.port(), &minho, "/notifications/stream", Some(&cursor)).await;
    let missed = streamed(&mut stream).await;
    assert_eq!(missed["data"]["data"]["actor"]["id"], json!(sora.id));
}

/// The next notification of a stream.
async fn streamed(stream: &mut EventStream) -> Value {
    loop {
        let event = stream.next().await;
        if event.name == "notification_created" {
            return event.data;
        }
    }
}

async fn what_is_interrupted_goes_on_and_nobody_is_told_twice(app: &mut TestApp) {
    let admin = app.administrator("boss").await;
    let mut users = Vec::new();
    for n in 0..30 {
        users.push(app.register(&format!("user{n}")).await);
    }
    for round in 0..6 {
        let body =
            json!({ "type": "welcome", "to": { "everyone": true }, "data": { "round": round } });
        let admin = admin.at(app);
        admin.post("/notifications/send", &body).await.json(202);
        app.restart().await;
    }
    for user in &users {
        let user = user.at(app);
        let told = wait_for(&user, "welcome", 7).await;
        let mut rounds: Vec<_> =
            told.iter().filter_map(|told| told["data"]["round"].as_i64()).collect();
        rounds.sort_unstable();
        assert_eq!(rounds, [0, 1, 2, 3, 4, 5]);
    }
}

async fn three(app: &TestApp) -> (User, User, User) {
    (app.register("jisoo").await, app.register("minho").await, app.register("sora").await)
}

fn id(notification: &Value) -> &str {
    notification["id"].as_str().expect("a notification has an id")
}

async fn of_type(user: &User, kind: &str) -> Vec<Value> {
    let page = user.get(&format!("/notifications?limit=200&type={kind}")).await.json(200);
    page["items"].as_array().expect("a list").clone()
}

/// Waits until the user has so many notifications of a type, and no more.
async fn wait_for(user: &User, kind: &str, count: usize) -> Vec<Value> {
    eventually(kind, async || {
        let told = of_type(user, kind).await;
        assert!(told.len() <= count, "told too often: {told:?}");
        (told.len() == count).then_some(told)
    })
    .await
}

/// Waits until `who` is seen to be there.
async fn is_online(by: &User, who: &User) {
    eventually("is online", async || {
        let presence = by.get(&format!("/online-status/{}", who.id)).await.json(200);
        (presence["status"] == "online").then_some(())
    })
    .await;
}

//! Notifications: whoever is concerned is told once, on every device, and what was read is read everywhere.

use serde_json::{Value, json};

use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::event_stream::EventStream;
use crate::rows;
use crate::user::User;

/// Everything is told.
const EVERY_TYPE: Settings = &[("MADANG__NOTIFICATIONS__DISABLED_TYPES", "")];

on_both_databases!(with super::EVERY_TYPE;
    a_friend_request_is_told_live_and_in_the_list,
    a_message_is_told_to_who_is_away_and_to_nobody_else,
    a_mention_is_told_even_to_who_is_looking,
    whoever_is_mentioned_while_away_is_told_once,
    what_was_deleted_since_is_quoted_nowhere,
    a_new_password_is_told_in_the_app_and_by_mail,
    a_muted_room_tells_nothing,
    what_is_read_once_is_read_on_every_device,
    reading_a_room_reads_what_was_told_of_it,
    a_list_is_paged_and_filtered,
    what_is_archived_comes_back_and_what_is_deleted_does_not,
    somebody_elses_notifications_do_not_exist,
    a_newcomer_is_welcomed,
    a_sending_is_told_once_to_everybody_it_names,
    a_sending_reaches_a_segment_and_stops_at_a_block,
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
    assert!(of_type(&sora, "mention_received").await.is_empty(), "she is no member");
    assert!(of_type(&jisoo, "mention_received").await.is_empty(), "he has said it");
}

async fn whoever_is_mentioned_while_away_is_told_once(app: &mut TestApp) {
    let (jisoo, minho, sora) = three(app).await;
    let room = jisoo.group("마당", &[&minho, &sora]).await;
    let body = json!({ "key": "k1", "body": "@minho", "mentions": [minho.id] });
    jisoo.post(&format!("/chat/rooms/{room}/messages"), &body).await.json(201);
    wait_for(&minho, "mention_received", 1).await;
    // The message itself is told to her; he would have been told on the same page.
    wait_for(&sora, "message_received", 1).await;
    assert!(of_type(&minho, "message_received").await.is_empty(), "once is enough");
    jisoo.say(&room, "k2", "later").await;

    let told = wait_for(&minho, "message_received", 1).await;
    assert_eq!(told[0]["data"]["message"]["preview"], "later");
    assert_eq!(told[0]["data"]["count"], 1);
}

async fn what_was_deleted_since_is_quoted_nowhere(app: &mut TestApp) {
    let (jisoo, minho, _) = three(app).await;
    let room = jisoo.group("마당", &[&minho]).await;
    let sent = jisoo.say(&room, "k1", "a secret").await;
    let told = wait_for(&minho, "message_received", 1).await;
    assert_eq!(told[0]["data"]["message"]["preview"], "a secret");

    let path = format!("/chat/rooms/{room}/messages/{}", sent["id"].as_str().unwrap());
    jisoo.delete(&path).await.json(200);

    let page = minho.get("/notifications?type=message_received").await.json(200);
    let told = &page["items"][0];
    assert!(!page.to_string().contains("secret"), "{page}");
    assert_eq!((&told["title"], &told["body"]), (&json!(""), &json!("")));
    assert_eq!(told["data"]["message"]["deleted"], true);
    assert_eq!(told["data"]["actor"]["id"], json!(jisoo.id));
    assert_eq!(told["read_at"], Value::Null, "it is still counted");
}

async fn a_new_password_is_told_in_the_app_and_by_mail(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let body = json!({ "current_password": crate::app::PASSWORD,
                       "new_password": "seesaw-beside-the-persimmon-4" });
    jisoo.post("/auth/password", &body).await.is(204);

    wait_for(&jisoo, "password_changed", 1).await;
    let mails = "SELECT kind FROM deliveries WHERE kind = 'password_changed' AND medium = 'mail'";
    assert_eq!(rows::texts(app, mails).await, ["password_changed"]);
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

async fn a_sending_reaches_a_segment_and_stops_at_a_block(app: &mut TestApp) {
    let admin = app.administrator("boss").await;
    let (jisoo, minho, sora) = three(app).await;
    wait_for(&minho, "welcome", 1).await;
    wait_for(&sora, "welcome", 1).await;
    for user in [&jisoo, &minho, &sora] {
        user.patch("/users/settings", &json!({ "locale": "ko" })).await.json(200);
    }
    minho.post("/friends/block", &json!({ "user_id": jisoo.id })).await.is(200);
    let body = json!({ "type": "welcome", "to": { "segment": { "locale": "ko" } },
                       "actor": jisoo.id });

    let sending = admin.post("/notifications/send", &body).await.json(202);

    let told = wait_for(&sora, "welcome", 2).await;
    assert_eq!(told[0]["data"]["actor"]["id"], json!(jisoo.id));
    let path = format!("/notifications/send/{}", sending["id"].as_str().unwrap());
    eventually("it is done", async || {
        let sending = admin.get(&path).await.json(200);
        (sending["status"] == "done").then_some(())
    })
    .await;
    assert_eq!(admin.get(&path).await.json(200)["notified"], 1);
    wait_for(&minho, "welcome", 1).await;
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
    let with = |key: &str, value: Value| {
        let mut body = body("welcome");
        body[key] = value;
        body
    };
    for (body, code) in [
        (with("media", json!(["push"])), "invalid_media"),
        (with("group", json!("a\0b")), "invalid_group"),
        (with("group", json!("가".repeat(201))), "invalid_group"),
        (with("data", json!({ "a": ["\0"] })), "invalid_data"),
        (with("to", json!({ "segment": {} })), "invalid_audience"),
    ] {
        admin.post("/notifications/send", &body).await.refused(422, code);
    }
    minho.get("/notifications?type=a%00b").await.refused(422, "unknown_type");
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

/// More than one turn of a fan-out.
const CROWD: i64 = 2_100;
/// How many fan-outs somebody works on.
const HELD: &str =
    "SELECT CAST(COUNT(*) AS TEXT) FROM fanouts WHERE status = 'queued' AND owner IS NOT NULL";

async fn what_is_interrupted_goes_on_and_nobody_is_told_twice(app: &mut TestApp) {
    let admin = app.administrator("boss").await;
    wait_for(&admin, "welcome", 1).await;
    assert_eq!(rows::change(app, crowd(app)).await, CROWD.unsigned_abs());
    let mut interrupted = 0;
    for round in 0..4 {
        let body =
            json!({ "type": "welcome", "to": { "everyone": true }, "data": { "round": round } });
        let admin = admin.at(app);
        let sending = admin.post("/notifications/send", &body).await.json(202);
        let path = format!("/notifications/send/{}", sending["id"].as_str().unwrap());
        let notified = eventually("somebody is told", async || {
            let notified = admin.get(&path).await.json(200)["notified"].as_i64().unwrap();
            (notified > 0).then_some(notified)
        })
        .await;
        interrupted += i64::from(notified <= CROWD);
        if round < 2 {
            app.terminate();
            assert!(app.ended().await.success(), "{}", app.log());
            assert_eq!(rows::texts(app, HELD).await, ["0"], "whoever stops gives back what it has");
            app.start_again().await;
        } else {
            app.restart().await;
        }
    }
    assert!(interrupted > 0, "nothing was interrupted");
    let told = "SELECT CAST(COUNT(*) AS TEXT) FROM notifications WHERE kind = 'welcome'";
    eventually("everybody is told", async || {
        // Once of her own welcome besides.
        (rows::texts(app, told).await == [(4 * (CROWD + 1) + 1).to_string()]).then_some(())
    })
    .await;
    let told_otherwise = "SELECT CAST(COUNT(*) AS TEXT) FROM
         (SELECT n.user_id FROM notifications n JOIN users u ON u.id = n.user_id
          WHERE n.kind = 'welcome' AND u.handle LIKE 'crowd-%'
          GROUP BY n.user_id HAVING COUNT(*) <> 4) AS others";
    assert_eq!(rows::texts(app, told_otherwise).await, ["0"]);
}

/// Users who were never asked to register.
fn crowd(app: &TestApp) -> &'static str {
    if app.database_url().is_empty() {
        "INSERT INTO users (id, handle, handle_key, email, email_key, display_name, roles,
                            password_hash, created_at, updated_at)
         SELECT randomblob(16), 'crowd-' || value, 'crowd-' || value, 'crowd-' || value,
                'crowd-' || value, 'Crowd', 'USER', '', 0, 0
         FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 2100)
               SELECT value FROM n)"
    } else {
        "INSERT INTO users (id, handle, handle_key, email, email_key, display_name, roles,
                            password_hash, created_at, updated_at)
         SELECT gen_random_uuid(), 'crowd-' || value, 'crowd-' || value, 'crowd-' || value,
                'crowd-' || value, 'Crowd', 'USER', '', 0, 0
         FROM generate_series(1, 2100) AS n(value)"
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

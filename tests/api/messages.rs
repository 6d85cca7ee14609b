//! Messages: sending once, changing, deleting, reactions, pins, answers, history and read markers.

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::user::{User, pluck};

on_both_databases!(
    a_key_is_one_message_on_every_transport,
    a_message_can_be_edited_and_deleted_by_its_sender,
    reactions_are_counted_once_a_person,
    pins_keep_messages_at_hand,
    an_answer_names_what_it_answers,
    history_goes_both_ways_from_any_place,
    a_read_marker_never_goes_back,
    a_message_that_says_nothing_or_too_much_is_refused,
    a_room_of_others_does_not_exist,
);

async fn a_key_is_one_message_on_every_transport(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let path = format!("/chat/rooms/{room}/messages");
    let message = json!({ "key": "same", "body": "once" });

    let first = jisoo.post(&path, &message).await.json(201);
    let again = jisoo.post(&path, &message).await.json(200);
    let live = jisoo.follow(&[&room]).await.send(&room, "same", "once").await;

    assert_eq!(first["duplicate"], false);
    for repeat in [again, live] {
        assert_eq!(repeat["duplicate"], true);
        assert_eq!((&repeat["id"], &repeat["seq"]), (&first["id"], &first["seq"]));
    }
    // A key is its sender's own.
    minho.post(&path, &message).await.is(201);
    assert_eq!(jisoo.messages(&room, "after=0").await.len(), 2);
}

async fn a_message_can_be_edited_and_deleted_by_its_sender(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let sent = jisoo.say(&room, "k1", "hi").await;
    let path = format!("/chat/rooms/{room}/messages/{}", sent["seq"]);

    minho.patch(&path, &json!({ "body": "mine" })).await.refused(403, "not_message_sender");
    let edited = jisoo.patch(&path, &json!({ "body": "hello" })).await.json(200);
    assert_eq!(edited["seq"].as_i64(), sent["seq"].as_i64().map(|seq| seq + 1));
    let message = &minho.messages(&room, "after=0").await[0];
    assert_eq!(message["body"], "hello");
    assert!(message["edited_at"].is_string() && message["deleted_at"].is_null());

    minho.delete(&path).await.refused(403, "not_message_sender");
    // By its id as well as by its number.
    let by_id = format!("/chat/rooms/{room}/messages/{}", sent["id"].as_str().unwrap());
    jisoo.delete(&by_id).await.is(200);
    let messages = minho.messages(&room, "after=0").await;
    assert_eq!((messages.len(), &messages[0]["body"]), (1, &json!("")));
    assert!(messages[0]["deleted_at"].is_string());
    jisoo.patch(&path, &json!({ "body": "back" })).await.refused(409, "message_deleted");
    jisoo
        .delete(&format!("/chat/rooms/{room}/messages/99"))
        .await
        .refused(404, "message_not_found");
}

async fn reactions_are_counted_once_a_person(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let sent = jisoo.say(&room, "k1", "hello").await;
    let path = format!("/chat/rooms/{room}/messages/{}/reactions/%F0%9F%91%8D", sent["seq"]);

    let first = minho.put(&path, &json!({})).await.json(200);
    assert!(first["seq"].is_i64());
    assert_eq!(minho.put(&path, &json!({})).await.json(200)["seq"], json!(null));
    jisoo.put(&path, &json!({})).await.is(200);

    let seen = async |user: &User| user.messages(&room, "after=0").await[0]["reactions"].clone();
    assert_eq!(seen(&minho).await, json!([{ "emoji": "👍", "count": 2, "mine": true }]));
    minho.delete(&path).await.is(200);
    assert_eq!(seen(&minho).await, json!([{ "emoji": "👍", "count": 1, "mine": false }]));
    jisoo.delete(&path).await.is(200);
    assert_eq!(seen(&jisoo).await, json!([]));
}

async fn pins_keep_messages_at_hand(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let one = jisoo.say(&room, "k1", "one").await;
    let two = jisoo.say(&room, "k2", "two").await;
    let pins = format!("/chat/rooms/{room}/pins");

    for sent in [&one, &two] {
        minho.put(&format!("{pins}/{}", sent["seq"]), &json!({})).await.is(200);
    }
    let listed = jisoo.get(&pins).await.json(200);
    let mut bodies = pluck(listed["items"].as_array().unwrap(), "body");
    bodies.sort_by_key(Value::to_string);
    assert_eq!(bodies, [json!("one"), json!("two")]);
    jisoo.delete(&format!("{pins}/{}", one["seq"])).await.is(200);
    let listed = jisoo.get(&pins).await.json(200);
    assert_eq!(pluck(listed["items"].as_array().unwrap(), "body"), [json!("two")]);
}

async fn an_answer_names_what_it_answers(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let question = jisoo.say(&room, "k1", "lunch?").await;
    let path = format!("/chat/rooms/{room}/messages");

    let answer = json!({
        "key": "k1", "body": "yes", "reply_to": question["seq"], "mentions": [jisoo.id],
        "attachments": [{ "url": "blob:1", "name": "menu.png", "media_type": "image/png" }],
    });
    minho.post(&path, &answer).await.is(201);

    let message = &jisoo.messages(&room, "").await[1];
    assert_eq!(message["reply_to"], question["seq"]);
    assert_eq!(message["mentions"], json!([jisoo.id]));
    assert_eq!(message["attachments"][0]["name"], "menu.png");
    let to_nothing = json!({ "key": "k2", "body": "what", "reply_to": 999 });
    minho.post(&path, &to_nothing).await.refused(404, "message_not_found");
}

async fn history_goes_both_ways_from_any_place(app: &mut TestApp) {
    let (jisoo, _, room) = pair(app).await;
    let mut seqs = Vec::new();
    for n in 0..10 {
        seqs.push(jisoo.say(&room, &format!("k{n}"), "hello").await["seq"].clone());
    }
    let page = async |query: &str| pluck(&jisoo.messages(&room, query).await, "seq");

    assert_eq!(page("").await, seqs);
    assert_eq!(page("limit=3").await, seqs[7..]);
    assert_eq!(page(&format!("before={}&limit=3", seqs[5])).await, seqs[2..5]);
    assert_eq!(page(&format!("after={}&limit=3", seqs[5])).await, seqs[6..9]);
    assert_eq!(page(&format!("after={}", seqs[9])).await, Vec::<Value>::new());

    // Cursors lead back to the beginning.
    let mut seen = Vec::new();
    let mut query = "limit=4".to_owned();
    loop {
        let path = format!("/chat/rooms/{room}/messages?{query}");
        let page = jisoo.get(&path).await.json(200);
        seen.splice(0..0, pluck(page["items"].as_array().unwrap(), "seq"));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=4&cursor={cursor}");
    }
    assert_eq!(seen, seqs);
}

async fn a_read_marker_never_goes_back(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let mut seqs = Vec::new();
    for n in 0..3 {
        seqs.push(jisoo.say(&room, &format!("k{n}"), "hello").await["seq"].clone());
    }
    let read = async |seq: &Value| {
        minho.post("/messages/read", &json!({ "room_id": room, "seq": seq })).await
    };

    let marker = read(&seqs[1]).await.json(200);
    assert_eq!(marker, json!({ "room_id": room, "seq": seqs[1], "unread_count": 1 }));
    assert_eq!(read(&seqs[0]).await.json(200), marker);
    assert_eq!(read(&seqs[2]).await.json(200)["unread_count"], 0);
    read(&json!(99)).await.refused(422, "position_beyond_head");

    // With receipts, a marker that moved is an event; without, reading is nobody's business and the log stands still.
    let group = jisoo.group("Yard", &[&minho]).await;
    let path = format!("/chat/rooms/{group}");
    jisoo.patch(&path, &json!({ "read_receipts": true })).await.is(200);
    let first = jisoo.say(&group, "k1", "hello").await["seq"].as_i64().unwrap();
    minho.post("/messages/read", &json!({ "room_id": group, "seq": first })).await.is(200);
    assert_eq!(minho.head(&group).await, first + 1);
    jisoo.patch(&path, &json!({ "read_receipts": false })).await.is(200);
    let second = jisoo.say(&group, "k2", "hello").await["seq"].as_i64().unwrap();
    minho.post("/messages/read", &json!({ "room_id": group, "seq": second })).await.is(200);
    assert_eq!(minho.head(&group).await, second);
}

async fn a_message_that_says_nothing_or_too_much_is_refused(app: &mut TestApp) {
    let (jisoo, _, room) = pair(app).await;
    let path = format!("/chat/rooms/{room}/messages");
    for (message, code) in [
        (json!({ "key": "k", "body": " \n" }), "message_empty"),
        (json!({ "key": "k", "body": "가".repeat(4_001) }), "message_too_long"),
        (json!({ "key": "", "body": "hello" }), "invalid_key"),
        (json!({ "key": "k", "body": "nul \u{0}" }), "message_empty"),
    ] {
        jisoo.post(&path, &message).await.refused(422, code);
    }
    jisoo.post(&path, &json!({ "key": "k", "body": "가".repeat(4_000) })).await.is(201);
}

async fn a_room_of_others_does_not_exist(app: &mut TestApp) {
    let (jisoo, _, room) = pair(app).await;
    let stranger = app.register("stranger").await;
    let sent = jisoo.say(&room, "k1", "hello").await;
    let path = format!("/chat/rooms/{room}");
    let message = format!("{path}/messages/{}", sent["seq"]);
    let hello = json!({ "key": "k1", "body": "hello" });

    for answer in [
        stranger.get(&path).await,
        stranger.get(&format!("{path}/messages")).await,
        stranger.get(&format!("{path}/members")).await,
        stranger.get(&format!("{path}/pins")).await,
        stranger.post(&format!("{path}/messages"), &hello).await,
        stranger.patch(&message, &json!({ "body": "mine" })).await,
        stranger.delete(&message).await,
        stranger.post("/messages/read", &json!({ "room_id": room, "seq": 1 })).await,
    ] {
        answer.refused(404, "room_not_found");
    }
}

async fn pair(app: &TestApp) -> (User, User, String) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    (jisoo, minho, room)
}

//! The socket: talking live, order, positions, and what ends a subscription.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::app::TestApp;
use crate::socket::{Socket, send};
use crate::user::{User, pluck};

on_both_databases!(
    two_people_talk_live,
    two_hundred_messages_sent_at_once_arrive_in_order,
    a_change_over_http_reaches_every_socket,
    a_subscription_begins_at_the_head_even_of_a_silent_room,
    a_removed_member_hears_of_it_and_nothing_more,
    typing_is_seen_by_the_others_and_never_numbered,
    nothing_is_done_before_hello,
    a_request_names_at_most_sixty_four_channels,
    several_requests_may_share_a_frame,
);

async fn two_people_talk_live(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let (mut at_jisoo, mut at_minho) = (jisoo.follow(&[&room]).await, minho.follow(&[&room]).await);

    let sent = at_jisoo.send(&room, "k1", "안녕").await;
    let answered = at_minho.send(&room, "k1", "응, 안녕!").await;

    for socket in [&mut at_jisoo, &mut at_minho] {
        let (first, second) = (socket.next_event().await, socket.next_event().await);
        assert_eq!(first["event"], "message_sent");
        assert_eq!(first["channel"], json!(format!("room:{room}")));
        assert_eq!((&first["seq"], &first["at"]), (&sent["seq"], &sent["at"]));
        assert_eq!((&first["from"], &first["data"]["body"]), (&json!(jisoo.id), &json!("안녕")));
        assert_eq!((&first["data"]["id"], &first["data"]["key"]), (&sent["id"], &json!("k1")));
        assert_eq!((&second["seq"], &second["from"]), (&answered["seq"], &json!(minho.id)));
    }
    let history = at_jisoo.ok(json!({ "op": "history", "channel": format!("room:{room}") })).await;
    assert_eq!(
        pluck(history["items"].as_array().unwrap(), "seq"),
        [&sent["seq"], &answered["seq"]].map(Value::clone)
    );
    at_jisoo.write(Message::text(json!({ "op": "bye" }).to_string())).await;
    assert_eq!(at_jisoo.closed().await, Some(1000));
}

async fn two_hundred_messages_sent_at_once_arrive_in_order(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let (mut sender, mut watcher) = (jisoo.follow(&[&room]).await, minho.follow(&[&room]).await);
    let head = jisoo.head(&room).await;

    // At most 100 are on the way at once: a connection may have 128 requests waiting.
    let mut ids = Vec::new();
    for half in [0..100, 100..200] {
        for n in half.clone() {
            ids.push(sender.ask(send(&room, &format!("k{n}"), &format!("number {n}"))).await);
        }
        for n in half {
            let reply = sender.try_reply(ids[n]).await.expect("a reply");
            assert_eq!(reply["ok"]["seq"], json!(head + 1 + i64::try_from(n).unwrap()));
        }
    }

    for n in 0..200 {
        let event = watcher.next_event().await;
        assert_eq!(event["seq"], json!(head + 1 + n), "{event}");
        assert_eq!(event["data"]["body"], json!(format!("number {n}")));
    }
}

async fn a_change_over_http_reaches_every_socket(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let mut socket = minho.follow(&[&room]).await;
    let sent = jisoo.say(&room, "k1", "hi").await;
    let path = format!("/chat/rooms/{room}/messages/{}", sent["seq"]);

    jisoo.patch(&path, &json!({ "body": "hello" })).await.is(200);
    minho.put(&format!("{path}/reactions/:tada:"), &json!({})).await.is(200);
    minho.delete(&format!("{path}/reactions/:tada:")).await.is(200);
    jisoo.delete(&path).await.is(200);

    let mut names = Vec::new();
    let first = sent["seq"].as_i64().unwrap();
    for seq in first..first + 5 {
        let event = socket.next_event().await;
        assert_eq!(event["seq"], json!(seq), "{event}");
        names.push(event["event"].clone());
    }
    let expected =
        ["message_sent", "message_edited", "reaction_added", "reaction_removed", "message_deleted"];
    assert_eq!(names, expected.map(|name| json!(name)));
}

async fn a_subscription_begins_at_the_head_even_of_a_silent_room(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let mut socket = minho.socket().await;
    let subscribe = json!([{ "channel": "me" }, { "channel": channel }]);

    let id = socket.ask(json!({ "op": "hello", "subscribe": subscribe })).await;

    // The reply comes before any event of the channels it names.
    let reply = socket.next_frame().await;
    assert_eq!(reply["id"], id);
    let hello = &reply["ok"];
    assert_eq!(hello["user"], json!(minho.id));
    assert_eq!(hello["channels"][&channel]["seq"], json!(jisoo.head(&room).await));
    assert!(hello["channels"]["me"]["seq"].is_i64() && hello["connection"].is_string());
    assert!(hello["limits"]["frame_bytes_max"].is_u64() && hello["ping_ms"].is_u64());
    for expected in ["me", channel.as_str()] {
        let live = socket.next_frame().await;
        assert_eq!((&live["event"], &live["channel"]), (&json!("live"), &json!(expected)));
        assert_eq!(live["seq"], hello["channels"][expected]["seq"]);
    }
    let again = json!({ "op": "subscribe", "channels": [{ "channel": channel }] });
    let again = socket.ok(again).await;
    assert_eq!(again["channels"][&channel]["error"]["code"], "already_subscribed");

    socket.ok(json!({ "op": "unsubscribe", "channels": [channel] })).await;
    jisoo.say(&room, "k1", "unheard").await;
    assert_eq!(socket.events_so_far().await, Vec::<Value>::new());
}

async fn a_removed_member_hears_of_it_and_nothing_more(app: &mut TestApp) {
    let (jisoo, minho, _) = pair(app).await;
    let room = jisoo.group("Yard", &[&minho]).await;
    let mut socket = minho.follow(&[&room]).await;

    jisoo.delete(&format!("/chat/rooms/{room}/members/{}", minho.id)).await.is(200);
    jisoo.say(&room, "k1", "not for minho").await;

    let event = socket.next_event().await;
    assert_eq!(
        (&event["event"], &event["data"]["user_id"]),
        (&json!("user_left"), &json!(minho.id))
    );
    let channel = format!("room:{room}");
    let end = json!({ "event": "unsubscribed", "channel": channel, "reason": "removed" });
    assert_eq!(socket.next_event().await, end);
    assert_eq!(socket.refused(send(&room, "k1", "still here")).await, "room_not_found");
    assert_eq!(socket.events_so_far().await, Vec::<Value>::new());
    let again = json!({ "op": "subscribe", "channels": [{ "channel": channel }] });
    let again = socket.ok(again).await;
    assert_eq!(again["channels"][&channel]["error"]["code"], "channel_not_found");
}

async fn typing_is_seen_by_the_others_and_never_numbered(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let (mut at_jisoo, mut at_minho) = (jisoo.follow(&[&room]).await, minho.follow(&[&room]).await);
    let head = jisoo.head(&room).await;

    at_jisoo.ok(json!({ "op": "typing", "channel": format!("room:{room}") })).await;

    let event = at_minho.next_event().await;
    assert_eq!((&event["event"], &event["from"]), (&json!("typing_indicator"), &json!(jisoo.id)));
    assert_eq!(event["seq"], json!(null));
    assert_eq!(jisoo.head(&room).await, head);
}

async fn nothing_is_done_before_hello(app: &mut TestApp) {
    let (jisoo, _, room) = pair(app).await;
    let mut socket = Socket::open(app.port(), Some(&jisoo.token)).await;

    assert_eq!(socket.refused(send(&room, "k1", "early")).await, "hello_required");
    let subscribe = json!({ "op": "subscribe", "channels": [{ "channel": "me" }] });
    assert_eq!(socket.refused(subscribe).await, "hello_required");
    socket.ok(json!({ "op": "ping" })).await;
    socket.hello(&[]).await;
    assert_eq!(socket.refused(json!({ "op": "hello" })).await, "hello_repeated");
    socket.send(&room, "k1", "now").await;

    let mut stranger = Socket::open(app.port(), None).await;
    assert_eq!(stranger.refused(json!({ "op": "hello" })).await, "unauthenticated");
}

async fn a_request_names_at_most_sixty_four_channels(app: &mut TestApp) {
    let (jisoo, _, room) = pair(app).await;
    let mut socket = jisoo.follow(&[&room]).await;
    let channel = |n: u128| json!({ "channel": format!("room:{}", uuid::Uuid::from_u128(n)) });
    let subscribe = |count: u128| {
        let channels: Vec<Value> = (0..count).map(channel).collect();
        json!({ "op": "subscribe", "channels": channels })
    };

    assert_eq!(socket.refused(subscribe(65)).await, "too_many_channels");
    let answer = socket.ok(subscribe(64)).await;
    let answers = answer["channels"].as_object().unwrap();
    assert_eq!(answers.len(), 64);
    assert!(answers.values().all(|answer| answer["error"]["code"] == "channel_not_found"));
}

async fn several_requests_may_share_a_frame(app: &mut TestApp) {
    let (jisoo, _, room) = pair(app).await;
    let mut socket = jisoo.socket().await;
    let mut batch = vec![json!({ "op": "hello", "id": 1 })];
    for id in 2..=4 {
        let mut request = send(&room, &format!("k{id}"), "batched");
        request["id"] = id.into();
        batch.push(request);
    }
    let lines: Vec<String> = batch.iter().map(Value::to_string).collect();

    socket.write(Message::text(lines.join("\n"))).await;

    let mut seqs = Vec::new();
    for id in 1..=4 {
        let reply = socket.next_reply().await.expect("a reply");
        assert_eq!(reply["id"], id, "{reply}");
        seqs.extend(reply["ok"]["seq"].as_i64());
    }
    assert_eq!(seqs, [3, 4, 5]);
}

async fn pair(app: &TestApp) -> (User, User, String) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    (jisoo, minho, room)
}

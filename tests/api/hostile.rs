//! Hostile input on the socket: whatever comes, an answer or a close code, and the server stays well.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::app::TestApp;
use crate::both::Settings;
use crate::raw::{FIN, RawSocket, TEXT};
use crate::socket::{Socket, send};
use crate::user::User;

const LIMITED: Settings = &[("MADANG__LIMITS__ENABLED", "true")];
const FRAME_BYTES_MAX: usize = 64 * 1024;

on_both_databases!(
    what_is_no_request_is_answered_with_a_code,
    a_frame_may_have_64_kib_and_not_a_byte_more,
    fragments_are_one_message_and_share_its_limit,
    binary_and_broken_text_end_the_connection,
    wrong_framing_ends_the_connection,
    a_frame_that_announces_too_much_is_not_waited_for,
    the_last_words_reach_a_client_that_does_not_stop_talking,
    many_pings_are_answered_by_the_last_and_disturb_nobody,
    whoever_keeps_guessing_hellos_is_sent_away,
    a_page_of_long_messages_is_not_taken_for_a_slow_reader,
    a_room_of_others_is_a_channel_that_does_not_exist,
    ten_thousand_requests_at_once_are_answered_or_refused_without_limits,
);
on_both_databases!(with super::LIMITED; ten_thousand_requests_at_once_are_refused_or_the_connection_ends);

async fn what_is_no_request_is_answered_with_a_code(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut socket = jisoo.follow(&[]).await;
    let deep = format!("{}1{}", r#"{"op":"ping","x":"#.repeat(3_000), "}".repeat(3_000));
    for (text, code) in [
        ("nonsense", "malformed"),
        ("{", "malformed"),
        ("[1]", "malformed"),
        ("null", "malformed"),
        (r#"{"op":7}"#, "malformed"),
        (r#"{"id":-1,"op":"ping"}"#, "malformed"),
        ("{\"op\":\"ping\u{0}\"}", "malformed"),
        (deep.as_str(), "invalid_fields"),
        (&"[".repeat(60_000), "malformed"),
        (r#"{"op":"fly"}"#, "unknown_op"),
        (r#"{"op":"ping","more":1}"#, "invalid_fields"),
        (r#"{"op":"send"}"#, "invalid_fields"),
        (r#"{"op":"read","channel":"me","seq":1e99}"#, "invalid_fields"),
    ] {
        socket.write(Message::text(text)).await;
        let reply = socket.next_reply().await.expect("a reply");
        assert_eq!(reply["error"]["code"], code, "{}", text.get(..40).unwrap_or(text));
    }
    is_well(app, &jisoo).await;
    socket.ok(json!({ "op": "ping" })).await;
}

async fn a_frame_may_have_64_kib_and_not_a_byte_more(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut socket = jisoo.follow(&[]).await;
    let ping = r#"{"id":99,"op":"ping"}"#;
    let padded = |bytes: usize| Message::text(format!("{ping}{}", " ".repeat(bytes - ping.len())));

    socket.write(padded(FRAME_BYTES_MAX)).await;
    assert_eq!(socket.next_reply().await.expect("a reply")["id"], 99);
    socket.write(padded(FRAME_BYTES_MAX + 1)).await;

    assert_eq!(socket.closed_with_bye().await, Some(4304));
    is_well(app, &jisoo).await;
}

async fn fragments_are_one_message_and_share_its_limit(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut socket = jisoo.follow(&[]).await;
    let part = |opcode: Data, text: &str, is_last: bool| {
        Message::Frame(Frame::message(text.as_bytes().to_vec(), OpCode::Data(opcode), is_last))
    };

    // A ping may come in between.
    socket.write(part(Data::Text, r#"{"id":7,"#, false)).await;
    socket.write(Message::Ping(vec![1, 2, 3].into())).await;
    socket.write(part(Data::Continue, r#""op":"#, false)).await;
    socket.write(part(Data::Continue, r#""ping"}"#, true)).await;
    let reply = socket.next_reply().await.expect("a reply");
    assert_eq!((&reply["id"], reply["ok"].is_object()), (&json!(7), true));

    let half = " ".repeat(FRAME_BYTES_MAX / 2);
    socket.write(part(Data::Text, &half, false)).await;
    socket.write(part(Data::Continue, &half, false)).await;
    socket.write(part(Data::Continue, " ", false)).await;
    assert_eq!(socket.closed_with_bye().await, Some(4304));
    is_well(app, &jisoo).await;
}

async fn binary_and_broken_text_end_the_connection(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut socket = jisoo.follow(&[]).await;
    socket.write(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(socket.closed_with_bye().await, Some(4302));

    let broken = Frame::message(vec![b'"', 0xff, 0xfe, b'"'], OpCode::Data(Data::Text), true);
    let mut socket = jisoo.follow(&[]).await;
    socket.write(Message::Frame(broken)).await;
    assert_eq!(socket.closed_with_bye().await, Some(4302));
    is_well(app, &jisoo).await;
}

async fn wrong_framing_ends_the_connection(app: &mut TestApp) {
    const RESERVED_BIT: u8 = 0x40;
    const UNKNOWN_OPCODE: u8 = 0x3;
    const CONTINUATION: u8 = 0x0;
    const PING: u8 = 0x9;
    let jisoo = app.register("jisoo").await;
    let ping = br#"{"id":1,"op":"ping"}"#.as_slice();

    for (what, first, payload, is_masked) in [
        ("not masked", FIN | TEXT, ping, false),
        ("an unknown opcode", FIN | UNKNOWN_OPCODE, ping, true),
        ("a continuation of nothing", FIN | CONTINUATION, ping, true),
        ("a ping in fragments", PING, ping, true),
        ("a ping that is too long", FIN | PING, &[0; 200], true),
    ] {
        let mut socket = RawSocket::open(app.port(), &jisoo).await;
        socket.frame(first, payload, is_masked).await;
        assert_eq!(socket.close_code().await, Some(4302), "{what}");
    }
    // No extension was agreed on, so a reserved bit means nothing: ended or ignored, but never a crash.
    let mut socket = RawSocket::open(app.port(), &jisoo).await;
    socket.frame(FIN | RESERVED_BIT | TEXT, ping, true).await;
    drop(socket);
    // A length that no frame may have, and a frame that never ends.
    let mut socket = RawSocket::open(app.port(), &jisoo).await;
    socket
        .bytes(&[FIN | TEXT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])
        .await;
    assert_eq!(socket.close_code().await, Some(4304));
    let mut socket = RawSocket::open(app.port(), &jisoo).await;
    socket.bytes(&[FIN | TEXT, 0x80 | 5, 0, 0]).await;
    drop(socket);
    is_well(app, &jisoo).await;
}

async fn a_frame_that_announces_too_much_is_not_waited_for(app: &mut TestApp) {
    const A_TEBIBYTE: u64 = 1 << 40;
    let jisoo = app.register("jisoo").await;
    let mut socket = RawSocket::open(app.port(), &jisoo).await;
    socket.bytes(&[FIN | TEXT, 0x80 | 127]).await;
    socket.bytes(&A_TEBIBYTE.to_be_bytes()).await;
    // The mask, and a little more than any message may have.
    socket.bytes(&[0; 4 + FRAME_BYTES_MAX + 1]).await;
    assert_eq!(socket.close_code().await, Some(4304));
    is_well(app, &jisoo).await;
}

async fn the_last_words_reach_a_client_that_does_not_stop_talking(app: &mut TestApp) {
    const BINARY: u8 = 0x2;
    let jisoo = app.register("jisoo").await;
    let mut socket = RawSocket::open(app.port(), &jisoo).await;

    socket.frame(FIN | BINARY, b"no text", true).await;
    for _ in 0..64 {
        socket.frame(FIN | TEXT, &[b' '; 16 * 1024], true).await;
    }

    assert_eq!(socket.close_code().await, Some(4302));
    is_well(app, &jisoo).await;
}

async fn many_pings_are_answered_by_the_last_and_disturb_nobody(app: &mut TestApp) {
    const PING: u8 = 0x9;
    let jisoo = app.register("jisoo").await;
    let mut socket = RawSocket::open(app.port(), &jisoo).await;
    for n in 0..2_000_u16 {
        socket.frame(FIN | PING, &n.to_be_bytes(), true).await;
    }
    assert_eq!(socket.last_pong(&1_999_u16.to_be_bytes()).await, Some(()));
    is_well(app, &jisoo).await;
}

async fn whoever_keeps_guessing_hellos_is_sent_away(app: &mut TestApp) {
    let mut socket = Socket::open(app.port(), None).await;
    for _ in 0..5 {
        let hello = json!({ "id": 1, "op": "hello", "token": "a.guess.indeed" });
        socket.write(Message::text(hello.to_string())).await;
    }
    assert_eq!(socket.closed_with_bye().await, Some(4105));
}

async fn a_page_of_long_messages_is_not_taken_for_a_slow_reader(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    let body = "가".repeat(4_000);
    for n in 0..40 {
        jisoo.say(&room, &format!("k{n}"), &body).await;
    }
    let mut socket = minho.follow(&[]).await;
    let channel = format!("room:{room}");
    for _ in 0..3 {
        let page = socket.ok(json!({ "op": "history", "channel": channel })).await;
        let bodies =
            page["items"].as_array().unwrap().iter().filter(|it| it["body"] == body.as_str());
        assert_eq!(bodies.count(), 40);
    }
}

async fn a_room_of_others_is_a_channel_that_does_not_exist(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    let channel = format!("room:{room}");
    let stranger = app.register("stranger").await;
    let mut socket = stranger.socket().await;

    for name in [channel.as_str(), "room:nonsense", "", "me:x", "room:"] {
        let mut socket = stranger.socket().await;
        let hello = json!({ "op": "hello", "subscribe": [{ "channel": name }] });
        let hello = socket.ok(hello).await;
        assert_eq!(hello["channels"][name]["error"]["code"], "channel_not_found", "{name}");
        jisoo.say(&room, &format!("k{}", name.len()), "private").await;
        assert_eq!(socket.events_so_far().await.len(), 0);
    }
    socket.hello(&[]).await;
    for request in [
        send(&room, "k1", "let me in"),
        json!({ "op": "edit", "channel": channel, "seq": 3, "data": { "body": "x" } }),
        json!({ "op": "delete", "channel": channel, "seq": 3 }),
        json!({ "op": "react", "channel": channel, "seq": 3, "emoji": "x" }),
        json!({ "op": "read", "channel": channel, "seq": 3 }),
        json!({ "op": "typing", "channel": channel }),
        json!({ "op": "history", "channel": channel }),
    ] {
        assert_eq!(socket.refused(request).await, "room_not_found");
    }
}

async fn ten_thousand_requests_at_once_are_answered_or_refused_without_limits(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    flood(app, &jisoo).await;
    is_well(app, &jisoo).await;
}

async fn ten_thousand_requests_at_once_are_refused_or_the_connection_ends(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let refused = flood(app, &jisoo).await;
    assert!(refused > 0, "nothing was refused");
    is_well(app, &jisoo).await;
}

/// Sends 10,000 requests without waiting. Each is answered, or the connection ends with 4103; gives the refusals.
async fn flood(app: &TestApp, user: &User) -> usize {
    const REQUESTS: u64 = 10_000;
    const FIRST: u64 = 1_000;
    let mut socket = Socket::open(app.port(), Some(&user.token)).await;
    socket.hello(&[]).await;
    let lines: Vec<String> =
        (0..REQUESTS).map(|n| json!({ "id": FIRST + n, "op": "ping" }).to_string()).collect();
    for batch in lines.chunks(1_000) {
        if !socket.try_write(Message::text(batch.join("\n"))).await {
            break;
        }
    }
    let (mut answered, mut refused) = (vec![false; lines.len()], 0);
    while answered.contains(&false) {
        let Some(reply) = socket.next_reply().await else {
            assert!(refused > 0, "the connection ended before anything was refused");
            return refused;
        };
        let n = usize::try_from(reply["id"].as_u64().unwrap() - FIRST).unwrap();
        assert!(!std::mem::replace(&mut answered[n], true), "answered twice: {reply}");
        if reply["error"]["code"] == "rate_limited" {
            assert!(reply["error"]["retry_after_ms"].is_u64(), "{reply}");
            refused += 1;
        } else {
            assert!(reply["ok"].is_object(), "{reply}");
        }
    }
    refused
}

/// Somebody else is served as if nothing had happened.
async fn is_well(app: &TestApp, user: &User) {
    app.get("/readyz").await.is(200);
    user.follow(&[]).await.ok(json!({ "op": "ping" })).await;
}

//! Pictures for messages: who may bring one, what is kept of it, and that it goes with its message.

use image::{DynamicImage, ImageFormat};
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::TestApp;
use crate::both::Settings;
use crate::pictures::{bomb, encoded, halves, is_blue, is_red, with_exif};
use crate::rows;
use crate::user::User;

const SMALL: Settings = &[("MADANG__IMAGES__BYTES_MAX", "4096")];

on_both_databases!(
    a_picture_is_brought_and_sent,
    a_picture_keeps_its_shape_and_tells_nothing_of_where_it_was_taken,
    what_is_no_picture_is_refused,
    only_who_may_write_brings_one,
    a_deleted_message_takes_its_picture_along,
    of_pictures_that_nobody_sends_the_oldest_go,
);
on_both_databases!(with super::SMALL; a_picture_that_is_too_large_is_refused);

async fn bring(user: &User, room: &str, query: &str, body: Vec<u8>) -> Answer {
    let request = user.request(Method::POST, &format!("/chat/rooms/{room}/images{query}"));
    Answer::of(request.header("content-type", "image/png").body(body)).await
}

async fn brought(user: &User, room: &str, body: Vec<u8>) -> Value {
    bring(user, room, "", body).await.json(201)
}

fn png(width: u32, height: u32) -> Vec<u8> {
    encoded(&halves(width, height), ImageFormat::Png)
}

async fn send(user: &User, room: &str, key: &str, attachments: &[&Value]) -> Value {
    let body = json!({ "key": key, "attachments": attachments });
    user.post(&format!("/chat/rooms/{room}/messages"), &body).await.json(201)
}

async fn picture(app: &TestApp, attachment: &Value) -> (DynamicImage, Vec<u8>) {
    let url = app.url(attachment["url"].as_str().expect("an address"));
    let response = app.http.get(url).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200, "{attachment}");
    assert_eq!(response.headers()["content-type"], attachment["media_type"].as_str().unwrap());
    let file = response.bytes().await.unwrap().to_vec();
    (image::load_from_memory(&file).unwrap(), file)
}

async fn states(app: &TestApp) -> Vec<String> {
    rows::texts(app, "SELECT state FROM message_images ORDER BY id").await
}

async fn a_picture_is_brought_and_sent(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.group("마당", &[&minho]).await;
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        brought(&jisoo, &room, encoded(&halves(30, 20), format)).await;
    }

    let named = bring(&jisoo, &room, "?name=%EC%A0%95%EC%9B%90.png", png(300, 200)).await.json(201);

    assert_eq!(named["name"], "정원.png");
    assert_eq!((&named["width"], &named["height"]), (&json!(300), &json!(200)));
    assert_eq!(named["media_type"], "image/jpeg");
    let (shown, file) = picture(app, &named).await;
    assert_eq!(named["size_bytes"], json!(file.len()));
    assert!(is_red(&shown, 5, 100) && is_blue(&shown, 295, 100));
    let mut socket = minho.follow(&[&room]).await;
    let sent = send(&jisoo, &room, "k1", &[&named]).await;
    // A repeat of it is that message.
    let body = json!({ "key": "k1", "attachments": [named] });
    let again = jisoo.post(&format!("/chat/rooms/{room}/messages"), &body).await.json(200);
    assert_eq!((&again["id"], &again["duplicate"]), (&sent["id"], &json!(true)));
    let heard = socket.next_named("message_sent").await;
    assert_eq!(heard["data"]["attachments"], json!([named]));
    assert_eq!(minho.messages(&room, "limit=1").await[0]["attachments"], json!([named]));
    assert_eq!(states(app).await.iter().filter(|it| *it == "attached").count(), 1);
    let plain = brought(&jisoo, &room, png(8, 8)).await;
    assert_eq!(plain["name"], "image.jpg");
    for name in ["", "a%0Ab", &"a".repeat(501)] {
        let refused = bring(&jisoo, &room, &format!("?name={name}"), png(8, 8)).await;
        refused.refused(422, "invalid_input");
    }
    bring(&jisoo, &room, "?title=x", png(8, 8)).await.refused(422, "invalid_query");
}

async fn a_picture_keeps_its_shape_and_tells_nothing_of_where_it_was_taken(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let room = jisoo.group("마당", &[]).await;
    let upload = with_exif(&encoded(&halves(3_000, 1_000), ImageFormat::Jpeg), 6);
    assert!(upload.windows(3).any(|bytes| bytes == b"GPS"));

    let attachment = brought(&jisoo, &room, upload).await;

    assert_eq!((&attachment["width"], &attachment["height"]), (&json!(683), &json!(2_048)));
    let (shown, file) = picture(app, &attachment).await;
    assert_eq!((shown.width(), shown.height()), (683, 2_048));
    assert!(is_red(&shown, 300, 5) && is_blue(&shown, 300, 2_040));
    for trace in [&b"GPS"[..], b"Exif"] {
        assert!(!file.windows(trace.len()).any(|bytes| bytes == trace));
    }
}

async fn what_is_no_picture_is_refused(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let room = jisoo.group("마당", &[]).await;
    for body in [&b"<svg xmlns='http://www.w3.org/2000/svg'/>"[..], b"%PDF-1.7", b""] {
        let refused = bring(&jisoo, &room, "", body.to_vec()).await;
        refused.refused(415, "image_type_not_supported");
    }
    let mut broken = png(90, 90);
    broken.truncate(60);
    bring(&jisoo, &room, "", broken).await.refused(422, "image_unreadable");
    let huge = bring(&jisoo, &room, "", bomb(20_000, 20_000)).await;
    huge.refused(422, "image_too_many_pixels");
    assert_eq!(states(app).await, [""; 0]);
}

async fn a_picture_that_is_too_large_is_refused(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let room = jisoo.group("마당", &[]).await;

    let refused = bring(&jisoo, &room, "", vec![0; 4_097]).await;

    refused.refused(413, "payload_too_large");
    brought(&jisoo, &room, png(20, 20)).await;
}

async fn only_who_may_write_brings_one(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let private = jisoo.group("마당", &[]).await;
    bring(&minho, &private, "", png(8, 8)).await.refused(404, "room_not_found");
    let public = jisoo.public_channel("광장").await;
    bring(&minho, &public, "", png(8, 8)).await.refused(403, "not_room_member");
    minho.post(&format!("/chat/rooms/{public}/join"), &json!({})).await.is(200);
    brought(&minho, &public, png(8, 8)).await;
    let mute = json!({ "muted_until": "2099-01-01T00:00:00Z" });
    let member = format!("/chat/rooms/{public}/members/{}", minho.id);
    jisoo.patch(&member, &mute).await.is(200);
    bring(&minho, &public, "", png(8, 8)).await.refused(403, "member_muted");
    let direct = jisoo.direct_room(&minho).await;
    brought(&minho, &direct, png(8, 8)).await;
    minho.post("/friends/block", &json!({ "user_id": jisoo.id })).await.is(200);
    bring(&minho, &direct, "", png(8, 8)).await.refused(403, "blocked");
    bring(&jisoo, &direct, "", png(8, 8)).await.refused(403, "cannot_message");
    let nobody =
        Answer::of(app.http.post(app.url(&format!("/v1/chat/rooms/{public}/images")))).await;
    nobody.refused(401, "unauthenticated");
}

async fn a_deleted_message_takes_its_picture_along(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.group("마당", &[&minho]).await;
    let (one, other) =
        (brought(&jisoo, &room, png(40, 20)).await, brought(&jisoo, &room, png(20, 40)).await);
    let sent = send(&jisoo, &room, "k1", &[&one]).await;
    // Who has not brought it only refers to it, and so does a second message.
    let quoted = send(&minho, &room, "k2", &[&one, &other]).await;
    let kept = send(&jisoo, &room, "k3", &[&one, &other]).await;
    assert_eq!(states(app).await, ["attached", "attached"]);

    minho.delete(&format!("/chat/rooms/{room}/messages/{}", quoted["seq"])).await.is(200);
    assert_eq!(states(app).await, ["attached", "attached"]);
    jisoo.delete(&format!("/chat/rooms/{room}/messages/{}", sent["seq"])).await.is(200);

    app.get(one["url"].as_str().unwrap()).await.refused(404, "not_found");
    picture(app, &other).await;
    assert_eq!(kept["duplicate"], false);
    assert_eq!(states(app).await, ["attached"]);
}

async fn of_pictures_that_nobody_sends_the_oldest_go(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let room = jisoo.group("마당", &[]).await;
    let first = brought(&jisoo, &room, png(8, 8)).await;
    let sent = brought(&jisoo, &room, png(8, 8)).await;
    send(&jisoo, &room, "k1", &[&sent]).await;
    for _ in 0..50 {
        brought(&jisoo, &room, png(8, 8)).await;
    }

    let states = states(app).await;
    assert_eq!(states.iter().filter(|it| *it == "arriving").count(), 50);
    assert_eq!((&*states[0], &*states[1]), ("dropped", "attached"));
    // What was dropped does not come back with a message.
    send(&jisoo, &room, "k2", &[&first]).await;
    let dropped = "SELECT COUNT(*) FROM message_images WHERE state = 'dropped'";
    assert_eq!(app.count(dropped).await, 1);
}

//! Pictures of people: what is taken and what is not, what is kept of it, and that nothing stays behind.

use image::{DynamicImage, ImageFormat};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::app::{PASSWORD, PATIENCE, TestApp, eventually};
use crate::both::Settings;
use crate::pictures::{bomb, encoded, halves, is_blue, is_red, noise, with_exif};
use crate::rows;
use crate::user::User;

const SLOW_UPLOADS: Settings = &[("MADANG__IMAGES__READ_TIMEOUT_MS", "500")];
const FEW_UPLOADS: Settings =
    &[("MADANG__IMAGES__UPLOADS_MAX", "1"), ("MADANG__IMAGES__BYTES_MAX", "4096")];

on_both_databases!(
    a_picture_of_each_type_is_shown_in_three_sizes,
    a_picture_is_served_to_be_kept_for_a_while,
    what_a_picture_is_its_bytes_say,
    a_picture_can_come_in_a_form,
    a_picture_stands_upright_and_tells_nothing_of_where_it_was_taken,
    a_bomb_is_refused,
    a_picture_may_be_larger_than_other_bodies_but_not_too_large,
    uploads_at_once_leave_one,
    a_picture_that_is_not_shown_is_gone,
    nobody_shows_the_picture_of_another,
    a_kill_leaves_no_profile_without_its_picture,
);
on_both_databases!(with super::SLOW_UPLOADS; a_body_that_does_not_come_is_not_waited_for);
on_both_databases!(with super::FEW_UPLOADS;
    a_full_house_refuses_before_the_body_is_read,
    a_picture_without_a_length_is_counted_as_it_comes,
);

async fn upload(user: &User, kind: &str, body: Vec<u8>) -> Answer {
    let request = user.request(Method::POST, "/profile/upload-image");
    Answer::of(request.header("content-type", kind).body(body)).await
}

/// Uploads and gives the profile.
async fn uploaded(user: &User, body: Vec<u8>) -> Value {
    upload(user, "image/jpeg", body).await.json(200)
}

fn png() -> Vec<u8> {
    encoded(&halves(90, 90), ImageFormat::Png)
}

/// The answer to somebody without a token.
async fn fetch(app: &TestApp, path: &str) -> (u16, HeaderMap, Vec<u8>) {
    let response = app.http.get(app.url(path)).send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.bytes().await.unwrap().to_vec())
}

async fn picture(app: &TestApp, path: &Value) -> DynamicImage {
    let (status, _, body) = fetch(app, path.as_str().unwrap()).await;
    assert_eq!(status, 200, "{path}");
    image::load_from_memory(&body).unwrap()
}

/// The files that there are, by name.
fn files(app: &TestApp) -> Vec<String> {
    let folder = app.sqlite_file().parent().unwrap().join("blobs/images");
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

async fn a_picture_of_each_type_is_shown_in_three_sizes(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let profile = uploaded(&jisoo, encoded(&halves(1_400, 1_200), format)).await;

        let sizes = &profile["avatar_sizes"];
        assert_eq!(sizes["large"], profile["avatar"]);
        for (size, side) in [("large", 1_024), ("medium", 256), ("small", 64)] {
            let picture = picture(app, &sizes[size]).await;
            assert_eq!((picture.width(), picture.height()), (side, side), "{format:?}");
            assert!(is_red(&picture, 2, side / 2) && is_blue(&picture, side - 3, side / 2));
        }
        let seen = minho.get(&format!("/users/{}", jisoo.id)).await.json(200);
        assert_eq!((&seen["avatar"], &seen["avatar_sizes"]), (&profile["avatar"], sizes));
        let found = minho.get("/users/search?q=jisoo").await.json(200);
        assert_eq!(&found["items"][0]["avatar_sizes"], sizes);
    }
    assert_eq!(files(app).len(), 3);
}

async fn a_picture_is_served_to_be_kept_for_a_while(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let profile = uploaded(&jisoo, encoded(&halves(90, 90), ImageFormat::Jpeg)).await;
    let path = profile["avatar"].as_str().unwrap();

    let (status, headers, body) = fetch(app, path).await;
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!((status, header("content-type").as_deref()), (200, Some("image/jpeg")));
    assert_eq!(header("cache-control").unwrap(), "public, max-age=3600");
    assert_eq!(header("x-content-type-options").unwrap(), "nosniff");
    assert!(header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert_eq!(header("cross-origin-resource-policy").unwrap(), "cross-origin");

    let tag = header("etag").unwrap();
    for known in [tag.as_str(), "*", &format!("\"other\", W/{tag}")] {
        let again = app.http.get(app.url(path)).header("if-none-match", known);
        let again = Answer::of(again).await;
        assert_eq!((again.status, again.text.len()), (304, 0), "{known}");
        assert_eq!(again.header("etag"), Some(tag.as_str()));
    }
    let other = Answer::of(app.http.head(app.url(path)).header("if-none-match", "\"other\"")).await;
    assert_eq!((other.status, other.text.len()), (200, 0));
    assert_eq!(other.header("content-length"), Some(body.len().to_string().as_str()));

    for wrong in ["x.jpg", "..%2F..%2Fmadang.db", "%2e%2e", &path.replace(".jpg", ".png")[11..]] {
        let missing = app.get(&format!("/v1/images/{wrong}")).await;
        missing.refused(404, "not_found");
        assert_eq!(missing.header("cache-control"), Some("no-store"), "{wrong}");
    }
}

async fn what_a_picture_is_its_bytes_say(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    for kind in ["text/html", "image/svg+xml", "application/json", "nonsense"] {
        let profile = upload(&jisoo, kind, png()).await.json(200);
        let (_, headers, _) = fetch(app, profile["avatar"].as_str().unwrap()).await;
        assert_eq!(headers["content-type"], "image/jpeg", "{kind}");
    }
    let before = jisoo.get("/users/profile").await.json(200);
    for body in [
        &b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"[..],
        b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"%PDF-1.7",
        b"",
    ] {
        for kind in ["image/png", "image/svg+xml"] {
            upload(&jisoo, kind, body.to_vec()).await.refused(415, "image_type_not_supported");
        }
    }
    let mut broken = png();
    broken.truncate(60);
    for body in [b"GIF89a\x08\0\x08\0\0\0\0<script>alert(1)</script>".to_vec(), broken] {
        upload(&jisoo, "image/png", body).await.refused(422, "image_unreadable");
    }
    assert_eq!(jisoo.get("/users/profile").await.json(200), before);
    assert_eq!(files(app).len(), 3);
}

async fn a_picture_can_come_in_a_form(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let form = |field: &str, kind: &str, file: &[u8]| {
        let head = format!(
            "--b7\r\nContent-Disposition: form-data; name=\"caption\"\r\n\r\n나\r\n--b7\r\n\
             Content-Disposition: form-data; name=\"{field}\"; filename=\"나.exe\"\r\n\
             Content-Type: {kind}\r\n\r\n"
        );
        [head.as_bytes(), file, b"\r\n--b7--\r\n"].concat()
    };
    let kind = "multipart/form-data; boundary=b7";

    let profile = upload(&jisoo, kind, form("image", "text/plain", &png())).await.json(200);

    assert_eq!(picture(app, &profile["avatar"]).await.width(), 90);
    upload(&jisoo, kind, form("file", "image/png", &png())).await.refused(422, "image_missing");
    let svg = form("image", "image/png", b"<svg/>");
    upload(&jisoo, kind, svg).await.refused(415, "image_type_not_supported");
    upload(&jisoo, kind, png()).await.refused(400, "malformed");
    upload(&jisoo, "multipart/form-data", png()).await.refused(400, "malformed");
    let large = form("image", "image/png", &vec![0; 5 * 1_024 * 1_024 + 1]);
    upload(&jisoo, kind, large).await.refused(413, "payload_too_large");
}

async fn a_picture_stands_upright_and_tells_nothing_of_where_it_was_taken(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let upload = with_exif(&encoded(&halves(320, 320), ImageFormat::Jpeg), 6);
    assert!(upload.windows(3).any(|bytes| bytes == b"GPS"));

    let profile = uploaded(&jisoo, upload).await;

    for path in profile["avatar_sizes"].as_object().unwrap().values() {
        let (_, _, body) = fetch(app, path.as_str().unwrap()).await;
        for trace in [&b"GPS"[..], b"Exif"] {
            assert!(!body.windows(trace.len()).any(|bytes| bytes == trace), "{path}");
        }
        let picture = image::load_from_memory(&body).unwrap();
        let side = picture.width();
        assert!(is_red(&picture, side / 2, 2) && is_blue(&picture, side / 2, side - 3), "{path}");
    }
}

async fn a_bomb_is_refused(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    for (width, height) in [(20_000, 20_000), (1, 2_000_000_000), (6_000, 5_000)] {
        let refused = upload(&jisoo, "image/png", bomb(width, height)).await;
        refused.refused(422, "image_too_many_pixels");
    }
    assert_eq!(files(app), [""; 0]);
}

async fn a_picture_may_be_larger_than_other_bodies_but_not_too_large(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let large = encoded(&noise(800, 800), ImageFormat::Png);
    assert!(large.len() > 1_024 * 1_024, "{}", large.len());
    uploaded(&jisoo, large).await;

    let too_large = announce(app.port(), &jisoo, 5 * 1_024 * 1_024 + 1).await;
    assert!(too_large.starts_with("HTTP/1.1 413"), "{too_large}");
    assert!(too_large.contains("\"code\":\"payload_too_large\""), "{too_large}");
}

/// Announces a picture of this length without sending it, and gives the whole answer: whoever is still sending when the
/// server refuses and closes may never read what it said.
async fn announce(port: u16, user: &User, bytes: usize) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let token = &user.token;
    let head = format!(
        "POST /v1/profile/upload-image HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("the server closes").unwrap();
    answer
}

/// The beginning of a body, and not the rest.
async fn a_body_that_does_not_come_is_not_waited_for(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    for _ in 0..3 {
        let answer = announce(app.port(), &jisoo, 1_000).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("\"code\":\"timed_out\""), "{answer}");
    }
    uploaded(&jisoo, png()).await;
}

async fn uploads_at_once_leave_one(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    // More than two at once are refused, and none of them is lost.
    let uploads = (0..6).map(|_| upload(&jisoo, "image/png", png()));
    let given: Vec<Answer> = futures_util::future::join_all(uploads).await;
    assert!(given.iter().all(|answer| [200, 503].contains(&answer.status)));
    assert!(given.iter().filter(|answer| answer.status == 200).count() >= 2);

    let profile = jisoo.get("/users/profile").await.json(200);
    picture(app, &profile["avatar"]).await;
    assert_eq!(files(app).len(), 3);
    assert_eq!(rows::texts(app, "SELECT state FROM images").await, ["shown"]);
}

async fn a_picture_that_is_not_shown_is_gone(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let first = uploaded(&jisoo, png()).await["avatar"].clone();
    let second = uploaded(&jisoo, png()).await["avatar"].clone();
    assert_ne!(first, second);
    app.get(first.as_str().unwrap()).await.refused(404, "not_found");

    jisoo.delete("/profile/image").await.is(204);
    jisoo.delete("/profile/image").await.is(204);
    let profile = jisoo.get("/users/profile").await.json(200);
    assert_eq!((&profile["avatar"], &profile["avatar_sizes"]), (&Value::Null, &Value::Null));
    app.get(second.as_str().unwrap()).await.refused(404, "not_found");

    for elsewhere in [json!("https://cdn.example.com/a.png"), Value::Null] {
        uploaded(&jisoo, png()).await;
        jisoo.put("/users/profile", &json!({ "avatar": elsewhere })).await.is(200);
        assert_eq!(files(app), [""; 0]);
    }

    uploaded(&jisoo, png()).await;
    let leaving = jisoo.request(Method::DELETE, "/users/account");
    Answer::of(leaving.json(&json!({ "password": PASSWORD }))).await.is(204);
    assert_eq!(files(app), [""; 0]);
    assert_eq!(rows::texts(app, "SELECT state FROM images").await, [""; 0]);
}

async fn nobody_shows_the_picture_of_another(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let own = uploaded(&jisoo, png()).await;
    let small = &own["avatar_sizes"]["small"];
    let nothing = json!("/v1/images/0193aaaabbbb7cccdddd0123456789ab.jpg");
    for (user, avatar) in [
        (&minho, &own["avatar"]),
        (&jisoo, small),
        (&jisoo, &nothing),
        (&jisoo, &json!("/v1/images/x")),
    ] {
        let refused = user.put("/users/profile", &json!({ "avatar": avatar, "bio": "x" })).await;
        refused.refused(422, "invalid_avatar");
    }
    assert_eq!(minho.get("/users/profile").await.json(200)["bio"], "");

    let same = json!({ "avatar": own["avatar"], "bio": "그네" });
    assert_eq!(jisoo.put("/users/profile", &same).await.json(200)["avatar"], own["avatar"]);
    picture(app, &own["avatar"]).await;
    minho.delete("/profile/image").await.is(204);
    picture(app, &own["avatar"]).await;
}

async fn a_kill_leaves_no_profile_without_its_picture(app: &mut TestApp) {
    let mut users = Vec::new();
    for name in ["jisoo", "minho", "sana"] {
        users.push(app.register(name).await);
    }
    for _ in 0..3 {
        let uploading = users.iter().cloned().map(|user| {
            tokio::spawn(async move {
                loop {
                    let request = user.request(Method::POST, "/profile/upload-image");
                    if Answer::try_of(request.body(png())).await.is_err() {
                        return;
                    }
                }
            })
        });
        let uploading: Vec<_> = uploading.collect();
        let before = rows::texts(app, "SELECT COALESCE(avatar, '') FROM users ORDER BY id").await;
        eventually("pictures are being replaced", async || {
            let sql = "SELECT COALESCE(avatar, '') FROM users ORDER BY id";
            (rows::texts(app, sql).await != before).then_some(())
        })
        .await;
        app.kill();
        for task in uploading {
            task.await.unwrap();
        }
        app.start_again().await;
        users = users.iter().map(|user| user.at(app)).collect();
        for user in &users {
            let profile = user.get("/users/profile").await.json(200);
            for path in profile["avatar_sizes"].as_object().into_iter().flat_map(|it| it.values()) {
                picture(app, path).await;
            }
        }
        // Whatever lies there is known, and will be cleared.
        let known = known_ids(app).await;
        for file in files(app) {
            assert!(known.iter().any(|id| file.starts_with(id)), "{file} belongs to nobody");
        }
    }
}

/// The ids of all pictures that the database knows of, as they begin the names of files.
async fn known_ids(app: &TestApp) -> Vec<String> {
    let sql = match app.database_url().as_str() {
        "" => "SELECT lower(hex(id)) FROM images",
        _ => "SELECT replace(id::text, '-', '') FROM images",
    };
    rows::texts(app, sql).await
}

/// Begins an upload that comes to its end when it is told to; its head is on the way.
async fn begin_slowly(user: &User) -> (JoinHandle<Answer>, oneshot::Sender<()>) {
    let (go_on, waits) = oneshot::channel::<()>();
    let body = png();
    let (half, rest) = (body[..20].to_vec(), body[20..].to_vec());
    let (begun, is_under_way) = oneshot::channel::<()>();
    let start = Some((half, rest, waits, begun));
    let slowly = futures_util::stream::unfold(start, |state| async move {
        let (half, rest, waits, begun) = state?;
        if half.is_empty() {
            let _ = begun.send(());
            let _ = waits.await;
            return Some((Ok::<_, std::io::Error>(rest), None));
        }
        Some((Ok(half), Some((Vec::new(), rest, waits, begun))))
    });
    let request = user.request(Method::POST, "/profile/upload-image");
    let upload = tokio::spawn(Answer::of(request.body(reqwest::Body::wrap_stream(slowly))));
    is_under_way.await.unwrap();
    (upload, go_on)
}

async fn a_full_house_refuses_before_the_body_is_read(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;

    let (refused, first, go_on) = eventually("the first takes the place", async || {
        let (first, go_on) = begin_slowly(&jisoo).await;
        let second = upload(&jisoo, "image/png", png()).await;
        if second.status != 200 {
            return Some((second, first, go_on));
        }
        // The second was there before the first, which has no place then.
        let _ = go_on.send(());
        first.await.unwrap();
        None
    })
    .await;

    refused.refused(503, "overloaded");
    assert!(refused.header("retry-after").is_some());
    go_on.send(()).unwrap();
    first.await.unwrap().is(200);
    upload(&jisoo, "image/png", png()).await.is(200);
}

async fn a_picture_without_a_length_is_counted_as_it_comes(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let chunks = (0..5).map(|_| Ok::<_, std::io::Error>(vec![0; 1_000]));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let request = jisoo.request(Method::POST, "/profile/upload-image").body(body);
    Answer::of(request).await.refused(413, "payload_too_large");
}

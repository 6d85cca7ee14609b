//! Shutdown: what SIGTERM ends, what it lets finish, and that it always comes to an end.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::app::{PATIENCE, TestApp, eventually};
use crate::both::Settings;
use crate::user::User;

const SOON: Settings = &[("MADANG__HTTP__SHUTDOWN_TIMEOUT_S", "1")];

on_both_databases!(
    a_request_in_flight_is_answered_and_an_idle_connection_is_closed,
    a_socket_is_told_before_it_is_closed,
);
on_both_databases!(with super::SOON; a_request_that_never_ends_does_not_hold_up_the_stop);

async fn a_request_in_flight_is_answered_and_an_idle_connection_is_closed(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let room = jisoo.group("마당", &[]).await;
    let mut idle = connect(app).await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let mut busy = connect(app).await;
    let (begin, rest) = slow_message(&jisoo, &room);
    busy.write_all(begin.as_bytes()).await.unwrap();
    // Answered on the same worker or another, but after the half request has been read.
    jisoo.get("/users/profile").await.is(200);

    app.terminate();
    read_to_end(&mut idle).await;
    eventually("the listener is closed", async || {
        TcpStream::connect(("127.0.0.1", app.port())).await.is_err().then_some(())
    })
    .await;
    busy.write_all(rest.as_bytes()).await.unwrap();

    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(app.ended().await.success());
    app.restart().await;
    let messages = jisoo.at(app).messages(&room, "limit=10").await;
    assert_eq!(messages.last().unwrap()["key"], "slow");
}

async fn a_socket_is_told_before_it_is_closed(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut socket = jisoo.follow(&[]).await;

    app.terminate();

    assert_eq!(socket.closed_with_bye().await, Some(4000));
    assert!(app.ended().await.success());
}

async fn a_request_that_never_ends_does_not_hold_up_the_stop(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let room = jisoo.group("마당", &[]).await;
    let mut stuck = connect(app).await;
    let (begin, _) = slow_message(&jisoo, &room);
    stuck.write_all(begin.as_bytes()).await.unwrap();
    jisoo.get("/users/profile").await.is(200);

    app.terminate();

    assert!(app.ended().await.success());
    assert_eq!(read_to_end(&mut stuck).await, "", "what was not asked to the end is not answered");
}

pub(crate) async fn connect(app: &TestApp) -> TcpStream {
    TcpStream::connect(("127.0.0.1", app.port())).await.unwrap()
}

/// A request to send a message, in two parts.
pub(crate) fn slow_message(user: &User, room: &str) -> (String, String) {
    let body = r#"{"key":"slow","body":"at last"}"#;
    let (half, rest) = body.split_at(body.len() / 2);
    let head = format!(
        "POST /v1/chat/rooms/{room}/messages HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        user.token,
        body.len()
    );
    (format!("{head}{half}"), rest.to_owned())
}

/// What still comes before the server closes, be it rudely.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _reset = timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("an end");
    String::from_utf8(text).unwrap()
}

//! Errors: whatever goes wrong, the framework's own failures included, is a problem (RFC 9457).

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::app::{PATIENCE, TestApp};

on_both_databases!(every_failure_is_a_problem, a_request_id_is_taken_in_or_made);

async fn every_failure_is_a_problem(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let raw = |method: Method, path: &str, media_type: &str, body: &str| {
        let request = app.http.request(method, app.url(path)).bearer_auth(&jisoo.token);
        Answer::of(request.header(CONTENT_TYPE, media_type.to_owned()).body(body.to_owned()))
    };
    let json_type = "application/json";

    for path in ["/nowhere", "/v1/nowhere", "/v1/chat/rooms/7/8/9", "/v1/chat/rooms/nonsense"] {
        raw(Method::GET, path, json_type, "").await.refused(404, "not_found");
    }
    let wrong_method = raw(Method::DELETE, "/v1/chat/rooms", json_type, "").await;
    wrong_method.refused(405, "method_not_allowed");
    let allow = wrong_method.header("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    app.get("/v1/users/profile").await.refused(401, "unauthenticated");

    let login = "/v1/auth/login";
    let broken = raw(Method::POST, login, json_type, "{\"identifier\":").await;
    broken.refused(400, "malformed_json");
    let not_json = raw(Method::POST, login, "text/plain", "hello").await;
    not_json.refused(415, "unsupported_media_type");
    let too_large = announce(app.port(), 1_100_000).await;
    assert!(too_large.starts_with("HTTP/1.1 413"), "{too_large}");
    assert!(too_large.contains("application/problem+json"), "{too_large}");
    assert!(too_large.contains("\"code\":\"payload_too_large\""), "{too_large}");

    let unknown = json!({ "identifier": "a", "password": "b", "admin": true }).to_string();
    let problem = raw(Method::POST, login, json_type, &unknown).await.refused(422, "invalid_body");
    assert_eq!(problem["errors"][0]["pointer"], "/admin");
    let missing = raw(Method::POST, login, json_type, "{}").await.refused(422, "invalid_body");
    assert_eq!(missing["errors"][0]["code"], "missing_field");
    for query in ["limit=0", "limit=201", "limit=x", "page=2"] {
        let answer = jisoo.get(&format!("/chat/rooms?{query}")).await;
        answer.refused(422, "invalid_query");
    }
}

async fn a_request_id_is_taken_in_or_made(app: &mut TestApp) {
    let with_id =
        |id: &str| Answer::of(app.http.get(app.url("/nowhere")).header("x-request-id", id));

    let taken = with_id("trip-7").await;
    assert_eq!(taken.refused(404, "not_found")["request_id"], "trip-7");
    let made = with_id(&"x".repeat(1_000)).await;
    let id = made.header("x-request-id").unwrap();
    assert!(!id.is_empty() && id.len() < 100, "{id}");
}

/// Announces a body of this length without sending it, and gives the whole answer: whoever is still sending when the
/// server refuses and closes may never read what it said.
async fn announce(port: u16, bytes: usize) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "POST /v1/auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("the server closes").unwrap();
    answer
}

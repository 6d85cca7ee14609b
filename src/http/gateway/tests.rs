//! The gateway around an application of its own: what every answer has in common, whatever happens inside.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::to_bytes;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, init_service, try_call_service};
use actix_web::{App, HttpResponse, web};
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Handle;

use super::{Gateway, Limiters};
use crate::config::Config;
use crate::http::problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: String,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(self.header("content-type"), problem::CONTENT_TYPE);
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        problem["code"].as_str().unwrap().to_owned()
    }
}

fn config(variables: &[(&'static str, &'static str)]) -> Config {
    Config::read(None, variables.iter().copied()).unwrap()
}

/// Sends requests, one after the other, to one application with the given settings.
async fn ask(config: &Config, requests: Vec<TestRequest>) -> Vec<Answer> {
    let limiters = Limiters::new(&config.limits, &Handle::current(), None);
    let gateway = Arc::new(Gateway::new(config, limiters));
    let bytes_max = config.http.body_bytes_max;
    let app = App::new()
        .configure(|cfg| problem::configure(cfg, bytes_max))
        .route("/livez", web::get().to(|| async { "alive" }))
        .route("/v1/chat/rooms", web::get().to(|| async { "rooms" }))
        .route("/v1/body", web::post().to(|body: web::Json<Body>| async move { body.name.clone() }))
        .route("/v1/bare", web::get().to(HttpResponse::InternalServerError))
        .route(
            "/v1/slow",
            web::get().to(|| async {
                tokio::time::sleep(Duration::from_secs(30)).await;
                "late"
            }),
        )
        .default_service(web::to(problem::no_route))
        .wrap(from_fn(move |request, next| Arc::clone(&gateway).pass(request, next)));
    let app = init_service(app).await;

    let mut answers = Vec::new();
    for request in requests {
        let response = match try_call_service(&app, request.to_request()).await {
            Ok(response) => response.into_parts().1,
            Err(error) => error.error_response(),
        };
        answers.push(answer(response).await);
    }
    answers
}

async fn answer(response: HttpResponse) -> Answer {
    let (head, body) = response.into_parts();
    let (status, headers) = (head.status(), head.headers().clone());
    Answer { status, headers, body: to_bytes(body).await.unwrap().to_vec() }
}

async fn ask_one(request: TestRequest) -> Answer {
    ask(&config(&[]), vec![request]).await.remove(0)
}

fn post(body: &'static str) -> TestRequest {
    TestRequest::post()
        .uri("/v1/body")
        .insert_header(("content-type", "application/json"))
        .set_payload(body)
}

#[actix_web::test]
async fn every_answer_has_an_id_and_the_security_headers() {
    let answer =
        ask_one(TestRequest::get().uri("/livez").insert_header(("x-request-id", "r-1"))).await;

    assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, b"alive".as_slice()));
    assert_eq!(answer.header("x-request-id"), "r-1");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.header("ratelimit-policy").starts_with("\"ip\";q=200;w=4"));
}

#[actix_web::test]
async fn what_is_not_there_is_404_and_a_wrong_method_is_405() {
    let missing = ask_one(TestRequest::get().uri("/v1/nowhere")).await;
    let wrong = ask_one(TestRequest::delete().uri("/livez")).await;

    assert_eq!((missing.status.as_u16(), missing.code().as_str()), (404, "not_found"));
    assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(wrong.header("allow"), "GET, HEAD");
}

#[actix_web::test]
async fn the_frameworks_own_errors_are_problems() {
    let large = "{\"name\":\"".to_owned() + &"a".repeat(2_000) + "\"}";
    let config = config(&[("MADANG__HTTP__BODY_BYTES_MAX", "1024")]);
    let answers = ask(
        &config,
        vec![
            post("{"),
            post("{\"name\":1}"),
            post("{\"name\":\"a\",\"b\":1}"),
            post("{\"name\":\"a\"}").insert_header(("content-type", "text/plain")),
            post("").set_payload(large),
            TestRequest::get().uri("/v1/bare"),
        ],
    )
    .await;

    let told: Vec<(u16, String)> = answers.iter().map(|a| (a.status.as_u16(), a.code())).collect();
    let expected = [
        (400, "malformed_json"),
        (422, "invalid_body"),
        (422, "invalid_body"),
        (415, "unsupported_media_type"),
        (413, "payload_too_large"),
        (500, "internal"),
    ];
    assert_eq!(told, expected.map(|(status, code)| (status, code.to_owned())));
}

#[actix_web::test]
async fn a_slow_request_is_given_up_with_all_headers() {
    let config = config(&[("MADANG__HTTP__REQUEST_TIMEOUT_MS", "100")]);
    let answer = ask(&config, vec![TestRequest::get().uri("/v1/slow")]).await.remove(0);

    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "timed_out"));
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

#[actix_web::test]
async fn an_alias_and_head_reach_the_handler() {
    let alias = ask_one(TestRequest::get().uri("/v1/chat-rooms?limit=1")).await;
    let head = ask_one(TestRequest::default().method(Method::HEAD).uri("/livez")).await;

    assert_eq!((alias.status, alias.body.as_slice()), (StatusCode::OK, b"rooms".as_slice()));
    assert_eq!(head.status, StatusCode::OK);
}

#[actix_web::test]
async fn too_much_from_one_address_is_429_and_says_when_to_come_back() {
    let config = config(&[("MADANG__LIMITS__BURST_IP", "2")]);
    let requests = (0..3).map(|_| TestRequest::get().uri("/livez")).collect();

    let answers = ask(&config, requests).await;

    let statuses: Vec<u16> = answers.iter().map(|a| a.status.as_u16()).collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(answers[2].code(), "rate_limited");
    assert_eq!(answers[2].header("retry-after"), "1");
    assert_eq!(answers[2].header("ratelimit"), "\"ip\";r=0;t=1");
}

#[actix_web::test]
async fn only_listed_origins_pass_a_preflight() {
    let config = config(&[("MADANG__HTTP__CORS_ORIGINS", "https://app.example.com")]);
    let preflight = |origin: &'static str| {
        TestRequest::default()
            .method(Method::OPTIONS)
            .uri("/v1/chat/rooms")
            .insert_header(("origin", origin))
            .insert_header(("access-control-request-method", "GET"))
    };

    let answers = ask(
        &config,
        vec![preflight("https://app.example.com"), preflight("https://evil.example.com")],
    )
    .await;

    assert_eq!(answers[0].status, StatusCode::NO_CONTENT);
    assert_eq!(answers[0].header("access-control-allow-origin"), "https://app.example.com");
    assert_eq!(
        (answers[1].status.as_u16(), answers[1].code().as_str()),
        (403, "origin_not_allowed")
    );
    assert_eq!(answers[1].header("access-control-allow-origin"), "");
}

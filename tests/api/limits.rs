//! Limits: how much one address, one user and one account may ask for, and how they are told.

use serde_json::json;

use crate::app::TestApp;
use crate::both::Settings;
use crate::socket::Socket;

/// So slow that no bucket fills up again while a test runs.
const TIGHT: Settings = &[
    ("MADANG__LIMITS__ENABLED", "true"),
    ("MADANG__LIMITS__REQUESTS_PER_SECOND_USER", "1"),
    ("MADANG__LIMITS__BURST_USER", "5"),
    ("MADANG__LIMITS__REQUESTS_PER_SECOND_IP", "1000"),
    ("MADANG__LIMITS__BURST_IP", "1000"),
];
const FEW_SOCKETS: Settings = &[("MADANG__LIMITS__CONNECTIONS_PER_USER", "2")];

on_both_databases!(with super::TIGHT; a_user_who_asks_too_much_is_told_when_to_come_back);
on_both_databases!(with super::FEW_SOCKETS; a_user_has_so_many_sockets_and_no_more);

async fn a_user_who_asks_too_much_is_told_when_to_come_back(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let first = jisoo.get("/users/profile").await;
    first.is(200);
    let policy = first.header("ratelimit-policy").unwrap();
    assert!(policy.contains("\"user\";q=5") && policy.contains("\"ip\";q=1000"), "{policy}");
    assert!(first.header("ratelimit").unwrap().contains("\"user\";r="));

    let mut answer = first;
    for _ in 0..1_000 {
        if answer.status != 200 {
            break;
        }
        answer = jisoo.get("/users/profile").await;
    }

    answer.refused(429, "rate_limited");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(answer.header("ratelimit").unwrap().contains("\"user\";r=0"));
    // One who is noisy does not silence another.
    minho.get("/users/profile").await.is(200);
}

async fn a_user_has_so_many_sockets_and_no_more(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let (first, _second) = (jisoo.follow(&[]).await, jisoo.follow(&[]).await);
    let mut third = jisoo.socket().await;
    third.ask(json!({ "op": "hello" })).await;
    assert_eq!(third.closed_with_bye().await, Some(4306));

    drop(first);
    crate::app::eventually("the place is free again", async || {
        let mut socket = Socket::open(app.port(), Some(&jisoo.token)).await;
        let id = socket.ask(json!({ "op": "hello" })).await;
        socket.try_reply(id).await
    })
    .await;
}

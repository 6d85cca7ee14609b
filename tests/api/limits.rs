//! Limits: how much one address, one user and one account may ask for, and how they are told.

use serde_json::json;

use crate::answer::Answer;
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
const SMALL_HOUSE: Settings =
    &[("MADANG__LIMITS__ENABLED", "true"), ("MADANG__LIMITS__CONNECTIONS_PER_IP", "2")];
const FEW_SOCKETS: Settings = &[("MADANG__LIMITS__CONNECTIONS_PER_USER", "2")];

/// Enough for a test to begin, and then one each second.
const SLOW_DOOR: Settings = &[
    ("MADANG__LIMITS__ENABLED", "true"),
    ("MADANG__LIMITS__ACCEPTS_PER_SECOND", "1"),
    ("MADANG__LIMITS__ACCEPT_BURST", "40"),
];

on_both_databases!(with super::TIGHT; a_user_who_asks_too_much_is_told_when_to_come_back);
on_both_databases!(with super::SLOW_DOOR; a_crowd_at_the_door_is_told_to_come_back_and_nobody_inside_notices);
on_both_databases!(with super::SMALL_HOUSE; an_address_has_so_many_connections_and_no_more);
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

async fn a_crowd_at_the_door_is_told_to_come_back_and_nobody_inside_notices(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut inside = jisoo.follow(&[]).await;
    let mut refused = None;
    for _ in 0..200 {
        let newcomer = reqwest::Client::new();
        let answer = Answer::of(newcomer.get(app.url("/livez"))).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }

    let refused = refused.expect("two hundred at once are too many");
    refused.refused(503, "overloaded");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    inside.ok(json!({ "op": "ping" })).await;
}

async fn an_address_has_so_many_connections_and_no_more(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let (first, mut second) = (jisoo.follow(&[]).await, minho.follow(&[]).await);

    assert!(jisoo.try_socket().await.is_none(), "the handshake is refused");
    jisoo.get("/notifications/stream").await.refused(429, "too_many_connections");
    second.ok(json!({ "op": "ping" })).await;

    drop(first);
    crate::app::eventually("a seat is free", async || jisoo.try_socket().await).await;
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

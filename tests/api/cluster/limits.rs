//! Limits of all nodes together: connections of a user and rates, with Redis and without it.

use std::num::NonZeroU32;
use std::time::Instant;

use futures_util::future::join_all;
use madang::domain::gcra::Rate;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use redis::aio::MultiplexedConnection;
use serde_json::json;

use super::nodes::Cluster;
use super::redis::RedisServer;
use crate::answer::Answer;
use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::socket::Socket;
use crate::user::User;

const SEATS: usize = 3;
const FEW_SEATS: Settings = &[("MADANG__LIMITS__CONNECTIONS_PER_USER", "3")];

const BURST: u64 = 5;
/// One each second is what fills up while a test runs.
const TIGHT: Settings = &[
    ("MADANG__LIMITS__ENABLED", "true"),
    ("MADANG__LIMITS__REQUESTS_PER_SECOND_USER", "1"),
    ("MADANG__LIMITS__BURST_USER", "5"),
    ("MADANG__LIMITS__REQUESTS_PER_SECOND_IP", "1000"),
    ("MADANG__LIMITS__BURST_IP", "1000"),
];

#[tokio::test]
async fn a_user_has_so_many_connections_on_all_nodes_together() {
    let cluster = Box::pin(Cluster::start(2, FEW_SEATS)).await;
    let (here, there) = on_both(&cluster, "jisoo").await;
    let first = sit(&here).await.expect("the first of three");
    let _second = sit(&there).await.expect("the second of three");
    let _third = sit(&here).await.expect("the third of three");

    is_sent_away(&here).await;
    is_sent_away(&there).await;
    there.get("/notifications/stream").await.refused(429, "too_many_connections");

    drop(first);
    let _next = eventually("the place is free on every node", async || sit(&there).await).await;
    is_sent_away(&here).await;
    cluster.finish().await;
}

#[tokio::test]
async fn a_crowd_on_both_nodes_gets_no_more_than_there_is() {
    let cluster = Box::pin(Cluster::start(2, FEW_SEATS)).await;
    let (here, there) = on_both(&cluster, "jisoo").await;

    let crowd = (0..6).flat_map(|_| [&here, &there]).map(sit);
    let mut held: Vec<Socket> = join_all(crowd).await.into_iter().flatten().collect();

    assert!(held.len() <= SEATS, "{} were let in", held.len());
    while held.len() < SEATS {
        held.push(eventually("there are places left", async || sit(&there).await).await);
    }
    is_sent_away(&here).await;
    is_sent_away(&there).await;
    cluster.finish().await;
}

#[tokio::test]
async fn without_redis_each_node_counts_for_itself_and_afterwards_all_do() {
    let mut cluster = Box::pin(Cluster::start(2, FEW_SEATS)).await;
    let (here, there) = on_both(&cluster, "jisoo").await;
    let mut on_here = [sit(&here).await.unwrap(), sit(&here).await.unwrap()];
    let mut on_there = sit(&there).await.unwrap();

    cluster.redis.kill();
    let third_here = sit(&here).await.expect("this node has a place left");
    is_sent_away(&here).await;
    let second_there = sit(&there).await.expect("so has this one");
    for socket in on_here.iter_mut().chain([&mut on_there]) {
        socket.ok(json!({ "op": "ping" })).await;
    }
    drop((third_here, second_there));

    // What it knew is gone with it.
    cluster.redis.restart().await;
    let mut redis = client(&cluster.redis).await;
    eventually("every node has told its counts again", async || {
        (counts(&mut redis, &here).await == [1, 2]).then_some(())
    })
    .await;
    is_sent_away(&here).await;
    is_sent_away(&there).await;

    drop(on_there);
    let _next = eventually("the place is free on every node", async || sit(&here).await).await;
    cluster.finish().await;
}

#[tokio::test]
async fn who_sat_on_a_node_that_was_killed_does_not_count_for_ever() {
    let mut cluster = Box::pin(Cluster::start(2, FEW_SEATS)).await;
    let (here, there) = on_both(&cluster, "jisoo").await;
    let _first = sit(&here).await.unwrap();
    let _lost = [sit(&there).await.unwrap(), sit(&there).await.unwrap()];
    is_sent_away(&here).await;

    cluster.node_mut(1).kill();

    let _second = eventually("the lease of the node is over", async || sit(&here).await).await;
    // Each of its places was taken at a moment of its own.
    let _third = eventually("the other place is free too", async || sit(&here).await).await;
    is_sent_away(&here).await;
    cluster.finish().await;
}

#[tokio::test]
async fn a_burst_is_one_burst_on_all_nodes() {
    let cluster = Box::pin(Cluster::start(2, TIGHT)).await;
    let (here, there) = on_both(&cluster, "jisoo").await;
    let started = Instant::now();
    let (mut allowed, mut refused) = (0_u64, None);
    for user in [&here, &there].into_iter().cycle().take(1_000) {
        let answer = user.get("/users/profile").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
        allowed += 1;
        // More than the node would say by itself: the other one's are counted too.
        let filled = started.elapsed().as_secs() + 1 + verdicts_alone(&cluster).await;
        assert!(left(&answer) <= (BURST + filled).saturating_sub(allowed), "{allowed} before");
    }

    let filled = started.elapsed().as_secs() + 1 + verdicts_alone(&cluster).await;
    assert!(allowed <= BURST + filled, "{allowed} were let through");
    let refused = refused.expect("somewhere it ends");
    refused.refused(429, "rate_limited");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(refused.header("ratelimit-policy").unwrap().contains("\"user\";q=5;w=5"));
    assert_eq!(left(&refused), 0);
    // One who is noisy does not silence another.
    let minho = cluster.node(1).register("minho").await;
    minho.get("/users/profile").await.is(200);
    cluster.finish().await;
}

#[tokio::test]
async fn without_redis_each_node_limits_for_itself() {
    let mut cluster = Box::pin(Cluster::start(2, TIGHT)).await;
    let (here, there) = on_both(&cluster, "jisoo").await;
    cluster.redis.kill();

    for user in [&here, &there] {
        let mut allowed = 0_u64;
        let refused = loop {
            let answer = user.get("/users/profile").await;
            if answer.status != 200 {
                break answer;
            }
            allowed += 1;
        };
        assert!(allowed >= BURST, "a whole burst on each node, not {allowed}");
        refused.refused(429, "rate_limited");
    }
    assert!(verdicts_alone(&cluster).await >= 2 * BURST);
    cluster.finish().await;
}

/// Random calls, in real time, to the script on a real server and to the rule beside it.
#[tokio::test]
async fn the_script_decides_as_the_rule_does() {
    const CALLS: usize = 400;
    let server = RedisServer::start().await;
    let mut redis = client(&server).await;
    let script = redis::Script::new(include_str!("../../../src/http/gateway/rate.lua"));
    let mut random = StdRng::seed_from_u64(17);
    for round in 0..5 {
        let keys = ["ip", "auth"].map(|name| format!("md:{{1}}:rate:{name}:{round}"));
        let mut number = |range| NonZeroU32::new(random.random_range(range)).unwrap();
        let rates = [(); 2].map(|()| Rate::new(number(20..400), number(1..12)));
        let mut full_at = [None; 2];
        for call in 0..CALLS {
            let mut prepared = script.prepare_invoke();
            for (key, rate) in keys.iter().zip(&rates) {
                prepared.key(key).arg(rate.interval_us()).arg(rate.tolerance_us());
            }
            let answer: Vec<u64> = prepared.invoke_async(&mut redis).await.unwrap();

            let now = answer[0];
            let mut expected = vec![now];
            for (rate, full_at) in rates.iter().zip(&mut full_at) {
                let taken = rate.take(*full_at, now);
                expected.extend([u64::from(taken.is_allowed), taken.ahead_us]);
                if !taken.is_allowed {
                    break;
                }
                *full_at = Some(now + taken.ahead_us);
            }
            assert_eq!(answer, expected, "round {round}, call {call}, {rates:?}");
            let pause_us = if random.random_bool(0.3) { random.random_range(0..30_000) } else { 0 };
            tokio::time::sleep(std::time::Duration::from_micros(pause_us)).await;
        }
    }
}

#[tokio::test]
async fn neither_late_counts_nor_dead_nodes_take_a_seat() {
    const START: u64 = 1_795_244_400_000_000;
    const SECOND: u64 = 1_000_000;
    const MAX: usize = SEATS;
    let server = RedisServer::start().await;
    let mut redis = client(&server).await;
    let script = redis::Script::new(include_str!("../../../src/http/server/seats.lua"));
    let mut tell = async |node: &str, version: u64, held: usize, max: usize, living: &[&str]| {
        let mut prepared = script.prepare_invoke();
        prepared.key("md:{1}:seats:jisoo").arg(node).arg(version).arg(held).arg(max);
        prepared.arg(86_400).arg(60).arg(living);
        prepared.invoke_async::<bool>(&mut redis).await.unwrap()
    };
    let both = ["a", "b"].as_slice();
    assert!(tell("a", START, 2, MAX, both).await);
    assert!(tell("b", START + 1, 1, MAX, both).await);
    assert!(!tell("b", START + 2, 2, MAX, both).await);

    // The last one of a leaves, and what it had told before comes in after that.
    assert!(tell("a", START + 4, 0, 0, both).await);
    assert!(tell("a", START + 3, 2, 0, both).await);
    assert!(tell("b", START + 5, 3, MAX, both).await);

    // A node that is not known to live counts as long as it may be new, and again when it does live.
    assert!(!tell("a", START + 9 * SECOND, 1, MAX, &["a"]).await);
    assert!(tell("a", START + 11 * SECOND, 1, MAX, &["a"]).await);
    assert!(!tell("a", START + 12 * SECOND, 1, MAX, both).await);
}

/// Somebody who is logged in, as seen from the first node and from the second.
async fn on_both(cluster: &Cluster, name: &str) -> (User, User) {
    let here = cluster.node(0).register(name).await;
    let there = here.at(cluster.node(1));
    (here, there)
}

/// Opens a socket and says hello; `None` when the user holds as many as it may.
async fn sit(user: &User) -> Option<Socket> {
    let mut socket = user.socket().await;
    let id = socket.ask(json!({ "op": "hello" })).await;
    socket.try_reply(id).await.map(|_| socket)
}

/// Comes back once a socket was refused: where Redis takes its time, a node decides for itself.
async fn is_sent_away(user: &User) {
    let code = eventually("there is no place", async || {
        let mut socket = user.socket().await;
        let id = socket.ask(json!({ "op": "hello" })).await;
        socket.reply_or_close(id).await.err()
    })
    .await;
    assert_eq!(code, Some(4306));
}

/// What is left of the user's bucket, as an answer tells it.
fn left(answer: &Answer) -> u64 {
    let header = answer.header("ratelimit").unwrap();
    let (_, rest) = header.split_once("\"user\";r=").unwrap();
    rest.split(';').next().unwrap().parse().unwrap()
}

/// How often the nodes have decided about a rate without Redis, because it did not answer in time.
async fn verdicts_alone(cluster: &Cluster) -> u64 {
    let mut sum = 0;
    for node in [cluster.node(0), cluster.node(1)] {
        sum += verdicts_of(node).await;
    }
    sum
}

async fn verdicts_of(node: &TestApp) -> u64 {
    let metrics = node.get("/metrics").await.text;
    let mut lines = metrics.lines();
    let line = lines.find_map(|line| {
        line.strip_prefix("madang_limits_local_total{limit=\"rate\"} ").map(str::to_owned)
    });
    line.map_or(0, |count| count.parse().unwrap())
}

async fn client(server: &RedisServer) -> MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    eventually("Redis answers", async || client.get_multiplexed_async_connection().await.ok()).await
}

/// The counts that nodes have told of a user and that are not zero, the smallest first.
async fn counts(redis: &mut MultiplexedConnection, user: &User) -> Vec<u64> {
    let pattern = format!("md:*:seats:{}", user.id);
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(pattern).query_async(redis).await.unwrap_or_default();
    let Some(key) = keys.first() else { return Vec::new() };
    let told: Vec<String> = redis::cmd("HVALS").arg(key).query_async(redis).await.unwrap();
    let told = told.iter().map(|told| told.split_once(':').unwrap().1.parse().unwrap());
    let mut counts: Vec<u64> = told.filter(|count| *count > 0).collect();
    counts.sort_unstable();
    counts
}

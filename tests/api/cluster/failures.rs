//! What a cluster does when a part of it fails: it goes on, says so, and loses nothing.

use serde_json::json;

use super::nodes::{Cluster, is_linked};
use crate::app::eventually;

#[tokio::test]
async fn without_redis_the_nodes_go_on_and_say_so() {
    let mut cluster = Cluster::start(2, &[]).await;
    let (jisoo, minho, room) = cluster.pair().await;
    let channel = format!("room:{room}");
    let mut listener = minho.follow(&[&room]).await;
    let mut inbox = minho.socket().await;
    inbox.hello(&["me"]).await;

    cluster.redis.kill();
    is_linked(cluster.node(0), "degraded").await;
    is_linked(cluster.node(1), "degraded").await;
    let ready = cluster.node(1).get("/readyz").await.json(200);
    assert_eq!(ready["status"], "degraded");
    assert!(cluster.node(1).get("/metrics").await.text.contains("madang_link_up 0"));
    assert!(cluster.node(1).log().contains("degraded: other nodes are not heard"));
    let said = jisoo.say(&room, "k1", "without Redis").await;
    assert_eq!(listener.next_of(&channel).await["seq"], said["seq"]);
    // A room that is watched only now is heard as well.
    let group = jisoo.group("without Redis", &[&minho]).await;
    assert_eq!(inbox.next_named("room_added").await["data"]["room_id"], json!(group));
    let mut newcomer = minho.follow(&[&group]).await;
    let said = jisoo.say(&group, "k2", "to somebody new").await;
    assert_eq!(newcomer.next_of(&format!("room:{group}")).await["seq"], said["seq"]);

    cluster.redis.restart().await;
    cluster.is_linked().await;
    let said = jisoo.say(&room, "k3", "with it again").await;
    assert_eq!(listener.next_of(&channel).await["seq"], said["seq"]);
    cluster.finish().await;
}

#[tokio::test]
async fn a_publication_that_nobody_hears_is_found_in_the_store() {
    let cluster = Cluster::start(2, &[]).await;
    let (jisoo, minho, room) = cluster.pair().await;
    let channel = format!("room:{room}");
    let mut listener = minho.follow(&[&room]).await;
    for n in 0..5 {
        // Cut between two messages: whatever was published meanwhile is gone.
        cluster.redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        let said = jisoo.say(&room, &format!("k{n}"), "in between").await;
        assert_eq!(listener.next_of(&channel).await["seq"], said["seq"]);
    }
    cluster.finish().await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed_and_waited_for_by_nobody() {
    let cluster = Cluster::start(2, &[]).await;
    let (jisoo, minho, room) = cluster.pair().await;
    let channel = format!("room:{room}");
    let mut listener = minho.follow(&[&room]).await;
    cluster.redis.command(&["CLIENT", "PAUSE", "20000", "ALL"]);
    for n in 0..3 {
        let said = jisoo.say(&room, &format!("k{n}"), "meanwhile").await;
        assert_eq!(listener.next_of(&channel).await["seq"], said["seq"]);
    }
    is_linked(cluster.node(0), "degraded").await;
    is_linked(cluster.node(1), "degraded").await;
    cluster.is_linked().await;
    cluster.finish().await;
}

#[tokio::test]
async fn what_a_node_committed_before_it_died_is_heard_on_the_others() {
    let mut cluster = Cluster::start(2, &[]).await;
    let (jisoo, minho, room) = cluster.pair().await;
    let channel = format!("room:{room}");
    let mut listener = minho.follow(&[&room]).await;
    let said = jisoo.say(&room, "k1", "its last word").await;
    cluster.node_mut(0).kill();
    assert_eq!(listener.next_of(&channel).await["seq"], said["seq"]);
    // The same key on another node is the same message.
    let again = jisoo.at(cluster.node(1));
    let message = json!({ "key": "k1", "body": "its last word" });
    let answer = again.post(&format!("/chat/rooms/{room}/messages"), &message).await.json(200);
    assert_eq!((&answer["seq"], &answer["duplicate"]), (&said["seq"], &json!(true)));
    cluster.finish().await;
}

#[tokio::test]
async fn a_login_that_ends_on_one_node_is_over_on_all() {
    let mut cluster = Cluster::start(2, &[]).await;
    let jisoo = cluster.node(0).register("jisoo").await;
    let elsewhere = jisoo.at(cluster.node(1));
    let mut socket = elsewhere.follow(&[]).await;
    jisoo.post("/auth/logout", &json!({ "refresh_token": jisoo.refresh })).await.is(204);
    assert_eq!(socket.closed().await, Some(4202));
    elsewhere.get("/users/profile").await.is(401);

    // Without the link it is read from the store.
    cluster.redis.kill();
    is_linked(cluster.node(1), "degraded").await;
    let minho = cluster.node(0).register("minho").await;
    let elsewhere = minho.at(cluster.node(1));
    let mut socket = elsewhere.follow(&[]).await;
    minho.post("/auth/logout", &json!({ "refresh_token": minho.refresh })).await.is(204);
    assert_eq!(socket.closed().await, Some(4202));
    elsewhere.get("/users/profile").await.is(401);
    cluster.finish().await;
}

#[tokio::test]
async fn a_ticket_and_the_back_off_are_known_on_every_node() {
    let cluster = Cluster::start(2, &[]).await;
    let jisoo = cluster.node(0).register("jisoo").await;
    let elsewhere = jisoo.at(cluster.node(1));
    let ticket = jisoo.post("/tickets", &json!({})).await.json(201);
    let mut socket = crate::socket::Socket::open(cluster.node(1).port(), None).await;
    let hello = json!({ "op": "hello", "ticket": ticket["ticket"] });
    assert_eq!(socket.ok(hello.clone()).await["user"], json!(jisoo.id));
    let mut again = crate::socket::Socket::open(cluster.node(0).port(), None).await;
    assert_eq!(again.refused(hello).await, "unauthenticated");

    let wrong = json!({ "identifier": "jisoo", "password": "not the right one at all" });
    for n in 0..5 {
        cluster.node(n % 2).post("/v1/auth/login", &wrong).await;
    }
    let refused = eventually("the wait is long enough to be met", async || {
        let answer = cluster.node(1).post("/v1/auth/login", &wrong).await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(refused.json(429)["code"], "login_backoff");
    elsewhere.get("/users/profile").await.is(200);
    cluster.finish().await;
}

#[tokio::test]
async fn a_node_with_another_key_is_refused_at_the_start() {
    let cluster = Cluster::start(1, &[]).await;
    let told = cluster.start_stranger().await;
    assert!(told.contains("signs tokens with a key that is not known here"), "{told}");
    cluster.finish().await;
}

#[tokio::test]
async fn what_happens_is_counted_by_one_node_and_by_another_when_that_has_died() {
    let mut cluster = Cluster::start(2, &[]).await;
    cluster.node(0).register("jisoo").await;
    let counted = eventually("it is counted", async || {
        let counts = [registered(cluster.node(0)).await, registered(cluster.node(1)).await];
        (counts.iter().sum::<u64>() > 0).then_some(counts)
    })
    .await;
    let owner = usize::from(counted[1] > 0);
    cluster.node_mut(owner).kill();
    let other = 1 - owner;
    cluster.node(other).register("minho").await;
    let later = eventually("the other node has taken over", async || {
        let count = registered(cluster.node(other)).await;
        (count > counted[other]).then_some(count)
    })
    .await;
    // The cursor was saved, or the first is offered once more: never left out.
    assert!((1..=2).contains(&(later - counted[other])), "{counted:?} {later}");
    assert_eq!(counted.iter().sum::<u64>(), 1, "one node counts");
    cluster.finish().await;
}

/// How many accounts this node has counted.
async fn registered(node: &crate::app::TestApp) -> u64 {
    let metrics = node.get("/metrics").await.text;
    let mut lines = metrics.lines();
    let line = lines.find(|line| {
        line.starts_with("madang_domain_events_total{") && line.contains("name=\"UserRegistered\"")
    });
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |count| count.parse().unwrap())
}

//! Delivery across nodes: what is said on one is heard on the others, in order and once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_local};

use super::nodes::Cluster;
use super::redis::RedisServer;
use super::redis_cluster::RedisCluster;
use super::redis_sentinel::RedisSentinel;
use crate::app::TestApp;
use crate::both::Settings;
use crate::event_stream::EventStream;
use crate::socket::Socket;
use crate::user::User;

/// Nobody is asked whether it still lives, while slots are being moved.
const PATIENT: Settings = &[("MADANG__SOCKET__PING_INTERVAL_MS", "600000")];
/// Messages that each of several senders sends at once.
const MESSAGES: usize = 40;

#[tokio::test]
async fn members_on_several_nodes_hear_each_other() {
    let cluster = Cluster::start(2, &[]).await;
    hear_each_other(&cluster).await;
    cluster.finish().await;
}

#[tokio::test]
async fn nodes_are_linked_by_a_redis_cluster_too() {
    let redis = RedisCluster::start().await;
    let link = vec![
        ("MADANG__CLUSTER__REDIS_URL".to_owned(), redis.urls()),
        ("MADANG__CLUSTER__REDIS_MODE".to_owned(), "cluster".to_owned()),
    ];
    let cluster = Cluster::start_over(RedisServer::start().await, 2, &[], link).await;
    hear_each_other(&cluster).await;
    cluster.finish().await;
}

#[tokio::test]
async fn partitions_are_followed_when_they_move_and_missed_while_their_master_is_away() {
    let mut redis = RedisCluster::start().await;
    let link = vec![
        ("MADANG__CLUSTER__REDIS_URL".to_owned(), redis.urls()),
        ("MADANG__CLUSTER__REDIS_MODE".to_owned(), "cluster".to_owned()),
    ];
    let cluster = Cluster::start_over(RedisServer::start().await, 2, PATIENT, link).await;
    let (jisoo, minho, _) = cluster.pair().await;
    // In several rooms, so that each master has some.
    let mut rooms = Vec::new();
    for n in 0..6 {
        rooms.push(jisoo.group(&format!("room {n}"), &[&minho]).await);
    }
    let names: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let mut listener = minho.follow(&names).await;

    // All that the first master has, to the second.
    redis.move_slots(0, 1, 5_461).await;
    say_in_all(&jisoo, &rooms, &mut listener, "moved").await;
    cluster.is_linked().await;
    let heard = packets_heard(cluster.node(1)).await;
    say_in_all(&jisoo, &rooms, &mut listener, "followed").await;
    let rooms_heard = u64::try_from(rooms.len()).unwrap();
    assert!(packets_heard(cluster.node(1)).await >= heard + rooms_heard, "each by the link");

    redis.kill(2);
    say_in_all(&jisoo, &rooms, &mut listener, "away").await;
    redis.restart(2).await;
    cluster.is_linked().await;
    say_in_all(&jisoo, &rooms, &mut listener, "back").await;
    cluster.finish().await;
}

#[tokio::test]
async fn nodes_follow_where_sentinels_lead() {
    let mut redis = RedisSentinel::start().await;
    let link = vec![
        ("MADANG__CLUSTER__REDIS_URL".to_owned(), redis.urls()),
        ("MADANG__CLUSTER__REDIS_MODE".to_owned(), "sentinel".to_owned()),
        ("MADANG__CLUSTER__SENTINEL_MASTER".to_owned(), redis.master_name().to_owned()),
    ];
    let cluster = Cluster::start_over(RedisServer::start().await, 2, &[], link).await;
    let (jisoo, minho, room) = cluster.pair().await;
    let mut listener = minho.follow(&[&room]).await;
    redis.kill_master();
    let said = jisoo.say(&room, "k1", "while there is no master").await;
    let channel = format!("room:{room}");
    assert_eq!(listener.next_of(&channel).await["seq"], said["seq"]);
    cluster.is_linked().await;
    let said = jisoo.say(&room, "k2", "after the failover").await;
    assert_eq!(listener.next_of(&channel).await["seq"], said["seq"]);
    cluster.finish().await;
}

#[tokio::test]
async fn senders_on_several_nodes_make_one_order() {
    let cluster = Cluster::start(3, &[]).await;
    LocalSet::new().run_until(talk_at_once(&cluster)).await;
    cluster.finish().await;
}

#[tokio::test]
async fn a_client_moves_between_nodes_without_missing_anything() {
    let cluster = Cluster::start(2, &[]).await;
    let (jisoo, minho, room) = cluster.pair().await;
    let channel = format!("room:{room}");
    let mut position = minho.head(&room).await;
    for n in 0..6 {
        let said = jisoo.say(&room, &format!("before-{n}"), "while nobody listens").await;
        // The position that the last node gave is good on every other.
        let mut socket = minho.at(cluster.node(n % 2)).socket().await;
        socket.hello(&[]).await;
        let after = json!({ "channel": channel, "after": position });
        let answer = socket.subscribe(after).await;
        assert_eq!(answer["seq"], said["seq"], "a new watcher reads where the log ends: {answer}");
        socket.read_up_to(&channel, position, said["seq"].as_i64().unwrap()).await;
        assert_eq!(socket.next_event().await["event"], "live");
        let said = jisoo.say(&room, &format!("during-{n}"), "while somebody listens").await;
        position = said["seq"].as_i64().unwrap();
        assert_eq!(socket.next_of(&channel).await["seq"], said["seq"]);
    }
    cluster.finish().await;
}

/// Sockets, streams, the inbox and typing.
async fn hear_each_other(cluster: &Cluster) {
    let (jisoo, minho, room) = cluster.pair().await;
    let channel = format!("room:{room}");
    let mut on_first = jisoo.follow(&[&room]).await;
    let mut on_second = minho.follow(&[&room]).await;
    let path = format!("/messages/stream/{room}");
    let mut stream = EventStream::open(cluster.node(1).port(), &minho, &path, None).await;
    stream.next().await;

    let (heard, holes) = (packets_heard(cluster.node(1)).await, holes_read(cluster.node(1)).await);
    let said = on_first.send(&room, "k1", "from the first").await;
    for socket in [&mut on_first, &mut on_second] {
        let heard = socket.next_of(&channel).await;
        assert_eq!((&heard["seq"], &heard["data"]["key"]), (&said["seq"], &json!("k1")));
    }
    assert_eq!(stream.next().await.data["seq"], said["seq"]);
    // It came by the link, not from the store a little later.
    assert!(packets_heard(cluster.node(1)).await > heard);
    assert_eq!(holes_read(cluster.node(1)).await, holes);
    let said = on_second.send(&room, "k2", "from the second").await;
    assert_eq!(on_first.next_of(&channel).await["seq"], said["seq"]);

    on_first.ok(json!({ "op": "typing", "channel": channel })).await;
    let typing = loop {
        let event = on_second.next_event().await;
        if event["event"] == "typing_indicator" {
            break event;
        }
    };
    assert_eq!(typing["data"]["user_id"], json!(jisoo.id));

    let mut inbox = minho.socket().await;
    inbox.hello(&["me"]).await;
    let group = jisoo.group("reading circle", &[&minho]).await;
    let told = inbox.next_named("room_added").await;
    assert_eq!(told["data"]["room_id"], json!(group));
}

/// Says something in each room; the listener hears each, in whatever order of rooms.
async fn say_in_all(user: &User, rooms: &[String], listener: &mut Socket, key: &str) {
    let mut said = BTreeSet::new();
    for room in rooms {
        let answer = user.say(room, key, key).await;
        said.insert((format!("room:{room}"), answer["seq"].as_i64()));
    }
    while !said.is_empty() {
        let event = listener.next_event().await;
        let channel = event["channel"].as_str().unwrap_or_default().to_owned();
        let is_known = said.remove(&(channel, event["seq"].as_i64()));
        assert!(is_known || event["event"] != "message_sent", "once each: {event}");
    }
}

async fn packets_heard(node: &TestApp) -> u64 {
    metric(node, "madang_link_heard_total").await
}

async fn holes_read(node: &TestApp) -> u64 {
    metric(node, "madang_hub_holes_total").await
}

/// A counter without labels; 0 before it has counted anything.
async fn metric(node: &TestApp, name: &str) -> u64 {
    let metrics = node.get("/metrics").await.text;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

async fn talk_at_once(cluster: &Cluster) {
    let (jisoo, minho, room) = cluster.pair().await;
    let head = jisoo.head(&room).await;
    let channel = format!("room:{room}");
    let mut listeners = Vec::new();
    for at in 0..3 {
        listeners.push(minho.at(cluster.node(at)).follow(&[&room]).await);
    }
    let mut senders = Vec::new();
    for at in 0..3 {
        let who = if at == 0 { &minho } else { &jisoo };
        let socket = who.at(cluster.node(at)).follow(&[]).await;
        senders.push(spawn_local(send_many(socket, room.clone(), at)));
    }
    let mut seqs: Vec<i64> = Vec::new();
    for sender in senders {
        let own = sender.await.unwrap();
        assert!(own.is_sorted(), "one sender's messages keep their order: {own:?}");
        seqs.extend(own);
    }
    seqs.sort_unstable();
    let last = head + i64::try_from(3 * MESSAGES).unwrap();
    assert!(seqs.iter().copied().eq(head + 1..=last), "{seqs:?}");
    for mut listener in listeners {
        listener.read_up_to(&channel, head, last).await;
    }
}

async fn send_many(mut socket: Socket, room: String, sender: usize) -> Vec<i64> {
    let mut seqs = Vec::new();
    for n in 0..MESSAGES {
        let said: Value = socket.send(&room, &format!("s{sender}-{n}"), "at once").await;
        seqs.push(said["seq"].as_i64().unwrap());
    }
    seqs
}

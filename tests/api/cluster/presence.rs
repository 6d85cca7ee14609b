//! Presence across nodes: a user is one, wherever their devices are; and the dead are seen to have gone.

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::nodes::Cluster;
use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::socket::Socket;
use crate::user::User;

const SHORT_GRACE: Settings = &[("MADANG__PRESENCE__GRACE_MS", "300")];

#[tokio::test]
async fn devices_on_several_nodes_are_one_user() {
    let cluster = Cluster::start(2, &[]).await;
    let (jisoo, minho, room) = cluster.pair().await;
    let mut watcher = minho.follow(&[&room]).await.hear_presence();
    let mut phone = jisoo.follow(&[]).await;
    assert_eq!(next_change(&mut watcher, &jisoo).await["status"], "online");
    let mut desk = jisoo.at(cluster.node(1)).follow(&[]).await;
    let set = |status: &str| json!({ "op": "set_presence", "status": status });
    for (on_phone, on_desk, shown) in
        [("busy", "away", "busy"), ("invisible", "online", "offline"), ("away", "online", "online")]
    {
        phone.ok(set(on_phone)).await;
        desk.ok(set(on_desk)).await;
        is_shown(&minho, &jisoo, shown).await;
    }
    phone.write_json(&json!({ "op": "bye" })).await;
    desk.ok(set("busy")).await;
    is_shown(&minho, &jisoo, "busy").await;
    desk.write_json(&json!({ "op": "bye" })).await;
    is_shown(&minho, &jisoo, "offline").await;
    cluster.finish().await;
}

#[tokio::test]
async fn who_moves_to_another_node_was_never_away() {
    let cluster = Cluster::start(2, SHORT_GRACE).await;
    let (jisoo, minho, room) = cluster.pair().await;
    let mut watcher = minho.follow(&[&room]).await.hear_presence();
    let mut socket = jisoo.follow(&[]).await;
    assert_eq!(next_change(&mut watcher, &jisoo).await["status"], "online");
    for at in [1, 0, 1, 0] {
        let next = jisoo.at(cluster.node(at)).follow(&[]).await;
        is_recorded_by(&cluster, &jisoo, 2).await;
        socket = replace(socket, next).await;
        is_recorded_by(&cluster, &jisoo, 1).await;
    }
    socket.ok(json!({ "op": "set_presence", "status": "away" })).await;
    assert_eq!(next_change(&mut watcher, &jisoo).await["status"], "away", "nothing else was seen");
    assert_eq!(flips(&cluster, &jisoo).await, 1);
    cluster.finish().await;
}

#[tokio::test]
async fn the_users_of_a_dead_node_go_once_and_those_who_moved_stay() {
    let mut cluster = Cluster::start(3, SHORT_GRACE).await;
    let (jisoo, minho, room) = cluster.pair().await;
    let haneul = cluster.node(0).register("haneul").await;
    let trio = minho.group("three", &[&jisoo, &haneul]).await;
    let mut watcher = minho.follow(&[&room, &trio]).await.hear_presence();
    let _gone = jisoo.follow(&[]).await;
    let _first = haneul.follow(&[]).await;
    is_shown(&minho, &jisoo, "online").await;
    is_shown(&minho, &haneul, "online").await;

    cluster.node_mut(0).kill();
    let _moved = haneul.at(cluster.node(2)).follow(&[]).await;

    loop {
        let change = next_change(&mut watcher, &jisoo).await;
        if change["status"] == "offline" {
            break;
        }
    }
    is_shown(&minho, &jisoo, "offline").await;
    is_shown(&minho, &haneul, "online").await;
    assert_eq!(flips(&cluster, &jisoo).await, 2, "online once, offline once");
    assert_eq!(flips(&cluster, &haneul).await, 1);
    cluster.finish().await;
}

#[tokio::test]
async fn a_node_that_slept_through_its_death_comes_back_as_another() {
    let cluster = Cluster::start(2, SHORT_GRACE).await;
    let (jisoo, minho, _) = cluster.pair().await;
    let mut asleep = jisoo.follow(&[]).await;
    is_shown(&minho, &jisoo, "online").await;
    cluster.node(0).signal("-STOP");
    is_shown(&minho, &jisoo, "offline").await;
    cluster.node(0).signal("-CONT");
    is_shown(&minho, &jisoo, "online").await;
    asleep.ok(json!({ "op": "set_presence", "status": "busy" })).await;
    is_shown(&minho, &jisoo, "busy").await;
    cluster.finish().await;
}

#[tokio::test]
async fn a_block_is_felt_on_another_node() {
    let cluster = Cluster::start(2, &[]).await;
    let (jisoo, minho, _) = cluster.pair().await;
    let yuna = cluster.node(1).register("yuna").await;
    let room = jisoo.group("three", &[&minho, &yuna]).await;
    let mut of_minho = minho.follow(&[&room]).await.hear_presence();
    let mut of_yuna = yuna.follow(&[&room]).await.hear_presence();
    is_shown(&minho, &yuna, "online").await;
    jisoo.post("/friends/block", &json!({ "user_id": minho.id })).await.is(200);

    let _here = jisoo.follow(&[]).await;
    assert_eq!(next_change(&mut of_yuna, &jisoo).await["status"], "online");
    // What yuna does after that is the next that minho sees of anybody else.
    of_yuna.ok(json!({ "op": "set_presence", "status": "away" })).await;
    loop {
        let event = of_minho.next_event().await;
        let changes = event["data"]["changes"].as_array().expect("changes").clone();
        assert!(changes.iter().all(|change| change["user_id"] != json!(jisoo.id)), "{event}");
        let is_away = |change: &Value| change["status"] == "away";
        if changes.iter().any(|change| change["user_id"] == json!(yuna.id) && is_away(change)) {
            break;
        }
    }
    cluster.finish().await;
}

#[tokio::test]
async fn a_rolling_deploy_is_nobodys_going() {
    let mut cluster = Cluster::start(2, SHORT_GRACE).await;
    let (jisoo, minho, room) = cluster.pair().await;
    let mut watcher = minho.follow(&[&room]).await.hear_presence();
    let mut socket = jisoo.follow(&[&room]).await;
    assert_eq!(next_change(&mut watcher, &jisoo).await["status"], "online");
    let head = jisoo.head(&room).await;

    cluster.node(0).terminate();
    let drain = loop {
        let event = socket.next_event().await;
        if event["event"] == "drain" {
            break event;
        }
    };
    assert!(drain["in_ms"].is_u64());
    let there = jisoo.at(cluster.node(1));
    let mut next = there.follow(&[]).await;
    let said = minho.say(&room, "k1", "during the deploy").await;
    let channel = format!("room:{room}");
    next.subscribe(json!({ "channel": channel, "after": head })).await;
    assert_eq!(next.next_of(&channel).await["seq"], said["seq"]);
    let _old = replace(socket, next).await;
    assert!(cluster.node_mut(0).ended().await.success());

    cluster.node_mut(0).start_again().await;
    let mut back = jisoo.at(cluster.node(0)).follow(&[]).await;
    back.ok(json!({ "op": "set_presence", "status": "busy" })).await;
    back.ok(json!({ "op": "set_presence", "status": "away" })).await;
    eventually("the life that ended is cleared away", async || {
        let known = "SELECT COUNT(*) FROM nodes WHERE has_left AND $1 <> ''";
        (count(cluster.node(1), known, &jisoo).await == 0).then_some(())
    })
    .await;
    assert_eq!(flips(&cluster, &jisoo).await, 1, "nobody saw it");
    cluster.finish().await;
}

/// Makes before it breaks, as a client does that was told to.
async fn replace(mut old: Socket, new: Socket) -> Socket {
    old.write_json(&json!({ "op": "bye" })).await;
    drop(old);
    new
}

async fn next_change(watcher: &mut Socket, user: &User) -> Value {
    loop {
        let event = watcher.next_event().await;
        let changes = event["data"]["changes"].as_array().cloned().unwrap_or_default();
        let change = changes.into_iter().find(|change| change["user_id"] == json!(user.id));
        if let Some(change) = change.filter(|_| event["event"] == "presence_changed") {
            return change;
        }
    }
}

async fn is_shown(viewer: &User, user: &User, status: &str) {
    eventually(&format!("shown as {status}"), async || {
        let shown = viewer.get(&format!("/online-status/{}", user.id)).await.json(200);
        (shown["status"] == status).then_some(())
    })
    .await;
}

/// Comes back when so many nodes know of the user.
async fn is_recorded_by(cluster: &Cluster, user: &User, nodes: i64) {
    eventually("the nodes know", async || {
        let known = count(
            cluster.node(1),
            "SELECT COUNT(*) FROM node_presences WHERE user_id = $1::uuid",
            user,
        )
        .await;
        (known == nodes).then_some(())
    })
    .await;
}

/// How often the rest of the system was told that the user came or went.
async fn flips(cluster: &Cluster, user: &User) -> i64 {
    let told = "SELECT COUNT(*) FROM outbox
                WHERE name = 'UserOnlineStatusChanged' AND subject = $1";
    count(cluster.node(1), told, user).await
}

async fn count(node: &TestApp, sql: &'static str, user: &User) -> i64 {
    let mut database = PgConnection::connect(&node.database_url()).await.unwrap();
    let (count,): (i64,) =
        sqlx::query_as(sql).bind(&user.id).fetch_one(&mut database).await.unwrap();
    count
}

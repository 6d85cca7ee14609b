//! Take-over: a new process beside the old one on the same port and database; clients move, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::task::{LocalSet, spawn_local};

use crate::app::TestApp;
use crate::both::Settings;
use crate::event_stream::EventStream;
use crate::shutdown;
use crate::socket::{Socket, send};
use crate::user::User;

/// Far shorter than a take-over.
const SHORT_GRACE: Settings = &[("MADANG__PRESENCE__GRACE_MS", "100")];

on_both_databases!(with super::SHORT_GRACE; a_deploy_is_nobodys_going);
on_both_databases!(
    a_deploy_loses_and_doubles_nothing,
    clients_of_both_processes_hear_each_other,
    the_last_words_of_the_old_process_are_heard,
    nobody_serves_a_folder_that_is_served,
);

async fn a_deploy_loses_and_doubles_nothing(app: &mut TestApp) {
    LocalSet::new().run_until(deploy_twice(app)).await;
}

async fn deploy_twice(app: &mut TestApp) {
    const LISTENERS: usize = 6;
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let start = minho.head(&room).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        let socket = Follower::open(&minho, &channel, start).await;
        listeners.push(spawn_local(socket.follow(Arc::clone(&is_over))));
    }
    let stream = StreamFollower::open(app.port(), &minho, &room).await;
    let streaming = spawn_local(stream.follow(start, Arc::clone(&is_over)));
    let talking = spawn_local(talk(jisoo.clone(), room.clone(), Arc::clone(&is_over)));

    app.take_over().await;
    app.take_over().await;

    is_over.store(true, Ordering::SeqCst);
    let acknowledged = talking.await.unwrap();
    assert!(acknowledged.len() > 20, "there was talk all the time: {}", acknowledged.len());
    assert!(acknowledged.is_sorted_by(|one, next| one < next), "{acknowledged:?}");
    let head = minho.at(app).head(&room).await;
    jisoo.at(app).say(&room, "last", "the end").await;
    for listener in listeners {
        let (heard, moves) = listener.await.unwrap();
        assert!(heard.iter().copied().eq(start + 1..=head + 1), "{heard:?}");
        assert!(moves >= 2, "it was sent from one process to the next: {moves}");
    }
    let heard = streaming.await.unwrap();
    assert!(heard.iter().copied().eq(start + 1..=head + 1), "{heard:?}");
}

async fn clients_of_both_processes_hear_each_other(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let mut old = minho.follow(&[&room]).await;
    let start = minho.head(&room).await;

    app.take_over_slowly(async |app| {
        let jisoo = jisoo.at(app);
        let mut new = crate::app::eventually("the new one is reached", async || {
            connect(&jisoo, &channel, start).await
        })
        .await;
        assert_eq!(new.next_event().await["event"], "live");
        let on_new = new.send(&room, "k1", "from the new one").await;
        assert_eq!(old.next_of(&channel).await["seq"], on_new["seq"]);
        let on_old = old.send(&room, "k2", "from the old one").await;
        new.read_up_to(&channel, start, on_old["seq"].as_i64().unwrap()).await;
    })
    .await;
}

async fn the_last_words_of_the_old_process_are_heard(app: &mut TestApp) {
    let (jisoo, minho, room) = pair(app).await;
    let channel = format!("room:{room}");
    let start = minho.head(&room).await;
    let mut busy = shutdown::connect(app).await;
    let (begin, rest) = shutdown::slow_message(&jisoo, &room);
    busy.write_all(begin.as_bytes()).await.unwrap();
    jisoo.get("/users/profile").await.is(200);

    let mut new = None;
    app.take_over_slowly(async |app| {
        let minho = minho.at(app);
        let moved = crate::app::eventually("the new one is reached", async || {
            connect(&minho, &channel, start).await
        })
        .await;
        new = Some(moved);
        // The answer to this is the last thing that the old one does.
        busy.write_all(rest.as_bytes()).await.unwrap();
        let answer = shutdown::read_to_end(&mut busy).await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    })
    .await;

    new.unwrap().read_up_to(&channel, start, start + 1).await;
}

async fn a_deploy_is_nobodys_going(app: &mut TestApp) {
    let (jisoo, minho, _) = pair(app).await;
    let mut old = jisoo.follow(&[]).await;
    let mut stays = minho.follow(&[]).await;
    let path = format!("/online-status/{}", jisoo.id);
    let before = crate::app::eventually("jisoo is shown", async || {
        let presence = minho.get(&path).await.json(200);
        (presence["status"] == "online").then_some(presence)
    })
    .await;

    let mut new = None;
    app.take_over_slowly(async |app| {
        let jisoo = jisoo.at(app);
        let moved = crate::app::eventually("the new one is reached", async || {
            connect(&jisoo, "me", 0).await
        })
        .await;
        old.write_json(&json!({ "op": "bye" })).await;
        assert_eq!(old.closed().await, Some(1000));
        new = Some(moved);
        assert_eq!(stays.closed_with_bye().await, Some(4000));
    })
    .await;

    // The one who stayed away has gone, the one who moved was here all the time.
    crate::app::eventually("minho has gone", async || {
        let presence = jisoo.get(&format!("/online-status/{}", minho.id)).await.json(200);
        (presence["status"] == "offline").then_some(())
    })
    .await;
    assert_eq!(minho.get(&path).await.json(200), before);
    new.unwrap().ok(json!({ "op": "ping" })).await;
}

async fn nobody_serves_a_folder_that_is_served(app: &mut TestApp) {
    let said = app.start_another(&["serve"]).await;
    assert!(said.contains("serves this data folder"), "{said}");
    app.get("/livez").await.is(200);
}

/// A client on a socket that does as it is told: on `drain` it first opens another connection, then closes this one.
struct Follower {
    user: User,
    socket: Socket,
    channel: String,
    heard: Vec<i64>,
    position: i64,
    moves: usize,
}

impl Follower {
    async fn open(user: &User, channel: &str, position: i64) -> Self {
        let socket = connect(user, channel, position).await.expect("a server");
        let (user, channel) = (user.clone(), channel.to_owned());
        Self { user, socket, channel, heard: Vec::new(), position, moves: 0 }
    }

    async fn follow(mut self, is_over: Arc<AtomicBool>) -> (Vec<i64>, usize) {
        loop {
            match self.socket.try_event().await {
                Some(event) if event["event"] == "drain" => {
                    let next = self.come_back().await;
                    let mut old = std::mem::replace(&mut self.socket, next);
                    old.write_json(&json!({ "op": "bye" })).await;
                }
                Some(event) => {
                    if let Some(seq) = event["seq"].as_i64().filter(|_| event["event"] != "live") {
                        assert_eq!(seq, self.position + 1, "{event}");
                        self.position = seq;
                        self.heard.push(seq);
                    }
                    if is_over.load(Ordering::SeqCst) && event["data"]["key"] == "last" {
                        return (self.heard, self.moves);
                    }
                }
                None => self.socket = self.come_back().await,
            }
        }
    }

    async fn come_back(&mut self) -> Socket {
        self.moves += 1;
        crate::app::eventually("somebody serves", async || {
            connect(&self.user, &self.channel, self.position).await
        })
        .await
    }
}

async fn connect(user: &User, channel: &str, after: i64) -> Option<Socket> {
    let mut socket = user.try_socket().await?;
    let subscribe = json!([{ "channel": channel, "after": after }]);
    let id = socket.try_ask(json!({ "op": "hello", "subscribe": subscribe })).await?;
    let reply = socket.try_reply(id).await?;
    assert!(reply["ok"]["channels"][channel]["seq"].is_i64(), "{reply}");
    Some(socket)
}

/// A browser's `EventSource`, more or less: it comes back with its last id whenever a stream ends.
struct StreamFollower {
    port: u16,
    user: User,
    path: String,
    stream: EventStream,
}

impl StreamFollower {
    async fn open(port: u16, user: &User, room: &str) -> Self {
        let path = format!("/messages/stream/{room}");
        let stream = EventStream::open(port, user, &path, None).await;
        Self { port, user: user.clone(), path, stream }
    }

    async fn follow(mut self, start: i64, is_over: Arc<AtomicBool>) -> Vec<i64> {
        let (mut heard, mut position) = (Vec::new(), start);
        loop {
            let Some(event) = self.stream.try_next().await else {
                let last = self.stream.last_event_id.clone();
                self.stream = crate::app::eventually("somebody streams", async || {
                    EventStream::try_open(self.port, &self.user, &self.path, last.as_deref()).await
                })
                .await;
                continue;
            };
            let is_numbered = !["live", "drain", "bye"].contains(&event.name.as_str());
            if let Some(seq) = event.data["seq"].as_i64().filter(|_| is_numbered) {
                assert_eq!(seq, position + 1, "{event:?}");
                position = seq;
                heard.push(seq);
            }
            if is_over.load(Ordering::SeqCst) && event.data["data"]["key"] == "last" {
                return heard;
            }
        }
    }
}

/// Sends one message after the other, each until it is acknowledged; gives the numbers.
async fn talk(user: User, room: String, is_over: Arc<AtomicBool>) -> Vec<i64> {
    let (mut acknowledged, mut socket): (Vec<i64>, Option<Socket>) = (Vec::new(), None);
    for n in 0_u64.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let key = format!("k{n}");
        let seq = crate::app::eventually("it is acknowledged", async || {
            if socket.is_none() {
                let mut fresh = user.try_socket().await?;
                let id = fresh.try_ask(json!({ "op": "hello" })).await?;
                fresh.try_reply(id).await?;
                socket = Some(fresh);
            }
            let at = socket.as_mut()?;
            let reply: Option<Value> = async {
                let id = at.try_ask(send(&room, &key, &key)).await?;
                at.try_reply(id).await
            }
            .await;
            let seq = reply.as_ref().and_then(|reply| reply["ok"]["seq"].as_i64());
            if seq.is_none() {
                socket = None;
            }
            seq
        })
        .await;
        acknowledged.push(seq);
    }
    acknowledged
}

async fn pair(app: &TestApp) -> (User, User, String) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    (jisoo, minho, room)
}

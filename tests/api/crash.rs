//! Crash: `kill -9` in the middle of 64 senders, and the promise that the program is judged by.
//!
//! What was acknowledged is there once, in order, and the log has no hole; what was not can be sent again.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::app::TestApp;
use crate::socket::{Socket, send};
use crate::user::User;

const ROOMS: usize = 8;
const PEOPLE: usize = 8;
/// Enough that every sender is in the middle of something.
const ACKNOWLEDGED_BEFORE_THE_KILL: usize = 400;

const NONE: [String; 0] = [];

on_both_databases!(what_was_acknowledged_survives_a_kill_once_and_in_order);

/// A message that the server said it had stored.
struct Acknowledged {
    room: usize,
    sender: usize,
    key: String,
    seq: i64,
}

/// A message as the history gives it.
#[derive(Debug, Clone)]
struct Stored {
    seq: i64,
    id: String,
    key: String,
    body: String,
}

impl Stored {
    fn new(message: &Value) -> Self {
        let text = |field: &str| message[field].as_str().unwrap().to_owned();
        let seq = message["seq"].as_i64().unwrap();
        Self { seq, id: text("id"), key: text("key"), body: text("body") }
    }
}

/// What one sender did not hear the end of.
struct Unacknowledged {
    person: usize,
    room: usize,
    key: String,
}

async fn what_was_acknowledged_survives_a_kill_once_and_in_order(app: &mut TestApp) {
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        people.push(app.register(&format!("person{n}")).await);
    }
    let others: Vec<&User> = people.iter().skip(1).collect();
    let mut rooms = Vec::new();
    for n in 0..ROOMS {
        rooms.push(people[0].group(&format!("Room {n}"), &others).await);
    }
    let begin = people[0].head(&rooms[0]).await;

    let (acknowledge, mut acknowledgements) = unbounded_channel();
    let mut sockets = Vec::new();
    for (person, user) in people.iter().enumerate() {
        for (room, id) in rooms.iter().enumerate() {
            sockets.push((user.follow(&[id]).await, person, room));
        }
    }
    let mut senders = JoinSet::new();
    for (socket, person, room) in sockets {
        senders.spawn(talk(socket, person, room, rooms[room].clone(), acknowledge.clone()));
    }
    drop(acknowledge);
    let mut acknowledged = Vec::new();
    while acknowledged.len() < ACKNOWLEDGED_BEFORE_THE_KILL {
        acknowledged.push(acknowledgements.recv().await.expect("the senders are at it"));
    }
    app.kill();
    while let Some(last) = acknowledgements.recv().await {
        acknowledged.push(last);
    }
    let unacknowledged = senders.join_all().await;
    assert_eq!(unacknowledged.len(), PEOPLE * ROOMS);

    app.restart().await;

    let people: Vec<User> = people.iter().map(|user| user.at(app)).collect();
    let logs = read_logs(&people[0], &rooms, begin).await;
    assert_eq!(complaints(&logs, &acknowledged, begin), NONE);

    // What was left open is sent again with the same keys, and stands where it stood if it had been stored.
    for message in &unacknowledged {
        let mut socket = people[message.person].follow(&[]).await;
        let answer = socket.send(&rooms[message.room], &message.key, &message.key).await;
        let stored = logs[message.room].iter().find(|stored| stored.key == message.key);
        assert_eq!(answer["duplicate"], stored.is_some());
        assert!(stored.is_none_or(|stored| answer["seq"] == stored.seq), "{answer}");
        let (room, seq) = (message.room, answer["seq"].as_i64().unwrap());
        acknowledged.push(Acknowledged { room, sender: usize::MAX, key: message.key.clone(), seq });
    }
    let logs = read_logs(&people[0], &rooms, begin).await;
    // Repeats are answered in any order, so their order says nothing.
    for (n, message) in acknowledged.iter_mut().enumerate() {
        message.sender = n;
    }
    assert_eq!(complaints(&logs, &acknowledged, begin), NONE);
}

/// Sends one message after the other until the connection breaks; gives the one that was on its way then.
async fn talk(
    mut socket: Socket,
    person: usize,
    room: usize,
    id: String,
    acknowledge: UnboundedSender<Acknowledged>,
) -> Unacknowledged {
    let sender = person * ROOMS + room;
    for n in 0_u64.. {
        let key = format!("{sender}-{n}");
        let Some(reply) = ask(&mut socket, send(&id, &key, &key)).await else {
            return Unacknowledged { person, room, key };
        };
        let seq = reply["ok"]["seq"].as_i64().unwrap_or_else(|| panic!("not sent: {reply}"));
        acknowledge.send(Acknowledged { room, sender, key, seq }).unwrap();
    }
    unreachable!("a sender goes on until it is cut off")
}

async fn ask(socket: &mut Socket, request: Value) -> Option<Value> {
    let id = socket.try_ask(request).await?;
    socket.try_reply(id).await
}

/// Every room's messages, in the order in which the server gives them.
async fn read_logs(reader: &User, rooms: &[String], begin: i64) -> Vec<Vec<Stored>> {
    let mut logs = Vec::new();
    for room in rooms {
        let (mut log, mut last): (Vec<Stored>, i64) = (Vec::new(), begin);
        loop {
            let page = reader.messages(room, &format!("after={last}&limit=200")).await;
            log.extend(page.iter().map(Stored::new));
            match page.last() {
                Some(message) => last = message["seq"].as_i64().unwrap(),
                None => break,
            }
        }
        assert_eq!(reader.head(room).await, last);
        logs.push(log);
    }
    logs
}

/// The oracle: what is wrong with the logs, given what was acknowledged; `begin` is the number before the first.
fn complaints(logs: &[Vec<Stored>], acknowledged: &[Acknowledged], begin: i64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ids = HashSet::new();
    let mut places = HashMap::new();
    for (room, log) in logs.iter().enumerate() {
        for (message, expected) in log.iter().zip(begin + 1..) {
            let Stored { seq, id, key, body } = message;
            if *seq != expected {
                wrong.push(format!("room {room} has {seq} where {expected} should be"));
            }
            if body != key {
                wrong.push(format!("room {room} has {body} under {key}"));
            }
            if !ids.insert(id) {
                wrong.push(format!("{id} is there twice"));
            }
            if places.insert((room, key.as_str()), *seq).is_some() {
                wrong.push(format!("room {room} has {key} twice"));
            }
        }
    }
    let mut last_of = HashMap::new();
    for Acknowledged { room, sender, key, seq } in acknowledged {
        let place = places.get(&(*room, key.as_str()));
        if place != Some(seq) {
            wrong.push(format!("{key} was acknowledged as {seq} and is at {place:?}"));
        }
        if last_of.insert(sender, *seq).is_some_and(|last| last >= *seq) {
            wrong.push(format!("sender {sender} was overtaken by itself at {seq}"));
        }
    }
    wrong
}

/// Two rooms as they should be, and what was acknowledged in them.
fn sound() -> (Vec<Vec<Stored>>, Vec<Acknowledged>) {
    let stored = |room: usize, seq: i64| {
        let key = format!("{room}-{seq}");
        Stored { seq, id: format!("id {key}"), body: key.clone(), key }
    };
    let logs: Vec<Vec<_>> =
        (0..2).map(|room| (3..=6).map(|seq| stored(room, seq)).collect()).collect();
    let acknowledged = |room: usize, message: &Stored| {
        let Stored { seq, key, .. } = message;
        Acknowledged { room, sender: room, key: key.clone(), seq: *seq }
    };
    let all = logs.iter().enumerate();
    let acknowledged = all
        .flat_map(|(room, log)| log.iter().map(move |message| acknowledged(room, message)))
        .collect();
    (logs, acknowledged)
}

#[test]
fn sound_logs_are_no_cause_for_complaint() {
    let (logs, acknowledged) = sound();
    assert_eq!(complaints(&logs, &acknowledged, 2), NONE);
}

#[test]
fn every_way_to_break_the_promise_is_noticed() {
    type Logs = Vec<Vec<Stored>>;
    type Way = (&'static str, fn(&mut Logs), &'static str);
    let ways: [Way; 6] = [
        (
            "the last is lost",
            |logs| drop(logs[0].pop()),
            "0-6 was acknowledged as 6 and is at None",
        ),
        ("one is lost", |logs| drop(logs[0].remove(1)), "room 0 has 5 where 4 should be"),
        ("two are swapped", |logs| logs[0].swap(1, 2), "room 0 has 5 where 4 should be"),
        (
            "one is there twice",
            |logs| {
                let again = Stored { seq: 7, id: "another".to_owned(), ..logs[1][0].clone() };
                logs[1].push(again);
            },
            "room 1 has 1-3 twice",
        ),
        ("an id is used twice", |logs| logs[0][1].id = logs[1][1].id.clone(), "id 1-4 is there"),
        ("a wording is another's", |logs| logs[0][1].body = "1-4".to_owned(), "under 0-4"),
    ];
    for (what, break_it, complaint) in ways {
        let (mut logs, acknowledged) = sound();
        break_it(&mut logs);
        let found = complaints(&logs, &acknowledged, 2);
        assert!(found.iter().any(|found| found.contains(complaint)), "{what}: {found:?}");
    }

    let (logs, mut acknowledged) = sound();
    acknowledged.swap(1, 2);
    assert!(complaints(&logs, &acknowledged, 2)[0].contains("overtaken"));
}

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

on_both_databases!(what_was_acknowledged_survives_a_kill_once_and_in_order);

/// A message that the server said it had stored.
struct Acknowledged {
    room: usize,
    sender: usize,
    key: String,
    seq: i64,
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
    for message in &acknowledged {
        let found = logs[message.room].get(&message.key);
        assert_eq!(found, Some(&message.seq), "{} in room {}", message.key, message.room);
    }
    for sender in 0..PEOPLE * ROOMS {
        let seqs: Vec<i64> = acknowledged
            .iter()
            .filter(|message| message.sender == sender)
            .map(|message| message.seq)
            .collect();
        assert!(seqs.is_sorted_by(|one, next| one < next), "sender {sender}: {seqs:?}");
    }

    // What was left open is sent again with the same keys, and stands where it stood if it had been stored.
    for message in &unacknowledged {
        let mut socket = people[message.person].follow(&[]).await;
        let answer = socket.send(&rooms[message.room], &message.key, &message.key).await;
        let stored = logs[message.room].get(&message.key);
        assert_eq!(answer["duplicate"], stored.is_some());
        assert!(stored.is_none_or(|seq| answer["seq"] == *seq), "{answer}");
    }
    let logs = read_logs(&people[0], &rooms, begin).await;
    let total: usize = logs.iter().map(HashMap::len).sum();
    assert!(total >= acknowledged.len() + unacknowledged.len());
    assert!(unacknowledged.iter().all(|message| logs[message.room].contains_key(&message.key)));
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

/// Every room's messages, by key. Every number after the joins must be a message: the first thing to check.
async fn read_logs(reader: &User, rooms: &[String], begin: i64) -> Vec<HashMap<String, i64>> {
    let mut logs = Vec::new();
    for room in rooms {
        let (mut log, mut ids, mut last) = (HashMap::new(), HashSet::new(), begin);
        loop {
            let page = reader.messages(room, &format!("after={last}&limit=200")).await;
            if page.is_empty() {
                break;
            }
            for message in page {
                last += 1;
                assert_eq!(message["seq"], last, "a hole in the log: {message}");
                let key = message["key"].as_str().unwrap();
                assert_eq!(message["body"], key);
                assert!(ids.insert(message["id"].clone()), "an id twice: {message}");
                assert_eq!(log.insert(key.to_owned(), last), None, "a key twice: {message}");
            }
        }
        assert_eq!(reader.head(room).await, last);
        logs.push(log);
    }
    logs
}

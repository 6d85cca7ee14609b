//! The room log: numbers without a hole, keys that are used once, wordings that are forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::types::Uuid;

use super::super::{StoreError, fetch_all};
use super::{Fixture, append, command, fixtures, only, send};
use crate::clock;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::messages::{MessageBody, MessageRef};
use crate::domain::rooms::{
    Action, Command, EventName, LogEvent, RoomChange, RoomError, RoomTopic, Seq,
};

fn set_topic(actor: UserId, topic: &str) -> Command {
    let topic = Some(RoomTopic::parse(topic).unwrap());
    command(actor, Action::Update(RoomChange { topic, ..RoomChange::default() }))
}

fn edit(actor: UserId, seq: Seq, body: &str) -> Command {
    let body = MessageBody::parse(body, 100).unwrap();
    command(actor, Action::Edit { message: MessageRef::Seq(seq), body })
}

fn delete(actor: UserId, seq: Seq) -> Command {
    command(actor, Action::Delete { message: MessageRef::Seq(seq) })
}

impl Fixture {
    /// The numbers of both tables, in no order.
    async fn seqs(&self, room: RoomId) -> [Vec<Seq>; 2] {
        let seqs: Result<[Vec<(Seq,)>; 2], StoreError> = self
            .store
            .read(move |db| {
                Box::pin(async move {
                    let id: Uuid = room.uuid();
                    Ok([
                        fetch_all!(db, (Seq,), "SELECT seq FROM messages WHERE room_id = $1", id)?,
                        fetch_all!(
                            db,
                            (Seq,),
                            "SELECT seq FROM room_events WHERE room_id = $1",
                            id
                        )?,
                    ])
                })
            })
            .await;
        seqs.unwrap().map(|rows| rows.into_iter().map(|(seq,)| seq).collect())
    }

    /// Everything that the log tells.
    async fn log(&self, room: RoomId) -> Vec<LogEvent> {
        self.store.list_room_log(room, 0, 10_000).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_of_one_room_leave_no_hole_and_use_no_number_twice() {
    for fixture in fixtures().await {
        let owner = fixture.user().await;
        let room = fixture.group(owner, &[], clock::now()).await;
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let store = fixture.store.clone();
                let commands: Vec<_> = (0..500)
                    .filter(|number| number % 16 == task)
                    .map(|number| match number % 5 {
                        0 => set_topic(owner, &format!("topic {number}")),
                        _ => send(room, owner, &format!("key-{number}"), "안녕"),
                    })
                    .collect();
                tokio::spawn(async move {
                    let mut seqs = Vec::new();
                    for batch in commands.chunks(3) {
                        for outcome in append(&store, room, batch.to_vec(), clock::now()).await {
                            seqs.push(outcome.unwrap().appended.seq.unwrap());
                        }
                    }
                    seqs
                })
            })
            .collect();

        let mut told = Vec::new();
        for task in tasks {
            let seqs = task.await.unwrap();
            assert!(seqs.is_sorted(), "each writer's commands keep their order");
            told.extend(seqs);
        }

        // The first number is the owner's `user_joined`.
        told.sort_unstable();
        assert!(told.iter().copied().eq(2..=501), "{told:?}");
        let [messages, events] = fixture.seqs(room).await;
        assert_eq!([messages.len(), events.len()], [400, 101]);
        let mut stored = [messages, events].concat();
        stored.sort_unstable();
        assert!(stored.iter().copied().eq(1..=501), "{stored:?}");
        assert_eq!(fixture.head(room).await, 501);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_one_message_in_a_batch_and_across_batches() {
    for fixture in fixtures().await {
        let (owner, other) = (fixture.user().await, fixture.user().await);
        let room = fixture.group(owner, &[other], clock::now()).await;

        let twice = vec![
            send(room, owner, "k", "one"),
            send(room, owner, "k", "two"),
            send(room, owner, "l", "next"),
        ];
        let batch = fixture.append(room, twice).await;
        let again = fixture.done(room, send(room, owner, "k", "three")).await;
        let others = fixture.done(room, send(room, other, "k", "four")).await;

        let [first, repeat, next] = &batch[..] else { panic!("three answers: {batch:?}") };
        let [first, repeat, next] = [first, repeat, next].map(|outcome| outcome.as_ref().unwrap());
        assert_eq!(first.appended.seq, Some(3));
        assert!(!first.appended.duplicate && repeat.appended.duplicate && again.duplicate);
        assert_eq!(repeat.event, None);
        for answer in [repeat.appended, again] {
            assert_eq!(answer.seq, first.appended.seq);
            assert_eq!(answer.message, first.appended.message);
            assert_eq!(answer.at, first.appended.at);
        }
        assert_eq!(next.appended.seq, Some(4), "a repeat takes no number");
        assert_eq!((others.seq, others.duplicate), (Some(5), false), "keys are each sender's own");
        let log = fixture.log(room).await;
        assert_eq!(log.iter().filter(|event| event.name == EventName::MessageSent).count(), 3);
        assert!(log[2].data.contains("one"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_retries_of_one_key_at_once_are_one_message() {
    for fixture in fixtures().await {
        let owner = fixture.user().await;
        let room = fixture.group(owner, &[], clock::now()).await;
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let store = fixture.store.clone();
                let commands = vec![send(room, owner, "k", "once")];
                tokio::spawn(
                    async move { only(append(&store, room, commands, clock::now()).await) },
                )
            })
            .collect();

        let mut answers = BTreeMap::<bool, Vec<Option<Seq>>>::new();
        for task in tasks {
            let answer = task.await.unwrap().unwrap();
            answers.entry(answer.duplicate).or_default().push(answer.seq);
        }

        assert_eq!(answers[&false], [Some(2)]);
        assert_eq!(answers[&true], [Some(2); 15]);
        assert_eq!(fixture.head(room).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_takes_no_number_and_does_not_disturb_its_neighbours() {
    for fixture in fixtures().await {
        let (owner, member) = (fixture.user().await, fixture.user().await);
        let stranger = fixture.user().await;
        let room = fixture.group(owner, &[member], clock::now()).await;

        let batch = fixture
            .append(
                room,
                vec![
                    send(room, member, "a", "first"),
                    edit(member, 99, "nothing there"),
                    set_topic(member, "not mine to set"),
                    send(room, member, "b", "second"),
                    send(room, stranger, "c", "let me in"),
                    edit(owner, 3, "not mine"),
                    send(room, owner, "d", "third"),
                ],
            )
            .await;

        let outcomes: Vec<_> = batch
            .into_iter()
            .map(|outcome| outcome.map(|recorded| recorded.appended.seq.unwrap()))
            .collect();
        let expected = [
            Ok(3),
            Err(RoomError::MessageNotFound),
            Err(RoomError::RoleTooLow),
            Ok(4),
            Err(RoomError::NotFound),
            Err(RoomError::NotSender),
            Ok(5),
        ];
        assert_eq!(outcomes, expected);
        assert_eq!(fixture.head(room).await, 5);
        let log = fixture.log(room).await;
        assert!(log.iter().map(|event| event.seq).eq(1..=5));
        for (event, body) in log[2..].iter().zip(["first", "second", "third"]) {
            assert!(event.data.contains(body), "{event:?}");
        }

        let refused = fixture.append(room, vec![edit(member, 99, "nothing there")]).await;
        assert_eq!(only(refused), Err(RoomError::MessageNotFound));
        assert_eq!(fixture.head(room).await, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_key_is_answered_even_after_its_sender_was_muted_or_kicked() {
    for fixture in fixtures().await {
        let (owner, member) = (fixture.user().await, fixture.user().await);
        let room = fixture.group(owner, &[member], clock::now()).await;
        let sent = fixture.done(room, send(room, member, "k", "hello")).await;
        let until = Some(clock::now().plus(Duration::from_secs(3_600)));

        for (action, refusal) in [
            (Action::Mute { user: member, until }, RoomError::Muted),
            (Action::Kick { user: member }, RoomError::NotFound),
        ] {
            fixture.done(room, command(owner, action)).await;

            let fresh = only(fixture.append(room, vec![send(room, member, "new", "hello?")]).await);
            assert_eq!(fresh, Err(refusal));
            let retry = fixture.done(room, send(room, member, "k", "hello")).await;
            assert!(retry.duplicate);
            assert_eq!((retry.seq, retry.message, retry.at), (sent.seq, sent.message, sent.at));
        }
        assert_eq!(fixture.head(room).await, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_merges_messages_and_events_in_order_and_in_pages() {
    for fixture in fixtures().await {
        let owner = fixture.user().await;
        let room = fixture.group(owner, &[], clock::now()).await;
        let commands = (0..40)
            .map(|number| match number {
                // Runs of either kind that are longer than a page, and a mixture.
                0..10 => send(room, owner, &format!("key-{number}"), "a run of messages"),
                10..20 => set_topic(owner, &format!("topic {number}")),
                _ if number % 3 == 0 => set_topic(owner, &format!("topic {number}")),
                _ => send(room, owner, &format!("key-{number}"), "mixed"),
            })
            .collect();
        fixture.append(room, commands).await;

        let whole = fixture.log(room).await;
        assert!(whole.iter().map(|event| event.seq).eq(1..=41));
        let names: BTreeSet<_> = whole.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, BTreeSet::from(["message_sent", "room_updated", "user_joined"]));
        for limit in [1, 2, 7, 41, 100] {
            let mut paged = Vec::new();
            loop {
                let after = paged.last().map_or(0, |event: &LogEvent| event.seq);
                let page = fixture.store.list_room_log(room, after, limit).await.unwrap();
                if page.is_empty() {
                    break;
                }
                assert!(i64::try_from(page.len()).unwrap() <= limit);
                paged.extend(page);
            }
            assert_eq!(paged, whole, "in pages of {limit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_read_while_others_write_has_no_hole() {
    let mut holes = Vec::new();
    for fixture in fixtures().await {
        let owner = fixture.user().await;
        let room = fixture.group(owner, &[], clock::now()).await;
        let store = fixture.store.clone();
        let writer = tokio::spawn(async move {
            for number in 0..300 {
                for command in
                    [send(room, owner, &format!("key-{number}"), "hi"), set_topic(owner, "topic")]
                {
                    append(&store, room, vec![command], clock::now()).await;
                }
            }
        });

        let mut after = 0;
        while after < 601 {
            let page = fixture.store.list_room_log(room, after, 100).await.unwrap();
            for event in &page {
                if event.seq != after + 1 {
                    let database = fixture.postgres.as_ref().map_or("SQLite", |_| "PostgreSQL");
                    holes.push((database, after, event.seq));
                }
                after = event.seq;
            }
        }
        writer.await.unwrap();
    }
    assert_eq!(holes, [], "the database, and the two numbers around the hole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_wording_is_nowhere_in_the_log() {
    for fixture in fixtures().await {
        let owner = fixture.user().await;
        let room = fixture.group(owner, &[], clock::now()).await;
        fixture.done(room, send(room, owner, "k", "secret-one")).await;
        fixture.done(room, edit(owner, 2, "secret-two")).await;
        fixture.done(room, edit(owner, 2, "secret-three")).await;

        // Before: every event speaks in the wording of today.
        let told: Vec<_> = fixture.log(room).await.into_iter().map(|event| event.data).collect();
        assert!(told[1..].iter().all(|data| data.contains("secret-three")), "{told:?}");
        assert!(!told.concat().contains("secret-one") && !told.concat().contains("secret-two"));

        fixture.done(room, delete(owner, 2)).await;

        let log = fixture.log(room).await;
        assert!(log.iter().map(|event| event.seq).eq(1..=5));
        assert!(log.iter().all(|event| !event.data.contains("secret")), "{log:?}");
        assert!(log[1].data.contains("deleted_at"));
        let repeated = fixture.done(room, delete(owner, 2)).await;
        assert_eq!(repeated.seq, None, "deleting twice changes nothing");
        assert!(!fixture.stored_texts(room).await.concat().contains("secret"));
    }
}

impl Fixture {
    /// Every text that the room's tables and the outbox keep.
    async fn stored_texts(&self, room: RoomId) -> Vec<String> {
        let texts: Result<Vec<(String,)>, StoreError> = self
            .store
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String,),
                        "SELECT body || COALESCE(extras, '') FROM messages WHERE room_id = $1
                         UNION ALL SELECT data FROM room_events WHERE room_id = $1
                         UNION ALL SELECT data FROM outbox",
                        room.uuid(),
                    )
                })
            })
            .await;
        texts.unwrap().into_iter().map(|(text,)| text).collect()
    }
}

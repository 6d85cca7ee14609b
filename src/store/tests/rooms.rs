//! Rooms: one direct room for each pair, lists in pages, and what is unread.

use std::collections::BTreeSet;

use super::super::rooms::{RoomCursor, RoomSummary};
use super::{Fixture, append, command, fixtures, send};
use crate::clock;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::messages::MessageRef;
use crate::domain::privacy::DirectRequirement;
use crate::domain::rooms::{Action, EventName, RoomKind, Seq};
use crate::domain::time::Timestamp;

impl Fixture {
    async fn unread(&self, room: RoomId, user: UserId) -> (Seq, i64) {
        let summary = self.store.get_room(room, user).await.unwrap();
        let listed = self.store.list_rooms(user, None, 10).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&summary), "the list and the room agree");
        (summary.read_seq, summary.unread_count)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_asks_32_times_at_once_has_one_direct_room() {
    for fixture in fixtures().await {
        let (one, other) = (fixture.user().await, fixture.user().await);
        let tasks: Vec<_> = (0..32)
            .map(|number| {
                let store = fixture.store.clone();
                let (caller, peer) = if number % 2 == 0 { (one, other) } else { (other, one) };
                tokio::spawn(async move {
                    let ids = (clock::new_uuid().into(), clock::new_uuid().into());
                    let anybody = DirectRequirement::No;
                    store
                        .insert_direct_room(ids, caller, peer, anybody, clock::now())
                        .await
                        .unwrap()
                })
            })
            .collect();

        let (mut rooms, mut made) = (BTreeSet::new(), 0);
        for task in tasks {
            let (room, new) = task.await.unwrap();
            rooms.insert(room);
            made += usize::from(new.is_some());
        }

        assert_eq!((rooms.len(), made), (1, 1));
        let room = *rooms.first().unwrap();
        assert_eq!(fixture.store.find_direct_room(other, one).await.unwrap(), Some(room));
        for (user, peer) in [(one, other), (other, one)] {
            let listed = fixture.store.list_rooms(user, None, 10).await.unwrap();
            let [summary] = &listed[..] else { panic!("one room: {listed:?}") };
            assert_eq!((summary.id, summary.kind), (room, RoomKind::Direct));
            assert_eq!((summary.peer, summary.member_count), (Some(peer), 2));
        }
        let log = fixture.store.list_room_log(room, 0, 10).await.unwrap();
        assert!(log.iter().map(|event| event.seq).eq(1..=2));
        assert!(log.iter().all(|event| event.name == EventName::UserJoined));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_rooms_give_each_once_and_the_most_active_first() {
    for fixture in fixtures().await {
        let (owner, other) = (fixture.user().await, fixture.user().await);
        let mut expected = BTreeSet::new();
        for number in 0..25 {
            // Activities repeat, so that a page must end between equals.
            let now = Timestamp::from_millis(1_000 + number % 3);
            expected.insert((now, fixture.group(owner, &[], now).await));
        }
        fixture.group(other, &[], Timestamp::from_millis(1_001)).await;

        for limit in [1, 4, 25, 100] {
            let mut listed: Vec<RoomSummary> = Vec::new();
            loop {
                let after = listed
                    .last()
                    .map(|room| RoomCursor { last_active_at: room.last_active_at, id: room.id });
                let page = fixture.store.list_rooms(owner, after, limit).await.unwrap();
                if page.is_empty() {
                    break;
                }
                listed.extend(page);
            }

            let listed = listed.iter().map(|room| (room.last_active_at, room.id));
            assert!(listed.eq(expected.iter().rev().copied()), "in pages of {limit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_becomes_active_rises_to_the_top_with_its_last_message() {
    for fixture in fixtures().await {
        let owner = fixture.user().await;
        let mut rooms = Vec::new();
        for millis in 1..=3 {
            rooms.push(fixture.group(owner, &[], Timestamp::from_millis(millis)).await);
        }
        let now = Timestamp::from_millis(9);
        append(&fixture.store, rooms[0], vec![send(rooms[0], owner, "k", "안녕")], now).await;

        let listed = fixture.store.list_rooms(owner, None, 10).await.unwrap();

        let ids: Vec<_> = listed.iter().map(|room| room.id).collect();
        assert_eq!(ids, [rooms[0], rooms[2], rooms[1]]);
        let last = listed[0].last_message.as_ref().unwrap();
        assert_eq!((last.seq, last.from, last.at), (2, owner, now));
        assert_eq!(last.body, "안녕");
        assert_eq!(listed[1].last_message, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_are_the_standing_messages_of_others_after_the_marker() {
    for fixture in fixtures().await {
        let (owner, member) = (fixture.user().await, fixture.user().await);
        let room = fixture.group(owner, &[member], clock::now()).await;
        let mut commands: Vec<_> =
            (0..5).map(|number| send(room, owner, &format!("key-{number}"), "news")).collect();
        commands.push(send(room, member, "mine", "thanks"));
        commands.push(command(owner, Action::Delete { message: MessageRef::Seq(7) }));
        fixture.append(room, commands).await;

        // 3 to 7 are the owner's, of which 7 is deleted; 8 is the member's own; 9 is the deletion.
        assert_eq!(fixture.unread(room, member).await, (2, 4));
        assert_eq!(fixture.unread(room, owner).await, (1, 1));

        // The marker moves forward and never back.
        for (seq, expected) in [(4, (4, 2)), (3, (4, 2)), (9, (9, 0))] {
            let read = fixture.done(room, command(member, Action::Read { seq })).await;
            let marker = read.read.unwrap();
            assert_eq!((marker.seq, marker.unread_count), expected);
            assert_eq!(read.seq, None, "a group without receipts does not log it");
            assert_eq!(fixture.unread(room, member).await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_later_has_nothing_unread() {
    for fixture in fixtures().await {
        let (owner, late) = (fixture.user().await, fixture.user().await);
        let room = fixture.group(owner, &[], clock::now()).await;
        fixture.done(room, send(room, owner, "before", "old news")).await;
        fixture.done(room, command(owner, Action::Invite { user: late })).await;
        assert_eq!(fixture.unread(room, late).await, (3, 0));

        fixture.done(room, send(room, owner, "after", "news")).await;
        assert_eq!(fixture.unread(room, late).await, (3, 1));
    }
}

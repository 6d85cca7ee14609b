//! Privacy and blocks: who reaches and sees whom, in what the store decides and lists.

use serde_json::Value;

use super::super::messages::ReadError;
use super::super::{StoreError, blocks, fetch_all};
use super::{BODY_CHARS_MAX, Fixture, command, fixtures, only, send};
use crate::clock;
use crate::domain::friends::{FriendAction, FriendChange};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::messages::{Emoji, MessageBody, MessageDraft, MessageRef, NewMessage};
use crate::domain::presence::{People, Viewers};
use crate::domain::privacy::{Block, DirectRequirement};
use crate::domain::rooms::{Action, Command, RoomChange, RoomError};

impl Fixture {
    pub(super) async fn open_direct(
        &self,
        caller: UserId,
        other: UserId,
        requirement: DirectRequirement,
    ) -> Result<RoomId, RoomError> {
        let ids = (clock::new_uuid().into(), clock::new_uuid().into());
        let now = clock::now();
        let opened = self.store.insert_direct_room(ids, caller, other, requirement, now).await;
        match opened {
            Ok((room, _)) => Ok(room),
            Err(ReadError::Room(refusal)) => Err(refusal),
            Err(ReadError::Store(error)) => panic!("{error}"),
        }
    }

    async fn refusal(&self, room: RoomId, command: Command) -> Option<RoomError> {
        only(self.append(room, vec![command]).await).err()
    }

    /// Whom the messages of a room have called, as the rest of the system was told.
    async fn called(&self, room: RoomId) -> Vec<Vec<UserId>> {
        let rows: Result<Vec<(String,)>, StoreError> = self
            .store
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String,),
                        "SELECT data FROM outbox
                         WHERE subject = $1 AND name = 'MessageSent' ORDER BY id",
                        room.to_string()
                    )
                })
            })
            .await;
        let facts = rows.unwrap().into_iter();
        let facts = facts.map(|(data,)| serde_json::from_str::<Value>(&data).unwrap());
        facts
            .flat_map(|fact| fact["messages"].as_array().unwrap().clone())
            .map(|message| serde_json::from_value(message["mentions"].clone()).unwrap())
            .collect()
    }
}

fn mention(room: RoomId, actor: UserId, key: &str, draft: MessageDraft) -> Command {
    let message = NewMessage::parse(room, actor, key, draft, BODY_CHARS_MAX).unwrap();
    command(actor, Action::Send(message))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_room_is_opened_by_whom_the_installation_and_the_person_let_near() {
    for fixture in fixtures().await {
        let me = fixture.user().await;
        let (stranger, member, friend) =
            (fixture.user().await, fixture.user().await, fixture.user().await);
        fixture.group(member, &[me], clock::now()).await;
        fixture.befriend(friend, me).await;
        use DirectRequirement::{Acquainted, Friends, No};
        for (requirement, message, expected) in [
            (No, "everyone", [true, true, true]),
            (Acquainted, "everyone", [false, true, true]),
            (Friends, "everyone", [false, false, true]),
            (No, "friends", [false, false, true]),
            (No, "nobody", [false, false, false]),
        ] {
            // Somebody new each time: a room that was opened stays.
            let person = fixture.user().await;
            fixture.group(person, &[member], clock::now()).await;
            fixture.befriend(friend, person).await;
            fixture.let_near(person, message, "everyone", "everyone").await;
            for (caller, expected) in [stranger, member, friend].into_iter().zip(expected) {
                let opened = fixture.open_direct(caller, person, requirement).await;
                let refused = Err(RoomError::CannotMessage);
                assert_eq!(opened.is_ok(), expected, "{requirement:?} {message}");
                assert!(expected || opened == refused);
            }
        }

        let room = fixture.open_direct(friend, me, Friends).await.unwrap();
        fixture.change(friend, FriendAction::Delete, me).await;
        assert_eq!(
            fixture.open_direct(friend, me, Friends).await,
            Ok(room),
            "a room that is there stays"
        );
        fixture.change(me, FriendAction::Block, stranger).await;
        assert_eq!(fixture.open_direct(me, stranger, No).await, Err(RoomError::Blocked));
        assert_eq!(fixture.open_direct(stranger, me, No).await, Err(RoomError::UserNotFound));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_others_have_read_is_shown_as_the_room_and_blocks_allow() {
    for fixture in fixtures().await {
        let (me, other) = (fixture.user().await, fixture.user().await);
        let group = fixture.group(me, &[other], clock::now()).await;
        let direct = fixture.open_direct(me, other, DirectRequirement::No).await.unwrap();
        let read_by = async |room| {
            let members = fixture.store.list_room_members(room, me, None, 10).await.unwrap();
            let of = |user| members.iter().find(|member| member.user == user).unwrap().read_seq;
            assert!(of(me).is_some());
            of(other)
        };

        assert_eq!(read_by(group).await, None);
        let receipts = RoomChange { read_receipts: Some(true), ..RoomChange::default() };
        fixture.done(group, command(me, Action::Update(receipts))).await;
        assert!(read_by(group).await.is_some());
        assert!(read_by(direct).await.is_some());
        for (one, another) in [(me, other), (other, me)] {
            fixture.change(one, FriendAction::Block, another).await;
            assert_eq!(read_by(direct).await, None);
            assert!(read_by(group).await.is_some(), "a group goes on past a block");
            fixture.change(one, FriendAction::Unblock, another).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_sent_by_whom_the_person_lets_near() {
    for fixture in fixtures().await {
        for (befriend, expected) in [
            ("everyone", [true, true, true]),
            ("common", [false, true, true]),
            ("nobody", [false, false, false]),
            ("a word of a later release", [false, false, false]),
        ] {
            let person = fixture.user().await;
            let (stranger, member, friend_of_friend) =
                (fixture.user().await, fixture.user().await, fixture.user().await);
            let common = fixture.user().await;
            fixture.group(person, &[member], clock::now()).await;
            fixture.befriend(common, person).await;
            fixture.befriend(common, friend_of_friend).await;
            fixture.let_near(person, "everyone", befriend, "everyone").await;
            for (actor, expected) in [stranger, member, friend_of_friend].into_iter().zip(expected)
            {
                let limits = super::friends::LIMITS;
                let request = FriendAction::Request;
                let asked = fixture
                    .store
                    .change_friendship(actor, person, request, limits, clock::now())
                    .await;
                assert_eq!(asked.is_ok(), expected, "{befriend}: {asked:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_silences_both_in_their_direct_room_and_keeps_what_was_said() {
    for fixture in fixtures().await {
        let (one, other) = (fixture.user().await, fixture.user().await);
        let room = fixture.open_direct(one, other, DirectRequirement::No).await.unwrap();
        fixture.done(room, send(room, one, "k1", "mine")).await;
        fixture.done(room, send(room, other, "k2", "yours")).await;
        fixture.change(one, FriendAction::Block, other).await;

        let body = MessageBody::parse("edited", 100).unwrap();
        let emoji = Emoji::parse("👍").unwrap();
        for (actor, own, refused) in
            [(one, 3, RoomError::Blocked), (other, 4, RoomError::CannotMessage)]
        {
            let message = MessageRef::Seq(own);
            let reply = MessageDraft {
                body: "re".to_owned(),
                reply_to: Some(own),
                ..MessageDraft::default()
            };
            for said in [
                send(room, actor, "k3", "again"),
                mention(room, actor, "k4", reply),
                command(actor, Action::Edit { message, body: body.clone() }),
                command(actor, Action::React { message, emoji: emoji.clone() }),
                command(actor, Action::Pin { message }),
            ] {
                assert_eq!(fixture.refusal(room, said).await, Some(refused));
            }
            let head = fixture.head(room).await;
            // Tidying up and reading go on; that one has read is not told.
            let read = fixture.done(room, command(actor, Action::Read { seq: head })).await;
            assert_eq!(read.seq, None);
            assert_eq!(
                fixture.refusal(room, command(actor, Action::Delete { message })).await,
                None
            );
            // What was acknowledged stays so.
            let key = if actor == one { "k1" } else { "k2" };
            assert!(fixture.done(room, send(room, actor, key, "again")).await.duplicate);
        }
        assert!(fixture.store.is_silenced(room, other).await.unwrap());
        fixture.change(one, FriendAction::Unblock, other).await;
        fixture.done(room, send(room, other, "k5", "back")).await;
        assert!(!fixture.store.is_silenced(room, other).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_group_hear_each_other_past_a_block_but_are_not_called() {
    for fixture in fixtures().await {
        let (owner, blocker, blocked, other) = (
            fixture.user().await,
            fixture.user().await,
            fixture.user().await,
            fixture.user().await,
        );
        let room = fixture.group(owner, &[blocker, blocked, other], clock::now()).await;
        fixture.change(blocker, FriendAction::Block, blocked).await;
        let mentions = vec![blocker, other];
        let draft = MessageDraft { body: "hi".to_owned(), mentions, ..MessageDraft::default() };
        let reply = MessageDraft { reply_to: Some(5), ..draft.clone() };
        // In bulk, and one by one.
        fixture.done(room, mention(room, blocked, "k1", draft.clone())).await;
        fixture.done(room, mention(room, blocked, "k2", reply)).await;
        fixture.done(room, mention(room, other, "k3", draft)).await;

        let called = fixture.called(room).await;
        assert_eq!(called[..2], [vec![other], vec![other]]);
        assert_eq!(called[2], [blocker, other]);
        // The words stay as they were written.
        let log = fixture.store.list_room_log(room, 4, 10).await.unwrap();
        assert!(log.iter().all(|event| event.data.contains(&blocker.to_string())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_seen_by_whom_the_person_lets_near() {
    for fixture in fixtures().await {
        let me = fixture.user().await;
        let (stranger, member, friend, blocked) = (
            fixture.user().await,
            fixture.user().await,
            fixture.user().await,
            fixture.user().await,
        );
        let room = fixture.group(me, &[member, blocked], clock::now()).await;
        fixture.befriend(friend, me).await;
        fixture.change(me, FriendAction::Block, blocked).await;
        for (presence, expected, viewers) in [
            ("everyone", [false, true, true, false], Viewers::AllBut(vec![blocked].into())),
            ("friends", [false, false, true, false], Viewers::Only(vec![friend].into())),
            ("nobody", [false, false, false, false], Viewers::Only(People::default())),
        ] {
            fixture.let_near(me, "everyone", "everyone", presence).await;
            for (viewer, expected) in [stranger, member, friend, blocked].into_iter().zip(expected)
            {
                let seen = fixture.store.list_presences(viewer, &[me]).await.unwrap();
                assert_eq!(!seen.is_empty(), expected, "{presence}");
            }
            assert_eq!(fixture.store.list_presences(me, &[me]).await.unwrap().len(), 1);
            let audience = fixture.store.list_audiences(&[me]).await.unwrap().remove(&me).unwrap();
            assert_eq!(audience.rooms, [(room, 3)]);
            assert_eq!(audience.viewers, viewers);
            let friends = fixture.store.list_friends(friend, None, 10).await.unwrap();
            assert_eq!(friends[0].presence.is_some(), presence != "nobody");
        }
        // Of somebody who has chosen nothing, everybody is told, but for whom a block keeps away.
        let audiences = fixture.store.list_audiences(&[member, blocked]).await.unwrap();
        assert_eq!(audiences[&member].viewers, Viewers::EVERYBODY);
        assert_eq!(audiences[&blocked].viewers, Viewers::AllBut(vec![me].into()));
        assert!(fixture.store.list_presences(me, &[blocked]).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn companions_are_friends_and_whom_one_talks_with() {
    for fixture in fixtures().await {
        let me = fixture.user().await;
        let (friend, peer, both, _stranger) = (
            fixture.user().await,
            fixture.user().await,
            fixture.user().await,
            fixture.user().await,
        );
        fixture.befriend(me, friend).await;
        fixture.befriend(me, both).await;
        fixture.open_direct(me, peer, DirectRequirement::No).await.unwrap();
        let room = fixture.open_direct(me, both, DirectRequirement::No).await.unwrap();
        fixture.done(room, send(room, me, "k", "hi")).await;

        let mut companions = fixture.store.list_companions(me, 10).await.unwrap();
        assert_eq!(companions.len(), 3);
        assert!(!companions.contains(&me));
        companions.sort_unstable();
        let mut expected = [friend, peer, both];
        expected.sort_unstable();
        assert_eq!(companions, expected);
        assert_eq!(fixture.store.list_companions(me, 1).await.unwrap(), [both], "the last active");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_kept_apart_are_found_whoever_set_the_block() {
    for fixture in fixtures().await {
        let me = fixture.user().await;
        let (mine, theirs, neither) =
            (fixture.user().await, fixture.user().await, fixture.user().await);
        assert_eq!(
            fixture.change(me, FriendAction::Block, mine).await,
            FriendChange::Blocked(crate::domain::friends::Tie::Nothing)
        );
        fixture.change(theirs, FriendAction::Block, me).await;
        let found: Result<_, StoreError> = fixture
            .store
            .read(move |db| {
                Box::pin(async move {
                    let others = [mine, theirs, neither];
                    let mut apart = blocks::list_blocked_between(db, me, &others).await?;
                    apart.sort_unstable();
                    let mut between = Vec::new();
                    for other in others {
                        between.push((
                            blocks::find_between(db, me, other).await?,
                            blocks::is_visible(db, me, other).await?,
                        ));
                    }
                    Ok((apart, between))
                })
            })
            .await;
        let (apart, between) = found.unwrap();
        let mut expected = [mine, theirs];
        expected.sort_unstable();
        assert_eq!(apart, expected);
        // Whoever has blocked still sees whom.
        let (by_me, by_other) = (Some(Block::ByActor), Some(Block::ByOther));
        assert_eq!(between, [(by_me, true), (by_other, false), (None, true)]);
    }
}

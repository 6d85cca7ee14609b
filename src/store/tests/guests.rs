//! Guests: nobody is brought into a group who would not be written to.

use super::super::messages::ReadError;
use super::super::rooms::NewGroup;
use super::{Fixture, RULES, command, fixtures, only};
use crate::clock;
use crate::domain::friends::FriendAction;
use crate::domain::ids::UserId;
use crate::domain::privacy::DirectRequirement;
use crate::domain::rooms::{Action, RoomError, RoomName, RoomRules, Visibility};

fn group(owner: UserId, visibility: Visibility, members: Vec<UserId>) -> NewGroup {
    NewGroup {
        id: clock::new_uuid().into(),
        event: clock::new_uuid().into(),
        owner,
        name: RoomName::parse("마당").unwrap(),
        visibility,
        members,
    }
}

/// What is refused to `owner` who wants to bring `guest` into a group: later, and as a first member.
async fn refused_to_bring(
    fixture: &Fixture,
    owner: UserId,
    guest: UserId,
    visibility: Visibility,
    requirement: DirectRequirement,
) -> [Option<RoomError>; 2] {
    let (store, now) = (&fixture.store, clock::now());
    let empty = group(owner, visibility, Vec::new());
    let room = empty.id;
    store.insert_group(empty, requirement, now).await.unwrap();
    let rules = RoomRules { requirement, ..RULES };
    let ids = [clock::new_uuid().into(), clock::new_uuid().into()];
    let invite = vec![command(owner, Action::Invite { user: guest })];
    let invited = store.append_to_room(room, invite, rules, ids, now).await.unwrap().unwrap();
    let full = group(owner, visibility, vec![guest]);
    let opened = match store.insert_group(full, requirement, now).await {
        Ok(_) => None,
        Err(ReadError::Room(refusal)) => Some(refusal),
        Err(ReadError::Store(error)) => panic!("{error}"),
    };
    [only(invited.results).err(), opened]
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_brought_into_a_group_past_a_block() {
    for fixture in fixtures().await {
        let (blocker, blocked) = (fixture.user().await, fixture.user().await);
        fixture.change(blocker, FriendAction::Block, blocked).await;
        for (owner, guest, refused) in
            [(blocked, blocker, RoomError::UserNotFound), (blocker, blocked, RoomError::Blocked)]
        {
            let (private, anybody) = (Visibility::Private, DirectRequirement::No);
            let told = refused_to_bring(&fixture, owner, guest, private, anybody).await;
            assert_eq!(told, [Some(refused); 2]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_guest_who_cannot_be_brought_is_enough_to_refuse_a_group() {
    for fixture in fixtures().await {
        let (owner, friend, stranger) =
            (fixture.user().await, fixture.user().await, fixture.user().await);
        fixture.befriend(owner, friend).await;
        for (other, refused) in [
            (stranger, RoomError::CannotMessage),
            (clock::new_uuid().into(), RoomError::UserNotFound),
        ] {
            let full = group(owner, Visibility::Private, vec![friend, other]);
            let acquainted = DirectRequirement::Acquainted;
            let opened = fixture.store.insert_group(full, acquainted, clock::now()).await;
            assert!(matches!(opened, Err(ReadError::Room(error)) if error == refused));
        }
        assert!(fixture.store.list_rooms(friend, None, 10).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_no_way_round_what_keeps_two_people_apart() {
    for fixture in fixtures().await {
        use DirectRequirement::{Acquainted, Friends, No};
        for (requirement, message, expected) in [
            (No, "everyone", [true, true]),
            (Acquainted, "everyone", [false, true]),
            (Friends, "everyone", [false, true]),
            (No, "friends", [false, true]),
            (No, "nobody", [false, false]),
        ] {
            for visibility in [Visibility::Private, Visibility::Public] {
                let (stranger, friend, person) =
                    (fixture.user().await, fixture.user().await, fixture.user().await);
                fixture.befriend(friend, person).await;
                fixture.let_near(person, message, "everyone", "everyone").await;
                for (owner, expected) in [stranger, friend].into_iter().zip(expected) {
                    let refused =
                        refused_to_bring(&fixture, owner, person, visibility, requirement).await;
                    let told = (!expected).then_some(RoomError::CannotMessage);
                    assert_eq!(refused, [told, told], "{requirement:?} {message} {visibility:?}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_anybody_may_join_makes_nobody_acquainted() {
    for fixture in fixtures().await {
        let (owner, stranger) = (fixture.user().await, fixture.user().await);
        let channel = group(owner, Visibility::Public, Vec::new());
        let room = channel.id;
        fixture.store.insert_group(channel, DirectRequirement::No, clock::now()).await.unwrap();
        fixture.done(room, command(stranger, Action::Join)).await;

        let acquainted = DirectRequirement::Acquainted;
        let opened = fixture.open_direct(stranger, owner, acquainted).await;
        assert_eq!(opened, Err(RoomError::CannotMessage));
        fixture.let_near(owner, "everyone", "common", "everyone").await;
        let (limits, now) = (super::friends::LIMITS, clock::now());
        let request = FriendAction::Request;
        let asked = fixture.store.change_friendship(stranger, owner, request, limits, now).await;
        assert!(asked.is_err());
        // But they see who is there, as everybody in the room.
        assert_eq!(fixture.store.list_presences(stranger, &[owner]).await.unwrap().len(), 1);
    }
}

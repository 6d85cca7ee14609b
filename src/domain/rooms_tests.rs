//! The room rules, one sentence each, and a property over all of them.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::messages::MessageDraft;
use crate::domain::privacy::Circle;
use crate::domain::workflows::Reason;

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn user(n: u128) -> UserId {
    UserId::from(Uuid::from_u128(n))
}

fn member(role: MemberRole) -> Option<MemberFacts> {
    Some(MemberFacts { role, muted_until: None })
}

fn group(actor: Option<MemberFacts>) -> Facts {
    let room = RoomFacts {
        kind: RoomKind::Group,
        visibility: Visibility::Private,
        head: 10,
        member_count: 3,
        member_count_max: 100,
    };
    Facts { room, actor, target: None, guest: Some(guest()), message: None, block: None }
}

/// Somebody who lets everybody near, and whom the installation lets anybody invite.
fn guest() -> Guest {
    let (privacy, relation) = (Privacy::default(), Relation::default());
    Guest { requirement: DirectRequirement::No, privacy, relation }
}

fn wants(action: Action) -> Command {
    Command { actor: user(1), action }
}

fn any_action() -> impl Strategy<Value = Action> {
    let message = MessageRef::Seq(3);
    let emoji = Emoji::parse("👍").unwrap();
    let body = MessageBody::parse("hi", 10).unwrap();
    prop_oneof![
        Just(Action::Edit { message, body }),
        Just(Action::Delete { message }),
        Just(Action::React { message, emoji: emoji.clone() }),
        Just(Action::Unreact { message, emoji }),
        Just(Action::Pin { message }),
        Just(Action::Unpin { message }),
        Just(Action::Invite { user: user(2) }),
        Just(Action::Leave),
        Just(Action::Kick { user: user(2) }),
        Just(Action::SetRole { user: user(2), role: MemberRole::Owner }),
        Just(Action::Mute { user: user(2), until: None }),
        Just(Action::Update(RoomChange::default())),
        Just(Action::Read { seq: 1 }),
        Just(Action::Join),
    ]
}

proptest! {
    #[test]
    fn an_outsider_of_a_private_room_learns_nothing(action in any_action()) {
        let refused = decide(&wants(action), &group(None), NOW);
        prop_assert_eq!(refused, Err(RoomError::NotFound));
    }

    #[test]
    fn a_higher_role_may_do_whatever_a_lower_one_may(action in any_action(), sender in 1..3_u128) {
        let ranks = [MemberRole::Member, MemberRole::Moderator];
        for (low, high) in ranks.into_iter().zip([MemberRole::Moderator, MemberRole::Owner]) {
            // Leaving is the one thing an owner may not just do.
            prop_assume!(action != Action::Leave);
            let mut facts = group(member(low));
            facts.target = member(MemberRole::Member);
            facts.message = Some(MessageFacts { seq: 3, sender: user(sender), deleted: false });
            let lower = decide(&wants(action.clone()), &facts, NOW);
            facts.actor = member(high);
            let higher = decide(&wants(action.clone()), &facts, NOW);
            prop_assert!(lower.is_err() || higher.is_ok());
        }
    }

    #[test]
    fn a_direct_room_never_changes_its_members(action in any_action()) {
        let mut facts = group(member(MemberRole::Owner));
        facts.room.kind = RoomKind::Direct;
        let changes = action.user().is_some() || action == Action::Leave;
        prop_assume!(changes);
        prop_assert_eq!(decide(&wants(action), &facts, NOW), Err(RoomError::DirectRoom));
    }
}

proptest! {
    #[test]
    fn a_block_silences_both_in_their_direct_room_and_only_there(
        action in any_action(), by_actor: bool, sender in 1..3_u128,
    ) {
        let mut facts = group(member(MemberRole::Member));
        facts.message = Some(MessageFacts { seq: 3, sender: user(sender), deleted: false });
        facts.target = member(MemberRole::Member);
        let in_group = decide(&wants(action.clone()), &facts, NOW);
        facts.block = Some(if by_actor { Block::ByActor } else { Block::ByOther });
        prop_assert_eq!(decide(&wants(action.clone()), &facts, NOW), in_group);

        facts.room.kind = RoomKind::Direct;
        let told = if by_actor { RoomError::Blocked } else { RoomError::CannotMessage };
        let refused = decide(&wants(action.clone()), &facts, NOW);
        facts.block = None;
        let without = decide(&wants(action.clone()), &facts, NOW);
        let expected = if action.is_said_to_others() { Err(told) } else { without };
        prop_assert_eq!(refused, expected);
    }
}

#[test]
fn nobody_brings_somebody_into_a_group_past_a_block() {
    let mut facts = group(member(MemberRole::Owner));
    let invite = wants(Action::Invite { user: user(2) });
    for (block, told) in
        [(Block::ByActor, RoomError::Blocked), (Block::ByOther, RoomError::UserNotFound)]
    {
        let relation = Relation { block: Some(block), ..Relation::default() };
        facts.guest = Some(Guest { relation, ..guest() });
        assert_eq!(decide(&invite, &facts, NOW), Err(told));
    }
    // Who is a member already stays one.
    facts.target = member(MemberRole::Member);
    assert_eq!(decide(&invite, &facts, NOW), Ok(()));
}

#[test]
fn a_stranger_is_invited_only_where_a_direct_room_might_be_opened() {
    let mut facts = group(member(MemberRole::Owner));
    let invite = wants(Action::Invite { user: user(2) });
    let refused = Err(RoomError::CannotMessage);
    let acquainted = Guest { requirement: DirectRequirement::Acquainted, ..guest() };
    let privacy = Privacy { message: Circle::Nobody, ..Privacy::default() };
    let relation = Relation { are_friends: true, ..Relation::default() };
    for (guest, expected) in [
        (acquainted, refused),
        (Guest { relation, ..acquainted }, Ok(())),
        (Guest { relation, privacy, ..acquainted }, refused),
        (Guest { privacy, ..guest() }, refused),
    ] {
        facts.guest = Some(guest);
        assert_eq!(decide(&invite, &facts, NOW), expected, "{guest:?}");
    }
    facts.guest = None;
    assert_eq!(decide(&invite, &facts, NOW), Err(RoomError::UserNotFound));
}

#[test]
fn a_muted_member_may_not_send_until_the_time_is_over() {
    let message = NewMessage::parse(
        Uuid::from_u128(1).into(),
        Uuid::from_u128(2).into(),
        "key",
        MessageDraft { body: "hi".to_owned(), ..Default::default() },
        10,
    )
    .unwrap();
    let send = wants(Action::Send(message));
    let mut facts = group(Some(MemberFacts {
        role: MemberRole::Member,
        muted_until: Some(Timestamp::from_millis(1_001)),
    }));
    assert_eq!(decide(&send, &facts, NOW), Err(RoomError::Muted));
    facts.actor = Some(MemberFacts { role: MemberRole::Member, muted_until: Some(NOW) });
    assert_eq!(decide(&send, &facts, NOW), Ok(()));
}

#[test]
fn only_the_sender_edits_but_a_moderator_may_delete() {
    let mut facts = group(member(MemberRole::Moderator));
    facts.message = Some(MessageFacts { seq: 3, sender: user(9), deleted: false });
    let message = MessageRef::Seq(3);
    let body = MessageBody::parse("x", 10).unwrap();
    assert_eq!(
        decide(&wants(Action::Edit { message, body }), &facts, NOW),
        Err(RoomError::NotSender)
    );
    assert_eq!(decide(&wants(Action::Delete { message }), &facts, NOW), Ok(()));
}

#[test]
fn an_owner_hands_over_before_leaving() {
    let mut facts = group(member(MemberRole::Owner));
    assert_eq!(decide(&wants(Action::Leave), &facts, NOW), Err(RoomError::OwnerMustHandOver));
    facts.room.member_count = 1;
    assert_eq!(decide(&wants(Action::Leave), &facts, NOW), Ok(()));
}

#[test]
fn a_read_marker_cannot_be_ahead_of_the_log() {
    let facts = group(member(MemberRole::Member));
    assert_eq!(decide(&wants(Action::Read { seq: 10 }), &facts, NOW), Ok(()));
    assert_eq!(
        decide(&wants(Action::Read { seq: 11 }), &facts, NOW),
        Err(RoomError::PositionBeyondHead),
    );
}

#[test]
fn both_sides_of_a_pair_have_the_same_key() {
    assert_eq!(direct_key(user(1), user(2)), direct_key(user(2), user(1)));
}

#[test]
fn whoever_may_not_send_may_not_bring_a_picture_either() {
    let direct = |block| {
        let mut facts = group(member(MemberRole::Member));
        facts.room.kind = RoomKind::Direct;
        facts.block = block;
        facts
    };
    let mut public = group(None);
    public.room.visibility = Visibility::Public;
    let muted = |until| {
        let until = Some(Timestamp::from_millis(until));
        group(Some(MemberFacts { role: MemberRole::Member, muted_until: until }))
    };
    for (facts, expected) in [
        (group(member(MemberRole::Member)), Ok(())),
        (group(None), Err(RoomError::NotFound)),
        (public, Err(RoomError::NotMember)),
        (muted(1_001), Err(RoomError::Muted)),
        (muted(1_000), Ok(())),
        (direct(None), Ok(())),
        (direct(Some(Block::ByActor)), Err(RoomError::Blocked)),
        (direct(Some(Block::ByOther)), Err(RoomError::CannotMessage)),
    ] {
        assert_eq!(may_write(&facts, NOW), expected, "{facts:?}");
        assert_eq!(decide(&wants(send()), &facts, NOW), expected, "{facts:?}");
    }
}

fn send() -> Action {
    let draft = MessageDraft { body: "hi".to_owned(), ..MessageDraft::default() };
    let room = RoomId::from(Uuid::from_u128(9));
    Action::Send(NewMessage::parse(room, user(1), "k", draft, 10).unwrap())
}

#[test]
fn an_administrator_takes_a_message_away_from_outside_and_nothing_else() {
    let removal = Removal {
        message: MessageRef::Seq(3),
        report: Uuid::from_u128(7).into(),
        reason: Reason::parse("spam").unwrap(),
    };
    let remove = wants(Action::Remove(removal));
    let message = Some(MessageFacts { seq: 3, sender: user(2), deleted: false });
    let outside = Facts { message, ..group(None) };

    assert_eq!(remove.action.message(), Some(MessageRef::Seq(3)));
    assert_eq!(decide(&remove, &outside, NOW), Ok(()));
    assert_eq!(decide(&remove, &group(None), NOW), Err(RoomError::MessageNotFound));
    let delete = wants(Action::Delete { message: MessageRef::Seq(3) });
    assert_eq!(decide(&delete, &outside, NOW), Err(RoomError::NotFound));
}

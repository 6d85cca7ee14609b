//! Privacy: who may come near whom, as each person has chosen and the installation allows.
//!
//! Invariant: a block is between two people, whoever set it: neither reaches or sees the other, whatever else is set.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rooms::RoomError;
use super::stored_as;

/// Whom somebody lets come near, from the widest circle to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Circle {
    #[default]
    Everyone,
    /// Who shares a room or a friend.
    Common,
    Friends,
    Nobody,
}
stored_as!(Circle {
    Everyone = "everyone",
    Common = "common",
    Friends = "friends",
    Nobody = "nobody"
});

/// What a person has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privacy {
    /// Who may bring them into a room: open a direct one with them, or make them a member of a group.
    pub message: Circle,
    /// Who may ask them to be friends.
    pub befriend: Circle,
    /// Who sees whether they are here.
    pub presence: Circle,
    /// Whether their followers are shown to friends only.
    pub is_private: bool,
}

/// Which of two people has blocked the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// The one who asks has; the other may have too.
    ByActor,
    /// Only the other has, which is none of the actor's business.
    ByOther,
}

impl Block {
    /// What two facts come to.
    #[must_use]
    pub const fn of(by_actor: bool, by_other: bool) -> Option<Self> {
        match (by_actor, by_other) {
            (true, _) => Some(Self::ByActor),
            (false, true) => Some(Self::ByOther),
            (false, false) => None,
        }
    }
}

/// How somebody stands to the person whom they want to come near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relation {
    pub block: Option<Block>,
    pub are_friends: bool,
    /// Whether both are in one room. One that anybody may join brings nobody nearer, and shows only who is there.
    pub share_room: bool,
    pub share_friend: bool,
}

impl Relation {
    const fn is_within(&self, circle: Circle) -> bool {
        match circle {
            Circle::Everyone => true,
            Circle::Common => self.are_friends || self.share_room || self.share_friend,
            Circle::Friends => self.are_friends,
            Circle::Nobody => false,
        }
    }
}

/// What two people have to be to each other before one brings the other into a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectRequirement {
    /// Nothing.
    No,
    /// Friends, or members of a common room that not anybody may join.
    Acquainted,
    Friends,
}

/// Whether somebody may bring a person who has chosen `privacy` into a room: their direct room, or a group, which would
/// otherwise be the way round every refusal.
///
/// # Errors
/// [`RoomError::UserNotFound`] for whoever was blocked, [`RoomError::Blocked`] for whoever blocked,
/// [`RoomError::CannotMessage`] for a stranger.
pub fn may_bring_into_room(
    requirement: DirectRequirement,
    privacy: &Privacy,
    relation: &Relation,
) -> Result<(), RoomError> {
    match relation.block {
        Some(Block::ByActor) => return Err(RoomError::Blocked),
        Some(Block::ByOther) => return Err(RoomError::UserNotFound),
        None => {}
    }
    let is_near = match requirement {
        DirectRequirement::No => true,
        DirectRequirement::Acquainted => relation.are_friends || relation.share_room,
        DirectRequirement::Friends => relation.are_friends,
    };
    if is_near && relation.is_within(privacy.message) {
        Ok(())
    } else {
        Err(RoomError::CannotMessage)
    }
}

/// Whether somebody may ask a person who has chosen `privacy` to be friends.
#[must_use]
pub const fn may_befriend(privacy: &Privacy, relation: &Relation) -> bool {
    relation.block.is_none() && relation.is_within(privacy.befriend)
}

/// Whether somebody sees if a person is here who has chosen `privacy`. Strangers never do.
#[must_use]
pub const fn may_see_presence(privacy: &Privacy, relation: &Relation) -> bool {
    relation.block.is_none()
        && (relation.are_friends || relation.share_room)
        && relation.is_within(privacy.presence)
}

/// Whether somebody sees who follows a person, and whom they follow.
#[must_use]
pub const fn may_see_follows(privacy: &Privacy, relation: &Relation) -> bool {
    relation.are_friends || !privacy.is_private
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STRANGER: Relation =
        Relation { block: None, are_friends: false, share_room: false, share_friend: false };

    fn any_circle() -> impl Strategy<Value = Circle> {
        prop_oneof![
            Just(Circle::Everyone),
            Just(Circle::Common),
            Just(Circle::Friends),
            Just(Circle::Nobody)
        ]
    }

    fn any_requirement() -> impl Strategy<Value = DirectRequirement> {
        prop_oneof![
            Just(DirectRequirement::No),
            Just(DirectRequirement::Acquainted),
            Just(DirectRequirement::Friends)
        ]
    }

    prop_compose! {
        fn any_privacy()(
            message in any_circle(), befriend in any_circle(), presence in any_circle(),
            is_private: bool,
        ) -> Privacy {
            Privacy { message, befriend, presence, is_private }
        }
    }

    prop_compose! {
        fn any_relation()(are_friends: bool, share_room: bool, share_friend: bool) -> Relation {
            Relation { block: None, are_friends, share_room, share_friend }
        }
    }

    proptest! {
        #[test]
        fn a_block_beats_everything(
            requirement in any_requirement(), privacy in any_privacy(), relation in any_relation(),
            by_actor: bool,
        ) {
            let block = if by_actor { Block::ByActor } else { Block::ByOther };
            let relation = Relation { block: Some(block), ..relation };
            let told = if by_actor { RoomError::Blocked } else { RoomError::UserNotFound };
            prop_assert_eq!(may_bring_into_room(requirement, &privacy, &relation), Err(told));
            prop_assert!(!may_befriend(&privacy, &relation));
            prop_assert!(!may_see_presence(&privacy, &relation));
        }

        #[test]
        fn nobody_is_nobody(requirement in any_requirement(), relation in any_relation()) {
            let privacy = Privacy {
                message: Circle::Nobody,
                befriend: Circle::Nobody,
                presence: Circle::Nobody,
                is_private: true,
            };
            let opened = may_bring_into_room(requirement, &privacy, &relation);
            prop_assert_eq!(opened, Err(RoomError::CannotMessage));
            prop_assert!(!may_befriend(&privacy, &relation));
            prop_assert!(!may_see_presence(&privacy, &relation));
        }

        #[test]
        fn who_is_nearer_may_do_whatever_a_stranger_may(
            requirement in any_requirement(), privacy in any_privacy(), relation in any_relation(),
        ) {
            let friend = Relation { are_friends: true, ..relation };
            for (less, more) in [(STRANGER, relation), (relation, friend)] {
                let opened = |relation| may_bring_into_room(requirement, &privacy, relation).is_ok();
                prop_assert!(!opened(&less) || opened(&more));
                prop_assert!(!may_befriend(&privacy, &less) || may_befriend(&privacy, &more));
                prop_assert!(!may_see_presence(&privacy, &less) || may_see_presence(&privacy, &more));
                prop_assert!(!may_see_follows(&privacy, &less) || may_see_follows(&privacy, &more));
            }
        }
    }

    #[test]
    fn acquainted_is_a_friend_or_a_member_of_the_same_room() {
        let privacy = Privacy::default();
        let opened = |relation| {
            let [no, acquainted, friends] =
                [DirectRequirement::No, DirectRequirement::Acquainted, DirectRequirement::Friends]
                    .map(|requirement| {
                        may_bring_into_room(requirement, &privacy, &relation).is_ok()
                    });
            (no, acquainted, friends)
        };

        assert_eq!(opened(STRANGER), (true, false, false));
        assert_eq!(opened(Relation { share_friend: true, ..STRANGER }), (true, false, false));
        assert_eq!(opened(Relation { share_room: true, ..STRANGER }), (true, true, false));
        assert_eq!(opened(Relation { are_friends: true, ..STRANGER }), (true, true, true));
    }

    #[test]
    fn a_private_profile_shows_its_followers_to_friends_only() {
        let privacy = Privacy { is_private: true, ..Privacy::default() };

        assert!(may_see_follows(&Privacy::default(), &STRANGER));
        assert!(!may_see_follows(&privacy, &Relation { share_room: true, ..STRANGER }));
        assert!(may_see_follows(&privacy, &Relation { are_friends: true, ..STRANGER }));
    }
}

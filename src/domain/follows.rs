//! Follows: who wants to hear of whom. One-sided, and ended by a block from either side.

use super::ids::UserId;
use super::privacy::Block;

/// What a follow rests on.
#[derive(Debug, Clone, Copy)]
pub struct FollowFacts {
    pub actor: UserId,
    pub other: UserId,
    pub block: Option<Block>,
    pub is_following: bool,
    /// How many the actor follows.
    pub following: i64,
    pub following_max: i64,
}

/// Why somebody may not follow somebody else, or not see who does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    #[error("that cannot be done to oneself")]
    Oneself,
    #[error("there is no such user")]
    UserNotFound,
    #[error("you have blocked this user")]
    Blocked,
    #[error("you follow as many users as may be")]
    TooMany,
    #[error("this profile is private")]
    Private,
}

/// Says whether the actor begins to follow the other: false where they do already.
///
/// # Errors
/// The [`FollowError`] that the actor is told; to whoever was blocked, the other is not there.
pub fn decide(facts: &FollowFacts) -> Result<bool, FollowError> {
    if facts.actor == facts.other {
        return Err(FollowError::Oneself);
    }
    match facts.block {
        Some(Block::ByActor) => Err(FollowError::Blocked),
        Some(Block::ByOther) => Err(FollowError::UserNotFound),
        None if facts.is_following => Ok(false),
        None if facts.following >= facts.following_max => Err(FollowError::TooMany),
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn facts() -> FollowFacts {
        FollowFacts {
            actor: Uuid::from_u128(1).into(),
            other: Uuid::from_u128(2).into(),
            block: None,
            is_following: false,
            following: 0,
            following_max: 3,
        }
    }

    #[test]
    fn a_follow_begins_once_and_not_without_end() {
        assert_eq!(decide(&facts()), Ok(true));
        assert_eq!(decide(&FollowFacts { is_following: true, following: 3, ..facts() }), Ok(false));
        assert_eq!(decide(&FollowFacts { following: 3, ..facts() }), Err(FollowError::TooMany));
        let oneself = FollowFacts { other: facts().actor, ..facts() };
        assert_eq!(decide(&oneself), Err(FollowError::Oneself));
    }

    #[test]
    fn who_was_blocked_finds_nobody_to_follow() {
        for (block, told) in
            [(Block::ByActor, FollowError::Blocked), (Block::ByOther, FollowError::UserNotFound)]
        {
            assert_eq!(decide(&FollowFacts { block: Some(block), ..facts() }), Err(told));
        }
    }
}

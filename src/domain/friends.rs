//! Friends: what two people may become to each other, and how.
//!
//! A pair is nothing to each other, one has asked the other, or they are friends; beside that, each may have blocked
//! the other. [`decide`] is the only place that says what may happen next. Invariant: between two people of whom one
//! has blocked the other there is neither a friendship nor an open request.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::ids::UserId;
use super::privacy::{Block, Privacy, Relation, may_befriend};
use super::time::Timestamp;

/// The span over which requests are counted.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Something that one person, the actor, wants of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FriendAction {
    /// Asks the other to be friends; where the other has asked already, they are.
    Request,
    /// Takes the other's request.
    Accept,
    /// Declines the other's request.
    Reject,
    /// Takes one's own request back.
    Cancel,
    /// Ends the friendship.
    Delete,
    Block,
    Unblock,
}

/// What there is between two people, as one of them, the actor, sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    Nothing,
    /// The actor has asked.
    Outgoing,
    /// The other has asked.
    Incoming,
    Friends,
}

/// What a person is told of what they are to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FriendState {
    /// Nothing; also where a request was declined, or the other has blocked.
    None,
    /// One has asked the other.
    Outgoing,
    /// The other has asked one.
    Incoming,
    Friends,
    /// One has blocked the other.
    Blocked,
}

/// How much there may be of everything.
#[derive(Debug, Clone, Copy)]
pub struct FriendLimits {
    /// Friends of one person.
    pub friends_max: i64,
    /// Requests of one person that wait for an answer.
    pub requests_open_max: i64,
    /// Requests to one person that wait for an answer.
    pub requests_received_max: i64,
    /// Requests that one person sends in a day.
    pub requests_per_day: i64,
    /// How long an account is new.
    pub new_account: Duration,
    /// The same for a new account.
    pub new_account_requests_per_day: i64,
    /// How long a request that was declined may not be repeated.
    pub reject_cooldown: Duration,
    /// People whom one person has blocked.
    pub blocks_max: i64,
}

/// The requests of a person in the day that began with the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestDay {
    pub began_at: Timestamp,
    pub requests: i64,
}

impl RequestDay {
    /// The day that a request at `now` belongs to, with those before it.
    #[must_use]
    pub fn at(last: Option<Self>, now: Timestamp) -> Self {
        let new = Self { began_at: now, requests: 0 };
        last.filter(|day| now.since(day.began_at) < DAY).unwrap_or(new)
    }

    /// The same day with one more.
    #[must_use]
    pub const fn with_one_more(self) -> Self {
        Self { requests: self.requests.saturating_add(1), ..self }
    }
}

/// What an action rests on, as read under the locks of both people.
#[derive(Debug, Clone, Copy)]
pub struct FriendFacts {
    pub actor: UserId,
    pub other: UserId,
    pub tie: Tie,
    /// When the other declined the actor's last request.
    pub rejected_at: Option<Timestamp>,
    /// Whether the actor has declined the other's last request.
    pub has_rejected: bool,
    /// What of them is read only where a request or a friendship is about to be.
    pub numbers: Numbers,
    /// How far the other lets people come near.
    pub privacy: Privacy,
    /// Whether a block stands between them; what they share is read only for a request.
    pub relation: Relation,
    pub limits: FriendLimits,
}

/// What counts against the limits.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    pub friends: i64,
    /// Friends of the other.
    pub other_friends: i64,
    pub requests_open: i64,
    /// Requests to the other that wait for an answer.
    pub other_requests_received: i64,
    /// As it was last written.
    pub day: Option<RequestDay>,
    pub account_since: Timestamp,
    pub blocks: i64,
}

/// What becomes of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FriendChange {
    /// Everything is as asked already.
    Nothing,
    Requested,
    Befriended,
    Rejected,
    Cancelled,
    Parted,
    /// What there was between them is gone with it.
    Blocked(Tie),
    Unblocked,
}

/// Why something between two people is refused. None tells of a block or a refusal by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FriendError {
    #[error("that cannot be done to oneself")]
    Oneself,
    #[error("there is no such user")]
    UserNotFound,
    #[error("you have blocked this user")]
    Blocked,
    #[error("you cannot ask this user to be friends")]
    CannotBefriend,
    #[error("this user has not asked you to be friends")]
    RequestNotFound,
    #[error("you are friends already")]
    AlreadyFriends,
    #[error("you or this user have as many friends as may be")]
    TooManyFriends,
    #[error("too many of your requests wait for an answer")]
    TooManyOpenRequests,
    #[error("you have sent as many requests as may be for now")]
    TooManyRequests { retry_after: Duration },
    #[error("you have blocked as many users as may be")]
    TooManyBlocks,
}

/// Says what `action` comes to, given the `facts` at `now`. Repeats change nothing and are no error.
///
/// # Errors
/// The [`FriendError`] that the actor is told.
pub fn decide(
    action: FriendAction,
    facts: &FriendFacts,
    now: Timestamp,
) -> Result<FriendChange, FriendError> {
    if facts.actor == facts.other {
        return Err(FriendError::Oneself);
    }
    let is_about_blocks = matches!(action, FriendAction::Block | FriendAction::Unblock);
    if facts.relation.block == Some(Block::ByOther) && !is_about_blocks {
        // To whoever was blocked, the other is not there.
        return Err(FriendError::UserNotFound);
    }
    match (action, facts.tie) {
        (FriendAction::Block, _) if facts.relation.block == Some(Block::ByActor) => {
            Ok(FriendChange::Nothing)
        }
        (FriendAction::Block, tie) => {
            allow(facts.numbers.blocks < facts.limits.blocks_max, FriendError::TooManyBlocks)?;
            Ok(FriendChange::Blocked(tie))
        }
        (FriendAction::Unblock, _) if facts.relation.block == Some(Block::ByActor) => {
            Ok(FriendChange::Unblocked)
        }
        (FriendAction::Request, Tie::Nothing) => request(facts, now),
        (FriendAction::Request | FriendAction::Accept, Tie::Incoming) => befriend(facts),
        (FriendAction::Accept, Tie::Nothing | Tie::Outgoing) => Err(FriendError::RequestNotFound),
        (FriendAction::Reject, Tie::Incoming) => Ok(FriendChange::Rejected),
        (FriendAction::Reject, Tie::Nothing | Tie::Outgoing) => {
            allow(facts.has_rejected, FriendError::RequestNotFound)?;
            Ok(FriendChange::Nothing)
        }
        (FriendAction::Reject | FriendAction::Cancel, Tie::Friends) => {
            Err(FriendError::AlreadyFriends)
        }
        (FriendAction::Cancel, Tie::Outgoing) => Ok(FriendChange::Cancelled),
        (FriendAction::Delete, Tie::Friends) => Ok(FriendChange::Parted),
        (FriendAction::Request, Tie::Outgoing | Tie::Friends)
        | (FriendAction::Accept, Tie::Friends)
        | (FriendAction::Cancel, Tie::Nothing | Tie::Incoming)
        | (FriendAction::Delete, Tie::Nothing | Tie::Outgoing | Tie::Incoming)
        | (FriendAction::Unblock, _) => Ok(FriendChange::Nothing),
    }
}

fn request(facts: &FriendFacts, now: Timestamp) -> Result<FriendChange, FriendError> {
    let (numbers, limits) = (&facts.numbers, &facts.limits);
    allow(facts.relation.block.is_none(), FriendError::Blocked)?;
    let is_too_soon = facts.rejected_at.is_some_and(|at| now.since(at) < limits.reject_cooldown);
    let is_asked_by_many = numbers.other_requests_received >= limits.requests_received_max;
    // One word for all, so that a refusal cannot be told from a closed door.
    let is_welcome =
        may_befriend(&facts.privacy, &facts.relation) && !is_too_soon && !is_asked_by_many;
    allow(is_welcome, FriendError::CannotBefriend)?;
    allow(numbers.friends < limits.friends_max, FriendError::TooManyFriends)?;
    allow(numbers.requests_open < limits.requests_open_max, FriendError::TooManyOpenRequests)?;
    let is_new = now.since(numbers.account_since) < limits.new_account;
    let per_day = match is_new {
        true => limits.new_account_requests_per_day.min(limits.requests_per_day),
        false => limits.requests_per_day,
    };
    let day = RequestDay::at(numbers.day, now);
    if day.requests >= per_day {
        let retry_after = DAY.saturating_sub(now.since(day.began_at));
        return Err(FriendError::TooManyRequests { retry_after });
    }
    Ok(FriendChange::Requested)
}

/// Both have asked, or one has and the other accepts: what they have chosen before does not matter any more.
fn befriend(facts: &FriendFacts) -> Result<FriendChange, FriendError> {
    let friends = facts.numbers.friends.max(facts.numbers.other_friends);
    allow(friends < facts.limits.friends_max, FriendError::TooManyFriends)?;
    Ok(FriendChange::Befriended)
}

fn allow(condition: bool, otherwise: FriendError) -> Result<(), FriendError> {
    if condition { Ok(()) } else { Err(otherwise) }
}

impl FriendFacts {
    /// What the actor is told of how things are.
    #[must_use]
    pub fn state(&self) -> FriendState {
        match (self.relation.block, self.tie) {
            (Some(Block::ByActor), _) => FriendState::Blocked,
            (_, Tie::Nothing) => FriendState::None,
            (_, Tie::Outgoing) => FriendState::Outgoing,
            (_, Tie::Incoming) => FriendState::Incoming,
            (_, Tie::Friends) => FriendState::Friends,
        }
    }
}

impl FriendChange {
    /// What the other is to the actor after it; `None` where nothing has changed.
    #[must_use]
    pub const fn told_to_actor(self) -> Option<FriendState> {
        match self {
            Self::Nothing => None,
            Self::Requested => Some(FriendState::Outgoing),
            Self::Befriended => Some(FriendState::Friends),
            Self::Rejected | Self::Cancelled | Self::Parted | Self::Unblocked => {
                Some(FriendState::None)
            }
            Self::Blocked(_) => Some(FriendState::Blocked),
        }
    }

    /// What the actor is to the other after it; `None` where the other has nothing to know. A block looks like the end
    /// of what there was, and where there was nothing, like nothing.
    #[must_use]
    pub const fn told_to_other(self) -> Option<FriendState> {
        match self {
            Self::Nothing | Self::Unblocked | Self::Blocked(Tie::Nothing) => None,
            Self::Requested => Some(FriendState::Incoming),
            Self::Befriended => Some(FriendState::Friends),
            Self::Rejected
            | Self::Cancelled
            | Self::Parted
            | Self::Blocked(Tie::Outgoing | Tie::Incoming | Tie::Friends) => {
                Some(FriendState::None)
            }
        }
    }

    /// The domain events that say so, in order.
    #[must_use]
    pub const fn event_names(self) -> &'static [&'static str] {
        match self {
            Self::Nothing | Self::Cancelled | Self::Unblocked => &[],
            Self::Requested => &["FriendRequestSent"],
            Self::Befriended => &["FriendRequestAccepted"],
            Self::Rejected => &["FriendRequestRejected"],
            Self::Parted => &["FriendDeleted"],
            Self::Blocked(Tie::Friends) => &["FriendDeleted", "UserBlocked"],
            Self::Blocked(Tie::Nothing | Tie::Outgoing | Tie::Incoming) => &["UserBlocked"],
        }
    }
}

#[cfg(test)]
#[path = "friends_tests.rs"]
mod tests;

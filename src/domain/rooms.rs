//! Rooms: who may do what to a room and its log.
//!
//! Everything that happens in a room is a [`Command`] by a user; [`decide`] is the only place that says yes or no.
//! It sees facts read inside the writing transaction, so what it allows is what is stored.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ids::{MessageId, RoomId, UserId};
use super::message_reports::Removal;
use super::messages::{Emoji, MessageBody, MessageRef, NewMessage};
use super::privacy::{Block, DirectRequirement, Privacy, Relation, may_bring_into_room};
use super::stored_as;
use super::time::Timestamp;

/// A position in a numbered log: 1, 2, 3 … without a hole; 0 is before the first event.
pub type Seq = i64;

/// How a room came about, which decides how it may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomKind {
    /// Exactly two members, for ever; one room a pair.
    Direct,
    /// Any number of members with roles.
    Group,
}

/// Who may find and join a room without being invited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Only its members know that it exists.
    Private,
    /// A public channel: everybody may find and join it.
    Public,
}

/// What a member may do; a later role may do all that an earlier one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    Member,
    Moderator,
    Owner,
}

stored_as!(RoomKind { Direct = "direct", Group = "group" });
stored_as!(Visibility { Private = "private", Public = "public" });
stored_as!(MemberRole { Member = "member", Moderator = "moderator", Owner = "owner" });

/// Something a user wants of a room.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub actor: UserId,
    pub action: Action,
}

/// What can be wanted. Each that changes something becomes one event of the room's log.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Send(NewMessage),
    Edit {
        message: MessageRef,
        body: MessageBody,
    },
    Delete {
        message: MessageRef,
    },
    React {
        message: MessageRef,
        emoji: Emoji,
    },
    Unreact {
        message: MessageRef,
        emoji: Emoji,
    },
    Pin {
        message: MessageRef,
    },
    Unpin {
        message: MessageRef,
    },
    Join,
    Invite {
        user: UserId,
    },
    Leave,
    Kick {
        user: UserId,
    },
    SetRole {
        user: UserId,
        role: MemberRole,
    },
    /// Until when the member may not send; `None` lifts it.
    Mute {
        user: UserId,
        until: Option<Timestamp>,
    },
    Update(RoomChange),
    Read {
        seq: Seq,
    },
    /// An administrator takes a message away, whether they are in the room or not.
    Remove(Removal),
}

impl Action {
    /// The message it is about, if it is about one that must exist.
    #[must_use]
    pub const fn message(&self) -> Option<MessageRef> {
        match self {
            Self::Edit { message, .. }
            | Self::Delete { message }
            | Self::React { message, .. }
            | Self::Unreact { message, .. }
            | Self::Pin { message }
            | Self::Unpin { message }
            | Self::Remove(Removal { message, .. }) => Some(*message),
            Self::Send(NewMessage { reply_to: Some(seq), .. }) => Some(MessageRef::Seq(*seq)),
            _ => None,
        }
    }

    /// Whether it tells the others something; what only tidies up or is for oneself does not.
    #[must_use]
    pub const fn is_said_to_others(&self) -> bool {
        matches!(self, Self::Send(_) | Self::Edit { .. } | Self::React { .. } | Self::Pin { .. })
    }

    /// The other person it is about, if it is about one.
    #[must_use]
    pub const fn user(&self) -> Option<UserId> {
        match self {
            Self::Invite { user }
            | Self::Kick { user }
            | Self::SetRole { user, .. }
            | Self::Mute { user, .. } => Some(*user),
            _ => None,
        }
    }
}

impl Command {
    /// Whose membership it may change.
    #[must_use]
    pub const fn member(&self) -> Option<UserId> {
        match self.action {
            Action::Invite { user } | Action::Kick { user } => Some(user),
            Action::Join | Action::Leave => Some(self.actor),
            _ => None,
        }
    }
}

/// New settings of a room; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RoomChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<RoomName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<RoomTopic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<AvatarRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_receipts: Option<bool>,
}

macro_rules! short_text {
    ($(#[$doc:meta])* $name:ident, $min:literal..=$max:literal, $error:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Trims and measures in characters; control characters are refused.
            ///
            /// # Errors
            /// When the text is too short, too long or holds control characters.
            pub fn parse(text: &str) -> Result<Self, RoomError> {
                let text = text.trim();
                let fits = ($min..=$max).contains(&text.chars().count());
                if fits && !text.chars().any(char::is_control) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(RoomError::$error)
                }
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}
short_text!(
    /// 1 to 100 characters.
    RoomName, 1..=100, InvalidName
);
short_text!(
    /// At most 500 characters.
    RoomTopic, 0..=500, InvalidTopic
);
short_text!(
    /// A reference to a picture that the app keeps; at most 300 characters.
    AvatarRef, 0..=300, InvalidAvatar
);

/// What the rules need to know of a room.
#[derive(Debug, Clone, Copy)]
pub struct RoomFacts {
    pub kind: RoomKind,
    pub visibility: Visibility,
    pub head: Seq,
    pub member_count: i64,
    pub member_count_max: i64,
}

/// What the rules need to know of a member.
#[derive(Debug, Clone, Copy)]
pub struct MemberFacts {
    pub role: MemberRole,
    pub muted_until: Option<Timestamp>,
}

impl MemberFacts {
    fn is_muted(&self, now: Timestamp) -> bool {
        self.muted_until.is_some_and(|until| until > now)
    }
}

/// What the rules need to know of a message.
#[derive(Debug, Clone, Copy)]
pub struct MessageFacts {
    pub seq: Seq,
    pub sender: UserId,
    pub deleted: bool,
}

/// Everything a decision rests on, as read inside the transaction.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub room: RoomFacts,
    /// The actor's membership, if they are a member.
    pub actor: Option<MemberFacts>,
    /// The membership of the person the action is about.
    pub target: Option<MemberFacts>,
    /// Whoever is invited, if they have an account; read for an invitation only.
    pub guest: Option<Guest>,
    /// The message the action is about.
    pub message: Option<MessageFacts>,
    /// In a direct room: what stands between the actor and the other. Two members of a group are not kept apart.
    pub block: Option<Block>,
}

/// What the rules need to know of somebody who is to be brought into a room.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// What the installation wants of the two.
    pub requirement: DirectRequirement,
    pub privacy: Privacy,
    /// How the actor stands to them.
    pub relation: Relation,
}

/// What the installation allows of every room.
#[derive(Debug, Clone, Copy)]
pub struct RoomRules {
    /// Members a group may have.
    pub member_count_max: i64,
    /// What two people have to be to each other before one brings the other into a room.
    pub requirement: DirectRequirement,
}

/// Why something in a room is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    #[error("there is no such room, or you may not know of it")]
    NotFound,
    #[error("you are not a member of this room")]
    NotMember,
    #[error("your role in this room does not allow that")]
    RoleTooLow,
    #[error("you are muted in this room")]
    Muted,
    #[error("you have blocked this user")]
    Blocked,
    #[error("you cannot write to this user")]
    CannotMessage,
    #[error("only the sender may change a message")]
    NotSender,
    #[error("there is no such message in this room")]
    MessageNotFound,
    #[error("the message was deleted")]
    MessageDeleted,
    #[error("a direct room always has the same two members and no settings")]
    DirectRoom,
    #[error("the room is full")]
    RoomFull,
    #[error("there is no such user")]
    UserNotFound,
    #[error("that user is not a member of this room")]
    TargetNotMember,
    #[error("an owner must hand the room over before leaving it")]
    OwnerMustHandOver,
    #[error("that cannot be done to oneself")]
    Oneself,
    #[error("the position is beyond the head of the room")]
    PositionBeyondHead,
    #[error("a room name has 1 to 100 characters")]
    InvalidName,
    #[error("a topic has at most 500 characters")]
    InvalidTopic,
    #[error("an avatar reference has at most 300 characters")]
    InvalidAvatar,
    #[error("a message has a body or an attachment")]
    MessageEmpty,
    #[error("the message body is too long")]
    MessageTooLong,
    #[error("a key has 1 to 64 visible ASCII characters")]
    InvalidKey,
    #[error("a reaction is one emoji or short word of at most 32 bytes")]
    InvalidEmoji,
    #[error("at most 50 users may be mentioned")]
    TooManyMentions,
    #[error("at most 10 attachments of at most 500 characters each")]
    InvalidAttachments,
}

/// Says whether `command` is allowed, given the `facts` at `now`.
///
/// # Errors
/// The [`RoomError`] the caller is told. A private room that the actor is not in does not exist for them.
pub fn decide(command: &Command, facts: &Facts, now: Timestamp) -> Result<(), RoomError> {
    if let Action::Remove(_) = &command.action {
        // Their authority is none of the room's.
        return facts.message.map(|_| ()).ok_or(RoomError::MessageNotFound);
    }
    let Some(actor) = facts.actor else {
        return outsider(&command.action, &facts.room);
    };
    let group_only = facts.room.kind == RoomKind::Group;
    if !group_only && command.action.is_said_to_others() {
        unhindered(facts.block)?;
    }
    match &command.action {
        Action::Send(_) if actor.is_muted(now) => Err(RoomError::Muted),
        Action::Send(message) if message.reply_to.is_some() => {
            facts.message.map(|_| ()).ok_or(RoomError::MessageNotFound)
        }
        Action::Send(_) | Action::Join | Action::Remove(_) => Ok(()),
        Action::Edit { .. } => {
            let message = standing_message(facts)?;
            allow(message.sender == command.actor, RoomError::NotSender)
        }
        Action::Delete { .. } => {
            let message = facts.message.ok_or(RoomError::MessageNotFound)?;
            let moderates = group_only && actor.role >= MemberRole::Moderator;
            allow(message.sender == command.actor || moderates, RoomError::NotSender)
        }
        Action::React { .. } => standing_message(facts).map(|_| ()),
        Action::Unreact { .. } => facts.message.map(|_| ()).ok_or(RoomError::MessageNotFound),
        Action::Pin { .. } | Action::Unpin { .. } => {
            standing_message(facts)?;
            allow(!group_only || actor.role >= MemberRole::Moderator, RoomError::RoleTooLow)
        }
        Action::Read { seq } => allow(*seq <= facts.room.head, RoomError::PositionBeyondHead),
        _ if !group_only => Err(RoomError::DirectRoom),
        Action::Invite { .. } if facts.target.is_some() => Ok(()),
        Action::Invite { .. } => {
            let guest = facts.guest.ok_or(RoomError::UserNotFound)?;
            may_bring_into_room(guest.requirement, &guest.privacy, &guest.relation)?;
            has_space(&facts.room)
        }
        Action::Leave => {
            let alone = facts.room.member_count <= 1;
            allow(actor.role != MemberRole::Owner || alone, RoomError::OwnerMustHandOver)
        }
        Action::Kick { user } | Action::Mute { user, .. } => {
            let target = other_member(command.actor, *user, facts)?;
            let outranks = actor.role >= MemberRole::Moderator && actor.role > target.role;
            allow(outranks, RoomError::RoleTooLow)
        }
        Action::SetRole { user, .. } => {
            other_member(command.actor, *user, facts)?;
            allow(actor.role == MemberRole::Owner, RoomError::RoleTooLow)
        }
        Action::Update(_) => allow(actor.role >= MemberRole::Moderator, RoomError::RoleTooLow),
    }
}

/// Says whether a user may write to a room, before it is known what; the same as [`decide`] will say of a message.
///
/// # Errors
/// As [`decide`].
pub fn may_write(facts: &Facts, now: Timestamp) -> Result<(), RoomError> {
    let Some(actor) = facts.actor else { return Err(stranger(&facts.room)) };
    if facts.room.kind == RoomKind::Direct {
        unhindered(facts.block)?;
    }
    allow(!actor.is_muted(now), RoomError::Muted)
}

/// What somebody who is not a member may do: join a public channel, and nothing else.
fn outsider(action: &Action, room: &RoomFacts) -> Result<(), RoomError> {
    match (room.visibility, action) {
        (Visibility::Public, Action::Join) => has_space(room),
        _ => Err(stranger(room)),
    }
}

/// What somebody who is not a member is told.
const fn stranger(room: &RoomFacts) -> RoomError {
    match room.visibility {
        Visibility::Private => RoomError::NotFound,
        Visibility::Public => RoomError::NotMember,
    }
}

/// Refuses what a block forbids in a direct room; whoever was blocked is told no more than that it cannot be done.
fn unhindered(block: Option<Block>) -> Result<(), RoomError> {
    match block {
        None => Ok(()),
        Some(Block::ByActor) => Err(RoomError::Blocked),
        Some(Block::ByOther) => Err(RoomError::CannotMessage),
    }
}

fn has_space(room: &RoomFacts) -> Result<(), RoomError> {
    allow(room.member_count < room.member_count_max, RoomError::RoomFull)
}

fn standing_message(facts: &Facts) -> Result<MessageFacts, RoomError> {
    let message = facts.message.ok_or(RoomError::MessageNotFound)?;
    allow(!message.deleted, RoomError::MessageDeleted)?;
    Ok(message)
}

fn other_member(actor: UserId, user: UserId, facts: &Facts) -> Result<MemberFacts, RoomError> {
    allow(actor != user, RoomError::Oneself)?;
    facts.target.ok_or(RoomError::TargetNotMember)
}

fn allow(condition: bool, otherwise: RoomError) -> Result<(), RoomError> {
    if condition { Ok(()) } else { Err(otherwise) }
}

/// The key under which the one direct room of two users is unique, whoever asks.
#[must_use]
pub fn direct_key(one: UserId, other: UserId) -> String {
    let (low, high) = if one <= other { (one, other) } else { (other, one) };
    format!("{low}:{high}")
}

/// One durable event of a room's log, as clients see it.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEvent {
    pub room: RoomId,
    pub seq: Seq,
    pub name: EventName,
    pub at: Timestamp,
    pub from: UserId,
    /// A JSON object.
    pub data: String,
    /// Who stopped being a member by it.
    pub removed: Option<UserId>,
}

/// The names of durable room events, as in the public contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventName {
    MessageSent,
    MessageEdited,
    MessageDeleted,
    ReactionAdded,
    ReactionRemoved,
    UserJoined,
    UserLeft,
    MemberUpdated,
    RoomUpdated,
    MessagesRead,
}
stored_as!(EventName {
    MessageSent = "message_sent",
    MessageEdited = "message_edited",
    MessageDeleted = "message_deleted",
    ReactionAdded = "reaction_added",
    ReactionRemoved = "reaction_removed",
    UserJoined = "user_joined",
    UserLeft = "user_left",
    MemberUpdated = "member_updated",
    RoomUpdated = "room_updated",
    MessagesRead = "messages_read"
});

/// The answer to a command that was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Where in the log it stands; where it stood before for a repeat; `None` when it changed nothing.
    pub seq: Option<Seq>,
    pub at: Timestamp,
    /// The message that was sent.
    pub message: Option<MessageId>,
    /// Whether the same key had been accepted before.
    pub duplicate: bool,
    /// For [`Action::Read`]: where the marker now stands and what is still unread.
    pub read: Option<ReadMarker>,
}

/// A member's read marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMarker {
    pub seq: Seq,
    /// Messages of others after it; counted up to [`UNREAD_COUNT_MAX`].
    pub unread_count: i64,
}

/// Unread counts stop here: nobody reads a badge of more.
pub const UNREAD_COUNT_MAX: i64 = 1_000;

#[cfg(test)]
#[path = "rooms_tests.rs"]
mod tests;

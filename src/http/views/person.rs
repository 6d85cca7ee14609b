//! People as lists show them, and what they are to the caller.

use serde::Serialize;
use utoipa::ToSchema;

use super::AvatarSizes;
use crate::domain::friends::FriendState;
use crate::domain::ids::UserId;
use crate::domain::presence::Presence;
use crate::domain::time::Timestamp;
use crate::store::friends::lists::{Friend, Listed, Person};

/// A person in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct PersonView {
    pub id: UserId,
    pub handle: String,
    pub display_name: String,
    /// An `https` address or an absolute path.
    pub avatar: Option<String>,
    /// Null unless the picture is kept here.
    pub avatar_sizes: Option<AvatarSizes>,
}

/// A person, and when they came into the list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedView {
    pub user: PersonView,
    pub at: Timestamp,
}

/// A friend of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct FriendView {
    pub user: PersonView,
    pub since: Timestamp,
    /// Null where the friend shows it to nobody.
    pub presence: Option<Presence>,
}

/// What another user is to the caller now.
#[derive(Debug, Serialize, ToSchema)]
pub struct FriendStateView {
    pub user_id: UserId,
    pub state: FriendState,
}

/// Whether the caller follows another user now.
#[derive(Debug, Serialize, ToSchema)]
pub struct FollowView {
    pub user_id: UserId,
    pub following: bool,
}

impl From<Person> for PersonView {
    fn from(person: Person) -> Self {
        let Person { id, handle, display_name, avatar } = person;
        let avatar_sizes = AvatarSizes::of(avatar.as_deref());
        Self { id, handle, display_name, avatar, avatar_sizes }
    }
}

impl From<Listed> for ListedView {
    fn from(listed: Listed) -> Self {
        Self { user: listed.person.into(), at: listed.at }
    }
}

impl From<Friend> for FriendView {
    fn from(friend: Friend) -> Self {
        let Friend { person, since, presence } = friend;
        Self { user: person.into(), since, presence }
    }
}

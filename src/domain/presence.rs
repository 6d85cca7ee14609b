//! Presence: who is here, as others see it; merged over the devices of a user.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ids::UserId;
use super::stored_as;
use super::time::Timestamp;

/// What others see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Online,
    Away,
    Busy,
    Offline,
}
stored_as!(Status { Online = "online", Away = "away", Busy = "busy", Offline = "offline" });

/// What a user chooses on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    #[default]
    Online,
    Away,
    Busy,
    /// Offline to others, on every device.
    Invisible,
}
stored_as!(Choice {
    Online = "online",
    Away = "away",
    Busy = "busy",
    Invisible = "invisible"
});

/// One user's presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Presence {
    pub user_id: UserId,
    pub status: Status,
    /// When the user was last seen to come or to go; `null` for one who never was.
    pub last_seen_at: Option<Timestamp>,
}

/// To whom a user is shown, of those who may see them at all: who shares a room, friends, and whoever watches them.
///
/// Looked into for each person of a crowd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewers {
    /// All but these, with whom there is a block.
    AllBut(People),
    /// Nobody but these.
    Only(People),
}

/// Some people, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct People(Vec<UserId>);

impl People {
    #[must_use]
    pub fn contains(&self, user: UserId) -> bool {
        self.0.binary_search(&user).is_ok()
    }

    #[must_use]
    pub fn as_slice(&self) -> &[UserId] {
        &self.0
    }
}

impl From<Vec<UserId>> for People {
    fn from(mut users: Vec<UserId>) -> Self {
        users.sort_unstable();
        Self(users)
    }
}

impl Viewers {
    /// All of them.
    pub const EVERYBODY: Self = Self::AllBut(People(Vec::new()));

    #[must_use]
    pub fn contains(&self, viewer: UserId) -> bool {
        match self {
            Self::AllBut(users) => !users.contains(viewer),
            Self::Only(users) => users.contains(viewer),
        }
    }

    /// Whether nobody is left out, so that all can be told the same.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        *self == Self::EVERYBODY
    }
}

/// What the devices of a user come to, on a node or on all of them: who is invisible on one is on all, else the most
/// present wins. `None` without a device.
#[must_use]
pub fn merge(devices: impl IntoIterator<Item = Choice>) -> Option<Choice> {
    devices.into_iter().max_by_key(|choice| match choice {
        Choice::Away => 0,
        Choice::Busy => 1,
        Choice::Online => 2,
        Choice::Invisible => 3,
    })
}

impl Status {
    /// What others see of whom is here with that choice, or not here.
    #[must_use]
    pub const fn of(choice: Option<Choice>) -> Self {
        match choice {
            Some(Choice::Online) => Self::Online,
            Some(Choice::Away) => Self::Away,
            Some(Choice::Busy) => Self::Busy,
            Some(Choice::Invisible) | None => Self::Offline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_are_all_but_some_or_only_some() {
        let [one, other] = [1, 2].map(|n| UserId::from(uuid::Uuid::from_u128(n)));
        for (viewers, seen) in [
            (Viewers::EVERYBODY, [true, true]),
            (Viewers::AllBut(vec![one].into()), [false, true]),
            (Viewers::Only(vec![one].into()), [true, false]),
            (Viewers::Only(People::default()), [false, false]),
        ] {
            assert_eq!([viewers.contains(one), viewers.contains(other)], seen, "{viewers:?}");
            assert_eq!(viewers.is_everybody(), seen == [true, true]);
        }
    }

    #[test]
    fn people_are_found_in_whatever_order_they_were_named() {
        let named: Vec<UserId> =
            (0..100).rev().map(|n| UserId::from(uuid::Uuid::from_u128(n * 7 % 100))).collect();

        let people = People::from(named.clone());

        assert!(named.iter().all(|user| people.contains(*user)));
        assert!(!people.contains(uuid::Uuid::from_u128(100).into()));
    }

    #[test]
    fn the_most_present_device_wins_and_invisible_hides_them_all() {
        use Choice::{Away, Busy, Invisible, Online};
        for (devices, status) in [
            (vec![], Status::Offline),
            (vec![Away], Status::Away),
            (vec![Away, Busy], Status::Busy),
            (vec![Busy, Online, Away], Status::Online),
            (vec![Online, Invisible], Status::Offline),
        ] {
            assert_eq!(Status::of(merge(devices.clone())), status, "{devices:?}");
        }
    }
}

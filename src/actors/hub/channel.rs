//! Channels: the names under which numbered logs are subscribed to.

use std::fmt;

use crate::domain::ids::{RoomId, UserId};

/// A numbered log that a client can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// What happens in a room.
    Room(RoomId),
    /// What concerns one user, on every device of theirs.
    Me(UserId),
}

impl Channel {
    /// Reads a channel as `caller` names it: `me` or `room:<id>`.
    #[must_use]
    pub fn parse(name: &str, caller: UserId) -> Option<Self> {
        if name == "me" {
            return Some(Self::Me(caller));
        }
        name.strip_prefix("room:")?.parse().ok().map(Self::Room)
    }
}

impl Channel {
    /// The user whose inbox it is.
    #[must_use]
    pub const fn user(self) -> Option<UserId> {
        match self {
            Self::Me(user) => Some(user),
            Self::Room(_) => None,
        }
    }

    /// A number by which channels are spread over several turns.
    #[must_use]
    pub fn spread(self) -> usize {
        let id = match self {
            Self::Room(room) => room.uuid(),
            Self::Me(user) => user.uuid(),
        };
        id.as_bytes().last().copied().map_or(0, usize::from)
    }

    /// The room whose log it is.
    #[must_use]
    pub const fn room(self) -> Option<RoomId> {
        match self {
            Self::Room(room) => Some(room),
            Self::Me(_) => None,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(room) => write!(f, "room:{room}"),
            Self::Me(_) => f.write_str("me"),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn names_are_read_back_as_they_are_written() {
        let caller = UserId::from(Uuid::from_u128(7));
        let room = Channel::Room(RoomId::from(Uuid::from_u128(9)));
        assert_eq!(Channel::parse(&room.to_string(), caller), Some(room));
        assert_eq!(Channel::parse("me", caller), Some(Channel::Me(caller)));
        assert_eq!(Channel::parse("room:nonsense", caller), None);
        assert_eq!(Channel::parse("", caller), None);
    }
}

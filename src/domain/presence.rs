//! Presence: who is here, as others see it; merged over the devices of a user.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ids::UserId;
use super::stored_as;
use super::time::Timestamp;

/// What others see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// One user's presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Presence {
    pub user_id: UserId,
    pub status: Status,
    /// When the user was last seen to come or to go; `null` for one who never was.
    pub last_seen_at: Option<Timestamp>,
}

/// What the devices of a user come to: who is invisible on one is on all, else the most present wins.
#[must_use]
pub fn merge(devices: impl IntoIterator<Item = Choice>) -> Status {
    let mut merged = Status::Offline;
    for choice in devices {
        let status = match choice {
            Choice::Invisible => return Status::Offline,
            Choice::Online => Status::Online,
            Choice::Busy => Status::Busy,
            Choice::Away => Status::Away,
        };
        if rank(status) > rank(merged) {
            merged = status;
        }
    }
    merged
}

const fn rank(status: Status) -> u8 {
    match status {
        Status::Offline => 0,
        Status::Away => 1,
        Status::Busy => 2,
        Status::Online => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(merge(devices.clone()), status, "{devices:?}");
        }
    }
}

//! News: that users are shown differently, told to whoever may see it, on every node.

use crate::actors::hub::directory::{Directory, HubMessage};
use crate::actors::link::Link;
use crate::actors::link::packet::Packet;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::presence::Presence;
use crate::store::Store;

/// Users whose rooms are read at once, and who are told of in one packet.
const TOLD_MAX: usize = 200;
/// Rooms in one packet: every node reads it.
const ROOMS_A_PACKET_MAX: usize = 2_000;

/// What hubs are told of a user.
#[derive(Debug, Clone)]
pub struct News {
    pub presence: Presence,
    /// The rooms in which the user is seen, and whether each is large.
    pub rooms: Vec<(RoomId, bool)>,
}

/// Whoever tells the hubs. Cheap to clone.
#[derive(Clone)]
pub struct Herald {
    store: Store,
    directory: Directory,
    link: Link,
    large_room_members: i64,
}

impl Herald {
    #[must_use]
    pub const fn new(
        store: Store,
        directory: Directory,
        link: Link,
        large_room_members: i64,
    ) -> Self {
        Self { store, directory, link, large_room_members }
    }

    /// The hubs of this node.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Tells every hub of what is shown from now on. Nothing is promised: whoever asks reads the store.
    pub async fn tell(&self, changed: &[Presence]) {
        for changed in changed.chunks(TOLD_MAX) {
            let users: Vec<UserId> = changed.iter().map(|presence| presence.user_id).collect();
            let mut rooms = match self.store.list_room_sizes(&users).await {
                Ok(rooms) => rooms,
                Err(error) => {
                    tracing::warn!(%error, "nobody is told how users are shown now");
                    return;
                }
            };
            let news = changed.iter().map(|presence| {
                let seen_in = rooms.remove(&presence.user_id).unwrap_or_default();
                let seen_in = seen_in
                    .into_iter()
                    .map(|(room, members)| (room, members > self.large_room_members));
                News { presence: *presence, rooms: seen_in.collect() }
            });
            let news: Vec<News> = news.collect();
            if !self.link.is_alone() {
                for news in in_packets(&news) {
                    self.link.publish(&Packet::News(news.to_vec()));
                }
            }
            self.directory.tell_all(&HubMessage::Presence(news.into()));
        }
    }
}

/// Parts of so many rooms at most, or of one user.
fn in_packets(news: &[News]) -> Vec<&[News]> {
    let mut parts = Vec::new();
    let (mut rest, mut count, mut rooms) = (news, 0_usize, 0_usize);
    for one in news {
        if count > 0 && rooms.saturating_add(one.rooms.len()) > ROOMS_A_PACKET_MAX {
            let (part, after) = rest.split_at(count);
            parts.push(part);
            (rest, count, rooms) = (after, 0, 0);
        }
        count = count.saturating_add(1);
        rooms = rooms.saturating_add(one.rooms.len());
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::presence::Status;

    #[test]
    fn a_packet_has_few_rooms_and_nobody_is_left_out() {
        let one = |n: u128, rooms: usize| News {
            presence: Presence {
                user_id: Uuid::from_u128(n).into(),
                status: Status::Online,
                last_seen_at: None,
            },
            rooms: vec![(Uuid::from_u128(1).into(), false); rooms],
        };
        let news = [one(1, 10), one(2, 2_000), one(3, 3_000), one(4, 5), one(5, 0)];
        let sizes: Vec<usize> = in_packets(&news).iter().map(|part| part.len()).collect();
        assert_eq!(sizes, [1, 1, 1, 2]);
        assert!(in_packets(&[]).is_empty());
    }
}

//! News: that users are shown differently, told to whoever may see it, on every node.

use std::sync::Arc;

use crate::actors::hub::directory::{Directory, HubMessage};
use crate::actors::link::Link;
use crate::actors::link::packet::Packet;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::presence::{Presence, Viewers};
use crate::store::Store;

/// Users whose rooms are read at once, and who are told of in one packet.
const TOLD_MAX: usize = 200;
/// Rooms and people in one packet: every node reads it.
const NAMES_A_PACKET_MAX: usize = 2_000;

/// What hubs are told of a user.
#[derive(Debug, Clone)]
pub struct News {
    pub presence: Presence,
    /// The rooms in which the user is seen, and whether each is large.
    pub rooms: Vec<(RoomId, bool)>,
    /// Who may be told.
    pub viewers: Arc<Viewers>,
}

impl News {
    /// Whether `viewer` may be told; of oneself, always.
    #[must_use]
    pub fn is_for(&self, viewer: UserId) -> bool {
        viewer == self.presence.user_id || self.viewers.contains(viewer)
    }

    /// What it takes of a packet.
    fn names(&self) -> usize {
        let viewers = match &*self.viewers {
            Viewers::AllBut(users) | Viewers::Only(users) => users.as_slice().len(),
        };
        self.rooms.len().saturating_add(viewers)
    }
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
            let mut audiences = match self.store.list_audiences(&users).await {
                Ok(audiences) => audiences,
                Err(error) => {
                    tracing::warn!(%error, "nobody is told how users are shown now");
                    return;
                }
            };
            let news = changed.iter().map(|presence| {
                let audience = audiences.remove(&presence.user_id).unwrap_or_default();
                let is_large = |members| members > self.large_room_members;
                let seen_in = audience.rooms.into_iter();
                let rooms = seen_in.map(|(room, members)| (room, is_large(members))).collect();
                News { presence: *presence, rooms, viewers: Arc::new(audience.viewers) }
            });
            let mut news: Vec<News> = news.collect();
            // Nodes of the release before understand what is for everybody, and nothing else.
            news.sort_by_key(|news| !news.viewers.is_everybody());
            let limited = news.partition_point(|news| news.viewers.is_everybody());
            let (for_all, for_some) = news.split_at(limited);
            if !self.link.is_alone() {
                for news in [for_all, for_some].into_iter().flat_map(in_packets) {
                    self.link.publish(&Packet::News(news.to_vec()));
                }
            }
            self.directory.tell_all(&HubMessage::Presence(news.into()));
        }
    }
}

/// Parts of so many names at most, or of one user.
fn in_packets(news: &[News]) -> Vec<&[News]> {
    let mut parts = Vec::new();
    let (mut rest, mut count, mut names) = (news, 0_usize, 0_usize);
    for one in news {
        if count > 0 && names.saturating_add(one.names()) > NAMES_A_PACKET_MAX {
            let (part, after) = rest.split_at(count);
            parts.push(part);
            (rest, count, names) = (after, 0, 0);
        }
        count = count.saturating_add(1);
        names = names.saturating_add(one.names());
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
    fn a_packet_has_few_names_and_nobody_is_left_out() {
        let user = |n| UserId::from(Uuid::from_u128(n));
        let one = |n: u128, rooms: usize| News {
            presence: Presence { user_id: user(n), status: Status::Online, last_seen_at: None },
            rooms: vec![(Uuid::from_u128(1).into(), false); rooms],
            viewers: Arc::new(Viewers::EVERYBODY),
        };
        let shown_to = |viewers: usize| Arc::new(Viewers::Only(vec![user(9); viewers].into()));
        let news = [one(1, 10), one(2, 2_000), one(3, 3_000), one(4, 5), one(5, 0)];
        let sizes: Vec<usize> = in_packets(&news).iter().map(|part| part.len()).collect();
        assert_eq!(sizes, [1, 1, 1, 2]);
        assert!(in_packets(&[]).is_empty());
        let few = News { viewers: shown_to(100), ..one(1, 1) };
        let many = News { viewers: shown_to(1_950), ..one(2, 1) };
        let sizes: Vec<usize> = in_packets(&[few, many]).iter().map(|part| part.len()).collect();
        assert_eq!(sizes, [1, 1]);
    }

    #[test]
    fn news_are_for_whom_they_are_meant_and_for_oneself() {
        let [one, friend, stranger] = [1, 2, 3].map(|n| UserId::from(Uuid::from_u128(n)));
        let presence = Presence { user_id: one, status: Status::Busy, last_seen_at: None };
        let viewers = Arc::new(Viewers::Only(vec![friend].into()));
        let news = News { presence, rooms: Vec::new(), viewers };
        assert!(news.is_for(one) && news.is_for(friend) && !news.is_for(stranger));
    }
}

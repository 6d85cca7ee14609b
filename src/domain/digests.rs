//! Digests: several notifications told as one, after a while.
//!
//! A digest gathers everything with the same key from its first notification until it is due. What it says is made
//! when it goes out, of what is still unread then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ids::{RoomId, UserId};
use super::templates::context::{Context, ItemContext};
use super::time::Timestamp;

/// Groups and names that a digest says one by one; the others are only counted.
pub const GROUPS_MAX: usize = 20;
pub const NAMES_MAX: usize = 3;

/// How a digest of several kinds calls itself.
const DIGEST: &str = "digest";
/// The kinds that are read together.
const MESSAGES: [&str; 2] = ["mention_received", "message_received"];

/// Under which key the notifications of a kind gather, for one user and medium. Mentions and other messages are read
/// together.
#[must_use]
pub fn key(kind: &str) -> &str {
    if MESSAGES.contains(&kind) { "messages" } else { kind }
}

/// What the link out of a digest ends: everything in it. Where that is more than one kind, it is all that gathers with
/// messages; of any other kind each has a digest of its own.
#[must_use]
pub fn scope<'k>(kinds: &BTreeSet<&'k str>) -> Option<&'k str> {
    match kinds.len() {
        0 | 1 => kinds.first().copied(),
        _ => Some(DIGEST),
    }
}

/// The kinds that a link out of mails ends which names `kind`.
#[must_use]
pub fn ended_by(kind: &str) -> Vec<&str> {
    if kind == DIGEST { MESSAGES.to_vec() } else { vec![kind] }
}

/// When a digest goes out whose first notification comes now.
#[must_use]
pub fn due_at(now: Timestamp, minutes: i64) -> Timestamp {
    now.plus(Duration::from_secs(u64::try_from(minutes).unwrap_or(0).saturating_mul(60)))
}

/// One notification in a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub at: Timestamp,
    pub title: String,
    pub body: String,
    /// Entries with the same key are told as one; `None` is told alone.
    pub group_key: Option<String>,
    pub actor: Option<(UserId, String)>,
    pub room: Option<(RoomId, Option<String>)>,
    /// Whether it tells of a message.
    pub is_message: bool,
    /// How many it stands for.
    pub count: i64,
}

/// What a digest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// All that happened.
    pub count: i64,
    /// In how many rooms; 0 unless all of it are messages in rooms.
    pub rooms: i64,
    /// The first of those who caused it, whoever was last first.
    pub names: Vec<String>,
    /// How many more they are.
    pub more: i64,
    /// At most [`GROUPS_MAX`], the newest first.
    pub groups: Vec<Group>,
}

/// Entries with one key: "3 new messages from Jisoo and 2 others".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The newest of them.
    pub newest: Entry,
    pub count: i64,
    /// How many people besides the newest one's.
    pub others: i64,
}

impl Digest {
    /// Puts together what `entries` have in common, and counts `others` that came before them. Nothing comes of none.
    #[must_use]
    pub fn of(mut entries: Vec<Entry>, others: i64) -> Option<Self> {
        // Of the same instant, the one that was given later is the newer one.
        entries.reverse();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        if entries.is_empty() {
            return None;
        }
        let people = people(&entries);
        let names: Vec<String> = people.iter().take(NAMES_MAX).cloned().collect();
        let is_all_messages = entries.iter().all(|entry| entry.is_message && entry.room.is_some());
        let rooms: BTreeSet<RoomId> =
            entries.iter().filter_map(|entry| entry.room.as_ref()).map(|(room, _)| *room).collect();
        Some(Self {
            count: entries.iter().fold(others, |sum, entry| sum.saturating_add(entry.count)),
            rooms: if is_all_messages { counted(rooms.len()) } else { 0 },
            more: counted(people.len().saturating_sub(names.len())),
            names,
            groups: groups(entries),
        })
    }

    /// Tells a template about it.
    pub fn tell(self, context: &mut Context) {
        (context.count, context.rooms) = (self.count, self.rooms);
        (context.names, context.more) = (self.names, self.more);
        context.items = self.groups.into_iter().map(ItemContext::from).collect();
    }
}

impl From<Group> for ItemContext {
    fn from(group: Group) -> Self {
        let Group { newest, count, others } = group;
        Self {
            title: newest.title,
            body: newest.body,
            count,
            is_messages: newest.is_message,
            actor: newest.actor.map(|(_, name)| name),
            others,
            room: newest.room.and_then(|(_, name)| name),
        }
    }
}

/// The names of everybody, each person once, in the order of the entries.
fn people(entries: &[Entry]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let actors = entries.iter().filter_map(|entry| entry.actor.as_ref());
    actors.filter(|(user, _)| seen.insert(*user)).map(|(_, name)| name.clone()).collect()
}

/// Takes entries from the newest to the oldest.
fn groups(entries: Vec<Entry>) -> Vec<Group> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut groups: Vec<(Group, BTreeSet<UserId>)> = Vec::new();
    for entry in entries {
        let actor = entry.actor.as_ref().map(|(user, _)| *user);
        let place = entry.group_key.as_ref().and_then(|key| places.get(key)).copied();
        if let Some((group, people)) = place.and_then(|place| groups.get_mut(place)) {
            group.count = group.count.saturating_add(entry.count);
            people.extend(actor);
            group.others = counted(people.len().saturating_sub(1));
        } else {
            if let Some(key) = &entry.group_key {
                places.insert(key.clone(), groups.len());
            }
            let count = entry.count;
            groups.push((Group { newest: entry, count, others: 0 }, actor.into_iter().collect()));
        }
    }
    groups.into_iter().map(|(group, _)| group).take(GROUPS_MAX).collect()
}

fn counted(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn message(at: i64, actor: u128, room: u128) -> Entry {
        Entry {
            at: Timestamp::from_millis(at),
            title: format!("from {actor}"),
            body: format!("at {at}"),
            group_key: Some(format!("room:{room}")),
            actor: Some((Uuid::from_u128(actor).into(), format!("user {actor}"))),
            room: Some((Uuid::from_u128(room).into(), Some(format!("room {room}")))),
            is_message: true,
            count: 1,
        }
    }

    fn request(at: i64, actor: u128) -> Entry {
        Entry { group_key: None, room: None, is_message: false, ..message(at, actor, 0) }
    }

    #[test]
    fn messages_of_one_room_are_told_as_one() {
        let entries = vec![
            message(1, 1, 7),
            message(2, 2, 7),
            Entry { count: 3, ..message(3, 1, 7) },
            message(4, 3, 8),
        ];
        let digest = Digest::of(entries, 10).unwrap();

        assert_eq!((digest.count, digest.rooms), (16, 2), "messages, not notifications");
        assert_eq!(digest.names, ["user 3", "user 1", "user 2"]);
        let [newest, other] = digest.groups.as_slice() else { panic!("{:?}", digest.groups) };
        assert_eq!((newest.count, newest.others, newest.newest.body.as_str()), (1, 0, "at 4"));
        assert_eq!((other.count, other.others, other.newest.body.as_str()), (5, 1, "at 3"));
    }

    #[test]
    fn what_is_not_about_rooms_is_not_counted_in_rooms() {
        let digest = Digest::of(vec![message(1, 1, 7), request(2, 2)], 0).unwrap();
        assert_eq!((digest.count, digest.rooms), (2, 0));
        assert_eq!(Digest::of(Vec::new(), 0), None);
    }

    #[test]
    fn a_digest_gathers_from_its_first_notification_on() {
        let now = Timestamp::from_millis(1_000);
        assert_eq!(due_at(now, 60), Timestamp::from_millis(3_601_000));
        assert_eq!(due_at(now, -1), now);
        assert_eq!(key("mention_received"), key("message_received"));
        assert_eq!(key("shop.sent"), "shop.sent");
    }

    #[test]
    fn the_way_out_ends_everything_in_it() {
        let scope = |kinds: &[&'static str]| scope(&kinds.iter().copied().collect());

        assert_eq!(scope(&["message_received"]), Some("message_received"));
        assert_eq!(ended_by("message_received"), ["message_received"]);
        let both = scope(&["message_received", "mention_received"]).unwrap();
        assert_eq!(ended_by(both), MESSAGES);
        assert_eq!(scope(&[]), None);
    }

    #[test]
    fn a_template_is_told_the_same() {
        let app = super::super::templates::context::AppContext {
            name: "Yard".to_owned(),
            url: String::new(),
        };
        let mut context = Context::new(app);
        Digest::of(vec![message(1, 1, 7), message(2, 1, 7)], 0).unwrap().tell(&mut context);

        assert_eq!((context.count, context.rooms, context.more), (2, 1, 0));
        let item = context.items.first().unwrap();
        assert_eq!(
            (item.count, item.actor.as_deref(), item.room.as_deref()),
            (2, Some("user 1"), Some("room 7"))
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nobody_is_counted_twice(
            entries in prop::collection::vec((0_i64..50, 1_u128..9, 1_u128..6, any::<bool>()), 1..60)
        ) {
            let entries: Vec<Entry> = entries
                .into_iter()
                .map(|(at, actor, room, alone)| if alone { request(at, actor) } else { message(at, actor, room) })
                .collect();
            let people: BTreeSet<UserId> =
                entries.iter().filter_map(|entry| entry.actor.as_ref()).map(|(user, _)| *user).collect();
            let digest = Digest::of(entries.clone(), 0).unwrap();

            prop_assert_eq!(digest.count, counted(entries.len()));
            prop_assert_eq!(counted(digest.names.len()) + digest.more, counted(people.len()));
            let told: i64 = digest.groups.iter().map(|group| group.count).sum();
            prop_assert!(told <= digest.count);
            if digest.groups.len() < GROUPS_MAX {
                prop_assert_eq!(told, digest.count);
            }
            prop_assert!(digest.groups.is_sorted_by(|one, other| one.newest.at >= other.newest.at));
        }
    }
}

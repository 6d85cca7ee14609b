//! Presence on one worker: what the hub reports of its connections, and what it shows them of others.
//!
//! Reports are whole and numbered, so that only the newest counts; what is shown is gathered for a moment, so that a
//! crowd that comes at once is one frame a room.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rand::Rng;
use serde_json::{Value, json};

use super::channel::Channel;
use super::directory::EncodedEvent;
use super::frame::Frame;
use super::{Hub, Look};
use crate::actors::presence::News;
use crate::actors::presence::state::Report;
use crate::domain::ids::{ConnectionId, RoomId, UserId};
use crate::domain::inbox::InboxEventName;
use crate::domain::presence::Choice;

/// How long changes are gathered before they are shown.
const GATHER: Duration = Duration::from_millis(500);
/// The same where only their number is shown, which has to be counted.
const GATHER_LARGE: Duration = Duration::from_secs(5);
/// How often it is asked whether whoever watches somebody may still see them, give or take a half.
const ASK_AGAIN: Duration = Duration::from_secs(40);
const RETRY: Duration = Duration::from_millis(500);
/// The event that shows changes.
pub const PRESENCE_CHANGED: &str = "presence_changed";

/// What the hub knows of presence.
#[derive(Default)]
pub(super) struct Desk {
    here: HashMap<UserId, Here>,
    /// Whose report is on its way.
    reporting: HashSet<UserId>,
    version: u64,
    /// By whom a user is watched, in a room or not; and, for the way back, whom a connection watches.
    watched: HashMap<UserId, Vec<ConnectionId>>,
    watching: HashMap<ConnectionId, Watching>,
    /// Connections that are looked at again, whether they watch anybody by then or not.
    to_ask: HashSet<ConnectionId>,
    watches: u64,
    changes: HashMap<RoomId, HashMap<UserId, News>>,
    large: HashSet<RoomId>,
}

/// One user's connections on this worker.
#[derive(Default)]
struct Here {
    devices: Vec<(ConnectionId, Choice)>,
    said_bye: bool,
    /// Changed since it was last reported.
    is_new: bool,
}

/// Whom a connection watches, as far as it may.
struct Watching {
    users: Vec<UserId>,
    /// No two watches have the same number.
    number: u64,
}

impl Watching {
    fn asked(&self) -> (Vec<UserId>, u64) {
        (self.users.clone(), self.number)
    }
}

impl Desk {
    fn watch(&mut self, connection: ConnectionId, users: &[UserId]) {
        self.unwatch(connection);
        if users.is_empty() {
            return;
        }
        for user in users {
            self.watched.entry(*user).or_default().push(connection);
        }
        self.watches = self.watches.saturating_add(1);
        let watching = Watching { users: users.to_vec(), number: self.watches };
        self.watching.insert(connection, watching);
    }

    fn unwatch(&mut self, connection: ConnectionId) {
        let Some(Watching { users, .. }) = self.watching.remove(&connection) else { return };
        for user in users {
            if let Some(watchers) = self.watched.get_mut(&user) {
                watchers.retain(|watcher| *watcher != connection);
                if watchers.is_empty() {
                    self.watched.remove(&user);
                }
            }
        }
    }
}

impl Hub {
    /// A connection of `user` is here, or has chosen differently.
    pub fn show(&self, user: UserId, connection: ConnectionId, choice: Choice) {
        let mut desk = self.0.desk.borrow_mut();
        let here = desk.here.entry(user).or_default();
        match here.devices.iter_mut().find(|(known, _)| *known == connection) {
            Some((_, known)) => *known = choice,
            None => here.devices.push((connection, choice)),
        }
        here.said_bye = false;
        here.is_new = true;
        drop(desk);
        self.report(user);
    }

    /// A connection of `user` has gone.
    pub fn hide(&self, user: UserId, connection: ConnectionId, said_bye: bool) {
        let mut desk = self.0.desk.borrow_mut();
        desk.unwatch(connection);
        let Some(here) = desk.here.get_mut(&user) else { return };
        here.devices.retain(|(known, _)| *known != connection);
        here.said_bye = said_bye;
        here.is_new = true;
        drop(desk);
        self.report(user);
    }

    /// From now on the connection is shown how these users are, and nobody it saw before outside its rooms.
    pub fn watch_presence(&self, connection: ConnectionId, users: &[UserId]) {
        let mut desk = self.0.desk.borrow_mut();
        desk.watch(connection, users);
        let is_first = !users.is_empty() && desk.to_ask.insert(connection);
        drop(desk);
        if is_first {
            self.ask_later(connection);
        }
    }

    /// Whether a connection may still see whom it watches is asked again from time to time: friends part, and rooms are
    /// left.
    fn ask_later(&self, connection: ConnectionId) {
        let wait = ASK_AGAIN.mul_f64(rand::rng().random_range(0.5..1.5));
        self.0.wheel.borrow_mut().schedule(Look::Watch(connection), wait);
    }

    /// Asks for each of these connections, one after the other, and once more later for those that still watch somebody.
    pub(super) fn ask_again(&self, connections: Vec<ConnectionId>) {
        if connections.is_empty() {
            return;
        }
        let hub = self.clone();
        actix_rt::spawn(async move {
            for connection in connections {
                hub.ask(connection).await;
                if hub.0.desk.borrow().watching.contains_key(&connection) {
                    hub.ask_later(connection);
                } else {
                    hub.0.desk.borrow_mut().to_ask.remove(&connection);
                }
            }
        });
    }

    /// What `events` tell `user` may be the end of what they may see: asks at once for every connection of theirs.
    pub(super) fn ask_after(&self, user: UserId, events: &[EncodedEvent]) {
        let ends = [InboxEventName::FriendUpdated, InboxEventName::RoomRemoved];
        if !events.iter().any(|event| ends.iter().any(|name| event.name == name.as_str())) {
            return;
        }
        let state = self.0.state.borrow();
        let desk = self.0.desk.borrow();
        let is_theirs = |connection: &ConnectionId| {
            state.connection(*connection).is_some_and(|known| known.user() == Some(user))
        };
        let theirs: Vec<ConnectionId> = desk.watching.keys().copied().filter(is_theirs).collect();
        drop((state, desk));
        let hub = self.clone();
        actix_rt::spawn(async move {
            for connection in theirs {
                hub.ask(connection).await;
            }
        });
    }

    /// Ends the watch of those whom a connection may not see any more. Where the store does not answer, the next time does.
    async fn ask(&self, connection: ConnectionId) {
        let subscriber = self.0.state.borrow().connection(connection);
        let Some(viewer) = subscriber.and_then(|subscriber| subscriber.user()) else { return };
        let watching = self.0.desk.borrow().watching.get(&connection).map(Watching::asked);
        let Some((users, number)) = watching else { return };
        let Ok(seen) = self.0.store.list_presences(viewer, &users).await else { return };
        if seen.len() == users.len() {
            return;
        }
        let seen: Vec<UserId> = seen.iter().map(|presence| presence.user_id).collect();
        let mut desk = self.0.desk.borrow_mut();
        // One that began meanwhile was asked for by itself.
        if desk.watching.get(&connection).is_some_and(|watching| watching.number == number) {
            desk.watch(connection, &seen);
        }
    }

    /// A presence has begun to live and knows nothing of this hub.
    pub(super) fn report_again(&self, user: UserId) {
        let mut desk = self.0.desk.borrow_mut();
        let Some(here) = desk.here.get_mut(&user) else { return };
        here.is_new = true;
        drop(desk);
        self.report(user);
    }

    /// What was recorded of everybody here is gone.
    pub(super) fn report_all_again(&self) {
        let users: Vec<UserId> = self.0.desk.borrow().here.keys().copied().collect();
        for user in users {
            self.report_again(user);
        }
    }

    /// Reports a user until there is nothing new; one report of a user at a time.
    fn report(&self, user: UserId) {
        if !self.0.desk.borrow_mut().reporting.insert(user) {
            return;
        }
        let hub = self.clone();
        actix_rt::spawn(async move {
            while let Some(report) = hub.next_report(user) {
                if let Err(error) = hub.0.presences.report(user, report).await {
                    tracing::debug!(%error, user.id = %user, "a presence was not reported yet");
                    hub.report_was_lost(user);
                    let wait = RETRY.mul_f64(rand::rng().random_range(0.5..1.5));
                    actix_rt::time::sleep(wait).await;
                }
            }
        });
    }

    fn next_report(&self, user: UserId) -> Option<Report<super::directory::HubId>> {
        let mut desk = self.0.desk.borrow_mut();
        let desk = &mut *desk;
        desk.version = desk.version.saturating_add(1);
        if let Some(here) = desk.here.get_mut(&user).filter(|here| here.is_new) {
            here.is_new = false;
            return Some(Report {
                hub: self.0.id,
                version: desk.version,
                devices: here.devices.iter().map(|(_, choice)| *choice).collect(),
                said_bye: here.said_bye,
            });
        }
        desk.reporting.remove(&user);
        // Everything was told: one who has gone is forgotten.
        if desk.here.get(&user).is_some_and(|here| here.devices.is_empty()) {
            desk.here.remove(&user);
        }
        None
    }

    fn report_was_lost(&self, user: UserId) {
        if let Some(here) = self.0.desk.borrow_mut().here.get_mut(&user) {
            here.is_new = true;
        }
    }

    /// Somebody is shown differently: those who watch are told at once, rooms in a moment.
    pub(super) fn receive_news(&self, news: &News) {
        let mut desk = self.0.desk.borrow_mut();
        for (room, is_large) in &news.rooms {
            if !self.0.state.borrow().is_watched(Channel::Room(*room)) {
                continue;
            }
            if *is_large {
                if desk.large.insert(*room) {
                    self.later(GATHER_LARGE, Self::show_large);
                }
                continue;
            }
            if desk.changes.is_empty() {
                self.later(GATHER, Self::show_changes);
            }
            let changes = desk.changes.entry(*room).or_default();
            let news = News { rooms: Vec::new(), ..news.clone() };
            changes.insert(news.presence.user_id, news);
        }
        let watchers = desk.watched.get(&news.presence.user_id).cloned().unwrap_or_default();
        drop(desk);
        if watchers.is_empty() {
            return;
        }
        let frame = changed(None, &json!({ "changes": [news.presence] }));
        for watcher in watchers {
            let subscriber = self.0.state.borrow().connection(watcher);
            let may_see = |user: Option<UserId>| user.is_some_and(|user| news.is_for(user));
            if let Some(subscriber) = subscriber.filter(|subscriber| may_see(subscriber.user())) {
                subscriber.push_ephemeral(PRESENCE_CHANGED, &frame);
            }
        }
    }

    fn later(&self, wait: Duration, work: impl FnOnce(&Self) + 'static) {
        let hub = self.clone();
        actix_rt::spawn(async move {
            actix_rt::time::sleep(wait).await;
            work(&hub);
        });
    }

    fn show_changes(&self) {
        let changes = std::mem::take(&mut self.0.desk.borrow_mut().changes);
        for (room, changes) in changes {
            // Each is encoded once, to however many frames it belongs.
            let changes: Vec<(News, String)> = changes
                .into_values()
                .map(|news| {
                    let encoded = json!(news.presence).to_string();
                    (news, encoded)
                })
                .collect();
            let channel = Channel::Room(room);
            let for_all = changed_in(channel, changes.iter().map(|(_, encoded)| encoded.as_str()));
            let state = self.0.state.borrow();
            if changes.iter().all(|(news, _)| news.viewers.is_everybody()) {
                state.deliver_ephemeral(channel, PRESENCE_CHANGED, &for_all);
                continue;
            }
            state.deliver_ephemeral_by(channel, PRESENCE_CHANGED, |viewer| {
                let seen = changes.iter().filter(|(news, _)| news.is_for(viewer));
                let seen: Vec<&str> = seen.map(|(_, encoded)| encoded.as_str()).collect();
                match seen.len() {
                    0 => None,
                    count if count == changes.len() => Some(for_all.clone()),
                    _ => Some(changed_in(channel, seen.into_iter())),
                }
            });
        }
    }

    fn show_large(&self) {
        let rooms = std::mem::take(&mut self.0.desk.borrow_mut().large);
        let hub = self.clone();
        actix_rt::spawn(async move {
            for room in rooms {
                // A count that cannot be had now is had with the next change.
                let Ok(count) = hub.0.store.count_present(room).await else { continue };
                let channel = Channel::Room(room);
                let frame = changed(Some(channel), &json!({ "present_count": count }));
                hub.0.state.borrow().deliver_ephemeral(channel, PRESENCE_CHANGED, &frame);
            }
        });
    }
}

/// The event that shows changes in a room, each of which is JSON already.
fn changed_in<'c>(channel: Channel, changes: impl Iterator<Item = &'c str>) -> Frame {
    let changes: Vec<&str> = changes.collect();
    let changes = changes.join(",");
    Frame::text(&format!(
        r#"{{"event":"{PRESENCE_CHANGED}","channel":"{channel}","data":{{"changes":[{changes}]}}}}"#
    ))
}

/// The event that shows changes, of a room or of those a client watches.
#[must_use]
pub fn changed(channel: Option<Channel>, data: &Value) -> Frame {
    let event = match channel {
        Some(channel) => {
            json!({ "event": PRESENCE_CHANGED, "channel": channel.to_string(), "data": data })
        }
        None => json!({ "event": PRESENCE_CHANGED, "data": data }),
    };
    Frame::text(&event.to_string())
}

//! Presence on one worker: what the hub reports of its connections, and what it shows them of others.
//!
//! Reports are whole and numbered, so that only the newest counts; what is shown is gathered for a moment, so that a
//! crowd that comes at once is one frame a room.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rand::Rng;
use serde_json::{Value, json};

use super::Hub;
use super::channel::Channel;
use super::frame::Frame;
use crate::actors::presence::News;
use crate::actors::presence::state::Report;
use crate::domain::ids::{ConnectionId, RoomId, UserId};
use crate::domain::presence::{Choice, Presence};

/// How long changes are gathered before they are shown.
const GATHER: Duration = Duration::from_millis(500);
/// The same where only their number is shown, which has to be counted.
const GATHER_LARGE: Duration = Duration::from_secs(5);
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
    watching: HashMap<ConnectionId, Vec<UserId>>,
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

impl Desk {
    fn unwatch(&mut self, connection: ConnectionId) {
        for user in self.watching.remove(&connection).unwrap_or_default() {
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
        desk.unwatch(connection);
        for user in users {
            desk.watched.entry(*user).or_default().push(connection);
        }
        if !users.is_empty() {
            desk.watching.insert(connection, users.to_vec());
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
            let changes: Vec<News> = changes.into_values().collect();
            let channel = Channel::Room(room);
            let frame_of = |changes: &[&News]| {
                let changes: Vec<Presence> = changes.iter().map(|news| news.presence).collect();
                changed(Some(channel), &json!({ "changes": changes }))
            };
            let for_all = frame_of(&changes.iter().collect::<Vec<_>>());
            let state = self.0.state.borrow();
            if changes.iter().all(|news| news.viewers.is_everybody()) {
                state.deliver_ephemeral(channel, PRESENCE_CHANGED, &for_all);
                continue;
            }
            state.deliver_ephemeral_by(channel, PRESENCE_CHANGED, |viewer| {
                let seen: Vec<&News> = changes.iter().filter(|news| news.is_for(viewer)).collect();
                match seen.len() {
                    0 => None,
                    count if count == changes.len() => Some(for_all.clone()),
                    _ => Some(frame_of(&seen)),
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

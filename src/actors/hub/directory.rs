//! The directory of hubs: how rooms reach the workers that watch them.
//!
//! It outlives every room actor, so that a room that crashed or was passivated finds its watchers again. Each hub's
//! inbox is bounded: a room whose hub is full waits before its next batch.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::channel::Channel;
use super::close::CloseCode;
use super::frame::Frame;
use crate::actors::presence::News;
use crate::domain::ids::{RoomId, SessionId, UserId};
use crate::domain::inbox::InboxEvent;
use crate::domain::rooms::{LogEvent, Seq};

const INBOX_MAX: usize = 4_096;

/// Which hub, counted from 0 in the order of starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HubId(usize);

/// What a hub is sent.
#[derive(Debug, Clone)]
pub enum HubMessage {
    /// What was committed in one channel.
    Deliver(Delivery),
    /// A frame without a number, which may be lost.
    Ephemeral { channel: Channel, name: &'static str, frame: Frame },
    /// The node goes away: every connection is told when to be elsewhere, spread over `window`. Dropping `told` says that
    /// they were.
    Drain { window: Duration, told: mpsc::Sender<()> },
    /// Users are shown differently.
    Presence(Arc<[News]>),
    /// Report which connections of this user are here.
    ReportPresence(UserId),
    /// Report which connections of every user are here.
    ReportAllPresences,
    /// Ends the connections of those whose login is over.
    End { whose: Whose, code: CloseCode },
    /// The other nodes are heard again, for the `epoch`th time: what they said meanwhile is in the store.
    LinkUp { epoch: u64 },
    /// Another node says where the channel's head is.
    HeadElsewhere { channel: Channel, head: Seq },
    /// The channel's head; sent when a hub begins to watch, and whenever something may not have been delivered.
    Watching { channel: Channel, head: Seq },
}

/// Says of a login whether it is meant.
#[derive(Clone)]
pub struct Whose(Arc<dyn Fn(SessionId, UserId) -> bool + Send + Sync>);

impl Whose {
    #[must_use]
    pub fn new(is_meant: impl Fn(SessionId, UserId) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_meant))
    }

    #[must_use]
    pub fn is_meant(&self, session: SessionId, user: UserId) -> bool {
        (self.0)(session, user)
    }
}

impl fmt::Debug for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Whose")
    }
}

/// Consecutive events of one channel, each encoded once for everybody.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub channel: Channel,
    pub events: Arc<[EncodedEvent]>,
}

/// One event, ready to be written.
#[derive(Debug, Clone)]
pub struct EncodedEvent {
    pub seq: Seq,
    pub name: &'static str,
    pub frame: Frame,
    /// Who stopped being a member by it.
    pub removed: Option<UserId>,
}

impl Delivery {
    /// Encodes consecutive events of one room.
    #[must_use]
    pub fn of_room(room: RoomId, events: &[LogEvent], epoch: &str) -> Self {
        let mut json = String::new();
        let events = events
            .iter()
            .map(|event| {
                json.clear();
                // Every part is an id, a number or JSON already; writing to a String cannot fail.
                let _ = write!(
                    json,
                    r#"{{"event":"{}","channel":"room:{}","seq":{},"epoch":"{epoch}","at":"{}","from":"{}","data":{}}}"#,
                    event.name.as_str(),
                    event.room,
                    event.seq,
                    event.at,
                    event.from,
                    event.data,
                );
                let frame = Frame::text(&json);
                let (seq, name) = (event.seq, event.name.as_str());
                EncodedEvent { seq, name, frame, removed: event.removed }
            })
            .collect();
        Self { channel: Channel::Room(room), events }
    }

    /// Encodes consecutive events of one inbox.
    #[must_use]
    pub fn of_inbox(user: UserId, events: &[InboxEvent], epoch: &str) -> Self {
        let encode = |event: &InboxEvent| {
            let (seq, name) = (event.seq, event.name.as_str());
            let json = format!(
                r#"{{"event":"{name}","channel":"me","seq":{seq},"epoch":"{epoch}","at":"{}","data":{}}}"#,
                event.at, event.data,
            );
            EncodedEvent { seq, name, frame: Frame::text(&json), removed: None }
        };
        Self { channel: Channel::Me(user), events: events.iter().map(encode).collect() }
    }
}

/// Every hub of this node and the channels each watches. Cheap to clone.
#[derive(Clone, Default)]
pub struct Directory(Arc<Shared>);

#[derive(Default)]
struct Shared {
    entries: Mutex<Entries>,
    /// Another process commits to the same database, and tells nobody here.
    is_shared: AtomicBool,
    /// The same, of processes elsewhere.
    is_beside_others: AtomicBool,
    /// Whether there are other nodes, and whether they are heard: one of [`ALONE`], [`HEARD`], [`UNHEARD`].
    link: AtomicU8,
}

const ALONE: u8 = 0;
const HEARD: u8 = 1;
const UNHEARD: u8 = 2;

/// How closely the database has to be looked at for what others have committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// Nobody else commits.
    Never,
    /// Others commit and say so; what they say can be lost.
    Seldom,
    /// Others commit and nobody hears them.
    Often,
}

#[derive(Default)]
struct Entries {
    hubs: Vec<mpsc::Sender<HubMessage>>,
    watchers: HashMap<Channel, Vec<HubId>>,
}

impl Directory {
    /// Says whether another process commits to the same database.
    pub fn set_shared(&self, is_shared: bool) {
        self.0.is_shared.store(is_shared, Ordering::Relaxed);
    }

    /// Whether another process commits to the same database: then the database has to be looked at.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.is_shared.load(Ordering::Relaxed)
    }

    /// Says whether other nodes work on the same database, linked with this one or not.
    pub fn set_beside_others(&self, is_beside: bool) {
        self.0.is_beside_others.store(is_beside, Ordering::Relaxed);
    }

    /// Says that there are other nodes, and whether they are heard.
    pub fn set_linked(&self, is_heard: bool) {
        self.0.link.store(if is_heard { HEARD } else { UNHEARD }, Ordering::Relaxed);
    }

    /// How closely the database has to be looked at.
    #[must_use]
    pub fn looks(&self) -> Looks {
        let is_shared = self.is_shared() || self.0.is_beside_others.load(Ordering::Relaxed);
        match self.0.link.load(Ordering::Relaxed) {
            HEARD => Looks::Seldom,
            ALONE if !is_shared => Looks::Never,
            _ => Looks::Often,
        }
    }

    /// Tells every hub, and waits for those that are full.
    pub async fn tell_all_surely(&self, message: &HubMessage) {
        let hubs = self.entries().hubs.clone();
        for hub in hubs {
            // A hub that is gone has nobody it could concern.
            let _ = hub.send(message.clone()).await;
        }
    }

    /// Takes in a new hub; gives its number and its inbox.
    #[must_use]
    pub fn join(&self) -> (HubId, mpsc::Receiver<HubMessage>) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let mut entries = self.entries();
        let id = HubId(entries.hubs.len());
        entries.hubs.push(sender);
        (id, inbox)
    }

    /// Sends every connection elsewhere, spread over `window`, and waits until they were told.
    pub async fn drain(&self, window: Duration) {
        let hubs = self.entries().hubs.clone();
        let (told, mut all_told) = mpsc::channel(1);
        for hub in hubs {
            // A hub that is gone has no connections.
            let _ = hub.send(HubMessage::Drain { window, told: told.clone() }).await;
        }
        drop(told);
        // Nothing is ever sent: the channel ends when the last hub has dropped its end.
        let _ = all_told.recv().await;
    }

    /// Ends the connections of those whose login is over.
    pub async fn end(&self, whose: Whose, code: CloseCode) {
        let hubs = self.entries().hubs.clone();
        for hub in hubs {
            // A hub that is gone has no connections.
            let _ = hub.send(HubMessage::End { whose: whose.clone(), code }).await;
        }
    }

    /// Notes that a hub watches a channel.
    pub fn watch(&self, channel: Channel, hub: HubId) {
        let mut entries = self.entries();
        let watchers = entries.watchers.entry(channel).or_default();
        if !watchers.contains(&hub) {
            watchers.push(hub);
        }
    }

    /// Notes that a hub no longer watches a channel.
    pub fn unwatch(&self, channel: Channel, hub: HubId) {
        let mut entries = self.entries();
        if let Some(watchers) = entries.watchers.get_mut(&channel) {
            watchers.retain(|watcher| *watcher != hub);
            if watchers.is_empty() {
                entries.watchers.remove(&channel);
            }
        }
    }

    /// Sends the watchers of a channel something that is found out without it, too: a full hub does without.
    pub fn hear(&self, channel: Channel, message: &HubMessage) {
        for hub in self.watchers(channel) {
            if hub.try_send(message.clone()).is_err() {
                metrics::counter!("madang_hub_messages_dropped_total").increment(1);
            }
        }
    }

    /// Tells every hub something that is told again when it is lost: a full hub does without.
    pub fn tell_all(&self, message: &HubMessage) {
        let hubs = self.entries().hubs.clone();
        for hub in hubs {
            if hub.try_send(message.clone()).is_err() {
                metrics::counter!("madang_hub_messages_dropped_total").increment(1);
            }
        }
    }

    /// Whether any hub watches the channel.
    #[must_use]
    pub fn is_watched(&self, channel: Channel) -> bool {
        self.entries().watchers.contains_key(&channel)
    }

    /// The inbox of one hub.
    #[must_use]
    pub fn inbox(&self, hub: HubId) -> Option<mpsc::Sender<HubMessage>> {
        self.entries().hubs.get(hub.0).cloned()
    }

    /// The inboxes of every hub that watches the channel.
    #[must_use]
    pub fn watchers(&self, channel: Channel) -> Vec<mpsc::Sender<HubMessage>> {
        let entries = self.entries();
        let hubs = entries.watchers.get(&channel).map(Vec::as_slice).unwrap_or_default();
        hubs.iter().filter_map(|hub| entries.hubs.get(hub.0).cloned()).collect()
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        // Nothing panics while holding it; if something did, the map is still whole.
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

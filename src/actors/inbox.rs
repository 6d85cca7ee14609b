//! Inbox: how what was committed to a user's inbox reaches their devices on every node.
//!
//! No actor: the store gives the order, and a hub that is given 6 after 4 reads 5 by itself.

use std::sync::Arc;

use super::hub::channel::Channel;
use super::hub::directory::{Delivery, Directory, HubMessage};
use super::link::Link;
use super::link::packet::Packet;
use crate::domain::ids::UserId;
use crate::domain::inbox::InboxEvent;
use crate::store::Store;

/// The way to every inbox that is being watched. Cheap to clone.
#[derive(Clone)]
pub struct Inboxes {
    directory: Directory,
    link: Link,
    store: Store,
    epoch: Arc<str>,
}

impl Inboxes {
    #[must_use]
    pub const fn new(directory: Directory, link: Link, store: Store, epoch: Arc<str>) -> Self {
        Self { directory, link, store, epoch }
    }

    /// Delivers what was committed.
    pub async fn deliver(&self, events: &[InboxEvent]) {
        for event in events {
            let channel = Channel::Me(event.user);
            let hubs = self.directory.watchers(channel);
            if hubs.is_empty() && self.link.is_alone() {
                continue;
            }
            let delivery = Delivery::of_inbox(event.user, std::slice::from_ref(event), &self.epoch);
            self.link.publish(&Packet::of(&delivery));
            for hub in hubs {
                // A hub that is gone has nobody to deliver to.
                let _ = hub.send(HubMessage::Deliver(delivery.clone())).await;
            }
        }
    }

    /// It is not known what was committed to these inboxes: their hubs look for themselves.
    pub async fn look_again(&self, users: impl IntoIterator<Item = UserId>) {
        for user in users {
            let channel = Channel::Me(user);
            let hubs = self.directory.watchers(channel);
            if hubs.is_empty() && self.link.is_alone() {
                continue;
            }
            // A store that does not answer now is asked by the client's next subscription.
            let Ok(head) = self.store.find_inbox_head(user).await else { continue };
            self.link.publish(&Packet::Head { channel, head });
            for hub in hubs {
                let _ = hub.send(HubMessage::Watching { channel, head }).await;
            }
        }
    }
}

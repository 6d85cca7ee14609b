//! The relay's way into notifications: domain events become occasions, what was read in a room is read in the inbox, and
//! what became of a payment is shown.

use std::collections::HashSet;

use async_trait::async_trait;
use serde::Deserialize;

use super::Desk;
use crate::actors::inbox::Inboxes;
use crate::actors::relay::{Pace, Subscriber};
use crate::clock;
use crate::domain::events::{INBOX_SIGNALS, PAYMENT_EVENTS};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::notifications::Occasion;
use crate::domain::notifications::triggers::{Cause, occasions};
use crate::domain::rooms::Seq;
use crate::store::relay::{OutboxBeginning, OutboxEvent};
use crate::store::{Store, StoreError};

/// The name of the cursor; never changes.
const NAME: &str = "notify";

/// Markers that one transaction goes by: others want to write as well.
const READERS_AT_ONCE: usize = 200;

/// Takes domain events and leaves fan-outs behind; the work itself is done by whoever is free.
pub struct NotifySubscriber {
    store: Store,
    desk: Desk,
    inboxes: Inboxes,
    /// Kinds that nobody is notified of here.
    disabled: Vec<String>,
}

/// Who has read a room, and up to where.
#[derive(Deserialize)]
struct MessagesRead {
    room_id: RoomId,
    markers: Vec<Marker>,
}

/// Whose inbox an event about a payment is in.
#[derive(Deserialize)]
struct OfPayer {
    payer_id: UserId,
}

#[derive(Deserialize)]
struct Marker {
    user_id: UserId,
    seq: Seq,
}

impl NotifySubscriber {
    #[must_use]
    pub const fn new(store: Store, desk: Desk, inboxes: Inboxes, disabled: Vec<String>) -> Self {
        Self { store, desk, inboxes, disabled }
    }

    /// Notes whom there is to tell. Rooms in which everybody is looking cost one question a page.
    async fn note(&self, events: &[OutboxEvent]) -> Result<(), StoreError> {
        let mut noted: Vec<Occasion> =
            events.iter().flat_map(|event| self.occasions_of(event)).collect();
        let said: HashSet<(RoomId, UserId)> = noted.iter().filter_map(said_to_the_away).collect();
        if !said.is_empty() {
            let heard = self.store.list_rooms_with_away(said).await?;
            noted.retain(|occasion| {
                said_to_the_away(occasion).is_none_or(|pair| heard.contains(&pair))
            });
        }
        self.desk.note(&self.store, noted).await
    }

    /// Whoever has read a room has read what they were notified of there.
    async fn read(&self, events: &[OutboxEvent]) -> Result<(), StoreError> {
        let markers = events
            .iter()
            .filter(|event| event.name == "MessagesRead")
            .filter_map(|event| serde_json::from_str::<MessagesRead>(&event.data).ok())
            .flat_map(|read| {
                let room = read.room_id;
                read.markers.into_iter().map(move |marker| (marker.user_id, room, marker.seq))
            })
            .collect::<Vec<_>>();
        if markers.is_empty() {
            return Ok(());
        }
        let mut unread = self.store.list_unread_of_rooms(markers).await?;
        unread.sort_unstable();
        for markers in unread.chunks(READERS_AT_ONCE) {
            let events = self.store.read_rooms(markers.to_vec(), clock::now()).await?;
            self.inboxes.deliver(&events).await;
        }
        Ok(())
    }

    /// What became of payments is in their payers' inboxes already: whoever watches one is shown it.
    async fn show_payments(&self, events: &[OutboxEvent]) {
        let payers: HashSet<UserId> = events
            .iter()
            .filter(|event| matches!(event.topic.as_str(), PAYMENT_EVENTS | INBOX_SIGNALS))
            .filter_map(|event| serde_json::from_str::<OfPayer>(&event.data).ok())
            .map(|of| of.payer_id)
            .collect();
        self.inboxes.look_again(payers).await;
    }

    fn occasions_of(&self, event: &OutboxEvent) -> Vec<Occasion> {
        let OutboxEvent { id, name, at, data, .. } = event;
        occasions(&Cause { id: *id, name, at: *at, data }, &self.disabled)
    }
}

fn said_to_the_away(occasion: &Occasion) -> Option<(RoomId, UserId)> {
    if !occasion.audience.is_away_only() {
        return None;
    }
    Some((occasion.message?.room, occasion.actor?))
}

#[async_trait]
impl Subscriber for NotifySubscriber {
    fn name(&self) -> &'static str {
        NAME
    }

    fn beginning(&self) -> OutboxBeginning {
        OutboxBeginning::Now
    }

    fn pace(&self) -> Pace {
        Pace::Prompt
    }

    async fn take(&self, events: &[OutboxEvent]) -> Result<(), String> {
        self.note(events).await.map_err(|error| error.to_string())?;
        self.read(events).await.map_err(|error| error.to_string())?;
        self.show_payments(events).await;
        Ok(())
    }
}

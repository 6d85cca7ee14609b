//! A log as the store has it: one channel's events, numbered from 1, and who is a member.

use std::sync::Arc;

use madang::actors::hub::channel::Channel;
use madang::actors::hub::directory::{Delivery, EncodedEvent};
use madang::actors::hub::frame::Frame;
use madang::domain::ids::UserId;
use madang::domain::rooms::Seq;

/// The truth about one channel.
pub(crate) struct Log {
    channel: Channel,
    events: Vec<EncodedEvent>,
    members: Vec<UserId>,
    /// What every event shows: only numbers matter here.
    frame: Frame,
}

impl Log {
    pub(crate) fn new(channel: Channel, members: &[UserId]) -> Self {
        let (events, members) = (Vec::new(), members.to_vec());
        Self { channel, events, members, frame: Frame::text("{}") }
    }

    pub(crate) const fn channel(&self) -> Channel {
        self.channel
    }

    /// The number of the last event; 0 in an empty log.
    pub(crate) fn head(&self) -> Seq {
        Seq::try_from(self.events.len()).expect("a log is short")
    }

    pub(crate) fn is_member(&self, user: UserId) -> bool {
        self.members.contains(&user)
    }

    pub(crate) fn append(&mut self) {
        self.push("message_sent", None);
    }

    /// Ends somebody's membership.
    pub(crate) fn remove(&mut self, user: UserId) {
        self.members.retain(|member| *member != user);
        self.push("member_left", Some(user));
    }

    /// Begins somebody's membership.
    pub(crate) fn add(&mut self, user: UserId) {
        self.members.push(user);
        self.push("member_joined", None);
    }

    fn push(&mut self, name: &'static str, removed: Option<UserId>) {
        let event = EncodedEvent { seq: self.head() + 1, name, frame: self.frame.clone(), removed };
        self.events.push(event);
    }

    /// At most `limit` events after `after`, as read by somebody who sees the log up to `seen`.
    pub(crate) fn page(&self, after: Seq, seen: Seq, limit: usize) -> Delivery {
        let first = place(after);
        let events = self.events.get(first..place(seen).min(first.saturating_add(limit)));
        Delivery { channel: self.channel, events: Arc::from(events.unwrap_or_default()) }
    }

    /// Whether one of the events after `after`, up to `last`, ended the user's membership.
    pub(crate) fn removes(&self, user: UserId, after: Seq, last: Seq) -> bool {
        let events = self.events.get(place(after)..place(last)).unwrap_or_default();
        events.iter().any(|event| event.removed == Some(user))
    }
}

/// Where the events after a number begin.
fn place(seq: Seq) -> usize {
    usize::try_from(seq).expect("a number is not negative")
}

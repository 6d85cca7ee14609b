//! The link's state, pure: which channels this node wants to hear, and which of them it does.
//!
//! Invariant: a channel that is wanted is being heard, or is in the work of the line that has its partition.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::actors::hub::channel::Channel;
use crate::providers::redis::partition::{PARTITIONS, Partition};

/// Channels that are subscribed to, or no longer, at once.
pub(super) const CHUNK_MAX: usize = 500;
/// How long a channel that nobody watches is still heard: whoever leaves often comes back.
pub(super) const UNSUBSCRIBE_AFTER: Duration = Duration::from_secs(30);

/// Told when the channel is heard; dropped when it cannot be for now.
type Waiter = oneshot::Sender<()>;

/// What one line has to do next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) subscribe: Vec<Channel>,
    pub(super) unsubscribe: Vec<Channel>,
}

impl Work {
    pub(super) fn is_empty(&self) -> bool {
        self.subscribe.is_empty() && self.unsubscribe.is_empty()
    }
}

/// The channels of one node.
pub(super) struct LinkState {
    subscriptions: HashMap<Channel, Subscription>,
    /// By partition: what has to be done.
    work: Vec<HashSet<Channel>>,
    /// By partition: whether a line serves it.
    is_served: Vec<bool>,
    /// Channels that nobody watched any more at that time.
    left: VecDeque<(Instant, Channel)>,
}

#[derive(Default)]
struct Subscription {
    is_wanted: bool,
    is_heard: bool,
    waiters: Vec<Waiter>,
}

impl Default for LinkState {
    fn default() -> Self {
        let partitions = usize::from(PARTITIONS);
        Self {
            subscriptions: HashMap::new(),
            work: vec![HashSet::new(); partitions],
            is_served: vec![false; partitions],
            left: VecDeque::new(),
        }
    }
}

impl LinkState {
    /// The channel is watched here. Gives what to wait for until it is heard; `None` if it is, or cannot be now.
    pub(super) fn want(&mut self, channel: Channel) -> Option<oneshot::Receiver<()>> {
        let at = partition(channel).index();
        let subscription = self.subscriptions.entry(channel).or_default();
        subscription.is_wanted = true;
        if subscription.is_heard {
            return None;
        }
        if let Some(work) = self.work.get_mut(at) {
            work.insert(channel);
        }
        if !self.is_served.get(at).copied().unwrap_or_default() {
            return None;
        }
        let (waiter, waiting) = oneshot::channel();
        subscription.waiters.push(waiter);
        Some(waiting)
    }

    /// Nobody here watches the channel any more; it is heard a little longer.
    pub(super) fn leave(&mut self, channel: Channel, now: Instant) {
        self.left.push_back((now, channel));
    }

    /// Gives up the channels that were left long enough ago and that `is_watched` does not know.
    pub(super) fn expire(&mut self, now: Instant, is_watched: impl Fn(Channel) -> bool) -> bool {
        let mut has_work = false;
        while let Some((since, channel)) = self.left.front().copied()
            && now.saturating_duration_since(since) >= UNSUBSCRIBE_AFTER
        {
            self.left.pop_front();
            if is_watched(channel) {
                continue;
            }
            let Some(subscription) = self.subscriptions.get_mut(&channel) else { continue };
            subscription.is_wanted = false;
            if let Some(work) = self.work.get_mut(partition(channel).index()) {
                has_work |= work.insert(channel);
            }
        }
        has_work
    }

    /// Takes a part of what has to be done in `partitions`; to be told how it went by [`Self::done`] or
    /// [`Self::lost`].
    pub(super) fn take_work(&mut self, partitions: &[Partition]) -> Work {
        let mut work = Work::default();
        for partition in partitions {
            let Some(waiting) = self.work.get_mut(partition.index()) else { continue };
            while work.subscribe.len() < CHUNK_MAX
                && work.unsubscribe.len() < CHUNK_MAX
                && let Some(channel) = waiting.iter().next().copied()
            {
                waiting.remove(&channel);
                let Some(subscription) = self.subscriptions.get_mut(&channel) else { continue };
                match (subscription.is_wanted, subscription.is_heard) {
                    (true, false) => work.subscribe.push(channel),
                    (false, true) => {
                        // Whoever wants it from now on waits until it is subscribed to again.
                        subscription.is_heard = false;
                        work.unsubscribe.push(channel);
                    }
                    (false, false) => {
                        self.subscriptions.remove(&channel);
                    }
                    (true, true) => {}
                }
            }
        }
        work
    }

    /// The work was done: tells those who wait.
    pub(super) fn done(&mut self, work: &Work) {
        for channel in &work.subscribe {
            if let Some(subscription) = self.subscriptions.get_mut(channel) {
                subscription.is_heard = true;
                for waiter in subscription.waiters.drain(..) {
                    // Whoever stopped waiting does without.
                    let _ = waiter.send(());
                }
            }
            self.look_again(*channel);
        }
        for channel in &work.unsubscribe {
            self.look_again(*channel);
        }
    }

    /// It may have been changed while it was being done.
    fn look_again(&mut self, channel: Channel) {
        let Some(subscription) = self.subscriptions.get(&channel) else { return };
        if subscription.is_wanted == subscription.is_heard {
            if !subscription.is_wanted {
                self.subscriptions.remove(&channel);
            }
        } else if let Some(work) = self.work.get_mut(partition(channel).index()) {
            work.insert(channel);
        }
    }

    /// A line serves these partitions from now on.
    pub(super) fn served(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(is_served) = self.is_served.get_mut(partition.index()) {
                *is_served = true;
            }
        }
    }

    /// Nothing is heard of these partitions any more: everything that is wanted has to be subscribed to again.
    pub(super) fn lost(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            let at = partition.index();
            if let (Some(is_served), Some(work)) =
                (self.is_served.get_mut(at), self.work.get_mut(at))
            {
                *is_served = false;
                work.clear();
            }
        }
        let work = &mut self.work;
        self.subscriptions.retain(|channel, subscription| {
            let partition = partition(*channel);
            if !partitions.contains(&partition) {
                return true;
            }
            subscription.is_heard = false;
            // They go on without it: what they miss is found by looking.
            subscription.waiters.clear();
            if subscription.is_wanted
                && let Some(work) = work.get_mut(partition.index())
            {
                work.insert(*channel);
            }
            subscription.is_wanted
        });
    }

    /// Whether the server has ended a subscription that is wanted.
    pub(super) fn is_wanted_and_heard(&self, channel: Channel) -> bool {
        self.subscriptions.get(&channel).is_some_and(|sub| sub.is_wanted && sub.is_heard)
    }
}

/// Where a channel lies.
pub(super) fn partition(channel: Channel) -> Partition {
    match channel {
        Channel::Room(room) => Partition::of(room.uuid().as_bytes()),
        Channel::Me(user) => Partition::of(user.uuid().as_bytes()),
    }
}

/// What a channel is called in Redis.
pub(super) fn redis_name(channel: Channel) -> String {
    let name = match channel {
        Channel::Room(room) => format!("room:{room}"),
        Channel::Me(user) => format!("me:{user}"),
    };
    partition(channel).key(&name)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn room(n: u128) -> Channel {
        Channel::Room(Uuid::from_u128(n).into())
    }

    fn all() -> Vec<Partition> {
        Partition::all().collect()
    }

    /// Does everything there is to do; gives how often it took something.
    fn settle(state: &mut LinkState) -> usize {
        let mut rounds = 0;
        loop {
            let work = state.take_work(&all());
            if work.is_empty() {
                return rounds;
            }
            state.done(&work);
            rounds += 1;
        }
    }

    #[test]
    fn whoever_waits_hears_when_the_channel_is_heard() {
        let mut state = LinkState::default();
        state.served(&all());
        let mut waiting = state.want(room(1)).unwrap();
        assert!(waiting.try_recv().is_err());
        let work = state.take_work(&all());
        assert_eq!(work, Work { subscribe: vec![room(1)], unsubscribe: vec![] });
        assert!(state.take_work(&all()).is_empty(), "nothing is done twice");
        state.done(&work);
        assert_eq!(waiting.try_recv(), Ok(()));
        assert!(state.want(room(1)).is_none(), "it is heard already");
    }

    #[test]
    fn nobody_waits_for_a_server_that_is_away() {
        let mut state = LinkState::default();
        assert!(state.want(room(1)).is_none());
        state.served(&all());
        let mut waiting = state.want(room(2)).unwrap();
        state.lost(&all());
        assert!(
            waiting.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        state.served(&all());
        assert_eq!(settle(&mut state), 1);
        assert!(state.want(room(1)).is_none() && state.want(room(2)).is_none(), "both are heard");
    }

    #[test]
    fn a_channel_is_left_late_and_not_at_all_by_whoever_comes_back() {
        let mut state = LinkState::default();
        state.served(&all());
        let _ = (state.want(room(1)), state.want(room(2)));
        settle(&mut state);
        let now = Instant::now();
        state.leave(room(1), now);
        state.leave(room(2), now);
        assert!(!state.expire(now + UNSUBSCRIBE_AFTER / 2, |_| false));
        let _ = state.want(room(2));
        assert!(state.expire(now + UNSUBSCRIBE_AFTER, |channel| channel == room(2)));
        let work = state.take_work(&all());
        assert_eq!(work, Work { subscribe: vec![], unsubscribe: vec![room(1)] });
        state.done(&work);
        assert!(state.subscriptions.contains_key(&room(2)));
        assert!(!state.subscriptions.contains_key(&room(1)));
    }

    #[test]
    fn a_channel_that_is_wanted_again_while_it_is_given_up_is_subscribed_to_again() {
        let mut state = LinkState::default();
        state.served(&all());
        let _ = state.want(room(1));
        settle(&mut state);
        let now = Instant::now();
        state.leave(room(1), now);
        state.expire(now + UNSUBSCRIBE_AFTER, |_| false);
        let giving_up = state.take_work(&all());
        let mut waiting = state.want(room(1)).unwrap();
        state.done(&giving_up);
        assert!(waiting.try_recv().is_err());
        let work = state.take_work(&all());
        assert_eq!(work, Work { subscribe: vec![room(1)], unsubscribe: vec![] });
    }

    #[test]
    fn everything_is_subscribed_to_again_in_chunks() {
        let mut state = LinkState::default();
        for n in 0..1_200 {
            let _ = state.want(room(n));
        }
        state.served(&all());
        assert_eq!(settle(&mut state), 3);
        state.lost(&all());
        assert!(!state.is_wanted_and_heard(room(7)));
        assert_eq!(settle(&mut state), 3);
        assert!(state.is_wanted_and_heard(room(7)));
    }
}

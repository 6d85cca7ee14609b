//! A room's state, pure: what waits, what is in flight, who was seen typing.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::domain::ids::UserId;
use crate::domain::rooms::{Command, Seq};
use crate::domain::time::Timestamp;

/// Commands committed together, at most.
const BATCH_MAX: usize = 256;
/// A user's typing is shown at most this often.
const TYPING_INTERVAL: Duration = Duration::from_secs(3);

/// A command and whoever waits for its answer.
pub(super) struct Pending<A> {
    pub(super) command: Command,
    pub(super) answer: A,
}

/// `A` waits for the answer to a command, `N` for the news of where the head is.
pub(super) struct RoomState<A, N> {
    head: Seq,
    waiting: VecDeque<Pending<A>>,
    in_flight: bool,
    newcomers: Vec<N>,
    typing: HashMap<UserId, Timestamp>,
    last_used: Timestamp,
}

impl<A, N> RoomState<A, N> {
    pub(super) fn new(head: Seq, now: Timestamp) -> Self {
        Self {
            head,
            waiting: VecDeque::new(),
            in_flight: false,
            newcomers: Vec::new(),
            typing: HashMap::new(),
            last_used: now,
        }
    }

    /// The last number that was delivered.
    pub(super) const fn head(&self) -> Seq {
        self.head
    }

    pub(super) fn push(&mut self, command: Command, answer: A, now: Timestamp) {
        self.last_used = now;
        self.waiting.push_back(Pending { command, answer });
    }

    /// What is committed next; `None` while a batch is in flight or nothing waits.
    pub(super) fn next_batch(&mut self) -> Option<Vec<Pending<A>>> {
        if self.in_flight || self.waiting.is_empty() {
            return None;
        }
        self.in_flight = true;
        let size = self.waiting.len().min(BATCH_MAX);
        Some(self.waiting.drain(..size).collect())
    }

    /// The batch is over. Gives those who can be told the head now.
    pub(super) fn committed(&mut self, head: Seq) -> Vec<N> {
        self.in_flight = false;
        self.head = head.max(self.head);
        std::mem::take(&mut self.newcomers)
    }

    /// Gives the newcomer back if it can be told the head at once; else it is told after the batch in flight.
    pub(super) fn announce(&mut self, newcomer: N, now: Timestamp) -> Option<N> {
        self.last_used = now;
        if self.in_flight {
            self.newcomers.push(newcomer);
            return None;
        }
        Some(newcomer)
    }

    /// Whether this sign of typing is shown, or too soon after the last.
    pub(super) fn may_show_typing(&mut self, user: UserId, now: Timestamp) -> bool {
        self.last_used = now;
        self.typing.retain(|_, shown| now.since(*shown) < TYPING_INTERVAL);
        match self.typing.entry(user) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(now);
                true
            }
        }
    }

    pub(super) fn is_idle(&self, now: Timestamp, idle_max: Duration) -> bool {
        !self.in_flight && self.waiting.is_empty() && now.since(self.last_used) >= idle_max
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::rooms::Action;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn command() -> Command {
        Command { actor: UserId::from(Uuid::nil()), action: Action::Join }
    }

    #[test]
    fn one_batch_is_in_flight_and_the_rest_is_the_next() {
        let mut state = RoomState::<_, ()>::new(0, NOW);
        for n in 0..300 {
            state.push(command(), n, NOW);
        }
        let first = state.next_batch().unwrap();
        assert_eq!(first.len(), BATCH_MAX);
        assert!(state.next_batch().is_none(), "while the first is in flight");
        state.committed(256);
        let second: Vec<i32> =
            state.next_batch().unwrap().into_iter().map(|pending| pending.answer).collect();
        assert_eq!(second, (256..300).collect::<Vec<_>>());
    }

    #[test]
    fn a_newcomer_is_told_the_head_after_the_batch_in_flight() {
        let mut state = RoomState::new(7, NOW);
        assert_eq!(state.announce("at once", NOW), Some("at once"));
        state.push(command(), (), NOW);
        assert!(state.next_batch().is_some());
        assert_eq!(state.announce("later", NOW), None);
        assert_eq!(state.committed(8), ["later"]);
        assert_eq!(state.head(), 8);
    }

    #[test]
    fn a_batch_that_came_to_nothing_does_not_move_the_head_back() {
        let mut state = RoomState::<(), ()>::new(7, NOW);
        state.committed(3);
        assert_eq!(state.head(), 7);
    }

    #[test]
    fn typing_is_shown_at_most_every_three_seconds() {
        let mut state = RoomState::<(), ()>::new(0, NOW);
        let user = UserId::from(Uuid::nil());
        assert!(state.may_show_typing(user, NOW));
        assert!(!state.may_show_typing(user, NOW.plus(Duration::from_millis(2_999))));
        assert!(state.may_show_typing(user, NOW.plus(Duration::from_secs(3))));
    }

    #[test]
    fn a_room_with_work_is_not_idle() {
        let mut state = RoomState::<_, ()>::new(0, NOW);
        let later = NOW.plus(Duration::from_secs(61));
        assert!(state.is_idle(later, Duration::from_secs(60)));
        state.push(command(), (), NOW);
        assert!(!state.is_idle(later, Duration::from_secs(60)));
    }
}

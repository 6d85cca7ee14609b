//! The slot machine of a shard: Absent → Loading → Live → Draining → Cooling, pure.
//!
//! Takes events and `now`, returns effects as data. It holds who waits, not the actors; `W` is whatever answers a
//! waiter, `S` what was loaded.
//!
//! Invariants: a key has at most one incarnation alive; incarnation numbers only grow; every event about a child says
//! which incarnation it means and is ignored if that is not the present one; each waiter is answered once.

use std::{
    collections::HashMap,
    hash::Hash,
    mem,
    time::{Duration, Instant},
};

use crate::actors::kit::{
    handle::CallError,
    registry::ResolveError,
    restart::{Limit, RestartPolicy, RestartWindow, Tally, Verdict},
    supervise::ExitReason,
};

/// The rules of one slot machine.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Callers that may wait for one child.
    pub waiters_max: usize,
    /// When a crashing child is quarantined.
    pub restarts: RestartPolicy,
    /// Quarantines of the whole shard before they are escalated.
    pub quarantines: Limit,
    /// Whether incarnations are left unchecked: the control of the stress test.
    #[cfg(test)]
    pub trusts_any_incarnation: bool,
}

/// What happened.
#[derive(Debug)]
pub enum Event<K, W, S> {
    /// Somebody wants the child.
    Resolve { key: K, waiter: W },
    /// The store answered.
    Loaded { key: K, incarnation: u64, seed: S },
    /// The store did not, or has none.
    LoadFailed { key: K, incarnation: u64, error: ResolveError },
    /// The child wants to leave.
    Passivate { key: K, incarnation: u64 },
    /// The child closed its gate unasked; its exit notice is on the way.
    FoundClosed { key: K, incarnation: u64 },
    /// The child is gone. `jitter` is random in `0.0..1.0`.
    Exited { key: K, incarnation: u64, reason: ExitReason, jitter: f64 },
    /// Everybody has to leave, nobody comes in any more.
    Stop,
}

/// What the shell has to do about it, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<K, W, S> {
    /// Ask the store.
    Load { key: K, incarnation: u64 },
    /// Make the child and give it to the waiters.
    Start { key: K, incarnation: u64, seed: S, waiters: Vec<W> },
    /// Give the waiter the living child.
    Hand { key: K, waiter: W },
    /// Close the child's gate; it stops when it has drained.
    Drain { key: K },
    /// Forget how to reach the child.
    Forget { key: K },
    /// Tell the waiters why not.
    Refuse { waiters: Vec<W>, error: ResolveError },
    /// The child is refused for this long.
    Quarantined { key: K, wait: Duration },
    /// Too many quarantines: restarting children no longer helps.
    Escalate,
    /// After [`Event::Stop`]: no child is left.
    Settled,
}

#[derive(Debug)]
enum Slot<W> {
    Loading { incarnation: u64, waiters: Vec<W> },
    Live { incarnation: u64 },
    Draining { incarnation: u64, waiters: Vec<W> },
    Cooling { until: Instant },
}

/// The children of one shard.
#[derive(Debug)]
pub struct Slots<K, W> {
    rules: Rules,
    // A key without an entry is absent.
    slots: HashMap<K, Slot<W>>,
    crashes: HashMap<K, RestartWindow>,
    quarantines: Tally,
    last_incarnation: u64,
    sweep_at: usize,
    stopping: bool,
}

const SWEEP_MIN: usize = 64;

impl<K: Copy + Eq + Hash, W> Slots<K, W> {
    /// An empty shard whose incarnation numbers are above `last_incarnation`.
    pub fn new(rules: Rules, last_incarnation: u64) -> Self {
        Self {
            rules,
            slots: HashMap::new(),
            crashes: HashMap::new(),
            quarantines: Tally::default(),
            last_incarnation,
            sweep_at: SWEEP_MIN,
            stopping: false,
        }
    }

    /// Takes one event at `now` and returns what follows from it.
    pub fn step<S>(&mut self, event: Event<K, W, S>, now: Instant) -> Vec<Effect<K, W, S>> {
        match event {
            Event::Resolve { key, waiter } => self.resolve(key, waiter, now).into_iter().collect(),
            Event::Loaded { key, incarnation, seed } => self
                .end_loading(key, incarnation)
                .map(|waiters| {
                    self.slots.insert(key, Slot::Live { incarnation });
                    Effect::Start { key, incarnation, seed, waiters }
                })
                .into_iter()
                .collect(),
            Event::LoadFailed { key, incarnation, error } => self
                .end_loading(key, incarnation)
                .map(|waiters| Effect::Refuse { waiters, error })
                .into_iter()
                .collect(),
            Event::Passivate { key, incarnation } => {
                if self.begin_draining(key, incarnation) {
                    vec![Effect::Drain { key }]
                } else {
                    Vec::new()
                }
            }
            Event::FoundClosed { key, incarnation } => {
                self.begin_draining(key, incarnation);
                Vec::new()
            }
            Event::Exited { key, incarnation, reason, jitter } => {
                self.exited(key, incarnation, reason, jitter, now)
            }
            Event::Stop => self.stop(),
        }
    }

    // `None` when the waiter has joined those who wait already.
    fn resolve<S>(&mut self, key: K, waiter: W, now: Instant) -> Option<Effect<K, W, S>> {
        let refuse = |waiter, error: CallError| {
            Some(Effect::Refuse { waiters: vec![waiter], error: error.into() })
        };
        if self.stopping {
            return refuse(waiter, CallError::Stopped);
        }
        match self.slots.get_mut(&key) {
            Some(Slot::Live { .. }) => Some(Effect::Hand { key, waiter }),
            Some(Slot::Loading { waiters, .. } | Slot::Draining { waiters, .. })
                if waiters.len() >= self.rules.waiters_max =>
            {
                refuse(waiter, CallError::Overloaded)
            }
            Some(Slot::Loading { waiters, .. } | Slot::Draining { waiters, .. }) => {
                waiters.push(waiter);
                None
            }
            Some(Slot::Cooling { until }) if now < *until => refuse(waiter, CallError::Unavailable),
            Some(Slot::Cooling { .. }) | None => Some(self.load(key, vec![waiter])),
        }
    }

    fn load<S>(&mut self, key: K, waiters: Vec<W>) -> Effect<K, W, S> {
        self.last_incarnation = self.last_incarnation.saturating_add(1);
        let incarnation = self.last_incarnation;
        self.slots.insert(key, Slot::Loading { incarnation, waiters });
        Effect::Load { key, incarnation }
    }

    // Frees the slot if it is loading this incarnation, and returns who waited.
    fn end_loading(&mut self, key: K, incarnation: u64) -> Option<Vec<W>> {
        match self.slots.remove(&key)? {
            Slot::Loading { incarnation: present, waiters } if self.means(incarnation, present) => {
                Some(waiters)
            }
            other => {
                self.slots.insert(key, other);
                None
            }
        }
    }

    fn begin_draining(&mut self, key: K, incarnation: u64) -> bool {
        let Some(Slot::Live { incarnation: present }) = self.slots.get(&key) else {
            return false;
        };
        let present = *present;
        let meant = self.means(incarnation, present);
        if meant {
            self.slots.insert(key, Slot::Draining { incarnation: present, waiters: Vec::new() });
        }
        meant
    }

    fn exited<S>(
        &mut self,
        key: K,
        incarnation: u64,
        reason: ExitReason,
        jitter: f64,
        now: Instant,
    ) -> Vec<Effect<K, W, S>> {
        let waiters = match self.slots.remove(&key) {
            Some(Slot::Live { incarnation: present }) if self.means(incarnation, present) => {
                Vec::new()
            }
            Some(Slot::Draining { incarnation: present, waiters })
                if self.means(incarnation, present) =>
            {
                waiters
            }
            Some(other) => {
                self.slots.insert(key, other);
                return Vec::new();
            }
            None => return Vec::new(),
        };

        let mut effects = vec![Effect::Forget { key }];
        if self.stopping {
            effects.extend(self.settled());
            return effects;
        }
        match self.judge(key, reason, jitter, now) {
            Verdict::Restart if waiters.is_empty() => {}
            Verdict::Restart => effects.push(self.load(key, waiters)),
            Verdict::Cool(wait) => {
                let until = now.checked_add(wait).unwrap_or(now);
                self.slots.insert(key, Slot::Cooling { until });
                effects.push(Effect::Refuse { waiters, error: CallError::Unavailable.into() });
                effects.push(Effect::Quarantined { key, wait });
                if self.quarantines.exceeds(&self.rules.quarantines, now) {
                    effects.push(Effect::Escalate);
                }
            }
        }
        effects
    }

    fn judge(&mut self, key: K, reason: ExitReason, jitter: f64, now: Instant) -> Verdict {
        match reason {
            ExitReason::Normal => Verdict::Restart,
            ExitReason::Crashed => {
                self.sweep(now);
                self.crashes.entry(key).or_default().crashed(&self.rules.restarts, now, jitter)
            }
        }
    }

    // Forgets what no longer matters, so that memory follows the crashes of the recent past. Doubling the mark
    // each time keeps the cost of a crash constant on average.
    fn sweep(&mut self, now: Instant) {
        if self.crashes.len() < self.sweep_at {
            return;
        }
        self.crashes.retain(|_, window| !window.is_calm(now));
        self.slots.retain(|_, slot| !matches!(slot, Slot::Cooling { until } if *until <= now));
        self.sweep_at = self.crashes.len().saturating_mul(2).max(SWEEP_MIN);
    }

    fn stop<S>(&mut self) -> Vec<Effect<K, W, S>> {
        self.stopping = true;
        let (mut effects, mut refused) = (Vec::new(), Vec::new());
        for (key, slot) in mem::take(&mut self.slots) {
            match slot {
                Slot::Loading { waiters, .. } => refused.extend(waiters),
                Slot::Live { incarnation } => {
                    self.slots.insert(key, Slot::Draining { incarnation, waiters: Vec::new() });
                    effects.push(Effect::Drain { key });
                }
                Slot::Draining { incarnation, waiters } => {
                    refused.extend(waiters);
                    self.slots.insert(key, Slot::Draining { incarnation, waiters: Vec::new() });
                }
                Slot::Cooling { .. } => {}
            }
        }
        effects.push(Effect::Refuse { waiters: refused, error: CallError::Stopped.into() });
        effects.extend(self.settled());
        effects
    }

    // While stopping only children that drain have a slot.
    fn settled<S>(&self) -> Option<Effect<K, W, S>> {
        self.slots.is_empty().then_some(Effect::Settled)
    }

    fn means(&self, told: u64, present: u64) -> bool {
        #[cfg(test)]
        if self.rules.trusts_any_incarnation {
            return true;
        }
        told == present
    }
}

#[cfg(test)]
mod tests;

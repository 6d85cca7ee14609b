//! Routes: what is known of the ways on which a medium's letters go out, and of the parties that they go to.
//!
//! Each way has a breaker, so that what is down is left alone, and nobody's attempts are used up on it. Invariants: neither
//! one way nor one party holds every worker, where there is more than one; no party closes a way to others by what it
//! chose as its own address; and what is remembered is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::domain::breaker::{Admission, Breaker, BreakerRule, BreakerState, Report};
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::store::deliveries::queue::Held;

const ROUTES_MAX: usize = 1_000;
/// Parties that are remembered to be behind a way that is not open; the letters of others are put off one by one.
const RESTING_MAX: usize = 1_000;
/// How long a letter waits for a place on a way that is full.
const FULL_WAIT: Duration = Duration::from_secs(1);
/// So many parties, at whose addresses we are denied one after the other, are not all of them to blame.
const DENIED_MAX: usize = 5;
/// Whoever has taken a letter within this time takes ours.
const WELCOME_FOR: Duration = Duration::from_hours(1);
/// What is behind a way is put off no more often than this.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The ways of one medium on one node. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(super) struct Routes(Arc<Mutex<State>>);

struct State {
    rule: BreakerRule,
    /// All letters take the same way, as those to one mail server do.
    is_single: bool,
    /// Letters on one way at once.
    route_max: usize,
    /// Letters of one party at once.
    party_max: usize,
    routes: HashMap<String, Route>,
    /// Letters of each party on their way; no entry is 0.
    busy: HashMap<Uuid, usize>,
    /// Parties whose letters found their way closed or full, and which way that was.
    resting: HashMap<Uuid, String>,
}

struct Route {
    breaker: Breaker,
    busy: usize,
    used_at: Timestamp,
    /// The parties at whose addresses we were denied since a letter was last taken; at most [`DENIED_MAX`].
    denied: Vec<Uuid>,
    /// When a letter was last taken.
    taken_at: Option<Timestamp>,
    /// When the letters behind it were last put off.
    swept_at: Option<Timestamp>,
}

/// How many letters may be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowance {
    Letters(usize),
    /// None before then.
    NoneUntil(Timestamp),
}

/// Why a letter does not go out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) until: Timestamp,
    /// A word for the log.
    pub(super) reason: &'static str,
}

/// Whose fault it is that we were denied at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    /// The address's own: we are welcome at others.
    OfOne,
    /// Nobody knows yet.
    Unclear,
    /// Ours: it is so wherever we come.
    OfAll,
}

/// That the letters behind a way are to be put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sweep {
    pub(super) until: Timestamp,
    /// False while one letter finds out whether the way is open: few others will have to wait.
    pub(super) is_for_all: bool,
}

/// A way that is not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    pub route: String,
    pub state: BreakerState,
}

/// The right to send one letter on a way. Dropped without a report, it says nothing about the way.
pub(super) struct Pass {
    routes: Routes,
    route: String,
    party: Uuid,
    is_probe: bool,
    is_reported: bool,
}

/// A letter of a party is on its way, until this is dropped.
pub(super) struct Place {
    routes: Routes,
    party: Uuid,
}

impl Routes {
    pub(super) fn new(medium: Medium, workers: usize) -> Self {
        let is_single = matches!(medium, Medium::Mail | Medium::Sms);
        let share = |part: usize| workers.checked_div(part).unwrap_or(workers).max(1);
        Self(Arc::new(Mutex::new(State {
            rule: BreakerRule::of(medium),
            is_single,
            route_max: if is_single { workers } else { share(2) },
            party_max: share(4),
            routes: HashMap::new(),
            busy: HashMap::new(),
            resting: HashMap::new(),
        })))
    }

    /// Letters of one party at once.
    pub(super) fn party_max(&self) -> usize {
        self.lock().party_max
    }

    /// How many letters `free` workers may take.
    pub(super) fn allowance(&self, free: usize, now: Timestamp) -> Allowance {
        let state = self.lock();
        if !state.is_single {
            return Allowance::Letters(free);
        }
        for route in state.routes.values() {
            match route.breaker.look(now) {
                Admission::Go => {}
                // The probe may have been taken and not be on its way yet.
                Admission::Probe if state.busy.is_empty() => {
                    return Allowance::Letters(free.min(1));
                }
                Admission::Probe => return Allowance::Letters(0),
                Admission::Wait(until) => return Allowance::NoneUntil(until),
            }
        }
        Allowance::Letters(free)
    }

    /// The parties of which fewer letters are taken now, or none.
    pub(super) fn held(&self, now: Timestamp) -> Vec<Held> {
        let mut state = self.lock();
        let State { routes, resting, busy, party_max, route_max, .. } = &mut *state;
        let is_shut = |route: &Route| {
            route.busy >= *route_max || matches!(route.breaker.look(now), Admission::Wait(_))
        };
        // What has opened again is remembered no more.
        resting.retain(|_, route| routes.get(route).is_some_and(is_shut));
        let left = |busy: usize| i64::try_from(party_max.saturating_sub(busy)).unwrap_or(i64::MAX);
        let busy = busy.iter().filter(|(party, _)| !resting.contains_key(party));
        let busy = busy.map(|(party, busy)| Held { party: *party, spare: left(*busy) });
        busy.chain(resting.keys().map(|party| Held { party: *party, spare: 0 })).collect()
    }

    /// A letter of `party` was taken.
    pub(super) fn enter(&self, party: Uuid) -> Place {
        let mut state = self.lock();
        let busy = state.busy.entry(party).or_default();
        *busy = busy.saturating_add(1);
        Place { routes: self.clone(), party }
    }

    /// Asks to send a letter of `party` on a way.
    pub(super) fn admit(&self, route: &str, party: Uuid, now: Timestamp) -> Result<Pass, Wait> {
        let mut state = self.lock();
        let route_max = state.route_max;
        let known = state.route(route, now);
        let refused = if known.busy >= route_max {
            Some(Wait { until: now.plus(FULL_WAIT), reason: "route_full" })
        } else {
            match known.breaker.admit(now) {
                Admission::Wait(until) => Some(Wait { until, reason: "route_down" }),
                Admission::Go | Admission::Probe => None,
            }
        };
        if let Some(wait) = refused {
            if state.resting.len() < RESTING_MAX {
                state.resting.insert(party, route.to_owned());
            }
            return Err(wait);
        }
        let known = state.route(route, now);
        known.busy = known.busy.saturating_add(1);
        let is_probe = known.breaker.state() == BreakerState::HalfOpen;
        let (routes, route) = (self.clone(), route.to_owned());
        Ok(Pass { routes, route, party, is_probe, is_reported: false })
    }

    /// Whether the letters behind a way are to be put off now: it is not open, and they were not just yet.
    pub(super) fn sweep(&self, route: &str, now: Timestamp) -> Option<Sweep> {
        let mut state = self.lock();
        let known = state.routes.get_mut(route)?;
        let Admission::Wait(until) = known.breaker.look(now) else { return None };
        if known.swept_at.is_some_and(|at| now.since(at) < SWEEP_INTERVAL) {
            return None;
        }
        known.swept_at = Some(now);
        let is_for_all = matches!(known.breaker.state(), BreakerState::Open { .. });
        Some(Sweep { until, is_for_all })
    }

    /// The ways that are not open, by name.
    pub(super) fn closed(&self) -> Vec<RouteView> {
        let state = self.lock();
        let views = state
            .routes
            .iter()
            .map(|(route, known)| RouteView { route: route.clone(), state: known.breaker.state() });
        let mut closed: Vec<RouteView> =
            views.filter(|view| view.state != BreakerState::Closed).collect();
        closed.sort_unstable_by(|one, other| one.route.cmp(&other.route));
        closed
    }

    /// Letters that were taken and are not settled.
    pub(super) fn busy(&self) -> usize {
        self.lock().busy.values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn route(&mut self, name: &str, now: Timestamp) -> &mut Route {
        if !self.routes.contains_key(name) && self.routes.len() >= ROUTES_MAX {
            self.forget_one();
        }
        let rule = self.rule;
        let fresh = || Route {
            breaker: Breaker::new(rule),
            busy: 0,
            used_at: now,
            denied: Vec::new(),
            taken_at: None,
            swept_at: None,
        };
        let route = self.routes.entry(name.to_owned()).or_insert_with(fresh);
        route.used_at = now;
        route
    }

    /// Makes room: for what is idle and open first, and was not used for the longest time.
    fn forget_one(&mut self) {
        let idle = self.routes.iter().filter(|(_, route)| route.busy == 0);
        let key = |route: &Route| (route.breaker.state() != BreakerState::Closed, route.used_at);
        let oldest = idle.min_by_key(|(_, route)| key(route)).map(|(name, _)| name.clone());
        if let Some(name) = oldest {
            self.routes.remove(&name);
        }
    }
}

impl Pass {
    pub(super) const fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// The letter was taken: we are welcome there.
    pub(super) fn taken(self, now: Timestamp) {
        if let Some(known) = self.routes.lock().routes.get_mut(&self.route) {
            known.denied.clear();
            known.taken_at = Some(now);
        }
        self.report(Report::Answered, now);
    }

    /// We were denied at the address of this party. The way closes only when we are at those of several, one after the
    /// other.
    pub(super) fn denied(self, now: Timestamp) -> Denial {
        let denial = match self.routes.lock().routes.get_mut(&self.route) {
            None => Denial::Unclear,
            Some(known) => {
                if known.denied.len() < DENIED_MAX && !known.denied.contains(&self.party) {
                    known.denied.push(self.party);
                }
                if known.denied.len() >= DENIED_MAX {
                    Denial::OfAll
                } else if known.taken_at.is_some_and(|at| now.since(at) < WELCOME_FOR) {
                    Denial::OfOne
                } else {
                    Denial::Unclear
                }
            }
        };
        let report = if denial == Denial::OfAll { Report::Broken } else { Report::Answered };
        self.report(report, now);
        denial
    }

    /// Says what the attempt told about the way.
    pub(super) fn report(mut self, report: Report, now: Timestamp) {
        self.is_reported = true;
        let (route, is_probe) = (self.route.clone(), self.is_probe);
        let mut state = self.routes.lock();
        let Some(known) = state.routes.get_mut(&route) else { return };
        let before = known.breaker.state();
        known.breaker.report(is_probe, report, now);
        let after = known.breaker.state();
        drop(state);
        match (before, after) {
            (BreakerState::Closed | BreakerState::HalfOpen, BreakerState::Open { until }) => {
                tracing::warn!(route, %until, "a way out is down; letters wait");
            }
            (BreakerState::HalfOpen, BreakerState::Closed) => {
                tracing::info!(route, "a way out is open again");
            }
            _ => {}
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.routes.lock();
        if let Some(known) = state.routes.get_mut(&self.route) {
            known.busy = known.busy.saturating_sub(1);
            if self.is_probe && !self.is_reported {
                known.breaker.cancel();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.routes.lock();
        if let Some(busy) = state.busy.get_mut(&self.party) {
            *busy = busy.saturating_sub(1);
            if *busy == 0 {
                state.busy.remove(&self.party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_795_244_400_000);

    fn party(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn fail(routes: &Routes, route: &str, times: usize) {
        for _ in 0..times {
            routes.admit(route, party(1), START).unwrap().report(Report::Failed, START);
        }
    }

    #[test]
    fn a_way_that_is_down_closes_for_itself_alone() {
        let routes = Routes::new(Medium::Webhook, 32);
        fail(&routes, "a.example", 5);

        let wait = routes.admit("a.example", party(1), START).err().unwrap();
        assert_eq!((wait.reason, wait.until > START), ("route_down", true));
        assert!(routes.admit("b.example", party(2), START).is_ok());
        assert_eq!(routes.held(START), [Held { party: party(1), spare: 0 }]);
        assert_eq!(routes.allowance(32, START), Allowance::Letters(32));
        assert_eq!(routes.closed().len(), 1);
        // Its turn comes again.
        assert_eq!(routes.held(wait.until), []);
        assert!(routes.admit("a.example", party(1), wait.until).unwrap().is_probe());
    }

    #[test]
    fn a_medium_with_one_way_takes_nothing_while_that_is_down_and_then_one() {
        let routes = Routes::new(Medium::Mail, 8);
        fail(&routes, "smtp", 5);

        let Allowance::NoneUntil(until) = routes.allowance(8, START) else { panic!("it is down") };
        assert_eq!(routes.allowance(8, until), Allowance::Letters(1));
        let place = routes.enter(party(1));
        assert_eq!(routes.allowance(8, until), Allowance::Letters(0), "the probe was taken");
        let probe = routes.admit("smtp", party(1), until).unwrap();
        drop(probe);
        drop(place);
        assert_eq!(routes.allowance(8, until), Allowance::Letters(1), "it was not made after all");
        routes.admit("smtp", party(1), until).unwrap().report(Report::Answered, until);
        assert_eq!(routes.allowance(8, until), Allowance::Letters(8));
    }

    #[test]
    fn neither_a_way_nor_a_party_holds_every_worker() {
        let routes = Routes::new(Medium::Push, 8);
        let places = [routes.enter(party(1)), routes.enter(party(1)), routes.enter(party(2))];
        let mut held = routes.held(START);
        held.sort_by_key(|held| held.party);
        let spare: Vec<i64> = held.iter().map(|held| held.spare).collect();
        assert_eq!((routes.party_max(), spare), (2, vec![0, 1]));
        assert_eq!(routes.busy(), 3);
        drop(places);
        assert_eq!((routes.held(START), routes.busy()), (vec![], 0));

        let mut passes: Vec<Pass> =
            (0..4).map(|_| routes.admit("push", party(1), START).unwrap()).collect();
        let wait = routes.admit("push", party(3), START).err().unwrap();
        assert_eq!(wait.reason, "route_full");
        assert!(routes.admit("other", party(4), START).is_ok());
        assert_eq!(routes.held(START), [Held { party: party(3), spare: 0 }]);
        passes.pop();
        assert_eq!(routes.held(START), []);
    }

    #[test]
    fn one_party_denies_a_way_to_itself_and_several_in_a_row_to_everybody() {
        let routes = Routes::new(Medium::Push, 8);
        let denied = |n, now| routes.admit("push", party(n), now).map(|pass| pass.denied(now)).ok();
        for _ in 0..100 {
            assert_eq!(denied(1, START), Some(Denial::Unclear));
        }
        routes.admit("push", party(2), START).unwrap().taken(START);
        assert_eq!(denied(1, START), Some(Denial::OfOne));
        for n in 3..6 {
            assert_eq!(denied(n, START), Some(Denial::OfOne));
        }
        assert_eq!(denied(1, START), Some(Denial::OfOne), "it was counted");
        assert_eq!(denied(7, START), Some(Denial::OfAll));
        let until = START.plus(Duration::from_mins(1));
        assert_eq!(denied(8, START), None, "it is closed");
        // Whoever finds out decides for all.
        assert_eq!(denied(1, until), Some(Denial::OfAll));
        let until = until.plus(Duration::from_mins(1));
        routes.admit("push", party(2), until).unwrap().taken(until);
        assert_eq!(denied(1, until), Some(Denial::OfOne));
        assert!(routes.closed().is_empty());
    }

    #[test]
    fn what_is_behind_a_way_is_put_off_once_in_a_while() {
        let routes = Routes::new(Medium::Webhook, 8);
        assert_eq!(routes.sweep("down", START), None);
        fail(&routes, "down", 5);
        let until = START.plus(Duration::from_secs(5));
        assert_eq!(routes.sweep("down", START), Some(Sweep { until, is_for_all: true }));
        assert_eq!(routes.sweep("down", START), None);
        let later = START.plus(SWEEP_INTERVAL);
        assert_eq!(routes.sweep("down", later), Some(Sweep { until, is_for_all: true }));
        let probe = routes.admit("down", party(1), until).unwrap();
        let after = until.plus(Duration::from_secs(5));
        assert_eq!(routes.sweep("down", until), Some(Sweep { until: after, is_for_all: false }));
        probe.taken(until);
        assert_eq!(routes.sweep("down", after), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_down_stays_longest() {
        let routes = Routes::new(Medium::Webhook, 32);
        fail(&routes, "down.example", 5);
        for n in 0..ROUTES_MAX * 2 {
            let name = format!("{n}.example");
            routes.admit(&name, party(1), START).unwrap().report(Report::Answered, START);
        }
        let state = routes.lock();
        assert_eq!(state.routes.len(), ROUTES_MAX);
        assert!(state.routes.contains_key("down.example"));
    }
}

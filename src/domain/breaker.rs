//! Circuit breaker: leaves alone what is down, and finds out with one call at a time whether it is back.
//!
//! Closed, it lets everything through and counts failures; open, it lets nothing through for a while, which doubles each
//! time; then it is half open, and lets one probe through. Invariant: while it is not closed, at most one call is under
//! way that it let through after it opened.

use std::time::Duration;

use super::media::Medium;
use super::time::Timestamp;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRule {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// Calls within the window before the share of failures counts.
    pub calls_min: u32,
    /// Failures among a hundred calls that open it.
    pub failures_percent: u32,
    pub window: Duration,
    pub open_min: Duration,
    pub open_max: Duration,
}

impl BreakerRule {
    /// A webhook's host may be gone for days, and is somebody else's to mend; it is asked less often.
    #[must_use]
    pub const fn of(medium: Medium) -> Self {
        let open_max = match medium {
            Medium::Webhook => Duration::from_mins(5),
            Medium::Inbox | Medium::Mail | Medium::Sms | Medium::Push => Duration::from_mins(1),
        };
        Self {
            failures_max: 5,
            calls_min: 20,
            failures_percent: 50,
            window: Duration::from_secs(30),
            open_min: Duration::from_secs(5),
            open_max,
        }
    }
}

/// A way that asks to be left alone for longer is asked again by one call then: what throttles one letter may not
/// throttle the next.
const THROTTLED_MAX: Duration = Duration::from_mins(5);

/// What is known of one way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    rule: BreakerRule,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Closed { in_a_row: u32, window: Window },
    Open { until: Timestamp, opened: u32 },
    HalfOpen { opened: u32, is_probing: bool },
}

/// Calls since some instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Window {
    since: Option<Timestamp>,
    calls: u32,
    failures: u32,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Go,
    /// One call, to find out; its end has to be reported, or [`Breaker::cancel`]led.
    Probe,
    /// Not before then.
    Wait(Timestamp),
}

/// What a call said about the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// There was an answer, whatever it was.
    Answered,
    Failed,
    /// It will not come back by itself.
    Broken,
    /// It wants to be left alone, for so long if it said that.
    Throttled(Option<Duration>),
}

/// How it stands, for people to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open { until: Timestamp },
    HalfOpen,
}

impl Breaker {
    #[must_use]
    pub fn new(rule: BreakerRule) -> Self {
        Self { rule, state: closed() }
    }

    /// What [`Breaker::admit`] would say.
    #[must_use]
    pub fn look(&self, now: Timestamp) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Go,
            State::Open { until, .. } if now < until => Admission::Wait(until),
            State::Open { .. } | State::HalfOpen { is_probing: false, .. } => Admission::Probe,
            State::HalfOpen { is_probing: true, .. } => {
                Admission::Wait(now.plus(self.rule.open_min))
            }
        }
    }

    /// Asks to make a call.
    pub fn admit(&mut self, now: Timestamp) -> Admission {
        let admission = self.look(now);
        if admission == Admission::Probe {
            self.state = State::HalfOpen { opened: self.opened(), is_probing: true };
        }
        admission
    }

    /// A probe was not made after all; another may be.
    pub fn cancel(&mut self) {
        if let State::HalfOpen { is_probing, .. } = &mut self.state {
            *is_probing = false;
        }
    }

    /// A call that was admitted has ended. One that began before it opened says nothing any more.
    pub fn report(&mut self, is_probe: bool, report: Report, now: Timestamp) {
        match (&mut self.state, report) {
            (State::Closed { .. }, Report::Broken) => self.open(0, self.rule.open_max, now),
            (State::Closed { .. }, Report::Throttled(asked)) => {
                self.open(0, self.throttled_time(0, asked), now);
            }
            (State::Closed { in_a_row, window }, report) => {
                let failed = report == Report::Failed;
                *in_a_row = if failed { in_a_row.saturating_add(1) } else { 0 };
                window.count(failed, self.rule.window, now);
                if *in_a_row >= self.rule.failures_max || window.is_bad(&self.rule) {
                    self.open(0, self.rule.open_min, now);
                }
            }
            (State::HalfOpen { opened, .. }, report) if is_probe => {
                let opened = *opened;
                match report {
                    Report::Answered => self.state = closed(),
                    Report::Failed => self.open(opened, self.open_time(opened), now),
                    Report::Broken => self.open(opened, self.rule.open_max, now),
                    Report::Throttled(asked) => {
                        self.open(opened, self.throttled_time(opened, asked), now);
                    }
                }
            }
            (State::Open { .. } | State::HalfOpen { .. }, _) => {}
        }
    }

    #[must_use]
    pub const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until, .. } => BreakerState::Open { until },
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// How often it has opened since it was last closed.
    fn opened(&self) -> u32 {
        match self.state {
            State::Closed { .. } => 0,
            State::Open { opened, .. } | State::HalfOpen { opened, .. } => opened,
        }
    }

    fn open(&mut self, opened: u32, time: Duration, now: Timestamp) {
        self.state = State::Open { until: now.plus(time), opened: opened.saturating_add(1) };
    }

    fn throttled_time(&self, opened: u32, asked: Option<Duration>) -> Duration {
        asked.unwrap_or_default().min(THROTTLED_MAX).max(self.open_time(opened))
    }

    fn open_time(&self, opened: u32) -> Duration {
        let factor = 1_u32.checked_shl(opened.min(31)).unwrap_or(u32::MAX);
        self.rule.open_min.saturating_mul(factor).min(self.rule.open_max)
    }
}

const fn closed() -> State {
    State::Closed { in_a_row: 0, window: Window { since: None, calls: 0, failures: 0 } }
}

impl Window {
    fn count(&mut self, failed: bool, length: Duration, now: Timestamp) {
        if self.since.is_none_or(|since| now.since(since) >= length) {
            *self = Self { since: Some(now), calls: 0, failures: 0 };
        }
        self.calls = self.calls.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(failed));
    }

    fn is_bad(&self, rule: &BreakerRule) -> bool {
        let share = |count: u32| u64::from(count).saturating_mul(100);
        self.calls >= rule.calls_min
            && share(self.failures)
                >= u64::from(self.calls).saturating_mul(rule.failures_percent.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_795_244_400_000);
    const RULE: BreakerRule = BreakerRule::of(Medium::Mail);

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn open() -> Breaker {
        let mut breaker = Breaker::new(RULE);
        for _ in 0..RULE.failures_max {
            breaker.report(false, Report::Failed, START);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_an_answer_starts_the_row_anew() {
        let mut breaker = Breaker::new(RULE);
        for _ in 0..3 {
            for _ in 1..RULE.failures_max {
                breaker.report(false, Report::Failed, START);
            }
            breaker.report(false, Report::Answered, START);
        }
        assert_eq!(breaker.admit(START), Admission::Go);

        assert_eq!(open().admit(START), Admission::Wait(after(5)));
    }

    #[test]
    fn it_opens_when_half_of_many_calls_fail() {
        let mut breaker = Breaker::new(RULE);
        for call in 0..RULE.calls_min {
            assert_eq!(breaker.admit(START), Admission::Go, "{call}");
            let report = if call % 2 == 0 { Report::Answered } else { Report::Failed };
            breaker.report(false, report, START);
        }
        assert_eq!(breaker.state(), BreakerState::Open { until: after(5) });

        let mut calm = Breaker::new(RULE);
        for call in 0..200 {
            let report = if call % 3 > 0 { Report::Answered } else { Report::Failed };
            calm.report(false, report, START);
        }
        assert_eq!(calm.state(), BreakerState::Closed);
    }

    #[test]
    fn one_probe_at_a_time_finds_out_and_closes_it() {
        let mut breaker = open();
        assert_eq!(breaker.admit(after(5)), Admission::Probe);
        assert_eq!(breaker.admit(after(5)), Admission::Wait(after(10)));
        // A call from before it opened says nothing.
        breaker.report(false, Report::Answered, after(5));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.cancel();
        assert_eq!(breaker.admit(after(6)), Admission::Probe);

        breaker.report(true, Report::Answered, after(7));

        assert_eq!(breaker.admit(after(7)), Admission::Go);
    }

    #[test]
    fn it_stays_open_twice_as_long_each_time_up_to_a_minute() {
        let mut breaker = open();
        let (mut now, mut times) = (START, Vec::new());
        for _ in 0..7 {
            let Admission::Wait(until) = breaker.admit(now) else { panic!("it is open") };
            times.push(until.since(now).as_secs());
            now = until;
            assert_eq!(breaker.admit(now), Admission::Probe);
            breaker.report(true, Report::Failed, now);
        }
        assert_eq!(times, [5, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn what_will_not_come_back_by_itself_is_left_alone_at_once() {
        let mut breaker = Breaker::new(RULE);
        breaker.report(false, Report::Broken, START);
        assert_eq!(breaker.admit(START), Admission::Wait(after(60)));
    }

    #[test]
    fn what_wants_to_be_left_alone_is_for_as_long_as_it_says_within_bounds() {
        let rest = |asked: Option<u64>| {
            let mut breaker = Breaker::new(RULE);
            breaker.report(false, Report::Throttled(asked.map(Duration::from_secs)), START);
            let Admission::Wait(until) = breaker.admit(START) else { panic!("it is open") };
            until.since(START).as_secs()
        };
        assert_eq!([rest(None), rest(Some(1)), rest(Some(90)), rest(Some(9_999))], [5, 5, 90, 300]);

        let mut breaker = open();
        assert_eq!(breaker.admit(after(5)), Admission::Probe);
        breaker.report(true, Report::Throttled(None), after(5));
        assert_eq!(breaker.admit(after(5)), Admission::Wait(after(15)));
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Admit,
        Report(usize, Report),
        Cancel,
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let report =
            prop_oneof![Just(Report::Answered), Just(Report::Failed), Just(Report::Broken)];
        let step = prop_oneof![
            4 => Just(Step::Admit),
            4 => (0_usize..8, report).prop_map(|(at, report)| Step::Report(at, report)),
            1 => Just(Step::Cancel),
            2 => (0_u64..90).prop_map(Step::Pass),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn it_probes_one_by_one_and_never_locks_itself_out(steps in steps()) {
            let mut breaker = Breaker::new(RULE);
            let mut now = START;
            let mut calls: Vec<bool> = Vec::new();
            for step in steps {
                match step {
                    Step::Pass(seconds) => now = now.plus(Duration::from_secs(seconds)),
                    Step::Cancel => {
                        if let Some(at) = calls.iter().position(|is_probe| *is_probe) {
                            calls.remove(at);
                            breaker.cancel();
                        }
                    }
                    Step::Admit => {
                        let before = breaker.state();
                        match breaker.admit(now) {
                            Admission::Go => {
                                prop_assert_eq!(before, BreakerState::Closed);
                                calls.push(false);
                            }
                            Admission::Probe => {
                                prop_assert!(!calls.contains(&true), "two probes");
                                calls.push(true);
                            }
                            Admission::Wait(until) => {
                                prop_assert!(until > now && until.since(now) <= RULE.open_max);
                            }
                        }
                    }
                    Step::Report(at, report) if !calls.is_empty() => {
                        let is_probe = calls.remove(at % calls.len());
                        breaker.report(is_probe, report, now);
                        if is_probe && report == Report::Answered {
                            prop_assert_eq!(breaker.state(), BreakerState::Closed);
                        }
                    }
                    Step::Report(..) => {}
                }
            }
            // Whoever ends what is under way and waits is let through.
            if calls.contains(&true) {
                breaker.cancel();
            }
            let later = now.plus(RULE.open_max);
            prop_assert!(!matches!(breaker.admit(later), Admission::Wait(_)));
        }
    }
}

//! What is counted about each kind of actor.
//!
//! The instruments are looked up once, when the kind is made: install the recorder before the first actor starts.

use std::sync::Arc;

use metrics::{Counter, Gauge, counter, gauge};

use super::handle::CallError;

/// The instruments of one kind of actor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Kind {
    inner: Arc<Instruments>,
}

#[derive(Debug)]
struct Instruments {
    name: String,
    answered: Counter,
    told: Counter,
    overloaded: Counter,
    stopped: Counter,
    unavailable: Counter,
    lost: Counter,
    timed_out: Counter,
    restarts: Counter,
    depth: Gauge,
    live: Gauge,
}

impl Kind {
    /// The instruments labelled `kind = name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let calls = |outcome: &'static str| counter!("madang_actor_calls_total", "kind" => name.to_owned(), "outcome" => outcome);
        Self {
            inner: Arc::new(Instruments {
                name: name.to_owned(),
                answered: calls("answered"),
                told: calls("told"),
                overloaded: calls("overloaded"),
                stopped: calls("stopped"),
                unavailable: calls("unavailable"),
                lost: calls("lost"),
                timed_out: calls("timed_out"),
                restarts: counter!("madang_actor_restarts_total", "kind" => name.to_owned()),
                depth: gauge!("madang_actor_mailbox_depth", "kind" => name.to_owned()),
                live: gauge!("madang_actor_live", "kind" => name.to_owned()),
            }),
        }
    }

    /// The label of this kind.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub(super) fn depth(&self) -> Gauge {
        self.inner.depth.clone()
    }

    pub(super) fn count_call(&self, failure: Option<CallError>) {
        failure.map_or(&self.inner.answered, |failure| self.failed(failure)).increment(1);
    }

    pub(super) fn count_tell(&self, failure: Option<CallError>) {
        failure.map_or(&self.inner.told, |failure| self.failed(failure)).increment(1);
    }

    /// Counts a crash: each is followed by a new life, at once, on demand or after cooling.
    pub(super) fn count_restart(&self) {
        self.inner.restarts.increment(1);
    }

    /// Counts one living actor for as long as the returned guard is kept.
    pub(super) fn count_live(&self) -> Living {
        self.inner.live.increment(1.0);
        Living(self.inner.live.clone())
    }

    fn failed(&self, failure: CallError) -> &Counter {
        match failure {
            CallError::Overloaded => &self.inner.overloaded,
            CallError::Stopped => &self.inner.stopped,
            CallError::Unavailable => &self.inner.unavailable,
            CallError::Lost => &self.inner.lost,
            CallError::TimedOut => &self.inner.timed_out,
        }
    }
}

/// One living actor in the `madang_actor_live` gauge.
pub(super) struct Living(Gauge);

impl Drop for Living {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn calls_are_counted_by_outcome_and_the_living_while_they_live() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let kind = metrics::with_local_recorder(&recorder, || Kind::new("probe"));

        kind.count_call(None);
        kind.count_call(Some(CallError::TimedOut));
        kind.count_restart();
        let living = kind.count_live();
        let while_living = recorder.handle().render();
        drop(living);
        let figures = recorder.handle().render();

        for line in [
            r#"madang_actor_calls_total{kind="probe",outcome="answered"} 1"#,
            r#"madang_actor_calls_total{kind="probe",outcome="timed_out"} 1"#,
            r#"madang_actor_restarts_total{kind="probe"} 1"#,
            r#"madang_actor_live{kind="probe"} 0"#,
            r#"madang_actor_mailbox_depth{kind="probe"} 0"#,
        ] {
            assert!(figures.contains(line), "{line} is not in {figures}");
        }
        assert!(while_living.contains(r#"madang_actor_live{kind="probe"} 1"#));
    }
}

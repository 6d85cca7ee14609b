//! What callers see while actors and their shards load, crash, cool, are too busy and stop.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Context, Handler, Message};
use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc};

use super::{
    handle::{Call, CallError},
    metrics::Kind,
    probe::{
        self, Crash, Hold, Leave, MISSING, PATIENCE, Probe, Relayed, STILLBORN, UNLOADABLE, Work,
    },
    registry::{Registry, ResolveError, Settings},
    restart::{Limit, RestartPolicy},
    supervise::{self, ExitReason, Plan},
    virtual_actor::VirtualActor,
};

const LONG: Duration = Duration::from_secs(3_600);

async fn work(registry: &Registry<Probe>, key: u32) -> Result<u64, ResolveError> {
    registry.call(key, || Work::plain(u64::from(key)), PATIENCE).await
}

async fn crash(registry: &Registry<Probe>, key: u32) -> Result<u64, ResolveError> {
    registry.call(key, || Work { panics: true, ..Work::plain(u64::from(key)) }, PATIENCE).await
}

/// Settings whose escalations are collected.
fn escalating() -> (Settings, Arc<Mutex<Vec<String>>>) {
    let escalations = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&escalations);
    let on_escalate = Arc::new(move |why: &str| told.lock().unwrap().push(why.to_owned()));
    (Settings { on_escalate, ..probe::settings() }, escalations)
}

#[test]
fn many_callers_at_once_make_one_actor() {
    probe::run(async {
        let (registry, ledger) = probe::start(2, probe::settings());

        let handles = join_all((0..100).map(|_| registry.resolve(1))).await;
        let first = handles[0].as_ref().unwrap().incarnation();
        assert!(handles.iter().all(|handle| handle.as_ref().unwrap().incarnation() == first));
        work(&registry, 1).await.unwrap();
        assert_eq!((ledger.lives(), registry.live_count()), (1, 1));
        registry.stop().await;
    });
}

#[test]
fn a_missing_key_is_not_found_and_a_failing_loader_fails() {
    probe::run(async {
        let (registry, ledger) = probe::start(1, probe::settings());

        assert_eq!(work(&registry, MISSING).await, Err(ResolveError::NotFound));
        assert_eq!(work(&registry, UNLOADABLE).await, Err(ResolveError::Failed));
        assert_eq!(ledger.lives(), 0);
        assert!(work(&registry, 1).await.is_ok(), "the shard is unharmed");
        registry.stop().await;
    });
}

#[test]
fn a_crash_loses_the_call_and_the_next_one_meets_a_new_life() {
    probe::run(async {
        let (registry, ledger) = probe::start(1, probe::settings());
        let before = work(&registry, 1).await.unwrap();

        assert_eq!(crash(&registry, 1).await, Err(ResolveError::Call(CallError::Lost)));
        assert!(work(&registry, 1).await.unwrap() > before);
        assert_eq!((ledger.lives(), ledger.alive_together_max()), (2, 1));
        registry.stop().await;
    });
}

#[test]
fn a_crash_loop_is_refused_and_others_are_served() {
    let child_restarts = RestartPolicy {
        restarts: Limit { events_max: 2, window: LONG },
        cooling_min: LONG,
        cooling_max: LONG,
    };
    probe::run(async {
        let (registry, _ledger) = probe::start(1, Settings { child_restarts, ..probe::settings() });
        for _ in 0..3 {
            assert_eq!(crash(&registry, 1).await, Err(ResolveError::Call(CallError::Lost)));
        }

        let refused = work(&registry, 1).await.unwrap_err();
        assert_eq!(refused, ResolveError::Call(CallError::Unavailable));
        assert!(refused.never_ran());
        assert!(work(&registry, 2).await.is_ok());
        registry.stop().await;
    });
}

#[test]
fn quarantine_of_several_actors_is_escalated_and_a_panic_while_made_counts() {
    let (settings, escalations) = escalating();
    let child_restarts = RestartPolicy {
        restarts: Limit { events_max: 0, window: LONG },
        cooling_min: LONG,
        cooling_max: LONG,
    };
    let quarantines = Limit { events_max: 1, window: LONG };
    probe::run(async {
        let (registry, _ledger) =
            probe::start(1, Settings { child_restarts, quarantines, ..settings });

        // Lost if it was in the mailbox by then, refused if it came later.
        work(&registry, STILLBORN).await.unwrap_err();
        let refused = work(&registry, STILLBORN).await;
        assert_eq!(refused, Err(ResolveError::Call(CallError::Unavailable)));
        assert_eq!(escalations.lock().unwrap().len(), 0);
        crash(&registry, 1).await.unwrap_err();
        let refused = work(&registry, 1).await;
        assert_eq!(refused, Err(ResolveError::Call(CallError::Unavailable)));
        assert_eq!(escalations.lock().unwrap().len(), 1);
        registry.stop().await;
    });
}

#[test]
fn a_full_mailbox_refuses_and_what_was_refused_never_ran() {
    probe::run(async {
        let (registry, ledger) = probe::start(1, probe::settings());
        let (began, mut begun) = mpsc::unbounded_channel();
        let release = Arc::new(Semaphore::new(0));
        let hold = || Hold { began: began.clone(), release: Arc::clone(&release) };

        let script = async {
            for _ in 0..Probe::MAILBOX_MAX {
                begun.recv().await.unwrap();
            }
            let refused = work(&registry, 1).await;
            release.add_permits(usize::try_from(Probe::MAILBOX_MAX).unwrap());
            refused
        };
        let calls = join_all((0..Probe::MAILBOX_MAX).map(|_| registry.call(1, hold, PATIENCE)));
        let (held, refused) = tokio::join!(calls, script);

        assert_eq!(refused, Err(ResolveError::Call(CallError::Overloaded)));
        assert_eq!(ledger.runs(1), 0);
        assert!(held.iter().all(Result::is_ok));
        registry.stop().await;
    });
}

#[test]
fn a_call_that_takes_too_long_times_out_with_an_unknown_outcome() {
    probe::run(async {
        let (registry, _ledger) = probe::start(1, probe::settings());
        let (began, _begun) = mpsc::unbounded_channel();
        let release = Arc::new(Semaphore::new(0));
        registry.resolve(1).await.unwrap();
        let hold = || Hold { began: began.clone(), release: Arc::clone(&release) };

        let late = registry.call(1, hold, Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(late, ResolveError::Call(CallError::TimedOut));
        assert!(!late.never_ran());
        release.add_permits(1);
        registry.stop().await;
    });
}

#[test]
fn a_drain_that_takes_too_long_is_cut_short() {
    probe::run(async {
        let settings = Settings { drain_max: Duration::from_millis(5), ..probe::settings() };
        let (registry, _ledger) = probe::start(1, settings);
        let (began, mut begun) = mpsc::unbounded_channel();
        let release = Arc::new(Semaphore::new(0));
        let hold = || Hold { began: began.clone(), release: Arc::clone(&release) };

        let script = async {
            begun.recv().await.unwrap();
            registry.stop().await;
        };
        let (held, ()) = tokio::join!(registry.call(1, hold, PATIENCE), script);
        assert_eq!(held, Err(ResolveError::Call(CallError::Lost)));
    });
}

#[test]
fn a_reply_on_its_way_between_two_futures_of_the_actor_survives_passivation() {
    probe::run(async {
        let (registry, ledger) = probe::start(1, probe::settings());
        let (began, mut begun) = mpsc::unbounded_channel();
        let release = Arc::new(Semaphore::new(0));
        let relayed = || Relayed(Hold { began: began.clone(), release: Arc::clone(&release) });

        let script = async {
            begun.recv().await.unwrap();
            registry.live(1).unwrap().try_tell(Leave).unwrap();
            ledger.gate(1).closed().await;
            release.add_permits(1);
        };
        let (answer, ()) = tokio::join!(registry.call(1, relayed, PATIENCE), script);
        assert!(answer.is_ok(), "{answer:?}");
        registry.stop().await;
    });
}

#[test]
fn stopping_lets_calls_in_handling_end_and_refuses_the_rest() {
    probe::run(async {
        let (registry, ledger) = probe::start(2, probe::settings());
        let (began, mut begun) = mpsc::unbounded_channel();
        let release = Arc::new(Semaphore::new(0));
        let hold = || Hold { began: began.clone(), release: Arc::clone(&release) };

        let script = async {
            begun.recv().await.unwrap();
            let release_once_closed = async {
                ledger.gate(1).closed().await;
                let refused = work(&registry, 1).await;
                release.add_permits(1);
                refused
            };
            tokio::join!(registry.stop(), release_once_closed).1
        };
        let (held, refused) = tokio::join!(registry.call(1, hold, PATIENCE), script);

        assert!(held.is_ok());
        assert_eq!(refused, Err(ResolveError::Call(CallError::Stopped)));
        assert_eq!(work(&registry, 2).await, Err(ResolveError::Call(CallError::Stopped)));
        assert_eq!(registry.live_count(), 0);
        registry.stop().await;
    });
}

#[test]
fn a_crashed_shard_comes_back_after_its_children_have_finished() {
    probe::run(async {
        let (registry, ledger) = probe::start(1, probe::settings());
        let (began, mut begun) = mpsc::unbounded_channel();
        let release = Arc::new(Semaphore::new(0));
        let hold = || Hold { began: began.clone(), release: Arc::clone(&release) };

        let script = async {
            begun.recv().await.unwrap();
            let crashed = registry.shard(1).call(Crash, PATIENCE).await;
            assert_eq!(crashed, Err(CallError::Lost));
            ledger.gate(1).closed().await;
            let release_later = async {
                tokio::task::yield_now().await;
                release.add_permits(1);
            };
            tokio::join!(work(&registry, 1), release_later).0
        };
        let (held, next) = tokio::join!(registry.call(1, hold, PATIENCE), script);

        assert!(held.unwrap() < next.unwrap(), "incarnations grow across shards");
        assert_eq!((ledger.lives(), ledger.alive_together_max()), (2, 1));
        registry.stop().await;
    });
}

#[test]
fn a_shard_that_crashes_too_often_is_escalated() {
    let (settings, escalations) = escalating();
    let shard_restarts = Limit { events_max: 5, window: LONG };
    probe::run(async {
        let (registry, _ledger) = probe::start(1, Settings { shard_restarts, ..settings });
        for _ in 0..6 {
            assert_eq!(registry.shard(1).call(Crash, PATIENCE).await, Err(CallError::Lost));
        }

        assert_eq!(work(&registry, 1).await, Err(ResolveError::Call(CallError::Unavailable)));
        assert_eq!(escalations.lock().unwrap().len(), 1);
        registry.stop().await;
    });
}

#[test]
fn an_actor_started_here_drains_when_closed_and_reports_its_exit_once() {
    struct Echo;
    impl Actor for Echo {
        type Context = Context<Self>;
    }
    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Say(u32);
    impl Handler<Call<Say>> for Echo {
        type Result = u32;

        fn handle(&mut self, call: Call<Say>, _: &mut Self::Context) -> u32 {
            call.msg.0
        }
    }

    probe::run(async {
        let (exited, mut exits) = mpsc::unbounded_channel();
        let plan = Plan::new(Kind::new("echo"), "1".to_owned(), 4, PATIENCE);
        let on_exit = move |reason| exited.send(reason).unwrap();
        let echo = supervise::start_here(plan, |_ctx| Echo, on_exit);

        let (answer, ()) = tokio::join!(echo.call(Say(7), PATIENCE), async { echo.close() });
        assert_eq!(answer, Ok(7), "it was in the mailbox when the gate closed");
        assert_eq!(echo.try_tell(Say(8)), Err(CallError::Stopped));
        assert_eq!(exits.recv().await, Some(ExitReason::Normal));
        assert_eq!(exits.recv().await, None);
    });
}

//! The promise of the kit under load, and its controls.
//!
//! No call is lost, none runs twice, every *never ran* is true, and no key lives twice. Each safeguard is also taken
//! away once, to see that the same script then goes wrong.

use std::{collections::BTreeMap, sync::Arc};

use actix::Arbiter;
use futures_util::future::join_all;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use super::{
    handle::CallError,
    probe::{self, Hold, Leave, LeaveLifeBehind, Ledger, PATIENCE, Probe, Work},
    registry::{Registry, ResolveError, Sabotage},
    shard::{ChildExited, Resolve},
    supervise::ExitReason,
};

const THREADS: u64 = 3;
const TASKS: u64 = 8;
const CALLS: u64 = 500;
const KEYS: u64 = 6;

type Outcomes = BTreeMap<String, u64>;

#[test]
fn twelve_thousand_calls_with_constant_passivation_all_run_once() {
    let (outcomes, ledger) = stress(None);

    assert_eq!(outcomes.get("answered"), Some(&(THREADS * TASKS * CALLS)), "{outcomes:?}");
    assert!(ledger.lives() > 100, "{} lives", ledger.lives());
    assert_eq!(ledger.alive_together_max(), 1);
}

#[test]
fn twelve_thousand_calls_with_panics_run_at_most_once_and_are_never_told_wrong() {
    let (outcomes, ledger) = stress(Some(61));

    let lost = outcomes.get("Lost").copied().unwrap_or(0);
    let answered = outcomes.get("answered").copied().unwrap_or(0);
    assert_eq!(answered + lost, THREADS * TASKS * CALLS, "{outcomes:?}");
    assert!(lost > 0 && answered > lost, "{outcomes:?}");
    assert!(ledger.lives() > 100, "{} lives", ledger.lives());
    assert_eq!(ledger.alive_together_max(), 1);
}

// Every call is made until its outcome is an answer or unknown. Each outcome is checked against the ledger.
fn stress(panic_every: Option<u64>) -> (Outcomes, Arc<Ledger>) {
    probe::run(async move {
        let (registry, ledger) = probe::start(2, probe::settings());
        let threads: Vec<Arbiter> = (0..THREADS).map(|_| Arbiter::new()).collect();
        let results = (0..).zip(&threads).map(|(thread, arbiter)| {
            let (registry, ledger) = (registry.clone(), Arc::clone(&ledger));
            let (done, result) = oneshot::channel();
            arbiter.spawn(async move {
                let tasks = (0..TASKS).map(|task| {
                    client(&registry, &ledger, (thread * TASKS + task) * CALLS, panic_every)
                });
                let _test_over = done.send(join_all(tasks).await);
            });
            result
        });

        let mut outcomes = Outcomes::new();
        for result in join_all(results.collect::<Vec<_>>()).await {
            for (outcome, count) in result.unwrap().into_iter().flatten() {
                *outcomes.entry(outcome).or_default() += count;
            }
        }
        registry.stop().await;
        assert_eq!(registry.live_count(), 0);
        for arbiter in threads {
            arbiter.stop();
        }
        (outcomes, ledger)
    })
}

async fn client(
    registry: &Registry<Probe>,
    ledger: &Ledger,
    first: u64,
    panic_every: Option<u64>,
) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let mut random = (first + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for number in first..first + CALLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let key = u32::try_from(random % KEYS).unwrap();
        let (panics, leaves) =
            (panic_every.is_some_and(|every| random % every == 1), random.is_multiple_of(23));

        loop {
            let make_msg = || Work { number, panics, leaves };
            let outcome = registry.call(key, make_msg, PATIENCE).await;
            let runs = ledger.runs(number);
            *outcomes.entry(name(outcome)).or_default() += 1;
            match outcome {
                Ok(_) => assert_eq!(runs, 1, "{number} was answered"),
                Err(failure) if failure.never_ran() => {
                    assert_eq!(runs, 0, "{number}: {failure}");
                    tokio::task::yield_now().await;
                    continue;
                }
                Err(failure) => assert!(panic_every.is_some() && runs <= 1, "{number}: {failure}"),
            }
            break;
        }
    }
    outcomes
}

fn name(outcome: Result<u64, ResolveError>) -> String {
    match outcome {
        Ok(_) => "answered".to_owned(),
        Err(ResolveError::Call(failure)) => format!("{failure:?}"),
        Err(failure) => format!("{failure:?}"),
    }
}

#[test]
fn a_call_in_handling_survives_passivation() {
    assert_eq!(held_call_across_passivation(Sabotage::Nothing), Ok((1, 2)));
}

#[test]
fn control_without_the_drain_a_call_in_handling_is_lost() {
    assert_eq!(
        held_call_across_passivation(Sabotage::Drain).unwrap_err(),
        ResolveError::Call(CallError::Lost),
    );
}

// Passivates an actor with a call in its hands, then lets that call end. Which lives ran it and the next one?
fn held_call_across_passivation(sabotage: Sabotage) -> Result<(u64, u64), ResolveError> {
    probe::run(async move {
        let (registry, ledger) = probe::start(1, probe::sabotaged(sabotage));
        let (began, mut begun) = mpsc::unbounded_channel();
        let release = Arc::new(Semaphore::new(0));
        let hold = || Hold { began: began.clone(), release: Arc::clone(&release) };

        let script = async {
            begun.recv().await.unwrap();
            registry.live(1).unwrap().try_tell(Leave).unwrap();
            ledger.gate(1).closed().await;
            let next = registry.call(1, || Work::plain(1), PATIENCE);
            if sabotage == Sabotage::Drain {
                // The next life does not wait for the call, so the call may wait for the next life.
                return next.await;
            }
            release.add_permits(1);
            next.await
        };
        let (held, next) = tokio::join!(registry.call(1, hold, PATIENCE), script);
        registry.stop().await;
        let base = u64::from(1_u32) << 32;
        Ok((held? - base, next? - base))
    })
}

#[test]
fn a_stale_exit_does_not_touch_the_present_life() {
    assert_eq!(lives_together_after_a_stale_exit(Sabotage::Nothing), 1);
}

#[test]
fn control_without_the_incarnation_check_a_stale_exit_makes_a_key_live_twice() {
    assert_eq!(lives_together_after_a_stale_exit(Sabotage::IncarnationCheck), 2);
}

// Tells the shard of the second life's exit what was the first's. How many live at once afterwards?
fn lives_together_after_a_stale_exit(sabotage: Sabotage) -> u32 {
    probe::run(async move {
        let (registry, ledger) = probe::start(1, probe::sabotaged(sabotage));
        let first = registry.call(1, || Work::plain(1), PATIENCE).await.unwrap();
        registry.call(1, || Leave, PATIENCE).await.unwrap();
        ledger.gate(1).closed().await;
        registry.call(1, || Work::plain(2), PATIENCE).await.unwrap();

        let stale = ChildExited { key: 1, incarnation: first, reason: ExitReason::Normal };
        registry.shard(1).call(stale, PATIENCE).await.unwrap();
        registry.call(1, || Work::plain(3), PATIENCE).await.unwrap();
        let together = ledger.alive_together_max();

        registry.stop().await;
        together
    })
}

#[test]
fn a_stale_wish_to_leave_does_not_touch_the_present_life() {
    assert!(!a_stale_passivation_closes_the_present_life(Sabotage::Nothing));
}

#[test]
fn control_without_the_incarnation_check_a_stale_wish_to_leave_ends_the_present_life() {
    assert!(a_stale_passivation_closes_the_present_life(Sabotage::IncarnationCheck));
}

// A task left behind by a crashed life passivates it late, when the next one lives.
fn a_stale_passivation_closes_the_present_life(sabotage: Sabotage) -> bool {
    probe::run(async move {
        let (registry, _ledger) = probe::start(1, probe::sabotaged(sabotage));
        let (passivate, (passivated, mut done)) =
            (Arc::new(Notify::new()), mpsc::unbounded_channel());
        let leave = || LeaveLifeBehind {
            passivate: Arc::clone(&passivate),
            passivated: passivated.clone(),
        };
        registry.call(1, leave, PATIENCE).await.unwrap();
        let crash = || Work { panics: true, ..Work::plain(1) };
        let crashed = registry.call(1, crash, PATIENCE).await;
        assert_eq!(crashed, Err(ResolveError::Call(CallError::Lost)));

        let present = registry.resolve(1).await.unwrap();
        passivate.notify_one();
        done.recv().await.unwrap();
        // Behind the passivation in the shard's mailbox: answered when that was handled.
        let _answer = registry.shard(2).call(Resolve::<Probe>(2), PATIENCE).await.unwrap();
        let closed = present.is_closed();

        registry.stop().await;
        closed
    })
}

//! Suites of payments that are not taken at once: every point of a crash of every scene, swarms of nodes, and the controls.

#![expect(clippy::print_stdout, reason = "what was played is told to whoever looks")]

use super::scenes::Scene;
use super::{Later, Outcome, PARTS};
use crate::actors::payments::simulation::ground::Nature;
use crate::actors::payments::simulation::tests::{
    FAULTY, FORGETTING, MUTE, NATURES, Sum, WELL, play,
};
use crate::actors::workflow::simulation::Safeguard;
use crate::actors::workflow::simulation::scheduler::Play;
use crate::actors::workflow::simulation::seeds::{single_deaths, swarms};

const CONTROL_SEEDS: u64 = 200;
/// Payments of a swarm.
const CROWD: u64 = 4;

fn count(sum: &mut Sum, nature: Nature, plays: [Play; PARTS], outcome: &Outcome) {
    sum.add(nature.name, &plays, &outcome.parts, &outcome.wrongs);
}

/// A death after every single turn that a run has; a seed for each scene.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_of_a_payment_that_is_taken_later_loses_and_doubles_nothing() {
    let what = "one crash of a payment that is taken later";
    play(what, single_deaths(17), Later::new, async |mut later: Later, seed| {
        let mut sum = Sum::default();
        let scenes = [Scene::of(seed)];
        for nature in NATURES {
            let quiet = [Play::quiet(seed); PARTS];
            let whole = later.run(quiet, nature, &scenes).await;
            count(&mut sum, nature, quiet, &whole);
            for (part, played) in whole.parts.iter().enumerate() {
                for point in 0..played.points {
                    let mut plays = quiet;
                    plays[part].crash_at = Some(point);
                    count(&mut sum, nature, plays, &later.run(plays, nature, &scenes).await);
                }
            }
        }
        (later, sum)
    })
    .await;
}

fn swarm(seed: u64) -> [Play; PARTS] {
    [Play { nodes: 3, crashes: 5, sleeps: 5, ..Play::quiet(seed) }; PARTS]
}

/// Several of them at once, of which none is like the other.
fn crowd(seed: u64) -> Vec<Scene> {
    (0..CROWD).map(|n| Scene::of(seed + n * 5)).collect()
}

/// Three nodes that die and sleep through their leases at random, over several payments, and two who look again.
#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_that_die_and_sleep_lose_and_double_no_payment_that_is_taken_later() {
    let what = "swarms of payments that are taken later";
    play(what, swarms(60), Later::new, async |mut later: Later, seed| {
        let mut sum = Sum::default();
        let nature = NATURES[usize::try_from(seed % 4).unwrap()];
        let outcome = later.run(swarm(seed), nature, &crowd(seed)).await;
        count(&mut sum, nature, swarm(seed), &outcome);
        (later, sum)
    })
    .await;
}

/// Plays a control until it is missed.
async fn must_be_missed(
    what: &str,
    nature: Nature,
    with: impl Fn(Play) -> Play,
    scenes: impl Fn(u64) -> Vec<Scene>,
    is_forgetful: bool,
) {
    let mut later = Later::new().await;
    later.is_forgetful = is_forgetful;
    for seed in 0..CONTROL_SEEDS {
        let outcome = later.run(swarm(seed).map(&with), nature, &scenes(seed)).await;
        if !outcome.wrongs.is_empty() {
            println!("{what}: caught by seed {seed}: {}", outcome.wrongs.join("; "));
            return;
        }
        if seed % 20 == 19 {
            later = Later::new().await;
            later.is_forgetful = is_forgetful;
        }
    }
    panic!("nothing went wrong with {what} in {CONTROL_SEEDS} seeds");
}

async fn without(safeguard: Safeguard, nature: Nature, scenes: impl Fn(u64) -> Vec<Scene>) {
    let with = |play| Play { without: Some(safeguard), ..play };
    must_be_missed(&format!("without {safeguard:?}"), nature, with, scenes, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_that_forgets_a_deposit_that_came_meanwhile_goes_wrong() {
    let scenes = |_| vec![Scene::DepositVoidedTooLate; 3];
    must_be_missed("a forgetful void", WELL, |play| play, scenes, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_new_key_for_each_try_a_deposit_is_given_back_twice() {
    without(Safeguard::StableKeys, MUTE, |_| vec![Scene::DepositReturned; 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_asking_first_a_deposit_is_given_back_twice() {
    without(Safeguard::LookUp, FORGETTING, |_| vec![Scene::DepositReturned; 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_asking_first_what_was_taken_for_a_payment_that_is_over_never_comes_to_its_end() {
    without(Safeguard::LookUp, FORGETTING, |_| vec![Scene::TakenAfterwards; 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_timeout_taken_for_a_refusal_what_is_taken_later_goes_wrong() {
    without(Safeguard::UnknownIsUnknown, FAULTY, crowd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_transactions_for_a_step_what_is_taken_later_goes_wrong() {
    without(Safeguard::OneTransaction, FAULTY, crowd).await;
}

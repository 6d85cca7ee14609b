//! Suites: every point of a crash, swarms of nodes, and the controls.

#![expect(clippy::print_stdout, reason = "what was played is told to whoever looks")]

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ground::{Ground, Nature, Outcome};
use crate::actors::workflow::simulation::Safeguard;
use crate::actors::workflow::simulation::scheduler::{Play, Played};
use crate::actors::workflow::simulation::seeds::{pairs, single_deaths, swarms};
use crate::providers::payments::fake::{FORGETFUL, SILENT, SOUND};

const CONTROL_SEEDS: u64 = 200;
/// Runs that share a database: it is small then, and opened seldom.
const RUNS_PER_DATABASE: usize = 50;

pub(super) const WELL: Nature = Nature { name: "a sound provider", capabilities: SOUND, faults: 0 };
pub(super) const FAULTY: Nature = Nature { name: "faults", faults: 50, ..WELL };
pub(super) const FORGETTING: Nature =
    Nature { name: "a forgetful provider", capabilities: FORGETFUL, faults: 50 };
pub(super) const MUTE: Nature =
    Nature { name: "a silent provider", capabilities: SILENT, faults: 50 };
pub(super) const NATURES: [Nature; 4] = [WELL, FAULTY, FORGETTING, MUTE];

/// What runs came to.
#[derive(Default)]
pub(super) struct Sum {
    runs: usize,
    points: usize,
    crashes: usize,
    by_hand: usize,
    /// The first that went wrong.
    wrong: Option<String>,
}

impl Sum {
    fn count(&mut self, name: &str, plays: (Play, Play), outcome: &Outcome) {
        self.add(name, &plays, [&outcome.confirming, &outcome.refunding], &outcome.wrongs);
    }

    /// Counts a run, of which `plays` tells how to play it again.
    pub(super) fn add<'p>(
        &mut self,
        name: &str,
        plays: &dyn Debug,
        played: impl IntoIterator<Item = &'p Played>,
        wrongs: &[String],
    ) {
        self.runs += 1;
        for played in played {
            self.points += played.points;
            self.crashes += played.crashes;
            self.by_hand += played.by_hand;
        }
        if !wrongs.is_empty() && self.wrong.is_none() {
            self.wrong = Some(format!("{name}, {plays:?}: {}", wrongs.join("; ")));
        }
    }
}

/// Plays a suite for every seed, on two grounds at once, each renewed now and then.
pub(super) async fn play<G, N, R>(
    what: &str,
    seeds: u64,
    make: fn() -> N,
    run: impl Fn(G, u64) -> R + Send + Sync + 'static,
) where
    G: Send + 'static,
    N: Future<Output = G> + Send + 'static,
    R: Future<Output = (G, Sum)> + Send,
{
    let (run, next) = (Arc::new(run), Arc::new(AtomicU64::new(0)));
    let hands = (0..2).map(|_| {
        let (run, next) = (Arc::clone(&run), Arc::clone(&next));
        tokio::spawn(async move {
            let (mut ground, mut sum, mut since) = (make().await, Sum::default(), 0);
            loop {
                let seed = next.fetch_add(1, Ordering::SeqCst);
                if seed >= seeds {
                    return sum;
                }
                if since > RUNS_PER_DATABASE {
                    (ground, since) = (make().await, 0);
                }
                let (played_on, came_to) = run(ground, seed).await;
                ground = played_on;
                since += came_to.runs;
                sum.runs += came_to.runs;
                sum.points += came_to.points;
                sum.crashes += came_to.crashes;
                sum.by_hand += came_to.by_hand;
                sum.wrong = sum.wrong.or(came_to.wrong);
            }
        })
    });
    let mut wrong = None;
    let mut all = Sum::default();
    for hand in hands.collect::<Vec<_>>() {
        let sum = hand.await.unwrap();
        all.runs += sum.runs;
        all.points += sum.points;
        all.crashes += sum.crashes;
        all.by_hand += sum.by_hand;
        wrong = wrong.or(sum.wrong);
    }
    let Sum { runs, points, crashes, by_hand, .. } = all;
    println!(
        "{what}: {runs} runs, {points} points, {crashes} crashes, {by_hand} let go on by hand"
    );
    assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
}

/// A death after every single turn that a run has.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_of_a_payment_loses_and_doubles_nothing() {
    play(
        "one crash of a payment",
        single_deaths(48),
        Ground::new,
        async |mut ground: Ground, seed| {
            let mut sum = Sum::default();
            // Among the first of them are one that is refused and one that is taken otherwise than agreed.
            let seed = seed * 7 + 3;
            for nature in NATURES {
                let quiet = Play::quiet(seed);
                let whole = ground.run((quiet, quiet), nature, 1).await;
                sum.count(nature.name, (quiet, quiet), &whole);
                for point in 0..whole.confirming.points {
                    let plays = (Play { crash_at: Some(point), ..quiet }, quiet);
                    sum.count(nature.name, plays, &ground.run(plays, nature, 1).await);
                }
                for point in 0..whole.refunding.points {
                    let plays = (quiet, Play { crash_at: Some(point), ..quiet });
                    sum.count(nature.name, plays, &ground.run(plays, nature, 1).await);
                }
            }
            (ground, sum)
        },
    )
    .await;
}

/// A death after every turn until it is confirmed, and another after every turn of what comes then.
#[tokio::test(flavor = "multi_thread")]
async fn two_crashes_at_any_points_of_a_confirmation_lose_and_double_nothing() {
    let what = "two crashes of a confirmation";
    play(what, pairs(3), Ground::new, async |mut ground: Ground, seed| {
        let mut sum = Sum::default();
        for nature in [WELL, FORGETTING] {
            let quiet = Play::quiet(seed);
            let points = ground.run((quiet, quiet), nature, 1).await.confirming.points;
            for first in 0..points {
                for second in first + 1..points + 4 {
                    let crash_again_at = Some(second);
                    let play = Play { crash_at: Some(first), crash_again_at, ..quiet };
                    let plays = (play, quiet);
                    sum.count(nature.name, plays, &ground.run(plays, nature, 1).await);
                }
            }
        }
        (ground, sum)
    })
    .await;
}

fn swarm(seed: u64) -> (Play, Play) {
    let play = Play { nodes: 3, crashes: 5, sleeps: 5, ..Play::quiet(seed) };
    (play, play)
}

/// Three nodes that die and sleep through their leases at random, over several payments and their refunds.
#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_that_die_and_sleep_lose_and_double_no_payment() {
    play("swarms of payments", swarms(60), Ground::new, async |mut ground: Ground, seed| {
        let mut sum = Sum::default();
        let nature = NATURES[usize::try_from(seed % 4).unwrap()];
        sum.count(nature.name, swarm(seed), &ground.run(swarm(seed), nature, 3).await);
        (ground, sum)
    })
    .await;
}

/// Plays without a safeguard until it is missed.
async fn must_be_missed(without: Safeguard, nature: Nature) {
    let mut ground = Ground::new().await;
    for seed in 0..CONTROL_SEEDS {
        let (play, then) = swarm(seed);
        let plays =
            (Play { without: Some(without), ..play }, Play { without: Some(without), ..then });
        let outcome = ground.run(plays, nature, 3).await;
        if !outcome.wrongs.is_empty() {
            println!("without {without:?}: caught by seed {seed}: {}", outcome.wrongs.join("; "));
            return;
        }
        if seed % 20 == 19 {
            ground = Ground::new().await;
        }
    }
    panic!("nothing went wrong without {without:?} in {CONTROL_SEEDS} seeds");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_asking_first_a_payment_goes_wrong() {
    must_be_missed(Safeguard::LookUp, FORGETTING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_timeout_taken_for_a_refusal_a_payment_goes_wrong() {
    must_be_missed(Safeguard::UnknownIsUnknown, FAULTY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_new_key_for_each_try_a_refund_goes_wrong() {
    must_be_missed(Safeguard::StableKeys, MUTE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_transactions_for_a_step_a_payment_goes_wrong() {
    must_be_missed(Safeguard::OneTransaction, FAULTY).await;
}

/// The same with the work of disputes apart from their steps.
#[tokio::test(flavor = "multi_thread")]
async fn with_its_work_apart_from_its_step_a_dispute_goes_wrong() {
    let mut ground = Ground::new().await;
    ground.is_apart = true;
    for seed in 0..CONTROL_SEEDS {
        let outcome = ground.run(swarm(seed), WELL, 3).await;
        if !outcome.wrongs.is_empty() {
            println!("apart: caught by seed {seed}: {}", outcome.wrongs.join("; "));
            return;
        }
    }
    panic!("nothing went wrong in {CONTROL_SEEDS} seeds");
}

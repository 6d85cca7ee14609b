//! The slot machine of virtual actors: a key lives once, whoever asks is answered once, and what is stale is ignored,
//! in whatever order loads, exits and notices come.

use std::time::{Duration, Instant};

use madang::actors::kit::registry::ResolveError;
use madang::actors::kit::restart::{Limit, RestartPolicy};
use madang::actors::kit::slots::{Effect, Event, Rules, Slots};
use madang::actors::kit::supervise::ExitReason;

use crate::sabotage::Sabotage;
use crate::scheduler::{Diary, Rng, is_caught, sweep};

const SEEDS: u64 = 40_000;
const KEYS: usize = 4;

type Happening = Event<u8, usize, u64>;
type Consequence = Effect<u8, usize, u64>;

#[test]
fn one_life_at_a_time_and_one_answer_to_each_whatever_comes_late() {
    sweep("one_life_at_a_time_and_one_answer_to_each_whatever_comes_late", SEEDS, |seed| {
        play(seed, Sabotage::Nothing)
    });
}

#[test]
fn control_without_the_incarnation_check_a_key_lives_twice() {
    assert!(is_caught(|seed| play(seed, Sabotage::Incarnation)));
}

fn play(seed: u64, sabotage: Sabotage) -> Result<(), String> {
    let mut world = World::new(seed, sabotage);
    for _ in 0..20 + world.rng.below(61) {
        world.step();
    }
    world.stop();
    match world.violation {
        None => Ok(()),
        Some(violation) => Err(format!("{violation}{}", world.diary.text())),
    }
}

fn rules() -> Rules {
    Rules {
        waiters_max: 3,
        restarts: RestartPolicy {
            restarts: Limit { events_max: 2, window: Duration::from_secs(10) },
            cooling_min: Duration::from_secs(1),
            cooling_max: Duration::from_secs(8),
        },
        quarantines: Limit { events_max: 2, window: Duration::from_secs(60) },
    }
}

/// One life of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Life {
    key: u8,
    incarnation: u64,
}

impl Life {
    fn loaded(self) -> Happening {
        // What was loaded is marked, so that nobody is made from another's.
        let (key, incarnation) = (self.key, self.incarnation);
        Event::Loaded { key, incarnation, seed: incarnation }
    }

    fn load_failed(self) -> Happening {
        let (key, incarnation) = (self.key, self.incarnation);
        Event::LoadFailed { key, incarnation, error: ResolveError::Failed }
    }

    fn passivate(self) -> Happening {
        Event::Passivate { key: self.key, incarnation: self.incarnation }
    }

    fn found_closed(self) -> Happening {
        Event::FoundClosed { key: self.key, incarnation: self.incarnation }
    }

    fn exited(self, reason: ExitReason) -> Happening {
        Event::Exited { key: self.key, incarnation: self.incarnation, reason, jitter: 0.5 }
    }
}

type Step = fn(&mut World);

/// What is outside the machine: what it asked for, who is alive, who was answered.
struct World {
    rng: Rng,
    machine: Slots<u8, usize>,
    now: Instant,
    sabotage: Sabotage,
    loading: Vec<Life>,
    alive: Vec<Life>,
    /// Every life that was ever loaded.
    past: Vec<Life>,
    /// How often each caller was answered.
    answers: Vec<u32>,
    settled_count: usize,
    violation: Option<String>,
    diary: Diary,
}

impl World {
    fn new(seed: u64, sabotage: Sabotage) -> Self {
        Self {
            rng: Rng::new(seed),
            machine: Slots::new(rules(), 0),
            now: Instant::now(),
            sabotage,
            loading: Vec::new(),
            alive: Vec::new(),
            past: Vec::new(),
            answers: Vec::new(),
            settled_count: 0,
            violation: None,
            diary: Diary::open(),
        }
    }

    fn step(&mut self) {
        let when = |is_possible: bool, weight: usize| if is_possible { weight } else { 0 };
        let steps: [(usize, Step); 7] = [
            (8, Self::resolve),
            (when(!self.loading.is_empty(), 6), Self::load),
            (when(!self.alive.is_empty(), 3), Self::passivate),
            (when(!self.alive.is_empty(), 2), Self::find_closed),
            (when(!self.alive.is_empty(), 4), Self::exit),
            (when(!self.past.is_empty(), 5), Self::come_late),
            (2, Self::wait),
        ];
        let (_, step) = steps[self.rng.weighted(&steps.map(|(weight, _)| weight))];
        step(self);
    }

    fn resolve(&mut self) {
        let key = u8::try_from(self.rng.below(KEYS)).expect("few keys");
        let waiter = self.answers.len();
        self.answers.push(0);
        self.happen(Event::Resolve { key, waiter });
    }

    fn load(&mut self) {
        let life = self.loading.swap_remove(self.rng.below(self.loading.len()));
        let is_found = self.rng.chance(80);
        self.happen(if is_found { life.loaded() } else { life.load_failed() });
    }

    fn passivate(&mut self) {
        let life = self.somebody_alive();
        self.happen(life.passivate());
    }

    fn find_closed(&mut self) {
        let life = self.somebody_alive();
        self.happen(life.found_closed());
    }

    fn exit(&mut self) {
        let life = self.alive.swap_remove(self.rng.below(self.alive.len()));
        let reason = if self.rng.chance(50) { ExitReason::Crashed } else { ExitReason::Normal };
        self.happen(life.exited(reason));
    }

    /// A message of a life that is over comes late, or once more.
    fn come_late(&mut self) {
        let life = self.past[self.rng.below(self.past.len())];
        if self.alive.contains(&life) || self.loading.contains(&life) {
            return;
        }
        if self.sabotage == Sabotage::Incarnation {
            let mut present = self.alive.iter().chain(&self.loading);
            let taken_for = present.find(|present| present.key == life.key).copied();
            self.happen(taken_for.unwrap_or(life).exited(ExitReason::Normal));
            return;
        }
        let message = match self.rng.below(6) {
            0 => life.passivate(),
            1 => life.found_closed(),
            2 => life.loaded(),
            3 => life.load_failed(),
            4 => life.exited(ExitReason::Normal),
            _ => life.exited(ExitReason::Crashed),
        };
        if self.happen(message) > 0 {
            self.blame(|| format!("{life:?} is over, and was heeded"));
        }
    }

    fn wait(&mut self) {
        self.now += Duration::from_millis(u64::try_from(self.rng.below(5_000)).expect("short"));
    }

    /// Everybody has to leave. What was still being loaded comes too late.
    fn stop(&mut self) {
        self.happen(Event::Stop);
        while !self.loading.is_empty() {
            self.load();
        }
        self.resolve();
        while !self.alive.is_empty() {
            self.exit();
        }
        if let Some(waiter) = self.answers.iter().position(|answers| *answers != 1) {
            let answers = self.answers[waiter];
            self.blame(|| format!("caller {waiter} was answered {answers} times"));
        }
        if self.settled_count != 1 {
            let count = self.settled_count;
            self.blame(|| format!("settled {count} times"));
        }
    }

    fn somebody_alive(&mut self) -> Life {
        self.alive[self.rng.below(self.alive.len())]
    }

    /// Tells the machine, and gives how much followed from it.
    fn happen(&mut self, event: Happening) -> usize {
        self.diary.note(|| format!("{event:?}"));
        let consequences = self.machine.step(event, self.now);
        let count = consequences.len();
        for consequence in consequences {
            self.diary.note(|| format!("  {consequence:?}"));
            self.perform(consequence);
        }
        count
    }

    fn perform(&mut self, consequence: Consequence) {
        match consequence {
            Effect::Load { key, incarnation } => {
                if self.past.last().is_some_and(|life| life.incarnation >= incarnation) {
                    self.blame(|| format!("{incarnation} is not new"));
                }
                self.loading.push(Life { key, incarnation });
                self.past.push(Life { key, incarnation });
            }
            Effect::Start { key, incarnation, seed, waiters } => {
                if self.is_alive(key) {
                    self.blame(|| format!("{key} lives twice"));
                }
                if seed != incarnation {
                    self.blame(|| format!("{incarnation} was made from {seed}"));
                }
                self.alive.push(Life { key, incarnation });
                self.answer(waiters);
            }
            Effect::Hand { key, waiter } => {
                if !self.is_alive(key) {
                    self.blame(|| format!("{key} was handed out, and is not alive"));
                }
                self.answer([waiter]);
            }
            Effect::Refuse { waiters, .. } => self.answer(waiters),
            Effect::Settled => {
                if !self.alive.is_empty() {
                    self.blame(|| "settled, and somebody is alive".to_owned());
                }
                self.settled_count += 1;
            }
            Effect::Drain { .. }
            | Effect::Forget { .. }
            | Effect::Quarantined { .. }
            | Effect::Escalate => {}
        }
    }

    fn is_alive(&self, key: u8) -> bool {
        self.alive.iter().any(|life| life.key == key)
    }

    fn answer(&mut self, waiters: impl IntoIterator<Item = usize>) {
        for waiter in waiters {
            self.answers[waiter] += 1;
        }
    }

    /// The first counts: what comes after it may follow from it.
    fn blame(&mut self, what: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(what);
    }
}

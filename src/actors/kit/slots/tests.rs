//! The slot machine against a small world that delivers its events in any order, stale ones included.

use proptest::prelude::*;

use super::*;

type Machine = Slots<u8, usize>;
type Happening = Event<u8, usize, u64>;
type Consequence = Effect<u8, usize, u64>;

fn rules() -> Rules {
    Rules {
        waiters_max: 3,
        restarts: RestartPolicy {
            restarts: Limit { events_max: 2, window: Duration::from_secs(10) },
            cooling_min: Duration::from_secs(1),
            cooling_max: Duration::from_secs(8),
        },
        quarantines: Limit { events_max: 2, window: Duration::from_secs(60) },
        trusts_any_incarnation: false,
    }
}

fn resolve(key: u8, waiter: usize) -> Happening {
    Event::Resolve { key, waiter }
}

fn exited(key: u8, incarnation: u64, reason: ExitReason) -> Happening {
    Event::Exited { key, incarnation, reason, jitter: 1.0 }
}

fn live(rules: Rules, now: Instant) -> Machine {
    let mut machine = Machine::new(rules, 0);
    machine.step(resolve(7, 0), now);
    machine.step(Event::Loaded { key: 7, incarnation: 1, seed: 1 }, now);
    machine
}

#[test]
fn the_first_caller_loads_and_all_who_waited_get_the_child() {
    let (mut machine, now) = (Machine::new(rules(), 0), Instant::now());

    assert_eq!(machine.step(resolve(7, 0), now), [Consequence::Load { key: 7, incarnation: 1 }]);
    assert_eq!(machine.step(resolve(7, 1), now), []);
    assert_eq!(
        machine.step(Event::Loaded { key: 7, incarnation: 1, seed: 42 }, now),
        [Consequence::Start { key: 7, incarnation: 1, seed: 42, waiters: vec![0, 1] }],
    );
    assert_eq!(machine.step(resolve(7, 2), now), [Consequence::Hand { key: 7, waiter: 2 }]);
}

#[test]
fn waiters_are_bounded() {
    let (mut machine, now) = (Machine::new(rules(), 0), Instant::now());
    for waiter in 0..3 {
        machine.step(resolve(7, waiter), now);
    }

    assert_eq!(
        machine.step(resolve(7, 3), now),
        [Consequence::Refuse { waiters: vec![3], error: CallError::Overloaded.into() }],
    );
}

#[test]
fn who_comes_while_it_drains_gets_the_next_incarnation() {
    let now = Instant::now();
    let mut machine = live(rules(), now);

    assert_eq!(
        machine.step(Event::Passivate { key: 7, incarnation: 1 }, now),
        [Consequence::Drain { key: 7 }]
    );
    assert_eq!(machine.step(resolve(7, 1), now), []);
    assert_eq!(
        machine.step(exited(7, 1, ExitReason::Normal), now),
        [Consequence::Forget { key: 7 }, Consequence::Load { key: 7, incarnation: 2 }],
    );
}

#[test]
fn a_failed_load_is_told_to_all_who_waited_and_forgotten() {
    let (mut machine, now) = (Machine::new(rules(), 0), Instant::now());
    machine.step(resolve(7, 0), now);
    machine.step(resolve(7, 1), now);

    assert_eq!(
        machine
            .step(Event::LoadFailed { key: 7, incarnation: 1, error: ResolveError::NotFound }, now),
        [Consequence::Refuse { waiters: vec![0, 1], error: ResolveError::NotFound }],
    );
    assert_eq!(machine.step(resolve(7, 2), now), [Consequence::Load { key: 7, incarnation: 2 }]);
}

#[test]
fn a_crash_loop_is_quarantined_and_then_loaded_again() {
    let now = Instant::now();
    let mut machine = live(rules(), now);
    for incarnation in 1..3 {
        assert_eq!(
            machine.step(exited(7, incarnation, ExitReason::Crashed), now),
            [Consequence::Forget { key: 7 }]
        );
        machine.step(resolve(7, 0), now);
        machine.step(Event::Loaded { key: 7, incarnation: incarnation + 1, seed: 0 }, now);
    }

    let wait = Duration::from_secs(1);
    let effects = machine.step(exited(7, 3, ExitReason::Crashed), now);
    assert!(effects.contains(&Consequence::Quarantined { key: 7, wait }));
    let refused = [Consequence::Refuse { waiters: vec![5], error: CallError::Unavailable.into() }];
    assert_eq!(machine.step(resolve(7, 5), now), refused);
    assert_eq!(
        machine.step(resolve(7, 6), now + wait),
        [Consequence::Load { key: 7, incarnation: 4 }]
    );
}

#[test]
fn quarantine_of_many_children_is_escalated() {
    let now = Instant::now();
    let mut machine = Machine::new(rules(), 0);
    let mut incarnation = 0;
    let mut crash_until_quarantined = |key| {
        let mut effects = Vec::new();
        for _ in 0..3 {
            incarnation += 1;
            machine.step(resolve(key, 0), now);
            machine.step(Event::Loaded { key, incarnation, seed: 0 }, now);
            effects = machine.step(exited(key, incarnation, ExitReason::Crashed), now);
        }
        effects
    };

    assert!(!crash_until_quarantined(1).contains(&Consequence::Escalate));
    assert!(!crash_until_quarantined(2).contains(&Consequence::Escalate));
    assert!(crash_until_quarantined(3).contains(&Consequence::Escalate));
}

#[test]
fn stopping_refuses_who_waits_and_settles_with_the_last_exit() {
    let now = Instant::now();
    let mut machine = live(rules(), now);
    machine.step(resolve(8, 1), now);

    assert_eq!(
        machine.step(Event::Stop, now),
        [
            Consequence::Drain { key: 7 },
            Consequence::Refuse { waiters: vec![1], error: CallError::Stopped.into() }
        ],
    );
    assert_eq!(machine.step(Event::Loaded { key: 8, incarnation: 2, seed: 0 }, now), []);
    assert_eq!(
        machine.step(resolve(7, 2), now),
        [Consequence::Refuse { waiters: vec![2], error: CallError::Stopped.into() }],
    );
    assert_eq!(
        machine.step(exited(7, 1, ExitReason::Normal), now),
        [Consequence::Forget { key: 7 }, Consequence::Settled],
    );
}

#[test]
fn a_stale_message_changes_nothing() {
    let now = Instant::now();
    let mut machine = live(rules(), now);
    machine.step(exited(7, 1, ExitReason::Normal), now);
    machine.step(resolve(7, 1), now);
    machine.step(Event::Loaded { key: 7, incarnation: 2, seed: 0 }, now);

    let leaving: Happening = Event::Passivate { key: 7, incarnation: 1 };
    assert_eq!(machine.step(leaving, now), []);
    assert_eq!(machine.step(exited(7, 1, ExitReason::Crashed), now), []);
    assert_eq!(machine.step(Event::Loaded { key: 7, incarnation: 1, seed: 0 }, now), []);
    assert_eq!(machine.step(resolve(7, 2), now), [Consequence::Hand { key: 7, waiter: 2 }]);
}

// What the world outside the machine looks like: what was asked of it and who is alive.
#[derive(Default)]
struct World {
    loading: Vec<(u8, u64)>,
    alive: Vec<(u8, u64)>,
    past: Vec<(u8, u64)>,
    answers: Vec<u32>,
    settled: bool,
    violations: Vec<String>,
}

impl World {
    fn new_waiter(&mut self) -> usize {
        self.answers.push(0);
        self.answers.len() - 1
    }

    fn happen(&mut self, machine: &mut Machine, event: Happening, now: Instant) {
        for effect in machine.step(event, now) {
            match effect {
                Effect::Load { key, incarnation } => {
                    if self.past.iter().any(|(_, number)| *number >= incarnation) {
                        self.violations.push(format!("incarnation {incarnation} is not new"));
                    }
                    self.loading.push((key, incarnation));
                    self.past.push((key, incarnation));
                }
                Effect::Start { key, incarnation, seed, waiters } => {
                    if seed != incarnation || self.alive.iter().any(|(other, _)| *other == key) {
                        self.violations.push(format!("{key} lives twice or from another's seed"));
                    }
                    self.alive.push((key, incarnation));
                    self.answer(waiters);
                }
                Effect::Hand { key, waiter } => {
                    if !self.alive.iter().any(|(other, _)| *other == key) {
                        self.violations.push(format!("{key} was handed out and is not alive"));
                    }
                    self.answer([waiter]);
                }
                Effect::Refuse { waiters, .. } => self.answer(waiters),
                Effect::Settled => {
                    if !self.alive.is_empty() {
                        self.violations.push("settled with children alive".to_owned());
                    }
                    self.settled = true;
                }
                Effect::Drain { .. }
                | Effect::Forget { .. }
                | Effect::Quarantined { .. }
                | Effect::Escalate => {}
            }
        }
    }

    fn answer(&mut self, waiters: impl IntoIterator<Item = usize>) {
        for waiter in waiters {
            self.answers[waiter] += 1;
        }
    }

    fn exit(&mut self, machine: &mut Machine, at: usize, reason: ExitReason, now: Instant) {
        let (key, incarnation) = self.alive.swap_remove(at % self.alive.len());
        self.happen(machine, exited(key, incarnation, reason), now);
    }
}

#[derive(Debug, Clone)]
enum Move {
    Ask(u8),
    Load(usize, bool),
    Passivate(usize),
    FoundClosed(usize),
    Exit(usize, bool),
    Stale(usize, u8),
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0_u8..4).prop_map(Move::Ask),
        3 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(at, found)| Move::Load(at, found)),
        2 => any::<usize>().prop_map(Move::Passivate),
        1 => any::<usize>().prop_map(Move::FoundClosed),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(at, crashed)| Move::Exit(at, crashed)),
        2 => (any::<usize>(), 0_u8..4).prop_map(|(at, what)| Move::Stale(at, what)),
        1 => (0_u64..5_000).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 0..300)
}

// Plays the moves, then stops the machine and lets everybody leave.
fn play(rules: Rules, moves: Vec<Move>) -> World {
    let (mut machine, mut world, mut now) =
        (Machine::new(rules, 0), World::default(), Instant::now());
    for step in moves {
        match step {
            Move::Ask(key) => {
                let waiter = world.new_waiter();
                world.happen(&mut machine, resolve(key, waiter), now);
            }
            Move::Load(at, found) if !world.loading.is_empty() => {
                let at = at % world.loading.len();
                let (key, incarnation) = world.loading.swap_remove(at);
                let event = if found {
                    Event::Loaded { key, incarnation, seed: incarnation }
                } else {
                    Event::LoadFailed { key, incarnation, error: ResolveError::Failed }
                };
                world.happen(&mut machine, event, now);
            }
            Move::Passivate(at) if !world.alive.is_empty() => {
                let (key, incarnation) = world.alive[at % world.alive.len()];
                world.happen(&mut machine, Event::Passivate { key, incarnation }, now);
            }
            Move::FoundClosed(at) if !world.alive.is_empty() => {
                let (key, incarnation) = world.alive[at % world.alive.len()];
                world.happen(&mut machine, Event::FoundClosed { key, incarnation }, now);
            }
            Move::Exit(at, crashed) if !world.alive.is_empty() => {
                let reason = if crashed { ExitReason::Crashed } else { ExitReason::Normal };
                world.exit(&mut machine, at, reason, now);
            }
            Move::Stale(at, what) if !world.past.is_empty() => {
                let (key, incarnation) = world.past[at % world.past.len()];
                if world.alive.contains(&(key, incarnation))
                    || world.loading.contains(&(key, incarnation))
                {
                    continue;
                }
                let event = match what {
                    0 => Event::Passivate { key, incarnation },
                    1 => Event::FoundClosed { key, incarnation },
                    2 => Event::Loaded { key, incarnation, seed: incarnation },
                    _ => exited(key, incarnation, ExitReason::Crashed),
                };
                world.happen(&mut machine, event, now);
            }
            Move::Wait(ms) => now += Duration::from_millis(ms),
            _nobody_to_do_it => {}
        }
    }

    world.happen(&mut machine, Event::Stop, now);
    while !world.alive.is_empty() {
        world.exit(&mut machine, 0, ExitReason::Normal, now);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_life_at_a_time_and_one_answer_to_each_in_any_order_of_events(moves in moves()) {
        let world = play(rules(), moves);

        prop_assert!(world.violations.is_empty(), "{:?}", world.violations);
        prop_assert!(world.answers.iter().all(|answers| *answers == 1), "{:?}", world.answers);
        prop_assert!(world.settled);
    }
}

#[test]
fn control_without_the_incarnation_check_a_stale_exit_lets_a_key_live_twice() {
    let moves = vec![
        Move::Ask(0),
        Move::Load(0, true),
        Move::Exit(0, false),
        Move::Ask(0),
        Move::Load(0, true),
        // The exit of the first life, again.
        Move::Stale(0, 3),
        Move::Ask(0),
        Move::Load(0, true),
    ];

    assert_eq!(play(rules(), moves.clone()).violations, Vec::<String>::new());
    let sabotaged = Rules { trusts_any_incarnation: true, ..rules() };
    assert!(!play(sabotaged, moves).violations.is_empty());
}

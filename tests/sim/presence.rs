//! Presence: reports of several hubs, doubled and overtaken, come to what the devices come to.

use std::time::Duration;

use madang::actors::presence::state::{Next, PresenceState, Report};
use madang::domain::presence::{Choice, merge};
use madang::domain::time::Timestamp;

use crate::sabotage::Sabotage;
use crate::scheduler::{Rng, is_caught, sweep};

const SEEDS: u64 = 40_000;
const GRACE: Duration = Duration::from_secs(10);
const HUBS: usize = 3;
/// Changes that may be shown within the grace.
const CHANGES_MAX: usize = 4;
const CHOICES: [Choice; 4] = [Choice::Online, Choice::Away, Choice::Busy, Choice::Invisible];

#[test]
fn what_is_recorded_is_what_the_devices_come_to_however_they_are_reported() {
    let test = "what_is_recorded_is_what_the_devices_come_to_however_they_are_reported";
    sweep(test, SEEDS, |seed| play(seed, Sabotage::Nothing));
}

#[test]
fn control_without_versions_an_overtaken_report_brings_back_the_dead() {
    assert!(is_caught(|seed| play(seed, Sabotage::Order)));
}

/// One hub as it is: its devices and the number of its last report.
#[derive(Default)]
struct Hub {
    devices: Vec<Choice>,
    version: u64,
}

fn play(seed: u64, sabotage: Sabotage) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let mut now = Timestamp::from_millis(1_000_000);
    let mut state = PresenceState::new(None, GRACE, now);
    let mut hubs: [Hub; HUBS] = Default::default();
    let mut bag: Vec<Report<usize>> = Vec::new();
    let mut shown: Vec<Timestamp> = Vec::new();
    let mut arrivals = 1_000;

    let steps = 30 + rng.below(30);
    for step in 0.. {
        // In the end, what is on its way arrives; then time passes.
        let is_end = step >= steps;
        match rng.weighted(&[if is_end { 0 } else { 30 }, 40, 20]) {
            0 => {
                let at = rng.below(HUBS);
                change(&mut hubs[at], &mut rng);
                bag.push(report(&mut hubs[at], at));
            }
            1 if !bag.is_empty() => {
                let at = rng.below(bag.len());
                let is_doubled = !is_end && rng.chance(20);
                let mut told = if is_doubled { bag[at].clone() } else { bag.swap_remove(at) };
                if sabotage == Sabotage::Order {
                    // The sabotage: whatever arrives last counts as the newest.
                    arrivals += 1;
                    told.version = arrivals;
                }
                state.report(told, now);
            }
            1 if is_end => break,
            _ => now = now.plus(Duration::from_millis(500)),
        }
        show(&mut state, &mut shown, now);
        let recent = shown.iter().filter(|at| now.since(**at) < GRACE).count();
        if recent > CHANGES_MAX {
            return Err(format!("{recent} changes were shown within the grace"));
        }
    }
    show(&mut state, &mut shown, now.plus(GRACE));
    let expected = merge(hubs.iter().flat_map(|hub| hub.devices.iter().copied()));
    if state.is_recorded_as() != expected {
        return Err(format!("recorded as {:?}, is {expected:?}", state.is_recorded_as()));
    }
    Ok(())
}

fn show(state: &mut PresenceState<usize>, shown: &mut Vec<Timestamp>, now: Timestamp) {
    if let Next::Record(choice) = state.next(now) {
        state.recorded(choice, now);
        shown.push(now);
    }
}

fn change(hub: &mut Hub, rng: &mut Rng) {
    if hub.devices.is_empty() || rng.chance(50) {
        hub.devices.push(CHOICES[rng.below(CHOICES.len())]);
    } else {
        let at = rng.below(hub.devices.len());
        hub.devices.swap_remove(at);
    }
}

fn report(hub: &mut Hub, at: usize) -> Report<usize> {
    hub.version += 1;
    Report { hub: at, version: hub.version, devices: hub.devices.clone(), said_bye: false }
}

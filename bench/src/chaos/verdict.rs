//! What a run tells: what was done, what was given and kept, and whatever the oracle found.

use super::crowd::Records;
use super::journal::Gap;
use super::oracle::{Kind, Oracle};
use super::record::Record;
use crate::report::{Bound, Report, figure};

const SHOWN_MAX: usize = 10;

/// Something that was done to the servers: its name, how often, and the unit of that.
pub type Harm = (&'static str, usize, &'static str);

/// Adds the figures and faults of the scenario `name`, in which all that is in `harm` was done.
pub fn tell(
    name: &str,
    seed: u32,
    harm: &[Harm],
    records: &Records,
    oracle: &Oracle<'_>,
    report: &mut Report,
) {
    report.measure(&format!("{name}.seed"), f64::from(seed), None, "", Bound::None);
    let sum =
        |of: fn(&Record) -> usize| records.iter().map(|record| of(&record.borrow())).sum::<usize>();
    let given = [
        ("clients", records.len(), "clients"),
        ("connections", sum(|record| record.visits), "connections"),
        ("acknowledged", oracle.acknowledged(), "messages"),
        ("delivered", oracle.delivered, "events"),
        ("lags", sum(|record| record.lags), "times"),
        ("gaps", oracle.gaps.len(), "gaps"),
    ];
    for (part, count, unit) in harm.iter().chain(&given) {
        report.measure(&format!("{name}.{part}"), figure(*count), None, unit, Bound::None);
    }
    for (part, kind) in [
        ("lost", Kind::Lost),
        ("doubled", Kind::Doubled),
        ("out_of_order", Kind::OutOfOrder),
        ("altered", Kind::Altered),
        ("unkept", Kind::Unkept),
        ("holes", Kind::Hole),
    ] {
        let count = figure(oracle.count(kind));
        let bound = Bound::AtMost(0.0);
        report.measure(&format!("{name}.{part}"), count, None, "events", bound);
    }

    for (client, room, gap) in oracle.gaps.iter().take(SHOWN_MAX) {
        let Gap { have, first, head } = gap;
        report.note(format!(
            "{name}: a gap was announced to client {client} in room {room}: have {have}, first {first}, head {head}"
        ));
    }
    blame(name, records, oracle, report);
}

fn blame(name: &str, records: &Records, oracle: &Oracle<'_>, report: &mut Report) {
    for violation in oracle.violations.iter().take(SHOWN_MAX) {
        report.fault(format!("{name}: {violation}"));
    }
    if oracle.violations.len() > SHOWN_MAX {
        report.fault(format!("{name}: {} violations in all", oracle.violations.len()));
    }
    for record in records {
        let record = record.borrow();
        for complaint in &record.complaints {
            report.fault(format!("{name}: client {} was told: {complaint}", record.client));
        }
    }
    // What nobody sent or heard proves nothing.
    if oracle.acknowledged() == 0 || oracle.delivered == 0 {
        report.fault(format!("{name}: nothing was acknowledged or delivered"));
    }
}

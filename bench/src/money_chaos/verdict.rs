//! What a run tells: what was done to processes and requests, what came of it, and whatever the oracle found.

use super::journal::Journal;
use super::oracle::{Kind, Oracle};
use super::provider::Movement;
use super::truth::Truth;
use super::{NAME, Strokes};
use crate::report::{Bound, Report, figure};

const SHOWN_MAX: usize = 12;

pub fn tell(
    seed: u32,
    strokes: Strokes,
    (journal, truth, movements): (&Journal, &Truth, &[Movement]),
    oracle: &Oracle<'_>,
    report: &mut Report,
) {
    let mut told = |part: &str, count: usize, unit| {
        report.measure(&format!("{NAME}.{part}"), figure(count), None, unit, Bound::None);
    };
    told("kills", strokes.kills, "kills");
    told("provider_kills", strokes.provider_kills, "kills");
    told("postgres_restarts", strokes.restarts, "restarts");
    told("requests", journal.entries.len(), "requests");
    told("lost_answers", journal.lost_answers, "answers");
    told("put_off", journal.put_off, "answers");
    told("payments", truth.payments.len(), "payments");
    let captured = truth.payments.values().filter(|payment| payment.captured > 0);
    told("captured", captured.count(), "payments");
    told("refunds", truth.refunds.len(), "refunds");
    told("withdrawals", truth.withdrawals.len(), "withdrawals");
    told("movements", movements.len(), "movements");
    told("events", truth.events.len(), "events");
    report.measure(&format!("{NAME}.seed"), f64::from(seed), None, "", Bound::None);
    for kind in Kind::ALL {
        let (name, count) = (format!("{NAME}.{}", kind.name()), figure(oracle.count(kind)));
        report.measure(&name, count, None, "violations", Bound::AtMost(0.0));
    }
    for violation in oracle.violations.iter().take(SHOWN_MAX) {
        report.fault(format!("{NAME}: {violation}"));
    }
    if oracle.violations.len() > SHOWN_MAX {
        report.fault(format!("{NAME}: {} violations in all", oracle.violations.len()));
    }
}

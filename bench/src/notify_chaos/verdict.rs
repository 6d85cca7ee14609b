//! What a run tells: what was done to nodes and letters, what came of it, and whatever the oracle found.

use super::NAME;
use super::ledger::{Ledger, Medium, Subject};
use super::oracle::{Kill, Kind, Oracle};
use super::temper::Deed;
use crate::report::{Bound, Report, figure};

const SHOWN_MAX: usize = 10;

pub fn tell(seed: u32, killed: &[Kill], ledger: &Ledger, oracle: &Oracle<'_>, report: &mut Report) {
    let mut told = |part: &str, count: usize, unit| {
        report.measure(&format!("{NAME}.{part}"), figure(count), None, unit, Bound::None);
    };
    told("kills", killed.len(), "kills");
    for trouble in Deed::TROUBLES {
        let count = ledger.troubles.get(trouble).copied().unwrap_or_default();
        told(trouble, count, "attempts");
    }
    for medium in Medium::ALL {
        let taken = ledger.takes.iter().filter(|take| {
            let subject = &take.letter.subject;
            subject.medium() == medium && !matches!(subject, Subject::Other(_))
        });
        told(&format!("taken_{}", medium.name()), taken.count(), "letters");
    }
    told("again_after_lost_answer", oracle.repeats.after_lost_answer, "letters");
    told("again_after_kill", oracle.repeats.after_kill, "letters");
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
    for complaint in ledger.complaints.iter().take(SHOWN_MAX) {
        report.fault(format!("{NAME}: a provider complains: {complaint}"));
    }
}

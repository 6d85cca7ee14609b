//! One message in a crowded room with nobody there: how fast its members are told, and what that takes of memory.

use anyhow::Context as _;

use super::Options;
use super::hall::Hall;
use crate::plan::Plan;
use crate::report::{Bound, Report, figure, median};

/// Members of the room that the crowded one is compared with are so many times fewer.
const TIMES_FEWER: usize = 10;
/// Members of the room in which the server warms up, and messages there.
const WARM_UP_MEMBERS: usize = 100;
const WARM_UP_MESSAGES: usize = 5;
/// What the server may grow by, however many are told.
const GROWTH_MIB_MAX: f64 = 24.0;

struct Outcome {
    seconds: f64,
    growth_mib: f64,
    is_told_once: bool,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let members = options.members(plan);
    let fewer = (members / TIMES_FEWER).max(1);
    let (mut many, mut few) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds() {
        eprintln!("notify: fan-out, round {round} of {}", plan.rounds());
        many.push(measure(plan, options, members).await?);
        few.push(measure(plan, options, fewer).await?);
    }

    let middle = |side: &[Outcome], of: fn(&Outcome) -> f64| median(side.iter().map(of).collect());
    let both = |of| (middle(&many, of), middle(&few, of));
    let (seconds, fewer_seconds) = both(|outcome| outcome.seconds);
    let rate = figure(members) / seconds;
    let fewer_rate = figure(fewer) / fewer_seconds;
    report.measure("notify.fanout_rows", rate, Some(fewer_rate), "1/s", Bound::None);
    let to_last = "notify.fanout_event_to_last_inbox";
    report.measure(to_last, seconds, Some(fewer_seconds), "s", Bound::None);
    let (growth, fewer_growth) = both(|outcome| outcome.growth_mib);
    let bound = Bound::AtMost(GROWTH_MIB_MAX);
    report.measure("notify.fanout_rss_growth", growth, Some(fewer_growth), "MiB", bound);
    report.note(format!(
        "notify, fan-out: one message in a room of {members}, and (beside it) of {fewer}, of whom nobody is there; {}, \
         median of {} round(s) with a fresh server each, after {WARM_UP_MESSAGES} messages in a room of \
         {WARM_UP_MEMBERS}; from the request to the last row in the database, which is looked at every 10 ms; RSS is \
         the most it came to, less what it was before.",
        options.store(),
        plan.rounds(),
    ));
    if many.iter().chain(&few).any(|outcome| !outcome.is_told_once) {
        report.fault("notify: not every member has exactly one notification of the message");
    }
    Ok(())
}

async fn measure(plan: &Plan, options: &Options, members: usize) -> anyhow::Result<Outcome> {
    let hall = Hall::open(plan, options, 1, &[WARM_UP_MEMBERS.min(members), members]).await?;
    let outcome = tell(&hall).await.with_context(|| hall.server.log_end())?;
    hall.close().await?;
    Ok(outcome)
}

async fn tell(hall: &Hall) -> anyhow::Result<Outcome> {
    let mut db = hall.database.open().await?;
    let mut owner = hall.owner().await?;
    for _ in 0..WARM_UP_MESSAGES {
        hall.tell(&mut db, &mut owner, hall.room(0)?).await?;
    }
    let room = hall.room(1)?;
    let before_kib = hall.server.usage()?.resident_kib;
    let told = hall.tell(&mut db, &mut owner, room).await?;
    let is_told_once = hall.is_told_once(&mut db, room, told.seq).await?;
    db.close().await?;
    Ok(Outcome {
        seconds: told.took.as_secs_f64(),
        growth_mib: (told.resident_kib - before_kib) / 1_024.0,
        is_told_once,
    })
}

//! What chat in other rooms feels of a crowded room whose members are notified again and again.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Options;
use super::hall::Hall;
use crate::api::{PEOPLE, Person};
use crate::fanout::blame;
use crate::load::{Load, Outcome, Room};
use crate::plan::Plan;
use crate::report::{Bound, Report, figure, median};
use crate::sends::send_one;
use crate::socket::Socket;
use crate::tally::histogram;

const FULL: Load = Load { rooms: 10, members: 10, rate: 100, body_bytes: 128 };
const QUICK: Load = Load { rooms: 4, members: 5, rate: 20, body_bytes: 128 };
/// Between two messages whose acknowledgement is waited for.
const ASK_INTERVAL: Duration = Duration::from_millis(25);
/// The load has a second of warm-up, and so has this.
const WARM_UP: Duration = Duration::from_secs(1);
const P99_RATIO_MAX: f64 = 1.5;

/// Chat for a while, with the crowded room silent or not.
struct Spell {
    chat: Outcome,
    acknowledged_p50_ms: f64,
    acknowledged_p99_ms: f64,
    /// Notifications of the crowded room meanwhile.
    told: i64,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let (load, members) = (plan.pick(FULL, QUICK), options.members(plan));
    load.check()?;
    let hall = Hall::open(plan, options, PEOPLE, &[members]).await?;
    let (mut busy, mut quiet) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds() {
        eprintln!("notify: chat, round {round} of {}", plan.rounds());
        let spell = measure(plan, &hall, load, false).await;
        quiet.push(spell.with_context(|| hall.server.log_end())?);
        let spell = measure(plan, &hall, load, true).await;
        busy.push(spell.with_context(|| hall.server.log_end())?);
    }
    hall.close().await?;

    let middle = |side: &[Spell], of: fn(&Spell) -> f64| median(side.iter().map(of).collect());
    let both = |of| (middle(&busy, of), middle(&quiet, of));
    for (part, (ours, theirs)) in [
        ("delivery_p99", both(|spell| spell.chat.p99_ms)),
        ("acknowledgement_p99", both(|spell| spell.acknowledged_p99_ms)),
    ] {
        let bound = Bound::AtMost(P99_RATIO_MAX);
        report.compare(&format!("notify.chat_{part}"), ours, theirs, "ms", bound);
    }
    for (part, (ours, theirs)) in [
        ("delivery_p50", both(|spell| spell.chat.p50_ms)),
        ("acknowledgement_p50", both(|spell| spell.acknowledged_p50_ms)),
        ("delivery_max", both(|spell| spell.chat.max_ms)),
    ] {
        report.measure(&format!("notify.chat_{part}"), ours, Some(theirs), "ms", Bound::None);
    }
    let seconds = plan.duration().as_secs_f64();
    let rows = median(busy.iter().map(|spell| spell.told as f64 / seconds).collect());
    report.measure("notify.chat_rows_meanwhile", rows, None, "1/s", Bound::None);
    report.note(format!(
        "notify, chat: {} rooms of {} connections, {} messages/s of {} bytes, {} s, while one message after the other is told \
         to {members} residents of another room, and (beside it) while it is silent; {}, median of {} round(s) in turn on \
         one server; acknowledgements are those of a member who waits for each, 40 times a second.",
        load.rooms,
        load.members,
        load.rate,
        load.body_bytes,
        plan.duration().as_secs(),
        options.store(),
        plan.rounds(),
    ));
    for spell in busy.iter().chain(&quiet) {
        blame("notify", "madang", &spell.chat, report);
    }
    if busy.iter().any(|spell| spell.told == 0) {
        report.fault("notify: nobody was told anything while chat was measured");
    }
    Ok(())
}

async fn measure(plan: &Plan, hall: &Hall, load: Load, is_busy: bool) -> anyhow::Result<Spell> {
    let rooms = rooms(hall, load).await?;
    let channel = rooms.first().context("a load without rooms")?.channel.clone();
    let audience = load.seat(&rooms, None).await?;
    let mut asker = hall.owner().await?;
    let mut db = hall.database.open().await?;
    let before = hall.residents.inbox_events(&mut db).await?;
    let servers = [&hall.server];
    let chatting = async {
        tokio::try_join!(
            load.publish(&servers, &audience, plan.duration()),
            ask(&mut asker, &channel, plan.duration()),
        )
    };
    let (chat, acknowledged) = if is_busy {
        tokio::select! {
            chatted = chatting => chatted?,
            never = tell_again_and_again(hall) => match never? {},
        }
    } else {
        chatting.await?
    };
    let told = hall.residents.inbox_events(&mut db).await? - before;
    if is_busy {
        // The one that was under way is over before the next spell begins.
        hall.rest(&mut db).await?;
    }
    db.close().await?;
    let quantile = |quantile| figure(acknowledged.value_at_quantile(quantile)) / 1_000.0;
    Ok(Spell {
        chat,
        acknowledged_p50_ms: quantile(0.5),
        acknowledged_p99_ms: quantile(0.99),
        told,
    })
}

/// New rooms, for what was said in others before counts as said already.
async fn rooms(hall: &Hall, load: Load) -> anyhow::Result<Vec<Room>> {
    let mut rooms = Vec::with_capacity(load.rooms);
    for number in 0..load.rooms {
        let members: Vec<&Person> =
            hall.people.iter().cycle().skip(number).take(load.members).collect();
        let (owner, others) = members.split_first().context("a room needs people")?;
        let id = hall.api.create_room(&format!("chat {number}"), owner, others).await?;
        let channel = format!("room:{id}");
        let seat = |person: &&Person| hall.api.seat(person, vec![channel.clone()]);
        rooms.push(Room { seats: members.iter().map(seat).collect(), channel: channel.clone() });
    }
    Ok(rooms)
}

/// Says something in the crowded room each time everybody has been told of what was said before; ends with an error only.
async fn tell_again_and_again(hall: &Hall) -> anyhow::Result<Infallible> {
    let mut db = hall.database.open().await?;
    let mut owner = hall.owner().await?;
    loop {
        hall.tell(&mut db, &mut owner, hall.room(0)?).await?;
    }
}

/// Sends a message now and then; gives how long their acknowledgements took, in microseconds.
async fn ask(
    asker: &mut Socket,
    channel: &str,
    duration: Duration,
) -> anyhow::Result<Histogram<u64>> {
    let (mut took_us, refused) = (histogram()?, Cell::default());
    let from = Instant::now() + WARM_UP;
    let until = from + duration;
    let mut ticks = interval(ASK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for id in 0_u64.. {
        ticks.tick().await;
        let sent = Instant::now();
        if sent >= until {
            break;
        }
        send_one(asker, id, channel, &refused).await?;
        if sent >= from {
            let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
            took_us.saturating_record(micros);
        }
    }
    Ok(took_us)
}

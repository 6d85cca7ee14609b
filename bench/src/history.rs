//! Scenario 5: a page of history from a long room and from a short one, asked for in turn.

use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use hdrhistogram::Histogram;
use reqwest::RequestBuilder;
use serde_json::Value;

use crate::api::{Api, Person};
use crate::chance::Chance;
use crate::folder::Folder;
use crate::plan::Plan;
use crate::report::{Bound, Report};
use crate::seed;
use crate::server::Server;
use crate::tally::histogram;

const PAGE: i64 = 50;
const SHORT: i64 = 1_000;
const WARM_UP: u32 = 100;
const RATIO_MAX: f64 = 1.3;

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Messages in the long room; the short one has 1,000.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1_000..=20_000_000))]
    messages: Option<i64>,
    /// Pages asked of each room.
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    requests: Option<u32>,
}

struct Room {
    id: String,
    last: i64,
    /// The `seq` before the first of its messages.
    first: i64,
    took_us: Histogram<u64>,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let messages = options.messages.unwrap_or(plan.pick(1_000_000, 20_000));
    let requests = options.requests.unwrap_or(plan.pick(3_000, 200));
    let folder = Folder::new(&plan.folder())?;
    let server = Server::madang(&plan.madang, folder.path(), &[]).await?;
    let api = Api::new(server.address())?;
    let people = api.register(2).await?;
    let (owner, other) = (&people[0], &people[1]);
    let ids = [
        api.create_room("bench long", owner, &[other]).await?,
        api.create_room("bench short", owner, &[other]).await?,
    ];
    server.stop().await?;

    eprintln!("history: writing {messages} messages");
    let data = folder.path().join("data");
    let mut rooms = Vec::new();
    for (id, count) in ids.into_iter().zip([messages, SHORT]) {
        let last = seed::fill(&data, &id, &other.id, count).await?;
        rooms.push(Room { id, last, first: last - count, took_us: histogram()? });
    }

    eprintln!("history: {requests} pages of each room");
    let server = Server::madang(&plan.madang, folder.path(), &[]).await?;
    let api = Api::new(server.address())?;
    let mut floor = histogram()?;
    let mut chance = Chance::new(0, 0);
    for number in 0..WARM_UP + requests {
        // Which of them goes first changes each time.
        rooms.reverse();
        for room in &mut rooms {
            let took_us = ask_page(&api, owner, room, &mut chance).await?;
            if number >= WARM_UP {
                room.took_us.saturating_record(took_us);
            }
        }
        let (_, took_us) = ask(api.alive()).await?;
        if number >= WARM_UP {
            floor.saturating_record(took_us);
        }
    }
    server.stop().await?;

    rooms.sort_by_key(|room| room.last);
    tell(&rooms[1], &rooms[0], &floor, report);
    report.note(format!(
        "history: pages of {PAGE} before a random message, {requests} of a room of {messages} and (beside it) as many \
         of a room of {SHORT}, in turn over one connection; http_floor is GET /livez, which both contain.",
    ));
    Ok(())
}

fn tell(long: &Room, short: &Room, floor: &Histogram<u64>, report: &mut Report) {
    let ms =
        |took_us: &Histogram<u64>, quantile| took_us.value_at_quantile(quantile) as f64 / 1_000.0;
    let (ours, theirs, least) = (ms(&long.took_us, 0.5), ms(&short.took_us, 0.5), ms(floor, 0.5));
    report.compare("history.page_p50", ours, theirs, "ms", Bound::AtMost(RATIO_MAX));
    report.measure(
        "history.page_p50_net_of_http",
        ours - least,
        Some(theirs - least),
        "ms",
        Bound::None,
    );
    let (ours, theirs) = (ms(&long.took_us, 0.99), ms(&short.took_us, 0.99));
    report.measure("history.page_p99", ours, Some(theirs), "ms", Bound::None);
    report.measure("history.http_floor_p50", least, None, "ms", Bound::None);
}

/// Asks for a page somewhere in the room and checks it; gives the microseconds until it was there.
async fn ask_page(
    api: &Api,
    person: &Person,
    room: &Room,
    chance: &mut Chance,
) -> anyhow::Result<u64> {
    let before = chance.between(room.first + PAGE + 1, room.last + 1);
    let (body, took_us) = ask(api.history_before(person, &room.id, before)).await?;
    let page: Value = serde_json::from_slice(&body)?;
    let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let numbers = items.iter().map(|item| item["seq"].as_i64());
    ensure!(numbers.eq((before - PAGE..before).map(Some)), "not the page before {before}: {page}");
    Ok(took_us)
}

/// Asks and waits for the whole answer; gives it and the microseconds that it took.
pub async fn ask(request: RequestBuilder) -> anyhow::Result<(bytes::Bytes, u64)> {
    let started = Instant::now();
    let answer = request.send().await?.error_for_status()?;
    let body = answer.bytes().await?;
    Ok((body, u64::try_from(started.elapsed().as_micros())?))
}

//! Notifications for people who watch their inboxes: how long after the message that mentions them one is on the socket.
//!
//! The schedule does not wait for the server, so a slow server cannot slow its own test.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::Options;
use super::hall::Hall;
use super::watcher::Watcher;
use crate::api::{PEOPLE, Person};
use crate::database::rows;
use crate::plan::Plan;
use crate::report::{Bound, Report, figure};
use crate::socket::{self, Line};
use crate::stamp::{self, Stamp};
use crate::tally::{Tally, histogram};

/// People who mention others, each in a room of their own.
const SPEAKERS: usize = 4;
const WARM_UP: Duration = Duration::from_secs(1);
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// Time in which a notification that was delivered twice would show.
const ECHO: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(20);
const BODY_BYTES: usize = 96;
const P99_MS_MAX: f64 = 100.0;

/// The watchers, connected and listening until this is dropped.
struct Audience {
    watchers: Vec<Rc<RefCell<Watcher>>>,
    latency_us: Rc<RefCell<Histogram<u64>>>,
    /// Acknowledgements of the speakers' messages, and connections that ended.
    tally: Rc<Tally>,
    speakers: Vec<Speaker>,
    _receivers: JoinSet<()>,
}

struct Speaker {
    line: Rc<Line>,
    channel: String,
}

struct Outcome {
    sent: u64,
    late: Duration,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let rate = options.rate.unwrap_or(plan.pick(200, 20));
    ensure!(rate > 0, "at least one notification a second");
    let duration = plan.duration_or(20, 3);
    eprintln!("notify: {rate} notifications/s, watched");
    let hall = Hall::open(plan, options, SPEAKERS + PEOPLE, &[]).await?;
    let measured = measure(&hall, rate, duration, report).await;
    let Outcome { late, .. } = measured.with_context(|| hall.server.log_end())?;
    hall.close().await?;
    report.note(format!(
        "notify, live: {rate} messages/s of {SPEAKERS} people, each of which mentions one of {PEOPLE} others, {} s; from \
         the request to the frame on the socket that watches `me`, the load client's own reading included; {}; the client \
         was at most {:.1} ms late.",
        duration.as_secs(),
        options.store(),
        late.as_secs_f64() * 1_000.0,
    ));
    Ok(())
}

async fn measure(
    hall: &Hall,
    rate: u64,
    duration: Duration,
    report: &mut Report,
) -> anyhow::Result<Outcome> {
    let (speakers, watched) = hall.people.split_at(SPEAKERS.min(hall.people.len()));
    let audience = Audience::gather(hall, speakers, watched).await?;
    let outcome = audience.speak(watched, rate, duration).await?;

    audience.tell_latency(report);
    let Verdict { lost, doubled } = audience.judge(hall, watched, outcome.sent).await?;
    let told = figure(outcome.sent.saturating_sub(lost));
    report.measure("notify.live_told", told, None, "notifications", Bound::None);
    for (part, count) in [("lost", lost), ("doubled", doubled)] {
        let figure_name = format!("notify.live_{part}");
        report.measure(&figure_name, figure(count), None, "events", Bound::AtMost(0.0));
    }
    let tally = &audience.tally;
    let (refused, ended) = (tally.refused.get(), tally.ended.get());
    if lost + doubled + refused + ended > 0 {
        let complaint = tally.complaint.borrow();
        report.fault(format!(
            "notify: of {} notifications, {lost} events were lost and {doubled} doubled; {refused} messages were refused, \
             {ended} connections ended ({})",
            outcome.sent,
            complaint.as_deref().unwrap_or("no complaint"),
        ));
    }
    Ok(outcome)
}

struct Verdict {
    lost: u64,
    doubled: u64,
}

impl Audience {
    fn tell_latency(&self, report: &mut Report) {
        let latency = self.latency_us.borrow();
        let quantile = |quantile| figure(latency.value_at_quantile(quantile)) / 1_000.0;
        let bound = Bound::AtMost(P99_MS_MAX);
        report.measure("notify.live_p99", quantile(0.99), None, "ms", bound);
        report.measure("notify.live_p50", quantile(0.5), None, "ms", Bound::None);
        report.measure("notify.live_max", quantile(1.0), None, "ms", Bound::None);
    }

    async fn gather(hall: &Hall, speakers: &[Person], watched: &[Person]) -> anyhow::Result<Self> {
        let mut audience = Self {
            watchers: Vec::with_capacity(watched.len()),
            latency_us: Rc::new(RefCell::new(histogram()?)),
            tally: Rc::new(Tally::new()?),
            speakers: Vec::with_capacity(speakers.len()),
            _receivers: JoinSet::new(),
        };
        let everybody: Vec<_> = watched.iter().collect();
        for (number, speaker) in speakers.iter().enumerate() {
            let id = hall.api.create_room(&format!("live {number}"), speaker, &everybody).await?;
            let socket = hall.visitor(speaker).await?;
            let (line, channel) = (socket.line().clone(), format!("room:{id}"));
            audience.speakers.push(Speaker { line, channel });
            let tally = audience.tally.clone();
            audience._receivers.spawn_local(async move {
                let on_text = |frame: &[u8]| _ = tally.hear(frame, &mut []);
                if let Err(reason) = socket.listen(on_text).await {
                    tally.end(&reason);
                }
            });
        }
        let seats = watched.iter().map(|person| hall.api.seat(person, vec!["me".to_owned()]));
        let sockets = socket::connect_all(&seats.collect::<Vec<_>>(), speakers.len()).await?;
        for socket in sockets {
            let watcher = Rc::new(RefCell::new(Watcher::default()));
            audience.watchers.push(watcher.clone());
            let (tally, latency_us) = (audience.tally.clone(), audience.latency_us.clone());
            audience._receivers.spawn_local(async move {
                let on_text = |frame: &[u8]| {
                    if let Some(Stamp { sent_ns, .. }) = watcher.borrow_mut().hear(frame) {
                        let now_ns = stamp::nanos(std::time::Instant::now());
                        let latency_ns = now_ns.saturating_sub(sent_ns);
                        latency_us.borrow_mut().saturating_record(latency_ns / 1_000);
                        tally.delivered.set(tally.delivered.get() + 1);
                    }
                };
                if let Err(reason) = socket.listen(on_text).await {
                    tally.end(&reason);
                }
            });
        }
        Ok(audience)
    }

    /// Has the speakers mention the watchers in turn, `rate` times a second, and waits until all have heard.
    async fn speak(
        &self,
        watched: &[Person],
        rate: u64,
        duration: Duration,
    ) -> anyhow::Result<Outcome> {
        let warm_up = rate * WARM_UP.as_secs();
        let total = warm_up + rate * duration.as_secs();
        let start = Instant::now();
        let mut late = Duration::ZERO;
        let speakers = self.speakers.iter().enumerate().cycle();
        // A speaker's next message mentions somebody else than their last.
        let turns = speakers.zip(watched.iter().cycle());
        for (index, ((number, speaker), mentioned)) in (0..total).zip(turns) {
            let due = start + Duration::from_secs_f64(index as f64 / rate as f64);
            sleep_until(due).await;
            if index == warm_up {
                self.latency_us.borrow_mut().reset();
                late = Duration::ZERO;
            }
            late = late.max(due.elapsed());
            let sent_ns = stamp::nanos(std::time::Instant::now());
            let publisher = u16::try_from(number)?;
            let stamp = Stamp { sent_ns, publisher, number: u32::try_from(index)? };
            speaker.line.send(&mention(index, &speaker.channel, &stamp, &mentioned.id))?;
        }
        let last = Instant::now();
        while self.tally.delivered.get() < total && last.elapsed() < DRAIN_LIMIT {
            sleep(POLL).await;
        }
        sleep(ECHO).await;
        Ok(Outcome { sent: total, late })
    }

    /// What the watchers did not hear, or heard twice; beside what they heard themselves, the database says how far their
    /// inboxes go.
    async fn judge(&self, hall: &Hall, watched: &[Person], sent: u64) -> anyhow::Result<Verdict> {
        let mut verdict =
            Verdict { lost: sent.saturating_sub(self.tally.delivered.get()), doubled: 0 };
        let mut db = hall.database.open().await?;
        for (watcher, person) in self.watchers.iter().zip(watched) {
            let user = Uuid::parse_str(&person.id)?;
            let select =
                rows!(&mut db, (i64,), "SELECT last_seq FROM inboxes WHERE user_id = $1", user);
            let head = select.first().map_or(0, |(head,)| *head);
            let watcher = watcher.borrow();
            let behind = head - watcher.last_seq.unwrap_or_default();
            verdict.lost += watcher.holes.unsigned_abs() + behind.unsigned_abs();
            verdict.doubled += watcher.doubled;
        }
        db.close().await?;
        Ok(verdict)
    }
}

/// The frame that sends a message which mentions `user`.
fn mention(index: u64, channel: &str, stamp: &Stamp, user: &str) -> String {
    let (key, body) = (Uuid::now_v7(), stamp.body(BODY_BYTES));
    // The first id belongs to hello.
    let id = index + 2;
    format!(
        r#"{{"id":{id},"op":"send","channel":"{channel}","key":"{key}","data":{{"body":"{body}","mentions":["{user}"]}}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mention_is_json_that_carries_its_stamp() {
        let stamp = Stamp { sent_ns: 5, publisher: 3, number: 9 };

        let frame = mention(0, "room:x", &stamp, "u");

        let read: serde_json::Value = serde_json::from_str(&frame).unwrap();
        assert_eq!(read["data"]["mentions"], serde_json::json!(["u"]));
        assert_eq!(Stamp::find(frame.as_bytes()), Some(stamp));
    }
}

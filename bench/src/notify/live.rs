//! Notifications for people who watch their inboxes: how long after the message that mentions them was acknowledged, and
//! after it was sent, one is on the socket.
//!
//! The schedule does not wait for the server, so a slow server cannot slow its own test.

use std::cell::RefCell;
use std::collections::HashMap;
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
/// The first id of a request belongs to hello.
const FIRST_ID: u64 = 2;

/// The watchers, connected and listening until this is dropped.
struct Audience {
    watchers: Vec<Rc<RefCell<Watcher>>>,
    latency: Rc<RefCell<Latency>>,
    /// Acknowledgements of the speakers' messages, and connections that ended.
    tally: Rc<Tally>,
    speakers: Vec<Speaker>,
    _receivers: JoinSet<()>,
}

/// How long it took until somebody was notified, in microseconds.
struct Latency {
    /// When each message was acknowledged, on the clock of stamps, until somebody was notified of it.
    acknowledged_ns: HashMap<u64, u64>,
    /// From the acknowledgement: then there is something to be told.
    of_event: Histogram<u64>,
    of_request: Histogram<u64>,
}

impl Latency {
    fn new() -> anyhow::Result<Self> {
        let acknowledged_ns = HashMap::new();
        Ok(Self { acknowledged_ns, of_event: histogram()?, of_request: histogram()? })
    }

    fn reset(&mut self) {
        self.of_event.reset();
        self.of_request.reset();
    }

    /// Somebody is notified of a message now. Whoever hears of it before its sender does has not waited at all.
    fn record(&mut self, stamp: &Stamp, now_ns: u64) {
        let from_event = match self.acknowledged_ns.remove(&u64::from(stamp.number)) {
            Some(acknowledged_ns) => now_ns.saturating_sub(acknowledged_ns),
            None => 0,
        };
        self.of_event.saturating_record(from_event / 1_000);
        self.of_request.saturating_record(now_ns.saturating_sub(stamp.sent_ns) / 1_000);
    }
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
         the acknowledgement, and from the request, to the frame on the socket that watches `me`, the load client's own \
         reading included; {}; the client \
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
        let latency = self.latency.borrow();
        for (from, histogram) in [("", &latency.of_event), ("_request", &latency.of_request)] {
            for (part, quantile) in [("p99", 0.99), ("p50", 0.5), ("max", 1.0)] {
                let is_asked = from.is_empty() && part == "p99";
                let bound = if is_asked { Bound::AtMost(P99_MS_MAX) } else { Bound::None };
                let value = figure(histogram.value_at_quantile(quantile)) / 1_000.0;
                report.measure(&format!("notify.live{from}_{part}"), value, None, "ms", bound);
            }
        }
    }

    async fn gather(hall: &Hall, speakers: &[Person], watched: &[Person]) -> anyhow::Result<Self> {
        let mut audience = Self {
            watchers: Vec::with_capacity(watched.len()),
            latency: Rc::new(RefCell::new(Latency::new()?)),
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
            let (tally, latency) = (audience.tally.clone(), audience.latency.clone());
            audience._receivers.spawn_local(async move {
                let on_text = |frame: &[u8]| {
                    if let Some(index) = acknowledged(frame) {
                        let now_ns = stamp::nanos(std::time::Instant::now());
                        latency.borrow_mut().acknowledged_ns.insert(index, now_ns);
                    }
                    _ = tally.hear(frame, &mut []);
                };
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
            let (tally, latency) = (audience.tally.clone(), audience.latency.clone());
            audience._receivers.spawn_local(async move {
                let on_text = |frame: &[u8]| {
                    if let Some(stamp) = watcher.borrow_mut().hear(frame) {
                        let now_ns = stamp::nanos(std::time::Instant::now());
                        latency.borrow_mut().record(&stamp, now_ns);
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
                self.latency.borrow_mut().reset();
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
    let id = index + FIRST_ID;
    format!(
        r#"{{"id":{id},"op":"send","channel":"{channel}","key":"{key}","data":{{"body":"{body}","mentions":["{user}"]}}}}"#
    )
}

/// Which message a frame acknowledges, if it does.
fn acknowledged(frame: &[u8]) -> Option<u64> {
    let rest = str::from_utf8(frame).ok()?.strip_prefix(r#"{"id":"#)?;
    let (id, answer) = rest.split_once(',')?;
    answer.starts_with(r#""ok""#).then_some(())?;
    id.parse::<u64>().ok()?.checked_sub(FIRST_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_names_its_message_and_a_refusal_none() {
        assert_eq!(acknowledged(br#"{"id":9,"ok":{"seq":1}}"#), Some(7));
        for frame in [
            r#"{"id":9,"error":{"code":"not_member"}}"#,
            r#"{"id":1,"ok":{}}"#,
            r#"{"event":"live","id":9}"#,
        ] {
            assert_eq!(acknowledged(frame.as_bytes()), None, "{frame}");
        }
    }

    #[test]
    fn whoever_hears_before_the_sender_has_not_waited() {
        let mut latency = Latency::new().unwrap();
        latency.acknowledged_ns.insert(1, 5_000_000);
        let stamp = |number| Stamp { sent_ns: 1_000_000, publisher: 0, number };

        latency.record(&stamp(1), 8_000_000);
        latency.record(&stamp(2), 8_000_000);

        // It keeps three digits.
        assert_eq!((latency.of_event.max() / 10, latency.of_event.min()), (300, 0));
        assert!(latency.of_request.min().abs_diff(7_000) < 10);
    }

    #[test]
    fn a_mention_is_json_that_carries_its_stamp() {
        let stamp = Stamp { sent_ns: 5, publisher: 3, number: 9 };

        let frame = mention(0, "room:x", &stamp, "u");

        let read: serde_json::Value = serde_json::from_str(&frame).unwrap();
        assert_eq!(read["data"]["mentions"], serde_json::json!(["u"]));
        assert_eq!(Stamp::find(frame.as_bytes()), Some(stamp));
    }
}

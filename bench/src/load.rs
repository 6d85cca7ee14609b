//! A load of messages on a server: who sits in which room, and the publishing at a steady rate.
//!
//! The schedule does not wait for the server (open loop), so a slow server cannot slow its own test. The client
//! sends both servers the same bytes.

use std::rc::Rc;
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::hops::Hops;
use crate::server::Server;
use crate::socket::{self, Line, Seat};
use crate::stamp::{self, Stamp};
use crate::tally::Tally;

const WARM_UP: Duration = Duration::from_secs(1);
/// The slowest server is waited for so long after the last message.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// Time in which a message that was delivered twice would show.
const ECHO: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(20);
/// One connection publishes so often at most; a room that gets more has more publishers.
const PUBLISHER_RATE_MAX: u64 = 10;
const BURST_MAX: u64 = 64;

#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub rooms: usize,
    /// Connections in each room.
    pub members: usize,
    /// Messages in a second, all rooms together.
    pub rate: u64,
    pub body_bytes: usize,
}

/// A room to be filled: the channel's name, and where its members sit.
#[derive(Debug)]
pub struct Room {
    pub channel: String,
    pub seats: Vec<Seat>,
}

/// The members of all rooms, connected and listening until this is dropped.
#[derive(Debug)]
pub struct Audience {
    tally: Rc<Tally>,
    /// Each room's channel, and who publishes there.
    rooms: Vec<(String, Vec<Rc<Line>>)>,
    _receivers: JoinSet<()>,
}

#[derive(Debug)]
pub struct Outcome {
    pub deliveries_per_cpu_second: f64,
    pub deliveries_per_second: f64,
    pub cpu_seconds: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// Deliveries that never came.
    pub lost: u64,
    pub repeated: u64,
    pub refused: u64,
    pub acknowledged: u64,
    pub sent: u64,
    pub ended: u64,
    pub complaint: Option<String>,
    /// How late the client itself was at worst.
    pub late_ms: f64,
}

impl Load {
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.rooms > 0 && self.members > 0 && self.rate > 0,
            "rooms, members and rate start at 1"
        );
        ensure!(
            self.body_bytes >= stamp::BODY_BYTES_MIN,
            "a body has at least {} bytes",
            stamp::BODY_BYTES_MIN
        );
        Ok(())
    }

    fn publishers(&self) -> usize {
        let per_room = self.rate.div_ceil(self.rooms as u64).div_ceil(PUBLISHER_RATE_MAX);
        usize::try_from(per_room).unwrap_or(usize::MAX).clamp(1, self.members.min(1_000))
    }

    /// Fills the rooms, publishes for `duration` after a warm-up, and waits until all is delivered.
    pub async fn drive(
        &self,
        servers: &[&Server],
        rooms: &[Room],
        duration: Duration,
    ) -> anyhow::Result<Outcome> {
        let audience = self.seat(rooms, None).await?;
        self.publish(servers, &audience, duration).await
    }

    /// Fills the rooms. `hops`, if there are any, are told of every delivery.
    pub async fn seat(&self, rooms: &[Room], hops: Option<&Rc<Hops>>) -> anyhow::Result<Audience> {
        let tally = Rc::new(Tally::new()?);
        let mut receivers = JoinSet::new();
        let mut publishers = Vec::new();
        let mut open = 0;
        for (number, room) in rooms.iter().enumerate() {
            let sockets = socket::connect_all(&room.seats, open).await?;
            open += sockets.len();
            let lines = sockets.iter().take(self.publishers()).map(|socket| socket.line().clone());
            publishers.push((room.channel.clone(), lines.collect()));
            for (seat, socket) in sockets.into_iter().enumerate() {
                let (tally, mut next) = (tally.clone(), vec![0; self.publishers()]);
                let hops = hops.cloned();
                receivers.spawn_local(async move {
                    let on_text = |frame: &[u8]| {
                        let heard = tally.hear(frame, &mut next);
                        if let (Some(hops), Some(stamp)) = (&hops, heard) {
                            hops.hear(number, seat, stamp);
                        }
                    };
                    if let Err(reason) = socket.listen(on_text).await {
                        tally.end(&reason);
                    }
                });
            }
        }

        Ok(Audience { tally, rooms: publishers, _receivers: receivers })
    }

    /// Publishes for `duration` after a warm-up, and waits until all is delivered.
    pub async fn publish(
        &self,
        servers: &[&Server],
        audience: &Audience,
        duration: Duration,
    ) -> anyhow::Result<Outcome> {
        let (rooms, tally) = (audience.rooms.as_slice(), &audience.tally);
        let warm_up = self.rate * WARM_UP.as_secs();
        let total = warm_up + self.rate * duration.as_secs();
        let start = Instant::now();
        let mut late = Duration::ZERO;
        let mut before = (start, cpu_seconds(servers)?, 0);

        let turns = (0..self.publishers()).flat_map(|publisher| {
            rooms.iter().filter_map(move |(channel, lines)| {
                Some((publisher, channel.as_str(), lines.get(publisher)?))
            })
        });
        let turns: Vec<_> = turns.collect();
        let numbered = (0_u32..).flat_map(|number| turns.iter().map(move |turn| (number, turn)));
        for (index, (number, (publisher, channel, line))) in (0..total).zip(numbered) {
            let due = start + Duration::from_secs_f64(index as f64 / self.rate as f64);
            if index % BURST_MAX == 0 {
                tokio::task::yield_now().await;
            }
            sleep_until(due).await;
            if index == warm_up {
                before = (Instant::now(), cpu_seconds(servers)?, tally.delivered.get());
                tally.latency_us.borrow_mut().reset();
                late = Duration::ZERO;
            }
            late = late.max(due.elapsed());
            let sent_ns = stamp::nanos(std::time::Instant::now());
            let stamp = Stamp { sent_ns, publisher: u16::try_from(*publisher)?, number };
            line.send(&message(index, channel, &stamp.body(self.body_bytes)))?;
        }

        let members = self.members as u64;
        let expected = total * members;
        let last = Instant::now();
        while tally.delivered.get() < expected && last.elapsed() < DRAIN_LIMIT {
            sleep(POLL).await;
        }
        let after = cpu_seconds(servers)?;
        let (since, before, delivered_before) = before;
        let seconds = since.elapsed().as_secs_f64();
        let cpu_seconds = after - before;
        let delivered = tally.delivered.get() - delivered_before;
        sleep(ECHO).await;

        let latency = tally.latency_us.borrow();
        let quantile = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000.0;
        Ok(Outcome {
            deliveries_per_cpu_second: delivered as f64 / cpu_seconds,
            deliveries_per_second: delivered as f64 / seconds,
            cpu_seconds,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            max_ms: quantile(1.0),
            lost: expected - tally.delivered.get(),
            repeated: tally.repeated.get(),
            refused: tally.refused.get(),
            acknowledged: tally.acknowledged.get(),
            sent: total,
            ended: tally.ended.get(),
            complaint: tally.complaint.borrow().clone(),
            late_ms: late.as_secs_f64() * 1_000.0,
        })
    }
}

/// What the servers have used together.
fn cpu_seconds(servers: &[&Server]) -> anyhow::Result<f64> {
    servers.iter().map(|server| Ok(server.usage()?.cpu_seconds)).sum()
}

/// The frame that sends one message.
pub fn message(id: u64, channel: &str, body: &str) -> String {
    // As the clients make them: keys in the order of time keep their index small.
    let key = uuid::Uuid::now_v7();
    // The first id belongs to hello.
    let id = id + 2;
    format!(
        r#"{{"id":{id},"op":"send","channel":"{channel}","key":"{key}","data":{{"body":"{body}"}}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_room_has_several_publishers_but_never_more_than_members() {
        let load = Load { rooms: 1, members: 1_000, rate: 50, body_bytes: 128 };

        assert_eq!(load.publishers(), 5);
        assert_eq!(Load { rooms: 200, members: 10, rate: 2_000, ..load }.publishers(), 1);
        assert_eq!(Load { members: 2, ..load }.publishers(), 2);
    }

    #[test]
    fn a_message_is_json() {
        let frame: serde_json::Value = serde_json::from_str(&message(0, "room:x", "hi")).unwrap();

        assert_eq!((frame["id"].as_u64(), frame["data"]["body"].as_str()), (Some(2), Some("hi")));
    }
}

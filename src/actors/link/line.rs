//! A line: the link to one Redis server, from the connection to its loss.
//!
//! Three things go on at once: channels are subscribed to and left, packets are published in order, and the line asks
//! itself whether it is heard. Whatever fails ends the line; it is never mended, only replaced.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::packet::Packet;
use super::state::redis_name;
use super::{Inner, Outgoing};
use crate::providers::redis::RedisError;
use crate::providers::redis::partition::Partition;
use crate::providers::redis::topology::Server;
use crate::providers::redis::wire::{Heard, Wire};

const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// Probes that may be on their way without having come back.
const PROBES_MAX: u64 = 2;
/// Packets that are published in one write.
const PUBLISHED_MAX: usize = 256;
/// Packets that may wait for that; what comes beyond is found out without them.
const OUTGOING_MAX: usize = 4_096;

/// Why a line ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("the connection was lost")]
    Closed,
    #[error("the server has ended subscriptions: their partition is elsewhere")]
    Moved,
    #[error("nothing is heard any more")]
    Silent,
}

/// What the reader notes.
struct Ears {
    /// The last probe of this line that came back.
    probe: AtomicU64,
    end: watch::Sender<Option<End>>,
}

#[derive(Clone, Copy)]
enum End {
    Closed,
    Moved,
}

/// Connects and stays until something fails.
pub(super) async fn run(server: Server, link: Arc<Inner>) -> LineError {
    let Err(error) = serve(&server, link).await;
    error
}

async fn serve(server: &Server, link: Arc<Inner>) -> Result<std::convert::Infallible, LineError> {
    let ears = Arc::new(Ears { probe: AtomicU64::new(0), end: watch::Sender::new(None) });
    let listening = Ears::listen(&ears, &link);
    let wire = Wire::open(server, listening).await?;
    let partitions = server.partitions.as_slice();
    let probing = probe_channel(partitions, &link);
    let mut own = vec![probing.clone()];
    if partitions.contains(&nodes_partition()) {
        own.push(nodes_channel());
    }
    wire.subscribe(&own).await?;
    let (outgoing, waiting) = mpsc::channel(OUTGOING_MAX);
    let _served = Served::begin(partitions, &link, &wire, &outgoing);
    // Chunk by chunk, so that others get a word in between.
    while do_work(&wire, &link, partitions).await? {}
    link.line_is_up(partitions);
    tracing::info!(redis.address = server.address(), "linked with the other nodes");

    let ended = tokio::select! {
        ended = keep_listening(&wire, &link, partitions) => ended,
        ended = publish(&wire, waiting) => ended,
        ended = probe(&ears, &link, &outgoing, probing) => ended,
        ended = hear_end(&ears) => ended,
    };
    ended.and(Err(LineError::Closed))
}

/// What is true while a line serves its partitions, whatever ends it.
struct Served<'l> {
    partitions: &'l [Partition],
    link: &'l Inner,
}

impl<'l> Served<'l> {
    fn begin(
        partitions: &'l [Partition],
        link: &'l Inner,
        wire: &Wire,
        outgoing: &mpsc::Sender<Outgoing>,
    ) -> Self {
        link.redis.set(partitions, Some(wire.commands()));
        link.set_routes(partitions, Some(outgoing));
        link.state().served(partitions);
        Self { partitions, link }
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.link.redis.set(self.partitions, None);
        self.link.set_routes(self.partitions, None);
        self.link.state().lost(self.partitions);
        self.link.line_is_down(self.partitions);
    }
}

impl Ears {
    /// Hands on what is heard: called by the reader, never waits.
    fn listen(ears: &Arc<Self>, link: &Arc<Inner>) -> impl Fn(Heard) + Send + Sync + use<> {
        let (ears, link) = (Arc::clone(ears), Arc::clone(link));
        move |heard| match heard {
            Heard::Message(payload) => {
                if let Some(number) = link.hear(payload) {
                    ears.probe.fetch_max(number, Ordering::Relaxed);
                }
            }
            Heard::Unsubscribed(name) if link.is_own(&name) || link.wants(&name) => {
                ears.end.send_replace(Some(End::Moved));
            }
            Heard::Unsubscribed(_) => {}
            Heard::Closed => {
                ears.end.send_replace(Some(End::Closed));
            }
        }
    }
}

/// Subscribes to what is wanted, and leaves what is not; true if there was something to do.
async fn do_work(wire: &Wire, link: &Inner, partitions: &[Partition]) -> Result<bool, LineError> {
    let work = link.state().take_work(partitions);
    if work.is_empty() {
        return Ok(false);
    }
    let names = |channels: &[_]| channels.iter().copied().map(redis_name).collect::<Vec<_>>();
    wire.subscribe(&names(&work.subscribe)).await?;
    wire.unsubscribe(&names(&work.unsubscribe)).await?;
    link.state().done(&work);
    Ok(true)
}

async fn keep_listening(
    wire: &Wire,
    link: &Inner,
    partitions: &[Partition],
) -> Result<(), LineError> {
    let mut news = link.work.subscribe();
    // What came up while the line was being set up.
    news.mark_changed();
    while news.changed().await.is_ok() {
        while do_work(wire, link, partitions).await? {}
    }
    Ok(())
}

async fn publish(wire: &Wire, mut waiting: mpsc::Receiver<Outgoing>) -> Result<(), LineError> {
    let mut packets: Vec<(String, Bytes)> = Vec::with_capacity(PUBLISHED_MAX);
    while waiting.recv_many(&mut packets, PUBLISHED_MAX).await > 0 {
        wire.publish(&packets).await?;
        let count = u64::try_from(packets.len()).unwrap_or(u64::MAX);
        metrics::counter!("madang_link_published_total").increment(count);
        packets.clear();
    }
    Ok(())
}

/// Publishes to itself, and ends when that is not heard.
async fn probe(
    ears: &Ears,
    link: &Inner,
    outgoing: &mpsc::Sender<Outgoing>,
    channel: String,
) -> Result<(), LineError> {
    let mut ticks = interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1_u64.. {
        ticks.tick().await;
        let unheard = number.saturating_sub(ears.probe.load(Ordering::Relaxed)).saturating_sub(1);
        if unheard > PROBES_MAX {
            break;
        }
        let packet = Packet::Probe(number).encode(link.node, &link.database);
        // A queue that is full is one that nobody takes from: the next look will show it.
        let _ = outgoing.try_send((channel.clone(), packet));
    }
    Err(LineError::Silent)
}

async fn hear_end(ears: &Ears) -> Result<(), LineError> {
    let mut end = ears.end.subscribe();
    let heard = end.wait_for(Option::is_some).await.map(|end| *end);
    match heard {
        Ok(Some(End::Moved)) => Err(LineError::Moved),
        Ok(_) => Err(LineError::Closed),
        // The ears outlive the line.
        Err(_) => pending().await,
    }
}

/// Where a node hears itself, on the server that has these partitions.
fn probe_channel(partitions: &[Partition], link: &Inner) -> String {
    let partition = partitions.first().copied().unwrap_or_else(nodes_partition);
    partition.key(&format!("node:{}", link.node))
}

/// Where all nodes hear what concerns all.
pub(super) fn nodes_channel() -> String {
    nodes_partition().key("nodes")
}

pub(super) fn nodes_partition() -> Partition {
    Partition::of(b"nodes")
}

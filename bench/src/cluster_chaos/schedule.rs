//! What is done to the servers, one thing after the other, drawn from the seed before anything starts.

use std::fmt;
use std::time::Duration;

use crate::chance::Chance;

/// Between two faults, in milliseconds.
const PAUSE_MS: (i64, i64) = (1_000, 4_000);
const DOWN_MS: (i64, i64) = (500, 5_000);
const REDIS_DOWN_MS: (i64, i64) = (0, 5_000);
const PARTITION_MS: (i64, i64) = (3_000, 10_000);
pub const REDIS_PAUSE: Duration = Duration::from_secs(3);
/// What a fault takes beside its own time: starting and recovering; and draining, for some clients are asleep.
const AROUND: Duration = Duration::from_secs(3);
const DRAIN: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As `kill -9` does, and started again.
    KillNode,
    /// It gets no time from the kernel, and does not know.
    StopNode,
    /// Killed, and it comes back empty.
    RestartRedis,
    /// Every subscriber is cut off by Redis.
    CutPubSub,
    /// It takes commands and answers none.
    PauseRedis,
    /// Stopped without a clean end, and started again.
    RestartPostgres,
    /// One node does not reach Redis.
    PartitionRedis,
    /// One node does not reach PostgreSQL.
    PartitionPostgres,
    /// A rolling deploy: asked to stop, and started again.
    DrainNode,
}

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    /// The place of the node that it is done to, where it is done to one.
    pub node: usize,
    /// How long all is well before.
    pub pause: Duration,
    pub lasts: Duration,
    /// Of its two ways the one in which nobody is told: connections hang instead of ending, Redis sleeps instead of
    /// holding back.
    pub is_silent: bool,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::KillNode,
        Self::StopNode,
        Self::RestartRedis,
        Self::CutPubSub,
        Self::PauseRedis,
        Self::RestartPostgres,
        Self::PartitionRedis,
        Self::PartitionPostgres,
        Self::DrainNode,
    ];

    /// As reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillNode => "kill_node",
            Self::StopNode => "stop_node",
            Self::RestartRedis => "restart_redis",
            Self::CutPubSub => "cut_pubsub",
            Self::PauseRedis => "pause_redis",
            Self::RestartPostgres => "restart_postgres",
            Self::PartitionRedis => "partition_redis",
            Self::PartitionPostgres => "partition_postgres",
            Self::DrainNode => "drain_node",
        }
    }

    fn draw_length(self, chance: &mut Chance, stop: Duration) -> Duration {
        let (shortest, longest) = match self {
            Self::StopNode => return stop,
            Self::PauseRedis => return REDIS_PAUSE,
            Self::CutPubSub | Self::RestartPostgres | Self::DrainNode => return Duration::ZERO,
            Self::KillNode => DOWN_MS,
            Self::RestartRedis => REDIS_DOWN_MS,
            Self::PartitionRedis | Self::PartitionPostgres => PARTITION_MS,
        };
        chance.wait_ms(shortest, longest)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, node, lasts, is_silent, .. } = self;
        write!(f, "{}", kind.name())?;
        match kind {
            Kind::KillNode | Kind::StopNode | Kind::DrainNode => write!(f, " {}", node + 1)?,
            Kind::PartitionRedis | Kind::PartitionPostgres => {
                write!(f, " of node {}, {}", node + 1, if *is_silent { "silent" } else { "cut" })?;
            }
            Kind::PauseRedis => f.write_str(if *is_silent { ", asleep" } else { ", held back" })?,
            Kind::RestartRedis | Kind::CutPubSub | Kind::RestartPostgres => {}
        }
        write!(f, " for {lasts:.1?}")
    }
}

/// Draws `count` faults on so many nodes, in rounds in which each kind comes once; a stopped node is stopped for `stop`.
pub fn draw(chance: &mut Chance, count: usize, nodes: usize, stop: Duration) -> Vec<Fault> {
    let mut faults = Vec::with_capacity(count);
    while faults.len() < count {
        let mut kinds = Kind::ALL;
        chance.shuffle(&mut kinds);
        faults.extend(kinds.into_iter().take(count - faults.len()).map(|kind| Fault {
            kind,
            node: chance.below(nodes),
            pause: chance.wait_ms(PAUSE_MS.0, PAUSE_MS.1),
            lasts: kind.draw_length(chance, stop),
            is_silent: chance.is_one_in(2),
        }));
    }
    faults
}

/// How long `faults` take, more or less.
pub fn length(faults: &[Fault]) -> Duration {
    let length = |fault: &Fault| {
        let around = if fault.kind == Kind::DrainNode { DRAIN } else { AROUND };
        fault.pause + fault.lasts + around
    };
    faults.iter().map(length).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Duration = Duration::from_secs(30);

    #[test]
    fn every_kind_comes_once_in_each_round() {
        let faults = draw(&mut Chance::new(1, 0), 45, 3, STOP);

        assert_eq!(faults.len(), 45);
        for round in faults.chunks(9) {
            for kind in Kind::ALL {
                assert_eq!(round.iter().filter(|fault| fault.kind == kind).count(), 1);
            }
        }
        assert!(faults.iter().all(|fault| fault.node < 3));
        for silent in [true, false] {
            let partitions = [Kind::PartitionRedis, Kind::PartitionPostgres];
            let mut partitions = faults.iter().filter(|fault| partitions.contains(&fault.kind));
            assert!(partitions.any(|fault| fault.is_silent == silent));
        }
    }

    #[test]
    fn a_seed_has_one_schedule_and_it_can_be_short() {
        let draw = |seed, count| draw(&mut Chance::new(seed, 0), count, 3, STOP);

        assert_eq!(draw(1, 20), draw(1, 20));
        assert_ne!(draw(1, 20), draw(2, 20));
        assert_eq!(draw(1, 20).len(), 20);
        assert_eq!(length(&draw(1, 0)), Duration::ZERO);
    }
}

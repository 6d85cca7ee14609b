//! The limits of all nodes together: one bucket in Redis for each limit of an address or a user.
//!
//! Whoever is let through by its node is asked about there, in one round trip. Invariant: where Redis does not answer,
//! what the node said stands.

use std::sync::LazyLock;

use redis::Script;

use super::limiter::{Allowance, Refused};
use crate::domain::gcra::Taken;
use crate::http::alone::Alone;
use crate::providers::redis::partition::Partition;
use crate::providers::redis::{Invocation, Redis};

static RATE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("rate.lua")));

pub(super) struct SharedLimiter {
    redis: Redis,
    alone: Alone,
}

impl SharedLimiter {
    pub(super) const fn new(redis: Redis) -> Self {
        Self { redis, alone: Alone::new("rate") }
    }

    /// Takes a call from each bucket of `whose`, until one refuses. `here` is what the node has left of each; gives the
    /// stricter of here and there.
    pub(super) async fn check<const LIMITS: usize>(
        &self,
        whose: String,
        here: [Allowance; LIMITS],
    ) -> Result<[Allowance; LIMITS], Refused> {
        // All of one caller in one partition: a script reaches no other.
        let partition = Partition::of(whose.as_bytes());
        let key =
            |allowance: &Allowance| partition.key(&format!("rate:{}:{whose}", allowance.name));
        let terms = |allowance: &Allowance| {
            let rate = allowance.rate;
            [rate.interval_us(), rate.tolerance_us()].map(|micros| micros.to_string().into_bytes())
        };
        let invocation = Invocation {
            script: &RATE,
            keys: here.iter().map(key).collect(),
            arguments: here.iter().flat_map(terms).collect(),
        };
        match self.redis.run::<Vec<u64>>(partition, invocation).await {
            Ok(answer) => strictest(here, &answer),
            Err(error) => {
                self.alone.note(&error);
                Ok(here)
            }
        }
    }
}

/// Reads an answer of the script: the time, then two numbers for each limit that was asked.
fn strictest<const LIMITS: usize>(
    mut here: [Allowance; LIMITS],
    answer: &[u64],
) -> Result<[Allowance; LIMITS], Refused> {
    let there = answer.get(1..).unwrap_or_default().chunks_exact(2);
    for (allowance, there) in here.iter_mut().zip(there) {
        let [is_allowed, ahead_us] = *there else { continue };
        let taken = Taken { is_allowed: is_allowed == 1, ahead_us };
        let rate = allowance.rate;
        if !taken.is_allowed {
            let allowance = Allowance { remaining: 0, ..*allowance };
            return Err(Refused { allowance, retry_after: rate.retry_after(taken.ahead_us) });
        }
        allowance.remaining = allowance.remaining.min(rate.remaining(taken.ahead_us));
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::domain::gcra::Rate;

    /// One a second, three at once.
    fn left(name: &'static str, remaining: u32) -> Allowance {
        let rate = Rate::new(NonZeroU32::MIN, NonZeroU32::new(3).unwrap());
        Allowance { name, rate, remaining }
    }

    #[tokio::test]
    async fn without_redis_the_word_of_the_node_stands() {
        let shared = SharedLimiter::new(Redis::default());
        let here = [left("ip", 2), left("auth", 1)];

        assert_eq!(shared.check("192.0.2.1".to_owned(), here).await.unwrap(), here);
    }

    #[test]
    fn the_stricter_of_here_and_there_is_told() {
        let here = [left("ip", 2), left("auth", 0)];

        let told = strictest(here, &[1, 1, 2_000_000, 1, 1_000_000]).unwrap();

        assert_eq!(told, [left("ip", 1), left("auth", 0)]);
    }

    #[test]
    fn a_refusal_there_says_how_long_to_wait() {
        let refused = strictest([left("user", 2)], &[1, 0, 2_400_000]).unwrap_err();

        assert_eq!(refused.allowance, left("user", 0));
        assert_eq!(refused.retry_after, Duration::from_millis(400));
    }
}

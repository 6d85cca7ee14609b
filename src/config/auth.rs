//! Settings of logins, tokens and password hashes.

use std::thread::available_parallelism;
use std::time::Duration;

use serde::Deserialize;

use super::Mode;
use super::problems::Problems;

/// The least argon2id memory that OWASP lists (7 MiB with 5 iterations).
const PRODUCTION_MEMORY_KIB_MIN: u32 = 7_168;

/// How people prove who they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    pub access_token_ttl_s: u64,
    pub refresh_token_ttl_s: u64,
    pub refresh_grace_ms: u64,
    pub issuer: String,
    pub audience: String,
    pub hash_memory_kib: u32,
    pub hash_iterations: u32,
    pub hash_parallelism: u32,
    /// As set; [`AuthConfig::hash_permits`] resolves 0.
    pub hash_concurrency: usize,
    pub hash_queue_max: usize,
}

impl AuthConfig {
    /// Hashes that may run at once: as many as cores unless set.
    #[must_use]
    pub fn hash_permits(&self) -> usize {
        match self.hash_concurrency {
            0 => available_parallelism().map_or(1, usize::from),
            permits => permits,
        }
    }

    /// `access_token_ttl_s` as a duration.
    #[must_use]
    pub const fn access_token_ttl(&self) -> Duration {
        Duration::from_secs(self.access_token_ttl_s)
    }

    /// `refresh_token_ttl_s` as a duration.
    #[must_use]
    pub const fn refresh_token_ttl(&self) -> Duration {
        Duration::from_secs(self.refresh_token_ttl_s)
    }

    /// `refresh_grace_ms` as a duration.
    #[must_use]
    pub const fn refresh_grace(&self) -> Duration {
        Duration::from_millis(self.refresh_grace_ms)
    }

    pub(super) fn validate(&self, mode: Mode, problems: &mut Problems) {
        problems.within("auth.access_token_ttl_s", self.access_token_ttl_s, 1..=900);
        problems.within("auth.refresh_token_ttl_s", self.refresh_token_ttl_s, 1..=366 * 86_400);
        problems.within("auth.refresh_grace_ms", self.refresh_grace_ms, 0..=60_000);
        problems.within("auth.hash_iterations", self.hash_iterations, 1..=1_000);
        problems.within("auth.hash_parallelism", self.hash_parallelism, 1..=64);
        problems.within("auth.hash_concurrency", self.hash_concurrency, 0..=1_024);
        problems.within("auth.hash_queue_max", self.hash_queue_max, 0..=100_000);

        // RFC 9106: eight blocks for each lane.
        let least = match mode {
            Mode::Development => self.hash_parallelism.saturating_mul(8),
            Mode::Production => PRODUCTION_MEMORY_KIB_MIN,
        };
        problems.within("auth.hash_memory_kib", self.hash_memory_kib, least..=4 * 1_024 * 1_024);

        for (key, value) in [("auth.issuer", &self.issuer), ("auth.audience", &self.audience)] {
            if value.is_empty() {
                problems.add(format!(
                    "`{key}` is empty, but tokens without it could be mistaken for others"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn an_access_token_may_not_live_longer_than_fifteen_minutes() {
        assert!(Config::read(None, [("MADANG__AUTH__ACCESS_TOKEN_TTL_S", "900")]).is_ok());
        assert!(Config::read(None, [("MADANG__AUTH__ACCESS_TOKEN_TTL_S", "901")]).is_err());
        assert!(Config::read(None, [("MADANG__AUTH__ACCESS_TOKEN_TTL_S", "0")]).is_err());
    }

    #[test]
    fn cheap_hashes_are_for_development_only() {
        let cheap = ("MADANG__AUTH__HASH_MEMORY_KIB", "64");

        assert!(Config::read(None, [cheap]).is_ok());
        assert!(Config::read(None, [cheap, ("MADANG__MODE", "production")]).is_err());
    }
}

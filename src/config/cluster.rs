//! Settings of the link between nodes.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::database::Backend;
use super::problems::Problems;

/// How nodes find one another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// As set, passwords included, so it is never printed; [`ClusterConfig::redis_urls`] are the addresses.
    pub redis_url: SecretString,
    pub redis_mode: RedisMode,
    pub sentinel_master: String,
}

/// How Redis is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisMode {
    Single,
    Cluster,
    Sentinel,
}

impl ClusterConfig {
    /// The addresses; none for a process that is alone.
    #[must_use]
    pub fn redis_urls(&self) -> Vec<SecretString> {
        let urls = self.redis_url.expose_secret().split(',').map(str::trim);
        urls.filter(|url| !url.is_empty()).map(SecretString::from).collect()
    }

    pub(super) fn validate(&self, backend: &Backend, problems: &mut Problems) {
        let urls = self.redis_urls();
        if urls.is_empty() {
            return;
        }
        if matches!(backend, Backend::Sqlite(_)) {
            problems.add(
                "`cluster.redis_url` is set, but SQLite serves one process only: use postgres:// to run several nodes",
            );
        }
        let is_redis = |url: &SecretString| {
            ["redis://", "rediss://"].iter().any(|scheme| url.expose_secret().starts_with(scheme))
        };
        // The value stays unsaid: it may hold a password.
        if !urls.iter().all(is_redis) {
            problems.add(
                "`cluster.redis_url` must hold addresses that start with redis:// or rediss://",
            );
        }
        if self.redis_mode == RedisMode::Single && urls.len() > 1 {
            problems.add(
                "`cluster.redis_url` holds several addresses, but `cluster.redis_mode` is \"single\"",
            );
        }
        if self.redis_mode == RedisMode::Sentinel && self.sentinel_master.is_empty() {
            problems.add("`cluster.sentinel_master` is empty, but sentinels are asked for a name");
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::{ExposeSecret as _, SecretString};

    use crate::config::Config;

    const POSTGRES: (&str, &str) = ("MADANG__DATABASE__URL", "postgres://db/madang");

    fn refusal(variables: &[(&str, &str)]) -> String {
        Config::read(None, variables.iter().copied()).unwrap_err().to_string()
    }

    #[test]
    fn redis_needs_a_database_that_several_processes_share() {
        let redis = ("MADANG__CLUSTER__REDIS_URL", "redis://:hunter2@cache");
        let embedded = refusal(&[redis]);
        assert!(embedded.contains("SQLite serves one process only"), "{embedded}");
        assert!(!embedded.contains("hunter2"));
        assert!(Config::read(None, [redis, POSTGRES]).is_ok());
    }

    #[test]
    fn addresses_are_separated_by_commas() {
        let urls = ("MADANG__CLUSTER__REDIS_URL", "redis://a, rediss://b:1 ,");
        let mode = ("MADANG__CLUSTER__REDIS_MODE", "cluster");
        let config = Config::read(None, [urls, mode, POSTGRES]).unwrap();
        let urls = config.cluster.redis_urls();
        let urls: Vec<&str> = urls.iter().map(SecretString::expose_secret).collect();
        assert_eq!(urls, ["redis://a", "rediss://b:1"]);
    }

    #[test]
    fn what_cannot_be_is_refused_without_its_password() {
        for (url, mode, word) in [
            ("mysql://:hunter2@a", "single", "must hold addresses"),
            ("redis://:hunter2@a,redis://b", "single", "several addresses"),
        ] {
            let url = ("MADANG__CLUSTER__REDIS_URL", url);
            let told = refusal(&[url, ("MADANG__CLUSTER__REDIS_MODE", mode), POSTGRES]);
            assert!(told.contains(word) && !told.contains("hunter2"), "{told}");
        }
    }
}

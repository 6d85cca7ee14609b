//! Settings of the external event bus.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::problems::Problems;

const PREFIX_CHARS_MAX: usize = 32;

/// Where domain events are published besides.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    pub kind: BusKind,
    /// May hold a password, so it is never printed.
    pub url: SecretString,
    pub prefix: String,
    pub max_len: u64,
    pub duplicate_window_s: u64,
}

/// What kind of bus it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum BusKind {
    /// There is none.
    #[serde(rename = "")]
    None,
    /// Redis Streams.
    #[serde(rename = "redis")]
    Redis,
    /// NATS `JetStream`.
    #[serde(rename = "nats")]
    Nats,
}

impl BusKind {
    const fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Redis => &["redis://", "rediss://"],
            Self::Nats => &["nats://", "tls://"],
        }
    }
}

impl BusConfig {
    /// `duplicate_window_s` as a duration.
    #[must_use]
    pub const fn duplicate_window(&self) -> Duration {
        Duration::from_secs(self.duplicate_window_s)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        self.validate_url(problems);
        let sane = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        let prefix = &self.prefix;
        if prefix.is_empty() || prefix.len() > PREFIX_CHARS_MAX || !prefix.chars().all(sane) {
            problems.add(format!(
                "`bus.prefix` is {prefix:?}, but must be 1 to {PREFIX_CHARS_MAX} small letters, digits, `_` or `-`"
            ));
        }
        problems.within("bus.max_len", self.max_len, 1_000..=1_000_000_000);
        problems.within("bus.duplicate_window_s", self.duplicate_window_s, 60..=604_800);
    }

    /// The value stays unsaid: it may hold a password.
    fn validate_url(&self, problems: &mut Problems) {
        let url = self.url.expose_secret();
        if self.kind == BusKind::None {
            if !url.is_empty() {
                problems.add("`bus.url` is set, but `bus.kind` is not: say \"redis\" or \"nats\"");
            }
            return;
        }
        let schemes = self.kind.schemes();
        let is_known = |url: &str| schemes.iter().any(|scheme| url.trim().starts_with(scheme));
        if !url.split(',').all(is_known) {
            problems.add(format!("`bus.url` must start with {}", schemes.join(" or ")));
        }
        if self.kind == BusKind::Redis && url.contains(',') {
            problems.add("`bus.url` names several servers, but Redis Streams are written to one");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{BusKind, Config, ConfigError};

    fn read(kind: &str, url: &str) -> Result<Config, ConfigError> {
        Config::read(None, [("MADANG__BUS__KIND", kind), ("MADANG__BUS__URL", url)])
    }

    #[test]
    fn there_is_no_bus_unless_one_is_chosen() {
        assert_eq!(read("", "").unwrap().bus.kind, BusKind::None);
        assert!(read("", "redis://cache").unwrap_err().to_string().contains("`bus.kind`"));
    }

    #[test]
    fn each_kind_of_bus_has_its_own_addresses() {
        for (kind, url) in [
            ("redis", "redis://:hunter2@cache:6379/1"),
            ("redis", "rediss://cache"),
            ("nats", "nats://app:hunter2@a:4222, nats://b"),
            ("nats", "tls://a"),
        ] {
            assert!(read(kind, url).is_ok(), "{kind} {url}");
        }
        for (kind, url) in [
            ("redis", ""),
            ("redis", "nats://hunter2@a"),
            ("redis", "redis://:hunter2@a,redis://b"),
            ("nats", "nats://hunter2@a,redis://b"),
            ("nats", "nats://hunter2@a,"),
        ] {
            let refusal = read(kind, url).unwrap_err().to_string();
            assert!(refusal.contains("`bus.url`") && !refusal.contains("hunter2"), "{refusal}");
        }
        let refusal = read("kafka", "kafka://a").unwrap_err().to_string();
        assert!(refusal.contains("`bus.kind`"), "{refusal}");
    }

    #[test]
    fn a_prefix_is_a_word_in_every_bus() {
        for prefix in ["", "a.b", "A", "a b", "a*", "{a}"] {
            let refusal = Config::read(None, [("MADANG__BUS__PREFIX", prefix)]).unwrap_err();
            assert!(refusal.to_string().contains("`bus.prefix`"), "{prefix}");
        }
    }

    #[test]
    fn a_printed_bus_shows_no_password() {
        let config = read("nats", "nats://app:hunter2@a").unwrap();

        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

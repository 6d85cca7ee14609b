//! Settings of everything that madang calls: how long it waits, and where addresses that users give may lead.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::list;
use super::problems::Problems;

/// How madang calls others over HTTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutwardConfig {
    #[serde(deserialize_with = "list::deserialize")]
    pub allowed_networks: Vec<IpNet>,
    #[serde(deserialize_with = "list::deserialize")]
    pub ports: Vec<u16>,
    pub connect_timeout_ms: u64,
    pub timeout_ms: u64,
    /// Empty: none besides those of the machine.
    pub root_certificates: PathBuf,
}

impl OutwardConfig {
    /// `connect_timeout_ms` as a duration.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// `timeout_ms` as a duration.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("outward.connect_timeout_ms", self.connect_timeout_ms, 50..=60_000);
        problems.within("outward.timeout_ms", self.timeout_ms, 50..=120_000);
        if self.ports.is_empty() || self.ports.contains(&0) {
            problems.add("`outward.ports` must name at least one port, and none of them 0");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn networks_and_ports_are_lists() {
        let config = Config::read(
            None,
            [
                ("MADANG__OUTWARD__ALLOWED_NETWORKS", "10.1.0.0/16, fd00::/8"),
                ("MADANG__OUTWARD__PORTS", "443,9443"),
            ],
        )
        .unwrap();

        assert_eq!(config.outward.allowed_networks.len(), 2);
        assert_eq!(config.outward.ports, [443, 9_443]);
    }

    #[test]
    fn no_port_at_all_is_a_mistake() {
        for ports in ["", "443,0"] {
            let refusal = Config::read(None, [("MADANG__OUTWARD__PORTS", ports)]).unwrap_err();
            assert!(refusal.to_string().contains("`outward.ports`"), "{refusal}");
        }
    }
}

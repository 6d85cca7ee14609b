//! Settings of the database, and which one they choose.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::problems::Problems;

const SQLITE_FILE: &str = "madang.db";

/// How the store reaches its database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// As set, password included; [`super::Config::backend`] says what it chooses.
    pub url: SecretString,
    pub readers: u32,
    pub connections_max: u32,
    pub acquire_timeout_ms: u64,
    pub group_commit_max: usize,
    pub group_commit_interval_ms: u64,
    pub write_queue_max: usize,
}

/// The chosen database. Printing it shows no password.
#[derive(Debug, Clone)]
pub enum Backend {
    /// The file of the embedded one.
    Sqlite(PathBuf),
    /// The URL of a server.
    Postgres(SecretString),
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite://{}", file.display()),
            Self::Postgres(url) => {
                write!(f, "postgres://{}", without_credentials(url.expose_secret()))
            }
        }
    }
}

impl DatabaseConfig {
    /// `acquire_timeout_ms` as a duration.
    #[must_use]
    pub const fn acquire_timeout(&self) -> Duration {
        Duration::from_millis(self.acquire_timeout_ms)
    }

    /// `group_commit_interval_ms` as a duration.
    #[must_use]
    pub const fn group_commit_interval(&self) -> Duration {
        Duration::from_millis(self.group_commit_interval_ms)
    }

    pub(super) fn backend(&self, data_dir: &Path) -> Backend {
        let url = self.url.expose_secret();
        if is_postgres(url) {
            return Backend::Postgres(self.url.clone());
        }
        match url.strip_prefix("sqlite://") {
            Some(file) => Backend::Sqlite(file.into()),
            None => Backend::Sqlite(data_dir.join(SQLITE_FILE)),
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        let url = self.url.expose_secret();
        match url.strip_prefix("sqlite://") {
            Some("" | ":memory:") => {
                problems.add("`database.url` names no file, but what is acknowledged must be kept");
            }
            Some(file) if file.contains('?') => {
                problems.add("`database.url` has options after `?`, but madang sets those of SQLite by itself");
            }
            Some(_) => {}
            None if url.is_empty() || is_postgres(url) => {}
            // The value stays unsaid: it may hold a password.
            None => {
                problems.add("`database.url` must be empty or start with sqlite:// or postgres://");
            }
        }

        problems.within("database.readers", self.readers, 1..=256);
        problems.within("database.connections_max", self.connections_max, 1..=1_000);
        problems.within("database.acquire_timeout_ms", self.acquire_timeout_ms, 10..=60_000);
        problems.within("database.group_commit_max", self.group_commit_max, 1..=16_384);
        problems.within(
            "database.group_commit_interval_ms",
            self.group_commit_interval_ms,
            0..=1_000,
        );
        problems.within("database.write_queue_max", self.write_queue_max, 1..=1_000_000);
    }
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Host, port and database name: neither user and password nor options, where a password may hide as well.
fn without_credentials(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Backend, Config};

    fn backend(url: &str) -> Backend {
        Config::read(None, [("MADANG__DATABASE__URL", url)]).unwrap().backend()
    }

    #[test]
    fn the_url_picks_the_backend() {
        assert!(
            matches!(backend(""), Backend::Sqlite(file) if file == Path::new("./data/madang.db"))
        );
        assert!(
            matches!(backend("sqlite:///var/m.db"), Backend::Sqlite(file) if file == Path::new("/var/m.db"))
        );
        assert!(matches!(backend("postgres://db/madang"), Backend::Postgres(_)));
        assert!(matches!(backend("postgresql://db/madang"), Backend::Postgres(_)));
    }

    #[test]
    fn a_printed_backend_keeps_only_host_and_name() {
        let url = "postgres://app:p@ss@db:5432/madang?password=hunter2";
        assert_eq!(backend(url).to_string(), "postgres://db:5432/madang");
    }

    #[test]
    fn a_database_that_forgets_is_refused() {
        for url in [
            "sqlite://",
            "sqlite://:memory:",
            "sqlite://m.db?mode=memory",
            "sqlite::memory:",
            "m.db",
        ] {
            assert!(Config::read(None, [("MADANG__DATABASE__URL", url)]).is_err(), "{url}");
        }
    }
}

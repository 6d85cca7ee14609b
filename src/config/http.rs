//! Settings of the HTTP listener.

use std::net::SocketAddr;
use std::thread::available_parallelism;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::list;
use super::problems::Problems;

/// How requests come in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    /// As set; [`HttpConfig::worker_count`] resolves 0.
    pub workers: usize,
    /// As set; [`HttpConfig::base_url`] resolves an empty one.
    pub public_url: String,
    /// Of use in development only.
    pub dev_outbox: bool,
    #[serde(deserialize_with = "list::deserialize")]
    pub trusted_proxies: Vec<IpNet>,
    /// Origins as browsers send them: scheme, host and port, no slash at the end.
    #[serde(deserialize_with = "list::deserialize")]
    pub cors_origins: Vec<String>,
    pub body_bytes_max: usize,
    pub request_timeout_ms: u64,
    pub header_timeout_ms: u64,
    pub keep_alive_s: u64,
    pub drain_window_s: u64,
    pub shutdown_timeout_s: u64,
}

impl HttpConfig {
    /// Worker threads: as many as cores unless set.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }

    /// Where clients reach the server, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        if self.public_url.is_empty() {
            return format!("http://{}", self.listen);
        }
        self.public_url.trim_end_matches('/').to_owned()
    }

    /// `request_timeout_ms` as a duration.
    #[must_use]
    pub const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// `header_timeout_ms` as a duration.
    #[must_use]
    pub const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// `keep_alive_s` as a duration.
    #[must_use]
    pub const fn keep_alive(&self) -> Duration {
        Duration::from_secs(self.keep_alive_s)
    }

    /// `drain_window_s` as a duration.
    #[must_use]
    pub const fn drain_window(&self) -> Duration {
        Duration::from_secs(self.drain_window_s)
    }

    /// `shutdown_timeout_s` as a duration.
    #[must_use]
    pub const fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.shutdown_timeout_s)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("http.workers", self.workers, 0..=1_024);
        problems.within("http.body_bytes_max", self.body_bytes_max, 1_024..=64 * 1_024 * 1_024);
        problems.within("http.request_timeout_ms", self.request_timeout_ms, 100..=600_000);
        problems.within("http.header_timeout_ms", self.header_timeout_ms, 100..=600_000);
        problems.within("http.keep_alive_s", self.keep_alive_s, 1..=3_600);
        problems.within("http.drain_window_s", self.drain_window_s, 0..=3_600);
        problems.within("http.shutdown_timeout_s", self.shutdown_timeout_s, 1..=3_600);

        if !self.public_url.is_empty() && host_of(&self.public_url).is_none() {
            let url = &self.public_url;
            problems.add(format!(
                "`http.public_url` is {url:?}, but must start with http:// or https:// and a host"
            ));
        }
        for origin in &self.cors_origins {
            if host_of(origin).is_none_or(|host| host.contains(['/', '*', '?', '#'])) {
                problems.add(format!(
                    "`http.cors_origins` has {origin:?}, but an origin is http:// or https://, a host and perhaps a port, \
                     such as https://app.example.com"
                ));
            }
        }
    }
}

/// What follows the scheme, if there is a scheme and something follows.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let sane = !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace);
    sane.then_some(rest)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn an_empty_public_url_is_made_from_the_listener() {
        let config = Config::read(None, [("MADANG__HTTP__LISTEN", "127.0.0.1:9000")]).unwrap();
        assert_eq!(config.http.base_url(), "http://127.0.0.1:9000");

        let config =
            Config::read(None, [("MADANG__HTTP__PUBLIC_URL", "https://chat.example.com/")])
                .unwrap();
        assert_eq!(config.http.base_url(), "https://chat.example.com");
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_no_more() {
        for origin in ["https://a.example", "http://localhost:5173"] {
            assert!(
                Config::read(None, [("MADANG__HTTP__CORS_ORIGINS", origin)]).is_ok(),
                "{origin}"
            );
        }
        for origin in [
            "*",
            "a.example",
            "https://*.example",
            "https://a.example/",
            "ws://a.example",
            "https://",
        ] {
            assert!(
                Config::read(None, [("MADANG__HTTP__CORS_ORIGINS", origin)]).is_err(),
                "{origin}"
            );
        }
    }
}

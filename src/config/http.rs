//! Settings of the HTTP listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
    /// Origins, as above.
    #[serde(deserialize_with = "list::deserialize")]
    pub image_origins: Vec<String>,
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

    /// What to open in a browser of this machine, where the server listens at `address`.
    #[must_use]
    pub fn local_url(&self, address: SocketAddr) -> String {
        if !self.public_url.is_empty() {
            return self.base_url();
        }
        let here: IpAddr = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(here, address.port()))
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
        let origins = [
            ("http.cors_origins", &self.cors_origins),
            ("http.image_origins", &self.image_origins),
        ];
        for (key, origins) in origins {
            for origin in origins.iter().filter(|origin| !is_origin(origin)) {
                problems.add(format!(
                    "`{key}` has {origin:?}, but an origin is http:// or https://, a host and perhaps a port, \
                     such as https://app.example.com"
                ));
            }
        }
    }
}

/// As browsers send it: names that are not ASCII are encoded (RFC 5890), and an address of IPv6 is in brackets.
fn is_origin(text: &str) -> bool {
    let is_letter = |letter: char| {
        letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | ':' | '[' | ']')
    };
    host_of(text).is_some_and(|host| host.chars().all(is_letter))
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
    fn a_server_that_listens_everywhere_is_opened_here() {
        let config = Config::read(None, [("MADANG__HTTP__LISTEN", "0.0.0.0:0")]).unwrap();
        let url = |address: &str| config.http.local_url(address.parse().unwrap());
        assert_eq!(url("0.0.0.0:9000"), "http://127.0.0.1:9000");
        assert_eq!(url("[::]:9000"), "http://[::1]:9000");
        assert_eq!(url("192.0.2.7:80"), "http://192.0.2.7:80");
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_no_more() {
        const KEYS: [&str; 2] = ["MADANG__HTTP__CORS_ORIGINS", "MADANG__HTTP__IMAGE_ORIGINS"];
        let is_fine = |key: &str, origin: &str| Config::read(None, [(key, origin)]).is_ok();

        for origin in ["https://a.example", "http://localhost:5173", "http://[::1]:5173"] {
            assert!(KEYS.iter().all(|key| is_fine(key, origin)), "{origin}");
        }
        for origin in [
            "*",
            "a.example",
            "https://*.example",
            "https://a.example/",
            "ws://a.example",
            "https://",
            "https://a.example;script-src",
            "https://a.example 'unsafe-inline'",
        ] {
            assert!(!KEYS.iter().any(|key| is_fine(key, origin)), "{origin}");
        }
    }
}

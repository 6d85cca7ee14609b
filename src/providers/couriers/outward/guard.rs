//! The guard: addresses that users give, such as those of webhooks, lead to the public internet and nowhere else.
//!
//! A literal address is checked as it stands; a name when it is resolved, and what was checked is what is connected to.
//! Invariant: no byte goes to an address that is neither public nor in `outward.allowed_networks`, whatever the URL
//! looks like, whatever the DNS says, and whenever it says something else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, RequestBuilder, Url};

use super::{OutwardError, builder, networks};
use crate::config::OutwardConfig;

/// Longer ones are refused by many servers, and nobody's memory is for them.
pub const URL_BYTES_MAX: usize = 2_048;

/// Why an address that a user gives is not called, in words for whoever gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("This is no address with a host.")]
    Invalid,
    #[error("An address has at most {URL_BYTES_MAX} bytes.")]
    TooLong,
    #[error("This is not an address that begins with https://.")]
    Scheme,
    #[error("An address has no user name and no password.")]
    Credentials,
    #[error("This port is not one that may be called.")]
    Port,
    #[error("This address lies in a network that is not public.")]
    Private,
}

/// No address of a host may be called. Found in the chain of a failed request's causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host has no address that may be called")]
pub(super) struct Closed;

/// Calls addresses that users give.
#[derive(Debug, Clone)]
pub struct Guard {
    allowed: Arc<[IpNet]>,
    ports: Arc<[u16]>,
    https: Client,
    /// For the networks of the setting, and for no address besides.
    http: Client,
}

impl Guard {
    /// # Errors
    /// [`OutwardError`] when no client can be made of the settings.
    pub fn new(config: &OutwardConfig) -> Result<Self, OutwardError> {
        let allowed: Arc<[IpNet]> = config.allowed_networks.as_slice().into();
        let client = |https_only| {
            let checking =
                CheckingResolver { allowed: Arc::clone(&allowed), public_too: https_only };
            builder(config, |client| client.https_only(https_only).dns_resolver(checking.clone()))
        };
        let (https, http) = (client(true)?, client(false)?);
        Ok(Self { allowed, ports: config.ports.as_slice().into(), https, http })
    }

    /// The URL as it will be called, if it is one that may be: see `[outward]` in the settings. Where a name leads is seen
    /// only when it is called.
    ///
    /// # Errors
    /// [`UrlError`], in words for whoever gave the address.
    pub fn check(&self, text: &str) -> Result<Url, UrlError> {
        check(text, &self.allowed, &self.ports)
    }

    /// Begins a POST to the address.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn post(&self, text: &str) -> Result<RequestBuilder, UrlError> {
        let url = self.check(text)?;
        let client = if url.scheme() == "https" { &self.https } else { &self.http };
        Ok(client.post(url))
    }
}

/// The URL as it will be called: over https:// to public addresses and the `ports`; in the `allowed` networks also over
/// http:// and to any port. Says nothing about a name's addresses, which may be others when it is called.
///
/// # Errors
/// [`UrlError`].
pub(super) fn check(text: &str, allowed: &[IpNet], ports: &[u16]) -> Result<Url, UrlError> {
    if text.len() > URL_BYTES_MAX {
        return Err(UrlError::TooLong);
    }
    let mut url = Url::parse(text).map_err(|_| UrlError::Invalid)?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(UrlError::Invalid)?;
    let is_https = match url.scheme() {
        "https" => true,
        "http" if !allowed.is_empty() => false,
        _ => return Err(UrlError::Scheme),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_allowed = literal.is_some_and(|address| is_in(allowed, address));
    let is_open = |address| is_allowed || is_https && networks::is_public(address);
    if literal.is_some_and(|address| !is_open(address)) {
        return Err(UrlError::Private);
    }
    // Over http:// there is nothing to reach but the networks of the setting.
    let port = url.port_or_known_default().ok_or(UrlError::Port)?;
    if is_https && !is_allowed && !ports.contains(&port) {
        return Err(UrlError::Port);
    }
    url.set_fragment(None);
    Ok(url)
}

/// The host that a URL leads to, with its port if that is unusual: what may be down for all that goes there.
#[must_use]
pub(crate) fn host_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.to_ascii_lowercase();
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

/// Resolves as the machine does, and gives only the addresses that may be called.
#[derive(Debug, Clone)]
struct CheckingResolver {
    allowed: Arc<[IpNet]>,
    public_too: bool,
}

impl CheckingResolver {
    fn may_be_called(&self, address: IpAddr) -> bool {
        is_in(&self.allowed, address) || self.public_too && networks::is_public(address)
    }
}

impl Resolve for CheckingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let checking = self.clone();
        Box::pin(async move {
            // The port comes from the URL; 0 says so.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let open: Vec<SocketAddr> =
                found.filter(|address| checking.may_be_called(address.ip())).collect();
            if open.is_empty() {
                return Err(Closed.into());
            }
            let open: Addrs = Box::new(open.into_iter());
            Ok(open)
        })
    }
}

fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn checker(networks: &'static str) -> impl Fn(&str) -> Result<Url, UrlError> {
        let config = Config::read(None, [("MADANG__OUTWARD__ALLOWED_NETWORKS", networks)]).unwrap();
        move |text| check(text, &config.outward.allowed_networks, &config.outward.ports)
    }

    fn resolver(networks: &str, public_too: bool) -> CheckingResolver {
        let allowed: Vec<IpNet> =
            networks.split_terminator(',').map(|n| n.parse().unwrap()).collect();
        CheckingResolver { allowed: allowed.into(), public_too }
    }

    #[test]
    fn public_addresses_over_https_are_called() {
        let check = checker("");

        for (given, called) in [
            ("https://example.com", "https://example.com/"),
            ("https://example.com:443/a?b=c#d", "https://example.com/a?b=c"),
            ("https://example.com:8443/hook", "https://example.com:8443/hook"),
            ("https://EXAMPLE.com./hook", "https://example.com./hook"),
            ("https://마당.example/hook", "https://xn--ok1b32k.example/hook"),
            ("https://8.8.8.8/hook", "https://8.8.8.8/hook"),
            ("https://[2606:4700:4700::1111]/hook", "https://[2606:4700:4700::1111]/hook"),
        ] {
            assert_eq!(check(given).map(String::from).as_deref(), Ok(called), "{given}");
        }
    }

    #[test]
    fn what_is_no_plain_public_url_is_refused_with_its_reason() {
        let check = checker("");
        let long = format!("https://example.com/{}", "a".repeat(URL_BYTES_MAX));

        for (given, reason) in [
            ("", UrlError::Invalid),
            ("example.com/hook", UrlError::Invalid),
            ("https://", UrlError::Invalid),
            ("https:///", UrlError::Invalid),
            ("https://exa mple.com/", UrlError::Invalid),
            ("https://1.2.3.256/", UrlError::Invalid),
            ("https://[::1", UrlError::Invalid),
            (long.as_str(), UrlError::TooLong),
            ("http://example.com/", UrlError::Scheme),
            ("http://127.0.0.1/", UrlError::Scheme),
            ("ftp://example.com/", UrlError::Scheme),
            ("gopher://example.com/", UrlError::Scheme),
            ("wss://example.com/", UrlError::Scheme),
            ("https://user@example.com/", UrlError::Credentials),
            ("https://user:hunter2@example.com/", UrlError::Credentials),
            ("https://:hunter2@example.com/", UrlError::Credentials),
            ("https://example.com:25/", UrlError::Port),
            ("https://example.com:80/", UrlError::Port),
            ("https://example.com:5432/", UrlError::Port),
            ("https://example.com:0/", UrlError::Port),
        ] {
            assert_eq!(check(given), Err(reason), "{given}");
        }
        for scheme in ["file:///etc/passwd", "data:text/plain,a", "javascript:alert(1)"] {
            assert!(check(scheme).is_err(), "{scheme}");
        }
    }

    #[test]
    fn a_private_address_is_found_however_it_is_written() {
        let check = checker("");

        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.0.1.",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "2130706433",
            "017700000001",
            "0",
            "0.0.0.0",
            "127。0。0。1",
            "127．0．0．1",
            "１２７.0.0.1",
            "①27.0.0.1",
            "%31%32%37.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "100.100.100.200",
            "192.168.0.1",
            "[::]",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:8.8.8.8]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[fd00:ec2::254]",
            "[fe80::1]",
        ] {
            let url = format!("https://{host}/latest/meta-data");
            assert_eq!(check(&url), Err(UrlError::Private), "{url}");
        }
    }

    #[test]
    fn networks_of_the_setting_are_open_over_http_too_and_on_any_port() {
        let check = checker("127.0.0.0/8,fd00::/8");

        for open in [
            "http://127.0.0.1:9000/hook",
            "https://127.0.0.1:9000/hook",
            "http://127.1/hook",
            "http://[fd00::1]:80/hook",
            // Where the name leads is seen when it is resolved.
            "http://localhost:9000/hook",
        ] {
            assert!(check(open).is_ok(), "{open}");
        }
        for (closed, reason) in [
            ("http://10.0.0.1/", UrlError::Private),
            ("http://8.8.8.8/", UrlError::Private),
            ("https://[::ffff:127.0.0.1]/", UrlError::Private),
            ("https://example.com:9000/", UrlError::Port),
            ("https://8.8.8.8:9000/", UrlError::Port),
        ] {
            assert_eq!(check(closed), Err(reason), "{closed}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_leads_nowhere() {
        let resolved = resolver("", true).resolve("localhost".parse().unwrap()).await;

        assert!(resolved.err().unwrap().is::<Closed>());
    }

    #[tokio::test]
    async fn a_name_that_leads_into_a_network_of_the_setting_is_resolved() {
        let resolved = resolver("127.0.0.0/8,::1/128", false).resolve("localhost".parse().unwrap());

        assert!(resolved.await.unwrap().all(|address| address.ip().is_loopback()));
    }

    #[test]
    fn over_http_not_even_a_public_address_is_open() {
        let public = "8.8.8.8".parse().unwrap();

        assert!(resolver("10.0.0.0/8", true).may_be_called(public));
        assert!(!resolver("10.0.0.0/8", false).may_be_called(public));
    }
}

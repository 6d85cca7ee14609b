//! Outward: how madang calls others over HTTP: clients with limits, and the guard for addresses that users give.
//!
//! Invariant: every call ends in time, follows no redirect, uses no proxy, and reads no more of an answer than it is
//! asked to.

pub mod guard;
mod networks;

use std::error::Error;
use std::sync::Once;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Response, redirect};

use crate::config::OutwardConfig;

use guard::Closed;

/// What is read of an answer at most: whatever is longer is none that is known.
pub const BODY_BYTES_MAX: usize = 64 * 1_024;
const USER_AGENT: &str = concat!("madang/", env!("CARGO_PKG_VERSION"));
/// An idle connection is kept this long for the next call.
const IDLE_MAX: Duration = Duration::from_secs(30);
const IDLE_PER_HOST_MAX: usize = 8;
/// How long the rest of an answer that matters to nobody is waited for, so that its connection can be used again.
const REST_MAX: Duration = Duration::from_millis(500);

/// Why calls cannot be made at all.
#[derive(Debug, thiserror::Error)]
pub enum OutwardError {
    #[error("`outward.root_certificates` cannot be used: {0}")]
    Certificates(String),
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}

/// Makes ring the one that encrypts, for every library that asks. Once for the process; more often does no harm.
pub fn install_tls() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::warn!("somebody else has chosen how TLS is done");
        }
    });
}

/// A client for addresses that the operator gives, which may lead anywhere.
///
/// # Errors
/// [`OutwardError`].
pub fn client(config: &OutwardConfig) -> Result<Client, OutwardError> {
    builder(config, |client| client)
}

/// A client with the limits of the house, further set up by `with`.
fn builder(
    config: &OutwardConfig,
    with: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, OutwardError> {
    install_tls();
    let roots = roots(config)?;
    let limited = || {
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(config.connect_timeout())
            .timeout(config.timeout())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX);
        with(client)
    };
    limited().tls_certs_merge(roots.clone()).build().or_else(|error| {
        // A machine without any root certificate can still serve; what it calls over TLS will fail.
        tracing::warn!(error = %cause(&error), "this machine has no root certificates: install ca-certificates");
        let client = limited().tls_certs_only(roots).build();
        client.map_err(|error| OutwardError::Client(cause(&error)))
    })
}

fn roots(config: &OutwardConfig) -> Result<Vec<Certificate>, OutwardError> {
    let path = &config.root_certificates;
    if path.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let told = |reason: String| OutwardError::Certificates(format!("{}: {reason}", path.display()));
    let pem = std::fs::read(path).map_err(|error| told(error.to_string()))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|error| told(cause(&error)))?;
    if roots.is_empty() {
        return Err(told("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}

/// Why a call got no answer, as far as it matters to somebody who reads about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The host leads nowhere that may be called.
    Closed,
    /// Its certificate is not believed.
    Certificate,
    /// There was nobody, or no such name.
    Nobody,
    /// It took too long. What was sent may have been taken.
    Late,
    /// The connection broke. What was sent may have been taken.
    Broken,
}

impl Silence {
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        if find::<Closed>(error).is_some() {
            return Self::Closed;
        }
        if let Some(rustls::Error::InvalidCertificate(_)) = find(error) {
            return Self::Certificate;
        }
        if error.is_timeout() {
            return Self::Late;
        }
        if error.is_connect() { Self::Nobody } else { Self::Broken }
    }
}

/// The whole body, unless it is longer than [`BODY_BYTES_MAX`]: then what came before.
///
/// # Errors
/// When the connection breaks, or time is up.
pub(crate) async fn read(response: Response) -> reqwest::Result<Vec<u8>> {
    Ok(match read_up_to(response, BODY_BYTES_MAX).await? {
        Body::Whole(body) | Body::Cut(body) => body,
    })
}

/// What was read of an answer.
pub(crate) enum Body {
    Whole(Vec<u8>),
    /// It is longer than that.
    Cut(Vec<u8>),
}

/// The body, up to so many bytes.
///
/// # Errors
/// When the connection breaks, or time is up.
pub(crate) async fn read_up_to(mut response: Response, bytes_max: usize) -> reqwest::Result<Body> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = bytes_max.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
        if chunk.len() > room {
            return Ok(Body::Cut(body));
        }
    }
    Ok(Body::Whole(body))
}

/// Drops an answer of which the status was enough, after its rest if that is there already.
pub(crate) async fn finish(response: Response) {
    // Nobody asks how it went: the answer has been given.
    let _ = tokio::time::timeout(REST_MAX, read(response)).await;
}

/// The error of type `E` behind this one.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // An I/O error hides what it was made of from `source`.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The innermost cause: the outer ones repeat the URL, which may be a secret.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

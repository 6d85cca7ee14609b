//! Calls of providers over HTTP: what every adapter has in common.
//!
//! Invariant: only a whole answer in time is one. Whatever else comes back (a broken connection, a redirect, a page of a
//! proxy, a body that is too long) says nothing about the money, and whoever called has to ask.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;

use super::OpenError;
use crate::config::Config;
use crate::domain::workflows::EffectKey;
use crate::providers::couriers::outward::{self, Body, OutwardError, Silence, read_up_to};

/// Every provider that knows our keys looks for them here.
const KEY_HEADER: &str = "Idempotency-Key";
/// What is read of an answer at most. A dispute comes with all that speaks against it, 150,000 characters and more.
const ANSWER_BYTES_MAX: usize = 1_024 * 1_024;
/// What a provider calls its error is no longer than this.
const CODE_CHARS_MAX: usize = 64;

/// A client with the limits of the house.
#[derive(Clone)]
pub(super) struct ProviderHttp {
    client: Client,
    timeout: Duration,
}

/// What a provider said.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) status: StatusCode,
    /// `Null` for a body that is no JSON.
    pub(super) body: Value,
}

impl ProviderHttp {
    pub(super) fn new(config: &Config) -> Result<Self, OutwardError> {
        let client = outward::client(&config.outward)?;
        Ok(Self { client, timeout: config.payments.timeout() })
    }

    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.client.request(Method::GET, url).timeout(self.timeout)
    }

    /// A call that changes something: once for the same key.
    pub(super) fn post(&self, url: Url, key: &EffectKey) -> RequestBuilder {
        let request = self.client.request(Method::POST, url).timeout(self.timeout);
        request.header(KEY_HEADER, key.as_str())
    }
}

impl Heard {
    /// Sends a request. The error is a sentence about why nobody knows what became of it.
    pub(super) async fn by(request: RequestBuilder) -> Result<Self, String> {
        let silent = |error: reqwest::Error| silence(&error).to_owned();
        let response = request.send().await.map_err(silent)?;
        let status = response.status();
        let body = match read_up_to(response, ANSWER_BYTES_MAX).await.map_err(silent)? {
            Body::Whole(body) => body,
            Body::Cut(_) => return Err("the provider's answer is too long".to_owned()),
        };
        Ok(Self { status, body: serde_json::from_slice(&body).unwrap_or_default() })
    }

    pub(super) fn is_refusal(&self) -> bool {
        self.status.is_client_error()
    }

    /// What the provider calls its error at `pointer`, if that is a plain word: a sentence could name somebody.
    pub(super) fn code(&self, pointer: &str) -> Option<&str> {
        let code = self.body.pointer(pointer)?.as_str()?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let fits = (1..=CODE_CHARS_MAX).contains(&code.len()) && code.chars().all(is_plain);
        fits.then_some(code)
    }

    /// A sentence about an answer that says nothing for certain; counts it by its code.
    pub(super) fn unclear(&self, code: Option<&str>) -> String {
        let status = self.status.as_u16();
        metrics::counter!(
            "madang_provider_unlisted_code_total",
            "code" => code.map_or_else(|| status.to_string(), str::to_owned),
        )
        .increment(1);
        match code {
            Some(code) => format!("the provider answered {status} {code}, which is no refusal"),
            None => format!("the provider answered {status}, which says nothing"),
        }
    }
}

/// The address that a setting gives.
pub(super) fn base(key: &'static str, url: &str) -> Result<Url, OpenError> {
    let url = url.parse::<Url>().ok().filter(|url| !url.cannot_be_a_base());
    url.ok_or(OpenError::Address(key))
}

/// The address of something below a base.
pub(super) fn at(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

fn silence(error: &reqwest::Error) -> &'static str {
    match Silence::of(error) {
        Silence::Closed => "the provider leads nowhere that may be called",
        Silence::Certificate => "the provider has a certificate that is not believed",
        Silence::Nobody => "the provider cannot be reached",
        Silence::Late => "the provider did not answer in time",
        Silence::Broken => "the provider broke off the connection",
    }
}

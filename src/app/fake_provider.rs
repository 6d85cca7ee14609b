//! The fake payment provider: served beside the node that uses it, or alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use reqwest::Url;

use crate::clock;
use crate::config::Config;
use crate::http::fake_provider::{self, Manners, SILENCE};
use crate::providers::couriers::outward;
use crate::providers::payments::Providers;
use crate::providers::payments::fake::diary::DiaryError;
use crate::providers::payments::fake::host::{Host, teller};

/// What it did, in the data folder of whoever serves it.
const DIARY: &str = "fake-provider.journal";
/// Where the node takes its webhooks.
const WEBHOOK_PATH: &str = "/v1/payments/webhooks/fake";

/// A provider that is served alone.
pub struct FakeProviderPlace {
    pub listen: SocketAddr,
    pub diary: PathBuf,
    /// Without it, nobody is told of anything.
    pub webhook_url: Option<Url>,
    pub manners: Manners,
}

/// Opens the providers of the settings for the node at `own`. Starts the fake one where it is used and nobody else serves
/// it: it lives as long as the system.
pub(super) fn open_providers(config: &Config, own: SocketAddr) -> anyhow::Result<Providers> {
    let mut own_fake = None;
    if config.payments.has_own_fake(config.is_production()) {
        if !config.cluster.redis_urls().is_empty() {
            tracing::warn!(
                "each node has a fake payment provider of its own: let `payments.fake.url` lead all of them to one"
            );
        }
        let place = FakeProviderPlace {
            listen: config.payments.fake.listen,
            diary: config.data.dir.join(DIARY),
            webhook_url: Some(format!("http://{}{WEBHOOK_PATH}", reachable(own)).parse()?),
            manners: Manners { silence: SILENCE },
        };
        let (address, server) = start(config, place)?;
        actix_rt::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the fake provider is no longer served");
            }
        });
        own_fake = Some(format!("http://{}", reachable(address)));
    }
    Ok(Providers::open(config, Arc::new(clock::now), own_fake.as_deref())?)
}

/// Serves the fake provider alone, until it is told to stop. Says where once it listens.
///
/// # Errors
/// When there is no such port, or the diary cannot be used.
pub fn serve_fake_provider(
    config: &Config,
    place: FakeProviderPlace,
    listening: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    actix_rt::System::new().block_on(async {
        let (address, server) = start(config, place)?;
        listening(address)?;
        let handle = server.handle();
        actix_rt::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                handle.stop(true).await;
            }
        });
        server.await.context("the fake provider cannot be served")
    })
}

fn start(
    config: &Config,
    place: FakeProviderPlace,
) -> anyhow::Result<(SocketAddr, actix_web::dev::Server)> {
    let FakeProviderPlace { listen, diary, webhook_url, manners } = place;
    let listener =
        TcpListener::bind(listen).with_context(|| format!("{listen} cannot be bound"))?;
    let host = open_host(&diary, config.payments.fake.fee_bps)?;
    if let Some(url) = webhook_url {
        let client = outward::client(&config.outward)?;
        actix_rt::spawn(teller::tell(host.clone(), client, url));
    }
    Ok(fake_provider::serve(listener, host, manners)?)
}

/// Opens the diary; while another process has it open, as one that is being replaced does, there is nobody behind the host.
fn open_host(diary: &Path, fee_bps: u16) -> anyhow::Result<Host> {
    let host = Host::default();
    let clock: crate::providers::payments::fake::Clock = Arc::new(clock::now);
    match host.open(diary, &clock, fee_bps) {
        Ok(()) => return Ok(host),
        Err(DiaryError::Taken) => {}
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be used", diary.display()));
        }
    }
    let (waiting, diary) = (host.clone(), diary.to_owned());
    actix_rt::spawn(async move {
        if let Err(error) = waiting.open_once_free(&diary, &clock, fee_bps).await {
            tracing::error!(%error, "there is no fake provider: its diary cannot be used");
        }
    });
    Ok(host)
}

/// An address that listens everywhere is reached on this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

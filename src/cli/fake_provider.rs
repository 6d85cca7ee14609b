//! `fake-provider`: the fake payment provider as a process of its own, which outlives whoever asks it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::Url;

use super::out;
use crate::app::fake_provider::{FakeProviderPlace, serve_fake_provider};
use crate::config::Config;
use crate::http::fake_provider::Manners;

/// Where it is, and whom it tells.
#[derive(Debug, Args)]
pub(super) struct FakeProviderArguments {
    /// Where it listens; port 0 takes a free one. The address is printed.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// The file with all that it did; it goes on from there.
    #[arg(long, default_value = "fake-provider.journal", value_name = "FILE")]
    journal: PathBuf,
    /// Where its webhooks go, such as <http://127.0.0.1:8080/v1/payments/webhooks/fake>.
    #[arg(long, value_name = "URL")]
    webhook_url: Option<Url>,
    /// How long a call that is not answered is held.
    #[arg(long, default_value_t = 30_000, value_name = "MILLISECONDS")]
    silence_ms: u64,
}

impl FakeProviderArguments {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            !config.is_production(),
            "the fake provider takes nobody's money: it is not for production"
        );
        let Self { listen, journal: diary, webhook_url, silence_ms } = self;
        let manners = Manners { silence: Duration::from_millis(silence_ms) };
        let place = FakeProviderPlace { listen, diary, webhook_url, manners };
        serve_fake_provider(config, place, |address| {
            Ok(out::say(format_args!("http://{address}"))?)
        })?;

        Ok(ExitCode::SUCCESS)
    }
}

//! The providers of this installation: the one that takes new payments, the one that pays out, and those that took
//! earlier ones.
//!
//! Invariant: a payment is asked about where it was made. Whoever is preferred today has nothing to do with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::PaymentProvider;
use super::fake::faults::Faults;
use super::fake::{Clock, FakeClient, FakeProvider, SOUND};
use super::measured::Measured;
use super::stripe::Stripe;
use super::toss::Toss;
use crate::config::Config;
use crate::domain::payments::ProviderName;
use crate::providers::couriers::outward::OutwardError;
use crate::secrets::SecretError;

/// Why a provider cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("`{0}` is no address")]
    Address(&'static str),
    #[error(transparent)]
    Outward(#[from] OutwardError),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Providers by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Providers {
    by_name: BTreeMap<&'static str, Arc<dyn PaymentProvider>>,
    preferred: Option<&'static str>,
    /// `None` where the preferred one does, if it can.
    paying_out: Option<&'static str>,
}

impl Providers {
    /// Opens those that the settings name. Nobody is connected to yet. `own_fake` is where this process serves the fake one
    /// by itself; without that and without `payments.fake.url` it is in memory.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: &Config, clock: Clock, own_fake: Option<&str>) -> Result<Self, OpenError> {
        let is_production = config.is_production();
        let mut providers = Self::default();
        for name in config.payments.used(is_production) {
            let provider: Arc<dyn PaymentProvider> = match name {
                ProviderName::Fake => open_fake(config, &clock, own_fake)?,
                ProviderName::Toss => Arc::new(Toss::open(config)?),
                ProviderName::Stripe => Arc::new(Stripe::open(config)?),
            };
            providers.add(provider);
        }
        providers.preferred = config.payments.preferred(is_production).map(ProviderName::as_str);
        Ok(providers)
    }

    /// One that does everything.
    #[must_use]
    pub fn of(provider: Arc<dyn PaymentProvider>) -> Self {
        let preferred = Some(provider.name());
        let mut providers = Self { preferred, ..Self::default() };
        providers.add(provider);
        providers
    }

    /// Adds one, in place of another of the same name. Its calls are timed.
    pub fn add(&mut self, provider: Arc<dyn PaymentProvider>) {
        self.by_name.insert(provider.name(), Arc::new(Measured(provider)));
    }

    /// Has users paid out by one of them, whoever takes payments.
    pub fn pay_out_by(&mut self, name: &'static str) {
        self.paying_out = Some(name);
    }

    /// The one that a payment was made with.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn PaymentProvider>> {
        self.by_name.get(name)
    }

    /// Everybody who is asked.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn PaymentProvider>> {
        self.by_name.values()
    }

    /// The one that takes new payments; `None` where nobody does.
    #[must_use]
    pub fn preferred(&self) -> Option<&Arc<dyn PaymentProvider>> {
        self.get(self.preferred?)
    }

    /// The one that pays users out; `None` where nobody does.
    #[must_use]
    pub fn paying_out(&self) -> Option<&Arc<dyn PaymentProvider>> {
        let provider = self.get(self.paying_out.or(self.preferred)?);
        provider.filter(|it| it.capabilities().has_payouts)
    }
}

fn open_fake(
    config: &Config,
    clock: &Clock,
    own: Option<&str>,
) -> Result<Arc<dyn PaymentProvider>, OpenError> {
    tracing::warn!("payments take nobody's money: the provider is the fake one");
    let set = Some(config.payments.fake.url.as_str()).filter(|url| !url.is_empty());
    Ok(match set.or(own) {
        Some(url) => Arc::new(FakeClient::new(config, url, SOUND)?),
        None => {
            let provider = FakeProvider::new(SOUND, Faults::by_amount(), Arc::clone(clock));
            Arc::new(provider.with_fee(config.payments.fake.fee_bps))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn open(settings: &[(&str, &str)]) -> Result<Providers, OpenError> {
        let config = Config::read(None, settings.iter().copied()).unwrap();
        Providers::open(&config, Arc::new(clock::now), None)
    }

    #[test]
    fn development_has_the_fake_one_and_production_none() {
        let providers = open(&[]).unwrap();
        assert_eq!(providers.preferred().unwrap().name(), "fake");
        assert!(providers.get("fake").is_some() && providers.get("toss").is_none());
        assert!(open(&[("MADANG__MODE", "production")]).unwrap().preferred().is_none());
    }

    #[test]
    fn a_provider_without_its_secret_is_not_opened() {
        for (name, variable) in [
            ("toss", "MADANG_SECRET_TOSS_SECRET_KEY"),
            ("stripe", "MADANG_SECRET_STRIPE_SECRET_KEY"),
        ] {
            let settings =
                [("MADANG__DATA__DIR", "/nonexistent"), ("MADANG__PAYMENTS__OTHERS", name)];
            let refusal = open(&settings).err().unwrap().to_string();
            assert!(refusal.contains(variable), "{refusal}");
        }
    }
}

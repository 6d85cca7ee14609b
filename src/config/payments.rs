//! Settings of payments: the currency, who moves the money, and where payers go.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::list;
use super::problems::Problems;
use super::wallets::{ReconciliationConfig, SettlementsConfig, WithdrawalsConfig};
use crate::domain::money::Currency;
use crate::domain::payments::ProviderName;
use crate::domain::payouts::BANK_FILE;
use crate::domain::workflows::CALL_MAX;

/// How payments are made. Keys of providers are the secrets `toss_secret_key`, `stripe_secret_key` and
/// `stripe_webhook_secret`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentsConfig {
    /// The only one that this installation deals in.
    pub currency: Currency,
    /// As set; [`PaymentsConfig::preferred`] resolves `None`.
    #[serde(deserialize_with = "one_or_none")]
    pub provider: Option<ProviderName>,
    /// Those with which payments were made before, and that are still looked after.
    #[serde(deserialize_with = "list::deserialize")]
    pub others: Vec<ProviderName>,
    #[serde(deserialize_with = "payouts")]
    pub payouts: Payouts,
    pub expires_minutes: u64,
    pub timeout_ms: u64,
    /// Empty: the provider's own page, where it has one.
    pub success_url: String,
    pub fail_url: String,
    pub withdrawals: WithdrawalsConfig,
    pub settlements: SettlementsConfig,
    pub reconciliation: ReconciliationConfig,
    pub fake: FakeConfig,
    pub toss: TossConfig,
    pub stripe: StripeConfig,
}

/// How users are paid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payouts {
    /// By whoever takes payments, if they can.
    Provider,
    /// By files that administrators carry to a bank.
    BankFile,
}

/// The fake provider: nobody's money.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FakeConfig {
    /// Empty: this process serves it by itself.
    pub url: String,
    pub listen: SocketAddr,
    /// Empty: where it listens.
    pub public_url: String,
    /// What it keeps of a charge, in hundredths of a percent.
    pub fee_bps: u16,
}

/// Toss Payments.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TossConfig {
    pub url: String,
    /// Known to every browser that pays.
    pub client_key: String,
    /// What was agreed that it keeps of a charge, in hundredths of a percent; 0 is not compared.
    pub fee_bps: u16,
}

/// Stripe.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StripeConfig {
    pub url: String,
    /// Known to every browser that pays.
    pub publishable_key: String,
    /// What was agreed that it keeps of a charge, in hundredths of a percent; 0 is not compared.
    pub fee_bps: u16,
}

impl PaymentsConfig {
    /// Who takes new payments; `None` where nobody does.
    #[must_use]
    pub fn preferred(&self, is_production: bool) -> Option<ProviderName> {
        self.provider.or_else(|| (!is_production).then_some(ProviderName::Fake))
    }

    /// Everybody who is asked, the preferred one first.
    #[must_use]
    pub fn used(&self, is_production: bool) -> Vec<ProviderName> {
        let mut used: Vec<ProviderName> = self.preferred(is_production).into_iter().collect();
        for name in &self.others {
            if !used.contains(name) {
                used.push(*name);
            }
        }
        used
    }

    /// Whether this process serves the fake provider by itself.
    #[must_use]
    pub fn has_own_fake(&self, is_production: bool) -> bool {
        self.fake.url.is_empty() && self.used(is_production).contains(&ProviderName::Fake)
    }

    /// What was agreed that a provider keeps of a charge; `None` where that is not compared.
    #[must_use]
    pub fn fee_bps(&self, provider: ProviderName) -> Option<u16> {
        let fee_bps = match provider {
            ProviderName::Fake => self.fake.fee_bps,
            ProviderName::Toss => self.toss.fee_bps,
            ProviderName::Stripe => self.stripe.fee_bps,
        };
        (fee_bps > 0).then_some(fee_bps)
    }

    /// `expires_minutes` as a duration.
    #[must_use]
    pub const fn expires_after(&self) -> Duration {
        Duration::from_mins(self.expires_minutes)
    }

    /// `timeout_ms` as a duration.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn validate(&self, is_production: bool, problems: &mut Problems) {
        problems.within("payments.expires_minutes", self.expires_minutes, 1..=24 * 60);
        // A step of a workflow is leased for 30 s: whoever takes it over must not find the call still on its way.
        let call_max = u64::try_from(CALL_MAX.as_millis()).unwrap_or(u64::MAX);
        problems.within("payments.timeout_ms", self.timeout_ms, 100..=call_max);
        self.withdrawals.validate(problems);
        self.settlements.validate(problems);
        self.reconciliation.validate(problems);
        for (key, fee_bps) in [
            ("payments.fake.fee_bps", self.fake.fee_bps),
            ("payments.toss.fee_bps", self.toss.fee_bps),
            ("payments.stripe.fee_bps", self.stripe.fee_bps),
        ] {
            problems.within(key, fee_bps, 0..=10_000);
        }
        let used = self.used(is_production);
        if is_production && used.contains(&ProviderName::Fake) {
            problems.add(
                "`payments.provider` or `payments.others` is \"fake\", which takes nobody's money: production must not use it",
            );
        }
        for (key, url) in [
            ("success_url", &self.success_url),
            ("fail_url", &self.fail_url),
            ("fake.url", &self.fake.url),
            ("fake.public_url", &self.fake.public_url),
        ] {
            if !url.is_empty() && !is_url(url) {
                problems.add(format!("`payments.{key}` must start with https:// or http://"));
            }
        }
        for (key, url, user) in [
            ("toss.url", &self.toss.url, ProviderName::Toss),
            ("stripe.url", &self.stripe.url, ProviderName::Stripe),
        ] {
            // The secret key goes there with every call.
            let is_safe = url.starts_with("https://") || !is_production && is_url(url);
            if used.contains(&user) && !is_safe {
                problems.add(format!(
                    "`payments.{key}` must start with https://; in development http:// will do"
                ));
            }
        }
        for (key, value, user) in [
            ("toss.client_key", &self.toss.client_key, ProviderName::Toss),
            ("stripe.publishable_key", &self.stripe.publishable_key, ProviderName::Stripe),
        ] {
            if self.preferred(is_production) == Some(user) && value.is_empty() {
                problems.add(format!("`payments.{key}` is empty, but payers need it to pay"));
            }
            // Browsers get it: a slip of the pen would publish the other one.
            if value.starts_with("sk_") || value.contains("_sk_") || value.starts_with("rk_") {
                problems
                    .add(format!("`payments.{key}` is a secret key, but every browser gets it"));
            }
        }
    }
}

fn one_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ProviderName>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(D::Error::custom)
}

fn payouts<'de, D: Deserializer<'de>>(from: D) -> Result<Payouts, D::Error> {
    let text = String::deserialize(from)?;
    match text.as_str() {
        "" => Ok(Payouts::Provider),
        BANK_FILE => Ok(Payouts::BankFile),
        other => Err(D::Error::custom(format!("{other:?} is neither \"bank_file\" nor \"\""))),
    }
}

fn is_url(url: &str) -> bool {
    ["https://", "http://"]
        .iter()
        .any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(None, settings.iter().copied())
    }

    fn used(settings: &[(&str, &str)]) -> Vec<&'static str> {
        let config = read(settings).unwrap();
        let used = config.payments.used(config.is_production());
        used.into_iter().map(ProviderName::as_str).collect()
    }

    #[test]
    fn development_plays_and_production_takes_no_payments_unless_it_is_told_how() {
        assert_eq!(used(&[]), ["fake"]);
        assert_eq!(used(&[("MADANG__MODE", "production")]), Vec::<&str>::new());
        assert!(read(&[]).unwrap().payments.has_own_fake(false));
        let elsewhere = [("MADANG__PAYMENTS__FAKE__URL", "http://127.0.0.1:8090")];
        assert!(!read(&elsewhere).unwrap().payments.has_own_fake(false));
    }

    #[test]
    fn users_are_paid_out_by_the_provider_unless_it_is_by_bank_file() {
        let payouts = |settings| read(settings).unwrap().payments.payouts;
        assert_eq!(payouts(&[]), Payouts::Provider);
        assert_eq!(payouts(&[("MADANG__PAYMENTS__PAYOUTS", "bank_file")]), Payouts::BankFile);
    }

    #[test]
    fn those_of_before_are_still_used() {
        let settings = [
            ("MADANG__PAYMENTS__PROVIDER", "toss"),
            ("MADANG__PAYMENTS__TOSS__CLIENT_KEY", "test_ck_1"),
            ("MADANG__PAYMENTS__OTHERS", "stripe, toss"),
        ];
        assert_eq!(used(&settings), ["toss", "stripe"]);
    }

    #[test]
    fn production_does_not_take_nobodys_money() {
        for key in ["MADANG__PAYMENTS__PROVIDER", "MADANG__PAYMENTS__OTHERS"] {
            let refusal = read(&[("MADANG__MODE", "production"), (key, "fake")]).unwrap_err();
            assert!(refusal.to_string().contains("`payments.provider`"), "{refusal}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, value, key) in [
            ("MADANG__PAYMENTS__CURRENCY", "won", "payments.currency"),
            ("MADANG__PAYMENTS__PROVIDER", "cash", "payments.provider"),
            ("MADANG__PAYMENTS__PAYOUTS", "cash", "payments.payouts"),
            ("MADANG__PAYMENTS__EXPIRES_MINUTES", "0", "payments.expires_minutes"),
            ("MADANG__PAYMENTS__TIMEOUT_MS", "30000", "payments.timeout_ms"),
            ("MADANG__PAYMENTS__FAKE__URL", "localhost", "payments.fake.url"),
            ("MADANG__PAYMENTS__SUCCESS_URL", "javascript:alert(1)", "payments.success_url"),
            ("MADANG__PAYMENTS__PROVIDER", "toss", "payments.toss.client_key"),
            ("MADANG__PAYMENTS__TOSS__CLIENT_KEY", "test_sk_1", "payments.toss.client_key"),
            ("MADANG__PAYMENTS__STRIPE__PUBLISHABLE_KEY", "sk_1", "payments.stripe.publishable"),
        ] {
            let refusal = read(&[(name, value)]).unwrap_err().to_string();
            assert!(refusal.contains(key), "{refusal}");
        }
    }
}

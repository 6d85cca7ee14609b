//! Settings of the delivery of letters: mails, text messages, push messages and webhooks.

use std::time::Duration;

use serde::Deserialize;

use super::problems::Problems;
use crate::domain::media::Medium;

/// How many letters are on their way at once, and how long what became of them is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryConfig {
    pub workers_mail: usize,
    pub workers_sms: usize,
    pub workers_push: usize,
    pub workers_webhook: usize,
    pub attempt_timeout_ms: u64,
    pub keep_days: u64,
}

impl DeliveryConfig {
    /// Letters of a medium that one node has on their way at once.
    #[must_use]
    pub const fn workers(&self, medium: Medium) -> usize {
        match medium {
            // Never leaves the house.
            Medium::Inbox => 0,
            Medium::Mail => self.workers_mail,
            Medium::Sms => self.workers_sms,
            Medium::Push => self.workers_push,
            Medium::Webhook => self.workers_webhook,
        }
    }

    /// `attempt_timeout_ms` as a duration.
    #[must_use]
    pub const fn attempt_timeout(&self) -> Duration {
        Duration::from_millis(self.attempt_timeout_ms)
    }

    /// `keep_days` as a duration.
    #[must_use]
    pub const fn keep(&self) -> Duration {
        Duration::from_hours(self.keep_days.saturating_mul(24))
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        for (key, workers) in [
            ("delivery.workers_mail", self.workers_mail),
            ("delivery.workers_sms", self.workers_sms),
            ("delivery.workers_push", self.workers_push),
            ("delivery.workers_webhook", self.workers_webhook),
        ] {
            problems.within(key, workers, 1..=256);
        }
        problems.within("delivery.attempt_timeout_ms", self.attempt_timeout_ms, 1_000..=120_000);
        // Longer than the longest that a letter is tried.
        problems.within("delivery.keep_days", self.keep_days, 7..=3_650);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::domain::media::Medium;

    #[test]
    fn every_medium_that_leaves_has_workers() {
        let config = Config::read(None, [("MADANG__DELIVERY__WORKERS_SMS", "3")]).unwrap();
        assert!(Medium::OUTWARD.iter().all(|medium| config.delivery.workers(*medium) > 0));
        assert_eq!(config.delivery.workers(Medium::Sms), 3);

        for key in ["WORKERS_MAIL", "ATTEMPT_TIMEOUT_MS", "KEEP_DAYS"] {
            let variable = format!("MADANG__DELIVERY__{key}");
            let refusal = Config::read(None, [(variable, "0")]).unwrap_err().to_string();
            let named = format!("`delivery.{}`", key.to_lowercase());
            assert!(refusal.contains(&named), "{refusal}");
        }
    }
}

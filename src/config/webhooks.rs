//! Settings of webhooks: how much may wait for one endpoint.

use serde::Deserialize;

use super::problems::Problems;

/// How much may wait for one endpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhooksConfig {
    pub queued_max: i64,
}

impl WebhooksConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("webhooks.queued_max", self.queued_max, 100..=1_000_000);
    }
}

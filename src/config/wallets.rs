//! Settings of wallets: what users may take out, and when payees get what they have earned.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::problems::Problems;
use crate::domain::money::AMOUNT_MAX;
use crate::domain::settlements::Terms;
use crate::domain::withdrawals::WithdrawalRules;

/// What users may take out, in minor units.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawalsConfig {
    pub amount_min: i64,
    pub amount_max: i64,
    pub per_day_count_max: i64,
    pub per_day_sum_max: i64,
    pub approved_up_to: i64,
    pub first_wait_hours: u64,
}

/// How payees get what they have earned.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettlementsConfig {
    pub business_days: u8,
    pub minimum: i64,
    pub withholding_bps: u16,
    pub auto_release_days: u16,
    /// Empty: the calendar that comes with this release.
    pub calendar: PathBuf,
}

/// How our books are held against those of providers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconciliationConfig {
    pub lag_minutes: u64,
    pub settled_within_days: u16,
}

impl ReconciliationConfig {
    /// `lag_minutes` as a duration.
    #[must_use]
    pub const fn lag(&self) -> Duration {
        Duration::from_mins(self.lag_minutes)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("payments.reconciliation.lag_minutes", self.lag_minutes, 0..=12 * 60);
        let days = self.settled_within_days;
        problems.within("payments.reconciliation.settled_within_days", days, 0..=60);
    }
}

impl WithdrawalsConfig {
    /// As the rules have it.
    #[must_use]
    pub const fn rules(&self) -> WithdrawalRules {
        WithdrawalRules {
            amount_min: self.amount_min,
            amount_max: self.amount_max,
            per_day_count_max: self.per_day_count_max,
            per_day_sum_max: self.per_day_sum_max,
            approved_up_to: self.approved_up_to,
            first_wait: Duration::from_hours(self.first_wait_hours),
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        let amounts = 1..=AMOUNT_MAX;
        problems.within("payments.withdrawals.amount_min", self.amount_min, amounts.clone());
        problems.within("payments.withdrawals.amount_max", self.amount_max, amounts.clone());
        problems.within("payments.withdrawals.per_day_sum_max", self.per_day_sum_max, amounts);
        let key = "payments.withdrawals.per_day_count_max";
        problems.within(key, self.per_day_count_max, 1..=1_000);
        problems.within("payments.withdrawals.approved_up_to", self.approved_up_to, 0..=AMOUNT_MAX);
        let key = "payments.withdrawals.first_wait_hours";
        problems.within(key, self.first_wait_hours, 0..=24 * 30);
    }
}

impl SettlementsConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("payments.settlements.business_days", self.business_days, 0..=60);
        problems.within("payments.settlements.minimum", self.minimum, 0..=AMOUNT_MAX);
        problems.within("payments.settlements.auto_release_days", self.auto_release_days, 0..=365);
        if Terms::new(0, self.withholding_bps).is_err() {
            problems.add("`payments.settlements.withholding_bps` is at most 10,000");
        }
    }
}

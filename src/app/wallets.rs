//! Wallets and settlements as a node has them: the key that seals bank accounts, the calendar, and the rules of the
//! settings.

use std::sync::Arc;

use anyhow::Context as _;

use super::seals::open_bank_seal;
use crate::actors::payments::bank_file::BankFile;
use crate::actors::payments::settlements::{SettlementRules, Settlements};
use crate::actors::payments::wallets::Wallets;
use crate::actors::workflow::engine::Clock;
use crate::config::{Config, Payouts};
use crate::domain::calendar::BusinessCalendar;
use crate::domain::payouts::BANK_FILE;
use crate::providers::payments::Providers;
use crate::store::Store;

/// Wallets, with the key that seals bank accounts.
///
/// # Errors
/// When there are bank accounts that this node could not open.
pub(super) async fn open_wallets(
    config: &Config,
    store: &Store,
    providers: &Providers,
    clock: &Clock,
) -> anyhow::Result<Wallets> {
    let seal = open_bank_seal(config, store).await?;
    let rules = config.payments.withdrawals.rules();
    let (store, providers, clock) = (store.clone(), providers.clone(), Arc::clone(clock));
    Ok(Wallets::new(store, providers, seal, rules, config.payments.currency, clock))
}

/// Adds the bank file to those who move money: what waits there is looked after, whatever the settings are by then.
pub(super) fn add_bank_file(
    config: &Config,
    store: &Store,
    mut providers: Providers,
    clock: &Clock,
) -> Providers {
    providers.add(Arc::new(BankFile::new(store.clone(), Arc::clone(clock))));
    if config.payments.payouts == Payouts::BankFile {
        providers.pay_out_by(BANK_FILE);
    }
    if providers.preferred().is_some() && providers.paying_out().is_none() {
        tracing::warn!(
            "nobody can take money out: the provider pays nobody, and `payments.payouts` is not \"bank_file\""
        );
    }
    providers
}

/// Settlements, with the calendar of the settings.
///
/// # Errors
/// When the calendar cannot be read.
pub(super) fn open_settlements(
    config: &Config,
    store: &Store,
    clock: &Clock,
) -> anyhow::Result<Settlements> {
    let settings = &config.payments.settlements;
    let calendar = read_calendar(config)?;
    let rules = SettlementRules {
        currency: config.payments.currency,
        business_days: settings.business_days,
        minimum: settings.minimum,
        withholding_bps: settings.withholding_bps,
        auto_release_days: settings.auto_release_days,
    };
    let settlements = Settlements::new(store.clone(), calendar, rules, Arc::clone(clock));
    settlements.look_at_calendar()?;
    Ok(settlements)
}

/// The calendar of the settings.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read_calendar(config: &Config) -> anyhow::Result<BusinessCalendar> {
    let file = &config.payments.settlements.calendar;
    if file.as_os_str().is_empty() {
        return Ok(BusinessCalendar::built_in()?);
    }
    let path = file.display();
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("the calendar {path} cannot be read"))?;
    BusinessCalendar::parse(&text).with_context(|| format!("the calendar {path}"))
}

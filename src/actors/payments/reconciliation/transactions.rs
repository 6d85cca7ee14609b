//! What a provider moved on a day: listed page by page and kept, then compared order by order.
//!
//! Two things are put right by looking again, and by nothing else: what was taken for a payment that is over is given
//! back, and what is still open here is looked up.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::Offset;

use super::super::PaymentsError;
use super::super::again::{LookAgain, Looked};
use super::{Failure, PAGE, PAGES_MAX, Reconciliation, Running, SILENT_MAX, endless, next_page};
use crate::domain::calendar::CalendarError;
use crate::domain::payments::Cause;
use crate::domain::reconciliation::matching::{Kind, Remote, Terms, reconcile};
use crate::domain::reconciliation::{Break, Bucket};
use crate::domain::time::Timestamp;
use crate::providers::payments::{RemoteKind, RemoteTransaction};
use crate::store::reconciliation::Ended;
use crate::store::reconciliation::sides::Own;

impl Reconciliation {
    pub(super) async fn compare_transactions(
        &self,
        running: &Running<'_>,
    ) -> Result<Ended, Failure> {
        let (from, until) = running.window()?;
        let rules = &self.0.rules;
        let remote_until = self.list_days(running, from.minus(rules.lag), until).await?;
        let terms = Terms {
            from,
            until,
            remote_until,
            local_until: self.now(),
            lag: rules.lag,
            fee_bps: rules.fees.get(&running.name).copied(),
            lists_chargebacks: running.provider.capabilities().lists_chargebacks,
        };
        let (store, provider) = (&self.0.store, running.name.as_str());
        let mut after = None;
        loop {
            let window = (from, until);
            let (orders, next) = store.list_listed_orders(provider, window, after, PAGE).await?;
            self.compare_orders(running, orders, &terms).await?;
            after = next;
            if after.is_none() {
                break;
            }
        }
        for own in Own::ALL {
            let mut after = None;
            loop {
                let window = (from, until);
                let (orders, next) =
                    store.list_own_orders(provider, own, window, after, PAGE).await?;
                self.compare_orders(running, orders, &terms).await?;
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(Ended::Whole)
    }

    /// Keeps what the provider lists for a time, and for as long after it as it may be late. Gives until when its list is whole.
    async fn list_days(
        &self,
        running: &Running<'_>,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Timestamp, Failure> {
        let began_at = self.now();
        let offset = Offset::constant(running.provider.capabilities().utc_offset_hours);
        let end = until.plus(self.0.rules.lag).min(began_at);
        let last = date_of(end.minus(Duration::from_millis(1)), offset)?;
        let mut day = date_of(from, offset)?;
        while day <= last {
            self.list_day(running, &day.to_string()).await?;
            day = day.tomorrow().map_err(|_| CalendarError::OutOfRange)?;
        }
        let whole = offset.to_timestamp(day.to_datetime(jiff::civil::Time::midnight()));
        let whole = whole.map_err(|_| CalendarError::OutOfRange)?.as_millisecond();
        Ok(Timestamp::from_millis(whole).min(began_at))
    }

    async fn list_day(&self, running: &Running<'_>, day: &str) -> Result<(), Failure> {
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = running.provider.list_transactions(day, cursor.as_deref()).await;
            let page = page.map_err(Failure::Unavailable)?;
            let lines = page.items.into_iter().map(movement).collect();
            self.stay(running).await?;
            let store = &self.0.store;
            store.keep_movements(running.lease, running.name.as_str(), lines).await?;
            cursor = next_page(cursor, page.next)?;
            if cursor.is_none() {
                return Ok(());
            }
        }
        Err(endless())
    }

    async fn compare_orders(
        &self,
        running: &Running<'_>,
        orders: Vec<String>,
        terms: &Terms,
    ) -> Result<(), Failure> {
        let orders: BTreeSet<String> = orders.into_iter().collect();
        if orders.is_empty() {
            return Ok(());
        }
        self.stay(running).await?;
        let mut found = self.compare(running, orders.into_iter().collect(), terms).await?;
        let mendable: Vec<Break> = found.iter().filter(|it| is_mendable(it)).cloned().collect();
        let mut looked = BTreeSet::new();
        for it in mendable {
            if running.silent.load(Ordering::Relaxed) >= SILENT_MAX {
                break;
            }
            if self.look_at(running, &it).await? {
                looked.insert(it.order);
            }
            self.stay(running).await?;
        }
        if !looked.is_empty() {
            let again = self.compare(running, looked.iter().cloned().collect(), terms).await?;
            let before = found.len();
            found.retain(|it| !looked.contains(&it.order));
            found.extend(again);
            let fixed = i64::try_from(before.saturating_sub(found.len())).unwrap_or_default();
            self.0.store.count_auto_fixed(running.lease, running.run, fixed).await?;
        }
        Ok(self.0.store.record_breaks(running.lease, running.run, found, self.now()).await?)
    }

    async fn compare(
        &self,
        running: &Running<'_>,
        orders: Vec<String>,
        terms: &Terms,
    ) -> Result<Vec<Break>, Failure> {
        let sides = self.0.store.list_sides(running.name.as_str(), orders).await?;
        Ok(reconcile(&sides.remote, &sides.local, &sides.booked, terms).breaks)
    }

    /// Has the payment looked at. Says whether anything came of it; a provider that does not answer is no reason to stop, and
    /// after a few times no more is asked of it.
    async fn look_at(&self, running: &Running<'_>, found: &Break) -> Result<bool, Failure> {
        let hint = LookAgain {
            order: Some(found.order.clone()),
            provider_key: found.remote_ref.clone(),
            cause: Cause::Sync,
        };
        let looked = self.0.payments.look_again(running.name, hint).await;
        if !matches!(looked, Err(PaymentsError::Unavailable(_))) {
            running.silent.store(0, Ordering::Relaxed);
        }
        match looked {
            Ok(looked) => Ok(matches!(looked, Looked::Changed)),
            Err(PaymentsError::Unavailable(_)) => {
                running.silent.fetch_add(1, Ordering::Relaxed);
                Ok(false)
            }
            Err(PaymentsError::Store(error)) => Err(error.into()),
            // A payment that cannot come on is a break, and others go on.
            Err(error) => {
                tracing::error!(%error, "a payment cannot be put right by itself");
                Ok(false)
            }
        }
    }
}

/// What is taken for a payment that is over, and what is still open here.
fn is_mendable(found: &Break) -> bool {
    match found.bucket {
        Bucket::MissingLocal => found.local_ref.is_some(),
        Bucket::Status => true,
        Bucket::MissingRemote
        | Bucket::Amount
        | Bucket::Duplicate
        | Bucket::Fee
        | Bucket::Timing
        | Bucket::Ledger => false,
    }
}

fn movement(line: RemoteTransaction) -> Remote {
    let kind = match line.kind {
        RemoteKind::Charge => Kind::Charge,
        // What a bank takes back goes the way of what we give back.
        RemoteKind::Cancel | RemoteKind::Chargeback => Kind::Refund,
        RemoteKind::PayOut => Kind::Payout,
    };
    let RemoteTransaction { provider_key, order, amount, fee, at, .. } = line;
    Remote { kind, order, key: provider_key, amount: amount.minor(), fee, at }
}

fn date_of(at: Timestamp, offset: Offset) -> Result<Date, CalendarError> {
    let at = jiff::Timestamp::from_millisecond(at.millis());
    Ok(offset.to_datetime(at.map_err(|_| CalendarError::OutOfRange)?).date())
}

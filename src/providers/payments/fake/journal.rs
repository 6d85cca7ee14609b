//! The list of what the fake provider did: every movement of money, those included that were not asked for.

use std::collections::VecDeque;

use jiff::civil::Date;
use jiff::tz::{self, Offset};

use crate::domain::money::Amount;
use crate::domain::reconciliation::matching::fee_of;
use crate::domain::time::Timestamp;
use crate::providers::payments::{
    RemoteKind, RemotePage, RemoteSettlement, RemoteTransaction, SettlementPage,
};

/// Movements that are kept; the oldest go.
const LINES_MAX: usize = 100_000;
const PAGE_MAX: usize = 100;
/// What it keeps of a charge unless it is told otherwise, in hundredths of a percent.
const FEE_BPS: u16 = 300;
/// Its days are those of Seoul.
const ZONE: Offset = tz::offset(9);

pub(super) struct Journal {
    /// Numbered from 1: a cursor stays right when the oldest go.
    lines: VecDeque<(u64, RemoteTransaction)>,
    last: u64,
    fee_bps: u16,
}

impl Default for Journal {
    fn default() -> Self {
        Self { lines: VecDeque::new(), last: 0, fee_bps: FEE_BPS }
    }
}

impl Journal {
    /// Keeps so much of every charge from now on.
    pub(super) const fn set_fee(&mut self, fee_bps: u16) {
        self.fee_bps = fee_bps;
    }

    pub(super) fn write(
        &mut self,
        kind: RemoteKind,
        provider_key: &str,
        order: &str,
        amount: Amount,
        at: Timestamp,
    ) {
        let fee = match kind {
            RemoteKind::Charge => fee_of(amount.minor(), self.fee_bps),
            RemoteKind::Cancel | RemoteKind::Chargeback | RemoteKind::PayOut => 0,
        };
        let (provider_key, order) = (provider_key.to_owned(), order.to_owned());
        self.last = self.last.saturating_add(1);
        let line = RemoteTransaction { provider_key, order, amount, kind, fee, at };
        self.lines.push_back((self.last, line));
        if self.lines.len() > LINES_MAX {
            self.lines.pop_front();
        }
    }

    /// A page of what it pays on a day: for what payers have moved on the day before.
    pub(super) fn settled(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<SettlementPage, String> {
        let before = day.parse::<Date>().ok().and_then(|day| day.yesterday().ok());
        let before = before.ok_or_else(|| "this is no day".to_owned())?;
        let page = self.page(Some(&before.to_string()), cursor)?;
        let settled = |line: RemoteTransaction| {
            let gross = match line.kind {
                RemoteKind::Charge => line.amount.minor(),
                RemoteKind::Cancel | RemoteKind::Chargeback => line.amount.minor().saturating_neg(),
                RemoteKind::PayOut => return None,
            };
            Some(RemoteSettlement {
                key: format!("settled-{}", line.provider_key),
                order: line.order,
                movement: line.provider_key,
                gross,
                fee: line.fee,
                net: gross.saturating_sub(line.fee),
            })
        };
        let items = page.items.into_iter().filter_map(settled).collect();
        Ok(SettlementPage { items, next: page.next })
    }

    /// Every movement for an order or a payout's reference, the oldest first.
    pub(super) fn of(&self, order: &str) -> Vec<RemoteTransaction> {
        let lines = self.lines.iter().map(|(_, line)| line);
        lines.filter(|line| line.order == order).cloned().collect()
    }

    /// A page of a day, or of all days.
    pub(super) fn page(
        &self,
        day: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<RemotePage, String> {
        let after: u64 = cursor
            .map_or(Ok(0), str::parse)
            .map_err(|_| "the cursor is none of the provider's".to_owned())?;
        let is_of_day = |at| day.is_none_or(|day| day_of(at) == day);
        let mut lines = self.lines.iter().filter(|(n, line)| *n > after && is_of_day(line.at));
        let page: Vec<&(u64, RemoteTransaction)> = lines.by_ref().take(PAGE_MAX).collect();
        let last = page.last().map(|(n, _)| n.to_string());
        let next = lines.next().and(last);
        Ok(RemotePage { items: page.into_iter().map(|(_, line)| line.clone()).collect(), next })
    }
}

/// The day of an instant at the provider, as `YYYY-MM-DD`.
pub(super) fn day_of(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map(|at| ZONE.to_datetime(at).date().to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_page_by_page_in_the_time_zone_of_the_provider() {
        let mut journal = Journal::default();
        let amount = Amount::new(1_000).unwrap();
        // 2026-11-22T14:59:59Z is the last second of that day in Seoul.
        let last = Timestamp::from_millis(1_795_359_599_000);
        for n in 0..250 {
            journal.write(RemoteKind::Charge, &format!("key-{n}"), "order", amount, last);
        }
        let next = Timestamp::from_millis(last.millis() + 1_000);
        journal.write(RemoteKind::Cancel, "key-c", "order", amount, next);

        let (mut keys, mut cursor) = (Vec::new(), None);
        loop {
            let page = journal.page(Some("2026-11-22"), cursor.as_deref()).unwrap();
            assert!(page.items.len() <= PAGE_MAX);
            assert!(page.items.iter().all(|it| it.fee == 30));
            keys.extend(page.items.into_iter().map(|it| it.provider_key));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(keys, (0..250).map(|n| format!("key-{n}")).collect::<Vec<_>>());
        assert_eq!(
            journal.page(Some("2026-11-23"), None).unwrap().items[0].kind,
            RemoteKind::Cancel
        );
        assert!(journal.page(Some("2026-11-23"), Some("x")).is_err());
    }

    #[test]
    fn the_oldest_movements_go() {
        let mut journal = Journal::default();
        let (amount, at) = (Amount::new(1).unwrap(), Timestamp::from_millis(0));
        for n in 0..=LINES_MAX {
            journal.write(RemoteKind::Charge, "key", &format!("order-{n}"), amount, at);
        }
        assert_eq!(journal.lines.len(), LINES_MAX);
        assert!(journal.of("order-0").is_empty());
        assert_eq!(journal.of("order-1").len(), 1);
    }
}

//! What a provider paid us on a day: each line is held against what it is for, and booked once.

use super::{Failure, PAGE, PAGES_MAX, Reconciliation, Running, endless, next_page};
use crate::domain::ledger::LedgerError;
use crate::domain::payments::postings::Place;
use crate::domain::reconciliation::matching::{Kind, Remote};
use crate::domain::reconciliation::settled::{SettledLine, judge};
use crate::domain::reconciliation::{Break, Bucket};
use crate::providers::payments::RemoteSettlement;
use crate::store::StoreError;
use crate::store::ledger::{BookError, book};
use crate::store::payments::attempts::find_attempt;
use crate::store::reconciliation::Ended;
use crate::store::reconciliation::found::close_booked;
use crate::store::reconciliation::listed::update_booked;

impl Reconciliation {
    pub(super) async fn compare_settlements(
        &self,
        running: &Running<'_>,
    ) -> Result<Ended, Failure> {
        if !running.provider.capabilities().has_settlements {
            return Ok(Ended::NotOffered);
        }
        let day = running.run.day.to_string();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = running.provider.list_settlements(&day, cursor.as_deref()).await;
            let page = page.map_err(Failure::Unavailable)?;
            let lines = page.items.into_iter().map(line).collect();
            self.settle_page(running, lines).await?;
            cursor = next_page(cursor, page.next)?;
            if cursor.is_none() {
                self.settle_left(running).await?;
                self.find_unpaid(running).await?;
                return Ok(Ended::Whole);
            }
        }
        Err(endless())
    }

    /// Books what was paid on other days for something that was listed only since. What still keeps it is a break already.
    async fn settle_left(&self, running: &Running<'_>) -> Result<(), Failure> {
        let (store, run) = (&self.0.store, running.run);
        let fee_bps = self.0.rules.fees.get(&running.name).copied();
        let mut after = String::new();
        loop {
            let left = store.list_unbooked(run, &after, PAGE).await?;
            let Some((last, _)) = left.last() else { return Ok(()) };
            after.clone_from(&last.key);
            let mut breaks = Vec::new();
            for (line, moved) in left {
                let (is_whole, found) = judge(&line, moved.as_ref(), fee_bps);
                if is_whole && self.book_line(running, &line, moved).await?.is_none() {
                    breaks.extend(found);
                }
                self.stay(running).await?;
            }
            store.record_breaks(running.lease, run, breaks, self.now()).await?;
        }
    }

    async fn settle_page(
        &self,
        running: &Running<'_>,
        lines: Vec<SettledLine>,
    ) -> Result<(), Failure> {
        self.stay(running).await?;
        let (store, run) = (&self.0.store, running.run);
        let fee_bps = self.0.rules.fees.get(&running.name).copied();
        let mut breaks = Vec::new();
        for (line, moved) in store.keep_settled(running.lease, run, lines).await? {
            let (is_whole, found) = judge(&line, moved.as_ref(), fee_bps);
            breaks.extend(found);
            if is_whole && let Some(found) = self.book_line(running, &line, moved).await? {
                breaks.push(found);
            }
            self.stay(running).await?;
        }
        Ok(store.record_breaks(running.lease, run, breaks, self.now()).await?)
    }

    /// Books a line that fits, where it is for a payment of ours. Gives what keeps it from that.
    async fn book_line(
        &self,
        running: &Running<'_>,
        line: &SettledLine,
        moved: Option<Remote>,
    ) -> Result<Option<Break>, Failure> {
        let Some(place) = self.place_of(running, line).await? else {
            let says = "it is paid for something that is no payment of ours";
            return Ok(Some(not_booked(line, Bucket::MissingLocal, moved.as_ref(), says)));
        };
        let (lease, now) = (running.lease.clone(), self.now());
        let (provider, settled) = (running.name.as_str(), line.clone());
        let booked: Result<(), BookError> = self
            .0
            .store
            .write(move |db| {
                Box::pin(async move {
                    lease.confirm(db).await?;
                    update_booked(db, provider, &settled.key).await?;
                    close_booked(db, provider, &settled.key, now).await?;
                    if let Some(entry) = place.settled(&settled) {
                        book(db, &entry, now).await?;
                    }
                    Ok(())
                })
            })
            .await;
        match booked {
            Ok(()) => Ok(None),
            Err(BookError::Ledger(LedgerError::KeyReused)) => {
                let says = "it was booked as something else, and the provider has changed it";
                Ok(Some(not_booked(line, Bucket::Amount, moved.as_ref(), says)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn place_of(
        &self,
        running: &Running<'_>,
        line: &SettledLine,
    ) -> Result<Option<Place>, Failure> {
        let (name, order) = (running.name, line.order.clone());
        let attempt = self
            .0
            .store
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move { find_attempt(db, name, Some(&order), None).await })
            })
            .await?;
        let Some(attempt) = attempt else { return Ok(None) };
        let payment = self.0.store.find_payment(attempt.payment).await?;
        Ok(payment.map(|payment| payment.place()))
    }

    /// Charges for which we should have been paid by the day of the run.
    async fn find_unpaid(&self, running: &Running<'_>) -> Result<(), Failure> {
        let days = self.0.rules.settled_within_days;
        if days == 0 {
            return Ok(());
        }
        let (from, until) = running.window()?;
        let back = super::DAY.saturating_mul(days.into());
        let window = (from.minus(back), until.minus(back));
        let mut after = None;
        loop {
            let (store, provider) = (&self.0.store, running.name.as_str());
            let unpaid = store.list_unpaid_charges(provider, window, after, PAGE).await?;
            self.stay(running).await?;
            after = unpaid.last().map(|it| (it.at, it.key.clone()));
            let breaks: Vec<Break> = unpaid.iter().map(not_paid).collect();
            if after.is_none() {
                return Ok(());
            }
            store.record_breaks(running.lease, running.run, breaks, self.now()).await?;
        }
    }
}

fn line(line: RemoteSettlement) -> SettledLine {
    let RemoteSettlement { key, order, movement, gross, fee, net } = line;
    SettledLine { key, order, movement, gross, fee, net }
}

fn not_booked(line: &SettledLine, bucket: Bucket, moved: Option<&Remote>, says: &str) -> Break {
    Break {
        bucket,
        subject: format!("settled:{}", line.key),
        order: line.order.clone(),
        local_ref: None,
        remote_ref: Some(line.movement.clone()),
        local_amount: moved.map(|it| if it.kind == Kind::Charge { it.amount } else { -it.amount }),
        remote_amount: Some(line.gross),
        says: says.to_owned(),
    }
}

fn not_paid(charge: &Remote) -> Break {
    Break {
        bucket: Bucket::MissingRemote,
        subject: format!("unpaid:{}", charge.key),
        order: charge.order.clone(),
        local_ref: None,
        remote_ref: Some(charge.key.clone()),
        local_amount: Some(charge.amount),
        remote_amount: None,
        says: "the provider has not paid us for it in time".to_owned(),
    }
}

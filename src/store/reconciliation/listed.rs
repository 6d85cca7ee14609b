//! What providers have listed: their movements and what they paid us, kept so that a day is compared by page, and found
//! again when it was listed on another day.

use serde_json::{Value, json};

use super::Run;
use crate::domain::reconciliation::matching::{Kind, Remote};
use crate::domain::reconciliation::settled::SettledLine;
use crate::domain::time::Timestamp;
use crate::store::leases::Lease;
use crate::store::{Db, Store, StoreError, execute, fetch_all};

pub(super) type RemoteRow = (String, String, String, i64, i64, i64);

/// `None` where a later release has written something that this one does not know.
pub(super) fn remote((kind, order, key, amount, fee, at): RemoteRow) -> Option<Remote> {
    let (kind, at) = (Kind::parse(&kind)?, Timestamp::from_millis(at));
    Some(Remote { kind, order, key, amount, fee, at })
}

/// Where a list of movements goes on: behind this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    at: i64,
    kind: String,
    key: String,
}

impl Store {
    /// Keeps a page of movements as the provider lists them now.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when somebody else reconciles.
    pub async fn keep_movements(
        &self,
        lease: &Lease,
        provider: &str,
        page: Vec<Remote>,
    ) -> Result<(), StoreError> {
        let (lease, provider) = (lease.clone(), provider.to_owned());
        self.write(move |db| {
            Box::pin(async move {
                lease.confirm(db).await?;
                keep(db, &provider, &page).await
            })
        })
        .await
    }

    /// Orders of which something was listed in a time, page by page; an order may come several times.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_listed_orders(
        &self,
        provider: &str,
        (from, until): (Timestamp, Timestamp),
        after: Option<Listed>,
        limit: i64,
    ) -> Result<(Vec<String>, Option<Listed>), StoreError> {
        let provider = provider.to_owned();
        let first = Listed { at: from.millis(), kind: String::new(), key: String::new() };
        let after = after.unwrap_or(first);
        let rows: Vec<(i64, String, String, String)> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (i64, String, String, String),
                        "SELECT at, kind, provider_key, order_ref FROM recon_movements
                         WHERE provider = $1 AND at < $2 AND (at, kind, provider_key) > ($3, $4, $5)
                         ORDER BY at, kind, provider_key
                         LIMIT $6",
                        provider,
                        until.millis(),
                        after.at,
                        after.kind,
                        after.key,
                        limit,
                    )
                })
            })
            .await?;
        let is_full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
        let last = rows.last().filter(|_| is_full);
        let next =
            last.map(|(at, kind, key, _)| Listed { at: *at, kind: kind.clone(), key: key.clone() });
        Ok((rows.into_iter().map(|(.., order)| order).collect(), next))
    }

    /// Keeps a page of what a provider paid us on a day. Gives those lines that are not booked yet, each with the movement
    /// that it is of, and the lines that are.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when somebody else reconciles.
    pub async fn keep_settled(
        &self,
        lease: &Lease,
        run: &Run,
        page: Vec<SettledLine>,
    ) -> Result<Vec<(SettledLine, Option<Remote>)>, StoreError> {
        let (lease, run) = (lease.clone(), run.clone());
        self.write(move |db| {
            Box::pin(async move {
                lease.confirm(db).await?;
                let mut kept = Vec::new();
                for line in page {
                    keep_line(db, &run, &line).await?;
                    let moved = find_movement(db, &run.provider, &line).await?;
                    kept.push((line, moved));
                }
                Ok(kept)
            })
        })
        .await
    }

    /// Lines that were paid on other days than that of a run and are not booked, each with the movement that it is of; those
    /// behind `after`, by their keys, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_unbooked(
        &self,
        run: &Run,
        after: &str,
        limit: i64,
    ) -> Result<Vec<(SettledLine, Option<Remote>)>, StoreError> {
        type LineRow = (String, String, String, i64, i64, i64);
        let (run, after) = (run.clone(), after.to_owned());
        self.read_snapshot(move |db| {
            Box::pin(async move {
                // By itself, SQLite goes through all lines there ever were.
                let select = db.dialect(
                    "SELECT line_key, order_ref, movement, gross, fee, net
                     FROM recon_settlements INDEXED BY recon_settlements_unbooked_idx
                     WHERE provider = $1 AND line_key > $2 AND is_booked = 0 AND paid_on <> $3
                     ORDER BY line_key
                     LIMIT $4",
                    "SELECT line_key, order_ref, movement, gross, fee, net
                     FROM recon_settlements
                     WHERE provider = $1 AND line_key > $2 AND is_booked = 0 AND paid_on <> $3
                     ORDER BY line_key
                     LIMIT $4",
                );
                let rows = fetch_all!(
                    db,
                    LineRow,
                    select,
                    run.provider.as_str(),
                    after,
                    run.day.to_string(),
                    limit,
                )?;
                let mut lines = Vec::new();
                for (key, order, movement, gross, fee, net) in rows {
                    let line = SettledLine { key, order, movement, gross, fee, net };
                    let moved = find_movement(db, &run.provider, &line).await?;
                    lines.push((line, moved));
                }
                Ok(lines)
            })
        })
        .await
    }

    /// Charges of a time for which a provider has not paid us, page by page.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_unpaid_charges(
        &self,
        provider: &str,
        (from, until): (Timestamp, Timestamp),
        after: Option<(Timestamp, String)>,
        limit: i64,
    ) -> Result<Vec<Remote>, StoreError> {
        let provider = provider.to_owned();
        let (at, key) = after.unwrap_or((from, String::new()));
        let rows: Vec<RemoteRow> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        RemoteRow,
                        "SELECT m.kind, m.order_ref, m.provider_key, m.amount, m.fee, m.at
                         FROM recon_movements m
                         WHERE m.provider = $1 AND m.at < $2 AND (m.at, m.provider_key) > ($3, $4)
                           AND m.kind = 'charge'
                           AND NOT EXISTS (SELECT 1 FROM recon_settlements s
                                           WHERE s.provider = m.provider
                                             AND s.movement = m.provider_key)
                         ORDER BY m.at, m.provider_key
                         LIMIT $5",
                        provider,
                        until.millis(),
                        at.millis(),
                        key,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().filter_map(remote).collect())
    }
}

async fn keep(db: &mut Db, provider: &str, page: &[Remote]) -> Result<(), StoreError> {
    let rows: Vec<Value> = page
        .iter()
        .map(|it| json!([it.kind.as_str(), it.key, it.order, it.amount, it.fee, it.at.millis()]))
        .collect();
    // A line that stands twice on a page is one.
    let insert = db.dialect(
        "INSERT INTO recon_movements (provider, kind, provider_key, order_ref, amount, fee, at)
         SELECT $2, j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, j.value ->> 4,
                j.value ->> 5
         FROM json_each($1) j
         WHERE TRUE
         ON CONFLICT (provider, kind, provider_key) DO UPDATE
         SET order_ref = excluded.order_ref, amount = excluded.amount, fee = excluded.fee,
             at = excluded.at",
        "INSERT INTO recon_movements (provider, kind, provider_key, order_ref, amount, fee, at)
         SELECT DISTINCT ON (j.value ->> 0, j.value ->> 1)
                $2, j.value ->> 0, j.value ->> 1, j.value ->> 2, (j.value ->> 3)::bigint,
                (j.value ->> 4)::bigint, (j.value ->> 5)::bigint
         FROM jsonb_array_elements($1::jsonb) j
         ON CONFLICT (provider, kind, provider_key) DO UPDATE
         SET order_ref = excluded.order_ref, amount = excluded.amount, fee = excluded.fee,
             at = excluded.at",
    );
    execute!(db, insert, json!(rows).to_string(), provider).map(|_| ())
}

async fn keep_line(db: &mut Db, run: &Run, line: &SettledLine) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO recon_settlements
             (provider, line_key, order_ref, movement, gross, fee, net, paid_on)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (provider, line_key) DO UPDATE
         SET gross = excluded.gross, fee = excluded.fee, net = excluded.net
         WHERE recon_settlements.is_booked = 0",
        run.provider.as_str(),
        line.key.as_str(),
        line.order.as_str(),
        line.movement.as_str(),
        line.gross,
        line.fee,
        line.net,
        run.day.to_string(),
    )
    .map(|_| ())
}

/// A charge and a refund may have the same key: the sign says which.
async fn find_movement(
    db: &mut Db,
    provider: &str,
    line: &SettledLine,
) -> Result<Option<Remote>, StoreError> {
    let rows = fetch_all!(
        db,
        RemoteRow,
        "SELECT kind, order_ref, provider_key, amount, fee, at FROM recon_movements
         WHERE provider = $1 AND provider_key = $2 AND order_ref = $3",
        provider,
        line.movement.as_str(),
        line.order.as_str(),
    )?;
    let is_it = |it: &Remote| (it.kind == Kind::Charge) == (line.gross >= 0);
    Ok(rows.into_iter().filter_map(remote).find(is_it))
}

/// Notes that a line is in the ledger.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn update_booked(db: &mut Db, provider: &str, line_key: &str) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE recon_settlements SET is_booked = 1 WHERE provider = $1 AND line_key = $2",
        provider,
        line_key,
    )
    .map(|_| ())
}

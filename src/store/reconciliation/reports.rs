//! Reports: what administrators are told of a day, written down once, clean or not.

use jiff::civil::Date;
use serde_json::{Value, from_str, json};

use super::{Run, RunRow};
use crate::clock;
use crate::domain::events::{DomainEvent, PAYMENT_EVENTS};
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, outbox};

/// A report as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub day: Date,
    pub body: Value,
    pub made_at: Timestamp,
}

/// What the provider owes us by its own lists, since they are kept: what it moved less what it paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    pub provider: String,
    pub moved: i64,
    pub settled: i64,
}

/// Payments of which nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnknownPayments {
    pub count: i64,
    /// Since when the oldest is so.
    pub since: Option<Timestamp>,
}

impl Store {
    /// Writes a report down, and tells of it: `ReconciliationReported`. Says whether it was the first of its day.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub async fn insert_report(
        &self,
        day: Date,
        body: Value,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| Box::pin(async move { insert(db, day, &body, now).await })).await
    }

    /// Whether a day has its report.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn has_report(&self, day: Date) -> Result<bool, StoreError> {
        let (count,) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let select = "SELECT COUNT(*) FROM recon_reports WHERE day = $1";
                    fetch_one!(db, (i64,), select, day.to_string())
                })
            })
            .await?;
        Ok(count > 0)
    }

    /// Reports of days before `before`, the latest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_reports(
        &self,
        before: Option<Date>,
        limit: i64,
    ) -> Result<Vec<Report>, StoreError> {
        // After every day that is written so.
        let before = before.map_or_else(|| "~".to_owned(), |day| day.to_string());
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT day, body, made_at FROM recon_reports
                         WHERE day < $1 ORDER BY day DESC LIMIT $2",
                        "SELECT day, body, made_at FROM recon_reports
                         WHERE day COLLATE \"C\" < $1 ORDER BY day COLLATE \"C\" DESC LIMIT $2",
                    );
                    fetch_all!(db, (String, String, i64), select, before, limit)
                })
            })
            .await?;
        let report = |(day, body, made_at): (String, String, i64)| {
            Ok(Report {
                day: day.parse().map_err(|_| StoreError::NotFound)?,
                body: from_str(&body).map_err(|_| StoreError::NotFound)?,
                made_at: Timestamp::from_millis(made_at),
            })
        };
        rows.into_iter().map(report).collect()
    }

    /// The runs of a day.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_runs_of(&self, day: Date) -> Result<Vec<Run>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        RunRow,
                        "SELECT id, provider, day, kind, status, pass, passes, matched,
                                matched_sum, remote, remote_sum, auto_fixed,
                                (SELECT COUNT(*) FROM recon_breaks b
                                 WHERE b.run_id = recon_runs.id AND b.status = 'open') AS breaks,
                                why, started_at, ended_at
                         FROM recon_runs
                         WHERE day = $1
                         ORDER BY provider, kind",
                        day.to_string(),
                    )
                })
            })
            .await?;
        rows.into_iter().map(RunRow::into_run).collect()
    }

    /// What providers owe us by their own lists.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_owed(&self) -> Result<Vec<Owed>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String, i64, i64),
                        "SELECT m.provider,
                                CAST(SUM(CASE WHEN m.kind = 'charge' THEN m.amount
                                              ELSE -m.amount END) AS BIGINT),
                                CAST(coalesce((SELECT SUM(s.gross) FROM recon_settlements s
                                               WHERE s.provider = m.provider), 0) AS BIGINT)
                         FROM recon_movements m
                         GROUP BY m.provider
                         ORDER BY m.provider",
                    )
                })
            })
            .await?;
        let owed = |(provider, moved, settled)| Owed { provider, moved, settled };
        Ok(rows.into_iter().map(owed).collect())
    }

    /// Payments of which nobody knows whether they were taken.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_unknown_payments(&self) -> Result<UnknownPayments, StoreError> {
        let (count, since): (i64, Option<i64>) = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    // Somebody takes care of each: the index has few rows.
                    fetch_one!(
                        db,
                        (i64, Option<i64>),
                        "SELECT COUNT(*), MIN(updated_at) FROM payments
                         WHERE under_way IS NOT NULL AND status = 'unknown'",
                    )
                })
            })
            .await?;
        Ok(UnknownPayments { count, since: since.map(Timestamp::from_millis) })
    }
}

async fn insert(db: &mut Db, day: Date, body: &Value, now: Timestamp) -> Result<bool, StoreError> {
    let inserted = execute!(
        db,
        "INSERT INTO recon_reports (day, body, made_at)
         VALUES ($1, $2, $3)
         ON CONFLICT (day) DO NOTHING",
        day.to_string(),
        body.to_string(),
        now.millis(),
    )?;
    if inserted == 0 {
        return Ok(false);
    }
    let mut data = json!({ "day": day.to_string() });
    if let (Some(data), Value::Object(said)) = (data.as_object_mut(), body) {
        data.extend(said.clone());
    }
    let event = DomainEvent {
        id: clock::new_uuid().into(),
        topic: PAYMENT_EVENTS,
        name: "ReconciliationReported",
        subject: day.to_string(),
        at: now,
        data,
    };
    outbox::append(db, &event).await?;
    Ok(true)
}

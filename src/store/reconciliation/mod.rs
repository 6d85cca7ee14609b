//! Reconciliation as rows: runs compare a day, [`left`] are days that nobody has compared, [`breaks`] what did not agree,
//! as it was [`found`], [`listed`] what providers say, [`sides`] what is compared, [`checks`] and [`seals`] the ledger
//! with itself, [`reports`] what is told of a day.
//!
//! Invariant: whoever writes for a run holds the lease of its provider, confirmed in the same transaction; a run that is
//! repeated finds its breaks again and makes no second ones.

pub mod breaks;
pub mod checks;
pub mod found;
pub mod left;
pub mod listed;
pub mod reports;
pub mod seals;
pub mod sides;

use std::time::Duration;

use jiff::civil::Date;
use serde_json::{Value, json};
use uuid::Uuid;

use self::found::{close_unfound, write_breaks};
use super::audit::{Deed, record};
use super::leases::Lease;
use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::clock;
use crate::domain::audit::{Action, Target};
use crate::domain::calendar::instant_of;
use crate::domain::ids::{ReconRunId, UserId};
use crate::domain::reconciliation::{Break, RunKind, RunStatus};
use crate::domain::time::Timestamp;

const DAY: Duration = Duration::from_hours(24);

/// A run as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub id: ReconRunId,
    pub provider: String,
    /// In Seoul.
    pub day: Date,
    pub kind: RunKind,
    pub status: RunStatus,
    /// Its latest life.
    pub(super) pass: Uuid,
    pub passes: i64,
    pub matched: i64,
    pub matched_sum: i64,
    pub remote: i64,
    pub remote_sum: i64,
    pub auto_fixed: i64,
    /// Those that are open.
    pub breaks: i64,
    /// Why it failed.
    pub why: Option<String>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct RunRow {
    id: Uuid,
    provider: String,
    day: String,
    kind: String,
    status: String,
    pass: Uuid,
    passes: i64,
    matched: i64,
    matched_sum: i64,
    remote: i64,
    remote_sum: i64,
    auto_fixed: i64,
    breaks: i64,
    why: Option<String>,
    started_at: i64,
    ended_at: Option<i64>,
}

impl RunRow {
    fn into_run(self) -> Result<Run, StoreError> {
        let status = RunStatus::parse(&self.status).ok_or(StoreError::NotFound)?;
        Ok(Run {
            id: self.id.into(),
            provider: self.provider,
            day: self.day.parse().map_err(|_| StoreError::NotFound)?,
            kind: RunKind::parse(&self.kind).ok_or(StoreError::NotFound)?,
            // Somebody may have closed its breaks since.
            status: match status {
                RunStatus::Breaks if self.breaks == 0 => RunStatus::Clean,
                status => status,
            },
            pass: self.pass,
            passes: self.passes,
            matched: self.matched,
            matched_sum: self.matched_sum,
            remote: self.remote,
            remote_sum: self.remote_sum,
            auto_fixed: self.auto_fixed,
            breaks: self.breaks,
            why: self.why,
            started_at: Timestamp::from_millis(self.started_at),
            ended_at: self.ended_at.map(Timestamp::from_millis),
        })
    }
}

/// How a run came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Everything was looked at: what was open and not found again is closed.
    Whole,
    NotOffered,
    /// A sentence without personal data.
    Failed(String),
}

impl Store {
    /// Begins a run, or begins it again; for somebody, or because it is its time.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when somebody else reconciles.
    pub async fn begin_run(
        &self,
        lease: &Lease,
        provider: &str,
        (day, kind): (Date, RunKind),
        by: Option<UserId>,
        now: Timestamp,
    ) -> Result<Run, StoreError> {
        let (lease, provider) = (lease.clone(), provider.to_owned());
        let row: RunRow = self
            .write(move |db| {
                Box::pin(async move {
                    lease.confirm(db).await?;
                    let row = fetch_one!(
                        db,
                        RunRow,
                        "INSERT INTO recon_runs
                             (id, provider, day, kind, status, pass, started_at)
                         VALUES ($1, $2, $3, $4, 'running', $5, $6)
                         ON CONFLICT (provider, day, kind) DO UPDATE
                         SET status = 'running', pass = excluded.pass,
                             passes = recon_runs.passes + 1, matched = 0, matched_sum = 0,
                             remote = 0, remote_sum = 0, auto_fixed = 0, why = NULL,
                             started_at = excluded.started_at, ended_at = NULL
                         RETURNING id, provider, day, kind, status, pass, passes, matched,
                                   matched_sum, remote, remote_sum, auto_fixed, breaks, why,
                                   started_at, ended_at",
                        clock::new_uuid(),
                        provider.as_str(),
                        day.to_string(),
                        kind.as_str(),
                        clock::new_uuid(),
                        now.millis(),
                    )?;
                    if let Some(by) = by {
                        asked_for(db, &row, by, now).await?;
                    }
                    Ok::<_, StoreError>(row)
                })
            })
            .await?;
        row.into_run()
    }

    /// Writes down what did not agree in a part of a run's day, and tells of what is new. A part may be looked at twice.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when somebody else has taken the run over.
    pub async fn record_breaks(
        &self,
        lease: &Lease,
        run: &Run,
        breaks: Vec<Break>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if breaks.is_empty() {
            return Ok(());
        }
        let (lease, run) = (lease.clone(), run.clone());
        self.write(move |db| {
            Box::pin(async move {
                lease.confirm(db).await?;
                write_breaks(db, &run, &breaks, now).await
            })
        })
        .await
    }

    /// Counts what a run has put right by itself.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn count_auto_fixed(
        &self,
        lease: &Lease,
        run: &Run,
        count: i64,
    ) -> Result<(), StoreError> {
        let (lease, id) = (lease.clone(), run.id);
        self.write(move |db| {
            Box::pin(async move {
                lease.confirm(db).await?;
                execute!(
                    db,
                    "UPDATE recon_runs SET auto_fixed = auto_fixed + $2 WHERE id = $1",
                    id.uuid(),
                    count,
                )
                .map(|_| ())
            })
        })
        .await
    }

    /// Ends a run.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when somebody else has taken it over.
    pub async fn end_run(
        &self,
        lease: &Lease,
        run: &Run,
        ended: Ended,
        now: Timestamp,
    ) -> Result<Run, StoreError> {
        let (lease, run) = (lease.clone(), run.clone());
        let row: RunRow = self
            .write(move |db| {
                Box::pin(async move {
                    lease.confirm(db).await?;
                    if ended == Ended::Whole {
                        close_unfound(db, &run, now).await?;
                    }
                    end(db, &run, &ended, now).await
                })
            })
            .await?;
        row.into_run()
    }

    /// The run of a day.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_run(
        &self,
        provider: &str,
        day: Date,
        kind: RunKind,
    ) -> Result<Option<Run>, StoreError> {
        let provider = provider.to_owned();
        let row = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        RunRow,
                        "SELECT id, provider, day, kind, status, pass, passes, matched,
                                matched_sum, remote, remote_sum, auto_fixed,
                                (SELECT COUNT(*) FROM recon_breaks b
                                 WHERE b.run_id = recon_runs.id AND b.status = 'open') AS breaks,
                                why, started_at, ended_at
                         FROM recon_runs
                         WHERE provider = $1 AND day = $2 AND kind = $3",
                        provider,
                        day.to_string(),
                        kind.as_str(),
                    )
                })
            })
            .await?;
        row.map(RunRow::into_run).transpose()
    }

    /// Runs from before `before`, those that began last first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_runs(
        &self,
        before: Option<ReconRunId>,
        limit: i64,
    ) -> Result<Vec<Run>, StoreError> {
        let before = before.map_or(Uuid::max(), ReconRunId::uuid);
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
                         WHERE id < $1
                         ORDER BY id DESC
                         LIMIT $2",
                        before,
                        limit,
                    )
                })
            })
            .await?;
        rows.into_iter().map(RunRow::into_run).collect()
    }
}

/// Writes down who has a day compared.
async fn asked_for(
    db: &mut Db,
    run: &RunRow,
    by: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let deed = Deed {
        by,
        action: Action::DayCompared,
        target: Target::Run(run.id.into()),
        reason: None,
        before: Value::Null,
        after: json!({ "provider": run.provider, "day": run.day, "kind": run.kind }),
    };
    record(db, &deed, now).await
}

async fn end(db: &mut Db, run: &Run, ended: &Ended, now: Timestamp) -> Result<RunRow, StoreError> {
    let (open,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM recon_breaks WHERE run_id = $1 AND status = 'open'",
        run.id.uuid(),
    )?;
    let (status, why) = match ended {
        Ended::Whole if open == 0 => (RunStatus::Clean, None),
        Ended::Whole => (RunStatus::Breaks, None),
        Ended::NotOffered => (RunStatus::NotOffered, None),
        Ended::Failed(why) => (RunStatus::Failed, Some(why.as_str())),
    };
    let counted = match ended {
        Ended::Whole => count(db, run).await?,
        Ended::NotOffered | Ended::Failed(_) => Counted::default(),
    };
    fetch_one!(
        db,
        RunRow,
        "UPDATE recon_runs
         SET status = $2, why = $3, breaks = $4, ended_at = $5, remote = $6, remote_sum = $7,
             matched = $8, matched_sum = $9
         WHERE id = $1
         RETURNING id, provider, day, kind, status, pass, passes, matched, matched_sum, remote,
                   remote_sum, auto_fixed, breaks, why, started_at, ended_at",
        run.id.uuid(),
        status.as_str(),
        why,
        open,
        now.millis(),
        counted.remote,
        counted.remote_sum,
        counted.matched,
        counted.matched_sum,
    )
}

#[derive(Default, sqlx::FromRow)]
struct Counted {
    remote: i64,
    remote_sum: i64,
    matched: i64,
    matched_sum: i64,
}

/// What a provider has listed for the day of a run, and how much of it has no break.
async fn count(db: &mut Db, run: &Run) -> Result<Counted, StoreError> {
    let day = |wait| instant_of(run.day, wait).map_err(|_| StoreError::NotFound);
    let (from, until) = (day(Duration::ZERO)?, day(DAY)?);
    match run.kind {
        RunKind::Transactions => fetch_one!(
            db,
            Counted,
            "SELECT COUNT(*) AS remote,
                    CAST(coalesce(SUM(m.moved), 0) AS BIGINT) AS remote_sum,
                    CAST(coalesce(SUM(m.fits), 0) AS BIGINT) AS matched,
                    CAST(coalesce(SUM(m.fits * m.moved), 0) AS BIGINT) AS matched_sum
             FROM (SELECT CASE WHEN l.kind = 'charge' THEN l.amount ELSE -l.amount END AS moved,
                          CASE WHEN EXISTS (SELECT 1 FROM recon_breaks b
                                            WHERE b.run_id = $1 AND b.pass = $2
                                              AND b.subject = l.kind || ':' || l.provider_key)
                               THEN 0 ELSE 1 END AS fits
                   FROM recon_movements l
                   WHERE l.provider = $3 AND l.at >= $4 AND l.at < $5) m",
            run.id.uuid(),
            run.pass,
            run.provider.as_str(),
            from.millis(),
            until.millis(),
        ),
        RunKind::Settlements => fetch_one!(
            db,
            Counted,
            "SELECT COUNT(*) AS remote, CAST(coalesce(SUM(net), 0) AS BIGINT) AS remote_sum,
                    CAST(coalesce(SUM(is_booked), 0) AS BIGINT) AS matched,
                    CAST(coalesce(SUM(is_booked * net), 0) AS BIGINT) AS matched_sum
             FROM recon_settlements
             WHERE provider = $1 AND paid_on = $2",
            run.provider.as_str(),
            run.day.to_string(),
        ),
        RunKind::Ledger => Ok(Counted::default()),
    }
}

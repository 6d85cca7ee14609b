//! The log: what became of every letter, for people to read; and dead letters, which they may replay.

use serde_json::json;
use uuid::Uuid;

use crate::domain::deliveries::DeliveryStatus;
use crate::domain::ids::{DeliveryId, UserId};
use crate::domain::media::Medium;
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError, execute, fetch_all, fetch_optional};

/// A letter as the log has it. What it says is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedDelivery {
    pub id: DeliveryId,
    pub medium: Medium,
    pub kind: String,
    pub user: Option<UserId>,
    pub seq: Option<Seq>,
    pub target: Option<Uuid>,
    pub status: DeliveryStatus,
    pub reason: Option<String>,
    pub provider: Option<String>,
    pub provider_id: Option<String>,
    pub attempts: i64,
    pub created_at: Timestamp,
    pub due_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// One attempt as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedAttempt {
    pub began_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// None while it lasts.
    pub outcome: Option<String>,
    pub detail: Option<String>,
}

/// Which letters; what is `None` may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    pub status: Option<DeliveryStatus>,
    pub medium: Option<Medium>,
    pub user: Option<UserId>,
    pub target: Option<Uuid>,
    pub kind: Option<String>,
}

/// Where the next page begins: below this time and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryCursor {
    pub created_at: Timestamp,
    pub id: DeliveryId,
}

/// Which dead letters are replayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadFilter {
    pub medium: Option<Medium>,
    pub kind: Option<String>,
    /// Wanted before then.
    pub before: Option<Timestamp>,
}

/// What came of replaying one letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    Queued(Medium),
    NotDead,
    Unknown,
}

/// How full the queue of a medium is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFigures {
    pub medium: Medium,
    pub queued: i64,
    /// When the letter that waits longest was due.
    pub oldest_due_at: Option<Timestamp>,
    pub dead: i64,
}

#[derive(sqlx::FromRow)]
struct LogRow {
    id: Uuid,
    medium: String,
    kind: String,
    user_id: Option<Uuid>,
    seq: Option<i64>,
    target_id: Option<Uuid>,
    status: String,
    reason: Option<String>,
    provider: Option<String>,
    provider_id: Option<String>,
    attempts: i64,
    created_at: i64,
    due_at: i64,
    finished_at: Option<i64>,
}

/// A page of the log. Each question that an index answers is a statement of its own: a condition that may be left out
/// uses none.
macro_rules! page {
    ($indexed:literal) => {
        concat!(
            "SELECT id, medium, kind, user_id, seq, target_id, status, reason, provider,
                    provider_id, attempts, created_at, due_at, finished_at
             FROM deliveries
             WHERE ",
            $indexed,
            " AND ($1 IS NULL OR status = $1) AND ($2 IS NULL OR medium = $2)
              AND ($3 IS NULL OR user_id = $3) AND ($4 IS NULL OR target_id = $4)
              AND ($5 IS NULL OR kind = $5)
              AND (created_at < $6 OR (created_at = $6 AND id < $7))
              ORDER BY created_at DESC, id DESC
              LIMIT $8"
        )
    };
}

/// Puts dead letters back into their queues at `$1`, as new; each keeps its id and its log.
macro_rules! replay {
    ($which:literal) => {
        concat!(
            "UPDATE deliveries
             SET status = 'queued', reason = NULL, provider_id = NULL, attempts = 0,
                 first_due_at = $1, due_at = $1, finished_at = NULL, owner = NULL,
                 fence = fence + 1, lease_until = 0
             WHERE status = 'dead' AND ",
            $which
        )
    };
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    began_at: i64,
    ended_at: Option<i64>,
    outcome: Option<String>,
    detail: Option<String>,
}

impl Store {
    /// Letters, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_deliveries(
        &self,
        filter: DeliveryFilter,
        after: Option<DeliveryCursor>,
        limit: i64,
    ) -> Result<Vec<LoggedDelivery>, StoreError> {
        let (created_at, id) = match after {
            Some(cursor) => (cursor.created_at.millis(), cursor.id.uuid()),
            None => (i64::MAX, Uuid::max()),
        };
        let rows: Vec<LogRow> = self
            .read(move |db| {
                Box::pin(async move {
                    let select = match &filter {
                        DeliveryFilter { target: Some(_), .. } => page!("target_id = $4"),
                        DeliveryFilter { user: Some(_), .. } => page!("user_id = $3"),
                        DeliveryFilter { status: Some(DeliveryStatus::Dead), .. } => {
                            page!("status = 'dead'")
                        }
                        _ => page!("created_at <= $6"),
                    };
                    fetch_all!(
                        db,
                        LogRow,
                        select,
                        filter.status.map(DeliveryStatus::as_str),
                        filter.medium.map(Medium::as_str),
                        filter.user.map(UserId::uuid),
                        filter.target,
                        filter.kind,
                        created_at,
                        id,
                        limit,
                    )
                })
            })
            .await?;
        rows.into_iter().map(LogRow::into_delivery).collect()
    }

    /// One letter and every attempt at it, in order, at most `attempts_max` of the latest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn get_delivery(
        &self,
        id: DeliveryId,
        attempts_max: i64,
    ) -> Result<(LoggedDelivery, Vec<LoggedAttempt>), StoreError> {
        let (row, mut attempts): (LogRow, Vec<AttemptRow>) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let row = fetch_optional!(
                        db,
                        LogRow,
                        "SELECT id, medium, kind, user_id, seq, target_id, status, reason, provider,
                                provider_id, attempts, created_at, due_at, finished_at
                         FROM deliveries
                         WHERE id = $1",
                        id.uuid(),
                    )?;
                    let attempts = fetch_all!(
                        db,
                        AttemptRow,
                        "SELECT began_at, ended_at, outcome, detail
                         FROM delivery_attempts
                         WHERE delivery_id = $1
                         ORDER BY fence DESC
                         LIMIT $2",
                        id.uuid(),
                        attempts_max,
                    )?;
                    Ok((row.ok_or(StoreError::NotFound)?, attempts))
                })
            })
            .await?;
        attempts.reverse();
        let attempts = attempts.into_iter().map(AttemptRow::into_attempt).collect();
        Ok((row.into_delivery()?, attempts))
    }

    /// Puts one dead letter back into its queue, as new; it keeps its id and its log.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn replay_delivery(
        &self,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Replayed, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let replayed = execute!(db, replay!("id = $2"), now.millis(), id.uuid(),)?;
                let found = fetch_optional!(
                    db,
                    (String,),
                    "SELECT medium FROM deliveries WHERE id = $1",
                    id.uuid(),
                )?;
                Ok(match found {
                    None => Replayed::Unknown,
                    Some(_) if replayed == 0 => Replayed::NotDead,
                    Some((medium,)) => Replayed::Queued(known_medium(&medium)?),
                })
            })
        })
        .await
    }

    /// Puts dead letters back into their queues, the oldest first, at most `limit`; gives how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn replay_deliveries(
        &self,
        filter: DeadFilter,
        limit: i64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    replay!(
                        "id IN (SELECT id FROM deliveries
                                WHERE status = 'dead' AND ($2 IS NULL OR medium = $2)
                                  AND ($3 IS NULL OR kind = $3) AND created_at < $4
                                ORDER BY created_at, id
                                LIMIT $5)"
                    ),
                    now.millis(),
                    filter.medium.map(Medium::as_str),
                    filter.kind,
                    filter.before.map_or(i64::MAX, Timestamp::millis),
                    limit,
                )
            })
        })
        .await
    }

    /// Forgets letters that ended before `before`, at most `limit`; gives how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_finished_deliveries(
        &self,
        before: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "DELETE FROM deliveries
                     WHERE finished_at IS NOT NULL AND id IN
                         (SELECT id FROM deliveries
                          WHERE finished_at < $1
                          ORDER BY finished_at
                          LIMIT $2)",
                    before.millis(),
                    limit,
                )
            })
        })
        .await
    }

    /// How full each queue is that leads out; counts up to `count_max` letters of each.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_queue_figures(
        &self,
        count_max: i64,
    ) -> Result<Vec<QueueFigures>, StoreError> {
        let media = json!(Medium::OUTWARD.map(Medium::as_str)).to_string();
        let rows: Vec<(String, i64, Option<i64>, i64)> = self
            .read(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT j.value,
                                (SELECT COUNT(*) FROM
                                    (SELECT 1 FROM deliveries d
                                     WHERE d.medium = j.value AND d.status = 'queued' LIMIT $2)),
                                (SELECT MIN(d.due_at) FROM deliveries d
                                 WHERE d.medium = j.value AND d.status = 'queued'),
                                (SELECT COUNT(*) FROM
                                    (SELECT 1 FROM deliveries d
                                     WHERE d.medium = j.value AND d.status = 'dead' LIMIT $2))
                         FROM json_each($1) j",
                        "SELECT j.value,
                                (SELECT COUNT(*) FROM
                                    (SELECT 1 FROM deliveries d
                                     WHERE d.medium = j.value AND d.status = 'queued'
                                     LIMIT $2) AS queued),
                                (SELECT MIN(d.due_at) FROM deliveries d
                                 WHERE d.medium = j.value AND d.status = 'queued'),
                                (SELECT COUNT(*) FROM
                                    (SELECT 1 FROM deliveries d
                                     WHERE d.medium = j.value AND d.status = 'dead'
                                     LIMIT $2) AS dead)
                         FROM jsonb_array_elements_text($1::jsonb) j",
                    );
                    fetch_all!(db, (String, i64, Option<i64>, i64), select, media, count_max)
                })
            })
            .await?;
        let figures = |(medium, queued, oldest, dead): (String, i64, Option<i64>, i64)| {
            let oldest_due_at = oldest.map(Timestamp::from_millis);
            Ok(QueueFigures { medium: known_medium(&medium)?, queued, oldest_due_at, dead })
        };
        rows.into_iter().map(figures).collect()
    }
}

fn known_medium(word: &str) -> Result<Medium, StoreError> {
    Medium::parse(word).ok_or(StoreError::NotFound)
}

impl LogRow {
    fn into_delivery(self) -> Result<LoggedDelivery, StoreError> {
        Ok(LoggedDelivery {
            id: self.id.into(),
            medium: known_medium(&self.medium)?,
            kind: self.kind,
            user: self.user_id.map(Into::into),
            seq: self.seq,
            target: self.target_id,
            status: DeliveryStatus::parse(&self.status).ok_or(StoreError::NotFound)?,
            reason: self.reason,
            provider: self.provider,
            provider_id: self.provider_id,
            attempts: self.attempts,
            created_at: Timestamp::from_millis(self.created_at),
            due_at: Timestamp::from_millis(self.due_at),
            finished_at: self.finished_at.map(Timestamp::from_millis),
        })
    }
}

impl AttemptRow {
    fn into_attempt(self) -> LoggedAttempt {
        LoggedAttempt {
            began_at: Timestamp::from_millis(self.began_at),
            ended_at: self.ended_at.map(Timestamp::from_millis),
            outcome: self.outcome,
            detail: self.detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;
    use crate::clock;
    use crate::config::Config;

    /// How SQLite finds a page. PostgreSQL decides by what is in the table, and is offered the same indexes.
    macro_rules! plan {
        ($store:expr, $page:expr) => {{
            let steps: Result<Vec<(i64, i64, i64, String)>, StoreError> = $store
                .read(|db| {
                    Box::pin(async move {
                        fetch_all!(
                            db,
                            (i64, i64, i64, String),
                            concat!("EXPLAIN QUERY PLAN ", $page),
                            None::<&str>,
                            None::<&str>,
                            Uuid::nil(),
                            Uuid::nil(),
                            None::<&str>,
                            i64::MAX,
                            Uuid::max(),
                            50_i64,
                        )
                    })
                })
                .await;
            steps.unwrap().into_iter().map(|(.., step)| step).collect::<Vec<_>>().join("; ")
        }};
    }

    #[tokio::test]
    async fn what_is_asked_for_is_found_by_an_index() {
        let data = std::env::temp_dir().join(format!("madang-log-{}", clock::new_uuid()));
        std::fs::create_dir_all(&data).unwrap();
        let config = Config::read(None, [("MADANG__DATA__DIR", data.to_str().unwrap())]).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();

        for (plan, index) in [
            (plan!(store, page!("target_id = $4")), "deliveries_target_id_idx (target_id="),
            (plan!(store, page!("user_id = $3")), "deliveries_user_id_idx (user_id="),
            (plan!(store, page!("status = 'dead'")), "deliveries_dead_idx"),
            (plan!(store, page!("created_at <= $6")), "deliveries_created_at_idx"),
        ] {
            assert!(plan.contains(index), "{plan}");
        }
        store.close().await;
        let _ = std::fs::remove_dir_all(&data);
    }
}

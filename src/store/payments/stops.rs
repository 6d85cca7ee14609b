//! Stops: providers that take nothing new for now.
//!
//! Invariant: whoever takes something new asks in the transaction that begins it: a stop holds on every node as soon as it
//! is committed, and after every start.

use uuid::Uuid;

use serde_json::json;

use crate::domain::audit::{Action, Target};
use crate::domain::ids::UserId;
use crate::domain::payments::ProviderName;
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::audit::{Deed, record};
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one};

/// A provider that takes nothing new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderStop {
    pub provider: ProviderName,
    pub at: Timestamp,
    pub by: UserId,
    pub reason: String,
}

/// How many payments of a provider nobody knows the end of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCount {
    pub provider: ProviderName,
    pub count: i64,
    /// Since when the one that has waited for longest has not changed.
    pub oldest: Option<Timestamp>,
}

/// Whether a provider takes nothing new.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_stopped(db: &mut Db, provider: ProviderName) -> Result<bool, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM provider_stops WHERE provider = $1 AND stopped_at IS NOT NULL",
        provider.as_str(),
    )?;
    Ok(count > 0)
}

impl Store {
    /// Lets a provider take nothing new. Says whether that is new.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn stop_provider(
        &self,
        provider: ProviderName,
        by: UserId,
        reason: Reason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let stopped = execute!(
                    db,
                    "INSERT INTO provider_stops
                         (provider, stopped_at, stopped_by, reason, updated_at)
                     VALUES ($1, $2, $3, $4, $2)
                     ON CONFLICT (provider) DO UPDATE
                     SET stopped_at = excluded.stopped_at, stopped_by = excluded.stopped_by,
                         reason = excluded.reason, updated_at = excluded.updated_at
                     WHERE provider_stops.stopped_at IS NULL",
                    provider.as_str(),
                    now.millis(),
                    by.uuid(),
                    reason.as_str(),
                )?;
                if stopped > 0 {
                    let who = (by, Action::ProviderStopped);
                    record(db, &deed(provider, who, &reason), now).await?;
                }
                Ok(stopped > 0)
            })
        })
        .await
    }

    /// Lets a provider take payments again. Says whether that is new.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn start_provider(
        &self,
        provider: ProviderName,
        by: UserId,
        reason: Reason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let started = execute!(
                    db,
                    "UPDATE provider_stops
                     SET stopped_at = NULL, stopped_by = NULL, reason = NULL, updated_at = $2
                     WHERE provider = $1 AND stopped_at IS NOT NULL",
                    provider.as_str(),
                    now.millis(),
                )?;
                if started > 0 {
                    let who = (by, Action::ProviderStarted);
                    record(db, &deed(provider, who, &reason), now).await?;
                }
                Ok(started > 0)
            })
        })
        .await
    }

    /// Providers that take nothing new.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_provider_stops(&self) -> Result<Vec<ProviderStop>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String, i64, Uuid, String),
                        "SELECT provider, stopped_at, stopped_by, reason FROM provider_stops
                         WHERE stopped_at IS NOT NULL
                         ORDER BY provider",
                    )
                })
            })
            .await?;
        let stop = |(provider, at, by, reason): (String, i64, Uuid, String)| {
            Some(ProviderStop {
                provider: ProviderName::parse(&provider)?,
                at: Timestamp::from_millis(at),
                by: by.into(),
                reason,
            })
        };
        Ok(rows.into_iter().filter_map(stop).collect())
    }

    /// How many payments of each provider nobody knows the end of: those that are unknown, confirming or conflicted.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count_open_payments(&self) -> Result<Vec<OpenCount>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String, i64, Option<i64>),
                        "SELECT provider, COUNT(*), MIN(updated_at) FROM payments
                         WHERE status IN ('unknown', 'confirming', 'conflicted')
                         GROUP BY provider
                         ORDER BY provider",
                    )
                })
            })
            .await?;
        let count = |(provider, count, oldest): (String, i64, Option<i64>)| {
            let oldest = oldest.map(Timestamp::from_millis);
            Some(OpenCount { provider: ProviderName::parse(&provider)?, count, oldest })
        };
        Ok(rows.into_iter().filter_map(count).collect())
    }
}

fn deed(provider: ProviderName, (by, action): (UserId, Action), reason: &Reason) -> Deed<'_> {
    let is_stopped = matches!(action, Action::ProviderStopped);
    Deed {
        by,
        action,
        target: Target::Provider(provider),
        reason: Some(reason),
        before: json!({ "is_stopped": !is_stopped }),
        after: json!({ "is_stopped": is_stopped }),
    }
}

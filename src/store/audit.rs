//! The audit: who did what by hand, to what, why, and what it was before and after. It began with money, hence its table.
//!
//! Invariant: a line is written by [`record`], in the transaction of the deed, and never changed; a trigger sees to it.

use serde_json::Value;
use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all};
use crate::clock;
use crate::domain::audit::{Action, Area, Target};
use crate::domain::ids::{DeedId, UserId};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;

/// Something that somebody does.
#[derive(Debug, Clone)]
pub struct Deed<'d> {
    pub by: UserId,
    pub action: Action,
    pub target: Target,
    /// `None` where nobody is asked for one.
    pub reason: Option<&'d Reason>,
    /// Without keys of providers and numbers of bank accounts.
    pub before: Value,
    pub after: Value,
}

/// A line as somebody looks at it.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenDeed {
    pub id: DeedId,
    pub by: UserId,
    /// Such as `money`; a later release may know more of them, and of what follows.
    pub area: String,
    /// Such as `wallet_frozen`; a later release may know more of them.
    pub action: String,
    /// Such as `wallet:<id>`.
    pub target: String,
    pub reason: Option<String>,
    pub before: Value,
    pub after: Value,
    pub at: Timestamp,
}

/// Which lines are looked for.
#[derive(Debug, Clone, Default)]
pub struct DeedFilter {
    pub by: Option<UserId>,
    pub target: Option<String>,
    pub area: Option<Area>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    actor_id: Uuid,
    area: String,
    action: String,
    target: String,
    reason: Option<String>,
    before: String,
    after: String,
    at: i64,
}

impl From<Row> for SeenDeed {
    fn from(row: Row) -> Self {
        let value = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        Self {
            id: row.id.into(),
            by: row.actor_id.into(),
            area: row.area,
            action: row.action,
            target: row.target,
            reason: row.reason,
            before: value(&row.before),
            after: value(&row.after),
            at: Timestamp::from_millis(row.at),
        }
    }
}

/// Writes a deed down, in the transaction in which it is done.
///
/// # Errors
/// [`StoreError`] when the database refuses; the deed must not be done then.
pub async fn record(db: &mut Db, deed: &Deed<'_>, now: Timestamp) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO money_audit (id, actor_id, area, action, target, reason, before, after, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        clock::new_uuid(),
        deed.by.uuid(),
        deed.action.area().as_str(),
        deed.action.as_str(),
        deed.target.to_string(),
        deed.reason.map(Reason::as_str),
        deed.before.to_string(),
        deed.after.to_string(),
        now.millis(),
    )
    .map(|_| ())
}

impl Store {
    /// Lines from before `before`, the newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_audit(
        &self,
        filter: DeedFilter,
        before: Option<DeedId>,
        limit: i64,
    ) -> Result<Vec<SeenDeed>, StoreError> {
        let before = before.map_or(Uuid::max(), DeedId::uuid);
        let by = filter.by.map_or(Uuid::nil(), UserId::uuid);
        let target = filter.target.unwrap_or_default();
        let area = filter.area.map_or("", Area::as_str);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    // Each walks along an index of its own.
                    let select = match (target.is_empty(), by.is_nil(), area.is_empty()) {
                        (false, ..) => {
                            "SELECT id, actor_id, area, action, target, reason, before, after, at
                             FROM money_audit
                             WHERE target = $1 AND id < $2 AND ($3 = $4 OR actor_id = $3)
                               AND ($5 = '' OR area = $5)
                             ORDER BY id DESC
                             LIMIT $6"
                        }
                        (true, false, _) => {
                            "SELECT id, actor_id, area, action, target, reason, before, after, at
                             FROM money_audit
                             WHERE actor_id = $3 AND id < $2 AND $1 = '' AND $3 <> $4
                               AND ($5 = '' OR area = $5)
                             ORDER BY id DESC
                             LIMIT $6"
                        }
                        (true, true, false) => {
                            "SELECT id, actor_id, area, action, target, reason, before, after, at
                             FROM money_audit
                             WHERE area = $5 AND id < $2 AND $1 = '' AND $3 = $4
                             ORDER BY id DESC
                             LIMIT $6"
                        }
                        (true, true, true) => {
                            "SELECT id, actor_id, area, action, target, reason, before, after, at
                             FROM money_audit
                             WHERE id < $2 AND $1 = '' AND $3 = $4 AND $5 = ''
                             ORDER BY id DESC
                             LIMIT $6"
                        }
                    };
                    fetch_all!(db, Row, select, target, before, by, Uuid::nil(), area, limit)
                })
            })
            .await?;
        Ok(rows.into_iter().map(SeenDeed::from).collect())
    }
}

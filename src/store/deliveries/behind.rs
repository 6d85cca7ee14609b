//! Letters behind a way that is not open: put off together, so that they do not stand at the head of their queue.

use uuid::Uuid;

use crate::domain::devices::DeviceKind;
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError, execute};

/// Which letters take the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// Those to one endpoint.
    Target(Uuid),
    /// Those to every device of a kind whose address begins so.
    Devices { kind: DeviceKind, prefix: String },
}

/// Letters to put off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOff {
    pub medium: Medium,
    pub behind: Behind,
    pub until: Timestamp,
    /// Whoever has waited since before then is left where it is.
    pub first_due_after: Timestamp,
}

impl Store {
    /// Puts off letters that are due and that nobody has taken, the longest due first, at most `limit`; gives how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn put_off_deliveries(
        &self,
        put_off: PutOff,
        limit: i64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let PutOff { medium, behind, until, first_due_after } = put_off;
        let times = (until.millis(), now.millis(), first_due_after.millis());
        self.write(move |db| {
            Box::pin(async move {
                let (until, now, after) = times;
                match behind {
                    Behind::Target(target) => {
                        let update = db.dialect(
                            "UPDATE deliveries SET due_at = $2
                             WHERE id IN
                                 (SELECT id FROM deliveries
                                  WHERE target_id = $6 AND status = 'queued' AND due_at <= $3
                                    AND medium = $1 AND first_due_at > $4
                                    AND lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
                                  ORDER BY due_at
                                  LIMIT $5)",
                            "WITH page AS MATERIALIZED
                                 (SELECT id FROM deliveries
                                  WHERE target_id = $6 AND status = 'queued' AND due_at <= $3
                                    AND medium = $1 AND first_due_at > $4
                                    AND lease_until <=
                                        (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                                  ORDER BY due_at
                                  LIMIT $5
                                  FOR UPDATE SKIP LOCKED)
                             UPDATE deliveries d SET due_at = $2
                             FROM page
                             WHERE d.id = page.id",
                        );
                        execute!(db, update, medium.as_str(), until, now, after, limit, target)
                    }
                    Behind::Devices { kind, prefix } => {
                        let update = db.dialect(
                            "UPDATE deliveries SET due_at = $2
                             WHERE id IN
                                 (SELECT d.id FROM deliveries d
                                  JOIN devices v ON v.id = d.target_id
                                  WHERE d.medium = $1 AND d.status = 'queued' AND d.due_at <= $3
                                    AND d.first_due_at > $4
                                    AND d.lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
                                    AND v.kind = $6 AND substr(v.address, 1, length($7)) = $7
                                  ORDER BY d.due_at, d.id
                                  LIMIT $5)",
                            "WITH page AS MATERIALIZED
                                 (SELECT d.id FROM deliveries d
                                  JOIN devices v ON v.id = d.target_id
                                  WHERE d.medium = $1 AND d.status = 'queued' AND d.due_at <= $3
                                    AND d.first_due_at > $4
                                    AND d.lease_until <=
                                        (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                                    AND v.kind = $6 AND starts_with(v.address, $7)
                                  ORDER BY d.due_at, d.id
                                  LIMIT $5
                                  FOR UPDATE OF d SKIP LOCKED)
                             UPDATE deliveries d SET due_at = $2
                             FROM page
                             WHERE d.id = page.id",
                        );
                        execute!(
                            db,
                            update,
                            medium.as_str(),
                            until,
                            now,
                            after,
                            limit,
                            kind.as_str(),
                            prefix,
                        )
                    }
                }
            })
        })
        .await
    }
}

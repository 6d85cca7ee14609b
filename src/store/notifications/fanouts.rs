//! Fan-outs: occasions to notify people, each taken by one node at a time and done page after page.
//!
//! Invariant: the transaction of a page begins by confirming the fence of its fan-out and ends by moving `after_user`;
//! a node that slept through its lease changes nothing.

use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::waiting;
use crate::domain::ids::{NodeId, UserId};
use crate::domain::media::Medium;
use crate::domain::notifications::{Audience, MessagePlace, Occasion};
use crate::domain::time::Timestamp;
use crate::store::leases::millis;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_optional};

/// A fan-out that this node may work on.
#[derive(Debug, Clone)]
pub struct Fanout {
    pub occasion: Occasion,
    /// Everybody up to here has been told.
    pub after: Option<UserId>,
    owner: NodeId,
    /// Grows with every node that takes it.
    fence: i64,
    /// How often it was taken since it came on last.
    pub takes: i64,
}

/// Who takes fan-outs, and how many.
#[derive(Debug, Clone, Copy)]
pub struct Taking {
    pub owner: NodeId,
    pub at_most: usize,
    /// They are the owner's for so long.
    pub lasts: Duration,
}

#[derive(sqlx::FromRow)]
pub(super) struct ClaimedRow {
    id: Uuid,
    kind: String,
    audience: String,
    actor_id: Option<Uuid>,
    params: String,
    media: Option<String>,
    group_key: Option<String>,
    room_id: Option<Uuid>,
    room_seq: Option<i64>,
    first_seq: Option<i64>,
    messages: i64,
    at: i64,
    after_user: Option<Uuid>,
    fence: i64,
    takes: i64,
}

impl Fanout {
    /// Makes sure that this node still owns the fan-out, and locks it until the transaction ends.
    pub(super) async fn confirm(&self, db: &mut Db) -> Result<(), StoreError> {
        let select = db.dialect(
            "SELECT fence FROM fanouts
             WHERE id = $1 AND owner = $2 AND fence = $3 AND status = 'queued'
               AND lease_until > CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            "SELECT fence FROM fanouts
             WHERE id = $1 AND owner = $2 AND fence = $3 AND status = 'queued'
               AND lease_until > (extract(epoch FROM clock_timestamp()) * 1000)::bigint
             FOR UPDATE",
        );
        let id = self.occasion.id;
        fetch_optional!(db, (i64,), select, id, self.owner.uuid(), self.fence)?
            .map(|_| ())
            .ok_or(StoreError::LeaseLost)
    }

    /// Everybody up to `after` has been told, `notified` more than before; the lease goes on for `lasts`.
    pub(super) async fn advance(
        &mut self,
        db: &mut Db,
        after: UserId,
        notified: usize,
        lasts: Duration,
    ) -> Result<(), StoreError> {
        let update = db.dialect(
            "UPDATE fanouts
             SET after_user = $2, notified = notified + $3, takes = 0,
                 lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $4
             WHERE id = $1",
            "UPDATE fanouts
             SET after_user = $2, notified = notified + $3, takes = 0,
                 lease_until = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $4
             WHERE id = $1",
        );
        let notified = i64::try_from(notified).unwrap_or(i64::MAX);
        execute!(db, update, self.occasion.id, after.uuid(), notified, millis(lasts))?;
        self.after = Some(after);
        self.takes = 0;
        Ok(())
    }

    /// Ends it, `notified` more than before: everybody has been told, or nobody more can be, for the `reason`.
    pub(super) async fn finish(
        &self,
        db: &mut Db,
        reason: Option<&str>,
        notified: usize,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let notified = i64::try_from(notified).unwrap_or(i64::MAX);
        let status = if reason.is_some() { "dead" } else { "done" };
        execute!(
            db,
            "UPDATE fanouts
             SET status = $2, reason = $3, finished_at = $4, notified = notified + $5,
                 owner = NULL, lease_until = 0
             WHERE id = $1",
            self.occasion.id,
            status,
            reason,
            now.millis(),
            notified,
        )
        .map(|_| ())
    }
}

impl Store {
    /// Notes occasions, once each; those that are known are left as they are.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was noted.
    pub async fn insert_fanouts(
        &self,
        occasions: Vec<Occasion>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.insert_and_claim_fanouts(occasions, now, None).await.map(|_| ())
    }

    /// As [`Self::insert_fanouts`], and takes some of what is due in the same transaction: whoever is free need not look.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was noted, and nothing taken.
    pub async fn insert_and_claim_fanouts(
        &self,
        occasions: Vec<Occasion>,
        now: Timestamp,
        taking: Option<Taking>,
    ) -> Result<Vec<Fanout>, StoreError> {
        if occasions.is_empty() {
            return Ok(Vec::new());
        }
        self.write(move |db| {
            Box::pin(async move {
                let (away, others): (Vec<_>, Vec<_>) =
                    occasions.into_iter().partition(|occasion| occasion.audience.is_away_only());
                insert_all(db, &others, now).await?;
                waiting::add(db, away, now).await?;
                match taking {
                    Some(taking) => claim(db, taking, now).await,
                    None => Ok(Vec::new()),
                }
            })
        })
        .await
    }

    /// When the next fan-out is due that nobody works on; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_next_fanout(&self) -> Result<Option<Timestamp>, StoreError> {
        let row = self
            .read(|db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT due_at FROM fanouts
                         WHERE status = 'queued'
                           AND lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
                         ORDER BY due_at, id
                         LIMIT 1",
                        "SELECT due_at FROM fanouts
                         WHERE status = 'queued'
                           AND lease_until <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                         ORDER BY due_at, id
                         LIMIT 1",
                    );
                    fetch_optional!(db, (i64,), select)
                })
            })
            .await?;
        Ok(row.map(|(due_at,)| Timestamp::from_millis(due_at)))
    }

    /// Takes fan-outs that are due and that nobody works on, the longest due first.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was taken.
    pub async fn claim_fanouts(
        &self,
        taking: Taking,
        now: Timestamp,
    ) -> Result<Vec<Fanout>, StoreError> {
        self.write(move |db| Box::pin(async move { claim(db, taking, now).await })).await
    }

    /// Gives up a fan-out that no attempt would finish, such as one whose template is broken.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when it is somebody else's by now.
    pub async fn bury_fanout(
        &self,
        fanout: Fanout,
        reason: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                fanout.confirm(db).await?;
                fanout.finish(db, Some(&reason), 0, now).await
            })
        })
        .await
    }

    /// Lets others take a fan-out that this node could not finish now.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer; then its lease ends by itself.
    pub async fn release_fanout(
        &self,
        fanout: Fanout,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                fanout.confirm(db).await?;
                execute!(
                    db,
                    "UPDATE fanouts
                     SET owner = NULL, lease_until = 0, due_at = $2
                     WHERE id = $1",
                    fanout.occasion.id,
                    due_at.millis(),
                )
                .map(|_| ())
            })
        })
        .await
    }
}

async fn claim(db: &mut Db, taking: Taking, now: Timestamp) -> Result<Vec<Fanout>, StoreError> {
    let claim = db.dialect(
        "UPDATE fanouts
         SET owner = $1, fence = fence + 1, takes = takes + 1,
             lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $2
         WHERE id IN
             (SELECT id FROM fanouts
              WHERE status = 'queued' AND due_at <= $3
                AND lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
              ORDER BY due_at, id
              LIMIT $4)
         RETURNING id, kind, audience, actor_id, params, media, group_key, room_id,
                   room_seq, first_seq, messages, at, after_user, fence, takes",
        "UPDATE fanouts
         SET owner = $1, fence = fence + 1, takes = takes + 1,
             lease_until =
                 (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $2
         WHERE id IN
             (SELECT id FROM fanouts
              WHERE status = 'queued' AND due_at <= $3
                AND lease_until
                    <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint
              ORDER BY due_at, id
              LIMIT $4
              FOR UPDATE SKIP LOCKED)
         RETURNING id, kind, audience, actor_id, params, media, group_key, room_id,
                   room_seq, first_seq, messages, at, after_user, fence, takes",
    );
    let Taking { owner, at_most, lasts } = taking;
    let (lasts, at_most) = (millis(lasts), i64::try_from(at_most).unwrap_or(i64::MAX));
    let rows = fetch_all!(db, ClaimedRow, claim, owner.uuid(), lasts, now.millis(), at_most)?;
    Ok(rows.into_iter().map(|row| row.into_fanout(owner)).collect())
}

/// Notes occasions, once each, in the transaction that they tell of.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn insert_all(
    db: &mut Db,
    occasions: &[Occasion],
    now: Timestamp,
) -> Result<(), StoreError> {
    if occasions.is_empty() {
        return Ok(());
    }
    let rows = occasions.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    insert_rows(db, rows, now).await.map(|_| ())
}

/// Notes what is not known yet; gives how many.
pub(super) async fn insert_rows(
    db: &mut Db,
    rows: Vec<Value>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let insert = db.dialect(
        "INSERT INTO fanouts
             (id, kind, audience, actor_id, params, media, group_key, room_id, room_seq, first_seq,
              messages, at, requested_by, request_hash, status, notified, due_at, created_at,
              fence, lease_until)
         SELECT unhex(replace(j.value ->> 'id', '-', '')), j.value ->> 'kind',
                j.value ->> 'audience', unhex(replace(j.value ->> 'actor', '-', '')),
                j.value ->> 'params', j.value ->> 'media', j.value ->> 'group_key',
                unhex(replace(j.value ->> 'room', '-', '')), j.value ->> 'room_seq',
                j.value ->> 'first_seq', j.value ->> 'messages', j.value ->> 'at',
                j.value ->> 'by', unhex(j.value ->> 'hash'), 'queued', 0,
                COALESCE(j.value ->> 'due_at', $2), $2, 0, 0
         FROM json_each($1) j
         WHERE TRUE
         ON CONFLICT (id) DO NOTHING",
        "INSERT INTO fanouts
             (id, kind, audience, actor_id, params, media, group_key, room_id, room_seq, first_seq,
              messages, at, requested_by, request_hash, status, notified, due_at, created_at,
              fence, lease_until)
         SELECT id, kind, audience, actor, params, media, group_key, room, room_seq, first_seq,
                messages, at, \"by\", decode(hash, 'hex'), 'queued', 0, COALESCE(due_at, $2), $2,
                0, 0
         FROM jsonb_to_recordset($1::jsonb)
             AS j (id uuid, kind text, audience text, actor uuid, params text, media text,
                   group_key text, room uuid, room_seq bigint, first_seq bigint, messages bigint,
                   at bigint, \"by\" text, hash text, due_at bigint)
         ON CONFLICT (id) DO NOTHING",
    );
    execute!(db, insert, json!(rows).to_string(), now.millis())
}

/// An occasion as [`insert_rows`] reads it.
pub(super) fn row(occasion: &Occasion) -> Result<Value, StoreError> {
    let unreadable = |error: serde_json::Error| sqlx::Error::Encode(error.into());
    let media = occasion.media.as_ref().map(serde_json::to_string).transpose();
    Ok(json!({
        "id": occasion.id,
        "kind": occasion.kind,
        "audience": serde_json::to_string(&occasion.audience).map_err(unreadable)?,
        "actor": occasion.actor,
        "params": serde_json::to_string(&occasion.params).map_err(unreadable)?,
        "media": media.map_err(unreadable)?,
        "group_key": occasion.group_key,
        "room": occasion.message.map(|place| place.room),
        "room_seq": occasion.message.map(|place| place.seq),
        "first_seq": occasion.first_seq,
        "messages": occasion.messages,
        "at": occasion.at.millis(),
    }))
}

impl ClaimedRow {
    fn into_fanout(self, owner: NodeId) -> Fanout {
        let (after, fence, takes) = (self.after_user.map(UserId::from), self.fence, self.takes);
        Fanout { occasion: self.into_occasion(), after, owner, fence, takes }
    }

    /// What cannot be read tells nobody, and ends at once.
    pub(super) fn into_occasion(self) -> Occasion {
        let nobody = Audience::Users { users: Vec::new() };
        let message = self.room_id.zip(self.room_seq);
        let params: Option<Map<String, Value>> = serde_json::from_str(&self.params).ok();
        let media = self.media.and_then(|media| serde_json::from_str::<Vec<Medium>>(&media).ok());
        Occasion {
            id: self.id,
            kind: self.kind,
            audience: serde_json::from_str(&self.audience).unwrap_or(nobody),
            actor: self.actor_id.map(UserId::from),
            params: params.unwrap_or_default(),
            media,
            group_key: self.group_key,
            message: message.map(|(room, seq)| MessagePlace { room: room.into(), seq }),
            first_seq: self.first_seq,
            messages: self.messages,
            at: Timestamp::from_millis(self.at),
        }
    }
}

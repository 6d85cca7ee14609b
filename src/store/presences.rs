//! Presences: how users are shown.
//!
//! Each node notes what it knows of a user; what all of them know comes to what is shown, in the same transaction.
//! Invariant: a change that is shown is one row and one event, whichever node makes it.

use std::collections::BTreeMap;

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_optional, nodes, outbox};
use crate::clock;
use crate::domain::events::{DomainEvent, USER_ONLINE_STATUS};
use crate::domain::ids::{NodeId, UserId};
use crate::domain::presence::{Choice, Presence, Status, merge};
use crate::domain::time::Timestamp;

#[derive(sqlx::FromRow)]
struct PresenceRow {
    user_id: Uuid,
    status: Option<String>,
    last_seen_at: Option<i64>,
}

impl Store {
    /// How a user is shown; offline where nothing is known.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_presence(&self, user: UserId) -> Result<Presence, StoreError> {
        let row: Option<PresenceRow> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        PresenceRow,
                        "SELECT user_id, status, last_seen_at FROM presences WHERE user_id = $1",
                        user.uuid(),
                    )
                })
            })
            .await?;
        let unknown = Presence { user_id: user, status: Status::Offline, last_seen_at: None };
        Ok(row.map_or(unknown, PresenceRow::into_presence))
    }

    /// Notes what `node` knows of a user, or that it knows nothing any more. Gives how the user is shown from now on,
    /// where that is different; then the rest of the system is told.
    ///
    /// `seen_at` is when the user came or went.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when the node counts as dead; nothing was stored then.
    pub async fn update_presence(
        &self,
        node: NodeId,
        user: UserId,
        choice: Option<Choice>,
        seen_at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Presence>, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                nodes::confirm(db, node).await?;
                lock(db, &[user]).await?;
                match choice {
                    Some(choice) => execute!(
                        db,
                        "INSERT INTO node_presences (node_id, user_id, choice)
                         VALUES ($1, $2, $3)
                         ON CONFLICT (node_id, user_id) DO UPDATE
                         SET choice = excluded.choice",
                        node.uuid(),
                        user.uuid(),
                        choice.as_str(),
                    )?,
                    None => execute!(
                        db,
                        "DELETE FROM node_presences WHERE node_id = $1 AND user_id = $2",
                        node.uuid(),
                        user.uuid(),
                    )?,
                };
                Ok(show(db, &[user], seen_at, now).await?.pop())
            })
        })
        .await
    }

    /// What `node` has noted of a user.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_node_presence(
        &self,
        node: NodeId,
        user: UserId,
    ) -> Result<Option<Choice>, StoreError> {
        let row: Option<(String,)> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        (String,),
                        "SELECT choice FROM node_presences WHERE node_id = $1 AND user_id = $2",
                        node.uuid(),
                        user.uuid(),
                    )
                })
            })
            .await?;
        Ok(row.and_then(|(choice,)| Choice::parse(&choice)))
    }

    /// Declares a node dead whose lease is over, and forgets what it knew, of at most `limit` users, and the node itself once there is nothing left. Gives
    /// who is shown differently now, and whether there may be more.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was done.
    pub async fn delete_dead_presences(
        &self,
        node: NodeId,
        limit: i64,
        now: Timestamp,
    ) -> Result<(Vec<Presence>, bool), StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                if !nodes::declare_dead(db, node).await? {
                    return Ok((Vec::new(), false));
                }
                let rows = fetch_all!(
                    db,
                    (Uuid,),
                    "SELECT user_id FROM node_presences
                     WHERE node_id = $1
                     ORDER BY user_id
                     LIMIT $2",
                    node.uuid(),
                    limit,
                )?;
                let users: Vec<UserId> = rows.into_iter().map(|(user,)| user.into()).collect();
                if users.is_empty() {
                    nodes::delete(db, node).await?;
                    return Ok((Vec::new(), false));
                }
                lock(db, &users).await?;
                let delete = db.dialect(
                    "DELETE FROM node_presences
                     WHERE node_id = $1 AND user_id IN
                         (SELECT unhex(replace(j.value, '-', '')) FROM json_each($2) j)",
                    "DELETE FROM node_presences
                     WHERE node_id = $1 AND user_id IN
                         (SELECT j.value::uuid FROM jsonb_array_elements_text($2::jsonb) j)",
                );
                execute!(db, delete, node.uuid(), json!(users).to_string())?;
                Ok((show(db, &users, now, now).await?, true))
            })
        })
        .await
    }

    /// Merges again what `node` knows, of at most `limit` users after `after`. Gives who is shown differently now, and the
    /// last of them; `None` once there are no more.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was done.
    pub async fn merge_node_presences(
        &self,
        node: NodeId,
        after: Option<UserId>,
        limit: i64,
        now: Timestamp,
    ) -> Result<(Vec<Presence>, Option<UserId>), StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let rows = fetch_all!(
                    db,
                    (Uuid,),
                    "SELECT user_id FROM node_presences
                     WHERE node_id = $1 AND user_id > $2
                     ORDER BY user_id
                     LIMIT $3",
                    node.uuid(),
                    after.map_or(Uuid::nil(), UserId::uuid),
                    limit,
                )?;
                let users: Vec<UserId> = rows.into_iter().map(|(user,)| user.into()).collect();
                lock(db, &users).await?;
                Ok((show(db, &users, now, now).await?, users.last().copied()))
            })
        })
        .await
    }

    /// Corrects how users are shown of whom no node knows anything, at most `limit`. Gives who is shown differently now.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was done.
    pub async fn update_stray_presences(
        &self,
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<Presence>, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let rows = fetch_all!(
                    db,
                    (Uuid,),
                    "SELECT user_id FROM presences p
                     WHERE status <> 'offline'
                       AND NOT EXISTS (SELECT 1 FROM node_presences n WHERE n.user_id = p.user_id)
                     ORDER BY user_id
                     LIMIT $1",
                    limit,
                )?;
                let users: Vec<UserId> = rows.into_iter().map(|(user,)| user.into()).collect();
                lock(db, &users).await?;
                show(db, &users, now, now).await
            })
        })
        .await
    }
}

/// Makes others wait who want to change how these users are shown: what nodes know of one is merged by one at a time.
async fn lock(db: &mut Db, users: &[UserId]) -> Result<(), StoreError> {
    let select = db.dialect(
        "SELECT 1 WHERE $1 IS NULL",
        "SELECT 1 FROM users
         WHERE id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)
         ORDER BY id
         FOR NO KEY UPDATE",
    );
    execute!(db, select, json!(users).to_string()).map(|_| ())
}

#[derive(sqlx::FromRow)]
struct KnownRow {
    user_id: Uuid,
    status: Option<String>,
    choice: Option<String>,
    /// Whether the node that knows it serves nobody any more.
    is_past: bool,
}

/// What nodes know of one user.
struct Known {
    shown: Status,
    here: Vec<Choice>,
    /// By nodes that have gone: it counts only until the user is somewhere else, or they are cleared away.
    past: Vec<Choice>,
}

impl Known {
    fn status(self) -> Status {
        Status::of(merge(if self.here.is_empty() { self.past } else { self.here }))
    }
}

/// Shows `users` as what all nodes know of them comes to; gives those for whom that is different.
async fn show(
    db: &mut Db,
    users: &[UserId],
    seen_at: Timestamp,
    now: Timestamp,
) -> Result<Vec<Presence>, StoreError> {
    let select = db.dialect(
        "SELECT u.id AS user_id, p.status, n.choice,
                coalesce(d.has_left
                         OR d.lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER),
                         TRUE) AS is_past
         FROM json_each($1) j
         JOIN users u ON u.id = unhex(replace(j.value, '-', ''))
         LEFT JOIN presences p ON p.user_id = u.id
         LEFT JOIN node_presences n ON n.user_id = u.id
         LEFT JOIN nodes d ON d.id = n.node_id",
        "SELECT u.id AS user_id, p.status, n.choice,
                coalesce(d.has_left
                         OR d.lease_until <=
                            (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
                         TRUE) AS is_past
         FROM jsonb_array_elements_text($1::jsonb) j
         JOIN users u ON u.id = j.value::uuid
         LEFT JOIN presences p ON p.user_id = u.id
         LEFT JOIN node_presences n ON n.user_id = u.id
         LEFT JOIN nodes d ON d.id = n.node_id",
    );
    let mut known: BTreeMap<Uuid, Known> = BTreeMap::new();
    for row in fetch_all!(db, KnownRow, select, json!(users).to_string())? {
        let shown = row.status.as_deref().and_then(Status::parse).unwrap_or(Status::Offline);
        let known =
            known.entry(row.user_id).or_insert(Known { shown, here: Vec::new(), past: Vec::new() });
        let choices = if row.is_past { &mut known.past } else { &mut known.here };
        choices.extend(row.choice.as_deref().and_then(Choice::parse));
    }
    let (mut changed, mut events) = (Vec::new(), Vec::new());
    for (user, known) in known {
        let before = known.shown;
        let status = known.status();
        if status != before {
            let last_seen_at = Some(seen_at);
            changed.push(Presence { user_id: user.into(), status, last_seen_at });
            events.push(event(user.into(), before, status, seen_at, now));
        }
    }
    if changed.is_empty() {
        return Ok(changed);
    }
    let upsert = db.dialect(
        "INSERT INTO presences (user_id, status, changed_at, last_seen_at)
         SELECT unhex(replace(j.value ->> 'user_id', '-', '')), j.value ->> 'status', $2, $3
         FROM json_each($1) j
         WHERE TRUE
         ON CONFLICT (user_id) DO UPDATE
         SET status = excluded.status, changed_at = excluded.changed_at,
             last_seen_at = excluded.last_seen_at",
        "INSERT INTO presences (user_id, status, changed_at, last_seen_at)
         SELECT j.user_id, j.status, $2, $3
         FROM jsonb_to_recordset($1::jsonb) AS j (user_id uuid, status text)
         ON CONFLICT (user_id) DO UPDATE
         SET status = excluded.status, changed_at = excluded.changed_at,
             last_seen_at = excluded.last_seen_at",
    );
    execute!(db, upsert, json!(changed).to_string(), now.millis(), seen_at.millis())?;
    outbox::append_all(db, &events).await?;
    Ok(changed)
}

fn event(
    user: UserId,
    before: Status,
    status: Status,
    seen_at: Timestamp,
    now: Timestamp,
) -> DomainEvent {
    let flips = (before == Status::Offline) != (status == Status::Offline);
    DomainEvent {
        id: clock::new_uuid().into(),
        topic: USER_ONLINE_STATUS,
        name: if flips { "UserOnlineStatusChanged" } else { "UserStatusChanged" },
        subject: user.to_string(),
        at: now,
        data: json!({ "user_id": user, "status": status, "last_seen_at": seen_at }),
    }
}

impl PresenceRow {
    fn into_presence(self) -> Presence {
        let status = self.status.as_deref().and_then(Status::parse).unwrap_or(Status::Offline);
        let last_seen_at = self.last_seen_at.map(Timestamp::from_millis);
        Presence { user_id: self.user_id.into(), status, last_seen_at }
    }
}

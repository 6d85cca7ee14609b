//! Inboxes: what concerns one user, numbered in the transaction that made it true.
//!
//! Invariant: under the lock of the inbox's row, `seq` goes on from `inboxes.last_seq` without a hole.

use std::collections::HashMap;

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_optional};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::inbox::{InboxEvent, InboxEventName, InboxNote};
use crate::domain::notifications::content::without_words;
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;

#[derive(sqlx::FromRow)]
struct EventRow {
    seq: i64,
    name: String,
    at: i64,
    data: String,
    /// Whether it tells of a message that was deleted since.
    is_unsaid: bool,
}

/// Numbers and stores notes in the inboxes of their users, each user's in the order given: two statements, however many
/// notes there are.
///
/// The inboxes are locked in the order of their users, so that two transactions never wait for each other.
pub(super) async fn append(
    db: &mut Db,
    mut notes: Vec<InboxNote>,
    now: Timestamp,
) -> Result<Vec<InboxEvent>, StoreError> {
    notes.sort_by_key(|note| note.user);
    let mut counts: Vec<(UserId, i64)> = Vec::new();
    for note in &notes {
        match counts.last_mut() {
            Some((user, count)) if *user == note.user => *count = count.saturating_add(1),
            _ => counts.push((note.user, 1)),
        }
    }
    let heads = number(db, &counts).await?;
    let mut next: HashMap<UserId, Seq> = counts
        .into_iter()
        .filter_map(|(user, count)| Some((user, heads.get(&user)?.saturating_sub(count))))
        .collect();
    let mut events = Vec::with_capacity(notes.len());
    for InboxNote { user, name, data } in notes {
        let seq = next.entry(user).or_default();
        *seq = seq.saturating_add(1);
        events.push(InboxEvent { user, seq: *seq, name, at: now, data: data.to_string() });
    }
    insert_events(db, &events, now).await?;
    Ok(events)
}

/// Gives each of these inboxes so many numbers, in the order of the users, which is that of `counts`; gives the last of
/// each.
pub(super) async fn number(
    db: &mut Db,
    counts: &[(UserId, i64)],
) -> Result<HashMap<UserId, Seq>, StoreError> {
    if counts.is_empty() {
        return Ok(HashMap::new());
    }
    let upsert = db.dialect(
        "INSERT INTO inboxes (user_id, last_seq)
         SELECT unhex(replace(j.value ->> 0, '-', '')), j.value ->> 1 FROM json_each($1) j
         WHERE TRUE
         ORDER BY j.key
         ON CONFLICT (user_id) DO UPDATE SET last_seq = inboxes.last_seq + excluded.last_seq
         RETURNING user_id, last_seq",
        "INSERT INTO inboxes (user_id, last_seq)
         SELECT (j.value ->> 0)::uuid, (j.value ->> 1)::bigint
         FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS j (value, place)
         ORDER BY j.place
         ON CONFLICT (user_id) DO UPDATE SET last_seq = inboxes.last_seq + excluded.last_seq
         RETURNING user_id, last_seq",
    );
    let rows = fetch_all!(db, (Uuid, i64), upsert, json!(counts).to_string())?;
    Ok(rows.into_iter().map(|(user, seq)| (user.into(), seq)).collect())
}

async fn insert_events(
    db: &mut Db,
    events: &[InboxEvent],
    now: Timestamp,
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let insert = db.dialect(
        "INSERT INTO inbox_events (user_id, seq, name, at, data)
         SELECT unhex(replace(j.value ->> 0, '-', '')), j.value ->> 1, j.value ->> 2, $2,
                j.value ->> 3
         FROM json_each($1) j",
        "INSERT INTO inbox_events (user_id, seq, name, at, data)
         SELECT (j.value ->> 0)::uuid, (j.value ->> 1)::bigint, j.value ->> 2, $2, j.value ->> 3
         FROM jsonb_array_elements($1::jsonb) j",
    );
    let rows: Vec<_> = events
        .iter()
        .map(|event| json!([event.user, event.seq, event.name.as_str(), event.data]))
        .collect();
    execute!(db, insert, json!(rows).to_string(), now.millis()).map(|_| ())
}

/// Forgets what a user was told, whose account is gone. Numbers go on from where they were.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub(super) async fn delete_inbox_events(db: &mut Db, user: UserId) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM inbox_events WHERE user_id = $1", user.uuid()).map(|_| ())
}

impl Store {
    /// The head of a user's inbox; 0 for one that is empty.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_inbox_head(&self, user: UserId) -> Result<Seq, StoreError> {
        let row: Option<(i64,)> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        (i64,),
                        "SELECT last_seq FROM inboxes WHERE user_id = $1",
                        user.uuid(),
                    )
                })
            })
            .await?;
        Ok(row.map_or(0, |(head,)| head))
    }

    /// The heads of these rooms and inboxes, of those that exist.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_heads(
        &self,
        rooms: &[RoomId],
        users: &[UserId],
    ) -> Result<(Vec<(RoomId, Seq)>, Vec<(UserId, Seq)>), StoreError> {
        let (rooms, users) = (json!(rooms).to_string(), json!(users).to_string());
        let heads: [Vec<(Uuid, i64)>; 2] = self
            .read(move |db| {
                Box::pin(async move {
                    let of_rooms = db.dialect(
                        "SELECT r.id, r.last_seq FROM json_each($1) j
                         JOIN rooms r ON r.id = unhex(replace(j.value, '-', ''))",
                        "SELECT r.id, r.last_seq FROM jsonb_array_elements_text($1::jsonb) j
                         JOIN rooms r ON r.id = j.value::uuid",
                    );
                    let of_users = db.dialect(
                        "SELECT i.user_id, i.last_seq FROM json_each($1) j
                         JOIN inboxes i ON i.user_id = unhex(replace(j.value, '-', ''))",
                        "SELECT i.user_id, i.last_seq FROM jsonb_array_elements_text($1::jsonb) j
                         JOIN inboxes i ON i.user_id = j.value::uuid",
                    );
                    Ok::<_, StoreError>([
                        fetch_all!(db, (Uuid, i64), of_rooms, rooms)?,
                        fetch_all!(db, (Uuid, i64), of_users, users)?,
                    ])
                })
            })
            .await?;
        let [rooms, users] = heads;
        let rooms = rooms.into_iter().map(|(room, head)| (room.into(), head)).collect();
        let users = users.into_iter().map(|(user, head)| (user.into(), head)).collect();
        Ok((rooms, users))
    }

    /// The events of a user's inbox after `after`, ascending, at most `limit`; without the words of messages that were
    /// deleted since.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_inbox(
        &self,
        user: UserId,
        after: Seq,
        limit: i64,
    ) -> Result<Vec<InboxEvent>, StoreError> {
        let rows: Vec<EventRow> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        EventRow,
                        "SELECT e.seq, e.name, e.at, e.data, m.deleted_at IS NOT NULL AS is_unsaid
                         FROM inbox_events e
                         LEFT JOIN notifications n ON n.user_id = e.user_id AND n.seq = e.seq
                         LEFT JOIN messages m ON m.room_id = n.room_id AND m.seq = n.room_seq
                         WHERE e.user_id = $1 AND e.seq > $2
                         ORDER BY e.seq
                         LIMIT $3",
                        user.uuid(),
                        after,
                        limit,
                    )
                })
            })
            .await?;
        rows.into_iter().map(|row| row.into_event(user)).collect()
    }
}

impl EventRow {
    fn into_event(self, user: UserId) -> Result<InboxEvent, StoreError> {
        let name = InboxEventName::parse(&self.name).ok_or(StoreError::NotFound)?;
        let at = Timestamp::from_millis(self.at);
        let data = if self.is_unsaid { without_words(&self.data) } else { self.data };
        Ok(InboxEvent { user, seq: self.seq, name, at, data })
    }
}

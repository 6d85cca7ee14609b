//! Inboxes: what concerns one user, numbered in the transaction that made it true.
//!
//! Invariant: under the lock of the inbox's row, `seq` goes on from `inboxes.last_seq` without a hole.

use std::collections::HashMap;

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_optional};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::inbox::{InboxEvent, InboxEventName, InboxNote};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;

#[derive(sqlx::FromRow)]
struct EventRow {
    seq: i64,
    name: String,
    at: i64,
    data: String,
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
    if notes.is_empty() {
        return Ok(Vec::new());
    }
    notes.sort_by_key(|note| note.user);
    let mut last = number(db, &notes).await?;
    // From the last to the first: what was given is the number of the last.
    let mut events = Vec::with_capacity(notes.len());
    for InboxNote { user, name, data } in notes.into_iter().rev() {
        let seq = last.get_mut(&user).ok_or(StoreError::NotFound)?;
        events.push(InboxEvent { user, seq: *seq, name, at: now, data: data.to_string() });
        *seq = seq.saturating_sub(1);
    }
    events.reverse();
    let rows: Vec<_> = events
        .iter()
        .map(|event| {
            let name = event.name.as_str();
            json!({ "user": event.user, "seq": event.seq, "name": name, "data": event.data })
        })
        .collect();
    let insert = db.dialect(
        "INSERT INTO inbox_events (user_id, seq, name, at, data)
         SELECT unhex(replace(j.value ->> 'user', '-', '')), j.value ->> 'seq',
                j.value ->> 'name', $2, j.value ->> 'data'
         FROM json_each($1) j",
        "INSERT INTO inbox_events (user_id, seq, name, at, data)
         SELECT \"user\", seq, name, $2, data
         FROM jsonb_to_recordset($1::jsonb) AS j (\"user\" uuid, seq bigint, name text, data text)",
    );
    execute!(db, insert, json!(rows).to_string(), now.millis())?;
    Ok(events)
}

/// Gives the inboxes numbers for these notes, which are in the order of their users; for each, the last of them.
async fn number(db: &mut Db, notes: &[InboxNote]) -> Result<HashMap<UserId, Seq>, StoreError> {
    let counts: Vec<_> = notes
        .chunk_by(|one, next| one.user == next.user)
        .filter_map(|notes| Some(json!([notes.first()?.user, notes.len()])))
        .collect();
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

    /// The events of a user's inbox after `after`, ascending, at most `limit`.
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
                        "SELECT seq, name, at, data
                         FROM inbox_events
                         WHERE user_id = $1 AND seq > $2
                         ORDER BY seq
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
        Ok(InboxEvent { user, seq: self.seq, name, at, data: self.data })
    }
}

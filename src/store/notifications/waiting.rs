//! Waiting: messages for those who are away, gathered while their fan-out waits for its turn.
//!
//! Where more is said than can be told, what one sender says in one room comes together in one fan-out: there are never
//! more of them waiting than senders in rooms. Invariant: a message is gathered once, however often its event is carried;
//! the mark of its room says so.

use std::collections::{HashMap, HashSet};

use serde_json::json;
use uuid::Uuid;

use super::fanouts::{insert_all, row};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::notifications::{Occasion, gathered};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, execute, fetch_all};

impl Store {
    /// Which of these rooms have a member besides the sender who is away and wants to be told: only there is anything to be
    /// gathered.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_rooms_with_away(
        &self,
        said: HashSet<(RoomId, UserId)>,
    ) -> Result<HashSet<(RoomId, UserId)>, StoreError> {
        let said: Vec<(RoomId, UserId)> = said.into_iter().collect();
        let rows: Vec<(Uuid, Uuid)> = self
            .read(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT unhex(replace(j.value ->> 0, '-', '')),
                                unhex(replace(j.value ->> 1, '-', ''))
                         FROM json_each($1) j
                         WHERE EXISTS
                             (SELECT 1 FROM room_members m
                              LEFT JOIN presences p ON p.user_id = m.user_id
                              WHERE m.room_id = unhex(replace(j.value ->> 0, '-', ''))
                                AND m.user_id <> unhex(replace(j.value ->> 1, '-', ''))
                                AND m.notify_level = 'all'
                                AND (p.status IS NULL OR p.status IN ('offline', 'away')))",
                        "SELECT (j.value ->> 0)::uuid, (j.value ->> 1)::uuid
                         FROM jsonb_array_elements($1::jsonb) j
                         WHERE EXISTS
                             (SELECT 1 FROM room_members m
                              LEFT JOIN presences p ON p.user_id = m.user_id
                              WHERE m.room_id = (j.value ->> 0)::uuid
                                AND m.user_id <> (j.value ->> 1)::uuid
                                AND m.notify_level = 'all'
                                AND (p.status IS NULL OR p.status IN ('offline', 'away')))",
                    );
                    fetch_all!(db, (Uuid, Uuid), select, json!(said).to_string())
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(room, user)| (room.into(), user.into())).collect())
    }
}

/// Gathers messages that no event has brought before.
pub(super) async fn add(
    db: &mut Db,
    mut occasions: Vec<Occasion>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let marks = list_marks(db, &occasions).await?;
    occasions.retain(|occasion| {
        occasion
            .message
            .is_some_and(|place| marks.get(&place.room).is_none_or(|mark| place.seq > *mark))
    });
    if occasions.is_empty() {
        return Ok(());
    }
    set_marks(db, &occasions).await?;
    let mut gathered = gathered(occasions);
    let joined = join_waiting(db, &gathered).await?;
    gathered.retain(|occasion| !joined.contains(&occasion.id));
    insert_all(db, &gathered, now).await
}

async fn list_marks(
    db: &mut Db,
    occasions: &[Occasion],
) -> Result<HashMap<RoomId, Seq>, StoreError> {
    let rooms: HashSet<RoomId> =
        occasions.iter().filter_map(|occasion| Some(occasion.message?.room)).collect();
    let select = db.dialect(
        "SELECT m.room_id, m.seq FROM json_each($1) j
         JOIN fanout_marks m ON m.room_id = unhex(replace(j.value, '-', ''))",
        "SELECT m.room_id, m.seq FROM jsonb_array_elements_text($1::jsonb) j
         JOIN fanout_marks m ON m.room_id = j.value::uuid",
    );
    let rows = fetch_all!(db, (Uuid, i64), select, json!(rooms).to_string())?;
    Ok(rows.into_iter().map(|(room, seq)| (room.into(), seq)).collect())
}

async fn set_marks(db: &mut Db, occasions: &[Occasion]) -> Result<(), StoreError> {
    let mut heads: HashMap<RoomId, Seq> = HashMap::new();
    for place in occasions.iter().filter_map(|occasion| occasion.message) {
        let head = heads.entry(place.room).or_default();
        *head = (*head).max(place.seq);
    }
    let heads: Vec<(RoomId, Seq)> = heads.into_iter().collect();
    let upsert = db.dialect(
        "INSERT INTO fanout_marks (room_id, seq)
         SELECT unhex(replace(j.value ->> 0, '-', '')), j.value ->> 1 FROM json_each($1) j
         WHERE TRUE
         ON CONFLICT (room_id) DO UPDATE SET seq = excluded.seq
         WHERE fanout_marks.seq < excluded.seq",
        "INSERT INTO fanout_marks (room_id, seq)
         SELECT (j.value ->> 0)::uuid, (j.value ->> 1)::bigint
         FROM jsonb_array_elements($1::jsonb) j
         ON CONFLICT (room_id) DO UPDATE SET seq = excluded.seq
         WHERE fanout_marks.seq < excluded.seq",
    );
    execute!(db, upsert, json!(heads).to_string()).map(|_| ())
}

/// Adds occasions to those that wait for the same sender in the same room; gives which found one.
async fn join_waiting(db: &mut Db, occasions: &[Occasion]) -> Result<HashSet<Uuid>, StoreError> {
    let update = db.dialect(
        "UPDATE fanouts
         SET room_seq = j.value ->> 'room_seq', audience = j.value ->> 'audience',
             params = j.value ->> 'params', at = j.value ->> 'at',
             messages = messages + (j.value ->> 'messages')
         FROM json_each($1) j
         WHERE fanouts.room_id = unhex(replace(j.value ->> 'room', '-', ''))
           AND fanouts.actor_id = unhex(replace(j.value ->> 'actor', '-', ''))
           AND fanouts.kind = j.value ->> 'kind'
           AND fanouts.status = 'queued' AND fanouts.room_id IS NOT NULL
           AND fanouts.owner IS NULL AND fanouts.after_user IS NULL
         RETURNING room_id, actor_id",
        "UPDATE fanouts
         SET room_seq = j.room_seq, audience = j.audience, params = j.params, at = j.at,
             messages = fanouts.messages + j.messages
         FROM jsonb_to_recordset($1::jsonb)
              AS j (kind text, audience text, actor uuid, params text, room uuid, room_seq bigint,
                    messages bigint, at bigint)
         WHERE fanouts.room_id = j.room AND fanouts.actor_id = j.actor AND fanouts.kind = j.kind
           AND fanouts.status = 'queued' AND fanouts.room_id IS NOT NULL
           AND fanouts.owner IS NULL AND fanouts.after_user IS NULL
         RETURNING fanouts.room_id, fanouts.actor_id",
    );
    let rows = occasions.iter().map(row).collect::<Result<Vec<_>, _>>();
    let rows = rows.map_err(|error| sqlx::Error::Encode(error.into()))?;
    let joined = fetch_all!(db, (Uuid, Uuid), update, json!(rows).to_string())?;
    let joined: HashSet<(Uuid, Uuid)> = joined.into_iter().collect();
    Ok(occasions
        .iter()
        .filter(|occasion| {
            let room = occasion.message.map(|place| place.room.uuid());
            room.zip(occasion.actor.map(UserId::uuid)).is_some_and(|pair| joined.contains(&pair))
        })
        .map(|occasion| occasion.id)
        .collect())
}

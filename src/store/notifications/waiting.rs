//! Waiting: messages for those who are away, gathered while their fan-out waits for its turn.
//!
//! Where more is said than can be told, what one sender says in one room comes together in one fan-out: there are never
//! more of them waiting than senders in rooms. Invariant: a message is gathered once, however often its event is carried;
//! the mark of its room says so.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::json;
use uuid::Uuid;

use super::fanouts::{ClaimedRow, insert_all, row};
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
    if occasions.is_empty() {
        return Ok(());
    }
    let marks = lock_marks(db, &occasions, now).await?;
    occasions.retain(|occasion| {
        occasion
            .message
            .is_some_and(|place| marks.get(&place.room).is_none_or(|mark| place.seq > *mark))
    });
    if occasions.is_empty() {
        return Ok(());
    }
    set_marks(db, &occasions, now).await?;
    let waiting = lock_waiting(db, &occasions).await?;
    let mut joined = Vec::new();
    let mut others = Vec::new();
    for occasion in gathered(occasions) {
        // One, though several may wait that began before each other: the last.
        let same = waiting.iter().rfind(|waiting| {
            waiting.kind == occasion.kind
                && waiting.actor == occasion.actor
                && waiting.message.map(|place| place.room)
                    == occasion.message.map(|place| place.room)
        });
        match same {
            Some(waiting) => joined.extend(gathered(vec![waiting.clone(), occasion])),
            None => others.push(occasion),
        }
    }
    update_waiting(db, &joined).await?;
    insert_all(db, &others, now).await
}

/// The marks of the rooms, locked in the order of the rooms: whoever else gathers there waits.
async fn lock_marks(
    db: &mut Db,
    occasions: &[Occasion],
    now: Timestamp,
) -> Result<HashMap<RoomId, Seq>, StoreError> {
    let rooms: BTreeSet<RoomId> =
        occasions.iter().filter_map(|occasion| Some(occasion.message?.room)).collect();
    let rooms = json!(rooms).to_string();
    // One that is missing cannot be locked.
    let insert = db.dialect(
        "INSERT INTO fanout_marks (room_id, seq, at)
         SELECT unhex(replace(j.value, '-', '')), 0, $2 FROM json_each($1) j
         WHERE TRUE
         ORDER BY j.key
         ON CONFLICT (room_id) DO NOTHING",
        "INSERT INTO fanout_marks (room_id, seq, at)
         SELECT j.value::uuid, 0, $2 FROM jsonb_array_elements_text($1::jsonb)
             WITH ORDINALITY AS j (value, place)
         ORDER BY j.place
         ON CONFLICT (room_id) DO NOTHING",
    );
    execute!(db, insert, rooms.as_str(), now.millis())?;
    let select = db.dialect(
        "SELECT room_id, seq FROM fanout_marks
         WHERE room_id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)",
        "SELECT room_id, seq FROM fanout_marks
         WHERE room_id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)
         ORDER BY room_id
         FOR UPDATE",
    );
    let rows = fetch_all!(db, (Uuid, i64), select, rooms.as_str())?;
    Ok(rows.into_iter().map(|(room, seq)| (room.into(), seq)).collect())
}

async fn set_marks(db: &mut Db, occasions: &[Occasion], now: Timestamp) -> Result<(), StoreError> {
    let mut heads: BTreeMap<RoomId, Seq> = BTreeMap::new();
    for place in occasions.iter().filter_map(|occasion| occasion.message) {
        let head = heads.entry(place.room).or_default();
        *head = (*head).max(place.seq);
    }
    let heads: Vec<(RoomId, Seq)> = heads.into_iter().collect();
    let update = db.dialect(
        "UPDATE fanout_marks SET seq = j.value ->> 1, at = $2
         FROM json_each($1) j
         WHERE fanout_marks.room_id = unhex(replace(j.value ->> 0, '-', ''))
           AND fanout_marks.seq < j.value ->> 1",
        "UPDATE fanout_marks SET seq = (j.value ->> 1)::bigint, at = $2
         FROM jsonb_array_elements($1::jsonb) j
         WHERE fanout_marks.room_id = (j.value ->> 0)::uuid
           AND fanout_marks.seq < (j.value ->> 1)::bigint",
    );
    execute!(db, update, json!(heads).to_string(), now.millis()).map(|_| ())
}

/// What waits of these senders in these rooms, locked, the last that was begun at the end.
async fn lock_waiting(db: &mut Db, occasions: &[Occasion]) -> Result<Vec<Occasion>, StoreError> {
    let wanted: BTreeSet<(RoomId, UserId, &str)> = occasions
        .iter()
        .filter_map(|occasion| {
            Some((occasion.message?.room, occasion.actor?, occasion.kind.as_str()))
        })
        .collect();
    // Whoever takes one passes over what is locked; one that was taken meanwhile is not found any more.
    let select = db.dialect(
        "SELECT f.id, f.kind, f.audience, f.actor_id, f.params, f.media, f.group_key, f.room_id,
                f.room_seq, f.first_seq, f.messages, f.at, f.after_user, f.fence, f.takes
         FROM json_each($1) j
         JOIN fanouts f ON f.room_id = unhex(replace(j.value ->> 0, '-', ''))
                       AND f.actor_id = unhex(replace(j.value ->> 1, '-', ''))
                       AND f.kind = j.value ->> 2
         WHERE f.status = 'queued' AND f.room_id IS NOT NULL AND f.owner IS NULL
           AND f.after_user IS NULL
         ORDER BY f.id",
        "SELECT f.id, f.kind, f.audience, f.actor_id, f.params, f.media, f.group_key, f.room_id,
                f.room_seq, f.first_seq, f.messages, f.at, f.after_user, f.fence, f.takes
         FROM jsonb_array_elements($1::jsonb) j
         JOIN fanouts f ON f.room_id = (j.value ->> 0)::uuid
                       AND f.actor_id = (j.value ->> 1)::uuid
                       AND f.kind = j.value ->> 2
         WHERE f.status = 'queued' AND f.room_id IS NOT NULL AND f.owner IS NULL
           AND f.after_user IS NULL
         ORDER BY f.id
         FOR UPDATE OF f",
    );
    let rows = fetch_all!(db, ClaimedRow, select, json!(wanted).to_string())?;
    let mut waiting: Vec<Occasion> = rows.into_iter().map(ClaimedRow::into_occasion).collect();
    waiting.sort_by_key(|occasion| occasion.message.map(|place| place.seq));
    Ok(waiting)
}

async fn update_waiting(db: &mut Db, occasions: &[Occasion]) -> Result<(), StoreError> {
    if occasions.is_empty() {
        return Ok(());
    }
    let update = db.dialect(
        "UPDATE fanouts
         SET room_seq = j.value ->> 'room_seq', first_seq = j.value ->> 'first_seq',
             audience = j.value ->> 'audience', params = j.value ->> 'params',
             at = j.value ->> 'at', messages = j.value ->> 'messages'
         FROM json_each($1) j
         WHERE fanouts.id = unhex(replace(j.value ->> 'id', '-', ''))",
        "UPDATE fanouts
         SET room_seq = j.room_seq, first_seq = j.first_seq, audience = j.audience,
             params = j.params, at = j.at, messages = j.messages
         FROM jsonb_to_recordset($1::jsonb)
              AS j (id uuid, audience text, params text, room_seq bigint, first_seq bigint,
                    messages bigint, at bigint)
         WHERE fanouts.id = j.id",
    );
    let rows = occasions.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    execute!(db, update, json!(rows).to_string()).map(|_| ())
}

//! Reading a room's log back: messages and every other event, merged into one ascending page.
//!
//! Invariant: a page tells what happened in the wording of today; what was deleted is not told again.

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, fetch_all, fetch_optional, messages};
use crate::domain::ids::RoomId;
use crate::domain::rooms::{EventName, LogEvent, RoomKind, Seq};
use crate::domain::time::Timestamp;

#[derive(sqlx::FromRow)]
struct LogRow {
    seq: i64,
    name: String,
    actor_id: Uuid,
    at: i64,
    data: String,
}

impl Store {
    /// The head of a room's log, or `None` where there is no such room.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_room_head(&self, room: RoomId) -> Result<Option<Seq>, StoreError> {
        let row: Option<(i64,)> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        (i64,),
                        "SELECT last_seq FROM rooms WHERE id = $1",
                        room.uuid()
                    )
                })
            })
            .await?;
        Ok(row.map(|(head,)| head))
    }

    /// The head of a room's log and what kind of room it is, or `None` where there is no such room.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_room_head_and_kind(
        &self,
        room: RoomId,
    ) -> Result<Option<(Seq, RoomKind)>, StoreError> {
        let row: Option<(i64, String)> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        (i64, String),
                        "SELECT last_seq, kind FROM rooms WHERE id = $1",
                        room.uuid(),
                    )
                })
            })
            .await?;
        Ok(row.map(|(head, kind)| (head, RoomKind::parse(&kind).unwrap_or(RoomKind::Group))))
    }

    /// The events of a room's log after `after`, ascending, at most `limit`.
    ///
    /// Messages and edits carry the wording of today: what was deleted is not told again.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_room_log(
        &self,
        room: RoomId,
        after: Seq,
        limit: i64,
    ) -> Result<Vec<LogEvent>, StoreError> {
        self.read(move |db| {
            Box::pin(async move {
                // Two statements see two snapshots; what is at or below a committed head is in both.
                let head = fetch_optional!(
                    db,
                    (i64,),
                    "SELECT last_seq FROM rooms WHERE id = $1",
                    room.uuid(),
                )?;
                let head = head.map_or(0, |(head,)| head);
                let mut events = messages::list_sent(db, room, after, limit).await?;
                let others = fetch_all!(
                    db,
                    LogRow,
                    "SELECT e.seq, e.name, e.actor_id, e.at, e.data
                     FROM room_events e
                     WHERE e.room_id = $1 AND e.seq > $2
                     ORDER BY e.seq
                     LIMIT $3",
                    room.uuid(),
                    after,
                    limit,
                )?;
                for row in others {
                    events.push(row.into_event(db, room).await?);
                }
                events.retain(|event| event.seq <= head);
                events.sort_by_key(|event| event.seq);
                events.truncate(usize::try_from(limit).unwrap_or(0));
                Ok(events)
            })
        })
        .await
    }
}

impl LogRow {
    async fn into_event(self, db: &mut Db, room: RoomId) -> Result<LogEvent, StoreError> {
        let name = EventName::parse(&self.name).ok_or(StoreError::NotFound)?;
        let fields: serde_json::Value = serde_json::from_str(&self.data).unwrap_or_default();
        let user = || fields.get("user_id")?.as_str()?.parse().ok();
        let removed = if name == EventName::UserLeft { user() } else { None };
        let mut data = self.data;
        if name == EventName::MessageEdited
            && let Some(seq) = fields.get("seq").and_then(serde_json::Value::as_i64)
        {
            let body = messages::find_body(db, room, seq).await?.unwrap_or_default();
            data = json!({ "seq": seq, "body": body }).to_string();
        }
        Ok(LogEvent {
            room,
            seq: self.seq,
            name,
            at: Timestamp::from_millis(self.at),
            from: self.actor_id.into(),
            data,
            removed,
        })
    }
}

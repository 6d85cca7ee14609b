//! Message images: which pictures were brought for messages, and where each stands between upload and oblivion. The files
//! are kept elsewhere.
//!
//! Invariant: a file has a row from before its first byte until after its last. A picture is that of the message which its
//! uploader has sent it with first, in the room it was brought to, and is `dropped` with it, in the same transaction; one
//! that nobody sends is dropped as well. What is dropped never comes back.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::messages::ReadError;
use super::{Db, Store, StoreError, blocks, execute, fetch_all, fetch_optional};
use crate::domain::ids::{ImageId, RoomId, UserId};
use crate::domain::images::{ImageFormat, ImageName};
use crate::domain::messages::NewMessage;
use crate::domain::rooms::{
    Facts, MemberFacts, MemberRole, RoomError, RoomFacts, RoomKind, Seq, Visibility, may_write,
};
use crate::domain::time::Timestamp;

/// How long a picture waits to be sent: somebody may have lost the network meanwhile.
const SENT_WITHIN: Duration = Duration::from_hours(24 * 7);
/// Pictures of one user that wait for that; the oldest goes when there is another.
const UNSENT_MAX: i64 = 50;
/// Pictures that are cleared away at a time.
const CLEARED_MAX: i64 = 100;

#[derive(sqlx::FromRow)]
struct FactsRow {
    kind: String,
    visibility: String,
    last_seq: i64,
    member_count: i64,
    role: Option<String>,
    muted_until: Option<i64>,
}

impl FactsRow {
    fn facts(self) -> Facts {
        let muted_until = self.muted_until.map(Timestamp::from_millis);
        let actor = self.role.map(|role| {
            let role = MemberRole::parse(&role).unwrap_or(MemberRole::Member);
            MemberFacts { role, muted_until }
        });
        let room = RoomFacts {
            kind: RoomKind::parse(&self.kind).unwrap_or(RoomKind::Group),
            visibility: Visibility::parse(&self.visibility).unwrap_or(Visibility::Private),
            head: self.last_seq,
            member_count: self.member_count,
            // Nobody joins here.
            member_count_max: 0,
        };
        Facts { room, actor, target: None, guest: None, message: None, block: None }
    }
}

/// Makes the pictures of a message its own that its sender has brought for the room.
pub(super) async fn attach(
    db: &mut Db,
    room: RoomId,
    sender: UserId,
    (seq, message): (Seq, &NewMessage),
    now: Timestamp,
) -> Result<(), StoreError> {
    for picture in message.own_pictures() {
        execute!(
            db,
            "UPDATE message_images
             SET state = 'attached', seq = $4, changed_at = $5
             WHERE id = $1 AND room_id = $2 AND user_id = $3 AND state = 'arriving'",
            picture.id.uuid(),
            room.uuid(),
            sender.uuid(),
            seq,
            now.millis(),
        )?;
    }
    Ok(())
}

/// Drops the pictures of a message if it is deleted, and nobody has still to decide about a report of it.
pub(super) async fn drop_of_message(
    db: &mut Db,
    room: RoomId,
    seq: Seq,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE message_images
         SET state = 'dropped', changed_at = $3
         WHERE room_id = $1 AND seq = $2 AND state = 'attached'
           AND EXISTS (SELECT 1 FROM messages
                       WHERE room_id = $1 AND seq = $2 AND deleted_at IS NOT NULL)
           AND NOT EXISTS (SELECT 1 FROM message_reports
                           WHERE room_id = $1 AND seq = $2 AND status = 'open')",
        room.uuid(),
        seq,
        now.millis(),
    )
    .map(|_| ())
}

/// Drops the pictures that somebody who leaves has not sent.
pub(super) async fn drop_unsent_of(
    db: &mut Db,
    user: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE message_images
         SET state = 'dropped', changed_at = $2
         WHERE user_id = $1 AND state = 'arriving'",
        user.uuid(),
        now.millis(),
    )
    .map(|_| ())
}

impl Store {
    /// Whether a user may write to a room.
    ///
    /// # Errors
    /// The [`RoomError`] that a message of theirs would meet.
    pub async fn check_may_write(
        &self,
        room: RoomId,
        user: UserId,
        now: Timestamp,
    ) -> Result<(), ReadError> {
        self.read(move |db| {
            Box::pin(async move {
                let row = fetch_optional!(
                    db,
                    FactsRow,
                    "SELECT r.kind, r.visibility, r.last_seq, r.member_count, m.role, m.muted_until
                     FROM rooms r
                     LEFT JOIN room_members m ON m.room_id = r.id AND m.user_id = $2
                     WHERE r.id = $1",
                    room.uuid(),
                    user.uuid(),
                )?;
                let mut facts = row.map(FactsRow::facts).ok_or(RoomError::NotFound)?;
                if facts.room.kind == RoomKind::Direct {
                    facts.block = blocks::find_in_direct_room(db, room, user).await?;
                }
                Ok(may_write(&facts, now)?)
            })
        })
        .await
    }

    /// Notes that a picture is about to arrive for a message of a room. Of too many that nobody has sent, the oldest goes.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn insert_message_image(
        &self,
        room: RoomId,
        user: UserId,
        name: ImageName,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "INSERT INTO message_images (id, room_id, user_id, format, state, changed_at)
                     VALUES ($1, $2, $3, $4, 'arriving', $5)",
                    name.id.uuid(),
                    room.uuid(),
                    user.uuid(),
                    name.format.as_str(),
                    now.millis(),
                )?;
                execute!(
                    db,
                    "UPDATE message_images
                     SET state = 'dropped', changed_at = $2
                     WHERE user_id = $1 AND state = 'arriving' AND id NOT IN (
                         SELECT id FROM message_images
                         WHERE user_id = $1 AND state = 'arriving'
                         ORDER BY changed_at DESC, id DESC
                         LIMIT $3
                     )",
                    user.uuid(),
                    now.millis(),
                    UNSENT_MAX,
                )
                .map(|_| ())
            })
        })
        .await
    }

    /// Drops the pictures that nobody has sent in a week. Gives how many there were.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn drop_unsent_message_images(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "UPDATE message_images
                     SET state = 'dropped', changed_at = $2
                     WHERE state = 'arriving' AND changed_at <= $1",
                    now.minus(SENT_WITHIN).millis(),
                    now.millis(),
                )
            })
        })
        .await
    }

    /// Pictures whose files have to go: some hundred, the first dropped first, after `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_dropped_message_images(
        &self,
        after: Option<(Timestamp, ImageId)>,
    ) -> Result<Vec<(Timestamp, ImageName)>, StoreError> {
        let (since, id) =
            after.map_or((i64::MIN, Uuid::nil()), |(at, id)| (at.millis(), id.uuid()));
        let rows: Vec<(Uuid, String, i64)> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (Uuid, String, i64),
                        "SELECT id, format, changed_at
                         FROM message_images
                         WHERE state = 'dropped' AND (changed_at, id) > ($1, $2)
                         ORDER BY changed_at, id
                         LIMIT $3",
                        since,
                        id,
                        CLEARED_MAX,
                    )
                })
            })
            .await?;
        let name = |(id, format, at): (Uuid, String, i64)| {
            let format = ImageFormat::parse(&format)?;
            Some((Timestamp::from_millis(at), ImageName::new(id.into(), format)))
        };
        Ok(rows.into_iter().filter_map(name).collect())
    }

    /// Forgets pictures whose files are gone.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_dropped_message_images(
        &self,
        ids: Vec<ImageId>,
    ) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let delete = db.dialect(
                    "DELETE FROM message_images
                     WHERE state = 'dropped'
                       AND id IN (SELECT unhex(replace(value, '-', '')) FROM json_each($1))",
                    "DELETE FROM message_images
                     WHERE state = 'dropped'
                       AND id IN (SELECT value::uuid FROM jsonb_array_elements_text($1::jsonb))",
                );
                execute!(db, delete, json!(ids).to_string())
            })
        })
        .await
    }
}

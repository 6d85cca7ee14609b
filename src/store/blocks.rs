//! Blocks: who wants to hear nothing more of whom.
//!
//! A block is between two people, whoever set it: what one does must not reach the other. Whoever was blocked is told
//! no more than that something cannot be done, or that nobody is there.

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::privacy::Block;
use crate::domain::time::Timestamp;

/// A condition for SQL: no block stands between two users, each a column or a bind.
macro_rules! no_block_between {
    ($one:literal, $other:literal) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM blocks WHERE user_id = ",
            $one,
            " AND blocked_id = ",
            $other,
            ") AND NOT EXISTS (SELECT 1 FROM blocks WHERE user_id = ",
            $other,
            " AND blocked_id = ",
            $one,
            ")"
        )
    };
}
pub(crate) use no_block_between;

/// Which of two has blocked the other.
#[derive(sqlx::FromRow)]
struct BlockRow {
    by_actor: bool,
    by_other: bool,
}

impl BlockRow {
    const fn block(&self) -> Option<Block> {
        Block::of(self.by_actor, self.by_other)
    }
}

/// Those of `others` who have blocked `user`, or whom `user` has blocked: what `user` does must not reach them.
///
/// One statement, however many they are.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_blocked_between(
    db: &mut Db,
    user: UserId,
    others: &[UserId],
) -> Result<Vec<UserId>, StoreError> {
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let select = db.dialect(
        "SELECT b.blocked_id FROM json_each($2) j
         JOIN blocks b ON b.user_id = $1 AND b.blocked_id = unhex(replace(j.value, '-', ''))
         UNION
         SELECT b.user_id FROM json_each($2) j
         JOIN blocks b ON b.user_id = unhex(replace(j.value, '-', '')) AND b.blocked_id = $1",
        "SELECT b.blocked_id FROM jsonb_array_elements_text($2::jsonb) j
         JOIN blocks b ON b.user_id = $1 AND b.blocked_id = j.value::uuid
         UNION
         SELECT b.user_id FROM jsonb_array_elements_text($2::jsonb) j
         JOIN blocks b ON b.user_id = j.value::uuid AND b.blocked_id = $1",
    );
    let rows = fetch_all!(db, (Uuid,), select, user.uuid(), json!(others).to_string())?;
    Ok(rows.into_iter().map(|(user,)| user.into()).collect())
}

/// Who has blocked whom of two users.
pub(super) async fn find_between(
    db: &mut Db,
    actor: UserId,
    other: UserId,
) -> Result<Option<Block>, StoreError> {
    let row = fetch_one!(
        db,
        BlockRow,
        "SELECT EXISTS (SELECT 1 FROM blocks WHERE user_id = $1 AND blocked_id = $2) AS by_actor,
                EXISTS (SELECT 1 FROM blocks WHERE user_id = $2 AND blocked_id = $1) AS by_other",
        actor.uuid(),
        other.uuid(),
    )?;
    Ok(row.block())
}

/// What stands between a member of a direct room and the other one.
pub(super) async fn find_in_direct_room(
    db: &mut Db,
    room: RoomId,
    actor: UserId,
) -> Result<Option<Block>, StoreError> {
    let row = fetch_one!(
        db,
        BlockRow,
        "SELECT EXISTS (SELECT 1 FROM room_members m
                        JOIN blocks b ON b.user_id = $2 AND b.blocked_id = m.user_id
                        WHERE m.room_id = $1) AS by_actor,
                EXISTS (SELECT 1 FROM room_members m
                        JOIN blocks b ON b.user_id = m.user_id AND b.blocked_id = $2
                        WHERE m.room_id = $1) AS by_other",
        room.uuid(),
        actor.uuid(),
    )?;
    Ok(row.block())
}

/// Whether `viewer` may know that `user` is there: there is such an account, and it has not blocked the viewer.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_visible(db: &mut Db, viewer: UserId, user: UserId) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        db,
        (i64,),
        "SELECT created_at FROM users
         WHERE id = $1 AND deleted_at IS NULL
           AND NOT EXISTS (SELECT 1 FROM blocks WHERE user_id = $1 AND blocked_id = $2)",
        user.uuid(),
        viewer.uuid(),
    )?;
    Ok(row.is_some())
}

pub(super) async fn insert(
    db: &mut Db,
    user: UserId,
    blocked: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO blocks (user_id, blocked_id, at) VALUES ($1, $2, $3)",
        user.uuid(),
        blocked.uuid(),
        now.millis(),
    )
    .map(|_| ())
}

pub(super) async fn delete(db: &mut Db, user: UserId, blocked: UserId) -> Result<(), StoreError> {
    execute!(
        db,
        "DELETE FROM blocks WHERE user_id = $1 AND blocked_id = $2",
        user.uuid(),
        blocked.uuid(),
    )
    .map(|_| ())
}

/// Forgets every block that a user has set or met.
pub(super) async fn delete_all(db: &mut Db, user: UserId) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM blocks WHERE user_id = $1", user.uuid())?;
    execute!(db, "DELETE FROM blocks WHERE blocked_id = $1", user.uuid()).map(|_| ())
}

impl Store {
    /// Whether what a member of a direct room does must not reach the other.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn is_silenced(&self, room: RoomId, user: UserId) -> Result<bool, StoreError> {
        let found = self.read(move |db| Box::pin(find_in_direct_room(db, room, user))).await?;
        Ok(found.is_some())
    }
}

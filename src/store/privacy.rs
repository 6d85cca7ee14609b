//! Privacy: what a person has chosen, and what two people share. Reads only; the rules are in the domain.

use super::{Db, StoreError, fetch_one, fetch_optional};
use crate::domain::ids::UserId;
use crate::domain::privacy::{Block, Circle, Privacy, Relation};

#[derive(sqlx::FromRow)]
struct PrivacyRow {
    who_may_message: String,
    who_may_befriend: String,
    who_sees_presence: String,
    profile: String,
}

#[derive(sqlx::FromRow)]
struct RelationRow {
    by_actor: bool,
    by_other: bool,
    are_friends: bool,
    share_room: bool,
    share_friend: bool,
}

/// A circle as it is stored; a word of a newer release lets nobody near.
pub(super) fn circle(word: &str) -> Circle {
    Circle::parse(word).unwrap_or(Circle::Nobody)
}

/// What a person has chosen; no row is every default.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find(db: &mut Db, user: UserId) -> Result<Privacy, StoreError> {
    let row = fetch_optional!(
        db,
        PrivacyRow,
        "SELECT who_may_message, who_may_befriend, who_sees_presence, profile
         FROM user_settings
         WHERE user_id = $1",
        user.uuid(),
    )?;
    Ok(row.map_or_else(Privacy::default, |row| Privacy {
        message: circle(&row.who_may_message),
        befriend: circle(&row.who_may_befriend),
        presence: circle(&row.who_sees_presence),
        is_private: row.profile != "public",
    }))
}

/// How `actor` stands to `other`.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_relation(
    db: &mut Db,
    actor: UserId,
    other: UserId,
) -> Result<Relation, StoreError> {
    let row = fetch_one!(
        db,
        RelationRow,
        "SELECT EXISTS (SELECT 1 FROM blocks WHERE user_id = $1 AND blocked_id = $2) AS by_actor,
                EXISTS (SELECT 1 FROM blocks WHERE user_id = $2 AND blocked_id = $1) AS by_other,
                EXISTS (SELECT 1 FROM friendships WHERE user_id = $1 AND friend_id = $2)
                    AS are_friends,
                EXISTS (SELECT 1 FROM room_members mine
                        JOIN room_members theirs ON theirs.room_id = mine.room_id
                        WHERE mine.user_id = $1 AND theirs.user_id = $2) AS share_room,
                EXISTS (SELECT 1 FROM friendships mine
                        JOIN friendships theirs ON theirs.friend_id = mine.friend_id
                        WHERE mine.user_id = $1 AND theirs.user_id = $2) AS share_friend",
        actor.uuid(),
        other.uuid(),
    )?;
    Ok(Relation {
        block: Block::of(row.by_actor, row.by_other),
        are_friends: row.are_friends,
        share_room: row.share_room,
        share_friend: row.share_friend,
    })
}

//! Privacy: what a person has chosen, and what two people share. Reads only; the rules are in the domain.

use serde_json::json;

use super::{Db, StoreError, fetch_all, fetch_one, fetch_optional};
use crate::domain::ids::UserId;
use crate::domain::privacy::{Block, Circle, DirectRequirement, Privacy, Relation};
use crate::domain::rooms::Guest;

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

#[derive(sqlx::FromRow)]
struct GuestRow {
    who_may_message: Option<String>,
    #[sqlx(flatten)]
    relation: RelationRow,
}

/// Columns for SQL: how `$1` stands to another user, a column or a bind. A room that anybody may join makes nobody
/// acquainted. A friend in common is looked for only where `$share_friend` holds: it costs the most.
macro_rules! relation_columns {
    ($other:literal, $share_friend:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM blocks WHERE user_id = $1 AND blocked_id = ",
            $other,
            ") AS by_actor,
             EXISTS (SELECT 1 FROM blocks WHERE user_id = ",
            $other,
            " AND blocked_id = $1) AS by_other,
             EXISTS (SELECT 1 FROM friendships WHERE user_id = $1 AND friend_id = ",
            $other,
            ") AS are_friends,
             EXISTS (SELECT 1 FROM room_members mine
                     JOIN room_members theirs ON theirs.room_id = mine.room_id
                     JOIN rooms r ON r.id = mine.room_id AND r.visibility = 'private'
                     WHERE mine.user_id = $1 AND theirs.user_id = ",
            $other,
            ") AS share_room,
             ",
            $share_friend,
            " AND EXISTS (SELECT 1 FROM friendships mine
                     JOIN friendships theirs ON theirs.friend_id = mine.friend_id
                     WHERE mine.user_id = $1 AND theirs.user_id = ",
            $other,
            ") AS share_friend"
        )
    };
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
        concat!("SELECT ", relation_columns!("$2", "TRUE")),
        actor.uuid(),
        other.uuid(),
    )?;
    Ok(row.into_relation())
}

/// What the rules need to know of `others`, as far as they have accounts, before `actor` brings them into a room. One
/// statement, however many they are; in the order of their ids.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub(super) async fn list_guests(
    db: &mut Db,
    requirement: DirectRequirement,
    actor: UserId,
    others: &[UserId],
) -> Result<Vec<Guest>, StoreError> {
    let select = db.dialect(
        concat!(
            "SELECT s.who_may_message, ",
            relation_columns!("u.id", "COALESCE(s.who_may_message = 'common', FALSE)"),
            " FROM json_each($2) j
             JOIN users u ON u.id = unhex(replace(j.value, '-', '')) AND u.deleted_at IS NULL
             LEFT JOIN user_settings s ON s.user_id = u.id
             ORDER BY u.id"
        ),
        concat!(
            "SELECT s.who_may_message, ",
            relation_columns!("u.id", "COALESCE(s.who_may_message = 'common', FALSE)"),
            " FROM jsonb_array_elements_text($2::jsonb) j
             JOIN users u ON u.id = j.value::uuid AND u.deleted_at IS NULL
             LEFT JOIN user_settings s ON s.user_id = u.id
             ORDER BY u.id"
        ),
    );
    let rows = fetch_all!(db, GuestRow, select, actor.uuid(), json!(others).to_string())?;
    let guest = |row: GuestRow| {
        let message = row.who_may_message.as_deref().map(circle).unwrap_or_default();
        let privacy = Privacy { message, ..Privacy::default() };
        Guest { requirement, privacy, relation: row.relation.into_relation() }
    };
    Ok(rows.into_iter().map(guest).collect())
}

impl RelationRow {
    const fn into_relation(self) -> Relation {
        Relation {
            block: Block::of(self.by_actor, self.by_other),
            are_friends: self.are_friends,
            share_room: self.share_room,
            share_friend: self.share_friend,
        }
    }
}

//! People as administrators see them: lists of accounts, and what is changed in one by hand.
//!
//! Invariant: whoever changes an account by hand holds it and their own first, so that of two who would do that to each
//! other one is too late.

use serde_json::json;
use uuid::Uuid;

use super::accounts::{User, list_users_by_ids, publish};
use super::{Db, Store, StoreError, execute, fetch_all};
use crate::domain::accounts::Roles;
use crate::domain::ids::UserId;
use crate::domain::names::PersonTerm;
use crate::domain::time::Timestamp;

/// Somebody in a list, and their place in it.
#[derive(Debug, Clone)]
pub struct ListedPerson {
    pub user: User,
    pub cursor: PersonCursor,
}

/// The place of somebody in a list: behind the word or address by which they were found, if they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonCursor {
    pub found_by: String,
    pub id: UserId,
}

impl PersonCursor {
    /// Whether a list of those who are found by `term` can have this place.
    #[must_use]
    pub fn is_of(&self, term: Option<&PersonTerm>) -> bool {
        match term {
            None => self.found_by.is_empty(),
            Some(PersonTerm::Address(key)) => self.found_by.starts_with(key.as_str()),
            Some(PersonTerm::Name(term)) => self.found_by.starts_with(term.word()),
        }
    }
}

/// Holds accounts until the transaction ends, and gives those of them that are there, as they are now.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn lock_users(db: &mut Db, users: &[UserId]) -> Result<Vec<User>, StoreError> {
    let lock = db.dialect(
        "SELECT 1 WHERE $1 IS NULL",
        "SELECT 1 FROM users
         WHERE id IN (SELECT value::uuid FROM jsonb_array_elements_text($1::jsonb))
         ORDER BY id
         FOR NO KEY UPDATE",
    );
    execute!(db, lock, json!(users).to_string())?;
    // A statement of its own: it sees what those have done who held them before.
    list_users_by_ids(db, users).await
}

/// Suspends an account as of `disabled_at`, or lets it in again; `UserSuspended` or `UserRestored`.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn update_disabled(
    db: &mut Db,
    user: UserId,
    disabled_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE users
         SET disabled_at = $2, updated_at = $3
         WHERE id = $1 AND deleted_at IS NULL",
        user.uuid(),
        disabled_at.map(Timestamp::millis),
        now.millis(),
    )?;
    let name = if disabled_at.is_some() { "UserSuspended" } else { "UserRestored" };
    publish(db, name, user, json!({ "user_id": user }), now).await
}

/// Gives an account other roles; `UserRolesChanged`.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn update_roles(
    db: &mut Db,
    user: UserId,
    roles: &Roles,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE users
         SET roles = $2, updated_at = $3
         WHERE id = $1 AND deleted_at IS NULL",
        user.uuid(),
        roles.to_text(),
        now.millis(),
    )?;
    let data = json!({ "user_id": user, "roles": roles });
    publish(db, "UserRolesChanged", user, data, now).await
}

impl Store {
    /// Everybody, the newest first; or those who are found by `term`, in the order of the word or address that is found.
    /// Deleted accounts are not there. At most `limit` after `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_accounts(
        &self,
        term: Option<PersonTerm>,
        after: Option<PersonCursor>,
        limit: i64,
    ) -> Result<Vec<ListedPerson>, StoreError> {
        self.read_snapshot(move |db| {
            Box::pin(async move {
                let places = match &term {
                    None => list_newest(db, after, limit).await?,
                    Some(PersonTerm::Address(key)) => {
                        list_by_address(db, key, after, limit).await?
                    }
                    Some(PersonTerm::Name(term)) => {
                        let (from, end) = (term.word(), term.end());
                        list_by_word(db, (from, &end), after, limit).await?
                    }
                };
                with_users(db, places).await
            })
        })
        .await
    }
}

async fn list_newest(
    db: &mut Db,
    after: Option<PersonCursor>,
    limit: i64,
) -> Result<Vec<PersonCursor>, StoreError> {
    let rows = fetch_all!(
        db,
        (Uuid,),
        "SELECT id FROM users
         WHERE id < $1 AND deleted_at IS NULL
         ORDER BY id DESC
         LIMIT $2",
        after.map_or(Uuid::max(), |after| after.id.uuid()),
        limit,
    )?;
    let place = |(id,): (Uuid,)| PersonCursor { found_by: String::new(), id: id.into() };
    Ok(rows.into_iter().map(place).collect())
}

async fn list_by_address(
    db: &mut Db,
    key: &str,
    after: Option<PersonCursor>,
    limit: i64,
) -> Result<Vec<PersonCursor>, StoreError> {
    // No address is of two accounts: the cursor's needs no id.
    let after = after.map(|after| after.found_by).unwrap_or_default();
    let rows = fetch_all!(
        db,
        (String, Uuid),
        "SELECT email_key, id FROM users
         WHERE email_key >= $1 AND email_key < $2 AND email_key > $3 AND deleted_at IS NULL
         ORDER BY email_key
         LIMIT $4",
        key,
        format!("{key}{}", char::MAX),
        after,
        limit,
    )?;
    let place = |(found_by, id): (String, Uuid)| PersonCursor { found_by, id: id.into() };
    Ok(rows.into_iter().map(place).collect())
}

/// Everybody once, at the first of their words.
async fn list_by_word(
    db: &mut Db,
    (from, end): (&str, &str),
    after: Option<PersonCursor>,
    limit: i64,
) -> Result<Vec<PersonCursor>, StoreError> {
    let (word, id) = match &after {
        Some(after) => (after.found_by.as_str(), after.id.uuid()),
        None => (from, Uuid::nil()),
    };
    let rows = fetch_all!(
        db,
        (String, Uuid),
        "SELECT n.word, n.user_id
         FROM user_names n
         JOIN users u ON u.id = n.user_id
         WHERE (n.word, n.user_id) > ($1, $2) AND n.word < $3 AND u.deleted_at IS NULL
           AND NOT EXISTS (
               SELECT 1 FROM user_names earlier
               WHERE earlier.user_id = n.user_id AND earlier.word >= $4 AND earlier.word < n.word
           )
         ORDER BY n.word, n.user_id
         LIMIT $5",
        word,
        id,
        end,
        from,
        limit,
    )?;
    let place = |(found_by, id): (String, Uuid)| PersonCursor { found_by, id: id.into() };
    Ok(rows.into_iter().map(place).collect())
}

async fn with_users(
    db: &mut Db,
    places: Vec<PersonCursor>,
) -> Result<Vec<ListedPerson>, StoreError> {
    let ids: Vec<UserId> = places.iter().map(|place| place.id).collect();
    let users = list_users_by_ids(db, &ids).await?;
    let listed = |cursor: PersonCursor| {
        // In the order of their ids.
        let place = users.binary_search_by_key(&cursor.id, |user| user.id).ok()?;
        Some(ListedPerson { user: users.get(place)?.clone(), cursor })
    };
    Ok(places.into_iter().filter_map(listed).collect())
}

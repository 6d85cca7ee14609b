//! Names: the words by which people are found, and the search over them.
//!
//! Invariant: `users.named_as` is the display name that the words in `user_names` were made of, written with them; where it
//! is not the display name, as after a change by a release that knows no words, [`Store::name_again`] makes them anew.

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, blocks, execute, fetch_all, fetch_optional};
use crate::domain::ids::UserId;
use crate::domain::names::{SearchTerm, words_of};

/// Accounts whose words are made anew in one transaction.
const NAMED_AGAIN_MAX: i64 = 200;

/// Whom `$1`, the caller, may find among the users `u`. The one place for it: every condition of search goes in here.
macro_rules! select_findable {
    ($columns:literal, $from:literal, $condition:literal) => {
        concat!(
            "SELECT ",
            $columns,
            "u.id, u.handle, u.display_name, u.avatar FROM ",
            $from,
            " WHERE u.id <> $1 AND u.deleted_at IS NULL AND u.disabled_at IS NULL
                AND NOT EXISTS (
                    SELECT 1 FROM user_settings s WHERE s.user_id = u.id AND NOT s.findable
                )
                AND ",
            blocks::no_block_between!("u.id", "$1"),
            " AND ",
            $condition
        )
    };
}

/// Somebody who was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: UserId,
    pub handle: String,
    pub display_name: String,
    pub avatar: Option<String>,
    /// Their place in the list.
    pub cursor: FoundCursor,
}

/// The place of somebody in the list of those who were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCursor {
    pub word: String,
    pub id: UserId,
}

type Row = (String, Uuid, String, String, Option<String>);

/// Makes the words of one account, or takes them away where there is no name any more.
pub(super) async fn replace_names(
    db: &mut Db,
    user: UserId,
    name: Option<(&str, &str)>,
) -> Result<(), StoreError> {
    let words = name.map(|(handle, display_name)| words_of(handle, display_name));
    let rows: Vec<_> =
        words.into_iter().flatten().map(|word| json!({ "word": word, "user_id": user })).collect();
    replace_words(db, &[user], &rows).await
}

/// Deletes the words of users, inserts `rows`, and notes what they were made of: the display names of now.
async fn replace_words(
    db: &mut Db,
    users: &[UserId],
    rows: &[serde_json::Value],
) -> Result<(), StoreError> {
    let users = json!(users).to_string();
    let delete = db.dialect(
        "DELETE FROM user_names
         WHERE user_id IN (SELECT unhex(replace(value, '-', '')) FROM json_each($1))",
        "DELETE FROM user_names
         WHERE user_id IN (SELECT value::uuid FROM jsonb_array_elements_text($1::jsonb))",
    );
    execute!(db, delete, users.as_str())?;
    if !rows.is_empty() {
        let insert = db.dialect(
            "INSERT INTO user_names (word, user_id)
             SELECT value ->> 'word', unhex(replace(value ->> 'user_id', '-', ''))
             FROM json_each($1)",
            "INSERT INTO user_names (word, user_id)
             SELECT value ->> 'word', (value ->> 'user_id')::uuid
             FROM jsonb_array_elements($1::jsonb)",
        );
        execute!(db, insert, json!(rows).to_string())?;
    }
    let update = db.dialect(
        "UPDATE users SET named_as = display_name
         WHERE id IN (SELECT unhex(replace(value, '-', '')) FROM json_each($1))",
        "UPDATE users SET named_as = display_name
         WHERE id IN (SELECT value::uuid FROM jsonb_array_elements_text($1::jsonb))",
    );
    execute!(db, update, users.as_str()).map(|_| ())
}

impl Store {
    /// Those whom `caller` may find by `term`: first who has it as a handle, then by the word that begins with it. Everybody
    /// once, at the first of their words; at most `limit` after `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn search_users(
        &self,
        caller: UserId,
        term: SearchTerm,
        after: Option<FoundCursor>,
        limit: i64,
    ) -> Result<Vec<Found>, StoreError> {
        self.read(move |db| {
            Box::pin(async move {
                let mut found = Vec::new();
                if let (None, Some(handle)) = (&after, term.handle_key()) {
                    found.extend(find_by_handle(db, caller, &term, handle).await?);
                }
                let after = after.unwrap_or_else(|| FoundCursor::before_words(&term));
                let left = limit.saturating_sub(i64::try_from(found.len()).unwrap_or(limit));
                found.extend(list_by_word(db, caller, &term, &after, left).await?);
                Ok(found)
            })
        })
        .await
    }

    /// Makes the words of those accounts anew whose words are of another name, some hundred at a time. Gives how many there
    /// were; zero when there are none left. Nodes that do so at once share the work.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn name_again(&self) -> Result<usize, StoreError> {
        self.write(|db| {
            Box::pin(async move {
                let select = db.dialect(
                    "SELECT id, handle, display_name, deleted_at
                     FROM users
                     WHERE named_as IS NULL OR named_as <> display_name
                     ORDER BY id
                     LIMIT $1",
                    "SELECT id, handle, display_name, deleted_at
                     FROM users
                     WHERE named_as IS NULL OR named_as <> display_name
                     ORDER BY id
                     LIMIT $1
                     FOR UPDATE SKIP LOCKED",
                );
                let accounts: Vec<(Uuid, String, String, Option<i64>)> =
                    fetch_all!(db, (Uuid, String, String, Option<i64>), select, NAMED_AGAIN_MAX)?;
                if accounts.is_empty() {
                    return Ok(0);
                }
                let mut rows = Vec::new();
                for (id, handle, display_name, deleted_at) in &accounts {
                    if deleted_at.is_none() {
                        let words = words_of(handle, display_name).into_iter();
                        rows.extend(words.map(|word| json!({ "word": word, "user_id": id })));
                    }
                }
                let users: Vec<UserId> = accounts.iter().map(|(id, ..)| (*id).into()).collect();
                replace_words(db, &users, &rows).await?;
                Ok(users.len())
            })
        })
        .await
    }
}

impl FoundCursor {
    /// Before everybody who is found by a word.
    fn before_words(term: &SearchTerm) -> Self {
        Self { word: term.word().to_owned(), id: Uuid::nil().into() }
    }

    /// Whether a list of those who are found by `term` can have this place.
    #[must_use]
    pub fn is_of(&self, term: &SearchTerm) -> bool {
        self.word.starts_with(term.word())
    }
}

/// Whoever has exactly this handle. Their place is before all others.
async fn find_by_handle(
    db: &mut Db,
    caller: UserId,
    term: &SearchTerm,
    handle_key: &str,
) -> Result<Option<Found>, StoreError> {
    let row: Option<Row> = fetch_optional!(
        db,
        Row,
        select_findable!("'', ", "users u", "u.handle_key = $2"),
        caller.uuid(),
        handle_key,
    )?;
    Ok(row.map(|row| Found { cursor: FoundCursor::before_words(term), ..row.into() }))
}

async fn list_by_word(
    db: &mut Db,
    caller: UserId,
    term: &SearchTerm,
    after: &FoundCursor,
    limit: i64,
) -> Result<Vec<Found>, StoreError> {
    let rows: Vec<Row> = fetch_all!(
        db,
        Row,
        select_findable!(
            "n.word, ",
            "user_names n JOIN users u ON u.id = n.user_id",
            "(n.word, n.user_id) > ($2, $3) AND n.word < $4 AND u.handle_key <> $6
             AND NOT EXISTS (
                 SELECT 1 FROM user_names earlier
                 WHERE earlier.user_id = n.user_id AND earlier.word >= $5 AND earlier.word < n.word
             )
             ORDER BY n.word, n.user_id
             LIMIT $7"
        ),
        caller.uuid(),
        after.word.as_str(),
        after.id.uuid(),
        term.end(),
        term.word(),
        // No handle is empty.
        term.handle_key().unwrap_or_default(),
        limit,
    )?;
    Ok(rows.into_iter().map(Found::from).collect())
}

impl From<Row> for Found {
    fn from((word, id, handle, display_name, avatar): Row) -> Self {
        let id = id.into();
        Self { id, handle, display_name, avatar, cursor: FoundCursor { word, id } }
    }
}

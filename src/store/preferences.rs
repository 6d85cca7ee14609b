//! Preferences: what users have chosen to be told, how long their digests gather, and the keys of their links out.

use uuid::Uuid;

use super::{Db, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::domain::ids::UserId;
use crate::domain::media::Medium;
use crate::domain::preferences::{Change, Choice, Preferences};
use crate::domain::time::Timestamp;
use crate::domain::unsubscribe::KEY_BYTES;

/// A user as the page knows them that a link out of mails leads to.
#[derive(Debug, Clone)]
pub struct Unsubscriber {
    pub key: [u8; KEY_BYTES],
    pub locale: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    user_id: Uuid,
    kind: String,
    medium: String,
    choice: String,
}

/// A kind, a medium and what was chosen for them.
type Chosen = (String, Medium, Choice);

/// Everything that a user has chosen.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_preferences(db: &mut Db, user: UserId) -> Result<Preferences, StoreError> {
    let rows = fetch_all!(
        db,
        Row,
        "SELECT user_id, kind, medium, choice FROM notification_preferences WHERE user_id = $1",
        user.uuid(),
    )?;
    Ok(rows.into_iter().filter_map(Row::into_choice).map(|(_, choice)| choice).collect())
}

/// Makes choices that were checked. `digest_minutes` is left as it is by `None`, and goes back to the default by
/// `Some(None)`.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn update_preferences(
    db: &mut Db,
    user: UserId,
    changes: &[Change],
    digest_minutes: Option<Option<i64>>,
    now: Timestamp,
) -> Result<(), StoreError> {
    // In one order, so that two devices that change the same never wait for each other.
    let mut changes: Vec<&Change> = changes.iter().collect();
    changes.sort_by_key(|change| (&change.scope, change.medium));
    for change in changes {
        update_preference(db, user, change).await?;
    }
    if let Some(minutes) = digest_minutes {
        execute!(
            db,
            "INSERT INTO user_settings (user_id, digest_minutes, updated_at)
             VALUES ($1, $2, $3)
             ON CONFLICT (user_id) DO UPDATE
             SET digest_minutes = excluded.digest_minutes, updated_at = excluded.updated_at",
            user.uuid(),
            minutes,
            now.millis(),
        )?;
    }
    Ok(())
}

/// How long a user's digests gather, if they have chosen it.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_digest_minutes(db: &mut Db, user: UserId) -> Result<Option<i64>, StoreError> {
    let row = fetch_optional!(
        db,
        (Option<i64>,),
        "SELECT digest_minutes FROM user_settings WHERE user_id = $1",
        user.uuid(),
    )?;
    Ok(row.and_then(|(minutes,)| minutes))
}

/// Forgets everything that a user has chosen here, such as when their account is deleted.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn delete_preferences(db: &mut Db, user: UserId) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM notification_preferences WHERE user_id = $1", user.uuid()).map(|_| ())
}

/// The key that signs a user's links out of mails; `new_key`, 32 random bytes, becomes it if there is none yet.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn get_or_insert_unsubscribe_key(
    db: &mut Db,
    user: UserId,
    new_key: [u8; KEY_BYTES],
    now: Timestamp,
) -> Result<[u8; KEY_BYTES], StoreError> {
    let (key,) = fetch_one!(
        db,
        (Vec<u8>,),
        "INSERT INTO user_settings (user_id, unsubscribe_key, updated_at)
         VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE
         SET unsubscribe_key = COALESCE(user_settings.unsubscribe_key, excluded.unsubscribe_key)
         RETURNING unsubscribe_key",
        user.uuid(),
        new_key.as_slice(),
        now.millis(),
    )?;
    key_of(key)
}

/// Who a link out of mails may be about: an account that was not deleted, and that a link was made for.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_unsubscriber(
    db: &mut Db,
    user: UserId,
) -> Result<Option<Unsubscriber>, StoreError> {
    let row = fetch_optional!(
        db,
        (Vec<u8>, String),
        "SELECT s.unsubscribe_key, s.locale
         FROM user_settings s
         JOIN users u ON u.id = s.user_id
         WHERE s.user_id = $1 AND s.unsubscribe_key IS NOT NULL AND u.deleted_at IS NULL",
        user.uuid(),
    )?;
    row.map(|(key, locale)| Ok(Unsubscriber { key: key_of(key)?, locale })).transpose()
}

async fn update_preference(db: &mut Db, user: UserId, change: &Change) -> Result<(), StoreError> {
    let (scope, medium) = (change.scope.as_str(), change.medium.as_str());
    match change.choice {
        Some(choice) => execute!(
            db,
            "INSERT INTO notification_preferences (user_id, kind, medium, choice)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (user_id, kind, medium) DO UPDATE SET choice = excluded.choice",
            user.uuid(),
            scope,
            medium,
            choice.as_str(),
        ),
        None => execute!(
            db,
            "DELETE FROM notification_preferences
             WHERE user_id = $1 AND kind = $2 AND medium = $3",
            user.uuid(),
            scope,
            medium,
        ),
    }
    .map(|_| ())
}

impl Row {
    /// `None` for a word of a later release.
    fn into_choice(self) -> Option<(UserId, Chosen)> {
        let (medium, choice) = (Medium::parse(&self.medium)?, Choice::parse(&self.choice)?);
        Some((self.user_id.into(), (self.kind, medium, choice)))
    }
}

fn key_of(bytes: Vec<u8>) -> Result<[u8; KEY_BYTES], StoreError> {
    bytes.try_into().map_err(|_| StoreError::NotFound)
}

//! Accounts: the rows of people, each change with the events it publishes, and the count of failed logins.
//!
//! Invariant: a deleted account keeps only its id; nothing here finds it again.

use std::collections::HashSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::images::{self, IMAGE_NOT_THEIRS};
use super::notifications::retention;
use super::{
    Db, StoreError, deliveries, devices, execute, fetch_all, fetch_optional, inboxes,
    message_images, names, outbox, phones, preferences,
};
use crate::clock;
use crate::domain::accounts::{Avatar, Bio, DisplayName, EmailAddress, Handle, Identifier, Roles};
use crate::domain::backoff::{FORGET_AFTER, Failures};
use crate::domain::events::{AUTH_EVENTS, DomainEvent, USER_EVENTS};
use crate::domain::ids::UserId;
use crate::domain::images::{Origin, origin_of};
use crate::domain::time::Timestamp;

/// The name of the lock under which accounts are deleted: the letters of `leave`.
const DELETIONS_LOCK: i64 = 0x006c_6561_7665;
/// The constraint that a handle in use breaks.
pub const HANDLE_TAKEN: &str = "users_handle_key_key";
/// The constraint that an e-mail address in use breaks.
pub const EMAIL_TAKEN: &str = "users_email_key_key";

/// An account that has not been deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub handle: String,
    pub email: String,
    pub display_name: String,
    pub bio: String,
    pub avatar: Option<String>,
    pub roles: Roles,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub verified_at: Option<Timestamp>,
    pub disabled_at: Option<Timestamp>,
}

/// An account with what proves its owner.
#[derive(Clone)]
pub struct Credentials {
    pub user: User,
    pub password_hash: String,
}

/// An account about to exist.
#[derive(Debug, Clone)]
pub struct NewUser {
    pub id: UserId,
    pub handle: Handle,
    pub email: EmailAddress,
    pub display_name: DisplayName,
    pub roles: Roles,
    pub password_hash: String,
    pub verified_at: Option<Timestamp>,
}

/// What changes in a profile; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct ProfileChange {
    pub display_name: Option<DisplayName>,
    pub bio: Option<Bio>,
    /// `Some(None)` takes the picture away.
    pub avatar: Option<Option<Avatar>>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    handle: String,
    email: String,
    display_name: String,
    bio: String,
    avatar: Option<String>,
    roles: String,
    password_hash: String,
    created_at: i64,
    updated_at: i64,
    verified_at: Option<i64>,
    disabled_at: Option<i64>,
}

impl From<Row> for Credentials {
    fn from(row: Row) -> Self {
        let user = User {
            id: row.id.into(),
            handle: row.handle,
            email: row.email,
            display_name: row.display_name,
            bio: row.bio,
            avatar: row.avatar,
            roles: Roles::from_text(&row.roles),
            created_at: Timestamp::from_millis(row.created_at),
            updated_at: Timestamp::from_millis(row.updated_at),
            verified_at: row.verified_at.map(Timestamp::from_millis),
            disabled_at: row.disabled_at.map(Timestamp::from_millis),
        };
        Self { user, password_hash: row.password_hash }
    }
}

/// Every column but the keys, of accounts that have not been deleted.
macro_rules! select_user {
    ($condition:literal) => {
        concat!(
            "SELECT id, handle, email, display_name, bio, avatar, roles, password_hash,
                    created_at, updated_at, verified_at, disabled_at
             FROM users
             WHERE deleted_at IS NULL AND ",
            $condition
        )
    };
}

/// Inserts an account; `UserRegistered` and `UserCreated`.
///
/// # Errors
/// [`StoreError::Constraint`] with [`HANDLE_TAKEN`] or [`EMAIL_TAKEN`].
pub async fn insert_user(db: &mut Db, user: &NewUser, now: Timestamp) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO users (id, handle, handle_key, email, email_key, display_name, roles, password_hash,
                            created_at, updated_at, verified_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10)",
        user.id.uuid(),
        user.handle.as_str(),
        user.handle.key(),
        user.email.as_str(),
        user.email.key(),
        user.display_name.as_str(),
        user.roles.to_text(),
        user.password_hash.as_str(),
        now.millis(),
        user.verified_at.map(Timestamp::millis),
    )?;
    let name = (user.handle.as_str(), user.display_name.as_str());
    names::replace_names(db, user.id, Some(name)).await?;
    let data = json!({
        "user_id": user.id,
        "handle": user.handle.as_str(),
        "display_name": user.display_name.as_str(),
        "roles": user.roles,
    });
    publish(db, "UserRegistered", user.id, data.clone(), now).await?;
    publish(db, "UserCreated", user.id, data, now).await
}

/// The account behind a handle or an e-mail address.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_credentials(
    db: &mut Db,
    identifier: &Identifier,
) -> Result<Option<Credentials>, StoreError> {
    let row = match identifier {
        Identifier::Handle(handle) => {
            fetch_optional!(db, Row, select_user!("handle_key = $1"), handle.key())
        }
        Identifier::Email(email) => {
            fetch_optional!(db, Row, select_user!("email_key = $1"), email.key())
        }
    }?;
    Ok(row.map(Credentials::from))
}

/// The account of a user, with what proves its owner.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_credentials_of(
    db: &mut Db,
    user: UserId,
) -> Result<Option<Credentials>, StoreError> {
    let row = fetch_optional!(db, Row, select_user!("id = $1"), user.uuid())?;
    Ok(row.map(Credentials::from))
}

/// One user.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_user(db: &mut Db, user: UserId) -> Result<Option<User>, StoreError> {
    Ok(find_credentials_of(db, user).await?.map(|found| found.user))
}

/// Those of the given users that exist, in the order of their ids.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_users_by_ids(db: &mut Db, users: &[UserId]) -> Result<Vec<User>, StoreError> {
    // One bound text serves any number of ids.
    let ids = json!(users).to_string();
    let sql = db.dialect(
        select_user!(
            "id IN (SELECT unhex(replace(value, '-', '')) FROM json_each($1))
             ORDER BY id"
        ),
        select_user!(
            "id IN (SELECT value::uuid FROM json_array_elements_text($1::json))
             ORDER BY id"
        ),
    );
    let rows = fetch_all!(db, Row, sql, ids.as_str())?;
    Ok(rows.into_iter().map(|row| Credentials::from(row).user).collect())
}

/// Changes a profile and gives it as it is now; `UserProfileUpdated` and `UserUpdated`.
///
/// # Errors
/// [`StoreError::NotFound`] when there is no such user; [`StoreError::Constraint`] with [`IMAGE_NOT_THEIRS`] when the picture
/// is one of ours, and not theirs.
pub async fn update_profile(
    db: &mut Db,
    user: UserId,
    change: &ProfileChange,
    now: Timestamp,
) -> Result<User, StoreError> {
    let avatar = change.avatar.as_ref().and_then(Option::as_ref).map(Avatar::as_str);
    execute!(
        db,
        "UPDATE users
         SET display_name = COALESCE($2, display_name),
             bio = COALESCE($3, bio),
             avatar = CASE WHEN $4 THEN $5 ELSE avatar END,
             updated_at = $6
         WHERE id = $1 AND deleted_at IS NULL",
        user.uuid(),
        change.display_name.as_ref().map(DisplayName::as_str),
        change.bio.as_ref().map(Bio::as_str),
        change.avatar.is_some(),
        avatar,
        now.millis(),
    )?;
    let updated = find_user(db, user).await?.ok_or(StoreError::NotFound)?;
    if change.display_name.is_some() {
        let name = (updated.handle.as_str(), updated.display_name.as_str());
        names::replace_names(db, user, Some(name)).await?;
    }
    if change.avatar.is_some() {
        let shown = match avatar.map(origin_of) {
            Some(Ok(Origin::Ours(image))) => Some(image),
            Some(Ok(Origin::Elsewhere)) | None => None,
            Some(Err(_)) => return Err(StoreError::Constraint(IMAGE_NOT_THEIRS.to_owned())),
        };
        images::show_only(db, user, shown, now).await?;
    }
    let data = json!({
        "user_id": user,
        "handle": updated.handle,
        "display_name": updated.display_name,
        "avatar": updated.avatar,
    });
    publish(db, "UserProfileUpdated", user, data.clone(), now).await?;
    publish(db, "UserUpdated", user, data, now).await?;
    Ok(updated)
}

/// Replaces the password; `PasswordChanged`. Which sessions end with it is the caller's decision.
///
/// # Errors
/// [`StoreError::NotFound`] when there is no such user.
pub async fn update_password(
    db: &mut Db,
    user: UserId,
    password_hash: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows = execute!(
        db,
        "UPDATE users
         SET password_hash = $2, updated_at = $3
         WHERE id = $1 AND deleted_at IS NULL",
        user.uuid(),
        password_hash,
        now.millis(),
    )?;
    if rows == 0 {
        return Err(StoreError::NotFound);
    }
    let event = event(AUTH_EVENTS, "PasswordChanged", user, json!({ "user_id": user }), now);
    outbox::append(db, &event).await
}

/// Holds the account while its password is still the one behind `old_hash`, and keeps that password as `new_hash`
/// (the same, or one of other costs). Gives whether it was; the row stays locked until the transaction ends.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn confirm_password_hash(
    db: &mut Db,
    user: UserId,
    old_hash: &str,
    new_hash: &str,
) -> Result<bool, StoreError> {
    let rows = execute!(
        db,
        "UPDATE users
         SET password_hash = $3
         WHERE id = $1 AND password_hash = $2 AND deleted_at IS NULL",
        user.uuid(),
        old_hash,
        new_hash,
    )?;
    Ok(rows > 0)
}

/// Notes that a user reads their mail; `UserVerified`, once.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn update_verified(db: &mut Db, user: UserId, now: Timestamp) -> Result<(), StoreError> {
    let rows = execute!(
        db,
        "UPDATE users
         SET verified_at = $2, updated_at = $2
         WHERE id = $1 AND verified_at IS NULL AND deleted_at IS NULL",
        user.uuid(),
        now.millis(),
    )?;
    if rows == 0 {
        return Ok(());
    }
    publish(db, "UserVerified", user, json!({ "user_id": user }), now).await
}

/// Waits until no other account is being deleted, and has others wait until the transaction ends. Two who know each other
/// would otherwise each hold their own row and wait for that of the other.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn lock_deletions(db: &mut Db) -> Result<(), StoreError> {
    let lock = db.dialect("SELECT $1", "SELECT pg_advisory_xact_lock($1)");
    execute!(db, lock, DELETIONS_LOCK).map(|_| ())
}

/// Holds those of `users` who are still there, in the order of their ids, so that none of them leaves before the
/// transaction ends; nothing else that happens to them has to wait. Gives who they are.
///
/// Whoever writes what an account's deletion takes away does this first: the deletion locks the account before it.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn hold_users(db: &mut Db, users: &[UserId]) -> Result<HashSet<UserId>, StoreError> {
    let select = db.dialect(
        "SELECT id FROM users
         WHERE id IN (SELECT unhex(replace(value, '-', '')) FROM json_each($1))
           AND deleted_at IS NULL",
        "SELECT id FROM users
         WHERE id IN (SELECT value::uuid FROM jsonb_array_elements_text($1::jsonb))
           AND deleted_at IS NULL
         ORDER BY id
         FOR KEY SHARE",
    );
    let rows = fetch_all!(db, (Uuid,), select, json!(users).to_string())?;
    Ok(rows.into_iter().map(|(user,)| user.into()).collect())
}

/// Keeps an account from being closed for as long as the transaction lasts; `false` where it was.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn keep_account(db: &mut Db, user: UserId) -> Result<bool, StoreError> {
    let select = db.dialect(
        "SELECT deleted_at FROM users WHERE id = $1",
        "SELECT deleted_at FROM users WHERE id = $1 FOR SHARE",
    );
    let found = fetch_optional!(db, (Option<i64>,), select, user.uuid())?;
    Ok(found.is_none_or(|(deleted_at,)| deleted_at.is_none()))
}

/// Takes everything personal out of an account and closes it for good; `UserDeleted`.
///
/// The row stays, because messages and rooms point to it. Handle and address are free again.
///
/// # Errors
/// [`StoreError::NotFound`] when there is no such user.
pub async fn delete_user(db: &mut Db, user: UserId, now: Timestamp) -> Result<(), StoreError> {
    // Longer than a handle may be, and no address: nobody can have registered either.
    let tombstone = format!("deleted-{user}");
    let rows = execute!(
        db,
        "UPDATE users
         SET handle = $2, handle_key = $2, email = $2, email_key = $2, display_name = 'Deleted user',
             bio = '', avatar = NULL, roles = '', password_hash = '',
             verified_at = NULL, updated_at = $3, deleted_at = $3
         WHERE id = $1 AND deleted_at IS NULL",
        user.uuid(),
        tombstone,
        now.millis(),
    )?;
    if rows == 0 {
        return Err(StoreError::NotFound);
    }
    execute!(db, "DELETE FROM one_time_tokens WHERE user_id = $1", user.uuid())?;
    preferences::delete_preferences(db, user).await?;
    deliveries::delete_deliveries_to(db, user).await?;
    retention::delete_notifications_of(db, user).await?;
    inboxes::delete_inbox_events(db, user).await?;
    devices::delete_devices_of(db, user).await?;
    execute!(db, "DELETE FROM user_settings WHERE user_id = $1", user.uuid())?;
    names::replace_names(db, user, None).await?;
    images::drop_shown(db, user, now).await?;
    message_images::drop_unsent_of(db, user, now).await?;
    phones::delete_phone(db, user, now).await?;
    publish(db, "UserDeleted", user, json!({ "user_id": user }), now).await
}

/// The failed logins of one subject.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_login_failures(
    db: &mut Db,
    subject: &[u8],
) -> Result<Option<Failures>, StoreError> {
    let row = fetch_optional!(
        db,
        (i64, i64),
        "SELECT failures, last_at
         FROM login_failures
         WHERE subject = $1",
        subject,
    )?;
    Ok(row.map(|(failures, last_at)| Failures {
        count: u32::try_from(failures).unwrap_or(u32::MAX),
        last_at: Timestamp::from_millis(last_at),
    }))
}

/// Counts one more failed login of a subject; a long quiet one starts at one.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn insert_login_failure(
    db: &mut Db,
    subject: &[u8],
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO login_failures (subject, failures, last_at)
         VALUES ($1, 1, $2)
         ON CONFLICT (subject) DO UPDATE
         SET failures = CASE WHEN login_failures.last_at <= $3 THEN 1 ELSE login_failures.failures + 1 END,
             last_at = $2",
        subject,
        now.millis(),
        now.minus(FORGET_AFTER).millis(),
    )
    .map(|_| ())
}

/// Forgets the failed logins of a subject.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn delete_login_failures(db: &mut Db, subject: &[u8]) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM login_failures WHERE subject = $1", subject).map(|_| ())
}

pub(super) async fn publish(
    db: &mut Db,
    name: &'static str,
    user: UserId,
    data: Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    outbox::append(db, &event(USER_EVENTS, name, user, data, now)).await
}

/// An event about one user.
pub(super) fn event(
    topic: &'static str,
    name: &'static str,
    user: UserId,
    data: Value,
    now: Timestamp,
) -> DomainEvent {
    DomainEvent {
        id: clock::new_uuid().into(),
        topic,
        name,
        subject: user.to_string(),
        at: now,
        data,
    }
}

/// What the outbox says about one subject, in order.
#[cfg(test)]
pub async fn list_event_names(db: &mut Db, subject: &str) -> Result<Vec<String>, StoreError> {
    let names = fetch_all!(
        db,
        (String,),
        "SELECT name
         FROM outbox
         WHERE subject = $1
         ORDER BY id",
        subject,
    )?;
    Ok(names.into_iter().map(|(name,)| name).collect())
}

//! Settings: what people have chosen for themselves. No row is every default.
//!
//! Whoever needs one setting of many users reads the columns of `user_settings` in their own query; a user without a row
//! counts as [`Settings::default`].

use serde_json::json;

use super::accounts::event;
use super::{Db, Store, StoreError, execute, fetch_optional, outbox};
use crate::domain::events::USER_EVENTS;
use crate::domain::ids::UserId;
use crate::domain::locales::Locale;
use crate::domain::settings::{
    Audience, ProfileVisibility, Settings, SettingsChange, StoredSettings, Suitors, TimeZoneName,
};
use crate::domain::time::Timestamp;

#[derive(sqlx::FromRow)]
struct Row {
    locale: String,
    time_zone: String,
    profile: String,
    findable: bool,
    who_may_message: String,
    who_may_befriend: String,
    who_sees_presence: String,
    quiet_from: Option<i64>,
    quiet_until: Option<i64>,
}

impl From<Row> for StoredSettings {
    fn from(row: Row) -> Self {
        let Row {
            locale,
            time_zone,
            profile,
            findable,
            who_may_message,
            who_may_befriend,
            who_sees_presence,
            quiet_from,
            quiet_until,
        } = row;
        Self {
            locale,
            time_zone,
            profile,
            findable,
            who_may_message,
            who_may_befriend,
            who_sees_presence,
            quiet_from,
            quiet_until,
        }
    }
}

/// The settings of a user; the defaults for one who has chosen nothing.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_settings(db: &mut Db, user: UserId) -> Result<Settings, StoreError> {
    let row = fetch_optional!(
        db,
        Row,
        "SELECT locale, time_zone, profile, findable, who_may_message, who_may_befriend,
                who_sees_presence, quiet_from, quiet_until
         FROM user_settings
         WHERE user_id = $1",
        user.uuid(),
    )?;
    Ok(row.map(|row| Settings::from_stored(&row.into())).unwrap_or_default())
}

/// Changes settings and gives them as they are now; `UserSettingsUpdated`.
///
/// # Errors
/// [`StoreError::NotFound`] when there is no such user.
pub async fn update_settings(
    db: &mut Db,
    user: UserId,
    change: &SettingsChange,
    now: Timestamp,
) -> Result<Settings, StoreError> {
    // Locked, so that an account that is being deleted gets no row behind its back.
    let lock = db.dialect(
        "SELECT 1 FROM users WHERE id = $1 AND deleted_at IS NULL",
        "SELECT 1::bigint FROM users WHERE id = $1 AND deleted_at IS NULL FOR SHARE",
    );
    fetch_optional!(db, (i64,), lock, user.uuid())?.ok_or(StoreError::NotFound)?;
    let quiet = change.quiet_hours.flatten();
    execute!(
        db,
        "INSERT INTO user_settings
             (user_id, locale, time_zone, profile, findable, who_may_message, who_may_befriend,
              who_sees_presence, quiet_from, quiet_until, updated_at)
         VALUES ($1, COALESCE($2, 'en'), COALESCE($3, 'UTC'), COALESCE($4, 'public'),
                 COALESCE($5, TRUE), COALESCE($6, 'everyone'), COALESCE($7, 'everyone'),
                 COALESCE($8, 'everyone'), $10, $11, $12)
         ON CONFLICT (user_id) DO UPDATE
         SET locale = COALESCE($2, user_settings.locale),
             time_zone = COALESCE($3, user_settings.time_zone),
             profile = COALESCE($4, user_settings.profile),
             findable = COALESCE($5, user_settings.findable),
             who_may_message = COALESCE($6, user_settings.who_may_message),
             who_may_befriend = COALESCE($7, user_settings.who_may_befriend),
             who_sees_presence = COALESCE($8, user_settings.who_sees_presence),
             quiet_from = CASE WHEN $9 THEN $10 ELSE user_settings.quiet_from END,
             quiet_until = CASE WHEN $9 THEN $11 ELSE user_settings.quiet_until END,
             updated_at = $12",
        user.uuid(),
        change.locale.as_ref().map(Locale::as_str),
        change.time_zone.as_ref().map(TimeZoneName::as_str),
        change.profile.map(ProfileVisibility::as_str),
        change.findable,
        change.who_may_message.map(Audience::as_str),
        change.who_may_befriend.map(Suitors::as_str),
        change.who_sees_presence.map(Audience::as_str),
        change.quiet_hours.is_some(),
        quiet.map(|hours| i64::from(hours.from().minutes())),
        quiet.map(|hours| i64::from(hours.until().minutes())),
        now.millis(),
    )?;
    let data = json!({ "user_id": user });
    outbox::append(db, &event(USER_EVENTS, "UserSettingsUpdated", user, data, now)).await?;
    find_settings(db, user).await
}

impl Store {
    /// As [`find_settings`].
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn settings(&self, user: UserId) -> Result<Settings, StoreError> {
        self.read(move |db| Box::pin(async move { find_settings(db, user).await })).await
    }

    /// As [`update_settings`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such user.
    pub async fn change_settings(
        &self,
        user: UserId,
        change: SettingsChange,
        now: Timestamp,
    ) -> Result<Settings, StoreError> {
        self.write(move |db| Box::pin(async move { update_settings(db, user, &change, now).await }))
            .await
    }
}

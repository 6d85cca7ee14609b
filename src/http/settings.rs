//! Settings over HTTP: what the caller has chosen for themselves.

use actix_web::web::{self, ServiceConfig};
use actix_web::{get, patch};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::auth::refusals::{BodyRefusals, CallerRefusals, PublicRefusals};
use super::caller::Caller;
use super::users::present;
use crate::clock;
use crate::domain::accounts::AccountError;
use crate::domain::ids::UserId;
use crate::domain::locales::Locale;
use crate::domain::settings::{
    Audience, MinuteOfDay, ProfileVisibility, QuietHours, Settings, SettingsChange, SettingsError,
    Suitors, TimeZoneName,
};
use crate::error::{ApiError, ApiResult};
use crate::store::{Store, StoreError};

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(read_settings).service(update_settings);
}

/// What [`routes`] serves, for `/openapi.json`.
#[derive(OpenApi)]
#[openapi(paths(read_settings, update_settings))]
pub struct Doc;

/// Everything that a user has chosen, or what stands for it.
#[derive(Serialize, ToSchema)]
struct SettingsView {
    /// A language tag (BCP 47); whoever writes to the user falls back to one that there are words in.
    #[schema(example = "ko-KR")]
    locale: String,
    /// A name of the IANA database.
    #[schema(example = "Asia/Seoul")]
    time_zone: String,
    /// Who may read the whole profile: everybody, or friends.
    profile: ProfileVisibility,
    /// Whether others find the user by their names.
    findable: bool,
    who_may_message: Audience,
    /// `common`: those who share a room or a friend with the user.
    who_may_befriend: Suitors,
    who_sees_presence: Audience,
    /// In the user's time zone; null for none.
    quiet_hours: Option<QuietHours>,
}

/// What changes; what is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SettingsBody {
    /// A well-formed language tag (BCP 47).
    #[schema(max_length = 35, example = "ko-KR")]
    locale: Option<String>,
    /// A name of the IANA database, in any case.
    #[schema(max_length = 64, example = "Asia/Seoul")]
    time_zone: Option<String>,
    profile: Option<ProfileVisibility>,
    findable: Option<bool>,
    who_may_message: Option<Audience>,
    who_may_befriend: Option<Suitors>,
    who_sees_presence: Option<Audience>,
    /// Null ends the quiet.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<QuietHoursBody>)]
    quiet_hours: Option<Option<QuietHoursBody>>,
}

/// From one minute to another, over midnight if need be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct QuietHoursBody {
    from: MinuteOfDay,
    #[schema(example = "07:00")]
    until: MinuteOfDay,
}

impl From<Settings> for SettingsView {
    fn from(settings: Settings) -> Self {
        Self {
            locale: settings.locale.as_str().to_owned(),
            time_zone: settings.time_zone.as_str().to_owned(),
            profile: settings.profile,
            findable: settings.findable,
            who_may_message: settings.who_may_message,
            who_may_befriend: settings.who_may_befriend,
            who_sees_presence: settings.who_sees_presence,
            quiet_hours: settings.quiet_hours,
        }
    }
}

impl TryFrom<SettingsBody> for SettingsChange {
    type Error = SettingsError;

    fn try_from(body: SettingsBody) -> Result<Self, SettingsError> {
        let quiet = |body: QuietHoursBody| QuietHours::new(body.from, body.until);
        Ok(Self {
            profile: body.profile,
            findable: body.findable,
            who_may_message: body.who_may_message,
            who_may_befriend: body.who_may_befriend,
            who_sees_presence: body.who_sees_presence,
            quiet_hours: body.quiet_hours.map(|hours| hours.map(quiet).transpose()).transpose()?,
            ..origin(body.locale.as_deref(), body.time_zone.as_deref())?
        })
    }
}

/// Where somebody is from: language and clock, each if it is said.
pub(super) fn origin(
    locale: Option<&str>,
    time_zone: Option<&str>,
) -> Result<SettingsChange, SettingsError> {
    let locale = locale.map(|tag| Locale::parse(tag).ok_or(SettingsError::LocaleInvalid));
    Ok(SettingsChange {
        locale: locale.transpose()?,
        time_zone: time_zone.map(TimeZoneName::parse).transpose()?,
        ..SettingsChange::default()
    })
}

/// The caller's settings.
#[utoipa::path(
    tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The settings as they are now", body = SettingsView),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[get("/users/settings")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn read_settings(
    caller: Caller,
    store: web::Data<Store>,
) -> ApiResult<web::Json<SettingsView>> {
    let settings = store.settings(caller.user_id).await?;

    Ok(web::Json(settings.into()))
}

/// Changes the caller's settings; what is left out stays as it is.
#[utoipa::path(
    tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The settings as they are now", body = SettingsView),
        CallerRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[patch("/users/settings")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn update_settings(
    caller: Caller,
    body: web::Json<SettingsBody>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<SettingsView>> {
    let change = SettingsChange::try_from(body.into_inner())?;
    let settings = changed(&store, caller.user_id, change).await?;

    Ok(web::Json(settings.into()))
}

async fn changed(store: &Store, user: UserId, change: SettingsChange) -> ApiResult<Settings> {
    let changed = match change == SettingsChange::default() {
        // Nothing to change is nothing to announce.
        true => store.settings(user).await,
        false => store.change_settings(user, change, clock::now()).await,
    };
    changed.map_err(|error| match error {
        StoreError::NotFound => AccountError::UserNotFound.into(),
        other => ApiError::from(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> Result<SettingsChange, SettingsError> {
        serde_json::from_str::<SettingsBody>(json).unwrap().try_into()
    }

    #[test]
    fn what_is_left_out_stays_and_null_ends_the_quiet() {
        assert_eq!(change("{}"), Ok(SettingsChange::default()));
        assert_eq!(change(r#"{"quiet_hours":null}"#).unwrap().quiet_hours, Some(None));
        let hours = change(r#"{"quiet_hours":{"from":"22:00","until":"07:00"}}"#).unwrap();
        assert_eq!(hours.quiet_hours.unwrap().unwrap().until().minutes(), 420);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(change(r#"{"locale":"en_US"}"#), Err(SettingsError::LocaleInvalid));
        assert_eq!(change(r#"{"time_zone":"Mars/Base"}"#), Err(SettingsError::TimeZoneUnknown));
        let never = change(r#"{"quiet_hours":{"from":"22:00","until":"22:00"}}"#);
        assert_eq!(never, Err(SettingsError::QuietHoursInvalid));
        for json in [
            r#"{"profile":"secret"}"#,
            r#"{"quiet_hours":{"from":"22:00"}}"#,
            r#"{"quiet_hours":{"from":"24:00","until":"07:00"}}"#,
            r#"{"unsubscribe_key":"x"}"#,
        ] {
            assert!(serde_json::from_str::<SettingsBody>(json).is_err(), "{json}");
        }
    }
}

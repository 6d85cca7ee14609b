//! Preferences over HTTP: what the caller is told, and how.

use actix_web::web::{self, ServiceConfig};
use actix_web::{get, put};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::auth::refusals::{BodyRefusals, CallerRefusals, PublicRefusals};
use super::caller::Caller;
use crate::clock;
use crate::config::Config;
use crate::domain::ids::UserId;
use crate::domain::media::Medium;
use crate::domain::preferences::{
    Change, Choice, EVERY_KIND, Offer, PreferenceError, Preferences, Scope, check_changes,
    check_digest_minutes, facts_of, kinds,
};
use crate::domain::templates::builtin;
use crate::error::{ApiError, ApiResult};
use crate::store::{Store, StoreError, preferences, templates};

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(read_preferences).service(update_preferences);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(read_preferences, update_preferences))]
pub struct Doc;

/// What a user is told, and how.
#[derive(Debug, Serialize, ToSchema)]
struct PreferencesView {
    /// Each kind and medium that there is a choice or a rule for.
    items: Vec<PreferenceView>,
    /// What was chosen for every kind that has no choice of its own.
    every: Vec<EveryView>,
    /// How long a digest gathers.
    digest_minutes: i64,
    /// Whether that is the default.
    digest_is_default: bool,
}

/// What becomes of notifications of one kind on one medium.
#[derive(Debug, Serialize, ToSchema)]
struct PreferenceView {
    #[schema(example = "message_received")]
    kind: String,
    medium: Medium,
    /// What happens, all things considered.
    choice: Choice,
    /// What would happen if nothing had been chosen.
    default: Choice,
    /// Whether it was chosen for this very kind and medium.
    is_chosen: bool,
    /// Whether it cannot be chosen: it always goes out this way.
    is_mandatory: bool,
}

/// A choice for every kind that has none of its own.
#[derive(Debug, Serialize, ToSchema)]
struct EveryView {
    medium: Medium,
    choice: Choice,
}

/// New choices; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PreferencesBody {
    #[serde(default)]
    #[schema(max_items = 400)]
    items: Vec<ChoiceBody>,
    /// How long a digest gathers; null is the default, left out is as it was.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>, minimum = 5, maximum = 10080)]
    digest_minutes: Option<Option<i64>>,
}

/// One choice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChoiceBody {
    /// A kind, or `*` for every kind that has no choice of its own.
    #[schema(max_length = 64, example = "message_received")]
    kind: String,
    medium: Medium,
    /// Null goes back to the default.
    // Named, so that leaving it out is an error.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    choice: Option<Choice>,
}

/// What the caller is told and how, with what they have chosen, what is the default and what is mandatory.
#[utoipa::path(
    tag = "notifications",
    security(("bearer" = [])),
    responses((status = 200, body = PreferencesView), CallerRefusals, PublicRefusals),
)]
#[get("/notifications/preferences")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn read_preferences(
    caller: Caller,
    store: web::Data<Store>,
    config: web::Data<Config>,
) -> ApiResult<web::Json<PreferencesView>> {
    Ok(web::Json(view(&store, &config, caller.user_id).await?))
}

/// Makes choices: all of them, or none if one is refused.
#[utoipa::path(
    tag = "notifications",
    security(("bearer" = [])),
    responses((status = 200, body = PreferencesView), CallerRefusals, BodyRefusals, PublicRefusals),
)]
#[put("/notifications/preferences")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn update_preferences(
    caller: Caller,
    body: web::Json<PreferencesBody>,
    store: web::Data<Store>,
    config: web::Data<Config>,
) -> ApiResult<web::Json<PreferencesView>> {
    let PreferencesBody { items, digest_minutes } = body.into_inner();
    if let Some(minutes) = digest_minutes.flatten() {
        check_digest_minutes(minutes).map_err(|error| refused("/digest_minutes", error))?;
    }
    let changes = changes(items, &stored_kinds(&store).await?)?;
    let (user, now) = (caller.user_id, clock::now());
    store
        .write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                preferences::update_preferences(db, user, &changes, digest_minutes, now).await
            })
        })
        .await?;

    Ok(web::Json(view(&store, &config, user).await?))
}

async fn view(store: &Store, config: &Config, user: UserId) -> ApiResult<PreferencesView> {
    let (chosen, minutes) = store
        .read::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                let chosen = preferences::list_preferences(db, user).await?;
                Ok((chosen, preferences::find_digest_minutes(db, user).await?))
            })
        })
        .await?;
    let mut kinds: Vec<String> = kinds::KINDS
        .iter()
        .filter(|(_, facts)| facts.is_choosable() || facts.is_critical)
        .map(|(kind, _)| (*kind).to_owned())
        .filter(|kind| kind != builtin::TEST)
        .collect();
    kinds.extend(stored_kinds(store).await?);

    Ok(PreferencesView {
        items: kinds.iter().flat_map(|kind| items_of(kind, &chosen)).collect(),
        every: every(&chosen),
        digest_minutes: minutes.unwrap_or(config.notifications.digest_minutes),
        digest_is_default: minutes.is_none(),
    })
}

/// The kinds that administrators have made.
async fn stored_kinds(store: &Store) -> ApiResult<Vec<String>> {
    let kinds =
        store.read::<_, StoreError, _>(|db| Box::pin(templates::list_stored_kinds(db))).await?;
    let kinds = kinds.into_iter().map(|kind| kind.as_str().to_owned());
    Ok(kinds.filter(|kind| !builtin::is_builtin(kind)).collect())
}

fn items_of(kind: &str, chosen: &Preferences) -> Vec<PreferenceView> {
    let item = |medium| {
        let (default, is_mandatory) = match facts_of(kind).offer(medium) {
            Offer::Always => (Choice::On, true),
            Offer::Choosable(default) => (default, false),
            Offer::Never => return None,
        };
        Some(PreferenceView {
            kind: kind.to_owned(),
            medium,
            choice: chosen.resolve(kind, medium),
            default,
            is_chosen: !is_mandatory && chosen.find(kind, medium).is_some(),
            is_mandatory,
        })
    };
    Medium::OF_USERS.into_iter().filter_map(item).collect()
}

fn every(chosen: &Preferences) -> Vec<EveryView> {
    let choice = |medium| Some(EveryView { medium, choice: chosen.find(EVERY_KIND, medium)? });
    Medium::OF_USERS.into_iter().filter_map(choice).collect()
}

fn changes(items: Vec<ChoiceBody>, stored: &[String]) -> ApiResult<Vec<Change>> {
    let known = |kind: &str| {
        kind == EVERY_KIND || builtin::is_builtin(kind) || stored.iter().any(|it| it == kind)
    };
    let changes = items.into_iter().enumerate().map(|(place, item)| {
        let pointer = || format!("/items/{place}/kind");
        let scope = Scope::parse(&item.kind).map_err(|error| refused(pointer(), error))?;
        if !known(scope.as_str()) {
            return Err(refused(pointer(), PreferenceError::UnknownKind));
        }
        Ok(Change { scope, medium: item.medium, choice: item.choice })
    });
    let changes = changes.collect::<ApiResult<Vec<Change>>>()?;
    check_changes(&changes).map_err(|(place, error)| refused(format!("/items/{place}"), error))?;

    Ok(changes)
}

fn refused(pointer: impl Into<String>, error: PreferenceError) -> ApiError {
    ApiError::Preference { pointer: pointer.into(), error }
}

/// Tells a field that is null from one that is left out.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_stays_and_null_is_the_default() {
        let read = |json| serde_json::from_str::<PreferencesBody>(json);

        assert_eq!(read("{}").unwrap().digest_minutes, None);
        assert_eq!(read(r#"{"digest_minutes":null}"#).unwrap().digest_minutes, Some(None));
        assert_eq!(read(r#"{"digest_minutes":9}"#).unwrap().digest_minutes, Some(Some(9)));
        assert!(read(r#"{"items":[{"kind":"*","medium":"mail"}]}"#).is_err());
        let back = read(r#"{"items":[{"kind":"*","medium":"mail","choice":null}]}"#).unwrap();
        assert_eq!(back.items.first().unwrap().choice, None);
    }
}

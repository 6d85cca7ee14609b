//! Templates over HTTP, for administrators: looking at them, writing new versions, trying them, and going back.

mod bodies;
mod kinds;
pub mod refusals;

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{post, put};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use self::bodies::{
    ActivateBody, KindView, LocaleView, PreviewBody, PreviewView, TemplateBody, TemplateView,
    TestBody, TestView,
};
use self::refusals::TemplateRefusals;
use super::auth::refusals::{BodyRefusals, CallerRefusals, PublicRefusals};
use super::caller::Admin;
use crate::clock;
use crate::config::Config;
use crate::domain::deliveries::NewDelivery;
use crate::domain::ids::{DeliveryId, UserId};
use crate::domain::locales::Locale;
use crate::domain::media::Medium;
use crate::domain::templates::compiled::CompiledTemplate;
use crate::domain::templates::context::AppContext;
use crate::domain::templates::parts::Parts;
use crate::domain::templates::resolve::BUILTIN_VERSION;
use crate::domain::templates::{NotificationKind, TemplateError, builtin, trial};
use crate::error::{ApiResult, Problem};
use crate::store::templates::{self, NewTemplate, TemplateFailure};
use crate::store::{Store, StoreError, deliveries};

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.configure(kinds::routes)
        .service(write_template)
        .service(preview_template)
        .service(test_template)
        .service(activate_template);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(
    kinds::list_templates,
    kinds::read_template,
    kinds::read_version,
    write_template,
    preview_template,
    test_template,
    activate_template,
))]
pub struct Doc;

/// The words in use of a kind in exactly one language.
struct InUse {
    version: i64,
    parts: Parts,
    sample: Map<String, Value>,
}

/// Writes a new version and puts it into use, if it works with the example data.
///
/// A kind that does not exist yet comes to be by it.
#[utoipa::path(
    tag = "templates",
    params(
        ("kind" = String, Path, example = "shop.order_sent"),
        ("locale" = String, Path, example = "ko"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The new version is in use", body = TemplateView),
        (status = 200, description = "The version in use says the same", body = TemplateView),
        (
            status = 409,
            description = "`too_many_templates`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        TemplateRefusals,
        CallerRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[put("/admin/templates/{kind}/{locale}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
async fn write_template(
    admin: Admin,
    path: web::Path<(String, String)>,
    body: web::Json<TemplateBody>,
    store: web::Data<Store>,
    config: web::Data<Config>,
) -> ApiResult<(web::Json<TemplateView>, StatusCode)> {
    let (kind, locale) = parse(&path)?;
    let TemplateBody { parts, data } = body.into_inner();
    trial::check_sample(&data)?;
    let template = CompiledTemplate::compile(&parts, locale.clone())?;
    trial::check(&template, &kind, &app(&config), &data)?;
    let new = NewTemplate { kind, locale, parts, sample: data, by: admin.0.user_id };
    let now = clock::now();
    let (template, is_new) = store
        .write::<_, TemplateFailure, _>(move |db| {
            Box::pin(async move { templates::insert_template(db, &new, now).await })
        })
        .await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };

    Ok((web::Json(template.into()), status))
}

/// Shows what people would be told; keeps nothing.
#[utoipa::path(
    tag = "templates",
    params(
        ("kind" = String, Path, example = "welcome"),
        ("locale" = String, Path, example = "ko"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, body = PreviewView),
        TemplateRefusals,
        CallerRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/admin/templates/{kind}/{locale}/preview")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
async fn preview_template(
    admin: Admin,
    path: web::Path<(String, String)>,
    body: web::Json<PreviewBody>,
    store: web::Data<Store>,
    config: web::Data<Config>,
) -> ApiResult<web::Json<PreviewView>> {
    let (kind, locale) = parse(&path)?;
    let PreviewBody { parts, data } = body.into_inner();
    let (parts, sample) = match parts {
        Some(parts) => (parts, Map::new()),
        None => {
            let in_use = in_use(&store, &kind, &locale).await?;
            (in_use.parts, in_use.sample)
        }
    };
    let data = data.unwrap_or(sample);
    trial::check_sample(&data)?;
    let template = CompiledTemplate::compile(&parts, locale)?;
    let rendered = trial::check(&template, &kind, &app(&config), &data)?;

    Ok(web::Json(rendered.into()))
}

/// Sends the words in use to the administrator who asks, with example data.
#[utoipa::path(
    tag = "templates",
    params(
        ("kind" = String, Path, example = "welcome"),
        ("locale" = String, Path, example = "ko"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "On its way", body = TestView),
        (
            status = 409,
            description = "`no_device`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        TemplateRefusals,
        CallerRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/admin/templates/{kind}/{locale}/test-send")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
async fn test_template(
    admin: Admin,
    path: web::Path<(String, String)>,
    body: web::Json<TestBody>,
    store: web::Data<Store>,
    config: web::Data<Config>,
) -> ApiResult<(web::Json<TestView>, StatusCode)> {
    let (kind, locale) = parse(&path)?;
    let TestBody { medium, data } = body.into_inner();
    let in_use = in_use(&store, &kind, &locale).await?;
    let data = data.unwrap_or(in_use.sample);
    trial::check_sample(&data)?;
    let template = CompiledTemplate::compile(&in_use.parts, locale.clone())?;
    trial::check(&template, &kind, &app(&config), &data)?;
    let data = json!({
        "template": { "kind": kind, "locale": locale, "version": in_use.version },
        "data": data,
        "is_test": true,
    });
    let letters = letters(&store, &kind, admin.0.user_id, medium, &data.to_string()).await?;
    let delivery_ids = letters.iter().map(|letter| letter.id).collect();
    let now = clock::now();
    store
        .write::<_, StoreError, _>(move |db| {
            Box::pin(async move { deliveries::insert_all(db, &letters, now).await })
        })
        .await?;

    Ok((web::Json(TestView { delivery_ids }), StatusCode::ACCEPTED))
}

/// Puts another version into use: an earlier one, or with 0 the built-in one.
#[utoipa::path(
    tag = "templates",
    params(
        ("kind" = String, Path, example = "welcome"),
        ("locale" = String, Path, example = "ko"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, body = LocaleView),
        TemplateRefusals,
        CallerRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/admin/templates/{kind}/{locale}/activate")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
async fn activate_template(
    admin: Admin,
    path: web::Path<(String, String)>,
    body: web::Json<ActivateBody>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<LocaleView>> {
    let (kind, locale) = parse(&path)?;
    let (version, now) = (body.version, clock::now());
    let mut view = KindView::new(kind.clone());
    let head = store
        .write::<_, TemplateFailure, _>(move |db| {
            Box::pin(
                async move { templates::activate_template(db, &kind, &locale, version, now).await },
            )
        })
        .await?;
    let locale = head.locale.clone();
    view.add(head);
    let view = view.locales.into_iter().find(|view| view.locale == locale);

    Ok(web::Json(view.ok_or(TemplateError::NotFound)?))
}

fn parse((kind, locale): &(String, String)) -> Result<(NotificationKind, Locale), TemplateError> {
    let kind = NotificationKind::parse(kind)?;
    Ok((kind, Locale::parse(locale).ok_or(TemplateError::InvalidLocale)?))
}

fn app(config: &Config) -> AppContext {
    AppContext { name: config.notifications.app_name.clone(), url: config.http.base_url() }
}

async fn in_use(store: &Store, kind: &NotificationKind, locale: &Locale) -> ApiResult<InUse> {
    let (wanted, tag) = (kind.clone(), locale.clone());
    let stored = store
        .read::<_, StoreError, _>(move |db| {
            Box::pin(async move { templates::find_template(db, &wanted, &tag).await })
        })
        .await?;
    if let Some(stored) = stored {
        let (version, parts, sample) = (stored.version, stored.parts, stored.sample);
        return Ok(InUse { version, parts, sample });
    }
    let parts = builtin::find(kind.as_str(), locale.as_str()).ok_or(TemplateError::NotFound)?;
    Ok(InUse { version: BUILTIN_VERSION, parts, sample: Map::new() })
}

/// What is sent: to the address of a user, or to each of their devices.
async fn letters(
    store: &Store,
    kind: &NotificationKind,
    user: UserId,
    medium: Medium,
    data: &str,
) -> ApiResult<Vec<NewDelivery>> {
    let targets = match medium {
        Medium::Mail | Medium::Sms => vec![None],
        Medium::Push => {
            let devices = store
                .read::<_, StoreError, _>(move |db| {
                    Box::pin(templates::list_devices_to_test(db, user))
                })
                .await?;
            devices.into_iter().map(|device| Some(device.uuid())).collect()
        }
        Medium::Inbox | Medium::Webhook => return Err(TemplateError::MediumNotTested.into()),
    };
    if targets.is_empty() {
        return Err(TemplateError::NoDevice.into());
    }
    let now = clock::now();
    let letter = |target| NewDelivery {
        id: DeliveryId::from(clock::new_uuid()),
        medium,
        kind: kind.as_str().to_owned(),
        user: Some(user),
        seq: None,
        target,
        digest_key: None,
        data: Some(data.to_owned()),
        due_at: now,
        suppressed: None,
    };
    Ok(targets.into_iter().map(letter).collect())
}

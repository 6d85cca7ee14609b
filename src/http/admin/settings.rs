//! Settings in force, as administrators see them.

use actix_web::get;
use actix_web::web::{self, ServiceConfig};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::config::{Config, Setting, Shown};
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::views::{ReadRefusals, RoleRefusals};
use crate::secrets;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_settings);
}

/// What the node that answers was started with.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingsInForceView {
    /// By name.
    items: Vec<SettingView>,
    /// What is kept beside the settings; never what it is.
    secrets: Vec<SecretStateView>,
}

/// A setting.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingView {
    #[schema(example = "http.listen")]
    name: String,
    /// Null where it is not shown: then `is_set` says whether there is one.
    #[schema(value_type = Object, nullable)]
    value: Value,
    /// `default`, `file` or `environment`.
    #[schema(example = "default")]
    origin: &'static str,
    /// Of what is not shown: whether it is set. Null for everything else.
    is_set: Option<bool>,
}

/// A secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SecretStateView {
    #[schema(example = "smtp_password")]
    name: &'static str,
    is_set: bool,
}

/// Every setting of the node that answers: what it is, and whether that is the default, from the file, or from the environment.
/// Of what may hold a password, and of secrets, only whether they are set.
#[utoipa::path(
    tag = "admin",
    security(("bearer" = [])),
    responses((status = 200, body = SettingsInForceView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/settings")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_settings(
    admin: Admin,
    config: web::Data<Config>,
) -> ApiResult<web::Json<SettingsInForceView>> {
    let items = config.settings.iter().map(SettingView::from).collect();
    // Some of them are files.
    let looking = web::block(move || {
        secrets::NAMES.map(|name| SecretStateView { name, is_set: secrets::is_set(&config, name) })
    });
    let secrets = looking.await.map_err(|_| ApiError::Internal)?.into();

    Ok(web::Json(SettingsInForceView { items, secrets }))
}

impl From<&Setting> for SettingView {
    fn from(setting: &Setting) -> Self {
        let (value, is_set) = match &setting.shown {
            Shown::Value(value) => (value.clone(), None),
            Shown::Secret { is_set } => (Value::Null, Some(*is_set)),
        };
        Self { name: setting.name.clone(), value, origin: setting.origin.as_str(), is_set }
    }
}

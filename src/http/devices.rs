//! Devices over HTTP: where push messages for the caller go. No answer shows an address or a key.

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, delete, get, post};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::caller::Caller;
use super::views::{ChangeRefusals, ReadRefusals, WriteRefusals};
use crate::clock;
use crate::config::Config;
use crate::domain::accounts::AccountError;
use crate::domain::devices::{Device, DeviceAddress, DeviceError, DeviceKind, device_name};
use crate::domain::ids::DeviceId;
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::providers::couriers::outward::guard::Guard;
use crate::store::{Store, StoreError};

/// Routes below the version. To be mounted before anything that takes an id right below `/notifications`.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(register_device).service(list_devices).service(delete_device).service(push_key);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(register_device, list_devices, delete_device, push_key))]
pub struct Doc;

/// The key that browsers subscribe with, where this server sends web push messages.
#[derive(Debug, Clone)]
pub struct PushKey(pub Option<String>);

/// A device to register.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum DeviceBody {
    /// A browser.
    WebPush {
        subscription: SubscriptionBody,
        /// What its user calls it.
        #[schema(min_length = 1, max_length = 100)]
        name: String,
    },
    /// An app on Firebase Cloud Messaging.
    Fcm {
        /// The registration token.
        #[schema(value_type = String, min_length = 1, max_length = 2_048)]
        token: SecretString,
        /// What its user calls it.
        #[schema(min_length = 1, max_length = 100)]
        name: String,
    },
}

/// What `PushSubscription.toJSON()` gives in a browser.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SubscriptionBody {
    #[schema(value_type = String, max_length = 2_048)]
    endpoint: SecretString,
    keys: SubscriptionKeysBody,
    /// Taken and not looked at: a subscription that has ended is refused by its push service.
    #[serde(default, rename = "expirationTime")]
    #[schema(value_type = Option<f64>)]
    _expiration_time: Option<f64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SubscriptionKeysBody {
    #[schema(value_type = String)]
    p256dh: SecretString,
    #[schema(value_type = String)]
    auth: SecretString,
}

/// A device of the caller.
#[derive(Serialize, ToSchema)]
struct DeviceView {
    id: DeviceId,
    kind: DeviceKind,
    name: String,
    created_at: Timestamp,
    /// When it was last registered, or last took a message.
    last_used_at: Timestamp,
}

/// The devices of the caller.
#[derive(Serialize, ToSchema)]
struct DevicesView {
    items: Vec<DeviceView>,
}

/// What a browser subscribes with.
#[derive(Serialize, ToSchema)]
struct PushKeyView {
    /// An uncompressed point of P-256 in base64url: `applicationServerKey` (RFC 8292).
    key: String,
}

impl From<Device> for DeviceView {
    fn from(device: Device) -> Self {
        Self {
            id: device.id,
            kind: device.address.kind(),
            name: device.name,
            created_at: device.created_at,
            last_used_at: device.last_used_at,
        }
    }
}

impl DeviceBody {
    fn parse(self) -> Result<(DeviceAddress, String), DeviceError> {
        let (address, name) = match self {
            Self::WebPush { subscription, name } => {
                let keys = &subscription.keys;
                let address = DeviceAddress::web_push(
                    subscription.endpoint.expose_secret(),
                    keys.p256dh.expose_secret(),
                    keys.auth.expose_secret(),
                )?;
                (address, name)
            }
            Self::Fcm { token, name } => (DeviceAddress::fcm(token.expose_secret())?, name),
        };
        Ok((address, device_name(&name)?))
    }
}

/// Registers a browser or an app for push messages to the caller, for as long as this login lasts.
///
/// An address that is known already becomes the caller's, whoever's it was. Of more than 20 devices, those that were not
/// used for the longest time are forgotten.
#[utoipa::path(
    tag = "notifications",
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The device is new", body = DeviceView),
        (status = 200, description = "The address was known", body = DeviceView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/notifications/devices")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn register_device(
    caller: Caller,
    body: web::Json<DeviceBody>,
    config: web::Data<Config>,
    guard: web::Data<Guard>,
    store: web::Data<Store>,
) -> ApiResult<(web::Json<DeviceView>, StatusCode)> {
    let (address, name) = body.into_inner().parse()?;
    if let DeviceAddress::WebPush { endpoint, .. } = &address {
        let url = guard.check(endpoint).map_err(|_| DeviceError::InvalidEndpoint)?;
        if !url.host_str().is_some_and(|host| config.push.takes_endpoints_at(host)) {
            return Err(DeviceError::UnknownService.into());
        }
    }
    let id = clock::new_uuid().into();
    let owner = (caller.user_id, caller.session_id);
    let inserted = store.insert_device(id, owner, address, name, clock::now()).await;
    let (device, is_new) = inserted.map_err(|error| match error {
        // It ended while its token was still believed.
        StoreError::NotFound => AccountError::Unauthenticated.into(),
        other => ApiError::from(other),
    })?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };

    Ok((web::Json(device.into()), status))
}

/// The caller's devices, the last used first.
#[utoipa::path(
    tag = "notifications",
    security(("bearer" = [])),
    responses((status = 200, body = DevicesView), ReadRefusals),
)]
#[get("/notifications/devices")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn list_devices(
    caller: Caller,
    store: web::Data<Store>,
) -> ApiResult<web::Json<DevicesView>> {
    let devices = store.list_devices(caller.user_id).await?;

    Ok(web::Json(DevicesView { items: devices.into_iter().map(DeviceView::from).collect() }))
}

/// Forgets a device of the caller: no push message goes there any more.
#[utoipa::path(
    tag = "notifications",
    params(("id" = DeviceId, Path)),
    security(("bearer" = [])),
    responses((status = 204, description = "Done"), ChangeRefusals),
)]
#[delete("/notifications/devices/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn delete_device(
    caller: Caller,
    id: web::Path<DeviceId>,
    store: web::Data<Store>,
) -> ApiResult<HttpResponse> {
    if !store.delete_device_of(caller.user_id, *id).await? {
        return Err(DeviceError::NotFound.into());
    }

    Ok(HttpResponse::NoContent().finish())
}

/// The key that browsers subscribe with (VAPID); `no_push_key` where this server sends no web push messages.
#[utoipa::path(
    tag = "notifications",
    security(("bearer" = [])),
    responses((status = 200, body = PushKeyView), ReadRefusals),
)]
#[get("/notifications/push-key")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn push_key(caller: Caller, key: web::Data<PushKey>) -> ApiResult<web::Json<PushKeyView>> {
    let key = key.0.clone().ok_or(DeviceError::NoPushKey)?;

    Ok(web::Json(PushKeyView { key }))
}

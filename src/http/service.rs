//! Callers that are servers: taken from `X-API-Key` and `X-Service-Name` before a handler runs.
//!
//! What a service may do by its scopes, an administrator may as well. Invariant: a handler that asks for one of the
//! authorities below cannot be reached without it; and no key is logged.

use actix_web::dev::Payload;
use actix_web::http::header::HeaderName;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use utoipa::IntoResponses;

use super::caller::{Admin, Caller};
use super::gateway::rate_limit::{check_service_key, check_wrong_credentials};
pub use crate::accounts::service_keys::Service;
use crate::accounts::service_keys::{ServiceKeys, ServiceKeysError};
use crate::domain::ids::UserId;
use crate::domain::service_keys::{KeyText, Scope, ServiceKeyError};
use crate::error::{ApiError, ApiResult, Problem};

/// The key.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Whose key it is, so that a key in the wrong hands or place is noticed.
pub const SERVICE_NAME: HeaderName = HeaderName::from_static("x-service-name");

/// Who does something that services may do.
#[derive(Debug)]
pub enum Principal {
    Service(Service),
    Admin(Caller),
}

impl Principal {
    /// The one for logs and events: `user:` or `service:` and an id.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Service(service) => format!("service:{}", service.id),
            Self::Admin(caller) => format!("user:{}", caller.user_id),
        }
    }

    /// The administrator, whose deeds are in the audit.
    #[must_use]
    pub const fn admin(&self) -> Option<UserId> {
        match self {
            Self::Service(_) => None,
            Self::Admin(caller) => Some(caller.user_id),
        }
    }

    /// Believes a service with this scope, or an administrator where no key was brought.
    fn holding(
        scope: Scope,
        request: &HttpRequest,
        payload: &mut Payload,
    ) -> LocalBoxFuture<'static, ApiResult<Self>> {
        if !request.headers().contains_key(API_KEY) {
            let admin = Admin::from_request(request, payload);
            return Box::pin(async move { admin.await.map(|Admin(caller)| Self::Admin(caller)) });
        }
        let request = request.clone();
        Box::pin(async move {
            let service = authenticate(&request).await?;
            if service.scopes.contains(scope) {
                Ok(Self::Service(service))
            } else {
                Err(ServiceKeyError::ScopeMissing.into())
            }
        })
    }
}

/// Extractors, one for each scope.
macro_rules! authorities {
    ($($(#[$doc:meta])* $name:ident = $scope:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(pub Principal);

        impl FromRequest for $name {
            type Error = ApiError;
            type Future = LocalBoxFuture<'static, ApiResult<Self>>;

            fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
                let found = Principal::holding(Scope::$scope, request, payload);
                Box::pin(async move { found.await.map(Self) })
            }
        }
    )+};
}

authorities! {
    /// Somebody who may send notifications to users.
    NotificationSender = NotificationsSend,
    /// Somebody who may say what is to be paid for, and how much that is.
    OrderKeeper = PaymentsOrders,
    /// Somebody who may do everything with webhook endpoints.
    WebhookManager = WebhooksManage,
}

/// What somebody without authority is told.
#[derive(IntoResponses)]
pub enum AuthorityRefusals {
    /// There is no valid access token, or the service key is not valid (`invalid_service_key`).
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// The caller is no administrator, or the key has no scope for this (`scope_missing`).
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
}

async fn authenticate(request: &HttpRequest) -> ApiResult<Service> {
    let Some(keys) = request.app_data::<web::Data<ServiceKeys>>() else {
        tracing::error!("the application was built without service keys");
        return Err(ApiError::Internal);
    };
    let text = |name: HeaderName| request.headers().get(name)?.to_str().ok();
    let key = text(API_KEY).and_then(KeyText::parse);
    let verified = match (key, text(SERVICE_NAME)) {
        (Some(key), Some(name)) => keys.verify(&key, name).await,
        _ => Err(ServiceKeyError::Invalid.into()),
    };
    match verified {
        Ok(service) => {
            check_service_key(request, service.id).await?;
            Ok(service)
        }
        Err(ServiceKeysError::Key(error)) => {
            check_wrong_credentials(request).await?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

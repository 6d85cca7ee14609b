//! Providers: which there are, how many payments of theirs nobody knows the end of, and whether they take new ones.

use actix_web::web::{self, ServiceConfig};
use actix_web::{get, post};
use serde::Serialize;
use utoipa::ToSchema;

use crate::actors::payments::Payments;
use crate::clock;
use crate::domain::ids::UserId;
use crate::domain::payments::{PaymentError, ProviderName};
use crate::domain::time::Timestamp;
use crate::error::ApiResult;
use crate::http::caller::Admin;
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::http::wallet::views::ReasonBody;
use crate::store::Store;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_providers).service(stop_provider).service(start_provider);
}

/// A provider that takes nothing new: since when, who said so, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StopView {
    at: Timestamp,
    by: UserId,
    reason: String,
}

/// A provider and how it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProviderView {
    #[schema(example = "toss")]
    provider: &'static str,
    /// Whether it is in the settings of the node that answers.
    is_open: bool,
    /// Whether new payments go there.
    is_preferred: bool,
    /// `null` where it takes new payments.
    stopped: Option<StopView>,
    /// Payments that are unknown, confirming or conflicted.
    unknown: i64,
    /// Since when the one that has waited for longest has not changed.
    oldest_unknown_at: Option<Timestamp>,
}

/// The providers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProvidersView {
    providers: Vec<ProviderView>,
}

/// The providers, and how they stand.
#[utoipa::path(
    tag = "admin",
    security(("bearer" = [])),
    responses((status = 200, body = ProvidersView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/providers")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_providers(
    admin: Admin,
    payments: web::Data<Payments>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<ProvidersView>> {
    Ok(web::Json(view(&payments, &store).await?))
}

/// Lets a provider take nothing new: `create`, `confirm` and `capture` are 503 `provider_stopped`, on every node and until it
/// is started again. What has begun goes on: look-ups, refunds, webhooks. A second time it stays as it is.
#[utoipa::path(
    tag = "admin",
    params(("provider" = String, Path, example = "toss")),
    security(("bearer" = [])),
    responses((status = 200, body = ProvidersView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/payments/providers/{provider}/stop")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn stop_provider(
    admin: Admin,
    provider: web::Path<String>,
    body: web::Json<ReasonBody>,
    payments: web::Data<Payments>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<ProvidersView>> {
    let provider = ProviderName::parse(&provider).ok_or(PaymentError::UnknownProvider)?;
    store.stop_provider(provider, admin.0.user_id, body.parse()?, clock::now()).await?;

    Ok(web::Json(view(&payments, &store).await?))
}

/// Lets a provider take payments again.
#[utoipa::path(
    tag = "admin",
    params(("provider" = String, Path, example = "toss")),
    security(("bearer" = [])),
    responses((status = 200, body = ProvidersView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/payments/providers/{provider}/start")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn start_provider(
    admin: Admin,
    provider: web::Path<String>,
    body: web::Json<ReasonBody>,
    payments: web::Data<Payments>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<ProvidersView>> {
    let provider = ProviderName::parse(&provider).ok_or(PaymentError::UnknownProvider)?;
    store.start_provider(provider, admin.0.user_id, body.parse()?, clock::now()).await?;

    Ok(web::Json(view(&payments, &store).await?))
}

async fn view(payments: &Payments, store: &Store) -> ApiResult<ProvidersView> {
    let (stops, counts) = (store.list_provider_stops().await?, store.count_open_payments().await?);
    let providers = ProviderName::ALL.into_iter().map(|provider| {
        let stop = stops.iter().find(|it| it.provider == provider);
        let count = counts.iter().find(|it| it.provider == provider);
        ProviderView {
            provider: provider.as_str(),
            is_open: payments.has_provider(provider),
            is_preferred: payments.is_preferred(provider),
            stopped: stop.map(|it| StopView { at: it.at, by: it.by, reason: it.reason.clone() }),
            unknown: count.map_or(0, |it| it.count),
            oldest_unknown_at: count.and_then(|it| it.oldest),
        }
    });
    Ok(ProvidersView { providers: providers.collect() })
}

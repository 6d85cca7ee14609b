//! Idempotency keys: what became of a request, for whoever asks why it was answered so.
//!
//! Invariant: neither what was asked nor what was answered is shown. An answer may hold what its payer's client needs to pay,
//! and that is nobody else's; its status and code say what it was.

use actix_web::get;
use actix_web::web::{self, ServiceConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock;
use crate::domain::idempotency::{IdempotencyKey, StoredAnswer};
use crate::domain::ids::WorkflowId;
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::views::{ReadRefusals, RoleRefusals};
use crate::store::Store;
use crate::store::idempotency::SeenKey;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_idempotency_keys);
}

/// Whose requests, and under which key.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KeysQuery {
    /// As it was sent in `Idempotency-Key`.
    #[param(min_length = 8, max_length = 255)]
    key: String,
    /// `user:<id>` or `service:<id>`; everybody's, where it is left out.
    #[param(example = "user:0193c0de-0000-7000-8000-000000000000")]
    principal: Option<String>,
}

/// The requests under one key: at most one for each principal and route.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeysView {
    /// The newest first, at most 50.
    items: Vec<KeyView>,
}

/// A request that was sent under a key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyView {
    /// Who has sent it.
    #[schema(example = "user:0193c0de-0000-7000-8000-000000000000")]
    principal: String,
    #[schema(example = "POST /v1/payments/confirm")]
    route: String,
    /// SHA-256 of what it said: another one is another request.
    fingerprint: String,
    /// `answered`; `workflow`: one does it, and a repeat waits for that; `under_way`; `abandoned`: a repeat goes on with it.
    #[schema(example = "answered")]
    state: &'static str,
    /// What it was answered.
    #[schema(example = 402)]
    status: Option<u16>,
    /// Why it was refused.
    #[schema(example = "payment_declined")]
    code: Option<String>,
    workflow_id: Option<WorkflowId>,
    /// What was made for it, and is gone on with.
    resource_id: Option<Uuid>,
    created_at: Timestamp,
    /// Until then it is whoever's who has begun it.
    locked_until: Timestamp,
    /// When it is forgotten.
    expires_at: Timestamp,
}

/// What became of the requests under a key: who sent them, and how they stand. What was asked and answered is not shown.
#[utoipa::path(
    tag = "admin",
    params(KeysQuery),
    security(("bearer" = [])),
    responses((status = 200, body = KeysView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/idempotency-keys")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_idempotency_keys(
    admin: Admin,
    query: web::Query<KeysQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<KeysView>> {
    let KeysQuery { key, principal } = query.into_inner();
    let key = IdempotencyKey::parse(&key).ok_or_else(|| {
        let says = "A key has 8 to 255 visible ASCII characters.";
        ApiError::invalid("?key", "invalid_key", says)
    })?;
    let principal = principal.as_deref().map(principal_of).transpose()?;
    let rows = store.list_idempotency_keys(key, principal, clock::now()).await?;

    Ok(web::Json(KeysView { items: rows.into_iter().map(KeyView::from).collect() }))
}

/// As it was written down when the request was claimed.
fn principal_of(text: &str) -> ApiResult<String> {
    let read = text.split_once(':').filter(|(kind, _)| ["user", "service"].contains(kind));
    let read = read.and_then(|(kind, id)| Some((kind, Uuid::try_parse(id).ok()?)));
    let (kind, id) = read.ok_or_else(|| {
        let says = "A principal is user:<id> or service:<id>.";
        ApiError::invalid("?principal", "invalid_principal", says)
    })?;
    Ok(format!("{kind}:{id}"))
}

/// What a refusal is called.
fn code_of(answer: &StoredAnswer) -> Option<String> {
    let body: Value = serde_json::from_str(&answer.body).ok()?;
    body.get("code")?.as_str().filter(|_| answer.status >= 400).map(str::to_owned)
}

impl From<SeenKey> for KeyView {
    fn from(seen: SeenKey) -> Self {
        Self {
            principal: seen.principal,
            route: seen.route,
            fingerprint: seen.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect(),
            state: seen.state.as_str(),
            status: seen.answer.as_ref().map(|it| it.status),
            code: seen.answer.as_ref().and_then(code_of),
            workflow_id: seen.workflow,
            resource_id: seen.resource,
            created_at: seen.created_at,
            locked_until: seen.locked_until,
            expires_at: seen.expires_at,
        }
    }
}

//! Telephone numbers over HTTP: saying one, proving it with the code that was sent there, and taking it back.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, delete, get, post, put};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::auth::refusals::{BodyRefusals, CallerRefusals, PublicRefusals};
use super::caller::Caller;
use crate::accounts::{Accounts, PhoneState};
use crate::config::Config;
use crate::domain::letters::PhoneNumber;
use crate::domain::phones::PhoneError;
use crate::error::ApiResult;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(read_phone).service(request_code).service(verify_phone).service(delete_phone);
}

/// What [`routes`] serves, for `/openapi.json`.
#[derive(OpenApi)]
#[openapi(paths(read_phone, request_code, verify_phone, delete_phone))]
pub struct Doc;

/// Where the caller's telephone number stands.
#[derive(Serialize, ToSchema)]
struct PhoneView {
    /// Proven: text messages go there.
    #[schema(example = "+821012345678")]
    number: Option<String>,
    /// Waits for the code that was sent to it.
    pending_number: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PhoneBody {
    /// International (E.164); spaces, dots, hyphens and parentheses do not matter.
    #[schema(max_length = 32, example = "+82 10-1234-5678")]
    number: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CodeBody {
    /// Six digits from the text message.
    #[schema(value_type = String, min_length = 6, max_length = 6, example = "012345")]
    code: SecretString,
}

impl From<PhoneState> for PhoneView {
    fn from(state: PhoneState) -> Self {
        let text = |number: PhoneNumber| number.as_str().to_owned();
        Self { number: state.number.map(text), pending_number: state.pending.map(text) }
    }
}

/// The caller's telephone number.
#[utoipa::path(
    tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Where it stands", body = PhoneView),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[get("/users/phone")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn read_phone(
    caller: Caller,
    accounts: web::Data<Accounts>,
) -> ApiResult<web::Json<PhoneView>> {
    let state = accounts.phone(caller.user_id).await?;

    Ok(web::Json(state.into()))
}

/// Sends a code to a telephone number; whoever brings it back within ten minutes has the number.
///
/// The number that was proven before stays until then. The answer does not tell whether somebody else has the number.
#[utoipa::path(
    tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 202, description = "A code is on its way", body = PhoneView),
        CallerRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[put("/users/phone")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn request_code(
    caller: Caller,
    body: web::Json<PhoneBody>,
    accounts: web::Data<Accounts>,
    config: web::Data<Config>,
) -> ApiResult<HttpResponse> {
    let number = PhoneNumber::parse(&body.number).ok_or(PhoneError::NumberInvalid)?;
    accounts.request_phone_code(caller.user_id, number, config.phones.codes_per_day).await?;
    let state = accounts.phone(caller.user_id).await?;

    Ok(HttpResponse::Accepted().json(PhoneView::from(state)))
}

/// Proves the telephone number that a code was sent to.
///
/// A code is good for five tries. Whoever proved a number last has it: anybody else loses it.
#[utoipa::path(
    tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The number is the caller's", body = PhoneView),
        CallerRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/users/phone/verify")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn verify_phone(
    caller: Caller,
    body: web::Json<CodeBody>,
    accounts: web::Data<Accounts>,
) -> ApiResult<web::Json<PhoneView>> {
    accounts.verify_phone(caller.user_id, body.code.expose_secret()).await?;
    let state = accounts.phone(caller.user_id).await?;

    Ok(web::Json(state.into()))
}

/// Forgets the caller's telephone number, and any code that is on its way.
#[utoipa::path(
    tag = "users",
    security(("bearer" = [])),
    responses((status = 204, description = "Done"), CallerRefusals, PublicRefusals),
)]
#[delete("/users/phone")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn delete_phone(caller: Caller, accounts: web::Data<Accounts>) -> ApiResult<HttpResponse> {
    accounts.delete_phone(caller.user_id).await?;

    Ok(HttpResponse::NoContent().finish())
}

//! Logins over HTTP: registering, tokens, sessions, passwords, and the keys that tokens are checked with.

mod bodies;
mod keeping;
pub(super) mod optional;
pub mod refusals;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, SET_COOKIE, USER_AGENT};
use actix_web::web::{self, ServiceConfig};
use actix_web::{CustomizeResponder, HttpRequest, HttpResponse, Responder, delete, get, post};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::OpenApi;

use self::bodies::{
    AuthView, ChangePasswordBody, LoginBody, LogoutBody, RefreshBody, RegisterBody,
    RequestResetBody, ResetPasswordBody, SessionView, SessionsView, TicketView, VerifyEmailBody,
};
use self::keeping::{Keeper, kept, offered, worthless};
use self::optional::Optional;
use self::refusals::{BodyRefusals, CallerRefusals, PublicRefusals};
use super::caller::{Caller, bearer_token};
use super::client_ip::ClientIp;
use super::cookie::Cookie;
use super::settings;
use crate::accounts::{Accounts, AccountsError, Client, Registration, TICKET_TTL};
use crate::clock;
use crate::domain::accounts::AccountError;
use crate::domain::ids::SessionId;
use crate::error::{ApiError, ApiResult, Problem};
use crate::providers::tokens::AccessTokens;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(register)
        .service(login)
        .service(refresh)
        .service(logout)
        .service(change_password)
        .service(verify_email)
        .service(resend_verification)
        .service(request_password_reset)
        .service(reset_password)
        .service(list_sessions)
        .service(revoke_session)
        .service(issue_ticket)
        .service(set_cookie)
        .service(clear_cookie);
}

/// Routes at the root.
pub fn root_routes(cfg: &mut ServiceConfig) {
    cfg.service(jwks);
}

/// What [`routes`] serves, for `/openapi.json`.
#[derive(OpenApi)]
#[openapi(paths(
    register,
    login,
    refresh,
    logout,
    change_password,
    verify_email,
    resend_verification,
    request_password_reset,
    reset_password,
    list_sessions,
    revoke_session,
    issue_ticket,
    set_cookie,
    clear_cookie,
))]
pub struct Doc;

/// What [`root_routes`] serves, for `/openapi.json`.
#[derive(OpenApi)]
#[openapi(paths(jwks))]
pub struct RootDoc;

/// Opens an account and logs it in.
///
/// A token to confirm the address is mailed. Handle or e-mail in use is one and the same 409.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "The account and its first session", body = AuthView),
        (
            status = 403,
            description = "`origin_not_allowed`: `cookie` is not for a page of another origin",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 409,
            description = "`account_exists`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/auth/register")]
#[tracing::instrument(skip_all)]
async fn register(
    body: web::Json<RegisterBody>,
    ip: ClientIp,
    request: HttpRequest,
    accounts: web::Data<Accounts>,
) -> ApiResult<HttpResponse> {
    let RegisterBody { handle, email, password, display_name, locale, time_zone, cookie } =
        body.into_inner();
    let keeper = Keeper::asked(cookie, &request)?;
    let settings = settings::origin(locale.as_deref(), time_zone.as_deref())?;
    let registration = Registration { handle, email, password, display_name, settings };
    let grant = accounts.register(registration, client(&ip, &request)).await?;

    Ok(keeper.answer(grant, StatusCode::CREATED))
}

/// Logs in with handle or e-mail address.
///
/// Every way to be wrong is the same 401. After five failures an account waits, after twenty an address does.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "The session's tokens", body = AuthView),
        (
            status = 401,
            description = "`invalid_credentials`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 403,
            description = "`account_disabled`, told only after the right password; \
                           `origin_not_allowed`: `cookie` is not for a page of another origin",
            body = Problem,
            content_type = "application/problem+json",
        ),
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/auth/login")]
#[tracing::instrument(skip_all)]
async fn login(
    body: web::Json<LoginBody>,
    ip: ClientIp,
    request: HttpRequest,
    accounts: web::Data<Accounts>,
) -> ApiResult<HttpResponse> {
    let keeper = Keeper::asked(body.cookie, &request)?;
    let grant = accounts.login(&body.identifier, &body.password, client(&ip, &request)).await?;

    Ok(keeper.answer(grant, StatusCode::OK))
}

/// Exchanges a refresh token, or the one in the cookie of a page of this origin, for a new pair.
///
/// Each token is good for one exchange, repeated within ten seconds for a second tab. One that comes back later ends the session.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "The session's tokens", body = AuthView),
        (
            status = 401,
            description = "`invalid_refresh_token`, with which a cookie is cleared; `unauthenticated`: no cookie, or not one of a \
                           page of this origin",
            body = Problem,
            content_type = "application/problem+json",
        ),
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/auth/refresh")]
#[tracing::instrument(skip_all)]
async fn refresh(
    body: web::Json<RefreshBody>,
    ip: ClientIp,
    request: HttpRequest,
    accounts: web::Data<Accounts>,
) -> ApiResult<HttpResponse> {
    let (keeper, token) = offered(body.into_inner(), &request)?;
    match accounts.refresh(token.expose_secret(), client(&ip, &request)).await {
        Ok(grant) => Ok(keeper.answer(grant, StatusCode::OK)),
        Err(AccountsError::Account(AccountError::InvalidRefreshToken))
            if keeper == Keeper::Browser =>
        {
            Ok(worthless())
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends the session of the access token, or of the refresh token in the body or in the cookie.
#[utoipa::path(
    tag = "auth",
    request_body(content = Option<LogoutBody>),
    security((), ("bearer" = [])),
    responses(
        (status = 204, description = "Done"),
        (
            status = 401,
            description = "No token was given",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 403,
            description = "`origin_not_allowed`: `cookie` is not for a page of another origin",
            body = Problem,
            content_type = "application/problem+json",
        ),
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/auth/logout")]
#[tracing::instrument(skip_all)]
async fn logout(
    caller: Option<Caller>,
    body: Optional<LogoutBody>,
    request: HttpRequest,
    accounts: web::Data<Accounts>,
) -> ApiResult<HttpResponse> {
    let LogoutBody { refresh_token, cookie } = body.0.unwrap_or_default();
    let keeper = Keeper::asked(cookie, &request)?;
    if caller.is_none() && refresh_token.is_none() && keeper == Keeper::Client {
        return Err(ApiError::Account(AccountError::Unauthenticated));
    }
    if let Some(caller) = &caller {
        accounts.end_session(caller.user_id, caller.session_id).await?;
    }
    let kept = if keeper == Keeper::Browser { kept(&request) } else { None };
    for token in refresh_token.iter().chain(&kept) {
        accounts.logout_by_refresh_token(token.expose_secret()).await?;
    }

    Ok(keeper.farewell())
}

/// Sets a new password. Every other session of the caller ends.
#[utoipa::path(
    tag = "auth",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Done"),
        (
            status = 403,
            description = "`wrong_password`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/auth/password")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn change_password(
    caller: Caller,
    body: web::Json<ChangePasswordBody>,
    ip: ClientIp,
    accounts: web::Data<Accounts>,
) -> ApiResult<HttpResponse> {
    let Caller { user_id, session_id, .. } = caller;
    accounts
        .change_password(user_id, session_id, &body.current_password, &body.new_password, ip.0)
        .await?;

    Ok(HttpResponse::NoContent().finish())
}

/// Confirms an e-mail address with the token that was mailed to it.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "Done"),
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/auth/verify-email")]
#[tracing::instrument(skip_all)]
async fn verify_email(
    body: web::Json<VerifyEmailBody>,
    accounts: web::Data<Accounts>,
) -> ApiResult<HttpResponse> {
    accounts.verify_email(body.token.expose_secret()).await?;

    Ok(HttpResponse::NoContent().finish())
}

/// Mails the token again, unless the address is confirmed or the last mail is younger than a minute.
#[utoipa::path(
    tag = "auth",
    security(("bearer" = [])),
    responses(
        (status = 202, description = "Whether or not a mail was due"),
        (
            status = 404,
            description = "The account is gone",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[post("/auth/verify-email/resend")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn resend_verification(
    caller: Caller,
    accounts: web::Data<Accounts>,
) -> ApiResult<HttpResponse> {
    accounts.resend_verification(caller.user_id).await?;

    Ok(HttpResponse::Accepted().finish())
}

/// Mails a token for a new password, if the address has an account. The answer does not tell.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 202, description = "Whether or not there is such an account"),
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/auth/reset-password")]
#[tracing::instrument(skip_all)]
async fn request_password_reset(
    body: web::Json<RequestResetBody>,
    accounts: web::Data<Accounts>,
) -> ApiResult<HttpResponse> {
    accounts.request_password_reset(&body.email)?;

    Ok(HttpResponse::Accepted().finish())
}

/// Sets a new password with the token that was mailed. Every session of the account ends.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "Done"),
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[post("/auth/reset-password/confirm")]
#[tracing::instrument(skip_all)]
async fn reset_password(
    body: web::Json<ResetPasswordBody>,
    accounts: web::Data<Accounts>,
) -> ApiResult<HttpResponse> {
    accounts.reset_password(body.token.expose_secret(), &body.new_password).await?;

    Ok(HttpResponse::NoContent().finish())
}

/// The caller's open sessions, the last used first.
#[utoipa::path(
    tag = "auth",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "All of them", body = SessionsView),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[get("/auth/sessions")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn list_sessions(
    caller: Caller,
    accounts: web::Data<Accounts>,
) -> ApiResult<web::Json<SessionsView>> {
    let sessions = accounts.sessions(caller.user_id).await?;
    let items =
        sessions.into_iter().map(|session| SessionView::new(session, caller.session_id)).collect();

    Ok(web::Json(SessionsView { items, next_cursor: None }))
}

/// Ends one of the caller's sessions.
#[utoipa::path(
    tag = "auth",
    params(("id" = SessionId, Path, description = "From the list of sessions")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Done"),
        (
            status = 404,
            description = "No open session of the caller",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[delete("/auth/sessions/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn revoke_session(
    caller: Caller,
    id: web::Path<SessionId>,
    accounts: web::Data<Accounts>,
) -> ApiResult<HttpResponse> {
    if !accounts.end_session(caller.user_id, *id).await? {
        return Err(ApiError::Account(AccountError::SessionNotFound));
    }

    Ok(HttpResponse::NoContent().finish())
}

/// Gives a ticket that opens one socket within 30 seconds, for tools that can send no header.
#[utoipa::path(
    tag = "auth",
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Good for one socket", body = TicketView),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[post("/tickets")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn issue_ticket(
    caller: Caller,
    accounts: web::Data<Accounts>,
) -> ApiResult<CustomizeResponder<web::Json<TicketView>>> {
    let ticket = accounts.issue_ticket(caller.user_id, caller.session_id).await?;
    let view =
        TicketView { ticket: ticket.expose_secret().to_owned(), expires_in: TICKET_TTL.as_secs() };

    Ok(private(view, StatusCode::CREATED))
}

/// The public keys of access tokens, as a JSON Web Key Set (RFC 7517).
#[utoipa::path(
    tag = "auth",
    responses((status = 200, description = "The newest key first", body = Object), PublicRefusals),
)]
#[get("/.well-known/jwks.json")]
async fn jwks(tokens: web::Data<AccessTokens>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "public, max-age=300")).json(tokens.jwks())
}

/// Puts the caller's access token into a cookie, for pages of this origin.
///
/// For what cannot set a header, such as `EventSource`. It lasts as long as the token: ask again with each fresh one.
#[utoipa::path(
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 204, description = "The cookie is set"), CallerRefusals),
)]
#[post("/auth/cookie")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn set_cookie(caller: Caller, request: HttpRequest) -> ApiResult<HttpResponse> {
    let token = bearer_token(&request).ok_or(AccountError::Unauthenticated)?;
    let seconds = caller.expires_at.since(clock::now()).as_secs();
    Ok(HttpResponse::NoContent()
        .insert_header((SET_COOKIE, Cookie::Access.set(token, seconds)))
        .finish())
}

/// Makes the browser forget the cookie.
#[utoipa::path(
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 204, description = "The cookie is gone"), CallerRefusals),
)]
#[delete("/auth/cookie")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn clear_cookie(caller: Caller) -> ApiResult<HttpResponse> {
    Ok(HttpResponse::NoContent().insert_header((SET_COOKIE, Cookie::Access.clear())).finish())
}

/// An answer that carries a secret, which nothing on the way may keep.
fn private<T: Serialize>(view: T, status: StatusCode) -> CustomizeResponder<web::Json<T>> {
    web::Json(view).customize().with_status(status).insert_header((CACHE_CONTROL, "no-store"))
}

fn client(ip: &ClientIp, request: &HttpRequest) -> Client {
    let user_agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
    Client::new(ip.0, user_agent.unwrap_or_default())
}

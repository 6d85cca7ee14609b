//! People, as administrators see and change their accounts.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, delete, get, post, put};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::{Accounts, ByHand};
use crate::domain::accounts::Roles;
use crate::domain::ids::{SessionId, UserId};
use crate::domain::names::PersonTerm;
use crate::domain::time::Timestamp;
use crate::error::ApiResult;
use crate::http::caller::Admin;
use crate::http::page::{Cursor, InvalidCursor, Limit, Page, decode};
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::http::wallet::views::{ReasonBody, parse_reason};
use crate::store::Store;
use crate::store::accounts::User;
use crate::store::people::{ListedPerson, PersonCursor};
use crate::store::sessions::Session;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_people)
        .service(read_person)
        .service(suspend_user)
        .service(restore_user)
        .service(give_roles)
        .service(end_sessions)
        .service(end_session);
}

/// Whom to look for, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PeopleQuery {
    /// The beginning of a handle, of any word of a display name or, with an `@` behind it, of an e-mail address. Left out:
    /// everybody.
    #[param(min_length = 1, max_length = 400, example = "jisoo@")]
    q: Option<String>,
    /// The `next_cursor` of the page before, for the same `q`; the first page without.
    cursor: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
}

/// Somebody's account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AdminUserView {
    id: UserId,
    handle: String,
    display_name: String,
    email: String,
    avatar: Option<String>,
    roles: Roles,
    /// `active` or `suspended`.
    #[schema(example = "active")]
    status: &'static str,
    /// When they confirmed their e-mail address; null until then.
    verified_at: Option<Timestamp>,
    /// Since when they cannot log in.
    suspended_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Somebody's account, and where they are logged in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AdminUserDetailsView {
    #[serde(flatten)]
    user: AdminUserView,
    /// The open ones, the last used first; at most 100.
    sessions: Vec<OpenSessionView>,
}

/// One login of somebody's.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenSessionView {
    id: SessionId,
    user_agent: String,
    ip: String,
    created_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
}

/// What somebody may do from now on, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RolesBody {
    /// All of them; `USER` goes without saying.
    roles: Roles,
    /// 1 to 500 characters.
    #[schema(max_length = 500, example = "Looks after the rooms from today.")]
    reason: String,
}

/// How many sessions have ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndedView {
    ended: usize,
}

/// Accounts, the newest first, or those that are found.
///
/// Those who are found come in the order of the word or address by which they are; so do those who do not want to be found by
/// others. Deleted accounts are not in the list.
#[utoipa::path(
    tag = "admin",
    params(PeopleQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<AdminUserView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/users")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_people(
    admin: Admin,
    query: web::Query<PeopleQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<AdminUserView>>> {
    let PeopleQuery { q, cursor, limit } = query.into_inner();
    let term = q.as_deref().map(PersonTerm::parse).transpose()?;
    let after: Option<PersonCursor> = cursor.as_deref().map(decode).transpose()?;
    if after.as_ref().is_some_and(|after| !after.is_of(term.as_ref())) {
        return Err(InvalidCursor.into());
    }
    let rows = store.list_accounts(term, after, limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, limit, |person: &ListedPerson| person.cursor.clone())))
}

/// An account, and where its owner is logged in.
#[utoipa::path(
    tag = "admin",
    params(("id" = UserId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = AdminUserDetailsView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/users/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn read_person(
    admin: Admin,
    id: web::Path<UserId>,
    accounts: web::Data<Accounts>,
) -> ApiResult<web::Json<AdminUserDetailsView>> {
    let user = accounts.user(*id).await?.into();
    let sessions = accounts.sessions(*id).await?;
    let sessions = sessions.into_iter().map(OpenSessionView::from).collect();

    Ok(web::Json(AdminUserDetailsView { user, sessions }))
}

/// Suspends an account: its sessions end at once, its sockets with 4307, and nobody logs in to it. One that is suspended stays
/// so. Nobody suspends themselves (`own_decision`).
#[utoipa::path(
    tag = "admin",
    params(("id" = UserId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = AdminUserView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/users/{id}/suspend")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn suspend_user(
    admin: Admin,
    id: web::Path<UserId>,
    body: web::Json<ReasonBody>,
    accounts: web::Data<Accounts>,
) -> ApiResult<web::Json<AdminUserView>> {
    let deed = by_hand(&admin, &body.reason)?;

    Ok(web::Json(accounts.suspend(*id, deed).await?.into()))
}

/// Lets somebody in again who was suspended.
#[utoipa::path(
    tag = "admin",
    params(("id" = UserId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = AdminUserView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/users/{id}/restore")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn restore_user(
    admin: Admin,
    id: web::Path<UserId>,
    body: web::Json<ReasonBody>,
    accounts: web::Data<Accounts>,
) -> ApiResult<web::Json<AdminUserView>> {
    let deed = by_hand(&admin, &body.reason)?;

    Ok(web::Json(accounts.restore(*id, deed).await?.into()))
}

/// Gives somebody these roles and no others. Nobody changes their own (`own_decision`), so that there is always an
/// administrator left.
///
/// Where that takes a role away, their sessions end: access tokens say which roles they are good for. A role that is added
/// counts from the next refresh on.
#[utoipa::path(
    tag = "admin",
    params(("id" = UserId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = AdminUserView), ChangeRefusals, WriteRefusals),
)]
#[put("/admin/users/{id}/roles")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn give_roles(
    admin: Admin,
    id: web::Path<UserId>,
    body: web::Json<RolesBody>,
    accounts: web::Data<Accounts>,
) -> ApiResult<web::Json<AdminUserView>> {
    let RolesBody { roles, reason } = body.into_inner();
    let deed = by_hand(&admin, &reason)?;

    Ok(web::Json(accounts.give_roles(*id, roles, deed).await?.into()))
}

/// Ends every session of somebody at once.
#[utoipa::path(
    tag = "admin",
    params(("id" = UserId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = EndedView), ChangeRefusals, WriteRefusals),
)]
#[delete("/admin/users/{id}/sessions")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn end_sessions(
    admin: Admin,
    id: web::Path<UserId>,
    body: web::Json<ReasonBody>,
    accounts: web::Data<Accounts>,
) -> ApiResult<web::Json<EndedView>> {
    let deed = by_hand(&admin, &body.reason)?;
    let ended = accounts.end_sessions_by_hand(*id, deed).await?;

    Ok(web::Json(EndedView { ended }))
}

/// Ends one session of somebody at once.
#[utoipa::path(
    tag = "admin",
    params(("id" = UserId, Path), ("session" = SessionId, Path)),
    security(("bearer" = [])),
    responses((status = 204, description = "Done"), ChangeRefusals, WriteRefusals),
)]
#[delete("/admin/users/{id}/sessions/{session}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn end_session(
    admin: Admin,
    path: web::Path<(UserId, SessionId)>,
    body: web::Json<ReasonBody>,
    accounts: web::Data<Accounts>,
) -> ApiResult<HttpResponse> {
    let (user, session) = path.into_inner();
    let deed = by_hand(&admin, &body.reason)?;
    accounts.end_session_by_hand(user, session, deed).await?;

    Ok(HttpResponse::NoContent().finish())
}

fn by_hand(admin: &Admin, reason: &str) -> ApiResult<ByHand> {
    Ok(ByHand { by: admin.0.user_id, reason: parse_reason(reason)? })
}

impl From<User> for AdminUserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            handle: user.handle,
            display_name: user.display_name,
            email: user.email,
            avatar: user.avatar,
            roles: user.roles,
            status: if user.disabled_at.is_some() { "suspended" } else { "active" },
            verified_at: user.verified_at,
            suspended_at: user.disabled_at,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

impl From<ListedPerson> for AdminUserView {
    fn from(person: ListedPerson) -> Self {
        person.user.into()
    }
}

impl From<Session> for OpenSessionView {
    fn from(session: Session) -> Self {
        let Session { id, user_agent, ip, created_at, last_used_at, expires_at } = session;
        Self { id, user_agent, ip, created_at, last_used_at, expires_at }
    }
}

impl Cursor for PersonCursor {
    fn to_text(&self) -> String {
        format!("{}:{}", self.id, self.found_by)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (id, found_by) = text.split_once(':')?;
        // No database takes it in a text.
        let is_text = !found_by.contains('\0');
        is_text
            .then(|| Some(Self { id: id.parse().ok()?, found_by: found_by.to_owned() }))
            .flatten()
    }
}

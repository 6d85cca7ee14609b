//! Sessions: one row per login, its family of single-use refresh tokens, and the one-time tokens beside them.
//!
//! Invariant: a token is exchanged or taken at most once (twice within the grace, for the second tab); a refresh token
//! that comes back later is a stolen one, and ends the session with all its tokens.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::accounts::{User, event, find_user};
use super::{Db, StoreError, devices, execute, fetch_all, fetch_one, fetch_optional, outbox};
use crate::domain::backoff::FORGET_AFTER;
use crate::domain::events::AUTH_EVENTS;
use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::Timestamp;

/// Logins one user may have open; the least recently used one ends when another opens.
pub const SESSIONS_PER_USER_MAX: i64 = 100;

/// A login that can still be refreshed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub user_agent: String,
    pub ip: String,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A login about to exist, with its first refresh token.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub id: SessionId,
    pub user_id: UserId,
    pub user_agent: String,
    pub ip: String,
    pub refresh_hash: [u8; 32],
    pub expires_at: Timestamp,
}

/// One exchange of a refresh token.
#[derive(Debug, Clone)]
pub struct RefreshRequest {
    pub presented: [u8; 32],
    pub fresh: [u8; 32],
    pub ip: String,
    pub ttl: Duration,
    pub grace: Duration,
    pub now: Timestamp,
}

/// What became of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// The fresh token is in force.
    Granted { session: SessionId, user: Box<User> },
    /// The token had been used before: its session has been ended.
    Reused { session: SessionId, user: UserId },
    /// Unknown, expired, or of a session or account that has ended.
    Refused,
}

/// What a one-time token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    VerifyEmail,
    ResetPassword,
    Ticket,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
            Self::Ticket => "ticket",
        }
    }
}

/// A one-time token about to exist.
#[derive(Debug, Clone)]
pub struct NewOneTimeToken {
    pub hash: [u8; 32],
    pub purpose: Purpose,
    pub user_id: UserId,
    pub session_id: Option<SessionId>,
    pub expires_at: Timestamp,
}

/// Whose one-time token it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenOwner {
    pub user_id: UserId,
    pub session_id: Option<SessionId>,
}

/// Opens a session; `SessionOpened`. Gives the sessions that had to end for it.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn insert_session(
    db: &mut Db,
    session: &NewSession,
    now: Timestamp,
) -> Result<Vec<SessionId>, StoreError> {
    execute!(
        db,
        "INSERT INTO sessions (id, user_id, user_agent, ip, created_at, last_used_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $5, $6)",
        session.id.uuid(),
        session.user_id.uuid(),
        session.user_agent.as_str(),
        session.ip.as_str(),
        now.millis(),
        session.expires_at.millis(),
    )?;
    insert_refresh_token(db, &session.refresh_hash, session.id, session.expires_at, now).await?;
    let ended: Vec<(Uuid,)> = fetch_all!(
        db,
        (Uuid,),
        "UPDATE sessions
         SET revoked_at = $2
         WHERE user_id = $1 AND revoked_at IS NULL AND id NOT IN (
             SELECT id
             FROM sessions
             WHERE user_id = $1 AND revoked_at IS NULL
             ORDER BY last_used_at DESC, id DESC
             LIMIT $3
         )
         RETURNING id",
        session.user_id.uuid(),
        now.millis(),
        SESSIONS_PER_USER_MAX,
    )?;
    publish(db, "SessionOpened", session.user_id, session.id, now).await?;
    let ended: Vec<SessionId> = ended.into_iter().map(|(id,)| id.into()).collect();
    for id in &ended {
        publish(db, "SessionRevoked", session.user_id, *id, now).await?;
    }
    devices::delete_devices_of_sessions(db, &ended).await?;
    Ok(ended)
}

/// The open sessions of a user, the last used first.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_sessions(
    db: &mut Db,
    user: UserId,
    now: Timestamp,
) -> Result<Vec<Session>, StoreError> {
    let rows = fetch_all!(
        db,
        (Uuid, String, String, i64, i64, i64),
        "SELECT id, user_agent, ip, created_at, last_used_at, expires_at
         FROM sessions
         WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
         ORDER BY last_used_at DESC, id DESC
         LIMIT $3",
        user.uuid(),
        now.millis(),
        SESSIONS_PER_USER_MAX,
    )?;
    let session =
        |(id, user_agent, ip, created_at, last_used_at, expires_at): (Uuid, _, _, _, _, _)| {
            Session {
                id: id.into(),
                user_agent,
                ip,
                created_at: Timestamp::from_millis(created_at),
                last_used_at: Timestamp::from_millis(last_used_at),
                expires_at: Timestamp::from_millis(expires_at),
            }
        };
    Ok(rows.into_iter().map(session).collect())
}

/// Whether a session of this user is open.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_session_open(
    db: &mut Db,
    user: UserId,
    session: SessionId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (open,): (i64,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*)
         FROM sessions
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3",
        session.uuid(),
        user.uuid(),
        now.millis(),
    )?;
    Ok(open > 0)
}

/// Ends one session of a user; `SessionRevoked`. Gives whether it was open.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn revoke_session(
    db: &mut Db,
    user: UserId,
    session: SessionId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let rows = execute!(
        db,
        "UPDATE sessions
         SET revoked_at = $3
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL",
        session.uuid(),
        user.uuid(),
        now.millis(),
    )?;
    if rows > 0 {
        devices::delete_devices_of_sessions(db, &[session]).await?;
        publish(db, "SessionRevoked", user, session, now).await?;
    }
    Ok(rows > 0)
}

/// Ends every session of a user but `kept`; one `SessionRevoked` each. Gives those that ended.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn revoke_sessions(
    db: &mut Db,
    user: UserId,
    kept: Option<SessionId>,
    now: Timestamp,
) -> Result<Vec<SessionId>, StoreError> {
    let rows = fetch_all!(
        db,
        (Uuid,),
        "UPDATE sessions
         SET revoked_at = $3
         WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL
         RETURNING id",
        user.uuid(),
        // No session has the nil id, so it keeps none.
        kept.map_or(Uuid::nil(), SessionId::uuid),
        now.millis(),
    )?;
    let ended: Vec<SessionId> = rows.into_iter().map(|(id,)| id.into()).collect();
    devices::delete_other_devices(db, user, kept).await?;
    for id in &ended {
        publish(db, "SessionRevoked", user, *id, now).await?;
    }
    Ok(ended)
}

/// Takes every trace of where a user logged in out of their sessions, which must have ended.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn anonymise_sessions(db: &mut Db, user: UserId) -> Result<(), StoreError> {
    execute!(
        db,
        "DELETE FROM refresh_tokens
         WHERE session_id IN (SELECT id FROM sessions WHERE user_id = $1)",
        user.uuid(),
    )?;
    execute!(
        db,
        "UPDATE sessions
         SET user_agent = '', ip = ''
         WHERE user_id = $1",
        user.uuid(),
    )
    .map(|_| ())
}

/// The sessions that ended at `since` or later, with their users: what a starting node must still refuse.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_revoked_since(
    db: &mut Db,
    since: Timestamp,
) -> Result<Vec<SessionId>, StoreError> {
    let rows: Vec<(Uuid,)> = fetch_all!(
        db,
        (Uuid,),
        "SELECT id
         FROM sessions
         WHERE revoked_at >= $1",
        since.millis(),
    )?;
    Ok(rows.into_iter().map(|(id,)| id.into()).collect())
}

#[derive(sqlx::FromRow)]
struct RefreshRow {
    session_id: Uuid,
    user_id: Uuid,
    used_at: Option<i64>,
    expires_at: i64,
    revoked_at: Option<i64>,
}

/// Exchanges a refresh token for a fresh one; a stolen one ends its session instead (`SessionRevoked`).
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn exchange_refresh_token(
    db: &mut Db,
    request: &RefreshRequest,
) -> Result<Exchange, StoreError> {
    let now = request.now;
    // Marking it first takes the row's lock: of two exchanges at once, one is the first.
    let marked = execute!(
        db,
        "UPDATE refresh_tokens
         SET used_at = $2
         WHERE hash = $1 AND used_at IS NULL",
        request.presented.as_slice(),
        now.millis(),
    )?;
    let found = fetch_optional!(
        db,
        RefreshRow,
        "SELECT t.session_id, s.user_id, t.used_at, t.expires_at, s.revoked_at
         FROM refresh_tokens t
         JOIN sessions s ON s.id = t.session_id
         WHERE t.hash = $1",
        request.presented.as_slice(),
    )?;
    let Some(row) = found else {
        return Ok(Exchange::Refused);
    };
    let (session, user) = (SessionId::from(row.session_id), UserId::from(row.user_id));
    if row.revoked_at.is_some() {
        return Ok(Exchange::Refused);
    }
    let used_at = row.used_at.map_or(now, Timestamp::from_millis);
    if marked == 0 && now.since(used_at) >= request.grace {
        revoke_session(db, user, session, now).await?;
        return Ok(Exchange::Reused { session, user });
    }
    let owner = find_user(db, user).await?.filter(|owner| owner.disabled_at.is_none());
    let Some(owner) = owner.filter(|_| row.expires_at > now.millis()) else {
        return Ok(Exchange::Refused);
    };
    let expires_at = now.plus(request.ttl);
    insert_refresh_token(db, &request.fresh, session, expires_at, now).await?;
    execute!(
        db,
        "UPDATE sessions
         SET last_used_at = $2, expires_at = $3, ip = $4
         WHERE id = $1",
        session.uuid(),
        now.millis(),
        expires_at.millis(),
        request.ip.as_str(),
    )?;
    Ok(Exchange::Granted { session, user: Box::new(owner) })
}

/// The session a refresh token belongs to, whatever state the token is in.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_session_of_refresh_token(
    db: &mut Db,
    hash: &[u8],
) -> Result<Option<(SessionId, UserId)>, StoreError> {
    let row: Option<(Uuid, Uuid)> = fetch_optional!(
        db,
        (Uuid, Uuid),
        "SELECT s.id, s.user_id
         FROM refresh_tokens t
         JOIN sessions s ON s.id = t.session_id
         WHERE t.hash = $1",
        hash,
    )?;
    Ok(row.map(|(session, user)| (session.into(), user.into())))
}

/// Keeps a one-time token.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn insert_one_time_token(
    db: &mut Db,
    token: &NewOneTimeToken,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO one_time_tokens (hash, purpose, user_id, session_id, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        token.hash.as_slice(),
        token.purpose.name(),
        token.user_id.uuid(),
        token.session_id.map(SessionId::uuid),
        now.millis(),
        token.expires_at.millis(),
    )
    .map(|_| ())
}

/// Keeps a token as the user's only one for its purpose, unless another is younger than `interval`.
/// Gives whether it was kept.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn replace_one_time_token(
    db: &mut Db,
    token: &NewOneTimeToken,
    interval: Duration,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (young,): (i64,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*)
         FROM one_time_tokens
         WHERE user_id = $1 AND purpose = $2 AND created_at > $3",
        token.user_id.uuid(),
        token.purpose.name(),
        now.minus(interval).millis(),
    )?;
    if young > 0 {
        return Ok(false);
    }
    execute!(
        db,
        "DELETE FROM one_time_tokens
         WHERE user_id = $1 AND purpose = $2",
        token.user_id.uuid(),
        token.purpose.name(),
    )?;
    insert_one_time_token(db, token, now).await?;
    Ok(true)
}

/// Whose token this is, without using it up.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_one_time_token(
    db: &mut Db,
    hash: &[u8],
    purpose: Purpose,
    now: Timestamp,
) -> Result<Option<TokenOwner>, StoreError> {
    let row = fetch_optional!(
        db,
        (Uuid, Option<Uuid>),
        "SELECT user_id, session_id
         FROM one_time_tokens
         WHERE hash = $1 AND purpose = $2 AND expires_at > $3",
        hash,
        purpose.name(),
        now.millis(),
    )?;
    Ok(row.map(owner))
}

/// Uses a token up: of any number of callers, one gets its owner.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn take_one_time_token(
    db: &mut Db,
    hash: &[u8],
    purpose: Purpose,
    now: Timestamp,
) -> Result<Option<TokenOwner>, StoreError> {
    let row = fetch_optional!(
        db,
        (Uuid, Option<Uuid>),
        "DELETE FROM one_time_tokens
         WHERE hash = $1 AND purpose = $2 AND expires_at > $3
         RETURNING user_id, session_id",
        hash,
        purpose.name(),
        now.millis(),
    )?;
    Ok(row.map(owner))
}

/// Forgets what has expired: tokens, sessions, and failed logins nobody counts any more. Gives how many rows went.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn delete_expired(db: &mut Db, now: Timestamp) -> Result<u64, StoreError> {
    let at = now.millis();
    let one_time = execute!(db, "DELETE FROM one_time_tokens WHERE expires_at <= $1", at)?;
    let refresh = execute!(db, "DELETE FROM refresh_tokens WHERE expires_at <= $1", at)?;
    let sessions = execute!(db, "DELETE FROM sessions WHERE expires_at <= $1", at)?;
    let quiet = now.minus(FORGET_AFTER).millis();
    let failures = execute!(db, "DELETE FROM login_failures WHERE last_at <= $1", quiet)?;
    Ok(one_time + refresh + sessions + failures)
}

fn owner((user, session): (Uuid, Option<Uuid>)) -> TokenOwner {
    TokenOwner { user_id: user.into(), session_id: session.map(SessionId::from) }
}

async fn insert_refresh_token(
    db: &mut Db,
    hash: &[u8; 32],
    session: SessionId,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO refresh_tokens (hash, session_id, created_at, expires_at)
         VALUES ($1, $2, $3, $4)",
        hash.as_slice(),
        session.uuid(),
        now.millis(),
        expires_at.millis(),
    )
    .map(|_| ())
}

async fn publish(
    db: &mut Db,
    name: &'static str,
    user: UserId,
    session: SessionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let data = json!({ "user_id": user, "session_id": session });
    outbox::append(db, &event(AUTH_EVENTS, name, user, data, now)).await
}

//! Sessions in use: refreshing, listing and ending them, and tickets for those who cannot send a header.

use std::time::Duration;

use secrecy::SecretString;

use super::revocations::Revoked;
use super::{Accounts, AccountsError, Caller, Client, Grant};
use crate::clock;
use crate::domain::accounts::AccountError;
use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::Timestamp;
use crate::providers::opaque::{OpaqueToken, TokenHash};
use crate::store::accounts::find_user;
use crate::store::phones;
use crate::store::sessions::{
    self, Exchange, NewOneTimeToken, Purpose, RefreshRequest, Session, TokenOwner,
    exchange_refresh_token, find_session_of_refresh_token, insert_one_time_token, is_session_open,
    take_one_time_token,
};

/// How long a ticket waits for its socket.
pub const TICKET_TTL: Duration = Duration::from_secs(30);

impl Accounts {
    /// Exchanges a refresh token for a fresh one and a new access token.
    ///
    /// # Errors
    /// [`AccountError::InvalidRefreshToken`] for every way to be wrong; when the token had been used before, the whole
    /// session has ended.
    pub async fn refresh(&self, token: &str, client: Client) -> Result<Grant, AccountsError> {
        let presented = TokenHash::of(token).ok_or(AccountError::InvalidRefreshToken)?;
        let fresh = OpaqueToken::generate()?;
        let now = clock::now();
        let request = RefreshRequest {
            presented: *presented.as_bytes(),
            fresh: *fresh.hash.as_bytes(),
            ip: client.ip.to_string(),
            ttl: self.settings.refresh_ttl,
            grace: self.settings.refresh_grace,
            now,
        };
        let exchange = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move { Ok(exchange_refresh_token(db, &request).await?) })
            })
            .await?;
        match exchange {
            Exchange::Granted { session, user } => {
                let access_token = self.tokens.issue(user.id, session, &user.roles, now)?;
                Ok(self.grant(*user, session, access_token, fresh.secret))
            }
            Exchange::Reused { session, user } => {
                tracing::warn!(user.id = %user, session.id = %session, "a used refresh token came back; its session ends");
                self.revocations.revoke_session(session, now);
                Err(AccountError::InvalidRefreshToken.into())
            }
            Exchange::Refused => Err(AccountError::InvalidRefreshToken.into()),
        }
    }

    /// Ends the session that a refresh token belongs to. A token nobody knows is as good as logged out.
    ///
    /// # Errors
    /// Only what the store fails with.
    pub async fn logout_by_refresh_token(&self, token: &str) -> Result<(), AccountsError> {
        let Some(hash) = TokenHash::of(token) else {
            return Ok(());
        };
        let found = self
            .store
            .read::<_, AccountsError, _>(move |db| {
                Box::pin(
                    async move { Ok(find_session_of_refresh_token(db, hash.as_bytes()).await?) },
                )
            })
            .await?;
        if let Some((session, user)) = found {
            self.end_session(user, session).await?;
        }
        Ok(())
    }

    /// Ends a session of the caller; gives whether it was open.
    ///
    /// # Errors
    /// Only what the store fails with.
    pub async fn end_session(
        &self,
        user: UserId,
        session: SessionId,
    ) -> Result<bool, AccountsError> {
        let now = clock::now();
        let was_open = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move { Ok(sessions::revoke_session(db, user, session, now).await?) })
            })
            .await?;
        if was_open {
            self.revocations.revoke_session(session, now);
        }
        Ok(was_open)
    }

    /// The open sessions of a user, the last used first.
    ///
    /// # Errors
    /// Only what the store fails with.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<Session>, AccountsError> {
        let now = clock::now();
        self.store
            .read::<_, AccountsError, _>(move |db| {
                Box::pin(async move { Ok(sessions::list_sessions(db, user, now).await?) })
            })
            .await
    }

    /// A ticket with which a socket of this session opens, once, within [`TICKET_TTL`].
    ///
    /// # Errors
    /// [`AccountError::Unauthenticated`] when the session is no longer open.
    pub async fn issue_ticket(
        &self,
        user: UserId,
        session: SessionId,
    ) -> Result<SecretString, AccountsError> {
        let token = OpaqueToken::generate()?;
        let now = clock::now();
        let ticket = NewOneTimeToken {
            hash: *token.hash.as_bytes(),
            purpose: Purpose::Ticket,
            user_id: user,
            session_id: Some(session),
            expires_at: now.plus(TICKET_TTL),
        };
        self.store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    if !is_session_open(db, user, session, now).await? {
                        return Err(AccountError::Unauthenticated.into());
                    }
                    Ok(insert_one_time_token(db, &ticket, now).await?)
                })
            })
            .await?;
        Ok(token.secret)
    }

    /// Takes a ticket; believed for as long as an access token would be.
    ///
    /// # Errors
    /// [`AccountError::Unauthenticated`] when it is unknown, used, expired, or its session has ended.
    pub async fn take_ticket(&self, ticket: &str) -> Result<Caller, AccountsError> {
        let hash = TokenHash::of(ticket).ok_or(AccountError::Unauthenticated)?;
        let now = clock::now();
        let found = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let owner =
                        take_one_time_token(db, hash.as_bytes(), Purpose::Ticket, now).await?;
                    let Some(TokenOwner { user_id, session_id: Some(session) }) = owner else {
                        return Ok(None);
                    };
                    let is_open = is_session_open(db, user_id, session, now).await?;
                    let user = find_user(db, user_id)
                        .await?
                        .filter(|user| is_open && user.disabled_at.is_none());
                    Ok(user.map(|user| (user, session)))
                })
            })
            .await?;
        // Refused only now: an error inside would have given the used ticket back.
        let (user, session_id) = found.ok_or(AccountError::Unauthenticated)?;
        let expires_at = now.plus(self.tokens.ttl());
        Ok(Caller { user_id: user.id, session_id, roles: user.roles, expires_at })
    }

    /// Learns which sessions have ended since then, on whichever node.
    ///
    /// # Errors
    /// Only what the store fails with.
    pub async fn learn_revocations(&self, since: Timestamp) -> Result<(), AccountsError> {
        let ended = self
            .store
            .read::<_, AccountsError, _>(move |db| {
                Box::pin(async move { Ok(sessions::list_revoked_since(db, since).await?) })
            })
            .await?;
        let now = clock::now();
        for session in ended {
            self.revocations.learn(Revoked::Session(session), now);
        }
        Ok(())
    }

    /// Learns every session that has ended and whose access tokens might still be shown.
    ///
    /// # Errors
    /// Only what the store fails with.
    pub async fn load_revocations(&self) -> Result<(), AccountsError> {
        self.learn_revocations(clock::now().minus(self.revocations.kept_for())).await
    }

    /// Forgets expired tokens, codes, sessions and failures; for a scheduled run. Gives how many rows went.
    ///
    /// # Errors
    /// Only what the store fails with.
    pub async fn delete_expired(&self) -> Result<u64, AccountsError> {
        let now = clock::now();
        self.store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let codes = phones::delete_expired(db, now).await?;
                    Ok(codes + sessions::delete_expired(db, now).await?)
                })
            })
            .await
    }
}

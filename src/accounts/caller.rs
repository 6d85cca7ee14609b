//! The caller: who makes a request or holds a socket, as proven by an access token or a ticket.

use super::revocations::Revocations;
use crate::domain::accounts::{AccountError, Roles};
use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::Timestamp;
use crate::providers::tokens::AccessTokens;

/// Who somebody is, once proven. Authority comes from here, never from a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub roles: Roles,
    /// Until when that is believed without a fresh token.
    pub expires_at: Timestamp,
}

impl Caller {
    /// Believes an access token that verifies and whose session has not ended.
    ///
    /// # Errors
    /// [`AccountError::Unauthenticated`] for any other.
    pub fn from_access_token(
        token: &str,
        tokens: &AccessTokens,
        revocations: &Revocations,
        now: Timestamp,
    ) -> Result<Self, AccountError> {
        let claims = tokens.verify(token, now)?;
        if revocations.is_revoked(claims.session_id) {
            return Err(AccountError::Unauthenticated);
        }

        Ok(Self {
            user_id: claims.user_id,
            session_id: claims.session_id,
            roles: claims.roles,
            expires_at: claims.expires_at,
        })
    }
}

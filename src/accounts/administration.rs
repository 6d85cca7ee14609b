//! What administrators do with the accounts of others: suspending them, ending their sessions, giving them roles.
//!
//! Invariants: each deed is in the audit, in its transaction; whoever does it is an administrator in that moment, holds their
//! own account, and never does it to themselves, so that there is always one left.

use serde_json::{Value, json};

use super::{Accounts, AccountsError};
use crate::clock;
use crate::domain::accounts::{AccountError, Role, Roles};
use crate::domain::audit::{Action, Target};
use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::Db;
use crate::store::accounts::User;
use crate::store::audit::{Deed, record};
use crate::store::people::{lock_users, update_disabled, update_roles};
use crate::store::sessions::{revoke_session, revoke_sessions};

/// Who does something, and why.
#[derive(Debug, Clone)]
pub struct ByHand {
    pub by: UserId,
    pub reason: Reason,
}

impl ByHand {
    /// Writes it down.
    async fn record(
        &self,
        db: &mut Db,
        action: Action,
        user: UserId,
        (before, after): (Value, Value),
        now: Timestamp,
    ) -> Result<(), AccountsError> {
        let (by, reason) = (self.by, Some(&self.reason));
        let deed = Deed { by, action, target: Target::User(user), reason, before, after };
        Ok(record(db, &deed, now).await?)
    }

    /// Holds the account of the administrator, who still is one, and that of `user`, which is given.
    async fn hold(&self, db: &mut Db, user: UserId) -> Result<User, AccountsError> {
        let held = lock_users(db, &[self.by, user]).await?;
        let is_admin = |it: &User| {
            it.id == self.by && it.disabled_at.is_none() && it.roles.contains(Role::Admin)
        };
        if !held.iter().any(is_admin) {
            return Err(AccountError::NotAdministrator.into());
        }
        let user = held.into_iter().find(|it| it.id == user);
        Ok(user.ok_or(AccountError::UserNotFound)?)
    }

    fn not_to_oneself(&self, user: UserId) -> Result<(), AccountError> {
        if user == self.by { Err(AccountError::OwnDecision) } else { Ok(()) }
    }
}

impl Accounts {
    /// Suspends an account: nobody logs in to it, and its sessions end at once. One that is suspended stays so.
    ///
    /// # Errors
    /// [`AccountError::OwnDecision`], [`AccountError::UserNotFound`], [`AccountError::NotAdministrator`].
    pub async fn suspend(&self, user: UserId, deed: ByHand) -> Result<User, AccountsError> {
        deed.not_to_oneself(user)?;
        let now = clock::now();
        let (suspended, ended) = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let found = deed.hold(db, user).await?;
                    if found.disabled_at.is_some() {
                        return Ok((found, Vec::new()));
                    }
                    update_disabled(db, user, Some(now), now).await?;
                    let ended = revoke_sessions(db, user, None, now).await?;
                    let said = (
                        json!({ "status": "active" }),
                        json!({ "status": "suspended", "sessions_ended": ended.len() }),
                    );
                    deed.record(db, Action::UserSuspended, user, said, now).await?;
                    Ok((User { disabled_at: Some(now), updated_at: now, ..found }, ended))
                })
            })
            .await?;
        self.revocations.revoke_account(user, &ended, now);
        Ok(suspended)
    }

    /// Lets somebody in again who was suspended; they log in anew.
    ///
    /// # Errors
    /// As [`Self::suspend`].
    pub async fn restore(&self, user: UserId, deed: ByHand) -> Result<User, AccountsError> {
        deed.not_to_oneself(user)?;
        let now = clock::now();
        self.store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let found = deed.hold(db, user).await?;
                    if found.disabled_at.is_none() {
                        return Ok(found);
                    }
                    update_disabled(db, user, None, now).await?;
                    let said = (json!({ "status": "suspended" }), json!({ "status": "active" }));
                    deed.record(db, Action::UserRestored, user, said, now).await?;
                    Ok(User { disabled_at: None, updated_at: now, ..found })
                })
            })
            .await
    }

    /// Gives somebody these roles and no others, but `USER`, which everybody has. Where that takes one away their sessions
    /// end: access tokens say which roles they are good for.
    ///
    /// # Errors
    /// As [`Self::suspend`].
    pub async fn give_roles(
        &self,
        user: UserId,
        roles: Roles,
        deed: ByHand,
    ) -> Result<User, AccountsError> {
        deed.not_to_oneself(user)?;
        let roles: Roles = roles.iter().chain([Role::User]).collect();
        let now = clock::now();
        let (changed, ended) = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let found = deed.hold(db, user).await?;
                    if found.roles == roles {
                        return Ok((found, Vec::new()));
                    }
                    update_roles(db, user, &roles, now).await?;
                    let is_less = found.roles.iter().any(|role| !roles.contains(role));
                    let ended = if is_less {
                        revoke_sessions(db, user, None, now).await?
                    } else {
                        Vec::new()
                    };
                    let said = (json!({ "roles": found.roles }), json!({ "roles": roles }));
                    deed.record(db, Action::UserRolesChanged, user, said, now).await?;
                    Ok((User { roles, updated_at: now, ..found }, ended))
                })
            })
            .await?;
        self.forget_sessions(&ended, now);
        Ok(changed)
    }

    /// Ends one session of somebody.
    ///
    /// # Errors
    /// [`AccountError::SessionNotFound`] where it is not open, and as [`Self::suspend`].
    pub async fn end_session_by_hand(
        &self,
        user: UserId,
        session: SessionId,
        deed: ByHand,
    ) -> Result<(), AccountsError> {
        let now = clock::now();
        self.store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    deed.hold(db, user).await?;
                    if !revoke_session(db, user, session, now).await? {
                        return Err(AccountError::SessionNotFound.into());
                    }
                    let said = (Value::Null, json!({ "session_id": session }));
                    deed.record(db, Action::SessionEnded, user, said, now).await
                })
            })
            .await?;
        self.revocations.revoke_session(session, now);
        Ok(())
    }

    /// Ends every session of somebody; gives how many there were.
    ///
    /// # Errors
    /// As [`Self::suspend`].
    pub async fn end_sessions_by_hand(
        &self,
        user: UserId,
        deed: ByHand,
    ) -> Result<usize, AccountsError> {
        let now = clock::now();
        let ended = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    deed.hold(db, user).await?;
                    let ended = revoke_sessions(db, user, None, now).await?;
                    if !ended.is_empty() {
                        let said = (Value::Null, json!({ "sessions_ended": ended.len() }));
                        deed.record(db, Action::SessionsEnded, user, said, now).await?;
                    }
                    Ok(ended)
                })
            })
            .await?;
        self.forget_sessions(&ended, now);
        Ok(ended.len())
    }
}

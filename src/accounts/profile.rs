//! Profiles: what people show of themselves, and to whom; leaving for good.

use std::net::IpAddr;

use secrecy::SecretString;

use super::login::{Claimant, account_subject};
use super::{Accounts, AccountsError};
use crate::clock;
use crate::domain::accounts::{AccountError, Role};
use crate::domain::ids::UserId;
use crate::domain::inbox::InboxEvent;
use crate::domain::profiles::{Portrait, Viewer, portrait};
use crate::domain::settings::ProfileVisibility;
use crate::store::accounts::{
    ProfileChange, User, confirm_password_hash, delete_login_failures, delete_user, find_user,
    lock_deletions, update_profile,
};
use crate::store::bank_accounts::{forget_bank_accounts, lock_bank_accounts};
use crate::store::follows::{self, FollowCounts};
use crate::store::sessions::{anonymise_sessions, revoke_sessions};
use crate::store::settings::find_settings;
use crate::store::wallets::is_wallet_empty;
use crate::store::{StoreError, blocks, friends, privacy};

/// A user as somebody else sees them.
#[derive(Debug)]
pub struct Seen {
    pub user: User,
    pub profile: ProfileVisibility,
    /// How much of it the other is shown.
    pub portrait: Portrait,
    pub follows: FollowCounts,
}

impl Accounts {
    /// One user, as long as the account exists.
    ///
    /// # Errors
    /// [`AccountError::UserNotFound`] when there is none.
    pub async fn user(&self, user: UserId) -> Result<User, AccountsError> {
        self.store
            .read::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    Ok(find_user(db, user).await?.ok_or(AccountError::UserNotFound)?)
                })
            })
            .await
    }

    /// One user, and how much of them `caller` is shown.
    ///
    /// # Errors
    /// [`AccountError::UserNotFound`] when there is none, or they have blocked the caller.
    pub async fn user_seen_by(&self, caller: UserId, user: UserId) -> Result<Seen, AccountsError> {
        self.store
            .read::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    if !blocks::is_visible(db, caller, user).await? {
                        return Err(AccountError::UserNotFound.into());
                    }
                    let found = find_user(db, user).await?.ok_or(AccountError::UserNotFound)?;
                    let profile = find_settings(db, user).await?.profile;
                    let is_friend = privacy::find_relation(db, caller, user).await?.are_friends;
                    let viewer = Viewer { is_self: caller == user, is_friend };
                    let portrait = portrait(profile, viewer);
                    let follows = follows::count(db, user).await?;
                    Ok(Seen { user: found, profile, portrait, follows })
                })
            })
            .await
    }

    /// Changes what a user shows of themselves, and gives it as it is now.
    ///
    /// # Errors
    /// [`AccountError::UserNotFound`] when the account is gone; [`AccountError::AvatarInvalid`] when the picture is kept here
    /// and not theirs.
    pub async fn update_profile(
        &self,
        user: UserId,
        change: ProfileChange,
    ) -> Result<User, AccountsError> {
        let now = clock::now();
        let updated = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move { Ok(update_profile(db, user, &change, now).await?) })
            })
            .await;
        updated.map_err(|error| match error {
            AccountsError::Store(StoreError::NotFound) => AccountError::UserNotFound.into(),
            other => other,
        })
    }

    /// Deletes the account of somebody who repeats their password: every session ends, nothing personal stays. Gives what
    /// their friends are told.
    ///
    /// # Errors
    /// [`AccountError::WrongPassword`], [`AccountError::LoginBackOff`], [`AccountError::WalletNotEmpty`].
    pub async fn delete(
        &self,
        user: UserId,
        password: &SecretString,
        ip: IpAddr,
    ) -> Result<Vec<InboxEvent>, AccountsError> {
        let proof = self.prove(Claimant::Known(user), password, ip).await?;
        drop(proof.permit);
        let hash = proof.credentials.password_hash;
        let now = clock::now();
        let (ended, told) = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    lock_deletions(db).await?;
                    if !confirm_password_hash(db, user, &hash, &hash).await? {
                        return Err(AccountError::WrongPassword.into());
                    }
                    let known = find_user(db, user).await?.ok_or(AccountError::UserNotFound)?;
                    if known.roles.contains(Role::Admin) {
                        return Err(AccountError::OwnDecision.into());
                    }
                    lock_bank_accounts(db, user).await?;
                    if !is_wallet_empty(db, user, now).await? {
                        return Err(AccountError::WalletNotEmpty.into());
                    }
                    forget_bank_accounts(db, user, now).await?;
                    let ended = revoke_sessions(db, user, None, now).await?;
                    anonymise_sessions(db, user).await?;
                    delete_login_failures(db, &account_subject(user)).await?;
                    delete_user(db, user, now).await?;
                    // Last, because it locks the inboxes of others.
                    Ok((ended, friends::delete_all(db, user, now).await?))
                })
            })
            .await?;
        self.revocations.revoke_account(user, &ended, now);
        Ok(told)
    }
}

//! Profiles: what people show of themselves, and leaving for good.

use std::net::IpAddr;

use secrecy::SecretString;

use super::login::{Claimant, account_subject};
use super::{Accounts, AccountsError};
use crate::clock;
use crate::domain::accounts::AccountError;
use crate::domain::ids::UserId;
use crate::store::StoreError;
use crate::store::accounts::{
    ProfileChange, User, confirm_password_hash, delete_login_failures, delete_user, find_user,
    update_profile,
};
use crate::store::sessions::{anonymise_sessions, revoke_sessions};

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

    /// Changes what a user shows of themselves, and gives it as it is now.
    ///
    /// # Errors
    /// [`AccountError::UserNotFound`] when the account is gone.
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

    /// Deletes the account of somebody who repeats their password: every session ends, nothing personal stays.
    ///
    /// # Errors
    /// [`AccountError::WrongPassword`] or [`AccountError::LoginBackOff`].
    pub async fn delete(
        &self,
        user: UserId,
        password: &SecretString,
        ip: IpAddr,
    ) -> Result<(), AccountsError> {
        let proof = self.prove(Claimant::Known(user), password, ip).await?;
        drop(proof.permit);
        let hash = proof.credentials.password_hash;
        let now = clock::now();
        let ended = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    if !confirm_password_hash(db, user, &hash, &hash).await? {
                        return Err(AccountError::WrongPassword.into());
                    }
                    let ended = revoke_sessions(db, user, None, now).await?;
                    anonymise_sessions(db, user).await?;
                    delete_login_failures(db, &account_subject(user)).await?;
                    delete_user(db, user, now).await?;
                    Ok(ended)
                })
            })
            .await?;
        self.revocations.revoke_user(user, now);
        self.forget_sessions(&ended, now);
        Ok(())
    }
}

//! New passwords: by somebody who knows the old one, or by somebody who reads the account's mail.
//!
//! Invariant: with the password every other session ends, and with it every token of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::login::{Claimant, account_subject};
use super::mails::CodeLetter;
use super::verification::MAIL_INTERVAL;
use super::{Accounts, AccountsError, mails};
use crate::clock;
use crate::domain::accounts::{AccountError, EmailAddress, Handle, Identifier};
use crate::domain::ids::{SessionId, UserId};
use crate::domain::media::Medium;
use crate::domain::passwords::NewPassword;
use crate::providers::opaque::TokenHash;
use crate::store::accounts::{
    Credentials, User, confirm_password_hash, delete_login_failures, find_credentials, find_user,
    update_password,
};
use crate::store::dead_addresses::delete_dead_address;
use crate::store::sessions::{
    NewOneTimeToken, Purpose, find_one_time_token, replace_one_time_token, revoke_sessions,
    take_one_time_token,
};

const RESET_TTL: Duration = Duration::from_mins(30);

impl Accounts {
    /// Sets a new password for somebody who repeats the old one; their other sessions end.
    ///
    /// # Errors
    /// [`AccountError::WrongPassword`], [`AccountError::LoginBackOff`], or the rule the new password breaks.
    pub async fn change_password(
        &self,
        user: UserId,
        session: SessionId,
        current: &SecretString,
        new: &SecretString,
        ip: IpAddr,
    ) -> Result<(), AccountsError> {
        let proof = self.prove(Claimant::Known(user), current, ip).await?;
        let Credentials { user: account, password_hash: old_hash } = proof.credentials;
        let password = new_password(new, &account)?;
        let (_, new_hash) = proof.permit.hash(password).await?;
        let (now, notice) = (clock::now(), clock::new_uuid());
        let ended = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    if !confirm_password_hash(db, user, &old_hash, &old_hash).await? {
                        return Err(AccountError::WrongPassword.into());
                    }
                    update_password(db, user, &new_hash, now).await?;
                    delete_login_failures(db, &proof.subject).await?;
                    mails::tell_password_changed(db, user, notice, now).await?;
                    Ok(revoke_sessions(db, user, Some(session), now).await?)
                })
            })
            .await?;
        self.forget_sessions(&ended, now);
        Ok(())
    }

    /// Mails a token for a new password, if the address has an account; nobody can tell whether it has, for the work
    /// begins after the answer.
    ///
    /// # Errors
    /// [`AccountError::EmailInvalid`] for what is no address.
    pub fn request_password_reset(&self, email: &str) -> Result<(), AccountsError> {
        let email = EmailAddress::parse(email)?;
        let Ok(place) = Arc::clone(&self.background).try_acquire_owned() else {
            tracing::warn!("too many password resets at once; one was dropped");
            return Ok(());
        };
        let accounts = self.clone();
        self.io.spawn(async move {
            if let Err(error) = accounts.mail_reset_token(email).await {
                tracing::error!(%error, "a password reset was not mailed");
            }
            drop(place);
        });
        Ok(())
    }

    /// Sets a new password for whoever brings the mailed token; every session of the account ends.
    ///
    /// # Errors
    /// [`AccountError::InvalidOneTimeToken`], or the rule the new password breaks; the token is then still good.
    pub async fn reset_password(
        &self,
        token: &str,
        new: &SecretString,
    ) -> Result<(), AccountsError> {
        let hash = TokenHash::of(token).ok_or(AccountError::InvalidOneTimeToken)?;
        let account = self.owner_of_reset(hash).await?;
        let password = new_password(new, &account)?;
        let new_hash = self.hasher.hash(password).await?;
        let (now, notice) = (clock::now(), clock::new_uuid());
        let user = account.id;
        let ended = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    take_one_time_token(db, hash.as_bytes(), Purpose::ResetPassword, now)
                        .await?
                        .filter(|owner| owner.user_id == user)
                        .ok_or(AccountError::InvalidOneTimeToken)?;
                    // What was mailed there has arrived, whatever came back before.
                    if let Ok(address) = EmailAddress::parse(&account.email) {
                        delete_dead_address(db, Medium::Mail, address.key()).await?;
                    }
                    update_password(db, user, &new_hash, now).await?;
                    delete_login_failures(db, &account_subject(user)).await?;
                    mails::tell_password_changed(db, user, notice, now).await?;
                    Ok(revoke_sessions(db, user, None, now).await?)
                })
            })
            .await?;
        self.forget_sessions(&ended, now);
        Ok(())
    }

    pub(super) async fn mail_reset_token(&self, email: EmailAddress) -> Result<(), AccountsError> {
        let now = clock::now();
        let accounts = self.clone();
        self.store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let found = find_credentials(db, &Identifier::Email(email)).await?;
                    let Some(Credentials { user, .. }) =
                        found.filter(|found| found.user.disabled_at.is_none())
                    else {
                        return Ok(());
                    };
                    // It goes to the address of the account, not to the spelling somebody typed.
                    let expires_at = now.plus(RESET_TTL);
                    let CodeLetter { hash, letter } =
                        accounts.code_letter(user.id, Purpose::ResetPassword, expires_at, now)?;
                    let stored = NewOneTimeToken {
                        hash: *hash.as_bytes(),
                        purpose: Purpose::ResetPassword,
                        user_id: user.id,
                        session_id: None,
                        expires_at,
                    };
                    if replace_one_time_token(db, &stored, MAIL_INTERVAL, now).await? {
                        mails::queue(db, letter, now).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn owner_of_reset(&self, hash: TokenHash) -> Result<User, AccountsError> {
        let now = clock::now();
        self.store
            .read::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let owner =
                        find_one_time_token(db, hash.as_bytes(), Purpose::ResetPassword, now)
                            .await?
                            .ok_or(AccountError::InvalidOneTimeToken)?;
                    let user = find_user(db, owner.user_id).await?;
                    Ok(user
                        .filter(|user| user.disabled_at.is_none())
                        .ok_or(AccountError::InvalidOneTimeToken)?)
                })
            })
            .await
    }
}

fn new_password(raw: &SecretString, account: &User) -> Result<NewPassword, AccountsError> {
    let handle = Handle::parse(&account.handle)?;
    let email = EmailAddress::parse(&account.email)?;
    Ok(NewPassword::parse(raw, &[handle.key(), email.local_key()])?)
}

//! Proving that somebody reads the mail of their account: a token by mail, brought back once.

use std::time::Duration;

use super::mails::CodeLetter;
use super::{Accounts, AccountsError, mails};
use crate::clock;
use crate::domain::accounts::{AccountError, EmailAddress};
use crate::domain::deliveries::NewDelivery;
use crate::domain::ids::UserId;
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::providers::opaque::TokenHash;
use crate::store::accounts::{find_user, update_verified};
use crate::store::dead_addresses::delete_dead_address;
use crate::store::sessions::{
    NewOneTimeToken, Purpose, replace_one_time_token, take_one_time_token,
};

const TOKEN_TTL: Duration = Duration::from_hours(24);
/// A second mail of one kind to one person waits for this long: nobody's mailbox is flooded through us.
pub(super) const MAIL_INTERVAL: Duration = Duration::from_mins(1);

impl Accounts {
    /// Takes the token that was mailed to an address, and marks its account as verified.
    ///
    /// # Errors
    /// [`AccountError::InvalidOneTimeToken`] when it is unknown, used or expired.
    pub async fn verify_email(&self, token: &str) -> Result<(), AccountsError> {
        let hash = TokenHash::of(token).ok_or(AccountError::InvalidOneTimeToken)?;
        let now = clock::now();
        self.store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let owner = take_one_time_token(db, hash.as_bytes(), Purpose::VerifyEmail, now)
                        .await?
                        .ok_or(AccountError::InvalidOneTimeToken)?;
                    // What was mailed there has arrived, whatever came back before.
                    if let Some(user) = find_user(db, owner.user_id).await?
                        && let Ok(address) = EmailAddress::parse(&user.email)
                    {
                        delete_dead_address(db, Medium::Mail, address.key()).await?;
                    }
                    Ok(update_verified(db, owner.user_id, now).await?)
                })
            })
            .await
    }

    /// Mails another token to the caller's own address; does nothing when it is verified, or a minute has not passed.
    ///
    /// # Errors
    /// [`AccountError::UserNotFound`] when the account is gone.
    pub async fn resend_verification(&self, user: UserId) -> Result<(), AccountsError> {
        let now = clock::now();
        let (verification, letter) = self.verification(user, now)?;
        self.store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let user = find_user(db, user).await?.ok_or(AccountError::UserNotFound)?;
                    let is_due = user.verified_at.is_none()
                        && replace_one_time_token(db, &verification, MAIL_INTERVAL, now).await?;
                    if is_due {
                        mails::queue(db, letter, now).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    pub(super) fn verification(
        &self,
        user: UserId,
        now: Timestamp,
    ) -> Result<(NewOneTimeToken, NewDelivery), AccountError> {
        let expires_at = now.plus(TOKEN_TTL);
        let CodeLetter { hash, letter } =
            self.code_letter(user, Purpose::VerifyEmail, expires_at, now)?;
        let stored = NewOneTimeToken {
            hash: *hash.as_bytes(),
            purpose: Purpose::VerifyEmail,
            user_id: user,
            session_id: None,
            expires_at,
        };
        Ok((stored, letter))
    }
}

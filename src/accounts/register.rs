//! Registering: a new account, its first session, and the mail that confirms its address.

use secrecy::SecretString;

use super::{Accounts, AccountsError, Client, Grant, mails};
use crate::clock;
use crate::domain::accounts::{AccountError, DisplayName, EmailAddress, Handle, Role, Roles};
use crate::domain::passwords::NewPassword;
use crate::domain::settings::SettingsChange;
use crate::domain::time::Timestamp;
use crate::store::accounts::{NewUser, User, insert_user};
use crate::store::sessions::{insert_one_time_token, insert_session};
use crate::store::settings::update_settings;

/// What a person types to open an account.
#[derive(Debug, Clone)]
pub struct Registration {
    pub handle: String,
    pub email: String,
    pub password: SecretString,
    pub display_name: String,
    /// What they choose from the start; everything else is as it is for everybody.
    pub settings: SettingsChange,
}

/// An account that an operator opens.
#[derive(Debug, Clone)]
pub struct NewAccount {
    pub registration: Registration,
    pub roles: Roles,
}

impl Accounts {
    /// Opens an account and logs it in; mails a token to its address.
    ///
    /// # Errors
    /// The first input that is not allowed; [`AccountError::AccountExists`] when handle or address is in use.
    pub async fn register(
        &self,
        registration: Registration,
        client: Client,
    ) -> Result<Grant, AccountsError> {
        let now = clock::now();
        let roles = Roles::from_iter([Role::User]);
        let new_user = self.new_user(&registration, roles).await?;
        if new_user.handle.is_reserved() {
            return Err(AccountError::HandleReserved.into());
        }
        let user = user_of(&new_user, now);
        let (session, refresh_token) = self.new_session(user.id, &client, now)?;
        let (user_id, session_id) = (user.id, session.id);
        // Signed before anything is stored: after the commit nothing may fail.
        let access_token = self.tokens.issue(user_id, session_id, &user.roles, now)?;
        let (verification, letter) = self.verification(user_id, now)?;
        let settings = registration.settings;
        self.store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    insert_user(db, &new_user, now).await?;
                    if settings != SettingsChange::default() {
                        update_settings(db, user_id, &settings, now).await?;
                    }
                    insert_session(db, &session, now).await?;
                    insert_one_time_token(db, &verification, now).await?;
                    mails::queue(db, letter, now).await?;
                    Ok(())
                })
            })
            .await?;
        Ok(self.grant(user, session_id, access_token, refresh_token))
    }

    /// Opens an account for somebody, verified and with any roles; for operators at the command line.
    ///
    /// # Errors
    /// As [`Accounts::register`], reserved handles excepted.
    pub async fn create(&self, account: NewAccount) -> Result<User, AccountsError> {
        let now = clock::now();
        let mut new_user = self.new_user(&account.registration, account.roles).await?;
        new_user.verified_at = Some(now);
        let user = user_of(&new_user, now);
        self.store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move { Ok(insert_user(db, &new_user, now).await?) })
            })
            .await?;
        Ok(user)
    }

    async fn new_user(
        &self,
        registration: &Registration,
        roles: Roles,
    ) -> Result<NewUser, AccountsError> {
        let handle = Handle::parse(&registration.handle)?;
        let email = EmailAddress::parse(&registration.email)?;
        let display_name = DisplayName::parse(&registration.display_name)?;
        let password =
            NewPassword::parse(&registration.password, &[handle.key(), email.local_key()])?;
        let password_hash = self.hasher.hash(password).await?;
        let id = clock::new_uuid().into();
        Ok(NewUser { id, handle, email, display_name, roles, password_hash, verified_at: None })
    }
}

/// The account as the store will have it.
fn user_of(new: &NewUser, now: Timestamp) -> User {
    User {
        id: new.id,
        handle: new.handle.as_str().to_owned(),
        email: new.email.as_str().to_owned(),
        display_name: new.display_name.as_str().to_owned(),
        bio: String::new(),
        avatar: None,
        roles: new.roles.clone(),
        created_at: now,
        updated_at: now,
        verified_at: new.verified_at,
        disabled_at: None,
    }
}

//! Logging in: proving a password, under the back-off, at the pace of the hasher.
//!
//! Invariant: every failure costs the caller the same work and the same answer, whether there is an account or not. The
//! back-off is read again once the hasher has a place free, so a burst gets no more guesses than hashes run at once.

use std::net::IpAddr;

use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::{Accounts, AccountsError, Client, Grant};
use crate::clock;
use crate::domain::accounts::{AccountError, Identifier};
use crate::domain::backoff::{self, ACCOUNT_FREE_FAILURES, ADDRESS_FREE_FAILURES};
use crate::domain::ids::UserId;
use crate::domain::passwords::PasswordAttempt;
use crate::providers::hasher::HashPermit;
use crate::store::accounts::{
    Credentials, confirm_password_hash, delete_login_failures, find_credentials,
    find_credentials_of, find_login_failures, find_user, insert_login_failure,
};
use crate::store::sessions::insert_session;

/// Whose password somebody offers.
#[derive(Debug, Clone)]
pub(super) enum Claimant {
    /// A stranger, by the name they give.
    Named(Identifier),
    /// Somebody who is logged in.
    Known(UserId),
}

/// A password that was right, and the place in the hasher to go on with.
pub(super) struct Proof {
    pub(super) credentials: Credentials,
    pub(super) permit: HashPermit,
    pub(super) subject: Subject,
}

/// SHA-256 of an account or an address: the back-off's table names nobody.
pub(super) type Subject = [u8; 32];

impl Accounts {
    /// Opens a session for whoever knows the password of the account that `identifier` (handle or address) names.
    ///
    /// # Errors
    /// [`AccountError::InvalidCredentials`] for every way to be wrong, [`AccountError::LoginBackOff`] after too many of
    /// them, [`AccountError::AccountDisabled`] only after the right password.
    pub async fn login(
        &self,
        identifier: &str,
        password: &SecretString,
        client: Client,
    ) -> Result<Grant, AccountsError> {
        let claimant = Claimant::Named(Identifier::parse(identifier)?);
        let proof = self.prove(claimant, password, client.ip).await?;
        if proof.credentials.user.disabled_at.is_some() {
            return Err(AccountError::AccountDisabled.into());
        }
        let old_hash = proof.credentials.password_hash.clone();
        let new_hash = self.renewed_hash(proof.permit, password, &old_hash).await?;
        let now = clock::now();
        let (user_id, subject) = (proof.credentials.user.id, proof.subject);
        let (session, refresh_token) = self.new_session(user_id, &client, now)?;
        let session_id = session.id;
        let (user, ended) = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    // A password that changed while this one was being checked is no longer proof.
                    if !confirm_password_hash(db, user_id, &old_hash, &new_hash).await? {
                        return Err(AccountError::InvalidCredentials.into());
                    }
                    // The account is held now: what an administrator did to it meanwhile counts.
                    let user =
                        find_user(db, user_id).await?.ok_or(AccountError::InvalidCredentials)?;
                    if user.disabled_at.is_some() {
                        return Err(AccountError::AccountDisabled.into());
                    }
                    delete_login_failures(db, &subject).await?;
                    Ok((user, insert_session(db, &session, now).await?))
                })
            })
            .await?;
        self.forget_sessions(&ended, now);
        let access_token = self.tokens.issue(user_id, session_id, &user.roles, now)?;
        Ok(self.grant(user, session_id, access_token, refresh_token))
    }

    /// Checks a password, under the back-off of its account and of the caller's address.
    pub(super) async fn prove(
        &self,
        claimant: Claimant,
        password: &SecretString,
        ip: IpAddr,
    ) -> Result<Proof, AccountsError> {
        let address = subject("address", backoff::network_of(ip).to_string().as_bytes());
        self.look_up(claimant.clone(), address).await?;
        let permit = self.hasher.permit().await?;
        let (found, subject) = self.look_up(claimant.clone(), address).await?;
        let hash = found.as_ref().map(|credentials| credentials.password_hash.clone());
        let (permit, is_right) = permit.verify(PasswordAttempt::new(password), hash).await?;
        match found {
            Some(credentials) if is_right => Ok(Proof { credentials, permit, subject }),
            _ => {
                self.count_failure(subject, address).await?;
                drop(permit);
                Err(match claimant {
                    Claimant::Named(_) => AccountError::InvalidCredentials,
                    Claimant::Known(_) => AccountError::WrongPassword,
                }
                .into())
            }
        }
    }

    /// Reads the account, if there is one, and refuses an attempt that comes too early.
    async fn look_up(
        &self,
        claimant: Claimant,
        address: Subject,
    ) -> Result<(Option<Credentials>, Subject), AccountsError> {
        let now = clock::now();
        self.store
            .read::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let found = match &claimant {
                        Claimant::Named(identifier) => find_credentials(db, identifier).await?,
                        Claimant::Known(user) => find_credentials_of(db, *user).await?,
                    };
                    let subject = subject_of(&claimant, found.as_ref());
                    for (subject, free) in
                        [(subject, ACCOUNT_FREE_FAILURES), (address, ADDRESS_FREE_FAILURES)]
                    {
                        let failures = find_login_failures(db, &subject).await?;
                        let wait =
                            failures.and_then(|failures| backoff::retry_after(failures, free, now));
                        if let Some(retry_after) = wait {
                            return Err(AccountError::LoginBackOff { retry_after }.into());
                        }
                    }
                    Ok((found, subject))
                })
            })
            .await
    }

    async fn count_failure(&self, account: Subject, address: Subject) -> Result<(), AccountsError> {
        let now = clock::now();
        self.store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    insert_login_failure(db, &account, now).await?;
                    Ok(insert_login_failure(db, &address, now).await?)
                })
            })
            .await
    }

    /// The hash to keep for a password that was right: a new one, where the costs have changed since.
    async fn renewed_hash(
        &self,
        permit: HashPermit,
        password: &SecretString,
        hash: &str,
    ) -> Result<String, AccountError> {
        if !permit.is_outdated(hash) {
            return Ok(hash.to_owned());
        }
        let (_, renewed) = permit.hash_again(PasswordAttempt::new(password)).await?;
        Ok(renewed)
    }
}

/// An account is counted by its id, so that handle and address share the count; a name without an account by itself.
fn subject_of(claimant: &Claimant, found: Option<&Credentials>) -> Subject {
    match (found, claimant) {
        (Some(credentials), _) => account_subject(credentials.user.id),
        (None, Claimant::Known(user)) => account_subject(*user),
        (None, Claimant::Named(identifier)) => subject("name", identifier.key().as_bytes()),
    }
}

/// The subject of one account.
pub(super) fn account_subject(user: UserId) -> Subject {
    subject("account", user.uuid().as_bytes())
}

/// What something is counted by: its kind and its value, hashed.
pub(super) fn subject(kind: &str, value: &[u8]) -> Subject {
    Sha256::new().chain_update(kind).chain_update([0]).chain_update(value).finalize().into()
}

//! What an account operation can come to besides success: a refusal, or a store that failed.

use crate::domain::accounts::AccountError;
use crate::domain::images::ImageError;
use crate::domain::passwords::PasswordError;
use crate::domain::phones::PhoneError;
use crate::providers::blobs::BlobError;
use crate::store::StoreError;
use crate::store::accounts::{EMAIL_TAKEN, HANDLE_TAKEN};
use crate::store::images::IMAGE_NOT_THEIRS;

#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Phone(#[from] PhoneError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for AccountsError {
    /// Gives the broken constraints of users and their pictures their meaning.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Constraint(name) if name == HANDLE_TAKEN || name == EMAIL_TAKEN => {
                Self::Account(AccountError::AccountExists)
            }
            StoreError::Constraint(name) if name == IMAGE_NOT_THEIRS => {
                Self::Account(AccountError::AvatarInvalid)
            }
            other => Self::Store(other),
        }
    }
}

impl From<PasswordError> for AccountsError {
    fn from(error: PasswordError) -> Self {
        Self::Account(error.into())
    }
}

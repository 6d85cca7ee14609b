//! What an account operation can come to besides success: a refusal, or a store that failed.

use crate::domain::accounts::AccountError;
use crate::domain::passwords::PasswordError;
use crate::store::StoreError;
use crate::store::accounts::{EMAIL_TAKEN, HANDLE_TAKEN};

#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for AccountsError {
    /// Gives the broken constraints of the users' table their meaning.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Constraint(name) if name == HANDLE_TAKEN || name == EMAIL_TAKEN => {
                Self::Account(AccountError::AccountExists)
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

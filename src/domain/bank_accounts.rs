//! Bank accounts: where users are paid out to. A number is shown by its last four digits and nowhere else.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

/// Accounts that one user has at a time.
pub const ACCOUNTS_MAX: i64 = 5;
const BANK_CHARS_MIN: usize = 2;
const BANK_CHARS_MAX: usize = 11;
const NUMBER_DIGITS_MIN: usize = 6;
const NUMBER_DIGITS_MAX: usize = 20;
const HOLDER_CHARS_MAX: usize = 60;
const SHOWN_DIGITS: usize = 4;

/// Why something is no bank account, or is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BankAccountError {
    #[error("A bank's code has {BANK_CHARS_MIN} to {BANK_CHARS_MAX} digits and capitals.")]
    InvalidBank,
    #[error(
        "An account number has {NUMBER_DIGITS_MIN} to {NUMBER_DIGITS_MAX} digits; `-` and space may stand between them."
    )]
    InvalidNumber,
    #[error("A holder's name has 1 to {HOLDER_CHARS_MAX} characters.")]
    InvalidHolder,
    #[error("There are {ACCOUNTS_MAX} bank accounts; remove one that is not used.")]
    TooMany,
    #[error("There is no such bank account.")]
    NotFound,
    #[error("Money is on its way to this bank account.")]
    InUse,
    #[error("Nobody vouches for their own bank account.")]
    OwnAccount,
}

/// A bank, as payment providers know it: `004`, `SHBKKRSE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BankCode(String);

impl BankCode {
    /// # Errors
    /// [`BankAccountError::InvalidBank`].
    pub fn parse(text: &str) -> Result<Self, BankAccountError> {
        let is_fit = (BANK_CHARS_MIN..=BANK_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|it| it.is_ascii_digit() || it.is_ascii_uppercase());
        if is_fit { Ok(Self(text.to_owned())) } else { Err(BankAccountError::InvalidBank) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An account's number and its holder's name: what is sealed where it is stored.
#[derive(Clone)]
pub struct AccountDetails {
    number: SecretString,
    holder: String,
}

/// The form that is sealed.
#[derive(Serialize, Deserialize)]
struct Written {
    number: String,
    holder: String,
}

impl AccountDetails {
    /// Takes a number without what stands between its digits.
    ///
    /// # Errors
    /// [`BankAccountError::InvalidNumber`], [`BankAccountError::InvalidHolder`].
    pub fn parse(number: &str, holder: &str) -> Result<Self, BankAccountError> {
        let digits: String = number.chars().filter(|it| !matches!(it, '-' | ' ')).collect();
        let is_number = (NUMBER_DIGITS_MIN..=NUMBER_DIGITS_MAX).contains(&digits.len())
            && digits.bytes().all(|it| it.is_ascii_digit());
        if !is_number {
            return Err(BankAccountError::InvalidNumber);
        }
        let holder = holder.trim();
        let is_holder = (1..=HOLDER_CHARS_MAX).contains(&holder.chars().count())
            && !holder.chars().any(char::is_control);
        if !is_holder {
            return Err(BankAccountError::InvalidHolder);
        }
        Ok(Self { number: digits.into(), holder: holder.to_owned() })
    }

    /// What anybody may see of it.
    #[must_use]
    pub fn last_digits(&self) -> String {
        let number = self.number.expose_secret();
        number.get(number.len().saturating_sub(SHOWN_DIGITS)..).unwrap_or_default().to_owned()
    }

    #[must_use]
    pub const fn number(&self) -> &SecretString {
        &self.number
    }

    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// To be sealed.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        let number = self.number.expose_secret().to_owned();
        let written = Written { number, holder: self.holder.clone() };
        serde_json::to_string(&written).unwrap_or_default().into()
    }

    /// What was sealed; `None` for anything else.
    #[must_use]
    pub fn from_text(text: &SecretString) -> Option<Self> {
        let written: Written = serde_json::from_str(text.expose_secret()).ok()?;
        Some(Self { number: written.number.into(), holder: written.holder })
    }
}

impl fmt::Debug for AccountDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountDetails(..)")
    }
}

/// Where a payer's money goes back to that came by a transfer.
#[derive(Debug, Clone)]
pub struct RefundAccount {
    pub bank: BankCode,
    pub details: AccountDetails,
}

impl RefundAccount {
    /// To be sealed: the details, and the bank before them.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        let details = self.details.to_text();
        format!("{} {}", self.bank.as_str(), details.expose_secret()).into()
    }

    /// What was sealed; `None` for anything else.
    #[must_use]
    pub fn from_text(text: &SecretString) -> Option<Self> {
        let (bank, details) = text.expose_secret().split_once(' ')?;
        let details = AccountDetails::from_text(&details.into())?;
        Some(Self { bank: BankCode::parse(bank).ok()?, details })
    }
}

/// As it is shown: `****1234`.
#[must_use]
pub fn masked(last_digits: &str) -> String {
    format!("****{last_digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_whatever_stands_between_them() {
        let details = AccountDetails::parse("110-123 456789", " 김지수 ").unwrap();
        assert_eq!(details.number().expose_secret(), "110123456789");
        assert_eq!(
            (details.holder(), masked(&details.last_digits())),
            ("김지수", "****6789".into())
        );
        for number in ["", "12345", "110-12a-456", "１２３４５６７", &"1".repeat(21)] {
            assert_eq!(
                AccountDetails::parse(number, "김지수").unwrap_err(),
                BankAccountError::InvalidNumber
            );
        }
        for holder in ["", " ", "a\nb", &"가".repeat(61)] {
            assert_eq!(
                AccountDetails::parse("110123456789", holder).unwrap_err(),
                BankAccountError::InvalidHolder
            );
        }
    }

    #[test]
    fn what_is_sealed_is_read_again_and_never_printed() {
        let details = AccountDetails::parse("110123456789", "김 \"지수\"").unwrap();
        let again = AccountDetails::from_text(&details.to_text()).unwrap();
        assert_eq!(again.number().expose_secret(), "110123456789");
        assert_eq!(again.holder(), "김 \"지수\"");
        assert!(AccountDetails::from_text(&"{}".into()).is_none());
        let printed = format!("{details:?}");
        assert!(!printed.contains("110") && !printed.contains("지수"));
    }

    #[test]
    fn where_a_refund_goes_is_read_as_it_was_sealed_and_never_printed() {
        let details = AccountDetails::parse("110123456789", "김 지수").unwrap();
        let account = RefundAccount { bank: BankCode::parse("088").unwrap(), details };
        let again = RefundAccount::from_text(&account.to_text()).unwrap();
        assert_eq!(again.bank, account.bank);
        assert_eq!(again.details.number().expose_secret(), "110123456789");
        assert_eq!(again.details.holder(), "김 지수");
        assert!(RefundAccount::from_text(&"088".into()).is_none());
        let printed = format!("{account:?}");
        assert!(!printed.contains("110") && !printed.contains("지수"));
    }

    #[test]
    fn a_bank_is_a_code() {
        for text in ["004", "88", "SHBKKRSE"] {
            assert_eq!(BankCode::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "4", "kb", "국민", "123456789012"] {
            assert_eq!(BankCode::parse(text), Err(BankAccountError::InvalidBank));
        }
    }
}

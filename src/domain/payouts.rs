//! Pay-outs by bank file: users are paid by whoever runs this, out of a file that a bank takes, and somebody says what
//! the bank did.
//!
//! Invariant: an entry ends once; of a file, only that is shown to be paid of which nobody has said what became.

use secrecy::ExposeSecret as _;

use super::bank_accounts::AccountDetails;
use super::ids::WithdrawalId;
use super::money::{Amount, Currency};
use super::stored_as;

/// The name of bank files among those who move money; never changes.
pub const BANK_FILE: &str = "bank_file";
/// Entries that one file takes.
pub const FILE_ENTRIES_MAX: i64 = 1_000;
/// Results that are said at once.
pub const RESULTS_MAX: usize = 1_000;
const CSV_HEADER: &str = "reference,bank_code,account_number,holder,amount,currency\r\n";
/// With which a cell of a spreadsheet begins that is calculated, whatever it looks like on a Korean or Japanese keyboard.
const FORMULA_BEGINS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryStatus {
    /// In no file yet.
    Waiting,
    /// In a file; nobody has said what the bank did.
    Exported,
    Paid,
    /// The bank did not pay it.
    Failed,
    /// It was paid, and the bank sent it back.
    Returned,
}

stored_as!(EntryStatus {
    Waiting = "waiting",
    Exported = "exported",
    Paid = "paid",
    Failed = "failed",
    Returned = "returned"
});

/// Why a bank did not pay, or sent something back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureCode {
    /// There is no such account, or it is somebody else's.
    InvalidBankAccount,
    /// Whatever else.
    PayoutRefused,
}

stored_as!(FailureCode {
    InvalidBankAccount = "invalid_bank_account",
    PayoutRefused = "payout_refused"
});

/// What a bank did, as somebody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BankResult {
    Paid,
    Failed(FailureCode),
    Returned(FailureCode),
}

/// Why nothing is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayoutFileError {
    #[error("There is no such file.")]
    NotFound,
    #[error("Nothing waits to be paid out, or what does is of wallets that are frozen.")]
    NothingWaiting,
    #[error("It is known of everything in this file what became of it.")]
    Finished,
    #[error("The withdrawal {0} is not in this file.")]
    NotInFile(WithdrawalId),
    #[error("Something else was said of the withdrawal {0}; nothing was recorded.")]
    Contradicted(WithdrawalId),
}

impl EntryStatus {
    /// What a result makes of an entry; `None` where that is known already. `code` is what was said before.
    ///
    /// # Errors
    /// [`PayoutFileError::Contradicted`] where something else is known, or it cannot be so.
    pub fn settled(
        self,
        code: Option<FailureCode>,
        id: WithdrawalId,
        result: BankResult,
    ) -> Result<Option<Self>, PayoutFileError> {
        match (self, result) {
            (Self::Exported, BankResult::Paid) => Ok(Some(Self::Paid)),
            (Self::Exported, BankResult::Failed(_)) => Ok(Some(Self::Failed)),
            (Self::Paid, BankResult::Returned(_)) => Ok(Some(Self::Returned)),
            // What was sent back was paid before.
            (Self::Paid | Self::Returned, BankResult::Paid) => Ok(None),
            (Self::Failed, BankResult::Failed(again))
            | (Self::Returned, BankResult::Returned(again))
                if code == Some(again) =>
            {
                Ok(None)
            }
            _ => Err(PayoutFileError::Contradicted(id)),
        }
    }
}

impl BankResult {
    /// Why it was not paid, where it was not.
    #[must_use]
    pub const fn failure_code(self) -> Option<FailureCode> {
        match self {
            Self::Paid => None,
            Self::Failed(code) | Self::Returned(code) => Some(code),
        }
    }
}

/// Money to be paid to somebody's bank account.
pub struct FileLine {
    pub reference: WithdrawalId,
    pub bank_code: String,
    pub details: AccountDetails,
    pub amount: Amount,
    pub currency: Currency,
}

/// A file as a bank takes it, or a person opens it (RFC 4180). No cell of it is a formula.
#[must_use]
pub fn to_csv(lines: &[FileLine]) -> String {
    let mut text = CSV_HEADER.to_owned();
    for line in lines {
        let cells = [
            line.reference.to_string(),
            line.bank_code.clone(),
            line.details.number().expose_secret().to_owned(),
            line.details.holder().to_owned(),
            // Whole and part as a bank writes them: 12000 won, 1234.50 dollars.
            line.amount.written(line.currency).replace(',', ""),
            line.currency.as_str().to_owned(),
        ];
        text.push_str(&cells.map(|cell| to_cell(&cell)).join(","));
        text.push_str("\r\n");
    }
    text
}

fn to_cell(text: &str) -> String {
    let guard = if text.starts_with(FORMULA_BEGINS) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use BankResult::{Failed, Paid, Returned};
    use uuid::Uuid;

    use super::*;

    const WRONG: FailureCode = FailureCode::InvalidBankAccount;
    const REFUSED: FailureCode = FailureCode::PayoutRefused;

    fn id() -> WithdrawalId {
        Uuid::from_u128(7).into()
    }

    #[test]
    fn an_entry_ends_once_and_what_was_said_again_is_nothing_new() {
        let settled = |from: EntryStatus, code, result| from.settled(code, id(), result);
        for (from, code, result, status) in [
            (EntryStatus::Exported, None, Paid, Some(EntryStatus::Paid)),
            (EntryStatus::Exported, None, Failed(WRONG), Some(EntryStatus::Failed)),
            (EntryStatus::Paid, None, Returned(WRONG), Some(EntryStatus::Returned)),
            (EntryStatus::Paid, None, Paid, None),
            (EntryStatus::Returned, Some(WRONG), Paid, None),
            (EntryStatus::Returned, Some(WRONG), Returned(WRONG), None),
            (EntryStatus::Failed, Some(WRONG), Failed(WRONG), None),
        ] {
            assert_eq!(settled(from, code, result), Ok(status), "{from:?} {result:?}");
        }
        for (from, code, result) in [
            (EntryStatus::Waiting, None, Paid),
            (EntryStatus::Waiting, None, Failed(WRONG)),
            (EntryStatus::Exported, None, Returned(WRONG)),
            (EntryStatus::Paid, None, Failed(WRONG)),
            (EntryStatus::Failed, Some(WRONG), Paid),
            (EntryStatus::Failed, Some(WRONG), Failed(REFUSED)),
            (EntryStatus::Failed, Some(WRONG), Returned(WRONG)),
            (EntryStatus::Returned, Some(WRONG), Returned(REFUSED)),
            (EntryStatus::Returned, Some(WRONG), Failed(WRONG)),
        ] {
            let contradicted = Err(PayoutFileError::Contradicted(id()));
            assert_eq!(settled(from, code, result), contradicted, "{from:?} {result:?}");
        }
    }

    fn cells(holder: &str, currency: &str) -> Vec<String> {
        let line = FileLine {
            reference: id(),
            bank_code: "004".to_owned(),
            details: AccountDetails::parse("010-123-456789", holder).unwrap(),
            amount: Amount::new(1_234_567).unwrap(),
            currency: currency.parse().unwrap(),
        };
        let text = to_csv(&[line]);
        let line = text.strip_prefix(CSV_HEADER).unwrap().strip_suffix("\r\n").unwrap();
        let inner = line.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        inner.split("\",\"").map(str::to_owned).collect()
    }

    #[test]
    fn a_line_is_what_a_bank_asks_for() {
        let reference = id().to_string();
        let won = [&reference, "004", "010123456789", "김지수", "1234567", "KRW"];
        assert_eq!(cells("김지수", "KRW"), won);
        let dollars = [&reference, "004", "010123456789", "Kim, \"\"J\"\"", "12345.67", "USD"];
        assert_eq!(cells("Kim, \"J\"", "USD"), dollars);
        assert_eq!(to_csv(&[]), CSV_HEADER);
    }

    #[test]
    fn nobody_is_called_a_formula() {
        for holder in ["=1+1", "+1", "-1", "@SUM(A1)", " =1+1", "＝1+1", "＋1", "－1", "＠SUM(A1)"]
        {
            assert_eq!(cells(holder, "KRW")[3], format!("'{}", holder.trim()), "{holder}");
        }
        assert_eq!(cells("김=지수", "KRW")[3], "김=지수");
        assert_eq!(cells("\"=1+1\"", "KRW")[3], "\"\"=1+1\"\"");
    }
}

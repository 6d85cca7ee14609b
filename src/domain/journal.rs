//! The manual journal: money that nobody could place is moved on by hand, when two people say so.
//!
//! Pure: which accounts an entry may name, what it is in the ledger, and who may decide about it. Invariant: one side is
//! suspense, and the other an account of the platform's that no row of ours explains: nobody's wallet, and nothing that
//! payments or withdrawals are held against.

use std::time::Duration;

use super::ids::{JournalEntryId, UserId};
use super::ledger::chart::{AccountName, Shard};
use super::ledger::entry::{Entry, Line, Reference};
use super::money::{Amount, Currency};
use super::payments::ProviderName;
use super::stored_as;
use super::time::Timestamp;

/// How long somebody else has to decide. What was right to book may not be a week later.
pub const DECIDED_WITHIN: Duration = Duration::from_hours(7 * 24);
const KIND: &str = "journal";
/// None of these accounts has a guard, and whoever asks for one is told what its shards come to together.
const SHARD: Shard = Shard::numbered(0);

/// Why an entry is not proposed, or not decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("there is no such journal entry")]
    NotFound,
    #[error("no journal entry debits this account")]
    DebitNotAllowed,
    #[error("no journal entry credits this account")]
    CreditNotAllowed,
    #[error("exactly one of the two accounts is `suspense`")]
    NotOneSuspense,
    #[error("a journal entry that is {} is not decided about", .0.as_str())]
    Decided(JournalStatus),
    #[error("nobody has decided in time; it has to be proposed anew")]
    Expired,
    #[error("nobody approves an entry of their own")]
    OwnEntry,
    #[error("there is not so much in suspense")]
    Overdraft,
    #[error("an account takes part in nothing new")]
    AccountFrozen,
    #[error("an account would come to more than it holds")]
    TooLarge,
}

/// How an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JournalStatus {
    Proposed,
    /// It is in the ledger.
    Approved,
    Rejected,
    /// Nobody has decided in time. No row says so: it follows from the time.
    Expired,
}

stored_as!(JournalStatus {
    Proposed = "proposed",
    Approved = "approved",
    Rejected = "rejected",
    Expired = "expired"
});

impl JournalStatus {
    /// How one stands by now that stood so when it was written down.
    #[must_use]
    pub fn at(self, now: Timestamp, expires_at: Timestamp) -> Self {
        if self == Self::Proposed && expires_at <= now { Self::Expired } else { self }
    }
}

/// What an entry debits and credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalAccounts {
    debit: AccountName,
    credit: AccountName,
}

impl JournalAccounts {
    /// Takes the families of two accounts, such as `suspense` and `psp:toss:receivable`.
    ///
    /// # Errors
    /// [`JournalError::DebitNotAllowed`], [`JournalError::CreditNotAllowed`], [`JournalError::NotOneSuspense`].
    pub fn parse(debit: &str, credit: &str) -> Result<Self, JournalError> {
        let debit = account_of(debit).ok_or(JournalError::DebitNotAllowed)?;
        let credit = account_of(credit).ok_or(JournalError::CreditNotAllowed)?;
        if (debit == AccountName::Suspense) == (credit == AccountName::Suspense) {
            return Err(JournalError::NotOneSuspense);
        }
        Ok(Self { debit, credit })
    }

    /// The family of the account that is debited.
    #[must_use]
    pub fn debit(self) -> String {
        family_of(self.debit)
    }

    /// The family of the account that is credited.
    #[must_use]
    pub fn credit(self) -> String {
        family_of(self.credit)
    }

    /// Whether money leaves suspense.
    #[must_use]
    pub fn takes_from_suspense(self) -> bool {
        self.debit == AccountName::Suspense
    }

    /// What an entry is in the ledger, once `by` has approved it.
    #[must_use]
    pub fn entry(
        self,
        id: JournalEntryId,
        reference: Option<Reference>,
        (amount, currency): (Amount, Currency),
        by: UserId,
    ) -> Entry {
        let Self { debit, credit } = self;
        Entry {
            key: format!("{KIND}:{id}"),
            kind: KIND,
            reference: reference.unwrap_or(Reference { kind: KIND, id: id.uuid() }),
            actor: format!("user:{by}"),
            currency,
            lines: vec![Line::Move { debit, credit, amount, code: KIND }],
        }
    }
}

/// What is known when somebody decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deciding {
    pub status: JournalStatus,
    pub proposed_by: UserId,
    pub decided_by: UserId,
}

impl Deciding {
    /// Whether it may be booked.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn approve(&self) -> Result<(), JournalError> {
        self.reject()?;
        if self.proposed_by == self.decided_by {
            return Err(JournalError::OwnEntry);
        }
        Ok(())
    }

    /// Whether it may be rejected: by anybody, for whoever has proposed it may take it back.
    ///
    /// # Errors
    /// [`JournalError::Decided`], [`JournalError::Expired`].
    pub const fn reject(&self) -> Result<(), JournalError> {
        match self.status {
            JournalStatus::Proposed => Ok(()),
            JournalStatus::Expired => Err(JournalError::Expired),
            JournalStatus::Approved | JournalStatus::Rejected => {
                Err(JournalError::Decided(self.status))
            }
        }
    }
}

/// Escrow is what payments say, what is on its way what withdrawals say, and what users have what their items say: an entry
/// by hand would set the books apart from the rows.
fn account_of(family: &str) -> Option<AccountName> {
    let provider = family.strip_prefix("psp:").and_then(|it| it.strip_suffix(":receivable"));
    if let Some(provider) = provider {
        let provider = ProviderName::parse(provider)?;
        return Some(AccountName::ProviderReceivable(provider.as_str(), SHARD));
    }
    Some(match family {
        "suspense" => AccountName::Suspense,
        "bank:operating" => AccountName::BankOperating,
        "bank:trust" => AccountName::BankTrust,
        "income:fee" => AccountName::FeeIncome(SHARD),
        "expense:psp_fee" => AccountName::ProviderFee,
        "expense:chargeback" => AccountName::Chargeback,
        "tax:vat_payable" => AccountName::VatPayable,
        "tax:withholding_payable" => AccountName::WithholdingPayable,
        _ => return None,
    })
}

/// The same in each currency.
fn family_of(name: AccountName) -> String {
    name.account(Currency::KRW).family
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ALLOWED: [&str; 8] = [
        "psp:toss:receivable",
        "bank:operating",
        "bank:trust",
        "income:fee",
        "expense:psp_fee",
        "expense:chargeback",
        "tax:vat_payable",
        "tax:withholding_payable",
    ];

    #[test]
    fn one_side_is_suspense_and_the_other_the_platforms() {
        for family in ALLOWED {
            let accounts = JournalAccounts::parse("suspense", family).unwrap();
            assert_eq!(
                (accounts.debit().as_str(), accounts.credit().as_str()),
                ("suspense", family)
            );
            assert!(accounts.takes_from_suspense());
            let accounts = JournalAccounts::parse(family, "suspense").unwrap();
            assert_eq!(
                (accounts.debit().as_str(), accounts.credit().as_str()),
                (family, "suspense")
            );
            assert!(!accounts.takes_from_suspense());
        }
        for (debit, credit) in [("suspense", "suspense"), ("bank:operating", "income:fee")] {
            let refused = JournalAccounts::parse(debit, credit);
            assert_eq!(refused, Err(JournalError::NotOneSuspense), "{debit} {credit}");
        }
    }

    #[test]
    fn what_rows_of_ours_explain_is_no_account_of_a_journal_entry() {
        let user = Uuid::from_u128(7);
        let wallet = format!("user:{user}:available");
        let pending = format!("user:{user}:pending");
        let debt = format!("user:{user}:debt");
        for family in [
            wallet.as_str(),
            &pending,
            &debt,
            "escrow",
            "escrow#00",
            "payout:in_transit",
            "psp:nobody:receivable",
            "psp::receivable",
            "income:fee#01",
            "Suspense",
            "",
        ] {
            let debited = JournalAccounts::parse(family, "suspense");
            assert_eq!(debited, Err(JournalError::DebitNotAllowed), "{family}");
            let credited = JournalAccounts::parse("suspense", family);
            assert_eq!(credited, Err(JournalError::CreditNotAllowed), "{family}");
        }
    }

    #[test]
    fn an_entry_is_booked_under_a_key_of_its_own() {
        let (id, by) = (JournalEntryId::from(Uuid::from_u128(1)), UserId::from(Uuid::from_u128(2)));
        let money = (Amount::new(700).unwrap(), Currency::KRW);
        let accounts = JournalAccounts::parse("suspense", "income:fee").unwrap();

        let entry = accounts.entry(id, None, money, by);

        assert_eq!(entry.key, format!("journal:{id}"));
        assert_eq!((entry.reference.kind, entry.reference.id), ("journal", id.uuid()));
        assert_eq!(entry.actor, format!("user:{by}"));
        let [Line::Move { debit, credit, amount, .. }] = entry.lines[..] else {
            panic!("{entry:?}")
        };
        assert_eq!((debit, credit), (AccountName::Suspense, AccountName::FeeIncome(SHARD)));
        assert_eq!(amount.minor(), 700);
    }

    #[test]
    fn one_proposes_and_another_approves_once_and_in_time() {
        let somebody = |n| UserId::from(Uuid::from_u128(n));
        let sound = Deciding {
            status: JournalStatus::Proposed,
            proposed_by: somebody(1),
            decided_by: somebody(2),
        };
        assert_eq!((sound.approve(), sound.reject()), (Ok(()), Ok(())));
        let own = Deciding { decided_by: somebody(1), ..sound };
        assert_eq!((own.approve(), own.reject()), (Err(JournalError::OwnEntry), Ok(())));
        for status in [JournalStatus::Approved, JournalStatus::Rejected] {
            let late = Deciding { status, ..sound };
            let refused = Err(JournalError::Decided(status));
            assert_eq!((late.approve(), late.reject()), (refused, refused));
        }
        let expired = Deciding { status: JournalStatus::Expired, ..sound };
        let refused = Err(JournalError::Expired);
        assert_eq!((expired.approve(), expired.reject()), (refused, refused));
    }

    #[test]
    fn what_nobody_has_decided_about_in_time_is_over() {
        let (now, end) = (Timestamp::from_millis(6), Timestamp::from_millis(7));
        assert_eq!(JournalStatus::Proposed.at(now, end), JournalStatus::Proposed);
        assert_eq!(JournalStatus::Proposed.at(end, end), JournalStatus::Expired);
        assert_eq!(JournalStatus::Approved.at(end, end), JournalStatus::Approved);
    }
}

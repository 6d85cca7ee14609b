//! The chart of accounts: which there are, what each is, and what it is held to.
//!
//! An account's id follows from its name and currency, so that nobody has to look it up. Accounts that every payment
//! touches are split into shards, so that payments do not wait for one another; who asks for their balance adds them up.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{AccountKind, Guard};
use crate::domain::ids::{AccountId, UserId};
use crate::domain::money::Currency;

/// Shards at most.
pub const SHARDS_MAX: u8 = 64;

/// One of an account's parts, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(u8);

impl Shard {
    /// The shard that everything about one order goes to.
    #[must_use]
    pub fn of(order: Uuid, shards: u8) -> Self {
        let digest = Sha256::digest(order.as_bytes());
        let first = digest.first().copied().unwrap_or_default();
        Self(first.checked_rem(shards.min(SHARDS_MAX)).unwrap_or_default())
    }

    /// The shard of this number, as it was written down.
    #[must_use]
    pub const fn numbered(number: u8) -> Self {
        Self(number)
    }

    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// An account by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccountName {
    /// What a payment provider owes us, by the provider's name.
    ProviderReceivable(&'static str, Shard),
    BankOperating,
    BankTrust,
    /// Paid, and not yet earned by anybody.
    Escrow(Shard),
    /// Earned, and not yet to be paid out.
    UserPending(UserId),
    /// A user's wallet.
    UserAvailable(UserId),
    /// What a user owes us.
    UserDebt(UserId),
    /// On its way to somebody's bank.
    PayoutInTransit,
    VatPayable,
    WithholdingPayable,
    FeeIncome(Shard),
    ProviderFee,
    Chargeback,
    /// Money that nobody can place yet.
    Suspense,
}

/// Everything the store has to know of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    /// Its name in words, such as `escrow#03`.
    pub code: String,
    /// What it is a part of: `escrow`.
    pub family: String,
    pub kind: AccountKind,
    pub guard: Guard,
    pub currency: Currency,
    /// Whose it is; `None` for the platform's.
    pub owner: Option<UserId>,
}

impl AccountName {
    /// The account of this name in a currency.
    #[must_use]
    pub fn account(self, currency: Currency) -> Account {
        let family = self.family();
        let code = match self.shard() {
            Some(Shard(shard)) => format!("{family}#{shard:02}"),
            None => family.clone(),
        };
        let (kind, guard) = self.nature();
        Account {
            id: id_of(&code, currency),
            code,
            family,
            kind,
            guard,
            currency,
            owner: self.owner(),
        }
    }

    /// Its id in a currency.
    #[must_use]
    pub fn id(self, currency: Currency) -> AccountId {
        self.account(currency).id
    }

    fn family(self) -> String {
        match self {
            Self::ProviderReceivable(provider, _) => format!("psp:{provider}:receivable"),
            Self::BankOperating => "bank:operating".to_owned(),
            Self::BankTrust => "bank:trust".to_owned(),
            Self::Escrow(_) => "escrow".to_owned(),
            Self::UserPending(user) => format!("user:{user}:pending"),
            Self::UserAvailable(user) => format!("user:{user}:available"),
            Self::UserDebt(user) => format!("user:{user}:debt"),
            Self::PayoutInTransit => "payout:in_transit".to_owned(),
            Self::VatPayable => "tax:vat_payable".to_owned(),
            Self::WithholdingPayable => "tax:withholding_payable".to_owned(),
            Self::FeeIncome(_) => "income:fee".to_owned(),
            Self::ProviderFee => "expense:psp_fee".to_owned(),
            Self::Chargeback => "expense:chargeback".to_owned(),
            Self::Suspense => "suspense".to_owned(),
        }
    }

    const fn shard(self) -> Option<Shard> {
        match self {
            Self::ProviderReceivable(_, shard) | Self::Escrow(shard) | Self::FeeIncome(shard) => {
                Some(shard)
            }
            _ => None,
        }
    }

    const fn owner(self) -> Option<UserId> {
        match self {
            Self::UserPending(user) | Self::UserAvailable(user) | Self::UserDebt(user) => {
                Some(user)
            }
            _ => None,
        }
    }

    const fn nature(self) -> (AccountKind, Guard) {
        match self {
            Self::ProviderReceivable(..) | Self::BankOperating | Self::BankTrust => {
                (AccountKind::Asset, Guard::None)
            }
            Self::Escrow(_)
            | Self::PayoutInTransit
            | Self::VatPayable
            | Self::WithholdingPayable
            | Self::Suspense => (AccountKind::Liability, Guard::None),
            Self::UserPending(_) | Self::UserAvailable(_) => {
                (AccountKind::Liability, Guard::DebitsWithinCredits)
            }
            Self::UserDebt(_) => (AccountKind::Asset, Guard::CreditsWithinDebits),
            Self::FeeIncome(_) => (AccountKind::Income, Guard::None),
            Self::ProviderFee | Self::Chargeback => (AccountKind::Expense, Guard::None),
        }
    }
}

/// A UUID of version 8: made of a hash, and of nothing else.
fn id_of(code: &str, currency: Currency) -> AccountId {
    let digest = Sha256::digest(format!("{currency} {code}"));
    let mut bytes = [0_u8; 16];
    for (byte, hashed) in bytes.iter_mut().zip(digest) {
        *byte = hashed;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn user() -> UserId {
        Uuid::from_u128(7).into()
    }

    #[test]
    fn an_account_is_what_its_name_says() {
        let shard = Shard::of(Uuid::from_u128(1), 16);
        let escrow = AccountName::Escrow(shard).account(Currency::KRW);
        assert_eq!(escrow.family, "escrow");
        assert_eq!(escrow.code, format!("escrow#{:02}", shard.0));
        assert_eq!((escrow.kind, escrow.guard), (AccountKind::Liability, Guard::None));

        let wallet = AccountName::UserAvailable(user()).account(Currency::KRW);
        assert_eq!(wallet.code, format!("user:{}:available", user()));
        assert_eq!((wallet.guard, wallet.owner), (Guard::DebitsWithinCredits, Some(user())));
    }

    #[test]
    fn an_id_is_one_account_in_one_currency() {
        let names = [
            AccountName::UserPending(user()),
            AccountName::UserAvailable(user()),
            AccountName::UserDebt(user()),
            AccountName::BankTrust,
            AccountName::BankOperating,
            AccountName::Suspense,
        ];
        let dollar = "USD".parse().unwrap();
        let ids: HashSet<AccountId> =
            names.into_iter().flat_map(|name| [name.id(Currency::KRW), name.id(dollar)]).collect();
        assert_eq!(ids.len(), names.len() * 2);
        // Written into every database there is.
        assert_eq!(
            AccountName::Suspense.id(Currency::KRW),
            AccountName::Suspense.account(Currency::KRW).id
        );
    }

    #[test]
    fn orders_are_spread_over_all_shards_and_one_shard_is_one_account() {
        let shards: HashSet<Shard> =
            (0..1_000).map(|order| Shard::of(Uuid::from_u128(order), 16)).collect();
        assert_eq!(shards.len(), 16);
        assert_eq!(Shard::of(Uuid::from_u128(9), 1), Shard(0));
        assert_eq!(Shard::of(Uuid::from_u128(9), 0), Shard(0));
    }
}

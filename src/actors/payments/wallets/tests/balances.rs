//! Balances that several take from at once, keys that are used again, and bank accounts.

use futures_util::future::join_all;

use super::{DAY, NUMBER, Person, RULES, somebody, towns};
use crate::actors::payments::wallets::WalletsError;
use crate::domain::bank_accounts::{ACCOUNTS_MAX, BankAccountError};
use crate::domain::idempotency::IdempotencyError;
use crate::domain::wallets::WalletError;
use crate::domain::withdrawals::WithdrawalRefusal;
use crate::store::bank_accounts::Voucher;
use crate::store::testing::dump_text;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_take_the_whole_balance_at_once_one_gets_it() {
    for (has, gets) in [(10_000, 1), (20_000, 2)] {
        for town in towns(RULES).await {
            let person = town.person(has).await;
            let (one, other) =
                tokio::join!(town.withdraw(person, 10_000), town.withdraw(person, 10_000));
            let taken = [&one, &other].into_iter().filter(|it| it.is_ok()).count();
            assert_eq!(taken, gets, "of {has}: {one:?} {other:?}");
            for refused in [one, other].into_iter().filter_map(Result::err) {
                assert!(
                    matches!(refused, WalletsError::Wallet(WalletError::Insufficient)),
                    "{refused:?}"
                );
            }
            assert_eq!(town.figures(person).await, (0, has));
            town.assert_books_are_right().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_takes_effect_once_and_another_under_its_key_does_not() {
    for town in towns(RULES).await {
        let person = town.person(10_000).await;
        let key = "a-key-of-mine";
        let asked = join_all((0..64).map(|_| town.withdraw_under(person, 1_000, key))).await;
        let ids: Vec<_> = asked.into_iter().map(|it| it.unwrap().id).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(town.figures(person).await, (9_000, 1_000));

        let other = town.withdraw_under(person, 2_000, key).await;
        assert!(matches!(other, Err(WalletsError::Key(IdempotencyError::Reused))));
        town.pass(DAY);
        town.drive().await;
        let again = town.withdraw_under(person, 1_000, key).await.unwrap();
        assert_eq!((again.id, again.status.as_str()), (ids[0], "paid"));
        assert_eq!(town.sent(ids[0]), [1_000]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_leaves_its_key_free() {
    for town in towns(RULES).await {
        let person = town.person(500).await;
        let key = "a-key-of-mine";
        let refused = town.withdraw_under(person, 1_000, key).await;
        assert!(matches!(refused, Err(WalletsError::Wallet(WalletError::Insufficient))));
        assert_eq!(town.figures(person).await, (500, 0));
        assert_eq!(town.withdraw_under(person, 500, key).await.unwrap().amount.minor(), 500);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_paid_to_an_account_that_nobody_vouches_for_or_that_is_another_s() {
    for town in towns(RULES).await {
        let person = town.person(10_000).await;
        let account = town.add_account(person.user).await;
        let unknown = town.withdraw(Person { account, ..person }, 100).await;
        assert!(matches!(
            unknown,
            Err(WalletsError::Wallet(WalletError::Refused(WithdrawalRefusal::Unverified)))
        ));
        let own = town.wallets.verify_account(account, Voucher::User(person.user)).await;
        assert!(matches!(
            own,
            Err(WalletsError::Wallet(WalletError::Account(BankAccountError::OwnAccount)))
        ));

        let other = town.person(0).await;
        let strange = town.withdraw(Person { account: other.account, ..person }, 100).await;
        assert!(matches!(
            strange,
            Err(WalletsError::Wallet(WalletError::Account(BankAccountError::NotFound)))
        ));
        town.wallets.verify_account(account, Voucher::User(somebody())).await.unwrap();
        town.withdraw(Person { account, ..person }, 100).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_masked_bounded_in_number_and_not_removed_under_money_on_its_way() {
    for town in towns(RULES).await {
        let person = town.person(1_000).await;
        town.withdraw(person, 1_000).await.unwrap();
        let used = town.wallets.remove_account(person.user, person.account).await;
        assert!(matches!(
            used,
            Err(WalletsError::Wallet(WalletError::Account(BankAccountError::InUse)))
        ));
        for _ in 1..ACCOUNTS_MAX {
            town.add_account(person.user).await;
        }
        let accounts = town.wallets.accounts(person.user).await.unwrap();
        assert_eq!(i64::try_from(accounts.len()).unwrap(), ACCOUNTS_MAX);
        assert!(accounts.iter().all(|account| account.last_digits == "6789"));

        let free = accounts.last().unwrap().id;
        let strange = town.wallets.remove_account(somebody(), free).await;
        assert!(matches!(
            strange,
            Err(WalletsError::Wallet(WalletError::Account(BankAccountError::NotFound)))
        ));
        town.wallets.remove_account(person.user, free).await.unwrap();
        let left = town.wallets.accounts(person.user).await.unwrap();
        assert_eq!(left.len(), accounts.len() - 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_number_lies_nowhere_in_the_open() {
    for town in towns(RULES).await {
        let person = town.regular(1_000).await;
        town.withdraw(person, 1_000).await.unwrap();
        town.drive().await;
        let dump = dump_text(&town.store).await;
        assert!(dump.contains("6789") && dump.contains("WithdrawalPaid"), "it looks at all");
        let digits: String = NUMBER.chars().filter(char::is_ascii_digit).collect();
        let bytes: String = digits.bytes().map(|digit| format!("{digit:02x}")).collect();
        assert!(!dump.contains(&digits) && !dump.contains(&bytes) && !dump.contains("김지수"));
    }
}

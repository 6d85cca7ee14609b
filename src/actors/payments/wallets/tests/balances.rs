//! Balances that several take from at once, keys that are used again, and bank accounts.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;

use super::{DAY, NUMBER, Person, RULES, somebody, towns};
use crate::actors::payments::wallets::{WalletsError, Withdrawn};
use crate::domain::bank_accounts::{ACCOUNTS_MAX, BankAccountError};
use crate::domain::idempotency::{IdempotencyError, StoredAnswer};
use crate::domain::ledger::chart::AccountName;
use crate::domain::money::Amount;
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
async fn a_refusal_that_was_kept_is_given_to_whoever_sends_the_same_again() {
    for town in towns(RULES).await {
        let person = town.person(500).await;
        let call = |amount| super::call(person.user, amount, "a-key-of-mine");
        let refusal = |body: &str| StoredAnswer { status: 402, body: body.to_owned() };
        let kept = town.wallets.keep_refusal(call(1_000), refusal("first")).await.unwrap();
        let first = |is_replayed| Withdrawn::Refused { answer: refusal("first"), is_replayed };
        assert_eq!(kept, first(false));
        // Of two that were refused at once, one is kept.
        let late = town.wallets.keep_refusal(call(1_000), refusal("second")).await.unwrap();
        assert_eq!(late, first(false));

        town.book("more", AccountName::BankTrust, AccountName::UserAvailable(person.user), 9_000)
            .await;
        let ask = |amount: i64| {
            let (user, account) = (person.user, person.account);
            town.wallets.withdraw(user, Amount::new(amount).unwrap(), account, call(amount))
        };
        assert_eq!(ask(1_000).await.unwrap(), first(true));
        let other = ask(2_000).await;
        assert!(matches!(other, Err(WalletsError::Key(IdempotencyError::Reused))), "{other:?}");
        assert_eq!(town.figures(person).await, (9_500, 0));
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
async fn who_owes_takes_out_what_they_have_beyond_that() {
    for town in towns(RULES).await {
        let person = town.person(10_000).await;
        let debt = AccountName::UserDebt(person.user);
        // Nothing has come since that could have paid it.
        town.book("owed", debt, AccountName::BankTrust, 10_000).await;
        assert_eq!(town.figures(person).await, (10_000, 0));
        for (repaid, refused, taken) in [(0, 100, None), (9_000, 9_001, Some(9_000))] {
            if repaid > 0 {
                town.book("repaid", AccountName::BankTrust, debt, repaid).await;
            }
            let more = town.withdraw(person, refused).await;
            assert!(
                matches!(more, Err(WalletsError::Wallet(WalletError::Insufficient))),
                "{more:?}"
            );
            if let Some(taken) = taken {
                town.withdraw(person, taken).await.unwrap();
            }
        }
        assert_eq!(town.figures(person).await, (1_000, 9_000));
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_while_money_moves_in_a_wallet_is_all_of_it() {
    for town in towns(RULES).await {
        let person = town.person(10_000).await;
        let available = AccountName::UserAvailable(person.user);
        let pending = AccountName::UserPending(person.user);
        let is_over = AtomicBool::new(false);
        let moving = async {
            for _ in 0..40 {
                town.book("out", available, pending, 10_000).await;
                town.book("in", pending, available, 10_000).await;
            }
            is_over.store(true, Ordering::SeqCst);
        };
        let reading = async {
            while !is_over.load(Ordering::SeqCst) {
                let wallet = town.wallet(person).await;
                assert_eq!(wallet.available + wallet.pending, 10_000, "{wallet:?}");
            }
        };
        tokio::join!(moving, reading);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_account_that_was_removed_nothing_personal_stays() {
    for town in towns(RULES).await {
        let person = town.regular(1_000).await;
        // The bank, and the last digits: no number that happens to be there.
        assert!(dump_text(&town.store).await.contains("0046789"), "the control");
        // One that was paid to is named by its withdrawal; the other by nobody.
        town.wallets.remove_account(person.user, person.account).await.unwrap();
        let unused = town.add_account(person.user).await;
        town.wallets.remove_account(person.user, unused).await.unwrap();
        assert!(!dump_text(&town.store).await.contains("0046789"));
        assert!(town.store.get_sealed_account(person.account).await.unwrap().details.is_empty());
        assert!(town.store.get_sealed_account(unused).await.is_err(), "it is gone");
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

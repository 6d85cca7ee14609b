//! How a withdrawal goes: sent once, freed only when it certainly was not sent.

use super::{DAY, Done, MINUTE, RULES, Town, reason, somebody, towns};
use crate::actors::payments::wallets::WalletsError;
use crate::domain::ids::WithdrawalId;
use crate::domain::ledger::chart::AccountName;
use crate::domain::payments::ProviderName;
use crate::domain::wallets::WalletError;
use crate::domain::withdrawals::{WithdrawalRefusal, WithdrawalRules, WithdrawalStatus};
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::store::audit::DeedFilter;
use crate::store::bank_accounts::Voucher;
use crate::store::testing::{approve_without_rules, open_dispute};
use crate::store::withdrawals::WaitsFor;

/// A regular's withdrawal of an amount that strikes at the provider, after its first call.
async fn struck(town: &Town, amount: i64) -> (super::Person, super::Withdrawal) {
    let person = town.regular(amount).await;
    let withdrawal = town.withdraw(person, amount).await.unwrap();
    town.drive().await;
    (person, withdrawal)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_withdrawal_waits_for_a_day_and_is_sent_once() {
    for town in towns(RULES).await {
        let person = town.person(10_000).await;
        let before = town.wallet(person).await;
        let withdrawal = town.withdraw(person, 10_000).await.unwrap();
        assert_eq!(withdrawal.status, WithdrawalStatus::Requested);
        assert_eq!(town.figures(person).await, (0, 10_000));
        assert_ne!(town.wallet(person).await.version, before.version);

        town.drive().await;
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Requested);
        town.pass(DAY);
        town.drive().await;

        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid);
        assert_eq!(town.figures(person).await, (0, 0));
        assert_eq!(town.sent(withdrawal.id), [10_000]);
        let events = ["WithdrawalRequested", "WithdrawalApproved", "WithdrawalPaid"];
        assert_eq!(town.events(withdrawal.id).await, events);
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_lets_a_first_withdrawal_go_at_once_and_a_large_one_with_a_second_person() {
    for town in towns(RULES).await {
        let person = town.person(300_000).await;
        let small = town.withdraw(person, 10_000).await.unwrap();
        let large = town.withdraw(person, 100_001).await.unwrap();
        town.drive().await;
        let [first, second] = [somebody(), somebody()];
        town.wallets.approve(first, small.id, reason()).await.unwrap();
        town.wallets.approve(first, large.id, reason()).await.unwrap();
        town.drive().await;
        assert_eq!(town.status(small.id).await, WithdrawalStatus::Paid);
        assert_eq!(town.status(large.id).await, WithdrawalStatus::Approved);

        let again = town.wallets.approve(first, large.id, reason()).await;
        assert!(matches!(again, Err(WalletsError::Wallet(WalletError::SecondPersonNeeded))));
        let own = town.wallets.approve(person.user, large.id, reason()).await;
        assert!(matches!(own, Err(WalletsError::Wallet(WalletError::OwnDecision))), "{own:?}");
        town.drive().await;
        assert_eq!(town.status(large.id).await, WithdrawalStatus::Approved);

        town.wallets.approve(second, large.id, reason()).await.unwrap();
        town.drive().await;
        assert_eq!(town.status(large.id).await, WithdrawalStatus::Paid);
        assert_eq!(town.sent(large.id), [100_001]);
        let deeds = town.store.list_audit(DeedFilter::default(), None, 9).await.unwrap();
        let said: Vec<_> = deeds.iter().rev().map(|it| (it.action.as_str(), it.by)).collect();
        let lifted = ("withdrawal_wait_lifted", second);
        assert_eq!(said, [("withdrawal_approved", first), ("withdrawal_approved", first), lifted]);
        assert_eq!(deeds[0].before["status"], "approved");
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_decide_at_once_one_does_and_one_is_written_down() {
    for town in towns(RULES).await {
        let person = town.regular(300_000).await;
        let withdrawal = town.withdraw(person, 100_001).await.unwrap();
        let (yes, no) = tokio::join!(
            town.wallets.approve(somebody(), withdrawal.id, reason()),
            town.wallets.reject(somebody(), withdrawal.id, reason()),
        );
        assert!(yes.is_ok() != no.is_ok(), "{yes:?} {no:?}");
        let deeds = town.store.list_audit(DeedFilter::default(), None, 9).await.unwrap();
        assert_eq!(deeds.len(), 1, "{deeds:?}");
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_large_waits_for_another_person() {
    for town in towns(RULES).await {
        let person = town.regular(300_000).await;
        let withdrawal = town.withdraw(person, 100_001).await.unwrap();
        town.drive().await;
        town.pass(DAY);
        town.drive().await;
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Requested);

        let own = town.wallets.approve(person.user, withdrawal.id, reason()).await;
        assert!(matches!(own, Err(WalletsError::Wallet(WalletError::OwnDecision))), "{own:?}");
        let own = town.wallets.reject(person.user, withdrawal.id, reason()).await;
        assert!(matches!(own, Err(WalletsError::Wallet(WalletError::OwnDecision))), "{own:?}");
        town.drive().await;
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Requested);

        let admin = somebody();
        let approved = town.wallets.approve(admin, withdrawal.id, reason()).await.unwrap();
        assert_eq!(approved.approved_by, Some(admin));
        town.drive().await;
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid);
        assert_eq!(town.sent(withdrawal.id), [100_001]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_refuses_a_requester_who_approves_even_where_the_code_does_not() {
    for town in towns(RULES).await {
        let person = town.regular(300_000).await;
        let withdrawal = town.withdraw(person, 200_000).await.unwrap();
        let (id, own, other) = (withdrawal.id, person.user, somebody());
        let tried: Done<u64> = approve_without_rules(&town.store, id, own).await;
        assert!(tried.unwrap_err().to_string().contains("withdrawals_approver_check"));
        // The control: anybody else would have got through.
        assert_eq!(approve_without_rules(&town.store, id, other).await.unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_or_given_up_is_free_again_and_never_sent() {
    for town in towns(RULES).await {
        let person = town.regular(400_000).await;
        let rejected = town.withdraw(person, 200_000).await.unwrap();
        let canceled = town.withdraw(person, 150_000).await.unwrap();
        assert_eq!(town.figures(person).await, (50_000, 350_000));

        town.wallets.reject(somebody(), rejected.id, reason()).await.unwrap();
        let strange = town.wallets.cancel(somebody(), canceled.id).await;
        assert!(matches!(strange, Err(WalletsError::Wallet(WalletError::NotFound))));
        town.wallets.cancel(person.user, canceled.id).await.unwrap();
        town.pass(DAY);
        town.drive().await;

        assert_eq!(town.figures(person).await, (400_000, 0));
        for (id, status, last) in [
            (rejected.id, WithdrawalStatus::Rejected, "WithdrawalRejected"),
            (canceled.id, WithdrawalStatus::Canceled, "WithdrawalCanceled"),
        ] {
            assert_eq!(town.status(id).await, status);
            assert!(town.sent(id).is_empty());
            assert_eq!(town.events(id).await, ["WithdrawalRequested", last]);
            let late = town.wallets.approve(somebody(), id, reason()).await;
            assert!(matches!(late, Err(WalletsError::Wallet(WalletError::WrongStatus(_)))));
        }
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_stays_held_until_a_look_up_says_what_it_is() {
    for moment in [Moment::Before, Moment::After] {
        for town in towns(RULES).await {
            let person = town.regular(10_000).await;
            town.provider.plan(Operation::PayOut, [Some(Fault::Lost(Loss::Timeout, moment))]);
            town.provider.plan(Operation::LookUp, [Some(Fault::Lost(Loss::Timeout, moment))]);
            let withdrawal = town.withdraw(person, 10_000).await.unwrap();
            town.drive().await;
            assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Unknown);
            assert_eq!(town.figures(person).await, (0, 10_000), "held");
            let late = town.wallets.cancel(person.user, withdrawal.id).await;
            assert!(matches!(late, Err(WalletsError::Wallet(WalletError::WrongStatus(_)))));

            for _ in 0..3 {
                town.pass(MINUTE);
                town.drive().await;
            }
            assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid, "{moment:?}");
            assert_eq!(town.sent(withdrawal.id), [10_000], "once");
            assert_eq!(town.figures(person).await, (0, 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_on_no_list_is_no_refusal() {
    for town in towns(RULES).await {
        let (person, withdrawal) = struck(&town, 10_916).await;
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Unknown);
        assert_eq!(town.figures(person).await, (0, 10_916));
        town.pass(MINUTE);
        town.drive().await;
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bank_refuses_is_free_again() {
    for town in towns(RULES).await {
        for (amount, code) in [(10_953, "invalid_bank_account"), (10_954, "payout_refused")] {
            let (person, withdrawal) = struck(&town, amount).await;
            let found = town.store.find_withdrawal(withdrawal.id).await.unwrap().unwrap();
            assert_eq!(found.status, WithdrawalStatus::Failed);
            assert_eq!(found.failure_code.as_deref(), Some(code));
            assert_eq!(town.figures(person).await, (amount, 0));
            assert_eq!(town.events(withdrawal.id).await.last().unwrap(), "WithdrawalFailed");
        }
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bank_takes_its_time_for_is_paid_when_it_has_arrived() {
    for town in towns(RULES).await {
        let (person, withdrawal) = struck(&town, 10_951).await;
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Sending);
        assert_eq!(town.figures(person).await, (0, 10_951));
        town.pass(MINUTE * 2);
        town.wallets.watch().await.unwrap();
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Sending);

        town.pass(MINUTE * 2);
        town.wallets.watch().await.unwrap();
        town.drive().await;

        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid);
        assert_eq!(town.figures(person).await, (0, 0));
        let status = town.store.get_workflow_status(withdrawal.workflow).await.unwrap();
        assert_eq!(status, crate::domain::workflows::WorkflowStatus::Done);
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bank_sends_back_is_in_the_wallet_again_once() {
    for town in towns(RULES).await {
        let (person, withdrawal) = struck(&town, 10_952).await;
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid);
        town.pass(MINUTE * 90);
        let (one, other) =
            tokio::join!(town.wallets.look_again(withdrawal.id), town.wallets.watch());
        one.unwrap();
        other.unwrap();

        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Returned);
        assert_eq!(town.figures(person).await, (10_952, 0));
        let events = town.events(withdrawal.id).await;
        assert_eq!(events.iter().filter(|name| *name == "WithdrawalReturned").count(), 1);
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_sends_another_amount_stops_the_withdrawal_for_somebody_to_look() {
    for town in towns(RULES).await {
        let (person, withdrawal) = struck(&town, 10_922).await;
        let status = town.store.get_workflow_status(withdrawal.workflow).await.unwrap();
        assert_eq!(status, crate::domain::workflows::WorkflowStatus::Parked);
        assert_eq!(town.figures(person).await, (0, 10_922), "held");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_is_frozen_meanwhile_keeps_its_withdrawal_waiting() {
    for town in towns(RULES).await {
        let person = town.regular(10_000).await;
        let withdrawal = town.withdraw(person, 5_000).await.unwrap();
        let (store, currency, now) = (&town.store, withdrawal.currency, town.now());
        let frozen = store.freeze_wallet(person.user, currency, somebody(), reason(), now).await;
        assert!(frozen.unwrap());
        town.drive().await;
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Requested);
        let more = town.withdraw(person, 100).await;
        assert!(matches!(
            more,
            Err(WalletsError::Wallet(WalletError::Refused(WithdrawalRefusal::Frozen)))
        ));

        assert!(
            store.unfreeze_wallet(person.user, currency, somebody(), reason(), now).await.unwrap()
        );
        town.pass(MINUTE * 11);
        town.drive().await;
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_has_its_limits_however_many_ask_at_once() {
    let rules = WithdrawalRules { per_day_count_max: 2, ..RULES };
    for town in towns(rules).await {
        let person = town.person(10_000).await;
        let asked =
            futures_util::future::join_all((0..8).map(|_| town.withdraw(person, 100))).await;
        let taken = asked.iter().filter(|it| it.is_ok()).count();
        assert_eq!(taken, 2);
        let refused = WithdrawalRefusal::TooMany(2);
        assert!(
            asked.iter().flat_map(|it| it.as_ref().err()).all(
                |error| matches!(error, WalletsError::Wallet(WalletError::Refused(refusal)) if *refusal == refused)
            )
        );
        assert_eq!(town.figures(person).await, (9_800, 200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_free_again_pays_a_debt_first() {
    for town in towns(RULES).await {
        for is_rejected in [false, true] {
            let person = town.regular(10_000).await;
            let withdrawal = town.withdraw(person, 10_000).await.unwrap();
            let debt = AccountName::UserDebt(person.user);
            town.book("owed", debt, AccountName::BankTrust, 4_000).await;
            if is_rejected {
                town.wallets.reject(somebody(), withdrawal.id, reason()).await.unwrap();
            } else {
                town.wallets.cancel(person.user, withdrawal.id).await.unwrap();
            }
            let wallet = town.wallet(person).await;
            assert_eq!((wallet.available, wallet.held, wallet.debt), (6_000, 0, 0));
        }
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_waits_is_listed_with_what_it_waits_for() {
    for town in towns(RULES).await {
        let waiting = async || -> Vec<(WithdrawalId, Vec<&'static str>)> {
            let rows = town.store.list_waiting_withdrawals(None, 9, town.now()).await.unwrap();
            let words = |it: &[WaitsFor]| it.iter().map(|it| it.as_str()).collect();
            rows.iter().map(|it| (it.withdrawal.id, words(&it.waits_for))).collect()
        };
        let person = town.regular(300_000).await;
        let small = town.withdraw(person, 10_000).await.unwrap();
        assert!(waiting().await.is_empty(), "it is about to be sent");

        // Disputed after it was asked for.
        open_dispute(&town.store, person.user).await;
        town.drive().await;
        assert_eq!(town.status(small.id).await, WithdrawalStatus::Requested);
        assert_eq!(waiting().await, [(small.id, vec!["dispute"])]);
        let large = town.withdraw(person, 100_001).await.unwrap();
        let both = vec!["approval", "dispute"];
        assert_eq!(waiting().await, [(small.id, vec!["dispute"]), (large.id, both)]);

        // A yes helps against a dispute, not against a freeze.
        town.wallets.freeze(person.user, somebody(), reason()).await.unwrap();
        town.wallets.reject(somebody(), large.id, reason()).await.unwrap();
        town.wallets.approve(somebody(), small.id, reason()).await.unwrap();
        town.drive().await;
        assert_eq!(waiting().await, [(small.id, vec!["frozen"])]);
        town.wallets.unfreeze(person.user, somebody(), reason()).await.unwrap();
        town.pass(MINUTE * 10);
        town.drive().await;
        assert_eq!(town.status(small.id).await, WithdrawalStatus::Paid);
        assert!(waiting().await.is_empty());

        let newcomer = town.person(10_000).await;
        let first = town.withdraw(newcomer, 10_000).await.unwrap();
        assert_eq!(waiting().await, [(first.id, vec!["time"])]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_on_its_way_waits_while_its_provider_is_stopped() {
    for town in towns(RULES).await {
        let on_its_way = struck(&town, 10_951).await.1;
        let (provider, by) = (ProviderName::Fake, somebody());
        assert!(town.store.stop_provider(provider, by, reason(), town.now()).await.unwrap());
        let person = town.person(300_000).await;
        let withdrawal = town.withdraw(person, 200_000).await.unwrap();
        town.wallets.approve(somebody(), withdrawal.id, reason()).await.unwrap();
        town.wallets.approve(somebody(), withdrawal.id, reason()).await.unwrap();
        town.pass(DAY);
        town.drive().await;

        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Approved);
        assert!(town.sent(withdrawal.id).is_empty());
        assert_eq!(town.figures(person).await, (100_000, 200_000), "it stays held");
        let waiting = town.store.list_waiting_withdrawals(None, 9, town.now()).await.unwrap();
        assert_eq!(waiting[0].waits_for, [WaitsFor::ProviderStopped]);
        town.wallets.watch().await.unwrap();
        assert_eq!(town.status(on_its_way.id).await, WithdrawalStatus::Paid, "it goes on");

        assert!(town.store.start_provider(provider, by, reason(), town.now()).await.unwrap());
        town.pass(MINUTE * 10);
        town.drive().await;
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid);
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_vouches_for_an_account_is_named_once() {
    for town in towns(RULES).await {
        let (user, by) = (somebody(), somebody());
        let account = town.add_account(user).await;
        let own = town.wallets.verify_account(account, Voucher::User(user)).await;
        assert!(own.is_err());
        for _ in 0..2 {
            town.wallets.verify_account(account, Voucher::User(by)).await.unwrap();
        }
        let deeds = town.store.list_audit(DeedFilter::default(), None, 9).await.unwrap();
        assert_eq!(deeds.len(), 1, "{deeds:?}");
        assert_eq!((deeds[0].action.as_str(), deeds[0].by), ("bank_account_vouched", by));
        assert_eq!(deeds[0].target, format!("bank_account:{account}"));
        // A server that vouches is no person: its key is in the row.
        let other = town.add_account(user).await;
        let app = Voucher::Service("app".to_owned());
        town.wallets.verify_account(other, app).await.unwrap();
        let deeds = town.store.list_audit(DeedFilter::default(), None, 9).await.unwrap();
        assert_eq!(deeds.len(), 1);
    }
}

//! Payouts by bank file: one entry for a withdrawal, in one file, however many ask at once.

use futures_util::future::join_all;
use uuid::Uuid;

use super::super::bank_accounts::NewBankAccount;
use super::super::payouts::files::PayoutFile;
use super::super::withdrawals::{
    Change, NewWithdrawal, TransitionError, insert_withdrawal, transition,
};
use super::super::{Store, StoreError, execute, fetch_all};
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::bank_accounts::BankCode;
use crate::domain::ids::{UserId, WithdrawalId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::Cause;
use crate::domain::payouts::{BANK_FILE, BankResult, EntryStatus, FailureCode, PayoutFileError};
use crate::domain::time::Timestamp;
use crate::domain::withdrawals::WithdrawalStatus;
use crate::domain::workflows::{EffectKey, Reason};
use crate::store::audit::DeedFilter;
use crate::store::payouts::PayoutEntry;
use crate::store::payouts::results::SettleError;
use crate::store::wallets::lock_wallet;

const NOW: Timestamp = Timestamp::from_millis(1_795_262_400_000);

fn somebody() -> UserId {
    clock::new_uuid().into()
}

fn reason() -> Reason {
    Reason::parse("the run of Friday").unwrap()
}

fn asked(amount: i64) -> (Amount, Currency) {
    (Amount::new(amount).unwrap(), Currency::KRW)
}

/// A withdrawal that is being sent.
async fn sending(fixture: &Fixture, amount: i64, provider: &'static str) -> WithdrawalId {
    let user = somebody();
    let account = NewBankAccount {
        id: clock::new_uuid().into(),
        user,
        bank_code: BankCode::parse("004").unwrap(),
        details: b"sealed".to_vec(),
        seal: "mark".to_owned(),
        last_digits: "6789".to_owned(),
    };
    let bank_account = account.id;
    fixture.store.insert_bank_account(account, NOW).await.unwrap();
    let (amount, currency) = asked(amount);
    let new = NewWithdrawal {
        id: clock::new_uuid().into(),
        user,
        currency,
        amount,
        bank_account,
        provider,
        workflow: clock::new_uuid().into(),
        needs_approval: false,
        not_before: NOW,
    };
    let id = new.id;
    let sent: Result<(), TransitionError> = fixture
        .store
        .write(move |db| {
            Box::pin(async move {
                lock_wallet(db, user, currency, NOW).await?;
                let mut withdrawal = insert_withdrawal(db, &new, NOW).await?;
                for status in [WithdrawalStatus::Approved, WithdrawalStatus::Sending] {
                    let change = Change::new(status, Cause::Timer, "test".to_owned());
                    withdrawal = transition(db, &withdrawal, change, NOW).await?;
                }
                Ok(())
            })
        })
        .await;
    sent.unwrap();
    id
}

async fn put(store: &Store, id: WithdrawalId, amount: i64) -> Option<PayoutEntry> {
    let key = EffectKey::of(&id.to_string());
    store.put_payout_entry(id, key, asked(amount), NOW).await.unwrap()
}

async fn waiting(fixture: &Fixture, count: i64) -> Vec<WithdrawalId> {
    let mut ids = Vec::new();
    for n in 1..=count {
        let id = sending(fixture, n * 1_000, BANK_FILE).await;
        assert_eq!(put(&fixture.store, id, n * 1_000).await.unwrap().status, EntryStatus::Waiting);
        ids.push(id);
    }
    ids
}

async fn make(store: &Store) -> Option<PayoutFile> {
    store.insert_payout_file(somebody(), reason(), NOW).await.unwrap()
}

/// Files that are said to have more in them than they have.
async fn overstated(store: &Store, made: &[PayoutFile]) -> usize {
    let mut overstated = 0;
    for file in made {
        let inside = store.list_filed_payouts(file.id, None, 1_000).await.unwrap();
        let sum: i64 = inside.iter().map(|it| it.amount).sum();
        let count = i64::try_from(inside.len()).unwrap();
        overstated += usize::from((count, sum) != (file.count, file.sum));
    }
    overstated
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_has_one_entry_however_often_it_is_put() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let id = sending(&fixture, 1_000, BANK_FILE).await;
        let at_once = join_all((0..8).map(|_| put(store, id, 1_000))).await;
        assert!(at_once.iter().all(|it| *it == at_once[0]), "{at_once:?}");
        let first = at_once[0].clone().unwrap();
        assert_eq!((first.withdrawal, first.amount.minor()), (id, 1_000));
        // What is asked for otherwise finds what is there.
        assert_eq!(put(store, id, 2_000).await.as_ref(), Some(&first));
        assert_eq!(store.find_payout_entry(id).await.unwrap(), Some(first));

        let others = sending(&fixture, 1_000, "fake").await;
        let unknown = WithdrawalId::from(clock::new_uuid());
        for id in [others, unknown] {
            assert_eq!(put(store, id, 1_000).await, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_take_out_at_once_each_entry_is_in_one_file() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let ids = waiting(&fixture, 12).await;
        let made = join_all((0..6).map(|_| make(store))).await;
        let made: Vec<PayoutFile> = made.into_iter().flatten().collect();
        assert_eq!(overstated(store, &made).await, 0);
        assert_eq!(made.iter().map(|it| it.count).sum::<i64>(), 12);
        assert_eq!(made.iter().map(|it| it.sum).sum::<i64>(), 78_000);
        assert_eq!(make(store).await, None);
        let deeds = store.list_audit(DeedFilter::default(), None, 99).await.unwrap();
        assert_eq!(deeds.len(), made.len(), "nothing is written down that was not done");
        assert_eq!(deeds[0].action, "payout_file_made");

        let open = store.count_open_payouts().await.unwrap();
        assert_eq!(open, [("exported".to_owned(), i64::try_from(ids.len()).unwrap(), NOW)]);
    }
}

/// What somebody takes out who looks first and writes later, without a lock.
async fn take_out_carelessly(store: &Store, ids: &[Uuid]) -> (PayoutFile, Result<(), StoreError>) {
    let file = PayoutFile {
        id: clock::new_uuid().into(),
        currency: "KRW".to_owned(),
        count: i64::try_from(ids.len()).unwrap(),
        sum: 3_000,
        open: 0,
        created_by: somebody(),
        created_at: NOW,
    };
    let (id, by, count, ids) = (file.id, file.created_by, file.count, ids.to_vec());
    let written = store
        .write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "INSERT INTO payout_files
                         (id, currency, entry_count, sum, created_by, created_at)
                     VALUES ($1, 'KRW', $2, 3000, $3, 0)",
                    id.uuid(),
                    count,
                    by.uuid(),
                )?;
                for entry in ids {
                    execute!(
                        db,
                        "UPDATE payout_entries SET status = 'exported', file_id = $2
                         WHERE withdrawal_id = $1",
                        entry,
                        id.uuid(),
                    )?;
                }
                Ok(())
            })
        })
        .await;
    (file, written)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_out_without_a_lock_is_caught_and_the_table_refuses_them() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        waiting(&fixture, 2).await;
        let seen: Result<Vec<(Uuid,)>, StoreError> = store
            .read(|db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (Uuid,),
                        "SELECT withdrawal_id FROM payout_entries WHERE status = 'waiting'",
                    )
                })
            })
            .await;
        let seen: Vec<Uuid> = seen.unwrap().into_iter().map(|(id,)| id).collect();
        let (one, written) = take_out_carelessly(store, &seen).await;
        written.unwrap();
        let (_, refused) = take_out_carelessly(store, &seen).await;
        assert!(refused.is_err(), "a payout is in one file");
        assert_eq!(overstated(store, std::slice::from_ref(&one)).await, 0);

        // The control: without the trigger, both have taken it, and the check above finds it.
        let dropped: Result<u64, StoreError> = store
            .write(|db| {
                Box::pin(async move {
                    let drop = db.dialect(
                        "DROP TRIGGER payout_entries_file_is_kept",
                        "DROP TRIGGER payout_entries_file_is_kept ON payout_entries",
                    );
                    execute!(db, drop)
                })
            })
            .await;
        dropped.unwrap();
        let (other, written) = take_out_carelessly(store, &seen).await;
        written.unwrap();
        assert_eq!(overstated(store, &[one, other]).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_results_at_once_that_differ_one_is_recorded() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let ids = waiting(&fixture, 3).await;
        let file = make(store).await.unwrap();
        let failed = BankResult::Failed(FailureCode::PayoutRefused);
        let say = async |result| {
            let results = ids.iter().map(|id| (*id, result)).collect();
            store.settle_payouts(file.id, somebody(), results, reason(), NOW).await
        };
        let (paid, failed) = tokio::join!(say(BankResult::Paid), say(failed));
        assert!(paid.is_ok() != failed.is_ok(), "{paid:?} {failed:?}");
        let status = if paid.is_ok() { EntryStatus::Paid } else { EntryStatus::Failed };
        for id in &ids {
            assert_eq!(store.find_payout_entry(*id).await.unwrap().unwrap().status, status);
        }
        let deeds = store.list_audit(DeedFilter::default(), None, 99).await.unwrap();
        assert_eq!(deeds.len(), 1 + ids.len(), "the file, and a line for each");
        let finished = store.read_payout_file(file.id, somebody(), NOW).await;
        assert!(matches!(finished, Err(SettleError::File(PayoutFileError::Finished))));
        let found = store.find_payout_file(file.id).await.unwrap().unwrap();
        assert_eq!((found.count, found.open), (3, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_refuses_whoever_says_what_became_of_their_own() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let id = waiting(&fixture, 1).await[0];
        make(store).await.unwrap();
        let own: Result<u64, StoreError> = store
            .write(move |db| {
                Box::pin(async move {
                    execute!(
                        db,
                        "UPDATE payout_entries SET status = 'paid', settled_by = user_id
                         WHERE withdrawal_id = $1",
                        id.uuid(),
                    )
                })
            })
            .await;
        let refused = own.unwrap_err().to_string();
        assert!(refused.contains("payout_entries_settled_by_check"), "{refused}");
    }
}

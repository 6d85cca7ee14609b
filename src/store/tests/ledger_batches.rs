//! Entries that are booked together, and accounts that are opened together.

use super::super::ledger::{BookError, Booked, book_all};
use super::fixtures;
use super::ledger::{booked, counters, drifts, entry, held, moved, wallet, won};
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::{Entry, Line};
use crate::domain::ledger::{Counters, LedgerError};
use crate::domain::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_795_262_400_000);

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_booked_together_all_or_none_and_each_once() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let pay_in = |key: &str, to, amount| {
            entry(key, vec![moved(AccountName::BankTrust, wallet(to), amount)])
        };
        let book_all = |entries: Vec<Entry>| {
            store.write(move |db| Box::pin(async move { book_all(db, &entries, NOW).await }))
        };

        assert_eq!(book_all(vec![pay_in("a", 1, 100)]).await.unwrap(), [Booked::Now]);
        // One was there before, and one is said twice.
        let some = vec![pay_in("a", 1, 100), pay_in("b", 2, 50), pay_in("b", 2, 50)];
        let booked: Result<Vec<Booked>, BookError> = book_all(some).await;
        assert_eq!(booked.unwrap(), [Booked::Before, Booked::Now, Booked::Before]);

        let transit = AccountName::PayoutInTransit;
        let out = |key: &str, amount| entry(key, vec![moved(wallet(1), transit, amount)]);
        for (refused, why) in [
            (vec![out("c", 60), out("d", 60)], LedgerError::Overdraft),
            (vec![out("c", 60), pay_in("a", 1, 101)], LedgerError::KeyReused),
        ] {
            let booked: Result<Vec<Booked>, BookError> = book_all(refused).await;
            assert!(matches!(booked, Err(BookError::Ledger(error)) if error == why), "{why}");
        }
        let wallets = [counters(store, wallet(1)).await, counters(store, wallet(2)).await];
        assert_eq!(wallets.map(|it| (it.credits_posted, it.debits_posted)), [(100, 0), (50, 0)]);

        let hold = entry("hold", vec![held(wallet(1), transit, 40)]);
        let both = vec![hold, out("e", 60)];
        assert_eq!(book_all(both).await.unwrap(), [Booked::Now, Booked::Now]);
        let post = Line::Post { hold: Entry::transfer_id("hold", 0), amount: won(40) };
        let both = vec![entry("post", vec![post]), pay_in("f", 1, 5)];
        assert_eq!(book_all(both).await.unwrap(), [Booked::Now, Booked::Now]);
        let wallet = counters(store, wallet(1)).await;
        let left = Counters { credits_posted: 105, debits_posted: 100, ..Counters::default() };
        assert_eq!(wallet, left);
        assert_eq!(drifts(store).await, Vec::<String>::new());
    }
}

/// PostgreSQL looks at one key of a row before the other: whoever opens an account at the same moment is refused by either.
#[tokio::test(flavor = "multi_thread")]
async fn who_opens_an_account_at_once_with_others_books_all_the_same() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        for round in 0..20 {
            let writers = (0..8).map(|n| {
                let (store, key) = (store.clone(), format!("in:{round}:{n}"));
                let pay_in = entry(&key, vec![moved(AccountName::BankTrust, wallet(round), 1)]);
                tokio::spawn(async move { booked(&store, pay_in).await })
            });
            for writer in writers.collect::<Vec<_>>() {
                assert_eq!(writer.await.unwrap().unwrap(), Booked::Now);
            }
            assert_eq!(counters(store, wallet(round)).await.credits_posted, 8);
        }
    }
}

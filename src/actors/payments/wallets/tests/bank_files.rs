//! Pay-outs by bank file: held until somebody says what the bank did, taken out once, and never in the open but in the
//! file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{DAY, MINUTE, NUMBER, Person, RULES, Town, reason, somebody, towns, towns_with};
use crate::actors::payments::bank_file::BankFile;
use crate::actors::payments::wallets::WalletsError;
use crate::actors::payments::withdraw::send_key;
use crate::domain::ids::{PayoutFileId, UserId, WithdrawalId};
use crate::domain::money::Amount;
use crate::domain::payouts::{BANK_FILE, BankResult, EntryStatus, FailureCode, PayoutFileError};
use crate::domain::wallets::WalletError;
use crate::domain::withdrawals::WithdrawalStatus;
use crate::domain::workflows::{EffectKey, WorkflowStatus};
use crate::providers::payments::{Answer, LookUp, PaymentProvider, Payout, PayoutStatus};
use crate::store::audit::DeedFilter;
use crate::store::payouts::files::PayoutFile;
use crate::store::testing::dump_text;
use crate::store::withdrawals::Withdrawal;

const DIGITS: &str = "110123456789";
const WRONG: FailureCode = FailureCode::InvalidBankAccount;

/// Towns where the fake provider takes payments, and people carry files to a bank.
async fn bank_towns() -> Vec<Town> {
    let by_file = |mut providers: super::Providers, store: &super::Store, clock: &super::Clock| {
        providers.add(Arc::new(BankFile::new(store.clone(), Arc::clone(clock))));
        providers.pay_out_by(BANK_FILE);
        providers
    };
    towns_with(RULES, by_file).await
}

impl Town {
    /// Somebody's first withdrawal, which waits for a file.
    async fn waiting(&self, amount: i64) -> (Person, Withdrawal) {
        let person = self.person(amount).await;
        let withdrawal = self.withdraw(person, amount).await.unwrap();
        self.pass(DAY + MINUTE);
        self.drive().await;
        assert_eq!(self.status(withdrawal.id).await, WithdrawalStatus::Sending);
        (person, withdrawal)
    }

    async fn file(&self) -> PayoutFile {
        self.wallets.make_payout_file(somebody(), reason()).await.unwrap()
    }

    async fn settle(
        &self,
        file: PayoutFileId,
        id: WithdrawalId,
        result: BankResult,
    ) -> Result<usize, WalletsError> {
        self.settle_by(somebody(), file, vec![(id, result)]).await
    }

    async fn settle_by(
        &self,
        by: UserId,
        file: PayoutFileId,
        results: Vec<(WithdrawalId, BankResult)>,
    ) -> Result<usize, WalletsError> {
        self.wallets.settle_payouts(file, by, results, reason()).await
    }

    async fn entry_status(&self, id: WithdrawalId) -> Option<EntryStatus> {
        self.store.find_payout_entry(id).await.unwrap().map(|it| it.status)
    }

    /// What stands on an account, as debits less credits.
    async fn stands(&self, family: &str) -> i64 {
        let families = self.store.list_family_balances().await.unwrap();
        let found = families.iter().find(|it| it.family == family);
        found.map_or(0, |it| it.counters.debits_posted - it.counters.credits_posted)
    }
}

fn is_refused<T>(done: Result<T, WalletsError>, error: PayoutFileError) -> bool {
    matches!(done, Err(WalletsError::Wallet(WalletError::PayoutFile(it))) if it == error)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bank_has_paid_is_paid_out_of_our_account_there() {
    for town in bank_towns().await {
        let (person, withdrawal) = town.waiting(10_000).await;
        assert_eq!(town.figures(person).await, (0, 10_000), "held");
        assert!(town.sent(withdrawal.id).is_empty(), "the provider is asked nothing");
        let file = town.file().await;
        assert_eq!((file.count, file.sum, file.currency.as_str()), (1, 10_000, "KRW"));
        let text = town.wallets.read_payout_file(file.id, somebody()).await.unwrap();
        let line =
            format!("\"{}\",\"004\",\"{DIGITS}\",\"김지수\",\"10000\",\"KRW\"\r\n", withdrawal.id);
        assert!(text.ends_with(&line), "{text}");

        assert_eq!(town.settle(file.id, withdrawal.id, BankResult::Paid).await.unwrap(), 1);

        // At once, whoever drives workflows.
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid);
        assert_eq!(town.figures(person).await, (0, 0));
        assert_eq!(town.stands("bank:operating").await, -10_000);
        assert_eq!(town.stands("psp:bank_file:receivable").await, 0);
        let events = ["WithdrawalRequested", "WithdrawalApproved", "WithdrawalPaid"];
        assert_eq!(town.events(withdrawal.id).await, events);
        assert_eq!(town.settle(file.id, withdrawal.id, BankResult::Paid).await.unwrap(), 0);
        assert_eq!(town.events(withdrawal.id).await, events, "the same again is nothing new");
        town.drive().await;
        let status = town.store.get_workflow_status(withdrawal.workflow).await.unwrap();
        assert_eq!(status, WorkflowStatus::Done);
        // The bank account may go, and what was paid there stays to be seen.
        town.wallets.remove_account(person.user, person.account).await.unwrap();
        let listed = town.store.list_filed_payouts(file.id, None, 9).await.unwrap();
        assert_eq!((listed[0].status.as_str(), listed[0].last_digits.as_str()), ("paid", ""));
        let again = town.wallets.read_payout_file(file.id, somebody()).await;
        assert!(is_refused(again, PayoutFileError::Finished));
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bank_has_not_paid_is_free_again() {
    for town in bank_towns().await {
        let (person, withdrawal) = town.waiting(10_000).await;
        let file = town.file().await;
        let failed = BankResult::Failed(WRONG);
        assert_eq!(town.settle(file.id, withdrawal.id, failed).await.unwrap(), 1);
        let found = town.store.find_withdrawal(withdrawal.id).await.unwrap().unwrap();
        assert_eq!(found.status, WithdrawalStatus::Failed);
        assert_eq!(found.failure_code.as_deref(), Some("invalid_bank_account"));
        assert_eq!(town.figures(person).await, (10_000, 0));
        assert_eq!(town.stands("bank:operating").await, 0);
        let contradicted = PayoutFileError::Contradicted(withdrawal.id);
        let paid = town.settle(file.id, withdrawal.id, BankResult::Paid).await;
        assert!(is_refused(paid, contradicted));
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Failed);
        // What is asked for again is another withdrawal, of another file.
        let again = town.withdraw(person, 10_000).await.unwrap();
        town.pass(DAY + MINUTE);
        town.drive().await;
        assert_ne!(town.file().await.id, file.id);
        assert_eq!(town.entry_status(again.id).await, Some(EntryStatus::Exported));
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bank_sends_back_is_in_the_wallet_again() {
    for town in bank_towns().await {
        let (person, withdrawal) = town.waiting(10_000).await;
        let file = town.file().await;
        let returned = BankResult::Returned(WRONG);
        let early = town.settle(file.id, withdrawal.id, returned).await;
        assert!(is_refused(early, PayoutFileError::Contradicted(withdrawal.id)));
        town.settle(file.id, withdrawal.id, BankResult::Paid).await.unwrap();
        // A bank that takes longer than anybody watches by themselves.
        town.pass(DAY * 30);
        assert_eq!(town.settle(file.id, withdrawal.id, returned).await.unwrap(), 1);
        assert_eq!(town.settle(file.id, withdrawal.id, returned).await.unwrap(), 0);
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Returned);
        assert_eq!(town.figures(person).await, (10_000, 0));
        assert_eq!(town.stands("bank:operating").await, 0);
        assert_eq!(town.events(withdrawal.id).await.last().unwrap(), "WithdrawalReturned");
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_recorded_whole_or_not_at_all_and_never_by_whoever_gets_the_money() {
    for town in bank_towns().await {
        let (_, one) = town.waiting(10_000).await;
        let (other, two) = town.waiting(20_000).await;
        let (_, outside) = town.waiting(30_000).await;
        let file = town.file().await;
        assert_eq!((file.count, file.sum), (3, 60_000));
        town.settle(file.id, two.id, BankResult::Paid).await.unwrap();
        let both = |result| vec![(one.id, BankResult::Paid), (two.id, result)];
        let wrong = town.settle_by(somebody(), file.id, both(BankResult::Failed(WRONG))).await;
        assert!(is_refused(wrong, PayoutFileError::Contradicted(two.id)));
        let own = town.settle_by(other.user, file.id, both(BankResult::Paid)).await;
        assert!(matches!(own, Err(WalletsError::Wallet(WalletError::OwnDecision))), "{own:?}");
        let nobody = WithdrawalId::from(crate::clock::new_uuid());
        let strange = vec![(one.id, BankResult::Paid), (nobody, BankResult::Paid)];
        let strange = town.settle_by(somebody(), file.id, strange).await;
        assert!(is_refused(strange, PayoutFileError::NotInFile(nobody)));
        let none = PayoutFileId::from(crate::clock::new_uuid());
        let none = town.settle(none, one.id, BankResult::Paid).await;
        assert!(is_refused(none, PayoutFileError::NotFound));
        assert_eq!(town.status(one.id).await, WithdrawalStatus::Sending, "nothing of it was done");
        assert_eq!(town.entry_status(one.id).await, Some(EntryStatus::Exported));

        // What is known already stands beside what is new.
        let by = somebody();
        assert_eq!(town.settle_by(by, file.id, both(BankResult::Paid)).await.unwrap(), 1);
        let text = town.wallets.read_payout_file(file.id, by).await.unwrap();
        let named = |id: WithdrawalId| text.contains(&id.to_string());
        assert!(named(outside.id) && !named(one.id) && !named(two.id), "nothing is paid twice");
        let filter = DeedFilter { by: Some(by), ..DeedFilter::default() };
        let deeds = town.store.list_audit(filter, None, 9).await.unwrap();
        let said: Vec<_> = deeds.iter().map(|it| (it.action.as_str(), it.target.clone())).collect();
        let read = ("payout_file_read", format!("payout_file:{}", file.id));
        assert_eq!(said, [read, ("payout_settled", format!("withdrawal:{}", one.id))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_before_anybody_is_told_is_followed_by_the_next_who_looks() {
    for town in bank_towns().await {
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(town.waiting(10_000).await.1);
        }
        let file = town.file().await;
        town.wallets.watch().await.unwrap();
        // Recorded, and nobody was told.
        let (by, now) = (somebody(), town.now());
        let results = vec![(asked[1].id, BankResult::Paid)];
        town.store.settle_payouts(file.id, by, results, reason(), now).await.unwrap();
        assert_eq!(town.status(asked[1].id).await, WithdrawalStatus::Sending);
        town.wallets.watch().await.unwrap();
        assert_eq!(town.status(asked[1].id).await, WithdrawalStatus::Paid);
        assert_eq!(town.status(asked[0].id).await, WithdrawalStatus::Sending);
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_after_weeks_is_credited_though_nobody_was_told() {
    for town in bank_towns().await {
        let (person, withdrawal) = town.waiting(10_000).await;
        let file = town.file().await;
        town.settle(file.id, withdrawal.id, BankResult::Paid).await.unwrap();
        town.pass(DAY * 21);
        town.wallets.watch().await.unwrap();
        // Recorded, and nobody was told.
        let (by, now) = (somebody(), town.now());
        let results = vec![(withdrawal.id, BankResult::Returned(WRONG))];
        town.store.settle_payouts(file.id, by, results, reason(), now).await.unwrap();
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid);

        town.wallets.watch().await.unwrap();

        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Returned);
        assert_eq!(town.figures(person).await, (10_000, 0));
        town.assert_books_are_right().await;
    }
}

/// The call that a node made which has died since.
async fn late_call(town: &Town, withdrawal: &Withdrawal, amount: i64, key: &EffectKey) -> bool {
    let clock: super::Clock = Arc::new(crate::clock::now);
    let bank = BankFile::new(town.store.clone(), clock);
    let request = Payout {
        reference: withdrawal.id.to_string(),
        amount: Amount::new(amount).unwrap(),
        currency: withdrawal.currency,
        bank_code: "004".to_owned(),
        account_number: DIGITS.into(),
        holder: "김지수".to_owned(),
    };
    match bank.pay_out(&request, key).await {
        Answer::Pending(paid) => {
            let found = bank.find_payout(&request.reference, key).await;
            assert_eq!(found, LookUp::Found(paid.clone()));
            assert_eq!(paid.status, PayoutStatus::Pending);
            true
        }
        Answer::Unknown(_) => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_with_the_entry_written_leaves_one_entry() {
    for town in bank_towns().await {
        let mut late = 0;
        for turns in 0..5 {
            let person = town.person(10_000).await;
            let withdrawal = town.withdraw(person, 10_000).await.unwrap();
            town.pass(DAY + MINUTE);
            let left = AtomicUsize::new(turns);
            let goes_on = || {
                let one_less = |left: usize| left.checked_sub(1);
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
            };
            let running = town.engine.claim().await.unwrap().unwrap();
            town.engine.drive_while(running, &goes_on).await.unwrap();
            let was_there = town.entry_status(withdrawal.id).await.is_some();
            let key = send_key(withdrawal.workflow);
            let is_sending = town.status(withdrawal.id).await == WithdrawalStatus::Sending;
            // What is not being sent is not taken, and nothing else than what was asked for.
            assert_eq!(late_call(&town, &withdrawal, 10_000, &key).await, is_sending);
            assert!(!late_call(&town, &withdrawal, 10_001, &key).await);
            assert!(!late_call(&town, &withdrawal, 10_000, &EffectKey::of("another")).await);
            late += usize::from(is_sending && !was_there);
            for _ in 0..3 {
                town.pass(MINUTE);
                town.drive().await;
            }
            assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Sending);
            assert_eq!(town.entry_status(withdrawal.id).await, Some(EntryStatus::Waiting));
            let found = town.store.find_withdrawal(withdrawal.id).await.unwrap().unwrap();
            assert_eq!(found.provider_key, Some(withdrawal.id.to_string()));
            let file = town.file().await;
            assert_eq!((file.count, file.sum), (1, 10_000));
            town.settle(file.id, withdrawal.id, BankResult::Paid).await.unwrap();
            assert_eq!(town.figures(person).await, (0, 0));
            town.drive().await;
        }
        assert!(late > 0, "some had written it, and no more");
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_not_taken_out_of_a_wallet_that_was_frozen_before() {
    for town in bank_towns().await {
        let (person, frozen) = town.waiting(10_000).await;
        town.wallets.freeze(person.user, somebody(), reason()).await.unwrap();
        let nothing = town.wallets.make_payout_file(somebody(), reason()).await;
        assert!(is_refused(nothing, PayoutFileError::NothingWaiting));
        let (_, other) = town.waiting(20_000).await;
        assert_eq!(town.file().await.sum, 20_000);
        assert_eq!(town.entry_status(other.id).await, Some(EntryStatus::Exported));
        assert_eq!(town.entry_status(frozen.id).await, Some(EntryStatus::Waiting));

        town.wallets.unfreeze(person.user, somebody(), reason()).await.unwrap();
        assert_eq!(town.file().await.sum, 10_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_in_the_file_and_nowhere_else() {
    for town in bank_towns().await {
        let (_, withdrawal) = town.waiting(10_000).await;
        let file = town.file().await;
        let text = town.wallets.read_payout_file(file.id, somebody()).await.unwrap();
        assert!(text.contains(DIGITS) && text.contains("김지수"), "it looks at all");
        town.settle(file.id, withdrawal.id, BankResult::Failed(WRONG)).await.unwrap();
        let mut dump = dump_text(&town.store).await;
        let deeds = town.store.list_audit(DeedFilter::default(), None, 9).await.unwrap();
        dump.push_str(&format!("{deeds:?}"));
        assert!(dump.contains("WithdrawalFailed") && dump.contains("payout_file_read"));
        let bytes: String = DIGITS.bytes().map(|digit| format!("{digit:02x}")).collect();
        for secret in [DIGITS, NUMBER, &bytes, "김지수"] {
            assert!(!dump.contains(secret), "{secret}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bank_file_the_provider_pays() {
    for town in towns(RULES).await {
        let person = town.regular(10_000).await;
        let withdrawal = town.withdraw(person, 10_000).await.unwrap();
        town.drive().await;
        assert_eq!(town.sent(withdrawal.id), [10_000]);
        assert_eq!(town.entry_status(withdrawal.id).await, None);
        assert_eq!(town.stands("bank:operating").await, 0);
    }
}

//! Wallets and withdrawals on both databases, with the fake provider and a clock that is put forward.

mod balances;
mod bank_files;
mod freezes;
mod states;
mod watched;
mod withdrawals;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use uuid::Uuid;

use super::{AccountDraft, Wallets, WalletsError, Withdrawn};
use crate::actors::workflow::engine::{Clock, Engine};
use crate::clock;
use crate::config::Config;
use crate::domain::bank_accounts::{AccountDetails, BankCode};
use crate::domain::idempotency::{IdempotencyKey, IdempotentCall};
use crate::domain::ids::{BankAccountId, UserId, WithdrawalId};
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;
use crate::domain::withdrawals::{WithdrawalRules, WithdrawalStatus};
use crate::domain::workflows::Reason;
use crate::providers::payments::fake::faults::Faults;
use crate::providers::payments::fake::{FakeProvider, SOUND};
use crate::providers::payments::{PaymentProvider, Providers, RemoteKind};
use crate::providers::seal::Seal;
use crate::store::bank_accounts::Voucher;
use crate::store::ledger::{BookError, book};
use crate::store::testing::database_urls;
use crate::store::wallets::Wallet;
use crate::store::withdrawals::Withdrawal;
use crate::store::{Store, StoreError};

const NUMBER: &str = "110-123-456789";
const DAY: Duration = Duration::from_hours(24);
const MINUTE: Duration = Duration::from_mins(1);
const RULES: WithdrawalRules = WithdrawalRules {
    amount_min: 100,
    amount_max: 1_000_000,
    per_day_count_max: 3,
    per_day_sum_max: 1_500_000,
    approved_up_to: 100_000,
    first_wait: DAY,
};

/// A database, a bank, and the time.
struct Town {
    store: Store,
    provider: Arc<FakeProvider>,
    wallets: Wallets,
    engine: Engine,
    ahead: Arc<AtomicI64>,
    data: PathBuf,
}

impl Drop for Town {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// Somebody with a wallet, and a bank account that is known to be theirs.
#[derive(Clone, Copy)]
struct Person {
    user: UserId,
    account: BankAccountId,
}

/// One town for each database.
async fn towns(rules: WithdrawalRules) -> Vec<Town> {
    towns_with(rules, |providers, _, _| providers).await
}

/// The same with others who move money besides the fake provider.
async fn towns_with(
    rules: WithdrawalRules,
    others: impl Fn(Providers, &Store, &Clock) -> Providers,
) -> Vec<Town> {
    let mut towns = Vec::new();
    for url in database_urls().await {
        let data = std::env::temp_dir().join(format!("madang-wallets-{}", clock::new_uuid()));
        std::fs::create_dir_all(&data).unwrap();
        let variables = [
            ("MADANG__DATA__DIR", data.to_str().unwrap()),
            ("MADANG__DATABASE__URL", url.as_str()),
            ("MADANG__DATABASE__ACQUIRE_TIMEOUT_MS", "60000"),
        ];
        let config = Config::read(None, variables).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        let ahead = Arc::new(AtomicI64::new(0));
        let moved = Arc::clone(&ahead);
        let now: Clock = Arc::new(move || {
            Timestamp::from_millis(clock::now().millis() + moved.load(Ordering::SeqCst))
        });
        let faults = Faults::by_amount();
        let provider = Arc::new(FakeProvider::new(SOUND, faults, Arc::clone(&now)));
        let shared: Arc<dyn PaymentProvider> = Arc::<FakeProvider>::clone(&provider);
        let providers = others(Providers::of(shared), &store, &now);
        let seal = Some(Seal::new(&"k".repeat(43).into()).unwrap());
        let wallets =
            Wallets::new(store.clone(), providers, seal, rules, Currency::KRW, Arc::clone(&now));
        let node = clock::new_uuid().into();
        let engine = Engine::new(store.clone(), node, vec![wallets.flow()], now);
        towns.push(Town { store, provider, wallets, engine, ahead, data });
    }
    towns
}

impl Town {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(clock::now().millis() + self.ahead.load(Ordering::SeqCst))
    }

    fn pass(&self, time: Duration) {
        self.ahead.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Drives whatever is due, until nothing is.
    async fn drive(&self) {
        while let Some(running) = self.engine.claim().await.unwrap() {
            self.engine.drive(running).await.unwrap();
        }
    }

    async fn book(&self, key: &str, debit: AccountName, credit: AccountName, amount: i64) {
        let amount = Amount::new(amount).unwrap();
        let entry = Entry {
            key: format!("{key}:{}", clock::new_uuid()),
            kind: "test",
            reference: Reference { kind: "test", id: Uuid::nil() },
            actor: "test".to_owned(),
            currency: Currency::KRW,
            lines: vec![Line::Move { debit, credit, amount, code: "test" }],
        };
        let now = self.now();
        let booked: Result<_, BookError> =
            self.store.write(move |db| Box::pin(async move { book(db, &entry, now).await })).await;
        booked.unwrap();
    }

    async fn person(&self, has: i64) -> Person {
        let user = UserId::from(clock::new_uuid());
        if has > 0 {
            let wallet = AccountName::UserAvailable(user);
            self.book("earned", AccountName::BankTrust, wallet, has).await;
        }
        let account = self.add_account(user).await;
        self.wallets.verify_account(account, Voucher::Service("app".to_owned())).await.unwrap();
        Person { user, account }
    }

    /// As [`Self::person`], known for long and paid before: what they ask for does not wait.
    async fn regular(&self, has: i64) -> Person {
        let person = self.person(has + 100).await;
        let first = self.withdraw(person, 100).await.unwrap();
        self.pass(DAY + MINUTE);
        self.drive().await;
        assert_eq!(self.status(first.id).await, WithdrawalStatus::Paid);
        person
    }

    async fn add_account(&self, user: UserId) -> BankAccountId {
        let draft = AccountDraft {
            bank_code: BankCode::parse("004").unwrap(),
            details: AccountDetails::parse(NUMBER, "김지수").unwrap(),
        };
        self.wallets.add_account(user, draft).await.unwrap().id
    }

    async fn withdraw(&self, person: Person, amount: i64) -> Result<Withdrawal, WalletsError> {
        let key = clock::new_uuid().to_string();
        self.withdraw_under(person, amount, &key).await
    }

    async fn withdraw_under(
        &self,
        person: Person,
        amount: i64,
        key: &str,
    ) -> Result<Withdrawal, WalletsError> {
        let call = call(person.user, amount, key);
        let amount = Amount::new(amount).unwrap();
        match self.wallets.withdraw(person.user, amount, person.account, call).await? {
            Withdrawn::Asked(withdrawal) => Ok(*withdrawal),
            Withdrawn::Refused { answer, .. } => panic!("{answer:?}"),
        }
    }

    async fn status(&self, id: WithdrawalId) -> WithdrawalStatus {
        self.store.find_withdrawal(id).await.unwrap().unwrap().status
    }

    async fn wallet(&self, person: Person) -> Wallet {
        self.wallets.wallet(person.user).await.unwrap()
    }

    /// What a person can take out, and what is on its way.
    async fn figures(&self, person: Person) -> (i64, i64) {
        let wallet = self.wallet(person).await;
        (wallet.available, wallet.held)
    }

    /// What the provider paid out for a withdrawal.
    fn sent(&self, id: WithdrawalId) -> Vec<i64> {
        let moved = self.provider.movements(&id.to_string());
        assert!(moved.iter().all(|it| it.kind == RemoteKind::PayOut));
        moved.into_iter().map(|it| it.amount.minor()).collect()
    }

    /// The names of the domain events about something, in order.
    async fn events(&self, subject: impl ToString) -> Vec<String> {
        self.store.list_event_names(subject.to_string()).await
    }

    async fn assert_books_are_right(&self) {
        let page = self.store.check_ledger(None, 1_000).await.unwrap();
        assert!(page.drifts.is_empty(), "{:?}", page.drifts);
        let families = self.store.list_family_balances().await.unwrap();
        let (debits, credits) = families.iter().fold((0, 0), |(debits, credits), family| {
            let counters = family.counters;
            (debits + counters.debits_posted, credits + counters.credits_posted)
        });
        assert_eq!(debits, credits);
    }
}

fn call(user: UserId, amount: i64, key: &str) -> IdempotentCall {
    let mut fingerprint = [0_u8; 32];
    fingerprint[..8].copy_from_slice(&amount.to_be_bytes());
    IdempotentCall {
        principal: format!("user:{user}"),
        route: "POST /v1/payments/withdraw",
        key: IdempotencyKey::parse(key).unwrap(),
        fingerprint,
    }
}

fn reason() -> Reason {
    Reason::parse("looked at").unwrap()
}

fn somebody() -> UserId {
    clock::new_uuid().into()
}

/// What a step in the database came to.
type Done<T> = Result<T, StoreError>;

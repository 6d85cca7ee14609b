//! Settlements on both databases: what is earned once, summed up once and paid once, whatever is refunded in between.

mod disputed;
mod early;
mod played;
mod refunded;
mod settled;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::civil::{Date, date};
use tokio::runtime::Handle as RuntimeHandle;
use uuid::Uuid;

use super::{SettlementRules, Settlements};
use crate::actors::workflow::engine::Clock;
use crate::clock;
use crate::config::Config;
use crate::domain::accounts::{DisplayName, EmailAddress, Handle, Role, Roles};
use crate::domain::calendar::{BusinessCalendar, instant_of};
use crate::domain::ids::{PaymentId, RefundId, UserId};
use crate::domain::ledger::Counters;
use crate::domain::ledger::chart::{AccountName, Shard};
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::orders::{FeeBps, NewOrder, OrderKey, OrderName};
use crate::domain::payments::refunds::{RefundStatus, Sums};
use crate::domain::payments::{Cause, PaymentStatus, ProviderName};
use crate::domain::time::Timestamp;
use crate::store::accounts::{NewUser, insert_user};
use crate::store::ledger::balances::find_counters;
use crate::store::ledger::{BookError, book};
use crate::store::payments::captures::capture;
use crate::store::payments::refunds::{
    NewRefund, fail, get_refund, request, succeed, update_status,
};
use crate::store::payments::transitions::{By, created};
use crate::store::payments::{ChangeError, Payment, get_locked};
use crate::store::settlements::Settlement;
use crate::store::settlements::releases::{ReleaseError, Released};
use crate::store::testing::{database_urls, pending_by_rows};
use crate::store::{Store, StoreError};

const HOUR: Duration = Duration::from_hours(1);
/// A Wednesday.
const TODAY: Date = date(2026, 11, 18);
const RULES: SettlementRules = SettlementRules {
    currency: Currency::KRW,
    business_days: 2,
    minimum: 1,
    withholding_bps: 330,
    auto_release_days: 0,
};
const FEE_BPS: i64 = 1_000;
/// What is left of 10,000 after a fee of 1,000, its VAT of 100 and 330 that are withheld.
const NET: i64 = 8_570;

/// A database and the time.
struct Town {
    store: Store,
    settlements: Settlements,
    now: Arc<AtomicI64>,
    /// Who pays for everything.
    payer: UserId,
    data: PathBuf,
}

impl Drop for Town {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// One town for each database, at noon.
async fn towns(rules: SettlementRules) -> Vec<Town> {
    let mut towns = Vec::new();
    for url in database_urls().await {
        let data = std::env::temp_dir().join(format!("madang-settled-{}", clock::new_uuid()));
        std::fs::create_dir_all(&data).unwrap();
        let variables = [
            ("MADANG__DATA__DIR", data.to_str().unwrap()),
            ("MADANG__DATABASE__URL", url.as_str()),
            ("MADANG__DATABASE__ACQUIRE_TIMEOUT_MS", "60000"),
        ];
        let config = Config::read(None, variables).unwrap();
        let store = Store::connect(&config, RuntimeHandle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        let now = Arc::new(AtomicI64::new(instant_of(TODAY, HOUR * 12).unwrap().millis()));
        let told = Arc::clone(&now);
        let clock: Clock = Arc::new(move || Timestamp::from_millis(told.load(Ordering::SeqCst)));
        let calendar = BusinessCalendar::built_in().unwrap();
        let settlements = Settlements::new(store.clone(), calendar, rules, clock);
        let payer = insert_payer(&store).await;
        towns.push(Town { store, settlements, now, payer, data });
    }
    towns
}

impl Town {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn go_to(&self, day: Date, into_it: Duration) {
        self.now.store(instant_of(day, into_it).unwrap().millis(), Ordering::SeqCst);
    }

    /// An order that was paid for.
    async fn paid(&self, payee: Option<UserId>, amount: i64) -> (OrderKey, PaymentId) {
        self.paid_with_fee(payee, amount, FEE_BPS).await
    }

    async fn paid_with_fee(
        &self,
        payee: Option<UserId>,
        amount: i64,
        fee_bps: i64,
    ) -> (OrderKey, PaymentId) {
        let now = self.now();
        let order = NewOrder {
            key: OrderKey::parse("job", &clock::new_uuid().to_string()).unwrap(),
            payer: None,
            payee,
            amount: won(amount),
            currency: Currency::KRW,
            name: OrderName::parse("화단 정리").unwrap(),
            fee: FeeBps::new(fee_bps).unwrap(),
        };
        self.store.put_order(order.clone(), now).await.unwrap();
        let payment = self.paid_for(order.key.clone(), payee, amount).await;
        (order.key, payment)
    }

    /// A payment of an order that is there.
    async fn paid_for(&self, order: OrderKey, payee: Option<UserId>, amount: i64) -> PaymentId {
        let now = self.now();
        let payment = Payment {
            id: clock::new_uuid().into(),
            order,
            payer: self.payer,
            payee,
            provider: ProviderName::Fake,
            shard: Shard::numbered(0),
            currency: Currency::KRW,
            amount: won(amount),
            sums: Sums::default(),
            status: PaymentStatus::Created,
            under_way: None,
            is_captured_later: false,
            is_by_deposit: false,
            failure_code: None,
            version: 0,
            expires_at: now,
            created_at: now,
            updated_at: now,
        };
        let id = payment.id;
        let done: Result<(), ChangeError> = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    created(db, &payment, &by()).await?;
                    let mut payment = get_locked(db, id).await?;
                    capture(db, &mut payment, &by(), now).await
                })
            })
            .await;
        done.unwrap();
        id
    }

    /// What a payee has earned.
    async fn earned(&self, payee: UserId, amount: i64) -> PaymentId {
        let (order, payment) = self.paid(Some(payee), amount).await;
        self.release(order).await.unwrap();
        payment
    }

    async fn release(&self, order: OrderKey) -> Result<Released, ReleaseError> {
        self.settlements.release(order, "service:app".to_owned()).await
    }

    async fn request(&self, payment: PaymentId, amount: i64) -> Result<RefundId, ChangeError> {
        let now = self.now();
        self.store
            .write(move |db| {
                Box::pin(async move {
                    let mut payment = get_locked(db, payment).await?;
                    let new = NewRefund {
                        id: clock::new_uuid().into(),
                        amount: won(amount),
                        reason: "늦음".to_owned(),
                        actor: "test".to_owned(),
                        sealed_account: None,
                    };
                    Ok(request(db, &mut payment, new, now).await?.id)
                })
            })
            .await
    }

    async fn end(&self, refund: RefundId, is_made: bool) {
        let now = self.now();
        let done: Result<(), ChangeError> = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    let mut refund = get_refund(db, refund).await?;
                    let mut payment = get_locked(db, refund.payment).await?;
                    update_status(db, &mut refund, RefundStatus::Sent, now).await?;
                    if is_made {
                        let key = refund.id.to_string();
                        succeed(db, &mut payment, &mut refund, &key, &by(), now).await
                    } else {
                        fail(db, &mut payment, &mut refund, "refused", now).await
                    }
                })
            })
            .await;
        done.unwrap();
    }

    async fn refund(&self, payment: PaymentId, amount: i64) {
        let refund = self.request(payment, amount).await.unwrap();
        self.end(refund, true).await;
    }

    async fn counters(&self, name: AccountName) -> Counters {
        let found: Result<Counters, StoreError> = self
            .store
            .read(move |db| Box::pin(async move { find_counters(db, name, Currency::KRW).await }))
            .await;
        found.unwrap()
    }

    /// What is pending for a payee, what they can take out, and what they owe.
    async fn figures(&self, payee: UserId) -> (i64, i64, i64) {
        let wallet = self.store.find_wallet(payee, Currency::KRW).await.unwrap();
        (wallet.pending, wallet.available, wallet.debt)
    }

    /// Takes money out of a wallet, as a withdrawal does; says whether there was enough.
    async fn take_out(&self, payee: UserId, amount: i64) -> bool {
        let (debit, credit) = (AccountName::UserAvailable(payee), AccountName::PayoutInTransit);
        self.book(debit, credit, amount).await
    }

    /// Puts money into a wallet.
    async fn give(&self, payee: UserId, amount: i64) {
        let wallet = AccountName::UserAvailable(payee);
        assert!(self.book(AccountName::BankTrust, wallet, amount).await);
    }

    async fn book(&self, debit: AccountName, credit: AccountName, amount: i64) -> bool {
        let line = Line::Move { debit, credit, amount: won(amount), code: "test" };
        let entry = Entry {
            key: format!("taken:{}", clock::new_uuid()),
            kind: "test",
            reference: Reference { kind: "test", id: Uuid::nil() },
            actor: "test".to_owned(),
            currency: Currency::KRW,
            lines: vec![line],
        };
        let now = self.now();
        let booked: Result<_, BookError> =
            self.store.write(move |db| Box::pin(async move { book(db, &entry, now).await })).await;
        booked.is_ok()
    }

    async fn only_settlement(&self, payee: UserId) -> Settlement {
        let all = self.store.list_settlements(payee, None, 9).await.unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }

    /// The ledger says of a payee what the rows say, and debits are credits.
    async fn assert_books_are_right(&self, payees: &[UserId]) {
        for payee in payees {
            let pending = self.counters(AccountName::UserPending(*payee)).await;
            let rows = pending_by_rows(&self.store, *payee).await;
            assert_eq!(pending.credit_available(), rows, "pending for {payee}");
        }
        let page = self.store.check_ledger(None, 1_000).await.unwrap();
        assert!(page.drifts.is_empty(), "{:?}", page.drifts);
        let families = self.store.list_family_balances().await.unwrap();
        let sum = |of: fn(&Counters) -> i64| -> i64 {
            families.iter().map(|family| of(&family.counters)).sum()
        };
        assert_eq!(sum(|it| it.debits_posted), sum(|it| it.credits_posted));
        assert_eq!(sum(|it| it.debits_pending), sum(|it| it.credits_pending));
    }
}

async fn insert_payer(store: &Store) -> UserId {
    let id = somebody();
    let user = NewUser {
        id,
        handle: Handle::parse("payer").unwrap(),
        email: EmailAddress::parse("payer@example.com").unwrap(),
        display_name: DisplayName::parse("지수").unwrap(),
        roles: Roles::from_iter([Role::User]),
        password_hash: "none".to_owned(),
        verified_at: None,
    };
    let inserted: Result<(), StoreError> =
        store.write(|db| Box::pin(async move { insert_user(db, &user, clock::now()).await })).await;
    inserted.unwrap();
    id
}

fn won(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

fn somebody() -> UserId {
    clock::new_uuid().into()
}

fn by() -> By<'static> {
    By::new(Cause::Api, "test")
}

//! Databases for tests, each of which no other test sees.

use serde_json::Value;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{Db, Store, StoreError, accounts, execute, fetch_all, fetch_one};
use crate::clock;
use crate::domain::accounts::{DisplayName, EmailAddress, Handle, Role, Roles};
use crate::domain::ids::{UserId, WithdrawalId};
use crate::domain::money::Currency;

/// What `database.url` is for each database there is: a file in the data folder, and a schema of its own on PostgreSQL.
///
/// # Panics
/// Without `MADANG_TEST_POSTGRES_URL`: these tests fail, none of them is skipped.
pub(crate) async fn database_urls() -> [String; 2] {
    [String::new(), new_schema().await]
}

/// Makes a schema on the test server, and gives the URL of a database in which there is nothing else.
pub(crate) async fn new_schema() -> String {
    let server = std::env::var("MADANG_TEST_POSTGRES_URL")
        .expect("MADANG_TEST_POSTGRES_URL is not set: run the tests with scripts/with-postgres");
    let schema = format!("madang_test_{}", clock::new_uuid().simple());
    let mut connection = PgConnection::connect(&server).await.unwrap();
    // A name cannot be bound, but a setting can, and the server quotes it by itself.
    sqlx::query("SELECT set_config('madang.schema', $1, false)")
        .bind(&schema)
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query(
        "DO $$ BEGIN
             EXECUTE format('CREATE SCHEMA %I', current_setting('madang.schema'));
         END $$",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let separator = if server.contains('?') { '&' } else { '?' };
    format!("{server}{separator}options[search_path]={schema}")
}

/// Registers somebody.
pub(crate) async fn new_user(store: &Store) -> UserId {
    let id = UserId::from(clock::new_uuid());
    let name: String = id.uuid().simple().to_string().chars().rev().take(16).collect();
    let user = accounts::NewUser {
        id,
        handle: Handle::parse(&name).unwrap(),
        email: EmailAddress::parse(&format!("{name}@example.com")).unwrap(),
        display_name: DisplayName::parse("지수").unwrap(),
        roles: Roles::from_iter([Role::User]),
        password_hash: "none".to_owned(),
        verified_at: None,
    };
    let inserted: Result<(), StoreError> = store
        .write(|db| Box::pin(async move { accounts::insert_user(db, &user, clock::now()).await }))
        .await;
    inserted.unwrap();
    id
}

/// Takes the queue of letters away, so that whoever asks for it fails, or brings it back.
pub(crate) async fn take_queue_away(store: &Store, is_away: bool) {
    let done: Result<u64, StoreError> = store
        .write(move |db| {
            Box::pin(async move {
                if is_away {
                    execute!(db, "ALTER TABLE deliveries RENAME TO deliveries_away")
                } else {
                    execute!(db, "ALTER TABLE deliveries_away RENAME TO deliveries")
                }
            })
        })
        .await;
    done.unwrap();
}

/// Approves a withdrawal as code would that has forgotten to ask who does so.
pub(crate) async fn approve_without_rules(
    store: &Store,
    id: WithdrawalId,
    by: UserId,
) -> Result<u64, StoreError> {
    store
        .write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "UPDATE withdrawals SET status = 'approved', approved_by = $2 WHERE id = $1",
                    id.uuid(),
                    by.uuid(),
                )
            })
        })
        .await
}

/// Lets what a payee was paid be disputed.
pub(crate) async fn open_dispute(store: &Store, payee: UserId) {
    let done: Result<u64, StoreError> = store
        .write(move |db| {
            Box::pin(async move {
                let (id, now) = (clock::new_uuid(), clock::now().millis());
                let order = id.to_string();
                execute!(
                    db,
                    "INSERT INTO orders
                         (order_type, order_id, payee_id, amount, currency, name, fee_bps,
                          created_at, updated_at)
                     VALUES ('job', $1, $2, 1000, 'KRW', 'disputed', 0, $3, $3)",
                    order.as_str(),
                    payee.uuid(),
                    now,
                )?;
                execute!(
                    db,
                    "INSERT INTO payments
                         (id, order_type, order_id, payer_id, payee_id, provider, ledger_shard,
                          currency, amount, captured, status, is_captured_later, is_by_deposit,
                          expires_at, created_at, updated_at)
                     VALUES ($1, 'job', $2, $1, $3, 'fake', 0, 'KRW', 1000, 1000, 'disputed', $4,
                             $4, $5, $5, $5)",
                    id,
                    order.as_str(),
                    payee.uuid(),
                    false,
                    now,
                )?;
                execute!(
                    db,
                    "INSERT INTO disputes
                         (id, payment_id, payee_id, provider, provider_key, currency, amount,
                          status, opened_at, looked_at, created_at, updated_at)
                     VALUES ($1, $1, $2, 'fake', $3, 'KRW', 1000, 'needs_response', $4, $4, $4,
                             $4)",
                    id,
                    payee.uuid(),
                    order,
                    now,
                )
            })
        })
        .await;
    assert_eq!(done.unwrap(), 1);
}

/// Whether a wallet is frozen, as code would look that forgets to lock it.
pub(crate) async fn is_frozen(
    db: &mut Db,
    user: UserId,
    currency: Currency,
) -> Result<bool, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM wallets
         WHERE user_id = $1 AND currency = $2 AND frozen_at IS NOT NULL",
        user.uuid(),
        currency.as_str(),
    )?;
    Ok(count > 0)
}

/// Makes a withdrawal one of a provider that nobody knows any more.
pub(crate) async fn forget_provider(store: &Store, id: WithdrawalId) {
    let done: Result<u64, StoreError> = store
        .write(move |db| {
            Box::pin(async move {
                execute!(db, "UPDATE withdrawals SET provider = 'gone' WHERE id = $1", id.uuid())
            })
        })
        .await;
    assert_eq!(done.unwrap(), 1);
}

/// Makes a withdrawal one of another amount than was sent.
pub(crate) async fn misstate_amount(store: &Store, id: WithdrawalId) {
    let done: Result<u64, StoreError> = store
        .write(move |db| {
            Box::pin(async move {
                execute!(db, "UPDATE withdrawals SET amount = amount + 1 WHERE id = $1", id.uuid())
            })
        })
        .await;
    assert_eq!(done.unwrap(), 1);
}

/// Makes a payee's items, or their batches, such that nothing can be done with them.
pub(crate) async fn spoil_settlements(store: &Store, payee: UserId) {
    let done: Result<u64, StoreError> = store
        .write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "UPDATE settlement_items SET gross = $2, elsewhere = $2 WHERE payee_id = $1",
                    payee.uuid(),
                    i64::MAX,
                )?;
                execute!(
                    db,
                    "UPDATE settlements SET pay_on = 'some day' WHERE payee_id = $1",
                    payee.uuid(),
                )
            })
        })
        .await;
    done.unwrap();
}

/// Changes something behind everybody's back.
pub(crate) async fn tamper(store: &Store, sqlite: &'static str, postgres: &'static str) {
    let done: Result<(), StoreError> = store
        .write(move |db| {
            Box::pin(async move {
                let script = db.dialect(sqlite, postgres);
                db.execute_script(script).await
            })
        })
        .await;
    done.unwrap();
}

/// Puts another state in the place of that of each workflow of a kind that has not ended; gives how many.
pub(crate) async fn rewrite_workflow_state(
    store: &Store,
    kind: &'static str,
    rewrite: impl Fn(Value) -> Value + Send + Sync + 'static,
) -> usize {
    let rewritten: Result<usize, StoreError> = store
        .write(move |db| {
            Box::pin(async move {
                let open = fetch_all!(
                    db,
                    (Uuid, String),
                    "SELECT id, state FROM workflows
                     WHERE kind = $1 AND status IN ('ready', 'waiting')",
                    kind,
                )?;
                for (id, state) in &open {
                    let state = rewrite(serde_json::from_str(state).unwrap()).to_string();
                    execute!(db, "UPDATE workflows SET state = $2 WHERE id = $1", *id, state)?;
                }
                Ok(open.len())
            })
        })
        .await;
    rewritten.unwrap()
}

/// What is pending for a payee as the rows of settlements have it: items without a batch, batches that wait to be
/// carried on, and those whose day has not come.
pub(crate) async fn pending_by_rows(store: &Store, payee: UserId) -> i64 {
    let sum: Result<(i64,), StoreError> = store
        .read(move |db| {
            Box::pin(async move {
                fetch_one!(
                    db,
                    (i64,),
                    "SELECT CAST(COALESCE((SELECT SUM(gross - fee - fee_vat - withholding + elsewhere)
                                           FROM settlement_items
                                           WHERE payee_id = $1 AND settlement_id IS NULL), 0)
                               + COALESCE((SELECT SUM(net) FROM settlements
                                           WHERE payee_id = $1
                                             AND (status = 'closed'
                                                  OR (status = 'carried' AND carried_to IS NULL))), 0)
                            AS BIGINT)",
                    payee.uuid(),
                )
            })
        })
        .await;
    sum.unwrap().0
}

/// What came to our bank account, less what left it, by the entries about one thing.
pub(crate) async fn sum_bank_of(store: &Store, reference: Uuid) -> i64 {
    let sum: Result<(i64,), StoreError> = store
        .read(move |db| {
            Box::pin(async move {
                fetch_one!(
                    db,
                    (i64,),
                    "SELECT CAST(COALESCE(SUM(CASE WHEN a.id = t.debit_id THEN t.amount
                                                   ELSE -t.amount END), 0) AS BIGINT)
                     FROM ledger_entries e
                     JOIN ledger_transfers t ON t.entry_id = e.id
                     JOIN ledger_accounts a ON a.id IN (t.debit_id, t.credit_id)
                     WHERE e.reference_id = $1 AND t.phase IN ('single', 'post')
                       AND a.family = 'bank:operating'",
                    reference,
                )
            })
        })
        .await;
    sum.unwrap().0
}

/// What stands in the rows of withdrawals and whatever goes with them, in words.
pub(crate) async fn dump_text(store: &Store) -> String {
    let rows: Result<Vec<(String,)>, StoreError> = store
        .read(|db| {
            Box::pin(async move {
                let select = db.dialect(
                    "SELECT data || name FROM outbox
                     UNION ALL SELECT state || coalesce(last_error, '') FROM workflows
                     UNION ALL SELECT coalesce(output, '') FROM workflow_steps
                     UNION ALL SELECT bank_code || last_digits || lower(hex(details))
                               FROM bank_accounts
                     UNION ALL SELECT coalesce(body, '') FROM idempotency_keys
                     UNION ALL SELECT coalesce(reason, '') || actor FROM withdrawal_transitions",
                    "SELECT data || name FROM outbox
                     UNION ALL SELECT state || coalesce(last_error, '') FROM workflows
                     UNION ALL SELECT coalesce(output, '') FROM workflow_steps
                     UNION ALL SELECT bank_code || last_digits || encode(details, 'hex')
                               FROM bank_accounts
                     UNION ALL SELECT coalesce(body, '') FROM idempotency_keys
                     UNION ALL SELECT coalesce(reason, '') || actor FROM withdrawal_transitions",
                );
                fetch_all!(db, (String,), select)
            })
        })
        .await;
    rows.unwrap().into_iter().map(|(row,)| row + "\n").collect()
}

impl Store {
    /// The names of the domain events about something, in the order in which they were written.
    pub(crate) async fn list_event_names(&self, subject: String) -> Vec<String> {
        let rows: Result<Vec<(String,)>, StoreError> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String,),
                        "SELECT name FROM outbox
                         WHERE subject = $1 AND topic <> 'inbox.signals'
                         ORDER BY id",
                        subject,
                    )
                })
            })
            .await;
        rows.unwrap().into_iter().map(|(name,)| name).collect()
    }
}

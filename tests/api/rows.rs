//! Rows as they lie in the database: what no endpoint makes or tells, such as what waits for a provider, and what another
//! release left.

use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use uuid::Uuid;

use crate::app::TestApp;
use crate::user::User;

/// A letter as it waits in its queue.
#[derive(Debug, PartialEq)]
pub(crate) struct Queued {
    pub(crate) id: String,
    pub(crate) medium: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Runs a query with what it binds on whichever database there is.
macro_rules! run {
    ($app:expr, $query:expr, $run:ident $(, $bound:expr)*) => {
        match connect($app).await {
            Connection::Sqlite(mut db) => {
                let done = $query$(.bind($bound))*.$run(&mut db).await.unwrap();
                db.close().await.unwrap();
                done.into()
            }
            Connection::Postgres(mut db) => {
                let done = $query$(.bind($bound))*.$run(&mut db).await.unwrap();
                db.close().await.unwrap();
                done.into()
            }
        }
    };
}

/// The first column of each row.
pub(crate) async fn texts(app: &TestApp, sql: &'static str) -> Vec<String> {
    let rows: Vec<(String,)> = run!(app, sqlx::query_as(sql), fetch_all);
    rows.into_iter().map(|(text,)| text).collect()
}

/// Changes what is there; gives how many rows.
pub(crate) async fn change(app: &TestApp, sql: &'static str) -> u64 {
    let Changed(rows) = run!(app, sqlx::query(sql), execute);
    rows
}

/// Gives a user the key that signs their links out of mails.
pub(crate) async fn put_unsubscribe_key(app: &TestApp, user: &User, key: [u8; 32], locale: &str) {
    let id = Uuid::parse_str(&user.id).unwrap();
    const INSERT: &str = "INSERT INTO user_settings (user_id, unsubscribe_key, locale, updated_at)
                          VALUES ($1, $2, $3, 0)";
    let key = key.as_slice();
    let Changed(rows) = run!(app, sqlx::query(INSERT), execute, id, key, locale);
    assert_eq!(rows, 1);
}

/// The letters to a user that an administrator has sent to look at, in the order in which they were wanted.
pub(crate) async fn letters(app: &TestApp, user: &User) -> Vec<Queued> {
    let id = Uuid::parse_str(&user.id).unwrap();
    const SELECT: &str = "SELECT id, medium, kind, data FROM deliveries
                          WHERE user_id = $1 AND data LIKE '%is_test%' ORDER BY id";
    let rows: Vec<(Uuid, String, String, String)> =
        run!(app, sqlx::query_as(SELECT), fetch_all, id);
    let queued = rows.into_iter().map(|(id, medium, kind, data)| Queued {
        id: id.to_string(),
        medium,
        kind,
        data: serde_json::from_str(&data).unwrap(),
    });
    queued.collect()
}

/// How many rows were changed.
struct Changed(u64);

impl From<sqlx::sqlite::SqliteQueryResult> for Changed {
    fn from(done: sqlx::sqlite::SqliteQueryResult) -> Self {
        Self(done.rows_affected())
    }
}

impl From<sqlx::postgres::PgQueryResult> for Changed {
    fn from(done: sqlx::postgres::PgQueryResult) -> Self {
        Self(done.rows_affected())
    }
}

async fn connect(app: &TestApp) -> Connection {
    let url = app.database_url();
    if url.is_empty() {
        let file = SqliteConnectOptions::new().filename(app.sqlite_file());
        Connection::Sqlite(SqliteConnection::connect_with(&file).await.unwrap())
    } else {
        Connection::Postgres(PgConnection::connect(&url).await.unwrap())
    }
}

//! Facts put into the database behind the server's back, or looked up there: those that no endpoint makes or tells.

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

/// Gives a user the key that signs their links out of mails.
pub(crate) async fn put_unsubscribe_key(app: &TestApp, user: &User, key: [u8; 32], locale: &str) {
    let id = Uuid::parse_str(&user.id).unwrap();
    const INSERT: &str = "INSERT INTO user_settings (user_id, unsubscribe_key, locale, updated_at)
                          VALUES ($1, $2, $3, 0)";
    let key = key.as_slice();
    match &mut connect(app).await {
        Connection::Sqlite(db) => {
            sqlx::query(INSERT).bind(id).bind(key).bind(locale).execute(db).await.unwrap();
        }
        Connection::Postgres(db) => {
            sqlx::query(INSERT).bind(id).bind(key).bind(locale).execute(db).await.unwrap();
        }
    }
}

/// The letters to a user in the order in which they were wanted.
pub(crate) async fn letters(app: &TestApp, user: &User) -> Vec<Queued> {
    let id = Uuid::parse_str(&user.id).unwrap();
    const SELECT: &str = "SELECT id, medium, kind, data FROM deliveries
                          WHERE user_id = $1 AND data LIKE '%is_test%' ORDER BY id";
    let rows: Vec<(Uuid, String, String, String)> = match &mut connect(app).await {
        Connection::Sqlite(db) => sqlx::query_as(SELECT).bind(id).fetch_all(db).await.unwrap(),
        Connection::Postgres(db) => sqlx::query_as(SELECT).bind(id).fetch_all(db).await.unwrap(),
    };
    let queued = rows.into_iter().map(|(id, medium, kind, data)| Queued {
        id: id.to_string(),
        medium,
        kind,
        data: serde_json::from_str(&data).unwrap(),
    });
    queued.collect()
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
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

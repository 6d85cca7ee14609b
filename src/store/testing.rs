//! Databases for tests, each of which no other test sees.

use sqlx::{Connection, PgConnection};

use super::{Store, StoreError, execute};
use crate::clock;

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

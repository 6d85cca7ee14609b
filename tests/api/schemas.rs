//! The two schemas agree: what the store reads and writes has one shape on both databases.

use std::collections::BTreeMap;

use sqlx::postgres::PgPool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::app::TestApp;
use crate::database::Kind;

/// Type and nullability of each column.
type Schema = BTreeMap<(String, String), (&'static str, bool)>;

/// The library's own book-keeping.
const NOT_OURS: &str = "_sqlx_migrations";

#[tokio::test]
async fn both_databases_have_the_same_columns() {
    let on_sqlite = Box::pin(TestApp::start(Kind::Sqlite, &[])).await;
    let on_postgres = Box::pin(TestApp::start(Kind::Postgres, &[])).await;

    let sqlite = sqlite_schema(&on_sqlite).await;
    let postgres = postgres_schema(&on_postgres).await;

    let columns = |schema: &Schema| schema.keys().cloned().collect::<Vec<_>>();
    assert!(sqlite.len() > 50, "too few columns: {sqlite:?}");
    assert_eq!(columns(&sqlite), columns(&postgres));
    for (column, shape) in &sqlite {
        assert_eq!(Some(shape), postgres.get(column), "{column:?}");
    }
    on_sqlite.finish().await;
    on_postgres.finish().await;
}

async fn sqlite_schema(app: &TestApp) -> Schema {
    let options = SqliteConnectOptions::new().filename(app.sqlite_file()).read_only(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let rows: Vec<(String, String, String, bool)> = sqlx::query_as(
        "SELECT tables.name, columns.name, columns.type, columns.\"notnull\"
         FROM sqlite_schema AS tables
         JOIN pragma_table_info(tables.name) AS columns
         WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    pool.close().await;
    schema(rows)
}

async fn postgres_schema(app: &TestApp) -> Schema {
    let pool = PgPool::connect(&app.database_url()).await.unwrap();
    let rows: Vec<(String, String, String, bool)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'NO'
         FROM information_schema.columns
         WHERE table_schema = 'public'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    pool.close().await;
    schema(rows)
}

fn schema(rows: Vec<(String, String, String, bool)>) -> Schema {
    rows.into_iter()
        .filter(|(table, ..)| table != NOT_OURS)
        .map(|(table, column, kind, is_required)| ((table, column), (class(&kind), is_required)))
        .collect()
}

/// What a column holds, whatever the database calls it.
fn class(kind: &str) -> &'static str {
    match kind.to_ascii_lowercase().as_str() {
        "uuid" | "bytea" | "blob" => "bytes",
        "text" => "text",
        "bigint" | "integer" => "integer",
        "boolean" => "boolean",
        other => panic!("a type without a class: {other}"),
    }
}

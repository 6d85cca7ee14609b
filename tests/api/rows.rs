//! Rows as they lie in the database: what no endpoint tells, such as what waits for a provider, and what another release left.

use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::app::TestApp;

/// The first column of each row.
pub(crate) async fn texts(app: &TestApp, sql: &'static str) -> Vec<String> {
    let rows: Vec<(String,)> = if app.database_url().is_empty() {
        let mut connection = sqlite(app).await;
        let rows = sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows
    } else {
        let mut connection = PgConnection::connect(&app.database_url()).await.unwrap();
        let rows = sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows
    };
    rows.into_iter().map(|(text,)| text).collect()
}

/// Changes what is there; gives how many rows.
pub(crate) async fn change(app: &TestApp, sql: &'static str) -> u64 {
    if app.database_url().is_empty() {
        let mut connection = sqlite(app).await;
        let done = sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        done.rows_affected()
    } else {
        let mut connection = PgConnection::connect(&app.database_url()).await.unwrap();
        let done = sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        done.rows_affected()
    }
}

async fn sqlite(app: &TestApp) -> SqliteConnection {
    SqliteConnectOptions::new().filename(app.sqlite_file()).connect().await.unwrap()
}

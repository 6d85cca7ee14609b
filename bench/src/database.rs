//! The servers' database from the side: either kind, with one text for both.
//!
//! Whoever reads here knows what is true, whatever the servers say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::seed::DATABASE;

/// How long somebody else's lock is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where it is.
#[derive(Debug)]
pub enum Database {
    /// The data folder of the one server.
    Sqlite(PathBuf),
    /// The URL, by a way that nobody cuts.
    Postgres(String),
}

#[derive(Debug)]
pub enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// All rows that a text gives, on either connection.
macro_rules! rows {
    ($db:expr, $row:ty, $sql:literal $(, $value:expr)* $(,)?) => {{
        let rows: Vec<$row> = match $db {
            $crate::database::Connection::Sqlite(db) => {
                sqlx::query_as($sql)$(.bind($value))*.fetch_all(db).await?
            }
            $crate::database::Connection::Postgres(db) => {
                sqlx::query_as($sql)$(.bind($value))*.fetch_all(db).await?
            }
        };
        rows
    }};
}
pub(crate) use rows;

/// Executes a text on either connection; gives how many rows it changed.
macro_rules! execute {
    ($db:expr, $sql:literal $(, $value:expr)* $(,)?) => {
        match $db {
            $crate::database::Connection::Sqlite(db) => {
                sqlx::query($sql)$(.bind($value))*.execute(db).await?.rows_affected()
            }
            $crate::database::Connection::Postgres(db) => {
                sqlx::query($sql)$(.bind($value))*.execute(db).await?.rows_affected()
            }
        }
    };
}
pub(crate) use execute;

impl Database {
    pub async fn open(&self) -> anyhow::Result<Connection> {
        match self {
            Self::Sqlite(data) => open_sqlite(data).await.map(Connection::Sqlite),
            Self::Postgres(url) => {
                let db = PgConnection::connect(url).await.context("reach the database")?;
                Ok(Connection::Postgres(db))
            }
        }
    }
}

impl Connection {
    pub async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(db) => db.close().await?,
            Self::Postgres(db) => db.close().await?,
        }
        Ok(())
    }
}

/// Opens the file in the `data` folder, which must be there.
pub async fn open_sqlite(data: &Path) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(data.join(DATABASE))
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT);
    SqliteConnection::connect_with(&options).await.context("open the database")
}
